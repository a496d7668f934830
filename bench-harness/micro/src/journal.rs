//! The journal alone: records on their way to the disk, and a start from what is there.

use crate::broker::{self, Broker};
use crate::case::{Size, Workload};
use crate::disk::Disk;
use crate::packets;
use ringway::base::ids::ShardId;
use ringway::base::time::Instant;
use ringway::codec::{PacketId, ProtocolVersion, Publish, QosLevel};
use ringway::journal::{
    BodyView, Queued, Record, Recovery, SEGMENT_BYTES_MIN, SegmentEvent, Writer, WriterSettings,
};
use ringway::shard::Shard;

const SHARD: ShardId = ShardId(0);
const VERSION: ProtocolVersion = ProtocolVersion::V311;
const PAYLOAD: &[u8] = &[b'x'; 64];
const TOPIC_NAME: &str = "site/3/line/4/temperature";

/// What a message to one journalled session makes: its body, its place in the session, its
/// acknowledgement; in batches, each sealed as one block.
#[derive(Debug)]
pub(crate) struct Records {
    writer: Writer,
    runs: u64,
}

impl Records {
    const MESSAGES: u16 = 64;
    const PER_MESSAGE: u16 = 3;

    pub(crate) fn new() -> Self {
        let mut writer = Writer::new(WriterSettings {
            shard: SHARD,
            epoch: 1,
            previous_epoch: 0,
            previous_last_block: 0,
            salt: 77,
            first_segment: 1,
            segment_bytes: SEGMENT_BYTES_MIN,
            sync: true,
        });
        serve_segments(&mut writer);
        Self { writer, runs: 0 }
    }

    fn append(&mut self, packet_id: PacketId) {
        let session = 1;
        let body = Record::Body(BodyView {
            expires_at_ms: 0,
            qos: QosLevel::AtLeastOnce,
            retain: false,
            topic_name: TOPIC_NAME.as_bytes(),
            properties: &[],
            payload: PAYLOAD,
        });
        self.writer.begin_group();
        let place = self.writer.append(&body);
        let queued = Queued {
            place,
            bytes: u32::try_from(body.bytes()).unwrap_or(u32::MAX),
            qos: QosLevel::AtLeastOnce,
            retain: false,
            subscription_identifiers: Default::default(),
            expires_at_ms: 0,
            packet_id: Some(packet_id),
        };
        self.writer.append(&Record::Queued { session, queued });
        self.writer.begin_group();
        self.writer
            .append(&Record::Acknowledged { session, packet_id });
    }
}

fn serve_segments(writer: &mut Writer) {
    while let Some(event) = writer.poll_segment() {
        if let SegmentEvent::Wanted(number) = event {
            writer.on_segment_ready(number);
        }
    }
}

impl Workload for Records {
    fn run(&mut self) {
        self.runs += 1;
        (1..=Self::MESSAGES)
            .filter_map(PacketId::new)
            .for_each(|packet_id| self.append(packet_id));
        self.writer.want_all();
        serve_segments(&mut self.writer);
        while let Some(batch) = self.writer.poll() {
            self.writer.on_durable(batch);
            serve_segments(&mut self.writer);
        }
    }

    fn units(&self) -> u32 {
        u32::from(Self::MESSAGES * Self::PER_MESSAGE)
    }

    fn verify(&mut self) {
        let appended = self.runs * u64::from(self.units());
        assert_eq!(self.writer.appended(), appended);
        assert_eq!(self.writer.durable(), appended);
    }
}

/// A start: all segments are read, and become a shard with its sessions and their queues.
#[derive(Debug)]
pub(crate) struct Recover {
    disk: Disk,
    sessions: u16,
    /// Messages that wait for each session.
    queued: u16,
    started: Option<Shard>,
}

impl Recover {
    /// Each session has one subscription.
    pub(crate) fn sessions(size: Size) -> Self {
        Self::new(scaled(size, 1000), 0)
    }

    /// So few that they hardly count beside their messages.
    pub(crate) fn queued(size: Size) -> Self {
        Self::new(16, scaled(size, 500))
    }

    fn new(sessions: u16, queued: u16) -> Self {
        let mut broker = Broker::with_kept_journal();
        let publisher = broker.client(0, "publisher", VERSION);
        for number in 0..sessions {
            let stem = format!("sensor-{number:06}");
            let filter = format!("fleet/{number:06}/command");
            let client = broker.client(0, &stem, VERSION);
            broker.subscribe(client, VERSION, &filter, QosLevel::AtLeastOnce);
            broker.feed_last(client, &packets::DISCONNECT);
            broker.settle();
            for packet_id in (1..=queued).filter_map(PacketId::new) {
                let mut message = Vec::new();
                let publish = Publish {
                    qos: QosLevel::AtLeastOnce,
                    topic_name: &filter,
                    packet_id: Some(packet_id),
                    payload: PAYLOAD,
                    ..Publish::default()
                };
                packets::publish(VERSION, &publish, &mut message);
                broker.feed(publisher, &message);
                broker.settle();
            }
        }
        broker.feed_last(publisher, &packets::DISCONNECT);
        broker.settle();
        Self {
            disk: broker.take_disk(),
            sessions,
            queued,
            started: None,
        }
    }

    fn start(&self) -> Result<Shard, String> {
        let mut shard = broker::shard(SHARD, 1, 64);
        let mut recovery = Recovery::new(SHARD);
        for (number, bytes) in &self.disk.segments {
            recovery
                .read(*number, bytes)
                .map_err(|error| error.to_string())?;
        }
        let mut recovered = recovery.finish().map_err(|error| error.to_string())?;
        recovered.leave_queues(shard.queue_memory());
        let wanted: Vec<u32> = recovered.wanted_segments().collect();
        for number in wanted {
            let bytes = self.disk.segments.get(&number).map_or(&[][..], |it| it);
            recovered
                .load(number, bytes)
                .map_err(|error| error.to_string())?;
        }
        broker::start(&mut shard, Instant::from_micros(1), Some(recovered))
            .map_err(|error| format!("{error:?}"))?;
        Ok(shard)
    }
}

impl Workload for Recover {
    /// The end of the shard before does not count.
    fn arrange(&mut self) {
        self.started = None;
    }

    fn run(&mut self) {
        self.started = self.start().ok();
    }

    fn units(&self) -> u32 {
        u32::from(self.sessions) * u32::from(self.queued.max(1))
    }

    fn verify(&mut self) {
        let started = self.started.as_ref();
        let Some(shard) = started else {
            panic!("recovery failed: {:?}", self.start().err());
        };
        // The publisher's session, too.
        assert_eq!(shard.population(), (0, usize::from(self.sessions) + 1));
        shard.assert_invariants();
    }
}

const fn scaled(size: Size, full: u16) -> u16 {
    match size {
        Size::Tiny => full / 50,
        Size::Full => full,
    }
}
