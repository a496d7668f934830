//! Hierarchical timer wheel: all deadlines of one shard in one slab, O(1) to arm and to cancel.
//!
//! Time runs in ticks of 2^14 microseconds (16.384 ms). Level `n` has 64 slots of 64^n ticks each;
//! nine levels hold every `Instant`, so that no deadline is too far and none needs parking. A timer
//! lies on the level of the highest bit group in which its tick differs from `elapsed`. Therefore
//! everything on a level is due before anything on the level above, the occupied slots of a level
//! lie after its present position, and the next slot is found by counting zeros in bitmaps, however
//! far time has moved.

use super::time::Instant;
use std::num::NonZeroU32;

const TICK_SHIFT: u32 = 14;
const SLOT_SHIFT: u32 = 6;
const SLOT_COUNT: usize = 1 << SLOT_SHIFT;
/// Ticks have 50 bits; nine groups of six bits hold them.
const LEVEL_COUNT: usize = 9;
/// The list of timers that are due at `elapsed`.
#[allow(clippy::cast_possible_truncation, reason = "576")]
const DUE: u32 = (LEVEL_COUNT * SLOT_COUNT) as u32;
/// The list of timers on their way from a slot that was reached down to finer levels.
const MOVING: u32 = DUE + 1;
const LIST_COUNT: usize = LEVEL_COUNT * SLOT_COUNT + 2;
/// No node.
const NONE: u32 = u32::MAX;
/// In `Node::previous`: the node is the first of the list in the other bits.
const FIRST: u32 = 1 << 31;
/// In `Node::previous`: the node is not armed.
const FREE: u32 = u32::MAX;
/// Timers that one `expire` moves down at most: about 50 us of work. A million timers may share one
/// slot of a coarse level.
const MOVES_MAX: u32 = 1024;

/// Names an armed timer until it fires or is cancelled; afterwards the name is used again for
/// another timer, so its owner has to forget it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct TimerId(NonZeroU32);

const _: () = assert!(
    size_of::<Option<TimerId>>() == 4,
    "owners keep one per session"
);

impl TimerId {
    fn from_index(index: u32) -> Self {
        Self(NonZeroU32::MIN.saturating_add(index))
    }

    const fn index(self) -> u32 {
        self.0.get() - 1
    }
}

/// Timers that each carry a `K` (who to tell). Never fires early; fires at most one tick late when
/// [`Wheel::expire`] is called as [`Wheel::next_deadline`] asks.
///
/// Each node is in exactly one list: a slot, `DUE`, `MOVING` or the free list. `DUE` and `MOVING`
/// are emptied before `elapsed` moves on. The slab grows to the most timers armed at one time.
#[derive(Debug)]
pub struct Wheel<K> {
    nodes: Vec<Node<K>>,
    free: u32,
    armed_count: usize,
    /// All timers of earlier ticks have fired.
    elapsed: u64,
    /// Bit per level with timers.
    levels: u16,
    /// Bit per slot with timers.
    slots: [u64; LEVEL_COUNT],
    /// First node of each slot, of `DUE` and of `MOVING`.
    lists: [u32; LIST_COUNT],
}

#[derive(Clone, Copy, Debug)]
struct Node<K> {
    /// The deadline, rounded up.
    tick: u64,
    next: u32,
    previous: u32,
    key: K,
}

const _: () = assert!(
    size_of::<Node<[u32; 4]>>() == 32,
    "memory of a timer with a 16-byte key"
);

impl<K: Copy> Wheel<K> {
    #[must_use]
    pub const fn new(now: Instant) -> Self {
        Self {
            nodes: Vec::new(),
            free: NONE,
            armed_count: 0,
            elapsed: tick_at(now),
            levels: 0,
            slots: [0; LEVEL_COUNT],
            lists: [NONE; LIST_COUNT],
        }
    }

