//! May this message come to this client, here, now, and in this form?

use super::{Auditor, DeliveredOn, Receiver};
use crate::model::{Fate, Message, Subscription, group_of, matches, payload, payload_id, unshared};
use crate::wire::Publish;
use ringway::base::time::Instant;
use std::time::Duration;

/// A delivery with the message it claims to be and the subscriptions that explain it.
struct Case<'a> {
    client: usize,
    publish: &'a Publish,
    message: &'a Message,
    /// Those that may have been active when the message was routed.
    candidates: Vec<&'a Subscription>,
    on: &'a DeliveredOn,
    /// Since it was sent. After each of them QoS 1 may come once more, and as if for the first
    /// time.
    crashes: u32,
    /// And QoS 2, too: what was exchanged about it may be undone on both sides of the broker.
    is_undone: bool,
    /// The connection began before such a crash, and a 3.1 client cannot tell what session it had.
    is_of_former: bool,
    /// The broker that got the first copy may have ended before that was durable.
    may_be_undone: bool,
    /// Or may have refused it.
    may_be_refused: bool,
}

impl Auditor {
    pub(super) fn check_delivery(
        &mut self,
        client: usize,
        now: Instant,
        topic: &str,
        publish: &Publish,
        on: &DeliveredOn,
    ) -> Result<(), String> {
        if publish.payload.is_empty() {
            return self.check_clear(client, topic, publish);
        }
        let id = payload_id(&publish.payload).ok_or("payload names no message")?;
        let message = self.message(id).ok_or("message was never published")?;
        if message.topic != topic || payload(id, message.bytes) != publish.payload {
            return Err(format!(
                "topic or payload damaged, published as {message:?}"
            ));
        }
        self.check_will(id, message, now)?;
        let receiver = &self.receivers[client];
        let case = Case {
            client,
            publish,
            message,
            candidates: candidates(receiver, client, publish, message),
            on,
            crashes: self.crashes_since(message.first_sent),
            is_undone: self.is_undone(message.first_sent),
            is_of_former: self.is_undone(on.connect_sent),
            may_be_undone: self.crashed_since(message.first_sent),
            may_be_refused: self.was_disk_full_since(message.first_sent),
        };
        case.check_permission()?;
        case.check_qos()?;
        case.check_retain()?;
        case.check_identifiers()?;
        case.check_expiry()?;
        case.check_dup()?;
        case.check_count(receiver, id)?;
        let surely_live = case.is_surely_live();
        let is_ordered = case.is_ordered(self.lossless && receiver.takes(message));
        let surely_replay = case.is_surely_replay();
        let retransmitted = message.transmissions > 1;
        let (publisher, qos, retain) = (message.publisher, message.qos, message.retain);
        let is_will = message.will.is_some();
        let has_disks = self.has_disks;
        let from_former = self.crashed_since(on.connect_sent);
        // What a broker said before it went back is no measure for what it says now.
        let begins_order = !self.is_undone(on.connect_sent);
        let receiver = &mut self.receivers[client];
        let is_first = !receiver.received.contains_key(&id);
        let received = receiver.received.entry(id).or_default();
        received.fresh += u32::from(publish.qos != 1 || !publish.dup);
        received.exact += u32::from(publish.qos == 2);
        received.last = now;
        if group_of(topic).is_some() {
            return self.take_shared(id, publish);
        }
        if !is_first || is_will {
            return Ok(());
        }
        if surely_live && is_ordered && begins_order {
            receiver.check_order((publisher, topic.to_owned(), qos, publish.qos), id)?;
        }
        let lane = if has_disks { qos } else { 0 };
        let key = (publisher, topic.to_owned(), lane, publish.qos);
        if surely_replay && !retransmitted {
            receiver.check_overtaken(&key, id)?;
        }
        if surely_live && retain && !from_former {
            receiver.newest_retained.insert(key, id);
        }
        Ok(())
    }

