//! The values behind the `$SYS` topics, with the names and units that Mosquitto's users know.
//!
//! Each shard that has subscribers keeps one tree and feeds it with the reports of all shards. The
//! averages need no steady sampling: whatever time has passed since the last update counts as one
//! interval of constant rate.

use super::Counters;
use crate::base::time::Instant;
use std::fmt::{Arguments, Write};
use std::time::Duration;

/// What one shard has and has counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    pub counters: Counters,
    pub gauges: Gauges,
}

/// What one shard has now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gauges {
    pub clients_connected: u64,
    /// Sessions without connection.
    pub clients_disconnected: u64,
    /// The most sessions there have been.
    pub clients_maximum: u64,
    pub subscriptions: u64,
    pub retained_messages: u64,
    /// Messages held, each once: retained, queued and in flight.
    pub stored_messages: u64,
    pub stored_bytes: u64,
    /// Shards that refuse QoS 1 and 2 because the disk is past its watermark.
    pub disk_full: u64,
}

/// Memory of the whole process, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcessMemory {
    pub current: u64,
    pub maximum: u64,
}

impl Report {
    /// Adds what another shard has and has counted.
    pub const fn add(&mut self, other: &Self) {
        self.counters.add(&other.counters);
        let (sum, other) = (&mut self.gauges, &other.gauges);
        sum.clients_connected += other.clients_connected;
        sum.clients_disconnected += other.clients_disconnected;
        sum.clients_maximum += other.clients_maximum;
        sum.subscriptions += other.subscriptions;
        sum.retained_messages += other.retained_messages;
        sum.stored_messages += other.stored_messages;
        sum.stored_bytes += other.stored_bytes;
        sum.disk_full += other.disk_full;
    }
}

type Count = fn(&Counters) -> u64;

/// What a rate is taken of.
const LOADS: [(&str, Count); 9] = [
    ("messages/received", |it| it.packets_received),
    ("messages/sent", |it| it.packets_sent),
    ("publish/dropped", dropped),
    ("publish/received", |it| it.messages_received),
    ("publish/sent", |it| it.messages_sent),
    ("bytes/received", |it| it.bytes_received),
    ("bytes/sent", |it| it.bytes_sent),
    ("sockets", |it| it.connections_opened),
    ("connections", |it| {
        it.connects_accepted + it.connects_refused
    }),
];

/// Over how many minutes a rate is averaged.
const WINDOWS: [(&str, f64); 3] = [("1min", 1.0), ("5min", 5.0), ("15min", 15.0)];

/// Less than this is no interval to take a rate of.
const INTERVAL_MIN: Duration = Duration::from_secs(1);

const fn dropped(counters: &Counters) -> u64 {
    counters.drops_queue_full + counters.drops_slow_consumer
}

/// The tree of one shard.
#[derive(Debug, Default)]
pub struct SysTree {
    topics: Vec<Topic>,
    /// Counters and time of the last rates.
    last: Counters,
    last_at: Instant,
    /// Per minute.
    loads: [[f64; WINDOWS.len()]; LOADS.len()],
}

#[derive(Debug, Default)]
struct Topic {
    name: String,
    /// Empty: not known yet.
    value: String,
    published: String,
}

impl SysTree {
    /// Takes the reports of all shards, in their order. `now` counts from the start of the broker.
    pub fn update(&mut self, now: Instant, reports: &[Report], memory: Option<ProcessMemory>) {
        let mut sum = Report::default();
        reports.iter().for_each(|report| sum.add(report));
        self.update_loads(now, &sum.counters);
        let mut writer = Writer {
            topics: &mut self.topics,
            position: 0,
        };
        writer.put(
            format_args!("version"),
            format_args!("ringway version {}", env!("CARGO_PKG_VERSION")),
        );
        let uptime_s = now.saturating_since(Instant::ZERO).as_secs();
        writer.put(format_args!("uptime"), format_args!("{uptime_s} seconds"));
        for (name, value) in of_process(memory) {
            match value {
                Some(value) => writer.put(format_args!("{name}"), format_args!("{value}")),
                None => writer.put(format_args!("{name}"), format_args!("")),
            }
        }
        for (name, value) in of_all(&sum) {
            writer.put(format_args!("{name}"), format_args!("{value}"));
        }
        for ((name, _), loads) in LOADS.iter().zip(&self.loads) {
            for ((window, _), load) in WINDOWS.iter().zip(loads) {
                writer.put(
                    format_args!("load/{name}/{window}"),
                    format_args!("{load:.2}"),
                );
            }
        }
        for (core, report) in reports.iter().enumerate() {
            for (name, value) in of_core(report) {
                writer.put(format_args!("core/{core}/{name}"), format_args!("{value}"));
            }
        }
    }