    /// Timers that are armed.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.armed_count
    }

    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.armed_count == 0
    }

    /// Arms a timer; one whose deadline has passed fires at the next [`Wheel::expire`].
    pub fn arm(&mut self, deadline: Instant, key: K) -> TimerId {
        let node = Node {
            tick: tick_not_before(deadline),
            next: NONE,
            previous: FREE,
            key,
        };
        let index = self.take_free(node);
        self.armed_count += 1;
        self.file(index);
        TimerId::from_index(index)
    }

    /// Disarms the timer and returns its key; `None` when nothing is armed under this name.
    pub fn cancel(&mut self, timer: TimerId) -> Option<K> {
        let node = self.nodes.get(timer.index() as usize)?;
        (node.previous != FREE).then(|| self.disarm(timer.index()))
    }

    /// The next timer that is due at `now`, one per call. `None`: nothing more to do at present;
    /// look at [`Wheel::next_deadline`], which is not after `now` when a very full slot has to be
    /// moved down in several calls. `now` must not go back.
    pub fn expire(&mut self, now: Instant) -> Option<K> {
        let mut moves_left = MOVES_MAX;
        loop {
            if let Some(index) = self.first_of(DUE) {
                return Some(self.disarm(index));
            }
            if let Some(index) = self.first_of(MOVING) {
                moves_left = moves_left.checked_sub(1)?;
                self.unlink(index);
                self.file(index);
            } else if !self.advance(tick_at(now)) {
                return None;
            }
        }
    }

    /// When to call [`Wheel::expire`] next: not after the earliest deadline rounded up to a tick;
    /// earlier when timers have to be moved to a finer level before.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        if self.first_of(DUE).is_some() || self.first_of(MOVING).is_some() {
            return Some(instant_of(self.elapsed));
        }
        self.next_slot().map(|(_, tick)| instant_of(tick))
    }

    /// Enters the next occupied slot up to `now_tick`; without one, just moves time on.
    fn advance(&mut self, now_tick: u64) -> bool {
        match self.next_slot() {
            Some((list, tick)) if tick <= now_tick => {
                self.elapsed = tick;
                let target = if list < SLOT_COUNT { DUE } else { MOVING };
                self.take_over(list, target);
                true
            }
            _ => {
                self.elapsed = self.elapsed.max(now_tick);
                false
            }
        }
    }

    /// The earliest occupied slot: its list and its first tick.
    fn next_slot(&self) -> Option<(usize, u64)> {
        if self.levels == 0 {
            return None;
        }
        let level = self.levels.trailing_zeros();
        let slot = self.slots[level as usize].trailing_zeros();
        let shift = level * SLOT_SHIFT;
        let above = shift + SLOT_SHIFT;
        let tick = (self.elapsed >> above << above) | (u64::from(slot) << shift);
        Some((level as usize * SLOT_COUNT + slot as usize, tick))
    }

    fn take_over(&mut self, list: usize, target: u32) {
        let first = self.lists[list];
        self.lists[list] = NONE;
        self.vacate(list);
        self.lists[target as usize] = first;
        self.nodes[first as usize].previous = FIRST | target;
    }

    /// Puts an unlinked node where its tick belongs.
    fn file(&mut self, index: u32) {
        let list = self.list_for(self.nodes[index as usize].tick);
        let next = std::mem::replace(&mut self.lists[list as usize], index);
        let node = &mut self.nodes[index as usize];
        node.next = next;
        node.previous = FIRST | list;
        if next != NONE {
            self.nodes[next as usize].previous = index;
        }
        if list < DUE {
            let (level, slot) = (list as usize / SLOT_COUNT, list as usize % SLOT_COUNT);
            self.slots[level] |= 1 << slot;
            self.levels |= 1 << level;
        }
    }

    #[allow(
        clippy::cast_possible_truncation,
        reason = "a list number, below LIST_COUNT"
    )]
    fn list_for(&self, tick: u64) -> u32 {
        if tick <= self.elapsed {
            return DUE;
        }
        let level = (tick ^ self.elapsed).ilog2() / SLOT_SHIFT;
        let slot = (tick >> (level * SLOT_SHIFT)) as usize % SLOT_COUNT;
        (level as usize * SLOT_COUNT + slot) as u32
    }

    fn first_of(&self, list: u32) -> Option<u32> {
        let first = self.lists[list as usize];
        (first != NONE).then_some(first)
    }

    fn unlink(&mut self, index: u32) {
        let Node { next, previous, .. } = self.nodes[index as usize];
        if next != NONE {
            self.nodes[next as usize].previous = previous;
        }
        if previous & FIRST == 0 {
            self.nodes[previous as usize].next = next;
            return;
        }
        let list = (previous & !FIRST) as usize;
        self.lists[list] = next;
        if next == NONE && list < DUE as usize {
            self.vacate(list);
        }
    }

    fn vacate(&mut self, list: usize) {
        let (level, slot) = (list / SLOT_COUNT, list % SLOT_COUNT);
        self.slots[level] &= !(1 << slot);
        if self.slots[level] == 0 {
            self.levels &= !(1 << level);
        }
    }

    fn disarm(&mut self, index: u32) -> K {
        self.unlink(index);
        self.armed_count -= 1;
        let free = std::mem::replace(&mut self.free, index);
        let node = &mut self.nodes[index as usize];
        node.next = free;
        node.previous = FREE;
        node.key
    }

    fn take_free(&mut self, node: Node<K>) -> u32 {
        if self.free != NONE {
            let index = self.free;
            self.free = self.nodes[index as usize].next;
            self.nodes[index as usize] = node;
            return index;
        }
        // Sessions and connections are bounded far below; links have 31 bits.
        assert!(self.nodes.len() < (FIRST - 1) as usize);
        #[allow(clippy::cast_possible_truncation, reason = "asserted above")]
        let index = self.nodes.len() as u32;
        self.nodes.push(node);
        index
    }
}

