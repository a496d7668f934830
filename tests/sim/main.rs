//! Deterministic simulation of the whole broker but its runtime: any number of shards, their
//! links, connections and clients from one seed, in virtual time.
//!
//! `SIM_SEED=7 cargo test --test sim` replays one world, `SIM_SHARDS=4` fixes the number of shards,
//! `SIM_WATCH=text` prints the lines of the trace that contain the text. A failure prints its seed
//! and the last lines of the trace. A search: `SIM_MINUTES=30 cargo test --profile sim --test sim
//! fresh -- --nocapture`, or `SIM_WORLDS=1000`, from a seed of one's own with `SIM_FROM=1`; it ends
//! after `SIM_FAILURES=10`.
#![allow(
    clippy::cast_possible_truncation,
    clippy::disallowed_methods,
    clippy::enum_variant_names,
    clippy::needless_pass_by_value,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "a test: its numbers are small, its names MQTT's, its seeds from clock and environment"
)]

mod auditor;
mod client;
mod crashes;
mod disk;
mod link;
mod model;
mod network;
mod schedule;
mod storage;
mod swarm;
mod trace;
mod wire;
mod world;

use std::env::var;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use world::Sabotage;
use world::run::{Outcome, run, run_watched};

/// Worlds of consecutive seeds that are always tried. A seed is no regression test: any change of
/// what is drawn makes another world of it. What a world has shown gets a test of its own.
const CONSECUTIVE: u64 = 46;
/// New worlds in each run.
const FRESH: u64 = 10;
/// A search goes on after a failure, but not for ever.
const FAILURES_MAX: u64 = 10;

fn number(name: &str) -> Option<u64> {
    var(name).ok()?.parse().ok()
}

fn shards() -> Option<u16> {
    number("SIM_SHARDS").map(|count| count as u16)
}

fn failures_max() -> usize {
    number("SIM_FAILURES").unwrap_or(FAILURES_MAX) as usize
}

fn check(seed: u64) {
    if let Some(failure) = run(seed, shards(), None).failure {
        panic!("{failure}");
    }
}

#[test]
fn worlds_keep_their_promises() {
    if let Some(seed) = number("SIM_SEED") {
        let outcome = run_watched(seed, shards(), None, var("SIM_WATCH").ok());
        let Outcome {
            events,
            deliveries,
            required,
            ..
        } = outcome;
        eprintln!("seed {seed}: {events} events, {deliveries} deliveries, {required} required");
        assert!(
            outcome.failure.is_none(),
            "{}",
            outcome.failure.unwrap_or_default()
        );
        return;
    }
    for seed in 1..=CONSECUTIVE {
        check(seed);
    }
}

#[test]
fn fresh_worlds_keep_their_promises() {
    if number("SIM_SEED").is_some() {
        return;
    }
    let clock = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let first = number("SIM_FROM").unwrap_or(clock.as_nanos() as u64);
    eprintln!("fresh seeds from {first}");
    let least = number("SIM_WORLDS").unwrap_or(FRESH);
    let minutes = number("SIM_MINUTES").unwrap_or(0);
    let begin = Instant::now();
    let end = begin + Duration::from_secs(60 * minutes);
    let (mut worlds, mut events) = (0, 0);
    let mut failures: Vec<String> = Vec::new();
    while (worlds < least || Instant::now() < end) && failures.len() < failures_max() {
        let outcome = run(first.wrapping_add(worlds), shards(), None);
        worlds += 1;
        events += outcome.events;
        if let Some(failure) = outcome.failure {
            eprintln!("world {worlds}: {}", what(&failure));
            failures.push(failure);
        }
    }
    eprintln!("{worlds} worlds, {events} events, {:?}", begin.elapsed());
    if let Some(first) = failures.first() {
        panic!("{first}\n{} of {worlds} worlds failed", failures.len());
    }
}

#[test]
fn same_seed_gives_the_same_history() {
    for seed in [3, 1_000_003] {
        let (first, second) = (run(seed, None, None), run(seed, None, None));
        assert_eq!(first.hash, second.hash, "seed {seed}");
        assert_eq!(first.events, second.events);
        assert_ne!(first.hash, run(seed + 1, None, None).hash);
    }
}

/// The judge sees what is wrong: a message that does not arrive, one that arrives damaged, and
/// what was lost between two shards.
#[test]
fn sabotage_is_reported() {
    for (sabotage, shards) in [
        (Sabotage::HideDeliveries(20), 1),
        (Sabotage::FlipByte(30), 1),
        (Sabotage::LoseBatch(9), 2),
    ] {
        let reported = [33, 22, 20].into_iter().any(|seed| {
            assert!(
                run(seed, Some(shards), None).failure.is_none(),
                "seed {seed} is sound"
            );
            let failure = run(seed, Some(shards), Some(sabotage)).failure;
            failure
                .inspect(|failure| eprintln!("{}", what(failure)))
                .is_some()
        });
        assert!(reported, "{sabotage:?} was not reported");
    }
}

/// The line of a report that says what was wrong.
fn what(report: &str) -> &str {
    report
        .lines()
        .find(|line| line.starts_with("seed"))
        .unwrap_or_default()
}
