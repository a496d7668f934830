//! The bytes that clients send.

use ringway::codec::{
    Ack, AckKind, Connect, ConnectProperties, PacketId, ProtocolVersion, Publish, QosLevel,
    ReasonCode, Subscribe, SubscribeFilter, SubscribeFilters, SubscriptionOptions, encode_ack,
    encode_connect, encode_publish, encode_subscribe,
};

pub(crate) const DISCONNECT: [u8; 2] = [0xE0, 0];

pub(crate) fn connect(version: ProtocolVersion, client_id: &str, clean_start: bool) -> Vec<u8> {
    let mut bytes = Vec::new();
    let connect = Connect {
        version,
        is_bridge: false,
        clean_start,
        keep_alive_s: 60,
        client_id,
        will: None,
        username: None,
        password: None,
        properties: ConnectProperties::default(),
    };
    encode_connect(&connect, &mut bytes);
    bytes
}

pub(crate) fn subscribe(version: ProtocolVersion, topic_filter: &str, qos: QosLevel) -> Vec<u8> {
    let options = SubscriptionOptions {
        qos,
        ..SubscriptionOptions::default()
    };
    let filters = [SubscribeFilter {
        topic_filter,
        options,
    }];
    let subscribe = Subscribe {
        packet_id: PacketId::MIN,
        subscription_identifier: None,
        user_properties: Default::default(),
        filters: SubscribeFilters::List(&filters),
    };
    let mut bytes = Vec::new();
    encode_subscribe(&subscribe, version, &mut bytes);
    bytes
}

pub(crate) fn publish(version: ProtocolVersion, publish: &Publish<'_>, out: &mut Vec<u8>) {
    encode_publish(publish, version, out);
}

pub(crate) fn ack(kind: AckKind, version: ProtocolVersion, packet_id: PacketId, out: &mut Vec<u8>) {
    encode_ack(
        kind,
        &Ack::new(packet_id, ReasonCode::Success),
        version,
        out,
    );
}
