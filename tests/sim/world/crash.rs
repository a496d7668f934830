//! Worlds with disks: the journals' way to them, the end of the process at any moment, and its
//! next start with what is left.

use super::space::Shortage;
use super::tally::Tally;
use super::{Node, Sabotage, World, new_node};
use crate::disk::{Carried, Disk, ProcessEnd, Progress};
use crate::link::Links;
use crate::network::{Parcel, Place};
use crate::schedule::Event;
use crate::storage::StoragePlan;
use ringway::base::random::Random;
use ringway::base::time::Instant;
use ringway::config::limits::Limits;
use ringway::journal::{JournalError, QueueMemory, Recovered};
use ringway::metrics::Counters;
use ringway::shard::Shard;
use ringway::shard::interface::{CloseCause, JournalStart, ReadError};
use std::time::Duration;

/// The time of day when the world begins.
const UNIX_MS: u64 = 1_700_000_000_000;
/// Most shards after a move.
const SHARDS_MAX: u64 = 4;
/// The next try to make a segment for which there was no space.
const SEGMENT_RETRY_DELAY: Duration = Duration::from_secs(1);
/// A crash is so many times as likely while a snapshot is open or the start is not over.
const HASTE: u64 = 5;

/// The disks of a world, and what its former processes did.
pub(super) struct Storage {
    pub(super) plan: StoragePlan,
    random: Random,
    /// Bits have flipped.
    pub(super) is_damaged: bool,
    /// For the rarer faults, so that more of them do not change what else happens.
    pub(super) rare: Random,
    pub(super) shortage: Option<Shortage>,
    pub(super) disks: Vec<Disk>,
    /// What was counted before the last crash.
    past: Counters,
    /// Starts so far: each salts its journals in its own way.
    starts: u64,
    pub(super) tally: Tally,
}

impl Storage {
    pub(super) fn new(seed: u64, plan: StoragePlan, shard_count: u16) -> Self {
        let mut disks = Vec::new();
        disks.resize_with(shard_count.into(), Disk::default);
        Self {
            plan,
            random: Random::new(seed ^ 0x0063_7261_7368),
            rare: Random::new(seed ^ 0x7261_7265),
            shortage: None,
            is_damaged: false,
            disks,
            past: Counters::default(),
            starts: 0,
            tally: Tally::default(),
        }
    }

    pub(super) fn past(&self) -> &Counters {
        &self.past
    }

    pub(super) fn is_quiet(&self) -> bool {
        self.disks.iter().all(Disk::is_quiet)
    }

    fn delay(&mut self, mean_us: u64) -> Duration {
        let slow = self.random.chance(self.plan.slow, 10_000);
        let factor = if slow { 100 } else { 1 };
        Duration::from_micros(self.random.below(2 * mean_us * factor + 1))
    }

    pub(super) fn recover(
        &self,
        memory: Option<QueueMemory>,
    ) -> Result<Vec<Recovered>, JournalError> {
        let disks = (0u16..).zip(&self.disks);
        disks
            .map(|(shard, disk)| disk.recover(shard, memory))
            .collect()
    }
}

/// Shards and their disks.
impl World {
    /// Gives a shard's disk what the shard has for it.
    pub(super) fn drain_journal(&mut self, shard: usize) {
        let Some(storage) = &mut self.storage else {
            return;
        };
        let node = &mut self.nodes[shard];
        while let Some(order) = node.shard.poll_segment() {
            storage.disks[shard].order(order);
            let delay = storage.delay(storage.plan.sync_us);
            self.schedule.after(delay, Event::Keeper { shard });
        }
        while let Some(request) = node.shard.poll_journal_read(self.schedule.now()) {
            storage.disks[shard].ask(request);
            let delay = storage.delay(storage.plan.write_us);
            self.schedule.after(delay, Event::JournalRead { shard });
        }
        if storage.disks[shard].is_idle()
            && let Some(batch) = node.shard.poll_journal()
        {
            storage.disks[shard].begin(batch);
            let delay = storage.delay(storage.plan.write_us);
            self.schedule.after(delay, Event::Disk { shard });
        }
    }

    /// What the shard asked for, or that it is not to be had now.
    pub(super) fn answer_read(&mut self, shard: usize) {
        let now = self.schedule.now();
        let Some(storage) = &mut self.storage else {
            return;
        };
        let Some((request, bytes)) = storage.disks[shard].answer(&mut storage.random) else {
            return;
        };
        let not_now = !self.calm && storage.random.chance(1, 20);
        let result = match not_now {
            true => Err(ReadError::NotNow),
            false => bytes.as_deref().ok_or(ReadError::Damaged),
        };
        storage.tally.reads += u64::from(!not_now);
        let shard_of = &mut self.nodes[shard].shard;
        if let Some(place) = shard_of.on_journal_read(now, request.token, result) {
            if storage.is_damaged {
                storage.tally.missed += 1;
                self.is_over = true;
                return;
            }
            self.fail(format!("shard {shard} misses the message at {place:?}"));
        }
        self.plan_turn(shard);
    }

