//! A start takes the memory that the process before had.
#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

#[allow(dead_code, reason = "the program needs more of it")]
#[path = "../src/allocator.rs"]
mod allocator;

use micro::stored::Store;
use std::fs;

/// Live bytes of a shard with so many sessions, each with one subscription and one message that it
/// missed, and of one that goes on with what the former left.
fn live_bytes(sessions: u32) -> (usize, usize) {
    let name = format!("ringway-memory-{}", std::process::id());
    let directory = std::env::temp_dir().join(name);
    fs::create_dir_all(&directory).unwrap();
    let empty = allocator::live_bytes();
    let made = Store::make(&directory, sessions).unwrap();
    let before = allocator::live_bytes() - empty;
    drop(made);
    let recovered = Store::recover(&directory).unwrap();
    let after = allocator::live_bytes() - empty;
    assert_eq!(recovered.counts(), (sessions.into(), sessions.into()));
    fs::remove_dir_all(&directory).unwrap();
    (before, after)
}

#[test]
fn memory_after_a_start_is_that_before_the_crash() {
    // What buffers and pools take beside does not grow with the sessions.
    let (few, many) = (1_000, 16_000);
    let (few_before, few_after) = live_bytes(few);
    let (many_before, many_after) = live_bytes(many);
    let before = many_before - few_before;
    let after = many_after - few_after;
    assert!(
        before.abs_diff(after) * 10 <= before,
        "{before} bytes before, {after} after"
    );
    // Session, subscription, filter, client identifier, message and its place in the queue.
    assert!(before < 700 * (many - few) as usize, "{before}");
}
