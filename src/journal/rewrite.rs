//! A state as a snapshot of its own, behind the journal that it came from.

use super::record::Record;
use super::recovered::Recovered;
use super::state::{SessionState, State};
use super::writer::Writer;

impl Recovered {
    /// Appends a snapshot of the whole state; bodies keep their places. `flush` is called behind
    /// each object and may take batches; when this returns, those left have to be written and
    /// synced.
    ///
    /// # Errors
    /// Those of `flush`.
    pub fn write_snapshot<E>(
        &self,
        writer: &mut Writer,
        mut flush: impl FnMut(&mut Writer) -> Result<(), E>,
    ) -> Result<(), E> {
        let state = &self.state;
        writer.begin_snapshot(state.next_session, state.next_forward);
        state.write_links(writer);
        let mut sessions: Vec<_> = state.sessions.iter().collect();
        sessions.sort_unstable_by_key(|(number, _)| **number);
        for (number, session) in sessions {
            writer.begin_group();
            state.write_session(*number, session, writer);
            flush(writer)?;
        }
        for (topic_name, retained) in &state.retained {
            writer.begin_group();
            writer.append(&Record::Retained {
                place: retained.place,
                bytes: retained.bytes,
                ends_at_ms: retained.ends_at_ms,
                topic_name,
            });
            flush(writer)?;
        }
        writer.begin_group();
        writer.append(&Record::SnapshotEnd);
        writer.want_all();
        Ok(())
    }
}

impl State {
    /// What is under way between shards.
    fn write_links(&self, writer: &mut Writer) {
        for (source, number) in &self.arrived {
            let (source, number) = (*source, *number);
            writer.append(&Record::Arrived { source, number });
        }
        for (number, forward) in &self.forwards {
            writer.append(&forward.record(*number));
        }
    }

    fn write_session(&self, session: u64, state: &SessionState, writer: &mut Writer) {
        writer.append(&Record::SessionBegin {
            session,
            expiry_interval_s: state.expiry_interval_s,
            disconnected_at_ms: state.disconnected_at_ms,
            client_id: &state.client_id,
        });
        if let Some(will) = &state.will {
            let will = will.fields();
            writer.append(&Record::Will { session, will });
        }
        for (filter, subscription) in self.subscriptions_of(session) {
            writer.append(&Record::Subscribe {
                session,
                subscription,
                filter,
            });
        }
        for packet_id in state.inbound_ids() {
            writer.append(&Record::Inbound { session, packet_id });
        }
        for entry in &state.inflight {
            let packet_id = entry.packet_id;
            writer.append(&match &entry.queued {
                Some(queued) => Record::Queued {
                    session,
                    queued: queued.record(Some(packet_id)),
                },
                None => Record::Received { session, packet_id },
            });
        }
        for queued in &state.queue {
            let queued = queued.record(None);
            writer.append(&Record::Queued { session, queued });
        }
    }
}