    /// Without payload a message has no name: there must have been one like it.
    fn check_clear(&self, client: usize, topic: &str, publish: &Publish) -> Result<(), String> {
        let exists = self.messages.iter().any(|message| {
            message.topic == topic && message.is_clear() && message.qos >= publish.qos
        });
        if !exists {
            return Err("nobody published an empty payload there".into());
        }
        let subscriptions = &self.receivers[client].subscriptions;
        if subscriptions.iter().any(|it| matches(&it.filter, topic)) {
            Ok(())
        } else {
            Err("not subscribed".into())
        }
    }

    /// A will comes only after its connection's end and its delay.
    fn check_will(&self, id: u32, message: &Message, now: Instant) -> Result<(), String> {
        if message.will.is_none() {
            return Ok(());
        }
        let history = &self.receivers[message.publisher].history;
        let Some(not_before) = history.will_not_before(id) else {
            return Err("will published although its connection exists".into());
        };
        if now < not_before {
            return Err(format!(
                "will published before its delay, not before {not_before:?}"
            ));
        }
        if history.will_fate(id, now) == Fate::MustNot {
            // [MQTT-3.1.2-8]
            return Err("will published although it was withdrawn".into());
        }
        Ok(())
    }
}

/// Subscriptions that may explain a delivery. No Local concerns live messages only: the store of
/// retained messages does not know who published them.
fn candidates<'a>(
    receiver: &'a Receiver,
    client: usize,
    publish: &Publish,
    message: &Message,
) -> Vec<&'a Subscription> {
    let own = client == message.publisher && message.will.is_none();
    let live = !publish.retain;
    let explains = |it: &&Subscription| {
        let late_answer = it.replaced && publish.retain;
        (late_answer || it.left.is_none_or(|left| left >= message.first_sent))
            && !(live && own && it.no_local)
            && matches(unshared(&it.filter), &message.topic)
    };
    receiver.subscriptions.iter().filter(explains).collect()
}

