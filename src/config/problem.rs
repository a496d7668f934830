//! What is wrong with a configuration, and where it was written. One line each, for people.

use std::fmt;

/// Where a value was written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Place {
    /// Nowhere: the built-in default.
    BuiltIn,
    File {
        name: String,
        /// Counted from 1.
        line: usize,
        /// In characters, counted from 1.
        column: usize,
    },
    /// A flag or an environment variable, as the user knows it.
    Outside(String),
}

/// One thing that is wrong.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    pub place: Place,
    /// `section.key`; empty where the text is no TOML.
    pub key: String,
    /// What is wrong, and what is allowed.
    pub what: String,
}

/// Everything that is wrong: never empty where it is returned as an error.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Problems(pub Vec<Problem>);

impl Problems {
    pub(super) fn add(&mut self, place: &Place, key: impl Into<String>, what: impl Into<String>) {
        self.0.push(Problem {
            place: place.clone(),
            key: key.into(),
            what: what.into(),
        });
    }
}

impl Place {
    /// The place of byte `offset` of a file's text.
    pub(super) fn in_text(name: &str, text: &str, offset: usize) -> Self {
        let mut end = offset.min(text.len());
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        let before = &text[..end];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Self::File {
            name: name.to_owned(),
            line: before.bytes().filter(|byte| *byte == b'\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BuiltIn => formatter.write_str("built-in default"),
            Self::File { name, line, column } => write!(formatter, "{name}:{line}:{column}"),
            Self::Outside(name) => formatter.write_str(name),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: ", self.place)?;
        if !self.key.is_empty() {
            write!(formatter, "{}: ", self.key)?;
        }
        formatter.write_str(&self.what)
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                formatter.write_str("\n")?;
            }
            problem.fmt(formatter)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// `text` as it may stand inside a one-line message: quoted, escaped, not longer than needed.
pub(super) fn quoted(text: &str) -> String {
    const CHARACTERS_MAX: usize = 60;
    if text.chars().count() <= CHARACTERS_MAX {
        return format!("{text:?}");
    }
    let start: String = text.chars().take(CHARACTERS_MAX).collect();
    format!("{start:?}...")
}

/// A key as written, made fit for one line.
pub(super) fn printable(key: &str) -> String {
    key.chars().take(80).flat_map(char::escape_debug).collect()
}
