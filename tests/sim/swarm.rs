//! What a seed makes of its world: which features are used, which faults happen, and the sizes.
//!
//! Not every world has everything: a fault or a feature that is always there hides the errors
//! that show only without it.

use crate::wire::Version;
use crate::world::SCRIPTED;
use ringway::base::random::Random;
use ringway::config::limits::{DurabilityAck, Limits, QueueFullPolicy, SharedStrategy};
use std::time::Duration;

/// Weights of faults, each in one of 10,000 of the occasions where it may happen.
#[derive(Clone, Debug, Default)]
pub(crate) struct Faults {
    pub(crate) reset: u64,
    pub(crate) close_without_disconnect: u64,
    pub(crate) half_close: u64,
    pub(crate) vanish: u64,
    pub(crate) stall: u64,
    /// Reads that take only a part of what is there.
    pub(crate) split_read: u64,
    /// Writes that take less than there is room for.
    pub(crate) short_write: u64,
    /// Bytes fed although the shard asked for a pause: they had been received already.
    pub(crate) feed_paused: u64,
    /// Timers that fire late.
    pub(crate) late_timer: u64,
    /// Batches that take long.
    pub(crate) slow_link: u64,
}

/// What clients use.
#[derive(Clone, Debug)]
pub(crate) struct Features {
    pub(crate) qos_max: u8,
    pub(crate) versions: Vec<Version>,
    pub(crate) retained: bool,
    pub(crate) wills: bool,
    pub(crate) will_delay: bool,
    pub(crate) takeover: bool,
    pub(crate) clean_start: bool,
    pub(crate) session_expiry: bool,
    pub(crate) aliases_in: bool,
    pub(crate) aliases_out: bool,
    pub(crate) no_local: bool,
    pub(crate) retain_as_published: bool,
    pub(crate) retain_handling: bool,
    pub(crate) message_expiry: bool,
    pub(crate) unsubscribe: bool,
    pub(crate) wildcards: bool,
    pub(crate) identifiers: bool,
    pub(crate) disconnect: bool,
    pub(crate) long_sleeps: bool,
    pub(crate) keep_alive: bool,
    pub(crate) lazy_acks: bool,
    pub(crate) small_packets: bool,
    pub(crate) large_payloads: bool,
}

/// What a world is about beside ordinary life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Theme {
    Ordinary,
    /// Retained messages and their new subscribers meet on slow links.
    RetainedRaces,
    /// Updates of retained messages are late at their owner; each topic is published, subscribed
    /// and unsubscribed rarely.
    LateUpdates,
    /// Connections replace each other.
    Takeovers,
    /// More topics than aliases.
    Aliases,
    /// One message at a time, everywhere.
    Windows,
    /// Hardly room for the connections, sessions and retained messages of this world.
    Narrow,
    /// Shared subscriptions, whose members come and go.
    Groups,
}

/// How often a client does what, in 100.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Habits {
    pub(crate) publish: u64,
    pub(crate) subscribe: u64,
    pub(crate) unsubscribe: u64,
    pub(crate) disconnect: u64,
    pub(crate) take_over: u64,
    pub(crate) ping: u64,
    /// Of 4 messages, those with RETAIN.
    pub(crate) retain: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Habit {
    Publish,
    Subscribe,
    Unsubscribe,
    Disconnect,
    TakeOver,
    Ping,
}

impl Habits {
    /// What comes next; None: nothing.
    pub(crate) fn draw(&self, random: &mut Random) -> Option<Habit> {
        let mut number = random.below(100);
        let habits = [
            (self.publish, Habit::Publish),
            (self.subscribe, Habit::Subscribe),
            (self.unsubscribe, Habit::Unsubscribe),
            (self.disconnect, Habit::Disconnect),
            (self.take_over, Habit::TakeOver),
            (self.ping, Habit::Ping),
        ];
        for (share, habit) in habits {
            if number < share {
                return Some(habit);
            }
            number -= share;
        }
        None
    }
}

const HABITS: Habits = Habits {
    publish: 70,
    subscribe: 20,
    unsubscribe: 4,
    disconnect: 2,
    take_over: 2,
    ping: 1,
    retain: 1,
};

