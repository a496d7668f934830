//! Every case does what it says, with little input; and every one of them is counted.
#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

use micro::case::{CASES, Size};
use std::collections::BTreeSet;

#[test]
fn every_case_does_its_work() {
    for case in CASES {
        let mut workload = case.prepare(Size::Tiny);
        workload.run();
        workload.verify();
        assert!(workload.units() > 0, "{}", case.name);
    }
}

#[test]
fn every_case_is_counted_and_recorded() {
    let names: BTreeSet<&str> = CASES.iter().map(|case| case.name).collect();
    assert_eq!(names.len(), CASES.len());
    let benches = include_str!("../benches/instructions.rs");
    let counted = benches.lines().filter_map(|line| {
        let (name, _) = line.strip_prefix("#[bench::")?.split_once('(')?;
        Some(name)
    });
    assert_eq!(counted.collect::<BTreeSet<_>>(), names);
    let recorded = micro::record::parse(include_str!("../recorded.txt")).unwrap();
    assert_eq!(
        recorded.keys().map(String::as_str).collect::<BTreeSet<_>>(),
        names
    );
}
