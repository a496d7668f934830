//! What was recovered of one shard: its state, the messages in it, and where its journal goes on.

use super::error::{Damage, JournalError};
use super::place::Place;
use super::record::BodyView;
use super::rehome::OverdueMessage;
use super::state::{QueuedState, State};
use super::writer::WriterSettings;
use crate::base::ids::ShardId;
use crate::base::map::{Map, map};
use std::ops::Range;

/// Plain data that can go to another thread.
#[derive(Debug)]
pub struct Recovered {
    shard: ShardId,
    pub state: State,
    /// Needed bodies, ascending, each once.
    wanted: Vec<(Place, u32)>,
    /// The record of each body that was loaded.
    bodies: Map<Place, Body>,
    /// Session -> messages at the beginning of its queue that are to be in memory; `None`: all.
    held: Option<Map<u64, usize>>,
    /// All segments that exist, ascending.
    segments: Vec<u32>,
    /// The last epoch and its last block; 0: there was none.
    epoch: u32,
    last_block: u64,
    bytes_since_snapshot: u64,
    is_rehomed: bool,
    /// Where each session lived, if it is re-homed.
    former_shards: Map<u64, ShardId>,
    overdue: Vec<OverdueMessage>,
}

/// A body's record, and where it stood: its check sum depends on that.
#[derive(Clone, Debug)]
pub(super) struct Body {
    place: Place,
    record: Box<[u8]>,
}

/// What queues may take in memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct QueueMemory {
    /// The queue of one session.
    pub session_bytes: u64,
    /// All queues of the shard.
    pub bytes: u64,
}

impl QueueMemory {
    /// What a message takes beside its bytes.
    const MESSAGE_BYTES: u64 = 128;
}

/// For the log line at the start.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct RecoveredCounts {
    pub sessions: u64,
    pub subscriptions: u64,
    /// Queued and in flight.
    pub messages: u64,
    pub retained: u64,
    pub forwards: u64,
}

impl Recovered {
    pub(super) fn new(
        shard: ShardId,
        state: State,
        (epoch, last_block): (u32, u64),
        segments: Vec<u32>,
        bytes_since_snapshot: u64,
    ) -> Self {
        let wanted = ascending(state.bodies().collect());
        Self {
            shard,
            state,
            wanted,
            bodies: map(0),
            held: None,
            segments,
            epoch,
            last_block,
            bytes_since_snapshot,
            is_rehomed: false,
            former_shards: map(0),
            overdue: Vec::new(),
        }
    }

    /// Of a shard that never had a journal.
    #[must_use]
    pub fn nothing(shard: ShardId) -> Self {
        Self::new(shard, State::default(), (0, 0), Vec::new(), 0)
    }

    /// It was put together from the journals of other shards: the places are theirs.
    #[must_use]
    pub const fn is_rehomed(&self) -> bool {
        self.is_rehomed
    }

    #[must_use]
    pub const fn shard(&self) -> ShardId {
        self.shard
    }

    #[must_use]
    pub fn counts(&self) -> RecoveredCounts {
        let messages = self.state.sessions.values();
        let messages = messages.map(|session| session.inflight.len() + session.queue.len());
        RecoveredCounts {
            sessions: self.state.sessions.len() as u64,
            subscriptions: self.state.subscriptions.len() as u64,
            messages: messages.sum::<usize>() as u64,
            retained: self.state.retained.len() as u64,
            forwards: self.state.forwards.len() as u64,
        }
    }

    /// The segments from which messages have to be read, for [`Self::load`].
    pub fn wanted_segments(&self) -> impl Iterator<Item = u32> {
        let mut last = None;
        let segments = self.wanted.iter().map(|(place, _)| place.segment());
        segments.filter(move |segment| last.replace(*segment) != Some(*segment))
    }

    /// What the queues hold beyond `memory` stays on the disk: it is not wanted any more. Not for
    /// what is re-homed: its places mean nothing.
    pub fn leave_queues(&mut self, memory: QueueMemory) {
        let mut held = map(0);
        let mut sessions: Vec<_> = self.state.sessions.iter().collect();
        sessions.sort_unstable_by_key(|(number, _)| **number);
        let mut total = 0;
        let mut wanted: Vec<(Place, u32)> = self.state.bodies_beside_queues().collect();
        for (number, session) in sessions {
            let mut bytes = 0;
            let is_held = |queued: &&QueuedState| {
                let next = bytes + u64::from(queued.bytes);
                let next_total = total + u64::from(queued.bytes) + QueueMemory::MESSAGE_BYTES;
                let fits = next <= memory.session_bytes && next_total <= memory.bytes;
                if fits {
                    (bytes, total) = (next, next_total);
                }
                fits
            };
            let before = wanted.len();
            let first = session.queue.iter().take_while(is_held);
            wanted.extend(first.map(|queued| (queued.place, queued.bytes)));
            held.insert(*number, wanted.len() - before);
        }
        self.wanted = ascending(wanted);
        self.held = Some(held);
    }

