//! Every way for SUBSCRIBE, UNSUBSCRIBE and their answers to be wrong.

use super::super::{ReasonCode, Sender};
use super::malformed::{ALL, ONLY_V5, V3, check};
use ReasonCode::{MalformedPacket as Malformed, ProtocolError as Protocol};
use Sender::{Client, Server};

#[test]
fn subscribe_is_refused() {
    check(&[
        ("no packet identifier", ALL, Client, b"\x82\x00", Malformed),
        (
            "packet identifier 0",
            V3,
            Client,
            b"\x82\x06\x00\x00\x00\x01a\x00",
            Protocol,
        ),
        (
            "packet identifier 0",
            ONLY_V5,
            Client,
            b"\x82\x07\x00\x00\x00\x00\x01a\x00",
            Protocol,
        ),
        // [MQTT-3.8.3-2]
        ("no filter", V3, Client, b"\x82\x02\x00\x01", Protocol),
        (
            "no filter",
            ONLY_V5,
            Client,
            b"\x82\x03\x00\x01\x00",
            Protocol,
        ),
        (
            "no options",
            V3,
            Client,
            b"\x82\x05\x00\x01\x00\x01a",
            Malformed,
        ),
        (
            "half a second filter",
            V3,
            Client,
            b"\x82\x07\x00\x01\x00\x01a\x00\x00",
            Malformed,
        ),
        (
            "QoS 3",
            V3,
            Client,
            b"\x82\x06\x00\x01\x00\x01a\x03",
            Protocol,
        ),
        (
            "QoS 3",
            ONLY_V5,
            Client,
            b"\x82\x07\x00\x01\x00\x00\x01a\x03",
            Protocol,
        ),
        // [MQTT-3.8.3-5]
        (
            "reserved options",
            V3,
            Client,
            b"\x82\x06\x00\x01\x00\x01a\x04",
            Malformed,
        ),
        (
            "reserved options",
            V3,
            Client,
            b"\x82\x06\x00\x01\x00\x01a\x80",
            Malformed,
        ),
        (
            "reserved bit 6",
            ONLY_V5,
            Client,
            b"\x82\x07\x00\x01\x00\x00\x01a\x40",
            Malformed,
        ),
        (
            "reserved bit 7",
            ONLY_V5,
            Client,
            b"\x82\x07\x00\x01\x00\x00\x01a\x80",
            Malformed,
        ),
        (
            "retain handling 3",
            ONLY_V5,
            Client,
            b"\x82\x07\x00\x01\x00\x00\x01a\x30",
            Protocol,
        ),
        // [MQTT-3.8.3-4]
        (
            "no local, shared",
            ONLY_V5,
            Client,
            b"\x82\x10\x00\x01\x00\x00\x0A$share/g/a\x04",
            Protocol,
        ),
        (
            "identifier 0",
            ONLY_V5,
            Client,
            b"\x82\x09\x00\x01\x02\x0B\x00\x00\x01a\x00",
            Protocol,
        ),
    ]);
}

#[test]
fn unsubscribe_is_refused() {
    check(&[
        (
            "no packet identifier",
            ALL,
            Client,
            b"\xA2\x01\x00",
            Malformed,
        ),
        (
            "packet identifier 0",
            V3,
            Client,
            b"\xA2\x05\x00\x00\x00\x01a",
            Protocol,
        ),
        // [MQTT-3.10.3-2]
        ("no filter", V3, Client, b"\xA2\x02\x00\x01", Protocol),
        (
            "no filter",
            ONLY_V5,
            Client,
            b"\xA2\x03\x00\x01\x00",
            Protocol,
        ),
        (
            "half a filter",
            V3,
            Client,
            b"\xA2\x05\x00\x01\x00\x02a",
            Malformed,
        ),
    ]);
}

#[test]
fn sub_acks_are_refused() {
    check(&[
        ("no code", V3, Server, b"\x90\x02\x00\x01", Protocol),
        (
            "no code",
            ONLY_V5,
            Server,
            b"\x90\x03\x00\x01\x00",
            Protocol,
        ),
        ("code 3", V3, Server, b"\x90\x03\x00\x01\x03", Protocol),
        // [MQTT-3.9.3-2] [MQTT-3.11.3-2]
        (
            "SUBACK, none existed",
            ONLY_V5,
            Server,
            b"\x90\x04\x00\x01\x00\x11",
            Protocol,
        ),
        (
            "UNSUBACK, granted",
            ONLY_V5,
            Server,
            b"\xB0\x04\x00\x01\x00\x01",
            Protocol,
        ),
        (
            "UNSUBACK with codes",
            V3,
            Server,
            b"\xB0\x03\x00\x01\x00",
            Malformed,
        ),
        (
            "UNSUBACK without codes",
            ONLY_V5,
            Server,
            b"\xB0\x03\x00\x01\x00",
            Protocol,
        ),
    ]);
}
