//! Work by the filter, cut into slices: packets with very many filters, and the subscriptions that
//! an ended session leaves in the index.
//!
//! A turn has so many steps for either kind. A packet that needs more stays where it is, at the
//! front of its connection's buffer, and with it all that the client sent behind it; what was done
//! of it is noted here. It is checked to its end before anything of it takes effect.

use super::Shard;
use super::interface::ReadVerdict;
use super::sys::SYS_PREFIX;
use super::wanted::{Wanted, WantedFilters};
use crate::base::ids::ConnectionId;
use crate::base::map::{Map, map};
use crate::base::time::Instant;
use crate::codec::ProtocolError;
use crate::topic::index::FilterId;
use smallvec::SmallVec;
use std::collections::VecDeque;

/// Steps of all packets in one turn, and of all ended sessions: each kind about a millisecond.
pub(super) const STEPS_PER_TURN_MAX: usize = 2048;
/// Steps of one packet before the next one has its turn.
const STEPS_PER_SLICE_MAX: usize = 512;
/// A filter put into the index or taken out is one step for each of so many bytes.
const BYTES_PER_STEP: usize = 128;
/// Subscriptions removed between two looks at the room on the links.
const REMOVALS_PER_LOOK: usize = 64;

/// Filters as the `$SYS` values of one SUBSCRIBE; more than ever wait for them.
const SYS_FILTERS_MAX: usize = 8192;

#[derive(Debug)]
pub(super) struct FilterWork {
    /// What is left of this turn's steps.
    packet_steps: usize,
    removal_steps: usize,
    /// Packets under way, at most one for each connection.
    begun: Map<ConnectionId, Progress>,
    /// Connections whose packet waits for steps.
    waiting: VecDeque<ConnectionId>,
    /// What ended sessions left; bounded by the subscriptions.
    leaving: VecDeque<Leaving>,
    /// A link has no room for the news of removed filters.
    stalled: bool,
}

/// What was done of one SUBSCRIBE or UNSUBSCRIBE.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// Up to here the filters are well-formed and allowed.
    checked: usize,
    is_checked: bool,
    /// Up to here they have taken effect.
    pub(super) applied: usize,
    /// One for each of these.
    pub(super) codes: SmallVec<[u8; 8]>,
    pub(super) lookups: WantedFilters,
    /// Those of them below `$SYS`, whose values are made for the subscriber.
    pub(super) sys: WantedFilters,
    is_waiting: bool,
}

/// The filters of a session that has ended. Its slot is not used again before they are gone.
#[derive(Debug)]
struct Leaving {
    session: u32,
    filters: Vec<FilterId>,
}

impl FilterWork {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            packet_steps: STEPS_PER_TURN_MAX,
            removal_steps: STEPS_PER_TURN_MAX,
            begun: map(seed),
            waiting: VecDeque::new(),
            leaving: VecDeque::new(),
            stalled: false,
        }
    }

    /// Is there something to do in the next turn?
    pub(super) fn has_work(&self) -> bool {
        !self.waiting.is_empty() || (!self.stalled && !self.leaving.is_empty())
    }

    pub(super) fn is_settled(&self) -> bool {
        self.begun.is_empty() && self.leaving.is_empty()
    }

    /// Subscriptions in the index without a session.
    pub(super) fn leaving_count(&self) -> usize {
        self.leaving.iter().map(|it| it.filters.len()).sum()
    }

    /// A link has room again.
    pub(super) const fn on_room(&mut self) {
        self.stalled = false;
    }

    /// What was done of the connection's packet.
    pub(super) fn take(&mut self, id: ConnectionId) -> Progress {
        if self.begun.is_empty() {
            return Progress::default();
        }
        self.begun.remove(&id).unwrap_or_default()
    }

    /// The packet goes on in a later turn.
    pub(super) fn keep(&mut self, id: ConnectionId, mut progress: Progress) {
        if !progress.is_waiting {
            progress.is_waiting = true;
            self.waiting.push_back(id);
        }
        self.begun.insert(id, progress);
    }

    /// The connection is gone, and its packet with it.
    pub(super) fn forget(&mut self, id: ConnectionId) {
        if !self.begun.is_empty() {
            self.begun.remove(&id);
        }
    }

    /// Steps that a packet may take now.
    pub(super) fn slice(&self) -> Steps {
        Steps {
            given: self.packet_steps.min(STEPS_PER_SLICE_MAX),
            taken: 0,
        }
    }

    pub(super) const fn spend(&mut self, steps: &Steps) {
        self.packet_steps = self.packet_steps.saturating_sub(steps.taken);
    }
}

