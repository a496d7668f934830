//! What a client does next: the workload.

use super::publish::Wanted;
use super::{Client, Context};
use crate::model::{GROUPS, PAYLOAD_BYTES_MIN};
use crate::swarm::{Habit, Swarm, Theme, one_of};
use crate::wire::{Filter, Version, encode};
use ringway::base::random::Random;
use std::time::Duration;

/// What the world has to do for a client that acted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Step {
    Nothing,
    /// Open a connection and send CONNECT.
    Open,
    /// DISCONNECT was sent: close the socket behind it.
    Leave,
    /// Open a connection while the old one exists.
    TakeOver,
}

impl Client {
    pub(crate) fn act(&mut self, context: &mut Context<'_>) -> Step {
        if self.live.is_none() {
            let open = !self.asleep && (context.calm || context.random.chance(3, 4));
            return if open { Step::Open } else { Step::Nothing };
        }
        if !self.is_connected() {
            return Step::Nothing;
        }
        let owed = if context.calm {
            usize::MAX
        } else {
            context.random.below(4) as usize
        };
        self.send_owed(context, owed);
        self.ping_if_due(context);
        if context.calm || self.profile.scripted || self.actions_left == 0 {
            return Step::Nothing;
        }
        self.actions_left -= 1;
        self.act_freely(context)
    }

    fn act_freely(&mut self, context: &mut Context<'_>) -> Step {
        let features = &context.swarm.features;
        match context.swarm.habits.draw(context.random) {
            Some(Habit::Publish) => self.publish_something(context),
            Some(Habit::Subscribe) => self.subscribe_something(context),
            Some(Habit::Unsubscribe) if features.unsubscribe => {
                self.unsubscribe_something(context);
            }
            Some(Habit::Disconnect) if features.disconnect => {
                let code = if context.random.chance(1, 4) { 4 } else { 0 };
                let forgetful = context.random.chance(context.swarm.forgetfulness, 100);
                let expiry_s = match features.session_expiry && forgetful {
                    true => Some(*one_of(&[0, 1, 5, 100], context.random)),
                    false => None,
                };
                self.disconnect(context, code, expiry_s);
                return Step::Leave;
            }
            Some(Habit::TakeOver) if features.takeover => return Step::TakeOver,
            Some(Habit::Ping) => self.ping(context),
            _ => {}
        }
        Step::Nothing
    }

    /// Clean Start and Session Expiry Interval of the next CONNECT.
    pub(crate) fn draw_session(&self, context: &mut Context<'_>) -> (bool, u32) {
        let features = &context.swarm.features;
        if context.farewell {
            return (true, 0);
        }
        if context.calm {
            return (self.must_start_clean(context), u32::MAX);
        }
        let forgetful = context.swarm.forgetfulness;
        let clean = features.clean_start && context.random.chance(forgetful, 100);
        let expiry_s = match features.session_expiry && context.random.chance(forgetful, 100) {
            true => *one_of(&[0, 1, 3, 10], context.random),
            false => *one_of(&[1_000, u32::MAX], context.random),
        };
        (clean || self.must_start_clean(context), expiry_s)
    }

    /// Until the client acts again.
    pub(crate) fn pause(&self, swarm: &Swarm, calm: bool, random: &mut Random) -> Duration {
        if calm {
            return Duration::from_millis(200);
        }
        if !self.is_connected() {
            return Duration::from_micros(1 + random.below(10 * swarm.network_delay_us + 5_000));
        }
        if swarm.features.long_sleeps && random.chance(1, 50) {
            return Duration::from_millis(300 + random.below(8_000));
        }
        Duration::from_micros(1 + random.below(2 * swarm.pace_us))
    }

    fn ping_if_due(&mut self, context: &mut Context<'_>) {
        let due = self.live.as_ref().is_some_and(|live| {
            let half = live.keep_alive / 2;
            !half.is_zero() && live.last_sent + half <= context.now && live.pings.is_empty()
        });
        if due {
            self.ping(context);
        }
    }

    pub(crate) fn ping(&mut self, context: &Context<'_>) {
        let Some(live) = &mut self.live else { return };
        encode::ping_request(&mut live.output);
        let order = live.next_order();
        live.pings.push_back(order);
        live.last_sent = context.now;
    }

    fn publish_something(&mut self, context: &mut Context<'_>) {
        let features = &context.swarm.features;
        let random = &mut *context.random;
        let mut qos = random.below(u64::from(features.qos_max) + 1) as u8;
        if context.swarm.theme == Theme::LateUpdates {
            qos = qos.max(1);
        }
        if qos > 0 && !self.has_window() {
            qos = 0;
        }
        let retain = features.retained && random.chance(context.swarm.habits.retain, 4);
        let large = features.large_payloads && random.chance(1, 20);
        let bytes = if retain && random.chance(1, 6) {
            0
        } else {
            PAYLOAD_BYTES_MIN
                + random.below(if large {
                    context.swarm.payload_bytes_max()
                } else {
                    60
                }) as usize
        };
        let expires = features.message_expiry && random.chance(1, 4);
        let mut wanted = Wanted {
            topic: one_of(&topics(context.swarm), random).clone(),
            qos,
            retain,
            bytes,
            expiry_s: expires.then(|| 1 + random.below(10) as u32),
        };
        if context.swarm.theme == Theme::Groups && random.chance(2, 3) {
            wanted = Wanted {
                topic: one_of(GROUPS, random).topic.into(),
                retain: false,
                bytes: wanted.bytes.max(PAYLOAD_BYTES_MIN),
                expiry_s: None,
                ..wanted
            };
        }
        self.publish(context, wanted);
    }

