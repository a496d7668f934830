//! What one generator thread is told and what it says; all of it can travel to another process.

use std::net::{Ipv4Addr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::load::Load;
use crate::measure::IntervalRecord;
use crate::mqtt::Version;
use crate::result::TlsUse;
use crate::target::Target;
use crate::transport::TlsOptions;

/// One thread's part of a run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Job {
    pub load: Load,
    /// This thread's number, of `shares`.
    pub share: u32,
    pub shares: u32,
    pub target: Target,
    pub address: SocketAddr,
    pub version: Version,
    pub keep_alive_s: u16,
    pub run_id: String,
    pub seed: u64,
    pub sources: SourceAddresses,
    /// The CPU to stay on.
    pub cpu: Option<usize>,
    pub tls: TlsOptions,
    pub username: Option<String>,
    pub password: Option<String>,
    /// How long before a send time the thread stops sleeping and polls.
    pub spin_ns: u64,
}

/// Local addresses that connections are made from, so that ports do not run out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SourceAddresses {
    /// The kernel chooses.
    Any,
    /// `count` addresses from `first` on, used one after the other.
    Range { first: Ipv4Addr, count: u32 },
}

/// Connections from one address to one broker; the kernel has about 28,000 ports by default.
pub const CONNECTIONS_PER_ADDRESS: u32 = 20_000;

impl SourceAddresses {
    /// The address for the `ordinal`-th connection of the run.
    pub fn of(self, ordinal: u32) -> Option<Ipv4Addr> {
        match self {
            Self::Any => None,
            Self::Range { first, count } => {
                let step = ordinal / CONNECTIONS_PER_ADDRESS % count;
                Some(Ipv4Addr::from(u32::from(first).wrapping_add(step)))
            }
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Begin a step of the load at a time of the monotonic clock.
    Step { index: u32, at_ns: u64 },
    /// What is recorded; the end may be given later.
    Window { start_ns: u64, end_ns: u64 },
    /// Close everything and report.
    Stop,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Event {
    /// This thread has done its part of the step.
    StepDone {
        index: u32,
    },
    /// Several times a second.
    Progress(Progress),
    Finished(Box<ShareResult>),
    /// The thread cannot go on.
    Failed(String),
}

/// How far a thread is; sums over all threads say when a step is over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    pub connected: u64,
    pub connect_failures: u64,
    pub sent: u64,
    pub delivered: u64,
    /// Deliveries that are still to come, as far as this thread sent or received; may be negative
    /// on one thread, the sum is not.
    pub deliveries_open: i64,
    pub acknowledgements_open: u64,
    /// Streams that are behind their schedule because the broker holds them up.
    pub streams_behind: u64,
}

impl Progress {
    pub fn add(&mut self, other: &Self) {
        self.connected += other.connected;
        self.connect_failures += other.connect_failures;
        self.sent += other.sent;
        self.delivered += other.delivered;
        self.deliveries_open += other.deliveries_open;
        self.acknowledgements_open += other.acknowledgements_open;
        self.streams_behind += other.streams_behind;
    }

    pub fn is_settled(&self) -> bool {
        self.deliveries_open <= 0 && self.acknowledgements_open == 0 && self.streams_behind == 0
    }
}

/// Counts of a whole run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Tally {
    pub connects: u64,
    pub connect_failures: u64,
    pub disconnects: u64,
    pub sent: u64,
    pub acknowledged: u64,
    pub refused: u64,
    pub expected: u64,
    pub expected_slow: u64,
    /// All PUBLISHes that came.
    pub delivered: u64,
    pub first_copies: u64,
    pub first_copies_slow: u64,
    pub doubled: u64,
    pub reordered: u64,
    pub unexpected: u64,
    /// Messages of the schedule that were never sent.
    pub unsent: u64,
}

impl Tally {
    pub fn add(&mut self, other: &Self) {
        self.connects += other.connects;
        self.connect_failures += other.connect_failures;
        self.disconnects += other.disconnects;
        self.sent += other.sent;
        self.acknowledged += other.acknowledged;
        self.refused += other.refused;
        self.expected += other.expected;
        self.expected_slow += other.expected_slow;
        self.delivered += other.delivered;
        self.first_copies += other.first_copies;
        self.first_copies_slow += other.first_copies_slow;
        self.doubled += other.doubled;
        self.reordered += other.reordered;
        self.unexpected += other.unexpected;
        self.unsent += other.unsent;
    }
}

/// What a thread reports at its end.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ShareResult {
    pub tally: Tally,
    /// Empty without TLS.
    pub tls: TlsUse,
    pub intervals: Vec<IntervalRecord>,
    /// CPU time of the thread in the measured window.
    pub cpu_ns: u64,
    /// The first few connections that went wrong, in words.
    pub notes: Vec<String>,
    /// The first few receivers that miss messages before the last one that came.
    pub gaps: Vec<String>,
}
