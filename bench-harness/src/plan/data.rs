//! The file that `ringway-bench plan measure` writes and the other commands read: points as they
//! were measured, without any conclusion, so that a better model can be fitted to old files.
//!
//! JSON. `format` is the version of this data model: files of a newer one are refused, unknown
//! fields of the same one are ignored. Durations are in seconds or microseconds, sizes in bytes, as
//! the names say.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::result::{BrokerUse, Environment, Pace, RunResult};

/// Version of this data model.
/// 2: TLS.
pub const FORMAT: u32 = 2;
/// At the 99th percentile; the same as for a run whose latencies count.
pub const LAG_US_MAX: u64 = 1_000;
/// A file of a thousand points is below a megabyte.
const FILE_BYTES_MAX: u64 = 64 << 20;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PlanData {
    pub format: u32,
    pub measured_unix_s: u64,
    pub command: Vec<String>,
    pub host: Environment,
    /// As the broker itself says it.
    pub broker_version: String,
    pub traffic: Vec<TrafficPoint>,
    pub fleets: Vec<FleetPoint>,
    pub disk: Option<DiskPoint>,
    #[serde(default)]
    pub handshakes: Option<HandshakePoint>,
    /// What was tried and gave no point, and why.
    pub skipped: Vec<String>,
}

/// CPU time of the broker under one load, from one run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrafficPoint {
    pub scenario: String,
    /// Cores that the broker ran on.
    pub cores: u32,
    /// `3.1.1` or `5.0`.
    pub mqtt: String,
    pub qos: u8,
    pub payload_bytes: u32,
    pub fan_out: f64,
    pub publishers: u32,
    pub connections: u32,
    pub pace: Pace,
    /// Whether the receivers' sessions are persistent and `durability.ack` is `disk`.
    pub is_durable: bool,
    #[serde(default)]
    pub is_tls: bool,
    /// Whether generator and broker had to share a CPU.
    pub shares_cpu: bool,
    pub measured_s: f64,
    pub published: u64,
    pub delivered: u64,
    pub cpu_user_s: f64,
    pub cpu_system_s: f64,
    /// Voluntary context switches of all threads of the broker: each ends in a wake-up.
    pub wake_ups: u64,
    /// What the broker gave to the disk in the window.
    pub disk_write_bytes: Option<u64>,
    pub latency_us_p99: Option<u64>,
    /// How late the generator was, in an open loop. Late messages come in clumps, which cost less.
    pub send_lag_us_p99: Option<u64>,
}

/// Memory while a fleet grows, from one broker that was started for it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FleetPoint {
    pub kind: FleetKind,
    pub cores: u32,
    pub steps: Vec<FleetStep>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FleetKind {
    /// Connected, nothing else.
    Connected,
    /// With one subscription.
    Subscribed,
    /// With one subscription in a session that outlives the connection.
    Persistent,
    /// With one subscription, over TLS.
    Secure,
}

/// CPU time of the broker while clients connect all at once, each with a full TLS handshake.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HandshakePoint {
    pub connections: u64,
    /// With everything that a connection costs besides.
    pub cpu_s: f64,
    /// The same without TLS.
    pub plain_cpu_s: f64,
}

impl HandshakePoint {
    /// What TLS adds to a connection.
    pub fn us_each(&self) -> f64 {
        ((self.cpu_s - self.plain_cpu_s) * 1e6 / self.connections as f64).max(0.0)
    }

