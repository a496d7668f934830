//! One generator thread: its clients on one epoll, its streams on one heap of timers.
//!
//! A turn: send what is due, write each touched connection once, sleep until something is ready or
//! due, take what came. The clock is read after each read, so that a latency ends when its bytes
//! were there. Nothing is shared with other threads; the controller speaks through a channel.

mod client;
mod connect;
mod context;
mod job;
mod receive;
mod source;
mod steps;
pub mod system;

use std::cmp::Reverse;
use std::io;
use std::sync::mpsc::{Receiver, TryRecvError};

pub use job::{
    CONNECTIONS_PER_ADDRESS, Command, Event, Job, Progress, ShareResult, SourceAddresses, Tally,
};

use client::{Client, State};
use context::{Context, Mode, Timer};
use source::Source;
use steps::Steps;
use system::{Epoll, Ready, now_ns};

use crate::load::Load;
use crate::transport::Tls;

/// The longest sleep: a command waits no longer.
const TURN_NS_MAX: u64 = 5_000_000;
/// How often a busy thread looks for commands and tells its progress.
const HOUSEKEEPING_NS: u64 = 20_000_000;
/// One read; a saturated pair has 64 KiB under way.
const SCRATCH_BYTES: usize = 128 * 1024;
/// Reads from one socket in one turn, so that one flood does not starve the others.
const READS_PER_TURN: usize = 4;

/// Receivers with missing messages that are named.
const GAPS_TOLD_MAX: usize = 3;

/// Runs one thread's part to its end. Every way out tells an event: `Finished` or `Failed`.
pub fn run(job: Job, commands: &Receiver<Command>, mut tell: impl FnMut(Event)) {
    if let Some(id) = job.cpu
        && !core_affinity::set_for_current(core_affinity::CoreId { id })
    {
        return tell(Event::Failed(format!("CPU {id} cannot be used")));
    }
    system::set_precise_timers();
    let event = match Engine::new(job).and_then(|mut engine| engine.run(commands, &mut tell)) {
        Ok(result) => Event::Finished(Box::new(result)),
        Err(error) => Event::Failed(error.to_string()),
    };
    tell(event);
}

struct Engine {
    context: Context,
    clients: Vec<Client>,
    sources: Vec<Source>,
    epoll: Epoll,
    steps: Steps,
    scratch: Vec<u8>,
    /// MQTT's bytes out of TLS or WebSocket.
    plain: Vec<u8>,
    /// CPU time of the thread at the start and the end of the measured window.
    cpu_start_ns: Option<u64>,
    cpu_end_ns: Option<u64>,
    window: (u64, u64),
}

impl Engine {
    fn new(job: Job) -> io::Result<Self> {
        let tls = match job.target.is_tls {
            true => Some(Tls::new(&job.tls, &job.target.host)?),
            false => None,
        };
        let (context, clients, sources) = context::lay_out(job, tls);
        Ok(Self {
            context,
            clients,
            sources,
            epoll: Epoll::new()?,
            steps: Steps::default(),
            scratch: vec![0; SCRATCH_BYTES],
            plain: Vec::new(),
            cpu_start_ns: None,
            cpu_end_ns: None,
            window: (u64::MAX, u64::MAX),
        })
    }

    fn run(
        &mut self,
        commands: &Receiver<Command>,
        tell: &mut impl FnMut(Event),
    ) -> io::Result<ShareResult> {
        let mut told = Progress::default();
        let mut housekeeping_ns = 0;
        loop {
            let now = now_ns();
            if now >= housekeeping_ns {
                housekeeping_ns = now + HOUSEKEEPING_NS;
                if self.take_commands(commands, now)? {
                    return Ok(self.finish(now));
                }
                self.look_after(now);
                let progress = self.context.progress();
                if progress != told {
                    told = progress;
                    tell(Event::Progress(progress));
                }
            }
            self.context.recorder.roll(now);
            self.fire_timers(now);
            self.connect_some(now);
            if let Some(index) = self.steps.done(&self.context, now) {
                // The controller adds up what the threads say: the sums must be of this moment.
                tell(Event::Progress(self.context.progress()));
                tell(Event::StepDone { index });
            }
            self.refill(now);
            self.flush(now);
            self.receive(self.sleep_ns(now))?;
        }
    }

