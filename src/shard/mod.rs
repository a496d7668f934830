//! One core's broker.

pub mod interface;
pub mod peer_batch;

use crate::base::ids::{ConnectionId, ShardId};
use crate::base::time::Instant;
use crate::connection::transmit::Transmit;
use interface::{CloseCause, Closing, ConnectionOrigin, HandOver, ReadVerdict, ShardSettings};
use peer_batch::PeerBatch;

/// One core's broker: told what happened and what time it is, keeps what must be done until asked.
#[derive(Debug)]
pub struct Shard {
    settings: ShardSettings,
}

impl Shard {
    #[must_use]
    pub fn new(settings: ShardSettings) -> Self {
        Self { settings }
    }
    /// A socket was accepted here. `None`: the shard is full, close the socket.
    pub fn on_connection_opened(
        &mut self,
        _now: Instant,
        _origin: ConnectionOrigin,
    ) -> Option<ConnectionId> {
        None
    }
    /// A connection arrives from the shard that accepted it; feeds itself what was received there.
    /// `None`: the shard is full, close the socket. Polls (close, resume) apply at once.
    pub fn on_hand_over(&mut self, _now: Instant, _hand_over: HandOver) -> Option<ConnectionId> {
        None
    }
    /// Ends the connection here after [`ReadVerdict::HandOver`].
    pub fn take_hand_over(&mut self, _connection: ConnectionId) -> Option<HandOver> {
        None
    }
    pub fn on_bytes(
        &mut self,
        _now: Instant,
        _connection: ConnectionId,
        _bytes: &[u8],
    ) -> ReadVerdict {
        ReadVerdict::Continue
    }
    /// The socket took all of it (`transmit` may have been advanced on the way).
    pub fn on_transmitted(
        &mut self,
        _now: Instant,
        _connection: ConnectionId,
        _transmit: Box<Transmit>,
    ) {
    }
    /// The socket did not take all: a deadline for progress starts. May be said again.
    pub fn on_transmit_blocked(&mut self, _now: Instant, _connection: ConnectionId) {}
    /// The driver found the connection gone; `cause` is `NetworkClosed`. Not called for connections
    /// that the shard ended itself.
    pub fn on_connection_closed(
        &mut self,
        _now: Instant,
        _connection: ConnectionId,
        _cause: CloseCause,
    ) {
    }
    /// Gives the buffers of an unfinished transmit back.
    pub fn recycle(&mut self, _transmit: Box<Transmit>) {}
    /// A batch from another shard; the driver then gives the emptied batch back to its sender.
    pub fn on_peer_batch(&mut self, _now: Instant, _source: ShardId, _batch: &mut PeerBatch) {}
    /// An emptied batch of ours came home.
    pub fn on_peer_batch_returned(
        &mut self,
        _now: Instant,
        _peer: ShardId,
        _batch: Box<PeerBatch>,
    ) {
    }
    /// Deadlines at or before `now`.
    pub fn on_timeout(&mut self, _now: Instant) {}
    /// Says goodbye to all clients; sockets end through `poll_close`.
    pub fn on_stop(&mut self, _now: Instant) {}

    /// Next bytes for a socket. A connection is not named again before `on_transmitted`.
    pub fn poll_transmit(&mut self) -> Option<(ConnectionId, Box<Transmit>)> {
        None
    }
    pub fn poll_close(&mut self) -> Option<Closing> {
        None
    }
    /// Reading of this connection may go on.
    pub fn poll_resume(&mut self) -> Option<ConnectionId> {
        None
    }
    pub fn poll_peer_batch(&mut self) -> Option<(ShardId, Box<PeerBatch>)> {
        None
    }
    /// When `on_timeout` wants to be called, at the latest.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        None
    }
}
