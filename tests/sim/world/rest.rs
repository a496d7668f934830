//! When has the world come to rest, and what must be true then?

use super::{Node, SCRIPTED, World};
use crate::auditor::Auditor;
use crate::client::act::topics;
use crate::client::publish::Wanted;
use crate::network::Place;
use crate::swarm::Theme;
use crate::wire::Filter;
use std::collections::BTreeMap;

impl World {
    /// Nothing is under way anywhere.
    pub(super) fn is_at_rest(&self) -> bool {
        self.unrest().is_none()
    }

    /// The first thing that is still under way.
    pub(super) fn unrest(&self) -> Option<String> {
        let busy = self
            .clients
            .iter()
            .find(|client| !client.asleep && !client.is_idle(&self.auditor));
        if let Some(client) = busy {
            return Some(format!("client {}: {}", client.index, client.open_work()));
        }
        if let Some(rude) = self.rude.iter().find(|rude| rude.is_connected()) {
            return Some(format!("{rude:?}"));
        }
        if !self.links.is_quiet() {
            return Some("a batch is on its way".into());
        }
        if !self.is_serving || self.storage.as_ref().is_some_and(|it| !it.is_quiet()) {
            return Some("the start is not over, or a disk writes".into());
        }
        let open = (0..self.network.len()).find(|connection| !self.is_over(*connection));
        if let Some(connection) = open {
            return Some(format!("#{connection}: {:?}", self.network[connection]));
        }
        let planned = self
            .nodes
            .iter()
            .position(|node| node.turn_planned || node.timeout_planned);
        if let Some(shard) = planned {
            return Some(format!("shard {shard} has its turn"));
        }
        let is_settled = |node: &Node| node.shard.is_settled() && node.shard.is_journal_settled();
        let shard = self.nodes.iter().position(|node| !is_settled(node));
        shard.map(|shard| format!("shard {shard} is not settled"))
    }

    /// A connection is gone, or it is some client's present one and quiet.
    fn is_over(&self, connection: usize) -> bool {
        let it = &self.network[connection];
        let present = self.clients.get(it.endpoint).is_some_and(|client| {
            client
                .live
                .as_ref()
                .is_some_and(|live| live.connection == connection)
        });
        it.is_quiet() && (present || matches!(it.place, Place::Gone))
    }

    /// Every acknowledged message has arrived, every will that was due and no other.
    pub(super) fn check_messages(&mut self) {
        let now = self.schedule.now();
        self.auditor.on_rest(now);
        self.auditor.settle_wills(now);
        let counters = self.counters();
        let (least, most) = self.auditor.wills_due();
        if !(least..=most).contains(&counters.wills_published) {
            let published = counters.wills_published;
            self.fail(format!(
                "{published} wills published, expected {least} to {most}"
            ));
        }
        if counters.drops_queue_full > 0 {
            if self.swarm.is_lossless() {
                self.fail(format!("{} messages dropped", counters.drops_queue_full));
            }
            if self.swarm.rejects() {
                self.fail_if_missing(|auditor, missing| {
                    auditor.check_complete_unless_refused(missing)
                });
            }
            return;
        }
        if self.auditor.refusals > 0 {
            self.fail("a message was refused although every queue had room".into());
        }
        self.fail_if_incomplete(u32::MAX);
        self.check_groups();
        if self.swarm.is_lossless() && self.swarm.theme != Theme::Narrow {
            self.check_asked();
        }
    }

    /// Subscriptions of this round have got the retained messages that they asked for.
    fn check_asked(&mut self) {
        for index in 0..self.clients.len() {
            let Some(connection) = self.clients[index]
                .live
                .as_ref()
                .map(|live| live.connection)
            else {
                continue;
            };
            match self.auditor.check_asked(index, connection) {
                Ok(required) => self.required += required,
                Err(fault) => self.fail(fault),
            }
        }
    }

    fn fail_if_incomplete(&mut self, probes: u32) {
        self.fail_if_missing(|auditor, missing| auditor.check_complete(probes, missing));
    }

    fn fail_if_missing(&mut self, check: impl FnOnce(&Auditor, &mut Vec<String>) -> u64) {
        let mut missing = Vec::new();
        self.required += check(&self.auditor, &mut missing);
        if let Some(first) = missing.first() {
            self.fail(format!("{first} ({} missing in all)", missing.len()));
        }
    }

