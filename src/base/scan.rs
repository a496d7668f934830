//! Looks through short texts eight bytes at a time: topic names and client identifiers are checked
//! for every message, and are too short for the loops of the standard library to pay.

/// Bytes looked at in one step.
const STEP: usize = 8;
const ONES: u64 = u64::from_ne_bytes([0x01; STEP]);
const HIGHS: u64 = u64::from_ne_bytes([0x80; STEP]);

/// The text, if all of it is ASCII and none of it U+0000: then nothing else about it needs to be
/// checked. `None` says nothing about the bytes.
#[must_use]
pub fn plain_text(bytes: &[u8]) -> Option<&str> {
    // The high bit of a byte is set in the byte or in its predecessor when it is above 0x7F or 0;
    // a borrow comes only out of a byte that is 0.
    let found = fold(bytes, |word| word | word.wrapping_sub(ONES));
    if found & HIGHS != 0 {
        return None;
    }
    // SAFETY: every byte is below 0x80, and ASCII is UTF-8.
    Some(unsafe { str::from_utf8_unchecked(bytes) })
}

/// Whether any of these bytes occurs.
#[must_use]
pub fn contains_any<const COUNT: usize>(bytes: &[u8], needles: [u8; COUNT]) -> bool {
    let patterns = needles.map(|needle| u64::from_ne_bytes([needle; STEP]));
    let found = fold(bytes, |word| {
        patterns
            .iter()
            .map(|pattern| zeros(word ^ pattern))
            .fold(0, |all, one| all | one)
    });
    found != 0
}

/// Not 0 exactly when some byte of the word is 0.
const fn zeros(word: u64) -> u64 {
    word.wrapping_sub(ONES) & !word & HIGHS
}

/// What `test` finds in any word of the text. The last word overlaps the one before it; in a text
/// shorter than a word the last byte fills the rest.
fn fold(bytes: &[u8], test: impl Fn(u64) -> u64) -> u64 {
    let Some(tail) = bytes.last_chunk::<STEP>() else {
        let Some(&last) = bytes.last() else { return 0 };
        let mut word = [last; STEP];
        for (to, from) in word.iter_mut().zip(bytes) {
            *to = *from;
        }
        return test(u64::from_ne_bytes(word));
    };
    let (words, _) = bytes.as_chunks::<STEP>();
    let found = words
        .iter()
        .fold(0, |found, word| found | test(u64::from_ne_bytes(*word)));
    found | test(u64::from_ne_bytes(*tail))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::random::Random;

    /// Every length around a step, every place, every interesting byte.
    fn each_text(mut check: impl FnMut(&[u8])) {
        let mut random = Random::new(1);
        for length in 0..40 {
            let letters = (0..length).map(|_| u8::try_from(1 + random.below(127)).unwrap());
            let mut text: Vec<u8> = letters.collect();
            check(&text);
            for place in 0..length {
                for byte in [0, 1, b'#', b'+', b'/', 0x7F, 0x80, 0x81, 0xC3, 0xFF] {
                    let kept = std::mem::replace(&mut text[place], byte);
                    check(&text);
                    text[place] = kept;
                }
            }
        }
    }

    #[test]
    fn plain_text_equals_the_plain_definition() {
        each_text(|text| {
            let is_plain = text.iter().all(|byte| (1..0x80).contains(byte));
            let expected = is_plain.then(|| str::from_utf8(text).unwrap());
            assert_eq!(plain_text(text), expected, "{text:?}");
        });
    }

    #[test]
    fn contains_any_equals_the_plain_definition() {
        each_text(|text| {
            let needles = [0, b'#', b'+'];
            let expected = text.iter().any(|byte| needles.contains(byte));
            assert_eq!(contains_any(text, needles), expected, "{text:?}");
        });
    }
}
