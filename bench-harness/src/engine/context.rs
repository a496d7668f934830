//! What all clients of a thread share: the job, counters, recorder, timers and work lists.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::Range;

use super::client::Client;
use super::job::{Job, Progress, Tally};
use super::source::Source;
use crate::load::{Group, Publish, SourcePace, Subscribe, Tracking};
use crate::measure::Recorder;
use crate::result::TlsUse;
use crate::sequence::Stream;
use crate::transport::Tls;

/// Things that went wrong and are told in words; the rest is only counted.
const NOTES_MAX: usize = 5;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    /// A stream's next message.
    Send(u32),
    KeepAlive {
        slot: u32,
        generation: u32,
    },
    /// A slow reader's next bytes.
    Read(u32),
}

/// What streams are doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Silent,
    /// At their pace.
    Load,
    /// As fast as acknowledged, until each has sent its number.
    Fill {
        erase: bool,
    },
}

/// Where a group's part of this thread lies in the tables of clients and streams.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    pub slots: Range<u32>,
    /// Numbers of the streams that this thread publishes.
    pub source_ids: Range<u32>,
    /// Index of the first of them.
    pub source_start: u32,
}

pub(super) struct Context {
    pub job: Job,
    /// For targets with TLS.
    pub tls: Option<Tls>,
    pub layouts: Vec<Layout>,
    pub recorder: Recorder,
    pub tally: Tally,
    pub tls_use: TlsUse,
    pub notes: Vec<String>,
    pub mode: Mode,
    /// Nothing is due after it.
    pub load_end_ns: u64,
    pub timers: BinaryHeap<Reverse<(u64, Timer)>>,
    /// Clients with bytes to write.
    pub dirty: Vec<u32>,
    /// Clients with bytes left to read.
    pub unread: Vec<u32>,
    /// Streams that may send again.
    pub refill: Vec<u32>,
    pub connected: u64,
    /// Clients between the start of their connection and its last SUBACK.
    pub connecting: u32,
    pub streams_behind: u64,
    /// By group: the streams of a shared subscription.
    pub shared: Vec<Vec<Stream>>,
    pub acknowledgements_open: u64,
    /// Messages that streams still have to send in a fill.
    pub fill_left: u64,
    /// Whether streams send when something came back.
    pub is_closed_loop: bool,
}

impl Context {
    pub(super) fn group(&self, group: u16) -> &Group {
        &self.job.load.groups[usize::from(group)]
    }

    pub(super) fn subscribe(&self, group: u16) -> Option<&Subscribe> {
        self.group(group).subscribe.as_ref()
    }

    pub(super) fn publish(&self, group: u16) -> Option<&Publish> {
        self.group(group).publish.as_ref()
    }

    pub(super) fn set_timer(&mut self, at_ns: u64, timer: Timer) {
        self.timers.push(Reverse((at_ns, timer)));
    }

    pub(super) fn note(&mut self, text: String) {
        if self.notes.len() < NOTES_MAX {
            self.notes.push(text);
        }
    }

    /// The index of a stream that this thread publishes.
    pub(super) fn local_source(&self, id: u32) -> Option<u32> {
        let layout = self
            .layouts
            .iter()
            .find(|layout| layout.source_ids.contains(&id))?;
        Some(id - layout.source_ids.start + layout.source_start)
    }

    pub(super) fn progress(&self) -> Progress {
        let tally = &self.tally;
        Progress {
            connected: self.connected,
            connect_failures: tally.connect_failures,
            sent: tally.sent,
            delivered: tally.delivered,
            deliveries_open: tally.expected as i64 - tally.first_copies as i64,
            acknowledgements_open: self.acknowledgements_open,
            streams_behind: self.streams_behind,
        }
    }
}

/// This thread's clients and streams.
pub(super) fn lay_out(job: Job, tls: Option<Tls>) -> (Context, Vec<Client>, Vec<Source>) {
    let (mut clients, mut sources, mut layouts) = (Vec::new(), Vec::new(), Vec::new());
    let mut shared = Vec::new();
    let mut ordinal = 0;
    for (index, group) in job.load.groups.iter().enumerate() {
        let numbers = group.clients_of(job.share, job.shares);
        let start = clients.len() as u32;
        let source_start = sources.len() as u32;
        for number in numbers.clone() {
            let slot = clients.len() as u32;
            let mut client = Client::new(slot, index as u16, number, ordinal + number);
            client.streams = own_streams(group);
            clients.push(client);
            if let Some(publish) = &group.publish {
                let first = publish.first_source + number * publish.per_client;
                for id in first..first + publish.per_client {
                    sources.push(Source::new(id, slot, index as u16, publish, job.version));
                }
            }
        }
        shared.push(shared_streams(group, &numbers));
        layouts.push(Layout {
            slots: start..clients.len() as u32,
            source_ids: source_ids(group, &numbers),
            source_start,
        });
        ordinal += group.count;
    }
    let is_closed_loop = job.load.groups.iter().any(|group| {
        let publish = group.publish.as_ref();
        publish.is_some_and(|publish| matches!(publish.pace, SourcePace::Window { .. }))
    });
    let context = Context {
        job,
        tls,
        layouts,
        recorder: Recorder::new(),
        tally: Tally::default(),
        tls_use: TlsUse::default(),
        notes: Vec::new(),
        mode: Mode::Silent,
        load_end_ns: 0,
        timers: BinaryHeap::new(),
        dirty: Vec::new(),
        unread: Vec::new(),
        refill: Vec::new(),
        connected: 0,
        connecting: 0,
        streams_behind: 0,
        shared,
        acknowledgements_open: 0,
        fill_left: 0,
        is_closed_loop,
    };
    (context, clients, sources)
}

fn source_ids(group: &Group, numbers: &Range<u32>) -> Range<u32> {
    let Some(publish) = &group.publish else {
        return 0..0;
    };
    let at = |number: u32| publish.first_source + number * publish.per_client;
    at(numbers.start)..at(numbers.end)
}

fn own_streams(group: &Group) -> Vec<Stream> {
    let Some(subscribe) = &group.subscribe else {
        return Vec::new();
    };
    let count = subscribe
        .expects
        .map_or(0, |expects| expects.count as usize);
    match subscribe.tracking {
        Tracking::Ordered => vec![Stream::ordered(); count],
        Tracking::Unordered => vec![Stream::unordered(); count],
        Tracking::Shared => Vec::new(),
    }
}

fn shared_streams(group: &Group, numbers: &Range<u32>) -> Vec<Stream> {
    let subscribe = group.subscribe.as_ref();
    let expects = subscribe
        .filter(|subscribe| subscribe.tracking == Tracking::Shared && !numbers.is_empty())
        .and_then(|subscribe| subscribe.expects);
    let count = expects.map_or(0, |expects| expects.count as usize);
    vec![Stream::unordered(); count]
}