    /// Each message to a shared subscription has come to one member.
    fn check_groups(&mut self) {
        let mut faults = Vec::new();
        let (required, in_spite) = self.auditor.check_shared(&mut faults);
        self.required += required;
        if let Some(storage) = &mut self.storage {
            storage.tally.shared += in_spite;
        }
        if let Some(first) = faults.first() {
            self.fail(format!("{first} ({} faults in all)", faults.len()));
        }
    }

    /// Index of the client that looks at the retained messages.
    fn collector(&self) -> usize {
        self.clients.len() - SCRIPTED
    }

    /// Index of the client that publishes the probes.
    fn prober(&self) -> usize {
        self.clients.len() - 1
    }

    pub(super) fn wake_scripted(&mut self) {
        for index in [self.collector(), self.prober()] {
            self.clients[index].asleep = false;
            self.open_client(index);
        }
    }

    pub(super) fn subscribe_collector(&mut self) {
        let collector = self.collector();
        let everything = |filter: &str| Filter {
            filter: filter.into(),
            qos: 2,
            no_local: false,
            retain_as_published: false,
            retain_handling: 0,
        };
        self.with_client(collector, |client, context| {
            client.subscribe(context, vec![everything("#"), everything("$own/#")], None);
        });
        self.send_output(collector);
    }

    /// The collector has exactly the newest retained message of each topic.
    pub(super) fn check_retained(&mut self) {
        let allowed = self.auditor.retained_allowed(self.schedule.now());
        let mut found: BTreeMap<&str, Vec<u32>> = BTreeMap::new();
        for id in self.auditor.receivers[self.collector()].received.keys() {
            let topic = self
                .auditor
                .message(*id)
                .map_or("", |message| &*message.topic);
            found.entry(topic).or_default().push(*id);
        }
        let mut fault = None;
        for (topic, allowed) in &allowed {
            let found = found.remove(&**topic).unwrap_or_default();
            let right = match found[..] {
                [] => allowed.nothing || self.swarm.theme == Theme::Narrow,
                [one] => allowed.messages.contains(&one),
                _ => false,
            };
            if !right {
                fault = Some(format!(
                    "retained on {topic}: {found:?}, allowed {allowed:?}"
                ));
            }
        }
        if let Some(topic) = found.keys().next() {
            fault = Some(format!(
                "retained on {topic}, where nobody retained anything"
            ));
        }
        if let Some(fault) = fault {
            self.fail(fault);
        }
    }

    /// One message of each QoS to each topic. Returns the identifier of the first.
    pub(super) fn publish_probes(&mut self, qos: std::ops::RangeInclusive<u8>) -> u32 {
        let prober = self.prober();
        let first = self.auditor.next_message();
        for topic in topics(&self.swarm) {
            for qos in qos.clone() {
                let topic = topic.clone();
                let wanted = Wanted {
                    topic,
                    qos,
                    retain: false,
                    bytes: 10,
                    expiry_s: None,
                };
                self.with_client(prober, |client, context| {
                    if qos == 0 || client.has_window() {
                        client.publish(context, wanted);
                    }
                });
            }
        }
        // Confirms the QoS 0 messages.
        self.with_client(prober, |client, context| client.ping(context));
        self.send_output(prober);
        first
    }

    /// All clients that are connected got the probes, even those of QoS 0 unless they had to be
    /// dropped at a full send queue.
    pub(super) fn check_probes(&mut self, first: u32, slow_before: u64) {
        let counters = self.counters();
        if counters.drops_queue_full > 0 {
            return;
        }
        let lossless = counters.drops_slow_consumer == slow_before;
        self.fail_if_incomplete(if lossless { first } else { u32::MAX });
    }

    /// All clients leave, or are left, without a session: nothing may remain of them.
    pub(super) fn check_empty(&mut self) {
        for shard in 0..self.nodes.len() {
            let population = self.nodes[shard].shard.population();
            if population != (0, 0) {
                self.fail(format!("shard {shard} still holds {population:?}"));
            }
        }
    }

    /// Nobody is subscribed, so nothing is forwarded.
    pub(super) fn check_no_interest(&mut self, forwarded_before: u64) {
        let forwarded = self.counters().messages_forwarded - forwarded_before;
        if forwarded > 0 {
            self.fail(format!(
                "{forwarded} messages forwarded although nobody is subscribed"
            ));
        }
    }
}
