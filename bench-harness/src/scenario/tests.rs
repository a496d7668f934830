//! Names, numbers, and that every scenario counts consistently.

use super::*;
use crate::load::{Placement, Tracking};

fn parameters(name: &str) -> Parameters {
    build(name, &Options::default()).unwrap().parameters
}

#[test]
fn names_have_the_suite_s_meaning() {
    let connections = parameters("conn-tcp-1M-5K").connections;
    assert_eq!(connections, 1_000_000);

    let fanout = parameters("fanout-5-1000-5-250K");
    assert_eq!((fanout.publishers, fanout.subscribers), (5, 1_000));
    let messages_per_s = 250.0;
    assert_eq!(fanout.pace, Pace::Constant { messages_per_s });
    assert_eq!(fanout.fan_out, 1_000.0);

    let pairs = parameters("p2p-50K-50K-50K-50K@0.1");
    assert_eq!((pairs.publishers, pairs.subscribers), (5_000, 5_000));
    let messages_per_s = 5_000.0;
    assert_eq!(pairs.pace, Pace::Constant { messages_per_s });
    assert_eq!((pairs.mqtt.as_str(), pairs.qos), ("3.1.1", 1));
    assert_eq!((pairs.payload_bytes, pairs.keep_alive_s), (16, 300));
    assert!(pairs.clean_session);

    assert_eq!(parameters("sharedsub-1K-5-1K-1K").mqtt, "5.0");
    assert!(!parameters("durable-p2p-2-2-2-2").clean_session);
}

#[test]
fn one_family_needs_tls_and_is_else_like_its_twin() {
    let built = |name| build(name, &Options::default()).unwrap();
    for family in FAMILIES {
        let is_tls = family.form.starts_with("tls-");
        assert_eq!(family.needs_tls, is_tls, "{}", family.form);
    }
    let (tls, tcp) = (built("tls-conn-10K-500@0.1"), built("conn-tcp-10K-500@0.1"));
    assert_eq!((tls.needs_tls, tcp.needs_tls), (true, false));
    assert_eq!(tls.parameters, tcp.parameters);
    let steps = |scenario: &Scenario| format!("{:?}", scenario.load.steps);
    assert_eq!(steps(&tls), steps(&tcp));
}

#[test]
fn names_that_say_nothing_are_refused() {
    let names = [
        "",
        "p2p",
        "p2p-1-1-1",
        "p2p-1-1-1-1-1",
        "p2p-1-2-1-1",
        "p2p-0-0-0-0",
        "pairs-x-1",
        "pairs-1-1@0",
        "pairs-1-1@",
        "fanout-2-1-3-1",
        "mixed-10-3-1-1",
        "pairs-saturated",
        "wild-",
        "p2p-2G-1-1-1",
    ];
    for name in names {
        assert!(build(name, &Options::default()).is_err(), "{name}");
    }
}

#[test]
fn a_pace_from_outside_replaces_the_scenario_s() {
    let with = |pace| Options {
        pace: Some(pace),
        ..Options::default()
    };
    let pace = |name, choice| build(name, &with(choice)).map(|s| s.parameters.pace);
    let messages_per_s = 70.0;
    for name in [
        "pairs-saturated-7",
        "pairs-7-10",
        "wild-100",
        "mixed-10-5-2-10",
    ] {
        let result = pace(name, PaceChoice::Rate(70.0));
        assert_eq!(result, Ok(Pace::Constant { messages_per_s }), "{name}");
    }
    let result = pace("pairs-7-10", PaceChoice::InFlight(3));
    assert_eq!(result, Ok(Pace::Window { messages: 3 }));
    assert!(pace("idle-10", PaceChoice::Rate(1.0)).is_err());
    let random = Options {
        arrivals: Arrivals::Poisson,
        ..Options::default()
    };
    assert!(build("pairs-1-1", &random).is_ok());
    assert!(build("pairs-one-1", &random).is_err());
    assert!(pace("mixed-10-5-2-10", PaceChoice::InFlight(1)).is_err());
}

/// What the publishers say about receivers is what the subscribers expect.
#[test]
fn fan_out_agrees_with_the_subscribers() {
    for family in FAMILIES {
        for example in family.examples {
            let name = format!("{example}@0.01");
            let name = match example.starts_with("mixed") {
                true => "mixed-100-5-2-10",
                false => name.as_str(),
            };
            let load = build(name, &Options::default()).unwrap().load;
            check_fan_out(name, &load);
        }
    }
}

fn check_fan_out(name: &str, load: &Load) {
    let streams: u32 = publishes(load)
        .map(|(count, publish)| count * publish.per_client)
        .sum();
    let mut receivers = vec![(0, 0); streams as usize];
    for group in &load.groups {
        let Some(subscribe) = &group.subscribe else {
            continue;
        };
        let Some(expects) = subscribe.expects else {
            continue;
        };
        let is_shared = subscribe.tracking == Tracking::Shared;
        assert_eq!(is_shared, group.placement == Placement::Together, "{name}");
        let clients = if is_shared { 1 } else { group.count };
        for client in 0..clients {
            let first = expects.first + client * expects.stride;
            for stream in first..first + expects.count {
                let (healthy, slow) = &mut receivers[stream as usize];
                *if subscribe.is_slow { slow } else { healthy } += 1;
            }
        }
    }
    let mut next = 0;
    let mut all: Vec<_> = publishes(load).collect();
    all.sort_by_key(|(_, publish)| publish.first_source);
    for (count, publish) in all {
        assert_eq!(publish.first_source, next, "{name}");
        for _ in 0..count * publish.per_client {
            let expected = (publish.fan_out, publish.fan_out_slow);
            assert_eq!(receivers[next as usize], expected, "{name}: stream {next}");
            next += 1;
        }
    }
}