/// The steps of one slice.
pub(super) struct Steps {
    given: usize,
    taken: usize,
}

impl Steps {
    pub(super) const fn are_left(&self) -> bool {
        self.taken < self.given
    }

    /// A filter of this length takes effect.
    pub(super) const fn take(&mut self, filter_bytes: usize) {
        self.taken += 1 + filter_bytes / BYTES_PER_STEP;
    }
}

impl Progress {
    /// Looks at further filters, by `next`: from one offset to the next, `None` at the end. True:
    /// all have been looked at. Much less work than putting them into the index: a step for many.
    ///
    /// # Errors
    /// That of `next`.
    pub(super) fn check(
        &mut self,
        steps: &mut Steps,
        mut next: impl FnMut(usize) -> Result<Option<usize>, ProtocolError>,
    ) -> Result<bool, ProtocolError> {
        let first = self.checked;
        let bytes_max = steps.given * BYTES_PER_STEP;
        while !self.is_checked && self.checked - first < bytes_max {
            match next(self.checked)? {
                Some(offset) => self.checked = offset,
                None => self.is_checked = true,
            }
        }
        steps.taken += (self.checked - first) / BYTES_PER_STEP;
        Ok(self.is_checked)
    }

    /// The retained messages of this filter are wanted.
    pub(super) fn want(&mut self, wanted: Wanted<'_>) {
        // The state of bridges is stored, the rest of this tree is made for the subscriber.
        if wanted.filter.starts_with(SYS_PREFIX) && self.sys.len() < SYS_FILTERS_MAX {
            self.sys.push(wanted);
        }
        self.lookups.push(wanted);
    }
}

impl Shard {
    /// A new turn: packets and ended sessions go on.
    pub(super) fn run_filter_work(&mut self, now: Instant) {
        self.filter_work.packet_steps = STEPS_PER_TURN_MAX;
        self.filter_work.removal_steps = STEPS_PER_TURN_MAX;
        self.run_leaving();
        // A packet that is not done is listed again, and has taken a step.
        while self.filter_work.packet_steps > 0
            && let Some(id) = self.filter_work.waiting.pop_front()
        {
            if let Some(progress) = self.filter_work.begun.get_mut(&id) {
                progress.is_waiting = false;
                self.try_again(now, id);
            }
        }
    }

    fn try_again(&mut self, now: Instant, id: ConnectionId) {
        let Some(connection) = self.connection_mut(id) else {
            return;
        };
        connection.paused = false;
        // CONNECT is not listed here, so a hand-over cannot come out of it.
        if self.retry(now, id) == ReadVerdict::Continue {
            self.resumed.push_back(id);
        }
    }

    /// A session has ended: its subscriptions leave the index, and its slot is free again when the
    /// last has left. Until then the index names a session that does not exist, and whoever
    /// delivers passes it over.
    pub(super) fn leave_index(&mut self, session: u32, filters: Vec<FilterId>) {
        if filters.is_empty() {
            self.sessions.release(session);
            return;
        }
        let leaving = Leaving { session, filters };
        self.filter_work.leaving.push_back(leaving);
        self.run_leaving();
    }

    fn run_leaving(&mut self) {
        while self.filter_work.removal_steps > 0 && !self.filter_work.leaving.is_empty() {
            // The peers hear of filters that nobody wants any more.
            let has_room = self.peers().all(|link| self.has_room(link));
            self.filter_work.stalled = !has_room;
            if !has_room {
                return;
            }
            self.remove_some();
        }
    }

    fn remove_some(&mut self) {
        for _ in 0..REMOVALS_PER_LOOK.min(self.filter_work.removal_steps) {
            let Some(first) = self.filter_work.leaving.front_mut() else {
                return;
            };
            let session = first.session;
            if let Some(filter) = first.filters.pop() {
                self.filter_work.removal_steps -= 1;
                self.remove_subscription(session, filter);
            }
            let first = self.filter_work.leaving.front();
            if first.is_some_and(|first| first.filters.is_empty()) {
                self.filter_work.leaving.pop_front();
                self.sessions.release(session);
            }
        }
    }
}
