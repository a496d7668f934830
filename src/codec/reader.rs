//! A cursor over the bytes of one packet: every field of the format, checked.

use super::protocol::{PacketId, ProtocolError};
use crate::base::scan::plain_text;

const CUT: ProtocolError = ProtocolError::malformed("packet ends inside a field");

#[derive(Clone, Copy)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// What has not been read yet.
    pub(super) const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(super) fn u8(&mut self) -> Result<u8, ProtocolError> {
        let (&first, rest) = self.rest.split_first().ok_or(CUT)?;
        self.rest = rest;
        Ok(first)
    }

    pub(super) fn u16(&mut self) -> Result<u16, ProtocolError> {
        let (bytes, rest) = self.rest.split_first_chunk().ok_or(CUT)?;
        self.rest = rest;
        Ok(u16::from_be_bytes(*bytes))
    }

    pub(super) fn u32(&mut self) -> Result<u32, ProtocolError> {
        let (bytes, rest) = self.rest.split_first_chunk().ok_or(CUT)?;
        self.rest = rest;
        Ok(u32::from_be_bytes(*bytes))
    }

    pub(super) fn packet_id(&mut self) -> Result<PacketId, ProtocolError> {
        // [MQTT-2.2.1-3]
        PacketId::new(self.u16()?).ok_or(ProtocolError::protocol("packet identifier 0"))
    }

    /// A Variable Byte Integer in its shortest form [MQTT-1.5.5-1].
    pub(super) fn variable_integer(&mut self) -> Result<u32, ProtocolError> {
        let mut value = 0;
        for shift in [0, 7, 14, 21] {
            let byte = self.u8()?;
            value |= u32::from(byte & 0x7F) << shift;
            if byte & 0x80 == 0 {
                if byte == 0 && shift > 0 {
                    return Err(ProtocolError::malformed("variable integer is padded"));
                }
                return Ok(value);
            }
        }
        Err(ProtocolError::malformed("variable integer is too long"))
    }

    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8], ProtocolError> {
        let (bytes, rest) = self.rest.split_at_checked(count).ok_or(CUT)?;
        self.rest = rest;
        Ok(bytes)
    }

    /// Binary Data: a two-byte length and so many bytes.
    pub(super) fn binary(&mut self) -> Result<&'a [u8], ProtocolError> {
        let count = self.u16()?;
        self.take(usize::from(count))
    }

    /// A UTF-8 Encoded String [MQTT-1.5.4-1] [MQTT-1.5.4-2].
    pub(super) fn text(&mut self) -> Result<&'a str, ProtocolError> {
        let bytes = self.binary()?;
        if let Some(text) = plain_text(bytes) {
            return Ok(text);
        }
        let text = str::from_utf8(bytes)
            .map_err(|_| ProtocolError::malformed("string is not well-formed UTF-8"))?;
        if bytes.contains(&0) {
            return Err(ProtocolError::malformed("string contains U+0000"));
        }
        Ok(text)
    }

    /// Nothing may follow the last field.
    pub(super) const fn finish(self) -> Result<(), ProtocolError> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(ProtocolError::malformed(
                "bytes after the end of the packet",
            ))
        }
    }
}
