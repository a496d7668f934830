//! Scenarios by name: a family, its numbers, and a scale, as in `p2p-50K-50K-50K-50K@0.1`.
//!
//! The families `conn-tcp`, `fanout`, `p2p` and `sharedsub` are those of the Open MQTT Benchmark
//! Suite, with its meaning of the numbers and its defaults; the suite holds the load for 30
//! minutes, here the duration is an option.

mod family;
mod own;
mod suite;
#[cfg(test)]
mod tests;

pub(crate) use family::positive;
pub use family::{FAMILIES, Family};

use crate::load::{Action, ConnectPace, Group, Load, Publish, SourcePace, Step};
use crate::mqtt::Version;
use crate::payload::{SOURCES_MAX, STAMP_BYTES};
use crate::result::{Pace, Parameters};
use crate::schedule::Arrivals;

/// What the command line may change about a scenario.
#[derive(Clone, Debug)]
pub struct Options {
    pub version: Option<Version>,
    pub qos: Option<u8>,
    pub payload_bytes: Option<u32>,
    pub keep_alive_s: u16,
    pub duration_s: f64,
    pub warm_up_s: f64,
    pub pace: Option<PaceChoice>,
    pub arrivals: Arrivals,
    pub connect_rate: Option<f64>,
    pub seed: u64,
    /// Keeps the topics and client identifiers of runs apart.
    pub run_id: String,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            version: None,
            qos: None,
            payload_bytes: None,
            keep_alive_s: 300,
            duration_s: 10.0,
            warm_up_s: 2.0,
            pace: None,
            arrivals: Arrivals::Constant,
            connect_rate: None,
            seed: 1,
            run_id: "0".to_owned(),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum PaceChoice {
    /// Messages per second of all publishers together.
    Rate(f64),
    WindowBytes(u64),
    InFlight(u32),
}

/// A scenario, ready to run.
#[derive(Clone, Debug)]
pub struct Scenario {
    pub name: String,
    pub load: Load,
    pub parameters: Parameters,
    pub version: Version,
    /// Whether it says nothing about a target without TLS.
    pub needs_tls: bool,
    /// Part of the load that the window sees before it is measured.
    pub warm_up_s: f64,
    /// Messages per second of an open loop.
    pub offered_per_s: Option<f64>,
}

/// Handshakes under way where connecting is only preparation.
const CONNECTS_IN_FLIGHT: u32 = 128;

/// Builds the scenario called `name`; the error says what is wrong with it.
pub fn build(name: &str, options: &Options) -> Result<Scenario, String> {
    let (family, numbers) = family::find(name)?;
    let draft = Draft {
        options,
        version: options.version.unwrap_or(family.version),
        qos: options.qos.unwrap_or(1),
        payload_bytes: options.payload_bytes.unwrap_or(16),
        prefix: format!("test/{}", options.run_id),
    };
    if u64::from(draft.payload_bytes) < STAMP_BYTES as u64 {
        return Err("the payload needs 16 bytes for sequence number and time".to_owned());
    }
    let load = (family.build)(&draft, &numbers)?;
    if options.pace.is_some() && pace_of(&load, 1.0) == Pace::None {
        return Err(format!(
            "`{}` has no pace that could be changed",
            family.form
        ));
    }
    let is_random = matches!(pace_of(&load, 1.0), Pace::Poisson { .. });
    if options.arrivals == Arrivals::Poisson && !is_random {
        return Err(format!(
            "`{}` has no schedule that could be random",
            family.form
        ));
    }
    let sources: u32 = publishes(&load)
        .map(|(count, publish)| count * publish.per_client)
        .sum();
    if sources > SOURCES_MAX {
        return Err(format!("{sources} streams: more than a run can tell apart"));
    }
    Ok(finish(name, family, &draft, load))
}

fn finish(name: &str, family: &Family, draft: &Draft<'_>, load: Load) -> Scenario {
    let offered = offered_per_s(&load);
    let warm_up_s = load
        .steps
        .iter()
        .find_map(|step| match step.action {
            Action::Load { warm_up_s, .. } => Some(warm_up_s),
            _ => None,
        })
        .unwrap_or(0.0);
    let streams: u32 = publishes(&load)
        .map(|(count, publish)| count * publish.per_client)
        .sum();
    let receivers: f64 = publishes(&load)
        .map(|(count, publish)| {
            let each = publish.fan_out + publish.fan_out_slow;
            f64::from(count * publish.per_client) * f64::from(each)
        })
        .sum();
    let count_if = |wanted: fn(&Group) -> bool| {
        let groups = load.groups.iter().filter(|group| wanted(group));
        groups.map(|group| group.count).sum()
    };
    let parameters = Parameters {
        mqtt: draft.version.name().to_owned(),
        qos: draft.qos,
        payload_bytes: draft.payload_bytes,
        keep_alive_s: draft.options.keep_alive_s,
        clean_session: load.groups.iter().all(|group| group.clean),
        publishers: count_if(|group| group.publish.is_some()),
        subscribers: count_if(|group| group.subscribe.is_some()),
        connections: load.connection_count(),
        fan_out: receivers / f64::from(streams.max(1)),
        pace: match family.is_paced {
            true => pace_of(&load, offered),
            false => Pace::None,
        },
        seed: draft.options.seed,
    };
    Scenario {
        name: name.to_owned(),
        warm_up_s,
        offered_per_s: (family.is_paced && offered > 0.0).then_some(offered),
        load,
        parameters,
        version: draft.version,
        needs_tls: family.needs_tls,
    }
}

fn publishes(load: &Load) -> impl Iterator<Item = (u32, &Publish)> {
    load.groups
        .iter()
        .filter_map(|group| Some((group.count, group.publish.as_ref()?)))
}

fn offered_per_s(load: &Load) -> f64 {
    publishes(load)
        .map(|(count, publish)| match publish.pace {
            SourcePace::Open { messages_per_s, .. } => {
                messages_per_s * f64::from(count * publish.per_client)
            }
            SourcePace::Window { .. } => 0.0,
        })
        .sum()
}

fn pace_of(load: &Load, messages_per_s: f64) -> Pace {
    let is_load = |step: &Step| matches!(step.action, Action::Load { .. });
    let first = publishes(load).next();
    match first {
        Some((_, publish)) if load.steps.iter().any(is_load) => match publish.pace {
            SourcePace::Window { messages } => Pace::Window { messages },
            SourcePace::Open { arrivals, .. } => match arrivals {
                Arrivals::Constant => Pace::Constant { messages_per_s },
                Arrivals::Poisson => Pace::Poisson { messages_per_s },
            },
        },
        _ => Pace::None,
    }
}

/// A scenario while its family writes it: the options with the defaults filled in.
struct Draft<'a> {
    options: &'a Options,
    version: Version,
    qos: u8,
    payload_bytes: u32,
    /// First levels of all topics.
    prefix: String,
}

impl Draft<'_> {
    /// The pace of each of `streams` streams: the command line's, or the scenario's `own`.
    fn pace(&self, streams: u32, own: PaceChoice, topic_bytes: usize) -> SourcePace {
        match self.options.pace.unwrap_or(own) {
            PaceChoice::Rate(messages_per_s) => SourcePace::Open {
                arrivals: self.options.arrivals,
                messages_per_s: messages_per_s / f64::from(streams.max(1)),
            },
            PaceChoice::InFlight(messages) => SourcePace::Window { messages },
            PaceChoice::WindowBytes(bytes) => {
                // Two bytes of fixed header, two of topic length, two of packet identifier.
                let packet = 6 + topic_bytes as u64 + u64::from(self.payload_bytes);
                let messages = (bytes / packet).clamp(1, u64::from(u16::MAX));
                SourcePace::Window {
                    messages: messages as u32,
                }
            }
        }
    }

    /// How clients connect where it is only preparation.
    fn connect_pace(&self) -> ConnectPace {
        match self.options.connect_rate {
            Some(rate) => ConnectPace::PerSecond(rate),
            None => ConnectPace::InFlight(CONNECTS_IN_FLIGHT),
        }
    }
}
