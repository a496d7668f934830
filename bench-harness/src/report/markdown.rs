//! Tables for READMEs.

use std::fmt::Write as _;

use crate::result::RunResult;

/// One row for each run; what does not count says so in the row.
pub fn table(results: &[&RunResult]) -> String {
    let mut text = "\
| scenario | QoS | sent/s | delivered/s | p50 us | p99 us | p99.9 us | CPU us/delivery | counts |
| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- |
"
    .to_owned();
    for result in results {
        row(&mut text, result);
    }
    text
}

fn row(text: &mut String, result: &RunResult) {
    let per_s = |count: u64| count as f64 / result.measured_s.max(1e-9);
    let latency = result.latency_us.as_ref();
    let [p50, p99, p999] = match latency {
        Some(of) => [of.p50, of.p99, of.p999].map(|us| us.to_string()),
        None => ["", "", ""].map(str::to_owned),
    };
    let cost = result
        .broker
        .as_ref()
        .and_then(|broker| broker.cpu_us_per_delivered);
    let cost = cost.map(|us| format!("{us:.2}")).unwrap_or_default();
    let reasons = result.failures.iter().map(|text| format!("BROKEN: {text}"));
    let reasons = reasons.chain(result.void.iter().map(|text| format!("VOID: {text}")));
    let reasons: Vec<String> = reasons.collect();
    let counts = match reasons.is_empty() {
        true => "yes".to_owned(),
        // A cell holds neither.
        false => reasons.join("; ").replace('|', "\\|").replace('\n', " "),
    };
    let (scenario, qos) = (&result.scenario, result.parameters.qos);
    let (sent, delivered) = (per_s(result.counts.sent), per_s(result.counts.delivered));
    let _ = writeln!(
        text,
        "| {scenario} | {qos} | {sent:.0} | {delivered:.0} | {p50} | {p99} | {p999} | {cost} | \
         {counts} |"
    );
}
