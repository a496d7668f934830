//! The Universal Scalability Law over cores: the capacity of N cores is
//! `N / (1 + contention (N - 1) + crosstalk N (N - 1))` times that of one core.
//!
//! Capacity is taken from the CPU time of a message, not from the highest rate that was reached: N
//! cores do `N / cost(N)` messages per second, where `cost(N)` is what a message takes of all cores
//! together. That needs no generator that is faster than the broker. It sees the work that more
//! cores bring (hops, cache misses), not time lost in waiting for each other; the broker has no
//! locks to wait for. So `cost(N) = a + b (N - 1) + c N (N - 1)` with `contention = b / a` and
//! `crosstalk = c / a`: linear, with one best answer that needs no iteration from a guess.

use super::linear::{self, Interval, Row, resample};
use crate::schedule::Random;

/// Core counts from which both parameters are fitted.
pub const CORE_COUNTS_WANTED: usize = 3;
/// What is assumed where measurements do not tell, drawn evenly between the ends: with one core
/// count nothing is known; half of the messages to another core at a fifth of their cost gives 0.1.
pub const CONTENTION_ASSUMED: (f64, f64) = (0.0, 0.1);
/// With two core counts, crosstalk cannot be told from contention.
pub const CROSSTALK_ASSUMED: (f64, f64) = (0.0, 0.0005);

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scaling {
    pub contention: f64,
    pub crosstalk: f64,
}

/// What the parameters rest on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Basis {
    /// Three core counts or more.
    Fitted,
    /// Two core counts: contention is fitted, crosstalk assumed.
    CrosstalkAssumed,
    /// One core count: both are assumed.
    Assumed,
}

/// The cost of the same work on so many cores, in any unit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CorePoint {
    pub cores: u32,
    pub cost: f64,
}

#[derive(Clone, Debug)]
pub struct ScalingFit {
    pub scaling: Scaling,
    pub basis: Basis,
    pub cores_max: u32,
    /// Of resampled points; what is assumed is drawn anew each time.
    pub draws: Vec<Scaling>,
}

impl Scaling {
    /// Capacity in units of that of one core.
    pub fn capacity(&self, cores: u32) -> f64 {
        f64::from(cores) / self.cost(cores)
    }

    /// Of a message, in units of that on one core.
    pub fn cost(&self, cores: u32) -> f64 {
        let n = f64::from(cores);
        1.0 + self.contention * (n - 1.0) + self.crosstalk * n * (n - 1.0)
    }

    /// The number of cores past which capacity falls; `None` when it never does.
    pub fn peak_cores(&self) -> Option<f64> {
        (self.crosstalk > 0.0).then(|| {
            ((1.0 - self.contention).max(0.0) / self.crosstalk)
                .sqrt()
                .max(1.0)
        })
    }

    /// The fewest cores with `capacity`, in units of one core; `None` when none have it.
    pub fn cores_for(&self, capacity: f64, cores_max: u32) -> Option<u32> {
        (1..=cores_max).find(|cores| self.capacity(*cores) >= capacity)
    }
}

/// Fits and resamples `draw_count` times; `None` without a point.
pub fn fit(points: &[CorePoint], draw_count: usize, random: &mut Random) -> Option<ScalingFit> {
    let mut counts: Vec<_> = points.iter().map(|point| point.cores).collect();
    counts.sort_unstable();
    counts.dedup();
    let basis = match counts.len() {
        0 => return None,
        1 => Basis::Assumed,
        2 => Basis::CrosstalkAssumed,
        _ => Basis::Fitted,
    };
    let middle = |(low, high): (f64, f64)| f64::midpoint(low, high);
    let assumed = Scaling {
        contention: middle(CONTENTION_ASSUMED),
        crosstalk: middle(CROSSTALK_ASSUMED),
    };
    let draws = (0..draw_count).map(|_| {
        // Resampled within each core count: a draw without one would be another question.
        let drawn: Vec<_> = counts
            .iter()
            .flat_map(|count| {
                let same = |point: &&CorePoint| point.cores == *count;
                let group: Vec<_> = points.iter().filter(same).copied().collect();
                resample(&widened(&group), random)
            })
            .collect();
        let assumed = Scaling {
            contention: between(CONTENTION_ASSUMED, random),
            crosstalk: between(CROSSTALK_ASSUMED, random),
        };
        solve(&drawn, basis, assumed)
    });
    Some(ScalingFit {
        draws: draws.collect(),
        scaling: solve(points, basis, assumed),
        basis,
        cores_max: counts.last().copied().unwrap_or(1),
    })
}

/// Resampling few points shows less spread than there is, by the share of one point; this gives it
/// back.
fn widened(group: &[CorePoint]) -> Vec<CorePoint> {
    let count = group.len() as f64;
    let mean = group.iter().map(|point| point.cost).sum::<f64>() / count;
    let factor = (count / (count - 1.0).max(1.0)).sqrt();
    let widen = |point: &CorePoint| CorePoint {
        cores: point.cores,
        cost: mean + (point.cost - mean) * factor,
    };
    group.iter().map(widen).collect()
}

fn between((low, high): (f64, f64), random: &mut Random) -> f64 {
    low + (high - low) * random.draw_unit()
}

