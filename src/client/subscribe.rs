//! `ringway sub`: subscribes and shows what arrives.

use super::connection::Connection;
use super::error::ClientError;
use super::filter;
use super::message::Message;
use super::options::{ConnectOptions, SubscribeOptions};
use super::report::{reason_name, say};
use super::stop::StopFlag;
use super::wire::{self, Incoming};
use crate::codec::{AckKind, PacketId, QosLevel, ReasonCode};
use std::collections::BTreeSet;
use std::io::Write;
use std::time::{Duration, Instant, SystemTime};

const SUBSCRIBE_ID: u16 = 1;
const UNSUBSCRIBE_ID: u16 = 2;
/// Time to end QoS 2 handshakes when the last wanted message has been shown.
const FINISH_TIMEOUT: Duration = Duration::from_secs(5);

/// Connects, subscribes, and writes messages to `output` until something ends it: the count, the
/// user (both are well), the timeout, the broker.
///
/// # Errors
/// Everything but the count and the user's wish.
pub fn subscribe(
    connect: &ConnectOptions,
    options: &SubscribeOptions,
    stop: &StopFlag,
    output: &mut dyn Write,
) -> Result<(), ClientError> {
    let deadline = options.timeout.map(|timeout| Instant::now() + timeout);
    let connection = match Connection::open(connect, stop) {
        Err(ClientError::Stopped) => return Ok(()),
        opened => opened?,
    };
    let mut subscriber = Subscriber {
        connection,
        options,
        output,
        shown_count: 0,
        answers_awaited: 0,
        received: BTreeSet::new(),
        text: Vec::new(),
    };
    let result = subscriber.run(deadline);
    match result {
        Err(ClientError::Closed | ClientError::Disconnected { .. }) => return result,
        _ => subscriber.connection.close(),
    }
    match result {
        Err(ClientError::Stopped) => Ok(()),
        // The reader has seen enough, as `head` does.
        Err(ClientError::Output(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

struct Subscriber<'a> {
    connection: Connection,
    options: &'a SubscribeOptions,
    output: &'a mut dyn Write,
    shown_count: u64,
    /// SUBACK and UNSUBACK still to come.
    answers_awaited: u32,
    /// QoS 2 messages that are shown but not released: a duplicate of one is not shown again.
    received: BTreeSet<PacketId>,
    /// Messages as shown, until they are written.
    text: Vec<u8>,
}

impl Subscriber<'_> {
    fn run(&mut self, deadline: Option<Instant>) -> Result<(), ClientError> {
        self.send_requests()?;
        while !self.is_done() {
            // What has been received is written before it is acknowledged, all at once.
            if let Some(incoming) = self.connection.poll()? {
                self.on_incoming(incoming)?;
                continue;
            }
            self.write()?;
            match self.connection.receive(deadline)? {
                Some(incoming) => self.on_incoming(incoming)?,
                None => return Err(ClientError::TimedOut),
            }
        }
        self.write()?;
        self.finish()
    }

    fn is_done(&self) -> bool {
        let all_shown = self
            .options
            .count
            .is_some_and(|count| self.shown_count >= count);
        all_shown || (self.options.exit_after_subscribed && self.answers_awaited == 0)
    }

    fn send_requests(&mut self) -> Result<(), ClientError> {
        let options = self.options;
        let wildcard = |filter: &String| filter.contains(['+', '#']);
        if !self.connection.limits.wildcard_available && options.topic_filters.iter().any(wildcard)
        {
            let what = "the broker takes no subscriptions with wildcards";
            return Err(ClientError::NotAllowed(what.to_owned()));
        }
        let ids = [SUBSCRIBE_ID, UNSUBSCRIBE_ID].map(PacketId::new);
        let [Some(subscribe_id), Some(unsubscribe_id)] = ids else {
            return Err(ClientError::Unexpected("packet identifier"));
        };
        if !options.unsubscribe.is_empty() {
            self.answers_awaited += 1;
            self.connection.enqueue(
                || {
                    format!(
                        "UNSUBSCRIBE (m{UNSUBSCRIBE_ID}, {})",
                        options.unsubscribe.join(", ")
                    )
                },
                |out, version| wire::unsubscribe(unsubscribe_id, options, version, out),
            )?;
        }
        if !options.topic_filters.is_empty() {
            self.answers_awaited += 1;
            let filters = options.topic_filters.join(", ");
            self.connection.enqueue(
                || {
                    format!(
                        "SUBSCRIBE (m{SUBSCRIBE_ID}, {filters}, q{})",
                        options.qos as u8
                    )
                },
                |out, version| wire::subscribe(subscribe_id, options, version, out),
            )?;
        }
        Ok(())
    }

    fn on_incoming(&mut self, incoming: Incoming) -> Result<(), ClientError> {
        match incoming {
            Incoming::Publish(message) => self.on_publish(&message),
            Incoming::SubAck { reasons } => self.on_sub_ack(&reasons),
            Incoming::UnsubAck => {
                self.connection.debug(|| "received UNSUBACK".to_owned());
                self.answers_awaited = self.answers_awaited.saturating_sub(1);
                Ok(())
            }
            Incoming::Ack(ack) if ack.kind == AckKind::PubRel => {
                self.received.remove(&ack.packet_id);
                let id = ack.packet_id.get();
                self.connection.debug(|| format!("received PUBREL (m{id})"));
                self.acknowledge(AckKind::PubComp, ack.packet_id)
            }
            other => Err(ClientError::Unexpected(other.name())),
        }
    }

    fn on_sub_ack(&mut self, reasons: &[ReasonCode]) -> Result<(), ClientError> {
        self.connection.debug(|| {
            let reasons: Vec<String> = reasons.iter().map(|reason| reason_name(*reason)).collect();
            format!("received SUBACK ({})", reasons.join(", "))
        });
        self.answers_awaited = self.answers_awaited.saturating_sub(1);
        let refused = |reason: &&ReasonCode| reason.is_error();
        let first = reasons.iter().find(refused);
        if reasons.iter().all(|reason| reason.is_error()) {
            return first.map_or(Ok(()), |reason| Err(ClientError::SubscribeRefused(*reason)));
        }
        for (filter, reason) in self.options.topic_filters.iter().zip(reasons) {
            if reason.is_error() {
                say(format_args!(
                    "ringway: {filter}: refused: {}",
                    reason_name(*reason)
                ));
            }
        }
        Ok(())
    }

    fn on_publish(&mut self, message: &Message) -> Result<(), ClientError> {
        self.connection
            .debug(|| format!("received PUBLISH ({})", wire::described(message)));
        let is_new = match (message.qos, message.packet_id) {
            (QosLevel::ExactlyOnce, Some(id)) => self.received.insert(id),
            _ => true,
        };
        if is_new {
            self.show(message);
        }
        match (message.qos, message.packet_id) {
            (QosLevel::AtLeastOnce, Some(id)) => self.acknowledge(AckKind::PubAck, id),
            (QosLevel::ExactlyOnce, Some(id)) => self.acknowledge(AckKind::PubRec, id),
            _ => Ok(()),
        }
    }

    fn show(&mut self, message: &Message) {
        let is_out = |filter: &String| filter::matches(filter, &message.topic_name);
        let is_stale = self.options.skip_stale && message.retain;
        if is_stale || self.options.filter_out.iter().any(is_out) {
            return;
        }
        let unix_time = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let unix_time = unix_time.unwrap_or_default();
        self.options.format.show(message, unix_time, &mut self.text);
        self.shown_count += 1;
    }

    /// What a message shows is written before its acknowledgement can leave: so a message that
    /// nobody saw is delivered again to a persistent session.
    fn acknowledge(&mut self, kind: AckKind, id: PacketId) -> Result<(), ClientError> {
        const TEXT_BYTES: usize = 64 << 10;
        if self.connection.is_nearly_full() || self.text.len() >= TEXT_BYTES {
            self.write()?;
        }
        self.connection.enqueue(
            || format!("{} (m{})", wire::ack_name(kind), id.get()),
            |out, version| wire::acknowledge(kind, id, version, out),
        )
    }

    fn write(&mut self) -> Result<(), ClientError> {
        let written = self.output.write_all(&self.text);
        let flushed = written.and_then(|()| self.output.flush());
        self.text.clear();
        flushed.map_err(|error| {
            self.connection.discard_outgoing();
            ClientError::Output(error)
        })
    }

    /// Ends the QoS 2 handshakes of what was shown. Messages that come meanwhile are neither shown
    /// nor acknowledged: a persistent session gets them again.
    fn finish(&mut self) -> Result<(), ClientError> {
        let deadline = Instant::now() + FINISH_TIMEOUT;
        while !self.received.is_empty() {
            match self.connection.receive(Some(deadline))? {
                Some(Incoming::Publish(_)) => {}
                Some(incoming) => self.on_incoming(incoming)?,
                None => break,
            }
        }
        self.connection.transmit()
    }
}
