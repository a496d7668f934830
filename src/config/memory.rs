//! The memory sum: what a configuration can use at most, line by line.
//!
//! Figures per thing are bounds where the code bounds them, and measured where the kernel decides.

use super::settings::Settings;
use std::fmt::Write;

/// User memory of an idle connection with its session and one subscription: the budget.
pub const CONNECTION_BYTES: u64 = 1 << 10;
/// Kernel memory of an idle TCP connection: socket and armed receive, measured on Linux 6.18.
pub const CONNECTION_KERNEL_BYTES: u64 = 3600 + 864;
/// What TLS adds to an idle connection: its keys and the state of rustls. With what the library
/// under it takes from the system it was 3.9 KB.
pub const TLS_BYTES: u64 = 4 << 10;
/// What of TLS may wait for the network, per connection: parts of one record or of a handshake, and
/// 64 KiB of records to send with one on top, in a buffer that doubles when it grows.
pub const TLS_WAITING_BYTES: u64 = (32 << 10) + (128 << 10);
/// A session without a connection, its queue empty.
pub const SESSION_BYTES: u64 = 512;
/// Receive buffers of one core: 2048 of 4 KiB, whatever the number of connections.
pub const CORE_RECEIVE_BYTES: u64 = 2048 * 4096;
/// What a queued message takes beside its topic, properties and payload.
pub const MESSAGE_BYTES: u64 = 128;

/// `count` things of at most `bytes_each`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MemoryLine {
    pub what: &'static str,
    pub count: u64,
    pub bytes_each: u64,
    /// Whether only clients that use everything they may can reach it.
    pub worst_case_only: bool,
}

impl MemoryLine {
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.count.saturating_mul(self.bytes_each)
    }
}

/// The lines of the sum for `core_count` cores.
#[must_use]
pub fn memory_sum(settings: &Settings, core_count: u16) -> Vec<MemoryLine> {
    let limits = &settings.limits;
    let cores = u64::from(core_count);
    let connections = u64::from(limits.connections_max);
    let listeners = settings.listeners.iter();
    let secure = listeners
        .filter(|listener| listener.tls.is_some())
        .map(|listener| u64::from(listener.max_connections))
        .sum();
    let sessions = u64::from(limits.sessions_max);
    let packet = u64::from(limits.packet_bytes_max);
    let aliases =
        u64::from(limits.topic_alias_maximum) + u64::from(limits.outbound_topic_alias_maximum);
    let each = |what, count, bytes_each| MemoryLine {
        what,
        count,
        bytes_each,
        worst_case_only: false,
    };
    let worst = |what, count, bytes_each| MemoryLine {
        worst_case_only: true,
        ..each(what, count, bytes_each)
    };
    vec![
        each("receive buffers, per core", cores, CORE_RECEIVE_BYTES),
        each(
            "links, per pair of cores",
            cores * cores.saturating_sub(1),
            link_bytes(settings),
        ),
        each("idle connections", connections, CONNECTION_BYTES),
        each(
            "their kernel memory, idle",
            connections,
            CONNECTION_KERNEL_BYTES,
        ),
        each("TLS of idle connections", secure, TLS_BYTES),
        each(
            "sessions without a connection",
            sessions.saturating_sub(connections),
            SESSION_BYTES,
        ),
        each("incomplete packets", 1, limits.reassembly_bytes_max),
        each("retained messages", 1, limits.retained_bytes_max),
        each(
            "queues of persistent sessions",
            1,
            limits.queues_memory_bytes_max,
        ),
        worst(
            "send queues, per connection",
            connections,
            u64::from(limits.send_queue_bytes_max) + packet,
        ),
        worst("TLS that waits, per connection", secure, TLS_WAITING_BYTES),
        worst(
            "topic aliases, per connection",
            connections,
            aliases * u64::from(u16::MAX),
        ),
        worst(
            "queue of a session without expiry",
            connections,
            limits
                .queued_bytes_max
                .saturating_add(u64::from(limits.queued_messages_max) * MESSAGE_BYTES),
        ),
        worst(
            "messages in flight, per session",
            sessions,
            u64::from(limits.inflight_max) * packet,
        ),
        worst(
            "subscriptions, per session",
            sessions,
            u64::from(limits.subscriptions_per_session_max) * (u64::from(u16::MAX) + MESSAGE_BYTES),
        ),
    ]
}

/// A link holds its limit and the message that passed it.
fn link_bytes(settings: &Settings) -> u64 {
    let limits = &settings.limits;
    u64::from(limits.link_bytes_max)
        + u64::from(limits.packet_bytes_max)
        + u64::from(limits.link_messages_max) * MESSAGE_BYTES
}

/// The sum as comment lines of a TOML file.
#[must_use]
pub fn show(lines: &[MemoryLine], core_count: u16) -> String {
    let mut text = format!("# Memory at most, on {core_count} cores, every limit reached:\n");
    // Writing to a String cannot fail.
    for worst_case_only in [false, true] {
        if worst_case_only {
            text.push_str("# and if all of them use all that one of them may:\n");
        }
        let of_kind = lines
            .iter()
            .filter(|line| line.worst_case_only == worst_case_only);
        let mut sum = 0u64;
        for line in of_kind {
            sum = sum.saturating_add(line.bytes());
            let _ = writeln!(
                text,
                "#   {:<32} {:>11} x {:>10} = {:>10}",
                line.what,
                line.count,
                rounded(line.bytes_each),
                rounded(line.bytes())
            );
        }
        let _ = writeln!(text, "#   {:<58} {:>10}", "together", rounded(sum));
    }
    text.push_str(
        "# The second part counts a message once per session that holds it; sessions on one core\n\
         # share it. Lower session.max_sessions, listener.max_connections and the limits per\n\
         # session to bring the sum down to what the machine has.\n",
    );
    text
}

/// Bytes for people: three digits and a binary unit.
fn rounded(bytes: u64) -> String {
    const UNITS: &[&str] = &["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let mut tenths = u128::from(bytes) * 10;
    let mut unit = 0;
    while tenths >= 10_240 && unit + 1 < UNITS.len() {
        tenths /= 1024;
        unit += 1;
    }
    if unit == 0 || tenths >= 1000 {
        format!("{} {}", tenths / 10, UNITS[unit])
    } else {
        format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit])
    }
}
