//! Compares counts with the recorded ones. Called by `tests/micro`, which makes the counts.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program for people and scripts"
)]

mod allocator;
mod growth;
mod memory;
mod recovery;

use micro::case::{CASES, Case, Size};
use micro::record::{self, Count, Counts};
use std::fs;
use std::path::Path;
use std::process::ExitCode;

const USAGE: &str = "usage:
  micro check RECORDED SUMMARIES   fail if a count is above the recorded one
  micro record RECORDED SUMMARIES  write the counts that differ to RECORDED
  micro raised EARLIER LATER       print the cases that cost more in LATER
  micro memory                     bytes per subscription, a million of them
  micro growth [COUNT]             the longest inserts while an index grows to so many filters
  micro recovery [COUNT]           CPU and memory of a start with so many sessions and messages
  micro recovery-make DIR COUNT    its first half: a shard that leaves them in DIR, and its memory
  micro recovery-start DIR         its second half: a start on DIR, which stays as it is";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words[..] {
        ["check", recorded, summaries] => check(recorded, summaries),
        ["record", recorded, summaries] => renew(recorded, summaries),
        ["raised", earlier, later] => print_raised(earlier, later),
        ["memory"] => {
            memory::print();
            Ok(())
        }
        ["growth"] => {
            growth::print(2_000_000);
            Ok(())
        }
        ["growth", count] => {
            let count = count.parse().map_err(|_| USAGE.to_owned());
            count.map(growth::print)
        }
        ["recovery"] => recovery::print(1_000_000),
        ["recovery", count] => match count.parse() {
            Ok(count) => recovery::print(count),
            Err(_) => Err(USAGE.to_owned()),
        },
        ["recovery-make", directory, count] => match count.parse() {
            Ok(count) => recovery::make(Path::new(directory), count),
            Err(_) => Err(USAGE.to_owned()),
        },
        ["recovery-start", directory] => recovery::start(Path::new(directory)),
        _ => Err(USAGE.to_owned()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}

fn check(recorded: &str, summaries: &str) -> Result<(), String> {
    let recorded = record::parse(&read(recorded)?)?;
    let new = count(summaries)?;
    print!("{}", record::format(&new));
    let faults = record::faults(&recorded, &new);
    if faults.is_empty() {
        return Ok(());
    }
    let advice = "If it must be so: tests/micro --record, and a commit that says why.";
    Err(format!("{}\n{advice}", faults.join("\n")))
}

fn renew(recorded: &str, summaries: &str) -> Result<(), String> {
    let old = record::parse(&read(recorded)?)?;
    let renewed = record::renewed(&old, &count(summaries)?);
    let text = record::format(&renewed);
    fs::write(recorded, text).map_err(|error| format!("{recorded}: {error}"))
}

fn print_raised(earlier: &str, later: &str) -> Result<(), String> {
    let earlier = record::parse(&read(earlier)?)?;
    let later = record::parse(&read(later)?)?;
    for name in record::raised(&earlier, &later) {
        println!("{name}");
    }
    Ok(())
}

fn read(path: &str) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))
}

/// Instructions from the summaries that gungraun has written, one JSON document per line;
/// allocations counted here.
fn count(summaries: &str) -> Result<Counts, String> {
    let mut counts = Counts::new();
    for line in read(summaries)?.lines() {
        let Some((name, total)) = instructions(line) else {
            return Err(format!("no instruction count in: {line}"));
        };
        let case = Case::named(&name).ok_or_else(|| format!("no case {name}"))?;
        let mut workload = case.prepare(Size::Full);
        let before = allocator::count();
        workload.run();
        let allocations = allocator::count() - before;
        let per_unit = |total: f64| total / f64::from(workload.units());
        let count = Count {
            instructions: round(per_unit(total), 10.0),
            allocations: round(per_unit(allocations as f64), 100.0),
        };
        counts.insert(name, count);
    }
    match CASES.iter().find(|case| !counts.contains_key(case.name)) {
        None => Ok(counts),
        Some(case) => Err(format!("{} was not counted", case.name)),
    }
}

fn round(value: f64, steps: f64) -> f64 {
    (value * steps).round() / steps
}

/// The case's name, and the instructions of its one run.
fn instructions(summary: &str) -> Option<(String, f64)> {
    let summary: serde_json::Value = serde_json::from_str(summary).ok()?;
    let values = &summary["profiles"][0]["data"]["total"]["metrics"]["Ir"]["values"];
    Some((summary["id"].as_str()?.to_owned(), values["new"].as_f64()?))
}