    /// Whether the run is over.
    fn take_commands(&mut self, commands: &Receiver<Command>, now: u64) -> io::Result<bool> {
        loop {
            match commands.try_recv() {
                Ok(Command::Stop) => return Ok(true),
                Ok(Command::Window { start_ns, end_ns }) => {
                    self.context.recorder.set_window(start_ns, end_ns);
                    self.window = (start_ns, end_ns);
                }
                Ok(Command::Step { index, at_ns }) => self.begin_step(index, at_ns, now),
                Err(TryRecvError::Empty) => return Ok(false),
                Err(TryRecvError::Disconnected) => {
                    return Err(io::Error::other("the controller is gone"));
                }
            }
        }
    }

    /// What needs no precision: CPU time of the window, handshakes that take too long, closed loops
    /// whose messages were dropped.
    fn look_after(&mut self, now: u64) {
        let (start, end) = self.window;
        if now >= start && self.cpu_start_ns.is_none() {
            self.cpu_start_ns = Some(system::thread_cpu_ns());
        }
        if now >= end && self.cpu_end_ns.is_none() {
            self.cpu_end_ns = Some(system::thread_cpu_ns());
        }
        if self.context.connecting > 0 && self.steps.is_check_due(now) {
            for slot in 0..self.clients.len() {
                if connect::is_late(&self.clients[slot], now) {
                    self.lose(slot, "no CONNACK and SUBACK in time");
                }
            }
        }
        if self.context.is_closed_loop && self.context.mode == Mode::Load {
            self.restart_stalled(now);
        }
    }

    fn restart_stalled(&mut self, now: u64) {
        for (index, source) in self.sources.iter_mut().enumerate() {
            if now > source.returned_ns + source::STALL_NS && !source.is_refilled {
                source.is_refilled = true;
                self.context.refill.push(index as u32);
            }
        }
    }

    fn fire_timers(&mut self, now: u64) {
        while let Some(Reverse((at_ns, timer))) = self.context.timers.peek().copied() {
            if at_ns > now {
                return;
            }
            self.context.timers.pop();
            match timer {
                Timer::Send(index) => self.emit(index, now),
                Timer::KeepAlive { slot, generation } => {
                    self.keep_alive(slot as usize, generation, now);
                }
                Timer::Read(slot) => self.read_slowly(slot as usize, now),
            }
        }
    }

    fn emit(&mut self, index: u32, now: u64) {
        let source = &mut self.sources[index as usize];
        let client = &mut self.clients[source.slot as usize];
        source.emit(index, client, &mut self.context, now);
    }

    fn emit_again(&mut self, index: u32, now: u64) {
        let source = &mut self.sources[index as usize];
        let client = &mut self.clients[source.slot as usize];
        source.emit_again(index, client, &mut self.context, now);
    }

    fn refill(&mut self, now: u64) {
        let mut refill = std::mem::take(&mut self.context.refill);
        for index in refill.drain(..) {
            self.emit_again(index, now);
            let slot = self.sources[index as usize].slot as usize;
            self.unblock(slot, now);
        }
        self.context.refill = refill;
    }

    /// Streams that waited for this connection go on, as far as they can.
    fn unblock(&mut self, slot: usize, now: u64) {
        for _ in 0..self.clients[slot].blocked.len() {
            if !self.clients[slot].can_send(2) {
                return;
            }
            if let Some(index) = self.clients[slot].blocked.pop_front() {
                self.emit_again(index, now);
            }
        }
    }

    fn flush(&mut self, now: u64) {
        let mut dirty = std::mem::take(&mut self.context.dirty);
        for slot in dirty.drain(..) {
            let slot = slot as usize;
            if let Err(error) = self.clients[slot].flush(now) {
                self.lose(slot, &error.to_string());
            }
        }
        self.context.dirty = dirty;
    }

