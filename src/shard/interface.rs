//! What a shard and its driver (the runtime, the simulator, a test) say to each other.

use crate::base::hash::HomeKey;
use crate::base::ids::{ConnectionId, ShardId};
use crate::config::limits::Limits;
pub use crate::connection::origin::ConnectionOrigin;
pub use crate::connection::transmit::Transmit;
use crate::journal::{Place, Recovered};
use std::fmt;

/// What a shard needs to know at its start, for ever.
#[derive(Clone, Debug)]
pub struct ShardSettings {
    pub id: ShardId,
    /// Shards of this process, 1 to [`ShardId::COUNT_MAX`].
    pub shard_count: u16,
    /// Already divided by [`Limits::for_shard_count`].
    pub limits: Limits,
    /// Decides homes; the same for all shards and after every restart.
    pub home_key: HomeKey,
    /// Keys the hash maps and feeds the generator; drawn at each start, fixed in the simulator.
    pub seed: u64,
}

/// What the driver does next with a connection that it has just fed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum ReadVerdict {
    /// Go on reading.
    Continue,
    /// Do not read until [`super::Shard::poll_resume`] names the connection. Bytes that had been
    /// received already may still be fed; they are kept.
    Pause,
    /// The shard has ended the connection: [`super::Shard::poll_close`] will name it. Feed nothing.
    Close,
    /// The client's session lives at that shard: call [`super::Shard::take_hand_over`] and move
    /// the socket there. Feed nothing more here.
    HandOver(ShardId),
}

/// Why a network connection ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CloseCause {
    /// The client sent DISCONNECT.
    ClientDisconnected,
    /// The client closed the socket without DISCONNECT, or the network failed.
    NetworkClosed,
    /// No complete CONNECT in time.
    ConnectTimeout,
    /// Nothing was received for one and a half times the keep alive.
    KeepAliveTimeout,
    /// The client broke the protocol; what it did, for the log.
    ProtocolError(&'static str),
    /// CONNECT was refused; why, for the log.
    ConnectRefused(&'static str),
    /// Another connection uses the same client identifier now.
    SessionTakenOver,
    /// The client's socket took nothing for too long.
    SlowConsumer,
    /// A limit of this broker was reached; which, for the log.
    LimitReached(&'static str),
    /// The broker stops.
    ServerStopping,
}

/// A connection that the shard has ended and forgotten. The driver finishes the transmit it may
/// still hold for it, then sends `last`, all within a bounded time, then closes the socket.
#[derive(Debug)]
pub struct Closing {
    pub connection: ConnectionId,
    pub cause: CloseCause,
    pub last: Option<Box<Transmit>>,
}

/// A connection on its way to its home shard: everything but the socket.
#[derive(Debug)]
pub struct HandOver {
    pub origin: ConnectionOrigin,
    /// Everything received so far: CONNECT, and what may have come with it.
    pub received: Vec<u8>,
}

/// Bytes of the journal that a shard wants to have back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReadRequest {
    pub segment: u32,
    /// From the beginning of the segment; not aligned to anything.
    pub offset: u32,
    pub bytes: u32,
    /// Comes back with the answer.
    pub token: u32,
}

/// Why bytes of the journal could not be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReadError {
    /// For a reason that may pass: the shard asks again.
    NotNow,
    /// The medium does not give them back.
    Damaged,
}

/// With what a shard's journal begins.
#[derive(Debug)]
pub struct JournalStart {
    /// The time of day, in milliseconds since 1970.
    pub unix_ms: u64,
    /// What an earlier process left, its messages loaded; `None`: nothing.
    pub recovered: Option<Recovered>,
}

/// What was recovered cannot be taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StartError {
    TooManySessions { found: u64, max: u32 },
    MessageNotLoaded { place: Place },
}

impl fmt::Display for StartError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooManySessions { found, max } => write!(
                formatter,
                "the journal holds {found} sessions of this core, session.max_sessions allows {max}"
            ),
            Self::MessageNotLoaded { place } => {
                write!(formatter, "the message at {place:?} was not loaded")
            }
        }
    }
}

impl std::error::Error for StartError {}
