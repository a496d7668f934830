//! A client made of bytes: sends what a test says, compares what comes.

use crate::support::{Broker, PATIENCE};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};

/// A socket with a read timeout, or what encrypts on top of it.
pub(crate) struct Raw<S = TcpStream> {
    pub(crate) stream: S,
}

/// CONNECT of MQTT 5.0, clean start, keep alive 0, no properties.
pub(crate) fn connect_v5(client_id: &str) -> Vec<u8> {
    connect(5, 0x02, 0, &[0], client_id)
}

/// CONNECT of MQTT 3.1.1, clean session, keep alive 0.
pub(crate) fn connect_v311(client_id: &str) -> Vec<u8> {
    connect(4, 0x02, 0, &[], client_id)
}

pub(crate) fn connect(
    level: u8,
    flags: u8,
    keep_alive_s: u16,
    properties: &[u8],
    client_id: &str,
) -> Vec<u8> {
    let mut body = vec![0, 4, b'M', b'Q', b'T', b'T', level, flags];
    body.extend(keep_alive_s.to_be_bytes());
    body.extend(properties);
    body.extend(string(client_id));
    packet(0x10, &body)
}

/// SUBSCRIBE of 5.0 with packet identifier 1.
pub(crate) fn subscribe_v5(filter: &str, qos: u8) -> Vec<u8> {
    subscribe(5, filter, qos)
}

/// SUBSCRIBE of 3.1.1 (4) or 5.0 (5) with packet identifier 1.
pub(crate) fn subscribe(level: u8, filter: &str, qos: u8) -> Vec<u8> {
    let mut body = vec![0, 1];
    body.extend((level == 5).then_some(0));
    body.extend(string(filter));
    body.push(qos);
    packet(0x82, &body)
}

/// PUBLISH of 5.0 without properties.
pub(crate) fn publish_v5(topic: &str, qos: u8, packet_id: u16, payload: &[u8]) -> Vec<u8> {
    publish(5, topic, qos, packet_id, payload)
}

/// PUBLISH of 3.1.1 (4) or 5.0 (5) without properties.
pub(crate) fn publish(level: u8, topic: &str, qos: u8, packet_id: u16, payload: &[u8]) -> Vec<u8> {
    let mut body = string(topic);
    if qos > 0 {
        body.extend(packet_id.to_be_bytes());
    }
    body.extend((level == 5).then_some(0));
    body.extend(payload);
    packet(0x30 | (qos << 1), &body)
}

pub(crate) fn string(text: &str) -> Vec<u8> {
    let length = u16::try_from(text.len()).expect("short text");
    [&length.to_be_bytes()[..], text.as_bytes()].concat()
}

pub(crate) fn packet(first_byte: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first_byte];
    let mut rest = body.len();
    loop {
        let digit = u8::try_from(rest % 128).expect("below 128");
        rest /= 128;
        bytes.push(if rest > 0 { digit | 0x80 } else { digit });
        if rest == 0 {
            break;
        }
    }
    bytes.extend(body);
    bytes
}

/// A socket that does not wait for ever, and sends each write at once.
pub(crate) fn dial(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("the broker accepts");
    stream
        .set_read_timeout(Some(PATIENCE))
        .expect("a timeout can be set");
    stream.set_nodelay(true).expect("a TCP socket");
    stream
}

impl Raw {
    pub(crate) fn open(broker: &Broker) -> Self {
        let stream = dial(broker.address);
        Self { stream }
    }

    /// Connected as a 5.0 client.
    pub(crate) fn connected(broker: &Broker, client_id: &str) -> Self {
        let mut raw = Self::open(broker);
        raw.connect(client_id);
        raw
    }
}

impl<S: Read + Write> Raw<S> {
    /// CONNECT as a 5.0 client, and its CONNACK.
    pub(crate) fn connect(&mut self, client_id: &str) {
        self.send(&connect_v5(client_id));
        let connack = self.packet();
        assert_eq!(
            (connack[0], connack[3]),
            (0x20, 0),
            "CONNACK: {connack:02x?}"
        );
    }

    /// Sends; a broker that has closed already is no failure here.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    /// The next whole packet.
    pub(crate) fn packet(&mut self) -> Vec<u8> {
        self.try_packet()
            .expect("a packet before the end of the connection")
    }

    /// The next whole packet, or `None` at the end of the connection.
    pub(crate) fn try_packet(&mut self) -> Option<Vec<u8>> {
        let mut bytes = vec![self.byte()?];
        let (mut length, mut shift) = (0usize, 0);
        loop {
            let digit = self.byte()?;
            bytes.push(digit);
            length |= usize::from(digit & 0x7f) << shift;
            shift += 7;
            if digit & 0x80 == 0 {
                break;
            }
        }
        let start = bytes.len();
        bytes.resize(start + length, 0);
        self.stream.read_exact(&mut bytes[start..]).ok()?;
        Some(bytes)
    }

    fn byte(&mut self) -> Option<u8> {
        let mut one = [0];
        match self.stream.read(&mut one) {
            Ok(0) => None,
            Ok(_) => Some(one[0]),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => None,
            Err(error) => panic!("no packet in time: {error}"),
        }
    }

    /// Everything up to the end of the connection.
    pub(crate) fn until_closed(&mut self) -> Vec<Vec<u8>> {
        std::iter::from_fn(|| self.try_packet()).collect()
    }
}
