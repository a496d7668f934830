//! Clients that break the rules, each in one way, and that nobody else may notice.

use crate::wire::{Connect, Filter, Version, encode};
use ringway::base::random::Random;

/// What a rude client does on one connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Rudeness {
    Garbage,
    Silence,
    HalfConnect,
    PacketBeforeConnect,
    UnknownVersion,
    SecondConnect,
    TooLarge,
    HalfPacket,
    Malformed,
    /// Subscribes to everything and reads nothing.
    NeverReads,
}

impl Rudeness {
    pub(crate) fn draw(random: &mut Random) -> Self {
        match random.below(10) {
            0 => Self::Garbage,
            1 => Self::Silence,
            2 => Self::HalfConnect,
            3 => Self::PacketBeforeConnect,
            4 => Self::UnknownVersion,
            5 => Self::SecondConnect,
            6 => Self::TooLarge,
            7 => Self::HalfPacket,
            8 => Self::Malformed,
            _ => Self::NeverReads,
        }
    }

    /// Must the broker end the connection by itself?
    pub(crate) fn is_ended(self) -> bool {
        self != Self::NeverReads
    }

    pub(crate) fn bytes(self, client_id: &str, random: &mut Random) -> Vec<u8> {
        let version = if random.chance(1, 2) {
            Version::V5
        } else {
            Version::V311
        };
        let mut connect = Vec::new();
        encode::connect(&polite_connect(client_id, version, self), &mut connect);
        match self {
            Self::Garbage => (0..1 + random.below(200))
                .map(|_| random.next_u64() as u8)
                .collect(),
            Self::Silence => Vec::new(),
            Self::HalfConnect => {
                let cut = 1 + random.below(connect.len() as u64 - 1) as usize;
                connect[..cut].to_vec()
            }
            Self::PacketBeforeConnect => [&[0xC0, 0], &connect[..]].concat(),
            Self::UnknownVersion => {
                connect[8] = 9;
                connect
            }
            Self::SecondConnect => [&connect[..], &connect].concat(),
            Self::TooLarge => [&connect[..], b"\x30\xff\xff\xff\x7f\0\x01a"].concat(),
            Self::HalfPacket => [&connect[..], b"\x30\x20\0\x01a"].concat(),
            Self::Malformed => [&connect[..], malformed(version, random)].concat(),
            Self::NeverReads => {
                let mut bytes = connect;
                let filter = Filter {
                    filter: "#".into(),
                    qos: random.below(3) as u8,
                    no_local: false,
                    retain_as_published: false,
                    retain_handling: 0,
                };
                encode::subscribe(1, None, &[filter], version, &mut bytes);
                bytes
            }
        }
    }
}

fn polite_connect(client_id: &str, version: Version, rudeness: Rudeness) -> Connect {
    Connect {
        version,
        clean_start: true,
        keep_alive_s: if rudeness == Rudeness::HalfPacket {
            2
        } else {
            0
        },
        client_id: client_id.to_owned(),
        session_expiry_s: 0,
        receive_maximum: None,
        maximum_packet_size: None,
        topic_alias_maximum: 0,
        will: None,
    }
}

/// Packets that no version allows.
fn malformed(version: Version, random: &mut Random) -> &'static [u8] {
    const V311: &[&[u8]] = &[
        b"\x36\x07\0\x01a\0\x01xy",
        b"\x30\x05\0\x03a/#",
        b"\x32\x05\0\x01a\0\0",
        b"\x80\x06\0\x01\0\x01a\0",
        b"\x82\x02\0\x01",
        b"\xf0\x00",
        b"\x00\x00",
        b"\x30\x04\0\x02\xff\xff",
    ];
    const V5: &[&[u8]] = &[
        b"\x36\x08\0\x01a\0\x01\0xy",
        b"\x30\x06\0\x03a/#\0",
        b"\x30\x06\0\x01a\x02\x01\x07",
        b"\x30\x07\0\x01a\x03\x23\0\0",
        b"\x30\x06\0\x01a\x02\x0b\x01",
        b"\x82\x03\0\x01\0",
        b"\x30\x06\0\0\x03\x23\0\x1f",
    ];
    let choices = if version == Version::V5 { V5 } else { V311 };
    choices[random.below(choices.len() as u64) as usize]
}
