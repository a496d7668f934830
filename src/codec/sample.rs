//! Legal packets drawn from a generator, for tests, fuzz seeds and the simulator's rude clients:
//! every packet, version and property, empty and long fields, lengths around the steps of the
//! Variable Byte Integer. All text is `'static`, so a packet borrows from nobody.

use super::reason_code::{carrier, is_carried};
use super::{
    Ack, Auth, ConnAck, ConnAckProperties, Connect, ConnectProperties, Disconnect, Packet,
    PacketId, PacketType, ProtocolVersion, Publish, PublishProperties, QosLevel, ReasonCode,
    ReceivedProperties, RetainHandling, Sender, SubAck, Subscribe, SubscribeFilter,
    SubscribeFilters, SubscriptionIdentifiers, SubscriptionOptions, TopicFilters, Unsubscribe,
    UserProperties, VARIABLE_INTEGER_MAX, Will, WillProperties, conn_ack_return_code,
};
use crate::base::random::Random;

/// Long enough for a Remaining Length of three bytes.
const LONG_BYTES: usize = 17_000;

const ALPHABET: &[u8] = b"abcdefghijklmnopqrstuvwxyz";

static BINARY: [u8; LONG_BYTES] = long_binary();
static LETTERS: [u8; LONG_BYTES] = long_letters();

static TEXTS: [&str; 7] = [
    "a",
    "sensors/7/temperature",
    "straße/größe",
    "\u{FEFF}温度/☃/\u{10FFFF}",
    "/",
    "$SYS/broker",
    "\u{1}\u{7F}\u{D7FF}\u{E000}",
];

static PAIRS: [(&str, &str); 5] = [
    ("", ""),
    ("name", "value"),
    ("name", "value"),
    ("größe", "\u{FEFF}"),
    ("z", "another value"),
];

static IDENTIFIERS: [u32; 6] = [1, 127, 128, 16_384, 2_097_152, VARIABLE_INTEGER_MAX];

static FILTERS: [&str; 5] = ["a/b", "+/b/#", "#", "$share/group/a/+", "größe/+"];

static SUBSCRIBE_FILTERS: [SubscribeFilter<'static>; 4] = [
    subscribe_filter("a/b", QosLevel::AtMostOnce, true, RetainHandling::Send),
    subscribe_filter(
        "+/b/#",
        QosLevel::ExactlyOnce,
        true,
        RetainHandling::DoNotSend,
    ),
    subscribe_filter(
        "$share/g/a",
        QosLevel::AtLeastOnce,
        false,
        RetainHandling::SendIfNew,
    ),
    subscribe_filter("größe", QosLevel::AtLeastOnce, false, RetainHandling::Send),
];

/// What 3.x can say of a subscription.
static PLAIN_SUBSCRIBE_FILTERS: [SubscribeFilter<'static>; 3] = [
    plain_filter("a/b", QosLevel::AtMostOnce),
    plain_filter("+/b/#", QosLevel::AtLeastOnce),
    plain_filter("größe", QosLevel::ExactlyOnce),
];

const fn long_binary() -> [u8; LONG_BYTES] {
    let mut bytes = [0; LONG_BYTES];
    let mut index = 0;
    while index < LONG_BYTES {
        #[allow(clippy::cast_possible_truncation, reason = "any byte will do")]
        {
            bytes[index] = (index * 31) as u8;
        }
        index += 1;
    }
    bytes
}

const fn long_letters() -> [u8; LONG_BYTES] {
    let mut bytes = [b'/'; LONG_BYTES];
    let mut index = 0;
    while index < LONG_BYTES {
        if index % 9 != 8 {
            bytes[index] = ALPHABET[index % ALPHABET.len()];
        }
        index += 1;
    }
    bytes
}

