//! Linear models with few coefficients that cannot be negative: a cost per packet, per connection,
//! per core. Fitted by relative error, so that cheap and dear points weigh the same.

use crate::schedule::Random;

/// One observation: `observed` is about the sum of `features[i] * coefficient[i]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Row<const N: usize> {
    pub features: [f64; N],
    pub observed: f64,
    /// What an error is measured by.
    pub scale: f64,
}

impl<const N: usize> Row<N> {
    /// Measured by its relative error.
    pub fn relative(features: [f64; N], observed: f64) -> Self {
        Self {
            features,
            observed,
            scale: observed,
        }
    }
}

/// Sweeps over all coefficients; the problems are small and end far earlier.
const SWEEPS_MAX: usize = 20_000;
/// A sweep that changes no coefficient by more than this share of the largest is the last.
const SETTLED: f64 = 1e-10;

/// The coefficients, none below zero, with the smallest sum of squared errors in units of
/// each row's scale. Rows without a positive scale do not count.
pub fn fit<const N: usize>(rows: &[Row<N>]) -> [f64; N] {
    let (mut squares, mut right) = ([[0.0; N]; N], [0.0; N]);
    for row in rows.iter().filter(|row| row.scale > 0.0) {
        let scaled = row.features.map(|feature| feature / row.scale);
        for (i, feature) in scaled.iter().enumerate() {
            right[i] += feature * row.observed / row.scale;
            for (j, other) in scaled.iter().enumerate() {
                squares[i][j] += feature * other;
            }
        }
    }
    descend(&squares, &right)
}

/// Minimizes along one coefficient after the other; convex, so every order leads to the minimum.
/// Each is measured in units of its own feature, else a feature of small numbers ends the sweeps
/// too early.
fn descend<const N: usize>(squares: &[[f64; N]; N], right: &[f64; N]) -> [f64; N] {
    let mut coefficients = [0.0; N];
    for _ in 0..SWEEPS_MAX {
        let mut moved: f64 = 0.0;
        for i in 0..N {
            if squares[i][i] <= 0.0 {
                continue;
            }
            let others: f64 = (0..N)
                .filter(|j| *j != i)
                .map(|j| squares[i][j] * coefficients[j])
                .sum();
            let next = ((right[i] - others) / squares[i][i]).max(0.0);
            moved = moved.max((next - coefficients[i]).abs() * squares[i][i].sqrt());
            coefficients[i] = next;
        }
        if moved < SETTLED {
            break;
        }
    }
    coefficients
}

pub fn dot<const N: usize>(features: &[f64; N], coefficients: &[f64; N]) -> f64 {
    features.iter().zip(coefficients).map(|(a, b)| a * b).sum()
}

/// A straight line with the 90 % interval of its slope.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Line {
    pub intercept: f64,
    pub slope: Interval,
}

/// Ordinary least squares; `None` with fewer than three points, which leave nothing to judge the
/// error by, or when all are at one place.
pub fn line(points: &[(f64, f64)]) -> Option<Line> {
    let freedom = points.len().checked_sub(2).filter(|freedom| *freedom > 0)?;
    let count = points.len() as f64;
    let mean_x = points.iter().map(|(x, _)| x).sum::<f64>() / count;
    let mean_y = points.iter().map(|(_, y)| y).sum::<f64>() / count;
    let spread: f64 = points.iter().map(|(x, _)| (x - mean_x).powi(2)).sum();
    if spread <= 0.0 {
        return None;
    }
    let together = |(x, y): &(f64, f64)| (x - mean_x) * (y - mean_y);
    let slope = points.iter().map(together).sum::<f64>() / spread;
    let intercept = mean_y - slope * mean_x;
    let miss = |(x, y): &(f64, f64)| (y - intercept - slope * x).powi(2);
    let variance = points.iter().map(miss).sum::<f64>() / freedom as f64;
    let margin = student_95(freedom) * (variance / spread).sqrt();
    Some(Line {
        intercept,
        slope: Interval {
            low: slope - margin,
            estimate: slope,
            high: slope + margin,
        },
    })
}

/// The 95th percentile of Student's distribution: both sides together leave 90 %.
fn student_95(freedom: usize) -> f64 {
    const TABLE: [f64; 10] = [
        6.314, 2.920, 2.353, 2.132, 2.015, 1.943, 1.895, 1.860, 1.833, 1.812,
    ];
    match TABLE.get(freedom.saturating_sub(1)) {
        Some(quantile) => *quantile,
        // From 11 on the expansion in 1/freedom is exact to three digits.
        None => 1.645 + 1.52 / freedom as f64 + 1.4 / (freedom * freedom) as f64,
    }
}

