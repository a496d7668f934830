//! The relay without its sockets: bytes of one connection in, bytes for others out.

use std::ops::Range;

use super::pages::Pool;
use super::table::{Route, Table};
use crate::mqtt::{
    AckKind, Packet, Version, decode, encode_ack, encode_connack, encode_pingresp, encode_suback,
    encode_unsuback,
};

/// Bytes that wait for a receiver that does not read; past it the connection is closed.
const OUT_BYTES_MAX: usize = 64 << 20;

/// What is to be sent to one connection: a part of the receive buffers as it came, or a copy.
#[derive(Debug, Default)]
pub(super) struct Out {
    borrowed: Range<usize>,
    pub(super) bytes: Vec<u8>,
}

impl Out {
    pub(super) fn is_empty(&self) -> bool {
        self.borrowed.is_empty() && self.bytes.is_empty()
    }

    /// The bytes to send; never both parts at once.
    pub(super) fn get<'a>(&'a self, pool: &'a Pool) -> &'a [u8] {
        if self.bytes.is_empty() {
            pool.bytes(&self.borrowed)
        } else {
            &self.bytes
        }
    }

    pub(super) fn clear(&mut self) {
        self.borrowed = 0..0;
        self.bytes.clear();
    }

    /// Copies what is borrowed, so that its buffer can go back to the kernel.
    pub(super) fn own(&mut self, pool: &Pool) {
        if !self.borrowed.is_empty() {
            debug_assert!(self.bytes.is_empty());
            self.bytes.extend_from_slice(pool.bytes(&self.borrowed));
            self.borrowed = 0..0;
        }
    }

    fn lend(&mut self, part: &Range<usize>, pool: &Pool) {
        if self.is_empty() {
            self.borrowed = part.clone();
        } else if self.bytes.is_empty() && self.borrowed.end == part.start {
            self.borrowed.end = part.end;
        } else {
            self.own(pool);
            self.bytes.extend_from_slice(pool.bytes(part));
        }
    }

    fn copy(&mut self, bytes: &[u8], pool: &Pool) {
        self.own(pool);
        self.bytes.extend_from_slice(bytes);
    }
}

#[derive(Default)]
pub(super) struct Connection {
    version: Option<Version>,
    /// The start of a frame that is not complete.
    tail: Vec<u8>,
    route: Route,
    pub(super) out: Out,
    is_touched: bool,
}

/// A connection that cannot go on.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Broken;

#[derive(Default)]
pub(super) struct Relay {
    connections: Vec<Connection>,
    table: Table,
    /// Connections with something to send, each once.
    touched: Vec<u32>,
}

/// Where the bytes of a frame lie.
#[derive(Clone, Copy)]
enum Place {
    /// In the pool, from this offset on.
    Pool(usize),
    /// In memory that will change.
    Elsewhere,
}

impl Relay {
    pub(super) fn open(&mut self, slot: u32) {
        let index = slot as usize;
        if self.connections.len() <= index {
            self.connections.resize_with(index + 1, Connection::default);
        }
        self.connections[index] = Connection::default();
    }

    pub(super) fn close(&mut self, slot: u32) {
        self.table.remove(slot);
        self.connections[slot as usize] = Connection::default();
    }

    pub(super) fn connection(&mut self, slot: u32) -> &mut Connection {
        &mut self.connections[slot as usize]
    }

    /// The connections that were touched since the last call.
    pub(super) fn take_touched(&mut self, list: &mut Vec<u32>) {
        list.clear();
        std::mem::swap(list, &mut self.touched);
        for slot in list {
            self.connections[*slot as usize].is_touched = false;
        }
    }

    pub(super) fn on_bytes(
        &mut self,
        slot: u32,
        pool: &Pool,
        range: Range<usize>,
    ) -> Result<(), Broken> {
        let mut start = range.start;
        let mut tail = std::mem::take(&mut self.connections[slot as usize].tail);
        if !tail.is_empty() {
            start += complete(&mut tail, pool.bytes(&range))?;
            if frame(&tail)?.is_none_or(|length| length > tail.len()) {
                self.connections[slot as usize].tail = tail;
                return Ok(());
            }
            self.on_frames(slot, pool, &tail, Place::Elsewhere)?;
            tail.clear();
        }
        let bytes = pool.bytes(&(start..range.end));
        let used = self.on_frames(slot, pool, bytes, Place::Pool(start))?;
        tail.extend_from_slice(&bytes[used..]);
        self.connections[slot as usize].tail = tail;
        Ok(())
    }

