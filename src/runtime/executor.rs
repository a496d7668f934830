//! The executor of a core (glommio) below the core's own ring: the inversion.
//!
//! The core sleeps in its own ring, not in the executor's. So the executor's reactor runs only
//! when it is given a turn: when one of its rings has something (the own ring polls them), when
//! another thread has woken the core, when a task was spawned, and at a tick while tasks exist.
//! The tick is needed for what makes no ring readable: the reactor's timers and wakes from other
//! threads over glommio's channels. Without tasks there is no tick and no poll, and an idle core
//! sleeps.
//!
//! Tasks are spawned with [`Tasks::spawn`], which counts their polls: so the core knows when the
//! executor is quiet, and one task that never waits cannot keep the core from its sockets.

use super::net::Net;
use crate::base::time::Instant;
use glommio::channels::shared_channel::{self, SharedReceiver};
use glommio::{LocalExecutor, LocalExecutorBuilder, Placement};
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::os::fd::RawFd;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Mutex;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// Registered buffers of the executor; its smallest value. The default would pin 10 MiB for each
/// of its three rings.
const IO_MEMORY_BYTES: usize = 64 << 10;
/// The executor's own preemption timer, switched off for good: it would wake the core, and the
/// budget of polls does its work.
const PREEMPT_TIMER: Duration = Duration::from_secs(365 * 24 * 3600);
/// Polls of tasks in one turn of the core; more wait for the next one.
const POLLS_PER_TURN: u32 = 256;
/// Reactor turns in one turn of the core, as long as they wake tasks.
const ROUNDS_MAX: u32 = 4;
/// The tick after a turn that woke a task, and the longest one after many that did not.
const TICK_MIN: Duration = Duration::from_millis(5);
const TICK_MAX: Duration = Duration::from_millis(100);

/// Only one executor of the process is made at a time: the descriptors that appear meanwhile are
/// its own.
static MAKING: Mutex<()> = Mutex::new(());

/// An executor and the descriptors of its rings.
#[derive(Debug)]
pub(super) struct Made {
    pub(super) executor: LocalExecutor,
    pub(super) rings: Vec<RawFd>,
}

/// Makes this thread's executor and pins the thread to `cpu`.
pub(super) fn make(cpu: usize) -> Result<Made, String> {
    let _one_at_a_time = MAKING.lock().map_err(|error| error.to_string())?;
    let before = ring_descriptors().map_err(|error| error.to_string())?;
    let executor = LocalExecutorBuilder::new(Placement::Fixed(cpu))
        .io_memory(IO_MEMORY_BYTES)
        .preempt_timer(PREEMPT_TIMER)
        .make()
        .map_err(|error| error.to_string())?;
    let mut rings = ring_descriptors().map_err(|error| error.to_string())?;
    rings.retain(|descriptor| !before.contains(descriptor));
    Ok(Made { executor, rings })
}

/// Runs `make_ring` while no executor is being made, so that its ring is not taken for one of the
/// executor's.
pub(super) fn while_none_is_made<T>(make_ring: impl FnOnce() -> T) -> T {
    let guard = MAKING.lock();
    let made = make_ring();
    drop(guard);
    made
}

/// The descriptors of all rings of this process.
fn ring_descriptors() -> std::io::Result<Vec<RawFd>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc/self/fd")? {
        let entry = entry?;
        let is_ring = std::fs::read_link(entry.path())
            .is_ok_and(|target| target.to_string_lossy().contains("[io_uring]"));
        let number = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok());
        if let (true, Some(number)) = (is_ring, number) {
            found.push(number);
        }
    }
    Ok(found)
}

/// Counts of a core's tasks, shared by its tasks and its turn.
#[derive(Debug, Default)]
struct Counts {
    /// Spawned and not over.
    live: Cell<usize>,
    polls: Cell<u64>,
    /// Polls left in this turn.
    budget: Cell<u32>,
    /// Tasks that found no budget; bounded by the live tasks.
    held: RefCell<Vec<Waker>>,
    /// A task was spawned or woken by the core's own code.
    wanted: Cell<bool>,
}

/// Where tasks of this core are spawned.
#[derive(Clone, Debug, Default)]
pub struct Tasks(Rc<Counts>);

impl Tasks {
    /// Spawns a task beside the core's own. The only way to do so: a task that is not counted may
    /// sleep for ever. Within the executor's run only.
    pub fn spawn<F>(&self, future: F) -> glommio::Task<F::Output>
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        self.0.live.set(self.0.live.get() + 1);
        self.want_turn();
        glommio::spawn_local(Counted {
            future: Box::pin(future),
            counts: Rc::clone(&self.0),
        })
    }

    /// Says that a task was woken by the core's own code: the executor gets a turn at once.
    pub fn want_turn(&self) {
        self.0.wanted.set(true);
    }
}

/// A task whose polls are counted.
struct Counted<F> {
    future: Pin<Box<F>>,
    counts: Rc<Counts>,
}

