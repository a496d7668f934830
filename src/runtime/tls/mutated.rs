//! Handshakes and records of real clients with something wrong in them, some thousand, seeded:
//! none is a panic, nothing comes out that no client has sealed, and what is held stays bounded.

use super::stream::{HANDSHAKE_BYTES_MAX, OUT_BYTES_MAX, PARTIAL_BYTES_MAX};
use super::tests::{Files, Pair};
use super::{Gate, Received, TlsFault};
use crate::base::random::Random;
use crate::config::settings::TlsVersion;
use std::io::Write;

const VERSIONS: [TlsVersion; 2] = [TlsVersion::V1_2, TlsVersion::V1_3];
/// Of each kind and version.
const CASES: u64 = 500;

fn below(random: &mut Random, end: usize) -> usize {
    usize::try_from(random.below(end as u64)).unwrap()
}

fn byte(random: &mut Random) -> u8 {
    random.next_u64().to_le_bytes()[0]
}

/// Makes one to three changes.
fn mutate(random: &mut Random, bytes: &mut Vec<u8>) {
    for _ in 0..=random.below(3) {
        if bytes.is_empty() {
            return;
        }
        let at = below(random, bytes.len());
        match random.below(6) {
            0 => bytes[at] ^= 1 << random.below(8),
            1 => bytes[at] = byte(random),
            2 => drop(bytes.remove(at)),
            3 => bytes.insert(at, byte(random)),
            4 => bytes.truncate(at),
            _ => {
                let end = bytes.len().min(at + 1 + below(random, 400));
                let again = bytes[at..end].to_vec();
                bytes.splice(at..at, again);
            }
        }
    }
}

/// Cuts `bytes` anyhow and delivers them up to a fault. True: there was one.
fn feed(pair: &mut Pair, random: &mut Random, bytes: &mut [u8]) -> bool {
    let piece_bytes = if random.below(4) == 0 { 8 } else { 4096 };
    let mut left = bytes;
    while !left.is_empty() {
        let count = left.len().min(1 + below(random, piece_bytes));
        let (piece, rest) = left.split_at_mut(count);
        left = rest;
        match pair.deliver(piece) {
            Ok(Received::Open) => {}
            Ok(Received::Ended) => return false,
            Err(fault) => {
                assert_failed(pair, &fault);
                return true;
            }
        }
        let held_max = match pair.stream.is_handshaking() {
            true => HANDSHAKE_BYTES_MAX,
            false => PARTIAL_BYTES_MAX,
        };
        assert!(pair.stream.held_bytes() <= held_max);
        assert!(pair.stream.unsent().len() <= OUT_BYTES_MAX);
    }
    false
}

/// A fault is for ever.
fn assert_failed(pair: &mut Pair, fault: &TlsFault) {
    if !matches!(fault, TlsFault::Protocol(_)) {
        return;
    }
    let opened = pair.plain.len();
    assert!(pair.deliver(&mut [23, 3, 3, 0, 1, 0]).is_err());
    assert_eq!(pair.plain.len(), opened);
    let sealed = pair.stream.seal(b"x", &mut pair.buffers);
    assert_eq!(sealed, Err(TlsFault::CannotSend));
    assert!(!pair.stream.end(&mut pair.buffers));
}

fn from_client(pair: &mut Pair) -> Vec<u8> {
    let mut bytes = Vec::new();
    while pair.client.wants_write() {
        pair.client.write_tls(&mut bytes).unwrap();
    }
    bytes
}

/// One connection per case: `run` says what a client has sealed and whether there was a fault.
fn check(seed: u64, run: impl Fn(&mut Pair, &mut Random) -> (Vec<u8>, bool)) -> u64 {
    let files = Files::make(&format!("mutated-{seed}"));
    let gate = Gate::open(&files.settings()).unwrap();
    let mut faults = 0;
    for version in VERSIONS {
        for case in 0..CASES {
            let mut random = Random::new(seed << 32 | case);
            let mut pair = Pair::at(&gate, files.client(version, false));
            let (sealed, has_failed) = run(&mut pair, &mut random);
            assert!(sealed.starts_with(&pair.plain), "{version:?} {case}");
            faults += u64::from(has_failed);
        }
    }
    faults
}

#[test]
fn changed_hellos_open_nothing() {
    let faults = check(1, |pair, random| {
        let mut hello = from_client(pair);
        mutate(random, &mut hello);
        (Vec::new(), feed(pair, random, &mut hello))
    });
    assert!(faults > CASES / 2, "{faults}");
}

#[test]
fn changed_last_flights_open_what_was_sealed() {
    let faults = check(2, |pair, random| {
        let mut hello = from_client(pair);
        assert!(!feed(pair, random, &mut hello));
        let answer = pair.stream.unsent().to_vec();
        pair.stream.advance(answer.len(), &mut pair.buffers);
        let mut answer = &answer[..];
        while !answer.is_empty() {
            pair.client.read_tls(&mut answer).unwrap();
            pair.client.process_new_packets().unwrap();
        }
        let early = vec![b'e'; 1 + below(random, 3000)];
        pair.client.writer().write_all(&early).unwrap();
        let mut flight = from_client(pair);
        mutate(random, &mut flight);
        (early, feed(pair, random, &mut flight))
    });
    assert!(faults > CASES, "{faults}");
}

#[test]
fn changed_records_open_what_came_before() {
    let opened = std::cell::Cell::new(0);
    let faults = check(3, |pair, random| {
        pair.exchange().unwrap();
        let (mut sealed, mut records) = (Vec::new(), Vec::new());
        for _ in 0..=random.below(4) {
            let text: Vec<u8> = (0..=random.below(20_000)).map(|_| byte(random)).collect();
            pair.client.writer().write_all(&text).unwrap();
            records.extend(from_client(pair));
            sealed.extend(text);
        }
        mutate(random, &mut records);
        let has_failed = feed(pair, random, &mut records);
        opened.set(opened.get() + u64::from(!pair.plain.is_empty()));
        (sealed, has_failed)
    });
    assert!(faults > CASES, "{faults}");
    assert!(opened.get() > CASES / 2, "{opened:?}");
}
