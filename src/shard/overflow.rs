//! Queues that overflow to the disk, and the way back.
//!
//! A queued message of a journalled session stands in the journal anyway. Past the session's share
//! of memory, or past that of all sessions, its queue keeps only the place. When the client is
//! back, its queue is read ahead, one read of a session at a time, so that messages keep their
//! order; many sessions read at once and take turns.

use super::Shard;
use super::interface::{ReadError, ReadRequest};
use super::journal::{Journal, WallClock, record_bytes};
use crate::base::time::Instant;
use crate::codec::{ForwardableRuns, MessageParts, MessagePool, SharedMessage};
use crate::config::limits::Limits;
use crate::journal::{BodyView, Place};
use crate::session::outbound::Outbound;
use crate::session::stored::StoredQueue;
use std::collections::VecDeque;
use std::time::Duration;

/// Reads under way at once.
const READS_MAX: usize = 16;
/// One read takes so many bytes and messages at most, or one message.
pub(super) const READ_BYTES: u64 = 256 << 10;
const READ_MESSAGES: u32 = 256;
/// Messages this far apart are read together.
const GAP_BYTES: u64 = 16 << 10;
/// Sessions that are looked at until one can be read, per question of the driver.
const SESSIONS_TRIED: usize = 16;
/// A message that comes back damaged so often is lost.
const ATTEMPTS_MAX: u8 = 3;
/// After a read that failed for a reason that may pass.
const RETRY_DELAY: Duration = Duration::from_secs(1);

/// The memory of queues, and the reads under way.
///
/// Bound: [`READS_MAX`] reads, and an entry of `waiting` per session with a connection.
#[derive(Debug, Default)]
pub(super) struct Overflow {
    /// What the queues of journalled sessions take in memory.
    pub(super) memory_bytes: u64,
    /// Sessions whose next messages are to be read, in turn.
    waiting: VecDeque<u32>,
    /// What the snapshot under way wants to write again.
    carry: Option<Read>,
    /// By token.
    reads: Vec<Option<Read>>,
    /// Tokens of reads to be made again, and not before which time.
    again: VecDeque<u32>,
    again_at: Option<Instant>,
}

/// Messages of one session that stand close to each other.
#[derive(Clone, Copy, Debug)]
pub(super) struct Read {
    pub(super) session: u32,
    /// Its number in the journal: the session may have ended meanwhile.
    pub(super) number: u64,
    /// The number of the first message in the stored queue, and how many there are.
    pub(super) first: u64,
    count: u32,
    /// Where the bytes begin.
    pub(super) place: Place,
    bytes: u32,
    attempts: u8,
    /// For a snapshot, which writes the messages again.
    is_carry: bool,
}

impl Overflow {
    /// Messages take half of the memory at most, so here their places have taken the rest.
    pub(super) const fn is_exhausted(&self, limits: &Limits) -> bool {
        self.memory_bytes >= limits.queues_memory_bytes_max
    }

    /// When a read is to be made again.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.again_at
    }

    fn has_nothing_to_read(&self) -> bool {
        self.waiting.is_empty() && self.carry.is_none()
    }

    /// Nothing is to be read, and nothing is being read.
    pub(super) fn is_settled(&self) -> bool {
        self.has_nothing_to_read() && self.reads.iter().all(Option::is_none)
    }

    /// The snapshot waits for these messages.
    pub(super) fn ask_for_carry(&mut self, session: u32, number: u64, first: u64, run: &Run) {
        self.carry = Some(Read {
            session,
            number,
            first,
            count: run.count,
            place: run.place,
            bytes: run.bytes,
            attempts: 0,
            is_carry: true,
        });
    }

    fn free_token(&mut self) -> Option<u32> {
        let free = self.reads.iter().position(Option::is_none);
        let token = free.unwrap_or(self.reads.len());
        if token == READS_MAX {
            return None;
        }
        if token == self.reads.len() {
            self.reads.push(None);
        }
        u32::try_from(token).ok()
    }

    fn request(&self, token: u32) -> Option<ReadRequest> {
        let read = self.reads.get(token as usize)?.as_ref()?;
        Some(ReadRequest {
            segment: read.place.segment(),
            offset: read.place.offset(),
            bytes: read.bytes,
            token,
        })
    }

    fn begin(&mut self, token: u32, read: Read) -> Option<ReadRequest> {
        *self.reads.get_mut(token as usize)? = Some(read);
        self.request(token)
    }

    /// A read that is due again.
    fn next_again(&mut self, now: Instant) -> Option<ReadRequest> {
        if self.again_at.is_some_and(|at| at > now) {
            return None;
        }
        self.again_at = None;
        let token = self.again.pop_front()?;
        self.request(token)
    }
}