/// An estimate between the ends of its 90 % interval.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Interval {
    pub low: f64,
    pub estimate: f64,
    pub high: f64,
}

impl Interval {
    /// The middle 90 % of `draws`, widened to hold the estimate.
    pub fn around(estimate: f64, draws: &mut [f64]) -> Self {
        draws.sort_by(f64::total_cmp);
        let at = |share: f64| {
            let index = ((draws.len().saturating_sub(1)) as f64 * share).round() as usize;
            draws.get(index).copied().unwrap_or(estimate)
        };
        Self {
            low: at(0.05).min(estimate),
            estimate,
            high: at(0.95).max(estimate),
        }
    }

    pub fn exact(value: f64) -> Self {
        Self {
            low: value,
            estimate: value,
            high: value,
        }
    }

    pub fn map(self, change: impl Fn(f64) -> f64) -> Self {
        Self {
            low: change(self.low),
            estimate: change(self.estimate),
            high: change(self.high),
        }
    }

    pub fn contains(&self, value: f64) -> bool {
        (self.low..=self.high).contains(&value)
    }

    /// Half the interval's width as a share of the estimate.
    pub fn relative_width(&self) -> f64 {
        if self.estimate > 0.0 {
            (self.high - self.low) / 2.0 / self.estimate
        } else {
            0.0
        }
    }
}

/// As many rows as there are, drawn with replacement.
pub fn resample<T: Clone>(rows: &[T], random: &mut Random) -> Vec<T> {
    let count = rows.len() as u64;
    (0..count)
        .filter_map(|_| rows.get((random.draw() % count) as usize).cloned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// About normal, with mean 0 and deviation 1.
    fn normal(random: &mut Random) -> f64 {
        (0..12).map(|_| random.draw_unit()).sum::<f64>() - 6.0
    }

    #[test]
    fn known_coefficients_are_found() {
        let known = [3.0, 0.0, 0.02, 150.0];
        let mut random = Random(7);
        let rows: Vec<_> = (0..30)
            .map(|_| {
                let features = [
                    random.draw_unit(),
                    random.draw_unit() * 10.0,
                    random.draw_unit() * 1_000.0,
                    random.draw_unit() * 0.01,
                ];
                Row::relative(features, dot(&features, &known))
            })
            .collect();
        for (found, known) in fit(&rows).into_iter().zip(known) {
            assert!(
                (found - known).abs() < 1e-4 * known.max(1.0),
                "{found} {known}"
            );
        }
    }

    #[test]
    fn coefficients_are_never_negative() {
        let rows: Vec<_> = [(1.0, 5.0), (2.0, 4.0), (3.0, 3.0)]
            .map(|(x, observed)| Row::relative([1.0, x], observed))
            .to_vec();
        let [level, slope] = fit(&rows);
        assert_eq!(slope, 0.0);
        assert!((3.0..5.0).contains(&level), "{level}");
        let nothing: [f64; 2] = fit(&[]);
        assert_eq!(nothing, [0.0; 2]);
    }

    #[test]
    fn intervals_of_a_slope_hold_the_truth_nine_times_of_ten() {
        let mut hits = 0;
        for seed in 0..400 {
            let mut random = Random(seed);
            let points: Vec<_> = (1..=6)
                .map(|x| {
                    (
                        f64::from(x),
                        10.0 + 2.5 * f64::from(x) + normal(&mut random),
                    )
                })
                .collect();
            let line = line(&points).unwrap();
            hits += u32::from(line.slope.contains(2.5));
        }
        assert!((340..=380).contains(&hits), "{hits} of 400");
    }

    #[test]
    fn a_line_needs_points_to_judge_it_by() {
        assert_eq!(line(&[(1.0, 1.0), (2.0, 2.0)]), None);
        assert_eq!(line(&[(1.0, 1.0), (1.0, 2.0), (1.0, 3.0)]), None);
        let exact = line(&[(1.0, 3.0), (2.0, 5.0), (4.0, 9.0)]).unwrap();
        assert!((exact.slope.estimate - 2.0).abs() < 1e-9);
        assert!((exact.intercept - 1.0).abs() < 1e-9);
        assert!(exact.slope.relative_width() < 1e-9);
    }

    #[test]
    fn quantiles_fall_to_those_of_the_normal_distribution() {
        let quantiles: Vec<_> = (1..200).map(student_95).collect();
        assert!(quantiles.windows(2).all(|pair| pair[0] > pair[1]));
        assert!((student_95(30) - 1.697).abs() < 0.002);
    }
}
