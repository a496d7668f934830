//! The broker's host: what the real runtime does with sockets, links and timers.

use super::{Sabotage, World};
use crate::model::payload_id;
use crate::network::{Connection, Parcel, Place};
use crate::schedule::Event;
use ringway::base::ids::ShardId;
use ringway::base::time::Instant;
use ringway::shard::interface::{CloseCause, Closing, ConnectionOrigin, ReadVerdict};
use ringway::shard::peer_batch::PeerBatch;
use std::time::Duration;

/// What a closed connection's last bytes may take.
const CLOSE_TIME: Duration = Duration::from_secs(2);

/// Sockets: from accept to close.
impl World {
    pub(super) fn accept(&mut self, connection: usize) {
        let Place::Listening { shard } = self.network[connection].place else {
            return;
        };
        let origin = ConnectionOrigin {
            peer: None,
            listener: self.swarm.listener_of(self.network[connection].endpoint),
        };
        let now = self.schedule.now();
        match self.nodes[shard].shard.on_connection_opened(now, origin) {
            Some(id) => {
                self.nodes[shard].connections.insert(id, connection);
                self.network[connection].place = Place::At { shard, id };
                self.network[connection].fed_at = now;
                self.plan_read(connection);
            }
            None => self.refuse(connection),
        }
        self.plan_turn(shard);
    }

    /// There is no room for one more connection.
    fn refuse(&mut self, connection: usize) {
        let now = self.schedule.now();
        self.note_end(connection, now, CloseCause::ConnectRefused("no room"));
        self.finish_closing(connection);
    }

    pub(super) fn arrive(&mut self, connection: usize) {
        self.network[connection].up.arrive();
        self.plan_read(connection);
    }

    pub(super) fn plan_read(&mut self, connection: usize) {
        let it = &mut self.network[connection];
        if !it.read_planned {
            it.read_planned = true;
            self.schedule.soon(Event::Read { connection });
        }
    }

    pub(super) fn read(&mut self, connection: usize) {
        self.network[connection].read_planned = false;
        let Place::At { shard, id } = self.network[connection].place else {
            return;
        };
        if self.network[connection].up.reset {
            self.lose(connection);
            return;
        }
        let faults = &self.swarm.faults;
        let fed_anyway = !self.calm && self.faults.chance(faults.feed_paused, 10_000);
        if self.network[connection].paused && !fed_anyway {
            return;
        }
        let split = !self.calm && self.faults.chance(faults.split_read, 10_000);
        let it = &mut self.network[connection];
        let waiting = it.up.waiting.len();
        if waiting == 0 {
            if it.up.fin && !it.paused {
                self.lose(connection);
            }
            return;
        }
        let count = if split {
            1 + self.faults.below(waiting as u64) as usize
        } else {
            4_096
        };
        let bytes = it.up.read(count);
        it.fed_at = self.schedule.now();
        let verdict = self.nodes[shard]
            .shard
            .on_bytes(self.schedule.now(), id, &bytes);
        self.trace.note(
            self.schedule.now(),
            format_args!(
                "  #{connection} {shard}/{id:?} fed {} bytes: {verdict:?}",
                bytes.len()
            ),
        );
        self.follow_verdict(connection, verdict);
        self.plan_turn(shard);
    }

    fn follow_verdict(&mut self, connection: usize, verdict: ReadVerdict) {
        let it = &mut self.network[connection];
        match verdict {
            ReadVerdict::Continue => {}
            ReadVerdict::Pause => {
                it.paused = true;
                it.paused_ever = true;
            }
            // The shard's poll will name it.
            ReadVerdict::Close => return,
            ReadVerdict::HandOver(home) => {
                self.begin_hand_over(connection, home.index());
                return;
            }
        }
        if it.up.fin || !it.up.waiting.is_empty() {
            self.plan_read(connection);
        }
    }

    fn begin_hand_over(&mut self, connection: usize, home: usize) {
        let Place::At { shard, id } = self.network[connection].place else {
            return;
        };
        self.nodes[shard].connections.remove(&id);
        let hand_over = self.nodes[shard].shard.take_hand_over(id);
        if hand_over.is_none() || home == shard {
            self.fail(format!(
                "#{connection}: hand-over to {home} without a connection"
            ));
        }
        self.network[connection].place = Place::Moving {
            shard: home,
            hand_over,
        };
        let delay = self.link_delay();
        self.schedule.after(delay, Event::HandOver { connection });
    }

