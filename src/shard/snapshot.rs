//! Snapshots of the shard's state inside its journal, a slice with each batch.
//!
//! Why the order of slices and ordinary records does not matter is said in `journal`. A session is
//! written in one piece: a slice is at most as long as the largest session makes it.

use super::Shard;
use super::carry::Carrying;
use super::journal::Journal;
use crate::journal::{Record, WillFields};
use crate::session::delivery::Delivery;
use crate::session::will::Will;

/// A slice ends behind the object that reaches either of these: what a batch takes in addition,
/// some hundred microseconds of work.
const SLICE_BYTES: usize = 256 << 10;
const SLICE_SLOTS: u32 = 4096;

/// The snapshot under way, and when the next one is due.
#[derive(Debug, Default)]
pub(super) struct Snapshot {
    stage: Stage,
    /// The segment with the begin marker.
    began_in: u32,
    /// What the journal had written when the last snapshot began, and since its end that one's
    /// own bytes, too.
    began_at_bytes: u64,
    /// What an earlier process had written behind its last snapshot.
    recovered_bytes: u64,
    /// Size of the snapshot under way, and of the last one.
    bytes: u64,
    last_bytes: u64,
    /// The next one does not wait for its time.
    is_wanted: bool,
    pub(super) carrying: Carrying,
}

#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
enum Stage {
    #[default]
    Idle,
    /// The next slot of the sessions.
    Sessions(u32),
    /// The next slot of the retained messages.
    Retained(u32),
    /// The end marker is written: the number of its record.
    Ending(u64),
}

impl Snapshot {
    /// The next one is due earlier by what recovery had to read, or at once.
    pub(super) const fn on_recovered(&mut self, bytes: u64, is_rehomed: bool) {
        self.recovered_bytes = bytes;
        self.is_wanted = is_rehomed;
    }

    fn is_due(&self, bytes_written: u64, after_bytes: u64) -> bool {
        let since = bytes_written - self.began_at_bytes + self.recovered_bytes;
        self.is_wanted || since >= after_bytes.max(self.last_bytes)
    }
}

impl Shard {
    /// Writes a snapshot now, whether one is due or not.
    pub fn begin_snapshot(&mut self) {
        self.journal.snapshot.is_wanted = true;
    }

    /// A snapshot is under way or asked for; false without a journal.
    #[must_use]
    pub fn is_snapshot_open(&self) -> bool {
        let snapshot = &self.journal.snapshot;
        self.journal.is_on() && (snapshot.stage != Stage::Idle || snapshot.is_wanted)
    }

    /// The next slice, if there is one and the journal has room for it.
    pub(super) fn advance_snapshot(&mut self) {
        let buffer_bytes_max = self.limits.durability.buffer_bytes_max as usize;
        let Some(writer) = self.journal.writer() else {
            return;
        };
        let before = writer.gathered_bytes();
        if writer.is_under_way() || before >= buffer_bytes_max {
            return;
        }
        let bytes_written = writer.bytes_written();
        if self.journal.snapshot.stage == Stage::Idle {
            let after_bytes = self.limits.durability.snapshot_after_bytes;
            if !self.journal.snapshot.is_due(bytes_written, after_bytes) {
                return;
            }
            self.write_snapshot_begin(bytes_written);
        }
        if matches!(self.journal.snapshot.stage, Stage::Ending(_)) {
            return;
        }
        self.write_slice(before + SLICE_BYTES);
        if let Some(writer) = self.journal.writer() {
            let bytes = writer.gathered_bytes().saturating_sub(before);
            self.journal.snapshot.bytes += bytes as u64;
        }
    }

    fn write_snapshot_begin(&mut self, bytes_written: u64) {
        let next_session = self.journal.next_session;
        let next_forward = self.forwards.next();
        let Some(writer) = self.journal.writer() else {
            return;
        };
        let began_in = writer.begin_snapshot(next_session, next_forward);
        let snapshot = &mut self.journal.snapshot;
        snapshot.stage = Stage::Sessions(0);
        snapshot.began_in = began_in;
        snapshot.began_at_bytes = bytes_written;
        snapshot.recovered_bytes = 0;
        snapshot.bytes = 0;
        snapshot.is_wanted = false;
        self.write_forwards();
    }

    fn write_slice(&mut self, gathered_max: usize) {
        for _ in 0..SLICE_SLOTS {
            let Some(writer) = self.journal.writer() else {
                return;
            };
            writer.begin_group();
            writer.write_all();
            if writer.gathered_bytes() >= gathered_max {
                return;
            }
            self.journal.snapshot.stage = match self.journal.snapshot.stage {
                Stage::Sessions(slot) if slot < self.sessions.slot_count() => {
                    if !self.is_carried(slot) {
                        return;
                    }
                    self.write_session(slot);
                    Stage::Sessions(slot + 1)
                }
                Stage::Sessions(_) => Stage::Retained(0),
                Stage::Retained(slot) if slot < self.retained.entries.slot_count() => {
                    self.write_retained(slot);
                    Stage::Retained(slot + 1)
                }
                Stage::Retained(_) => self.write_snapshot_end(),
                Stage::Idle | Stage::Ending(_) => return,
            };
        }
    }

