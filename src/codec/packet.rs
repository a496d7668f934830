//! Any of the fifteen packets, and the one entrance to decoding and encoding.

use super::ack::{self, Ack, AckKind};
use super::auth::{self, Auth};
use super::conn_ack::{self, ConnAck};
use super::connect::{self, Connect};
use super::disconnect::{self, Disconnect};
use super::frame::{RawPacket, check_fixed_header};
use super::protocol::{PacketType, ProtocolError, ProtocolVersion, Sender};
use super::publish::{self, Publish};
use super::reader::Reader;
use super::sub_ack::{self, SubAck, SubAckKind};
use super::subscribe::{self, Subscribe};
use super::unsubscribe::{self, Unsubscribe};
use super::writer::{Counter, Sink};

/// A decoded packet that borrows from the bytes it was decoded from, or one to be encoded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(
    clippy::large_enum_variant,
    reason = "short-lived; boxing would allocate"
)]
pub enum Packet<'a> {
    Connect(Connect<'a>),
    ConnAck(ConnAck<'a>),
    Publish(Publish<'a>),
    PubAck(Ack<'a>),
    PubRec(Ack<'a>),
    PubRel(Ack<'a>),
    PubComp(Ack<'a>),
    Subscribe(Subscribe<'a>),
    SubAck(SubAck<'a>),
    Unsubscribe(Unsubscribe<'a>),
    UnsubAck(SubAck<'a>),
    PingReq,
    PingResp,
    Disconnect(Disconnect<'a>),
    Auth(Auth<'a>),
}

impl Packet<'_> {
    #[must_use]
    pub const fn packet_type(&self) -> PacketType {
        match self {
            Self::Connect(_) => PacketType::Connect,
            Self::ConnAck(_) => PacketType::ConnAck,
            Self::Publish(_) => PacketType::Publish,
            Self::PubAck(_) => PacketType::PubAck,
            Self::PubRec(_) => PacketType::PubRec,
            Self::PubRel(_) => PacketType::PubRel,
            Self::PubComp(_) => PacketType::PubComp,
            Self::Subscribe(_) => PacketType::Subscribe,
            Self::SubAck(_) => PacketType::SubAck,
            Self::Unsubscribe(_) => PacketType::Unsubscribe,
            Self::UnsubAck(_) => PacketType::UnsubAck,
            Self::PingReq => PacketType::PingReq,
            Self::PingResp => PacketType::PingResp,
            Self::Disconnect(_) => PacketType::Disconnect,
            Self::Auth(_) => PacketType::Auth,
        }
    }
}

/// Decodes a packet that `sender` sent on a connection of `version`. A CONNECT is decoded in the
/// version that it names itself.
///
/// # Errors
/// Malformed Packet when the bytes break the format; Protocol Error when they say what this packet
/// may not say, or when `sender` may not send it; Topic Alias invalid for alias 0; Unsupported
/// Protocol Version as in [`super::decode_connect`].
pub fn decode<'a>(
    version: ProtocolVersion,
    sender: Sender,
    raw: RawPacket<'a>,
) -> Result<Packet<'a>, ProtocolError> {
    if raw.packet_type() == Some(PacketType::Connect) && sender == Sender::Client {
        return connect::decode_connect(raw).map(Packet::Connect);
    }
    let packet_type = check_fixed_header(version, raw)?;
    if !packet_type.may_come_from(sender, version) {
        return Err(ProtocolError::protocol("packet from the wrong side"));
    }
    let ack = |kind| ack::decode_body(kind, version, raw);
    let sub_ack = |kind| sub_ack::decode_body(kind, version, raw);
    Ok(match packet_type {
        PacketType::Connect => Packet::Connect(connect::decode_connect(raw)?),
        PacketType::ConnAck => Packet::ConnAck(conn_ack::decode_body(version, raw)?),
        PacketType::Publish => Packet::Publish(publish::decode_body(version, sender, raw)?),
        PacketType::PubAck => Packet::PubAck(ack(AckKind::PubAck)?),
        PacketType::PubRec => Packet::PubRec(ack(AckKind::PubRec)?),
        PacketType::PubRel => Packet::PubRel(ack(AckKind::PubRel)?),
        PacketType::PubComp => Packet::PubComp(ack(AckKind::PubComp)?),
        PacketType::Subscribe => Packet::Subscribe(subscribe::decode_body(version, raw)?),
        PacketType::SubAck => Packet::SubAck(sub_ack(SubAckKind::SubAck)?),
        PacketType::Unsubscribe => Packet::Unsubscribe(unsubscribe::decode_body(version, raw)?),
        PacketType::UnsubAck => Packet::UnsubAck(sub_ack(SubAckKind::UnsubAck)?),
        PacketType::PingReq => check_empty(raw).map(|()| Packet::PingReq)?,
        PacketType::PingResp => check_empty(raw).map(|()| Packet::PingResp)?,
        PacketType::Disconnect => {
            Packet::Disconnect(disconnect::decode_body(version, sender, raw)?)
        }
        PacketType::Auth => Packet::Auth(auth::decode_body(sender, raw)?),
    })
}

/// PINGREQ and PINGRESP have no body.
fn check_empty(raw: RawPacket<'_>) -> Result<(), ProtocolError> {
    Reader::new(raw.body).finish()
}

/// [`decode`] for the broker's side.
///
/// # Errors
/// As [`decode`].
pub fn decode_from_client<'a>(
    version: ProtocolVersion,
    raw: RawPacket<'a>,
) -> Result<Packet<'a>, ProtocolError> {
    decode(version, Sender::Client, raw)
}

/// [`decode`] for a client's side.
///
/// # Errors
/// As [`decode`].
pub fn decode_from_server<'a>(
    version: ProtocolVersion,
    raw: RawPacket<'a>,
) -> Result<Packet<'a>, ProtocolError> {
    decode(version, Sender::Server, raw)
}

/// Appends `packet` to `out`. A CONNECT is encoded in the version that it names itself; for the
/// rest and for the limits see the function of each packet.
pub fn encode(packet: &Packet<'_>, version: ProtocolVersion, out: &mut Vec<u8>) {
    write_packet(packet, version, out);
}

/// Bytes that [`encode`] would append, to compare with the receiver's Maximum Packet Size.
#[must_use]
pub fn encoded_bytes(packet: &Packet<'_>, version: ProtocolVersion) -> usize {
    let mut counter = Counter::default();
    write_packet(packet, version, &mut counter);
    counter.0
}

fn write_packet<S: Sink>(packet: &Packet<'_>, version: ProtocolVersion, sink: &mut S) {
    match packet {
        Packet::Connect(connect) => connect::write_connect(connect, sink),
        Packet::ConnAck(conn_ack) => conn_ack::write_conn_ack(conn_ack, version, sink),
        Packet::Publish(publish) => publish::write_publish(publish, version, sink),
        Packet::PubAck(ack) => ack::write_ack(AckKind::PubAck, ack, version, sink),
        Packet::PubRec(ack) => ack::write_ack(AckKind::PubRec, ack, version, sink),
        Packet::PubRel(ack) => ack::write_ack(AckKind::PubRel, ack, version, sink),
        Packet::PubComp(ack) => ack::write_ack(AckKind::PubComp, ack, version, sink),
        Packet::Subscribe(subscribe) => subscribe::write_subscribe(subscribe, version, sink),
        Packet::SubAck(ack) => sub_ack::write_sub_ack(SubAckKind::SubAck, ack, version, sink),
        Packet::Unsubscribe(unsubscribe) => {
            unsubscribe::write_unsubscribe(unsubscribe, version, sink);
        }
        Packet::UnsubAck(ack) => sub_ack::write_sub_ack(SubAckKind::UnsubAck, ack, version, sink),
        Packet::PingReq => write_empty(PacketType::PingReq, sink),
        Packet::PingResp => write_empty(PacketType::PingResp, sink),
        Packet::Disconnect(disconnect) => disconnect::write_disconnect(disconnect, version, sink),
        Packet::Auth(auth) => auth::write_auth(auth, sink),
    }
}

fn write_empty<S: Sink>(packet_type: PacketType, sink: &mut S) {
    sink.put(&[packet_type.first_byte(), 0]);
}

pub fn encode_ping_req(out: &mut Vec<u8>) {
    write_empty(PacketType::PingReq, out);
}

pub fn encode_ping_resp(out: &mut Vec<u8>) {
    write_empty(PacketType::PingResp, out);
}
