//! The result of one run as plain data: what the JSON file holds and what reports, comparison and
//! planner read.
//!
//! Durations are in seconds or microseconds, sizes in bytes, as the names say. A figure that could
//! not be taken is `None`, never zero. A run with a reason in `void` says nothing about the broker;
//! a run with an entry in `failures` saw a broken guarantee of MQTT.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Version of this data model; a reader refuses a newer one.
pub const FORMAT: u32 = 1;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunResult {
    pub format: u32,
    /// Name as given, with its scale: `p2p-1K-1K-1K-1K@0.1`.
    pub scenario: String,
    pub parameters: Parameters,
    /// The command line that reproduces the run.
    pub command: Vec<String>,
    /// URL of the broker.
    pub target: String,
    pub started_unix_s: u64,
    pub warm_up_s: f64,
    /// Length of the measured window as it was, not as it was asked for.
    pub measured_s: f64,
    pub environment: Option<Environment>,
    pub counts: Counts,
    /// `None` without TLS.
    pub tls: Option<TlsUse>,
    /// From the intended send time to the arrival at a subscriber.
    pub latency_us: Option<Percentiles>,
    /// From the intended send time to PUBACK or PUBCOMP.
    pub ack_latency_us: Option<Percentiles>,
    /// From the intended start of the connection to CONNACK, with the handshakes of TLS and
    /// WebSocket.
    pub connect_latency_us: Option<Percentiles>,
    /// How late the generator itself was: from the intended send time to the moment at which it
    /// turned to the message. Part of `latency_us`.
    pub send_lag_us: Option<Percentiles>,
    pub over_time: Vec<Interval>,
    pub broker: Option<BrokerUse>,
    pub generator: GeneratorUse,
    /// Reasons why the figures do not count, above all a generator at its end.
    pub void: Vec<String>,
    /// Whether the generator's end is among these reasons.
    pub is_generator_limited: bool,
    /// Guarantees of MQTT that did not hold.
    pub failures: Vec<String>,
}

impl RunResult {
    /// Whether the figures may be used: no guarantee broken, generator not the bottleneck.
    pub fn is_valid(&self) -> bool {
        self.void.is_empty() && self.failures.is_empty()
    }
}

/// What the run did, with every option resolved.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Parameters {
    /// `3.1.1` or `5.0`.
    pub mqtt: String,
    pub qos: u8,
    pub payload_bytes: u32,
    pub keep_alive_s: u16,
    pub clean_session: bool,
    pub publishers: u32,
    pub subscribers: u32,
    /// Network connections in all, also those that neither publish nor subscribe.
    pub connections: u32,
    /// Deliveries that one published message causes, on average over the publishers.
    pub fan_out: f64,
    pub pace: Pace,
    pub seed: u64,
}

/// How publishers decide when to send.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Pace {
    /// Nobody publishes, or a fixed number is published as preparation.
    None,
    /// Open loop: times fixed in advance, whatever the broker does.
    Constant { messages_per_s: f64 },
    /// Open loop with exponentially distributed gaps.
    Poisson { messages_per_s: f64 },
    /// Closed loop: so many messages of each publisher under way.
    Window { messages: u32 },
}

/// Counts named `_total` and the broken guarantees are of the whole run with warm-up and drain;
/// the others are of the measured window.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Counts {
    /// Messages per second that the schedule asks for; `None` in a closed loop.
    pub offered_per_s: Option<f64>,
    /// PUBLISHes written towards the broker.
    pub sent: u64,
    /// PUBACKs or PUBCOMPs that came back.
    pub acknowledged: u64,
    /// PUBLISHes that arrived at a subscriber.
    pub delivered: u64,
    pub sent_total: u64,
    pub acknowledged_total: u64,
    /// Deliveries that `sent_total` must cause.
    pub expected_total: u64,
    /// First copies that arrived, of `expected_total`.
    pub delivered_total: u64,
    /// `expected_total - delivered_total` when the drain was over.
    pub lost: u64,
    /// Further copies of a message at the same receiver.
    pub doubled: u64,
    /// First copies that arrived behind a later message of the same publisher.
    pub reordered: u64,
    /// Messages that no subscription asked for, or with a payload that is not ours.
    pub unexpected: u64,
    /// What receivers that the scenario makes too slow on purpose did not get by the end of the
    /// run; not part of `lost`.
    pub lost_at_slow: u64,
    /// Acknowledgements with an error code.
    pub publish_refused: u64,
    pub connects: u64,
    pub connect_failures: u64,
    /// Connections that the broker or the network ended.
    pub disconnects: u64,
}

/// The TLS of all connections of the run that came as far as CONNACK.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TlsUse {
    /// In the order in which it was met; one entry as long as all connections agree.
    pub negotiated: Vec<Negotiated>,
    pub full_handshakes: u64,
    /// Handshakes that went on with an earlier session.
    pub resumed_handshakes: u64,
}

