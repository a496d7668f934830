//! Body of the fuzz target `session`: outbound state against a model with plain lists.

use super::delivery::{Delivery, QueuedMessage, SubscriptionIdentifiers};
use super::outbound::{Acknowledged, Outbound, QueueLimits, Stage};
use crate::base::time::Instant;
use crate::codec::{ForwardableRuns, MessageParts, MessagePool, PacketId, QosLevel};
use crate::config::limits::QueueFullPolicy;
use std::collections::VecDeque;

const QUEUE_MAX: u32 = 8;

/// One exchange as a careful client would keep it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Exchange {
    packet_id: PacketId,
    number: u64,
    stage: Stage,
    /// Sent on the present connection, as PUBLISH or PUBREL.
    sent: bool,
    /// Sent as PUBLISH on the present connection.
    counted: bool,
}

struct Model {
    outbound: Outbound,
    pool: MessagePool,
    window: u16,
    policy: QueueFullPolicy,
    /// In the order of sending.
    exchanges: Vec<Exchange>,
    queue: VecDeque<(u64, QosLevel)>,
    last_number: u64,
}

/// Runs the operations that `bytes` spell.
///
/// # Panics
/// When the session and the model disagree: that is its purpose.
pub fn exercise_session(bytes: &[u8]) {
    let mut bytes = bytes.iter().copied();
    let window = u16::from(bytes.next().unwrap_or(0) % 6) + 1;
    let policy = if bytes.next().unwrap_or(0) % 2 == 0 {
        QueueFullPolicy::DropOldest
    } else {
        QueueFullPolicy::DropNewest
    };
    let mut model = Model {
        outbound: Outbound::default(),
        pool: MessagePool::new(64),
        window,
        policy,
        exchanges: Vec::new(),
        queue: VecDeque::new(),
        last_number: 0,
    };
    while let Some(operation) = bytes.next() {
        let argument = bytes.next().unwrap_or(0);
        match operation % 8 {
            0..=2 => model.offer(argument),
            3 | 4 => model.acknowledge(usize::from(argument)),
            5 => model.acknowledge_anything(argument),
            6 => model.pump(),
            _ => model.reconnect(u16::from(argument % 6) + 1),
        }
        model.check();
    }
}

impl Model {
    fn delivery(&mut self, qos: QosLevel) -> Delivery {
        self.last_number += 1;
        let message = self.pool.make(&MessageParts {
            topic_name: b"t",
            properties: ForwardableRuns::of_forwardable(b""),
            payload: &self.last_number.to_be_bytes(),
            qos,
            retain: false,
            expires_at: None,
        });
        Delivery {
            message,
            qos,
            retain: false,
            subscription_identifiers: SubscriptionIdentifiers::new(),
            group: None,
        }
    }

    fn offer(&mut self, argument: u8) {
        let qos = if argument.is_multiple_of(2) {
            QosLevel::AtLeastOnce
        } else {
            QosLevel::ExactlyOnce
        };
        let delivery = self.delivery(qos);
        let can_send = self.sent_count() < self.window
            && self.queue.is_empty()
            && self.exchanges.iter().all(|exchange| exchange.sent);
        assert_eq!(self.outbound.can_send(self.window), can_send);
        if can_send {
            self.send(delivery);
            return;
        }
        let limits = QueueLimits {
            messages_max: QUEUE_MAX,
            bytes_max: u64::MAX,
            policy: self.policy,
        };
        let mut dropped = Vec::new();
        self.queue.push_back((self.last_number, qos));
        let refused = self.outbound.enqueue(delivery, &limits, |delivery| {
            dropped.push(number_of_waiting(&delivery));
        });
        dropped.extend(refused.err().as_ref().map(number_of));
        if self.queue.len() > QUEUE_MAX as usize {
            let lost = match self.policy {
                QueueFullPolicy::DropOldest => self.queue.pop_front(),
                QueueFullPolicy::DropNewest | QueueFullPolicy::Reject => self.queue.pop_back(),
            };
            assert_eq!(dropped, [lost.map_or(0, |(number, _)| number)]);
        } else {
            assert!(dropped.is_empty());
        }
    }

    fn send(&mut self, delivery: Delivery) {
        let stage = match delivery.qos {
            QosLevel::ExactlyOnce => Stage::AwaitPubRec,
            _ => Stage::AwaitPubAck,
        };
        let number = number_of(&delivery);
        let packet_id = self.outbound.send(delivery);
        // [MQTT-2.2.1-4]
        assert!(
            self.exchanges
                .iter()
                .all(|exchange| exchange.packet_id != packet_id)
        );
        self.exchanges.push(Exchange {
            packet_id,
            number,
            stage,
            sent: true,
            counted: true,
        });
    }

