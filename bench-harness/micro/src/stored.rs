//! A shard with a journal in files.

use crate::packets;
use ringway::base::hash::HomeKey;
use ringway::base::ids::{ConnectionId, ShardId};
use ringway::base::time::Instant;
use ringway::codec::{PacketId, ProtocolVersion, Publish, PublishProperties, QosLevel};
use ringway::config::limits::Limits;
use ringway::journal::{Recovery, SegmentEvent};
use ringway::shard::Shard;
use ringway::shard::interface::{
    CloseCause, ConnectionOrigin, JournalStart, ReadVerdict, ShardSettings,
};
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

const VERSION: ProtocolVersion = ProtocolVersion::V311;
/// Clients that connect, and messages that are sent, in one go: below the receive maximum.
const GROUP: u32 = 1000;
const PAYLOAD: [u8; 64] = [7; 64];

/// One shard and the directory of its journal.
#[derive(Debug)]
pub struct Store {
    shard: Shard,
    directory: PathBuf,
    now: Instant,
    sessions: u64,
    messages: u64,
}

impl Store {
    /// A new journal in `directory`, with so many sessions: each has one subscription, and missed
    /// one message.
    ///
    /// # Errors
    /// The files cannot be written.
    pub fn make(directory: &Path, count: u32) -> io::Result<Self> {
        let mut store = Self::new(directory);
        store.start(None);
        for first in (0..count).step_by(GROUP as usize) {
            store.add_sessions(first..count.min(first + GROUP))?;
        }
        store.publish(count)?;
        store.shard.sync_journal();
        store.settle()?;
        Ok(store)
    }

    /// Goes on with what another one has left in `directory`.
    ///
    /// # Errors
    /// The files cannot be read, or are not what was written.
    pub fn recover(directory: &Path) -> io::Result<Self> {
        let mut store = Self::new(directory);
        let mut numbers: Vec<u32> = fs::read_dir(directory)?
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
            .collect();
        numbers.sort_unstable();
        let mut recovery = Recovery::new(ShardId(0));
        // One segment is in memory at a time, always in the same place: as the broker reads.
        let mut bytes = Vec::new();
        for number in &numbers {
            store.read(*number, &mut bytes)?;
            recovery.read(*number, &bytes).map_err(io::Error::other)?;
        }
        let mut recovered = recovery.finish().map_err(io::Error::other)?;
        recovered.leave_queues(store.shard.queue_memory());
        let wanted: Vec<u32> = recovered.wanted_segments().collect();
        for number in wanted {
            store.read(number, &mut bytes)?;
            recovered.load(number, &bytes).map_err(io::Error::other)?;
        }
        drop(bytes);
        let counts = recovered.counts();
        store.sessions = counts.sessions;
        store.messages = counts.messages;
        store.start(Some(recovered));
        Ok(store)
    }

    /// Sessions and messages that were recovered.
    #[must_use]
    pub const fn counts(&self) -> (u64, u64) {
        (self.sessions, self.messages)
    }

    fn new(directory: &Path) -> Self {
        let shard = Shard::new(ShardSettings {
            id: ShardId(0),
            shard_count: 1,
            limits: Limits::default(),
            home_key: HomeKey::new([7; 16]),
            seed: 1,
        });
        Self {
            shard,
            directory: directory.to_owned(),
            now: Instant::from_micros(1),
            sessions: 0,
            messages: 0,
        }
    }

    fn start(&mut self, recovered: Option<ringway::journal::Recovered>) {
        let start = JournalStart {
            unix_ms: 1_700_000_000_000,
            recovered,
        };
        let started = self.shard.start_journal(self.now, start);
        assert!(started.is_ok(), "{started:?}");
    }

    fn path(&self, segment: u32) -> PathBuf {
        self.directory.join(segment.to_string())
    }

    fn read(&self, segment: u32, bytes: &mut Vec<u8>) -> io::Result<()> {
        bytes.clear();
        File::open(self.path(segment))?.read_to_end(bytes)?;
        Ok(())
    }

