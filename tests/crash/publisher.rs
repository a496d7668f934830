//! A publisher with a persistent session: sends on after every crash what was not acknowledged.

use crate::client::{Client, Step};
use crate::model::payload;
use crate::wire::{AckKind, Packet, Publish, Version, encode};
use std::collections::VecDeque;
use std::net::SocketAddr;

/// QoS 1 and 2 messages that are unacknowledged at one time.
const WINDOW: usize = 32;

/// One message under way.
struct Flight {
    packet_id: u16,
    number: u32,
    /// PUBREC has come; what is left is the release.
    released: bool,
}

pub(crate) struct Publisher {
    index: u32,
    qos: u8,
    filling: usize,
    client: Client,
    flights: VecDeque<Flight>,
    next_number: u32,
    next_packet_id: u16,
    /// By number: the broker has taken the message over.
    pub(crate) acknowledged: Vec<bool>,
    pub(crate) acknowledged_count: u64,
    /// Acknowledgements that said "quota exceeded".
    pub(crate) refused: u64,
    /// Numbers of those messages; begun again when nothing is under way.
    to_repeat: Vec<u32>,
    /// Messages that may still be begun.
    pub(crate) budget: u32,
}

impl Publisher {
    pub(crate) fn new(index: u32, qos: u8, version: Version, filling: usize) -> Self {
        Self {
            index,
            qos,
            filling,
            client: Client::new(format!("publisher-{index}"), version, true),
            flights: VecDeque::new(),
            next_number: 0,
            next_packet_id: 1,
            acknowledged: Vec::new(),
            acknowledged_count: 0,
            refused: 0,
            to_repeat: Vec::new(),
            budget: 0,
        }
    }

    /// Nothing is under way and nothing may be begun.
    pub(crate) fn is_done(&self) -> bool {
        self.flights.is_empty() && self.to_repeat.is_empty() && self.budget == 0
    }

    pub(crate) fn cut(&mut self) {
        self.client.cut();
    }

    pub(crate) fn tick(&mut self, address: SocketAddr) {
        loop {
            match self.client.step(address) {
                Step::Up => self.send_again(),
                Step::Packet(packet) => self.on_packet(&packet),
                Step::Idle => break,
            }
        }
        if self.client.up && self.flights.is_empty() {
            for number in std::mem::take(&mut self.to_repeat) {
                self.send_new(number);
            }
        }
        while self.client.up && self.budget > 0 && self.flights.len() < WINDOW {
            self.budget -= 1;
            self.begin();
        }
    }

    fn begin(&mut self) {
        let number = self.next_number;
        self.next_number += 1;
        self.acknowledged.push(false);
        self.send_new(number);
    }

    fn send_new(&mut self, number: u32) {
        let packet_id = self.free_packet_id();
        self.flights.push_back(Flight {
            packet_id,
            number,
            released: false,
        });
        self.send_publish(number, packet_id, false);
    }

    fn free_packet_id(&mut self) -> u16 {
        loop {
            let id = self.next_packet_id;
            self.next_packet_id = id.checked_add(1).unwrap_or(1);
            if self.flights.iter().all(|flight| flight.packet_id != id) {
                return id;
            }
        }
    }

    fn send_publish(&mut self, number: u32, packet_id: u16, dup: bool) {
        let publish = Publish {
            dup,
            qos: self.qos,
            topic: format!("load/{}", self.index),
            packet_id: Some(packet_id),
            payload: payload(self.index, number, self.filling),
            ..Publish::default()
        };
        let version = self.client.version;
        self.client
            .send(|out| encode::publish(&publish, version, out));
    }

    /// [MQTT-4.4.0-1]: what was not acknowledged, in its order.
    fn send_again(&mut self) {
        let flights: Vec<(u16, u32, bool)> = self
            .flights
            .iter()
            .map(|flight| (flight.packet_id, flight.number, flight.released))
            .collect();
        for (packet_id, number, released) in flights {
            if released {
                let ack = |out: &mut Vec<u8>| encode::ack(AckKind::PubRel, packet_id, out);
                self.client.send(ack);
            } else {
                self.send_publish(number, packet_id, true);
            }
        }
    }

    fn on_packet(&mut self, packet: &Packet) {
        let Packet::Ack {
            kind,
            packet_id,
            code,
        } = packet
        else {
            panic!("publisher {}: {packet}", self.index);
        };
        let Some(position) = self
            .flights
            .iter()
            .position(|flight| flight.packet_id == *packet_id)
        else {
            panic!("publisher {}: {packet} for nothing", self.index);
        };
        match kind {
            // The release had arrived already; only its answer was lost.
            AckKind::PubComp if *code == 0x92 => drop(self.flights.remove(position)),
            _ if *code >= 0x80 => self.on_refused(position, *code),
            AckKind::PubAck => {
                assert_eq!(self.qos, 1);
                self.note_acknowledged(position);
                self.flights.remove(position);
            }
            AckKind::PubRec => {
                assert_eq!(self.qos, 2);
                self.note_acknowledged(position);
                self.flights[position].released = true;
                let id = *packet_id;
                self.client
                    .send(|out| encode::ack(AckKind::PubRel, id, out));
            }
            AckKind::PubComp => {
                assert!(self.flights[position].released);
                self.flights.remove(position);
            }
            AckKind::PubRel => panic!("publisher {}: PUBREL", self.index),
        }
    }

    /// Quota exceeded: the message is not the broker's; it is sent again as a new one.
    fn on_refused(&mut self, position: usize, code: u8) {
        assert_eq!(code, 0x97, "publisher {}", self.index);
        self.refused += 1;
        if let Some(flight) = self.flights.remove(position) {
            self.to_repeat.push(flight.number);
        }
    }

    fn note_acknowledged(&mut self, position: usize) {
        let number = self.flights[position].number as usize;
        if !std::mem::replace(&mut self.acknowledged[number], true) {
            self.acknowledged_count += 1;
        }
    }
}
