//! Tests of the codec at its boundary: bytes in, packets or a reason code out, and back.

mod bytes;
mod framing;
mod layout;
mod malformed;
mod malformed_connect;
mod malformed_subscribe;
mod property_table;
mod random_input;
mod round_trip;

use super::{Frame, Packet, ProtocolError, ProtocolVersion, ReasonCode, Sender, decode, frame};
use ProtocolVersion::{V5, V31, V311};

/// A packet with a correct Remaining Length.
fn packet(first_byte: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first_byte];
    let mut rest = body.len();
    while rest >= 0x80 {
        bytes.push(u8::try_from(rest & 0x7F).unwrap() | 0x80);
        rest >>= 7;
    }
    bytes.push(u8::try_from(rest).unwrap());
    bytes.extend_from_slice(body);
    bytes
}

fn concat(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

fn decode_bytes(
    version: ProtocolVersion,
    sender: Sender,
    bytes: &[u8],
) -> Result<Packet<'_>, ProtocolError> {
    match frame(bytes, u32::MAX)? {
        Frame::Complete(raw) => decode(version, sender, raw),
        Frame::Incomplete { bytes_needed } => panic!("{bytes:02x?} needs {bytes_needed} bytes"),
    }
}

fn check_refused(
    what: &str,
    version: ProtocolVersion,
    sender: Sender,
    bytes: &[u8],
    reason_code: ReasonCode,
) {
    let refused = decode_bytes(version, sender, bytes).map_err(|error| error.reason_code);
    assert_eq!(
        refused,
        Err(reason_code),
        "{what} in {version:?}: {bytes:02x?}"
    );
}

fn check_accepted(what: &str, version: ProtocolVersion, sender: Sender, bytes: &[u8]) {
    let decoded = decode_bytes(version, sender, bytes);
    assert!(
        decoded.is_ok(),
        "{what} in {version:?}: {bytes:02x?}: {decoded:?}"
    );
}