    #[allow(clippy::cast_precision_loss, reason = "a rate for people")]
    fn update_loads(&mut self, now: Instant, counters: &Counters) {
        let interval = now.saturating_since(self.last_at);
        if interval < INTERVAL_MIN {
            return;
        }
        let minutes = interval.as_secs_f64() / 60.0;
        for ((_, count), loads) in LOADS.iter().zip(&mut self.loads) {
            let rate = count(counters).saturating_sub(count(&self.last)) as f64 / minutes;
            for ((_, window), load) in WINDOWS.iter().zip(loads) {
                let kept = (-minutes / window).exp();
                *load = rate + kept * (*load - rate);
            }
        }
        self.last = counters.clone();
        self.last_at = now;
    }

    /// Topics, known or not.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.topics.len()
    }

    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.topics.is_empty()
    }

    /// Topic names and values that are known.
    pub fn values(&self) -> impl Iterator<Item = (&str, &str)> {
        let known = self.topics.iter().filter(|topic| !topic.value.is_empty());
        known.map(|topic| (&*topic.name, &*topic.value))
    }

    /// Hands out what has changed since the last call.
    pub fn publish(&mut self, mut each: impl FnMut(&str, &str)) {
        for topic in &mut self.topics {
            if topic.value != topic.published {
                topic.published.clone_from(&topic.value);
                each(&topic.name, &topic.value);
            }
        }
    }
}

/// Goes through the topics in their fixed order; the first time they are made.
struct Writer<'a> {
    topics: &'a mut Vec<Topic>,
    position: usize,
}

impl Writer<'_> {
    fn put(&mut self, name: Arguments<'_>, value: Arguments<'_>) {
        if self.position == self.topics.len() {
            self.topics.push(Topic {
                name: format!("$SYS/broker/{name}"),
                ..Topic::default()
            });
        }
        let topic = &mut self.topics[self.position];
        topic.value.clear();
        // Writing to a String cannot fail.
        let _ = topic.value.write_fmt(value);
        self.position += 1;
    }
}

