//! Connecting: from the socket to the last SUBACK, at a rate or with so many under way.

use super::client::{Client, State};
use super::context::{Context, Timer};
use super::system;
use crate::load::ConnectPace;
use crate::measure::Measure;
use crate::mqtt::{self, Connect};
use crate::transport::{Layers, Tls};

/// A handshake that takes longer has failed.
const TIMEOUT_NS: u64 = 20_000_000_000;
/// Filters of one SUBSCRIBE.
const FILTERS_PER_PACKET: u32 = 100;
/// How long the broker keeps a persistent session of 5.0.
const SESSION_EXPIRY_S: u32 = 3_600;
/// A client speaks this much earlier than its keep-alive demands.
const KEEP_ALIVE_SHARE: f64 = 0.9;
/// A slow reader's buffer in the kernel; the kernel doubles it.
const SLOW_BUFFER_BYTES: usize = 4_096;
/// Bytes that a reader takes at once, in its share of a second.
pub(super) const SLOW_TURNS_PER_S: u32 = 10;

/// The clients that are still to be connected in this step.
pub(super) struct Plan {
    pub slots: Vec<u32>,
    pub next: usize,
    pace: ConnectPace,
    start_ns: u64,
    /// Between two connections of this thread, in an open loop.
    gap_ns: f64,
    offset_ns: f64,
    pub forget: bool,
}

impl Plan {
    pub(super) fn new(
        context: &Context,
        groups: &[u32],
        pace: ConnectPace,
        forget: bool,
        start_ns: u64,
    ) -> Self {
        let job = &context.job;
        let slots: Vec<u32> = groups
            .iter()
            .flat_map(|group| context.layouts[*group as usize].slots.clone())
            .collect();
        let all: u32 = groups
            .iter()
            .map(|group| job.load.groups[*group as usize].count)
            .sum();
        let mut plan = Self {
            slots,
            next: 0,
            pace,
            start_ns,
            gap_ns: 0.0,
            offset_ns: 0.0,
            forget,
        };
        if let ConnectPace::PerSecond(rate) = pace {
            let gap_of_all_ns = 1e9 / rate;
            // Each thread has its share of the rate and its place between the others.
            plan.gap_ns = gap_of_all_ns * f64::from(all) / plan.slots.len().max(1) as f64;
            plan.offset_ns = gap_of_all_ns * f64::from(job.share);
        }
        plan
    }

    /// When the next connection is meant to begin; `None` when all have.
    pub(super) fn due_ns(&self) -> Option<u64> {
        let next = self.next as f64;
        (self.next < self.slots.len())
            .then(|| self.start_ns + (self.offset_ns + next * self.gap_ns) as u64)
    }

    /// The next client, when its time has come and a place is free.
    pub(super) fn take(&mut self, connecting: u32, now_ns: u64) -> Option<(u32, u64)> {
        let due_ns = self.due_ns()?;
        if !self.has_place(connecting) || due_ns > now_ns {
            return None;
        }
        let begin_ns = if self.is_timed() { due_ns } else { now_ns };
        let slot = self.slots[self.next];
        self.next += 1;
        Some((slot, begin_ns))
    }

    pub(super) fn has_place(&self, connecting: u32) -> bool {
        match self.pace {
            ConnectPace::PerSecond(_) => true,
            ConnectPace::InFlight(max) => connecting < max,
        }
    }

    /// Whether the next connection waits for its time, not for a place.
    pub(super) fn is_timed(&self) -> bool {
        matches!(self.pace, ConnectPace::PerSecond(_))
    }
}

/// The clients whose handshake takes too long.
pub(super) fn is_late(client: &Client, now_ns: u64) -> bool {
    client.is_connecting() && now_ns > client.connect_begin_ns + TIMEOUT_NS
}

pub(super) fn begin(
    client: &mut Client,
    context: &mut Context,
    begin_ns: u64,
    now_ns: u64,
) -> std::io::Result<()> {
    client.connect_begin_ns = begin_ns;
    let read_bytes_per_s = context
        .subscribe(client.group)
        .and_then(|subscribe| subscribe.read_bytes_per_s);
    client.read_budget = read_bytes_per_s.map(|_| usize::MAX);
    let source = context.job.sources.of(client.ordinal);
    let buffer = read_bytes_per_s.map(|_| SLOW_BUFFER_BYTES);
    let socket = system::connect(context.job.address, source, buffer)?;
    client.open(socket, now_ns);
    let seed = now_ns ^ u64::from(client.ordinal) << 40;
    if client.tls.is_none() {
        client.tls = context
            .tls
            .as_ref()
            .and_then(Tls::of_one_client)
            .map(Box::new);
    }
    let tls = client.tls.as_deref().or(context.tls.as_ref());
    let layers = Layers::new(&context.job.target, tls, seed)?;
    client.layers = layers.map(Box::new);
    Ok(())
}