impl<F: Future> Future for Counted<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let counts = &self.counts;
        let Some(budget) = counts.budget.get().checked_sub(1) else {
            counts.held.borrow_mut().push(context.waker().clone());
            return Poll::Pending;
        };
        counts.budget.set(budget);
        counts.polls.set(counts.polls.get() + 1);
        self.future.as_mut().poll(context)
    }
}

impl<F> Drop for Counted<F> {
    fn drop(&mut self) {
        self.counts.live.set(self.counts.live.get() - 1);
    }
}

/// Gives the executor its turns.
#[derive(Debug)]
pub(super) struct Reactor {
    tasks: Tasks,
    pass: ReactorPass,
    rings: Vec<RawFd>,
    /// Rings that are not polled at the moment; one bit each.
    unwatched: u32,
    tick: Duration,
    next_tick: Instant,
    /// Tasks are left that could run at once.
    runnable: bool,
    /// The last turn made progress or was a tick.
    may_watch: bool,
}

impl Reactor {
    pub(super) fn new(tasks: Tasks, rings: Vec<RawFd>) -> Self {
        assert!(rings.len() < 32, "an executor has three rings");
        Self {
            tasks,
            pass: ReactorPass::new(),
            unwatched: (1 << rings.len()) - 1,
            rings,
            tick: TICK_MIN,
            next_tick: Instant::ZERO,
            runnable: false,
            may_watch: false,
        }
    }

    /// When a turn is due at the latest: while there are tasks.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let counts = &self.tasks.0;
        if counts.live.get() == 0 {
            return None;
        }
        if self.runnable || counts.wanted.get() {
            return Some(Instant::ZERO);
        }
        Some(self.next_tick)
    }

    /// Whether a turn is due. `fired`: rings that have something; `woken`: by another thread.
    pub(super) fn is_due(&mut self, now: Instant, fired: u32, woken: bool) -> bool {
        self.unwatched |= fired;
        let has_tasks = self.tasks.0.live.get() > 0;
        has_tasks && (fired != 0 || woken || self.deadline().is_some_and(|at| at <= now))
    }

    /// Lets the executor submit, reap and run its tasks until it is quiet, within bounds.
    /// Returns the number of reactor turns.
    pub(super) async fn turn(&mut self, now: Instant) -> u64 {
        let counts = Rc::clone(&self.tasks.0);
        counts.wanted.set(false);
        counts.budget.set(POLLS_PER_TURN);
        for waker in counts.held.take() {
            waker.wake();
        }
        let at_tick = now >= self.next_tick;
        let polls_before = counts.polls.get();
        let (mut turns, mut quiet) = (0, false);
        while !quiet && turns < u64::from(ROUNDS_MAX) {
            let polls = counts.polls.get();
            self.pass.run().await;
            yield_once().await;
            turns += 1;
            quiet = counts.polls.get() == polls;
        }
        self.runnable = !quiet || !counts.held.borrow().is_empty();
        let progress = counts.polls.get() != polls_before;
        self.may_watch = progress || at_tick;
        self.tick = if progress {
            TICK_MIN
        } else {
            (self.tick * 2).min(TICK_MAX)
        };
        self.next_tick = now + self.tick;
        turns
    }

    /// Polls the executor's rings again, unless the last turn changed nothing and came before its
    /// time: a ring may stay readable with nothing in it for any task, and polling it at once would
    /// spin. Then the tick comes first.
    pub(super) fn watch(&mut self, net: &mut Net) {
        if !self.may_watch || self.tasks.0.live.get() == 0 {
            return;
        }
        for (index, ring) in (0u32..).zip(&self.rings) {
            if self.unwatched & (1 << index) != 0 {
                net.watch_reactor(index, *ring);
            }
        }
        self.unwatched = 0;
    }
}

/// One pass of the executor's reactor without parking.
///
/// Yielding is not enough: the executor goes on with its queues as long as a task is runnable and
/// reaches the reactor only then. The one public future that every pass of the reactor wakes is
/// the connect of a shared channel whose other end never connects.
struct ReactorPass {
    connect: Pin<Box<dyn Future<Output = ()>>>,
    _other_end: SharedReceiver<u8>,
}

impl ReactorPass {
    fn new() -> Self {
        let (sender, receiver) = shared_channel::new_bounded::<u8>(1);
        Self {
            connect: Box::pin(async move {
                sender.connect().await;
            }),
            _other_end: receiver,
        }
    }

    async fn run(&mut self) {
        let mut waiting = false;
        std::future::poll_fn(|context| {
            if std::mem::replace(&mut waiting, true) {
                return Poll::Ready(());
            }
            // Never ready; asks to be woken by the next pass.
            let _ = self.connect.as_mut().poll(context);
            Poll::Pending
        })
        .await;
    }
}

impl std::fmt::Debug for ReactorPass {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("ReactorPass")
    }
}

/// Lets the tasks that are runnable now run first.
async fn yield_once() {
    let mut yielded = false;
    std::future::poll_fn(|context| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
