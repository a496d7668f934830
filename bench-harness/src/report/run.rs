//! The section of one run.

use std::fmt::Write as _;

use hdrhistogram::Histogram;

use super::html::{Row, alarm, escape, facts, table};
use super::plot::{Axis, Chart, Scale, Series};
use crate::measure::{Measure, Merged};
use crate::result::{BrokerUse, Environment, Interval, Pace, Percentiles, RunResult, TlsUse};

/// Points of a line over time; longer runs show the highest of neighbours.
const POINTS_MAX: usize = 1_000;
const MIB: f64 = 1_048_576.0;

pub(super) fn section(result: &RunResult, merged: Option<&Merged>) -> String {
    let mut text = format!("<h2>{}</h2>\n", escape(&result.scenario));
    text.push_str(&alarms(result));
    text.push_str(&facts(&overview(result)));
    text.push_str(&latencies(result));
    text.push_str(&percentile_chart(result, merged).figure());
    text.push_str(&over_time(result));
    text.push_str("<h3>Messages</h3>\n");
    text.push_str(&facts(&counts(result)));
    if let Some(broker) = &result.broker {
        text.push_str("<h3>Broker in the measured window</h3>\n");
        text.push_str(&facts(&broker_use(broker, result.measured_s)));
    }
    text.push_str("<h3>How it was measured</h3>\n");
    let _ = writeln!(text, "<p><code>{}</code></p>", escape(&command(result)));
    if let Some(environment) = &result.environment {
        text.push_str(&facts(&machine(environment)));
    }
    text
}

/// The command as it can be given to a shell.
fn command(result: &RunResult) -> String {
    let is_plain = |word: &str| {
        let plain = |letter: char| letter.is_alphanumeric() || "-_./:=@%+,".contains(letter);
        !word.is_empty() && word.chars().all(plain)
    };
    let quote = |word: &String| match is_plain(word) {
        true => word.clone(),
        false => format!("'{}'", word.replace('\'', "'\\''")),
    };
    let words: Vec<String> = result.command.iter().map(quote).collect();
    words.join(" ")
}

pub(super) fn alarms(result: &RunResult) -> String {
    let broken = result.failures.iter();
    let broken = broken.map(|text| alarm("broken", "BROKEN:", text));
    let void = result.void.iter().map(|text| alarm("void", "VOID:", text));
    broken.chain(void).collect()
}

/// What is written across the plots of a run that does not count.
pub(super) fn stamp(result: &RunResult) -> Option<&'static str> {
    if !result.failures.is_empty() {
        Some("BROKEN")
    } else if !result.void.is_empty() {
        Some("VOID")
    } else {
        None
    }
}

fn overview(result: &RunResult) -> Vec<(&'static str, String)> {
    let parameters = &result.parameters;
    let broker = result.environment.as_ref();
    let broker = broker.and_then(|environment| environment.broker_version.clone());
    let fan_out = parameters.fan_out;
    let clients = format!(
        "{} connections, {} publishers, {} subscribers, fan-out {fan_out:.1}",
        parameters.connections, parameters.publishers, parameters.subscribers
    );
    let protocol = format!(
        "MQTT {}, QoS {}, {} bytes of payload, {}",
        parameters.mqtt,
        parameters.qos,
        parameters.payload_bytes,
        match parameters.clean_session {
            true => "clean sessions",
            false => "persistent sessions",
        }
    );
    let window = format!(
        "{:.2} s after {:.2} s of warm-up, begun at {} s of Unix time",
        result.measured_s, result.warm_up_s, result.started_unix_s
    );
    let tls = result.tls.as_ref();
    vec![
        ("broker", broker.unwrap_or_else(|| "not named".to_owned())),
        ("target", result.target.clone()),
        (
            "TLS",
            tls.map_or_else(|| "none".to_owned(), TlsUse::to_string),
        ),
        ("protocol", protocol),
        ("clients", clients),
        ("pace", pace(&parameters.pace)),
        ("window", window),
    ]
}

fn pace(pace: &Pace) -> String {
    match pace {
        Pace::None => "no schedule".to_owned(),
        Pace::Constant { messages_per_s } => {
            format!("open loop, {messages_per_s:.0} messages/s, equal gaps")
        }
        Pace::Poisson { messages_per_s } => {
            format!("open loop, {messages_per_s:.0} messages/s, random gaps")
        }
        Pace::Window { messages } => {
            format!("closed loop, {messages} messages of each publisher under way")
        }
    }
}

fn latencies(result: &RunResult) -> String {
    let measures = [
        ("intended send to arrival", &result.latency_us),
        ("intended send to acknowledgement", &result.ack_latency_us),
        ("intended connect to CONNACK", &result.connect_latency_us),
        ("generator's own lag", &result.send_lag_us),
    ];
    let rows: Vec<Row> = measures
        .into_iter()
        .filter_map(|(name, percentiles)| Some(latency_row(name, percentiles.as_ref()?)))
        .collect();
    let head = [
        "microseconds",
        "min",
        "mean",
        "p50",
        "p90",
        "p99",
        "p99.9",
        "p99.99",
        "max",
        "values",
    ];
    match rows.is_empty() {
        true => String::new(),
        false => table(&head, &rows),
    }
}

