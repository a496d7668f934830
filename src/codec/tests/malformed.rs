//! Every way to be wrong, with the reason code it gives: fixed header, strings, PUBLISH and its
//! acknowledgements. Properties have their own table.

use super::super::{ProtocolVersion, ReasonCode, Sender};
use super::{V5, V31, V311, check_accepted, check_refused, concat, packet};
use ReasonCode::{MalformedPacket as Malformed, ProtocolError as Protocol};
use Sender::{Client, Server};

pub(super) type Case = (
    &'static str,
    &'static [ProtocolVersion],
    Sender,
    &'static [u8],
    ReasonCode,
);

pub(super) const ALL: &[ProtocolVersion] = &[V31, V311, V5];
pub(super) const V3: &[ProtocolVersion] = &[V31, V311];
pub(super) const ONLY_V31: &[ProtocolVersion] = &[V31];
pub(super) const ONLY_V311: &[ProtocolVersion] = &[V311];
pub(super) const ONLY_V5: &[ProtocolVersion] = &[V5];
pub(super) const FROM_V311: &[ProtocolVersion] = &[V311, V5];

pub(super) fn check(cases: &[Case]) {
    for (what, versions, sender, bytes, reason_code) in cases {
        for version in *versions {
            check_refused(what, *version, *sender, bytes, *reason_code);
        }
    }
}

#[test]
fn fixed_header_is_checked_by_version() {
    check(&[
        (
            "padded remaining length",
            ONLY_V5,
            Client,
            b"\xC0\x80\x00",
            Malformed,
        ),
        (
            "padded remaining length",
            ONLY_V5,
            Client,
            b"\x30\x86\x00\x00\x01ab\x00c",
            Malformed,
        ),
        (
            "DUP of PUBREL",
            FROM_V311,
            Client,
            b"\x6A\x02\x00\x01",
            Malformed,
        ),
        (
            "DUP of SUBSCRIBE",
            ONLY_V311,
            Client,
            b"\x8A\x06\x00\x01\x00\x01a\x00",
            Malformed,
        ),
        (
            "DUP of UNSUBSCRIBE",
            ONLY_V311,
            Client,
            b"\xAA\x05\x00\x01\x00\x01a",
            Malformed,
        ),
    ]);
    // [MQTT-1.5.5-1] binds 5.0 only.
    check_accepted("padded remaining length", V311, Client, b"\xC0\x80\x00");
    // 3.1 has DUP on these.
    check_accepted("DUP of PUBREL", V31, Client, b"\x6A\x02\x00\x01");
    check_accepted(
        "DUP of SUBSCRIBE",
        V31,
        Client,
        b"\x8A\x06\x00\x01\x00\x01a\x00",
    );
    check_accepted(
        "DUP of UNSUBSCRIBE",
        V31,
        Client,
        b"\xAA\x05\x00\x01\x00\x01a",
    );
}

#[test]
fn packets_go_one_way() {
    check(&[
        ("CONNACK", V3, Client, b"\x20\x02\x00\x00", Protocol),
        (
            "CONNACK",
            ONLY_V5,
            Client,
            b"\x20\x03\x00\x00\x00",
            Protocol,
        ),
        ("SUBACK", V3, Client, b"\x90\x03\x00\x01\x00", Protocol),
        ("UNSUBACK", V3, Client, b"\xB0\x02\x00\x01", Protocol),
        ("PINGRESP", ALL, Client, b"\xD0\x00", Protocol),
        ("PINGREQ", ALL, Server, b"\xC0\x00", Protocol),
        (
            "SUBSCRIBE",
            V3,
            Server,
            b"\x82\x06\x00\x01\x00\x01a\x00",
            Protocol,
        ),
        (
            "UNSUBSCRIBE",
            V3,
            Server,
            b"\xA2\x05\x00\x01\x00\x01a",
            Protocol,
        ),
        ("DISCONNECT", V3, Server, b"\xE0\x00", Protocol),
        (
            "CONNECT",
            ALL,
            Server,
            b"\x10\x0C\x00\x04MQTT\x04\x02\x00\x00\x00\x00",
            Protocol,
        ),
        ("AUTH", V3, Client, b"\xF0\x00", Protocol),
        ("AUTH", V3, Server, b"\xF0\x00", Protocol),
    ]);
}

#[test]
fn publish_is_refused() {
    check(&[
        ("no topic", ALL, Client, b"\x30\x00", Malformed),
        ("half a topic", ALL, Client, b"\x30\x03\x00\x02a", Malformed),
        (
            "no packet identifier",
            ALL,
            Client,
            b"\x32\x03\x00\x01a",
            Malformed,
        ),
        // [MQTT-2.2.1-3] [MQTT-2.2.1-4]
        (
            "packet identifier 0",
            ALL,
            Client,
            b"\x32\x06\x00\x01a\x00\x00\x00",
            Protocol,
        ),
        (
            "packet identifier 0",
            ALL,
            Server,
            b"\x34\x06\x00\x01a\x00\x00\x00",
            Protocol,
        ),
        ("empty topic", V3, Client, b"\x30\x03\x00\x00x", Protocol),
        (
            "empty topic without alias",
            ONLY_V5,
            Client,
            b"\x30\x03\x00\x00\x00",
            Protocol,
        ),
        (
            "no property length",
            ONLY_V5,
            Client,
            b"\x30\x03\x00\x01a",
            Malformed,
        ),
        (
            "properties after the end",
            ONLY_V5,
            Client,
            b"\x30\x05\x00\x01a\x02\x01",
            Malformed,
        ),
        (
            "padded property length",
            ONLY_V5,
            Client,
            b"\x30\x05\x00\x01a\x80\x00",
            Malformed,
        ),
        (
            "long property length",
            ONLY_V5,
            Client,
            b"\x30\x09\x00\x01a\x80\x80\x80\x80\x01x",
            Malformed,
        ),
        // [MQTT-3.3.2-8]
        (
            "alias 0",
            ONLY_V5,
            Client,
            b"\x30\x07\x00\x01a\x03\x23\x00\x00",
            ReasonCode::TopicAliasInvalid,
        ),
        // [MQTT-3.3.4-6]
        (
            "subscription identifier",
            ONLY_V5,
            Client,
            b"\x30\x06\x00\x01a\x02\x0B\x01",
            Protocol,
        ),
        // [MQTT-3.3.2-14]
        (
            "response topic a/#",
            ONLY_V5,
            Client,
            b"\x30\x0A\x00\x01a\x06\x08\x00\x03a/#",
            Protocol,
        ),
        (
            "response topic +",
            ONLY_V5,
            Client,
            b"\x30\x08\x00\x01a\x04\x08\x00\x01+",
            Protocol,
        ),
    ]);
    check_accepted(
        "empty topic",
        V5,
        Client,
        b"\x30\x06\x00\x00\x03\x23\x00\x01",
    );
    check_accepted("identifier", V5, Server, b"\x30\x06\x00\x01a\x02\x0B\x01");
}

