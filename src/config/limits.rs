//! The bounds that the core works with, already validated and counted per shard where it says so.
//!
//! Every default of the protocol side stands here, once, with its reason.

use std::time::Duration;

/// What happens to a message that finds its session's queue full.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum QueueFullPolicy {
    /// The oldest queued message makes room: a telemetry consumer wants the newest values.
    #[default]
    DropOldest,
    /// The arriving message is dropped.
    DropNewest,
    /// The arriving message is dropped, and a 5.0 publisher is told so with Quota exceeded.
    Reject,
}

/// Which member of a shared subscription gets a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum SharedStrategy {
    /// Each in turn.
    #[default]
    RoundRobin,
    /// Of two chosen at random, the one with fewer messages unacknowledged.
    LeastInflight,
    /// Always the same one, until it leaves.
    Sticky,
    /// The same one for each publisher.
    HashClient,
    /// The same one for each topic.
    HashTopic,
    Random,
}

impl SharedStrategy {
    /// The same member gets what belongs together, in order: as long as it is connected, nobody
    /// stands in for it when it has no room.
    #[must_use]
    pub const fn keeps_member(self) -> bool {
        matches!(self, Self::Sticky | Self::HashClient | Self::HashTopic)
    }
}

/// Whether clients are sent to another server, and for how long.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Redirect {
    #[default]
    No,
    /// For now: Use another server.
    AnotherServer,
    /// For ever: Server moved.
    Moved,
}

/// What one listener allows its clients beyond the limits of all.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ListenerLimits {
    /// Highest QoS taken from publishers, if `Limits::qos_max` is not lower.
    pub qos_max: u8,
    /// Whether a payload that says it is UTF-8 is looked at.
    pub check_payload_format: bool,
    /// Stands before every topic name and filter of its clients, unseen by them; empty: nothing.
    pub mount_point: String,
    /// What messages of its clients wait for; `None`: as `DurabilityLimits::ack`.
    pub durability_ack: Option<DurabilityAck>,
}

impl ListenerLimits {
    pub const DEFAULT: Self = Self {
        qos_max: 2,
        check_payload_format: false,
        mount_point: String::new(),
        durability_ack: None,
    };
}

/// What a message must have survived before its publisher is told that it was accepted; the more,
/// the greater.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub enum DurabilityAck {
    /// Nothing: it is written as well, but nobody waits.
    None,
    /// The end of the process: the operating system has it.
    Os,
    /// A loss of power: it is on the disk.
    #[default]
    Disk,
}

/// Bounds of one shard's journal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DurabilityLimits {
    pub ack: DurabilityAck,
    /// Size of a segment, at least [`Limits::segment_bytes_min`]; a multiple of 4096.
    pub segment_bytes: u32,
    /// A snapshot begins when so much has been written since the last one, or as much as that one
    /// had, if that is more: bounds what recovery reads.
    pub snapshot_after_bytes: u64,
    /// Bytes that gather while a write is under way; past it publishers that need the disk are not
    /// read.
    pub buffer_bytes_max: u32,
}

impl Default for DurabilityLimits {
    fn default() -> Self {
        Self {
            ack: DurabilityAck::Disk,
            segment_bytes: 64 << 20,
            snapshot_after_bytes: 256 << 20,
            buffer_bytes_max: 8 << 20,
        }
    }
}