    /// Takes whole frames; PUBLISHes of one topic in a row are passed on in one piece.
    fn on_frames(
        &mut self,
        slot: u32,
        pool: &Pool,
        bytes: &[u8],
        place: Place,
    ) -> Result<usize, Broken> {
        let mut route = std::mem::take(&mut self.connections[slot as usize].route);
        let (mut used, mut run_start) = (0, 0);
        while let Some(length) = frame(&bytes[used..])? {
            let Some(one) = bytes.get(used..used + length) else {
                break;
            };
            if one[0] >> 4 == 3 {
                let publish = publish_head(one)?;
                if route.topic != publish.topic || route.version != self.table.version {
                    self.pass_on(&route, pool, &bytes[run_start..used], at(place, run_start));
                    run_start = used;
                    route = self.table.route(publish.topic);
                }
                self.acknowledge(slot, pool, &publish);
                self.pass_to_groups(&mut route, pool, one, at(place, used));
                used += length;
            } else {
                self.pass_on(&route, pool, &bytes[run_start..used], at(place, run_start));
                used += length;
                run_start = used;
                self.on_other(slot, pool, one)?;
            }
        }
        self.pass_on(&route, pool, &bytes[run_start..used], at(place, run_start));
        self.connections[slot as usize].route = route;
        Ok(used)
    }

    fn pass_on(&mut self, route: &Route, pool: &Pool, bytes: &[u8], place: Place) {
        if bytes.is_empty() {
            return;
        }
        for receiver in &route.receivers {
            self.send(*receiver, pool, bytes, place);
        }
    }

    fn pass_to_groups(&mut self, route: &mut Route, pool: &Pool, bytes: &[u8], place: Place) {
        for group in &mut route.groups {
            let member = group.turn();
            self.send(member, pool, bytes, place);
        }
    }

    fn send(&mut self, slot: u32, pool: &Pool, bytes: &[u8], place: Place) {
        let out = &mut self.connections[slot as usize].out;
        match place {
            Place::Pool(start) => out.lend(&(start..start + bytes.len()), pool),
            Place::Elsewhere => out.copy(bytes, pool),
        }
        self.touch(slot);
    }

    /// Marks a connection for the end of the turn.
    pub(super) fn touch(&mut self, slot: u32) {
        let connection = &mut self.connections[slot as usize];
        if !connection.is_touched {
            connection.is_touched = true;
            self.touched.push(slot);
        }
    }

    fn acknowledge(&mut self, slot: u32, pool: &Pool, publish: &PublishHead<'_>) {
        let kind = match publish.qos {
            0 => return,
            1 => AckKind::Puback,
            _ => AckKind::Pubrec,
        };
        self.answer(slot, pool, |out| {
            encode_ack(kind, publish.packet_id, 0, out)
        });
    }

    fn answer(&mut self, slot: u32, pool: &Pool, encode: impl FnOnce(&mut Vec<u8>)) {
        let out = &mut self.connections[slot as usize].out;
        out.own(pool);
        encode(&mut out.bytes);
        self.touch(slot);
    }

    fn on_other(&mut self, slot: u32, pool: &Pool, bytes: &[u8]) -> Result<(), Broken> {
        let version = self.connections[slot as usize].version;
        let packet = decode(bytes, version.unwrap_or(Version::V311));
        let Ok(Some((packet, _))) = packet else {
            return Err(Broken);
        };
        if let Packet::Connect(connect) = packet {
            self.connections[slot as usize].version = Some(connect.version);
            self.answer(slot, pool, |out| {
                encode_connack(connect.version, false, 0, out)
            });
            return Ok(());
        }
        let version = version.ok_or(Broken)?;
        match packet {
            Packet::Ack {
                kind, packet_id, ..
            } => match kind {
                AckKind::Pubrec => self.answer(slot, pool, |out| {
                    encode_ack(AckKind::Pubrel, packet_id, 0, out);
                }),
                AckKind::Pubrel => self.answer(slot, pool, |out| {
                    encode_ack(AckKind::Pubcomp, packet_id, 0, out);
                }),
                AckKind::Puback | AckKind::Pubcomp => {}
            },
            Packet::Subscribe { packet_id, filters } => {
                let mut codes = Vec::new();
                for filter in filters {
                    let (filter, qos) = filter.map_err(|_| Broken)?;
                    self.table.subscribe(filter, slot);
                    codes.push(qos);
                }
                self.answer(slot, pool, |out| {
                    encode_suback(version, packet_id, &codes, out)
                });
            }
            Packet::Unsubscribe { packet_id, filters } => {
                let mut count = 0;
                for filter in filters {
                    self.table.unsubscribe(filter.map_err(|_| Broken)?.0, slot);
                    count += 1;
                }
                self.answer(slot, pool, |out| {
                    encode_unsuback(version, packet_id, count, out)
                });
            }
            Packet::Pingreq => self.answer(slot, pool, encode_pingresp),
            _ => return Err(Broken),
        }
        Ok(())
    }

