//! Old data flips bits: a start must find the state that it would have found without, or an earlier
//! end of the journal, or refuse with the place. A repair as `ringway journal verify --repair` does
//! it then leads to a start, without messages alone if these were all that was damaged. No message
//! that it finds may be another than was published.

use super::World;
use super::crash::Storage;
use crate::model::{payload, payload_id};
use crate::schedule::Event;
use ringway::journal::{JournalError, QueueMemory, Recovered};
use std::collections::BTreeMap;

/// Each takes something away, so there is an end.
const CUTS_MAX: usize = 1_000;

impl Storage {
    /// Flips bits of one disk now and then, by the seed's choice.
    pub(super) fn flips_bits(&mut self) -> bool {
        let every = self.plan.flip_every;
        if every == 0 || !self.rare.chance(1, every) {
            return false;
        }
        let disk = self.rare.below(self.disks.len() as u64) as usize;
        let flipped = self.disks[disk].flip(&mut self.rare);
        self.is_damaged |= flipped;
        self.tally.flips += u64::from(flipped);
        flipped
    }
}

impl World {
    /// `sound`: what the start would have found.
    pub(super) fn start_on_flipped(&mut self, sound: &[Recovered], memory: Option<QueueMemory>) {
        let Some(storage) = &mut self.storage else {
            return;
        };
        let found = match storage.recover(memory) {
            Ok(found) => found,
            Err(error) => return self.mend(error, Some(sound), memory),
        };
        if format!("{found:?}") == format!("{sound:?}") {
            storage.tally.unharmed += 1;
            self.schedule.soon(Event::Restart);
        } else {
            storage.tally.shortened += 1;
            self.end_with(found);
        }
    }

    /// Drops messages, or cuts, where the start was refused until it succeeds. `sound`: what it
    /// would have found.
    pub(super) fn mend(
        &mut self,
        mut error: JournalError,
        sound: Option<&[Recovered]>,
        memory: Option<QueueMemory>,
    ) {
        let now = self.schedule.now();
        let Some(storage) = &mut self.storage else {
            return;
        };
        storage.tally.refusals += 1;
        let mut is_cut = false;
        for _ in 0..CUTS_MAX {
            self.trace.note(now, format_args!("refused: {error}"));
            let salt = storage.rare.next_u64();
            let disk = &mut storage.disks[error.shard.index()];
            match disk.mend(error.shard.0, salt) {
                Ok(losses) => self.trace.note(now, format_args!("dropped: {losses:?}")),
                // Also behind a cut: it may take the snapshot that the segments before it need.
                // Only a backup helps then.
                Err(error) if !error.damage.is_healed_by_cut() => {
                    storage.tally.unmended += 1;
                    self.is_over = true;
                    return;
                }
                Err(error) => {
                    disk.cut(&error);
                    is_cut = true;
                }
            }
            match storage.recover(memory) {
                Ok(found) => {
                    storage.tally.dropped += u64::from(!is_cut);
                    let sound = sound.filter(|_| !is_cut);
                    if sound.is_some_and(|sound| !differ_in_messages(sound, &found)) {
                        self.fail("a repair took more than messages".into());
                    }
                    return self.end_with(found);
                }
                Err(next) => error = next,
            }
        }
        self.fail(format!("{CUTS_MAX} cuts do not mend the journal: {error}"));
    }

    /// A state that existed, but perhaps not the last one: it must be sound in itself.
    fn end_with(&mut self, found: Vec<Recovered>) {
        let fault = found.iter().find_map(|it| self.damaged_message(it));
        if let Some(fault) = fault {
            self.fail(fault);
        }
        if found.iter().any(Recovered::is_rehomed) {
            self.fail("a journal that was read counts as re-homed".into());
        }
        if let Err(error) = self.start(found) {
            self.fail(error);
        }
        self.is_over = true;
    }

    /// A message that nobody published like this.
    fn damaged_message(&self, found: &Recovered) -> Option<String> {
        let sessions = found.state.sessions.values();
        let queued = sessions.flat_map(|it| it.queue.iter().map(|queued| queued.place));
        let sessions = found.state.sessions.values();
        let inflight = sessions.flat_map(|it| it.inflight.iter());
        let inflight = inflight.filter_map(|it| it.queued.as_ref().map(|queued| queued.place));
        let retained = found.state.retained.values().map(|it| it.place);
        let forwards = found.state.forwards.values().map(|it| it.place);
        let mut places = queued.chain(inflight).chain(retained).chain(forwards);
        places.find_map(|place| {
            let body = found.body(place)?;
            let id = payload_id(body.payload);
            let message = id.and_then(|id| self.auditor.message(id));
            let is_right = match message.zip(id) {
                Some((message, id)) => {
                    message.topic.as_bytes() == body.topic_name
                        && payload(id, message.bytes) == body.payload
                }
                None => body.payload.is_empty(),
            };
            (!is_right).then(|| format!("damaged message {id:?} at {place:?}"))
        })
    }
}

/// Whether two starts find the same but for messages.
fn differ_in_messages(sound: &[Recovered], found: &[Recovered]) -> bool {
    let clients = |it: &Recovered| {
        let sessions = it.state.sessions.iter();
        let clients = sessions.map(|(number, session)| (*number, session.client_id.clone()));
        clients.collect::<BTreeMap<_, _>>()
    };
    sound.iter().zip(found).all(|(sound, found)| {
        clients(sound) == clients(found)
            && sound.state.subscriptions == found.state.subscriptions
            && sound.state.arrived == found.state.arrived
            && sound.state.next_forward == found.state.next_forward
    })
}
