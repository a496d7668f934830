//! Encoding into send queues: one scratch buffer, one pool, one list of touched connections.

use super::Shard;
use super::copies::Copies;
use crate::base::ids::ConnectionId;
use crate::connection::Connection;
use crate::connection::transmit::TransmitPool;
use std::collections::VecDeque;

/// What is needed to put bytes into any connection's send queue.
#[derive(Debug, Default)]
pub(super) struct Wire {
    pub(super) pool: TransmitPool,
    /// Connections with bytes to send, each once; bounded by the number of connections.
    pub(super) dirty: VecDeque<ConnectionId>,
    scratch: Vec<u8>,
    pub(super) copies: Copies,
    /// Packets and bytes put into send queues so far.
    pub(super) packets: u64,
    pub(super) bytes: u64,
}

/// A scratch buffer that once held a large SUBACK does not stay that large.
const SCRATCH_BYTES_KEPT: usize = 64 << 10;

impl Wire {
    /// Appends what `encode` writes to the connection's send queue.
    pub(super) fn enqueue(
        &mut self,
        id: ConnectionId,
        connection: &mut Connection,
        encode: impl FnOnce(&mut Vec<u8>),
    ) {
        self.enqueue_for(id, connection, |_, out| encode(out));
    }

    /// The same for a packet that depends on the connection.
    pub(super) fn enqueue_for(
        &mut self,
        id: ConnectionId,
        connection: &mut Connection,
        encode: impl FnOnce(&Connection, &mut Vec<u8>),
    ) {
        self.scratch.clear();
        encode(connection, &mut self.scratch);
        self.packets += 1;
        self.bytes += self.scratch.len() as u64;
        connection
            .send_queue(&mut self.pool)
            .append(&self.scratch, &mut self.pool);
        self.scratch.shrink_to(SCRATCH_BYTES_KEPT);
        self.mark_dirty(id, connection);
    }

    /// The same for a packet of at most `bytes_max` bytes, itself at most
    /// [`CONTIGUOUS_BYTES_MAX`]: written in place.
    pub(super) fn enqueue_within(
        &mut self,
        bytes_max: usize,
        id: ConnectionId,
        connection: &mut Connection,
        encode: impl FnOnce(&mut Vec<u8>),
    ) {
        self.enqueue_copy(bytes_max, id, connection, |_, out| encode(out));
    }

    /// The same for a packet that may have been encoded for another client.
    pub(super) fn enqueue_copy(
        &mut self,
        bytes_max: usize,
        id: ConnectionId,
        connection: &mut Connection,
        encode: impl FnOnce(&mut Copies, &mut Vec<u8>),
    ) {
        let Self { pool, copies, .. } = self;
        let queue = connection.send_queue(pool);
        let bytes = queue.append_with(bytes_max, pool, |out| encode(copies, out));
        self.packets += 1;
        self.bytes += bytes as u64;
        self.mark_dirty(id, connection);
    }

    pub(super) fn mark_dirty(&mut self, id: ConnectionId, connection: &mut Connection) {
        if !connection.dirty {
            connection.dirty = true;
            self.dirty.push_back(id);
        }
    }
}

impl Shard {
    /// Encodes one packet for a connection, if it still exists.
    pub(super) fn enqueue(&mut self, id: ConnectionId, encode: impl FnOnce(&mut Vec<u8>)) {
        let Self {
            connections, wire, ..
        } = self;
        if let Some(connection) = connections.get_named_mut(id.index, id.generation) {
            wire.enqueue(id, connection, encode);
        }
    }

    pub(super) fn mark_dirty(&mut self, id: ConnectionId) {
        let Self {
            connections, wire, ..
        } = self;
        if let Some(connection) = connections.get_named_mut(id.index, id.generation) {
            wire.mark_dirty(id, connection);
        }
    }
}
