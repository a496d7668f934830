//! Every property in every packet: a second copy of the specification's table, checked from
//! outside.

use super::super::property;
use super::super::{ReasonCode, Sender};
use super::{V5, check_accepted, check_refused, concat, packet};

/// Packets with a property section.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum In {
    Connect,
    Will,
    ConnAck,
    Publish,
    PubAck,
    PubRec,
    PubRel,
    PubComp,
    Subscribe,
    SubAck,
    Unsubscribe,
    UnsubAck,
    Disconnect,
    Auth,
}

const ALL: [In; 14] = [
    In::Connect,
    In::Will,
    In::ConnAck,
    In::Publish,
    In::PubAck,
    In::PubRec,
    In::PubRel,
    In::PubComp,
    In::Subscribe,
    In::SubAck,
    In::Unsubscribe,
    In::UnsubAck,
    In::Disconnect,
    In::Auth,
];

const EXPLAINED: &[In] = &[
    In::ConnAck,
    In::PubAck,
    In::PubRec,
    In::PubRel,
    In::PubComp,
    In::SubAck,
    In::UnsubAck,
    In::Disconnect,
    In::Auth,
];

const MESSAGE: &[In] = &[In::Publish, In::Will];
const NEGOTIATED: &[In] = &[In::Connect, In::ConnAck];
const AUTHENTICATED: &[In] = &[In::Connect, In::ConnAck, In::Auth];

/// Number, a legal value, where it is allowed.
const TABLE: [(u8, &[u8], &[In]); 27] = [
    (0x01, b"\x01", MESSAGE),
    (0x02, b"\x00\x00\x00\x00", MESSAGE),
    (0x03, b"\x00\x01c", MESSAGE),
    (0x08, b"\x00\x01r", MESSAGE),
    (0x09, b"\x00\x02\x00\xFF", MESSAGE),
    (0x0B, b"\xFF\xFF\xFF\x7F", &[In::Publish, In::Subscribe]),
    (
        0x11,
        b"\x00\x00\x00\x00",
        &[In::Connect, In::ConnAck, In::Disconnect],
    ),
    (0x12, b"\x00\x01a", &[In::ConnAck]),
    (0x13, b"\x00\x00", &[In::ConnAck]),
    (0x15, b"\x00\x01m", AUTHENTICATED),
    (0x16, b"\x00\x01d", AUTHENTICATED),
    (0x17, b"\x00", &[In::Connect]),
    (0x18, b"\x00\x00\x00\x00", &[In::Will]),
    (0x19, b"\x01", &[In::Connect]),
    (0x1A, b"\x00\x00", &[In::ConnAck]),
    (0x1C, b"\x00\x01s", &[In::ConnAck, In::Disconnect]),
    (0x1F, b"\x00\x01r", EXPLAINED),
    (0x21, b"\x00\x01", NEGOTIATED),
    (0x22, b"\x00\x00", NEGOTIATED),
    (0x23, b"\x00\x01", &[In::Publish]),
    (0x24, b"\x01", &[In::ConnAck]),
    (0x25, b"\x00", &[In::ConnAck]),
    (0x26, b"\x00\x01k\x00\x01v", &ALL),
    (0x27, b"\x00\x00\x00\x01", NEGOTIATED),
    (0x28, b"\x01", &[In::ConnAck]),
    (0x29, b"\x01", &[In::ConnAck]),
    (0x2A, b"\x00", &[In::ConnAck]),
];

const METHOD: &[u8] = b"\x15\x00\x01m";

/// A packet that is legal but for its properties, and who sends it.
fn carrier(place: In, properties: &[u8]) -> (Sender, Vec<u8>) {
    // The Remaining Length is written like a Property Length.
    let section = packet(0, properties)[1..].to_vec();
    let connect = b"\x00\x04MQTT\x05\x02\x00\x00";
    let will_connect = b"\x00\x04MQTT\x05\x06\x00\x00\x00\x00\x00";
    let (client, server) = (Sender::Client, Sender::Server);
    let (sender, first_byte, body): (_, _, [&[u8]; 3]) = match place {
        In::Connect => (client, 0x10, [connect, &section, b"\x00\x00"]),
        In::Will => (client, 0x10, [will_connect, &section, b"\x00\x01t\x00\x00"]),
        In::ConnAck => (server, 0x20, [b"\x00\x00", &section, b""]),
        In::Publish => (server, 0x30, [b"\x00\x01t", &section, b""]),
        In::PubAck => (client, 0x40, [b"\x00\x01\x00", &section, b""]),
        In::PubRec => (server, 0x50, [b"\x00\x01\x00", &section, b""]),
        In::PubRel => (client, 0x62, [b"\x00\x01\x00", &section, b""]),
        In::PubComp => (server, 0x70, [b"\x00\x01\x00", &section, b""]),
        In::Subscribe => (client, 0x82, [b"\x00\x01", &section, b"\x00\x01f\x00"]),
        In::SubAck => (server, 0x90, [b"\x00\x01", &section, b"\x00"]),
        In::Unsubscribe => (client, 0xA2, [b"\x00\x01", &section, b"\x00\x01f"]),
        In::UnsubAck => (server, 0xB0, [b"\x00\x01", &section, b"\x00"]),
        In::Disconnect => (client, 0xE0, [b"\x00", &section, b""]),
        In::Auth => (client, 0xF0, [b"\x18", &section, b""]),
    };
    (sender, packet(first_byte, &concat(&body)))
}

