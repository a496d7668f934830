//! A client made of a blocking socket and hand-written packets.

use super::PATIENCE;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};

pub(super) struct Client {
    pub(super) stream: TcpStream,
}

fn text(text: &str) -> Vec<u8> {
    let mut bytes = u16::try_from(text.len()).unwrap().to_be_bytes().to_vec();
    bytes.extend_from_slice(text.as_bytes());
    bytes
}

fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    let mut rest = body.len();
    loop {
        let digit = u8::try_from(rest % 128).unwrap();
        rest /= 128;
        bytes.push(if rest > 0 { digit | 0x80 } else { digit });
        if rest == 0 {
            break;
        }
    }
    bytes.extend_from_slice(body);
    bytes
}

/// CONNECT of version 5.0, clean start, no keep alive.
pub(super) fn connect(client_id: &str) -> Vec<u8> {
    let mut body = text("MQTT");
    body.extend_from_slice(&[5, 2, 0, 0, 0]);
    body.extend(text(client_id));
    packet(0x10, &body)
}

/// SUBSCRIBE with QoS 0.
pub(super) fn subscribe(filter: &str) -> Vec<u8> {
    let mut body = vec![0, 1, 0];
    body.extend(text(filter));
    body.push(0);
    packet(0x82, &body)
}

/// PUBLISH with QoS 0.
pub(super) fn publish(topic_name: &str, payload: &[u8]) -> Vec<u8> {
    let mut body = text(topic_name);
    body.push(0);
    body.extend_from_slice(payload);
    packet(0x30, &body)
}

/// The payload of a PUBLISH with QoS 0 and no properties.
pub(super) fn payload(publish: &[u8]) -> &[u8] {
    let body = publish
        .iter()
        .skip(1)
        .position(|byte| byte & 0x80 == 0)
        .unwrap()
        + 2;
    let topic_bytes = u16::from_be_bytes([publish[body], publish[body + 1]]);
    &publish[body + 2 + usize::from(topic_bytes) + 1..]
}

impl Client {
    pub(super) fn open(address: SocketAddr) -> Self {
        Self::from_stream(TcpStream::connect(address).unwrap())
    }

    pub(super) fn from_stream(stream: TcpStream) -> Self {
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { stream }
    }

    /// Connects and awaits the CONNACK.
    pub(super) fn connected(mut self, client_id: &str) -> Self {
        self.send(&connect(client_id));
        assert_eq!(self.packet()[0], 0x20);
        self
    }

    pub(super) fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// The next packet, whole; empty at the end of the connection.
    pub(super) fn packet(&mut self) -> Vec<u8> {
        let mut bytes = vec![0];
        if !self.fill(&mut bytes) {
            return Vec::new();
        }
        let (mut length, mut shift) = (0, 0);
        loop {
            let mut digit = [0];
            assert!(self.fill(&mut digit), "an end inside a packet");
            bytes.push(digit[0]);
            length |= usize::from(digit[0] & 0x7f) << shift;
            shift += 7;
            if digit[0] & 0x80 == 0 {
                break;
            }
        }
        let head = bytes.len();
        bytes.resize(head + length, 0);
        assert!(self.fill(&mut bytes[head..]), "an end inside a packet");
        bytes
    }

    /// False at the end of the connection.
    fn fill(&mut self, buffer: &mut [u8]) -> bool {
        match self.stream.read_exact(buffer) {
            Ok(()) => true,
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => false,
            // The broker closed before it had read what we sent.
            Err(error) if error.kind() == ErrorKind::ConnectionReset => false,
            Err(error) => panic!("{error}"),
        }
    }

    /// PINGREQ and its answer: the broker is there.
    pub(super) fn ping(&mut self) {
        self.send(&[0xc0, 0]);
        assert_eq!(self.packet(), [0xd0, 0]);
    }
}
