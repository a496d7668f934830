//! Between the codec's borrowed views and what the client keeps: owned packets in, options out.

use super::connection::ServerLimits;
use super::message::{Message, MessageProperties};
use super::options::{ConnectOptions, SubscribeOptions, WillOptions};
use crate::codec::{
    Ack, AckKind, ConnAck, Connect, ConnectProperties, Disconnect, Frame, PACKET_BYTES_MAX, Packet,
    PacketId, ProtocolError, ProtocolVersion, Publish, PublishProperties, ReasonCode, Subscribe,
    SubscribeFilter, SubscribeFilters, SubscriptionOptions, TopicFilters, Unsubscribe,
    UserProperties, Will, WillProperties, decode_from_server, encode_ack, encode_connect,
    encode_disconnect, encode_ping_req, encode_publish, encode_subscribe, encode_unsubscribe,
    frame,
};

/// A packet from the broker.
#[derive(Debug)]
pub enum Incoming {
    ConnAck(Box<ConnAckReceived>),
    Publish(Message),
    Ack(AckReceived),
    SubAck { reasons: Vec<ReasonCode> },
    UnsubAck,
    PingResp,
    Disconnect { reason: ReasonCode, text: String },
    Auth,
}

#[derive(Debug)]
pub struct ConnAckReceived {
    pub reason: ReasonCode,
    pub text: String,
    pub session_present: bool,
    pub limits: ServerLimits,
    /// Assigned by the broker.
    pub client_id: Option<String>,
    pub server_keep_alive_s: Option<u16>,
}

#[derive(Debug)]
pub struct AckReceived {
    pub kind: AckKind,
    pub packet_id: PacketId,
    pub reason: ReasonCode,
    pub text: String,
}

impl Incoming {
    /// As the specification writes it.
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::ConnAck(_) => "CONNACK",
            Self::Publish(_) => "PUBLISH",
            Self::Ack(ack) => ack_name(ack.kind),
            Self::SubAck { .. } => "SUBACK",
            Self::UnsubAck => "UNSUBACK",
            Self::PingResp => "PINGRESP",
            Self::Disconnect { .. } => "DISCONNECT",
            Self::Auth => "AUTH",
        }
    }
}

pub(super) const fn ack_name(kind: AckKind) -> &'static str {
    match kind {
        AckKind::PubAck => "PUBACK",
        AckKind::PubRec => "PUBREC",
        AckKind::PubRel => "PUBREL",
        AckKind::PubComp => "PUBCOMP",
    }
}

/// The first packet of `bytes` and its length, if all of it is there.
pub(super) fn decode(
    bytes: &[u8],
    version: ProtocolVersion,
) -> Result<Option<(Incoming, usize)>, ProtocolError> {
    let raw = match frame(bytes, PACKET_BYTES_MAX)? {
        Frame::Incomplete { .. } => return Ok(None),
        Frame::Complete(raw) => raw,
    };
    let length = raw.length;
    let ack = |kind, ack: Ack<'_>| {
        Incoming::Ack(AckReceived {
            kind,
            packet_id: ack.packet_id,
            reason: ack.reason_code,
            text: text(ack.reason_string),
        })
    };
    let incoming = match decode_from_server(version, raw)? {
        Packet::ConnAck(conn_ack) => Incoming::ConnAck(Box::new(conn_ack_received(&conn_ack))),
        Packet::Publish(publish) => Incoming::Publish(message(&publish)),
        Packet::PubAck(view) => ack(AckKind::PubAck, view),
        Packet::PubRec(view) => ack(AckKind::PubRec, view),
        Packet::PubRel(view) => ack(AckKind::PubRel, view),
        Packet::PubComp(view) => ack(AckKind::PubComp, view),
        Packet::SubAck(sub_ack) => Incoming::SubAck {
            reasons: sub_ack
                .reason_codes
                .iter()
                .map(|code| reason(*code))
                .collect(),
        },
        Packet::UnsubAck(_) => Incoming::UnsubAck,
        Packet::PingResp => Incoming::PingResp,
        Packet::Disconnect(disconnect) => Incoming::Disconnect {
            reason: disconnect.reason_code,
            text: text(disconnect.reason_string),
        },
        Packet::Auth(_) => Incoming::Auth,
        Packet::Connect(_) | Packet::Subscribe(_) | Packet::Unsubscribe(_) | Packet::PingReq => {
            return Err(ProtocolError::protocol("packet of a client"));
        }
    };
    Ok(Some((incoming, length)))
}

/// The codec lets only known codes through.
fn reason(code: u8) -> ReasonCode {
    ReasonCode::from_u8(code).unwrap_or(ReasonCode::UnspecifiedError)
}

fn text(text: Option<&str>) -> String {
    text.unwrap_or_default().to_owned()
}

fn conn_ack_received(conn_ack: &ConnAck<'_>) -> ConnAckReceived {
    let properties = &conn_ack.properties;
    let limits = ServerLimits {
        receive_maximum: properties.receive_maximum.unwrap_or(u16::MAX),
        packet_bytes_max: properties.maximum_packet_size.unwrap_or(PACKET_BYTES_MAX),
        qos_max: properties.maximum_qos.map_or(2, |qos| qos as u8),
        retain_available: properties.retain_available.unwrap_or(true),
        wildcard_available: properties.wildcard_subscription_available.unwrap_or(true),
        topic_alias_maximum: properties.topic_alias_maximum.unwrap_or(0),
    };
    ConnAckReceived {
        reason: conn_ack.reason_code,
        text: text(properties.reason_string),
        session_present: conn_ack.session_present,
        limits,
        client_id: properties.assigned_client_identifier.map(str::to_owned),
        server_keep_alive_s: properties.server_keep_alive_s,
    }
}

