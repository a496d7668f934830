//! What was recovered of one shard: its state, the messages in it, and where its journal goes on.

use super::error::{Damage, JournalError};
use super::place::Place;
use super::record::BodyView;
use super::rehome::OverdueMessage;
use super::state::{QueuedState, State};
use super::writer::WriterSettings;
use crate::base::ids::ShardId;
use crate::base::map::{Map, map};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

/// Plain data that can go to another thread.
#[derive(Debug)]
pub struct Recovered {
    shard: ShardId,
    pub state: State,
    /// Needed bodies, ascending, each once.
    wanted: Vec<Wanted>,
    /// By segment: the records of its needed bodies one behind the other, if they were loaded.
    loaded: BTreeMap<u32, Arc<Vec<u8>>>,
    /// Session -> messages at the beginning of its queue that are to be in memory, if not all are.
    held: Map<u64, usize>,
    /// All segments that exist, ascending.
    segments: Vec<u32>,
    /// The last epoch and its last block; 0: there was none.
    epoch: u32,
    last_block: u64,
    bytes_since_snapshot: u64,
    rehomed: Option<Box<Rehomed>>,
}

/// A body that is needed.
#[derive(Clone, Copy, Debug)]
struct Wanted {
    place: Place,
    bytes: u32,
    /// Where its record is among those of its segment that were loaded.
    loaded_at: u32,
}

/// What was put together from the journals of other shards.
#[derive(Debug)]
pub(super) struct Rehomed {
    /// By number: see [`Rehomed::name`].
    pub(super) bodies: Vec<Option<Body>>,
    /// Where each session lived.
    pub(super) former_shards: Map<u64, ShardId>,
    pub(super) overdue: Vec<OverdueMessage>,
}

impl Rehomed {
    /// The first of the names that stand for places.
    const FIRST_NAME: u64 = 1 << 32;

    /// How a body is named in the state: its own place is one of another shard.
    pub(super) fn name(number: usize) -> Option<Place> {
        Place::from_u64(Self::FIRST_NAME + number as u64)
    }

    fn number(&self, name: Place) -> Option<usize> {
        let number = name.as_u64().checked_sub(Self::FIRST_NAME)?;
        let number = usize::try_from(number).ok()?;
        (number < self.bodies.len()).then_some(number)
    }
}

/// A body's record among those of its segment, and where it stood: its check sum depends on that.
#[derive(Clone, Debug)]
pub(super) struct Body {
    place: Place,
    bytes: u32,
    loaded_at: u32,
    loaded: Arc<Vec<u8>>,
}