/// For the driver.
impl Shard {
    /// The next bytes of the journal that the shard needs; each request is answered by
    /// [`Self::on_journal_read`], in any order. A bounded number is open at a time.
    pub fn poll_journal_read(&mut self, now: Instant) -> Option<ReadRequest> {
        if let Some(request) = self.journal.overflow.next_again(now) {
            return Some(request);
        }
        if self.journal.overflow.has_nothing_to_read() {
            return None;
        }
        let token = self.journal.overflow.free_token()?;
        if let Some(read) = self.journal.overflow.carry.take() {
            self.counters.journal_reads += 1;
            return self.journal.overflow.begin(token, read);
        }
        let tries = self.journal.overflow.waiting.len().min(SESSIONS_TRIED);
        for _ in 0..tries {
            let session = self.journal.overflow.waiting.pop_front()?;
            if let Some(read) = self.plan_read(session) {
                self.counters.journal_reads += 1;
                return self.journal.overflow.begin(token, read);
            }
        }
        None
    }

    /// The answer to a request. Returns the place of a message that the disk has lost, for the log.
    pub fn on_journal_read(
        &mut self,
        now: Instant,
        token: u32,
        result: Result<&[u8], ReadError>,
    ) -> Option<Place> {
        let overflow = &mut self.journal.overflow;
        let read = (*overflow.reads.get_mut(token as usize)?)?;
        let attempts = read.attempts + u8::from(result != Err(ReadError::NotNow));
        let is_whole = match result {
            Ok(bytes) => self.is_whole(&read, bytes),
            Err(_) => false,
        };
        if !is_whole && attempts < ATTEMPTS_MAX {
            let overflow = &mut self.journal.overflow;
            overflow.reads[token as usize] = Some(Read { attempts, ..read });
            overflow.again.push_back(token);
            if result == Err(ReadError::NotNow) {
                overflow.again_at = Some(now + RETRY_DELAY);
            }
            return None;
        }
        self.journal.overflow.reads[token as usize] = None;
        self.journal.begin_group(now);
        if read.is_carry {
            return self.end_carry(&read, result.unwrap_or(&[]));
        }
        let lost = self.end_read(&read, result.unwrap_or(&[]));
        self.pump(now, read.session);
        self.run_resumes(now);
        lost
    }
}

impl Shard {
    /// Lists a session that reads ahead: its client is there, and half of what may be in memory
    /// has been sent.
    pub(super) fn read_ahead(&mut self, session_index: u32) {
        let Self {
            sessions,
            journal,
            limits,
            ..
        } = self;
        let Some(session) = sessions.get_mut(session_index) else {
            return;
        };
        let held = session.outbound.held_bytes();
        if session.connection.is_none() || held > limits.queue_memory_bytes_max / 2 {
            return;
        }
        if let Some(stored) = session.outbound.stored_mut()
            && !stored.is_empty()
            && !stored.is_listed
            && !stored.is_being_read
        {
            stored.is_listed = true;
            journal.overflow.waiting.push_back(session_index);
        }
    }

    /// The next read of a session that waits for one.
    fn plan_read(&mut self, session_index: u32) -> Option<Read> {
        let Self {
            sessions,
            journal,
            limits,
            ..
        } = self;
        let session = sessions.get_mut(session_index)?;
        let budget = read_budget(&session.outbound, &journal.overflow, limits);
        let is_connected = session.connection.is_some();
        let stored = session.outbound.stored_mut()?;
        if !std::mem::take(&mut stored.is_listed) || !is_connected || stored.is_being_read {
            return None;
        }
        let writer = journal.writer()?;
        let run = Run::of(stored, stored.first_number(), budget, |place| {
            writer.is_written(place)
        })?;
        if run.count == 0 {
            // The first one is still on its way to the disk.
            stored.is_listed = true;
            journal.overflow.waiting.push_back(session_index);
            journal.writer()?.write_all();
            return None;
        }
        stored.is_being_read = true;
        Some(Read {
            session: session_index,
            number: session.journal_number,
            first: stored.first_number(),
            count: run.count,
            place: run.place,
            bytes: run.bytes,
            attempts: 0,
            is_carry: false,
        })
    }

    /// The stored queue that a read was for.
    fn read_queue(&mut self, read: &Read) -> Option<&mut StoredQueue> {
        let session = self.sessions.get_mut(read.session)?;
        if session.journal_number != read.number {
            return None;
        }
        session.outbound.stored_mut()
    }

    /// Whether every message that is still wanted came back as it was written.
    fn is_whole(&mut self, read: &Read, bytes: &[u8]) -> bool {
        let Some(stored) = self.read_queue(read) else {
            return true;
        };
        let wanted = stored.iter_from(read.first);
        let mut wanted = wanted.take_while(|(number, _)| *number < read.end());
        wanted.all(|(_, message)| {
            !read.covers(message.place.get()) || read.body(message.place.get(), bytes).is_some()
        })
    }

