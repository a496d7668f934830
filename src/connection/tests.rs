//! Details of one connection: handshake, aliases, acknowledgements, transmit, deadlines.

use super::acknowledge::{PendingAck, PendingAcks};
use super::alias::{InboundAliases, OutboundAlias, OutboundAliases};
use super::handshake::{conn_ack_properties, negotiate};
use super::origin::ConnectionOrigin;
use super::transmit::{Transmit, TransmitPool};
use super::{Connection, Phase};
use crate::base::time::Instant;
use crate::codec::{
    AckKind, Connect, ConnectProperties, ForwardableRuns, MessageParts, MessagePool, PacketId,
    ProtocolVersion, QosLevel, ReasonCode,
};
use crate::config::limits::{Limits, ListenerLimits};
use std::time::Duration;

fn connect(version: ProtocolVersion, client_id: &str) -> Connect<'_> {
    Connect {
        version,
        is_bridge: false,
        clean_start: true,
        keep_alive_s: 60,
        client_id,
        will: None,
        username: None,
        password: None,
        properties: ConnectProperties::default(),
    }
}

// [MQTT-3.1.2-21], [MQTT-3.2.2-22]
#[test]
fn keep_alive_is_capped_and_announced_to_v5_only() {
    let check = |version, asked_s, max_s, effective_s, announced| {
        let limits = Limits {
            keep_alive_max_s: max_s,
            ..Limits::default()
        };
        let connect = Connect {
            keep_alive_s: asked_s,
            ..connect(version, "c")
        };
        let negotiated = negotiate(&connect, &limits, &ListenerLimits::DEFAULT).unwrap();
        assert_eq!(negotiated.keep_alive_s, effective_s);
        let properties = conn_ack_properties(&negotiated, &limits, None, None);
        assert_eq!(properties.server_keep_alive_s, announced);
    };
    check(ProtocolVersion::V5, 60, u16::MAX, 60, None);
    check(ProtocolVersion::V5, 0, u16::MAX, 0, None);
    check(ProtocolVersion::V5, 0, 300, 300, Some(300));
    check(ProtocolVersion::V5, 400, 300, 300, Some(300));
    check(ProtocolVersion::V5, 300, 300, 300, None);
    check(ProtocolVersion::V311, 400, 300, 400, None);
}

#[test]
fn session_expiry_is_capped_and_announced() {
    let limits = Limits {
        session_expiry_max_s: 100,
        ..Limits::default()
    };
    let check = |asked_s, effective_s, announced| {
        let mut connect = connect(ProtocolVersion::V5, "c");
        connect.properties.session_expiry_interval_s = asked_s;
        let negotiated = negotiate(&connect, &limits, &ListenerLimits::DEFAULT).unwrap();
        assert_eq!(negotiated.session_expiry_interval_s, effective_s);
        let properties = conn_ack_properties(&negotiated, &limits, None, None);
        assert_eq!(properties.session_expiry_interval_s, announced);
    };
    check(None, 0, None);
    check(Some(99), 99, None);
    check(Some(u32::MAX), 100, Some(100));
}

// [MQTT-3.1.3-6], [MQTT-3.1.3-8]
#[test]
fn empty_client_identifier_depends_on_the_version() {
    let check = |version, clean_start, accepted| {
        let connect = Connect {
            clean_start,
            ..connect(version, "")
        };
        let outcome = negotiate(&connect, &Limits::default(), &ListenerLimits::DEFAULT);
        assert_eq!(outcome.is_ok(), accepted);
        if let Err(error) = outcome {
            assert_eq!(error.reason_code, ReasonCode::ClientIdentifierNotValid);
        }
    };
    check(ProtocolVersion::V31, true, false);
    check(ProtocolVersion::V311, true, true);
    check(ProtocolVersion::V311, false, false);
    check(ProtocolVersion::V5, false, true);
}

// [MQTT-3.2.2-12], [MQTT-3.2.2-13], [MQTT-3.2.2-9]
#[test]
fn will_beyond_what_is_available_is_refused() {
    let will = crate::codec::Will {
        topic: "t",
        payload: b"",
        qos: QosLevel::ExactlyOnce,
        retain: true,
        properties: Default::default(),
    };
    let connect = Connect {
        will: Some(will),
        ..connect(ProtocolVersion::V5, "c")
    };
    let refused = |limits: Limits| {
        negotiate(&connect, &limits, &ListenerLimits::DEFAULT)
            .unwrap_err()
            .reason_code
    };
    let low_qos = Limits {
        qos_max: 1,
        ..Limits::default()
    };
    assert_eq!(refused(low_qos), ReasonCode::QosNotSupported);
    let no_retain = Limits {
        retain_available: false,
        ..Limits::default()
    };
    assert_eq!(refused(no_retain), ReasonCode::RetainNotSupported);
}

// [MQTT-3.3.2-8], [MQTT-3.3.2-9], [MQTT-3.3.2-12]
#[test]
fn inbound_alias_stands_for_the_name_it_was_set_to_last() {
    let mut aliases = InboundAliases::new(2);
    assert!(aliases.resolve(1).is_err());
    aliases.set(1, "a").unwrap();
    aliases.set(2, "b").unwrap();
    aliases.set(1, "c").unwrap();
    assert_eq!(&*aliases.resolve(1).unwrap(), "c");
    assert_eq!(&*aliases.resolve(2).unwrap(), "b");
    for alias in [0, 3] {
        let error = aliases.set(alias, "x").unwrap_err();
        assert_eq!(error.reason_code, ReasonCode::TopicAliasInvalid);
    }
}