fn of_process(memory: Option<ProcessMemory>) -> [(&'static str, Option<u64>); 2] {
    [
        ("heap/current", memory.map(|memory| memory.current)),
        ("heap/maximum", memory.map(|memory| memory.maximum)),
    ]
}

fn of_all(sum: &Report) -> [(&'static str, u64); 25] {
    let Report { counters, gauges } = sum;
    [
        (
            "clients/total",
            gauges.clients_connected + gauges.clients_disconnected,
        ),
        ("clients/maximum", gauges.clients_maximum),
        ("clients/connected", gauges.clients_connected),
        ("clients/active", gauges.clients_connected),
        ("clients/disconnected", gauges.clients_disconnected),
        ("clients/inactive", gauges.clients_disconnected),
        ("clients/expired", counters.sessions_expired),
        ("messages/received", counters.packets_received),
        ("messages/sent", counters.packets_sent),
        ("messages/stored", gauges.stored_messages),
        ("bytes/received", counters.bytes_received),
        ("bytes/sent", counters.bytes_sent),
        ("publish/messages/received", counters.messages_received),
        ("publish/messages/sent", counters.messages_sent),
        ("publish/messages/dropped", dropped(counters)),
        ("publish/bytes/received", counters.payload_bytes_received),
        ("publish/bytes/sent", counters.payload_bytes_sent),
        ("subscriptions/count", gauges.subscriptions),
        ("retained messages/count", gauges.retained_messages),
        ("store/messages/count", gauges.stored_messages),
        ("store/messages/bytes", gauges.stored_bytes),
        ("connections/refused", counters.connects_refused),
        ("connections/total", counters.connects_accepted),
        ("disk/full", gauges.disk_full.min(1)),
        (
            "disk/messages/refused",
            counters.publishes_refused_disk_full,
        ),
    ]
}

fn of_core(report: &Report) -> [(&'static str, u64); 14] {
    let Report { counters, gauges } = report;
    [
        ("clients/connected", gauges.clients_connected),
        ("clients/disconnected", gauges.clients_disconnected),
        ("messages/received", counters.packets_received),
        ("messages/sent", counters.packets_sent),
        ("bytes/received", counters.bytes_received),
        ("bytes/sent", counters.bytes_sent),
        ("publish/messages/received", counters.messages_received),
        ("publish/messages/sent", counters.messages_sent),
        ("publish/messages/dropped", dropped(counters)),
        ("subscriptions/count", gauges.subscriptions),
        ("retained messages/count", gauges.retained_messages),
        ("disk/full", gauges.disk_full),
        ("journal/bytes", counters.journal_bytes),
        ("journal/writes", counters.journal_batches),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(seconds)
    }

    fn report(bytes_received: u64, clients_connected: u64) -> Report {
        let mut report = Report::default();
        report.counters.bytes_received = bytes_received;
        report.gauges.clients_connected = clients_connected;
        report
    }

    fn value<'a>(tree: &'a SysTree, name: &str) -> Option<&'a str> {
        let name = format!("$SYS/broker/{name}");
        let mut values = tree.values();
        values
            .find(|(other, _)| *other == name)
            .map(|(_, value)| value)
    }

    #[test]
    fn values_are_sums_over_cores_and_each_core_has_its_own() {
        let mut tree = SysTree::default();
        tree.update(at(7), &[report(10, 1), report(32, 2)], None);
        assert_eq!(value(&tree, "uptime"), Some("7 seconds"));
        assert_eq!(value(&tree, "bytes/received"), Some("42"));
        assert_eq!(value(&tree, "clients/connected"), Some("3"));
        assert_eq!(value(&tree, "core/0/bytes/received"), Some("10"));
        assert_eq!(value(&tree, "core/1/clients/connected"), Some("2"));
        assert_eq!(value(&tree, "core/2/bytes/received"), None);
        assert_eq!(value(&tree, "heap/current"), None);
        let memory = ProcessMemory {
            current: 5,
            maximum: 6,
        };
        tree.update(at(8), &[report(10, 1), report(32, 2)], Some(memory));
        assert_eq!(value(&tree, "heap/maximum"), Some("6"));
    }

    #[test]
    fn only_what_has_changed_is_published() {
        let mut tree = SysTree::default();
        let changed = |tree: &mut SysTree| {
            let mut names = Vec::new();
            tree.publish(|name, _| names.push(name.to_owned()));
            names
        };
        tree.update(at(10), &[report(1, 1)], None);
        assert_eq!(changed(&mut tree).len(), tree.values().count());
        tree.update(at(10), &[report(1, 2)], None);
        let wanted = ["total", "connected", "active"].map(|it| format!("$SYS/broker/clients/{it}"));
        let mut found = changed(&mut tree);
        assert_eq!(
            found.pop().as_deref(),
            Some("$SYS/broker/core/0/clients/connected")
        );
        assert_eq!(found, wanted);
        assert!(changed(&mut tree).is_empty());
    }

    #[test]
    fn rates_settle_at_what_is_steady_however_they_are_sampled() {
        // 600 bytes a minute, sampled every ten seconds, or once after two hours.
        let check = |step_s: usize| {
            let mut tree = SysTree::default();
            for second in (0..=7200).step_by(step_s) {
                tree.update(at(second), &[report(second * 10, 0)], None);
            }
            for window in ["1min", "5min", "15min"] {
                let name = format!("load/bytes/received/{window}");
                let rate: f64 = value(&tree, &name).and_then(|it| it.parse().ok()).unwrap();
                assert!((rate - 600.0).abs() < 1.0, "{name} {rate}");
            }
        };
        check(10);
        check(7200);
    }

    #[test]
    fn rates_forget_by_their_windows() {
        let mut tree = SysTree::default();
        tree.update(at(60), &[report(1000, 0)], None);
        tree.update(at(120), &[report(1000, 0)], None);
        let rate = |window: &str| {
            let name = format!("load/bytes/received/{window}");
            value(&tree, &name)
                .and_then(|it| it.parse::<f64>().ok())
                .unwrap()
        };
        // 1000 * (1 - 1/e) / e after one and two minutes.
        assert!((rate("1min") - 232.54).abs() < 0.01);
        assert!((rate("5min") - 1000.0 * (1.0 - (-0.2_f64).exp()) * (-0.2_f64).exp()).abs() < 0.01);
    }
}