fn message(publish: &Publish<'_>) -> Message {
    let properties = &publish.properties;
    let pairs = properties.user_properties.iter();
    Message {
        topic_name: publish.topic_name.to_owned(),
        payload: publish.payload.to_vec(),
        qos: publish.qos,
        retain: publish.retain,
        dup: publish.dup,
        packet_id: publish.packet_id,
        properties: MessageProperties {
            message_expiry_interval_s: properties.message_expiry_interval_s,
            topic_alias: properties.topic_alias,
            content_type: properties.content_type.map(str::to_owned),
            response_topic: properties.response_topic.map(str::to_owned),
            correlation_data: properties.correlation_data.map(<[u8]>::to_vec),
            user_properties: pairs
                .map(|(name, value)| (name.into(), value.into()))
                .collect(),
            subscription_identifiers: properties.subscription_identifiers.iter().collect(),
        },
    }
}

/// What a message is, for people.
pub(super) fn described(message: &Message) -> String {
    format!(
        "d{}, q{}, r{}, m{}, '{}', ... ({} bytes)",
        u8::from(message.dup),
        message.qos as u8,
        u8::from(message.retain),
        message.packet_id.map_or(0, PacketId::get),
        message.topic_name,
        message.payload.len()
    )
}

pub(super) fn connect(options: &ConnectOptions, out: &mut Vec<u8>) {
    let connect = Connect {
        version: options.version,
        is_bridge: false,
        clean_start: options.clean_start,
        keep_alive_s: options.keep_alive_s,
        client_id: &options.client_id,
        will: options.will.as_ref().map(will),
        username: options.username.as_deref(),
        password: options.password.as_deref(),
        properties: ConnectProperties {
            session_expiry_interval_s: options.session_expiry_interval_s,
            ..ConnectProperties::default()
        },
    };
    encode_connect(&connect, out);
}

fn will(options: &WillOptions) -> Will<'_> {
    Will {
        topic: &options.topic_name,
        payload: &options.payload,
        qos: options.qos,
        retain: options.retain,
        properties: WillProperties {
            will_delay_interval_s: options.delay_interval_s,
            ..WillProperties::default()
        },
    }
}

pub(super) fn publish(message: &Message, version: ProtocolVersion, out: &mut Vec<u8>) {
    let properties = &message.properties;
    let pairs = pairs(&properties.user_properties);
    let publish = Publish {
        dup: message.dup,
        qos: message.qos,
        retain: message.retain,
        topic_name: &message.topic_name,
        packet_id: message.packet_id,
        properties: PublishProperties {
            message_expiry_interval_s: properties.message_expiry_interval_s,
            topic_alias: properties.topic_alias,
            content_type: properties.content_type.as_deref(),
            response_topic: properties.response_topic.as_deref(),
            correlation_data: properties.correlation_data.as_deref(),
            user_properties: UserProperties::Pairs(&pairs),
            ..PublishProperties::default()
        },
        payload: &message.payload,
    };
    encode_publish(&publish, version, out);
}

fn pairs(properties: &[(String, String)]) -> Vec<(&str, &str)> {
    properties
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect()
}

pub(super) fn acknowledge(
    kind: AckKind,
    packet_id: PacketId,
    version: ProtocolVersion,
    out: &mut Vec<u8>,
) {
    encode_ack(
        kind,
        &Ack::new(packet_id, ReasonCode::Success),
        version,
        out,
    );
}

pub(super) fn subscribe(
    packet_id: PacketId,
    options: &SubscribeOptions,
    version: ProtocolVersion,
    out: &mut Vec<u8>,
) {
    let pairs = pairs(&options.user_properties);
    let subscription = SubscriptionOptions {
        qos: options.qos,
        no_local: options.no_local,
        retain_as_published: options.retain_as_published,
        retain_handling: options.retain_handling,
    };
    let filters: Vec<SubscribeFilter<'_>> = options
        .topic_filters
        .iter()
        .map(|topic_filter| SubscribeFilter {
            topic_filter,
            options: subscription,
        })
        .collect();
    let subscribe = Subscribe {
        packet_id,
        subscription_identifier: None,
        user_properties: UserProperties::Pairs(&pairs),
        filters: SubscribeFilters::List(&filters),
    };
    encode_subscribe(&subscribe, version, out);
}

pub(super) fn unsubscribe(
    packet_id: PacketId,
    options: &SubscribeOptions,
    version: ProtocolVersion,
    out: &mut Vec<u8>,
) {
    let filters: Vec<&str> = options.unsubscribe.iter().map(String::as_str).collect();
    let unsubscribe = Unsubscribe {
        packet_id,
        user_properties: UserProperties::default(),
        filters: TopicFilters::List(&filters),
    };
    encode_unsubscribe(&unsubscribe, version, out);
}

pub(super) fn ping(out: &mut Vec<u8>, _version: ProtocolVersion) {
    encode_ping_req(out);
}

pub(super) fn disconnect(reason: ReasonCode, version: ProtocolVersion, out: &mut Vec<u8>) {
    encode_disconnect(&Disconnect::new(reason), version, out);
}