// [MQTT-3.1.2-26]
#[test]
fn outbound_aliases_stop_at_the_clients_maximum() {
    let mut aliases = OutboundAliases::new(2);
    assert_eq!(aliases.choose(1, b"a", false), OutboundAlias::None);
    assert_eq!(aliases.choose(1, b"a", true), OutboundAlias::Set(1));
    assert_eq!(aliases.choose(1, b"collision", true), OutboundAlias::Set(2));
    assert_eq!(aliases.choose(3, b"c", true), OutboundAlias::None);
    assert_eq!(aliases.choose(1, b"a", true), OutboundAlias::Use(1));
    assert_eq!(aliases.choose(1, b"collision", true), OutboundAlias::Use(2));
}

#[test]
fn outbound_aliases_go_to_the_topics_that_come_often() {
    let mut aliases = OutboundAliases::new(2);
    let mut choose = |name: &str| aliases.choose(0, name.as_bytes(), true);
    choose("rare");
    choose("hot 1");
    // Two hot topics among names that come once.
    let mut by_name = 0;
    for number in 0..400 {
        for hot in ["hot 1", "hot 2"] {
            by_name += u32::from(!matches!(choose(hot), OutboundAlias::Use(_)));
        }
        choose(&format!("once {number}"));
    }
    assert!(by_name < 20, "{by_name}");
    // Other topics become hot.
    for _ in 0..100 {
        choose("new 1");
        choose("new 2");
    }
    assert!(matches!(choose("new 1"), OutboundAlias::Use(_)));
    assert!(matches!(choose("new 2"), OutboundAlias::Use(_)));
}

// [MQTT-4.6.0-2]
#[test]
fn acknowledgements_leave_in_order_when_their_conditions_are_met() {
    let ack = |number: u16, open| PendingAck {
        kind: AckKind::PubAck,
        packet_id: PacketId::new(number).unwrap(),
        reason_code: ReasonCode::Success,
        open,
    };
    let mut acks = PendingAcks::default();
    let first = acks.next_number();
    acks.push(ack(1, 2));
    acks.push(ack(2, 0));
    acks.close_condition(first);
    assert_eq!(acks.pop_ready(), None);
    acks.close_condition(first);
    assert_eq!(acks.pop_ready().map(|it| it.packet_id.get()), Some(1));
    assert_eq!(acks.pop_ready().map(|it| it.packet_id.get()), Some(2));
    assert_eq!((acks.pop_ready(), acks.pub_ack_count()), (None, 0));
}

/// Any cuts of any pieces give the same bytes as one piece.
#[test]
fn transmit_gives_the_bytes_in_order_however_they_are_taken() {
    let mut pool = TransmitPool::default();
    let mut messages = MessagePool::new(4);
    for step in [1, 7, 4096, 5000, 1 << 20] {
        let mut transmit = pool.take();
        let mut wanted = Vec::new();
        for (index, size) in [3usize, 5000, 0, 40, 3000, 9000, 1].into_iter().enumerate() {
            let payload = vec![u8::try_from(index).unwrap(); size];
            let message = messages.make(&MessageParts {
                topic_name: b"t",
                properties: ForwardableRuns::default(),
                payload: &payload,
                qos: QosLevel::AtMostOnce,
                retain: false,
                expires_at: None,
            });
            transmit.append(b"head", &mut pool);
            transmit.append_tail(&message, ProtocolVersion::V311, &mut pool);
            wanted.extend_from_slice(b"head");
            wanted.extend_from_slice(&payload);
        }
        assert_eq!(transmit.bytes(), wanted.len());
        let taken = take_in_steps(&mut transmit, step);
        assert!(taken == wanted, "steps of {step}");
        pool.put(transmit, |message| messages.release(message));
    }
}

fn take_in_steps(transmit: &mut Transmit, step: usize) -> Vec<u8> {
    let mut taken = Vec::new();
    while !transmit.is_empty() {
        let first: Vec<u8> = transmit.slices().flatten().take(step).copied().collect();
        transmit.advance(first.len());
        taken.extend(first);
    }
    assert!(transmit.slices().next().is_none());
    taken
}

#[test]
fn deadlines_follow_phase_and_progress() {
    let origin = ConnectionOrigin {
        peer: None,
        listener: 0,
    };
    let now = Instant::ZERO + Duration::from_secs(100);
    let mut connection = Connection::new(now, origin);
    let (connect_timeout, send_timeout) = (Duration::from_secs(10), Duration::from_secs(30));
    let deadline = |it: &Connection| it.next_deadline(connect_timeout, send_timeout);
    assert_eq!(deadline(&connection), Some(now + connect_timeout));
    let connect = connect(ProtocolVersion::V311, "c");
    connection.establish(
        3,
        &negotiate(&connect, &Limits::default(), &ListenerLimits::DEFAULT).unwrap(),
    );
    assert_eq!(connection.phase, Phase::Connected { session: 3 });
    assert_eq!(deadline(&connection), Some(now + Duration::from_secs(90)));
    connection.blocked_since = Some(now);
    assert_eq!(deadline(&connection), Some(now + send_timeout));
    connection.keep_alive = Duration::ZERO;
    connection.blocked_since = None;
    assert_eq!(deadline(&connection), None);
}
