//! Journals that are cut and garbled everywhere.

use super::history::History;
use crate::journal::{Damage, PAGE_BYTES};

/// A journal cut at any byte, in any block, gives the last state that is whole in front of it.
#[test]
fn state_existed_when_journal_is_cut_anywhere() {
    let mut history = History::new(1, 200);
    let mut blocks = Vec::new();
    for _ in 0..40 {
        let before = history.disk.clone();
        let state_before = history.state.clone();
        for _ in 0..history.random.below(5) {
            history.group();
        }
        for (segment, start, end) in history.flush() {
            blocks.push((before.clone(), state_before.clone(), segment, start, end));
        }
        assert_eq!(history.disk.recover().unwrap().state, history.state);
    }
    let written = &history.disk;
    for (before, state_before, segment, start, end) in blocks {
        let mut torn = before.clone();
        let source = &written.segments[&segment];
        torn.segments
            .entry(segment)
            .or_insert_with(|| vec![0; source.len()]);
        // Every byte in the first page and around sectors, any sector later.
        let cuts = (start..end).filter(|cut| *cut < start + 64 || cut.is_multiple_of(173));
        for cut in cuts {
            let bytes = torn.segments.get_mut(&segment).unwrap();
            bytes[start..cut].copy_from_slice(&source[start..cut]);
            let payload_is_whole = source[cut..end].iter().all(|byte| *byte == 0);
            if payload_is_whole {
                break;
            }
            let recovered = torn.recover().unwrap();
            assert_eq!(recovered.state, state_before, "cut at {cut}");
        }
    }
}

/// A block that changes after it was reported durable is noticed, with its place, unless it is the
/// last one.
#[test]
fn recovery_names_the_block_that_is_garbled() {
    let mut history = History::new(2, 5000);
    let mut blocks = Vec::new();
    for _ in 0..60 {
        let state = history.state.clone();
        (0..3).for_each(|_| history.group());
        let written = history.flush();
        blocks.extend(written.into_iter().map(|block| (block, state.clone())));
    }
    let last = blocks.len() - 1;
    for (index, ((segment, start, end), state)) in blocks.into_iter().enumerate() {
        let length = u64::try_from(end - start).unwrap();
        let at = start + usize::try_from(history.random.below(length.min(400))).unwrap();
        let mut disk = history.disk.clone();
        let byte = &mut disk.segments.get_mut(&segment).unwrap()[at];
        let bit = 1 << history.random.below(8);
        *byte ^= bit;
        match disk.recover() {
            // Padding counts for nothing.
            Ok(recovered) if recovered.state == history.state => {
                assert!(history.disk.segments[&segment][at] == 0);
            }
            Ok(recovered) => {
                assert_eq!(index, last, "bit {bit:#x} of byte {at}, block from {start}");
                assert_eq!(recovered.state, state);
            }
            Err(error) => {
                assert_eq!(error.segment, segment);
                let page = usize::try_from(error.offset).unwrap();
                let first = start.max(PAGE_BYTES as usize);
                assert!(page == first || page == 0, "{error} instead of {first}");
            }
        }
    }
}

/// Also the only one that was written: what it holds must not be taken for nothing.
#[test]
fn recovery_notices_each_bit_of_a_header_that_changes() {
    let mut history = History::new(4, 5000);
    (0..3).for_each(|_| history.group());
    let (segment, ..) = history.flush()[0];
    let header_bits = 52 * 8;
    for bit in 0..header_bits {
        let mut disk = history.disk.clone();
        disk.segments.get_mut(&segment).unwrap()[bit / 8] ^= 1 << (bit % 8);
        let error = disk.recover().unwrap_err();
        assert_eq!((error.segment, error.offset), (segment, 0), "bit {bit}");
        let is_version = bit / 16 == 4;
        let is_newer = matches!(error.damage, Damage::NewerFormat { .. });
        let is_lost = error.damage == Damage::HeaderLost;
        assert!(is_lost || (is_version && is_newer), "bit {bit}: {error}");
    }
}