    fn subscribe_something(&mut self, context: &mut Context<'_>) {
        let count = 1 + context.random.below(3) * u64::from(context.random.chance(1, 4));
        let mut chosen: Vec<Filter> = Vec::new();
        for _ in 0..count {
            let filter = self.draw_filter(context);
            if !self.is_requested(&filter) && chosen.iter().all(|it| it.filter != filter) {
                chosen.push(self.draw_options(filter, context));
            }
        }
        if chosen.is_empty() || !self.has_free_packet_id() {
            return;
        }
        let identified = context.swarm.features.identifiers && context.random.chance(1, 2);
        let identifier = identified.then(|| 1 + context.random.below(300) as u32);
        self.subscribe(context, chosen, identifier);
    }

    /// A broker that may have gone back to an earlier state may have forgotten subscriptions: its
    /// clients make them anew, so that they are entitled to what comes.
    pub(super) fn renew_subscriptions(&mut self, context: &mut Context<'_>) {
        let crashes = context.auditor.crashes();
        let is_due = context.auditor.undoes && self.renewed < crashes && !context.farewell;
        self.renewed = crashes;
        if !is_due || self.subscribed.is_empty() {
            return;
        }
        let filters = self.subscribed.clone().into_iter();
        let chosen = filters
            .map(|filter| self.draw_options(filter, context))
            .collect();
        self.subscribe(context, chosen, None);
    }

    fn draw_filter(&self, context: &mut Context<'_>) -> String {
        let random = &mut *context.random;
        if context.swarm.theme == Theme::Groups && random.chance(1, 2) {
            return one_of(GROUPS, random).filter.into();
        }
        if context.swarm.features.wildcards && random.chance(1, 2) {
            const WILDCARDS: &[&str] = &[
                "t/+/a", "t/#", "#", "+/+/b", "t/0/+", "w/#", "w/+", "$own/#", "+/0/#", "t/0/#",
            ];
            return (*one_of(WILDCARDS, random)).to_owned();
        }
        if context.swarm.features.wills && random.chance(1, 3) {
            return format!("w/{}", random.below(context.swarm.client_count as u64));
        }
        one_of(&topics(context.swarm), random).clone()
    }

    fn draw_options(&self, filter: String, context: &mut Context<'_>) -> Filter {
        let features = &context.swarm.features;
        let random = &mut *context.random;
        let group = GROUPS.iter().find(|group| group.filter == filter);
        let qos = random.below(u64::from(features.qos_max) + 1) as u8;
        Filter {
            filter,
            qos: match group {
                Some(group) => group.qos,
                None if context.swarm.theme == Theme::LateUpdates => qos.max(1),
                None => qos,
            },
            // [MQTT-3.8.3-4]
            no_local: features.no_local && random.chance(1, 3) && group.is_none(),
            retain_as_published: features.retain_as_published && random.chance(1, 2),
            retain_handling: match features.retain_handling {
                true => random.below(3) as u8,
                false => 0,
            },
        }
    }

    fn unsubscribe_something(&mut self, context: &mut Context<'_>) {
        let filter = match self.subscribed.is_empty() || context.random.chance(1, 10) {
            true => self.draw_filter(context),
            false => one_of(&self.subscribed, context.random).clone(),
        };
        if !self.is_requested(&filter) && self.has_free_packet_id() {
            let filter = self.draw_options(filter, context);
            self.unsubscribe(context, filter);
        }
    }
}

/// The topics of a world, apart from those of the wills.
pub(crate) fn topics(swarm: &Swarm) -> Vec<String> {
    let mut topics: Vec<String> = (0..swarm.topic_count)
        .map(|index| format!("t/{}/{}", index / 2, if index % 2 == 0 { "a" } else { "b" }))
        .collect();
    if swarm.topic_count > 4 {
        topics.push("$own/a".into());
    }
    topics
}

/// A client's lasting traits.
pub(crate) fn draw_profile(index: usize, swarm: &Swarm, random: &mut Random) -> super::Profile {
    let features = &swarm.features;
    let version = *one_of(&features.versions, random);
    let small = features.small_packets && random.chance(1, 3);
    let keep_alive = features.keep_alive && random.chance(2, 3);
    super::Profile {
        client_id: format!("client-{index}"),
        version,
        keep_alive_s: if keep_alive {
            1 + random.below(30) as u16
        } else {
            0
        },
        receive_maximum: (version == Version::V5 && random.chance(2, 3))
            .then(|| swarm.receive_maximum + random.below(5) as u16),
        topic_alias_maximum: match features.aliases_out && version == Version::V5 {
            true if swarm.theme == Theme::Aliases => 1 + random.below(3) as u16,
            true => random.below(4) as u16,
            false => 0,
        },
        maximum_packet_size: (small && version == Version::V5)
            .then(|| 60 + random.below(60) as u32),
        lazy_acks: features.lazy_acks && random.chance(1, 2),
        scripted: false,
        packet_id_max: u16::MAX,
    }
}

/// The highest packet identifier of each client. In half of the worlds some use few identifiers
/// over and over, which shows what the broker remembers of their earlier use.
pub(crate) fn draw_packet_ids(seed: u64) -> impl Iterator<Item = u16> {
    // From numbers of its own: the choice does not change what else the world is.
    let mut random = Random::new(seed ^ 0x0069_6465_6E74);
    let is_wide = random.chance(1, 2);
    std::iter::repeat_with(move || {
        let narrow = *one_of(&[8, 8, 200, u16::MAX], &mut random);
        if is_wide { u16::MAX } else { narrow }
    })
}