    pub(super) fn finish_hand_over(&mut self, connection: usize) {
        let it = &mut self.network[connection];
        let Place::Moving { shard, hand_over } = &mut it.place else {
            return;
        };
        let (shard, Some(mut hand_over)) = (*shard, hand_over.take()) else {
            return;
        };
        // Bytes that came meanwhile go along or follow.
        if self.faults.chance(1, 2) {
            hand_over.received.extend(it.up.read(usize::MAX));
        }
        let now = self.schedule.now();
        it.fed_at = now;
        match self.nodes[shard].shard.on_hand_over(now, hand_over) {
            Some(id) => {
                self.nodes[shard].connections.insert(id, connection);
                self.network[connection].place = Place::At { shard, id };
                self.plan_read(connection);
            }
            None => self.refuse(connection),
        }
        self.plan_turn(shard);
    }

    /// The driver finds the socket gone.
    fn lose(&mut self, connection: usize) {
        let Place::At { shard, id } = self.network[connection].place else {
            return;
        };
        let now = self.schedule.now();
        self.drain_closings(shard);
        if self.nodes[shard].connections.remove(&id).is_none() {
            // The shard was quicker; the driver may not have noticed.
            let cause = CloseCause::NetworkClosed;
            self.nodes[shard].shard.on_connection_closed(now, id, cause);
            return;
        }
        if let Some(transmit) = self.network[connection].transmit.take() {
            self.nodes[shard].shard.recycle(transmit);
        }
        let cause = CloseCause::NetworkClosed;
        self.nodes[shard].shard.on_connection_closed(now, id, cause);
        self.note_end(connection, now, cause);
        self.finish_closing(connection);
        self.plan_turn(shard);
    }

    pub(super) fn note_end(&mut self, connection: usize, now: Instant, cause: CloseCause) {
        self.trace
            .note(now, format_args!("  #{connection} ended: {cause:?}"));
        self.network[connection].ended = Some((now, cause));
        self.on_broker_ended(connection, now, cause);
    }

    fn begin_closing(&mut self, shard: usize, closing: Closing) {
        let Some(connection) = self.nodes[shard].connections.remove(&closing.connection) else {
            self.fail(format!(
                "shard {shard} ends an unknown connection: {closing:?}"
            ));
            return;
        };
        let now = self.schedule.now();
        let it = &mut self.network[connection];
        it.place = Place::Closing { shard };
        it.last = closing.last;
        self.note_end(connection, now, closing.cause);
        self.schedule
            .after(CLOSE_TIME, Event::CloseDeadline { connection });
        self.plan_write(connection);
    }

    pub(super) fn give_up_closing(&mut self, connection: usize) {
        let Place::Closing { shard } = self.network[connection].place else {
            return;
        };
        self.network[connection].cut_short = true;
        self.recycle_all(connection, shard);
        self.finish_closing(connection);
    }

    fn recycle_all(&mut self, connection: usize, shard: usize) {
        let it = &mut self.network[connection];
        for transmit in [it.transmit.take(), it.last.take()].into_iter().flatten() {
            self.nodes[shard].shard.recycle(transmit);
        }
    }

    /// The broker's end of the socket is closed.
    fn finish_closing(&mut self, connection: usize) {
        let it = &mut self.network[connection];
        it.place = Place::Gone;
        it.up.clear();
        self.send_down(connection, Parcel::Fin);
    }
}

/// Towards the clients.
impl World {
    pub(super) fn plan_write(&mut self, connection: usize) {
        let it = &mut self.network[connection];
        if !it.write_planned {
            it.write_planned = true;
            self.schedule.soon(Event::Write { connection });
        }
    }

    /// Goes on with what a connection has to send, or tells the shard that it is done.
    pub(super) fn write(&mut self, connection: usize) {
        self.network[connection].write_planned = false;
        match self.network[connection].place {
            Place::At { shard, id } => {
                let it = &mut self.network[connection];
                if it.transmit.is_none() {
                    return;
                }
                if it.refuses_bytes() && !it.transmit_done {
                    self.lose(connection);
                    return;
                }
                if !it.transmit_done {
                    if !self.send_some(connection) {
                        return;
                    }
                    // The news of it may come later.
                    if self.schedule.random().chance(1, 4) {
                        self.network[connection].transmit_done = true;
                        self.plan_write(connection);
                        return;
                    }
                }
                let it = &mut self.network[connection];
                it.transmit_done = false;
                if let Some(transmit) = it.transmit.take() {
                    let now = self.schedule.now();
                    self.nodes[shard].shard.on_transmitted(now, id, transmit);
                    self.plan_turn(shard);
                }
            }
            Place::Closing { shard } => self.write_last(connection, shard),
            _ => {}
        }
    }

