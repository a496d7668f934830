//! The result of a comparison as plain data: what its JSON file holds and its tables are made of.

use serde::{Deserialize, Serialize};

use super::recipe::{Kind, Persistence, Recipe};
use super::statistics::{Spread, spread};
use crate::result::{Environment, RunResult, TlsUse};

/// Version of this data model.
pub const FORMAT: u32 = 1;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    pub format: u32,
    pub title: String,
    pub command: Vec<String>,
    pub started_unix_s: u64,
    pub rounds: u32,
    /// The first is what the others' ratios refer to.
    pub brokers: Vec<BrokerInfo>,
    pub broker_cpus: Vec<usize>,
    pub generator_cpus: Vec<usize>,
    pub rows: Vec<RowResult>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BrokerInfo {
    pub recipe: Recipe,
    /// As the program says it; `None` when it was not asked.
    pub version: Option<String>,
    /// What its runs negotiated, and the sum of their handshakes; `None` without TLS.
    pub tls: Option<TlsUse>,
}

impl BrokerInfo {
    /// The version and what was negotiated, for people.
    pub fn words(&self) -> String {
        let version = self.version.as_deref().unwrap_or("version not asked");
        match &self.tls {
            None => version.to_owned(),
            Some(tls) => format!("{version}; {tls}"),
        }
    }
}

/// One scenario with its options, over all brokers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RowResult {
    pub label: String,
    pub scenario: String,
    pub qos: u8,
    pub persistence: Persistence,
    /// What the tables show of this row.
    pub metrics: Vec<Metric>,
    pub goal: Option<Goal>,
    /// How the row's rate was found, and why the row has no runs if it was not.
    pub note: Option<String>,
    /// In the order of the brokers.
    pub cells: Vec<Cell>,
}

/// All runs of one row with one broker.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Cell {
    /// Also the void ones, and those with a broken guarantee.
    pub runs: Vec<RunResult>,
    /// Of rounds without a result.
    pub errors: Vec<String>,
    /// Why this broker cannot take part.
    pub refusal: Option<String>,
}

/// A figure of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Metric {
    CpuUsPerDelivered,
    DeliveredPerS,
    P50Us,
    P99Us,
    P999Us,
    CpuUsPerConnection,
    ConnectP50Us,
    ConnectP99Us,
    BytesPerConnection,
    WakeUpsPerS,
}

impl Metric {
    pub const ALL: [Self; 10] = [
        Self::CpuUsPerDelivered,
        Self::DeliveredPerS,
        Self::P50Us,
        Self::P99Us,
        Self::P999Us,
        Self::CpuUsPerConnection,
        Self::ConnectP50Us,
        Self::ConnectP99Us,
        Self::BytesPerConnection,
        Self::WakeUpsPerS,
    ];

    pub fn title(self) -> &'static str {
        match self {
            Self::CpuUsPerDelivered => "CPU time of the broker per delivered message, us",
            Self::DeliveredPerS => "Delivered messages per second",
            Self::P50Us => "Latency p50, us",
            Self::P99Us => "Latency p99, us",
            Self::P999Us => "Latency p99.9, us",
            Self::CpuUsPerConnection => "CPU time of the broker per connection that is made, us",
            Self::ConnectP50Us => "Time to CONNACK p50, us",
            Self::ConnectP99Us => "Time to CONNACK p99, us",
            Self::BytesPerConnection => "User memory per connection, bytes",
            Self::WakeUpsPerS => "Wake-ups of the broker per second",
        }
    }

    fn is_latency(self) -> bool {
        matches!(self, Self::P50Us | Self::P99Us | Self::P999Us)
    }

    /// The figure; `None` when the run does not have it.
    pub fn of(self, run: &RunResult) -> Option<f64> {
        let latency = run.latency_us.as_ref();
        let connect = run.connect_latency_us.as_ref();
        let broker = run.broker.as_ref();
        let seconds = run.measured_s;
        match self {
            Self::CpuUsPerDelivered => broker?.cpu_us_per_delivered,
            Self::DeliveredPerS => {
                let is_some = seconds > 0.0 && run.counts.delivered > 0;
                is_some.then(|| run.counts.delivered as f64 / seconds)
            }
            Self::P50Us => latency.map(|latency| latency.p50 as f64),
            Self::P99Us => latency.map(|latency| latency.p99 as f64),
            Self::P999Us => latency.map(|latency| latency.p999 as f64),
            Self::CpuUsPerConnection => {
                let made = connect.filter(|connect| connect.count > 0)?.count;
                let broker = broker?;
                Some((broker.cpu_user_s + broker.cpu_system_s) * 1e6 / made as f64)
            }
            Self::ConnectP50Us => connect.map(|connect| connect.p50 as f64),
            Self::ConnectP99Us => connect.map(|connect| connect.p99 as f64),
            Self::BytesPerConnection => {
                let broker = broker?;
                let (before, after) = match (broker.anon_bytes_before, broker.anon_bytes_after) {
                    (Some(before), Some(after)) => (before, after),
                    _ => (broker.rss_bytes_before, broker.rss_bytes_after),
                };
                let connections = f64::from(run.parameters.connections.max(1));
                Some((after as f64 - before as f64) / connections)
            }
            Self::WakeUpsPerS => {
                let switches = broker?.voluntary_switches as f64;
                (seconds > 0.0).then(|| switches / seconds)
            }
        }
    }
}

