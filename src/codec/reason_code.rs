//! The reason codes of 5.0 and which packet may carry which, as data.

/// A reason code of 5.0; where two share a number, the name is the more general one.
#[repr(u8)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum ReasonCode {
    /// Also Normal disconnection and Granted QoS 0.
    Success = 0x00,
    GrantedQos1 = 0x01,
    GrantedQos2 = 0x02,
    DisconnectWithWill = 0x04,
    NoMatchingSubscribers = 0x10,
    NoSubscriptionExisted = 0x11,
    ContinueAuthentication = 0x18,
    Reauthenticate = 0x19,
    UnspecifiedError = 0x80,
    MalformedPacket = 0x81,
    ProtocolError = 0x82,
    ImplementationSpecificError = 0x83,
    UnsupportedProtocolVersion = 0x84,
    ClientIdentifierNotValid = 0x85,
    BadUserNameOrPassword = 0x86,
    NotAuthorized = 0x87,
    ServerUnavailable = 0x88,
    ServerBusy = 0x89,
    Banned = 0x8A,
    ServerShuttingDown = 0x8B,
    BadAuthenticationMethod = 0x8C,
    KeepAliveTimeout = 0x8D,
    SessionTakenOver = 0x8E,
    TopicFilterInvalid = 0x8F,
    TopicNameInvalid = 0x90,
    PacketIdentifierInUse = 0x91,
    PacketIdentifierNotFound = 0x92,
    ReceiveMaximumExceeded = 0x93,
    TopicAliasInvalid = 0x94,
    PacketTooLarge = 0x95,
    MessageRateTooHigh = 0x96,
    QuotaExceeded = 0x97,
    AdministrativeAction = 0x98,
    PayloadFormatInvalid = 0x99,
    RetainNotSupported = 0x9A,
    QosNotSupported = 0x9B,
    UseAnotherServer = 0x9C,
    ServerMoved = 0x9D,
    SharedSubscriptionsNotSupported = 0x9E,
    ConnectionRateExceeded = 0x9F,
    MaximumConnectTime = 0xA0,
    SubscriptionIdentifiersNotSupported = 0xA1,
    WildcardSubscriptionsNotSupported = 0xA2,
}

/// Packets that carry a reason code; one bit each, split by sender where the lists differ.
pub(super) mod carrier {
    pub(in super::super) const CONN_ACK: u16 = 1 << 0;
    /// PUBACK and PUBREC.
    pub(in super::super) const PUB_ACK: u16 = 1 << 1;
    /// PUBREL and PUBCOMP.
    pub(in super::super) const PUB_REL: u16 = 1 << 2;
    pub(in super::super) const SUB_ACK: u16 = 1 << 3;
    pub(in super::super) const UNSUB_ACK: u16 = 1 << 4;
    pub(in super::super) const DISCONNECT_BY_CLIENT: u16 = 1 << 5;
    pub(in super::super) const DISCONNECT_BY_SERVER: u16 = 1 << 6;
    pub(in super::super) const AUTH_BY_CLIENT: u16 = 1 << 7;
    pub(in super::super) const AUTH_BY_SERVER: u16 = 1 << 8;
}

use carrier::{
    AUTH_BY_CLIENT, AUTH_BY_SERVER, CONN_ACK, DISCONNECT_BY_CLIENT, DISCONNECT_BY_SERVER, PUB_ACK,
    PUB_REL, SUB_ACK, UNSUB_ACK,
};
const DISCONNECT: u16 = DISCONNECT_BY_CLIENT | DISCONNECT_BY_SERVER;
const AUTH: u16 = AUTH_BY_CLIENT | AUTH_BY_SERVER;
const ALL_ACKS: u16 = PUB_ACK | SUB_ACK | UNSUB_ACK;

use ReasonCode as Code;