/// One world's settings, drawn from its seed.
#[derive(Clone, Debug)]
pub(crate) struct Swarm {
    pub(crate) theme: Theme,
    pub(crate) habits: Habits,
    pub(crate) shard_count: u16,
    pub(crate) client_count: usize,
    pub(crate) rude_count: usize,
    /// Times that the faults begin and end.
    pub(crate) rounds: u64,
    /// What each client does in one round.
    pub(crate) actions: usize,
    /// Clean starts and short session expiries, each in one of 100 connects.
    pub(crate) forgetfulness: u64,
    pub(crate) topic_count: usize,
    pub(crate) features: Features,
    pub(crate) faults: Faults,
    pub(crate) limits: Limits,
    pub(crate) down_bytes_max: usize,
    pub(crate) network_delay_us: u64,
    pub(crate) link_delay_us: u64,
    pub(crate) pace_us: u64,
    /// Smallest Receive Maximum that clients announce.
    pub(crate) receive_maximum: u16,
    /// Invariants are checked at every event, not at every 64th.
    pub(crate) small: bool,
}

impl Swarm {
    pub(crate) fn draw(seed: u64, shard_count: Option<u16>) -> Self {
        let mut swarm = Self::draw_ordinary(seed, shard_count);
        // Drawn from numbers of their own: a world without theme does not change with them.
        swarm.draw_theme(&mut Random::new(seed ^ 0x7468_656D_6573));
        if let Some(shard_count) = shard_count {
            swarm.shard_count = shard_count;
        }
        swarm
    }

    /// Without a theme.
    pub(crate) fn draw_ordinary(seed: u64, shard_count: Option<u16>) -> Self {
        let mut random = Random::new(seed ^ 0x5745_A12D);
        let random = &mut random;
        let shards = *one_of(&[1, 1, 2, 2, 2, 3, 4, 8], random);
        let client_count = 2 + match random.below(10) {
            0 => random.below(48),
            1..=3 => random.below(14),
            _ => random.below(6),
        } as usize;
        let rounds = 1 + random.below(4);
        let actions = 30 + random.below(2_000 / (client_count as u64 * rounds) + 40) as usize;
        let calm_world = random.chance(1, 8);
        Self {
            theme: Theme::Ordinary,
            habits: HABITS,
            shard_count: shard_count.unwrap_or(shards),
            client_count,
            rude_count: random.below(4) as usize,
            rounds,
            actions,
            forgetfulness: *one_of(&[1, 5, 10, 40], random),
            topic_count: 1 + random.below(6) as usize,
            features: features(random),
            faults: if calm_world {
                Faults::default()
            } else {
                faults(random)
            },
            limits: limits(random),
            down_bytes_max: *one_of(&[64, 300, 2_000, 16_000, 200_000], random),
            network_delay_us: *one_of(&[1, 50, 1_000, 20_000], random),
            link_delay_us: *one_of(&[1, 20, 500, 5_000], random),
            pace_us: *one_of(&[10, 200, 2_000, 20_000], random),
            receive_maximum: *one_of(&[1, 2, 5, 10, 100], random),
            small: client_count <= 10,
        }
    }

    fn draw_theme(&mut self, random: &mut Random) {
        match random.below(12) {
            0 => self.let_retained_race(random),
            1 => self.take_over_often(random),
            2 => self.use_up_aliases(random),
            3 => self.shrink_windows(),
            4 => self.narrow(random),
            5 | 6 => self.share(random),
            7 => self.let_updates_be_late(random),
            _ => {}
        }
    }

    /// Many short rounds: what is retained at the end of each is judged.
    fn let_retained_race(&mut self, random: &mut Random) {
        self.theme = Theme::RetainedRaces;
        self.habits = Habits {
            publish: 45,
            subscribe: 35,
            unsubscribe: 15,
            disconnect: 0,
            take_over: 0,
            ping: 5,
            retain: 3,
        };
        self.shard_count = *one_of(&[2, 3, 4, 8], random);
        self.client_count = 3 + random.below(6) as usize;
        self.small = true;
        self.rounds = 12;
        self.actions = 4 + random.below(12) as usize;
        self.topic_count = 1 + random.below(3) as usize;
        self.link_delay_us = *one_of(&[500, 5_000, 20_000], random);
        self.network_delay_us = 50;
        self.pace_us = *one_of(&[200, 2_000, 20_000], random);
        self.limits.queued_messages_max = 1_000_000;
        self.limits.send_queue_bytes_max = 1 << 20;
        self.down_bytes_max = 200_000;
        self.features = Features {
            retained: true,
            retain_handling: false,
            message_expiry: false,
            no_local: false,
            long_sleeps: false,
            wills: false,
            unsubscribe: true,
            small_packets: false,
            large_payloads: false,
            qos_max: 1 + random.below(2) as u8,
            ..self.features.clone()
        };
        self.faults = Faults {
            late_timer: self.faults.late_timer,
            slow_link: *one_of(&[0, 1_000, 4_000], random),
            ..Faults::default()
        };
    }

