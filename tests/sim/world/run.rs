//! The life of a world: faults on, then off, then the questions at the end.

use super::{Sabotage, Tally, World};
use crate::network::Hangup;
use crate::storage::StoragePlan;
use crate::swarm::Swarm;
use crate::trace::Trace;
use ringway::base::time::Instant;
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

/// Virtual time in which everything must settle once the faults are over.
const SETTLE_TIME_MAX: Duration = Duration::from_secs(120);
/// Wills and sessions may wait this long for their time.
const SETTLE_TIME_MIN: Duration = Duration::from_secs(10);
/// A world that does more has lost its way.
const EVENTS_MAX: u64 = 20_000_000;
/// In worlds with disks calm comes after so many at the latest.
const EVENTS_OF_DISK_FAULTS_MAX: u64 = 1_500_000;

/// What became of a world.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    pub(crate) hash: u64,
    pub(crate) events: u64,
    pub(crate) deliveries: u64,
    /// Deliveries that had to be there at the end.
    pub(crate) required: u64,
    pub(crate) tally: Tally,
    /// What was wrong, with everything that helps to find out why.
    pub(crate) failure: Option<String>,
}

/// Runs the world of a seed to its end.
pub(crate) fn run(seed: u64, shards: Option<u16>, sabotage: Option<Sabotage>) -> Outcome {
    run_watched(seed, shards, sabotage, None)
}

/// The same, printing the trace lines that contain `watched`.
pub(crate) fn run_watched(
    seed: u64,
    shards: Option<u16>,
    sabotage: Option<Sabotage>,
    watched: Option<String>,
) -> Outcome {
    let swarm = Swarm::draw(seed, shards);
    finish(
        World::new(seed, swarm, Trace::new(watched)),
        shards,
        sabotage,
    )
}

/// Runs a world with disks and crashes to its end.
pub(crate) fn run_crashing(
    seed: u64,
    shards: Option<u16>,
    sabotage: Option<Sabotage>,
    watched: Option<String>,
) -> Outcome {
    let swarm = Swarm::draw_ordinary(seed, shards);
    let plan = |swarm: &mut Swarm| StoragePlan::draw(seed, swarm);
    let world = World::with_storage(seed, swarm, plan, Trace::new(watched));
    finish(world, shards, sabotage)
}

fn finish(mut world: World, shards: Option<u16>, sabotage: Option<Sabotage>) -> Outcome {
    world.sabotage = sabotage;
    if let Some(Sabotage::HideDeliveries(number)) = sabotage {
        world.auditor.overlooked = Some(number);
    }
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| world.live())) {
        world.fail(format!("panic: {}", panic_text(&*panic)));
    }
    let outcome = Outcome {
        hash: world.trace.hash(),
        events: world.trace.count(),
        deliveries: world.auditor.deliveries,
        required: world.required,
        tally: world.tally(),
        failure: world.report(shards),
    };
    if world
        .failure
        .as_ref()
        .is_some_and(|failure| failure.starts_with("panic"))
    {
        // What a panicking shard left behind may panic again when it is dropped.
        std::mem::forget(world);
    }
    outcome
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
        .unwrap_or_default()
}

impl World {
    fn live(&mut self) {
        for round in 1..=self.swarm.rounds {
            self.calm = false;
            for client in &mut self.clients {
                client.actions_left = if client.asleep { 0 } else { self.swarm.actions };
            }
            self.run_with_faults();
            if !self.goes_on() {
                return;
            }
            self.begin_calm();
            let last = round == self.swarm.rounds;
            let rest = if last {
                SETTLE_TIME_MIN
            } else {
                Duration::from_millis(500)
            };
            self.settle(self.schedule.now() + rest);
            if !self.goes_on() {
                return;
            }
            self.check_messages();
        }
        self.ask_for_retained();
        self.probe();
        self.say_farewell();
    }

    fn goes_on(&self) -> bool {
        self.failure.is_none() && !self.is_over
    }

