//! Many subscriptions that look like those of a fleet: one filter per device, which matches the
//! device's topic name and no other one.

use crate::broker::Broker;
use ringway::codec::{ProtocolVersion, QosLevel};
use ringway::topic::index::Index;
use ringway::topic::names::FilterKind;

/// What the filters look like.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pattern {
    Exact,
    /// One level is `+`, the second or the third one.
    Plus,
    /// The last level is `#`.
    Hash,
    /// One third of each.
    Mixed,
}

impl Pattern {
    pub const ALL: [Self; 4] = [Self::Exact, Self::Plus, Self::Hash, Self::Mixed];

    /// The filter of one device.
    #[must_use]
    pub fn filter(self, device: u32) -> (String, FilterKind) {
        let (site, line) = (device % 100, device / 100);
        let text = match self {
            Self::Exact => topic_name(device),
            Self::Plus if device.is_multiple_of(2) => {
                format!("site/{site}/+/{line}/sensor/{device}")
            }
            Self::Plus => format!("site/+/line/{line}/sensor/{device}"),
            Self::Hash => format!("site/{site}/line/{line}/sensor/{device}/#"),
            Self::Mixed => {
                let patterns = [Self::Exact, Self::Plus, Self::Hash];
                return patterns[device as usize % 3].filter(device);
            }
        };
        let kind = match self {
            Self::Exact => FilterKind::Exact,
            _ => FilterKind::Wildcard,
        };
        (text, kind)
    }

    /// Mean length of the filters of so many devices.
    #[must_use]
    pub fn mean_text_bytes(self, devices: u32) -> u32 {
        let bytes: usize = (0..devices).map(|it| self.filter(it).0.len()).sum();
        u32::try_from(bytes / devices as usize).unwrap_or(u32::MAX)
    }
}

/// The topic name of one device.
#[must_use]
pub fn topic_name(device: u32) -> String {
    let (site, line) = (device % 100, device / 100);
    format!("site/{site}/line/{line}/sensor/{device}")
}

/// An index with the filters of so many devices. The value is as large as a shard's.
#[must_use]
pub fn index(pattern: Pattern, devices: u32) -> Index<u32, [u32; 2]> {
    let mut index = Index::new(1);
    for device in 0..devices {
        let (filter, kind) = pattern.filter(device);
        index.insert(&filter, kind, device, [0; 2]);
    }
    index
}

/// A broker whose clients have subscribed, each to the filters of many devices.
#[derive(Debug)]
pub struct Subscriptions {
    _broker: Broker,
}

impl Subscriptions {
    /// Subscriptions of one client: few enough clients that their sessions hardly count.
    const PER_CLIENT: u32 = 50_000;

    #[must_use]
    pub fn new(shard_count: u16, pattern: Pattern, devices: u32) -> Self {
        let version = ProtocolVersion::V311;
        let mut broker = Broker::new(shard_count, 64);
        let mut client = None;
        for device in 0..devices {
            if device.is_multiple_of(Self::PER_CLIENT) {
                client = Some(broker.client(0, &format!("subscriber-{device}"), version));
            }
            if let Some(client) = client {
                let (filter, _) = pattern.filter(device);
                broker.subscribe(client, version, &filter, QosLevel::AtLeastOnce);
            }
        }
        Self { _broker: broker }
    }
}
