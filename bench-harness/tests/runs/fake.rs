//! A small broker with faults to order: a thread per connection, topics by exact name or a final
//! `#`, QoS 0 to 2, one shared table.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use bench_harness::mqtt::{
    AckKind, Packet, Publish, PublishView, Version, decode, encode_ack, encode_connack,
    encode_pingresp, encode_publish, encode_suback,
};

/// What it does wrong with every hundredth message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    Lose,
    Double,
    /// Sends it behind its successor.
    Swap,
    Close,
    RefuseSubscriptions,
}

const FAULT_EVERY: u64 = 100;

pub(crate) struct Fake {
    pub address: SocketAddr,
}

struct Subscriber {
    filter: String,
    stream: TcpStream,
    version: Version,
    qos: u8,
    next_packet_id: u16,
    count: u64,
    held: Option<Vec<u8>>,
}

type Table = Arc<Mutex<Vec<Subscriber>>>;

impl Fake {
    /// Serves until the test's process ends.
    pub(crate) fn start(fault: Fault) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let table = Table::default();
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let table = Arc::clone(&table);
                thread::spawn(move || serve(stream, &table, fault));
            }
        });
        Self { address }
    }
}

fn serve(mut stream: TcpStream, table: &Table, fault: Fault) {
    stream.set_nodelay(true).unwrap();
    let (mut buffer, mut chunk) = (Vec::new(), vec![0; 65_536]);
    let mut version = Version::V311;
    let mut output = Vec::new();
    loop {
        let count = match stream.read(&mut chunk) {
            Ok(0) | Err(_) => return,
            Ok(count) => count,
        };
        buffer.extend_from_slice(&chunk[..count]);
        let mut used = 0;
        while let Ok(Some((packet, length))) = decode(&buffer[used..], version) {
            used += length;
            if !answer(packet, &mut version, &mut output, &stream, table, fault) {
                return;
            }
        }
        buffer.drain(..used);
        if stream.write_all(&output).is_err() {
            return;
        }
        output.clear();
    }
}

/// Whether the connection goes on.
fn answer(
    packet: Packet<'_>,
    version: &mut Version,
    output: &mut Vec<u8>,
    stream: &TcpStream,
    table: &Table,
    fault: Fault,
) -> bool {
    match packet {
        Packet::Connect(connect) => {
            *version = connect.version;
            encode_connack(*version, false, 0, output);
        }
        Packet::Subscribe { packet_id, filters } => {
            let mut codes = Vec::new();
            for filter in filters {
                let (filter, qos) = filter.unwrap();
                let is_refused = fault == Fault::RefuseSubscriptions;
                codes.push(if is_refused { 0x80 } else { qos });
                table.lock().unwrap().push(Subscriber {
                    filter: String::from_utf8(filter.to_vec()).unwrap(),
                    stream: stream.try_clone().unwrap(),
                    version: *version,
                    qos,
                    next_packet_id: 0,
                    count: 0,
                    held: None,
                });
            }
            encode_suback(*version, packet_id, &codes, output);
        }
        Packet::Publish(publish) => {
            match publish.qos {
                0 => {}
                1 => encode_ack(AckKind::Puback, publish.packet_id, 0, output),
                _ => encode_ack(AckKind::Pubrec, publish.packet_id, 0, output),
            }
            for subscriber in table.lock().unwrap().iter_mut() {
                if !subscriber.deliver(&publish, fault) {
                    return false;
                }
            }
        }
        Packet::Ack {
            kind, packet_id, ..
        } => match kind {
            AckKind::Pubrel => encode_ack(AckKind::Pubcomp, packet_id, 0, output),
            AckKind::Pubrec => encode_ack(AckKind::Pubrel, packet_id, 0, output),
            AckKind::Puback | AckKind::Pubcomp => {}
        },
        Packet::Pingreq => encode_pingresp(output),
        _ => return false,
    }
    true
}

impl Subscriber {
    /// Whether the publisher's connection goes on.
    fn deliver(&mut self, publish: &PublishView<'_>, fault: Fault) -> bool {
        let topic = std::str::from_utf8(publish.topic).unwrap();
        let is_match = match self.filter.strip_suffix('#') {
            Some(start) => topic.starts_with(start),
            None => topic == self.filter,
        };
        if !is_match {
            return true;
        }
        self.count += 1;
        let is_faulty = self.count.is_multiple_of(FAULT_EVERY);
        let mut bytes = self.encode(publish);
        match fault {
            Fault::Lose if is_faulty => bytes.clear(),
            Fault::Double if is_faulty => bytes.extend(self.encode(publish)),
            Fault::Swap if is_faulty => self.held = Some(std::mem::take(&mut bytes)),
            Fault::Close if is_faulty => return false,
            _ => bytes.extend(self.held.take().unwrap_or_default()),
        }
        // A subscriber that has gone misses what is sent to it.
        let _ = (&self.stream).write_all(&bytes);
        true
    }

    fn encode(&mut self, publish: &PublishView<'_>) -> Vec<u8> {
        self.next_packet_id = self.next_packet_id.checked_add(1).unwrap_or(1);
        let mut bytes = Vec::new();
        let publish = Publish {
            qos: publish.qos.min(self.qos),
            retain: false,
            is_dup: false,
            topic: publish.topic,
            packet_id: self.next_packet_id,
            payload: publish.payload,
        };
        encode_publish(self.version, &publish, &mut bytes);
        bytes
    }
}
