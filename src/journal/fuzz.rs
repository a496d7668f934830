//! The body of the fuzz target `journal_recovery`: whatever stands on the disk, recovery ends, and
//! with a state or with a place.

use super::layout::{BLOCK_HEADER_BYTES, BlockHeader, BlockSalt, SegmentHeader, block_bytes};
use super::recovery::Recovery;
use super::scan::SegmentBlocks;
use super::spare::Survey;
use crate::base::ids::ShardId;

const SHARD: ShardId = ShardId(3);
const SALT: u64 = 0x0123_4567_89ab_cdef;

/// Recovers from `bytes` as a segment, and as what whole blocks contain: `0xff 0xff` begins the
/// next block, and a block that ends with `0xfe` goes on in the next one.
pub fn exercise_recovery(bytes: &[u8]) {
    recover(bytes);
    recover(&segment_of(bytes));
}

fn recover(segment: &[u8]) {
    repair(segment);
    let mut recovery = Recovery::new(SHARD);
    if recovery.read(1, segment).is_err() {
        return;
    }
    if let Ok(Some(blocks)) = SegmentBlocks::new(SHARD, 1, segment) {
        blocks.records().for_each(drop);
    }
    if let Ok(mut recovered) = recovery.finish() {
        let wanted: Vec<u32> = recovered.wanted_segments().collect();
        let loaded = wanted
            .into_iter()
            .try_for_each(|number| recovered.load(number, if number == 1 { segment } else { &[] }));
        if loaded.is_ok() {
            let places: Vec<_> = recovered.state.bodies().collect();
            let missing = places
                .iter()
                .find(|(place, _)| recovered.body(*place).is_none());
            assert_eq!(missing, None);
        }
    }
}

/// What can be left of it without some messages.
fn repair(segment: &[u8]) {
    let mut survey = Survey::new(SHARD);
    if survey.read(1, segment).is_err() {
        return;
    }
    let mut recovery = Recovery::sparing(SHARD, survey.finish());
    if recovery.read(1, segment).is_err() {
        return;
    }
    if let Ok(mut recovered) = recovery.finish() {
        let wanted: Vec<u32> = recovered.wanted_segments().collect();
        let bytes_of = |number| if number == 1 { segment } else { &[] };
        let lost = wanted
            .iter()
            .flat_map(|number| recovered.lost(*number, bytes_of(*number)));
        let lost = lost.collect();
        recovered.give_up(&lost);
        let left = wanted
            .into_iter()
            .try_for_each(|number| recovered.load(number, bytes_of(number)));
        assert_eq!(left, Ok(()));
    }
}

/// A segment of valid blocks with these payloads.
fn segment_of(bytes: &[u8]) -> Vec<u8> {
    let header = SegmentHeader {
        shard: SHARD,
        segment: 1,
        epoch: 1,
        previous_epoch: 0,
        salt: SALT,
        first_block: 1,
        previous_last_block: 0,
    };
    let mut segment = Vec::new();
    header.encode(&mut segment);
    let mut rest = bytes;
    let mut number = 0;
    while !rest.is_empty() {
        let end = rest.windows(2).position(|pair| pair == [0xff, 0xff]);
        let payload = &rest[..end.unwrap_or(rest.len())];
        rest = end.map_or(&[], |end| &rest[end + 2..]);
        number += 1;
        let start = segment.len();
        let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
        segment.resize(start + BLOCK_HEADER_BYTES as usize, 0);
        segment.extend(payload);
        let whole = usize::try_from(block_bytes(length)).unwrap_or(usize::MAX);
        segment.resize(start + whole, 0);
        let open_group = (payload.last() == Some(&0xfe)).then_some(length / 2);
        let offset = u32::try_from(start).unwrap_or(u32::MAX);
        let salt = BlockSalt::of(&header);
        BlockHeader::seal(
            &mut segment[start..],
            length,
            number,
            number - 1,
            open_group,
            salt,
            offset,
        );
    }
    segment
}