    fn sent_count(&self) -> u16 {
        let counted = self.exchanges.iter().filter(|exchange| exchange.counted);
        u16::try_from(counted.count()).unwrap_or(u16::MAX)
    }

    /// The right acknowledgement of some exchange.
    fn acknowledge(&mut self, choice: usize) {
        if self.exchanges.is_empty() {
            return;
        }
        let position = choice % self.exchanges.len();
        let Exchange {
            packet_id,
            number,
            stage,
            ..
        } = self.exchanges[position];
        let acknowledged = match stage {
            Stage::AwaitPubAck => self.outbound.on_pub_ack(packet_id),
            Stage::AwaitPubRec => self.outbound.on_pub_rec(packet_id),
            Stage::AwaitPubComp => self.outbound.on_pub_comp(packet_id),
            Stage::Done => return,
        };
        let Acknowledged::Expected(delivery) = acknowledged else {
            panic!("{packet_id:?} in {stage:?} was not expected");
        };
        match stage {
            Stage::AwaitPubRec => {
                self.exchanges[position].stage = Stage::AwaitPubComp;
                self.exchanges[position].sent = true;
            }
            _ => {
                self.exchanges.remove(position);
            }
        }
        let kept = stage != Stage::AwaitPubComp;
        assert_eq!(
            delivery.map(|delivery| number_of(&delivery)),
            kept.then_some(number)
        );
    }

    /// PUBACK for any identifier: only the one of a QoS 1 exchange does something.
    fn acknowledge_anything(&mut self, argument: u8) {
        let Some(packet_id) = PacketId::new(u16::from(argument) + 1) else {
            return;
        };
        let position = self.exchanges.iter().position(|exchange| {
            exchange.packet_id == packet_id && exchange.stage == Stage::AwaitPubAck
        });
        let expected = matches!(
            self.outbound.on_pub_ack(packet_id),
            Acknowledged::Expected(_)
        );
        assert_eq!(expected, position.is_some());
        if let Some(position) = position {
            self.exchanges.remove(position);
        }
    }

    /// What a connection with room does: resend, then the queue, within the window.
    fn pump(&mut self) {
        while let Some(inflight) = self.outbound.next_resend(self.window) {
            let unsent = self.exchanges.iter_mut().find(|exchange| !exchange.sent);
            let exchange = unsent.expect("nothing more is to be sent again");
            assert_eq!(
                (exchange.packet_id, exchange.stage),
                (inflight.packet_id, inflight.stage)
            );
            exchange.sent = true;
            exchange.counted = true;
        }
        while let Some(delivery) = self
            .outbound
            .dequeue(Instant::ZERO, self.window, |_| unreachable!("no expiry"))
        {
            let wanted = self.queue.pop_front().map(|(number, _)| number);
            assert_eq!(Some(number_of(&delivery)), wanted);
            self.send(delivery);
        }
        // Nothing is left behind that could have been sent. [MQTT-4.9.0-1]
        let idle = self.sent_count() >= self.window
            || (self.queue.is_empty() && self.exchanges.iter().all(|exchange| exchange.sent));
        assert!(idle);
    }

    fn reconnect(&mut self, window: u16) {
        self.outbound.on_disconnected();
        self.window = window;
        for exchange in &mut self.exchanges {
            exchange.sent = exchange.stage == Stage::AwaitPubComp;
            exchange.counted = false;
        }
        // [MQTT-3.3.4-10]
        let released = self.exchanges.iter();
        let released = released.filter(|exchange| exchange.stage == Stage::AwaitPubComp);
        let released = released.map(|exchange| exchange.packet_id);
        assert!(self.outbound.releases().eq(released));
        self.pump();
    }

    fn check(&self) {
        self.outbound.assert_invariants();
        assert_eq!(self.outbound.sent_count(), self.sent_count());
        assert_eq!(self.outbound.inflight_count(), self.exchanges.len());
        assert_eq!(self.outbound.queued_count(), self.queue.len());
        let order = self.outbound.resends().map(|inflight| inflight.packet_id);
        assert!(order.eq(self.exchanges.iter().map(|exchange| exchange.packet_id)));
    }
}

fn number_of_waiting(waiting: &QueuedMessage) -> u64 {
    match waiting {
        QueuedMessage::Held(delivery) => number_of(delivery),
        // Stored under its number.
        QueuedMessage::Stored(stored) => stored.place.get(),
    }
}

fn number_of(delivery: &Delivery) -> u64 {
    let payload = delivery.message.payload();
    payload.try_into().map_or(0, u64::from_be_bytes)
}
