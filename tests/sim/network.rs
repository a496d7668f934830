//! Sockets as data: two byte pipes with delay, and where the broker's end of them is.

use ringway::base::ids::ConnectionId;
use ringway::base::time::Instant;
use ringway::connection::transmit::Transmit;
use ringway::shard::interface::{CloseCause, HandOver};
use std::collections::VecDeque;

/// What travels through a pipe.
#[derive(Debug)]
pub(crate) enum Parcel {
    Bytes(Vec<u8>),
    /// The sender will send no more.
    Fin,
    /// The sender is gone; whatever was not read yet is lost.
    Reset,
}

/// One direction of a socket: parcels on the way, then bytes that wait to be read.
#[derive(Debug, Default)]
pub(crate) struct Pipe {
    travelling: VecDeque<Parcel>,
    last_arrival: Instant,
    pub(crate) waiting: VecDeque<u8>,
    travelling_bytes: usize,
    pub(crate) fin: bool,
    pub(crate) reset: bool,
}

impl Pipe {
    /// Puts a parcel on its way; returns the time of its arrival, never before an earlier one's.
    pub(crate) fn send(&mut self, parcel: Parcel, arrival: Instant) -> Instant {
        if let Parcel::Bytes(bytes) = &parcel {
            self.travelling_bytes += bytes.len();
        }
        self.travelling.push_back(parcel);
        self.last_arrival = self.last_arrival.max(arrival);
        self.last_arrival
    }

    /// The first parcel arrives. Nothing happens when it was lost meanwhile.
    pub(crate) fn arrive(&mut self) {
        match self.travelling.pop_front() {
            Some(Parcel::Bytes(bytes)) => {
                self.travelling_bytes -= bytes.len();
                if !self.reset {
                    self.waiting.extend(bytes);
                }
            }
            Some(Parcel::Fin) => self.fin = true,
            Some(Parcel::Reset) => {
                self.reset = true;
                self.waiting.clear();
            }
            None => {}
        }
    }

    /// Takes up to `count` bytes that have arrived.
    pub(crate) fn read(&mut self, count: usize) -> Vec<u8> {
        let count = count.min(self.waiting.len());
        self.waiting.drain(..count).collect()
    }

    /// Bytes that the reader has not taken.
    pub(crate) fn unread(&self) -> usize {
        self.travelling_bytes + self.waiting.len()
    }

    /// Everything in the pipe is lost; what is sent later is not.
    pub(crate) fn clear(&mut self) {
        for parcel in &mut self.travelling {
            if let Parcel::Bytes(bytes) = parcel {
                bytes.clear();
            }
        }
        self.travelling_bytes = 0;
        self.waiting.clear();
    }

    pub(crate) fn is_quiet(&self) -> bool {
        self.travelling.is_empty() && self.waiting.is_empty()
    }
}

/// The broker's end of a socket.
#[derive(Debug)]
pub(crate) enum Place {
    /// Connected, not yet accepted.
    Listening {
        shard: usize,
    },
    At {
        shard: usize,
        id: ConnectionId,
    },
    /// On its way to its home shard.
    Moving {
        shard: usize,
        hand_over: Option<HandOver>,
    },
    /// The shard has ended it; the last bytes leave.
    Closing {
        shard: usize,
    },
    Gone,
}

/// How the client's end of a socket ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Hangup {
    /// Closed behind the last byte.
    Close,
    /// No more sending, but reading until the broker closes too.
    HalfClose,
    /// At once; bytes on the way are lost.
    Reset,
    /// Nothing arrives any more and nobody says so.
    Vanish,
}

/// A connection from a client to the broker.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) endpoint: usize,
    pub(crate) place: Place,
    /// Client to broker.
    pub(crate) up: Pipe,
    /// Broker to client.
    pub(crate) down: Pipe,
    /// Bytes that the broker's socket buffer and the way to the client hold.
    pub(crate) down_bytes_max: usize,

    /// The shard does not want to read now.
    pub(crate) paused: bool,
    pub(crate) read_planned: bool,
    pub(crate) transmit: Option<Box<Transmit>>,
    /// The transmit is sent, the shard does not know yet.
    pub(crate) transmit_done: bool,
    pub(crate) last: Option<Box<Transmit>>,
    pub(crate) write_planned: bool,
    /// When the shard was last fed, for the check of keep alive.
    pub(crate) fed_at: Instant,
    /// Since when the socket has taken nothing although something waited.
    pub(crate) blocked_since: Option<Instant>,
    pub(crate) paused_ever: bool,
    /// When and why the broker ended it.
    pub(crate) ended: Option<(Instant, CloseCause)>,

    pub(crate) hangup: Option<Hangup>,
    /// The client does not read before this time.
    pub(crate) stalled_until: Instant,
    pub(crate) client_read_planned: bool,
    /// The last bytes that the client's host received.
    pub(crate) tail: Vec<u8>,
    /// The time for the last bytes was over before they were sent.
    pub(crate) cut_short: bool,
}

impl Connection {
    pub(crate) fn new(endpoint: usize, shard: usize, down_bytes_max: usize, now: Instant) -> Self {
        Self {
            endpoint,
            place: Place::Listening { shard },
            up: Pipe::default(),
            down: Pipe::default(),
            down_bytes_max,
            paused: false,
            read_planned: false,
            transmit: None,
            transmit_done: false,
            last: None,
            write_planned: false,
            fed_at: now,
            blocked_since: None,
            paused_ever: false,
            ended: None,
            hangup: None,
            stalled_until: now,
            client_read_planned: false,
            tail: Vec::new(),
            cut_short: false,
        }
    }

    /// The client's host no longer takes bytes: writing to it fails once it has said so.
    pub(crate) fn refuses_bytes(&self) -> bool {
        self.hangup == Some(Hangup::Close) && self.up.fin || self.up.reset
    }

    /// Will the client ever look at what arrives?
    pub(crate) fn is_read(&self) -> bool {
        matches!(self.hangup, None | Some(Hangup::HalfClose))
    }

    /// Neither end has anything under way.
    pub(crate) fn is_quiet(&self) -> bool {
        let planned = self.read_planned || self.write_planned || self.client_read_planned;
        match self.place {
            Place::Gone => !self.is_read() || self.down.is_quiet(),
            Place::At { .. } => {
                !planned && self.up.is_quiet() && self.down.is_quiet() && self.transmit.is_none()
            }
            _ => false,
        }
    }
}