    fn sleep_ns(&self, now: u64) -> u64 {
        let has_work = !self.context.unread.is_empty() || !self.context.refill.is_empty();
        if has_work || !self.context.dirty.is_empty() {
            return 0;
        }
        let timer_ns = self.context.timers.peek().map(|Reverse((at_ns, _))| *at_ns);
        let connect_ns = self.steps.connect_due_ns(&self.context);
        let wake_ns = [timer_ns, connect_ns].into_iter().flatten().min();
        let spin_ns = self.context.job.spin_ns;
        let left_ns = wake_ns.map_or(TURN_NS_MAX, |at_ns| at_ns.saturating_sub(now));
        left_ns.saturating_sub(spin_ns).min(TURN_NS_MAX)
    }

    fn receive(&mut self, timeout_ns: u64) -> io::Result<()> {
        let count = self.epoll.wait(timeout_ns)?;
        let mut unread = std::mem::take(&mut self.context.unread);
        for slot in unread.drain(..) {
            self.read(slot as usize, true);
        }
        for index in 0..count {
            self.on_ready(self.epoll.ready(index));
        }
        // What `read` put back meanwhile is in a new list; keep its order, reuse the old memory.
        unread.append(&mut self.context.unread);
        self.context.unread = unread;
        Ok(())
    }

    fn on_ready(&mut self, ready: Ready) {
        let slot = (ready.token & 0xFFFF_FFFF) as usize;
        if self.clients[slot].token() != ready.token {
            return;
        }
        if ready.is_writable {
            self.on_writable(slot);
        }
        if ready.is_readable && self.clients[slot].socket.is_some() {
            self.read(slot, ready.is_hung_up);
        }
    }

    fn on_writable(&mut self, slot: usize) {
        let client = &mut self.clients[slot];
        client.can_write = true;
        if client.state == State::Opening
            && let Err(error) = connect::on_opened(client, &mut self.context)
        {
            return self.lose(slot, &error.to_string());
        }
        let now = now_ns();
        if let Err(error) = self.clients[slot].flush(now) {
            return self.lose(slot, &error.to_string());
        }
        self.unblock(slot, now);
    }

    /// Reads until nothing is left: the epoll tells of a change only once.
    fn read(&mut self, slot: usize, is_to_the_end: bool) {
        for _ in 0..READS_PER_TURN {
            let client = &mut self.clients[slot];
            let count = match client.read(&mut self.scratch) {
                Ok(Some(0)) => return self.lose(slot, "closed by the broker"),
                Ok(Some(count)) => count,
                Ok(None) => return,
                Err(error) => return self.lose(slot, &error.to_string()),
            };
            if let Err(fault) = self.on_bytes(slot, count) {
                return self.lose(slot, &fault);
            }
            if count < self.scratch.len() && !is_to_the_end {
                return;
            }
        }
        self.context.unread.push(slot as u32);
    }

    fn on_bytes(&mut self, slot: usize, count: usize) -> Result<(), String> {
        let now = now_ns();
        let bytes = &self.scratch[..count];
        let (sources, context) = (&mut self.sources, &mut self.context);
        let client = &mut self.clients[slot];
        let Some(layers) = &mut client.layers else {
            return receive::on_bytes(client, sources, context, bytes, now);
        };
        self.plain.clear();
        layers.open(bytes, &mut self.plain)?;
        // Handshakes and pongs answer without MQTT having anything to say.
        client.mark_dirty(context);
        receive::on_bytes(client, sources, context, &self.plain, now)
    }