/// What has to stand beside property `number` for the packet to be legal.
fn companions(place: In, number: u8) -> &'static [u8] {
    let needs_method = place == In::Auth || (place == In::Connect && number == 0x16);
    if needs_method && number != 0x15 {
        METHOD
    } else {
        b""
    }
}

#[test]
fn property_is_accepted_in_its_packets_only() {
    for place in ALL {
        for number in 0..=u8::MAX {
            let known = TABLE.iter().find(|(id, ..)| *id == number);
            let value = known.map_or(&b"\x00\x00\x00\x00\x00\x00"[..], |(_, value, _)| *value);
            let property = concat(&[companions(place, number), &[number], value]);
            let (sender, bytes) = carrier(place, &property);
            let what = format!("property 0x{number:02x} in {place:?}");
            if known.is_some_and(|(.., places)| places.contains(&place)) {
                check_accepted(&what, V5, sender, &bytes);
            } else {
                check_refused(&what, V5, sender, &bytes, ReasonCode::MalformedPacket);
            }
        }
    }
}

#[test]
fn property_is_refused_when_repeated() {
    for (number, value, places) in TABLE {
        for place in places {
            let property = concat(&[&[number], value]);
            let twice = concat(&[companions(*place, number), &property, &property]);
            let (sender, bytes) = carrier(*place, &twice);
            let what = format!("property 0x{number:02x} twice in {place:?}");
            if number == 0x26 || (number, *place) == (0x0B, In::Publish) {
                check_accepted(&what, V5, sender, &bytes);
            } else {
                check_refused(&what, V5, sender, &bytes, ReasonCode::ProtocolError);
            }
        }
    }
}

#[test]
fn property_is_refused_when_cut() {
    for (number, value, places) in TABLE {
        for place in places {
            for end in 0..value.len() {
                let property = concat(&[companions(*place, number), &[number], &value[..end]]);
                let (sender, bytes) = carrier(*place, &property);
                let what = format!("property 0x{number:02x} cut in {place:?}");
                check_refused(&what, V5, sender, &bytes, ReasonCode::MalformedPacket);
            }
        }
    }
}

#[test]
fn property_is_refused_when_its_value_is_illegal() {
    let not_a_flag: &[u8] = b"\x02";
    let cases: [(u8, &[u8], ReasonCode); 16] = [
        (0x01, not_a_flag, ReasonCode::ProtocolError),
        (0x08, b"\x00\x03a/+", ReasonCode::ProtocolError),
        (0x0B, b"\x00", ReasonCode::ProtocolError),
        (0x0B, b"\x80\x00", ReasonCode::MalformedPacket),
        (0x0B, b"\xFF\xFF\xFF\xFF\x01", ReasonCode::MalformedPacket),
        (0x17, not_a_flag, ReasonCode::ProtocolError),
        (0x19, b"\xFF", ReasonCode::ProtocolError),
        (0x21, b"\x00\x00", ReasonCode::ProtocolError),
        (0x23, b"\x00\x00", ReasonCode::TopicAliasInvalid),
        (0x24, not_a_flag, ReasonCode::ProtocolError),
        (0x25, not_a_flag, ReasonCode::ProtocolError),
        (0x27, b"\x00\x00\x00\x00", ReasonCode::ProtocolError),
        (0x28, not_a_flag, ReasonCode::ProtocolError),
        (0x29, not_a_flag, ReasonCode::ProtocolError),
        (0x2A, not_a_flag, ReasonCode::ProtocolError),
        (0x1F, b"\x00\x01\xFF", ReasonCode::MalformedPacket),
    ];
    for (number, value, reason_code) in cases {
        let places = TABLE.iter().find(|(id, ..)| *id == number).unwrap().2;
        for place in places {
            let property = concat(&[companions(*place, number), &[number], value]);
            let (sender, bytes) = carrier(*place, &property);
            let what = format!("property 0x{number:02x} = {value:02x?} in {place:?}");
            check_refused(&what, V5, sender, &bytes, reason_code);
        }
    }
}

#[test]
fn authentication_data_is_refused_without_a_method() {
    let (sender, bytes) = carrier(In::Connect, b"\x16\x00\x01d");
    check_refused("data alone", V5, sender, &bytes, ReasonCode::ProtocolError);
}

#[test]
fn forwardable_properties_are_those_of_the_application_message() {
    let forwardable = property::rules()
        .iter()
        .filter(|rule| rule.is_forwardable());
    let numbers: Vec<u8> = forwardable.map(|rule| rule.id as u8).collect();
    // [MQTT-3.3.2-4] [MQTT-3.3.2-15] [MQTT-3.3.2-16] [MQTT-3.3.2-17] [MQTT-3.3.2-20]
    assert_eq!(numbers, [0x01, 0x03, 0x08, 0x09, 0x26]);
}