    /// Hardly anything else is published that would make up for what a subscriber missed.
    fn let_updates_be_late(&mut self, random: &mut Random) {
        self.let_retained_race(random);
        self.theme = Theme::LateUpdates;
        self.habits = Habits {
            publish: 35,
            subscribe: 35,
            unsubscribe: 30,
            disconnect: 0,
            take_over: 0,
            ping: 0,
            retain: 4,
        };
        self.shard_count = *one_of(&[3, 4, 5], random);
        self.client_count = 5 + random.below(5) as usize;
        self.rounds = 30;
        self.actions = 2 + random.below(4) as usize;
        self.topic_count = 2 + random.below(6) as usize;
        self.link_delay_us = *one_of(&[5_000, 20_000], random);
        self.pace_us = 20_000;
        self.features.wildcards = false;
        self.faults.slow_link = *one_of(&[1_000, 4_000], random);
    }

    fn take_over_often(&mut self, random: &mut Random) {
        self.theme = Theme::Takeovers;
        self.habits = Habits {
            publish: 45,
            subscribe: 15,
            unsubscribe: 3,
            disconnect: 5,
            take_over: 30,
            ping: 1,
            retain: 1,
        };
        self.features.takeover = true;
        self.features.disconnect = true;
        self.pace_us = *one_of(&[10, 200, 2_000], random);
    }

    /// No message is too large for one member only.
    pub(crate) fn share(&mut self, random: &mut Random) {
        self.theme = Theme::Groups;
        self.habits = Habits {
            publish: 60,
            subscribe: 15,
            unsubscribe: *one_of(&[2, 8], random),
            disconnect: *one_of(&[0, 2, 6], random),
            take_over: *one_of(&[0, 2, 6], random),
            ping: 1,
            retain: 1,
        };
        self.features.qos_max = 1 + random.below(2) as u8;
        self.features.small_packets = false;
        self.features.unsubscribe = true;
        self.features.disconnect = true;
        self.limits.shared_strategy = *one_of(
            &[
                SharedStrategy::RoundRobin,
                SharedStrategy::LeastInflight,
                SharedStrategy::Sticky,
                SharedStrategy::HashClient,
                SharedStrategy::HashTopic,
                SharedStrategy::Random,
            ],
            random,
        );
    }

    fn use_up_aliases(&mut self, random: &mut Random) {
        self.theme = Theme::Aliases;
        self.features.versions = vec![Version::V5];
        self.features.aliases_in = true;
        self.features.aliases_out = true;
        self.topic_count = 8;
        self.limits.topic_alias_maximum = 1 + random.below(3) as u16;
        self.limits.outbound_topic_alias_maximum = 1 + random.below(3) as u16;
    }

    fn shrink_windows(&mut self) {
        self.theme = Theme::Windows;
        self.receive_maximum = 1;
        self.features.lazy_acks = true;
        self.features.qos_max = 2;
        self.limits.receive_maximum = 1;
        self.limits.inflight_max = 1;
        self.limits.send_queue_bytes_max = 64;
        self.limits.link_bytes_max = 100;
        self.limits.link_messages_max = 1;
    }

    /// A connection that vanished would keep its place for ever.
    fn narrow(&mut self, random: &mut Random) {
        self.theme = Theme::Narrow;
        self.rude_count = 3;
        self.features.retained = true;
        self.faults.vanish = 0;
        if random.chance(1, 2) {
            self.limits.queue_full = QueueFullPolicy::Reject;
            self.limits.queued_messages_max = *one_of(&[1, 2, 8, 30], random);
        }
    }
}

impl Swarm {
    /// The limits of each shard.
    pub(crate) fn shard_limits(&self) -> Limits {
        let mut limits = self.limits.for_shard_count(self.shard_count);
        if self.theme == Theme::Narrow {
            let clients = (self.client_count + SCRIPTED) as u32;
            limits.connections_max = clients + 1;
            limits.sessions_max = clients;
            limits.retained_messages_max = 2;
            limits.retained_payload_bytes_max = 40;
        }
        limits
    }

    /// Large enough to be split and shared, small enough not to choke the network of this world.
    pub(crate) fn payload_bytes_max(&self) -> u64 {
        (20 * self.down_bytes_max as u64).clamp(2_500, 20_000)
    }