    /// A segment is made ready, or given up.
    pub(super) fn keep_segments(&mut self, shard: usize) {
        let segment_bytes = self.swarm.limits.durability.segment_bytes;
        let Some(storage) = &mut self.storage else {
            return;
        };
        let has_space = storage.has_space();
        match storage.disks[shard].carry_out(segment_bytes, has_space) {
            Carried::Ready(number) => {
                let now = self.schedule.now();
                self.nodes[shard].shard.on_segment_ready(now, number);
                self.plan_turn(shard);
            }
            Carried::Stuck => {
                storage.tally.withheld += 1;
                self.schedule
                    .after(SEGMENT_RETRY_DELAY, Event::Keeper { shard });
            }
            Carried::Freed | Carried::Nothing => {}
        }
    }

    /// The disk gets further with the batch under way, or fails.
    pub(super) fn step_disk(&mut self, shard: usize) {
        let lies = self.sabotage == Some(Sabotage::AckBeforeSync);
        let Some(storage) = &mut self.storage else {
            return;
        };
        let disk = &mut storage.disks[shard];
        let mean_us = if disk.is_sync_next() {
            if !self.calm && storage.random.chance(storage.plan.failed_sync, 10_000) {
                self.crash("a sync failed");
                return;
            }
            storage.plan.sync_us
        } else {
            storage.plan.write_us
        };
        match disk.step(lies && storage.random.chance(7, 8)) {
            Some(Progress::Done(batch)) => {
                let now = self.schedule.now();
                self.nodes[shard].shard.on_durable(now, batch);
                self.plan_turn(shard);
            }
            Some(Progress::GoesOn) => {
                let delay = storage.delay(mean_us);
                self.schedule.after(delay, Event::Disk { shard });
            }
            None => self.fail(format!("shard {shard}: the disk had nothing to do")),
        }
    }
}

/// Crashes and starts.
impl World {
    /// Ends the process now and then, by the seed's choice.
    pub(super) fn maybe_crash(&mut self) {
        let is_open = |node: &Node| node.shard.is_snapshot_open();
        let in_haste = !self.is_serving || self.nodes.iter().any(is_open);
        let Some(storage) = &mut self.storage else {
            return;
        };
        let haste = if in_haste { HASTE } else { 1 };
        if storage.tally.crashes < storage.plan.crashes_max
            && storage.random.chance(haste, storage.plan.crash_every)
        {
            self.crash("by chance");
        }
    }

    fn crash(&mut self, why: &str) {
        let now = self.schedule.now();
        self.trace.note(now, format_args!("CRASH {why}"));
        self.break_connections(now);
        let was_serving = std::mem::replace(&mut self.is_serving, false);
        let Some(storage) = &mut self.storage else {
            return;
        };
        let tally = &mut storage.tally;
        tally.crashes += 1;
        tally.undoing += u64::from(storage.plan.undoes);
        tally.in_start += u64::from(!was_serving);
        let open = self.nodes.iter().any(|it| it.shard.is_snapshot_open());
        tally.in_snapshot += u64::from(open);
        for node in &self.nodes {
            storage.past.add(node.shard.counters());
        }
        self.links = Links::new(self.nodes.len());
        self.nodes.clear();
        let end = ProcessEnd {
            loses_power: storage.plan.loses_power,
            has_space: storage.has_space(),
            segment_bytes: self.swarm.limits.durability.segment_bytes,
        };
        for disk in &mut storage.disks {
            disk.crash(&mut storage.random, &end);
        }
        self.auditor.on_crash(now);
        self.schedule.forget(Event::is_of_process);
        let mut delay = Duration::from_micros(1 << storage.random.below(22));
        if storage.plan.undoes {
            // Numbers between shards begin anew with each millisecond, for which no real process
            // is too quick.
            delay += Duration::from_millis(1);
        }
        self.schedule.after(delay, Event::Restart);
    }

    /// The kernel ends what the process had open. What it had sent arrives, or is lost.
    fn break_connections(&mut self, now: Instant) {
        for connection in 0..self.network.len() {
            let it = &mut self.network[connection];
            if matches!(it.place, Place::Gone) {
                continue;
            }
            it.place = Place::Gone;
            (it.transmit, it.last) = (None, None);
            it.transmit_done = false;
            it.cut_short = true;
            it.up.clear();
            if self.schedule.random().chance(1, 2) {
                it.down.clear();
            }
            if it.ended.is_none() {
                self.note_end(connection, now, CloseCause::NetworkClosed);
            }
            self.send_down(connection, Parcel::Fin);
        }
    }

