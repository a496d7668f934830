//! What a run says about a broker that keeps its promises, and about one that does not.

use bench_harness::control::{self, Setup, new_run_id};
use bench_harness::mqtt::Version;
use bench_harness::result::RunResult;
use bench_harness::scenario::{Options, PaceChoice};

use crate::fake::{Fake, Fault};

/// A short run at 2,000 messages/s; on a busy machine lag is not what these tests are about.
pub(crate) fn setup(scenario: &str, url: &str, qos: u8) -> Setup {
    Setup {
        options: Options {
            qos: Some(qos),
            duration_s: 0.15,
            warm_up_s: 0.05,
            run_id: new_run_id(),
            ..Options::default()
        },
        lag_max_us: 10_000_000,
        drain_s: 0.3,
        ..Setup::new(scenario, url.parse().unwrap())
    }
}

fn run_against(fault: Fault, scenario: &str, qos: u8) -> RunResult {
    let fake = Fake::start(fault);
    let url = format!("tcp://{}", fake.address);
    let setup = setup(scenario, &url, qos);
    control::run(&setup, None, &mut |_| {}).unwrap().result
}

#[test]
fn a_broker_that_keeps_its_promises_passes() {
    for qos in 0..3 {
        let result = run_against(Fault::None, "pairs-4-2000", qos);
        assert!(result.is_valid(), "{:?} {:?}", result.void, result.failures);
        let counts = &result.counts;
        assert_eq!(
            counts.sent_total, 400,
            "the schedule, whatever the machine does"
        );
        assert_eq!(counts.delivered_total, 400);
        assert_eq!(counts.connects, 8);
        assert_eq!(counts.acknowledged_total, if qos == 0 { 0 } else { 400 });
        let latency = result.latency_us.unwrap();
        assert_eq!(latency.count, 300, "every message meant for the window");
        assert!(latency.p50 <= latency.p99 && latency.p99 <= latency.max);
        assert_eq!(result.send_lag_us.unwrap().count, 300);
    }
}

#[test]
fn broken_promises_are_found() {
    let is_failure = |fault, qos| !run_against(fault, "pairs-1-2000", qos).failures.is_empty();
    let cases = [
        (Fault::Lose, [false, true, true]),
        (Fault::Double, [true, false, true]),
        (Fault::Swap, [true, true, true]),
    ];
    for (fault, expected) in cases {
        for (qos, expected) in (0..3).zip(expected) {
            assert_eq!(is_failure(fault, qos), expected, "{fault:?} at QoS {qos}");
        }
    }
}

#[test]
fn losses_are_counted_exactly() {
    // Each of 2 subscribers misses every hundredth of 400 messages.
    let result = run_against(Fault::Lose, "fanout-1-2-1-4000", 1);
    let counts = &result.counts;
    let figures = (counts.expected_total, counts.delivered_total, counts.lost);
    assert_eq!(figures, (800, 792, 8));
    assert!(
        result.failures.iter().any(|text| text.contains("misses")),
        "{:?}",
        result.failures
    );
}

#[test]
fn connections_that_end_make_a_run_void() {
    let result = run_against(Fault::Close, "pairs-1-2000", 1);
    assert!(result.counts.disconnects > 0);
    assert!(!result.void.is_empty() && !result.is_valid());
}

#[test]
fn refused_subscriptions_make_a_run_void_at_once() {
    let result = run_against(Fault::RefuseSubscriptions, "pairs-2-2000", 1);
    assert_eq!(
        (result.counts.connect_failures, result.counts.sent_total),
        (2, 0)
    );
    assert!(
        result.void.iter().any(|text| text.contains("0x80")),
        "{:?}",
        result.void
    );
}

#[test]
fn a_generator_that_is_too_slow_makes_a_run_void() {
    let fake = Fake::start(Fault::None);
    let mut setup = setup("pairs-1-2000", &format!("tcp://{}", fake.address), 0);
    // No generator is never late.
    setup.lag_max_us = 0;
    setup.options.pace = Some(PaceChoice::Rate(1_500_000.0));
    setup.options.warm_up_s = 0.0;
    setup.options.duration_s = 0.1;
    let result = control::run(&setup, None, &mut |_| {}).unwrap().result;
    assert!(
        result.void.iter().any(|text| text.contains("was late")),
        "{:?}",
        result.void
    );
}

#[test]
fn closed_loops_end_and_lose_nothing() {
    for scenario in ["pairs-one-3", "pairs-saturated-2", "fanout-saturated-1-3"] {
        for (qos, version) in [(0, Version::V50), (1, Version::V311), (2, Version::V50)] {
            let fake = Fake::start(Fault::None);
            let mut setup = setup(scenario, &format!("tcp://{}", fake.address), qos);
            setup.options.version = Some(version);
            let result = control::run(&setup, None, &mut |_| {}).unwrap().result;
            let name = format!("{scenario} at QoS {qos}");
            assert!(
                result.is_valid(),
                "{name}: {:?} {:?}",
                result.void,
                result.failures
            );
            assert!(result.counts.delivered > 0, "{name}");
            assert_eq!(result.counts.lost, 0, "{name}");
        }
    }
}

#[test]
fn a_closed_loop_survives_losses_at_qos_0() {
    let result = run_against(Fault::Lose, "pairs-one-1", 0);
    assert!(result.counts.lost > 0);
    assert!(result.failures.is_empty(), "{:?}", result.failures);
}

#[test]
fn nobody_at_the_target_is_an_error() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("tcp://{}", listener.local_addr().unwrap());
    drop(listener);
    let error = control::run(&setup("pairs-1-10", &url, 0), None, &mut |_| {}).err();
    assert!(error.unwrap().contains("no connection"));
}