const fn plain_filter(topic_filter: &'static str, qos: QosLevel) -> SubscribeFilter<'static> {
    SubscribeFilter {
        topic_filter,
        options: SubscriptionOptions {
            qos,
            no_local: false,
            retain_as_published: false,
            retain_handling: RetainHandling::Send,
        },
    }
}

const fn subscribe_filter(
    topic_filter: &'static str,
    qos: QosLevel,
    no_local: bool,
    retain_handling: RetainHandling,
) -> SubscribeFilter<'static> {
    SubscribeFilter {
        topic_filter,
        options: SubscriptionOptions {
            qos,
            no_local,
            retain_as_published: !no_local,
            retain_handling,
        },
    }
}

/// Draws packets; the same seed gives the same packets.
#[derive(Clone, Debug)]
pub struct Sampler {
    random: Random,
}

impl Sampler {
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self {
            random: Random::new(seed),
        }
    }

    /// A packet that `sender` may send in `version`. A CONNECT is one of `version`.
    pub fn packet(&mut self, version: ProtocolVersion, sender: Sender) -> Packet<'static> {
        loop {
            let first_byte = self.number(1, 15) << 4;
            #[allow(clippy::cast_possible_truncation, reason = "at most 0xF0")]
            if let Some(packet_type) = PacketType::of(first_byte as u8)
                && packet_type.may_come_from(sender, version)
            {
                return self.packet_of(packet_type, version, sender);
            }
        }
    }

    fn packet_of(
        &mut self,
        packet_type: PacketType,
        version: ProtocolVersion,
        sender: Sender,
    ) -> Packet<'static> {
        match packet_type {
            PacketType::Connect => Packet::Connect(self.connect(version)),
            PacketType::ConnAck => Packet::ConnAck(self.conn_ack(version)),
            PacketType::Publish => Packet::Publish(self.publish(version, sender)),
            PacketType::PubAck => Packet::PubAck(self.ack(version, carrier::PUB_ACK)),
            PacketType::PubRec => Packet::PubRec(self.ack(version, carrier::PUB_ACK)),
            PacketType::PubRel => Packet::PubRel(self.ack(version, carrier::PUB_REL)),
            PacketType::PubComp => Packet::PubComp(self.ack(version, carrier::PUB_REL)),
            PacketType::Subscribe => Packet::Subscribe(self.subscribe(version)),
            PacketType::SubAck => Packet::SubAck(self.sub_ack(version)),
            PacketType::Unsubscribe => Packet::Unsubscribe(self.unsubscribe(version)),
            PacketType::UnsubAck => Packet::UnsubAck(self.unsub_ack(version)),
            PacketType::PingReq => Packet::PingReq,
            PacketType::PingResp => Packet::PingResp,
            PacketType::Disconnect => Packet::Disconnect(self.disconnect(version, sender)),
            PacketType::Auth => Packet::Auth(self.auth(sender)),
        }
    }

    pub fn connect(&mut self, version: ProtocolVersion) -> Connect<'static> {
        let username = self.maybe(Self::text);
        let may_have_password = username.is_some() || version.is_v5();
        let mut connect = Connect {
            version,
            is_bridge: version != ProtocolVersion::V5 && self.flag(),
            clean_start: self.flag(),
            keep_alive_s: self.u16(0),
            client_id: if self.flag() { "" } else { self.text() },
            will: self.maybe(Self::will),
            username,
            password: self.maybe(Self::binary).filter(|_| may_have_password),
            properties: ConnectProperties::default(),
        };
        if version.is_v5() {
            connect.properties = self.connect_properties();
        } else if let Some(will) = &mut connect.will {
            will.properties = WillProperties::default();
        }
        connect
    }

    fn connect_properties(&mut self) -> ConnectProperties<'static> {
        let authentication_method = self.maybe(Self::text);
        ConnectProperties {
            session_expiry_interval_s: self.maybe(Self::u32),
            receive_maximum: self.maybe(|it| it.u16(1)),
            maximum_packet_size: self.maybe(|it| it.u32().max(1)),
            topic_alias_maximum: self.maybe(|it| it.u16(0)),
            request_response_information: self.maybe(Self::flag),
            request_problem_information: self.maybe(Self::flag),
            authentication_method,
            authentication_data: authentication_method.and_then(|_| self.maybe(Self::binary)),
            user_properties: self.user_properties(),
        }
    }

    fn will(&mut self) -> Will<'static> {
        Will {
            topic: self.text(),
            payload: self.binary(),
            qos: self.qos(),
            retain: self.flag(),
            properties: WillProperties {
                will_delay_interval_s: self.maybe(Self::u32),
                payload_format_indicator: self.maybe(|it| u8::from(it.flag())),
                message_expiry_interval_s: self.maybe(Self::u32),
                content_type: self.maybe(Self::text),
                response_topic: self.maybe(Self::text),
                correlation_data: self.maybe(Self::binary),
                user_properties: self.user_properties(),
                raw: ReceivedProperties::default(),
            },
        }
    }

    fn conn_ack(&mut self, version: ProtocolVersion) -> ConnAck<'static> {
        let reason_code = self.reason_code(version, carrier::CONN_ACK);
        if version.is_v5() {
            return ConnAck {
                session_present: self.flag() && reason_code == ReasonCode::Success,
                reason_code,
                properties: self.conn_ack_properties(),
            };
        }
        let return_codes = [
            ReasonCode::Success,
            ReasonCode::UnsupportedProtocolVersion,
            ReasonCode::ClientIdentifierNotValid,
            ReasonCode::ServerUnavailable,
            ReasonCode::BadUserNameOrPassword,
            ReasonCode::NotAuthorized,
        ];
        let reason_code = *self.one_of(&return_codes);
        let may_be_present = conn_ack_return_code(reason_code) == Some(0);
        ConnAck {
            session_present: self.flag() && may_be_present && version == ProtocolVersion::V311,
            reason_code,
            properties: ConnAckProperties::default(),
        }
    }

    fn conn_ack_properties(&mut self) -> ConnAckProperties<'static> {
        ConnAckProperties {
            session_expiry_interval_s: self.maybe(Self::u32),
            receive_maximum: self.maybe(|it| it.u16(1)),
            maximum_qos: self.maybe(|it| it.qos().min(QosLevel::AtLeastOnce)),
            retain_available: self.maybe(Self::flag),
            maximum_packet_size: self.maybe(|it| it.u32().max(1)),
            assigned_client_identifier: self.maybe(Self::text),
            topic_alias_maximum: self.maybe(|it| it.u16(0)),
            reason_string: self.maybe(Self::text),
            wildcard_subscription_available: self.maybe(Self::flag),
            subscription_identifiers_available: self.maybe(Self::flag),
            shared_subscription_available: self.maybe(Self::flag),
            server_keep_alive_s: self.maybe(|it| it.u16(0)),
            response_information: self.maybe(Self::text),
            server_reference: self.maybe(Self::text),
            authentication_method: self.maybe(Self::text),
            authentication_data: self.maybe(Self::binary),
            user_properties: self.user_properties(),
        }
    }

    pub fn publish(&mut self, version: ProtocolVersion, sender: Sender) -> Publish<'static> {
        let qos = self.qos();
        let has_packet_id = qos > QosLevel::AtMostOnce;
        let mut properties = PublishProperties::default();
        if version.is_v5() && self.flag() {
            properties = self.publish_properties(sender);
        }
        let may_be_empty = properties.topic_alias.is_some();
        Publish {
            dup: has_packet_id && self.flag(),
            qos,
            retain: self.flag(),
            topic_name: if may_be_empty && self.flag() {
                ""
            } else {
                self.text()
            },
            packet_id: has_packet_id.then(|| self.packet_id()),
            properties,
            payload: self.binary(),
        }
    }

    fn publish_properties(&mut self, sender: Sender) -> PublishProperties<'static> {
        let identifiers = match sender {
            Sender::Client => &[],
            Sender::Server => self.some_of(&IDENTIFIERS, 0),
        };
        PublishProperties {
            payload_format_indicator: self.maybe(|it| u8::from(it.flag())),
            message_expiry_interval_s: self.maybe(Self::u32),
            topic_alias: self.maybe(|it| it.u16(1)),
            content_type: self.maybe(Self::text),
            response_topic: self.maybe(Self::text),
            correlation_data: self.maybe(Self::binary),
            subscription_identifiers: SubscriptionIdentifiers::List(identifiers),
            user_properties: self.user_properties(),
            raw: ReceivedProperties::default(),
        }
    }

    fn ack(&mut self, version: ProtocolVersion, carrier: u16) -> Ack<'static> {
        let mut ack = Ack::new(self.packet_id(), self.reason_code(version, carrier));
        if version.is_v5() && self.flag() {
            ack.reason_string = self.maybe(Self::text);
            ack.user_properties = self.user_properties();
        }
        ack
    }

    fn subscribe(&mut self, version: ProtocolVersion) -> Subscribe<'static> {
        let mut subscribe = Subscribe {
            packet_id: self.packet_id(),
            subscription_identifier: None,
            user_properties: UserProperties::default(),
            filters: SubscribeFilters::List(self.some_of(&PLAIN_SUBSCRIBE_FILTERS, 1)),
        };
        if version.is_v5() {
            subscribe.subscription_identifier = self.maybe(|it| *it.one_of(&IDENTIFIERS));
            subscribe.user_properties = self.user_properties();
            subscribe.filters = SubscribeFilters::List(self.some_of(&SUBSCRIBE_FILTERS, 1));
        }
        subscribe
    }

    fn sub_ack(&mut self, version: ProtocolVersion) -> SubAck<'static> {
        if !version.is_v5() {
            return SubAck::new(self.packet_id(), self.some_of(&[0, 0x80, 1, 2], 1));
        }
        let codes = self.some_of(&[0, 1, 0x80, 2, 0x87, 0x8F, 0x97, 0x9E, 0xA1, 0xA2], 1);
        SubAck {
            reason_string: self.maybe(Self::text),
            user_properties: self.user_properties(),
            ..SubAck::new(self.packet_id(), codes)
        }
    }

    fn unsubscribe(&mut self, version: ProtocolVersion) -> Unsubscribe<'static> {
        let mut unsubscribe = Unsubscribe {
            packet_id: self.packet_id(),
            user_properties: UserProperties::default(),
            filters: TopicFilters::List(self.some_of(&FILTERS, 1)),
        };
        if version.is_v5() {
            unsubscribe.user_properties = self.user_properties();
        }
        unsubscribe
    }

    fn unsub_ack(&mut self, version: ProtocolVersion) -> SubAck<'static> {
        if !version.is_v5() {
            return SubAck::new(self.packet_id(), &[]);
        }
        let codes = self.some_of(&[0x11, 0, 0x80, 0x83, 0x87, 0x8F, 0x91], 1);
        SubAck {
            reason_string: self.maybe(Self::text),
            user_properties: self.user_properties(),
            ..SubAck::new(self.packet_id(), codes)
        }
    }

    fn disconnect(&mut self, version: ProtocolVersion, sender: Sender) -> Disconnect<'static> {
        let is_client = sender == Sender::Client;
        let carrier = if is_client {
            carrier::DISCONNECT_BY_CLIENT
        } else {
            carrier::DISCONNECT_BY_SERVER
        };
        let mut disconnect = Disconnect::new(self.reason_code(version, carrier));
        if version.is_v5() && self.flag() {
            disconnect.session_expiry_interval_s = self.maybe(Self::u32).filter(|_| is_client);
            disconnect.reason_string = self.maybe(Self::text);
            disconnect.server_reference = self.maybe(Self::text);
            disconnect.user_properties = self.user_properties();
        }
        disconnect
    }

    fn auth(&mut self, sender: Sender) -> Auth<'static> {
        let carrier = match sender {
            Sender::Client => carrier::AUTH_BY_CLIENT,
            Sender::Server => carrier::AUTH_BY_SERVER,
        };
        let auth = Auth::new(self.reason_code(ProtocolVersion::V5, carrier));
        if auth.reason_code == ReasonCode::Success && self.flag() {
            return auth;
        }
        Auth {
            authentication_method: Some(self.text()),
            authentication_data: self.maybe(Self::binary),
            reason_string: self.maybe(Self::text),
            user_properties: self.user_properties(),
            ..auth
        }
    }

    /// One of the carrier's codes; Success in 3.x.
    fn reason_code(&mut self, version: ProtocolVersion, carrier: u16) -> ReasonCode {
        let legal = || ReasonCode::all().filter(|code| is_carried(*code as u8, carrier));
        if !version.is_v5() {
            return ReasonCode::Success;
        }
        let index = self.length(legal().count());
        legal().nth(index).unwrap_or(ReasonCode::Success)
    }

    fn user_properties(&mut self) -> UserProperties<'static> {
        if self.flag() {
            return UserProperties::default();
        }
        UserProperties::Pairs(self.some_of(&PAIRS, 0))
    }

    /// Any UTF-8 Encoded String that is not empty and may be a topic name.
    pub fn text(&mut self) -> &'static str {
        if self.random.chance(1, 2) {
            return self.one_of::<&str>(&TEXTS);
        }
        let length = self.field_bytes().max(1);
        str::from_utf8(&LETTERS[..length]).unwrap_or_default()
    }

    pub fn binary(&mut self) -> &'static [u8] {
        let length = self.field_bytes();
        &BINARY[..length]
    }

    /// Mostly short; at times around the steps of the Variable Byte Integer.
    fn field_bytes(&mut self) -> usize {
        match self.random.below(40) {
            0 => 16_300 + self.length(200),
            1..=4 => 90 + self.length(60),
            _ => self.length(12),
        }
    }

    fn packet_id(&mut self) -> PacketId {
        let value = self.u16(1);
        PacketId::new(value).unwrap_or(PacketId::MIN)
    }

    fn qos(&mut self) -> QosLevel {
        *self.one_of(&[
            QosLevel::AtMostOnce,
            QosLevel::AtLeastOnce,
            QosLevel::ExactlyOnce,
        ])
    }

    fn flag(&mut self) -> bool {
        self.random.chance(1, 2)
    }

    fn u16(&mut self, min: u16) -> u16 {
        let any = self.random.next_u64().to_be_bytes();
        let value = u16::from_be_bytes([any[0], any[1]]);
        let value = if self.flag() { value } else { value >> 12 };
        value.max(min)
    }

    fn u32(&mut self) -> u32 {
        *self.one_of(&[0, 1, 60, 86_400, 0x0102_0304, u32::MAX])
    }

    fn number(&mut self, min: u64, max: u64) -> u64 {
        min + self.random.below(max - min + 1)
    }

    /// In `0..bound`.
    fn length(&mut self, bound: usize) -> usize {
        usize::try_from(self.random.below(bound as u64)).unwrap_or(0)
    }

    fn maybe<T>(&mut self, draw: impl FnOnce(&mut Self) -> T) -> Option<T> {
        self.random.chance(1, 3).then(|| draw(self))
    }

    fn one_of<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        &list[self.length(list.len())]
    }

    /// At least `min` neighbours of `list`.
    fn some_of<T>(&mut self, list: &'static [T], min: usize) -> &'static [T] {
        let count = min + self.length(list.len() - min + 1);
        let start = self.length(list.len() - count + 1);
        &list[start..start + count]
    }
}