    fn check(&self) -> Result<(), String> {
        let is_sound =
            self.connections > 0 && self.cpu_s.is_finite() && self.plain_cpu_s.is_finite();
        is_sound
            .then_some(())
            .ok_or_else(|| "the cost of TLS handshakes is not a measurement".to_owned())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct FleetStep {
    pub connections: u64,
    /// Anonymous memory of the broker's process.
    pub user_bytes: u64,
    /// Kernel memory of the host less the generator's own ends of the connections.
    pub kernel_bytes: i64,
}

/// The disk under the data directory.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DiskPoint {
    pub directory: String,
    pub file_system: Option<String>,
    /// One write and one data sync after the other, by size of the write.
    pub syncs: Vec<SyncPoint>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SyncPoint {
    pub write_bytes: u32,
    pub count: u64,
    pub us_mean: f64,
    pub us_p50: u64,
    pub us_p90: u64,
    pub us_p99: u64,
    pub us_max: u64,
}

/// What a run result alone does not say about a point.
#[derive(Clone, Copy, Debug)]
pub struct Circumstances {
    pub cores: u32,
    pub is_durable: bool,
    pub is_tls: bool,
    pub shares_cpu: bool,
    pub disk_write_bytes: Option<u64>,
}

impl TrafficPoint {
    /// The error says why the run tells nothing about the broker's cost.
    pub fn of_run(result: &RunResult, around: &Circumstances) -> Result<Self, String> {
        let name = &result.scenario;
        if let Some(failure) = result.failures.first() {
            return Err(format!("{name}: {failure}"));
        }
        let counts = &result.counts;
        let parameters = &result.parameters;
        let broker = result.broker.as_ref();
        let broker = broker.ok_or_else(|| format!("{name}: the broker was not observed"))?;
        if counts.sent == 0 || counts.delivered == 0 || cpu_s(broker) <= 0.0 {
            return Err(format!("{name}: nothing was measured"));
        }
        let offered = counts.offered_per_s.unwrap_or(0.0) * result.measured_s;
        if (counts.sent as f64) < 0.9 * offered {
            return Err(format!(
                "{name}: the broker does not keep up with the schedule"
            ));
        }
        // A late generator is no reason here: what arrived has its cost.
        if counts.connect_failures + counts.disconnects + counts.publish_refused > 0 {
            let reason = result.void.first().map_or("", String::as_str);
            return Err(format!("{name}: {reason}"));
        }
        Ok(Self {
            scenario: name.clone(),
            cores: around.cores,
            mqtt: parameters.mqtt.clone(),
            qos: parameters.qos,
            payload_bytes: parameters.payload_bytes,
            fan_out: parameters.fan_out,
            publishers: parameters.publishers,
            connections: parameters.connections,
            pace: parameters.pace.clone(),
            is_durable: around.is_durable,
            is_tls: around.is_tls,
            shares_cpu: around.shares_cpu,
            measured_s: result.measured_s,
            published: counts.sent,
            delivered: counts.delivered,
            // Their sum is exact, their shares are not.
            cpu_user_s: broker.cpu_user_s.clamp(0.0, cpu_s(broker)),
            cpu_system_s: broker.cpu_system_s.clamp(0.0, cpu_s(broker)),
            wake_ups: broker.voluntary_switches,
            disk_write_bytes: around.disk_write_bytes,
            latency_us_p99: result.latency_us.as_ref().map(|latency| latency.p99),
            send_lag_us_p99: result.send_lag_us.as_ref().map(|lag| lag.p99),
        })
    }

    /// CPU time of the broker by published message.
    pub fn cpu_us_per_message(&self) -> f64 {
        (self.cpu_user_s + self.cpu_system_s) * 1e6 / self.published as f64
    }

    /// Share of its cores that the broker was busy.
    pub fn busy(&self) -> f64 {
        let available_s = self.measured_s * f64::from(self.cores);
        ((self.cpu_user_s + self.cpu_system_s) / available_s).clamp(0.0, 1.0)
    }

    pub fn wake_ups_per_message(&self) -> f64 {
        self.wake_ups as f64 / self.published as f64
    }

    /// Whether senders did not wait for the broker.
    pub fn is_open(&self) -> bool {
        matches!(self.pace, Pace::Constant { .. } | Pace::Poisson { .. })
    }

    /// Whether the generator was too late for the times of its schedule to count.
    pub fn is_late(&self) -> bool {
        self.is_open() && self.send_lag_us_p99.unwrap_or(0) > LAG_US_MAX
    }

    fn check(&self) -> Result<(), String> {
        let finite = [
            self.fan_out,
            self.measured_s,
            self.cpu_user_s,
            self.cpu_system_s,
        ];
        let is_sound = finite
            .iter()
            .all(|value| value.is_finite() && *value >= 0.0)
            && self.cores > 0
            && self.qos <= 2
            && self.measured_s > 0.0
            && self.published > 0
            && self.delivered > 0
            && self.cpu_user_s + self.cpu_system_s > 0.0;
        if is_sound {
            Ok(())
        } else {
            Err(format!(
                "the point `{}` is not a measurement",
                self.scenario
            ))
        }
    }
}

fn cpu_s(broker: &BrokerUse) -> f64 {
    broker.cpu_user_s + broker.cpu_system_s
}

impl PlanData {
    /// Writes beside the file and renames, so that a cut-off measurement leaves no half a file.
    pub fn save(&self, path: &Path) -> Result<(), String> {
        let failed = |error: io::Error| format!("{}: {error}", path.display());
        let mut draft = path.as_os_str().to_owned();
        draft.push(".new");
        let mut file = File::create(&draft).map_err(failed)?;
        let text = serde_json::to_vec_pretty(self).map_err(|error| failed(error.into()))?;
        file.write_all(&text).map_err(failed)?;
        file.write_all(b"\n").map_err(failed)?;
        std::fs::rename(&draft, path).map_err(failed)
    }

    pub fn load(path: &Path) -> Result<Self, String> {
        let failed = |error: io::Error| format!("{}: {error}", path.display());
        let mut text = String::new();
        let file = File::open(path).map_err(failed)?;
        file.take(FILE_BYTES_MAX + 1)
            .read_to_string(&mut text)
            .map_err(failed)?;
        if text.len() as u64 > FILE_BYTES_MAX {
            return Err(format!("{}: not a file of measurements", path.display()));
        }
        Self::parse(&text).map_err(|error| format!("{}: {error}", path.display()))
    }

    pub fn parse(text: &str) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Head {
            format: u32,
        }
        let head: Head = serde_json::from_str(text)
            .map_err(|error| format!("not a file of `ringway-bench plan measure`: {error}"))?;
        if head.format > FORMAT {
            return Err(format!(
                "format {} is newer than {FORMAT}: take the ringway-bench that wrote it",
                head.format
            ));
        }
        let data: Self = serde_json::from_str(text)
            .map_err(|error| format!("not a file of `ringway-bench plan measure`: {error}"))?;
        for point in &data.traffic {
            point.check()?;
        }
        if let Some(point) = &data.handshakes {
            point.check()?;
        }
        Ok(data)
    }
}

/// All points of several files, which must be of one kind of host and one version of the broker.
pub fn merge(files: Vec<PlanData>) -> Result<PlanData, String> {
    let mut files = files.into_iter();
    let mut all = files.next().ok_or("no file of measurements")?;
    for file in files {
        let pairs = [
            ("CPUs", &all.host.cpu_model, &file.host.cpu_model),
            ("kernels", &all.host.kernel, &file.host.kernel),
            ("brokers", &all.broker_version, &file.broker_version),
        ];
        for (what, one, other) in pairs {
            if one != other {
                return Err(format!(
                    "the files are of different {what}, `{one}` and `{other}`: their costs \
                     cannot be one model"
                ));
            }
        }
        all.host.cpus = all.host.cpus.max(file.host.cpus);
        all.traffic.extend(file.traffic);
        all.fleets.extend(file.fleets);
        all.disk = all.disk.or(file.disk);
        all.handshakes = all.handshakes.or(file.handshakes);
        all.skipped.extend(file.skipped);
    }
    Ok(all)
}
