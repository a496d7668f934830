//! Body of the fuzz target `connection`: structured client actions and raw bytes against a shard.

use super::Shard;
use super::interface::{CloseCause, ConnectionOrigin, ReadVerdict, ShardSettings};
use crate::auth::method::{Exchange, Method, Methods, Step};
use crate::base::hash::HomeKey;
use crate::base::ids::{ConnectionId, ShardId};
use crate::base::time::Instant;
use crate::config::limits::{Limits, ListenerLimits, QueueFullPolicy};
use std::sync::Arc;
use std::time::Duration;

const CONNECTIONS_MAX: usize = 4;

/// The shard, and what a driver knows of its connections.
struct World {
    shard: Shard,
    now: Instant,
    open: Vec<ConnectionId>,
    sent_bytes: u64,
}

/// Runs the actions that `bytes` spell.
///
/// # Panics
/// When the shard breaks an invariant or a bound: that is its purpose.
pub fn exercise_connection(bytes: &[u8]) {
    let limits = Limits {
        packet_bytes_max: 2048,
        connect_packet_bytes_max: 512,
        receive_maximum: 4,
        inflight_max: 3,
        queued_messages_max: 5,
        retained_messages_max: 4,
        send_queue_bytes_max: 1024,
        reassembly_bytes_max: 4096,
        subscriptions_per_session_max: 6,
        queue_full: QueueFullPolicy::Reject,
        listeners: vec![
            ListenerLimits::DEFAULT,
            ListenerLimits {
                qos_max: 1,
                check_payload_format: true,
                mount_point: "m/".to_owned(),
                ..ListenerLimits::DEFAULT
            },
        ],
        ..Limits::default()
    };
    let settings = ShardSettings {
        id: ShardId(0),
        shard_count: 1,
        limits,
        home_key: HomeKey::new([1; 16]),
        seed: 1,
    };
    let now = Instant::from_micros(1);
    let mut world = World {
        shard: Shard::new(settings),
        now,
        open: Vec::new(),
        sent_bytes: 0,
    };
    let methods = vec![Arc::new(Questions) as Arc<dyn Method>];
    world
        .shard
        .set_authentication_methods(Methods::new(methods));
    let mut rest = bytes;
    while let [action, choice, tail @ ..] = rest {
        rest = world.act(*action, *choice, tail);
        world.drain(*choice);
        world.shard.assert_invariants();
        world.shard.assert_no_message_is_lost();
    }
}

/// An authentication method whose exchange the client's own bytes steer.
#[derive(Debug)]
struct Questions;

impl Method for Questions {
    fn name(&self) -> &'static str {
        "q"
    }

    fn begin(&self) -> Box<dyn Exchange> {
        Box::new(Self)
    }
}

impl Exchange for Questions {
    fn step(&mut self, data: Option<&[u8]>) -> Step {
        match data {
            None | Some([]) => Step::Refused,
            Some([first, ..]) if first % 2 == 0 => Step::Done(vec![*first; usize::from(*first)]),
            Some([first, ..]) => Step::Continue(vec![*first; usize::from(*first)]),
        }
    }
}

