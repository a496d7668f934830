//! One network connection with its buffers and what MQTT makes it remember.

use std::collections::VecDeque;
use std::io::{self, Read as _, Write as _};

use socket2::Socket;

use super::context::Context;
use crate::mqtt;
use crate::sequence::Stream;
use crate::transport::{Layers, Tls};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Not connected: before, or after a close of ours.
    Idle,
    /// The kernel connects.
    Opening,
    /// CONNECT is sent.
    AwaitConnack,
    Subscribing,
    Ready,
    /// The broker or the network ended it.
    Lost,
}

/// A QoS 1 or 2 message that is not acknowledged.
#[derive(Clone, Copy, Debug)]
pub(super) struct InFlight {
    pub packet_id: u16,
    pub source: u32,
    pub intended_ns: u64,
    /// Not when it only tidies up.
    pub is_counted: bool,
}

/// Bytes for the socket that it did not take yet; past it a publisher waits.
const OUT_BYTES_MAX: usize = 1 << 20;
/// Leaves packet identifiers free for SUBSCRIBE.
const IN_FLIGHT_MAX: usize = 65_000;
/// A buffer that grew past this in a burst is given back.
const OUT_BYTES_KEPT: usize = 64 * 1024;

pub(super) struct Client {
    pub slot: u32,
    pub group: u16,
    /// Number in the group.
    pub number: u32,
    /// Number in the run.
    pub ordinal: u32,
    pub state: State,
    pub socket: Option<Socket>,
    /// Told apart from events of the slot's former connections.
    pub generation: u32,
    /// The start of a packet that is not complete.
    pub tail: Vec<u8>,
    /// MQTT's bytes that are not with the kernel or the layers yet.
    pub out: Vec<u8>,
    /// What the kernel has of them, or of the layers' bytes.
    out_start: usize,
    pub layers: Option<Box<Layers>>,
    /// Of a client that resumes its TLS session: its ticket stays from connection to connection.
    pub tls: Option<Box<Tls>>,
    pub can_write: bool,
    is_dirty: bool,
    pub connect_begin_ns: u64,
    pub is_forgetting: bool,
    pub receive_maximum: u16,
    next_packet_id: u16,
    pub in_flight: VecDeque<InFlight>,
    /// Streams that wait until something can be sent again.
    pub blocked: VecDeque<u32>,
    /// Packet identifiers of inbound QoS 2 messages before PUBREL.
    pub inbound: VecDeque<u16>,
    pub streams: Vec<Stream>,
    pub filters_asked: u32,
    pub last_write_ns: u64,
    /// Bytes that a slow reader may take now; others have no bound.
    pub read_budget: Option<usize>,
}

impl Client {
    pub(super) fn new(slot: u32, group: u16, number: u32, ordinal: u32) -> Self {
        Self {
            slot,
            group,
            number,
            ordinal,
            state: State::Idle,
            socket: None,
            generation: 0,
            tail: Vec::new(),
            out: Vec::new(),
            out_start: 0,
            layers: None,
            tls: None,
            can_write: false,
            is_dirty: false,
            connect_begin_ns: 0,
            is_forgetting: false,
            receive_maximum: u16::MAX,
            next_packet_id: 0,
            in_flight: VecDeque::new(),
            blocked: VecDeque::new(),
            inbound: VecDeque::new(),
            streams: Vec::new(),
            filters_asked: 0,
            last_write_ns: 0,
            read_budget: None,
        }
    }

    pub(super) fn token(&self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.slot)
    }

    pub(super) fn is_connecting(&self) -> bool {
        matches!(
            self.state,
            State::Opening | State::AwaitConnack | State::Subscribing
        )
    }

    /// Takes a new socket into use; what belonged to the last connection is forgotten.
    pub(super) fn open(&mut self, socket: Socket, now_ns: u64) {
        self.socket = Some(socket);
        self.state = State::Opening;
        self.tail.clear();
        self.clear_out();
        self.can_write = false;
        self.filters_asked = 0;
        self.last_write_ns = now_ns;
    }

    /// Ends the connection; events that are still on their way are for an old generation.
    pub(super) fn close(&mut self, state: State) {
        self.socket = None;
        self.state = state;
        self.generation = self.generation.wrapping_add(1);
        self.clear_out();
        self.tail.clear();
    }

    fn clear_out(&mut self) {
        self.out.clear();
        self.out_start = 0;
        self.layers = None;
    }

    pub(super) fn packet_id(&mut self) -> u16 {
        self.next_packet_id = self.next_packet_id.checked_add(1).unwrap_or(1);
        self.next_packet_id
    }

    /// Whether one more message of this QoS may go out.
    pub(super) fn can_send(&self, qos: u8) -> bool {
        let is_free =
            |oldest: &InFlight| oldest.packet_id != self.next_packet_id.checked_add(1).unwrap_or(1);
        let in_flight_max = usize::from(self.receive_maximum).min(IN_FLIGHT_MAX);
        self.state == State::Ready
            && self.waiting_bytes() < OUT_BYTES_MAX
            && (qos == 0
                || self.in_flight.len() < in_flight_max
                    && self.in_flight.front().is_none_or(is_free))
    }

    fn waiting_bytes(&self) -> usize {
        let sealed = self.layers.as_ref().map_or(0, |layers| layers.wire.len());
        self.out.len() + sealed - self.out_start
    }

    /// Has `out` written at the end of the turn.
    pub(super) fn mark_dirty(&mut self, context: &mut Context) {
        if !self.is_dirty {
            self.is_dirty = true;
            context.dirty.push(self.slot);
        }
    }

    /// Writes what it can; an error means that the connection is over.
    pub(super) fn flush(&mut self, now_ns: u64) -> io::Result<()> {
        self.is_dirty = false;
        let Some(socket) = &mut self.socket else {
            return Ok(());
        };
        let out = match &mut self.layers {
            Some(layers) => {
                layers.seal(&mut self.out)?;
                &mut layers.wire
            }
            None => &mut self.out,
        };
        while self.can_write && self.out_start < out.len() {
            match socket.write(&out[self.out_start..]) {
                Ok(count) => {
                    self.out_start += count;
                    self.last_write_ns = now_ns;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.can_write = false,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        if self.out_start == out.len() {
            out.clear();
            out.shrink_to(OUT_BYTES_KEPT);
            self.out_start = 0;
        } else if self.out_start > OUT_BYTES_KEPT {
            out.drain(..self.out_start);
            self.out_start = 0;
        }
        Ok(())
    }

    /// One read. `None` when nothing is there now; 0 bytes at the end of the stream.
    pub(super) fn read(&mut self, scratch: &mut [u8]) -> io::Result<Option<usize>> {
        let length = self.read_budget.unwrap_or(usize::MAX).min(scratch.len());
        let Some(socket) = &mut self.socket else {
            return Ok(None);
        };
        if length == 0 {
            return Ok(None);
        }
        loop {
            match socket.read(&mut scratch[..length]) {
                Ok(count) => {
                    if let Some(budget) = &mut self.read_budget {
                        *budget -= count;
                    }
                    return Ok(Some(count));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    pub(super) fn say_goodbye(&mut self, now_ns: u64) {
        mqtt::encode_disconnect(&mut self.out);
        // A connection that is broken already needs no goodbye.
        let _ = self.flush(now_ns);
    }
}