/// Every code with the packets that may carry it (section 2.4 and the tables of each packet).
const CARRIERS: [(ReasonCode, u16); 43] = [
    (
        Code::Success,
        CONN_ACK | ALL_ACKS | PUB_REL | DISCONNECT | AUTH_BY_SERVER,
    ),
    (Code::GrantedQos1, SUB_ACK),
    (Code::GrantedQos2, SUB_ACK),
    (Code::DisconnectWithWill, DISCONNECT_BY_CLIENT),
    (Code::NoMatchingSubscribers, PUB_ACK),
    (Code::NoSubscriptionExisted, UNSUB_ACK),
    (Code::ContinueAuthentication, AUTH),
    (Code::Reauthenticate, AUTH_BY_CLIENT),
    (Code::UnspecifiedError, CONN_ACK | ALL_ACKS | DISCONNECT),
    (Code::MalformedPacket, CONN_ACK | DISCONNECT),
    (Code::ProtocolError, CONN_ACK | DISCONNECT),
    (
        Code::ImplementationSpecificError,
        CONN_ACK | ALL_ACKS | DISCONNECT,
    ),
    (Code::UnsupportedProtocolVersion, CONN_ACK),
    (Code::ClientIdentifierNotValid, CONN_ACK),
    (Code::BadUserNameOrPassword, CONN_ACK),
    (
        Code::NotAuthorized,
        CONN_ACK | ALL_ACKS | DISCONNECT_BY_SERVER,
    ),
    (Code::ServerUnavailable, CONN_ACK),
    (Code::ServerBusy, CONN_ACK | DISCONNECT_BY_SERVER),
    (Code::Banned, CONN_ACK),
    (Code::ServerShuttingDown, DISCONNECT_BY_SERVER),
    (
        Code::BadAuthenticationMethod,
        CONN_ACK | DISCONNECT_BY_SERVER,
    ),
    (Code::KeepAliveTimeout, DISCONNECT_BY_SERVER),
    (Code::SessionTakenOver, DISCONNECT_BY_SERVER),
    (
        Code::TopicFilterInvalid,
        SUB_ACK | UNSUB_ACK | DISCONNECT_BY_SERVER,
    ),
    (Code::TopicNameInvalid, CONN_ACK | PUB_ACK | DISCONNECT),
    (Code::PacketIdentifierInUse, ALL_ACKS),
    (Code::PacketIdentifierNotFound, PUB_REL),
    (Code::ReceiveMaximumExceeded, DISCONNECT),
    (Code::TopicAliasInvalid, DISCONNECT),
    (Code::PacketTooLarge, CONN_ACK | DISCONNECT),
    (Code::MessageRateTooHigh, DISCONNECT),
    (
        Code::QuotaExceeded,
        CONN_ACK | PUB_ACK | SUB_ACK | DISCONNECT,
    ),
    (Code::AdministrativeAction, DISCONNECT),
    (Code::PayloadFormatInvalid, CONN_ACK | PUB_ACK | DISCONNECT),
    (Code::RetainNotSupported, CONN_ACK | DISCONNECT_BY_SERVER),
    (Code::QosNotSupported, CONN_ACK | DISCONNECT_BY_SERVER),
    (Code::UseAnotherServer, CONN_ACK | DISCONNECT_BY_SERVER),
    (Code::ServerMoved, CONN_ACK | DISCONNECT_BY_SERVER),
    (
        Code::SharedSubscriptionsNotSupported,
        SUB_ACK | DISCONNECT_BY_SERVER,
    ),
    (
        Code::ConnectionRateExceeded,
        CONN_ACK | DISCONNECT_BY_SERVER,
    ),
    (Code::MaximumConnectTime, DISCONNECT_BY_SERVER),
    (
        Code::SubscriptionIdentifiersNotSupported,
        SUB_ACK | DISCONNECT_BY_SERVER,
    ),
    (
        Code::WildcardSubscriptionsNotSupported,
        SUB_ACK | DISCONNECT_BY_SERVER,
    ),
];

/// `CARRIERS` by number; what is not a reason code has no carriers.
const CARRIERS_BY_NUMBER: [u16; 256] = {
    let mut table = [0; 256];
    let mut index = 0;
    while index < CARRIERS.len() {
        table[CARRIERS[index].0 as usize] = CARRIERS[index].1;
        index += 1;
    }
    table
};

impl ReasonCode {
    #[must_use]
    pub fn from_u8(value: u8) -> Option<Self> {
        CARRIERS
            .binary_search_by_key(&value, |(code, _)| *code as u8)
            .ok()
            .map(|index| CARRIERS[index].0)
    }

    /// 0x80 and above: what was asked for did not happen.
    #[must_use]
    pub const fn is_error(self) -> bool {
        self as u8 >= 0x80
    }

    /// The code of `value` if one of `carriers` may carry it.
    pub(super) fn for_carrier(value: u8, carriers: u16) -> Option<Self> {
        if !is_carried(value, carriers) {
            return None;
        }
        // The ordinary case of every acknowledgement, without the search.
        if value == 0 {
            return Some(Self::Success);
        }
        Self::from_u8(value)
    }

    /// All codes in ascending order.
    pub fn all() -> impl Iterator<Item = Self> {
        CARRIERS.iter().map(|(code, _)| *code)
    }
}

pub(super) const fn is_carried(value: u8, carriers: u16) -> bool {
    CARRIERS_BY_NUMBER[value as usize] & carriers != 0
}
