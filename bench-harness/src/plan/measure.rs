//! Measuring a host: which short runs, in which order, against which brokers.
//!
//! Fleets come first, while the kernel holds nothing of earlier connections. The broker is started
//! anew for each fleet and for each number of cores; the generator stays on the last CPU.

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use super::broker::{self, Measured};
use super::data::{Circumstances, FORMAT, FleetKind, HandshakePoint, PlanData, TrafficPoint};
use super::disk;
use super::fleet::{self, FleetRun};
use super::probe::Probe;
use crate::control::{self, Setup, Status, new_run_id};
use crate::environment::Watch;
use crate::mqtt::Version;
use crate::result::{BrokerProbe, RunResult};
use crate::scenario::{Options, PaceChoice};

#[derive(Clone, Debug)]
pub struct Order {
    pub program: PathBuf,
    pub cores: Vec<u32>,
    /// Where data directories are made; its disk is measured.
    pub folder: PathBuf,
    /// Fewer kinds of runs: enough for a model.
    pub is_quick: bool,
    pub lengths: Lengths,
    pub command: Vec<String>,
}

/// How long a measurement takes, in seconds, and how large its fleets are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lengths {
    pub warm_up_s: f64,
    pub window_s: f64,
    /// For each size of write.
    pub disk_s: f64,
    pub fleet_connections: u64,
    /// The time that a fleet connects in.
    pub fleet_s: f64,
}

impl Lengths {
    pub const QUICK: Self = Self {
        warm_up_s: 0.3,
        window_s: 1.0,
        disk_s: 0.5,
        fleet_connections: 8_000,
        fleet_s: 2.0,
    };
    pub const FULL: Self = Self {
        warm_up_s: 0.5,
        window_s: 3.0,
        disk_s: 2.0,
        fleet_connections: 13_000,
        fleet_s: 4.0,
    };
}

/// What a person sees while it goes on.
pub trait Witness {
    fn show(&mut self, status: Status<'_>);
    /// A point is done, or could not be taken.
    fn tell(&mut self, line: &str);
}

/// One run with traffic.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Run {
    pub scenario: &'static str,
    pub qos: u8,
    pub version: Version,
    pub payload_bytes: u32,
    pub pace: Option<PaceChoice>,
    pub is_durable: bool,
    pub is_tls: bool,
}

const SATURATED: &str = "pairs-saturated-16";
const ONE: &str = "pairs-one-1";
const FAN_SATURATED: &str = "fanout-saturated-1-100";
const FAN_RATE: &str = "fanout-1-100-1-20K";
const FAN_WIDE: &str = "fanout-50-5-50-20K";
/// A core sleeps between most messages of the first, and seldom with the last.
const RATES: [&str; 3] = ["pairs-100-1K", "pairs-100-4K", "pairs-100-15K"];
const DURABLE_RATE: &str = "durable-p2p-100-100-100-2K";
const DURABLE: &str = "durable-p2p-16-16-16-1K";
const DURABLE_ONE: &str = "durable-p2p-1-1-1-1K";
const STORM: &str = "conn-storm-2K";
const STORM_CONNECTIONS: u64 = 2_000;
const WINDOW: PaceChoice = PaceChoice::WindowBytes(64 * 1_024);

pub(super) fn run(scenario: &'static str, qos: u8, version: Version, payload_bytes: u32) -> Run {
    Run {
        scenario,
        qos,
        version,
        payload_bytes,
        pace: None,
        is_durable: false,
        is_tls: false,
    }
}

fn fan_one(qos: u8, version: Version, payload_bytes: u32) -> Run {
    Run {
        pace: Some(PaceChoice::InFlight(1)),
        ..run(FAN_SATURATED, qos, version, payload_bytes)
    }
}

fn durable(scenario: &'static str, pace: Option<PaceChoice>, qos: u8, payload_bytes: u32) -> Run {
    Run {
        pace,
        is_durable: true,
        ..run(scenario, qos, Version::V50, payload_bytes)
    }
}

fn secure(scenario: &'static str, qos: u8, payload_bytes: u32) -> Run {
    Run {
        is_tls: true,
        ..run(scenario, qos, Version::V50, payload_bytes)
    }
}