impl Case<'_> {
    fn check_permission(&self) -> Result<(), String> {
        if self.candidates.is_empty() {
            Err("not subscribed".into())
        } else {
            Ok(())
        }
    }

    /// Active from before the message was sent until now.
    fn sure(&self) -> impl Iterator<Item = &Subscription> {
        let first_sent = self.message.first_sent;
        let own = self.client == self.message.publisher;
        self.candidates.iter().copied().filter(move |it| {
            it.acked.is_some_and(|acked| acked < first_sent)
                && it.leaving.is_none()
                && !(own && it.no_local)
        })
    }

    /// Not from the store of retained messages.
    fn is_surely_live(&self) -> bool {
        !self.publish.retain || self.candidates.iter().all(|it| it.retain_handling == 2)
    }

    /// From the store: no subscription would keep the RETAIN flag of a live message.
    fn is_surely_replay(&self) -> bool {
        self.publish.retain && !self.candidates.iter().any(|it| it.retain_as_published)
    }

    /// A message that its publisher sent again may come late where its first copy was dropped (by
    /// a queue's limit, or as too large with the identifiers of then), was refused, or came before
    /// the subscription. With QoS 2 the broker takes it again only if it does not know it any more.
    fn is_ordered(&self, lossless: bool) -> bool {
        let got = self.publish.qos;
        let first_copy = |it: &Subscription| it.qos.min(self.message.qos) == got;
        let taken = !self.may_be_refused && self.message.expiry_s.is_none();
        let kept = lossless && got > 0 && taken;
        let is_new_again = self.may_be_undone || self.may_be_refused;
        let came_once = match self.message.qos {
            // Where queues refuse, a copy sent again may be a new message (decision 0009).
            2 => self.message.transmissions == 1 && !(self.message.resent && is_new_again),
            _ => self.message.transmissions == 1,
        };
        came_once || kept && self.sure().any(first_copy)
    }

    /// The smaller of the published QoS and the highest matching subscription's [MQTT-3.8.4-8].
    fn check_qos(&self) -> Result<(), String> {
        let possible = |it: &&Subscription| it.qos.min(self.message.qos) == self.publish.qos;
        if !self.candidates.iter().any(possible) {
            return Err("QoS that no subscription explains".into());
        }
        let least = self.sure().map(|it| it.qos.min(self.message.qos)).max();
        if self.is_surely_live() && least.is_some_and(|least| self.publish.qos < least) {
            return Err("QoS lower than subscribed".into());
        }
        Ok(())
    }

    /// [MQTT-3.3.1-9], [MQTT-3.3.1-12], [MQTT-3.3.1-13].
    fn check_retain(&self) -> Result<(), String> {
        let explained = |it: &&Subscription| it.retain_as_published || it.retain_handling != 2;
        if self.publish.retain {
            if !self.message.retain || !self.candidates.iter().any(explained) {
                return Err("RETAIN set".into());
            }
        } else if self.message.retain && self.sure().any(|it| it.retain_as_published) {
            return Err("RETAIN not kept as published".into());
        }
        Ok(())
    }

    /// [MQTT-3.3.4-3], [MQTT-3.3.4-4], [MQTT-3.3.4-5].
    fn check_identifiers(&self) -> Result<(), String> {
        let got = &self.publish.identifiers;
        let known = |id: &u32| self.candidates.iter().any(|it| it.identifier == Some(*id));
        if !got.iter().all(known) {
            return Err("subscription identifier that does not match".into());
        }
        let missing = self
            .sure()
            .filter_map(|it| it.identifier)
            .any(|id| !got.contains(&id));
        if self.on.v5 && self.is_surely_live() && missing {
            return Err("subscription identifier missing".into());
        }
        Ok(())
    }

    /// [MQTT-3.3.2-5], [MQTT-3.3.2-6].
    fn check_expiry(&self) -> Result<(), String> {
        let Some(expiry_s) = self.message.expiry_s else {
            return match self.publish.expiry_s {
                None => Ok(()),
                Some(_) => Err("expiry although published without".into()),
            };
        };
        if self.on.v5 && self.publish.expiry_s.is_none_or(|left_s| left_s > expiry_s) {
            return Err("expiry grew or was lost".into());
        }
        let expiry = Duration::from_secs(expiry_s.into());
        let expired =
            |accepted: Instant| accepted + expiry + Duration::from_secs(1) < self.on.connect_sent;
        if !self.publish.dup && self.message.accepted.is_some_and(expired) {
            return Err("expired before the client connected".into());
        }
        Ok(())
    }

    /// DUP only on what may have been sent on an earlier connection [MQTT-3.3.1-1].
    fn check_dup(&self) -> Result<(), String> {
        let may_be_known = self.on.session_present || self.is_of_former;
        let resent = may_be_known && self.message.first_sent <= self.on.connack_at;
        if self.publish.dup && !resent {
            Err("DUP on a first delivery".into())
        } else {
            Ok(())
        }
    }

    /// One live copy per time that the broker may have taken the message for a new one, and one
    /// from the store per SUBSCRIBE.
    fn check_count(&self, receiver: &Receiver, id: u32) -> Result<(), String> {
        if self.publish.qos == 1 && self.publish.dup {
            return Ok(());
        }
        let asked = |it: &&Subscription| {
            it.retain_handling != 2 && matches(&it.filter, &self.message.topic)
        };
        let stored = match self.message.retain {
            true => receiver.subscriptions.iter().filter(asked).count() as u32,
            false => 0,
        };
        let received = receiver.received.get(&id).copied().unwrap_or_default();
        // A crash repeats nothing that came exactly once, but perhaps each copy that came as less.
        let (count, repetitions) = match self.publish.qos {
            2 if self.crashes > 0 && !self.is_undone => (received.exact, 0),
            _ => (received.fresh, self.crashes),
        };
        if count >= (self.message.transmissions + stored) * (1 + repetitions) {
            return Err(format!("delivered {} times", count + 1));
        }
        Ok(())
    }
}

impl Receiver {
    /// [MQTT-4.6.0-6].
    fn check_order(&mut self, key: super::OrderKey, id: u32) -> Result<(), String> {
        match self.newest.insert(key, id) {
            Some(newer) if newer > id => Err(format!("out of order: message {newer} came before")),
            _ => Ok(()),
        }
    }

    fn check_overtaken(&self, key: &super::OrderKey, id: u32) -> Result<(), String> {
        match self.newest_retained.get(key) {
            Some(newer) if *newer > id => Err(format!(
                "retained, but the newer message {newer} came before"
            )),
            _ => Ok(()),
        }
    }
}