    /// Whether so much waits for a connection that it has to go.
    pub(super) fn is_overfull(&self, slot: u32) -> bool {
        self.connections[slot as usize].out.bytes.len() > OUT_BYTES_MAX
    }
}

fn at(place: Place, offset: usize) -> Place {
    match place {
        Place::Pool(start) => Place::Pool(start + offset),
        Place::Elsewhere => Place::Elsewhere,
    }
}

/// Moves bytes behind `tail` until its first frame is complete; says how many it took.
fn complete(tail: &mut Vec<u8>, mut bytes: &[u8]) -> Result<usize, Broken> {
    let before = bytes.len();
    while !bytes.is_empty() {
        let missing = match frame(tail)? {
            Some(length) if length <= tail.len() => break,
            Some(length) => length - tail.len(),
            None => 1,
        };
        let (taken, rest) = bytes.split_at(missing.min(bytes.len()));
        tail.extend_from_slice(taken);
        bytes = rest;
    }
    Ok(before - bytes.len())
}

/// The length of the first frame, once its header is there.
fn frame(bytes: &[u8]) -> Result<Option<usize>, Broken> {
    let mut remaining = 0;
    for index in 0..4 {
        let Some(byte) = bytes.get(1 + index) else {
            return Ok(None);
        };
        remaining |= usize::from(byte & 0x7F) << (7 * index);
        if byte & 0x80 == 0 {
            return Ok(Some(2 + index + remaining));
        }
    }
    Err(Broken)
}

struct PublishHead<'a> {
    qos: u8,
    topic: &'a [u8],
    packet_id: u16,
}

