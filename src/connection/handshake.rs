//! CONNECT -> what both sides keep to for the life of the connection, and the CONNACK that says so.

use crate::codec::{
    ConnAckProperties, Connect, PACKET_BYTES_MAX, ProtocolError, ProtocolVersion, QosLevel,
    ReasonCode,
};
use crate::config::limits::{Limits, ListenerLimits};
use crate::session::EXPIRY_NEVER_S;

/// What CONNECT and the limits together make of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Negotiated {
    pub version: ProtocolVersion,
    pub is_bridge: bool,
    pub clean_start: bool,
    /// The keep alive that counts, in seconds; 0: none.
    pub keep_alive_s: u16,
    /// It differs from what the client asked for and must be announced [MQTT-3.1.2-21].
    pub keep_alive_overridden: bool,
    /// The session expiry that counts, in seconds.
    pub session_expiry_interval_s: u32,
    /// It differs from what the client asked for and must be announced.
    pub session_expiry_overridden: bool,
    /// The client asked for one above 0.
    pub session_expiry_asked: bool,
    /// The client takes Reason Strings.
    pub wants_reasons: bool,
    /// The client asks for Response Information.
    pub wants_response_information: bool,
    /// Highest QoS taken from the client.
    pub qos_max: QosLevel,
    pub check_payload_format: bool,
    /// Acknowledgements of its messages wait for what these cause.
    pub awaits_effects: bool,
    /// QoS 1 and 2 messages that may be in flight towards the client.
    pub window: u16,
    /// The client's Maximum Packet Size; what the format allows, if it has none.
    pub client_packet_bytes_max: u32,
    /// Aliases that the client may set.
    pub topic_alias_maximum: u16,
    /// Aliases that we may set.
    pub outbound_topic_alias_maximum: u16,
}

/// Checks a well-formed CONNECT against what this broker allows and settles the parameters.
/// The error's reason code belongs into CONNACK; the connection then ends [MQTT-3.1.4-2].
pub fn negotiate(
    connect: &Connect<'_>,
    limits: &Limits,
    listener: &ListenerLimits,
) -> Result<Negotiated, ProtocolError> {
    negotiate_client_id(connect, limits)?;
    let qos_max = limits.qos_max.min(listener.qos_max);
    let qos_max = QosLevel::from_u8(qos_max).unwrap_or(QosLevel::ExactlyOnce);
    negotiate_will(connect, limits, qos_max)?;
    if listener.check_payload_format && !will_payload_is_as_said(connect) {
        return refuse(
            ReasonCode::PayloadFormatInvalid,
            "will payload is not UTF-8",
        );
    }
    let properties = &connect.properties;
    let keep_alive_s = effective_keep_alive(connect.keep_alive_s, limits);
    // Before 5.0 the server cannot tell the client, so the client's own value stays.
    let keep_alive_s = match connect.version {
        ProtocolVersion::V5 => keep_alive_s,
        _ => connect.keep_alive_s,
    };
    let wanted_expiry_s = match connect.version {
        ProtocolVersion::V5 => properties.session_expiry_interval_s.unwrap_or(0),
        _ if connect.clean_start => 0,
        _ => EXPIRY_NEVER_S,
    };
    let session_expiry_interval_s = wanted_expiry_s.min(limits.session_expiry_max_s);
    Ok(Negotiated {
        version: connect.version,
        is_bridge: connect.is_bridge,
        clean_start: connect.clean_start,
        keep_alive_s,
        keep_alive_overridden: keep_alive_s != connect.keep_alive_s,
        session_expiry_interval_s,
        session_expiry_overridden: session_expiry_interval_s != wanted_expiry_s,
        session_expiry_asked: wanted_expiry_s > 0,
        wants_reasons: wants_reasons(connect),
        wants_response_information: properties.request_response_information == Some(true),
        qos_max,
        check_payload_format: listener.check_payload_format,
        awaits_effects: limits.awaits_effects(listener),
        window: properties
            .receive_maximum
            .unwrap_or(u16::MAX)
            .min(limits.inflight_max),
        client_packet_bytes_max: properties
            .maximum_packet_size
            .unwrap_or(PACKET_BYTES_MAX)
            .min(PACKET_BYTES_MAX),
        topic_alias_maximum: limits.topic_alias_maximum,
        outbound_topic_alias_maximum: properties
            .topic_alias_maximum
            .unwrap_or(0)
            .min(limits.outbound_topic_alias_maximum),
    })
}