    /// The next process begins with what the disks hold.
    pub(super) fn restart(&mut self) {
        let Some(storage) = &mut self.storage else {
            return;
        };
        storage.starts += 1;
        // Without space a start with another number of shards is refused, and nothing changes.
        let moves = storage.plan.moves && storage.random.chance(1, 2) && storage.has_space();
        let limits = self.swarm.limits.for_shard_count(self.swarm.shard_count);
        let memory = QueueMemory {
            session_bytes: limits.queue_memory_bytes_max,
            bytes: limits.queues_memory_bytes_max,
        };
        let memory = (!moves).then_some(memory);
        let recovered = match storage.recover(memory) {
            Ok(recovered) => recovered,
            Err(error) if storage.is_damaged => return self.mend(error, None, memory),
            Err(error) => return self.fail(format!("the start was refused: {error}")),
        };
        let found = (0..).zip(&recovered).zip(&mut storage.disks);
        let strange = found
            .filter_map(|((shard, it), disk)| (!disk.has_existed(shard, memory, it)).then_some(it));
        if let Some(counts) = strange.map(Recovered::counts).next() {
            return self.fail(format!("a state that never was: {counts:?}"));
        }
        if storage.flips_bits() {
            return self.start_on_flipped(&recovered, memory);
        }
        let result = match moves {
            true => self.move_shards(recovered),
            false => self.start(recovered),
        };
        if let Err(error) = result {
            self.fail(error);
        }
    }

    pub(super) fn start(&mut self, recovered: Vec<Recovered>) -> Result<(), String> {
        let Some(storage) = &mut self.storage else {
            return Ok(());
        };
        let now = self.schedule.now();
        self.links = Links::new(recovered.len());
        for (index, recovered) in recovered.into_iter().enumerate() {
            let counts = recovered.counts();
            self.trace
                .note(now, format_args!("shard {index} recovers {counts:?}"));
            storage.tally.sessions += counts.sessions;
            let mut node = new_node(self.seed, storage.starts, index, &self.swarm);
            begin_journal(&mut node.shard, now, recovered)?;
            node.shard.assert_invariants();
            self.nodes.push(node);
        }
        (0..self.nodes.len()).for_each(|shard| self.plan_turn(shard));
        self.plan_space_reports();
        Ok(())
    }

    /// Everything is divided anew among another number of shards, as the real runtime does it: on
    /// disks of its own, before anything else, and again if it does not come to its end.
    fn move_shards(&mut self, former: Vec<Recovered>) -> Result<(), String> {
        let Some(storage) = &mut self.storage else {
            return Ok(());
        };
        let count = 1 + storage.random.below(SHARDS_MAX) as u16;
        let home_key = super::home_key(self.seed);
        let parts = Recovered::rehome(&former, &home_key, count);
        let swarm = crate::swarm::Swarm {
            shard_count: count,
            ..self.swarm.clone()
        };
        let mut disks = Vec::new();
        for part in parts {
            let index = disks.len();
            let mut node = new_node(self.seed, storage.starts << 32, index, &swarm);
            begin_journal(&mut node.shard, self.schedule.now(), part)?;
            disks.push(write_part(&mut node.shard, &swarm.limits)?);
        }
        storage.tally.moves += 1;
        if storage.random.chance(3, 4) {
            storage.disks = disks;
            self.swarm.shard_count = count;
        }
        self.schedule.soon(Event::Restart);
        Ok(())
    }

    /// Clients may come when every shard knows of every other one's subscriptions.
    pub(super) fn open_doors(&mut self) {
        let ready = self.nodes.iter().all(|node| node.shard.is_ready());
        if !self.is_serving && ready && !self.nodes.is_empty() {
            self.is_serving = true;
            self.trace
                .note(self.schedule.now(), format_args!("serving"));
        }
    }

    /// What happened to the disks of this world.
    pub(super) fn tally(&self) -> Tally {
        let Some(storage) = &self.storage else {
            return Tally::default();
        };
        let recycled = storage.disks.iter().map(|disk| disk.segments_recycled);
        let is_undoing = storage.plan.undoes;
        Tally {
            required_undoing: if is_undoing { self.required } else { 0 },
            weak: self.auditor.weak_undone,
            recycled: recycled.sum(),
            refused: self.counters().publishes_refused_disk_full,
            ..storage.tally
        }
    }
}

fn begin_journal(shard: &mut Shard, now: Instant, recovered: Recovered) -> Result<(), String> {
    let start = JournalStart {
        unix_ms: UNIX_MS + now.as_micros() / 1_000,
        recovered: Some(recovered),
    };
    shard
        .start_journal(now, start)
        .map_err(|error| format!("the start was refused: {error}"))
}

/// The journal of a shard that never serves: its first snapshot.
fn write_part(shard: &mut Shard, limits: &Limits) -> Result<Disk, String> {
    let mut disk = Disk::default();
    let segment_bytes = limits.durability.segment_bytes;
    let mut is_over = false;
    loop {
        if !shard.is_snapshot_open() {
            if is_over && shard.is_journal_settled() {
                return Ok(disk);
            }
            shard.sync_journal();
            is_over = true;
        }
        if let Some(batch) = shard.poll_journal() {
            disk.begin(batch);
            while let Some(progress) = disk.step(false) {
                if let Progress::Done(batch) = progress {
                    shard.on_durable(Instant::ZERO, batch);
                }
            }
            continue;
        }
        let mut is_stuck = !is_over;
        while let Some(event) = shard.poll_segment() {
            is_stuck = false;
            disk.order(event);
            if let Carried::Ready(number) = disk.carry_out(segment_bytes, true) {
                shard.on_segment_ready(Instant::ZERO, number);
            }
        }
        if is_stuck {
            return Err("a moved journal does not come to its end".into());
        }
    }
}
