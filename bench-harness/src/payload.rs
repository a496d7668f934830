//! The first 16 bytes of every payload that the generator sends, big-endian:
//!
//! | bytes | meaning |
//! | --- | --- |
//! | 0-2 | source: the publisher's stream, unique in the run |
//! | 3-7 | sequence number of the message in that stream, from 0 |
//! | 8-15 | intended send time, in nanoseconds of the host's monotonic clock |
//!
//! The suite's payload has exactly 16 bytes. Longer ones are filled with a fixed pattern.

pub const STAMP_BYTES: usize = 16;
/// Streams that a run can tell apart.
pub const SOURCES_MAX: u32 = 1 << 24;
const SEQUENCE_BITS: u32 = 40;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    pub source: u32,
    pub sequence: u64,
    pub intended_ns: u64,
}

impl Stamp {
    pub fn encode(&self) -> [u8; STAMP_BYTES] {
        debug_assert!(self.source < SOURCES_MAX && self.sequence < 1 << SEQUENCE_BITS);
        let identity = u64::from(self.source) << SEQUENCE_BITS | self.sequence;
        let mut bytes = [0; STAMP_BYTES];
        bytes[..8].copy_from_slice(&identity.to_be_bytes());
        bytes[8..].copy_from_slice(&self.intended_ns.to_be_bytes());
        bytes
    }

    /// `None` when the payload is too short to be ours.
    pub fn decode(payload: &[u8]) -> Option<Self> {
        let (identity, rest) = payload.split_first_chunk::<8>()?;
        let (intended, _) = rest.split_first_chunk::<8>()?;
        let identity = u64::from_be_bytes(*identity);
        Some(Self {
            source: (identity >> SEQUENCE_BITS) as u32,
            sequence: identity & ((1 << SEQUENCE_BITS) - 1),
            intended_ns: u64::from_be_bytes(*intended),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_survive_the_round_trip() {
        for (source, sequence) in [(0, 0), (SOURCES_MAX - 1, (1 << 40) - 1), (5, 1 << 33)] {
            let intended_ns = 0x0123_4567_89AB_CDEF;
            let stamp = Stamp {
                source,
                sequence,
                intended_ns,
            };
            assert_eq!(Stamp::decode(&stamp.encode()), Some(stamp));
        }
        assert_eq!(Stamp::decode(&[0; 15]), None);
    }
}
