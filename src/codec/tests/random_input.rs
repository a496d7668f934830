//! No input makes the codec panic, and whatever it takes it understands: the bodies of the fuzz
//! targets with seeded input.

use super::super::fuzz::{exercise_decode, exercise_split};
use super::super::sample::Sampler;
use super::super::{ProtocolVersion, Sender, encode};
use super::packet;
use crate::base::random::Random;

fn random_byte(random: &mut Random) -> u8 {
    // Small numbers and property identifiers get further than noise.
    let bound = if random.chance(2, 3) { 0x30 } else { 0x100 };
    u8::try_from(random.below(bound)).unwrap()
}

fn random_bytes(random: &mut Random, count_max: u64) -> Vec<u8> {
    let count = random.below(count_max + 1);
    (0..count).map(|_| random_byte(random)).collect()
}

fn index(random: &mut Random, bound: usize) -> usize {
    usize::try_from(random.below(bound as u64)).unwrap()
}

#[test]
fn random_streams_do_not_panic() {
    let mut random = Random::new(5);
    for _ in 0..10_000 {
        let bytes = random_bytes(&mut random, 40);
        exercise_decode(&bytes);
        let cut = 1 + index(&mut random, 9);
        exercise_split(&bytes, &[cut, 1]);
    }
}

#[test]
fn random_bodies_do_not_panic() {
    let mut random = Random::new(6);
    for _ in 0..10_000 {
        let packet_type = u8::try_from(1 + random.below(15)).unwrap();
        let flags = match packet_type {
            3 => u8::try_from(random.below(6)).unwrap(),
            6 | 8 | 10 => 2,
            _ => 0,
        };
        let body = random_bytes(&mut random, 24);
        exercise_decode(&packet(packet_type << 4 | flags, &body));
    }
}

#[test]
fn changed_packets_do_not_panic() {
    let mut random = Random::new(7);
    let mut sampler = Sampler::new(8);
    let senders = [Sender::Client, Sender::Server];
    let mut bytes = Vec::new();
    for round in 0..10_000_usize {
        let version = ProtocolVersion::ALL[round % 3];
        bytes.clear();
        encode(
            &sampler.packet(version, senders[round % 2]),
            version,
            &mut bytes,
        );
        // Long fields only cost time here.
        bytes.truncate(300);
        for _ in 0..=random.below(3) {
            change(&mut random, &mut bytes);
        }
        exercise_decode(&bytes);
        if let [first_byte, _, body @ ..] = &bytes[..] {
            exercise_decode(&packet(*first_byte, body));
        }
    }
}

fn change(random: &mut Random, bytes: &mut Vec<u8>) {
    let at = index(random, bytes.len() + 1);
    match random.below(3) {
        0 => bytes.insert(at, random_byte(random)),
        1 if at < bytes.len() => bytes[at] = random_byte(random),
        _ => bytes.truncate(at),
    }
}

#[test]
fn cut_packets_do_not_panic() {
    let mut sampler = Sampler::new(9);
    let mut bytes = Vec::new();
    for round in 0..200_usize {
        let version = ProtocolVersion::ALL[round % 3];
        bytes.clear();
        encode(
            &sampler.packet(version, Sender::Client),
            version,
            &mut bytes,
        );
        bytes.truncate(120);
        let [first_byte, _, body @ ..] = &bytes[..] else {
            panic!("no header");
        };
        for end in 0..body.len() {
            exercise_decode(&packet(*first_byte, &body[..end]));
        }
    }
}
