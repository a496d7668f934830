//! The judge against small histories written out by hand.

use super::*;
use crate::model::payload;
use crate::wire::Filter;

const PUBLISHER: usize = 0;
const SUBSCRIBER: usize = 1;
const ON: DeliveredOn = DeliveredOn {
    session_present: false,
    connect_sent: Instant::ZERO,
    connack_at: Instant::ZERO,
    v5: true,
};

fn at(micros: u64) -> Instant {
    Instant::from_micros(micros)
}

/// A subscriber with `t/#` at QoS 1 since 10, and messages 1, 2, ... published to `t/a` at 20.
fn scene(messages: u32) -> Auditor {
    let mut auditor = Auditor::new(2, true);
    subscribe(&mut auditor, "t/#", 10);
    for _ in 0..messages {
        auditor.add_message(Message {
            accepted: Some(at(30)),
            ..Message::new(PUBLISHER, "t/a".into(), 1, 10, at(20))
        });
    }
    auditor
}

fn subscribe(auditor: &mut Auditor, filter: &str, micros: u64) {
    let filter = Filter {
        filter: filter.into(),
        qos: 1,
        no_local: false,
        retain_as_published: false,
        retain_handling: 2,
    };
    auditor.on_subscribe_sent(SUBSCRIBER, at(micros), &filter, None);
    auditor.on_suback(SUBSCRIBER, at(micros + 1), &filter.filter);
}

fn publish(id: u32) -> Publish {
    Publish {
        qos: 1,
        packet_id: Some(1),
        payload: payload(id, 10),
        ..Publish::default()
    }
}

fn deliver(auditor: &mut Auditor, topic: &str, publish: &Publish) -> Result<(), String> {
    auditor.on_delivered(SUBSCRIBER, at(40), topic, publish, &ON)
}

#[test]
fn right_deliveries_pass() {
    let mut auditor = scene(2);
    for id in [1, 2] {
        assert_eq!(deliver(&mut auditor, "t/a", &publish(id)), Ok(()));
    }
    let mut missing = Vec::new();
    assert_eq!(auditor.check_complete(u32::MAX, &mut missing), 2);
    assert!(missing.is_empty());
}

#[test]
fn wrong_deliveries_are_reported() {
    let good = publish(1);
    let damaged = |byte: usize| {
        let mut publish = good.clone();
        publish.payload[byte] ^= 1;
        publish
    };
    for (what, topic, publish) in [
        ("never published", "t/a", publish(3)),
        ("topic or payload damaged", "t/b", good.clone()),
        ("topic or payload damaged", "t/a", damaged(9)),
        (
            "QoS that no subscription explains",
            "t/a",
            Publish {
                qos: 2,
                ..good.clone()
            },
        ),
        (
            "RETAIN set",
            "t/a",
            Publish {
                retain: true,
                ..good.clone()
            },
        ),
        (
            "DUP on a first delivery",
            "t/a",
            Publish {
                dup: true,
                ..good.clone()
            },
        ),
        (
            "does not match",
            "t/a",
            Publish {
                identifiers: vec![7],
                ..good.clone()
            },
        ),
        (
            "expiry although",
            "t/a",
            Publish {
                expiry_s: Some(1),
                ..good.clone()
            },
        ),
    ] {
        let fault = deliver(&mut scene(1), topic, &publish).unwrap_err();
        assert!(fault.contains(what), "{fault}");
    }
}

#[test]
fn second_copy_and_wrong_order_are_reported() {
    let mut auditor = scene(2);
    deliver(&mut auditor, "t/a", &publish(2)).unwrap();
    let twice = deliver(&mut auditor, "t/a", &publish(2)).unwrap_err();
    assert!(twice.contains("delivered 2 times"), "{twice}");
    let late = deliver(&mut auditor, "t/a", &publish(1)).unwrap_err();
    assert!(late.contains("out of order"), "{late}");
}

#[test]
fn nothing_is_due_after_unsubscribe() {
    let mut auditor = scene(1);
    auditor.on_unsubscribe_sent(SUBSCRIBER, at(12), "t/#");
    auditor.on_unsuback(SUBSCRIBER, at(13), "t/#");
    let fault = deliver(&mut auditor, "t/a", &publish(1)).unwrap_err();
    assert!(fault.contains("not subscribed"), "{fault}");
    let mut missing = Vec::new();
    assert_eq!(auditor.check_complete(u32::MAX, &mut missing), 0);
}

#[test]
fn missing_message_is_reported_unless_its_subscription_came_later() {
    let auditor = scene(1);
    let mut missing = Vec::new();
    auditor.check_complete(u32::MAX, &mut missing);
    assert_eq!(missing.len(), 1);

    let mut later = scene(1);
    later.receivers[SUBSCRIBER].coverage.clear();
    subscribe(&mut later, "t/#", 25);
    missing.clear();
    later.check_complete(u32::MAX, &mut missing);
    assert!(missing.is_empty());
}

#[test]
fn newest_retained_message_is_the_one_no_other_surely_followed() {
    let mut auditor = scene(4);
    for (id, publisher, first_sent) in [(1, 0, 20), (2, 0, 21), (3, 1, 22), (4, 1, 40)] {
        let message = auditor.message_mut(id).unwrap();
        message.retain = true;
        message.publisher = publisher;
        message.first_sent = at(first_sent);
    }
    auditor.message_mut(4).unwrap().accepted = None;
    let allowed = auditor.retained_allowed(at(100));
    let allowed = &allowed["t/a"];
    // 2 followed 1; 2 and 3 crossed each other; nobody knows whether 4 arrived.
    assert_eq!(
        allowed.messages.iter().copied().collect::<Vec<_>>(),
        [2, 3, 4]
    );
    assert!(!allowed.nothing);
}
