//! Virtual time and the order of events.
//!
//! Events that lie in the future wait in a heap; those that are due are in a list from which the
//! seed picks. Time moves only when nothing is due.

use ringway::base::random::Random;
use ringway::base::time::Instant;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

/// Something that can happen next. What belongs to it (bytes, batches) waits in a queue at its
/// place, so that the pick among due events can never break the order of a pipe or a link.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Event {
    /// A socket is accepted by a shard's listener.
    Accept { connection: usize },
    /// The next parcel of the client reaches the broker's host.
    Arrive { connection: usize },
    /// The driver reads a socket.
    Read { connection: usize },
    /// The driver goes on with a send that did not fit, or reports one that did.
    Write { connection: usize },
    /// A connection reaches its home shard.
    HandOver { connection: usize },
    /// The time for a closed connection's last bytes is over.
    CloseDeadline { connection: usize },
    /// The next parcel of the broker reaches the client's host.
    Deliver { connection: usize },
    /// The client reads its socket.
    ClientRead { connection: usize },
    /// The client does something.
    Act { endpoint: usize },
    /// The driver drains a shard's polls.
    Turn { shard: usize },
    /// A shard's deadline.
    Timeout { shard: usize },
    /// The next batch of a link reaches its shard.
    Batch { source: usize, target: usize },
    /// The next emptied batch of a link reaches its sender.
    BatchHome { source: usize, target: usize },
    /// A shard's disk gets further with what it writes.
    Disk { shard: usize },
    /// A segment of a shard is made ready or given up.
    Keeper { shard: usize },
    /// A shard has back what it asked its disk for.
    JournalRead { shard: usize },
    /// A shard hears whether its disk is past the watermark.
    SpaceReport { shard: usize },
    /// The disk has space again.
    SpaceReturns,
    /// The process starts again.
    Restart,
}

impl Event {
    /// It dies with the broker's process.
    pub(crate) const fn is_of_process(&self) -> bool {
        matches!(
            self,
            Self::Turn { .. }
                | Self::Timeout { .. }
                | Self::Batch { .. }
                | Self::BatchHome { .. }
                | Self::Disk { .. }
                | Self::Keeper { .. }
                | Self::JournalRead { .. }
                | Self::SpaceReport { .. }
                | Self::Restart
        )
    }
}

#[derive(Debug)]
pub(crate) struct Schedule {
    now: Instant,
    future: BinaryHeap<Reverse<(Instant, u64, Event)>>,
    ready: Vec<Event>,
    planned: u64,
    random: Random,
}

impl Schedule {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            // Not zero, so that "at once" differs from "at the start".
            now: Instant::from_micros(1_000),
            future: BinaryHeap::new(),
            ready: Vec::new(),
            planned: 0,
            random: Random::new(seed),
        }
    }

    pub(crate) const fn now(&self) -> Instant {
        self.now
    }

    pub(crate) fn random(&mut self) -> &mut Random {
        &mut self.random
    }

    pub(crate) fn at(&mut self, time: Instant, event: Event) {
        if time <= self.now {
            self.ready.push(event);
        } else {
            self.planned += 1;
            self.future.push(Reverse((time, self.planned, event)));
        }
    }

    pub(crate) fn after(&mut self, delay: Duration, event: Event) {
        self.at(self.now + delay, event);
    }

    pub(crate) fn soon(&mut self, event: Event) {
        self.ready.push(event);
    }

    /// Takes out all events of a kind.
    pub(crate) fn forget(&mut self, is_of_kind: impl Fn(&Event) -> bool) {
        self.future
            .retain(|Reverse((.., event))| !is_of_kind(event));
        self.ready.retain(|event| !is_of_kind(event));
    }

    /// One of the due events, by the seed's choice.
    pub(crate) fn pick(&mut self) -> Option<Event> {
        if self.ready.is_empty() {
            return None;
        }
        let index = self.random.below(self.ready.len() as u64) as usize;
        Some(self.ready.swap_remove(index))
    }

    /// Moves time to the earlier of `wake` and the first planned event, and makes due what is.
    /// False when there is neither.
    pub(crate) fn advance(&mut self, wake: Option<Instant>) -> bool {
        let first = self.future.peek().map(|Reverse((time, ..))| *time);
        let Some(next) = [first, wake].into_iter().flatten().min() else {
            return false;
        };
        self.now = self.now.max(next);
        while let Some(Reverse((time, _, event))) = self.future.peek().copied() {
            if time > self.now {
                break;
            }
            self.future.pop();
            self.ready.push(event);
        }
        true
    }
}
