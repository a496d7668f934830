//! The client's side of RFC 6455, as MQTT uses it: binary frames with the subprotocol `mqtt`.
//! Frame limits do not carry meaning: MQTT is a stream of bytes across them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest as _, Sha1};

use crate::schedule::Random;
use crate::target::Target;

/// Of the RFC, for the proof that the server understood the upgrade.
const ACCEPT_SUFFIX: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// An answer to the upgrade that is longer is not one.
const HEAD_BYTES_MAX: usize = 16 * 1024;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

pub(super) struct WebSocket {
    /// Sent once; empty afterwards.
    request: String,
    accept: String,
    is_upgraded: bool,
    /// The start of the server's answer, or of a frame's header.
    head: Vec<u8>,
    /// Opcode of the frame under way, and what is left of its payload.
    frame: Option<(u8, u64)>,
    /// Payload of a control frame under way.
    control: Vec<u8>,
    pongs: Vec<u8>,
    random: Random,
}

impl WebSocket {
    pub(super) fn new(target: &Target, seed: u64) -> Self {
        let mut random = Random(seed);
        let mut key = [0; 16];
        key[..8].copy_from_slice(&random.draw().to_be_bytes());
        key[8..].copy_from_slice(&random.draw().to_be_bytes());
        let key = STANDARD.encode(key);
        let Target {
            host, port, path, ..
        } = target;
        Self {
            request: format!(
                "GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nUpgrade: websocket\r\n\
                 Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\n\
                 Sec-WebSocket-Protocol: mqtt\r\nSec-WebSocket-Version: 13\r\n\r\n"
            ),
            accept: accept_of(&key),
            is_upgraded: false,
            head: Vec::new(),
            frame: None,
            control: Vec::new(),
            pongs: Vec::new(),
            random,
        }
    }

    /// MQTT's bytes wait in `plain` until the server has agreed.
    pub(super) fn seal(&mut self, plain: &mut Vec<u8>, wire: &mut Vec<u8>) {
        wire.extend_from_slice(self.request.as_bytes());
        self.request.clear();
        wire.append(&mut self.pongs);
        if self.is_upgraded && !plain.is_empty() {
            put_frame(BINARY, plain, self.random.draw(), wire);
            plain.clear();
        }
    }

    pub(super) fn open(&mut self, mut bytes: &[u8], plain: &mut Vec<u8>) -> Result<(), String> {
        if !self.is_upgraded {
            bytes = self.take_answer(bytes)?;
        }
        while !bytes.is_empty() {
            let Some((opcode, left)) = self.frame else {
                bytes = self.take_header(bytes)?;
                continue;
            };
            let count = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
            let (part, rest) = bytes.split_at(count);
            let is_control = opcode >= CLOSE;
            let sink = if is_control {
                &mut self.control
            } else {
                &mut *plain
            };
            sink.extend_from_slice(part);
            bytes = rest;
            self.frame = Some((opcode, left - count as u64));
            self.end_frame()?;
        }
        Ok(())
    }

    fn take_answer<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8], String> {
        let before = self.head.len();
        self.head.extend_from_slice(bytes);
        let end = self
            .head
            .windows(4)
            .position(|window| window == b"\r\n\r\n");
        let Some(end) = end else {
            return match self.head.len() {
                0..=HEAD_BYTES_MAX => Ok(&[]),
                _ => Err("WebSocket: an answer without end".to_owned()),
            };
        };
        let text = String::from_utf8_lossy(&self.head[..end]).into_owned();
        self.head.clear();
        check_answer(&text, &self.accept)?;
        self.is_upgraded = true;
        Ok(&bytes[end + 4 - before..])
    }

    /// Takes bytes until the header of the next frame is complete.
    fn take_header<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8], String> {
        for (index, byte) in bytes.iter().enumerate() {
            self.head.push(*byte);
            let Some(length) = frame_length(&self.head)? else {
                continue;
            };
            self.frame = Some((self.head[0] & 0x0F, length));
            self.head.clear();
            self.end_frame()?;
            return Ok(&bytes[index + 1..]);
        }
        Ok(&[])
    }

    fn end_frame(&mut self) -> Result<(), String> {
        let Some((opcode, 0)) = self.frame else {
            return Ok(());
        };
        self.frame = None;
        let control = std::mem::take(&mut self.control);
        match opcode {
            0 | BINARY | PONG => Ok(()),
            PING => {
                put_frame(PONG, &control, self.random.draw(), &mut self.pongs);
                Ok(())
            }
            CLOSE => Err("WebSocket: closed by the broker".to_owned()),
            _ => Err(format!("WebSocket: a frame of type {opcode}")),
        }
    }
}

fn accept_of(key: &str) -> String {
    STANDARD.encode(Sha1::digest(format!("{key}{ACCEPT_SUFFIX}")))
}

