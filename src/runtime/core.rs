//! One core: its shard, its sockets, its links, and the turn that drives them.
//!
//! A turn, top to bottom: into the kernel ([`Net::enter`]); what was sent and what happened on
//! sockets is fed to the shard; what came over the links; what the disk has done; deadlines; then
//! everything that the shard wants done is queued for the next entry. So many small events become
//! one send per connection, one batch per peer, one write of the journal and one system call.

use super::bell::Bell;
use super::clock::Clock;
use super::counters::NetCounters;
use super::disk::Disk;
use super::executor::{Reactor, Tasks};
use super::link::{ARRIVALS_MAX, BATCHES_MAX, Links};
use super::net::{Net, Wait, Woken};
use super::process_memory;
use super::signal::Teller;
use crate::base::time::Instant;
use crate::metrics::Counters;
use crate::shard::Shard;
use std::io;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use std::time::Duration;
use tracing::debug;

/// How soon connections that wait for room on a link are tried again.
const RETRY_TIME: Duration = Duration::from_millis(1);

/// How the process is to end. The numbers are the values of the shared atomic.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(super) enum Stop {
    No = 0,
    /// Say goodbye to clients, then end.
    Graceful = 1,
    AtOnce = 2,
}

/// What the main thread and all cores share. Read once per turn, written at a stop only.
#[derive(Debug)]
pub(super) struct Control {
    stop: AtomicU8,
    shutdown_timeout: Duration,
    bells: Vec<Arc<Bell>>,
    /// Cores whose shard is ready for clients.
    ready_count: AtomicUsize,
    /// By core, during a stop: nothing is left to do.
    done: Vec<AtomicBool>,
}

impl Control {
    pub(super) fn new(bells: Vec<Arc<Bell>>, shutdown_timeout: Duration) -> Self {
        Self {
            stop: AtomicU8::new(Stop::No as u8),
            shutdown_timeout,
            ready_count: AtomicUsize::new(0),
            done: bells.iter().map(|_| AtomicBool::new(false)).collect(),
            bells,
        }
    }

    /// Tells all cores to stop.
    pub(super) fn request(&self, stop: Stop) {
        self.stop.store(stop as u8, Ordering::Release);
        self.wake_all();
    }

    pub(super) fn wake_all(&self) {
        for bell in &self.bells {
            bell.wake();
        }
    }

    pub(super) const fn shutdown_timeout(&self) -> Duration {
        self.shutdown_timeout
    }

    /// One more core could serve; the last one wakes the others.
    fn note_ready(&self) {
        self.ready_count.fetch_add(1, Ordering::AcqRel);
        if self.all_ready() {
            self.wake_all();
        }
    }

    fn all_ready(&self) -> bool {
        self.ready_count.load(Ordering::Acquire) == self.bells.len()
    }

    fn is(&self, stop: Stop) -> bool {
        self.stop.load(Ordering::Acquire) >= stop as u8
    }

    fn all_done(&self) -> bool {
        self.done.iter().all(|done| done.load(Ordering::Acquire))
    }
}

/// Everything that one core owns.
#[derive(Debug)]
pub(super) struct Core {
    index: usize,
    shard: Shard,
    net: Net,
    links: Links,
    /// The journal's files; `None`: nothing is durable.
    disk: Option<Disk>,
    reactor: Reactor,
    clock: Clock,
    control: Arc<Control>,
    opening: Opening,
    /// So long the core looks for something to do before it sleeps.
    spin_time: Duration,
    /// When a graceful stop ends in any case.
    stop_deadline: Option<Instant>,
}

/// The way to the first client: it comes when all shards know of each other what they recovered.
#[derive(Debug)]
enum Opening {
    /// The own shard is not ready. The main thread is told when the listeners are open.
    Waiting(Option<Teller<()>>),
    /// Another shard is not.
    Ready(Option<Teller<()>>),
    Open,
}

impl Core {
    #[allow(clippy::too_many_arguments, reason = "the parts of a core, each once")]
    pub(super) fn new(
        index: usize,
        shard: Shard,
        net: Net,
        links: Links,
        disk: Option<Disk>,
        executor_rings: Vec<RawFd>,
        clock: Clock,
        control: Arc<Control>,
    ) -> Self {
        Self {
            index,
            shard,
            net,
            links,
            disk,
            reactor: Reactor::new(Tasks::default(), executor_rings),
            clock,
            control,
            opening: Opening::Waiting(None),
            spin_time: Duration::ZERO,
            stop_deadline: None,
        }
    }