fn latency_row(name: &str, of: &Percentiles) -> Row {
    let mut cells = vec![
        name.to_owned(),
        of.min.to_string(),
        format!("{:.1}", of.mean),
    ];
    let rest = [of.p50, of.p90, of.p99, of.p999, of.p9999, of.max, of.count];
    cells.extend(rest.map(|number| number.to_string()));
    Row {
        cells,
        is_marked: false,
    }
}

fn percentile_chart<'a>(result: &RunResult, merged: Option<&Merged>) -> Chart<'a> {
    let measures = [
        ("end to end", Measure::Latency, &result.latency_us),
        ("acknowledged", Measure::AckLatency, &result.ack_latency_us),
        (
            "connected",
            Measure::ConnectLatency,
            &result.connect_latency_us,
        ),
        ("generator's lag", Measure::SendLag, &result.send_lag_us),
    ];
    let series = measures
        .into_iter()
        .filter_map(|(name, measure, percentiles)| {
            let percentiles = percentiles.as_ref()?;
            let points = match merged {
                Some(merged) => curve(merged.total(measure)),
                None => coarse_curve(percentiles),
            };
            Some(Series { name, points })
        });
    Chart {
        title: "Latency percentiles",
        x: Axis {
            label: "percentile",
            scale: Scale::Nines,
        },
        y: Axis {
            label: "microseconds",
            scale: Scale::Log,
        },
        series: series.collect(),
        crosses: Vec::new(),
        bound: None,
        stamp: stamp(result),
    }
}

/// Ends at the nines that the number of values can show.
fn curve(histogram: &Histogram<u64>) -> Vec<(f64, Option<f64>)> {
    let last = (histogram.len().max(1) as f64).log10();
    let steps = histogram.iter_quantiles(8).map(|step| {
        let nines = -(1.0 - step.quantile_iterated_to()).log10();
        (nines.min(last), Some(step.value_iterated_to() as f64))
    });
    steps.collect()
}

fn coarse_curve(of: &Percentiles) -> Vec<(f64, Option<f64>)> {
    let last = (of.count.max(1) as f64).log10();
    let known = [
        (0.0, of.min),
        (0.5_f64.log10().abs(), of.p50),
        (1.0, of.p90),
        (2.0, of.p99),
        (3.0, of.p999),
        (4.0, of.p9999),
    ];
    let known = known.into_iter().filter(|(nines, _)| *nines < last);
    let points = known.chain([(last, of.max)]);
    points.map(|(nines, us)| (nines, Some(us as f64))).collect()
}

fn over_time(result: &RunResult) -> String {
    let line = |name: &'static str, of: fn(&Interval) -> Option<f64>| Series {
        name,
        points: thinned(&result.over_time, of),
    };
    let chart = |title, label, scale, series| Chart {
        title,
        x: Axis {
            label: "seconds of the measured window",
            scale: Scale::Linear,
        },
        y: Axis { label, scale },
        series,
        crosses: Vec::new(),
        bound: None,
        stamp: stamp(result),
    };
    let latency = vec![
        line("p50", |interval| interval.p50_us.map(|us| us as f64)),
        line("p99", |interval| interval.p99_us.map(|us| us as f64)),
        line("max", |interval| interval.max_us.map(|us| us as f64)),
    ];
    let per_s = |count: u64, interval: &Interval| {
        (interval.length_s > 0.0).then(|| count as f64 / interval.length_s)
    };
    let rate = |name, of: fn(&Interval) -> u64| Series {
        name,
        points: thinned(&result.over_time, move |step| per_s(of(step), step)),
    };
    let rates = match result.counts.sent_total {
        0 => Vec::new(),
        _ => vec![
            rate("sent", |step| step.sent),
            rate("delivered", |step| step.delivered),
        ],
    };
    let cpu = vec![line("broker", |interval| interval.broker_cpu)];
    let charts = [
        chart(
            "End-to-end latency over time",
            "microseconds",
            Scale::Log,
            latency,
        ),
        chart(
            "Rate over time",
            "messages per second",
            Scale::Linear,
            rates,
        ),
        chart("Broker CPU over time", "busy CPUs", Scale::Linear, cpu),
    ];
    charts.iter().map(Chart::figure).collect()
}

/// At the middle of each interval, up to the end of the last; the highest of neighbours where there
/// are too many.
fn thinned(steps: &[Interval], of: impl Fn(&Interval) -> Option<f64>) -> Vec<(f64, Option<f64>)> {
    let group = steps.len().div_ceil(POINTS_MAX).max(1);
    let points = steps.chunks(group).filter_map(|steps| {
        let (first, last) = (steps.first()?, steps.last()?);
        let middle = f64::midpoint(first.at_s, last.at_s + last.length_s);
        Some((middle, steps.iter().filter_map(&of).reduce(f64::max)))
    });
    let end = steps.last().map(|last| (last.at_s + last.length_s, None));
    points.chain(end).collect()
}

