//! Memory of many subscriptions, by the counting allocator.

use crate::allocator;
use micro::subscriptions::{Pattern, Subscriptions, index};

/// Subscriptions of each kind.
const COUNT: u32 = 1_000_000;

/// Prints the bytes per subscription beside the filter's text: in the index alone, in a broker of
/// one shard (with what its sessions note), and in one of two shards (with what each tells the
/// other).
pub(crate) fn print() {
    println!("bytes per subscription, {COUNT} of them, beside the text of the filter");
    println!(
        "{:8} {:>6} {:>8} {:>9} {:>10}",
        "", "text", "index", "1 shard", "2 shards"
    );
    for pattern in Pattern::ALL {
        let text = f64::from(pattern.mean_text_bytes(COUNT));
        let beside = |bytes: usize| bytes as f64 / f64::from(COUNT) - text;
        let of_index = grown_by(|| index(pattern, COUNT));
        let of_one = grown_by(|| Subscriptions::new(1, pattern, COUNT));
        let of_two = grown_by(|| Subscriptions::new(2, pattern, COUNT));
        println!(
            "{:8} {text:>6.0} {:>8.0} {:>9.0} {:>10.0}",
            format!("{pattern:?}"),
            beside(of_index),
            beside(of_one),
            beside(of_two),
        );
    }
}

/// Live bytes of what `build` leaves.
fn grown_by<T>(build: impl FnOnce() -> T) -> usize {
    let before = allocator::live_bytes();
    let built = build();
    let bytes = allocator::live_bytes() - before;
    drop(built);
    bytes
}
