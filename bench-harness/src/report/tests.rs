//! A page of made-up results: everything is in it, and nothing is asked of anybody.

use super::{Page, markdown};
use crate::knee::{KneeResult, KneeStep, Limit};
use crate::measure::{IntervalRecord, Measure, Merged, Recorder, merge};
use crate::result::{
    BrokerUse, Counts, Environment, FORMAT, GeneratorUse, Interval, Pace, Parameters, Percentiles,
    RunResult,
};

fn latency(p50: u64) -> Percentiles {
    Percentiles {
        count: 10_000,
        min: p50 / 2,
        mean: p50 as f64,
        p50,
        p90: p50 * 2,
        p99: p50 * 4,
        p999: p50 * 8,
        p9999: p50 * 16,
        max: p50 * 20,
    }
}

fn interval(second: u32) -> Interval {
    Interval {
        at_s: f64::from(second),
        length_s: 1.0,
        sent: 1_000,
        delivered: 1_000,
        p50_us: (second != 1).then_some(100),
        p99_us: (second != 1).then_some(400),
        max_us: (second != 1).then_some(2_000),
        broker_cpu: Some(0.25),
    }
}

fn result(p50: u64) -> RunResult {
    RunResult {
        format: FORMAT,
        scenario: "p2p-1K-1K-1K-1K".to_owned(),
        parameters: Parameters {
            mqtt: "5.0".to_owned(),
            qos: 1,
            payload_bytes: 64,
            keep_alive_s: 300,
            clean_session: true,
            publishers: 10,
            subscribers: 10,
            connections: 20,
            fan_out: 1.0,
            pace: Pace::Constant {
                messages_per_s: 1_000.0,
            },
            seed: 1,
        },
        command: vec!["ringway-bench".to_owned(), "it's <b>".to_owned()],
        target: "tcp://127.0.0.1:1883".to_owned(),
        started_unix_s: 1,
        warm_up_s: 1.0,
        measured_s: 3.0,
        environment: Some(Environment {
            cpu_model: "Some & Other".to_owned(),
            ..Environment::default()
        }),
        counts: Counts {
            sent: 3_000,
            delivered: 3_000,
            sent_total: 4_000,
            ..Counts::default()
        },
        tls: None,
        latency_us: Some(latency(p50)),
        ack_latency_us: None,
        connect_latency_us: None,
        send_lag_us: Some(latency(10)),
        over_time: (0..3).map(interval).collect(),
        broker: Some(BrokerUse {
            cpu_us_per_delivered: Some(12.5),
            ..BrokerUse::default()
        }),
        generator: GeneratorUse::default(),
        void: Vec::new(),
        is_generator_limited: false,
        failures: Vec::new(),
    }
}

fn merged() -> Merged {
    let mut recorder = Recorder::new();
    recorder.set_window(0, u64::MAX);
    for micros in 1..2_000 {
        recorder.record(Measure::Latency, 1, 1 + micros * 1_000);
        recorder.record(Measure::SendLag, 1, 1 + micros);
    }
    let records: Vec<IntervalRecord> = recorder.finish();
    merge(records.iter()).unwrap()
}

fn page(result: &RunResult, merged: Option<&Merged>) -> String {
    let mut page = Page::new("a < b");
    page.run(result, merged);
    page.finish()
}

/// Every tag is closed in order, all numbers of drawings are finite, nothing comes from outside.
fn check(page: &str) {
    let (mut open, mut rest) = (Vec::new(), page);
    while let Some((_, after)) = rest.split_once('<') {
        let (tag, after) = after.split_once('>').unwrap();
        rest = after;
        let name = tag.split_whitespace().next().unwrap().to_owned();
        if let Some(name) = name.strip_prefix('/') {
            assert_eq!(open.pop().as_deref(), Some(name), "before {after:.40}");
        } else if !tag.ends_with('/') && !tag.starts_with('!') {
            open.push(name);
        }
    }
    assert!(open.is_empty(), "{open:?}");
    for forbidden in ["NaN", "inf ", "inf\"", "<script", "http", "@import", "url("] {
        assert!(!page.contains(forbidden), "{forbidden}");
    }
}

