//! Numbers with units as people write them: `"16MiB"`, and back again.

/// What a number counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unit {
    Count,
    Bytes,
    Seconds,
    Micros,
}

const FACTORS: &[(&str, u64)] = &[
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("kB", 1_000),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("B", 1),
];

/// Reads `text` as a number of `unit`: digits, and for bytes optionally a unit behind them.
#[must_use]
pub fn parse(text: &str, unit: Unit) -> Option<u64> {
    let text = text.trim();
    if unit != Unit::Bytes {
        return digits(text);
    }
    for (suffix, factor) in FACTORS {
        if let Some(number) = text.strip_suffix(suffix) {
            return digits(number.trim_end())?.checked_mul(*factor);
        }
    }
    digits(text)
}

/// Only digits: `u64::from_str` would take a plus sign.
fn digits(text: &str) -> Option<u64> {
    let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| text.parse().ok()).flatten()
}

/// Writes `number` so that [`parse`] reads it back: bytes with the largest exact binary unit.
#[must_use]
pub fn show(number: u64, unit: Unit) -> String {
    if unit != Unit::Bytes || number == 0 {
        return number.to_string();
    }
    for (suffix, factor) in [
        ("TiB", 1u64 << 40),
        ("GiB", 1 << 30),
        ("MiB", 1 << 20),
        ("KiB", 1 << 10),
    ] {
        if number.is_multiple_of(factor) {
            return format!("{}{suffix}", number / factor);
        }
    }
    format!("{number}B")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn number_is_read_with_its_unit() {
        let cases = [
            ("0", Some(0)),
            ("4096", Some(4096)),
            ("4096B", Some(4096)),
            ("64KiB", Some(64 << 10)),
            ("16 MiB", Some(16 << 20)),
            ("1GiB", Some(1 << 30)),
            ("10MB", Some(10_000_000)),
            ("10kB", Some(10_000)),
            ("16777216TiB", None),
            ("99999999999999999999", None),
            ("+5", None),
            ("-5", None),
            ("5 m", None),
            ("MiB", None),
            ("1.5MiB", None),
            ("", None),
        ];
        for (text, number) in cases {
            assert_eq!(parse(text, Unit::Bytes), number, "{text}");
        }
        assert_eq!(parse("5KiB", Unit::Count), None);
    }

    #[test]
    fn shown_number_is_read_back() {
        for number in [0, 1, 1023, 1024, 1 << 20, (1 << 20) + 1, 3 << 40, u64::MAX] {
            assert_eq!(parse(&show(number, Unit::Bytes), Unit::Bytes), Some(number));
        }
    }
}