    /// The listener that a client or another endpoint connects to.
    pub(crate) fn listener_of(&self, endpoint: usize) -> u16 {
        let count = self.limits.listeners.len().max(1);
        (endpoint % count) as u16
    }

    /// What is acknowledged to this client may be undone by a crash, while others are told the
    /// truth.
    pub(crate) fn waits_for_nothing(&self, client: usize) -> bool {
        let own = self.limits.listener(self.listener_of(client));
        own.durability_ack == Some(DurabilityAck::None)
    }

    /// Publishers that speak 5.0 hear of it when a session's queue has no room.
    pub(crate) fn rejects(&self) -> bool {
        self.limits.queue_full == QueueFullPolicy::Reject
    }

    /// No session's queue can reach its limit.
    pub(crate) const fn is_lossless(&self) -> bool {
        self.limits.queued_messages_max > 100_000
    }
}

fn features(random: &mut Random) -> Features {
    let versions = match random.below(5) {
        0 => vec![Version::V311],
        1 | 2 => vec![Version::V5],
        _ => vec![Version::V5, Version::V311, Version::V5, Version::V31],
    };
    let mut often = || random.chance(2, 3);
    Features {
        versions,
        retained: often(),
        wills: often(),
        will_delay: often(),
        takeover: often(),
        clean_start: often(),
        session_expiry: often(),
        aliases_in: often(),
        aliases_out: often(),
        no_local: often(),
        retain_as_published: often(),
        retain_handling: often(),
        message_expiry: often() && often(),
        unsubscribe: often(),
        wildcards: often(),
        identifiers: often(),
        disconnect: often(),
        long_sleeps: often(),
        keep_alive: often(),
        lazy_acks: often(),
        small_packets: often() && often() && often(),
        large_payloads: often() && often(),
        qos_max: *one_of(&[0, 1, 1, 2, 2, 2, 2, 2, 2, 2], random),
    }
}

fn faults(random: &mut Random) -> Faults {
    let mut weight = |choices: &[u64]| *one_of(choices, random);
    Faults {
        reset: weight(&[0, 10, 50, 300]),
        close_without_disconnect: weight(&[0, 10, 100]),
        half_close: weight(&[0, 0, 50]),
        vanish: weight(&[0, 0, 10, 50]),
        stall: weight(&[0, 50, 500]),
        split_read: weight(&[0, 1_000, 8_000]),
        short_write: weight(&[0, 1_000, 8_000]),
        feed_paused: weight(&[0, 3_000]),
        late_timer: weight(&[0, 3_000]),
        slow_link: weight(&[0, 100, 2_000]),
    }
}

fn limits(random: &mut Random) -> Limits {
    let tiny_queue = random.chance(1, 5);
    let mut one = |choices: &[u32]| *one_of(choices, random);
    let queued_messages_max = if tiny_queue {
        one(&[1, 2, 8, 30])
    } else {
        1_000_000
    };
    Limits {
        connect_timeout: Duration::from_secs(5),
        send_timeout: Duration::from_secs(5),
        receive_maximum: one(&[1, 2, 5, 10, 1_024]) as u16,
        inflight_max: one(&[1, 2, 5, 10, 1_024]) as u16,
        topic_alias_maximum: one(&[0, 1, 2, 32]) as u16,
        outbound_topic_alias_maximum: one(&[0, 1, 2, 16]) as u16,
        keep_alive_max_s: one(&[u16::MAX as u32, u16::MAX as u32, 20]) as u16,
        session_expiry_max_s: one(&[u32::MAX, u32::MAX, 20, 100]),
        queued_messages_max,
        queued_bytes_max: u64::MAX / 4,
        queue_full: match one(&[0, 1]) {
            0 => QueueFullPolicy::DropOldest,
            _ => QueueFullPolicy::DropNewest,
        },
        send_queue_bytes_max: one(&[64, 500, 4_000, 1 << 20]),
        link_bytes_max: one(&[100, 1_000, 50_000, 1 << 20]),
        link_messages_max: one(&[1, 2, 10, 8_192]),
        packet_bytes_max: 100_000,
        connect_packet_bytes_max: 20_000,
        ..Limits::default()
    }
}

pub(crate) fn one_of<'a, T>(choices: &'a [T], random: &mut Random) -> &'a T {
    &choices[random.below(choices.len() as u64) as usize]
}