const fn tick_at(now: Instant) -> u64 {
    now.as_micros() >> TICK_SHIFT
}

const fn tick_not_before(deadline: Instant) -> u64 {
    deadline.as_micros().div_ceil(1 << TICK_SHIFT)
}

/// Saturates: the last tick of all begins after the last `Instant`.
const fn instant_of(tick: u64) -> Instant {
    Instant::from_micros(tick.saturating_mul(1 << TICK_SHIFT))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::random::Random;
    use std::collections::BTreeMap;
    use std::time::Duration;

    const TICK_US: u64 = 1 << TICK_SHIFT;

    /// Fires everything that is due, also when it takes several rounds of moving down.
    fn drain(wheel: &mut Wheel<u32>, now: Instant) -> Vec<u32> {
        let mut fired = Vec::new();
        loop {
            while let Some(key) = wheel.expire(now) {
                fired.push(key);
            }
            if wheel.next_deadline().is_none_or(|next| next > now) {
                return fired;
            }
        }
    }

    #[test]
    fn fires_not_before_its_deadline_and_at_most_one_tick_after() {
        for deadline_us in [
            0,
            1,
            TICK_US - 1,
            TICK_US,
            TICK_US + 1,
            64 * TICK_US,
            90_000_000,
        ] {
            let mut wheel = Wheel::new(Instant::ZERO);
            let deadline = Instant::from_micros(deadline_us);
            wheel.arm(deadline, 7);
            if deadline_us > 0 {
                let before = Instant::from_micros(deadline_us - 1);
                assert!(drain(&mut wheel, before).is_empty(), "{deadline_us}");
            }
            let after = deadline + Duration::from_micros(TICK_US - 1);
            assert_eq!(drain(&mut wheel, after), [7], "{deadline_us}");
            assert!(wheel.is_empty());
        }
    }

    #[test]
    fn name_finds_nothing_after_firing_or_cancelling() {
        let mut wheel = Wheel::new(Instant::ZERO);
        let fired = wheel.arm(Instant::ZERO, 1);
        let cancelled = wheel.arm(Instant::from_micros(1), 2);
        assert_eq!(wheel.expire(Instant::ZERO), Some(1));
        assert_eq!(wheel.cancel(fired), None);
        assert_eq!(wheel.cancel(cancelled), Some(2));
        assert_eq!(wheel.cancel(cancelled), None);
        assert_eq!(wheel.next_deadline(), None);
    }

    #[test]
    fn last_instant_is_a_deadline_like_any_other() {
        let mut wheel = Wheel::new(Instant::ZERO);
        let timer = wheel.arm(Instant::from_micros(u64::MAX), 1);
        assert!(drain(&mut wheel, Instant::from_micros(u64::MAX / 2)).is_empty());
        assert!(wheel.next_deadline().is_some());
        assert_eq!(wheel.cancel(timer), Some(1));
    }

    #[test]
    fn time_may_jump_by_years() {
        let mut wheel = Wheel::new(Instant::ZERO);
        let day = Duration::from_secs(86_400);
        for key in 1..=500 {
            wheel.arm(Instant::ZERO + day * key, key);
        }
        let fired = drain(&mut wheel, Instant::ZERO + day * 400);
        assert_eq!(fired, (1..=400).collect::<Vec<_>>());
        assert_eq!(wheel.len(), 100);
    }

    #[test]
    fn full_slot_is_moved_down_in_bounded_calls() {
        let mut wheel = Wheel::new(Instant::ZERO);
        let deadline = Instant::ZERO + Duration::from_secs(450);
        let count = 10 * MOVES_MAX;
        for key in 0..count {
            wheel.arm(deadline, key);
        }
        let cascade = wheel.next_deadline().unwrap();
        assert_eq!(wheel.expire(cascade), None);
        assert_eq!(wheel.next_deadline(), Some(cascade), "not finished yet");
        assert!(drain(&mut wheel, cascade).is_empty());
        assert!(wheel.next_deadline().unwrap() > cascade);
        let late = deadline + Duration::from_micros(TICK_US);
        assert_eq!(drain(&mut wheel, late).len(), count as usize);
    }

    #[test]
    fn nodes_are_used_again() {
        let mut wheel = Wheel::new(Instant::ZERO);
        let mut now = Instant::ZERO;
        for round in 0..1000 {
            now = now + Duration::from_millis(round);
            wheel.arm(now, 1);
            wheel.arm(now, 2);
            assert_eq!(drain(&mut wheel, now + Duration::from_millis(17)).len(), 2);
            now = now + Duration::from_millis(17);
        }
        assert_eq!(wheel.nodes.len(), 2);
    }

    #[test]
    fn equals_a_sorted_list_under_any_sequence_of_operations() {
        for seed in 0..200 {
            equals_a_sorted_list(&mut Random::new(seed));
        }
    }

    fn equals_a_sorted_list(random: &mut Random) {
        let mut now = Instant::from_micros(random.next_u64() >> random.below(64).max(20));
        let mut wheel = Wheel::new(now);
        let mut model = BTreeMap::new();
        for key in 0..300 {
            match random.below(4) {
                0 | 1 => {
                    let delay = Duration::from_micros(random.next_u64() >> (20 + random.below(40)));
                    let deadline = now + delay;
                    let timer = wheel.arm(deadline, key);
                    model.insert((tick_not_before(deadline), key), timer);
                }
                2 => {
                    let skip = usize::try_from(random.below(model.len() as u64 + 1)).unwrap();
                    if let Some((&at, &timer)) = model.iter().nth(skip) {
                        assert_eq!(wheel.cancel(timer), Some(at.1));
                        model.remove(&at);
                    }
                }
                _ => {
                    let step = Duration::from_micros(random.next_u64() >> (24 + random.below(40)));
                    now = now + step;
                    advance_both(&mut wheel, &mut model, now);
                }
            }
            check_next_deadline(&wheel, &model);
        }
        advance_both(&mut wheel, &mut model, Instant::from_micros(u64::MAX / 2));
    }

    fn advance_both(
        wheel: &mut Wheel<u32>,
        model: &mut BTreeMap<(u64, u32), TimerId>,
        now: Instant,
    ) {
        let later = model.split_off(&(tick_at(now) + 1, 0));
        let expected: Vec<_> = std::mem::replace(model, later).into_keys().collect();
        let tick_of: BTreeMap<_, _> = expected.iter().map(|&(tick, key)| (key, tick)).collect();
        let mut fired: Vec<_> = drain(wheel, now)
            .into_iter()
            .map(|k| (tick_of[&k], k))
            .collect();
        assert!(
            fired.is_sorted_by_key(|&(tick, _)| tick),
            "earlier ticks first"
        );
        fired.sort_unstable();
        assert_eq!(fired, expected);
        assert_eq!(wheel.len(), model.len());
    }

    fn check_next_deadline(wheel: &Wheel<u32>, model: &BTreeMap<(u64, u32), TimerId>) {
        let earliest = model
            .first_key_value()
            .map(|(&(tick, _), _)| instant_of(tick));
        let next = wheel.next_deadline();
        assert_eq!(next.is_some(), earliest.is_some());
        assert!(next <= earliest, "{next:?} {earliest:?}");
    }
}
