//! One listener on its way to its settings: from an entry of a file, or from a URL.

use super::key::{Key, LISTENER};
use super::listener_key::LISTENER_KEYS;
use super::load::{FileText, find, place_in, unknown};
use super::problem::{Place, Problems, printable};
use super::raw::{Raw, accept, raw};
use super::settings::{ListenerSettings, Settings};
use toml::Spanned;
use toml::de::DeValue;

/// A listener as far as it is known, and where its parts were written.
pub(super) struct Listener {
    pub(super) settings: ListenerSettings,
    place: Place,
    bind: Option<Place>,
    allow_anonymous: Option<Place>,
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
        let mut bind_written = false;
        for (name, value) in table {
            bind_written |= name.get_ref() == "bind";
            let Some(key) = find(LISTENER_KEYS, LISTENER, name.get_ref()) else {
                let full_name = format!("{LISTENER}.{}", printable(name.get_ref()));
                let what = unknown(LISTENER_KEYS, LISTENER);
                problems.add(&place_in(file, name), full_name, what);
                continue;
            };
            let place = place_in(file, value);
            listener.put(key, &raw(value.get_ref()), &place, problems);
        }
        if !bind_written {
            let what = "missing, write for example bind = \"tcp://127.0.0.1:1883\"";
            problems.add(&listener.place, "listener.bind", what);
        }
        Some(listener)
    }

    /// Reads a listener URL with its `?key=value&...`.
    pub(super) fn from_url(url: &str, problems: &mut Problems) -> Self {
        let place = Place::Outside(format!("--listen {}", printable(url)));
        let (bind, query) = url.split_once('?').unwrap_or((url, ""));
        let mut listener = Self::new(place.clone());
        let pairs = query.split('&').filter(|pair| !pair.is_empty());
        let pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        for (name, value) in std::iter::once(("bind", bind)).chain(pairs) {
            let Some(key) = find(LISTENER_KEYS, LISTENER, name) else {
                let full_name = format!("{LISTENER}.{}", printable(name));
                let what = unknown(LISTENER_KEYS, LISTENER);
                problems.add(&place, full_name, what);
                continue;
            };
            listener.put(key, &Raw::Untyped(value), &place, problems);
        }
        listener
    }

    fn put(
        &mut self,
        key: &Key<ListenerSettings>,
        raw: &Raw<'_>,
        place: &Place,
        problems: &mut Problems,
    ) {
        if let Err(what) = accept(key, raw, &mut self.settings) {
            return problems.add(place, key.full_name(), what);
        }
        match key.name {
            "bind" => self.bind = Some(place.clone()),
            "allow_anonymous" => self.allow_anonymous = Some(place.clone()),
            _ => {}
        }
    }
}

/// What is wrong with listeners whose keys are good, each for itself and side by side.
pub(super) fn check(listeners: &mut [Listener], problems: &mut Problems) {
    let mut known = Vec::new();
    for listener in listeners {
        let Some(bind_place) = &listener.bind else {
            continue;
        };
        let settings = &mut listener.settings;
        if known.iter().any(|bind| settings.bind.collides_with(bind)) {
            let what = format!("{} is listened on already", settings.bind);
            problems.add(bind_place, "listener.bind", what);
        }
        known.push(settings.bind.clone());
        match &listener.allow_anonymous {
            None if settings.bind.is_loopback() => settings.allow_anonymous = true,
            Some(_) if settings.allow_anonymous => {}
            None => {
                let what = "other machines can reach this address and there is no \
                    authentication yet: write allow_anonymous = true on this listener \
                    (?allow_anonymous=true behind a --listen URL) to let everybody in, or \
                    bind 127.0.0.1";
                problems.add(bind_place, "listener.bind", what);
            }
            Some(place) => {
                let what = "nobody could connect, as there is no authentication yet: must be \
                    true, or left out on a loopback address";
                problems.add(place, "listener.allow_anonymous", what);
            }
        }
    }
}