    fn write_last(&mut self, connection: usize, shard: usize) {
        let it = &mut self.network[connection];
        if it.refuses_bytes() {
            self.recycle_all(connection, shard);
            self.finish_closing(connection);
            return;
        }
        if it.transmit_done || self.send_some(connection) {
            let it = &mut self.network[connection];
            it.transmit_done = false;
            if let Some(transmit) = it.transmit.take() {
                self.nodes[shard].shard.recycle(transmit);
            }
            let it = &mut self.network[connection];
            it.transmit = it.last.take();
            if it.transmit.is_some() {
                self.plan_write(connection);
            } else {
                self.finish_closing(connection);
            }
        }
    }

    /// Puts as much of the transmit into the socket as it takes. True: all of it.
    fn send_some(&mut self, connection: usize) -> bool {
        let now = self.schedule.now();
        let short = !self.calm && self.faults.chance(self.swarm.faults.short_write, 10_000);
        let it = &mut self.network[connection];
        let Some(transmit) = &mut it.transmit else {
            return true;
        };
        let room = it.down_bytes_max.saturating_sub(it.down.unread());
        let mut count = transmit.bytes().min(room);
        if short && count > 0 {
            count = 1 + self.faults.below(count as u64) as usize;
        }
        let mut bytes: Vec<u8> = Vec::with_capacity(count);
        for slice in transmit.slices() {
            bytes.extend(&slice[..slice.len().min(count - bytes.len())]);
        }
        transmit.advance(count);
        let done = transmit.is_empty();
        let progress = count > 0;
        let first = it.blocked_since.is_none();
        if progress || done {
            it.blocked_since = None;
        }
        if !done {
            it.blocked_since.get_or_insert(now);
        }
        if progress {
            self.trace
                .note(now, format_args!("  #{connection} takes {count} bytes"));
            self.sabotage_bytes(&mut bytes);
            self.send_down(connection, Parcel::Bytes(bytes));
        }
        if done {
            return true;
        }
        if first || progress {
            self.report_blocked(connection, short && progress);
        }
        false
    }

    fn report_blocked(&mut self, connection: usize, again: bool) {
        if let Place::At { shard, id } = self.network[connection].place {
            self.nodes[shard]
                .shard
                .on_transmit_blocked(self.schedule.now(), id);
            self.plan_turn(shard);
        }
        if again {
            self.network[connection].write_planned = true;
            let delay = Duration::from_micros(self.faults.below(1_000));
            self.schedule.after(delay, Event::Write { connection });
        }
    }

    fn sabotage_bytes(&mut self, bytes: &mut [u8]) {
        let Some(Sabotage::FlipByte(number)) = self.sabotage else {
            return;
        };
        self.sabotage_count += 1;
        if self.sabotage_count == number {
            let last = bytes.len() - 1;
            bytes[last] ^= 0x10;
        }
    }

    /// Bytes or an end on the way to a client.
    pub(super) fn send_down(&mut self, connection: usize, parcel: Parcel) {
        let arrival = self.schedule.now() + self.network_delay();
        let it: &mut Connection = &mut self.network[connection];
        let arrival = it.down.send(parcel, arrival);
        self.schedule.at(arrival, Event::Deliver { connection });
    }
}

/// Turns, timers and links.
impl World {
    pub(super) fn plan_turn(&mut self, shard: usize) {
        if !std::mem::replace(&mut self.nodes[shard].turn_planned, true) {
            self.schedule.soon(Event::Turn { shard });
        }
    }

    /// Drains what a shard wants to be done.
    pub(super) fn turn(&mut self, shard: usize) {
        self.nodes[shard].turn_planned = false;
        let first = self.schedule.random().below(3);
        for part in 0..3 {
            match (first + part) % 3 {
                0 => self.drain_closings(shard),
                1 => self.drain_resumes(shard),
                _ => self.drain_transmits(shard),
            }
        }
        while let Some((target, batch)) = self.nodes[shard].shard.poll_peer_batch() {
            let arrival = self.schedule.now() + self.link_delay();
            let target = target.index();
            let arrival = self.links.send(shard, target, batch, arrival);
            self.schedule.at(
                arrival,
                Event::Batch {
                    source: shard,
                    target,
                },
            );
        }
        self.drain_journal(shard);
        let now = self.schedule.now();
        let node = &mut self.nodes[shard];
        let due = node
            .shard
            .poll_timeout()
            .is_some_and(|deadline| deadline <= now);
        if due && !node.timeout_planned {
            node.timeout_planned = true;
            self.schedule.soon(Event::Timeout { shard });
        }
    }

