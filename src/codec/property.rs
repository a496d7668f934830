//! The properties of 5.0 as data: number, type, which packet may carry it, whether it may repeat,
//! which values are legal. `property_section` reads and writes sections by this table.

use super::reason_code::ReasonCode;

#[repr(u8)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum PropertyId {
    PayloadFormatIndicator = 0x01,
    MessageExpiryInterval = 0x02,
    ContentType = 0x03,
    ResponseTopic = 0x08,
    CorrelationData = 0x09,
    SubscriptionIdentifier = 0x0B,
    SessionExpiryInterval = 0x11,
    AssignedClientIdentifier = 0x12,
    ServerKeepAlive = 0x13,
    AuthenticationMethod = 0x15,
    AuthenticationData = 0x16,
    RequestProblemInformation = 0x17,
    WillDelayInterval = 0x18,
    RequestResponseInformation = 0x19,
    ResponseInformation = 0x1A,
    ServerReference = 0x1C,
    ReasonString = 0x1F,
    ReceiveMaximum = 0x21,
    TopicAliasMaximum = 0x22,
    TopicAlias = 0x23,
    MaximumQos = 0x24,
    RetainAvailable = 0x25,
    UserProperty = 0x26,
    MaximumPacketSize = 0x27,
    WildcardSubscriptionAvailable = 0x28,
    SubscriptionIdentifierAvailable = 0x29,
    SharedSubscriptionAvailable = 0x2A,
}

/// Property sections; one bit each.
pub(super) mod section {
    pub(in super::super) const CONNECT: u16 = 1 << 0;
    pub(in super::super) const WILL: u16 = 1 << 1;
    pub(in super::super) const CONN_ACK: u16 = 1 << 2;
    pub(in super::super) const PUBLISH: u16 = 1 << 3;
    /// PUBACK, PUBREC, PUBREL, PUBCOMP.
    pub(in super::super) const ACK: u16 = 1 << 4;
    pub(in super::super) const SUBSCRIBE: u16 = 1 << 5;
    /// SUBACK and UNSUBACK.
    pub(in super::super) const SUB_ACK: u16 = 1 << 6;
    pub(in super::super) const UNSUBSCRIBE: u16 = 1 << 7;
    pub(in super::super) const DISCONNECT: u16 = 1 << 8;
    pub(in super::super) const AUTH: u16 = 1 << 9;
    pub(in super::super) const ALL: u16 = (1 << 10) - 1;
}

use section::{ACK, ALL, AUTH, CONN_ACK, CONNECT, DISCONNECT, PUBLISH, SUB_ACK, SUBSCRIBE, WILL};

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum ValueKind {
    Byte,
    TwoByteInteger,
    FourByteInteger,
    VariableInteger,
    Text,
    Binary,
    TextPair,
}

/// Which values of the right type are still refused, and how.
#[derive(Clone, Copy)]
pub(super) enum Range {
    All,
    ZeroOrOne,
    NotZero(ReasonCode),
    /// A topic name: at least one character, no wildcards.
    TopicName,
}

#[derive(Clone, Copy)]
pub(super) struct PropertyRule {
    pub(super) id: PropertyId,
    pub(super) kind: ValueKind,
    /// Sections that may carry it.
    sections: u16,
    /// Sections that may carry it more than once.
    repeats_in: u16,
    pub(super) range: Range,
    /// A server passes it on unaltered with the application message.
    forwardable: bool,
}

const fn rule(id: PropertyId, kind: ValueKind, sections: u16, range: Range) -> PropertyRule {
    PropertyRule {
        id,
        kind,
        sections,
        repeats_in: 0,
        range,
        forwardable: false,
    }
}

const fn forwardable(rule: PropertyRule) -> PropertyRule {
    PropertyRule {
        forwardable: true,
        ..rule
    }
}

const fn repeated(rule: PropertyRule, repeats_in: u16) -> PropertyRule {
    PropertyRule { repeats_in, ..rule }
}

use PropertyId as Id;
use ValueKind::{Binary, Byte, FourByteInteger, Text, TextPair, TwoByteInteger, VariableInteger};

const NOT_ZERO: Range = Range::NotZero(ReasonCode::ProtocolError);
const NO_ALIAS_ZERO: Range = Range::NotZero(ReasonCode::TopicAliasInvalid);
const MESSAGE: u16 = PUBLISH | WILL;
const EXPLAINED: u16 = CONN_ACK | ACK | SUB_ACK | DISCONNECT | AUTH;

