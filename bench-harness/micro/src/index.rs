//! The parts below a shard: the decoder, and the index of subscriptions by itself.

use crate::case::{Size, Workload};
use crate::packets;
use crate::subscriptions::{Pattern, index, topic_name};
use ringway::codec::{
    Frame, PacketId, ProtocolVersion, Publish, PublishProperties, QosLevel, Sender, UserProperties,
    decode_publish, frame,
};
use ringway::topic::index::Index;
use ringway::topic::names::validate_topic_name;
use std::hint::black_box;

const PACKETS: u32 = 64;

/// Framing and decoding of PUBLISH packets at QoS 1.
#[derive(Debug)]
pub(crate) struct Decode {
    version: ProtocolVersion,
    bytes: Vec<u8>,
    decoded_payload_bytes: u64,
    runs: u64,
}

impl Decode {
    const PAYLOAD: [u8; 64] = [b'x'; 64];

    pub(crate) fn v311() -> Self {
        Self::new(ProtocolVersion::V311, PublishProperties::default())
    }

    /// With the properties of a typical telemetry message.
    pub(crate) fn v5() -> Self {
        let properties = PublishProperties {
            message_expiry_interval_s: Some(60),
            content_type: Some("application/json"),
            user_properties: UserProperties::Pairs(&[("unit", "celsius")]),
            ..PublishProperties::default()
        };
        Self::new(ProtocolVersion::V5, properties)
    }

    fn new(version: ProtocolVersion, properties: PublishProperties<'_>) -> Self {
        let publish = Publish {
            qos: QosLevel::AtLeastOnce,
            topic_name: "site/1/line/4/temperature",
            packet_id: Some(PacketId::MIN),
            properties,
            payload: &Self::PAYLOAD,
            ..Publish::default()
        };
        let mut bytes = Vec::new();
        for _ in 0..PACKETS {
            packets::publish(version, &publish, &mut bytes);
        }
        Self {
            version,
            bytes,
            decoded_payload_bytes: 0,
            runs: 0,
        }
    }
}

impl Workload for Decode {
    fn run(&mut self) {
        let mut rest = &*self.bytes;
        while let Ok(Frame::Complete(raw)) = frame(rest, u32::MAX) {
            if let Ok(publish) = decode_publish(self.version, Sender::Client, raw) {
                self.decoded_payload_bytes += black_box(publish).payload.len() as u64;
            }
            rest = &rest[raw.length..];
        }
        self.runs += 1;
    }

    fn units(&self) -> u32 {
        PACKETS
    }

    fn verify(&mut self) {
        let expected = self.runs * u64::from(PACKETS) * Self::PAYLOAD.len() as u64;
        assert_eq!(self.decoded_payload_bytes, expected);
    }
}

/// Topic names that are looked up in one run, spread over all devices.
const LOOKUPS: u32 = 60;

/// An index with one filter per device; each lookup finds one of them.
#[derive(Debug)]
pub struct Match {
    index: Index<u32, [u32; 2]>,
    topic_names: Vec<String>,
    found: Vec<(u32, [u32; 2])>,
    found_count: u64,
    runs: u64,
}

impl Match {
    pub(crate) fn boxed(pattern: Pattern, filters: u32, size: Size) -> Box<dyn Workload> {
        let filters = match size {
            Size::Tiny => filters.min(100),
            Size::Full => filters,
        };
        Box::new(Self::new(pattern, filters))
    }

    /// An index with this many filters.
    #[must_use]
    pub fn new(pattern: Pattern, filters: u32) -> Self {
        // A stride that is coprime to the counts visits sites and lines alike.
        let topic_names = (0..LOOKUPS)
            .map(|lookup| topic_name(lookup.wrapping_mul(7_919) % filters))
            .collect();
        Self {
            index: index(pattern, filters),
            topic_names,
            found: Vec::new(),
            found_count: 0,
            runs: 0,
        }
    }
}

impl Workload for Match {
    fn run(&mut self) {
        for topic_name in &self.topic_names {
            self.found.clear();
            self.index.matches(topic_name, &mut self.found);
            self.found_count += black_box(&self.found).len() as u64;
        }
        self.runs += 1;
    }

    fn units(&self) -> u32 {
        LOOKUPS
    }

    fn verify(&mut self) {
        let valid = |name: &String| validate_topic_name(name, 128).is_ok();
        assert!(self.topic_names.iter().all(valid));
        assert_eq!(self.found_count, self.runs * u64::from(LOOKUPS));
    }
}
