//! Whether a run's figures count, and whether MQTT's guarantees held.

use crate::engine::Tally;
use crate::result::{Pace, Parameters, Percentiles};

/// Share of its time that a thread may compute in an open loop; past it, waiting for the CPU is
/// part of what it measures.
const SATURATION_MAX: f64 = 0.95;

/// What the judgement is based on.
pub(super) struct Evidence<'a> {
    pub parameters: &'a Parameters,
    pub tally: &'a Tally,
    pub send_lag_us: Option<&'a Percentiles>,
    pub lag_max_us: u64,
    pub saturation: f64,
    /// A thread that polls is busy by intent.
    pub is_spinning: bool,
    pub notes: &'a [String],
    pub gaps: &'a [String],
    pub stalled: Option<&'a str>,
    /// Whether the window saw what the scenario is about.
    pub has_figures: bool,
}

/// Signs that the generator was the bottleneck.
pub(super) fn generator_limits(evidence: &Evidence<'_>) -> Vec<String> {
    let is_open = !matches!(evidence.parameters.pace, Pace::Window { .. });
    let mut reasons = Vec::new();
    if let Some(lag) = evidence.send_lag_us
        && lag.p99 > evidence.lag_max_us
    {
        reasons.push(format!(
            "the generator was late: p99 of its own lag is {} us, more than {} us",
            lag.p99, evidence.lag_max_us
        ));
    }
    if is_open && !evidence.is_spinning && evidence.saturation > SATURATION_MAX {
        let percent = evidence.saturation * 100.0;
        reasons.push(format!("the generator used up its CPU: {percent:.0} %"));
    }
    reasons
}

/// Reasons why the figures say nothing about the broker.
pub(super) fn void(evidence: &Evidence<'_>) -> Vec<String> {
    let tally = evidence.tally;
    let mut reasons = generator_limits(evidence);
    let counted = [
        (tally.connect_failures, "connections failed"),
        (tally.disconnects, "connections were ended by the broker"),
        (tally.refused, "messages were refused by the broker"),
        (
            tally.unsent,
            "messages of the schedule were never sent: the broker held them up",
        ),
    ];
    for (count, what) in counted {
        if count > 0 {
            reasons.push(format!("{count} {what}"));
        }
    }
    reasons.extend(evidence.stalled.map(str::to_owned));
    if !evidence.has_figures {
        reasons.push("the measured window saw nothing".to_owned());
    }
    if !reasons.is_empty() {
        reasons.extend_from_slice(evidence.notes);
    }
    reasons
}

/// Guarantees of MQTT that did not hold.
pub(super) fn failures(evidence: &Evidence<'_>) -> Vec<String> {
    let (tally, qos) = (evidence.tally, evidence.parameters.qos);
    let lost = lost(tally);
    let mut failures = Vec::new();
    // Without a session nothing is promised to a receiver that was not there.
    let is_promised = tally.connect_failures == 0 && tally.disconnects == 0;
    if lost > 0 && qos > 0 && is_promised {
        let of = tally.expected;
        failures.push(format!("QoS {qos}: {lost} of {of} deliveries are missing"));
        failures.extend_from_slice(evidence.gaps);
    }
    if tally.doubled > 0 && qos != 1 {
        let count = tally.doubled;
        failures.push(format!("QoS {qos}: {count} deliveries came twice"));
    }
    if tally.reordered > 0 {
        let count = tally.reordered;
        failures.push(format!(
            "{count} deliveries came behind a later one of their publisher"
        ));
    }
    if tally.unexpected > 0 {
        let count = tally.unexpected;
        failures.push(format!("{count} deliveries that nobody asked for"));
    }
    failures
}

/// Deliveries that did not come, at receivers that are not slow on purpose.
pub(super) fn lost(tally: &Tally) -> u64 {
    tally.expected.saturating_sub(tally.first_copies)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameters(qos: u8) -> Parameters {
        Parameters {
            mqtt: "5.0".to_owned(),
            qos,
            payload_bytes: 16,
            keep_alive_s: 300,
            clean_session: true,
            publishers: 1,
            subscribers: 1,
            connections: 2,
            fan_out: 1.0,
            pace: Pace::Constant {
                messages_per_s: 1.0,
            },
            seed: 1,
        }
    }

    fn judge(qos: u8, tally: &Tally, lag_p99: u64, saturation: f64) -> (usize, usize) {
        let lag = Percentiles {
            p99: lag_p99,
            ..Percentiles::default()
        };
        let evidence = Evidence {
            parameters: &parameters(qos),
            tally,
            send_lag_us: Some(&lag),
            lag_max_us: 1_000,
            saturation,
            is_spinning: false,
            notes: &[],
            gaps: &[],
            stalled: None,
            has_figures: true,
        };
        (void(&evidence).len(), failures(&evidence).len())
    }

    #[test]
    fn guarantees_depend_on_the_qos() {
        let tally = |first_copies, doubled, reordered| Tally {
            expected: 10,
            first_copies,
            doubled,
            reordered,
            ..Tally::default()
        };
        let cases = [
            (tally(10, 0, 0), [0, 0, 0]),
            (tally(9, 0, 0), [0, 1, 1]),
            (tally(10, 1, 0), [1, 0, 1]),
            (tally(10, 0, 1), [1, 1, 1]),
        ];
        for (tally, expected) in cases {
            for (qos, expected) in expected.into_iter().enumerate() {
                let (void, failures) = judge(qos as u8, &tally, 0, 0.5);
                assert_eq!((void, failures), (0, expected), "QoS {qos}: {tally:?}");
            }
        }
    }

    #[test]
    fn a_generator_at_its_end_makes_the_run_void() {
        let fine = Tally::default();
        assert_eq!(judge(1, &fine, 1_000, 0.95), (0, 0));
        assert_eq!(judge(1, &fine, 1_001, 0.5), (1, 0));
        assert_eq!(judge(1, &fine, 10, 0.96), (1, 0));
        let cut = Tally {
            disconnects: 1,
            unsent: 5,
            ..Tally::default()
        };
        assert_eq!(judge(1, &cut, 10, 0.5), (2, 0));
    }
}
