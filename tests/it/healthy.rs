//! A client beside bad ones: it must notice nothing.

use crate::raw::{Raw, packet, publish_v5, subscribe_v5};
use crate::support::Broker;
use std::io::{Read, Write};
use std::net::TcpStream;

pub(crate) struct Healthy<S = TcpStream> {
    raw: Raw<S>,
    rounds: u16,
}

impl Healthy {
    pub(crate) fn start(broker: &Broker) -> Self {
        Self::over(Raw::open(broker))
    }
}

impl<S: Read + Write> Healthy<S> {
    /// On a connection that has said nothing yet.
    pub(crate) fn over(mut raw: Raw<S>) -> Self {
        raw.connect("healthy");
        raw.send(&subscribe_v5("healthy/#", 1));
        assert_eq!(raw.packet(), [0x90, 4, 0, 1, 0, 1]);
        Self { raw, rounds: 0 }
    }

    /// One message to itself, there and back.
    pub(crate) fn check(&mut self) {
        self.rounds += 1;
        self.raw.send(&publish_v5(
            "healthy/beat",
            1,
            self.rounds,
            &self.rounds.to_be_bytes(),
        ));
        let (first, second) = (self.raw.packet(), self.raw.packet());
        let (ack, message) = if first[0] == 0x40 {
            (first, second)
        } else {
            (second, first)
        };
        let [high, low] = self.rounds.to_be_bytes();
        assert_eq!(ack[..4], [0x40, 2, high, low]);
        assert!(message.ends_with(&self.rounds.to_be_bytes()));
        self.raw.send(&packet(0x40, &message[16..18]));
    }

    /// A message of somebody else that it gets, below `healthy/`.
    pub(crate) fn message(&mut self) -> Vec<u8> {
        self.raw.packet()
    }
}