/// What a run wrote first may be torn away as a whole, its segment's header with it, while later
/// segments came to the medium: that is no damage unless later blocks know that it was durable.
#[test]
fn first_segment_of_a_run_may_be_torn_away_unless_it_was_durable() {
    for is_durable in [false, true] {
        let mut history = History::new(5, 60_000);
        let before = history.state.clone();
        if is_durable {
            history.group();
            history.flush();
        }
        (0..200).for_each(|_| history.group());
        let blocks = history.flush();
        assert!(blocks.iter().any(|(segment, ..)| *segment == 2));
        history.disk.segments.get_mut(&1).unwrap().fill(0);
        history.disk.segments.retain(|segment, _| *segment <= 2);
        match history.disk.recover() {
            Ok(recovered) => assert!(!is_durable && recovered.state == before),
            Err(error) => assert!(is_durable && error.damage == Damage::BlockLost, "{error}"),
        }
    }
}

/// Over many segments with snapshots between: what is on the disk is the state at every batch, and
/// segments are given back.
#[test]
fn state_is_recovered_when_segments_are_recycled() {
    let mut history = History::new(3, 60_000);
    for round in 0..1000 {
        history.group();
        if round % 100 == 99 {
            history.snapshot();
        }
        if round % 17 == 0 {
            history.flush();
            assert_eq!(history.disk.recover().unwrap().state, history.state);
        }
    }
    let last = *history.disk.segments.keys().last().unwrap();
    let freed = last as usize - history.disk.segments.len();
    assert!(freed > 5, "{freed} of {last} segments were given back");
}

/// Crash after crash: each run goes on where the last one was durable, whatever it left torn
/// behind that.
#[test]
fn state_is_durable_over_many_runs() {
    let mut history = History::new(6, 20_000);
    for _ in 0..60 {
        for _ in 0..history.random.below(40) {
            (0..history.random.below(4)).for_each(|_| history.group());
            if history.random.chance(1, 20) {
                history.snapshot();
            }
            history.flush();
        }
        let durable = history.state.clone();
        history.group();
        history.tear();
        let recovered = history.disk.recover().unwrap();
        assert_eq!(recovered.state, durable);
        history.restart(&recovered);
    }
    assert!(*history.disk.segments.keys().next().unwrap() > 1);
}

/// A group that a segment's end divides takes effect as a whole or not at all.
#[test]
fn group_is_all_or_nothing_when_a_segment_ends_inside_it() {
    let mut history = History::new(4, 60_000);
    let mut split = 0;
    for _ in 0..200 {
        let before = history.state.clone();
        history.wide_group();
        let mut disk = history.disk.clone();
        let written = history.flush();
        if written.len() < 2 {
            continue;
        }
        split += 1;
        let (segment, start, end) = written[0];
        let source = &history.disk.segments[&segment];
        disk.segments.get_mut(&segment).unwrap()[start..end].copy_from_slice(&source[start..end]);
        assert_eq!(disk.recover().unwrap().state, before);
        assert_eq!(history.disk.recover().unwrap().state, history.state);
    }
    assert!(split > 3, "only {split} groups were divided");
}

/// A segment that is lost is noticed.
#[test]
fn recovery_refuses_when_a_segment_is_missing() {
    let mut history = History::new(5, 60_000);
    for _ in 0..300 {
        history.group();
        history.flush();
    }
    let numbers: Vec<u32> = history.disk.segments.keys().copied().collect();
    let used = &numbers[..numbers.len() - 2];
    for number in used {
        let mut disk = history.disk.clone();
        disk.segments.remove(number);
        let error = disk.recover().unwrap_err();
        assert_eq!(error.damage, Damage::SegmentsMissing);
        assert_eq!(error.segment, number + 1);
    }
}
