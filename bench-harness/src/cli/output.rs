//! What a person reads: one line per result, progress on a terminal, errors.

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::control::Status;
use crate::report;
use crate::result::{Percentiles, RunResult};

/// A line on standard output; when nobody reads it, nothing is lost.
pub(super) fn line(text: &str) {
    let _ = writeln!(io::stdout(), "{text}");
}

fn warn(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// The line that says where a server of ours serves, as the broker writes it.
pub(super) fn ready(address: SocketAddr) {
    warn(&format!("ready tcp://{address} pid={}", std::process::id()));
}

/// The run did not take place.
pub(super) fn fail(text: &str) -> ExitCode {
    warn(&format!("ringway-bench: {text}"));
    ExitCode::FAILURE
}

/// The result in one line or as a Markdown table, and a line for each reason not to trust it.
pub(super) fn print(result: &RunResult, is_markdown: bool) {
    if is_markdown {
        line(report::markdown(&[result]).trim_end());
    } else {
        line(&summary(result));
    }
    for reason in &result.void {
        warn(&format!("VOID: {reason}"));
    }
    for failure in &result.failures {
        warn(&format!("BROKEN: {failure}"));
    }
}

fn summary(result: &RunResult) -> String {
    let counts = &result.counts;
    let mut parts = vec![result.scenario.clone()];
    let per_s = |count: u64| count as f64 / result.measured_s.max(1e-9);
    if counts.sent_total > 0 {
        let (sent, delivered) = (per_s(counts.sent), per_s(counts.delivered));
        parts.push(format!("sent {sent:.0}/s"));
        parts.push(format!("delivered {delivered:.0}/s"));
    }
    if let Some(connect) = &result.connect_latency_us {
        let (count, seconds) = (connect.count, result.measured_s);
        parts.push(format!(
            "connected {count} in {seconds:.2} s, {}",
            latency(connect)
        ));
    }
    if let Some(tls) = &result.tls {
        parts.push(tls.to_string());
    }
    if let Some(end_to_end) = &result.latency_us {
        parts.push(format!("latency {}", latency(end_to_end)));
    }
    let wrong = [
        ("lost", counts.lost),
        ("doubled", counts.doubled),
        ("reordered", counts.reordered),
        ("unexpected", counts.unexpected),
        ("not at slow receivers yet", counts.lost_at_slow),
    ];
    for (what, count) in wrong.into_iter().filter(|(_, count)| *count > 0) {
        parts.push(format!("{what} {count}"));
    }
    if let Some(broker) = &result.broker {
        if let Some(cpu_us) = broker.cpu_us_per_delivered {
            parts.push(format!("broker {cpu_us:.2} us CPU per delivery"));
        }
        let mebibytes = broker.rss_bytes_after as f64 / f64::from(1 << 20);
        parts.push(format!("{mebibytes:.1} MiB"));
    }
    let percent = result.generator.saturation * 100.0;
    parts.push(format!("generator {percent:.0} % busy"));
    parts.join(" | ")
}

fn latency(percentiles: &Percentiles) -> String {
    let Percentiles {
        p50,
        p99,
        p999,
        max,
        ..
    } = percentiles;
    format!("p50 {p50} p99 {p99} p99.9 {p999} max {max} us")
}

/// A line that moves while the run goes on; nothing where standard error is no terminal.
pub(super) struct Progress(ProgressBar);

impl Progress {
    pub(super) fn new(scenario: &str) -> Self {
        let bar = ProgressBar::new_spinner();
        if let Ok(style) = ProgressStyle::with_template("{spinner} {elapsed} {prefix}: {msg}") {
            bar.set_style(style);
        }
        bar.set_prefix(scenario.to_owned());
        bar.enable_steady_tick(Duration::from_millis(200));
        Self(bar)
    }

    pub(super) fn show(&self, status: Status<'_>) {
        let Status {
            doing,
            connected,
            sent,
            delivered,
        } = status;
        self.0.set_message(format!(
            "{doing}, {connected} connected, {sent} sent, {delivered} delivered"
        ));
    }

    /// What the line is about from now on.
    pub(super) fn name(&self, text: &str) {
        self.0.set_prefix(text.to_owned());
        self.0.set_message("starting the broker");
    }

    /// A line that stays, but is no part of the result.
    pub(super) fn remark(&self, text: &str) {
        self.0.suspend(|| warn(text));
    }

    /// A line that stays, above the one that moves.
    pub(super) fn print(&self, text: &str) {
        self.0.suspend(|| line(text));
    }

    pub(super) fn clear(&self) {
        self.0.finish_and_clear();
    }
}
