//! The opposite of `reader`: fields into a buffer, or only counted.
//!
//! A length stands before what it counts, so everything is written twice: into a counter, then
//! into the buffer. That needs no scratch memory and no shifting.

use super::protocol::PacketId;
use super::{FIELD_BYTES_MAX, VARIABLE_INTEGER_MAX};

/// Takes the fields of a packet in order.
pub(super) trait Sink {
    fn put(&mut self, bytes: &[u8]);

    fn put_u8(&mut self, value: u8) {
        self.put(&[value]);
    }

    fn put_u16(&mut self, value: u16) {
        self.put(&value.to_be_bytes());
    }

    fn put_u32(&mut self, value: u32) {
        self.put(&value.to_be_bytes());
    }

    fn put_packet_id(&mut self, packet_id: PacketId) {
        self.put_u16(packet_id.get());
    }

    /// Panics above [`VARIABLE_INTEGER_MAX`].
    fn put_variable_integer(&mut self, value: u32) {
        assert!(value <= VARIABLE_INTEGER_MAX);
        let mut rest = value;
        while rest >= 0x80 {
            #[allow(clippy::cast_possible_truncation, reason = "the low seven bits")]
            self.put_u8(rest as u8 | 0x80);
            rest >>= 7;
        }
        #[allow(clippy::cast_possible_truncation, reason = "below 0x80")]
        self.put_u8(rest as u8);
    }

    /// A length as Variable Byte Integer. Panics above [`VARIABLE_INTEGER_MAX`].
    fn put_length(&mut self, count: usize) {
        self.put_variable_integer(u32::try_from(count).unwrap_or(u32::MAX));
    }

    /// Panics when `bytes` is longer than [`FIELD_BYTES_MAX`].
    fn put_binary(&mut self, bytes: &[u8]) {
        assert!(bytes.len() <= FIELD_BYTES_MAX);
        #[allow(clippy::cast_possible_truncation, reason = "asserted above")]
        self.put_u16(bytes.len() as u16);
        self.put(bytes);
    }

    fn put_text(&mut self, text: &str) {
        self.put_binary(text.as_bytes());
    }

    /// `part` with its length in front.
    fn put_section(&mut self, part: &impl Part)
    where
        Self: Sized,
    {
        self.put_length(part.bytes());
        part.write(self);
    }
}

impl Sink for Vec<u8> {
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

/// Counts what would be written.
#[derive(Default)]
pub(super) struct Counter(pub(super) usize);

impl Sink for Counter {
    fn put(&mut self, bytes: &[u8]) {
        self.0 += bytes.len();
    }
}

/// Something with a length in front of it: the body of a packet, a property section.
pub(super) trait Part {
    fn write<S: Sink>(&self, sink: &mut S);

    fn bytes(&self) -> usize {
        let mut counter = Counter::default();
        self.write(&mut counter);
        counter.0
    }
}

/// Bytes that `value` takes as Variable Byte Integer.
pub(super) const fn variable_integer_bytes(value: usize) -> usize {
    match value {
        0..=0x7F => 1,
        0x80..=0x3FFF => 2,
        0x4000..=0x1F_FFFF => 3,
        _ => 4,
    }
}
