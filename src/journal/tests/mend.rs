//! Journals with damage inside messages, and beside them.

use super::disk::{Disk, SHARD};
use super::history::History;
use crate::codec::QosLevel;
use crate::journal::{Damage, Place, Record, SegmentBlocks, State};

/// Of a body's record: kind, length and its own check sum are no part of what it covers.
const UNCOVERED_BYTES: usize = 9;

/// Some sessions with messages, through a snapshot; nobody knew the last block to be durable.
fn history(seed: u64, payload_bytes_max: u64) -> History {
    let mut history = History::new(seed, payload_bytes_max);
    for round in 0..60 {
        (0..3).for_each(|_| history.group());
        if round % 10 == 3 {
            history.wide_group();
        }
        history.flush();
        if round == 30 {
            history.snapshot();
        }
    }
    history
}

/// Every body with the place and the length of its record.
fn bodies(disk: &Disk) -> Vec<(Place, usize)> {
    let mut bodies = Vec::new();
    for (number, bytes) in &disk.segments {
        let blocks = SegmentBlocks::new(SHARD, *number, bytes).unwrap();
        let records = blocks.into_iter().flat_map(SegmentBlocks::records);
        for (place, record) in records {
            if let Some(record @ Record::Body(_)) = record {
                bodies.push((place, record.bytes()));
            }
        }
    }
    bodies
}

fn flip(disk: &mut Disk, place: Place, at: usize, bit: u64) {
    let segment = disk.segments.get_mut(&place.segment()).unwrap();
    segment[place.offset() as usize + at] ^= 1 << bit;
}

/// The state without the messages that have these bodies.
fn without(state: &State, lost: &[Place]) -> State {
    let mut left = state.clone();
    for session in left.sessions.values_mut() {
        session.queue.retain(|it| !lost.contains(&it.place));
        session.inflight.retain_mut(|entry| {
            let queued = entry.queued.clone();
            let lost = queued.filter(|it| lost.contains(&it.place));
            if lost.is_some() {
                entry.queued = None;
            }
            // An exchange of QoS 2 goes on without the message.
            lost.is_none_or(|it| it.qos == QosLevel::ExactlyOnce)
        });
    }
    left.retained.retain(|_, it| !lost.contains(&it.place));
    left.forwards.retain(|_, it| !lost.contains(&it.place));
    left
}

/// Of whatever message a byte changes: a repair takes this message out of the last state, and
/// nothing else.
#[test]
fn repair_drops_the_message_that_is_damaged() {
    for (seed, payload_bytes_max) in [(11, 300), (12, 5000), (13, 60_000)] {
        let mut history = history(seed, payload_bytes_max);
        let bodies = bodies(&history.disk);
        let (mut dropped, mut needless, mut torn) = (0, 0, 0);
        for (place, bytes) in &bodies {
            let mut disk = history.disk.clone();
            let at = history.random.below((bytes - UNCOVERED_BYTES) as u64);
            let at = UNCOVERED_BYTES + usize::try_from(at).unwrap();
            flip(&mut disk, *place, at, history.random.below(8));
            let error = match disk.recover() {
                Err(error) => error,
                Ok(recovered) => {
                    torn += u64::from(recovered.state != history.state);
                    continue;
                }
            };
            let is_lost = matches!(error.damage, Damage::BlockLost | Damage::MessageLost);
            assert!(is_lost, "{error}");
            let losses = disk.mend().unwrap();
            let expected = without(&history.state, &[*place]);
            assert_eq!(disk.recover().unwrap().state, expected);
            let lost = losses.messages() + losses.forwards + losses.retained.len() as u64;
            assert_eq!(lost > 0, expected != history.state);
            dropped += u64::from(lost > 0);
            needless += u64::from(lost == 0);
        }
        assert!(dropped > 8 && needless > 8, "{dropped} {needless}");
        assert!(torn < 10, "only the last block is the torn end: {torn}");
    }
}

/// Damage in several messages of one block, and of several blocks, is one loss.
#[test]
fn repair_drops_all_messages_that_are_damaged() {
    let history = history(14, 2000);
    let bodies = bodies(&history.disk);
    let lost: Vec<Place> = bodies.iter().map(|(place, _)| *place).collect();
    // Those at the end stay: the last block would be taken for torn.
    let lost = &lost[..lost.len() - 8];
    let mut disk = history.disk.clone();
    for place in lost {
        flip(&mut disk, *place, UNCOVERED_BYTES, 3);
    }
    let refused = disk.recover().unwrap_err();
    let losses = disk.mend().unwrap();
    let count = losses.messages() + losses.forwards + losses.retained.len() as u64;
    assert!(count > 3, "{refused}: {losses:?}");
    assert_eq!(disk.recover().unwrap().state, without(&history.state, lost));
}

/// A byte of anything else in a block, or of a message's own check sum: dropping messages does not
/// help, and nothing is written.
#[test]
fn repair_refuses_to_drop_what_is_no_message() {
    let mut history = history(15, 300);
    let bodies = bodies(&history.disk);
    let covered = |segment: u32, at: usize| {
        bodies.iter().any(|(place, bytes)| {
            let start = place.offset() as usize;
            let covered = start + UNCOVERED_BYTES..start + bytes;
            place.segment() == segment && covered.contains(&at)
        })
    };
    let (mut refused, mut mended) = (0, 0);
    for _ in 0..400 {
        let mut disk = history.disk.clone();
        let page = 1 + history.random.below(70);
        let at = usize::try_from(page * 4096 + history.random.below(300)).unwrap();
        let first = *disk.segments.keys().next().unwrap();
        disk.segments.get_mut(&first).unwrap()[at] ^= 0x10;
        let Err(error) = disk.recover() else { continue };
        let before = disk.segments.clone();
        if covered(first, at) || error.damage == Damage::MessageLost {
            assert!(disk.mend().is_ok(), "{first} {at}");
            mended += 1;
        } else {
            assert_eq!(disk.mend().unwrap_err().damage, Damage::BlockLost);
            assert!(disk.segments == before);
            refused += 1;
        }
    }
    assert!(refused > 30 && mended > 10, "{refused} {mended}");
}
