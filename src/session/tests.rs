//! Details of one session, and its outbound state against a model.

use super::delivery::{Delivery, QueuedMessage, SubscriptionIdentifiers};
use super::fuzz::exercise_session;
use super::inbound::Inbound;
use super::outbound::{Acknowledged, Outbound, QueueLimits};
use super::will::Will;
use super::{EXPIRY_NEVER_S, Session};
use crate::base::random::Random;
use crate::base::time::Instant;
use crate::codec::{ForwardableRuns, MessageParts, MessagePool, PacketId, QosLevel};
use crate::config::limits::QueueFullPolicy;
use std::time::Duration;

fn delivery(qos: QosLevel, expires_at: Option<Instant>) -> Delivery {
    let message = MessagePool::new(64).make(&MessageParts {
        topic_name: b"t",
        properties: ForwardableRuns::of_forwardable(b""),
        payload: b"payload",
        qos,
        retain: false,
        expires_at,
    });
    let subscription_identifiers = SubscriptionIdentifiers::new();
    Delivery {
        message,
        qos,
        retain: false,
        subscription_identifiers,
        group: None,
    }
}

#[test]
fn outbound_equals_model_under_random_operations() {
    let mut random = Random::new(11);
    for _ in 0..2000 {
        let length = random.below(300);
        let bytes: Vec<u8> = (0..length)
            .map(|_| random.next_u64().to_le_bytes()[0])
            .collect();
        exercise_session(&bytes);
    }
}

// [MQTT-2.2.1-4]
#[test]
fn identifiers_go_round_past_one_that_stays() {
    let mut outbound = Outbound::default();
    let stuck = outbound.send(delivery(QosLevel::AtLeastOnce, None));
    for _ in 0..200_000 {
        let packet_id = outbound.send(delivery(QosLevel::AtLeastOnce, None));
        assert_ne!(packet_id, stuck);
        assert!(matches!(
            outbound.on_pub_ack(packet_id),
            Acknowledged::Expected(Some(_))
        ));
        assert_eq!(outbound.resends().count(), 1);
    }
    assert!(matches!(
        outbound.on_pub_ack(stuck),
        Acknowledged::Expected(Some(_))
    ));
    outbound.assert_invariants();
}

#[test]
fn queue_is_bounded_by_bytes_with_either_policy() {
    let bytes = delivery(QosLevel::AtLeastOnce, None).bytes();
    for (policy, kept_first) in [
        (QueueFullPolicy::DropOldest, false),
        (QueueFullPolicy::DropNewest, true),
        (QueueFullPolicy::Reject, true),
    ] {
        let limits = QueueLimits {
            messages_max: 100,
            bytes_max: 3 * bytes,
            policy,
        };
        let mut outbound = Outbound::default();
        let expiries: Vec<_> = (1..=4).map(Instant::from_micros).collect();
        let mut dropped = Vec::new();
        for expiry in &expiries {
            let next = delivery(QosLevel::AtLeastOnce, Some(*expiry));
            let refused = outbound.enqueue(next, &limits, |it| match it {
                QueuedMessage::Held(it) => dropped.push(it.message.expires_at()),
                QueuedMessage::Stored(it) => panic!("{it:?} was never stored"),
            });
            dropped.extend(refused.err().map(|it| it.message.expires_at()));
        }
        let lost = if kept_first { expiries[3] } else { expiries[0] };
        assert_eq!(dropped, [Some(lost)]);
        assert_eq!(outbound.queued_bytes(), 3 * bytes);
    }
}

// [MQTT-3.3.2-5]
#[test]
fn expired_messages_leave_the_queue_unsent() {
    let limits = QueueLimits {
        messages_max: 10,
        bytes_max: u64::MAX,
        policy: QueueFullPolicy::DropNewest,
    };
    let mut outbound = Outbound::default();
    for expires_at in [Some(Instant::from_micros(5)), None] {
        let next = delivery(QosLevel::AtLeastOnce, expires_at);
        let refused = outbound.enqueue(next, &limits, |_| panic!("there is room"));
        assert!(refused.is_ok());
    }
    let mut expired = 0;
    let sent = outbound.dequeue(Instant::from_micros(5), 1, |_| expired += 1);
    assert_eq!(sent.and_then(|it| it.message.expires_at()), None);
    assert_eq!(expired, 1);
}

#[test]
fn receive_set_knows_what_is_not_released() {
    let mut inbound = Inbound::default();
    let id = |value| PacketId::new(value).unwrap();
    for value in [7, 65_535, 1, 300] {
        assert!(inbound.insert(id(value)));
        assert!(!inbound.insert(id(value)));
    }
    assert!(inbound.release(id(7)));
    assert!(!inbound.release(id(7)));
    assert!(inbound.contains(id(300)) && !inbound.contains(id(7)));
    inbound.assert_invariants();
    assert_eq!(inbound.len(), 3);
}

// [MQTT-3.1.2-8]
#[test]
fn will_is_due_at_its_delay_or_the_end_of_the_session() {
    let check = |expiry_s, delay_s, due_s: Option<u64>, ends_s: Option<u64>| {
        let mut session: Session<u8, u8> = Session::new("c", expiry_s);
        session.will = Some(Box::new(Will {
            topic_name: "t".into(),
            properties: [].into(),
            payload: [].into(),
            qos: QosLevel::AtMostOnce,
            retain: false,
            delay_interval_s: delay_s,
            message_expiry_interval_s: None,
        }));
        session.on_disconnected(Instant::ZERO);
        let at = |s: u64| Instant::ZERO + Duration::from_secs(s);
        assert_eq!(session.will_due, due_s.map(at));
        assert_eq!(session.ends_at, ends_s.map(at));
    };
    check(0, 0, Some(0), Some(0));
    check(0, 10, Some(0), Some(0));
    check(5, 10, Some(5), Some(5));
    check(10, 5, Some(5), Some(10));
    check(EXPIRY_NEVER_S, 5, Some(5), None);
}