    /// Says over `opened` when clients are served.
    pub(super) fn telling(mut self, opened: Teller<()>) -> Self {
        self.opening = Opening::Waiting(Some(opened));
        self
    }

    /// Looks so long for something to do before it sleeps; its [`Net`] must be made for that.
    pub(super) fn spinning(mut self, time: Duration) -> Self {
        self.spin_time = time;
        self
    }

    /// Where tasks beside the turn are spawned: files, coarse timers.
    #[cfg_attr(not(test), expect(dead_code, reason = "only tests spawn tasks so far"))]
    pub(super) fn tasks(&self) -> Tasks {
        self.reactor.tasks()
    }

    /// Serves until the process is told to stop.
    ///
    /// # Errors
    /// The ring is unusable.
    pub(super) async fn run(mut self) -> io::Result<(NetCounters, Counters)> {
        self.net.set_peers(self.control.bells.clone());
        self.net.watch_event(self.links.bell().event());
        let start = self.clock.now();
        self.drain(start);
        while !self.is_finished() {
            let woken = self.turn()?;
            self.run_tasks(woken).await?;
        }
        self.end();
        Ok((self.net.counters(), self.shard.counters().clone()))
    }

    /// One turn; says what woke the core besides sockets.
    fn turn(&mut self) -> io::Result<Woken> {
        if self.spin_time.is_zero() || !self.spin()? {
            self.sleep()?;
        }

        let now = self.clock.now();
        self.net.counters_mut().turns += 1;
        self.net.settle(&mut self.shard, now);
        self.net.complete(&mut self.shard, now);
        // Before looking at what other threads have done: what they do after this look wakes again.
        let woken = self.take_woken();
        self.receive_links(now);
        if let Some(disk) = &mut self.disk {
            disk.complete(&mut self.net, &mut self.shard, now);
        }
        self.on_deadlines(now);
        self.on_stop_request(now);
        self.drain(now);
        Ok(woken)
    }

    /// Sleeps in the kernel until something happens.
    fn sleep(&mut self) -> io::Result<()> {
        let wait = self.begin_sleep();
        let entered = self.net.enter(wait);
        self.links.bell().end_sleep();
        entered
    }

    /// Looks for something to do without sleeping, for [`Core::spin_time`] at most. Peers see a
    /// core that is awake and do not ring. False: there is nothing, and no deadline has passed.
    fn spin(&mut self) -> io::Result<bool> {
        // What the last turn has queued goes out first.
        self.net.enter(Wait::No)?;
        let deadline = self.deadline();
        let mut now = self.clock.now();
        let is_due = |now: Instant| deadline.is_some_and(|at| at <= now);
        if self.net.has_completions() || is_due(now) {
            return Ok(true);
        }
        let end = now + self.spin_time;
        while now < end {
            if self.net.has_events() {
                self.net.counters_mut().spins_useful += 1;
                self.net.enter(Wait::No)?;
                return Ok(true);
            }
            if self.links.has_inbound() || is_due(now) {
                self.net.counters_mut().spins_useful += 1;
                return Ok(true);
            }
            std::hint::spin_loop();
            now = self.clock.now();
        }
        self.net.counters_mut().spins_fruitless += 1;
        Ok(false)
    }

    /// How long to wait in the kernel; not at all when something is there already.
    fn begin_sleep(&mut self) -> Wait {
        let wait = match self.deadline() {
            None => Wait::Forever,
            // A second look at the clock: the turn has taken its time.
            Some(deadline) => match deadline.saturating_since(self.clock.now()) {
                Duration::ZERO => return Wait::No,
                time => Wait::AtMost(time),
            },
        };
        // From here on peers ring the bell; what they sent before is looked for once more.
        self.links.bell().begin_sleep();
        if self.links.has_inbound() {
            Wait::No
        } else {
            wait
        }
    }

