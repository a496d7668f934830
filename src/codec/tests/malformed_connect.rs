//! Every way for the packets that begin, keep and end a connection to be wrong.

use super::super::{ProtocolVersion, ReasonCode, Sender};
use super::malformed::{ALL, FROM_V311, ONLY_V5, ONLY_V31, ONLY_V311, V3, check};
use super::{V5, V31, check_accepted, check_refused, concat, packet};
use ReasonCode::{MalformedPacket as Malformed, ProtocolError as Protocol};
use Sender::{Client, Server};

#[test]
fn disconnect_auth_and_ping_are_refused() {
    check(&[
        (
            "PINGREQ with a body",
            ALL,
            Client,
            b"\xC0\x01\x00",
            Malformed,
        ),
        (
            "PINGRESP with a body",
            ALL,
            Server,
            b"\xD0\x01\x00",
            Malformed,
        ),
        (
            "DISCONNECT with a body",
            V3,
            Client,
            b"\xE0\x01\x00",
            Malformed,
        ),
        (
            "trailing byte",
            ONLY_V5,
            Client,
            b"\xE0\x03\x00\x00\x00",
            Malformed,
        ),
        // [MQTT-3.14.2-1]
        (
            "taken over by a client",
            ONLY_V5,
            Client,
            b"\xE0\x01\x8E",
            Protocol,
        ),
        (
            "will wanted by a server",
            ONLY_V5,
            Server,
            b"\xE0\x01\x04",
            Protocol,
        ),
        ("unknown code", ONLY_V5, Client, b"\xE0\x01\x7F", Protocol),
        // [MQTT-3.14.2-2]
        (
            "session expiry interval",
            ONLY_V5,
            Server,
            b"\xE0\x07\x00\x05\x11\x00\x00\x00\x01",
            Protocol,
        ),
        // [MQTT-3.15.2-1]
        (
            "success by a client",
            ONLY_V5,
            Client,
            b"\xF0\x00",
            Protocol,
        ),
        (
            "again by a server",
            ONLY_V5,
            Server,
            b"\xF0\x06\x19\x04\x15\x00\x01m",
            Protocol,
        ),
        ("no properties", ONLY_V5, Client, b"\xF0\x01\x18", Malformed),
        ("no method", ONLY_V5, Client, b"\xF0\x02\x18\x00", Protocol),
    ]);
}

#[test]
fn conn_ack_is_refused() {
    check(&[
        ("no code", ALL, Server, b"\x20\x01\x00", Malformed),
        // [MQTT-3.2.2-1]
        (
            "reserved flags",
            ONLY_V311,
            Server,
            b"\x20\x02\x02\x00",
            Malformed,
        ),
        (
            "reserved flags",
            ONLY_V5,
            Server,
            b"\x20\x03\x80\x00\x00",
            Malformed,
        ),
        ("return code 6", V3, Server, b"\x20\x02\x00\x06", Protocol),
        // [MQTT-3.2.2-8]
        (
            "reason code 1",
            ONLY_V5,
            Server,
            b"\x20\x03\x00\x01\x00",
            Protocol,
        ),
        // [MQTT-3.2.2-6]
        (
            "session of nobody",
            ONLY_V311,
            Server,
            b"\x20\x02\x01\x05",
            Protocol,
        ),
        (
            "session of nobody",
            ONLY_V5,
            Server,
            b"\x20\x03\x01\x87\x00",
            Protocol,
        ),
        (
            "no property length",
            ONLY_V5,
            Server,
            b"\x20\x02\x00\x00",
            Malformed,
        ),
        (
            "trailing byte",
            V3,
            Server,
            b"\x20\x03\x00\x00\x00",
            Malformed,
        ),
    ]);
    check_accepted("reserved byte", V31, Server, b"\x20\x02\x02\x00");
}

/// A CONNECT with a client identifier and what `payload` adds.
fn connect(version: ProtocolVersion, flags: u8, payload: &[u8]) -> Vec<u8> {
    let properties: &[u8] = if version == V5 { b"\x00" } else { b"" };
    let name = version.name();
    let body = concat(&[
        &[0, u8::try_from(name.len()).unwrap()],
        name.as_bytes(),
        &[version as u8, flags],
        b"\x00\x3C",
        properties,
        b"\x00\x02me",
        payload,
    ]);
    packet(0x10, &body)
}

#[test]
fn connect_is_refused() {
    type ConnectCase = (&'static str, &'static [ProtocolVersion], u8, &'static [u8]);
    let cases: [ConnectCase; 12] = [
        // [MQTT-3.1.2-3]
        ("reserved flag", FROM_V311, 0b0000_0011, b""),
        // [MQTT-3.1.2-11] [MQTT-3.1.2-12] [MQTT-3.1.2-13]
        ("will QoS without will", ALL, 0b0000_1000, b""),
        ("will retain without will", ALL, 0b0010_0000, b""),
        ("will QoS 3", V3, 0b0001_1100, b"\x00\x01t\x00\x00"),
        ("will QoS 3", ONLY_V5, 0b0001_1100, b"\x00\x00\x01t\x00\x00"),
        // [MQTT-3.1.2-9]
        ("no will", ALL, 0b0000_0100, b""),
        ("no will payload", V3, 0b0000_0100, b"\x00\x01t"),
        // [MQTT-3.1.2-16] [MQTT-3.1.2-18]
        ("user name without flag", ALL, 0b0000_0010, b"\x00\x01u"),
        // [MQTT-3.1.2-17]
        ("no user name", FROM_V311, 0b1000_0010, b""),
        // [MQTT-3.1.2-19]
        ("no password", FROM_V311, 0b1100_0010, b"\x00\x01u"),
        ("password without user name", V3, 0b0100_0010, b"\x00\x01p"),
        ("trailing byte", ALL, 0b1000_0010, b"\x00\x01u\x00"),
    ];
    for (what, versions, flags, payload) in cases {
        for version in versions {
            // [MQTT-3.1.4-1]
            let bytes = connect(*version, flags, payload);
            check_refused(what, *version, Client, &bytes, Malformed);
        }
    }
    check_accepted(
        "flag that 3.1 does not use",
        V31,
        Client,
        &connect(V31, 0b0000_0011, b""),
    );
    check_accepted(
        "password",
        V5,
        Client,
        &connect(V5, 0b0100_0010, b"\x00\x01p"),
    );
    for version in ONLY_V31 {
        check_accepted(
            "no password",
            *version,
            Client,
            &connect(V31, 0b1100_0010, b"\x00\x01u"),
        );
    }
}

#[test]
fn connect_is_refused_when_cut() {
    let v5 = b"\x00\x04MQTT\x05\x54\x00\x3C\x05\x11\xFF\xFF\xFF\xFF\
        \x00\x02me\x05\x18\x00\x00\x00\x05\x00\x01t\x00\x00\x00\x01p";
    check_accepted("whole", V5, Client, &packet(0x10, v5));
    for end in 0..v5.len() {
        // [MQTT-3.1.3-3]
        check_refused("cut", V5, Client, &packet(0x10, &v5[..end]), Malformed);
    }
    let unsupported = packet(0x10, b"\x00\x04MQTT\x07");
    let code = ReasonCode::UnsupportedProtocolVersion;
    check_refused("level 7", V5, Client, &unsupported, code);
}