fn check_answer(text: &str, accept: &str) -> Result<(), String> {
    let mut lines = text.split("\r\n");
    let status = lines.next().unwrap_or_default();
    if status.split(' ').nth(1) != Some("101") {
        return Err(format!("WebSocket: refused with `{status}`"));
    }
    let is_proof = |line: &str| {
        line.split_once(':').is_some_and(|(name, value)| {
            name.eq_ignore_ascii_case("sec-websocket-accept") && value.trim() == accept
        })
    };
    if !lines.any(is_proof) {
        return Err("WebSocket: the answer does not prove the upgrade".to_owned());
    }
    Ok(())
}

/// The payload's length, once the header is complete.
fn frame_length(head: &[u8]) -> Result<Option<u64>, String> {
    let Some(second) = head.get(1) else {
        return Ok(None);
    };
    if second & 0x80 != 0 {
        return Err("WebSocket: a masked frame from the server".to_owned());
    }
    let extended = match second {
        127 => 8,
        126 => 2,
        length => return Ok(Some(u64::from(*length))),
    };
    let Some(bytes) = head.get(2..2 + extended) else {
        return Ok(None);
    };
    let length = bytes
        .iter()
        .fold(0, |length, byte| length << 8 | u64::from(*byte));
    Ok(Some(length))
}

/// Clients must mask; the mask's quality is of no concern to a load generator.
fn put_frame(opcode: u8, payload: &[u8], random: u64, wire: &mut Vec<u8>) {
    wire.push(0x80 | opcode);
    match payload.len() {
        length @ 0..=125 => wire.push(0x80 | length as u8),
        length @ 126..=0xFFFF => {
            wire.push(0x80 | 126);
            wire.extend_from_slice(&(length as u16).to_be_bytes());
        }
        length => {
            wire.push(0x80 | 127);
            wire.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    let mask = (random as u32).to_be_bytes();
    wire.extend_from_slice(&mask);
    let masked = payload.iter().zip(mask.iter().cycle());
    wire.extend(masked.map(|(byte, mask)| byte ^ mask));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn upgraded() -> WebSocket {
        let mut websocket = WebSocket::new(&"ws://a:1/mqtt".parse().unwrap(), 5);
        websocket.is_upgraded = true;
        websocket.request.clear();
        websocket
    }

    /// As a server writes it.
    fn frame(opcode: u8, is_last: bool, payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![u8::from(is_last) << 7 | opcode];
        match payload.len() {
            length @ 0..=125 => bytes.push(length as u8),
            length => {
                bytes.push(126);
                bytes.extend_from_slice(&(length as u16).to_be_bytes());
            }
        }
        bytes.extend_from_slice(payload);
        bytes
    }

    #[test]
    fn the_proof_is_the_rfc_s() {
        assert_eq!(
            accept_of("dGhlIHNhbXBsZSBub25jZQ=="),
            "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        );
    }

    #[test]
    fn mqtt_waits_for_the_upgrade() {
        let mut websocket = WebSocket::new(&"ws://a:1/mqtt".parse().unwrap(), 5);
        let (mut plain, mut wire) = (b"CONNECT".to_vec(), Vec::new());
        websocket.seal(&mut plain, &mut wire);
        let request = String::from_utf8(wire.clone()).unwrap();
        assert!(
            request.starts_with("GET /mqtt HTTP/1.1\r\nHost: a:1\r\n"),
            "{request}"
        );
        assert_eq!(plain, b"CONNECT");

        let answer = format!(
            "HTTP/1.1 101 Switching Protocols\r\nsec-websocket-ACCEPT:  {}\r\n\r\n",
            websocket.accept
        );
        let mut opened = Vec::new();
        let bytes = [answer.as_bytes(), &frame(BINARY, true, b"early")].concat();
        for byte in &bytes {
            websocket.open(&[*byte], &mut opened).unwrap();
        }
        assert_eq!(opened, b"early");
        wire.clear();
        websocket.seal(&mut plain, &mut wire);
        assert_eq!((plain.len(), wire.len()), (0, 2 + 4 + 7));
        assert_eq!(wire[..2], [0x82, 0x87]);
    }

    #[test]
    fn answers_that_prove_nothing_are_refused() {
        for answer in ["HTTP/1.1 404 Not Found\r\n\r\n", "HTTP/1.1 101 Yes\r\n\r\n"] {
            let mut websocket = WebSocket::new(&"ws://a:1".parse().unwrap(), 5);
            assert!(
                websocket.open(answer.as_bytes(), &mut Vec::new()).is_err(),
                "{answer}"
            );
        }
    }

    proptest! {
        #[test]
        fn any_frames_in_any_pieces_are_the_stream(
            parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..8),
            piece in 1usize..50,
        ) {
            let mut websocket = upgraded();
            let mut bytes = Vec::new();
            for (index, part) in parts.iter().enumerate() {
                let opcode = if index == 0 { BINARY } else { 0 };
                bytes.extend(frame(opcode, index + 1 == parts.len(), part));
                bytes.extend(frame(PING, true, b"?"));
            }
            let mut plain = Vec::new();
            for piece in bytes.chunks(piece) {
                websocket.open(piece, &mut plain).unwrap();
            }
            prop_assert_eq!(plain, parts.concat());
            // Each pong: two bytes of header, four of mask, one of payload.
            prop_assert_eq!(websocket.pongs.len(), 7 * parts.len());
        }
    }
}
