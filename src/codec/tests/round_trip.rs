//! What is encoded decodes to the same packet, for every packet, version and side.

use super::super::fuzz::{check_round_trip, exercise_decode, exercise_split};
use super::super::sample::Sampler;
use super::super::{
    PacketId, PacketType, ProtocolVersion, QosLevel, ReasonCode, Sender, SubscriptionOptions,
    conn_ack_return_code, encode,
};

const SENDERS: [Sender; 2] = [Sender::Client, Sender::Server];

#[test]
fn packets_are_the_same_after_encode_and_decode() {
    let mut sampler = Sampler::new(1);
    let mut seen = [0_u32; 16];
    for _ in 0..3_000 {
        for version in ProtocolVersion::ALL {
            for sender in SENDERS {
                let packet = sampler.packet(version, sender);
                check_round_trip(&packet, version, sender);
                seen[packet.packet_type() as usize] += 1;
            }
        }
    }
    assert!(seen[1..].iter().all(|count| *count > 100), "{seen:?}");
}

#[test]
fn streams_are_the_same_in_any_pieces() {
    let mut sampler = Sampler::new(2);
    for round in 0..100_usize {
        for version in ProtocolVersion::ALL {
            let mut bytes = Vec::new();
            for _ in 0..8 {
                encode(
                    &sampler.packet(version, Sender::Client),
                    version,
                    &mut bytes,
                );
            }
            exercise_decode(&bytes);
            exercise_split(&bytes, &[1 + round % 7, 1 + round * 5, 2]);
        }
    }
}

#[test]
fn packets_are_the_same_byte_by_byte() {
    let mut sampler = Sampler::new(3);
    for version in ProtocolVersion::ALL {
        for _ in 0..300 {
            let mut bytes = Vec::new();
            encode(
                &sampler.packet(version, Sender::Server),
                version,
                &mut bytes,
            );
            exercise_split(&bytes, &[]);
        }
    }
}

#[test]
fn reason_codes_have_their_numbers() {
    let known = (0..=u8::MAX).filter_map(ReasonCode::from_u8);
    assert!(known.eq(ReasonCode::all()));
    for code in ReasonCode::all() {
        assert_eq!(ReasonCode::from_u8(code as u8), Some(code));
        assert_eq!(code.is_error(), code as u8 >= 0x80);
    }
    assert_eq!(ReasonCode::from_u8(0x03), None);
    assert_eq!(ReasonCode::from_u8(0xA3), None);
}

#[test]
fn return_code_is_absent_when_3_x_has_no_word() {
    let cases = [
        (ReasonCode::Success, Some(0)),
        (ReasonCode::UnsupportedProtocolVersion, Some(1)),
        (ReasonCode::ClientIdentifierNotValid, Some(2)),
        (ReasonCode::ServerUnavailable, Some(3)),
        (ReasonCode::BadUserNameOrPassword, Some(4)),
        (ReasonCode::NotAuthorized, Some(5)),
        (ReasonCode::MalformedPacket, None),
        (ReasonCode::RetainNotSupported, None),
    ];
    for (reason_code, return_code) in cases {
        assert_eq!(
            conn_ack_return_code(reason_code),
            return_code,
            "{reason_code:?}"
        );
    }
}

#[test]
fn small_types_take_their_values_only() {
    assert_eq!(PacketId::new(0), None);
    assert_eq!(PacketId::new(7).map(PacketId::get), Some(7));
    assert_eq!(QosLevel::try_from(2).ok(), Some(QosLevel::ExactlyOnce));
    assert!(QosLevel::try_from(3).is_err());
    assert_eq!(PacketType::of(0x0F), None);
    assert_eq!(PacketType::of(0xF0), Some(PacketType::Auth));
    for value in 0..=u8::MAX {
        if let Ok(options) = SubscriptionOptions::from_u8(value, ProtocolVersion::V5) {
            assert_eq!(options.to_u8(), value);
        }
    }
}