/// Bounds of one shard. `Limits::default()` is what a broker without configuration uses on one
/// core; [`Limits::for_shard_count`] divides the process-wide sums.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Largest packet accepted from a client, fixed header included; announced in CONNACK.
    /// 16 MiB: larger than any sane message, small enough that some at once do not hurt.
    pub packet_bytes_max: u32,
    /// Largest CONNECT. Smaller than `packet_bytes_max`, as the sender is nobody yet; holds the
    /// largest will payload (64 KiB) with the largest names beside it.
    pub connect_packet_bytes_max: u32,
    /// Time from accept to a complete CONNECT.
    pub connect_timeout: Duration,
    /// Most levels of a topic name or filter: bounds the work of a match.
    pub topic_levels_max: u16,
    /// QoS 1 and 2 messages that a client may have unacknowledged towards us; announced.
    pub receive_maximum: u16,
    /// Topic aliases that a client may set; announced. Each may hold a topic name.
    pub topic_alias_maximum: u16,
    /// Topic aliases that we set at most towards a client that allows them.
    pub outbound_topic_alias_maximum: u16,
    /// Longer (or no) keep alive is replaced by this one and announced; 65,535 leaves all as is.
    pub keep_alive_max_s: u16,
    /// Longer session expiry is cut to this one and announced; `u32::MAX` means no end.
    pub session_expiry_max_s: u32,
    /// Highest QoS accepted from publishers: 0, 1 or 2; announced.
    pub qos_max: u8,
    pub retain_available: bool,
    pub wildcard_available: bool,
    pub shared_available: bool,
    pub shared_strategy: SharedStrategy,
    pub subscription_identifiers_available: bool,
    /// Response Information for the clients that ask for it, `%c` standing for the client
    /// identifier; empty: none.
    pub response_information: Box<str>,
    /// Whether CONNECT is refused with the advice to go elsewhere.
    pub redirect: Redirect,
    /// Where to, as Server Reference; empty: not said.
    pub server_reference: Box<str>,
    /// Longest client identifier of a 3.1 client; 23 by its specification.
    pub client_id_characters_max_v31: u16,
    /// Between two updates of the `$SYS` topics; zero: there are none.
    pub sys_interval: Duration,
    /// What each listener allows, by its number.
    pub listeners: Vec<ListenerLimits>,

    /// Connections of this shard, whatever their listener.
    pub connections_max: u32,
    /// Sessions of this shard, with or without a connection.
    pub sessions_max: u32,
    /// Subscriptions of one session.
    pub subscriptions_per_session_max: u32,
    /// Unacknowledged QoS 1 and 2 messages towards a client, if its own limit is not smaller.
    pub inflight_max: u16,
    /// Messages that wait for one session beyond those in flight.
    pub queued_messages_max: u32,
    /// Bytes (topic, properties, payload) that wait for one session.
    pub queued_bytes_max: u64,
    pub queue_full: QueueFullPolicy,
    /// Bytes of the queue of one journalled session that stay in memory, and what is read ahead
    /// when its client is back; the rest waits on the disk only.
    pub queue_memory_bytes_max: u64,
    /// What the queues of all journalled sessions of this shard may take in memory; past it
    /// messages wait on the disk only, and when their places alone take it, queues are full.
    pub queues_memory_bytes_max: u64,

    /// Retained messages of this shard.
    pub retained_messages_max: u64,
    /// Their bytes.
    pub retained_bytes_max: u64,
    /// Largest payload that is retained; a larger one is delivered but not stored.
    pub retained_payload_bytes_max: u32,
    /// Retained messages end after this time at the latest; `None`: they stay.
    pub retained_ttl: Option<Duration>,

    /// Bytes that wait for one client's socket; past it QoS 0 is dropped and counted, QoS 1 and 2
    /// stay in the session's queue, and the client is not read.
    pub send_queue_bytes_max: u32,
    /// A client whose socket takes nothing for this long is closed as a slow consumer.
    pub send_timeout: Duration,
    /// Bytes of incomplete packets of all connections of this shard; past it the connection that
    /// needs more is closed with Quota exceeded.
    pub reassembly_bytes_max: u64,
    /// Bytes on the way to one other shard; past it the publishers that feed the link are paused.
    pub link_bytes_max: u32,
    /// Messages on the way to one other shard; same policy.
    pub link_messages_max: u32,
    pub durability: DurabilityLimits,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            packet_bytes_max: 16 << 20,
            connect_packet_bytes_max: 512 << 10,
            connect_timeout: Duration::from_secs(10),
            topic_levels_max: 128,
            receive_maximum: 1024,
            topic_alias_maximum: 32,
            outbound_topic_alias_maximum: 16,
            keep_alive_max_s: u16::MAX,
            session_expiry_max_s: u32::MAX,
            qos_max: 2,
            retain_available: true,
            wildcard_available: true,
            shared_available: true,
            shared_strategy: SharedStrategy::RoundRobin,
            subscription_identifiers_available: true,
            response_information: Box::default(),
            redirect: Redirect::No,
            server_reference: Box::default(),
            client_id_characters_max_v31: 23,
            sys_interval: Duration::from_secs(10),
            listeners: Vec::new(),
            connections_max: 4_000_000,
            sessions_max: 4_000_000,
            subscriptions_per_session_max: 100_000,
            inflight_max: 1024,
            queued_messages_max: 10_000,
            queued_bytes_max: 16 << 20,
            queue_full: QueueFullPolicy::DropOldest,
            queue_memory_bytes_max: 256 << 10,
            queues_memory_bytes_max: 256 << 20,
            retained_messages_max: 4_000_000,
            retained_bytes_max: 1 << 30,
            retained_payload_bytes_max: 16 << 20,
            retained_ttl: None,
            send_queue_bytes_max: 1 << 20,
            send_timeout: Duration::from_secs(30),
            reassembly_bytes_max: 512 << 20,
            link_bytes_max: 1 << 20,
            link_messages_max: 8192,
            durability: DurabilityLimits::default(),
        }
    }
}

