//! Shared subscriptions: each message goes to one member of its group, whoever comes and goes.
//!
//! Each group has topics of its own, on which nobody is subscribed otherwise, so a delivery there
//! needs no guess at its reason.

use super::Auditor;
use crate::model::{Group, Message, group_of};
use crate::wire::Publish;
use ringway::base::time::Instant;

impl Auditor {
    /// A member got a message. Only QoS 1 may come to a second one, after the first one's session
    /// ended [MQTT-4.8.2-5].
    pub(super) fn take_shared(&mut self, id: u32, publish: &Publish) -> Result<(), String> {
        let transmissions = self.message(id).map_or(0, |it| it.transmissions);
        let taken = self.taken.entry(id).or_default();
        *taken += u32::from(publish.qos != 1 || !publish.dup);
        if publish.qos != 1 && *taken > transmissions {
            return Err(format!("{taken} copies for the members of one group"));
        }
        Ok(())
    }

    /// Everything acknowledged is with some member of its group, if the group had one all the time,
    /// and QoS 1 with one only as long as no session ended. Returns how many deliveries were
    /// required, and how many of them in spite of a crash.
    pub(crate) fn check_shared(&self, faults: &mut Vec<String>) -> (u64, u64) {
        let (mut required, mut in_spite) = (0, 0);
        for (id, message) in self.messages() {
            let Some(group) = group_of(&message.topic) else {
                continue;
            };
            let taken = self.taken.get(&id);
            let ended = self.ended_member.get(group.filter);
            let stable = ended.is_none_or(|ended| *ended < message.first_sent);
            // Each crash may bring QoS 1 again, to another member if a session's end is undone.
            let copies = message.transmissions * (1 + self.crashes_since(message.first_sent));
            if stable && taken.is_some_and(|taken| *taken > copies) {
                faults.push(format!("{taken:?} members got message {id}: {message:?}"));
            }
            if self.must_be_taken(group, message, stable) {
                required += 1;
                in_spite += u64::from(self.crashed_since(message.first_sent));
                if taken.is_none() {
                    faults.push(format!("no member got message {id}: {message:?}"));
                }
            }
        }
        (required, in_spite)
    }

    /// What is in flight with QoS 2 ends with its session. Where there are disks, so does what a
    /// session leaves behind there, or over a crash: it does not know its group any more.
    fn must_be_taken(&self, group: &Group, message: &Message, stable: bool) -> bool {
        let may_be_lost = match message.qos.min(group.qos) {
            0 => true,
            1 => !stable && self.has_disks,
            _ => !stable,
        };
        !may_be_lost && message.is_certain() && self.has_member(group, message.first_sent)
    }

    /// Somebody is a member, and was one at that time, without a break.
    fn has_member(&self, group: &Group, time: Instant) -> bool {
        let coverage = |it: &super::Receiver| it.coverage.get(group.filter).and_then(|it| it.since);
        self.receivers
            .iter()
            .filter_map(coverage)
            .any(|since| since < time)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auditor::DeliveredOn;
    use crate::model::{GROUPS, payload};
    use crate::wire::Filter;

    fn at(micros: u64) -> Instant {
        Instant::from_micros(micros)
    }

    /// Clients 1 and 2 are members of the group from 10 on; message 1 is sent by client 0 at 20.
    fn scene(group: &Group) -> Auditor {
        let mut auditor = Auditor::new(3, true);
        for client in [1, 2] {
            let filter = Filter {
                filter: group.filter.into(),
                qos: group.qos,
                no_local: false,
                retain_as_published: false,
                retain_handling: 2,
            };
            auditor.on_subscribe_sent(client, at(10), &filter, None);
            auditor.on_suback(client, at(11), &filter.filter);
        }
        auditor.add_message(Message {
            accepted: Some(at(30)),
            ..Message::new(0, group.topic.into(), group.qos, 10, at(20))
        });
        auditor
    }

    fn deliver(auditor: &mut Auditor, client: usize, group: &Group) -> Result<(), String> {
        let on = DeliveredOn {
            session_present: false,
            connect_sent: Instant::ZERO,
            connack_at: Instant::ZERO,
            v5: true,
        };
        let publish = Publish {
            qos: group.qos,
            packet_id: Some(1),
            payload: payload(1, 10),
            ..Publish::default()
        };
        auditor.on_delivered(client, at(40), group.topic, &publish, &on)
    }

    fn faults(auditor: &Auditor) -> usize {
        let mut faults = Vec::new();
        auditor.check_shared(&mut faults);
        faults.len()
    }

    #[test]
    fn one_member_gets_it() {
        for group in GROUPS {
            let mut auditor = scene(group);
            assert_eq!(faults(&auditor), 1, "nobody got it");
            assert_eq!(deliver(&mut auditor, 1, group), Ok(()));
            assert_eq!(faults(&auditor), 0);
            let second = deliver(&mut auditor, 2, group);
            assert_eq!(second.is_err(), group.qos == 2, "{second:?}");
            assert_eq!(faults(&auditor), 1, "two got it");
        }
    }

    #[test]
    fn end_of_a_session_excuses_what_the_specification_says() {
        for group in GROUPS {
            let mut auditor = scene(group);
            auditor.ended_member.insert(group.filter.into(), at(50));
            assert_eq!(faults(&auditor), usize::from(group.qos == 1));
            auditor.receivers[2].coverage.clear();
            auditor.receivers[1].coverage.clear();
            assert_eq!(faults(&auditor), 0, "nobody was a member all the time");
        }
    }

    #[test]
    fn who_is_no_member_gets_nothing() {
        let mut auditor = scene(&GROUPS[0]);
        assert!(deliver(&mut auditor, 0, &GROUPS[0]).is_err());
    }
}