fn solve(points: &[CorePoint], basis: Basis, assumed: Scaling) -> Scaling {
    let rows = points.iter().map(|point| {
        let n = f64::from(point.cores);
        let (more, pairs) = (n - 1.0, n * (n - 1.0));
        (more, pairs, point.cost)
    });
    match basis {
        Basis::Assumed => assumed,
        Basis::CrosstalkAssumed => {
            let rows: Vec<_> = rows
                .map(|(more, pairs, observed)| {
                    Row::relative([1.0 + assumed.crosstalk * pairs, more], observed)
                })
                .collect();
            let [one, contention] = linear::fit(&rows);
            Scaling {
                contention: bounded(contention / one),
                crosstalk: assumed.crosstalk,
            }
        }
        Basis::Fitted => {
            let rows: Vec<_> = rows
                .map(|(more, pairs, observed)| Row::relative([1.0, more, pairs], observed))
                .collect();
            let [one, contention, crosstalk] = linear::fit(&rows);
            Scaling {
                contention: bounded(contention / one),
                crosstalk: bounded(crosstalk / one),
            }
        }
    }
}

/// Past 1 a second core would bring nothing, and nonsense such as 0/0 stays nonsense.
fn bounded(parameter: f64) -> f64 {
    if parameter.is_finite() {
        parameter.clamp(0.0, 1.0)
    } else {
        1.0
    }
}

impl ScalingFit {
    pub fn contention(&self) -> Interval {
        let mut draws: Vec<_> = self.draws.iter().map(|draw| draw.contention).collect();
        Interval::around(self.scaling.contention, &mut draws)
    }

    pub fn crosstalk(&self) -> Interval {
        let mut draws: Vec<_> = self.draws.iter().map(|draw| draw.crosstalk).collect();
        Interval::around(self.scaling.crosstalk, &mut draws)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: Scaling = Scaling {
        contention: 0.04,
        crosstalk: 0.0012,
    };

    fn points(counts: &[u32], noise: f64, random: &mut Random) -> Vec<CorePoint> {
        let of_count = |cores: &u32| {
            let cores = *cores;
            (0..6).map(move |_| cores).collect::<Vec<_>>()
        };
        let counts = counts.iter().flat_map(of_count);
        counts
            .map(|cores| {
                let swing = 1.0 + noise * (2.0 * random.draw_unit() - 1.0);
                CorePoint {
                    cores,
                    cost: 3.7 * KNOWN.cost(cores) * swing,
                }
            })
            .collect()
    }

    #[test]
    fn known_parameters_are_found() {
        let mut random = Random(1);
        let points = points(&[1, 2, 4, 8, 16, 32], 0.0, &mut random);
        let fit = fit(&points, 10, &mut random).unwrap();
        assert_eq!((fit.basis, fit.cores_max), (Basis::Fitted, 32));
        assert!((fit.scaling.contention - KNOWN.contention).abs() < 1e-6);
        assert!((fit.scaling.crosstalk - KNOWN.crosstalk).abs() < 1e-7);
        let peak = fit.scaling.peak_cores().unwrap();
        assert!((28.0..28.6).contains(&peak), "{peak}");
        assert!(fit.scaling.capacity(28) > fit.scaling.capacity(20));
        assert!(fit.scaling.capacity(28) > fit.scaling.capacity(40));
    }

    #[test]
    fn intervals_hold_the_truth_of_most_seeds() {
        let mut hits = [0; 2];
        for seed in 0..200 {
            let mut random = Random(seed);
            let points = points(&[1, 2, 4, 8, 16, 32], 0.05, &mut random);
            let fit = fit(&points, 100, &mut random).unwrap();
            hits[0] += u32::from(fit.contention().contains(KNOWN.contention));
            hits[1] += u32::from(fit.crosstalk().contains(KNOWN.crosstalk));
        }
        assert!(hits.iter().all(|hits| *hits > 160), "{hits:?} of 200");
    }

    #[test]
    fn what_was_not_measured_is_assumed_and_said() {
        let mut random = Random(3);
        let one = fit(&points(&[1], 0.05, &mut random), 200, &mut random).unwrap();
        assert_eq!(one.basis, Basis::Assumed);
        assert!(one.contention().low < 0.02 && one.contention().high > 0.08);
        let two = fit(&points(&[1, 2], 0.0, &mut random), 200, &mut random).unwrap();
        assert_eq!(two.basis, Basis::CrosstalkAssumed);
        assert!(two.contention().relative_width() < one.contention().relative_width());
        // What crosstalk there is between two cores counts as contention.
        let measured = KNOWN.contention + 2.0 * KNOWN.crosstalk;
        assert!((two.scaling.cost(2) - (1.0 + measured)).abs() < 1e-3);
        assert!(fit(&[], 5, &mut random).is_none());
    }

    #[test]
    fn the_fewest_cores_are_found_or_none() {
        assert_eq!(KNOWN.cores_for(0.1, 64), Some(1));
        assert_eq!(KNOWN.cores_for(1.8, 64), Some(2));
        assert_eq!(KNOWN.cores_for(1_000.0, 1_024), None);
        let ideal = Scaling {
            contention: 0.0,
            crosstalk: 0.0,
        };
        assert_eq!(ideal.cores_for(63.5, 64), Some(64));
        assert_eq!(ideal.peak_cores(), None);
    }
}