/// For the fewest cores: all parts of the cost apart from each other.
fn base_runs(is_quick: bool) -> Vec<Run> {
    let mut runs = Vec::new();
    let mut shapes = vec![(Version::V50, 64)];
    if !is_quick {
        shapes.extend([(Version::V311, 64), (Version::V50, 1_024)]);
    }
    for qos in 0..3 {
        for (version, payload) in &shapes {
            let plain = [SATURATED, ONE, FAN_SATURATED, FAN_RATE, FAN_WIDE];
            let plain = plain.into_iter().chain(RATES);
            runs.extend(plain.map(|name| run(name, qos, *version, *payload)));
            runs.push(fan_one(qos, *version, *payload));
        }
    }
    if is_quick {
        runs.extend([SATURATED, ONE].map(|name| run(name, 1, Version::V311, 64)));
        runs.extend([SATURATED, ONE, FAN_SATURATED].map(|name| run(name, 1, Version::V50, 1_024)));
    }
    let one = Some(PaceChoice::InFlight(1));
    for qos in if is_quick { 1..=1 } else { 1..=2 } {
        for payload in [64, 1_024] {
            runs.push(durable(DURABLE_RATE, None, qos, payload));
            runs.push(durable(DURABLE, Some(WINDOW), qos, payload));
        }
        runs.push(durable(DURABLE_ONE, one, qos, 64));
    }
    for qos in if is_quick { 1..=1 } else { 0..=2 } {
        let names = [SATURATED, ONE, FAN_SATURATED, RATES[1]];
        runs.extend(names.map(|name| secure(name, qos, 64)));
        runs.push(secure(SATURATED, qos, 1_024));
        runs.push(secure(FAN_SATURATED, qos, 1_024));
    }
    runs
}

/// For more cores: what they add.
fn scaling_runs(is_quick: bool) -> Vec<Run> {
    let qualities = if is_quick { 1..2 } else { 0..3 };
    let mut runs = Vec::new();
    for qos in qualities {
        let names = [
            SATURATED,
            FAN_SATURATED,
            FAN_RATE,
            FAN_WIDE,
            RATES[1],
            RATES[2],
        ];
        runs.extend(names.map(|name| run(name, qos, Version::V50, 64)));
    }
    runs
}

pub fn measure(order: &Order, witness: &mut dyn Witness) -> Result<PlanData, String> {
    let cores = order.cores.iter().copied().min();
    let fewest = cores.ok_or("no number of cores")?;
    let mut data = PlanData {
        format: FORMAT,
        measured_unix_s: unix_now_s(),
        command: order.command.clone(),
        broker_version: broker::version(&order.program)?,
        ..PlanData::default()
    };
    let watch = Watch::start();
    let disk = disk::measure(&order.folder, order.lengths.disk_s)?;
    for sync in &disk.syncs {
        witness.tell(&format!(
            "disk: {} bytes and a sync: p50 {} p99 {} us",
            sync.write_bytes, sync.us_p50, sync.us_p99
        ));
    }
    data.disk = Some(disk);
    measure_fleets(order, fewest, &mut data, witness)?;
    match measure_handshakes(order, fewest, witness) {
        Ok(point) => data.handshakes = Some(point),
        Err(error) => skip(error, &mut data, witness),
    }
    for cores in &order.cores {
        let runs = if *cores == fewest {
            base_runs(order.is_quick)
        } else {
            scaling_runs(order.is_quick)
        };
        measure_traffic(order, *cores, &runs, &mut data, witness)?;
    }
    data.host = watch.finish(&generator_cpu(), Some(&data.broker_version));
    Ok(data)
}

fn unix_now_s() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |since| since.as_secs())
}

fn measure_fleets(
    order: &Order,
    cores: u32,
    data: &mut PlanData,
    witness: &mut dyn Witness,
) -> Result<(), String> {
    let end_bytes = fleet::kernel_bytes_of_an_end()?;
    witness.tell(&format!(
        "kernel: {end_bytes:.0} bytes of an end of a connection"
    ));
    for kind in [
        FleetKind::Connected,
        FleetKind::Subscribed,
        FleetKind::Persistent,
        FleetKind::Secure,
    ] {
        let broker = broker::start(&order.program, cores, &order.folder)?;
        let mut probe = Probe::new(broker.pid())?;
        let fleet = FleetRun {
            kind,
            cores,
            connections: order.lengths.fleet_connections,
            seconds: order.lengths.fleet_s,
            end_bytes,
        };
        let show = &mut |status: Status<'_>| witness.show(status);
        match fleet.measure(&broker, &mut probe, show) {
            Ok(point) => {
                witness.tell(&format!("fleet: {} sizes, {kind:?}", point.steps.len()));
                data.fleets.push(point);
            }
            Err(error) => skip(error, data, witness),
        }
    }
    Ok(())
}

/// Connects the same storm with and without TLS.
fn measure_handshakes(
    order: &Order,
    cores: u32,
    witness: &mut dyn Witness,
) -> Result<HandshakePoint, String> {
    let broker = broker::start(&order.program, cores, &order.folder)?;
    let mut cpu_s = |is_tls: bool| {
        let run = Run {
            is_tls,
            ..run(STORM, 1, Version::V50, 64)
        };
        let show = &mut |status: Status<'_>| witness.show(status);
        let (result, _) = run.carry_out(&broker, (0.0, 0.0), show)?;
        if let Some(reason) = result.void.first() {
            return Err(format!("{STORM}: {reason}"));
        }
        let used = result.broker.ok_or("the broker was not observed")?;
        Ok(used.cpu_user_s + used.cpu_system_s)
    };
    // Twice without: the first fills tables and pools.
    cpu_s(false)?;
    let point = HandshakePoint {
        connections: STORM_CONNECTIONS,
        plain_cpu_s: cpu_s(false)?,
        cpu_s: cpu_s(true)?,
    };
    let each = point.us_each();
    witness.tell(&format!(
        "{cores} cores: {each:.0} us of CPU a TLS handshake"
    ));
    Ok(point)
}