impl World {
    /// One action; returns the bytes that it has not used up.
    fn act<'a>(&mut self, action: u8, choice: u8, tail: &'a [u8]) -> &'a [u8] {
        let length = usize::from(choice % 32).min(tail.len());
        let (raw, rest) = tail.split_at(length);
        let topic = [b't', b'0' + choice % 3];
        match action % 15 {
            0 => self.open(),
            1 => self.feed(choice, &connect(5, choice)),
            2 => self.feed(choice, &connect(4, choice)),
            3 => {
                self.feed(choice, raw);
                return rest;
            }
            4 => {
                let filter = filter_of(choice, &topic);
                let options = [(choice % 3) | (choice & 0x10)];
                let body = [&[0, choice, 0][..], &length_of(filter), filter, &options].concat();
                self.feed(choice, &packet(0x82, &body));
            }
            5 => {
                let qos = (choice >> 3) % 3;
                let id: &[u8] = if qos > 0 { &[0, 9] } else { &[] };
                let body = [&length_of(&topic)[..], &topic, id, &[0], raw].concat();
                self.feed(choice, &packet(0x30 | qos << 1 | choice & 1, &body));
                return rest;
            }
            6 => {
                let first = [0x40, 0x50, 0x62, 0x70][usize::from(choice >> 4) % 4];
                self.feed(choice, &[first, 2, 0, 1 + choice % 4]);
            }
            7 => self.feed(choice, &[0xe0, 0]),
            8 => self.feed(choice, &[0xc0, 0]),
            9 => self.cut(choice),
            12 => self.feed(choice, &connect_with_method(choice)),
            13 => {
                let reason_code = 0x18 + choice % 3;
                let body = [&[reason_code, 8][..], &method_and_data(choice)].concat();
                self.feed(choice, &packet(0xf0, &body));
            }
            14 => {
                let properties = [2, 1, 1];
                let body = [&length_of(&topic)[..], &topic, &properties, raw].concat();
                self.feed(choice, &packet(0x30 | choice & 1, &body));
                return rest;
            }
            10 => self.now = self.now + Duration::from_secs(u64::from(choice)),
            _ => {
                let filter = filter_of(choice, &topic);
                let body = [&[0, choice, 0][..], &length_of(filter), filter].concat();
                self.feed(choice, &packet(0xa2, &body));
            }
        }
        tail
    }

    fn open(&mut self) {
        if self.open.len() < CONNECTIONS_MAX {
            let origin = ConnectionOrigin {
                peer: None,
                listener: u16::from(self.open.len() > 2),
            };
            self.open
                .extend(self.shard.on_connection_opened(self.now, origin));
        }
    }

    fn chosen(&self, choice: u8) -> Option<ConnectionId> {
        let count = self.open.len();
        (count > 0).then(|| self.open[usize::from(choice >> 6) % count])
    }

    /// Bytes in two parts, as a socket may split them.
    fn feed(&mut self, choice: u8, bytes: &[u8]) {
        let Some(id) = self.chosen(choice) else {
            return;
        };
        let (first, second) = bytes.split_at(bytes.len() / 2);
        for part in [first, second] {
            match self.shard.on_bytes(self.now, id, part) {
                ReadVerdict::Continue | ReadVerdict::Pause => {}
                ReadVerdict::Close => return,
                ReadVerdict::HandOver(_) => unreachable!("there is one shard"),
            }
        }
    }

    fn cut(&mut self, choice: u8) {
        let Some(id) = self.chosen(choice) else {
            return;
        };
        self.open.retain(|other| *other != id);
        self.shard
            .on_connection_closed(self.now, id, CloseCause::NetworkClosed);
    }

    /// A driver's turn; now and then the sockets take nothing.
    fn drain(&mut self, choice: u8) {
        while self.shard.poll_timeout().is_some_and(|at| at <= self.now) {
            self.shard.on_timeout(self.now);
        }
        while !choice.is_multiple_of(5)
            && let Some((id, mut transmit)) = self.shard.poll_transmit()
        {
            let bytes: usize = transmit.slices().map(<[u8]>::len).sum();
            assert_eq!(bytes, transmit.bytes());
            self.sent_bytes += bytes as u64;
            transmit.advance(bytes / 3);
            self.shard.on_transmit_blocked(self.now, id);
            transmit.advance(transmit.bytes());
            assert!(transmit.is_empty() && transmit.slices().next().is_none());
            self.shard.on_transmitted(self.now, id, transmit);
        }
        while let Some(closing) = self.shard.poll_close() {
            self.open.retain(|other| *other != closing.connection);
            if let Some(last) = closing.last {
                self.shard.recycle(last);
            }
        }
        while self.shard.poll_resume().is_some() {}
        assert!(self.shard.poll_peer_batch().is_none());
    }
}

/// The topic itself, all, the broker's own, or a group.
const fn filter_of(choice: u8, topic: &[u8]) -> &[u8] {
    match choice & 0x2c {
        0 => topic,
        4 => b"#",
        8 => b"$share/g/#",
        0xc => b"$share/h/t1",
        0x20 => b"$SYS/broker/clients/+",
        _ => b"$SYS/#",
    }
}

fn connect(level: u8, choice: u8) -> Vec<u8> {
    let clean = choice & 2;
    let properties: &[u8] = if level == 5 {
        &[5, 0x11, 0, 0, 0, 60]
    } else {
        &[]
    };
    let client_id = [0, 1, b'a' + choice % 4];
    let start = [0, 4, b'M', b'Q', b'T', b'T', level, clean, 0, choice];
    packet(0x10, &[&start[..], properties, &client_id].concat())
}

/// Eight bytes of properties.
fn method_and_data(choice: u8) -> [u8; 8] {
    [0x15, 0, 1, b'q', 0x16, 0, 1, choice]
}

fn connect_with_method(choice: u8) -> Vec<u8> {
    let start = [0, 4, b'M', b'Q', b'T', b'T', 5, choice & 2, 0, choice, 8];
    let client_id = [0, 1, b'a' + choice % 4];
    packet(
        0x10,
        &[&start[..], &method_and_data(choice), &client_id].concat(),
    )
}

fn length_of(text: &[u8]) -> [u8; 2] {
    u16::try_from(text.len()).unwrap_or(u16::MAX).to_be_bytes()
}

/// A packet with a body below 128 bytes.
fn packet(first_byte: u8, body: &[u8]) -> Vec<u8> {
    let length = u8::try_from(body.len()).unwrap_or(127);
    [&[first_byte, length][..], body].concat()
}
