//! From the threads' reports and the broker's readings to the result of the run.

use std::time::Duration;

use super::setup::unix_now;
use super::steps::Outcome;
use super::verdict::{self, Evidence};
use super::{Run, Setup};
use crate::engine::Tally;
use crate::engine::system::now_ns;
use crate::measure::{self, INTERVAL_NS, Measure, Merged, percentiles};
use crate::result::{
    BrokerSample, BrokerUse, Counts, FORMAT, GeneratorUse, Interval, Pace, RunResult, TlsUse,
};
use crate::scenario::Scenario;

pub(super) fn assemble(
    setup: &Setup,
    scenario: &Scenario,
    outcome: &Outcome,
    (threads, processes): (u32, u32),
    started_unix: Duration,
) -> Result<Run, String> {
    let records = outcome.shares.iter().flat_map(|share| &share.intervals);
    let merged = measure::merge(records).ok_or("a thread's histograms cannot be read")?;
    let (mut tally, mut tls) = (Tally::default(), TlsUse::default());
    for share in &outcome.shares {
        tally.add(&share.tally);
        tls.add(&share.tls);
    }
    let (start_ns, end_ns) = outcome.window_ns;
    let measured_s = end_ns.saturating_sub(start_ns) as f64 / 1e9;
    let generator = generator_use(outcome, threads, processes, measured_s);
    let counts = counts(scenario, &tally, &merged);
    let summary = |measure| percentiles(merged.total(measure));
    let send_lag_us = summary(Measure::SendLag);
    let words = |of: fn(&crate::engine::ShareResult) -> &Vec<String>| -> Vec<String> {
        outcome.shares.iter().flat_map(of).cloned().collect()
    };
    let (notes, gaps) = (words(|share| &share.notes), words(|share| &share.gaps));
    let evidence = Evidence {
        parameters: &scenario.parameters,
        tally: &tally,
        send_lag_us: send_lag_us.as_ref(),
        lag_max_us: setup.lag_max_us,
        saturation: generator.saturation,
        is_spinning: setup.spin_us > 0,
        notes: &notes,
        gaps: &gaps,
        stalled: outcome.stalled.as_deref(),
        has_figures: scenario.parameters.pace == Pace::None || counts.delivered > 0,
    };
    let age_ns = now_ns().saturating_sub(start_ns);
    let window_start_unix = unix_now().saturating_sub(Duration::from_nanos(age_ns));
    let result = RunResult {
        format: FORMAT,
        scenario: scenario.name.clone(),
        void: verdict::void(&evidence),
        is_generator_limited: !verdict::generator_limits(&evidence).is_empty(),
        failures: verdict::failures(&evidence),
        parameters: scenario.parameters.clone(),
        command: setup.command.clone(),
        target: setup.target.to_string(),
        started_unix_s: started_unix.as_secs(),
        warm_up_s: scenario.warm_up_s,
        measured_s,
        environment: None,
        tls: setup.target.is_tls.then_some(tls),
        latency_us: summary(Measure::Latency),
        ack_latency_us: summary(Measure::AckLatency),
        connect_latency_us: summary(Measure::ConnectLatency),
        send_lag_us,
        over_time: over_time(&merged, outcome),
        broker: broker_use(outcome, counts.delivered),
        counts,
        generator,
    };
    Ok(Run {
        result,
        merged,
        window_start_unix,
    })
}

fn counts(scenario: &Scenario, tally: &Tally, merged: &Merged) -> Counts {
    let sum = |of: fn(&measure::MergedInterval) -> u64| merged.intervals.iter().map(of).sum();
    Counts {
        offered_per_s: scenario.offered_per_s,
        sent: sum(|interval| interval.sent),
        acknowledged: sum(|interval| interval.acknowledged),
        delivered: sum(|interval| interval.delivered),
        sent_total: tally.sent,
        acknowledged_total: tally.acknowledged,
        expected_total: tally.expected,
        delivered_total: tally.first_copies,
        lost: verdict::lost(tally),
        doubled: tally.doubled,
        reordered: tally.reordered,
        unexpected: tally.unexpected,
        lost_at_slow: tally.expected_slow.saturating_sub(tally.first_copies_slow),
        publish_refused: tally.refused,
        connects: tally.connects,
        connect_failures: tally.connect_failures,
        disconnects: tally.disconnects,
    }
}