    fn read_slowly(&mut self, slot: usize, now: u64) {
        let client = &mut self.clients[slot];
        let subscribe = self.context.subscribe(client.group);
        let bytes_per_s = subscribe.and_then(|subscribe| subscribe.read_bytes_per_s);
        let (Some(bytes_per_s), State::Ready) = (bytes_per_s, client.state) else {
            return;
        };
        let turn_bytes = bytes_per_s.div_ceil(connect::SLOW_TURNS_PER_S);
        client.read_budget = Some(turn_bytes as usize);
        let at_ns = now + 1_000_000_000 / u64::from(connect::SLOW_TURNS_PER_S);
        self.context.set_timer(at_ns, Timer::Read(slot as u32));
        self.read(slot, false);
    }

    fn keep_alive(&mut self, slot: usize, generation: u32, now: u64) {
        let client = &mut self.clients[slot];
        if client.generation != generation || client.state == State::Idle {
            return;
        }
        let interval_ns = connect::keep_alive_ns(&self.context);
        let mut at_ns = client.last_write_ns + interval_ns;
        // Not at once for a client that speaks by itself; an idle one keeps its own rhythm.
        if now >= client.last_write_ns + interval_ns / 20 {
            crate::mqtt::encode_pingreq(&mut client.out);
            client.mark_dirty(&mut self.context);
            at_ns = now + interval_ns;
        }
        let slot = slot as u32;
        self.context
            .set_timer(at_ns, Timer::KeepAlive { slot, generation });
    }

    /// A connection ended that should not have.
    fn lose(&mut self, slot: usize, reason: &str) {
        let client = &mut self.clients[slot];
        if client.socket.is_none() && !client.is_connecting() {
            return;
        }
        let context = &mut self.context;
        let group = context.group(client.group);
        let is_slow = group.subscribe.as_ref().is_some_and(|s| s.is_slow);
        let text = format!("{} {}: {reason}", group.name, client.number);
        if client.is_connecting() {
            context.tally.connect_failures += 1;
            context.connecting -= 1;
        } else if !is_slow {
            context.tally.disconnects += 1;
        }
        if matches!(client.state, State::Ready | State::Subscribing) {
            context.connected -= 1;
        }
        context.note(text);
        client.close(State::Lost);
        receive::forget_in_flight(client, context);
    }

    fn finish(&mut self, now: u64) -> ShareResult {
        for slot in 0..self.clients.len() {
            self.leave(slot, false, now);
        }
        let context = &mut self.context;
        for source in &mut self.sources {
            context.tally.unsent += source.unsent(context.load_end_ns);
        }
        let cpu_end_ns = self.cpu_end_ns.unwrap_or_else(system::thread_cpu_ns);
        let cpu_ns = self.cpu_start_ns.map_or(0, |start| cpu_end_ns - start);
        ShareResult {
            tally: self.context.tally.clone(),
            tls: std::mem::take(&mut self.context.tls_use),
            intervals: std::mem::take(&mut self.context.recorder).finish(),
            cpu_ns,
            notes: std::mem::take(&mut self.context.notes),
            gaps: self.gaps(),
        }
    }

    /// Names a few receivers with the first messages that they miss.
    fn gaps(&self) -> Vec<String> {
        let mut gaps = Vec::new();
        for client in &self.clients {
            let group = self.context.group(client.group);
            let subscribe = group.subscribe.as_ref();
            let expects = subscribe
                .filter(|subscribe| !subscribe.is_slow)
                .and_then(|subscribe| subscribe.expects);
            let Some(expects) = expects else {
                continue;
            };
            for (index, stream) in client.streams.iter().enumerate() {
                let Some((start, end)) = stream.gaps().first().copied() else {
                    continue;
                };
                let source = expects.first + client.number * expects.stride + index as u32;
                let name = format!("{} {}", group.name, client.number);
                gaps.push(format!("{name} misses {start}..{end} of stream {source}"));
                if gaps.len() == GAPS_TOLD_MAX {
                    return gaps;
                }
            }
        }
        gaps
    }
}

/// Connections of this thread.
pub fn connections_of(load: &Load, share: u32, shares: u32) -> u32 {
    load.groups
        .iter()
        .map(|group| group.clients_of(share, shares).len() as u32)
        .sum()
}
