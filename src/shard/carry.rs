//! Snapshots carry messages forward that wait on the disk only: read from a segment that holds
//! little else, and written again.
//!
//! A session's stored messages are carried before its turn in the snapshot. Until then the journal
//! knows the old places, whose segments stay as long as the snapshot is not complete.

use super::Shard;
use super::journal::record_bytes;
use super::overflow::{READ_BYTES, Read, Run};
use crate::journal::{Place, Record, Writer};

/// How far the snapshot is with the stored messages of one session.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Carrying {
    /// Its number in the journal.
    session: u64,
    /// The number of the first message that was not looked at.
    next: u64,
    /// A read is under way.
    is_reading: bool,
}

impl Shard {
    /// Whether all stored messages of a session stand where they may stay; if not, the next ones
    /// are asked for, and the snapshot goes on when they have come.
    pub(super) fn is_carried(&mut self, slot: u32) -> bool {
        let Self {
            sessions, journal, ..
        } = self;
        if journal.snapshot.carrying.is_reading {
            return false;
        }
        let Some(session) = sessions.get(slot) else {
            return true;
        };
        let Some(stored) = session.outbound.stored() else {
            return true;
        };
        let mut carrying = journal.snapshot.carrying;
        if carrying.session != session.journal_number {
            carrying = Carrying {
                session: session.journal_number,
                ..Carrying::default()
            };
        }
        let Some(writer) = journal.writer() else {
            return true;
        };
        let may_stay = |place| !is_to_be_carried(writer, place);
        let next = stored.iter_from(carrying.next).find(|(_, message)| {
            let place = Place::from_u64(message.place.get());
            !message.is_lost && !place.is_none_or(may_stay)
        });
        let Some((first, _)) = next else {
            journal.snapshot.carrying = Carrying::default();
            return true;
        };
        let is_needed = |place| is_to_be_carried(writer, place);
        let Some(run) = Run::of(stored, first, READ_BYTES, is_needed) else {
            return true;
        };
        carrying.next = first + u64::from(run.count);
        carrying.is_reading = true;
        journal.snapshot.carrying = carrying;
        let number = session.journal_number;
        journal.overflow.ask_for_carry(slot, number, first, &run);
        false
    }

    /// Writes messages again that were read for the snapshot; the place of one that the disk has
    /// lost.
    pub(super) fn end_carry(&mut self, read: &Read, bytes: &[u8]) -> Option<Place> {
        let Self {
            sessions,
            journal,
            counters,
            ..
        } = self;
        journal.snapshot.carrying.is_reading = false;
        let session = sessions.get_mut(read.session)?;
        let stored = session.outbound.stored_mut()?;
        if session.journal_number != read.number {
            return None;
        }
        let mut lost = None;
        for number in read.first..read.end() {
            let Some(message) = stored.get_mut(number) else {
                continue;
            };
            let Some(place) = Place::from_u64(message.place.get()) else {
                continue;
            };
            if !read.covers(place.as_u64()) {
                continue;
            }
            let Some(body) = read.body(place.as_u64(), bytes) else {
                message.is_lost = true;
                lost = Some(place);
                continue;
            };
            let writer = journal.writer()?;
            let carried = writer.append(&Record::Body(body));
            writer.add_live(carried, record_bytes(message));
            writer.remove_live(place, record_bytes(message));
            message.place = carried.into();
            counters.journal_carried += 1;
        }
        lost
    }
}

/// The segment holds so little that what is needed of it is written again.
fn is_to_be_carried(writer: &Writer, place: Place) -> bool {
    writer.is_sparse(place.segment()) && writer.is_written(place)
}
