//! Which segments exist, what is still needed of each, and which may be used again.
//!
//! A segment is needed while recovery would read it: from the begin marker of the last complete
//! snapshot on, and before it while the body of a message that is queued, in flight or retained
//! stands in it. That second need ends with a delay: when the last such body is gone the records
//! behind the begin marker may still name it, so the segment is free only when a whole snapshot has
//! been written since.

use std::collections::{BTreeSet, VecDeque};

/// Something about segments that the driver has to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SegmentEvent {
    /// Make this segment ready to be written (`Shard::on_segment_ready`). Comes one segment ahead.
    Wanted(u32),
    /// Nothing of this segment is needed any more.
    Free(u32),
}

#[derive(Debug)]
struct Segment {
    number: u32,
    /// Bytes of bodies in it that are still needed. A body counts once for all messages in memory,
    /// and once for each queue that has only its place.
    live_bytes: u64,
    /// It held no such body when the snapshot under way began.
    was_dead: bool,
}

/// The segments of one shard. Bounded by the disk: see the decision page on the journal.
#[derive(Debug, Default)]
pub(super) struct Segments {
    /// Ascending.
    known: VecDeque<Segment>,
    ready: BTreeSet<u32>,
    /// The highest number that was asked for.
    wanted: u32,
    events: VecDeque<SegmentEvent>,
}

impl Segments {
    /// Of an earlier run, in ascending order.
    pub(super) fn add_recovered(&mut self, number: u32) {
        self.known.push_back(Segment {
            number,
            live_bytes: 0,
            was_dead: false,
        });
    }

    /// Writing goes on in this segment: the next one is wanted, too.
    pub(super) fn begin(&mut self, number: u32) {
        self.known.push_back(Segment {
            number,
            live_bytes: 0,
            was_dead: false,
        });
        self.order(number);
        self.order(number + 1);
    }

    /// Asks for a segment, once.
    pub(super) fn order(&mut self, number: u32) {
        if number > self.wanted {
            self.wanted = number;
            self.events.push_back(SegmentEvent::Wanted(number));
        }
    }

    pub(super) fn on_ready(&mut self, number: u32) {
        self.ready.insert(number);
    }

    pub(super) fn is_ready(&self, number: u32) -> bool {
        self.ready.contains(&number)
    }

    pub(super) fn poll(&mut self) -> Option<SegmentEvent> {
        self.events.pop_front()
    }

    /// False: the segment was given up.
    pub(super) fn add_live(&mut self, number: u32, bytes: u32) -> bool {
        let Some(segment) = self.find(number) else {
            return false;
        };
        segment.live_bytes += u64::from(bytes);
        // A snapshot under way must not give it up: what needs the body now is not in the snapshot.
        segment.was_dead = false;
        true
    }

    pub(super) fn remove_live(&mut self, number: u32, bytes: u32) {
        if let Some(segment) = self.find(number) {
            assert!(segment.live_bytes >= u64::from(bytes));
            segment.live_bytes -= u64::from(bytes);
        }
    }

    fn find(&mut self, number: u32) -> Option<&mut Segment> {
        let position = self
            .known
            .binary_search_by_key(&number, |segment| segment.number)
            .ok()?;
        self.known.get_mut(position)
    }

    pub(super) fn live_bytes(&self, number: u32) -> u64 {
        self.known
            .binary_search_by_key(&number, |segment| segment.number)
            .ok()
            .and_then(|position| self.known.get(position))
            .map_or(0, |segment| segment.live_bytes)
    }

    /// Needed bytes of all bodies.
    pub(super) fn live_bytes_sum(&self) -> u64 {
        self.known.iter().map(|segment| segment.live_bytes).sum()
    }

    pub(super) fn count(&self) -> usize {
        self.known.len()
    }

    pub(super) fn on_snapshot_begin(&mut self) {
        for segment in &mut self.known {
            segment.was_dead = segment.live_bytes == 0;
        }
    }

    /// The snapshot that began in segment `began_in` is durable as a whole.
    pub(super) fn on_snapshot_durable(&mut self, began_in: u32) {
        let Self {
            known,
            events,
            ready,
            ..
        } = self;
        known.retain(|segment| {
            let is_free = segment.number < began_in && segment.was_dead;
            if is_free {
                events.push_back(SegmentEvent::Free(segment.number));
                ready.remove(&segment.number);
            }
            !is_free
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three segments of an earlier run, without bodies.
    fn segments() -> Segments {
        let mut segments = Segments::default();
        (1..=3).for_each(|number| segments.add_recovered(number));
        segments
    }

    #[test]
    fn segment_that_is_needed_again_survives_the_snapshot_under_way() {
        let mut segments = segments();
        segments.on_snapshot_begin();
        assert!(segments.add_live(2, 10));
        segments.on_snapshot_durable(3);
        assert_eq!(segments.poll(), Some(SegmentEvent::Free(1)));
        assert_eq!(segments.poll(), None);
        assert_eq!(segments.live_bytes(2), 10);
    }

    #[test]
    fn segment_that_was_given_up_takes_no_needs() {
        let mut segments = segments();
        segments.on_snapshot_begin();
        segments.on_snapshot_durable(3);
        assert!(!segments.add_live(2, 10));
        assert!(segments.add_live(3, 10));
    }
}
