//! One listener on its way to its settings: from an entry of a file, or from a URL.

use super::address::Scheme;
use super::key::{LISTENER, LISTENER_TLS};
use super::listener_key::{LISTENER_KEYS, TLS_KEYS};
use super::load::{FileText, find, place_in, unknown};
use super::problem::{Place, Problems, printable};
use super::raw::{Raw, accept, described, raw};
use super::settings::{ListenerSettings, Settings, TlsSettings};
use std::borrow::Cow;
use std::path::PathBuf;
use toml::Spanned;
use toml::de::DeValue;

/// A listener as far as it is known, and where its parts were written.
pub(super) struct Listener {
    pub(super) settings: ListenerSettings,
    place: Place,
    bind: Option<Place>,
    allow_anonymous: Option<Place>,
    /// Where its part `tls` begins.
    tls: Option<Place>,
    /// The keys of this part, those with refused values as well.
    tls_keys: Vec<(&'static str, Place)>,
}

/// A key and its value as they were written.
struct Written<'a> {
    name: &'a str,
    value: Raw<'a>,
    name_place: Place,
    value_place: Place,
}

impl<'a> Written<'a> {
    fn in_file(
        file: &FileText,
        name: &'a Spanned<Cow<'_, str>>,
        value: &'a Spanned<DeValue<'_>>,
    ) -> Self {
        Self {
            name: name.get_ref(),
            value: raw(value.get_ref()),
            name_place: place_in(file, name),
            value_place: place_in(file, value),
        }
    }

    fn outside(name: &'a str, value: &'a str, place: &Place) -> Self {
        Self {
            name,
            value: Raw::Untyped(value),
            name_place: place.clone(),
            value_place: place.clone(),
        }
    }
}

impl Listener {
    fn new(place: Place) -> Self {
        let mut settings = Settings::default().listeners.swap_remove(0);
        settings.allow_anonymous = false;
        Self {
            settings,
            place,
            bind: None,
            allow_anonymous: None,
            tls: None,
            tls_keys: Vec::new(),
        }
    }

    /// Reads a `[[listener]]`; `None`: it is none.
    pub(super) fn from_entry(
        file: &FileText,
        entry: &Spanned<DeValue<'_>>,
        problems: &mut Problems,
    ) -> Option<Self> {
        let place = place_in(file, entry);
        let DeValue::Table(table) = entry.get_ref() else {
            let what = "must be a list, each entry under [[listener]]";
            problems.add(&place, LISTENER, what);
            return None;
        };
        let mut listener = Self::new(place);
        for (name, value) in table {
            if name.get_ref() == "tls" {
                listener.tls_section(file, name, value, problems);
            } else {
                listener.own_key(&Written::in_file(file, name, value), problems);
            }
        }
        if !table.iter().any(|(name, _)| name.get_ref() == "bind") {
            let what = "missing, write for example bind = \"tcp://127.0.0.1:1883\"";
            problems.add(&listener.place, "listener.bind", what);
        }
        Some(listener)
    }

    fn tls_section(
        &mut self,
        file: &FileText,
        name: &Spanned<Cow<'_, str>>,
        value: &Spanned<DeValue<'_>>,
        problems: &mut Problems,
    ) {
        let DeValue::Table(table) = value.get_ref() else {
            let is = described(value.get_ref());
            let what = format!("must be a section [{LISTENER_TLS}], is {is}");
            return problems.add(&place_in(file, name), LISTENER_TLS, what);
        };
        self.tls = Some(place_in(file, name));
        for (name, value) in table {
            self.tls_key(&Written::in_file(file, name, value), problems);
        }
    }

