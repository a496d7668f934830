//! Layers of raw values -> settings, or everything that is wrong with them.
//!
//! Built-in defaults < files in their order < overrides in their order (environment, then flags);
//! the list of listeners is replaced as a whole by each layer that has one. A value that a later
//! layer replaces is validated all the same.

use super::key::{KEYS, Key, LISTENER, SECTIONS};
use super::listener::{self, Listener};
use super::problem::{Place, Problem, Problems, printable};
use super::quantity;
use super::raw::{Raw, accept, described, raw};
use super::settings::Settings;
use std::collections::BTreeMap;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// All that is configured outside the program, in rising order of precedence.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    pub files: Vec<FileText>,
    pub overrides: Vec<Override>,
    /// Listener URLs that replace all listeners; `?key=value&...` sets a listener's other keys.
    pub listen: Vec<String>,
}

#[derive(Clone, Debug)]
pub struct FileText {
    /// As messages show it.
    pub name: String,
    pub text: String,
}

/// One value from the environment or from a flag.
#[derive(Clone, Debug)]
pub struct Override {
    /// The flag or variable, as messages show it.
    pub name: String,
    /// `section.key`.
    pub key: String,
    pub value: String,
}

impl Override {
    /// The variables `RINGWAY__SECTION__KEY` among `variables`, in the order of their names.
    pub fn from_environment(variables: impl Iterator<Item = (String, String)>) -> Vec<Self> {
        let mut overrides: Vec<Self> = variables
            .filter_map(|(name, value)| {
                let path = name.strip_prefix("RINGWAY__")?;
                let key = path.replace("__", ".").to_ascii_lowercase();
                Some(Self { name, key, value })
            })
            .collect();
        overrides.sort_by(|left, right| left.name.cmp(&right.name));
        overrides
    }

    /// The `section.key=value` of a `--set`.
    pub fn from_assignment(text: &str) -> Result<Self, Problem> {
        let name = format!("--set {}", printable(text));
        let Some((key, value)) = text.split_once('=') else {
            return Err(Problem {
                place: Place::Outside(name),
                key: String::new(),
                what: "must be section.key=value".to_owned(),
            });
        };
        Ok(Self {
            name,
            key: key.trim().to_owned(),
            value: value.trim().to_owned(),
        })
    }
}

/// Reads all layers.
///
/// # Errors
/// Everything that is wrong in any of them, in the order of the layers.
pub fn load(sources: &Sources) -> Result<Settings, Problems> {
    let mut loading = Loading {
        settings: Settings::default(),
        listeners: Vec::new(),
        origins: BTreeMap::new(),
        problems: Problems::default(),
    };
    for file in &sources.files {
        loading.file(file);
    }
    for value in &sources.overrides {
        loading.value_from_outside(value);
    }
    loading.listen(&sources.listen);
    loading.finish()
}

struct Loading {
    settings: Settings,
    /// Of the last layer that has any.
    listeners: Vec<Listener>,
    /// Where each key got its present value.
    origins: BTreeMap<String, Place>,
    problems: Problems,
}

impl Loading {
    fn file(&mut self, file: &FileText) {
        let (table, errors) = DeTable::parse_recoverable(&file.text);
        let mut found = Problems::default();
        for error in errors {
            let offset = error.span().map_or(0, |span| span.start);
            let place = Place::in_text(&file.name, &file.text, offset);
            found.add(&place, "", printable(error.message()));
        }
        if found.0.is_empty() {
            for (section, value) in table.get_ref() {
                self.section(file, section, value);
            }
        } else {
            self.problems.0.append(&mut found.0);
        }
        sort_by_line(&mut self.problems, &file.name);
    }

    fn section(
        &mut self,
        file: &FileText,
        name: &Spanned<std::borrow::Cow<'_, str>>,
        value: &Spanned<DeValue<'_>>,
    ) {
        let place = place_in(file, name);
        let section = name.get_ref().as_ref();
        match value.get_ref() {
            _ if !SECTIONS.contains(&section) => {
                let known = SECTIONS.join(", ");
                let what = format!("unknown section, known are {known}");
                self.problems.add(&place, printable(section), what);
            }
            DeValue::Array(listeners) if section == LISTENER => {
                self.listeners.clear();
                for entry in listeners {
                    let listener = Listener::from_entry(file, entry, &mut self.problems);
                    self.listeners.extend(listener);
                }
                if listeners.is_empty() {
                    let what = "must have at least one [[listener]]";
                    self.problems.add(&place, LISTENER, what);
                }
            }
            _ if section == LISTENER => {
                let what = "must be a list, each entry under [[listener]]";
                self.problems.add(&place, LISTENER, what);
            }
            DeValue::Table(table) => {
                for (name, value) in table {
                    self.key(file, section, name, value);
                }
            }
            other => {
                let what = format!("must be a section [{section}], is {}", described(other));
                self.problems.add(&place, section, what);
            }
        }
    }

    fn key(
        &mut self,
        file: &FileText,
        section: &str,
        name: &Spanned<std::borrow::Cow<'_, str>>,
        value: &Spanned<DeValue<'_>>,
    ) {
        let Some(key) = find(KEYS, section, name.get_ref()) else {
            let full_name = format!("{section}.{}", printable(name.get_ref()));
            let what = unknown(KEYS, section);
            return self.problems.add(&place_in(file, name), full_name, what);
        };
        let place = place_in(file, value);
        self.put(key, &raw(value.get_ref()), place);
    }

