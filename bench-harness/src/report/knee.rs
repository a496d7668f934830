//! The section of a search for the knee.

use super::html::{Row, alarm, escape, table};
use super::plot::{Axis, Chart, Scale, Series};
use super::run;
use crate::knee::{KneeResult, KneeStep, Limit};
use crate::result::Percentiles;

pub(super) fn section(answer: &KneeResult) -> String {
    let mut text = format!("<h2>{}: the knee</h2>\n", escape(&answer.scenario));
    text.push_str(&verdict(answer));
    let steps = by_rate(answer);
    text.push_str(&latency_chart(answer, &steps).figure());
    text.push_str(&cpu_chart(&steps).figure());
    text.push_str("<p class=\"note\">Crosses are runs that did not hold.</p>\n");
    text.push_str(&table(
        &[
            "messages/s",
            "verdict",
            "p50 us",
            "p99 us",
            "p99.9 us",
            "max us",
            "lost",
            "CPU us/delivery",
            "generator",
        ],
        &answer.steps.iter().map(row).collect::<Vec<_>>(),
    ));
    // The run that stands for the answer; of a search without one, the last that failed.
    let at_knee =
        |step: &&KneeStep| step.limit == Limit::None && Some(step.rate_per_s) == answer.knee_per_s;
    let shown = answer
        .steps
        .iter()
        .find(at_knee)
        .or_else(|| answer.steps.last());
    if let Some(step) = shown {
        text.push_str(&run::section(&step.result, None));
    }
    text
}

fn verdict(answer: &KneeResult) -> String {
    let bound = answer.p99_us_max;
    let Some(knee) = answer.knee_per_s else {
        return alarm("broken", "NO RATE HOLDS", &format!("p99 within {bound} us"));
    };
    let found = format!("{knee:.0} messages/s with p99 within {bound} us. ");
    match answer.limit {
        Limit::Generator => alarm(
            "void",
            "NOT THE BROKER'S KNEE:",
            &(found + "Past it the generator is the limit; the broker can do more."),
        ),
        Limit::None => alarm("void", "NO LIMIT FOUND:", &found),
        Limit::Latency => format!("<p>{found}Past it p99 is later.</p>\n"),
        Limit::Loss => format!("<p>{found}Past it messages are lost.</p>\n"),
        Limit::Refusal => format!("<p>{found}Past it the broker holds publishers up.</p>\n"),
    }
}

/// The last run of each rate, which decided.
fn by_rate(answer: &KneeResult) -> Vec<&KneeStep> {
    let mut steps: Vec<&KneeStep> = answer.steps.iter().rev().collect();
    steps.sort_by(|one, other| one.rate_per_s.total_cmp(&other.rate_per_s));
    steps.dedup_by(|later, kept| later.rate_per_s == kept.rate_per_s);
    steps
}

fn line(name: &'static str, steps: &[&KneeStep], of: impl Fn(&KneeStep) -> Option<f64>) -> Series {
    let points = steps.iter().map(|step| (step.rate_per_s, of(step)));
    Series {
        name,
        points: points.collect(),
    }
}

fn latency(step: &KneeStep, of: fn(&Percentiles) -> u64) -> Option<f64> {
    step.result
        .latency_us
        .as_ref()
        .map(|latency| of(latency) as f64)
}

fn latency_chart<'a>(answer: &KneeResult, steps: &[&KneeStep]) -> Chart<'a> {
    let failed = answer.steps.iter().filter(|step| step.limit != Limit::None);
    let crosses = failed.filter_map(|step| Some((step.rate_per_s, latency(step, |of| of.p99)?)));
    Chart {
        title: "Rate against latency",
        x: Axis {
            label: "messages per second",
            scale: Scale::Log,
        },
        y: Axis {
            label: "microseconds",
            scale: Scale::Log,
        },
        series: vec![
            line("p50", steps, |step| latency(step, |of| of.p50)),
            line("p99", steps, |step| latency(step, |of| of.p99)),
        ],
        crosses: crosses.collect(),
        bound: Some(answer.p99_us_max as f64),
        stamp: None,
    }
}

fn cpu_chart<'a>(steps: &[&KneeStep]) -> Chart<'a> {
    let busy = |step: &KneeStep| {
        let broker = step.result.broker.as_ref()?;
        Some((broker.cpu_user_s + broker.cpu_system_s) / step.result.measured_s.max(1e-9))
    };
    Chart {
        title: "Broker CPU by rate",
        x: Axis {
            label: "messages per second",
            scale: Scale::Log,
        },
        y: Axis {
            label: "busy CPUs",
            scale: Scale::Linear,
        },
        series: vec![line("broker", steps, busy)],
        crosses: Vec::new(),
        bound: None,
        stamp: None,
    }
}

fn row(step: &KneeStep) -> Row {
    let result = &step.result;
    let latency = |of| latency(step, of).map_or_else(|| "none".to_owned(), |us| us.to_string());
    let verdict = match step.limit {
        Limit::None => "holds",
        Limit::Latency => "too late",
        Limit::Loss => "BROKEN: lost",
        Limit::Refusal => "VOID: held up",
        Limit::Generator => "VOID: generator",
    };
    let cost = result
        .broker
        .as_ref()
        .and_then(|broker| broker.cpu_us_per_delivered);
    Row {
        cells: vec![
            format!("{:.0}", step.rate_per_s),
            verdict.to_owned(),
            latency(|of| of.p50),
            latency(|of| of.p99),
            latency(|of| of.p999),
            latency(|of| of.max),
            result.counts.lost.to_string(),
            cost.map_or_else(|| "not measured".to_owned(), |us| format!("{us:.2}")),
            format!("{:.0} %", result.generator.saturation * 100.0),
        ],
        is_marked: step.limit != Limit::None,
    }
}
