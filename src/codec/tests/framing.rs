//! Where packets end, and what is refused before they do.

use super::super::{
    Connect, Frame, PACKET_BYTES_MAX, ProtocolVersion, ReasonCode, decode_connect, frame,
    peek_version,
};
use super::{V5, V31, V311, packet};

fn check_incomplete(bytes: &[u8], bytes_needed: usize) {
    let framed = frame(bytes, PACKET_BYTES_MAX);
    assert_eq!(
        framed,
        Ok(Frame::Incomplete { bytes_needed }),
        "{bytes:02x?}"
    );
}

fn check_refused(bytes: &[u8], packet_bytes_max: u32, reason_code: ReasonCode) {
    let refused = frame(bytes, packet_bytes_max).map_err(|error| error.reason_code);
    assert_eq!(refused, Err(reason_code), "{bytes:02x?}");
}

#[test]
fn length_is_known_when_the_fixed_header_is_whole() {
    check_incomplete(b"", 2);
    check_incomplete(b"\x30", 2);
    check_incomplete(b"\x30\x80", 3);
    check_incomplete(b"\x30\x80\x80", 4);
    check_incomplete(b"\x30\x80\x80\x80", 5);
    check_incomplete(b"\x30\x05", 7);
    check_incomplete(b"\x30\x05\x00\x03a/", 7);
    check_incomplete(b"\x30\x80\x01", 131);
    check_incomplete(b"\x30\xFF\xFF\xFF\x7F", PACKET_BYTES_MAX as usize);
}

#[test]
fn packet_ends_where_the_next_begins() {
    let bytes = b"\x30\x05\x00\x03a/b\xC0\x00";
    let Ok(Frame::Complete(raw)) = frame(bytes, PACKET_BYTES_MAX) else {
        panic!("incomplete");
    };
    assert_eq!(
        (raw.first_byte, raw.body, raw.length),
        (0x30, &b"\x00\x03a/b"[..], 7)
    );
    let Ok(Frame::Complete(raw)) = frame(&bytes[raw.length..], PACKET_BYTES_MAX) else {
        panic!("incomplete");
    };
    assert_eq!((raw.first_byte, raw.body, raw.length), (0xC0, &b""[..], 2));
}

#[test]
fn too_large_is_refused_on_the_header() {
    let too_large = ReasonCode::PacketTooLarge;
    check_refused(b"\x30\x07", 8, too_large);
    check_refused(b"\x30\xFF\xFF\xFF\x7F", PACKET_BYTES_MAX - 1, too_large);
    check_refused(b"\x10\x80\x01", 130, too_large);
    assert!(frame(b"\x10\x80\x01", 131).is_ok());
    assert!(frame(b"\x30\x06", 8).is_ok());
}

#[test]
fn wrong_first_byte_is_refused_alone() {
    // [MQTT-2.1.3-1] [MQTT-3.3.1-2] [MQTT-3.3.1-4] [MQTT-3.6.1-1] [MQTT-3.8.1-1] [MQTT-3.10.1-1]
    // [MQTT-3.14.1-1] [MQTT-3.15.1-1]
    let is_legal = |first_byte: u8| match first_byte >> 4 {
        0 => false,
        3 => first_byte & 0b0110 != 0b0110 && first_byte & 0b1110 != 0b1000,
        6 | 8 | 10 => matches!(first_byte & 0x0F, 0b0010 | 0b1010),
        _ => first_byte & 0x0F == 0,
    };
    for first_byte in 0..=u8::MAX {
        if is_legal(first_byte) {
            check_incomplete(&[first_byte], 2);
        } else {
            check_refused(&[first_byte], PACKET_BYTES_MAX, ReasonCode::MalformedPacket);
        }
    }
}

#[test]
fn remaining_length_has_four_bytes_at_most() {
    let bytes = b"\x30\x80\x80\x80\x80";
    check_refused(bytes, PACKET_BYTES_MAX, ReasonCode::MalformedPacket);
    check_refused(
        b"\x30\xFF\xFF\xFF\xFF\x01",
        u32::MAX,
        ReasonCode::MalformedPacket,
    );
}

#[test]
fn version_is_known_from_name_and_level() {
    let cases: [(&[u8], Option<ProtocolVersion>); 11] = [
        (b"\x00\x04MQTT\x05", Some(V5)),
        (b"\x00\x04MQTT\x04 and anything", Some(V311)),
        (b"\x00\x06MQIsdp\x03", Some(V31)),
        (b"\x00\x04MQTT\x03", None),
        (b"\x00\x04MQTT\x06", None),
        (b"\x00\x04MQTT\x84", Some(V311)),
        (b"\x00\x06MQIsdp\x83", Some(V31)),
        (b"\x00\x04MQTT\x85", None),
        (b"\x00\x06MQIsdp\x04", None),
        (b"\x00\x04mqtt\x04", None),
        (b"\x00\x04MQTT", None),
    ];
    for (body, version) in cases {
        let bytes = packet(0x10, body);
        let Ok(Frame::Complete(raw)) = frame(&bytes, PACKET_BYTES_MAX) else {
            panic!("incomplete");
        };
        assert_eq!(peek_version(raw), version, "{body:02x?}");
    }
}

#[test]
fn unsupported_version_is_said_when_the_rest_is_unknown() {
    // [MQTT-3.1.2-1] [MQTT-3.1.2-2]
    let bodies: [&[u8]; 4] = [
        b"\x00\x04MQTT\x06",
        b"\x00\x04MQTT\x83\x02\x00\x3C\x00\x00",
        b"\x00\x06MQIsdp\x84",
        b"\x00\x04HTTP\x01",
    ];
    for body in bodies {
        let bytes = packet(0x10, body);
        let Ok(Frame::Complete(raw)) = frame(&bytes, PACKET_BYTES_MAX) else {
            panic!("incomplete");
        };
        let refused = decode_connect(raw).map_err(|error| error.reason_code);
        assert_eq!(refused, Err(ReasonCode::UnsupportedProtocolVersion));
    }
}

#[test]
fn first_packet_is_refused_when_it_is_not_connect() {
    // [MQTT-3.1.0-1]
    let Ok(Frame::Complete(raw)) = frame(b"\xC0\x00", PACKET_BYTES_MAX) else {
        panic!("incomplete");
    };
    let refused: Result<Connect<'_>, _> = decode_connect(raw);
    assert_eq!(
        refused.map_err(|error| error.reason_code),
        Err(ReasonCode::ProtocolError)
    );
}
