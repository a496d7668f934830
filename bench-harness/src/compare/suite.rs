//! Named suites: the rows of the goal table, of the latency table and of the durability table.
//!
//! All with payloads of 64 bytes unless told otherwise.

use super::recipe::Persistence;
use super::result::{Goal, Metric};
use crate::mqtt::Version;
use crate::scenario::PaceChoice;

/// One line of a comparison's tables: a scenario with its options.
#[derive(Clone, Debug)]
pub struct Row {
    pub label: String,
    pub scenario: String,
    pub qos: u8,
    pub payload_bytes: Option<u32>,
    pub version: Option<Version>,
    pub pace: Option<PaceChoice>,
    /// Runs at half the rate that Mosquitto (or else the first broker) holds; `pace` is ignored.
    pub is_at_half_knee: bool,
    pub persistence: Persistence,
    /// The first is what the goal is about.
    pub metrics: Vec<Metric>,
    pub goal: Option<Goal>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suite {
    Goals,
    Latency,
    Durable,
}

pub const PAYLOAD_BYTES: u32 = 64;

impl Suite {
    pub fn title(self) -> &'static str {
        match self {
            Self::Goals => "Cost per message",
            Self::Latency => "Latency at half of Mosquitto's saturation rate",
            Self::Durable => "Persistent sessions",
        }
    }

    pub fn rows(self) -> Vec<Row> {
        match self {
            Self::Goals => goals(),
            Self::Latency => latency(),
            Self::Durable => durable(),
        }
    }
}

/// The rows that are wanted; a goal that refers to one that is not is dropped.
pub fn select(rows: Vec<Row>, is_wanted: impl Fn(&Row) -> bool) -> Vec<Row> {
    let kept: Vec<bool> = rows.iter().map(is_wanted).collect();
    let position = |row: usize| {
        let is_kept = kept.get(row).copied().unwrap_or(false);
        is_kept.then(|| kept[..row].iter().filter(|kept| **kept).count())
    };
    let rows = rows.into_iter().zip(&kept).filter(|(_, kept)| **kept);
    rows.map(|(row, _)| Row {
        goal: match row.goal {
            Some(Goal::RowTimes { row, factor }) => {
                position(row).map(|row| Goal::RowTimes { row, factor })
            }
            goal => goal,
        },
        ..row
    })
    .collect()
}

fn row(label: &str, scenario: &str, qos: u8) -> Row {
    Row {
        label: format!("{label}, QoS {qos}"),
        scenario: scenario.to_owned(),
        qos,
        payload_bytes: Some(PAYLOAD_BYTES),
        version: None,
        pace: None,
        is_at_half_knee: false,
        persistence: Persistence::Unused,
        metrics: vec![Metric::CpuUsPerDelivered],
        goal: None,
    }
}

/// What batched work may cost above the floor, by QoS.
const BATCHED_US: [f64; 3] = [0.2, 0.4, 0.8];
const SINGLE_FACTOR: f64 = 1.15;
const WILD_FACTOR: f64 = 1.3;
const IDLE_BYTES: f64 = 1_024.0;

fn goals() -> Vec<Row> {
    let single = || Goal::FloorTimes(SINGLE_FACTOR);
    let batched = |qos: u8| Goal::FloorPlus(BATCHED_US[usize::from(qos)]);
    let mut rows = Vec::new();
    let mut add = |label: &str, scenario: &str, goal: &dyn Fn(u8) -> Goal| {
        rows.extend((0..3).map(|qos| Row {
            goal: Some(goal(qos)),
            ..row(label, scenario, qos)
        }));
    };
    add(
        "pair, saturated (64 KiB window)",
        "pairs-saturated-1",
        &batched,
    );
    add("pair, one message at a time", "pairs-one-1", &|_| single());
    add("10k/s over 100 pairs", "pairs-100-10K", &|_| single());
    add(
        "fan-out 1 to 100, saturated",
        "fanout-saturated-1-100",
        &batched,
    );
    add("fan-out 1 to 100, 200/s", "fanout-1-100-1-20K", &|_| {
        single()
    });
    add(
        "shared group of 4, saturated",
        "sharedsub-saturated-1-4",
        &batched,
    );
    rows.push(row("10 wildcard filters, 1 matches", "wild-10", 0));
    rows.push(Row {
        goal: Some(Goal::RowTimes {
            row: rows.len() - 1,
            factor: WILD_FACTOR,
        }),
        ..row("100,000 wildcard filters, 1 matches", "wild-100K", 0)
    });
    rows.push(Row {
        label: "10,000 idle connections".to_owned(),
        metrics: vec![Metric::BytesPerConnection, Metric::WakeUpsPerS],
        goal: Some(Goal::AtMost(IDLE_BYTES)),
        ..row("", "idle-10K", 0)
    });
    rows
}

fn latency() -> Vec<Row> {
    let kinds = [
        ("100 pairs", "pairs-100-10K"),
        ("fan-out 1 to 100", "fanout-1-100-1-20K"),
    ];
    let row = |(label, scenario), qos| Row {
        is_at_half_knee: true,
        metrics: vec![
            Metric::P50Us,
            Metric::P99Us,
            Metric::P999Us,
            Metric::CpuUsPerDelivered,
        ],
        goal: Some(Goal::BelowMosquitto),
        ..row(label, scenario, qos)
    };
    let kinds = kinds.into_iter();
    kinds
        .flat_map(|kind| (0..3).map(move |qos| row(kind, qos)))
        .collect()
}

fn durable() -> Vec<Row> {
    let kinds = [
        ("5k/s over 100 pairs", None),
        ("100 pairs, one at a time", Some(PaceChoice::InFlight(1))),
        ("100 pairs, 16 under way", Some(PaceChoice::InFlight(16))),
    ];
    let both = [(Persistence::On, "on"), (Persistence::Off, "off")];
    let mut rows = Vec::new();
    for (persistence, word) in both {
        for (label, pace) in kinds {
            for qos in 1..3 {
                let label = format!("persistence {word}, {label}");
                rows.push(Row {
                    pace,
                    persistence,
                    metrics: vec![
                        Metric::CpuUsPerDelivered,
                        Metric::DeliveredPerS,
                        Metric::P50Us,
                        Metric::P99Us,
                    ],
                    ..row(&label, "durable-p2p-100-100-100-5K", qos)
                });
            }
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::{Options, build};

    #[test]
    fn every_row_is_a_scenario_that_can_be_built() {
        for suite in [Suite::Goals, Suite::Latency, Suite::Durable] {
            let mut labels = std::collections::BTreeSet::new();
            for row in suite.rows() {
                let pace = if row.is_at_half_knee {
                    Some(PaceChoice::Rate(1_000.0))
                } else {
                    row.pace
                };
                let options = Options {
                    qos: Some(row.qos),
                    payload_bytes: row.payload_bytes,
                    pace,
                    ..Options::default()
                };
                let scenario = build(&row.scenario, &options).unwrap();
                let keeps = row.persistence != Persistence::Unused;
                assert_eq!(scenario.parameters.clean_session, !keeps, "{}", row.label);
                assert!(labels.insert(row.label), "two rows of one name");
            }
        }
    }

    #[test]
    fn a_goal_of_another_row_names_one_that_is_there() {
        let rows = goals();
        for row in &rows {
            if let Some(Goal::RowTimes { row: other, .. }) = row.goal {
                assert_eq!(rows[other].scenario, "wild-10");
            }
        }
    }
}
