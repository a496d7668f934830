//! Bare shards behind the conversations: everything moves at once, time is virtual.

use crate::Server;
use crate::script::Conversation;
use ringway::auth::method::{Exchange, Method, Methods, Step};
use ringway::base::hash::HomeKey;
use ringway::base::ids::{ConnectionId, ShardId};
use ringway::base::time::Instant;
use ringway::config::limits::Limits;
use ringway::config::load::{Override, Sources, load};
use ringway::shard::Shard;
use ringway::shard::interface::{CloseCause, ConnectionOrigin, ReadVerdict, ShardSettings};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

pub(crate) struct Shards {
    shards: Vec<Shard>,
    now: Instant,
    clients: BTreeMap<char, Client>,
}

/// The client's end of a connection.
#[derive(Default)]
struct Client {
    /// Where the connection is now; `None`: it has ended.
    place: Option<(usize, ConnectionId)>,
    received: Vec<u8>,
}

/// A method that asks one question: "test". The data "at once" needs no question, "ask on" is asked
/// for ever.
#[derive(Debug)]
struct TestMethod;

#[derive(Debug)]
struct TestExchange;

impl Method for TestMethod {
    fn name(&self) -> &'static str {
        "test"
    }

    fn begin(&self) -> Box<dyn Exchange> {
        Box::new(TestExchange)
    }
}

impl Exchange for TestExchange {
    fn step(&mut self, data: Option<&[u8]>) -> Step {
        match data {
            None => Step::Continue(Vec::new()),
            Some(b"hello") => Step::Continue(b"who?".to_vec()),
            Some(b"ask on") => Step::Continue(b"and?".to_vec()),
            Some(b"long") => Step::Continue(vec![b'x'; 100]),
            Some(b"me") => Step::Done(b"welcome".to_vec()),
            Some(b"at once") => Step::Done(Vec::new()),
            Some(_) => Step::Refused,
        }
    }
}

/// As the broker would read them from its command line.
fn limits(conversation: &Conversation) -> Limits {
    let settings = conversation.settings.iter();
    let overrides = settings.map(|text| Override::from_assignment(text).expect("key=value"));
    let sources = Sources {
        files: Vec::new(),
        overrides: overrides.collect(),
        listen: vec![format!("tcp://127.0.0.1:0{}", conversation.listener)],
    };
    load(&sources).expect("a valid configuration").limits
}

impl Shards {
    pub(crate) fn new(shard_count: u16, conversation: &Conversation) -> Self {
        let limits = limits(conversation).for_shard_count(shard_count);
        let shard = |id| {
            let mut shard = Shard::new(ShardSettings {
                id: ShardId(id),
                shard_count,
                limits: limits.clone(),
                home_key: HomeKey::new([3; 16]),
                seed: 5,
            });
            if conversation.has_method {
                shard.set_authentication_methods(Methods::new(vec![Arc::new(TestMethod)]));
            }
            shard
        };
        let shards = (0..shard_count).map(shard).collect();
        Self {
            shards,
            now: Instant::from_micros(1),
            clients: BTreeMap::new(),
        }
    }

    /// Opens a connection at a shard that depends on the client's name.
    fn open(&mut self, client: char) {
        let index = client as usize % self.shards.len();
        let origin = ConnectionOrigin {
            peer: None,
            listener: 0,
        };
        let id = self.shards[index]
            .on_connection_opened(self.now, origin)
            .expect("room");
        self.clients.insert(
            client,
            Client {
                place: Some((index, id)),
                received: Vec::new(),
            },
        );
    }

    fn feed(&mut self, client: char, bytes: &[u8]) {
        let Some((index, id)) = self.clients[&client].place else {
            return;
        };
        if let ReadVerdict::HandOver(home) = self.shards[index].on_bytes(self.now, id, bytes) {
            let hand_over = self.shards[index]
                .take_hand_over(id)
                .expect("it was announced");
            let id = self.shards[home.index()]
                .on_hand_over(self.now, hand_over)
                .expect("room");
            self.clients.get_mut(&client).expect("known").place = Some((home.index(), id));
        }
        self.settle();
    }

    fn at(&mut self, place: (usize, ConnectionId)) -> Option<&mut Client> {
        self.clients
            .values_mut()
            .find(|client| client.place == Some(place))
    }

    fn settle(&mut self) {
        loop {
            let mut moved = false;
            for index in 0..self.shards.len() {
                moved |= self.settle_shard(index);
            }
            if !moved {
                break;
            }
        }
        self.shards.iter().for_each(Shard::assert_invariants);
        self.shards
            .iter()
            .for_each(Shard::assert_no_message_is_lost);
    }

    fn settle_shard(&mut self, index: usize) -> bool {
        let now = self.now;
        let mut moved = false;
        while let Some((peer, mut batch)) = self.shards[index].poll_peer_batch() {
            let source = ShardId(u16::try_from(index).expect("few shards"));
            self.shards[peer.index()].on_peer_batch(now, source, &mut batch);
            self.shards[index].on_peer_batch_returned(now, peer, batch);
            moved = true;
        }
        while self.shards[index]
            .poll_timeout()
            .is_some_and(|at| at <= now)
        {
            self.shards[index].on_timeout(now);
            moved = true;
        }
        while let Some((id, transmit)) = self.shards[index].poll_transmit() {
            let bytes: Vec<u8> = transmit.slices().flatten().copied().collect();
            if let Some(client) = self.at((index, id)) {
                client.received.extend(bytes);
            }
            self.shards[index].on_transmitted(now, id, transmit);
            moved = true;
        }
        while let Some(closing) = self.shards[index].poll_close() {
            if let Some(client) = self.at((index, closing.connection)) {
                for slice in closing.last.iter().flat_map(|last| last.slices()) {
                    client.received.extend(slice);
                }
                client.place = None;
            }
            if let Some(last) = closing.last {
                self.shards[index].recycle(last);
            }
            moved = true;
        }
        while self.shards[index].poll_resume().is_some() {
            moved = true;
        }
        moved
    }
}

impl Server for Shards {
    fn send(&mut self, client: char, bytes: &[u8]) {
        if !self.clients.contains_key(&client) {
            self.open(client);
        }
        // In two parts, so that every conversation also shows that reads may be split.
        let (first, second) = bytes.split_at(bytes.len() / 2);
        self.feed(client, first);
        self.feed(client, second);
    }

    fn receive(&mut self, client: char, count: usize) -> Vec<u8> {
        let Some(client) = self.clients.get_mut(&client) else {
            return Vec::new();
        };
        let count = count.min(client.received.len());
        client.received.drain(..count).collect()
    }

    fn is_quiet(&mut self, client: char) -> bool {
        let client = &self.clients[&client];
        client.received.is_empty() && client.place.is_some()
    }

    fn is_closed(&mut self, client: char) -> bool {
        self.clients
            .remove(&client)
            .is_some_and(|client| client.received.is_empty() && client.place.is_none())
    }

    fn cut(&mut self, client: char) {
        let place = self.clients.remove(&client).and_then(|client| client.place);
        if let Some((index, id)) = place {
            let cause = CloseCause::NetworkClosed;
            self.shards[index].on_connection_closed(self.now, id, cause);
        }
        self.settle();
    }

    fn advance(&mut self, seconds: u64) {
        // In steps, so that timers fire in their order.
        let steps = (seconds * 4).min(400);
        for _ in 0..steps {
            self.now = self.now + Duration::from_secs(seconds) / u32::try_from(steps).expect("few");
            self.settle();
        }
    }
}