    fn run_with_faults(&mut self) {
        while self.goes_on() && self.clients.iter().any(|client| client.actions_left > 0) {
            self.step();
            self.maybe_fill_disk();
            self.maybe_crash();
            if self.events > EVENTS_MAX {
                self.fail("too many events".into());
            }
            // Clients that wait for a full disk ask again and again.
            if self.storage.is_some() && self.events > EVENTS_OF_DISK_FAULTS_MAX {
                return;
            }
        }
    }

    fn begin_calm(&mut self) {
        self.calm = true;
        self.return_space();
        self.trace.note(self.schedule.now(), format_args!("calm"));
        for connection in 0..self.network.len() {
            self.network[connection].client_read_planned = false;
            if self.network[connection].is_read() {
                self.plan_client_read(connection);
            }
        }
    }

    /// Liveness: everything comes to rest in time, and not before `earliest`.
    fn settle(&mut self, earliest: Instant) {
        let deadline = self.schedule.now() + SETTLE_TIME_MAX;
        let mut countdown = 0u32;
        while self.goes_on() {
            let more = self.step();
            countdown = countdown.saturating_sub(1);
            if countdown > 0 && more {
                continue;
            }
            countdown = 100;
            if self.schedule.now() >= earliest && self.is_at_rest() {
                return;
            }
            if self.schedule.now() > deadline || !more {
                let unrest = self.unrest().unwrap_or_default();
                self.fail(format!("does not come to rest: {unrest}"));
            }
        }
    }

    fn settle_at_once(&mut self) {
        let earliest = self.schedule.now() + Duration::from_millis(1);
        self.settle(earliest);
    }

    fn ask_for_retained(&mut self) {
        if !self.goes_on() {
            return;
        }
        self.wake_scripted();
        self.settle_at_once();
        let dropped_before = self.counters().drops_queue_full;
        self.subscribe_collector();
        self.settle_at_once();
        if self.goes_on() && self.counters().drops_queue_full == dropped_before {
            self.check_retained();
        }
    }

    fn probe(&mut self) {
        if !self.goes_on() {
            return;
        }
        let slow_before = self.counters().drops_slow_consumer;
        let first = self.publish_probes(0..=2);
        self.settle_at_once();
        if self.goes_on() {
            self.check_probes(first, slow_before);
        }
    }

    /// Everybody comes back clean and leaves for good.
    fn say_farewell(&mut self) {
        if !self.goes_on() {
            return;
        }
        self.farewell = true;
        self.everybody_leaves(false);
        self.settle_at_once();
        if !self.goes_on() {
            return;
        }
        let forwarded_before = self.counters().messages_forwarded;
        self.publish_probes(0..=1);
        self.settle_at_once();
        if !self.goes_on() {
            return;
        }
        self.check_no_interest(forwarded_before);
        self.everybody_leaves(true);
        self.settle_at_once();
        if self.goes_on() {
            self.check_empty();
        }
    }

    fn everybody_leaves(&mut self, for_good: bool) {
        for index in 0..self.clients.len() {
            self.with_client(index, |client, context| {
                client.asleep = for_good;
                client.disconnect(context, 0, None);
            });
            self.send_output(index);
            if let Some(connection) = self.clients[index].forget_connection() {
                self.hang_up(connection, Hangup::Close);
            }
        }
    }

    fn report(&self, shards: Option<u16>) -> Option<String> {
        let seed = self.seed;
        let (name, plan) = match &self.storage {
            Some(storage) => (
                "SIM_CRASH_SEED",
                format!("{:?}\n{:?}", storage.plan, self.tally()),
            ),
            None => ("SIM_SEED", String::new()),
        };
        let failure = self.failure.as_ref()?;
        let lines: Vec<&str> = self.trace.lines().collect();
        let shards = shards.map_or_else(String::new, |count| format!("SIM_SHARDS={count} "));
        Some(format!(
            "{}\n\nseed {seed}: {failure}\n{:?}\n{plan}\n\
             replay: {shards}{name}={seed} cargo test --test sim\n",
            lines.join("\n"),
            self.swarm,
        ))
    }
}