#[test]
fn strings_are_refused() {
    // [MQTT-1.5.4-1] [MQTT-1.5.4-2]
    let texts: [&[u8]; 8] = [
        b"\x00",
        b"a\x00b",
        b"\xFF",
        b"\xC0\x80",
        b"\xED\xA0\x80",
        b"\xED\xBF\xBF",
        b"\xF4\x90\x80\x80",
        b"a\xE2\x82",
    ];
    for text in texts {
        let length = [0, u8::try_from(text.len()).unwrap()];
        let field = concat(&[&length, text]);
        for version in ProtocolVersion::ALL {
            // [MQTT-3.3.2-1] [MQTT-3.8.3-1] [MQTT-3.10.3-1] [MQTT-3.1.3-4]
            let no_properties: &[u8] = if version == V5 { b"\x00" } else { b"" };
            let publish = concat(&[&field, no_properties]);
            let subscribe = concat(&[b"\x00\x01", no_properties, &field, b"\x00"]);
            let unsubscribe = concat(&[b"\x00\x01", no_properties, &field]);
            let connect = concat(&[b"\x00\x04MQTT\x04\x02\x00\x00", &field]);
            for (first_byte, body) in [
                (0x30, publish),
                (0x82, subscribe),
                (0xA2, unsubscribe),
                (0x10, connect),
            ] {
                check_refused(
                    "text",
                    version,
                    Client,
                    &packet(first_byte, &body),
                    Malformed,
                );
            }
        }
        // [MQTT-3.1.3-11] [MQTT-3.1.3-12]
        let head = b"\x00\x04MQTT\x04\x86\x00\x00\x00\x00";
        let will_topic = packet(0x10, &concat(&[head, &field, b"\x00\x00\x00\x00"]));
        let username = packet(0x10, &concat(&[head, b"\x00\x01t\x00\x00", &field]));
        check_refused("will topic", V311, Client, &will_topic, Malformed);
        check_refused("user name", V311, Client, &username, Malformed);
        // [MQTT-1.5.7-1]
        for pair in [
            concat(&[&field, b"\x00\x00"]),
            concat(&[b"\x00\x00", &field]),
        ] {
            let section = concat(&[b"\x26", &pair]);
            let publish = packet(0x30, &concat(&[b"\x00\x01a", &packet(0, &section)[1..]]));
            check_refused("user property", V5, Client, &publish, Malformed);
        }
    }
}

#[test]
fn acks_are_refused() {
    for first_byte in [0x40, 0x50, 0x62, 0x70] {
        for version in ProtocolVersion::ALL {
            let body_and_code: [(&[u8], ReasonCode); 3] = [
                (b"", Malformed),
                (b"\x01", Malformed),
                (b"\x00\x00", Protocol),
            ];
            for (body, code) in body_and_code {
                check_refused("ack", version, Client, &packet(first_byte, body), code);
            }
        }
        for version in V3 {
            let bytes = packet(first_byte, b"\x00\x01\x00");
            check_refused(
                "more than an identifier",
                *version,
                Client,
                &bytes,
                Malformed,
            );
        }
        let bytes = packet(first_byte, b"\x00\x01\x00\x00\x00");
        check_refused("trailing byte", V5, Client, &bytes, Malformed);
        let bytes = packet(first_byte, b"\x00\x01\x00\x01");
        check_refused("section after the end", V5, Client, &bytes, Malformed);
    }
    check(&[
        // [MQTT-3.4.2-1] [MQTT-3.5.2-1] [MQTT-3.6.2-1] [MQTT-3.7.2-1]
        (
            "PUBACK, granted",
            ONLY_V5,
            Client,
            b"\x40\x03\x00\x01\x01",
            Protocol,
        ),
        (
            "PUBACK, not found",
            ONLY_V5,
            Client,
            b"\x40\x03\x00\x01\x92",
            Protocol,
        ),
        (
            "PUBREC, wildcards",
            ONLY_V5,
            Client,
            b"\x50\x03\x00\x01\xA2",
            Protocol,
        ),
        (
            "PUBREL, no subscribers",
            ONLY_V5,
            Client,
            b"\x62\x03\x00\x01\x10",
            Protocol,
        ),
        (
            "PUBREL, error",
            ONLY_V5,
            Client,
            b"\x62\x03\x00\x01\x80",
            Protocol,
        ),
        (
            "PUBCOMP, unknown",
            ONLY_V5,
            Client,
            b"\x70\x03\x00\x01\x03",
            Protocol,
        ),
    ]);
}
