//! What a payload says: which publisher made it, and the number of the message.

/// The payload of message `number` of `publisher`, with `filling` bytes behind it.
pub(crate) fn payload(publisher: u32, number: u32, filling: usize) -> Vec<u8> {
    let mut bytes = payload_name(publisher, number).to_be_bytes().to_vec();
    bytes.resize(bytes.len() + filling, 0x5A);
    bytes
}

fn payload_name(publisher: u32, number: u32) -> u64 {
    u64::from(publisher) << 32 | u64::from(number)
}

/// Publisher and number of a payload.
pub(crate) fn payload_id(payload: &[u8]) -> Option<(u32, u32)> {
    let bytes: [u8; 8] = payload.get(..8)?.try_into().ok()?;
    let name = u64::from_be_bytes(bytes);
    Some(((name >> 32) as u32, name as u32))
}

/// A small generator: splitmix64.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % bound
    }

    pub(crate) fn one_in(&mut self, bound: u64) -> bool {
        self.below(bound) == 0
    }
}
