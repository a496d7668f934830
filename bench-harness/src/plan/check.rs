//! Predictions against the truth: runs that were not used for fitting are predicted first and
//! measured then.

use std::path::PathBuf;

use serde::Serialize;

use super::broker;
use super::cost::Message;
use super::data::{FleetKind, LAG_US_MAX, PlanData};
use super::fleet::{self, FleetRun};
use super::linear::Interval;
use super::measure::{Run, Witness, run};
use super::model::{self, Model, View};
use super::probe::Probe;
use crate::control::Status;
use crate::mqtt::Version;
use crate::result::RunResult;

#[derive(Clone, Debug)]
pub struct Order {
    pub program: PathBuf,
    pub folder: PathBuf,
    pub seconds: f64,
}

/// One figure, predicted and measured.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    pub what: String,
    pub unit: &'static str,
    pub predicted: Interval,
    pub measured: f64,
    /// Predicted over measured, less one.
    pub error: f64,
    pub is_within: bool,
    /// The generator was late: the run is not the one that was predicted.
    pub is_late: bool,
}

/// Of the fleet that the check connects, in units of the largest that was measured.
const FLEET_GROWTH: f64 = 1.5;
const FLEET_SECONDS: f64 = 3.0;

/// Neither these scenarios nor these payloads are among the measured ones. The last column: TLS.
const RUNS: [(&str, u8, Version, u32, bool); 6] = [
    ("mixed-1K-50-5-2K", 1, Version::V50, 200, false),
    ("mixed-1K-50-5-8K", 1, Version::V50, 200, false),
    ("fanout-5-20-5-20K", 1, Version::V311, 128, false),
    ("pairs-300-5K", 0, Version::V311, 256, false),
    ("fanin-200-2-5K", 2, Version::V50, 100, false),
    ("pairs-200-4K", 1, Version::V50, 200, true),
];

pub fn check(
    data: &PlanData,
    order: &Order,
    witness: &mut dyn Witness,
) -> Result<Vec<Comparison>, String> {
    let model = Model::fit(data)?;
    let version = broker::version(&order.program)?;
    if version != data.broker_version {
        let measured = &data.broker_version;
        return Err(format!("`{measured}` was measured, this is `{version}`"));
    }
    let mut found = Vec::new();
    if let Some(fleet) = model.fleets.get(&FleetKind::Subscribed) {
        let connections = (fleet.connections_max as f64 * FLEET_GROWTH) as u64;
        found.extend(check_fleet(&model, order, connections, witness)?);
    }
    let cores = model.cores_of_cost;
    let broker = broker::start(&order.program, cores, &order.folder)?;
    for (scenario, qos, version, payload_bytes, is_tls) in RUNS {
        let run = Run {
            is_tls,
            ..run(scenario, qos, version, payload_bytes)
        };
        let show = &mut |status: Status<'_>| witness.show(status);
        let (result, _) = run.carry_out(&broker, (0.5, order.seconds), show)?;
        match compare(&model, cores, is_tls, &result) {
            Some(comparison) => found.push(comparison),
            None => witness.tell(&format!("skipped: {scenario}: {:?}", result.void)),
        }
    }
    Ok(found)
}

/// The run's own count of deliveries is part of the question, not of the answer.
fn compare(model: &Model, cores: u32, is_tls: bool, result: &RunResult) -> Option<Comparison> {
    let (broker, counts) = (result.broker.as_ref()?, &result.counts);
    let is_told = result.failures.is_empty() && counts.delivered > 0 && result.measured_s > 0.0;
    if !is_told {
        return None;
    }
    let message = Message {
        qos: result.parameters.qos,
        payload_bytes: f64::from(result.parameters.payload_bytes),
        fan_out: counts.delivered as f64 / counts.sent as f64,
        is_v5: result.parameters.mqtt == "5.0",
        is_durable: false,
        is_tls,
        batch: 1.0,
    };
    let rate = counts.sent as f64 / result.measured_s;
    let predicted = model.interval(|view| message_us(view, &message, rate, cores));
    let cpu_us = (broker.cpu_user_s + broker.cpu_system_s) * 1e6;
    let tls = if is_tls { " TLS" } else { "" };
    let what = format!("{} QoS {}{tls}", result.scenario, result.parameters.qos);
    let lag_us = result.send_lag_us.as_ref().map_or(0, |lag| lag.p99);
    Some(Comparison {
        is_late: lag_us > LAG_US_MAX,
        ..comparison(what, "us a message", predicted, cpu_us / counts.sent as f64)
    })
}