fn generator_use(outcome: &Outcome, threads: u32, processes: u32, measured_s: f64) -> GeneratorUse {
    let cpu_s = |share: &crate::engine::ShareResult| share.cpu_ns as f64 / 1e9;
    let busiest = outcome.shares.iter().map(cpu_s).fold(0.0, f64::max);
    GeneratorUse {
        cpu_s: outcome.shares.iter().map(cpu_s).sum(),
        threads,
        processes,
        saturation: if measured_s > 0.0 {
            busiest / measured_s
        } else {
            0.0
        },
    }
}

/// The window's seconds; what arrived in the drain is in the totals only.
fn over_time(merged: &Merged, outcome: &Outcome) -> Vec<Interval> {
    let (start_ns, end_ns) = outcome.window_ns;
    let second = |index: u32| u64::from(index) * INTERVAL_NS;
    merged
        .intervals
        .iter()
        .filter(|interval| second(interval.index) < end_ns.saturating_sub(start_ns))
        .map(|interval| {
            let from_ns = start_ns + second(interval.index);
            let to_ns = end_ns.min(from_ns + INTERVAL_NS);
            let latency = percentiles(&interval.histograms[Measure::Latency as usize]);
            let value = |of: fn(&crate::result::Percentiles) -> u64| latency.as_ref().map(of);
            Interval {
                at_s: second(interval.index) as f64 / 1e9,
                length_s: (to_ns - from_ns) as f64 / 1e9,
                sent: interval.sent,
                delivered: interval.delivered,
                p50_us: value(|latency| latency.p50),
                p99_us: value(|latency| latency.p99),
                max_us: value(|latency| latency.max),
                broker_cpu: broker_cpu(&outcome.samples, from_ns, to_ns),
            }
        })
        .collect()
}

/// Processors busy between the readings nearest to both times.
fn broker_cpu(samples: &[(u64, BrokerSample)], from_ns: u64, to_ns: u64) -> Option<f64> {
    let nearest = |at_ns: u64| samples.iter().min_by_key(|(time, _)| time.abs_diff(at_ns));
    let ((from, first), (to, last)) = (nearest(from_ns)?, nearest(to_ns)?);
    let seconds = to.checked_sub(*from).filter(|nanos| *nanos > 0)? as f64 / 1e9;
    Some((cpu_s(last) - cpu_s(first)) / seconds)
}

fn cpu_s(sample: &BrokerSample) -> f64 {
    sample.cpu_user_s + sample.cpu_system_s
}

fn broker_use(outcome: &Outcome, delivered: u64) -> Option<BrokerUse> {
    let before = outcome.before.as_ref()?;
    let (_, first) = outcome.samples.first()?;
    let (_, last) = outcome.samples.last()?;
    let cpu_us = (cpu_s(last) - cpu_s(first)) * 1e6;
    // Those of threads that have ended are missing in the later reading.
    let switches = |of: fn(&BrokerSample) -> u64| of(last).saturating_sub(of(first));
    Some(BrokerUse {
        cpu_user_s: last.cpu_user_s - first.cpu_user_s,
        cpu_system_s: last.cpu_system_s - first.cpu_system_s,
        voluntary_switches: switches(|sample| sample.voluntary_switches),
        involuntary_switches: switches(|sample| sample.involuntary_switches),
        rss_bytes_before: before.rss_bytes,
        rss_bytes_after: last.rss_bytes,
        rss_bytes_peak: last.rss_peak_bytes,
        anon_bytes_before: before.anon_bytes,
        anon_bytes_after: last.anon_bytes,
        pss_bytes_before: before.pss_bytes,
        pss_bytes_after: last.pss_bytes,
        kernel_tcp_bytes_before: before.kernel_tcp_bytes,
        kernel_tcp_bytes_after: last.kernel_tcp_bytes,
        cpu_us_per_delivered: (delivered > 0).then(|| cpu_us / delivered as f64),
    })
}
