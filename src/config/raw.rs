//! A raw value on its way to its key: what was written, and whether the key takes it.

use super::key::{Key, Value};
use super::problem::{printable, quoted};
use super::quantity::{self, Unit};
use std::path::PathBuf;
use toml::de::DeValue;

/// A value before anybody knows what it should be.
pub(super) enum Raw<'a> {
    Integer(String),
    Text(&'a str),
    Switch(bool),
    /// From outside, where all is text and the key decides.
    Untyped(&'a str),
    Wrong(&'static str),
}

impl Raw<'_> {
    fn text(&self) -> &str {
        match self {
            Self::Integer(text) => text,
            Self::Text(text) | Self::Untyped(text) => text,
            Self::Switch(_) | Self::Wrong(_) => "",
        }
    }

    fn shown(&self) -> String {
        match self {
            Self::Integer(text) => printable(text),
            Self::Text(text) | Self::Untyped(text) => quoted(text),
            Self::Switch(on) => on.to_string(),
            Self::Wrong(description) => (*description).to_owned(),
        }
    }
}

pub(super) fn raw<'a>(value: &'a DeValue<'_>) -> Raw<'a> {
    match value {
        // The radix is 2, 8, 10 or 16; what does not fit is out of every key's range.
        DeValue::Integer(integer) => {
            match i128::from_str_radix(integer.as_str(), integer.radix()) {
                Ok(number) => Raw::Integer(number.to_string()),
                Err(_) => Raw::Integer(integer.as_str().to_owned()),
            }
        }
        DeValue::String(text) => Raw::Text(text),
        DeValue::Boolean(on) => Raw::Switch(*on),
        other => Raw::Wrong(described(other)),
    }
}

pub(super) fn described(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "a number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a section",
    }
}

/// Puts a raw value into `target`, or says what is wrong and what is allowed.
pub(super) fn accept<T>(key: &Key<T>, raw: &Raw<'_>, target: &mut T) -> Result<(), String> {
    match (&key.value, raw) {
        (
            Value::Number {
                unit,
                min,
                max,
                put,
                ..
            },
            Raw::Integer(_) | Raw::Untyped(_),
        )
        | (
            Value::Number {
                unit: unit @ Unit::Bytes,
                min,
                max,
                put,
                ..
            },
            Raw::Text(_),
        ) => {
            let text = raw.text();
            match quantity::parse(text, *unit) {
                Some(number) if (*min..=*max).contains(&number) => {
                    put(target, number);
                    Ok(())
                }
                _ => Err(format!("{}, is {}", key.allowed(), raw.shown())),
            }
        }
        (Value::Switch { put, .. }, Raw::Switch(on)) => {
            put(target, *on);
            Ok(())
        }
        (Value::Switch { put, .. }, Raw::Untyped(text @ ("true" | "false"))) => {
            put(target, *text == "true");
            Ok(())
        }
        (Value::Text { put, .. }, Raw::Text(_) | Raw::Untyped(_))
        | (
            Value::Text {
                put,
                integer_too: true,
                ..
            },
            Raw::Integer(_),
        ) => put(target, raw.text()).map_err(|refused| {
            let allowed = if refused.is_empty() {
                key.allowed()
            } else {
                refused.to_owned()
            };
            format!("{allowed}, is {}", raw.shown())
        }),
        (Value::Path { put, .. }, Raw::Text(text) | Raw::Untyped(text))
            if !text.is_empty() && !text.contains('\0') =>
        {
            put(target, PathBuf::from(text));
            Ok(())
        }
        _ => Err(format!("{}, is {}", key.allowed(), raw.shown())),
    }
}
