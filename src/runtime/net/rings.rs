//! The rings of one core.
//!
//! One ring's table of direct descriptors holds at most RLIMIT_NOFILE entries, so a core that is
//! to have more connections makes further rings, each when the tables before it are nearly full.
//! The core sleeps in the first one, the lead, which polls the others. Sends on another ring cost
//! an entry into the kernel more. With a sufficient limit there is no other.
//!
//! Slots are numbered through: ring 0 has the first ones. What belongs to a slot (sends, receives
//! and their buffers, polls, closes) goes over its ring, everything else over the lead.

use super::buffer_ring::BufferRing;
use super::operation::{Completion, Operation, UserData};
use super::ring::{Notice, Ring, Role, Wait};
use crate::base::time::Instant;
use crate::runtime::error::ServeError;
use io_uring::{opcode, squeue, types};
use std::io;
use std::os::fd::RawFd;
use std::time::Duration;

/// So long after a burst its receive buffers are kept for the next.
const BURST_TIME: Duration = Duration::from_secs(2);
/// A turn with fewer completions has collected all that there were: none waits in the kernel.
const COMPLETIONS_FEW: usize = 1024;

#[derive(Debug)]
pub(super) struct Rings {
    members: Vec<Member>,
    /// When the lead's receive buffers become fewer again.
    burst_end: Option<Instant>,
    /// Completions that the last entry has brought.
    collected: usize,
    slots_per_ring: u32,
    rings_max: usize,
    /// Of every ring.
    notice: Notice,
}

#[derive(Debug)]
struct Member {
    ring: Ring,
    buffers: BufferRing,
    /// The lead has a poll on this ring.
    watched: bool,
}

impl Member {
    fn new(slots: u32, role: Role, notice: Notice) -> Result<Self, ServeError> {
        let ring = Ring::new(slots, role, notice)?;
        let buffers = BufferRing::new(&ring)?;
        Ok(Self {
            ring,
            buffers,
            watched: false,
        })
    }
}

impl Rings {
    /// The lead; [`Rings::grow`] adds others, up to `rings_max` in all.
    pub(super) fn new(
        slots_per_ring: u32,
        rings_max: usize,
        notice: Notice,
    ) -> Result<Self, ServeError> {
        Ok(Self {
            members: vec![Member::new(slots_per_ring, Role::Lead, notice)?],
            burst_end: None,
            collected: 0,
            slots_per_ring,
            rings_max,
            notice,
        })
    }

    pub(super) const fn count(&self) -> usize {
        self.members.len()
    }

    pub(super) const fn slots_per_ring(&self) -> u32 {
        self.slots_per_ring
    }

    /// Slots of all rings that there may be.
    pub(super) const fn slots_max(&self) -> usize {
        self.slots_per_ring as usize * self.rings_max
    }

    pub(super) const fn can_grow(&self) -> bool {
        self.members.len() < self.rings_max
    }

    /// Makes one more ring.
    pub(super) fn grow(&mut self) -> Result<(), ServeError> {
        assert!(self.can_grow());
        let member = Member::new(self.slots_per_ring, Role::Watched, self.notice)?;
        self.members.push(member);
        Ok(())
    }

    pub(super) fn descriptor(&self, ring: usize) -> RawFd {
        self.members[ring].ring.descriptor()
    }

    /// The ring that a slot belongs to.
    pub(super) const fn ring_of(&self, slot: u32) -> usize {
        (slot / self.slots_per_ring) as usize
    }

    /// A slot's place in the table of its ring.
    pub(super) const fn fixed(&self, slot: u32) -> types::Fixed {
        types::Fixed(slot % self.slots_per_ring)
    }

    /// The slot at a place in a ring's table.
    pub(super) fn slot(&self, ring: usize, fixed: u32) -> u32 {
        let ring = u32::try_from(ring).unwrap_or(u32::MAX);
        ring * self.slots_per_ring + fixed
    }