    fn drain_closings(&mut self, shard: usize) {
        while let Some(closing) = self.nodes[shard].shard.poll_close() {
            self.begin_closing(shard, closing);
        }
    }

    fn drain_resumes(&mut self, shard: usize) {
        while let Some(id) = self.nodes[shard].shard.poll_resume() {
            if let Some(connection) = self.nodes[shard].connections.get(&id).copied() {
                self.network[connection].paused = false;
                self.plan_read(connection);
            }
        }
    }

    fn drain_transmits(&mut self, shard: usize) {
        while let Some((id, transmit)) = self.nodes[shard].shard.poll_transmit() {
            let Some(connection) = self.nodes[shard].connections.get(&id).copied() else {
                self.fail(format!(
                    "shard {shard} sends to an unknown connection {id:?}"
                ));
                self.nodes[shard].shard.recycle(transmit);
                continue;
            };
            let it = &mut self.network[connection];
            if it.transmit.is_some() || transmit.is_empty() {
                self.fail(format!(
                    "#{connection}: transmit while another one is under way"
                ));
                continue;
            }
            it.transmit = Some(transmit);
            // Sent within the turn, or by an event of its own.
            if self.schedule.random().chance(1, 2) {
                self.write(connection);
            } else {
                self.plan_write(connection);
            }
        }
    }

    pub(super) fn timeout(&mut self, shard: usize) {
        let now = self.schedule.now();
        self.nodes[shard].timeout_planned = false;
        self.nodes[shard].shard.on_timeout(now);
        self.plan_turn(shard);
    }

    pub(super) fn receive_batch(&mut self, source: usize, target: usize) {
        let Some(mut batch) = self.links.arrive(source, target) else {
            return;
        };
        let now = self.schedule.now();
        let lost = match self.sabotage {
            Some(Sabotage::LoseBatch(number)) => {
                self.sabotage_count += 1;
                self.sabotage_count == number
            }
            _ => false,
        };
        if lost {
            *batch = PeerBatch::default();
        } else {
            self.check_awaited(target, &batch);
            let from = ShardId(source as u16);
            self.nodes[target]
                .shard
                .on_peer_batch(now, from, &mut batch);
        }
        let arrival = now + self.link_delay();
        let arrival = self.links.send_home(source, target, batch, arrival);
        self.schedule
            .at(arrival, Event::BatchHome { source, target });
        self.plan_turn(target);
    }

    /// A publisher hears PUBACK or PUBREC only when all shards that its message goes to have it;
    /// at QoS 2 even if the message was sent twice.
    fn check_awaited(&mut self, target: usize, batch: &PeerBatch) {
        let late = batch
            .awaited_payloads()
            .filter_map(payload_id)
            .find(|id| self.auditor.is_over(*id));
        if let Some(id) = late {
            self.fail(format!(
                "message {id} reaches shard {target} after its acknowledgement"
            ));
        }
    }

    pub(super) fn receive_batch_home(&mut self, source: usize, target: usize) {
        let Some(batch) = self.links.arrive_home(source, target) else {
            return;
        };
        let now = self.schedule.now();
        self.nodes[source]
            .shard
            .on_peer_batch_returned(now, ShardId(target as u16), batch);
        self.plan_turn(source);
    }

    fn link_delay(&mut self) -> Duration {
        let mut delay = self.delay(self.swarm.link_delay_us);
        if !self.calm && self.faults.chance(self.swarm.faults.slow_link, 10_000) {
            delay += self.faults.below(200_000);
        }
        Duration::from_micros(delay)
    }

    pub(super) fn network_delay(&mut self) -> Duration {
        Duration::from_micros(self.delay(self.swarm.network_delay_us))
    }

    /// Microseconds around `mean`; few once the faults are over, as thousands of messages may have
    /// to go through a window of one.
    fn delay(&mut self, mean: u64) -> u64 {
        let mean = if self.calm { mean.min(100) } else { mean };
        self.schedule.random().below(2 * mean)
    }
}