#[test]
fn a_run_is_a_whole_page() {
    for merged in [None, Some(merged())] {
        let page = page(&result(100), merged.as_ref());
        check(&page);
        // Percentiles, latency, rate and broker CPU over time.
        assert_eq!(page.matches("<svg").count(), 4);
        // The axis of time reaches to the end of the window.
        assert!(page.contains("y=\"255\">3</text>"));
        assert!(page.contains("12.50 us") && page.contains("Some &amp; Other"));
        assert!(page.contains("ringway-bench 'it'\\''s &lt;b&gt;'"));
        assert!(!page.contains("alarm broken") && !page.contains("class=\"stamp\""));
    }
}

#[test]
fn what_was_not_measured_is_left_out() {
    let mut idle = result(1);
    (idle.latency_us, idle.send_lag_us, idle.broker) = (None, None, None);
    (idle.environment, idle.counts, idle.over_time) = (None, Counts::default(), Vec::new());
    let page = page(&idle, None);
    check(&page);
    assert_eq!(page.matches("<svg").count(), 0);
    assert!(!page.contains("Broker in the measured window"));
}

#[test]
fn runs_that_do_not_count_are_marked() {
    let mut void = result(100);
    void.void.push("the generator was late".to_owned());
    let text = page(&void, None);
    check(&text);
    assert!(text.contains("VOID:</strong> the generator was late"));
    assert_eq!(text.matches(">VOID</text>").count(), 4);
    assert!(markdown(&[&void]).contains("| VOID: the generator was late |"));
    void.failures.push("QoS 1: 3 | missing".to_owned());
    let text = page(&void, None);
    assert!(text.contains("BROKEN:</strong> QoS 1: 3 | missing"));
    assert_eq!(text.matches(">BROKEN</text>").count(), 4);
    assert!(markdown(&[&void]).contains("| BROKEN: QoS 1: 3 \\| missing; VOID: "));
}

#[test]
fn long_runs_make_no_long_pages() {
    let mut long = result(100);
    long.over_time = (0..100_000).map(interval).collect();
    let short = page(&result(100), None).len();
    assert!(page(&long, None).len() < short + 200_000);
}

#[test]
fn the_knee_shows_all_runs_and_the_answer() {
    let step = |rate_per_s: f64, limit, p50| KneeStep {
        rate_per_s,
        limit,
        result: result(p50),
    };
    let mut answer = KneeResult {
        format: FORMAT,
        scenario: "pairs".to_owned(),
        p99_us_max: 1_000,
        knee_per_s: Some(1_000.0),
        limit: Limit::Latency,
        steps: vec![
            step(1_000.0, Limit::None, 100),
            step(2_000.0, Limit::Latency, 5_000),
            step(2_000.0, Limit::Latency, 6_000),
        ],
    };
    let show = |answer: &KneeResult| {
        let mut page = Page::new("knee");
        page.knee(answer);
        let page = page.finish();
        check(&page);
        page
    };
    let page = show(&answer);
    // Rate against latency, CPU by rate, and the four of the run at the knee.
    assert_eq!(page.matches("<svg").count(), 6);
    assert_eq!(page.matches("class=\"cross\"").count(), 2);
    assert_eq!(page.matches("<tr class=\"marked\">").count(), 2);
    assert!(page.contains("1000 messages/s with p99 within 1000 us. Past it p99 is later."));
    answer.limit = Limit::Generator;
    assert!(show(&answer).contains("NOT THE BROKER'S KNEE"));
    (answer.knee_per_s, answer.limit) = (None, Limit::Loss);
    assert!(show(&answer).contains("NO RATE HOLDS"));
    answer.steps.clear();
    show(&answer);
}

#[test]
fn markdown_has_a_cell_for_each_column() {
    let mut other = result(5);
    (other.latency_us, other.broker) = (None, None);
    let text = markdown(&[&result(100), &other]);
    let cells = text.lines().map(|line| line.matches('|').count());
    assert_eq!(cells.collect::<Vec<_>>(), [10; 4]);
    assert!(text.contains("| p2p-1K-1K-1K-1K | 1 | 1000 | 1000 | 100 | 400 | 800 | 12.50 | yes |"));
}
