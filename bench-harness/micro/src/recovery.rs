//! Recovery at scale: a data directory with a million sessions and messages, made by a shard in one
//! process, and what it costs a shard in another process to go on with it.

use crate::allocator;
use micro::stored::Store;
use std::fs;
use std::path::Path;
use std::process::Command;

/// Prints CPU and memory of a recovery of `count` sessions with one subscription and one queued
/// message each.
pub(crate) fn print(count: u32) -> Result<(), String> {
    let directory = std::env::temp_dir().join(format!("ringway-recovery-{}", std::process::id()));
    fs::create_dir_all(&directory).map_err(|error| error.to_string())?;
    let count = count.to_string();
    let path = directory.to_string_lossy();
    let printed =
        run(&["recovery-make", &path, &count]).and_then(|()| run(&["recovery-start", &path]));
    let _ = fs::remove_dir_all(&directory);
    printed
}

/// One half in its own process: memory of the other one would stay.
fn run(arguments: &[&str]) -> Result<(), String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let status = Command::new(program).args(arguments).status();
    let status = status.map_err(|error| error.to_string())?;
    status
        .success()
        .then_some(())
        .ok_or_else(|| format!("{status}"))
}

/// Fills `directory` and prints the memory of the shard that has all of it.
pub(crate) fn make(directory: &Path, count: u32) -> Result<(), String> {
    allocator::decline_huge_pages();
    fs::create_dir_all(directory).map_err(|error| error.to_string())?;
    let empty = allocator::live_bytes();
    let made = Store::make(directory, count).map_err(|error| error.to_string())?;
    print_memory("made", empty)?;
    drop(made);
    Ok(())
}

/// Prints CPU and memory of a shard that goes on with what is in `directory`.
pub(crate) fn start(directory: &Path) -> Result<(), String> {
    allocator::decline_huge_pages();
    let empty = allocator::live_bytes();
    let started = cpu_seconds()?;
    let recovered = Store::recover(directory).map_err(|error| error.to_string())?;
    allocator::give_back();
    let seconds = cpu_seconds()? - started;
    let (sessions, messages) = recovered.counts();
    println!("{sessions} sessions, {messages} messages recovered in {seconds:.2} s of CPU");
    print_memory("recovered", empty)
}

fn print_memory(when: &str, empty: usize) -> Result<(), String> {
    let live = allocator::live_bytes() - empty;
    let status = fs::read_to_string("/proc/self/status").map_err(|error| error.to_string())?;
    let value = |key: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(key));
        let kib = line.and_then(|it| it.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
        kib.map_or(0, |kib| kib >> 10)
    };
    println!(
        "{when}: {} MiB live, {} MiB resident, {} MiB at most",
        live >> 20,
        value("VmRSS:"),
        value("VmHWM:")
    );
    Ok(())
}

/// CPU time of this thread.
fn cpu_seconds() -> Result<f64, String> {
    let text = fs::read_to_string("/proc/thread-self/schedstat");
    let text = text.map_err(|error| error.to_string())?;
    let nanoseconds = text.split(' ').next().and_then(|it| it.parse().ok());
    Ok(nanoseconds.unwrap_or(0.0) / 1e9)
}
