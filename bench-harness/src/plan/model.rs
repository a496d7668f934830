//! All that a file of measurements says about a host, fitted together.

use std::collections::{BTreeMap, BTreeSet};

use super::cost::{self, Cost, CostFit, Message};
use super::data::{
    DiskPoint, FleetKind, FleetPoint, FleetStep, HandshakePoint, PlanData, TrafficPoint,
};
use super::linear::{self, Interval, Line, Row};
use super::scaling::{self, CorePoint, Scaling, ScalingFit};
use crate::schedule::Random;

/// Fits to resampled points: the 5th percentile rests on ten of them.
pub const DRAWS: usize = 200;
/// What repeated fleets differed by, as a share of the memory by connection.
const FLEET_DOUBT: f64 = 0.05;
/// The same file gives the same answer.
const SEED: u64 = 0x0052_494e_4757_4159;

#[derive(Clone, Debug)]
pub struct Model {
    pub cost: CostFit,
    /// Cores that the cost was fitted on.
    pub cores_of_cost: u32,
    pub scaling: ScalingFit,
    pub fleets: BTreeMap<FleetKind, FleetFit>,
    pub disk: Option<DiskPoint>,
    pub handshakes: Option<HandshakePoint>,
    /// Bytes written by durable delivery, by durable byte of payload, by sync.
    pub journal: Option<[f64; 3]>,
    pub range: Range,
    /// One for each draw: an error as the points have it.
    errors: Vec<f64>,
}

/// One possible truth.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    pub cost: &'a Cost,
    pub scaling: &'a Scaling,
    /// By which this load may differ from the sum of its parts.
    pub factor: f64,
}

impl View<'_> {
    /// On as many cores as the cost was fitted on.
    pub fn message_us(&self, message: &Message, busy: f64) -> f64 {
        self.cost.message_us(message, busy) * self.factor
    }
}

/// Memory of a fleet: what the broker takes without connections, and by connection.
#[derive(Clone, Copy, Debug)]
pub struct FleetFit {
    pub cores: u32,
    pub user: Line,
    pub kernel: Line,
    pub connections_max: u64,
}

/// What the points cover.
#[derive(Clone, Debug, Default)]
pub struct Range {
    pub cores: BTreeSet<u32>,
    pub qos: BTreeSet<u8>,
    pub durable_qos: BTreeSet<u8>,
    pub versions: BTreeSet<String>,
    pub is_tls: bool,
    pub payload_bytes: (u32, u32),
    pub fan_out: (f64, f64),
    /// In runs with traffic.
    pub connections: u32,
    /// Of one core, published and delivered together.
    pub packets_per_s: f64,
    /// Runs in an open loop, and those of them whose generator was late.
    pub open: usize,
    pub late: usize,
    /// Whether a run had to share a CPU with the generator.
    pub shares_cpu: bool,
}

impl Model {
    /// The error says what is missing in the measurements.
    pub fn fit(data: &PlanData) -> Result<Self, String> {
        let mut random = Random(SEED);
        let fewest = data.traffic.iter().map(|point| point.cores).min();
        let cores_of_cost = fewest.ok_or("the file has no runs with traffic")?;
        let is_base = |point: &&TrafficPoint| point.cores == cores_of_cost;
        let base: Vec<_> = data.traffic.iter().filter(is_base).cloned().collect();
        let cost = cost::fit(&base, DRAWS, &mut random).ok_or_else(|| {
            format!(
                "{} runs on {cores_of_cost} core(s) are too few: {} are needed",
                base.len(),
                cost::POINTS_MIN
            )
        })?;
        let points: Vec<_> = data
            .traffic
            .iter()
            .filter(|point| !point.is_late())
            .map(|point| core_point(point, &cost.cost))
            .collect();
        let scaling = scaling::fit(&points, DRAWS, &mut random).ok_or("no runs with traffic")?;
        let errors = (0..DRAWS)
            .map(|_| cost.errors[(random.draw() % cost.errors.len() as u64) as usize])
            .collect();
        Ok(Self {
            cores_of_cost,
            scaling,
            fleets: fleets(&data.fleets)?,
            disk: data.disk.clone(),
            handshakes: data.handshakes.clone(),
            journal: journal(data),
            range: Range::of(&data.traffic),
            errors,
            cost,
        })
    }

    /// `figure` of the best fit, and its interval from all draws with the points' own errors.
    pub fn interval(&self, figure: impl Fn(&View<'_>) -> f64) -> Interval {
        let draws = self.cost.draws.iter().zip(&self.scaling.draws);
        let mut draws: Vec<_> = draws
            .zip(&self.errors)
            .map(|((cost, scaling), error)| {
                figure(&View {
                    cost,
                    scaling,
                    factor: 1.0 + error,
                })
            })
            .collect();
        Interval::around(figure(&self.best()), &mut draws)
    }

    pub fn best(&self) -> View<'_> {
        View {
            cost: &self.cost.cost,
            scaling: &self.scaling.scaling,
            factor: 1.0,
        }
    }

