//! A client that never waits: it connects when there is a broker, keeps its session, and notices
//! when the broker has forgotten it.

use crate::wire::decode::Decoder;
use crate::wire::encode;
use crate::wire::{Connect, Packet, Version};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};

/// A persistent session at the broker, with or without a connection.
pub(crate) struct Client {
    pub(crate) id: String,
    pub(crate) version: Version,
    /// Without it every connection begins a new session.
    pub(crate) persistent: bool,
    link: Option<Link>,
    /// The broker has acknowledged a session of this client.
    session_known: bool,
    /// CONNACK of this connection has come.
    pub(crate) up: bool,
}

struct Link {
    stream: TcpStream,
    decoder: Decoder,
    unsent: Vec<u8>,
}

/// What a step brought.
pub(crate) enum Step {
    /// The connection is up; what was unfinished is to be sent again.
    Up,
    Packet(Packet),
    /// Nothing more now.
    Idle,
}

impl Client {
    pub(crate) fn new(id: impl Into<String>, version: Version, persistent: bool) -> Self {
        Self {
            id: id.into(),
            version,
            persistent,
            link: None,
            session_known: false,
            up: false,
        }
    }

    /// The network goes away.
    pub(crate) fn cut(&mut self) {
        self.link = None;
        self.up = false;
    }

    fn connect(&mut self, address: SocketAddr) {
        let Ok(stream) = TcpStream::connect(address) else {
            return;
        };
        stream.set_nodelay(true).unwrap();
        stream.set_nonblocking(true).unwrap();
        self.link = Some(Link {
            stream,
            decoder: Decoder::default(),
            unsent: Vec::new(),
        });
        let connect = Connect {
            version: self.version,
            clean_start: !self.persistent,
            keep_alive_s: 0,
            client_id: self.id.clone(),
            session_expiry_s: if self.persistent { 100_000 } else { 0 },
            receive_maximum: None,
            maximum_packet_size: None,
            topic_alias_maximum: 0,
            will: None,
        };
        self.send(|out| encode::connect(&connect, out));
    }

    /// Makes bytes and sends what the socket takes.
    pub(crate) fn send(&mut self, make: impl FnOnce(&mut Vec<u8>)) {
        if let Some(link) = &mut self.link {
            make(&mut link.unsent);
            self.flush();
        }
    }

    fn flush(&mut self) {
        let Some(link) = &mut self.link else { return };
        while !link.unsent.is_empty() {
            match link.stream.write(&link.unsent) {
                Ok(count) => drop(link.unsent.drain(..count)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => return self.cut(),
            }
        }
    }

    /// The next thing that happened.
    pub(crate) fn step(&mut self, address: SocketAddr) -> Step {
        if self.link.is_none() {
            self.connect(address);
        }
        self.flush();
        match self.packet() {
            Some(Packet::ConnAck(answer)) => {
                assert_eq!(answer.code, 0, "{}: CONNACK", self.id);
                assert!(!self.up, "{}: second CONNACK", self.id);
                if self.persistent {
                    // A session that was acknowledged is there for ever; one that was not may be.
                    assert!(
                        answer.session_present || !self.session_known,
                        "{}: the session is gone",
                        self.id
                    );
                    self.session_known = true;
                }
                self.up = true;
                Step::Up
            }
            Some(packet) => Step::Packet(packet),
            None => Step::Idle,
        }
    }

    fn packet(&mut self) -> Option<Packet> {
        let link = self.link.as_mut()?;
        loop {
            match link.decoder.next(self.version) {
                Ok(Some((packet, _))) => return Some(packet),
                Ok(None) => {}
                Err(fault) => panic!("{}: {fault}", self.id),
            }
            let mut buffer = [0; 16 << 10];
            match link.stream.read(&mut buffer) {
                Ok(0) => {
                    self.cut();
                    return None;
                }
                Ok(count) => link.decoder.feed(&buffer[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return None,
                Err(_) => {
                    self.cut();
                    return None;
                }
            }
        }
    }
}
