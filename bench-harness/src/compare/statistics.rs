//! What several runs of one thing say together: the median and how far they lie apart.
//!
//! Few runs on a shared machine: the median shrugs off one disturbed run, and smallest and largest
//! say more about the rest than a deviation computed from three values.

use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    pub median: f64,
    pub min: f64,
    pub max: f64,
    pub runs: u32,
}

/// `None` of no values.
pub fn spread(values: &[f64]) -> Option<Spread> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let (min, max) = (*sorted.first()?, *sorted.last()?);
    let middle = sorted.len() / 2;
    let median = match sorted.len() % 2 {
        0 => f64::midpoint(sorted[middle - 1], sorted[middle]),
        _ => sorted[middle],
    };
    let runs = sorted.len() as u32;
    Some(Spread {
        median,
        min,
        max,
        runs,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_and_the_spread_all() {
        let cases: [(&[f64], f64, f64, f64); 4] = [
            (&[5.0], 5.0, 5.0, 5.0),
            (&[3.0, 1.0], 2.0, 1.0, 3.0),
            (&[9.0, 1.0, 2.0], 2.0, 1.0, 9.0),
            (&[4.0, -1.0, 3.0, 100.0], 3.5, -1.0, 100.0),
        ];
        for (values, median, min, max) in cases {
            let runs = values.len() as u32;
            let expected = Spread {
                median,
                min,
                max,
                runs,
            };
            assert_eq!(spread(values), Some(expected));
        }
        assert_eq!(spread(&[]), None);
    }
}