    fn put(&mut self, key: &Key<Settings>, raw: &Raw<'_>, place: Place) {
        match accept(key, raw, &mut self.settings) {
            Ok(()) => {
                self.origins.insert(key.full_name(), place);
            }
            Err(what) => self.problems.add(&place, key.full_name(), what),
        }
    }

    fn value_from_outside(&mut self, value: &Override) {
        let place = Place::Outside(value.name.clone());
        let (section, name) = value.key.split_once('.').unwrap_or((&value.key, ""));
        if let Some(key) = find(KEYS, section, name) {
            return self.put(key, &Raw::Untyped(&value.value), place);
        }
        let what = if section == LISTENER {
            "listeners are set in a file or by --listen URL".to_owned()
        } else if SECTIONS.contains(&section) {
            unknown(KEYS, section)
        } else {
            format!("unknown section, known are {}", SECTIONS.join(", "))
        };
        self.problems.add(&place, printable(&value.key), what);
    }

    fn listen(&mut self, urls: &[String]) {
        if !urls.is_empty() {
            self.listeners.clear();
        }
        for url in urls {
            self.listeners
                .push(Listener::from_url(url, &mut self.problems));
        }
    }

    fn finish(mut self) -> Result<Settings, Problems> {
        if !self.listeners.is_empty() {
            listener::check(&mut self.listeners, &mut self.problems);
            let settings = self.listeners.drain(..).map(|listener| listener.settings);
            self.settings.listeners = settings.collect();
        }
        self.settings.derive_from_listeners();
        self.check_sizes();
        if self.problems.0.is_empty() {
            Ok(self.settings)
        } else {
            Err(self.problems)
        }
    }

    /// Any record must fit into a file of the journal. What nobody wrote gives way.
    fn check_segment_bytes(&mut self) {
        let limits = &mut self.settings.limits;
        let needed = limits.segment_bytes_min();
        let missing = needed.saturating_sub(u64::from(limits.durability.segment_bytes));
        if missing == 0 {
            return;
        }
        let Some(place) = self.origins.get("durability.segment_bytes") else {
            let needed = needed.next_multiple_of(1 << 20);
            limits.durability.segment_bytes = u32::try_from(needed).unwrap_or(u32::MAX);
            return;
        };
        let packet_bytes_max = u64::from(limits.packet_bytes_max).saturating_sub(missing);
        if !self.origins.contains_key("mqtt.max_packet_bytes") {
            limits.packet_bytes_max = u32::try_from(packet_bytes_max).unwrap_or(u32::MAX);
        }
        if u64::from(limits.durability.segment_bytes) < limits.segment_bytes_min() {
            let shown = quantity::show(needed, quantity::Unit::Bytes);
            let what = format!(
                "must be at least {shown}: a message of mqtt.max_packet_bytes, or one to a \
                 session with all of session.max_subscriptions, must fit into a file"
            );
            self.problems.add(place, "durability.segment_bytes", what);
        }
    }

    /// Limits that must agree with each other. One that nobody wrote gives way.
    fn check_sizes(&mut self) {
        self.check_segment_bytes();
        let limits = &mut self.settings.limits;
        let packet_bytes_max = limits.packet_bytes_max;
        let shown = quantity::show(u64::from(packet_bytes_max), quantity::Unit::Bytes);
        if limits.connect_packet_bytes_max > packet_bytes_max {
            match self.origins.get("mqtt.max_connect_bytes") {
                None => limits.connect_packet_bytes_max = packet_bytes_max,
                Some(place) => {
                    let what = format!("must not be more than mqtt.max_packet_bytes ({shown})");
                    self.problems.add(place, "mqtt.max_connect_bytes", what);
                }
            }
        }
        if limits.reassembly_bytes_max < u64::from(packet_bytes_max) {
            let keys = ["limit.reassembly_bytes", "mqtt.max_packet_bytes"];
            let origin = keys.iter().find_map(|key| self.origins.get(*key));
            let what = format!(
                "must be at least mqtt.max_packet_bytes ({shown}), or the largest packet could \
                 never be collected"
            );
            let place = origin.unwrap_or(&Place::BuiltIn);
            self.problems.add(place, "limit.reassembly_bytes", what);
        }
    }
}

pub(super) fn find<T>(
    keys: &'static [Key<T>],
    section: &str,
    name: &str,
) -> Option<&'static Key<T>> {
    keys.iter()
        .find(|key| key.section == section && key.name == name)
}

pub(super) fn unknown<T>(keys: &[Key<T>], section: &str) -> String {
    let names = keys.iter().filter(|key| key.section == section);
    let names: Vec<&str> = names.map(|key| key.name).collect();
    format!(
        "unknown key, known in this section are {}",
        names.join(", ")
    )
}

pub(super) fn place_in<T>(file: &FileText, spanned: &Spanned<T>) -> Place {
    Place::in_text(&file.name, &file.text, spanned.span().start)
}

/// A table forgets the order of its lines; people read from top to bottom.
fn sort_by_line(problems: &mut Problems, name: &str) {
    let position = |place: &Place| match place {
        Place::File {
            name: file,
            line,
            column,
        } if file == name => Some((*line, *column)),
        _ => None,
    };
    let own = problems
        .0
        .iter()
        .position(|problem| position(&problem.place).is_some());
    if let Some(first) = own {
        problems.0[first..].sort_by_key(|problem| position(&problem.place));
    }
}
