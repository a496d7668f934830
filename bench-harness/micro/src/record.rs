//! The recorded counts: one line per case, kept in the repository.

use std::collections::BTreeMap;
use std::fmt::Write;

/// What one unit of a case costs.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Count {
    pub instructions: f64,
    pub allocations: f64,
}

/// Counts by the name of their case.
pub type Counts = BTreeMap<String, Count>;

/// More instructions than recorded by this factor are a fault: less is noise of the compiler.
const TOLERANCE: f64 = 1.03;
/// A recorded count stays when the new one is as near as this, so that recording one change does
/// not touch every line.
const SAME: f64 = 0.01;

const HEADER: &str = "\
# Per unit of each case: instructions, allocations. Made by `tests/micro --record`; a commit
# that raises a count names its case and says why.
";

/// The lines of a file of counts.
///
/// # Errors
/// The first line that is none.
pub fn parse(text: &str) -> Result<Counts, String> {
    let lines = text
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    let entry = |line: &str| {
        let mut words = line.split_whitespace();
        let name = words.next()?.to_owned();
        let instructions = words.next()?.parse().ok()?;
        let allocations = words.next()?.parse().ok()?;
        let count = Count {
            instructions,
            allocations,
        };
        words.next().is_none().then_some((name, count))
    };
    lines
        .map(|line| entry(line).ok_or_else(|| format!("not a count: {line}")))
        .collect()
}

/// The file for these counts.
#[must_use]
pub fn format(counts: &Counts) -> String {
    let mut text = HEADER.to_owned();
    for (name, count) in counts {
        let Count {
            instructions,
            allocations,
        } = count;
        let _infallible = writeln!(text, "{name:28} {instructions:>10.1} {allocations:>8.2}");
    }
    text
}

/// What is wrong with the new counts, one line each.
#[must_use]
pub fn faults(recorded: &Counts, new: &Counts) -> Vec<String> {
    let mut faults = Vec::new();
    for (name, old) in recorded {
        match new.get(name) {
            None => faults.push(format!("{name}: recorded, but not counted")),
            Some(new) if new.instructions > old.instructions * TOLERANCE => faults.push(format!(
                "{name}: {:.1} instructions, {:.1} recorded ({:+.1} %)",
                new.instructions,
                old.instructions,
                (new.instructions / old.instructions - 1.0) * 100.0
            )),
            Some(new) if new.allocations > old.allocations => faults.push(format!(
                "{name}: {:.2} allocations, {:.2} recorded",
                new.allocations, old.allocations
            )),
            Some(_) => {}
        }
    }
    let unknown = new.keys().filter(|name| !recorded.contains_key(*name));
    faults.extend(unknown.map(|name| format!("{name}: counted, but not recorded")));
    faults
}

/// The new counts, but the recorded ones where these are as good as the same.
#[must_use]
pub fn renewed(recorded: &Counts, new: &Counts) -> Counts {
    let keep = |name: &String, new: Count| {
        let old = recorded.get(name).copied().unwrap_or(new);
        let difference = (new.instructions - old.instructions).abs();
        if difference <= old.instructions * SAME && new.allocations == old.allocations {
            old
        } else {
            new
        }
    };
    let entries = new.iter();
    entries
        .map(|(name, count)| (name.clone(), keep(name, *count)))
        .collect()
}

/// The cases that cost more in `later` than in `earlier`.
#[must_use]
pub fn raised<'a>(earlier: &Counts, later: &'a Counts) -> Vec<&'a str> {
    let is_raised = |(name, count): &(&String, &Count)| {
        earlier.get(*name).is_some_and(|old| {
            count.instructions > old.instructions || count.allocations > old.allocations
        })
    };
    later
        .iter()
        .filter(is_raised)
        .map(|(name, _)| name.as_str())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(entries: &[(&str, f64, f64)]) -> Counts {
        let entry = |&(name, instructions, allocations): &(&str, f64, f64)| {
            let count = Count {
                instructions,
                allocations,
            };
            (name.to_owned(), count)
        };
        entries.iter().map(entry).collect()
    }

    #[test]
    fn file_is_read_as_it_was_written() {
        let written = counts(&[("a", 1234.5, 0.0), ("b", 1.0, 2.25)]);
        assert_eq!(parse(&format(&written)), Ok(written));
        assert!(parse("a 1").is_err());
        assert!(parse("a 1 2 3").is_err());
    }

    #[test]
    fn more_than_the_tolerance_is_a_fault() {
        let recorded = counts(&[("a", 1000.0, 1.0)]);
        let check = |new: &[(&str, f64, f64)], expected: &[&str]| {
            let faults = faults(&recorded, &counts(new));
            assert_eq!(faults.len(), expected.len(), "{faults:?}");
            for (fault, part) in faults.iter().zip(expected) {
                assert!(fault.contains(part), "{faults:?}");
            }
        };
        check(&[("a", 1029.0, 1.0)], &[]);
        check(&[("a", 1.0, 0.0)], &[]);
        check(&[("a", 1031.0, 1.0)], &["+3.1 %"]);
        check(&[("a", 1000.0, 1.01)], &["allocations"]);
        check(&[("b", 1.0, 0.0)], &["not counted", "not recorded"]);
    }

    #[test]
    fn only_what_moved_is_renewed_and_only_a_rise_is_raised() {
        let recorded = counts(&[("a", 1000.0, 0.0), ("b", 1000.0, 0.0), ("c", 1000.0, 0.0)]);
        let new = counts(&[("a", 1009.0, 0.0), ("b", 1011.0, 0.0), ("c", 900.0, 0.0)]);
        let renewed = renewed(&recorded, &new);
        let expected = counts(&[("a", 1000.0, 0.0), ("b", 1011.0, 0.0), ("c", 900.0, 0.0)]);
        assert_eq!(renewed, expected);
        assert_eq!(raised(&recorded, &renewed), ["b"]);
    }
}