/// What Ringway shall reach, in terms of the row's first metric or, against Mosquitto, of all its
/// latencies.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Goal {
    /// The floor and so much.
    FloorPlus(f64),
    /// So many times the floor, and never above Mosquitto.
    FloorTimes(f64),
    AtMost(f64),
    /// So many times what the same broker needs in another row.
    RowTimes {
        row: usize,
        factor: f64,
    },
    BelowMosquitto,
}

/// What a cell's runs say about one metric.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Figure {
    pub spread: Spread,
    /// Whether it comes from runs that count; else from void ones, for want of others.
    pub is_valid: bool,
}

impl Cell {
    pub fn figure(&self, metric: Metric) -> Option<Figure> {
        let values = |is_wanted: fn(&RunResult) -> bool| -> Vec<f64> {
            let runs = self.runs.iter().filter(|run| is_wanted(run));
            runs.filter_map(|run| metric.of(run)).collect()
        };
        let figure = |values: Vec<f64>, is_valid| {
            let spread = spread(&values)?;
            Some(Figure { spread, is_valid })
        };
        figure(values(RunResult::is_valid), true).or_else(|| figure(values(|_| true), false))
    }

    pub fn void(&self) -> usize {
        let is_void = |run: &&RunResult| run.failures.is_empty() && !run.void.is_empty();
        self.runs.iter().filter(is_void).count()
    }

    pub fn broken(&self) -> usize {
        self.runs
            .iter()
            .filter(|run| !run.failures.is_empty())
            .count()
    }
}

impl Comparison {
    /// The machine, as the first run found it.
    pub fn environment(&self) -> Option<&Environment> {
        let mut runs = self
            .rows
            .iter()
            .flat_map(|row| &row.cells)
            .flat_map(|cell| &cell.runs);
        runs.find_map(|run| run.environment.as_ref())
    }

    pub fn name(&self, broker: usize) -> &str {
        &self.brokers[broker].recipe.name
    }

    fn first(&self, is_wanted: fn(Kind) -> bool) -> Option<usize> {
        self.brokers
            .iter()
            .position(|broker| is_wanted(broker.recipe.kind))
    }

    /// The median of runs that count.
    fn median(&self, row: usize, broker: Option<usize>, metric: Metric) -> Option<f64> {
        let cell = self.rows.get(row)?.cells.get(broker?)?;
        let figure = cell.figure(metric).filter(|figure| figure.is_valid)?;
        Some(figure.spread.median)
    }

    /// What a row's goal comes to: the metric, the bound, and whether the first Ringway keeps it.
    /// Nothing without a goal, or when a broker that it refers to has no figure that counts.
    pub fn goals(&self, row: usize) -> Vec<(Metric, f64, bool)> {
        let Some(goal) = self.rows[row].goal else {
            return Vec::new();
        };
        let metrics = self.rows[row].metrics.iter();
        let wanted = metrics.enumerate().filter(|(index, metric)| match goal {
            Goal::BelowMosquitto => metric.is_latency(),
            _ => *index == 0,
        });
        let judged = wanted.filter_map(|(_, metric)| {
            let (bound, is_met) = self.judge(row, goal, *metric)?;
            Some((*metric, bound, is_met))
        });
        judged.collect()
    }

    fn judge(&self, row: usize, goal: Goal, metric: Metric) -> Option<(f64, bool)> {
        let of = |broker| self.median(row, broker, metric);
        let ringway = self.first(Kind::is_ringway);
        let floor = || of(self.first(|kind| kind == Kind::Floor));
        let mosquitto = || of(self.first(|kind| kind == Kind::Mosquitto));
        let bound = match goal {
            Goal::FloorPlus(more) => floor()? + more,
            Goal::FloorTimes(factor) => (floor()? * factor).min(mosquitto().unwrap_or(f64::MAX)),
            Goal::AtMost(bound) => bound,
            Goal::RowTimes { row, factor } => self.median(row, ringway, metric)? * factor,
            Goal::BelowMosquitto => mosquitto()?,
        };
        Some((bound, of(ringway)? <= bound))
    }

    /// Rounds in all whose figures do not count: void, broken, without a result.
    pub fn failed_rounds(&self) -> (usize, usize, usize) {
        let cells = || self.rows.iter().flat_map(|row| &row.cells);
        (
            cells().map(Cell::void).sum(),
            cells().map(Cell::broken).sum(),
            cells().map(|cell| cell.errors.len()).sum(),
        )
    }
}
