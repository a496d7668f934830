//! Lines for people on standard error, and reason codes by name.

use crate::codec::ReasonCode;
use std::fmt::Display;
use std::io::Write;

/// One line on standard error. Where nobody listens there, there is nobody to tell.
pub(super) fn say(line: impl Display) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// `Not authorized (0x87)`.
pub(super) fn reason_name(reason: ReasonCode) -> String {
    format!("{} (0x{:02X})", words(&format!("{reason:?}")), reason as u8)
}

/// `NotAuthorized` as people write it.
fn words(name: &str) -> String {
    let mut text = String::new();
    for (index, character) in name.char_indices() {
        let starts_word = character.is_ascii_uppercase() && index > 0;
        if starts_word {
            text.push(' ');
            text.push(character.to_ascii_lowercase());
        } else {
            text.push(character);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reason_is_said_by_name_and_number() {
        assert_eq!(
            reason_name(ReasonCode::NotAuthorized),
            "Not authorized (0x87)"
        );
        assert_eq!(words("Success"), "Success");
    }
}