fn publish_head(bytes: &[u8]) -> Result<PublishHead<'_>, Broken> {
    let more = bytes[1..].iter().take_while(|byte| **byte & 0x80 != 0);
    let body = &bytes[2 + more.count()..];
    let u16_at = |offset: usize| -> Result<u16, Broken> {
        let pair = body.get(offset..offset + 2).ok_or(Broken)?;
        Ok(u16::from_be_bytes([pair[0], pair[1]]))
    };
    let end = 2 + usize::from(u16_at(0)?);
    let qos = (bytes[0] >> 1) & 3;
    Ok(PublishHead {
        qos,
        topic: body.get(2..end).ok_or(Broken)?,
        packet_id: if qos > 0 { u16_at(end)? } else { 0 },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mqtt::{Connect, Publish, encode_connect, encode_publish, encode_subscribe};

    const V5: Version = Version::V50;

    struct World {
        relay: Relay,
        pool: Pool,
    }

    impl World {
        fn new() -> Self {
            let mut relay = Relay::default();
            for slot in 0..4 {
                relay.open(slot);
            }
            let pool = Pool::new(8, 4_096).unwrap();
            let mut world = Self { relay, pool };
            for slot in 0..4 {
                let mut bytes = Vec::new();
                let connect = Connect {
                    version: V5,
                    client_id: "c",
                    keep_alive_s: 0,
                    clean: true,
                    session_expiry_s: 0,
                    receive_maximum: 9,
                    username: None,
                    password: None,
                };
                encode_connect(&connect, &mut bytes);
                world.feed(slot, &bytes);
                assert_eq!(world.sent(slot), [0x20, 3, 0, 0, 0]);
            }
            world
        }

        fn subscribe(&mut self, slot: u32, filter: &str) {
            let mut bytes = Vec::new();
            encode_subscribe(V5, 7, &[(filter, 1)], &mut bytes);
            self.feed(slot, &bytes);
            assert_eq!(self.sent(slot), [0x90, 4, 0, 7, 0, 1]);
        }

        /// Into a buffer of the slot's own.
        fn feed(&mut self, slot: u32, bytes: &[u8]) {
            let range = self.pool.fill(slot as u16, bytes);
            self.relay.on_bytes(slot, &self.pool, range).unwrap();
        }

        fn sent(&mut self, slot: u32) -> Vec<u8> {
            let out = &mut self.relay.connection(slot).out;
            let bytes = out.get(&self.pool).to_vec();
            out.clear();
            bytes
        }
    }

    fn publish(topic: &str, qos: u8, packet_id: u16) -> Vec<u8> {
        let mut bytes = Vec::new();
        let publish = Publish {
            qos,
            retain: false,
            is_dup: false,
            topic: topic.as_bytes(),
            packet_id,
            payload: &[1; 200],
        };
        encode_publish(V5, &publish, &mut bytes);
        bytes
    }

    #[test]
    fn a_batch_goes_to_each_receiver_as_it_came() {
        let mut world = World::new();
        world.subscribe(1, "a/#");
        world.subscribe(2, "a/b");
        let batch = [publish("a/b", 1, 5), publish("a/b", 1, 6)].concat();
        world.feed(0, &batch);
        assert!(
            world.relay.connection(1).out.bytes.is_empty(),
            "nothing is copied"
        );
        assert_eq!(world.sent(1), batch);
        assert_eq!(world.sent(2), batch);
        assert_eq!(world.sent(0), [0x40, 2, 0, 5, 0x40, 2, 0, 6]);
        let mut touched = Vec::new();
        world.relay.take_touched(&mut touched);
        touched.sort_unstable();
        assert_eq!(touched, [0, 1, 2, 3]);
    }

    #[test]
    fn frames_in_any_pieces_arrive_whole() {
        let mut world = World::new();
        world.subscribe(1, "a");
        world.subscribe(2, "b");
        let (a, b) = (publish("a", 2, 1), publish("b", 0, 0));
        let stream = [a.clone(), a.clone(), b.clone(), a.clone()].concat();
        for cut in 0..stream.len() {
            world.feed(0, &stream[..cut]);
            // The other piece comes in a later turn, in the same buffer.
            let first = (world.sent(1), world.sent(2), world.sent(0));
            world.feed(0, &stream[cut..]);
            assert_eq!([first.0, world.sent(1)].concat(), [&a[..], &a, &a].concat());
            assert_eq!([first.1, world.sent(2)].concat(), b);
            let acks = [first.2, world.sent(0)].concat();
            assert_eq!(acks, [0x50, 2, 0, 1].repeat(3), "cut at {cut}");
        }
    }

    #[test]
    fn members_of_a_group_take_turns() {
        let mut world = World::new();
        world.subscribe(1, "$share/g/#");
        world.subscribe(2, "$share/g/#");
        let one = publish("a", 0, 0);
        world.feed(0, &one.repeat(4));
        assert_eq!(world.sent(1), one.repeat(2));
        assert_eq!(world.sent(2), one.repeat(2));
    }

    #[test]
    fn handshakes_of_qos_2_are_answered() {
        let mut world = World::new();
        let mut bytes = Vec::new();
        encode_ack(AckKind::Pubrec, 3, 0, &mut bytes);
        encode_ack(AckKind::Pubrel, 4, 0, &mut bytes);
        encode_ack(AckKind::Pubcomp, 5, 0, &mut bytes);
        world.feed(0, &bytes);
        assert_eq!(world.sent(0), [0x62, 2, 0, 3, 0x70, 2, 0, 4]);
    }

    #[test]
    fn garbage_breaks_the_connection() {
        let mut world = World::new();
        let garbage: [&[u8]; 3] = [&[0x30, 1, 0], &[0xF0, 0], &[0x30, 0xFF, 0xFF, 0xFF, 0xFF]];
        for bytes in garbage {
            let range = world.pool.fill(0, bytes);
            assert_eq!(world.relay.on_bytes(0, &world.pool, range), Err(Broken));
        }
    }
}