impl Body {
    fn view(&self) -> Option<BodyView<'_>> {
        let start = self.loaded_at as usize;
        let record = self
            .loaded
            .get(start..start.checked_add(self.bytes as usize)?)?;
        BodyView::decode_at(self.place, record)
    }
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

    /// A message's bytes as a queue counts them: without those of its record alone.
    const fn bytes_of(queued: &QueuedState) -> u64 {
        (queued.bytes as u64).saturating_sub(BodyView::FIXED_BYTES as u64)
    }
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
        let wanted = ascending(state.bodies());
        Self {
            shard,
            state,
            wanted,
            loaded: BTreeMap::new(),
            held: map(0),
            segments,
            epoch,
            last_block,
            bytes_since_snapshot,
            rehomed: None,
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
        self.rehomed.is_some()
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
        let segments = self.wanted.iter().map(|wanted| wanted.place.segment());
        segments.filter(move |segment| last.replace(*segment) != Some(*segment))
    }

    /// What the queues hold beyond `memory` stays on the disk: it is not wanted any more. Not for
    /// what is re-homed: its places mean nothing.
    pub fn leave_queues(&mut self, memory: QueueMemory) {
        if self.queues_fit(memory) {
            return;
        }
        let mut sessions: Vec<_> = self.state.sessions.iter().collect();
        sessions.sort_unstable_by_key(|(number, _)| **number);
        let mut total = 0;
        let mut wanted: Vec<(Place, u32)> = self.state.bodies_beside_queues().collect();
        for (number, session) in sessions {
            let mut bytes = 0;
            let is_held = |queued: &&QueuedState| {
                let next = bytes + QueueMemory::bytes_of(queued);
                let next_total = total + (next - bytes) + QueueMemory::MESSAGE_BYTES;
                let fits = next <= memory.session_bytes && next_total <= memory.bytes;
                if fits {
                    (bytes, total) = (next, next_total);
                }
                fits
            };
            let before = wanted.len();
            let first = session.queue.iter().take_while(is_held);
            wanted.extend(first.map(|queued| (queued.place, queued.bytes)));
            let held = wanted.len() - before;
            if held < session.queue.len() {
                self.held.insert(*number, held);
            }
        }
        self.wanted = ascending(wanted.into_iter());
    }

    /// Whether no queue has to stay on the disk.
    fn queues_fit(&self, memory: QueueMemory) -> bool {
        let mut total = 0;
        self.state.sessions.values().all(|session| {
            let bytes: u64 = session.queue.iter().map(QueueMemory::bytes_of).sum();
            total += bytes + session.queue.len() as u64 * QueueMemory::MESSAGE_BYTES;
            bytes <= memory.session_bytes && total <= memory.bytes
        })
    }

    /// Messages at the beginning of a session's queue that are to be in memory.
    #[must_use]
    pub fn held_count(&self, session: u64) -> usize {
        self.held.get(&session).copied().unwrap_or(usize::MAX)
    }

    /// Reads the needed messages of one segment.
    ///
    /// # Errors
    /// One of them is not there.
    pub fn load(&mut self, segment: u32, bytes: &[u8]) -> Result<(), JournalError> {
        let range = self.wanted_of(segment);
        let lengths = self.wanted[range.clone()]
            .iter()
            .map(|it| it.bytes as usize);
        let mut loaded = Vec::with_capacity(lengths.sum());
        for index in range {
            let record = self.wanted_record(index, bytes)?;
            self.wanted[index].loaded_at = u32::try_from(loaded.len()).unwrap_or(u32::MAX);
            loaded.extend_from_slice(record);
        }
        self.loaded.insert(segment, Arc::new(loaded));
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

    pub(super) fn wanted_of(&self, segment: u32) -> Range<usize> {
        let before = |end: u32| self.wanted.partition_point(|it| it.place.segment() < end);
        before(segment)..before(segment.saturating_add(1))
    }

    pub(super) fn wanted_record<'a>(
        &self,
        index: usize,
        segment: &'a [u8],
    ) -> Result<&'a [u8], JournalError> {
        let Wanted { place, bytes, .. } = self.wanted[index];
        let start = place.offset() as usize;
        let record = segment.get(start..start.saturating_add(bytes as usize));
        record
            .filter(|record| BodyView::decode_at(place, record).is_some())
            .ok_or_else(|| JournalError {
                shard: self.shard,
                segment: place.segment(),
                offset: place.offset(),
                damage: Damage::MessageLost,
            })
    }

    pub(super) fn wanted_place(&self, index: usize) -> Place {
        self.wanted[index].place
    }

    pub(super) fn forget_wanted(&mut self, lost: &BTreeSet<Place>) {
        self.wanted.retain(|wanted| !lost.contains(&wanted.place));
    }

    /// Bodies that are needed, or were put together: more than any [`Self::body_number`].
    #[must_use]
    pub fn body_count(&self) -> usize {
        let rehomed = self.rehomed.as_ref();
        rehomed.map_or(self.wanted.len(), |it| it.bodies.len())
    }

    /// Counts the bodies, so that what is made of them needs no table.
    #[must_use]
    pub fn body_number(&self, place: Place) -> Option<usize> {
        match &self.rehomed {
            Some(rehomed) => rehomed.number(place),
            None => self.wanted.binary_search_by_key(&place, |it| it.place).ok(),
        }
    }

    /// A message that was loaded.
    #[must_use]
    pub fn body(&self, place: Place) -> Option<BodyView<'_>> {
        self.body_numbered(self.body_number(place)?)
    }

    /// The same by its number.
    #[must_use]
    pub fn body_numbered(&self, number: usize) -> Option<BodyView<'_>> {
        if let Some(rehomed) = &self.rehomed {
            return rehomed.bodies.get(number)?.as_ref()?.view();
        }
        BodyView::decode_at(self.wanted.get(number)?.place, self.loaded_record(number)?)
    }

    fn loaded_record(&self, number: usize) -> Option<&[u8]> {
        let wanted = self.wanted.get(number)?;
        let loaded = self.loaded.get(&wanted.place.segment())?;
        let start = wanted.loaded_at as usize;
        loaded.get(start..start.checked_add(wanted.bytes as usize)?)
    }

    /// A message that was loaded from this shard's own journal, for another one: not copied.
    pub(super) fn stored_body(&self, place: Place) -> Option<Body> {
        let wanted = self.wanted.get(self.body_number(place)?)?;
        Some(Body {
            place,
            bytes: wanted.bytes,
            loaded_at: wanted.loaded_at,
            loaded: Arc::clone(self.loaded.get(&place.segment())?),
        })
    }

    /// What was put together for this shard from the journals of others.
    pub(super) fn rehomed(shard: ShardId, state: State, rehomed: Rehomed) -> Self {
        Self {
            state,
            rehomed: Some(Box::new(rehomed)),
            ..Self::nothing(shard)
        }
    }

    /// Messages that had not reached some shards of the former process.
    pub fn overdue(&self) -> impl Iterator<Item = OverdueMessage> + use<> {
        let rehomed = self.rehomed.as_ref();
        let overdue = rehomed.map_or_else(Vec::new, |it| it.overdue.clone());
        overdue.into_iter()
    }

    /// The shard of the former process at which a session lived, if it is re-homed.
    #[must_use]
    pub fn former_shard(&self, session: u64) -> Option<ShardId> {
        let rehomed = self.rehomed.as_ref()?;
        rehomed.former_shards.get(&session).copied()
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
fn ascending(bodies: impl Iterator<Item = (Place, u32)>) -> Vec<Wanted> {
    let wanted = bodies.map(|(place, bytes)| Wanted {
        place,
        bytes,
        loaded_at: 0,
    });
    let mut wanted: Vec<Wanted> = wanted.collect();
    wanted.sort_unstable_by_key(|it| it.place);
    wanted.dedup_by_key(|it| it.place);
    wanted
}
