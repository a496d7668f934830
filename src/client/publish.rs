//! `ringway pub`: publishes, and ends when every message is acknowledged.

use super::connection::Connection;
use super::error::ClientError;
use super::message::Message;
use super::options::{ConnectOptions, PublishOptions};
use super::payload::PayloadSource;
use super::report::reason_name;
use super::stop::StopFlag;
use super::wire::{self, Incoming};
use crate::codec::{AckKind, PacketId, QosLevel, ReasonCode};
use std::collections::BTreeMap;
use std::sync::mpsc::TryRecvError;
use std::time::{Duration, Instant};

/// How long a line may lie before it is looked for again.
const LINE_POLL: Duration = Duration::from_millis(10);

/// The largest packet has 256 MiB; topic and properties come from a command line, which is shorter
/// than the rest.
const PAYLOAD_BYTES_MAX: usize = 248 << 20;

/// Connects, publishes everything, waits for the acknowledgements, disconnects.
///
/// # Errors
/// No connection, or not everything was acknowledged.
pub fn publish(
    connect: &ConnectOptions,
    options: &PublishOptions,
    stop: &StopFlag,
) -> Result<(), ClientError> {
    let connection = Connection::open(connect, stop)?;
    check_limits(&connection, options)?;
    let mut publisher = Publisher {
        connection,
        unacknowledged: BTreeMap::new(),
        last_packet_id: 0,
        alias_known: false,
        refused: None,
    };
    let result = publisher.run(options);
    // An ended connection has nothing to say goodbye to.
    if !matches!(
        result,
        Err(ClientError::Closed | ClientError::Disconnected { .. })
    ) {
        publisher.connection.close();
    }
    result
}

/// What the broker would close the connection for is said before it is sent.
fn check_limits(connection: &Connection, options: &PublishOptions) -> Result<(), ClientError> {
    let limits = &connection.limits;
    let refuse = |what: String| Err(ClientError::NotAllowed(what));
    if options.qos as u8 > limits.qos_max {
        return refuse(format!("the broker takes QoS {} at most", limits.qos_max));
    }
    if options.retain && !limits.retain_available {
        return refuse("the broker does not retain messages".to_owned());
    }
    match options.properties.topic_alias {
        Some(alias) if alias > limits.topic_alias_maximum => refuse(format!(
            "the broker takes topic aliases up to {}",
            limits.topic_alias_maximum
        )),
        _ => Ok(()),
    }
}

struct Publisher {
    connection: Connection,
    /// What each message waits for. At most the broker's receive maximum.
    unacknowledged: BTreeMap<PacketId, AckKind>,
    last_packet_id: u16,
    /// Whether the broker has been told the name behind the alias.
    alias_known: bool,
    refused: Option<(ReasonCode, String)>,
}

impl Publisher {
    fn run(&mut self, options: &PublishOptions) -> Result<(), ClientError> {
        match &options.payload {
            PayloadSource::One(payload) => self.repeat(payload, options)?,
            PayloadSource::Lines(lines) => loop {
                match lines.try_recv() {
                    Ok(line) => self.repeat(&line.map_err(ClientError::Input)?, options)?,
                    Err(TryRecvError::Empty) => self.wait(LINE_POLL)?,
                    Err(TryRecvError::Disconnected) => break,
                }
            },
        }
        while !self.unacknowledged.is_empty() {
            self.receive(None)?;
        }
        self.connection.transmit()?;
        match self.refused.take() {
            Some((reason, text)) => Err(ClientError::PublishRefused { reason, text }),
            None => Ok(()),
        }
    }

    fn repeat(&mut self, payload: &[u8], options: &PublishOptions) -> Result<(), ClientError> {
        for round in 0..options.repeat {
            if round > 0 && !options.repeat_delay.is_zero() {
                self.wait(options.repeat_delay)?;
            }
            self.send(payload, options)?;
        }
        Ok(())
    }

    fn send(&mut self, payload: &[u8], options: &PublishOptions) -> Result<(), ClientError> {
        if payload.len() > PAYLOAD_BYTES_MAX {
            let what = format!("no MQTT packet holds a payload of {} bytes", payload.len());
            return Err(ClientError::NotAllowed(what));
        }
        let packet_id = match options.qos {
            QosLevel::AtMostOnce => None,
            _ => Some(self.next_packet_id()?),
        };
        let properties = options.properties.clone();
        let by_alias = properties.topic_alias.is_some() && self.alias_known;
        self.alias_known = true;
        let message = Message {
            topic_name: if by_alias {
                String::new()
            } else {
                options.topic_name.clone()
            },
            payload: payload.to_vec(),
            qos: options.qos,
            retain: options.retain,
            dup: false,
            packet_id,
            properties,
        };
        self.connection.enqueue(
            || format!("PUBLISH ({})", wire::described(&message)),
            |out, version| wire::publish(&message, version, out),
        )?;
        let awaited = match options.qos {
            QosLevel::AtMostOnce => None,
            QosLevel::AtLeastOnce => Some(AckKind::PubAck),
            QosLevel::ExactlyOnce => Some(AckKind::PubRec),
        };
        self.unacknowledged.extend(packet_id.zip(awaited));
        // What came meanwhile is looked at, or a long run would never see a DISCONNECT.
        while let Some(incoming) = self.connection.poll()? {
            self.on_incoming(incoming)?;
        }
        Ok(())
    }

    /// A free packet identifier, once the broker's receive maximum has room for it.
    fn next_packet_id(&mut self) -> Result<PacketId, ClientError> {
        while self.unacknowledged.len() >= usize::from(self.connection.limits.receive_maximum) {
            self.receive(None)?;
        }
        loop {
            self.last_packet_id = self.last_packet_id.wrapping_add(1);
            match PacketId::new(self.last_packet_id) {
                Some(id) if !self.unacknowledged.contains_key(&id) => return Ok(id),
                _ => {}
            }
        }
    }

    fn wait(&mut self, time: Duration) -> Result<(), ClientError> {
        let deadline = Instant::now() + time;
        while self.receive(Some(deadline))? {}
        Ok(())
    }

    /// Waits for one packet; false at the deadline.
    fn receive(&mut self, deadline: Option<Instant>) -> Result<bool, ClientError> {
        match self.connection.receive(deadline)? {
            Some(incoming) => self.on_incoming(incoming).map(|()| true),
            None => Ok(false),
        }
    }

    fn on_incoming(&mut self, incoming: Incoming) -> Result<(), ClientError> {
        let name = incoming.name();
        let Incoming::Ack(ack) = incoming else {
            return Err(ClientError::Unexpected(name));
        };
        let id = ack.packet_id;
        self.connection.debug(|| {
            format!(
                "received {name} (m{}, {})",
                id.get(),
                reason_name(ack.reason)
            )
        });
        if self.unacknowledged.get(&id) != Some(&ack.kind) {
            return Err(ClientError::Unexpected(name));
        }
        if ack.kind == AckKind::PubRec && !ack.reason.is_error() {
            self.unacknowledged.insert(id, AckKind::PubComp);
            return self.connection.enqueue(
                || format!("PUBREL (m{})", id.get()),
                |out, version| wire::acknowledge(AckKind::PubRel, id, version, out),
            );
        }
        self.unacknowledged.remove(&id);
        if ack.reason.is_error() {
            self.refused = Some((ack.reason, ack.text));
        }
        Ok(())
    }
}
