//! The families of scenarios and the grammar of their names.

use super::{Draft, own, suite};
use crate::load::Load;
use crate::mqtt::Version;

/// Scenarios that differ in their numbers only.
pub struct Family {
    /// The name with letters for the numbers.
    pub form: &'static str,
    /// Names that serve as they are.
    pub examples: &'static [&'static str],
    /// One line for `list`.
    pub line: &'static str,
    pub(super) version: Version,
    /// Whether publishers follow a pace, open or closed.
    pub(super) is_paced: bool,
    pub(super) needs_tls: bool,
    pub(super) build: fn(&Draft<'_>, &[u32]) -> Result<Load, String>,
}

impl Family {
    /// The words in front of the numbers: `conn-tcp` of `conn-tcp-N-R`.
    fn words(&self) -> &'static str {
        let is_number = |part: &str| part.starts_with(char::is_uppercase);
        let end = self
            .form
            .split('-')
            .take_while(|part| !is_number(part))
            .map(|part| part.len() + 1)
            .sum::<usize>();
        &self.form[..end - 1]
    }

    fn number_count(&self) -> usize {
        self.form[self.words().len()..].matches('-').count()
    }
}

macro_rules! family {
    (
        $form:literal, $examples:expr, $version:ident, $is_paced:literal, $build:path,
        $line:literal
    ) => {
        Family {
            form: $form,
            examples: &$examples,
            line: $line,
            version: Version::$version,
            is_paced: $is_paced,
            needs_tls: false,
            build: $build,
        }
    };
}

/// In the order of `list`. Letters: N connections or pairs, P publishers, S subscribers, T topics,
/// R messages per second.
#[rustfmt::skip]
pub const FAMILIES: &[Family] = &[
    family!("conn-tcp-N-R", ["conn-tcp-10K-100", "conn-tcp-1M-5K"], V311, false, suite::conn_tcp,
        "N clients connect at R per second and stay"),
    Family { needs_tls: true, ..family!("tls-conn-N-R", ["tls-conn-10K-500"], V311, false,
        suite::conn_tcp, "the same over TLS, each latency with its handshake; needs tls://") },
    family!("fanout-P-S-T-R", ["fanout-1-1K-1-1K", "fanout-5-1000-5-250K"], V311, true,
        suite::fanout, "P publishers, T topics, S subscribers to all of them, R deliveries/s"),
    family!("p2p-P-S-T-R", ["p2p-1K-1K-1K-1K", "p2p-50K-50K-50K-50K"], V311, true, suite::p2p,
        "P publishers, S subscribers, a topic T for each pair, R messages/s"),
    family!("sharedsub-P-S-T-R", ["sharedsub-1K-5-1K-1K", "sharedsub-50K-500-50K-50K"], V50, true,
        suite::sharedsub, "P publishers, T topics, a shared subscription of S members, R msg/s"),
    family!("pairs-N-R", ["pairs-100-10K"], V311, true, own::pairs,
        "N pairs of publisher and subscriber, R messages/s in all"),
    family!("pairs-saturated-N", ["pairs-saturated-1", "pairs-saturated-100"], V311, true,
        own::pairs_saturated, "N pairs, closed loop, 64 KiB of each pair under way"),
    family!("pairs-one-N", ["pairs-one-1", "pairs-one-100"], V311, true, own::pairs_one,
        "N pairs, closed loop, one message of each pair under way"),
    family!("fanin-P-S-R", ["fanin-1K-1-10K"], V311, true, own::fanin,
        "P publishers, S subscribers to everything, R messages/s"),
    family!("fanout-saturated-P-S", ["fanout-saturated-1-100"], V311, true, own::fanout_saturated,
        "P publishers to S subscribers each, closed loop with 64 KiB under way"),
    family!("sharedsub-saturated-P-S", ["sharedsub-saturated-1-4"], V50, true,
        own::sharedsub_saturated, "P publishers, a shared subscription of S members, closed loop"),
    family!("idle-N", ["idle-10K"], V311, false, own::idle,
        "N clients with one subscription do nothing but keep-alive: memory and wake-ups"),
    family!("idle-persistent-N", ["idle-persistent-10K"], V311, false, own::idle_persistent,
        "the same with persistent sessions"),
    family!("conn-storm-N", ["conn-storm-10K"], V311, false, own::conn_storm,
        "N clients connect and subscribe all at once"),
    family!("reconnect-storm-N", ["reconnect-storm-10K"], V311, false, own::reconnect_storm,
        "N connected clients are cut off and come back all at once, three times"),
    family!("wild-F", ["wild-100K"], V311, true, own::wild,
        "F wildcard filters of which each message matches one, closed loop"),
    family!("retained-storm-T-S", ["retained-storm-10K-100"], V311, false, own::retained_storm,
        "T retained messages are sent to each of S new subscribers"),
    family!("offline-S-M", ["offline-1K-100"], V311, false, own::offline,
        "S persistent sessions come back to M messages each that queued while they were away"),
    family!("durable-p2p-P-S-T-R", ["durable-p2p-1K-1K-1K-1K"], V311, true, own::durable_p2p,
        "p2p with persistent sessions"),
    family!("slow-H-S-R", ["slow-100-10-10K"], V311, true, own::slow,
        "one publisher to H healthy and S slow subscribers, R deliveries/s to the healthy ones"),
    family!("mixed-N-D-S-R", ["mixed-10K-50-5-1K"], V311, true, own::mixed,
        "N sensors, D dashboards of a part each, S services that hear all and command, R msg/s"),
];

/// The family of a name, and its numbers with the scale applied.
pub(super) fn find(name: &str) -> Result<(&'static Family, Vec<u32>), String> {
    let (base, scale) = match name.split_once('@') {
        Some((base, scale)) => (base, positive(scale)?),
        None => (name, 1.0),
    };
    let family = FAMILIES
        .iter()
        .filter(|family| base.strip_prefix(family.words()).is_some_and(is_rest))
        .max_by_key(|family| family.words().len())
        .ok_or_else(|| format!("`{name}`: no such scenario; `ringway-bench list` names them"))?;
    let parts: Vec<_> = base[family.words().len()..].split('-').skip(1).collect();
    if parts.len() != family.number_count() {
        return Err(format!("`{name}`: the form is {}", family.form));
    }
    let numbers = parts
        .iter()
        .map(|part| Ok(scaled(positive(part)?, scale)))
        .collect::<Result<_, String>>()?;
    Ok((family, numbers))
}

fn is_rest(rest: &str) -> bool {
    rest.is_empty() || rest.starts_with('-')
}

/// At least one, whatever the scale.
fn scaled(number: f64, scale: f64) -> u32 {
    (number * scale).round().max(1.0) as u32
}

/// A number like `250`, `0.1`, `50K` or `1M`.
pub(crate) fn positive(text: &str) -> Result<f64, String> {
    let (digits, unit) = match text.as_bytes().last() {
        Some(b'K' | b'k') => (&text[..text.len() - 1], 1e3),
        Some(b'M') => (&text[..text.len() - 1], 1e6),
        _ => (text, 1.0),
    };
    match digits.parse::<f64>() {
        Ok(number) if number > 0.0 && number * unit <= 1e9 => Ok(number * unit),
        _ => Err(format!("`{text}` is not a number like 250, 50K or 1M")),
    }
}