    fn add_sessions(&mut self, numbers: std::ops::Range<u32>) -> io::Result<()> {
        let mut connections = Vec::new();
        for number in numbers {
            let connect = packets::connect(VERSION, &format!("device-{number:07}"), false);
            let connection = self.open(&connect);
            connections.push((number, connection));
        }
        self.settle()?;
        for (number, connection) in &connections {
            let filter = format!("to/{number}");
            let subscribe = packets::subscribe(VERSION, &filter, QosLevel::AtLeastOnce);
            self.feed(*connection, &subscribe);
        }
        self.settle()?;
        for (_, connection) in connections {
            let cause = CloseCause::NetworkClosed;
            self.shard.on_connection_closed(self.now, connection, cause);
        }
        self.settle()
    }

    fn publish(&mut self, count: u32) -> io::Result<()> {
        let connect = packets::connect(VERSION, "publisher", true);
        let connection = self.open(&connect);
        self.settle()?;
        let mut bytes = Vec::new();
        for number in 0..count {
            let packet_id = u16::try_from(number % GROUP + 1)
                .ok()
                .and_then(PacketId::new);
            let publish = Publish {
                dup: false,
                qos: QosLevel::AtLeastOnce,
                retain: false,
                topic_name: &format!("to/{number}"),
                packet_id,
                properties: PublishProperties::default(),
                payload: &PAYLOAD,
            };
            packets::publish(VERSION, &publish, &mut bytes);
            if number % GROUP == GROUP - 1 || number + 1 == count {
                self.feed(connection, &std::mem::take(&mut bytes));
                self.settle()?;
            }
        }
        let cause = CloseCause::NetworkClosed;
        self.shard.on_connection_closed(self.now, connection, cause);
        self.settle()
    }

    fn open(&mut self, connect: &[u8]) -> ConnectionId {
        let origin = ConnectionOrigin {
            peer: None,
            listener: 0,
        };
        let Some(connection) = self.shard.on_connection_opened(self.now, origin) else {
            panic!("the shard has room for every client");
        };
        self.feed(connection, connect);
        connection
    }

    fn feed(&mut self, connection: ConnectionId, bytes: &[u8]) {
        let verdict = self.shard.on_bytes(self.now, connection, bytes);
        assert_eq!(verdict, ReadVerdict::Continue);
    }

    /// Everything is written, and everything is said to clients.
    fn settle(&mut self) -> io::Result<()> {
        self.now = self.now + Duration::from_millis(50);
        self.shard.on_timeout(self.now);
        loop {
            while self.shard.poll_timeout().is_some_and(|at| at <= self.now) {
                self.shard.on_timeout(self.now);
            }
            while let Some((connection, transmit)) = self.shard.poll_transmit() {
                self.shard.on_transmitted(self.now, connection, transmit);
            }
            while self.shard.poll_close().is_some() || self.shard.poll_resume().is_some() {}
            let batch = self.shard.poll_journal();
            while let Some(event) = self.shard.poll_segment() {
                self.on_segment(event)?;
            }
            let Some(batch) = batch.or_else(|| self.shard.poll_journal()) else {
                return Ok(());
            };
            for write in batch.writes() {
                let file = File::options().write(true).open(self.path(write.segment))?;
                file.write_all_at(write.bytes, u64::from(write.offset))?;
            }
            self.shard.on_durable(self.now, batch);
        }
    }

    fn on_segment(&mut self, event: SegmentEvent) -> io::Result<()> {
        match event {
            SegmentEvent::Wanted(number) => {
                let bytes = Limits::default().durability.segment_bytes;
                File::create(self.path(number))?.set_len(u64::from(bytes))?;
                self.shard.on_segment_ready(self.now, number);
                Ok(())
            }
            SegmentEvent::Free(number) => fs::remove_file(self.path(number)),
        }
    }
}
