//! The longest single inserts into an index that grows to millions of filters.

use crate::allocator;
use micro::subscriptions::Pattern;
use ringway::topic::index::Index;
use std::time::Duration;

/// Inserts that are named.
const LONGEST: usize = 10;
/// The same inserts are made so often, and the shortest time of each counts: the longest ones
/// would otherwise be those during which the machine did something else.
const ROUNDS: usize = 3;

/// Prints how long the longest inserts of `count` filters of each kind took, in CPU time of this
/// thread. They are what clients wait for when a table grows.
pub(crate) fn print(count: u32) {
    // The system would clear 2 MiB at once.
    allocator::decline_huge_pages();
    println!("longest of {count} inserts into an index, microseconds of CPU");
    for pattern in [Pattern::Exact, Pattern::Plus, Pattern::Hash] {
        let mut took = vec![Duration::MAX; count as usize];
        (0..ROUNDS).for_each(|_| insert_all(pattern, &mut took));
        took.sort_unstable_by(|one, other| other.cmp(one));
        let longest = took.iter().take(LONGEST).map(Duration::as_micros);
        println!(
            "{:8} {:?}",
            format!("{pattern:?}"),
            longest.collect::<Vec<_>>()
        );
    }
}

/// Lowers each time to that of its insert now.
fn insert_all(pattern: Pattern, took: &mut [Duration]) {
    let mut index: Index<u32, [u32; 2]> = Index::new(1);
    for (device, took) in (0..).zip(took) {
        let (filter, kind) = pattern.filter(device);
        let before = cpu_time();
        index.insert(&filter, kind, device, [0; 2]);
        *took = cpu_time().saturating_sub(before).min(*took);
    }
}

/// Of this thread: what runs beside it does not count.
fn cpu_time() -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the pointer is to a live value of the type that the call fills.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or(0))
}