/// May the answer have a Reason String? Request Problem Information is 1 unless it is said
/// (section 3.1.2.11.7).
#[must_use]
pub fn wants_reasons(connect: &Connect<'_>) -> bool {
    connect.version == ProtocolVersion::V5
        && connect.properties.request_problem_information != Some(false)
}

fn will_payload_is_as_said(connect: &Connect<'_>) -> bool {
    connect.will.as_ref().is_none_or(|will| {
        will.properties.payload_format_indicator != Some(1)
            || std::str::from_utf8(will.payload).is_ok()
    })
}

/// A client without an identifier gets one assigned [MQTT-3.1.3-6], but 3.1 does not allow it and
/// 3.1.1 allows it only with a clean session [MQTT-3.1.3-8]. 3.1 has a longest one, too.
fn negotiate_client_id(connect: &Connect<'_>, limits: &Limits) -> Result<(), ProtocolError> {
    let characters_max = usize::from(limits.client_id_characters_max_v31);
    if connect.version == ProtocolVersion::V31 && connect.client_id.chars().count() > characters_max
    {
        let context = "client identifier longer than 3.1 allows";
        return refuse(ReasonCode::ClientIdentifierNotValid, context);
    }
    let allowed = !connect.client_id.is_empty()
        || match connect.version {
            ProtocolVersion::V31 => false,
            ProtocolVersion::V311 => connect.clean_start,
            ProtocolVersion::V5 => true,
        };
    if allowed {
        return Ok(());
    }
    refuse(
        ReasonCode::ClientIdentifierNotValid,
        "empty client identifier",
    )
}

/// [MQTT-3.2.2-12], [MQTT-3.2.2-13].
fn negotiate_will(
    connect: &Connect<'_>,
    limits: &Limits,
    qos_max: QosLevel,
) -> Result<(), ProtocolError> {
    let Some(will) = &connect.will else {
        return Ok(());
    };
    if will.qos > qos_max {
        return refuse(ReasonCode::QosNotSupported, "will QoS above the maximum");
    }
    if will.retain && !limits.retain_available {
        return refuse(ReasonCode::RetainNotSupported, "will is retained");
    }
    Ok(())
}

fn effective_keep_alive(asked_s: u16, limits: &Limits) -> u16 {
    let unlimited = limits.keep_alive_max_s == u16::MAX;
    if unlimited || (asked_s != 0 && asked_s <= limits.keep_alive_max_s) {
        asked_s
    } else {
        limits.keep_alive_max_s
    }
}

const fn refuse<T>(reason_code: ReasonCode, context: &'static str) -> Result<T, ProtocolError> {
    Err(ProtocolError {
        reason_code,
        context,
    })
}

/// The CONNACK properties of an accepted 5.0 connection: only what differs from the defaults of
/// the specification, so that small devices parse little.
#[must_use]
pub fn conn_ack_properties<'a>(
    negotiated: &Negotiated,
    limits: &Limits,
    assigned_client_identifier: Option<&'a str>,
    response_information: Option<&'a str>,
) -> ConnAckProperties<'a> {
    ConnAckProperties {
        session_expiry_interval_s: negotiated
            .session_expiry_overridden
            .then_some(negotiated.session_expiry_interval_s),
        receive_maximum: (limits.receive_maximum != u16::MAX).then_some(limits.receive_maximum),
        maximum_qos: Some(negotiated.qos_max).filter(|qos| *qos != QosLevel::ExactlyOnce),
        retain_available: (!limits.retain_available).then_some(false),
        maximum_packet_size: Some(limits.packet_bytes_max),
        assigned_client_identifier,
        topic_alias_maximum: (limits.topic_alias_maximum > 0).then_some(limits.topic_alias_maximum),
        wildcard_subscription_available: (!limits.wildcard_available).then_some(false),
        subscription_identifiers_available: (!limits.subscription_identifiers_available)
            .then_some(false),
        shared_subscription_available: (!limits.shared_available).then_some(false),
        response_information,
        server_keep_alive_s: negotiated
            .keep_alive_overridden
            .then_some(negotiated.keep_alive_s),
        ..ConnAckProperties::default()
    }
}
