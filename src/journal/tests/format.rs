//! The bytes of records and headers.

use super::disk::{Disk, SHARD, settings};
use crate::base::ids::ShardId;
use crate::base::random::Random;
use crate::codec::{PacketId, QosLevel};
use crate::journal::ForwardTarget;
use crate::journal::fuzz::exercise_recovery;
use crate::journal::{
    BodyView, Damage, Place, Queued, Record, RecordKind, Recovery, SegmentBlocks,
    SubscriptionFields, WillFields, Writer,
};

fn records() -> Vec<Record<'static>> {
    let packet_id = PacketId::new(513).unwrap();
    let place = Place::new(3, 8192).unwrap();
    let session = 0x0102_0304_0506_0708;
    let subscription_identifiers = [1, 268_435_455].into_iter().collect();
    vec![
        Record::SessionBegin {
            session,
            expiry_interval_s: u32::MAX,
            disconnected_at_ms: 1,
            client_id: "\u{e9}",
        },
        Record::SessionConnected {
            session,
            expiry_interval_s: 2,
        },
        Record::SessionDisconnected {
            session,
            expiry_interval_s: 3,
            at_ms: 4,
        },
        Record::SessionEnd { session },
        Record::Will {
            session,
            will: WillFields {
                topic_name: "w",
                properties: &[1],
                payload: &[],
                qos: QosLevel::ExactlyOnce,
                retain: true,
                delay_interval_s: 5,
                message_expiry_interval_s: None,
            },
        },
        Record::WillCleared { session },
        Record::Subscribe {
            session,
            subscription: SubscriptionFields {
                options: 0x2e,
                identifier: None,
            },
            filter: "+/#",
        },
        Record::Unsubscribe {
            session,
            filter: "",
        },
        Record::Body(BodyView {
            expires_at_ms: 6,
            qos: QosLevel::AtLeastOnce,
            retain: true,
            topic_name: b"t",
            properties: &[2, 3],
            payload: &[4, 5, 6],
        }),
        Record::Queued {
            session,
            queued: Queued {
                place,
                bytes: 7,
                qos: QosLevel::AtLeastOnce,
                retain: false,
                packet_id: Some(packet_id),
                expires_at_ms: 8,
                subscription_identifiers,
            },
        },
        Record::Sent { session, packet_id },
        Record::Dropped { session },
        Record::Acknowledged { session, packet_id },
        Record::Received { session, packet_id },
        Record::Inbound { session, packet_id },
        Record::Released { session, packet_id },
        Record::Retained {
            place,
            bytes: 8,
            ends_at_ms: 9,
            topic_name: "r",
        },
        Record::RetainedCleared { topic_name: "r/s" },
        Record::Forward {
            number: 10,
            place,
            bytes: 11,
            shards: 1 << 127,
            target: ForwardTarget::Group(77),
        },
        Record::Forwarded { number: 12 },
        Record::Arrived {
            source: ShardId(13),
            number: 14,
        },
        Record::SnapshotBegin {
            next_session: 15,
            next_forward: 16,
        },
        Record::SnapshotEnd,
    ]
}

#[test]
fn records_come_back_as_they_were_written() {
    let records = records();
    let kinds: Vec<RecordKind> = records.iter().map(Record::kind).collect();
    assert_eq!(kinds, RecordKind::ALL);
    let mut writer = Writer::new(settings());
    let places: Vec<Place> = records.iter().map(|record| writer.append(record)).collect();
    writer.write_all();
    let mut disk = Disk::default();
    disk.serve(&mut writer);
    let blocks = SegmentBlocks::new(SHARD, 1, &disk.segments[&1]);
    let read: Vec<_> = blocks.unwrap().unwrap().records().collect();
    let expected = places.into_iter().zip(records.into_iter().map(Some));
    assert_eq!(read, expected.collect::<Vec<_>>());
}

/// Old journals must stay readable: these bytes never change.
#[test]
fn bytes_of_a_journal_are_fixed() {
    let mut writer = Writer::new(settings());
    writer.append(&Record::SessionEnd { session: 2 });
    writer.write_all();
    let mut disk = Disk::default();
    disk.serve(&mut writer);
    let bytes = &disk.segments[&1];
    let mut header = b"RINGWAYJ\x03\0\x05\0\x01\0\0\0\x01\0\0\0\0\0\0\0\x4d\0\0\0\0\0\0\0".to_vec();
    header.extend(*b"\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
    assert_eq!(bytes[..48], header);
    let block = b"RWJB\x0d\0\0\0\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\xff\xff\xff\xff\0\0\0\0";
    assert_eq!(bytes[4096..4128], *block);
    assert_eq!(bytes[4136..4149], *b"\x04\x08\0\0\0\x02\0\0\0\0\0\0\0");
    let crcs = [&bytes[48..52], &bytes[4128..4136]].concat();
    assert_eq!(crcs, [66, 132, 94, 195, 79, 105, 9, 99, 152, 172, 43, 159]);
    // The same in the versions that are still read.
    for (version, crc) in [(1, [229, 216, 50, 125]), (2, [105, 145, 158, 30])] {
        let mut old = bytes.clone();
        old[8] = version;
        old[48..52].copy_from_slice(&crc);
        let mut recovery = Recovery::new(SHARD);
        recovery.read(1, &old).unwrap();
        assert!(recovery.finish().unwrap().bytes_since_snapshot() > 0);
    }
}

#[test]
fn newer_format_and_other_shard_are_refused() {
    let mut writer = Writer::new(settings());
    writer.append(&Record::SessionEnd { session: 2 });
    writer.write_all();
    let mut disk = Disk::default();
    disk.serve(&mut writer);
    let mut bytes = disk.segments[&1].clone();
    let error = Recovery::new(ShardId(0)).read(1, &bytes).unwrap_err();
    assert_eq!(error.damage, Damage::OtherShard { found: SHARD.0 });
    bytes[8] = 4;
    let error = Recovery::new(SHARD).read(1, &bytes).unwrap_err();
    assert_eq!(error.damage, Damage::NewerFormat { version: 4 });
    assert_eq!(
        error.to_string(),
        "journal of shard 5, segment 1, offset 0: \
         format version 4 is newer than this program reads (3)"
    );
}

#[test]
fn recovery_survives_arbitrary_bytes() {
    let mut random = Random::new(6);
    let seeds: Vec<Vec<u8>> = records()
        .iter()
        .map(|record| {
            let mut bytes = Vec::new();
            record.encode(Place::new(1, 4136).unwrap(), &mut bytes);
            bytes
        })
        .collect();
    for _ in 0..20_000 {
        let mut bytes = Vec::new();
        for _ in 0..random.below(8) {
            let pick = usize::try_from(random.below(seeds.len() as u64)).unwrap();
            bytes.extend(&seeds[pick]);
        }
        for _ in 0..random.below(3) {
            let length = bytes.len() as u64;
            if length > 0 {
                let at = usize::try_from(random.below(length)).unwrap();
                bytes[at] = random.next_u64().to_le_bytes()[0];
            }
        }
        exercise_recovery(&bytes);
    }
}