    /// Messages at the beginning of a session's queue that are to be in memory.
    #[must_use]
    pub fn held_count(&self, session: u64) -> usize {
        let held = self.held.as_ref();
        held.map_or(usize::MAX, |held| held.get(&session).copied().unwrap_or(0))
    }

    /// Reads the needed messages of one segment.
    ///
    /// # Errors
    /// One of them is not there.
    pub fn load(&mut self, segment: u32, bytes: &[u8]) -> Result<(), JournalError> {
        for index in self.wanted_of(segment) {
            let (place, record) = self.wanted_record(index, bytes)?;
            let record = record.into();
            self.bodies.insert(place, Body { place, record });
        }
        Ok(())
    }

    /// Only looks whether they are there.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn check(&self, segment: u32, bytes: &[u8]) -> Result<(), JournalError> {
        self.wanted_of(segment)
            .try_for_each(|index| self.wanted_record(index, bytes).map(|_| ()))
    }

    fn wanted_of(&self, segment: u32) -> Range<usize> {
        let before = |end: u32| self.wanted.partition_point(|(it, _)| it.segment() < end);
        before(segment)..before(segment.saturating_add(1))
    }

    fn wanted_record<'a>(
        &self,
        index: usize,
        segment: &'a [u8],
    ) -> Result<(Place, &'a [u8]), JournalError> {
        let (place, length) = self.wanted[index];
        let start = place.offset() as usize;
        let record = segment.get(start..start.saturating_add(length as usize));
        match record.filter(|record| BodyView::decode_at(place, record).is_some()) {
            Some(record) => Ok((place, record)),
            None => Err(JournalError {
                shard: self.shard,
                segment: place.segment(),
                offset: place.offset(),
                damage: Damage::MessageLost,
            }),
        }
    }

    /// A message that was loaded.
    #[must_use]
    pub fn body(&self, place: Place) -> Option<BodyView<'_>> {
        let body = self.bodies.get(&place)?;
        BodyView::decode_at(body.place, &body.record)
    }

    pub(super) fn stored_body(&self, place: Place) -> Option<&Body> {
        self.bodies.get(&place)
    }

    /// What was put together for this shard from the journals of others.
    pub(super) fn rehomed(
        shard: ShardId,
        state: State,
        bodies: Map<Place, Body>,
        former_shards: Map<u64, ShardId>,
        overdue: Vec<OverdueMessage>,
    ) -> Self {
        Self {
            state,
            bodies,
            is_rehomed: true,
            former_shards,
            overdue,
            ..Self::nothing(shard)
        }
    }

    /// Messages that had not reached some shards of the former process.
    pub fn overdue(&self) -> impl Iterator<Item = OverdueMessage> + use<> {
        self.overdue.clone().into_iter()
    }

    /// The shard of the former process at which a session lived, if it is re-homed.
    #[must_use]
    pub fn former_shard(&self, session: u64) -> Option<ShardId> {
        self.former_shards.get(&session).copied()
    }

    /// Existing segments, ascending.
    pub fn segments(&self) -> impl Iterator<Item = u32> {
        self.segments.iter().copied()
    }

    /// The same settings for a writer that goes on behind what was recovered.
    #[must_use]
    pub fn writer_settings(&self, settings: WriterSettings) -> WriterSettings {
        WriterSettings {
            epoch: self.epoch + 1,
            previous_epoch: self.epoch,
            previous_last_block: self.last_block,
            first_segment: self.segments.last().map_or(1, |last| last + 1),
            ..settings
        }
    }

    /// Bytes of records that recovery had to read behind the last snapshot's begin.
    #[must_use]
    pub const fn bytes_since_snapshot(&self) -> u64 {
        self.bytes_since_snapshot
    }
}

/// In the order of their places, each once.
fn ascending(mut bodies: Vec<(Place, u32)>) -> Vec<(Place, u32)> {
    bodies.sort_unstable();
    bodies.dedup_by_key(|(place, _)| *place);
    bodies
}