/// What the two ends of a connection agreed on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Negotiated {
    /// `1.2` or `1.3`.
    pub version: String,
    /// By its name in the registry of IANA.
    pub cipher_suite: String,
    /// The group; `None` where no keys were exchanged, as in a resumed session of TLS 1.2.
    pub key_exchange: Option<String>,
}

impl TlsUse {
    pub fn count(&mut self, negotiated: Negotiated, is_resumed: bool) {
        match is_resumed {
            true => self.resumed_handshakes += 1,
            false => self.full_handshakes += 1,
        }
        self.meet(negotiated);
    }

    pub fn add(&mut self, other: &Self) {
        self.full_handshakes += other.full_handshakes;
        self.resumed_handshakes += other.resumed_handshakes;
        for negotiated in &other.negotiated {
            self.meet(negotiated.clone());
        }
    }

    fn meet(&mut self, negotiated: Negotiated) {
        if !self.negotiated.contains(&negotiated) {
            self.negotiated.push(negotiated);
        }
    }
}

impl fmt::Display for TlsUse {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (full, resumed) = (self.full_handshakes, self.resumed_handshakes);
        for negotiated in &self.negotiated {
            write!(formatter, "{negotiated}, ")?;
        }
        write!(formatter, "{full} full handshakes, {resumed} resumed")
    }
}

impl fmt::Display for Negotiated {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "TLS {} {}", self.version, self.cipher_suite)?;
        match &self.key_exchange {
            Some(group) => write!(formatter, " {group}"),
            None => Ok(()),
        }
    }
}

/// A histogram's summary, in microseconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Percentiles {
    pub count: u64,
    pub min: u64,
    pub mean: f64,
    pub p50: u64,
    pub p90: u64,
    pub p99: u64,
    pub p999: u64,
    pub p9999: u64,
    pub max: u64,
}

/// One step, usually of one second, of the measured window.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// Start of the interval, from the start of the measured window.
    pub at_s: f64,
    pub length_s: f64,
    pub sent: u64,
    pub delivered: u64,
    /// End-to-end latencies of what arrived in the interval; `None` where nothing did.
    pub p50_us: Option<u64>,
    pub p99_us: Option<u64>,
    pub max_us: Option<u64>,
    /// Processors that the broker kept busy: 1.0 is one whole core.
    pub broker_cpu: Option<f64>,
}

/// A reading of the broker's processes at one moment: counters since their start, and memory.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct BrokerSample {
    pub cpu_user_s: f64,
    pub cpu_system_s: f64,
    pub voluntary_switches: u64,
    pub involuntary_switches: u64,
    pub rss_bytes: u64,
    pub rss_peak_bytes: u64,
    pub anon_bytes: Option<u64>,
    pub pss_bytes: Option<u64>,
    /// TCP memory of the kernel, of all sockets of the host.
    pub kernel_tcp_bytes: Option<u64>,
}

/// Where a run reads the broker's cost from: a process of this host, or an agent on another.
pub trait BrokerProbe: Send {
    /// `None` when the broker cannot be read any more, as after its end.
    fn sample(&mut self) -> Option<BrokerSample>;
}

/// What the broker used between the start and the end of the measured window.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct BrokerUse {
    pub cpu_user_s: f64,
    pub cpu_system_s: f64,
    pub voluntary_switches: u64,
    pub involuntary_switches: u64,
    /// Before the first connection of the run.
    pub rss_bytes_before: u64,
    /// At the end of the measured window.
    pub rss_bytes_after: u64,
    pub rss_bytes_peak: u64,
    pub anon_bytes_before: Option<u64>,
    pub anon_bytes_after: Option<u64>,
    pub pss_bytes_before: Option<u64>,
    pub pss_bytes_after: Option<u64>,
    pub kernel_tcp_bytes_before: Option<u64>,
    pub kernel_tcp_bytes_after: Option<u64>,
    /// CPU time by messages delivered in the window; `None` when none were.
    pub cpu_us_per_delivered: Option<f64>,
}

/// What the generator itself used in the measured window.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct GeneratorUse {
    pub cpu_s: f64,
    pub threads: u32,
    pub processes: u32,
    /// Share of the measured window in which the busiest thread had a CPU: 1.0 is its end.
    pub saturation: f64,
}

/// The machine and its settings, as far as they bear on the figures.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Environment {
    pub host: String,
    pub kernel: String,
    pub cpu_model: String,
    pub cpus: u32,
    /// CPUs that the generator may run on, as in `0,2-5`.
    pub generator_cpus: String,
    pub governor: Option<String>,
    pub memory_bytes: u64,
    /// Name and text of each file in `/sys/devices/system/cpu/vulnerabilities`.
    pub mitigations: Vec<(String, String)>,
    pub sysctls: Vec<(String, String)>,
    pub limits: Vec<(String, String)>,
    pub harness_version: String,
    pub broker_version: Option<String>,
    pub load_average_before: f64,
    /// Share of the CPU time that the hypervisor took during the run.
    pub steal: Option<f64>,
    /// Stall shares of the run from `/proc/pressure`: `cpu`, `memory`, `io`.
    pub pressure: Vec<(String, f64)>,
}
