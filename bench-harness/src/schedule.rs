//! When each message is meant to be sent: fixed in advance by rate, position and seed, whatever
//! the broker does.

use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Arrivals {
    /// Equal gaps; the streams of a run start one after the other within the first gap.
    Constant,
    /// Exponentially distributed gaps, as of many independent devices.
    Poisson,
}

/// The send times of one stream, in nanoseconds of the monotonic clock.
#[derive(Clone, Debug)]
pub struct Schedule {
    arrivals: Arrivals,
    gap_ns: f64,
    /// Time of the first message in a constant schedule, of the last one in a Poisson schedule.
    origin_ns: f64,
    count: u64,
    random: Random,
    next_ns: u64,
}

impl Schedule {
    /// `position` is the stream's place among all streams of its rate, from 0 to below 1.
    pub fn new(
        arrivals: Arrivals,
        messages_per_s: f64,
        start_ns: u64,
        position: f64,
        seed: u64,
    ) -> Self {
        let gap_ns = 1e9 / messages_per_s;
        let mut schedule = Self {
            arrivals,
            gap_ns,
            origin_ns: start_ns as f64,
            count: 0,
            random: Random(seed),
            next_ns: 0,
        };
        match arrivals {
            Arrivals::Constant => schedule.origin_ns += gap_ns * position,
            Arrivals::Poisson => schedule.origin_ns += schedule.random.exponential() * gap_ns,
        }
        schedule.next_ns = schedule.origin_ns as u64;
        schedule
    }

    pub fn next_ns(&self) -> u64 {
        self.next_ns
    }

    pub fn advance(&mut self) {
        self.count += 1;
        let next_ns = match self.arrivals {
            // By multiplication: errors must not add up over hours.
            Arrivals::Constant => self.origin_ns + self.count as f64 * self.gap_ns,
            Arrivals::Poisson => {
                self.origin_ns += self.random.exponential() * self.gap_ns;
                self.origin_ns
            }
        };
        self.next_ns = next_ns as u64;
    }
}

/// SplitMix64: small, seeded, good enough for gaps and positions.
#[derive(Clone, Debug)]
pub struct Random(pub u64);

impl Random {
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut value = self.0;
        value = (value ^ (value >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        value = (value ^ (value >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        value ^ (value >> 31)
    }

    /// Evenly distributed in (0, 1].
    pub fn draw_unit(&mut self) -> f64 {
        ((self.draw() >> 11) + 1) as f64 / (1u64 << 53) as f64
    }

    /// Mean 1.
    fn exponential(&mut self) -> f64 {
        // Never of zero: the logarithm stays finite.
        -self.draw_unit().ln()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(schedule: &mut Schedule, until_ns: u64) -> Vec<u64> {
        let mut times = Vec::new();
        while schedule.next_ns() < until_ns {
            times.push(schedule.next_ns());
            schedule.advance();
        }
        times
    }

    #[test]
    fn constant_gaps_do_not_drift() {
        let start = 1_000_000_000_000;
        let mut schedule = Schedule::new(Arrivals::Constant, 3.0, start, 0.5, 1);
        let times = times(&mut schedule, start + 3_600_000_000_000);
        assert_eq!(times.len(), 3 * 3_600);
        assert_eq!(times[0], start + 166_666_666);
        assert_eq!(times[3 * 1_800], times[0] + 1_800_000_000_000);
    }

    #[test]
    fn poisson_has_the_rate_and_the_spread() {
        let mut schedule = Schedule::new(Arrivals::Poisson, 1_000.0, 0, 0.0, 42);
        let times = times(&mut schedule, 100_000_000_000);
        let count = times.len() as f64;
        assert!((99_000.0..101_000.0).contains(&count), "{count}");
        let gaps: Vec<f64> = times.windows(2).map(|w| (w[1] - w[0]) as f64).collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let variance = gaps.iter().map(|g| (g - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
        // An exponential distribution's deviation is its mean.
        let ratio = variance.sqrt() / mean;
        assert!((0.97..1.03).contains(&ratio), "{ratio}");
    }

    #[test]
    fn the_same_seed_gives_the_same_times() {
        let make = |seed| Schedule::new(Arrivals::Poisson, 50.0, 7, 0.0, seed);
        let until = 5_000_000_000;
        let first = times(&mut make(1), until);
        assert_eq!(first, times(&mut make(1), until));
        assert_ne!(first, times(&mut make(2), until));
    }
}