/// At a rate that is given, how busy the cores are follows from the cost, and the cost from it:
/// both are straight lines, which meet once.
fn message_us(view: &View<'_>, message: &Message, rate: f64, cores: u32) -> f64 {
    let awake = view.message_us(message, 1.0);
    let asleep = view.message_us(message, 0.0) - awake;
    let demand = rate / 1e6 / f64::from(cores);
    let busy = demand * (awake + asleep) / (1.0 + demand * asleep);
    view.message_us(message, busy.min(1.0))
}

fn comparison(what: String, unit: &'static str, predicted: Interval, measured: f64) -> Comparison {
    Comparison {
        what,
        unit,
        predicted,
        measured,
        error: predicted.estimate / measured - 1.0,
        is_within: predicted.contains(measured),
        is_late: false,
    }
}

fn check_fleet(
    model: &Model,
    order: &Order,
    connections: u64,
    witness: &mut dyn Witness,
) -> Result<Vec<Comparison>, String> {
    let Some(fit) = model.fleets.get(&FleetKind::Subscribed) else {
        return Ok(Vec::new());
    };
    let run = FleetRun {
        kind: FleetKind::Subscribed,
        cores: fit.cores,
        connections,
        seconds: FLEET_SECONDS,
        end_bytes: fleet::kernel_bytes_of_an_end()?,
    };
    let broker = broker::start(&order.program, fit.cores, &order.folder)?;
    let mut probe = Probe::new(broker.pid())?;
    let show = &mut |status: Status<'_>| witness.show(status);
    let point = run.measure(&broker, &mut probe, show)?;
    let Some(last) = point.steps.last() else {
        return Ok(Vec::new());
    };
    let count = last.connections as f64;
    let user = fit.user.slope;
    let user = user.map(|slope| (fit.user.intercept + slope * count) / 1e6);
    let mut found = vec![comparison(
        format!("user memory of {} connections", last.connections),
        "MB",
        user,
        last.user_bytes as f64 / 1e6,
    )];
    // What the kernel still has of earlier connections moves the whole line, not its slope.
    if let Some(line) = model::kernel_line(&point) {
        let what = format!("kernel memory, {} connections", last.connections);
        let of = |slope: f64| slope * count / 1e6;
        let measured = of(line.slope.estimate);
        found.push(comparison(what, "MB", fit.kernel.slope.map(of), measured));
    }
    Ok(found)
}

/// The mean size of the errors.
pub fn mean_error(found: &[Comparison], unit: &str) -> Option<f64> {
    let errors = found.iter().filter(|comparison| comparison.unit == unit);
    let errors: Vec<_> = errors.map(|comparison| comparison.error.abs()).collect();
    (!errors.is_empty()).then(|| errors.iter().sum::<f64>() / errors.len() as f64)
}

pub fn line(comparison: &Comparison) -> String {
    let Comparison {
        what,
        unit,
        predicted,
        measured,
        error,
        is_within,
        is_late,
    } = comparison;
    let Interval {
        low,
        estimate,
        high,
    } = predicted;
    let within = if *is_within { "within" } else { "outside" };
    let late = if *is_late {
        "; the generator was late"
    } else {
        ""
    };
    format!(
        "{what:<36} predicted {estimate:8.2} ({low:.2} to {high:.2}), measured {measured:8.2} \
         {unit}: {:+.0} %, {within}{late}",
        error * 100.0
    )
}