    fn deadline(&self) -> Option<Instant> {
        let retry = self
            .links
            .has_waiting()
            .then(|| self.clock.now() + RETRY_TIME);
        [
            self.shard.poll_timeout(),
            self.net.deadline(),
            self.reactor.deadline(),
            self.disk.as_ref().and_then(Disk::deadline),
            self.stop_deadline,
            retry,
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Takes what the peers have sent, at most one filling of each queue: a peer that sends on
    /// and on must not keep this core from its sockets.
    fn receive_links(&mut self, now: Instant) {
        for peer in self.links.peers() {
            for _ in 0..BATCHES_MAX {
                let Some(batch) = self.links.receive_returned(peer) else {
                    break;
                };
                self.shard.on_peer_batch_returned(now, peer, batch);
            }
            for _ in 0..BATCHES_MAX {
                let Some(mut batch) = self.links.receive_batch(peer) else {
                    break;
                };
                self.shard.on_peer_batch(now, peer, &mut batch);
                self.links.return_batch(peer, batch);
            }
            for _ in 0..ARRIVALS_MAX {
                let Some(arrival) = self.links.receive_arrival(peer) else {
                    break;
                };
                self.net.adopt(&mut self.shard, now, *arrival);
            }
        }
    }

    fn on_deadlines(&mut self, now: Instant) {
        if self.shard.poll_timeout().is_some_and(|at| at <= now) {
            self.shard.on_timeout(now);
        }
        if self.shard.wants_memory() {
            self.shard.on_memory(process_memory::resident());
        }
        self.net.on_deadlines(&mut self.shard, now);
        self.links.send_waiting();
    }

    /// Lets clients in when this and all other shards are ready.
    fn advance_opening(&mut self) {
        if let Opening::Waiting(opened) = &mut self.opening
            && self.shard.is_ready()
        {
            self.opening = Opening::Ready(opened.take());
            self.control.note_ready();
        }
        if let Opening::Ready(opened) = &mut self.opening
            && self.control.all_ready()
        {
            if let Some(opened) = opened.take() {
                opened.tell(());
            }
            self.opening = Opening::Open;
            self.net.open_listeners();
        }
    }

    /// Queues what the shard wants done.
    fn drain(&mut self, now: Instant) {
        self.advance_opening();
        if let Some(disk) = &mut self.disk {
            disk.drain(&mut self.net, &mut self.shard, now);
        }
        self.net.drain(&mut self.shard, now);
        if let Some(arrivals) = self.net.poll_arrivals() {
            self.links.bell().set_arrivals(arrivals);
        }
        while let Some((peer, arrival)) = self.net.poll_departure() {
            self.links.send_arrival(peer, arrival);
        }
        while let Some((peer, batch)) = self.shard.poll_peer_batch() {
            self.links.send_batch(peer, batch);
        }
        let net = &mut self.net;
        self.links.ring_sleeping(|ring| net.ring_doorbell(ring));
    }

    fn take_woken(&mut self) -> Woken {
        let woken = self.net.take_woken();
        if woken.by_event {
            let bell = self.links.bell();
            bell.clear();
            let event = bell.event();
            self.net.watch_event(event);
        }
        woken
    }

    /// Gives the executor a turn when it has something to do.
    async fn run_tasks(&mut self, woken: Woken) -> io::Result<()> {
        let now = self.clock.now();
        if !self.reactor.is_due(now, woken.by_reactor, woken.by_event) {
            return Ok(());
        }
        // What the turn has queued does not wait for tasks.
        self.net.enter(Wait::No)?;
        let turns = self.reactor.turn(now).await;
        self.net.counters_mut().reactor_turns += turns;
        self.reactor.watch(&mut self.net);
        Ok(())
    }

    /// Begins a graceful stop when the main thread asks for one.
    fn on_stop_request(&mut self, now: Instant) {
        if self.stop_deadline.is_some() || !self.control.is(Stop::Graceful) {
            return;
        }
        self.stop_deadline = Some(now + self.control.shutdown_timeout);
        self.net.close_listeners();
        self.shard.on_stop(now);
        self.shard.sync_journal();
    }

    /// Whether a requested stop is complete: on all cores, as the others may still send here.
    fn is_finished(&self) -> bool {
        if self.control.is(Stop::AtOnce) {
            return true;
        }
        let Some(deadline) = self.stop_deadline else {
            return false;
        };
        let left = self.net.socket_count() > 0 || self.links.has_waiting();
        let done = !left && (self.disk.is_none() || self.shard.is_journal_settled());
        let before = self.control.done[self.index].swap(done, Ordering::AcqRel);
        if done && !before && self.control.all_done() {
            self.control.wake_all();
        }
        self.control.all_done() || self.clock.now() >= deadline
    }

    /// Sends what the last turn has queued, then closes what is left.
    fn end(&mut self) {
        self.links.bell().set_ring(-1);
        let left = self.net.socket_count();
        // Sends that are queued point to memory that the release gives back: they go first.
        let sent = self.net.enter(Wait::No);
        self.net.settle(&mut self.shard, self.clock.now());
        self.net.release_all(&mut self.shard);
        let closed = self.net.enter(Wait::No);
        let counters = self.net.counters();
        debug!(
            core = self.index,
            left,
            ?sent,
            ?closed,
            ?counters,
            "core ended"
        );
    }
}
