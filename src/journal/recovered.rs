//! What was recovered of one shard: its state, the messages in it, and where its journal goes on.

use super::error::{Damage, JournalError};
use super::place::Place;
use super::record::BodyView;
use super::rehome::OverdueMessage;
use super::state::State;
use super::writer::WriterSettings;
use crate::base::ids::ShardId;
use crate::base::map::{Map, map};
use std::collections::BTreeMap;

/// Plain data that can go to another thread.
#[derive(Debug)]
pub struct Recovered {
    shard: ShardId,
    pub state: State,
    /// Needed bodies, ascending, each once.
    wanted: Vec<(Place, u32)>,
    /// The record of each body that was loaded.
    bodies: Map<Place, Body>,
    /// Segment -> needed bytes in it, for those that hold a needed body.
    live_bytes: BTreeMap<u32, u64>,
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
        let mut wanted: Vec<(Place, u32)> = state.bodies().collect();
        wanted.sort_unstable();
        wanted.dedup_by_key(|(place, _)| *place);
        let mut live_bytes: BTreeMap<u32, u64> = BTreeMap::new();
        for (place, bytes) in &wanted {
            *live_bytes.entry(place.segment()).or_default() += u64::from(*bytes);
        }
        Self {
            shard,
            state,
            wanted,
            bodies: map(0),
            live_bytes,
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
        self.live_bytes.keys().copied()
    }

    /// Reads the needed messages of one segment.
    ///
    /// # Errors
    /// One of them is not there.
    pub fn load(&mut self, segment: u32, bytes: &[u8]) -> Result<(), JournalError> {
        let before = |end: u32| self.wanted.partition_point(|(it, _)| it.segment() < end);
        let range = before(segment)..before(segment.saturating_add(1));
        for (place, length) in self.wanted[range].iter().copied() {
            let start = place.offset() as usize;
            let record = bytes.get(start..start.saturating_add(length as usize));
            let whole = record.filter(|record| BodyView::decode_at(place, record).is_some());
            let Some(record) = whole else {
                return Err(JournalError {
                    shard: self.shard,
                    segment,
                    offset: place.offset(),
                    damage: Damage::MessageLost,
                });
            };
            let record = record.into();
            self.bodies.insert(place, Body { place, record });
        }
        Ok(())
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

    /// Existing segments with the needed bytes in them, ascending.
    pub fn segments(&self) -> impl Iterator<Item = (u32, u64)> {
        let live = |number| self.live_bytes.get(number).copied().unwrap_or(0);
        self.segments
            .iter()
            .map(move |number| (*number, live(number)))
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
