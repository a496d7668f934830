//! The knee: the highest rate at which the 99th percentile stays below a bound, nothing is lost and
//! the generator is not the limit.
//!
//! Rates double until one fails, then the gap is halved by ratio until it is small enough. A rate
//! fails only when it fails every time: a disturbance from outside lasts shorter than a limit of
//! the broker.

use serde::{Deserialize, Serialize};

use crate::control::{self, Setup, Status};
use crate::result::{BrokerProbe, FORMAT, RunResult};
use crate::scenario::PaceChoice;

/// Doublings from the first rate, up and down.
const DOUBLINGS_MAX: u32 = 24;

#[derive(Clone, Debug)]
pub struct Question {
    pub p99_us_max: u64,
    /// Messages per second to begin with.
    pub first_per_s: f64,
    /// The gap between the best rate and the next failed one that is good enough: 0.05 is 5 %.
    pub precision: f64,
    /// Runs that a rate has before it counts as failed.
    pub tries: u32,
}

/// What is wrong with a rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Limit {
    /// The 99th percentile is past the bound.
    Latency,
    /// Messages were lost or another guarantee did not hold.
    Loss,
    /// The broker held publishers up, or ended connections.
    Refusal,
    /// The generator was late or used up its CPU: the broker could do more.
    Generator,
    /// No failed rate was found.
    None,
}

/// The answer, with every run that led to it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KneeResult {
    pub format: u32,
    pub scenario: String,
    pub p99_us_max: u64,
    /// Messages per second; `None` when not even the lowest rate held.
    pub knee_per_s: Option<f64>,
    /// What was wrong with the next higher rate.
    pub limit: Limit,
    pub steps: Vec<KneeStep>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KneeStep {
    pub rate_per_s: f64,
    pub limit: Limit,
    pub result: RunResult,
}

/// Searches; `on_step` sees each run when it is over.
pub fn find(
    setup: &Setup,
    question: &Question,
    mut probe: Option<&mut (dyn BrokerProbe + '_)>,
    show: &mut dyn FnMut(Status<'_>),
    on_step: &mut dyn FnMut(&KneeStep),
) -> Result<KneeResult, String> {
    let mut search = Search::new(question.first_per_s, question.precision);
    let (mut steps, mut limit) = (Vec::new(), Limit::None);
    while let Some(rate_per_s) = search.next() {
        let mut found = Limit::None;
        for _ in 0..question.tries.max(1) {
            let result = run_at(setup, rate_per_s, &mut probe, show)?;
            found = judge(&result, question.p99_us_max);
            let step = KneeStep {
                rate_per_s,
                limit: found,
                result,
            };
            on_step(&step);
            steps.push(step);
            if found == Limit::None {
                break;
            }
        }
        search.answer(found == Limit::None);
        if found != Limit::None {
            limit = found;
        }
    }
    Ok(KneeResult {
        format: FORMAT,
        scenario: setup.scenario.clone(),
        p99_us_max: question.p99_us_max,
        knee_per_s: search.best,
        limit,
        steps,
    })
}

/// The scenario's own rate, where it has one.
pub fn own_rate(setup: &Setup) -> Result<Option<f64>, String> {
    let scenario = setup.scenario()?;
    // Refuses scenarios without a pace before anything runs.
    at(setup, 1.0).scenario()?;
    Ok(scenario.offered_per_s)
}

fn at(setup: &Setup, rate_per_s: f64) -> Setup {
    let mut setup = setup.clone();
    setup.options.pace = Some(PaceChoice::Rate(rate_per_s));
    // Retained messages and sessions of the last step must not meet this one's.
    setup.options.run_id = control::new_run_id();
    setup
}

fn run_at(
    setup: &Setup,
    rate_per_s: f64,
    probe: &mut Option<&mut (dyn BrokerProbe + '_)>,
    show: &mut dyn FnMut(Status<'_>),
) -> Result<RunResult, String> {
    let setup = at(setup, rate_per_s);
    let run = match probe {
        Some(probe) => control::run(&setup, Some(&mut **probe), show),
        None => control::run(&setup, None, show),
    };
    Ok(run?.result)
}

fn judge(result: &RunResult, p99_us_max: u64) -> Limit {
    let counts = &result.counts;
    if !result.failures.is_empty() || counts.lost > 0 {
        return Limit::Loss;
    }
    if result.is_generator_limited {
        return Limit::Generator;
    }
    if !result.void.is_empty() {
        return Limit::Refusal;
    }
    match &result.latency_us {
        Some(latency) if latency.p99 <= p99_us_max => Limit::None,
        _ => Limit::Latency,
    }
}

/// The rates to try, without the runs.
struct Search {
    next: f64,
    /// The highest rate that held, and the lowest that did not.
    best: Option<f64>,
    worst: Option<f64>,
    precision: f64,
    doublings: u32,
}

impl Search {
    fn new(first: f64, precision: f64) -> Self {
        Self {
            next: first,
            best: None,
            worst: None,
            precision,
            doublings: 0,
        }
    }

    fn next(&self) -> Option<f64> {
        let is_close = match (self.best, self.worst) {
            (Some(best), Some(worst)) => worst / best <= 1.0 + self.precision,
            _ => self.doublings > DOUBLINGS_MAX,
        };
        (!is_close && self.next >= 1.0).then_some(self.next)
    }

    fn answer(&mut self, holds: bool) {
        *(if holds {
            &mut self.best
        } else {
            &mut self.worst
        }) = Some(self.next);
        self.next = match (self.best, self.worst) {
            (Some(best), Some(worst)) => (best * worst).sqrt(),
            _ if holds => self.next * 2.0,
            _ => self.next / 2.0,
        };
        self.doublings += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn search(first: f64, knee: f64) -> (Option<f64>, usize) {
        let mut search = Search::new(first, 0.05);
        let mut count = 0;
        while let Some(rate) = search.next() {
            search.answer(rate <= knee);
            count += 1;
        }
        (search.best, count)
    }

    #[test]
    fn the_knee_is_found_from_both_sides() {
        for knee in [3.0, 777.0, 12_345.0, 1e6] {
            for first in [10.0, 1_000.0, 1e5] {
                let (best, count) = search(first, knee);
                let best = best.unwrap();
                assert!(
                    best <= knee && best > knee / 1.051,
                    "{knee} from {first}: {best}"
                );
                assert!(count < 30, "{count}");
            }
        }
    }

    #[test]
    fn the_search_ends_without_a_knee() {
        assert_eq!(search(1_000.0, 0.0).0, None);
        let (best, count) = search(1.0, f64::INFINITY);
        assert!(best.is_some() && count <= DOUBLINGS_MAX as usize + 1);
    }
}