    /// Takes what was read into the session's queue, up to the first message that is lost.
    fn end_read(&mut self, read: &Read, bytes: &[u8]) -> Option<Place> {
        let Self {
            sessions,
            journal,
            messages,
            counters,
            ..
        } = self;
        let clock = journal.clock()?;
        let session = sessions.get_mut(read.session)?;
        if session.journal_number != read.number {
            return None;
        }
        let outbound = &mut session.outbound;
        let before = outbound.memory_bytes();
        let mut lost = None;
        while let Some((number, first)) = outbound.stored().and_then(|it| it.iter_from(0).next())
            && (read.first..read.end()).contains(&number)
            && read.covers(first.place.get())
            && let Some(place) = Place::from_u64(first.place.get())
        {
            let Some(body) = read.body(place.as_u64(), bytes) else {
                lost = Some(place);
                let first = outbound.stored_mut().and_then(|it| it.get_mut(number));
                first?.is_lost = true;
                break;
            };
            counters.messages_read_back += 1;
            let message = make(&body, messages, clock);
            Journal::read_back(&message, place);
            outbound.bring_back(message);
        }
        outbound.end_read();
        let overflow = &mut journal.overflow;
        overflow.memory_bytes = overflow.memory_bytes + outbound.memory_bytes() - before;
        lost
    }
}

impl Read {
    pub(super) const fn end(&self) -> u64 {
        self.first + self.count as u64
    }

    /// Whether a record at this place was read: a snapshot may have moved it meanwhile.
    pub(super) fn covers(&self, place: u64) -> bool {
        let first = self.place.as_u64();
        (first..first + u64::from(self.bytes)).contains(&place)
    }

    /// The body that stands at `place`, if it is what was written there.
    pub(super) fn body<'a>(&self, place: u64, bytes: &'a [u8]) -> Option<BodyView<'a>> {
        let place = Place::from_u64(place)?;
        let start = place.offset().checked_sub(self.place.offset())?;
        BodyView::decode_first(place, bytes.get(start as usize..)?)
    }
}

fn make(body: &BodyView<'_>, messages: &mut MessagePool, clock: WallClock) -> SharedMessage {
    let expires_at_ms = body.expires_at_ms;
    messages.make(&MessageParts {
        topic_name: body.topic_name,
        properties: ForwardableRuns::of_forwardable(body.properties),
        payload: body.payload,
        qos: body.qos,
        retain: body.retain,
        expires_at: (expires_at_ms != 0).then(|| clock.instant(expires_at_ms)),
    })
}

/// Bytes that a session may read now: what its memory has room for. When that of all sessions has
/// none, as little as keeps it going.
fn read_budget(outbound: &Outbound, overflow: &Overflow, limits: &Limits) -> u64 {
    if overflow.memory_bytes >= limits.queues_memory_bytes_max {
        return 0;
    }
    let room = limits.queue_memory_bytes_max;
    room.saturating_sub(outbound.held_bytes()).min(READ_BYTES)
}

/// Messages that one read brings; none: the first cannot be read now.
pub(super) struct Run {
    place: Place,
    bytes: u32,
    pub(super) count: u32,
}

impl Run {
    /// The messages from a number on that stand close together and can be read now, at least one
    /// and as many as `budget` bytes allow.
    pub(super) fn of(
        stored: &StoredQueue,
        first: u64,
        budget: u64,
        can_read: impl Fn(Place) -> bool,
    ) -> Option<Self> {
        let mut places = stored.iter_from(first).filter_map(|(_, message)| {
            let place = Place::from_u64(message.place.get())?;
            Some((place, record_bytes(message)))
        });
        let (place, bytes) = places.next()?;
        let start = u64::from(place.offset());
        let mut run = Self {
            place,
            bytes,
            count: u32::from(can_read(place)),
        };
        let mut wanted = u64::from(bytes);
        for (next, bytes) in places {
            let gap = u64::from(next.offset()).checked_sub(start + u64::from(run.bytes));
            let is_near =
                next.segment() == place.segment() && gap.is_some_and(|it| it <= GAP_BYTES);
            let length = (u64::from(next.offset()) + u64::from(bytes)).saturating_sub(start);
            wanted += u64::from(bytes);
            let fits = wanted <= budget && length <= READ_BYTES && run.count < READ_MESSAGES;
            if run.count == 0 || !is_near || !fits || !can_read(next) {
                break;
            }
            run.bytes = u32::try_from(length).unwrap_or(u32::MAX);
            run.count += 1;
        }
        Some(run)
    }
}
