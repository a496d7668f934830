//! Recovery at scale: a data directory with a million sessions and messages, made by a shard, and
//! what it costs another one to go on with it.

use crate::allocator;
use micro::stored::Store;
use std::fs;
use std::path::Path;

/// Prints CPU and memory of a recovery of `count` sessions with one subscription and one queued
/// message each.
pub(crate) fn print(count: u32) -> Result<(), String> {
    let directory = std::env::temp_dir().join(format!("ringway-recovery-{}", std::process::id()));
    fs::create_dir_all(&directory).map_err(|error| error.to_string())?;
    let printed = measure(&directory, count);
    let _ = fs::remove_dir_all(&directory);
    printed.map_err(|error| error.to_string())
}

fn measure(directory: &Path, count: u32) -> std::io::Result<()> {
    let empty = allocator::live_bytes();
    let made = Store::make(directory, count)?;
    let before = allocator::live_bytes() - empty;
    drop(made);
    let started = cpu_seconds()?;
    let recovered = Store::recover(directory)?;
    let seconds = cpu_seconds()? - started;
    let after = allocator::live_bytes() - empty;
    let (sessions, messages) = recovered.counts();
    println!("{sessions} sessions, {messages} messages recovered in {seconds:.2} s of CPU");
    println!(
        "live memory: {} MiB before, {} MiB after",
        before >> 20,
        after >> 20
    );
    Ok(())
}

/// CPU time of this thread.
fn cpu_seconds() -> std::io::Result<f64> {
    let text = fs::read_to_string("/proc/thread-self/schedstat")?;
    let nanoseconds = text.split(' ').next().and_then(|it| it.parse().ok());
    Ok(nanoseconds.unwrap_or(0.0) / 1e9)
}