    /// Queues an operation that belongs to no slot. As to its memory see [`Ring::push`].
    pub(super) fn push(&mut self, entry: squeue::Entry, user_data: UserData) {
        self.members[0].ring.push(entry, user_data);
    }

    pub(super) fn push_to(&mut self, ring: usize, entry: squeue::Entry, user_data: UserData) {
        self.members[ring].ring.push(entry, user_data);
    }

    /// Queues an operation on a slot.
    pub(super) fn push_at(&mut self, slot: u32, entry: squeue::Entry, user_data: UserData) {
        let ring = self.ring_of(slot);
        self.push_to(ring, entry, user_data);
    }

    /// What was received for a slot.
    pub(super) fn bytes(&self, slot: u32, buffer: u16, length: usize) -> &[u8] {
        self.members[self.ring_of(slot)]
            .buffers
            .bytes(buffer, length)
    }

    /// As [`Rings::bytes`], to be changed in place.
    pub(super) fn bytes_mut(&mut self, slot: u32, buffer: u16, length: usize) -> &mut [u8] {
        let ring = self.ring_of(slot);
        self.members[ring].buffers.bytes_mut(buffer, length)
    }

    pub(super) fn put_back(&mut self, slot: u32, buffer: u16) {
        let ring = self.ring_of(slot);
        self.members[ring].buffers.put_back(buffer);
    }

    pub(super) fn on_buffers_exhausted(&mut self, slot: u32, now: Instant) {
        let ring = self.ring_of(slot);
        self.members[ring].buffers.on_exhausted();
        if ring == 0 {
            self.burst_end = Some(now + BURST_TIME);
        }
    }

    pub(super) const fn deadline(&self) -> Option<Instant> {
        self.burst_end
    }

    /// To be called when all completions of the last entry are done. The lead receives only inside
    /// its entries, so nothing is in its buffers then; the other rings do so at any time, and keep
    /// their buffers.
    pub(super) fn on_deadline(&mut self, now: Instant) {
        if self.burst_end.is_some_and(|end| end <= now) && self.collected < COMPLETIONS_FEW {
            self.burst_end = None;
            self.members[0].buffers.shrink();
        }
    }

    /// Submits what is queued on all rings, waits as `wait` says unless something has happened,
    /// and collects all completions. See [`Ring::enter`].
    pub(super) fn enter(
        &mut self,
        wait: Wait,
        completions: &mut Vec<Completion>,
    ) -> io::Result<()> {
        for ring in 0..self.members.len() {
            self.members[ring].buffers.publish();
            if ring > 0 {
                self.submit(ring, completions)?;
            }
        }
        self.members[0].ring.enter(wait, completions)?;
        if self.members.len() > 1 {
            self.take_ready(completions)?;
        }
        self.collected = completions.len();
        Ok(())
    }

    /// See [`Ring::has_events`]; on any ring.
    pub(super) fn has_events(&mut self) -> bool {
        let mut members = self.members.iter_mut();
        members.any(|member| member.ring.has_events())
    }

    /// Submits what is queued on another ring, and lets the lead tell when it has something. A
    /// poll that finds something at once fires at once, so nothing is missed in between.
    fn submit(&mut self, ring: usize, completions: &mut Vec<Completion>) -> io::Result<()> {
        let member = &mut self.members[ring];
        if member.ring.has_queued() {
            member.ring.enter(Wait::No, completions)?;
        }
        if std::mem::replace(&mut member.watched, true) {
            return Ok(());
        }
        #[allow(clippy::cast_sign_loss, reason = "a set of flags")]
        let events = libc::POLLIN as u32;
        let entry = opcode::PollAdd::new(types::Fd(self.descriptor(ring)), events).build();
        let index = u32::try_from(ring).unwrap_or(u32::MAX);
        self.push(entry, UserData::new(Operation::Ring, index, 0));
        Ok(())
    }