fn counts(result: &RunResult) -> Vec<(&'static str, String)> {
    let counts = &result.counts;
    let per_s = |count: u64| {
        let rate = count as f64 / result.measured_s.max(1e-9);
        format!("{count} ({rate:.0}/s)")
    };
    let offered = counts.offered_per_s.map(|rate| format!("{rate:.0}/s"));
    let deliveries = format!("{} of {}", counts.delivered_total, counts.expected_total);
    let connections = format!(
        "{} made, {} failed, {} ended by the broker",
        counts.connects, counts.connect_failures, counts.disconnects
    );
    let generator = &result.generator;
    let generator = format!(
        "{:.2} s of CPU, {} threads in {} processes, the busiest {:.0} % busy",
        generator.cpu_s,
        generator.threads,
        generator.processes,
        generator.saturation * 100.0
    );
    vec![
        (
            "offered",
            offered.unwrap_or_else(|| "closed loop".to_owned()),
        ),
        ("sent in the window", per_s(counts.sent)),
        ("delivered in the window", per_s(counts.delivered)),
        ("acknowledged in the window", per_s(counts.acknowledged)),
        ("delivered in the whole run", deliveries),
        ("lost", counts.lost.to_string()),
        ("doubled", counts.doubled.to_string()),
        ("reordered", counts.reordered.to_string()),
        ("unexpected", counts.unexpected.to_string()),
        ("refused", counts.publish_refused.to_string()),
        ("not at slow receivers yet", counts.lost_at_slow.to_string()),
        ("connections", connections),
        ("generator", generator),
    ]
}

fn broker_use(broker: &BrokerUse, measured_s: f64) -> Vec<(&'static str, String)> {
    let (user, system) = (broker.cpu_user_s, broker.cpu_system_s);
    let busy = (user + system) / measured_s.max(1e-9);
    let cpu = format!("{user:.2} s user, {system:.2} s system: {busy:.2} CPUs busy");
    let switches = format!(
        "{} voluntary, {} involuntary",
        broker.voluntary_switches, broker.involuntary_switches
    );
    let mib = |bytes: u64| format!("{:.1} MiB", bytes as f64 / MIB);
    let change = |before: Option<u64>, after: Option<u64>| match (before, after) {
        (Some(before), Some(after)) => format!("{} before, {} after", mib(before), mib(after)),
        _ => "not readable".to_owned(),
    };
    let resident = format!(
        "{}, peak of its life {}",
        change(Some(broker.rss_bytes_before), Some(broker.rss_bytes_after)),
        mib(broker.rss_bytes_peak)
    );
    let cost = broker.cpu_us_per_delivered;
    let cost = cost.map_or_else(|| "no deliveries".to_owned(), |us| format!("{us:.2} us"));
    let tcp = change(
        broker.kernel_tcp_bytes_before,
        broker.kernel_tcp_bytes_after,
    );
    vec![
        ("CPU time per delivery", cost),
        ("CPU time", cpu),
        ("context switches", switches),
        ("resident memory", resident),
        (
            "of it anonymous",
            change(broker.anon_bytes_before, broker.anon_bytes_after),
        ),
        (
            "proportional share",
            change(broker.pss_bytes_before, broker.pss_bytes_after),
        ),
        ("TCP memory of the kernel, whole host", tcp),
    ]
}

fn machine(of: &Environment) -> Vec<(&'static str, String)> {
    let join = |pairs: &[(String, String)]| {
        let pairs: Vec<String> = pairs
            .iter()
            .map(|(name, text)| format!("{name}: {text}"))
            .collect();
        pairs.join("; ")
    };
    let percent = |share: f64| format!("{:.1} %", share * 100.0);
    let stalls = of.pressure.iter();
    let stalls = stalls.map(|(name, share)| format!("{name} {}", percent(*share)));
    let unknown = || "not said by this system".to_owned();
    vec![
        ("host", format!("{}, Linux {}", of.host, of.kernel)),
        ("CPU", format!("{}, {} CPUs", of.cpu_model, of.cpus)),
        ("generator's CPUs", of.generator_cpus.clone()),
        ("governor", of.governor.clone().unwrap_or_else(unknown)),
        (
            "memory",
            format!("{:.1} GiB", of.memory_bytes as f64 / MIB / 1_024.0),
        ),
        (
            "load average before",
            format!("{:.2}", of.load_average_before),
        ),
        (
            "stolen by the hypervisor",
            of.steal.map_or_else(unknown, percent),
        ),
        (
            "time with somebody waiting",
            stalls.collect::<Vec<_>>().join(", "),
        ),
        ("settings", join(&of.sysctls)),
        ("limits", join(&of.limits)),
        ("mitigations", join(&of.mitigations)),
        ("ringway-bench", of.harness_version.clone()),
    ]
}
