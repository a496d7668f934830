//! The second runtime: shards, sockets, links and clients as data, one loop, one seed.
//!
//! `driver` does for the shards what the real runtime does, `host` is the clients' side of the
//! network, `rest` judges when everything has come to rest, `run` leads through the phases. This
//! file holds the state and the loop.

mod crash;
mod driver;
mod flip;
mod host;
mod rest;
pub(crate) mod run;
mod space;
mod tally;

use crate::auditor::Auditor;
use crate::client::act::{draw_packet_ids, draw_profile};
use crate::client::{Client, Context, Profile};
use crate::link::Links;
use crate::network::Connection;
use crate::schedule::{Event, Schedule};
use crate::storage::StoragePlan;
use crate::swarm::Swarm;
use crate::trace::Trace;
use crash::Storage;
use host::Rude;
use ringway::base::hash::HomeKey;
use ringway::base::ids::{ConnectionId, ShardId};
use ringway::base::random::Random;
use ringway::metrics::Counters;
use ringway::shard::Shard;
use ringway::shard::interface::ShardSettings;
use std::collections::BTreeMap;
use std::time::Duration;
pub(crate) use tally::Tally;

/// Clients that only the script at the end uses: the collector and the prober.
pub(crate) const SCRIPTED: usize = 2;

/// A fault of the simulator itself, to prove that the auditor sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Sabotage {
    /// Every so manyth PUBLISH with QoS 1 or more is acknowledged but not handed to its client.
    HideDeliveries(u64),
    /// A byte of this transmit is changed on the way.
    FlipByte(u64),
    /// This batch between shards is lost.
    LoseBatch(u64),
    /// Disks report syncs that they have not done.
    AckBeforeSync,
}

/// A shard with what its driver keeps for it.
struct Node {
    shard: Shard,
    connections: BTreeMap<ConnectionId, usize>,
    turn_planned: bool,
    timeout_planned: bool,
    /// It knows that the disk is past its watermark.
    knows_full: bool,
}

pub(crate) struct World {
    seed: u64,
    pub(crate) swarm: Swarm,
    schedule: Schedule,
    faults: Random,
    workload: Random,
    /// Empty between a crash and the next start.
    nodes: Vec<Node>,
    /// Clients may connect.
    is_serving: bool,
    /// In worlds with disks and crashes.
    storage: Option<Storage>,
    links: Links,
    network: Vec<Connection>,
    clients: Vec<Client>,
    rude: Vec<Rude>,
    pub(crate) auditor: Auditor,
    pub(crate) trace: Trace,
    /// The faults are over.
    calm: bool,
    /// Sessions are not to be kept any more.
    farewell: bool,
    events: u64,
    /// Events since time moved last: a timer that spins would never let it.
    events_at_once: u64,
    pub(crate) sabotage: Option<Sabotage>,
    sabotage_count: u64,
    /// Deliveries that had to be there at the end.
    required: u64,
    /// A disk was damaged and the broker said so: there is nothing more to judge.
    is_over: bool,
    /// The first thing that was wrong.
    pub(crate) failure: Option<String>,
}

impl World {
    pub(crate) fn new(seed: u64, swarm: Swarm, trace: Trace) -> Self {
        let mut workload = Random::new(seed ^ 0x0077_6F72_6B6C_6F61);
        let count = usize::from(swarm.shard_count);
        let clients: Vec<Client> = (0..swarm.client_count + SCRIPTED)
            .zip(draw_packet_ids(seed))
            .map(|(index, packet_id_max)| {
                let mut profile = draw_profile(index, &swarm, &mut workload);
                profile.packet_id_max = packet_id_max;
                if index >= swarm.client_count {
                    profile = Profile::scripted(index);
                }
                Client::new(index, profile)
            })
            .collect();
        let rude = (0..swarm.rude_count).map(Rude::new).collect();
        let mut world = Self {
            seed,
            schedule: Schedule::new(seed ^ 0x0073_6368_6564_756C),
            faults: Random::new(seed ^ 0x6661_756C_7473),
            workload,
            nodes: (0..count)
                .map(|index| new_node(seed, 0, index, &swarm))
                .collect(),
            is_serving: true,
            storage: None,
            links: Links::new(count),
            network: Vec::new(),
            auditor: Auditor::new(clients.len(), swarm.is_lossless()),
            clients,
            rude,
            trace,
            calm: false,
            farewell: false,
            events: 0,
            events_at_once: 0,
            sabotage: None,
            sabotage_count: 0,
            required: 0,
            is_over: false,
            failure: None,
            swarm,
        };
        for endpoint in 0..world.clients.len() + world.rude.len() {
            let delay = Duration::from_micros(world.workload.below(20_000));
            world.schedule.after(delay, Event::Act { endpoint });
        }
        world
    }

