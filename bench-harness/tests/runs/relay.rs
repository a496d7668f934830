//! Whole runs against the bare relay, in the same process.

use std::thread;

use bench_harness::control;
use bench_harness::floor::Floor;
use bench_harness::knee::{self, Limit, Question};

use crate::guarantees::setup;

/// A relay that serves until the test's process ends.
fn relay() -> String {
    let floor = Floor::bind("127.0.0.1:0").unwrap();
    let url = format!("tcp://{}", floor.address().unwrap());
    thread::spawn(|| floor.serve().unwrap());
    url
}

#[test]
fn the_relay_delivers_everything_in_order() {
    let url = relay();
    let scenarios = [
        "pairs-5-1000",
        "fanout-2-10-2-4000",
        "fanin-10-2-1000",
        "mixed-20-4-2-500",
        "sharedsub-10-4-10-1000",
        "pairs-saturated-2",
        "pairs-one-3",
        "fanout-saturated-1-20",
        "sharedsub-saturated-1-4",
        "wild-400",
        "conn-storm-100",
        "reconnect-storm-50",
    ];
    for (scenario, qos) in scenarios.iter().zip((0..3).cycle()) {
        let run = control::run(&setup(scenario, &url, qos), None, &mut |_| {}).unwrap();
        let result = run.result;
        // A busy test machine is not the relay's fault.
        let is_void = !result.void.is_empty() && !result.is_generator_limited;
        let name = format!("{scenario} at QoS {qos}");
        assert!(!is_void && result.failures.is_empty(), "{name}: {result:?}");
        assert_eq!(result.counts.lost, 0, "{name}");
    }
}

/// Large messages do not fit into socket buffers: sends are partial and go on later.
#[test]
fn large_messages_survive_full_sockets() {
    let mut setup = setup("fanout-saturated-1-3", &relay(), 1);
    setup.options.payload_bytes = Some(3_000_000);
    let result = control::run(&setup, None, &mut |_| {}).unwrap().result;
    assert!(
        result.failures.is_empty() && result.counts.disconnects == 0,
        "{result:?}"
    );
    assert!(result.counts.delivered_total > 3, "{:?}", result.counts);
    assert_eq!(result.counts.lost, 0);
}

#[test]
fn the_knee_of_an_impossible_bound_is_none() {
    let mut setup = setup("pairs-1-1000", &relay(), 0);
    setup.options.duration_s = 0.05;
    setup.options.warm_up_s = 0.0;
    let mut question = Question {
        p99_us_max: 1,
        first_per_s: 400.0,
        precision: 0.5,
        tries: 1,
    };
    let show = &mut |_: control::Status<'_>| {};
    let answer = knee::find(&setup, &question, None, show, &mut |_| {}).unwrap();
    assert_eq!(answer.knee_per_s, None);
    assert!(answer.steps.iter().all(|step| step.limit != Limit::None));

    // With a bound that everything keeps, the generator is the limit at some rate.
    question.p99_us_max = u64::MAX;
    question.first_per_s = 20_000.0;
    setup.lag_max_us = 20_000;
    let answer = knee::find(&setup, &question, None, show, &mut |_| {}).unwrap();
    assert!(answer.knee_per_s.is_some(), "{:?}", answer.limit);
    assert_ne!(answer.limit, Limit::Latency);
}