    /// Reads a listener URL with its `?key=value&...`.
    pub(super) fn from_url(url: &str, problems: &mut Problems) -> Self {
        let place = Place::Outside(format!("--listen {}", printable(url)));
        let (bind, query) = url.split_once('?').unwrap_or((url, ""));
        let mut listener = Self::new(place.clone());
        listener.own_key(&Written::outside("bind", bind, &place), problems);
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            if let Some(name) = name.strip_prefix("tls.") {
                listener.tls = Some(place.clone());
                listener.tls_key(&Written::outside(name, value, &place), problems);
            } else {
                listener.own_key(&Written::outside(name, value, &place), problems);
            }
        }
        listener
    }

    fn own_key(&mut self, written: &Written<'_>, problems: &mut Problems) {
        let Some(key) = find(LISTENER_KEYS, LISTENER, written.name) else {
            let full_name = format!("{LISTENER}.{}", printable(written.name));
            let mut what = unknown(LISTENER_KEYS, LISTENER);
            for key in TLS_KEYS {
                what.push_str(", tls.");
                what.push_str(key.name);
            }
            return problems.add(&written.name_place, full_name, what);
        };
        let place = &written.value_place;
        if let Err(what) = accept(key, &written.value, &mut self.settings) {
            return problems.add(place, key.full_name(), what);
        }
        match key.name {
            "bind" => self.bind = Some(place.clone()),
            "allow_anonymous" => self.allow_anonymous = Some(place.clone()),
            _ => {}
        }
    }

    fn tls_key(&mut self, written: &Written<'_>, problems: &mut Problems) {
        let Some(key) = find(TLS_KEYS, LISTENER_TLS, written.name) else {
            let full_name = format!("{LISTENER_TLS}.{}", printable(written.name));
            let what = unknown(TLS_KEYS, LISTENER_TLS);
            return problems.add(&written.name_place, full_name, what);
        };
        let place = &written.value_place;
        self.tls_keys.push((key.name, place.clone()));
        let none = || TlsSettings::new(PathBuf::new(), PathBuf::new());
        let tls = self.settings.tls.get_or_insert_with(none);
        if let Err(what) = accept(key, &written.value, tls) {
            problems.add(place, key.full_name(), what);
        }
    }

    fn tls_key_place(&self, name: &str) -> Option<&Place> {
        let mut keys = self.tls_keys.iter();
        keys.find(|(key, _)| *key == name).map(|(_, place)| place)
    }

    fn requires_client_cert(&self) -> bool {
        let tls = self.settings.tls.as_ref();
        tls.is_some_and(|tls| tls.require_client_cert)
    }

    /// What `tls://` needs, and what nothing but `tls://` can have.
    fn check_scheme(&self, bind_place: &Place, problems: &mut Problems) {
        match (self.settings.bind.scheme, &self.tls) {
            (Scheme::Tls, _) => {
                for (name, what) in [("cert", "certificate chain"), ("key", "private key")] {
                    if self.tls_key_place(name).is_none() {
                        let full_name = format!("{LISTENER_TLS}.{name}");
                        let what = format!(
                            "missing, a tls:// address needs a {what}: write {name} = \"FILE\" \
                             under [{LISTENER_TLS}] (?tls.{name}=FILE behind a --listen URL)"
                        );
                        problems.add(bind_place, full_name, what);
                    }
                }
            }
            (Scheme::Tcp, Some(place)) => {
                let what = "stands on a tcp:// address, where nothing is encrypted: write \
                    tls://HOST:PORT there, or leave the keys of tls out";
                problems.add(place, LISTENER_TLS, what);
            }
            (Scheme::Tcp, None) => {}
        }
    }

    /// Keys of `tls` that mean nothing without another one.
    fn check_tls_keys(&self, problems: &mut Problems) {
        if self.tls_key_place("client_ca").is_some() {
            return;
        }
        if let Some(place) = self.tls_key_place("require_client_cert")
            && self.requires_client_cert()
        {
            let what = "true needs client_ca, the file that says who signs the clients' \
                certificates: add it, or write false";
            problems.add(place, "listener.tls.require_client_cert", what);
        }
        if let Some(place) = self.tls_key_place("crl")
            && self
                .settings
                .tls
                .as_ref()
                .is_some_and(|tls| tls.crl.is_some())
        {
            let what = "needs client_ca, as without it no client is asked for a certificate: add \
                it, or leave crl out";
            problems.add(place, "listener.tls.crl", what);
        }
    }

    /// Nobody is let in unasked by accident. Settles `allow_anonymous` where nobody wrote it.
    fn check_anonymous(&mut self, bind_place: &Place, problems: &mut Problems) {
        let asks = self.requires_client_cert();
        let settings = &mut self.settings;
        match &self.allow_anonymous {
            _ if asks => {}
            None if settings.bind.is_loopback() => settings.allow_anonymous = true,
            Some(_) if settings.allow_anonymous => {}
            None => {
                let what = "other machines can reach this address and nobody is asked who they \
                    are: write allow_anonymous = true on this listener (?allow_anonymous=true \
                    behind a --listen URL) to let everybody in, bind 127.0.0.1, or take a tls:// \
                    address with client_ca and require_client_cert = true under [listener.tls]";
                problems.add(bind_place, "listener.bind", what);
            }
            Some(place) => {
                let what = "nobody could connect, as client certificates are the only \
                    authentication yet: must be true, left out on a loopback address, or stand on \
                    a tls:// address with require_client_cert = true";
                problems.add(place, "listener.allow_anonymous", what);
            }
        }
    }
}

/// What is wrong with listeners whose keys are good, each for itself and side by side.
pub(super) fn check(listeners: &mut [Listener], problems: &mut Problems) {
    let mut known = Vec::new();
    for listener in listeners {
        listener.check_tls_keys(problems);
        let Some(bind_place) = listener.bind.clone() else {
            continue;
        };
        let bind = listener.settings.bind.clone();
        if known.iter().any(|known| bind.collides_with(known)) {
            let what = format!("{bind} is listened on already");
            problems.add(&bind_place, "listener.bind", what);
        }
        known.push(bind);
        listener.check_scheme(&bind_place, problems);
        listener.check_anonymous(&bind_place, problems);
    }
}