    fn write_snapshot_end(&mut self) -> Stage {
        let Some(writer) = self.journal.writer() else {
            return Stage::Idle;
        };
        writer.append(&Record::SnapshotEnd);
        writer.sync_all();
        Stage::Ending(writer.appended())
    }

    /// A batch came back: if the end marker was in it, older segments are free.
    pub(super) fn finish_snapshot(&mut self, was_synced: bool) {
        let snapshot = &self.journal.snapshot;
        let (Stage::Ending(sequence), began_in) = (snapshot.stage, snapshot.began_in) else {
            return;
        };
        let Some(writer) = self.journal.writer() else {
            return;
        };
        if !was_synced || writer.durable() < sequence {
            return;
        }
        writer.on_snapshot_durable(began_in);
        let snapshot = &mut self.journal.snapshot;
        snapshot.stage = Stage::Idle;
        snapshot.last_bytes = snapshot.bytes;
        // Else one that is larger than what it waits for would be followed by the next at once.
        snapshot.began_at_bytes += snapshot.bytes;
        self.counters.journal_snapshots += 1;
    }

    /// One session with all that belongs to it.
    fn write_session(&mut self, slot: u32) {
        let Self {
            journal,
            sessions,
            index,
            shared,
            counters,
            ..
        } = self;
        let Some(it) = sessions.get(slot) else { return };
        let session = it.journal_number;
        if session == 0 {
            return;
        }
        journal.append(&Record::SessionBegin {
            session,
            expiry_interval_s: it.expiry_interval_s,
            disconnected_at_ms: it.disconnected_at_ms,
            client_id: &it.client_id,
        });
        if let Some(will) = &it.will {
            let will = will_fields(will);
            journal.append(&Record::Will { session, will });
        }
        let mut filter = String::new();
        for id in it.subscriptions.iter() {
            filter.clear();
            index.filter_text(id, &mut filter);
            if let Some((_, subscription)) = index.get(&filter, slot) {
                let subscription = subscription.fields();
                journal.append(&Record::Subscribe {
                    session,
                    subscription,
                    filter: &filter,
                });
            }
        }
        for group in it.shared.iter().flat_map(|groups| groups.iter()) {
            if let Some((filter, subscription)) = shared.membership(group, slot) {
                let subscription = subscription.fields();
                journal.append(&Record::Subscribe {
                    session,
                    subscription,
                    filter,
                });
            }
        }
        for packet_id in it.inbound.iter() {
            journal.append(&Record::Inbound { session, packet_id });
        }
        let mut write_queued = |journal: &mut Journal, delivery: &Delivery, packet_id| {
            if let Some((place, bytes, was_carried)) = journal.carry(&delivery.message) {
                counters.journal_carried += u64::from(was_carried);
                let queued = journal.queued_record(delivery, place, bytes, packet_id);
                journal.append(&Record::Queued { session, queued });
            }
        };
        for entry in it.outbound.resends() {
            let packet_id = entry.packet_id;
            match &entry.delivery {
                Some(delivery) => write_queued(journal, delivery, Some(packet_id)),
                None => journal.append(&Record::Received { session, packet_id }),
            }
        }
        for delivery in it.outbound.queued() {
            write_queued(journal, delivery, None);
        }
        for message in it.outbound.stored().iter().flat_map(|stored| stored.iter()) {
            if let Some(queued) = journal.stored_record(message) {
                journal.append(&Record::Queued { session, queued });
            }
        }
    }

    fn write_retained(&mut self, slot: u32) {
        let Self {
            journal,
            retained,
            counters,
            ..
        } = self;
        let Some(entry) = retained.entries.get(slot) else {
            return;
        };
        let Some((place, bytes, was_carried)) = journal.carry(&entry.message) else {
            return;
        };
        counters.journal_carried += u64::from(was_carried);
        let ends_at_ms = entry.ends_at.map_or(0, |at| journal.unix_ms(at));
        journal.append(&Record::Retained {
            place,
            bytes,
            ends_at_ms,
            topic_name: entry.message.topic_name(),
        });
    }
}

/// What of a will is written.
pub(super) fn will_fields(will: &Will) -> WillFields<'_> {
    WillFields {
        topic_name: &will.topic_name,
        properties: &will.properties,
        payload: &will.payload,
        qos: will.qos,
        retain: will.retain,
        delay_interval_s: will.delay_interval_s,
        message_expiry_interval_s: will.message_expiry_interval_s,
    }
}
