//! A comparison as one self-contained page: tables with bars, goals, what went wrong, brokers with
//! their versions, and the machine. No request to anywhere.

use std::fmt::Write as _;

use super::recipe;
use super::result::{Comparison, Metric, RowResult};
use super::table::{self, goal_lines, number, trouble};
use crate::report::escape;

const STYLE: &str = "\
:root{color-scheme:light dark;--bar:#4477aa;--line:#8886;--bad:#c22}
body{font:15px/1.45 system-ui,sans-serif;max-width:75rem;margin:2rem auto;padding:0 1rem}
table{border-collapse:collapse;width:100%;margin:.5rem 0 2rem}
th,td{border-bottom:1px solid var(--line);padding:.3rem .6rem;text-align:left;vertical-align:top}
td.figure{font-variant-numeric:tabular-nums;min-width:9rem}
svg{display:block;width:100%;height:6px;margin-top:3px}
rect{fill:var(--bar)}
.bad{color:var(--bad);font-weight:600}
pre{white-space:pre-wrap;border:1px solid var(--line);padding:.6rem;overflow-x:auto}";

/// The whole page.
pub fn page(comparison: &Comparison) -> String {
    let title = escape(&comparison.title);
    let mut text = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n\
         <title>{title}</title>\n<style>{STYLE}</style></head><body>\n<h1>{title}</h1>\n"
    );
    summary(comparison, &mut text);
    for metric in Metric::ALL {
        metric_table(comparison, metric, &mut text);
    }
    list("Goals", &goal_lines(comparison), &mut text);
    list(
        "Notes, and what does not count",
        &trouble(comparison),
        &mut text,
    );
    brokers(comparison, &mut text);
    environment(comparison, &mut text);
    let _ = writeln!(
        text,
        "<h2>How the brokers are set</h2>\n<pre>{}</pre>",
        escape(recipe::HELP)
    );
    text.push_str("</body></html>\n");
    text
}

fn summary(comparison: &Comparison, text: &mut String) {
    let (void, broken, failed) = comparison.failed_rounds();
    let class = if void + broken + failed > 0 {
        "bad"
    } else {
        ""
    };
    let _ = writeln!(
        text,
        "<p>Medians of {} interleaved rounds, smallest and largest in parentheses, ratios to {}. \
         Bars are logarithmic within a row's column range. <span class=\"{class}\">{void} runs \
         void, {broken} with a broken guarantee, {failed} without a result.</span> A figure with \
         <b>!</b> comes from runs that do not count.</p>\n<pre>{}</pre>",
        comparison.rounds,
        escape(comparison.name(0)),
        escape(&comparison.command.join(" ")),
    );
}

fn metric_table(comparison: &Comparison, metric: Metric, text: &mut String) {
    let Some(table) = table::all(comparison)
        .into_iter()
        .find(|table| table.title == metric.title())
    else {
        return;
    };
    let _ = write!(text, "<h2>{}</h2>\n<table><tr>", escape(table.title));
    for cell in &table.head {
        let _ = write!(text, "<th>{}</th>", escape(cell));
    }
    text.push_str("</tr>\n");
    let rows = comparison
        .rows
        .iter()
        .filter(|row| row.metrics.contains(&metric));
    for (line, row) in table.lines.iter().zip(rows) {
        let _ = write!(text, "<tr><td>{}</td>", escape(&line[0]));
        for (index, cell) in line[1..].iter().enumerate() {
            let class = if cell.contains(['!', '[']) {
                "figure bad"
            } else {
                "figure"
            };
            let bar = bar(row, index, metric);
            let _ = write!(text, "<td class=\"{class}\">{}{bar}</td>", escape(cell));
        }
        text.push_str("</tr>\n");
    }
    text.push_str("</table>\n");
}

/// A bar as long as the logarithm of the figure among those of its row: brokers lie decades apart.
fn bar(row: &RowResult, broker: usize, metric: Metric) -> String {
    let median = |index: usize| {
        let figure = row.cells[index].figure(metric)?;
        (figure.spread.median > 0.0).then_some(figure.spread.median)
    };
    let medians = (0..row.cells.len()).filter_map(median);
    let (min, max) = medians.fold((f64::MAX, 0.0_f64), |(min, max), value| {
        (min.min(value), max.max(value))
    });
    let Some(value) = median(broker) else {
        return String::new();
    };
    let range = (max / min).ln();
    let share = if range > 0.0 {
        (value / min).ln() / range
    } else {
        1.0
    };
    let width = 8.0 + 92.0 * share;
    format!(
        "<svg viewBox=\"0 0 100 6\" preserveAspectRatio=\"none\" role=\"img\">\
         <title>{}</title><rect width=\"{width:.1}\" height=\"6\"/></svg>",
        number(value)
    )
}

fn list(title: &str, lines: &[String], text: &mut String) {
    if lines.is_empty() {
        return;
    }
    let _ = writeln!(text, "<h2>{title}</h2>\n<ul>");
    for line in lines {
        let is_bad = ["BROKEN", "FAILED", "MISSED", "void"]
            .iter()
            .any(|word| line.contains(word));
        let class = if is_bad { "bad" } else { "" };
        let _ = writeln!(text, "<li class=\"{class}\">{}</li>", escape(line));
    }
    text.push_str("</ul>\n");
}

fn brokers(comparison: &Comparison, text: &mut String) {
    text.push_str("<h2>Brokers</h2>\n<table><tr><th></th><th>version</th><th>program</th></tr>\n");
    for broker in &comparison.brokers {
        let recipe = &broker.recipe;
        let program = format!(
            "{} {}",
            recipe.program.display(),
            recipe.arguments.join(" ")
        );
        let _ = writeln!(
            text,
            "<tr><td>{}</td><td>{}</td><td>{}</td></tr>",
            escape(&recipe.name),
            escape(&broker.words()),
            escape(program.trim())
        );
    }
    let _ = writeln!(
        text,
        "</table>\n<p>CPUs of the brokers: {:?}; of the generator: {:?} (empty: all).</p>",
        comparison.broker_cpus, comparison.generator_cpus
    );
}

fn environment(comparison: &Comparison, text: &mut String) {
    let Some(environment) = comparison.environment() else {
        return;
    };
    let json = serde_json::to_string_pretty(environment).unwrap_or_default();
    let _ = writeln!(text, "<h2>Machine</h2>\n<pre>{}</pre>", escape(&json));
}