/// Table 2-4 of the specification, with the ranges from the sections of each property.
const RULES: [PropertyRule; 27] = [
    forwardable(rule(
        Id::PayloadFormatIndicator,
        Byte,
        MESSAGE,
        Range::ZeroOrOne,
    )),
    rule(
        Id::MessageExpiryInterval,
        FourByteInteger,
        MESSAGE,
        Range::All,
    ),
    forwardable(rule(Id::ContentType, Text, MESSAGE, Range::All)),
    forwardable(rule(Id::ResponseTopic, Text, MESSAGE, Range::TopicName)),
    forwardable(rule(Id::CorrelationData, Binary, MESSAGE, Range::All)),
    repeated(
        rule(
            Id::SubscriptionIdentifier,
            VariableInteger,
            PUBLISH | SUBSCRIBE,
            NOT_ZERO,
        ),
        PUBLISH,
    ),
    rule(
        Id::SessionExpiryInterval,
        FourByteInteger,
        CONNECT | CONN_ACK | DISCONNECT,
        Range::All,
    ),
    rule(Id::AssignedClientIdentifier, Text, CONN_ACK, Range::All),
    rule(Id::ServerKeepAlive, TwoByteInteger, CONN_ACK, Range::All),
    rule(
        Id::AuthenticationMethod,
        Text,
        CONNECT | CONN_ACK | AUTH,
        Range::All,
    ),
    rule(
        Id::AuthenticationData,
        Binary,
        CONNECT | CONN_ACK | AUTH,
        Range::All,
    ),
    rule(
        Id::RequestProblemInformation,
        Byte,
        CONNECT,
        Range::ZeroOrOne,
    ),
    rule(Id::WillDelayInterval, FourByteInteger, WILL, Range::All),
    rule(
        Id::RequestResponseInformation,
        Byte,
        CONNECT,
        Range::ZeroOrOne,
    ),
    rule(Id::ResponseInformation, Text, CONN_ACK, Range::All),
    rule(Id::ServerReference, Text, CONN_ACK | DISCONNECT, Range::All),
    rule(Id::ReasonString, Text, EXPLAINED, Range::All),
    rule(
        Id::ReceiveMaximum,
        TwoByteInteger,
        CONNECT | CONN_ACK,
        NOT_ZERO,
    ),
    rule(
        Id::TopicAliasMaximum,
        TwoByteInteger,
        CONNECT | CONN_ACK,
        Range::All,
    ),
    rule(Id::TopicAlias, TwoByteInteger, PUBLISH, NO_ALIAS_ZERO),
    rule(Id::MaximumQos, Byte, CONN_ACK, Range::ZeroOrOne),
    rule(Id::RetainAvailable, Byte, CONN_ACK, Range::ZeroOrOne),
    forwardable(repeated(
        rule(Id::UserProperty, TextPair, ALL, Range::All),
        ALL,
    )),
    rule(
        Id::MaximumPacketSize,
        FourByteInteger,
        CONNECT | CONN_ACK,
        NOT_ZERO,
    ),
    rule(
        Id::WildcardSubscriptionAvailable,
        Byte,
        CONN_ACK,
        Range::ZeroOrOne,
    ),
    rule(
        Id::SubscriptionIdentifierAvailable,
        Byte,
        CONN_ACK,
        Range::ZeroOrOne,
    ),
    rule(
        Id::SharedSubscriptionAvailable,
        Byte,
        CONN_ACK,
        Range::ZeroOrOne,
    ),
];

const NUMBER_MAX: usize = Id::SharedSubscriptionAvailable as usize;

/// `RULES` by number. All numbers fit a byte below 0x80, so the first byte of the identifier's
/// Variable Byte Integer decides.
const RULES_BY_NUMBER: [Option<PropertyRule>; NUMBER_MAX + 1] = {
    let mut table = [None; NUMBER_MAX + 1];
    let mut index = 0;
    while index < RULES.len() {
        table[RULES[index].id as usize] = Some(RULES[index]);
        index += 1;
    }
    table
};

/// A set of properties, one bit per number, fits a u64.
const _: () = assert!(NUMBER_MAX < 64);

pub(super) fn rule_of(number: u8) -> Option<&'static PropertyRule> {
    RULES_BY_NUMBER.get(usize::from(number))?.as_ref()
}

#[cfg(test)]
pub(super) fn rules() -> &'static [PropertyRule] {
    &RULES
}

impl PropertyRule {
    pub(super) const fn is_allowed_in(&self, section: u16) -> bool {
        self.sections & section != 0
    }

    pub(super) const fn may_repeat_in(&self, section: u16) -> bool {
        self.repeats_in & section != 0
    }

    pub(super) const fn is_forwardable(&self) -> bool {
        self.forwardable
    }
}