/// The kernel has connected, or failed to.
pub(super) fn on_opened(client: &mut Client, context: &mut Context) -> std::io::Result<()> {
    if let Some(socket) = &client.socket
        && let Some(error) = socket.take_error()?
    {
        return Err(error);
    }
    let job = &context.job;
    let group = context.group(client.group);
    let client_id = format!("bench-{}-{}-{}", job.run_id, group.name, client.number);
    let clean = group.clean || client.is_forgetting;
    let connect = Connect {
        version: job.version,
        client_id: &client_id,
        keep_alive_s: job.keep_alive_s,
        clean,
        session_expiry_s: if clean { 0 } else { SESSION_EXPIRY_S },
        receive_maximum: u16::MAX,
        username: job.username.as_deref(),
        password: job.password.as_deref(),
    };
    mqtt::encode_connect(&connect, &mut client.out);
    client.state = State::AwaitConnack;
    client.mark_dirty(context);
    Ok(())
}

pub(super) fn on_connack(
    client: &mut Client,
    context: &mut Context,
    session_present: bool,
    now_ns: u64,
) {
    let begin_ns = client.connect_begin_ns;
    context
        .recorder
        .record(Measure::ConnectLatency, begin_ns, now_ns);
    context.tally.connects += 1;
    let layers = client.layers.as_ref();
    if let Some((negotiated, is_resumed)) = layers.and_then(|layers| layers.negotiated()) {
        context.tls_use.count(negotiated, is_resumed);
    }
    context.connected += 1;
    if context.job.keep_alive_s > 0 {
        let at_ns = now_ns + first_keep_alive_ns(client, context);
        let (slot, generation) = (client.slot, client.generation);
        context.set_timer(at_ns, Timer::KeepAlive { slot, generation });
    }
    if !session_present {
        client.inbound.clear();
    }
    let has_filters = context.subscribe(client.group).is_some();
    if has_filters && !session_present && !client.is_forgetting {
        client.state = State::Subscribing;
        subscribe_next(client, context);
    } else {
        become_ready(client, context);
    }
}

pub(super) fn on_suback(client: &mut Client, context: &mut Context) {
    if client.state == State::Subscribing {
        subscribe_next(client, context);
    }
}

/// One SUBSCRIBE at a time; the client is ready behind the last SUBACK.
fn subscribe_next(client: &mut Client, context: &mut Context) {
    let Some(subscribe) = context.subscribe(client.group) else {
        return become_ready(client, context);
    };
    let shapes = subscribe.filters.len() as u32;
    let all = shapes * subscribe.repeat;
    let end = all.min(client.filters_asked + FILTERS_PER_PACKET);
    if client.filters_asked == end {
        return become_ready(client, context);
    }
    let texts: Vec<String> = (client.filters_asked..end)
        .map(|index| {
            let number = client.number * subscribe.repeat + index / shapes;
            subscribe.filters[(index % shapes) as usize].expand(number, 0)
        })
        .collect();
    let filters: Vec<_> = texts
        .iter()
        .map(|text| (text.as_str(), subscribe.qos))
        .collect();
    let packet_id = client.packet_id();
    mqtt::encode_subscribe(context.job.version, packet_id, &filters, &mut client.out);
    client.filters_asked = end;
    client.mark_dirty(context);
}

fn become_ready(client: &mut Client, context: &mut Context) {
    client.state = State::Ready;
    context.connecting -= 1;
    let read_bytes_per_s = context
        .subscribe(client.group)
        .and_then(|subscribe| subscribe.read_bytes_per_s);
    if read_bytes_per_s.is_some() && !client.is_forgetting {
        client.read_budget = Some(0);
        context.set_timer(0, Timer::Read(client.slot));
    }
}

/// Spread over the whole interval: a fleet that connected in one second must not speak in one.
fn first_keep_alive_ns(client: &Client, context: &Context) -> u64 {
    let golden = f64::from(client.ordinal) * 0.618_033_988_749_895;
    (keep_alive_ns(context) as f64 * (0.05 + 0.95 * golden.fract())) as u64
}

pub(super) fn keep_alive_ns(context: &Context) -> u64 {
    (f64::from(context.job.keep_alive_s) * KEEP_ALIVE_SHARE * 1e9) as u64
}