    /// Collects from the rings that the lead has found ready.
    fn take_ready(&mut self, completions: &mut Vec<Completion>) -> io::Result<()> {
        for index in 0..completions.len() {
            let user_data = completions[index].user_data;
            if user_data.operation() == Operation::Ring {
                let member = &mut self.members[user_data.index() as usize];
                member.watched = false;
                member.ring.take(completions)?;
            }
        }
        Ok(())
    }

    /// Calls of io_uring_enter so far.
    pub(super) fn enters(&self) -> u64 {
        self.members.iter().map(|member| member.ring.enters()).sum()
    }

    /// Ends all operations, so that the kernel uses none of our memory any more.
    pub(super) fn cancel_all(&mut self) -> io::Result<()> {
        self.members
            .iter_mut()
            .try_for_each(|member| member.ring.cancel_all())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    fn rings(notice: Notice) -> Rings {
        let mut rings = Rings::new(16, 3, notice).unwrap();
        rings.grow().unwrap();
        rings.grow().unwrap();
        assert!(!rings.can_grow());
        rings
    }

    fn indexes(completions: &[Completion]) -> Vec<u32> {
        completions
            .iter()
            .filter(|completion| completion.user_data.operation() == Operation::Ignored)
            .map(|completion| completion.user_data.index())
            .collect()
    }

    #[test]
    fn slots_are_numbered_through_the_rings() {
        let rings = rings(Notice::None);
        assert_eq!(rings.slot(0, 15), 15);
        assert_eq!(rings.slot(2, 3), 35);
        assert_eq!((rings.ring_of(35), rings.fixed(35).0), (2, 3));
        assert_eq!(rings.slots_max(), 48);
    }

    #[test]
    fn one_entry_collects_from_all_rings() {
        let mut rings = rings(Notice::None);
        for slot in [3, 20, 40] {
            let nop = opcode::Nop::new().build();
            rings.push_at(slot, nop, UserData::new(Operation::Ignored, slot, 0));
        }
        let mut completions = Vec::new();
        rings.enter(Wait::Forever, &mut completions).unwrap();
        let mut seen = indexes(&completions);
        seen.sort_unstable();
        assert_eq!(seen, [3, 20, 40]);
    }

    /// A timer on the last ring ends the sleep in the lead.
    #[test]
    fn what_happens_on_another_ring_wakes_the_core() {
        let mut rings = rings(Notice::None);
        let mut completions = Vec::new();
        for round in 0..3 {
            let time = types::Timespec::new().nsec(5_000_000);
            let timer = opcode::Timeout::new(&raw const time).build();
            rings.push_at(40, timer, UserData::new(Operation::Ignored, round, 0));
            let start = Instant::now();
            while indexes(&completions).is_empty() {
                rings.enter(Wait::Forever, &mut completions).unwrap();
            }
            assert!(start.elapsed() >= Duration::from_millis(5));
            assert_eq!(indexes(&completions), [round]);
            completions.clear();
        }
    }
    /// Nothing but loads of memory until the timer of a ring has fired.
    #[test]
    fn core_that_spins_sees_what_happens_on_each_ring() {
        let mut rings = rings(Notice::Flag);
        let mut completions = Vec::new();
        for slot in [3, 20, 40] {
            let time = types::Timespec::new().nsec(2_000_000);
            let timer = opcode::Timeout::new(&raw const time).build();
            rings.push_at(slot, timer, UserData::new(Operation::Ignored, slot, 0));
            let start = Instant::now();
            rings.enter(Wait::No, &mut completions).unwrap();
            assert!(indexes(&completions).is_empty());
            while indexes(&completions).is_empty() {
                while !rings.has_events() {
                    assert!(start.elapsed() < Duration::from_secs(30), "slot {slot}");
                    std::hint::spin_loop();
                }
                rings.enter(Wait::No, &mut completions).unwrap();
            }
            assert!(start.elapsed() >= Duration::from_millis(2));
            assert_eq!(indexes(&completions), [slot]);
            completions.clear();
            assert!(!rings.has_events());
        }
    }
}
