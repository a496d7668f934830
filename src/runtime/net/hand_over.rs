//! Moving a connection to its home core, once, right after its CONNECT was read.
//!
//! The order makes sure that no byte is lost, doubled or overtaken: the receive on this core is
//! ended and its last completion awaited; what came until then joins the bytes that the shard gave
//! back; the descriptor is put into the home core's table; only when the kernel has said in which
//! slot, what the shard knows follows over the link, with that slot. The home core reads on from
//! the socket itself.

use super::Net;
use super::operation::{Completion, Operation, UserData};
use super::socket::{Moving, SocketName, State};
use crate::base::ids::ShardId;
use crate::base::time::Instant;
use crate::runtime::bell::Arrivals;
use crate::runtime::link::Arrival;
use crate::shard::Shard;
use crate::shard::interface::HandOver;
use io_uring::{opcode, types};
use tracing::{debug, info};

/// The home core's ring gets no completion of its own: the link tells it.
const MSG_RING_CQE_SKIP: u32 = 1;

impl Net {
    /// The shard has given the connection away.
    pub(super) fn begin_move(
        &mut self,
        shard: &mut Shard,
        name: SocketName,
        target: ShardId,
        hand_over: HandOver,
    ) {
        let Some(socket) = self.sockets.named_mut(name) else {
            return;
        };
        let connection = socket.open_connection();
        socket.state = State::Moving(Box::new(Moving {
            target,
            hand_over,
            sent_to: None,
        }));
        if let Some(connection) = connection {
            self.sockets.forget(connection);
        }
        self.unwant_receive(name);
        self.try_move(shard, name);
    }

    /// Sends the descriptor when nothing of this core uses the socket any more.
    pub(super) fn try_move(&mut self, shard: &mut Shard, name: SocketName) {
        let Some(socket) = self.sockets.named_mut(name) else {
            return;
        };
        // What the TLS stream has not sent travels with it.
        let is_sending = socket.tls.as_ref().is_some_and(|tls| tls.sending);
        let idle = !socket.receive_armed && socket.transmit.is_none() && !is_sending;
        let State::Moving(moving) = &mut socket.state else {
            return;
        };
        if !idle || moving.sent_to.is_some() {
            return;
        }
        let arrivals = self
            .peers
            .get(moving.target.index())
            .and_then(|bell| bell.arrivals());
        let Some(arrivals) = arrivals else {
            self.fail_move(shard, name, libc::EHOSTUNREACH);
            return;
        };
        moving.sent_to = Some(arrivals);
        let entry = opcode::MsgRingSendFd::new(
            types::Fd(arrivals.descriptor),
            self.rings.fixed(name.slot),
            types::DestinationSlot::auto_target(),
            0,
        )
        .opcode_flags(MSG_RING_CQE_SKIP)
        .build();
        let user_data = UserData::new(Operation::HandOver, name.slot, name.generation);
        self.rings.push_at(name.slot, entry, user_data);
    }

    /// The kernel has put the socket into the home core's table, or could not.
    pub(super) fn on_hand_over_sent(&mut self, shard: &mut Shard, completion: Completion) {
        let name = SocketName {
            slot: completion.user_data.index(),
            generation: completion.user_data.generation(),
        };
        let Some(socket) = self.sockets.named_mut(name) else {
            return;
        };
        let State::Moving(moving) = &mut socket.state else {
            return;
        };
        let target = moving.target;
        let sent_to = moving.sent_to.take();
        let (Ok(fixed), Some(arrivals)) = (u32::try_from(completion.result), sent_to) else {
            self.retry_move(shard, name, sent_to, -completion.result);
            return;
        };
        // All cores have tables of one size.
        let slot = self.rings.slot(arrivals.ring, fixed);
        let hand_over = HandOver {
            origin: moving.hand_over.origin,
            received: std::mem::take(&mut moving.hand_over.received),
        };
        let tls = socket.tls.take();
        // This core's reference only; the home core has its own.
        self.close_slot(shard, name);
        self.counters.hand_overs_out += 1;
        let arrival = Box::new(Arrival {
            hand_over,
            slot,
            tls,
        });
        self.departures.push((target, arrival));
    }

    /// The home core's ring was full: it may have named another one meanwhile.
    fn retry_move(
        &mut self,
        shard: &mut Shard,
        name: SocketName,
        sent_to: Option<Arrivals>,
        error: i32,
    ) {
        let target = match self.sockets.named(name).map(|socket| &socket.state) {
            Some(State::Moving(moving)) => moving.target,
            _ => return,
        };
        let arrivals = self.peers.get(target.index()).and_then(|it| it.arrivals());
        if arrivals.is_some() && arrivals != sent_to {
            self.try_move(shard, name);
        } else {
            self.fail_move(shard, name, error);
        }
    }

    fn fail_move(&mut self, shard: &mut Shard, name: SocketName, error: i32) {
        self.counters.hand_overs_failed += 1;
        if let Some(suppressed) = self.log.take(self.now) {
            let error = std::io::Error::from_raw_os_error(error);
            info!(slot = name.slot, %error, suppressed, "connection lost on its way to its core");
        }
        self.release_counted(shard, name);
    }

    /// A connection has arrived from another core.
    pub(crate) fn adopt(&mut self, shard: &mut Shard, now: Instant, arrival: Arrival) {
        let Arrival {
            hand_over,
            slot,
            tls,
        } = arrival;
        self.counters.hand_overs_in += 1;
        let name = self.occupy(slot, hand_over.origin);
        // A broker that stops takes nobody in.
        let connection = if self.accepts.is_closed() {
            None
        } else {
            shard.on_hand_over(now, hand_over)
        };
        match connection {
            Some(connection) => {
                debug!(?connection, slot, "taken from another core");
                self.sockets.open(name, connection);
                let has_ended = tls.as_ref().is_some_and(|tls| tls.has_ended());
                if let Some(socket) = self.sockets.named_mut(name) {
                    socket.tls = tls;
                }
                self.push_unsent(name);
                self.want_receive(name);
                if has_ended {
                    self.on_peer_end(shard, now, name);
                }
            }
            None => self.release_counted(shard, name),
        }
    }
}
