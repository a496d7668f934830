//! Worlds with disks, in which the process ends over and over.
//!
//! `SIM_CRASH_SEED=7 cargo test --test sim crash` replays one world, `SIM_CRASH_WORLDS=2000`
//! searches new ones from `SIM_CRASH_FIRST` on; it ends after `SIM_FAILURES=10`.

use crate::storage::{FILLING, FLIPPING, StoragePlan};
use crate::swarm::Swarm;
use crate::world::run::{Outcome, run_crashing};
use crate::world::{Sabotage, Tally};
use crate::{failures_max, number, shards};
use std::env::var;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Worlds of consecutive seeds that are always tried.
const CONSECUTIVE: u64 = 10;
/// Most worlds that are tried until everything has happened that they are for.
const UNUSUAL_MAX: u64 = 50;
/// New worlds in each run.
const FRESH: u64 = 3;
/// What need not happen in them.
const RARE: [&str; 2] = ["unmended", "missed"];

fn check(seed: u64) -> Outcome {
    let outcome = run_crashing(seed, shards(), None, None);
    if let Some(failure) = &outcome.failure {
        panic!("{failure}");
    }
    outcome
}

#[test]
fn crashes_lose_nothing_acknowledged() {
    if let Some(seed) = number("SIM_CRASH_SEED") {
        let outcome = run_crashing(seed, shards(), None, var("SIM_WATCH").ok());
        let (events, tally) = (outcome.events, outcome.tally);
        eprintln!("seed {seed}: {events} events, {tally:?}");
        assert!(
            outcome.failure.is_none(),
            "{}",
            outcome.failure.unwrap_or_default()
        );
        return;
    }
    let mut tally = Tally::default();
    for seed in 1..=CONSECUTIVE {
        tally.add(&check(seed).tally);
    }
    let missing = |tally: &Tally| {
        let mut counts = tally.counts();
        counts.find(|(name, count)| *count == 0 && !RARE.contains(name))
    };
    let (mut flipping, mut filling) = (FLIPPING, FILLING);
    for _ in 0..UNUSUAL_MAX {
        let seeds = match missing(&tally) {
            None => break,
            Some(("filled" | "withheld" | "refused", _)) => &mut filling,
            Some(_) => &mut flipping,
        };
        tally.add(&check(seeds.start).tally);
        seeds.start += 1;
    }
    eprintln!("{tally:?}");
    assert_eq!(missing(&tally), None, "{tally:?}");
}

#[test]
fn fresh_crashes_lose_nothing_acknowledged() {
    if number("SIM_CRASH_SEED").is_some() {
        return;
    }
    let clock = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let first = number("SIM_CRASH_FIRST").unwrap_or(clock.as_nanos() as u64);
    let worlds = number("SIM_CRASH_WORLDS").unwrap_or(FRESH);
    eprintln!("{worlds} fresh seeds of crashing worlds from {first}");
    let began = Instant::now();
    let mut tally = Tally::default();
    let mut failures = Vec::new();
    for index in 0..worlds {
        if failures.len() == failures_max() {
            break;
        }
        let outcome = run_crashing(first.wrapping_add(index), shards(), None, None);
        tally.add(&outcome.tally);
        if let Some(failure) = outcome.failure {
            eprintln!("world {}: {}", index + 1, crate::what(&failure));
            failures.push(failure);
        }
    }
    eprintln!("{:?} {tally:?}", began.elapsed());
    let count = failures.len();
    assert_eq!(count, 0, "{}", failures.first().map_or("", |it| it));
}

#[test]
fn same_seed_gives_the_same_crashes() {
    let run = |seed| run_crashing(seed, None, None, None);
    let (first, second) = (run(3), run(3));
    assert_eq!((first.hash, first.events), (second.hash, second.events));
    assert_ne!(first.hash, run(4).hash);
}

/// A disk that reports syncs which it has not done is found out, and soon.
#[test]
fn acknowledging_before_the_sync_is_reported() {
    let sabotage = Some(Sabotage::AckBeforeSync);
    let failure = (1..=100).find_map(|seed| run_crashing(seed, None, sabotage, None).failure);
    let failure = failure.expect("not noticed within 100 seeds");
    eprintln!("{}", crate::what(&failure));
}

/// Nor does the judge become blind where crashes may undo what was acknowledged.
#[test]
fn missing_messages_are_reported_where_crashes_undo() {
    let plan = |seed| StoragePlan::draw(seed, &mut Swarm::draw_ordinary(seed, None));
    let worlds = (1..=100).filter(|seed| plan(*seed).undoes && plan(*seed).crash_every < 5_000);
    let sabotage = Some(Sabotage::HideDeliveries(20));
    let failure = worlds
        .take(10)
        .find_map(|seed| run_crashing(seed, None, sabotage, None).failure);
    let failure = failure.expect("not noticed within 10 worlds");
    eprintln!("{}", crate::what(&failure));
}