    /// CPU time of a message where the broker has `cores`, busy for the share `busy`.
    pub fn message_us(&self, message: &Message, cores: u32, busy: f64) -> Interval {
        self.interval(|view| {
            let more = view.scaling.cost(cores) / view.scaling.cost(self.cores_of_cost);
            view.message_us(message, busy) * more
        })
    }

    /// Cost of a message on so many cores in units of that on as many as it was fitted on.
    pub fn more(&self, cores: u32) -> f64 {
        self.scaling.scaling.cost(cores) / self.scaling.scaling.cost(self.cores_of_cost)
    }

    pub fn cores_max(&self) -> u32 {
        self.scaling.cores_max
    }
}

/// The cost of a point in units of what the model says for the fewest cores.
fn core_point(point: &TrafficPoint, cost: &Cost) -> CorePoint {
    CorePoint {
        cores: point.cores,
        cost: point.cpu_us_per_message() / cost.point_us(point),
    }
}

fn line_of(point: &FleetPoint, bytes: fn(&FleetStep) -> f64) -> Option<Line> {
    let steps = point.steps.iter();
    let steps: Vec<_> = steps
        .map(|step| (step.connections as f64, bytes(step)))
        .collect();
    linear::line(&steps)
}

/// Kernel memory over connections; `None` with too few sizes.
pub(super) fn kernel_line(point: &FleetPoint) -> Option<Line> {
    line_of(point, |step| step.kernel_bytes as f64)
}

/// The sizes of one fleet share their errors: pages that are taken ahead, the generator's ends.
fn doubted(line: Line) -> Line {
    let margin = line.slope.estimate.abs() * FLEET_DOUBT;
    let slope = Interval {
        low: line.slope.low - margin,
        high: line.slope.high + margin,
        ..line.slope
    };
    Line { slope, ..line }
}

/// The fleet with the most connections of each kind.
fn fleets(points: &[FleetPoint]) -> Result<BTreeMap<FleetKind, FleetFit>, String> {
    let mut fleets: BTreeMap<FleetKind, FleetFit> = BTreeMap::new();
    for point in points {
        let user = line_of(point, |step| step.user_bytes as f64);
        let (Some(user), Some(kernel)) = (user, kernel_line(point)) else {
            return Err("a fleet of fewer than three sizes".to_owned());
        };
        let fit = FleetFit {
            cores: point.cores,
            user: doubted(user),
            kernel: doubted(kernel),
            connections_max: point
                .steps
                .iter()
                .map(|step| step.connections)
                .max()
                .unwrap_or(0),
        };
        let is_larger = fleets
            .get(&point.kind)
            .is_none_or(|other| other.connections_max < fit.connections_max);
        if is_larger {
            fleets.insert(point.kind, fit);
        }
    }
    Ok(fleets)
}

/// A core has one sync under way and puts all that came meanwhile into the next: a cycle is a sync
/// and the wait for something to write.
pub fn syncs_per_s(records_per_s: f64, cores: f64, sync_s: f64) -> f64 {
    if records_per_s > 0.0 {
        cores / (sync_s + cores / records_per_s)
    } else {
        0.0
    }
}

fn journal(data: &PlanData) -> Option<[f64; 3]> {
    let sync_s = data.disk.as_ref()?.syncs.first()?.us_mean / 1e6;
    let rows = data.traffic.iter().filter(|point| point.is_durable);
    let rows: Vec<_> = rows
        .filter_map(|point| {
            let written = point.disk_write_bytes.filter(|bytes| *bytes > 0)?;
            let rate = point.published as f64 / point.measured_s;
            let syncs = syncs_per_s(rate, f64::from(point.cores), sync_s) / rate;
            let features = [point.fan_out, f64::from(point.payload_bytes), syncs];
            Some(Row::relative(
                features,
                written as f64 / point.published as f64,
            ))
        })
        .collect();
    (!rows.is_empty()).then(|| linear::fit(&rows))
}

impl Range {
    fn of(points: &[TrafficPoint]) -> Self {
        let mut range = Self {
            payload_bytes: (u32::MAX, 0),
            fan_out: (f64::INFINITY, 0.0),
            ..Self::default()
        };
        for point in points {
            range.cores.insert(point.cores);
            if point.is_durable {
                range.durable_qos.insert(point.qos);
            } else {
                range.qos.insert(point.qos);
            }
            range.versions.insert(point.mqtt.clone());
            range.is_tls |= point.is_tls;
            let (low, high) = range.payload_bytes;
            range.payload_bytes = (low.min(point.payload_bytes), high.max(point.payload_bytes));
            let (low, high) = range.fan_out;
            range.fan_out = (low.min(point.fan_out), high.max(point.fan_out));
            range.connections = range.connections.max(point.connections);
            let packets = (point.published + point.delivered) as f64 / point.measured_s;
            range.packets_per_s = range.packets_per_s.max(packets / f64::from(point.cores));
            range.open += usize::from(point.is_open());
            range.late += usize::from(point.is_late());
            range.shares_cpu |= point.shares_cpu;
        }
        range
    }
}