    /// The same world with disks, which begins with a start on empty ones.
    pub(crate) fn with_storage(
        seed: u64,
        mut swarm: Swarm,
        mut plan_for: impl FnMut(&mut Swarm) -> StoragePlan,
        trace: Trace,
    ) -> Self {
        let plan = plan_for(&mut swarm);
        let undoes = plan.undoes;
        let storage = Storage::new(seed, plan, swarm.shard_count);
        let mut world = Self::new(seed, swarm, trace);
        world.nodes.clear();
        world.is_serving = false;
        world.auditor.has_disks = true;
        world.auditor.undoes = undoes;
        let clients = 0..world.clients.len();
        let weak = clients.filter(|client| world.swarm.waits_for_nothing(*client));
        world.auditor.weak = weak.collect();
        if undoes {
            // A broker that has gone back takes a message under an identifier that it believes to
            // be in use for a repetition, and nobody is wrong.
            for client in &mut world.clients {
                client.profile.packet_id_max = u16::MAX;
            }
        }
        world.storage = Some(storage);
        world.schedule.soon(Event::Restart);
        world
    }

    pub(crate) fn fail(&mut self, what: String) {
        self.trace
            .note(self.schedule.now(), format_args!("FAILED: {what}"));
        self.failure.get_or_insert(what);
    }

    /// Runs a client with everything that it may use.
    fn with_client<R>(
        &mut self,
        index: usize,
        act: impl FnOnce(&mut Client, &mut Context<'_>) -> R,
    ) -> R {
        let mut context = Context {
            now: self.schedule.now(),
            auditor: &mut self.auditor,
            random: &mut self.workload,
            swarm: &self.swarm,
            trace: &mut self.trace,
            calm: self.calm,
            farewell: self.farewell,
        };
        act(&mut self.clients[index], &mut context)
    }

    /// One event. False: nothing will ever happen again.
    fn step(&mut self) -> bool {
        let Some(event) = self.schedule.pick() else {
            return self.advance();
        };
        self.events += 1;
        self.events_at_once += 1;
        if self.events_at_once > 1_000_000 {
            self.fail("a million events without progress of time".into());
        }
        self.trace
            .note(self.schedule.now(), format_args!("{event:?}"));
        match event {
            Event::Accept { connection } => self.accept(connection),
            Event::Arrive { connection } => self.arrive(connection),
            Event::Read { connection } => self.read(connection),
            Event::Write { connection } => self.write(connection),
            Event::HandOver { connection } => self.finish_hand_over(connection),
            Event::CloseDeadline { connection } => self.give_up_closing(connection),
            Event::Deliver { connection } => self.deliver(connection),
            Event::ClientRead { connection } => self.client_read(connection),
            Event::Act { endpoint } => self.act(endpoint),
            Event::Turn { shard } => self.turn(shard),
            Event::Timeout { shard } => self.timeout(shard),
            Event::Batch { source, target } => self.receive_batch(source, target),
            Event::BatchHome { source, target } => self.receive_batch_home(source, target),
            Event::Disk { shard } => self.step_disk(shard),
            Event::Keeper { shard } => self.keep_segments(shard),
            Event::JournalRead { shard } => self.answer_read(shard),
            Event::SpaceReport { shard } => self.report_space(shard),
            Event::SpaceReturns => self.return_space(),
            Event::Restart => self.restart(),
        }
        self.open_doors();
        if self.swarm.small || self.events.is_multiple_of(64) {
            for node in &self.nodes {
                node.shard.assert_invariants();
            }
        }
        true
    }

    /// Lets time pass until something is due.
    fn advance(&mut self) -> bool {
        let wake = self.nodes.iter().filter(|node| !node.timeout_planned);
        let wake = wake.filter_map(|node| node.shard.poll_timeout()).min();
        let before = self.schedule.now();
        if !self.schedule.advance(wake) {
            return false;
        }
        let now = self.schedule.now();
        if now > before {
            self.events_at_once = 0;
        }
        for (index, node) in self.nodes.iter_mut().enumerate() {
            let due = node
                .shard
                .poll_timeout()
                .is_some_and(|deadline| deadline <= now);
            if !due || node.timeout_planned {
                continue;
            }
            node.timeout_planned = true;
            let late = !self.calm && self.faults.chance(self.swarm.faults.late_timer, 10_000);
            let delay = if late { self.faults.below(5_000) } else { 0 };
            self.schedule.after(
                Duration::from_micros(delay),
                Event::Timeout { shard: index },
            );
        }
        true
    }

    /// Sum of all shards' counters.
    pub(crate) fn counters(&self) -> Counters {
        let mut sum = Counters::default();
        if let Some(storage) = &self.storage {
            sum.add(storage.past());
        }
        for node in &self.nodes {
            sum.add(node.shard.counters());
        }
        sum
    }
}

fn home_key(seed: u64) -> HomeKey {
    HomeKey::new(seed.to_be_bytes().repeat(2).try_into().unwrap())
}

/// `start`: how often the process was started before.
fn new_node(seed: u64, start: u64, index: usize, swarm: &Swarm) -> Node {
    let settings = ShardSettings {
        id: ShardId(index as u16),
        shard_count: swarm.shard_count,
        limits: swarm.shard_limits(),
        home_key: home_key(seed),
        seed: seed.wrapping_add(index as u64 + (start << 8)),
    };
    Node {
        shard: Shard::new(settings),
        connections: BTreeMap::new(),
        turn_planned: false,
        timeout_planned: false,
        knows_full: false,
    }
}
