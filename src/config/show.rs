//! Settings as a configuration file: the same text configures the same broker.

use super::key::{KEYS, Key, LISTENER, LISTENER_TLS, SECTIONS};
use super::listener_key::{LISTENER_KEYS, TLS_KEYS};
use super::settings::Settings;
use std::fmt::Write;

/// The effective configuration as TOML, each key with its meaning.
#[must_use]
pub fn to_toml(settings: &Settings) -> String {
    let mut text = String::new();
    for section in SECTIONS {
        if *section == LISTENER {
            for listener in &settings.listeners {
                text.push_str("[[listener]]\n");
                lines(&mut text, LISTENER_KEYS, LISTENER, listener);
                if let Some(tls) = &listener.tls {
                    text.push_str("[listener.tls]\n");
                    lines(&mut text, TLS_KEYS, LISTENER_TLS, tls);
                }
            }
        } else {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "[{section}]");
            lines(&mut text, KEYS, section, settings);
        }
    }
    text.truncate(text.trim_end().len());
    text.push('\n');
    text
}

fn lines<T>(text: &mut String, keys: &[Key<T>], section: &str, target: &T) {
    for key in keys.iter().filter(|key| key.section == section) {
        let Some(value) = key.show(target) else {
            continue;
        };
        let assignment = format!("{} = {value}", key.name);
        let _ = writeln!(text, "{assignment:<36} # {}", key.meaning);
    }
    text.push('\n');
}