fn skip(error: String, data: &mut PlanData, witness: &mut dyn Witness) {
    witness.tell(&format!("skipped: {error}"));
    data.skipped.push(error);
}

fn measure_traffic(
    order: &Order,
    cores: u32,
    runs: &[Run],
    data: &mut PlanData,
    witness: &mut dyn Witness,
) -> Result<(), String> {
    let cpus = std::thread::available_parallelism().map_or(1, usize::from) as u32;
    let broker = broker::start(&order.program, cores, &order.folder)?;
    for run in runs {
        let seconds = (order.lengths.warm_up_s, order.lengths.window_s);
        let show = &mut |status: Status<'_>| witness.show(status);
        let (result, mut probe) = run.carry_out(&broker, seconds, show)?;
        if probe.sample().is_none() {
            return Err(format!("the broker ended during {}", run.scenario));
        }
        let around = Circumstances {
            cores,
            is_durable: run.is_durable,
            is_tls: run.is_tls,
            shares_cpu: cores >= cpus,
            disk_write_bytes: probe.written_in_window().filter(|_| run.is_durable),
        };
        match TrafficPoint::of_run(&result, &around) {
            Ok(point) => {
                witness.tell(&line(&point));
                data.traffic.push(point);
            }
            Err(error) => skip(error, data, witness),
        }
    }
    Ok(())
}

impl Run {
    pub(super) fn carry_out(
        &self,
        broker: &Measured,
        (warm_up_s, duration_s): (f64, f64),
        show: &mut dyn FnMut(Status<'_>),
    ) -> Result<(RunResult, Probe), String> {
        let setup = Setup {
            options: Options {
                version: Some(self.version),
                qos: Some(self.qos),
                payload_bytes: Some(self.payload_bytes),
                warm_up_s,
                duration_s,
                pace: self.pace,
                run_id: new_run_id(),
                ..Options::default()
            },
            cpus: generator_cpu(),
            tls: broker.tls(),
            ..Setup::new(self.scenario, broker.target(self.is_tls).clone())
        };
        let mut probe = Probe::new(broker.pid())?;
        let result = control::run(&setup, Some(&mut probe), show)?.result;
        Ok((result, probe))
    }
}

/// The last one: the broker takes the first ones.
fn generator_cpu() -> Vec<usize> {
    let cpus = core_affinity::get_core_ids().unwrap_or_default();
    cpus.last().map(|cpu| cpu.id).into_iter().collect()
}

fn line(point: &TrafficPoint) -> String {
    let durable = if point.is_durable { " durable" } else { "" };
    let tls = if point.is_tls { " TLS" } else { "" };
    format!(
        "{} cores, {} QoS {}{durable}{tls} MQTT {} {} bytes: {:.2} us a message, {:.3} wake-ups, \
         {:.0} % busy",
        point.cores,
        point.scenario,
        point.qos,
        point.mqtt,
        point.payload_bytes,
        point.cpu_us_per_message(),
        point.wake_ups_per_message(),
        point.busy() * 100.0
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario;

    #[test]
    fn every_run_is_a_scenario() {
        for is_quick in [true, false] {
            let runs = [base_runs(is_quick), scaling_runs(is_quick)].concat();
            for run in runs {
                let options = Options {
                    version: Some(run.version),
                    qos: Some(run.qos),
                    payload_bytes: Some(run.payload_bytes),
                    pace: run.pace,
                    ..Options::default()
                };
                let built = scenario::build(run.scenario, &options).unwrap();
                assert_eq!(built.parameters.clean_session, !run.is_durable, "{run:?}");
                let receivers = match run.scenario {
                    FAN_WIDE => 5.0,
                    FAN_RATE | FAN_SATURATED => 100.0,
                    _ => 1.0,
                };
                assert_eq!(built.parameters.fan_out, receivers, "{run:?}");
            }
        }
    }

    #[test]
    fn a_quick_measurement_is_quick_and_enough_for_a_model() {
        let seconds = |is_quick: bool, lengths: Lengths, more: usize| {
            let runs = base_runs(is_quick).len() + more * scaling_runs(is_quick).len();
            // Connecting and draining take half a second more.
            runs as f64 * (lengths.warm_up_s + lengths.window_s + 0.5) + 4.0 * lengths.fleet_s
        };
        let quick = seconds(true, Lengths::QUICK, 1);
        assert!(quick < 120.0, "{quick}");
        let full = seconds(false, Lengths::FULL, 3);
        assert!(full < 900.0, "{full}");
        assert!(base_runs(true).len() >= super::super::cost::POINTS_MIN);
    }
}
