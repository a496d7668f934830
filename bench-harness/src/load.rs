//! What a run does, as plain data: groups of clients, what they subscribe to and publish, and the
//! steps that all generator threads take together. Scenarios write it, the engine carries it out.

use serde::{Deserialize, Serialize};

use crate::schedule::Arrivals;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Load {
    pub groups: Vec<Group>,
    pub steps: Vec<Step>,
}

/// Clients that behave alike.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Group {
    pub name: String,
    pub count: u32,
    pub placement: Placement,
    /// Clean session (3.1.1) or clean start without expiry (5.0).
    pub clean: bool,
    pub subscribe: Option<Subscribe>,
    pub publish: Option<Publish>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Placement {
    /// Evenly over the generator threads; equal groups side by side, so that the two ends of a
    /// pair are on one thread.
    Spread,
    /// All on the first thread: what has to be counted together.
    Together,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Subscribe {
    pub filters: Vec<Template>,
    /// Each filter so many times, with consecutive numbers.
    pub repeat: u32,
    pub qos: u8,
    pub expects: Option<Expects>,
    pub tracking: Tracking,
    /// A receiver that is too slow on purpose: its losses and latencies are kept apart.
    pub is_slow: bool,
    /// Bytes that it takes from its socket, for a slow one.
    pub read_bytes_per_s: Option<u32>,
    pub latency_from: LatencyFrom,
}

/// Client `i` of the group gets `count` streams from `first + i * stride` on.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Expects {
    pub first: u32,
    pub stride: u32,
    pub count: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Tracking {
    /// MQTT promises the order of each publisher.
    Ordered,
    /// Retained messages: each once, in any order.
    Unordered,
    /// The group is one shared subscription: each message once in the whole group.
    Shared,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LatencyFrom {
    /// The intended send time in the payload.
    Intended,
    /// The start of the receiver's connection: for what was waiting there.
    Connect,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Publish {
    /// Number of the group's first stream; each client has `per_client` of them.
    pub first_source: u32,
    pub per_client: u32,
    pub topic: Template,
    pub qos: u8,
    pub payload_bytes: u32,
    pub retain: bool,
    pub pace: SourcePace,
    /// Receivers of each message, without the slow ones.
    pub fan_out: u32,
    pub fan_out_slow: u32,
}

/// How one stream decides when to send in a `Load` step.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum SourcePace {
    Open {
        arrivals: Arrivals,
        messages_per_s: f64,
    },
    /// So many messages on their way to all receivers and back.
    Window { messages: u32 },
}

/// A topic name or filter with `{i}` for the number of the client or stream in its group, `{b}` for
/// the number of its block, `{s}` for the sequence number.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Template {
    pub text: String,
    pub block: u32,
}

impl Template {
    pub fn new(text: impl Into<String>) -> Self {
        Self::in_blocks(text, 1)
    }

    pub fn in_blocks(text: impl Into<String>, block: u32) -> Self {
        Self {
            text: text.into(),
            block,
        }
    }

    pub fn has_sequence(&self) -> bool {
        self.text.contains("{s}")
    }

    pub fn expand(&self, index: u32, sequence: u64) -> String {
        self.text
            .replace("{i}", &index.to_string())
            .replace("{b}", &(index / self.block).to_string())
            .replace("{s}", &sequence.to_string())
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Step {
    pub action: Action,
    /// Part of the measured window; measured steps follow each other without a gap.
    pub is_measured: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Action {
    /// Connects and subscribes all clients of the groups. With `forget` they only connect, with a
    /// clean session, so that the broker drops what it kept for them.
    Connect {
        groups: Vec<u32>,
        pace: ConnectPace,
        forget: bool,
    },
    /// All publishers send at their pace; the window starts after the warm-up.
    Load { warm_up_s: f64, seconds: f64 },
    /// Nothing but keep-alive.
    Hold { seconds: f64 },
    /// Each stream of the group sends so many messages as fast as they are acknowledged; with
    /// `erase` empty retained ones.
    Fill {
        group: u32,
        messages: u64,
        erase: bool,
    },
    /// Until everything that was sent has arrived and is acknowledged, or nothing moves any more.
    Settle,
    /// With DISCONNECT, or abruptly with a reset.
    Close { groups: Vec<u32>, is_abrupt: bool },
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum ConnectPace {
    /// Open loop, over all threads together.
    PerSecond(f64),
    /// So many handshakes under way on each thread.
    InFlight(u32),
}

impl Group {
    /// The clients of the group that share `share` of `shares` drives.
    pub fn clients_of(&self, share: u32, shares: u32) -> std::ops::Range<u32> {
        match self.placement {
            Placement::Together if share == 0 => 0..self.count,
            Placement::Together => 0..0,
            Placement::Spread => {
                let at = |share: u32| {
                    let position = u64::from(self.count) * u64::from(share) / u64::from(shares);
                    u32::try_from(position).unwrap_or(u32::MAX)
                };
                at(share)..at(share + 1)
            }
        }
    }
}

impl Load {
    pub fn connection_count(&self) -> u32 {
        self.groups.iter().map(|group| group.count).sum()
    }

    /// A closed loop counts deliveries where it sends, so both ends must be on one thread.
    pub fn shares_max(&self) -> u32 {
        let crosses = |publish: &Publish| {
            matches!(publish.pace, SourcePace::Window { .. })
                && publish.fan_out + publish.fan_out_slow > 1
        };
        let publishes = self
            .groups
            .iter()
            .filter_map(|group| group.publish.as_ref());
        let shared = self
            .groups
            .iter()
            .any(|group| group.placement == Placement::Together && group.subscribe.is_some());
        let is_closed = self.groups.iter().any(|group| {
            let publish = group.publish.as_ref();
            publish.is_some_and(|publish| matches!(publish.pace, SourcePace::Window { .. }))
        });
        if publishes.into_iter().any(crosses) || (shared && is_closed) {
            return 1;
        }
        u32::MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_cover_a_group_without_overlap() {
        for (count, shares) in [(10, 3), (2, 5), (1, 1), (19_999, 7)] {
            let group = Group {
                name: String::new(),
                count,
                placement: Placement::Spread,
                clean: true,
                subscribe: None,
                publish: None,
            };
            let mut next = 0;
            for share in 0..shares {
                let range = group.clients_of(share, shares);
                assert_eq!(range.start, next);
                next = range.end;
            }
            assert_eq!(next, count);
        }
    }

    #[test]
    fn templates_know_index_block_and_sequence() {
        let template = Template::in_blocks("a/{b}/{i}/{s}", 200);
        assert_eq!(template.expand(401, 7), "a/2/401/7");
        assert!(template.has_sequence());
    }
}