/// What chance may add to a small share: with few connections over many shards the spread is wide.
const SHARE_SLACK: u64 = 64;

impl Limits {
    /// What the listener with this number allows.
    #[must_use]
    pub fn listener(&self, number: u16) -> &ListenerLimits {
        static DEFAULT: ListenerLimits = ListenerLimits::DEFAULT;
        self.listeners.get(usize::from(number)).unwrap_or(&DEFAULT)
    }

    /// The most that any listener's clients wait for: what the journal is written for.
    #[must_use]
    pub fn strongest_ack(&self) -> DurabilityAck {
        let of = |listener: &ListenerLimits| self.ack_of(listener);
        let all = self.listeners.iter().map(of);
        all.max().unwrap_or(self.durability.ack)
    }

    /// Whether acknowledgements of a listener's clients wait for what their messages cause. Where
    /// nobody waits for the disk, they still wait for the other shards.
    #[must_use]
    pub fn awaits_effects(&self, listener: &ListenerLimits) -> bool {
        self.ack_of(listener) != DurabilityAck::None || self.strongest_ack() == DurabilityAck::None
    }

    /// What clients of a listener wait for.
    fn ack_of(&self, listener: &ListenerLimits) -> DurabilityAck {
        listener.durability_ack.unwrap_or(self.durability.ack)
    }

    /// The smallest `durability.segment_bytes` that holds any record: the largest packet, or the
    /// largest message to a session all of whose subscriptions match, with names and headers.
    #[must_use]
    pub fn segment_bytes_min(&self) -> u64 {
        let identifiers = u64::from(self.subscriptions_per_session_max) * 4;
        let packet = self.packet_bytes_max.max(self.connect_packet_bytes_max);
        identifiers.max(u64::from(packet)) + (128 << 10)
    }

    /// Divides what is configured per process (connections, sessions, retained, reassembly) among
    /// `shard_count` shards. Homes are spread by a keyed hash, so each share is a quarter and
    /// [`SHARE_SLACK`] larger than the mean, and never larger than the whole: a process-wide limit
    /// is reached before a shard's share is by chance.
    #[must_use]
    pub fn for_shard_count(&self, shard_count: u16) -> Self {
        if shard_count <= 1 {
            return self.clone();
        }
        let share = |total: u64| {
            let mean = total / u64::from(shard_count);
            total.min(mean.saturating_mul(5) / 4 + SHARE_SLACK)
        };
        let share_u32 = |total: u32| u32::try_from(share(u64::from(total))).unwrap_or(u32::MAX);
        Self {
            connections_max: share_u32(self.connections_max),
            sessions_max: share_u32(self.sessions_max),
            retained_messages_max: share(self.retained_messages_max),
            retained_bytes_max: share(self.retained_bytes_max),
            queues_memory_bytes_max: share(self.queues_memory_bytes_max),
            // On many cores a share must still hold one packet.
            reassembly_bytes_max: share(self.reassembly_bytes_max)
                .max(u64::from(self.packet_bytes_max)),
            ..self.clone()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_leave_room_for_chance_and_never_exceed_the_whole() {
        let check = |total: u32, shard_count, share| {
            let limits = Limits {
                connections_max: total,
                ..Limits::default()
            };
            let divided = limits.for_shard_count(shard_count).connections_max;
            assert_eq!(divided, share, "{total} among {shard_count}");
        };
        check(10, 1, 10);
        check(10, 2, 10);
        check(1000, 2, 689);
        check(100_000, 4, 31_314);
        check(u32::MAX, 2, 2_684_354_622);
    }
}
