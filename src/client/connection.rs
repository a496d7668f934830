//! One connection to a broker: packets in and out, keep alive, the end.

use super::error::ClientError;
use super::options::ConnectOptions;
use super::report::{reason_name, say};
use super::stop::StopFlag;
use super::stream::Stream;
use super::wire::{self, Incoming};
use crate::codec::{ProtocolVersion, ReasonCode};
use std::io::{ErrorKind, Read, Write};
use std::time::{Duration, Instant};

/// With what TLS answers bytes that are none: an alert record of version 3.
const TLS_ALERT: [u8; 2] = [21, 3];
/// Time for CONNACK.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a wish to stop may go unseen.
const STOP_POLL: Duration = Duration::from_millis(250);
/// Time for the broker to take our last bytes and close.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
/// Waiting packets are sent at the latest when they are this many bytes.
const OUTGOING_BYTES: usize = 64 << 10;

/// What the broker said about itself in CONNACK.
#[derive(Clone, Debug)]
pub struct ServerLimits {
    pub receive_maximum: u16,
    pub packet_bytes_max: u32,
    pub qos_max: u8,
    pub retain_available: bool,
    pub wildcard_available: bool,
    pub topic_alias_maximum: u16,
}

/// Packets are collected in `outgoing` and go out before anything is waited for.
#[derive(Debug)]
pub struct Connection {
    stream: Stream,
    pub version: ProtocolVersion,
    pub client_id: String,
    pub limits: ServerLimits,
    pub session_present: bool,
    debug: bool,
    keep_alive: Option<Duration>,
    stop: StopFlag,
    received: Vec<u8>,
    /// Bytes of `received` that have been decoded.
    decoded: usize,
    outgoing: Vec<u8>,
    sent_at: Instant,
    ping_sent_at: Option<Instant>,
}

impl Connection {
    /// Connects and waits for CONNACK.
    ///
    /// # Errors
    /// The network fails, or the broker refuses.
    pub fn open(options: &ConnectOptions, stop: &StopFlag) -> Result<Self, ClientError> {
        let (stream, address) = Stream::connect(&options.host, options.port, options.tls.as_ref())?;
        let mut connection = Self {
            stream,
            version: options.version,
            client_id: options.client_id.clone(),
            limits: ServerLimits {
                receive_maximum: u16::MAX,
                packet_bytes_max: u32::MAX,
                qos_max: 2,
                retain_available: true,
                wildcard_available: true,
                topic_alias_maximum: 0,
            },
            session_present: false,
            debug: options.debug,
            keep_alive: seconds(options.keep_alive_s),
            stop: stop.clone(),
            received: Vec::new(),
            decoded: 0,
            outgoing: Vec::new(),
            sent_at: Instant::now(),
            ping_sent_at: None,
        };
        connection.debug(|| "sending CONNECT".to_owned());
        wire::connect(options, &mut connection.outgoing);
        connection.on_connect_sent(&address)?;
        Ok(connection)
    }

    fn on_connect_sent(&mut self, address: &str) -> Result<(), ClientError> {
        let answer = match self.receive(Some(Instant::now() + CONNECT_TIMEOUT)) {
            Err(ClientError::Protocol(_)) if self.received.starts_with(&TLS_ALERT) => {
                let address = address.to_owned();
                return Err(ClientError::AnswersInTls { address });
            }
            answer => answer?,
        };
        let connack = match answer {
            Some(Incoming::ConnAck(connack)) => connack,
            Some(other) => return Err(ClientError::Unexpected(other.name())),
            None => {
                let address = address.to_owned();
                return Err(ClientError::NoConnAck { address });
            }
        };
        self.debug(|| format!("received CONNACK ({})", reason_name(connack.reason)));
        if connack.reason.is_error() {
            return Err(ClientError::ConnectRefused {
                reason: connack.reason,
                text: connack.text,
            });
        }
        self.session_present = connack.session_present;
        self.limits = connack.limits;
        self.client_id = connack
            .client_id
            .unwrap_or_else(|| std::mem::take(&mut self.client_id));
        if let Some(keep_alive_s) = connack.server_keep_alive_s {
            self.keep_alive = seconds(keep_alive_s);
        }
        Ok(())
    }

    /// Appends a packet that `encode` writes; `what` says it to people.
    ///
    /// # Errors
    /// The broker takes no packet of that size, or the network fails.
    pub fn enqueue(
        &mut self,
        what: impl FnOnce() -> String,
        encode: impl FnOnce(&mut Vec<u8>, ProtocolVersion),
    ) -> Result<(), ClientError> {
        let start = self.outgoing.len();
        encode(&mut self.outgoing, self.version);
        let packet_bytes = self.outgoing.len() - start;
        let allowed = self.limits.packet_bytes_max;
        if packet_bytes > usize::try_from(allowed).unwrap_or(usize::MAX) {
            self.outgoing.truncate(start);
            return Err(ClientError::NotAllowed(format!(
                "the packet has {packet_bytes} bytes, the broker takes {allowed}"
            )));
        }
        self.debug(|| format!("sending {}", what()));
        if self.outgoing.len() < OUTGOING_BYTES {
            return Ok(());
        }
        self.transmit()
    }

    /// Whether the next acknowledgement may make [`Self::enqueue`] send.
    #[must_use]
    pub fn is_nearly_full(&self) -> bool {
        const ACKNOWLEDGEMENT_BYTES: usize = 16;
        self.outgoing.len() + ACKNOWLEDGEMENT_BYTES >= OUTGOING_BYTES
    }

    /// Sends what is waiting.
    ///
    /// # Errors
    /// The network fails.
    pub fn transmit(&mut self) -> Result<(), ClientError> {
        if self.outgoing.is_empty() {
            return Ok(());
        }
        let mut sent = 0;
        while sent < self.outgoing.len() {
            match self.stream.write(&self.outgoing[sent..]) {
                Ok(byte_count) => sent += byte_count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(self.why_sending_failed(error)),
            }
        }
        self.outgoing.clear();
        self.sent_at = Instant::now();
        Ok(())
    }

    /// Forgets what is waiting: acknowledgements that are not to be given.
    pub fn discard_outgoing(&mut self) {
        self.outgoing.clear();
    }

    /// A broker that closes says the reason first: it may lie unread in our socket.
    fn why_sending_failed(&mut self, error: std::io::Error) -> ClientError {
        let _ = self.stream.set_read_timeout(STOP_POLL);
        loop {
            match self.decode() {
                Ok(Some(_)) => {}
                Ok(None) => match self.read() {
                    Ok(true) => {}
                    _ => return ClientError::Network(error),
                },
                Err(reason) => return reason,
            }
        }
    }

    /// A packet that has been received already.
    ///
    /// # Errors
    /// The broker broke the protocol or ended the connection.
    pub fn poll(&mut self) -> Result<Option<Incoming>, ClientError> {
        while let Some(incoming) = self.decode()? {
            if matches!(incoming, Incoming::PingResp) {
                self.debug(|| "received PINGRESP".to_owned());
                if self.ping_sent_at.take().is_none() {
                    return Err(ClientError::Unexpected(incoming.name()));
                }
            } else {
                return Ok(Some(incoming));
            }
        }
        Ok(None)
    }

    /// Waits for a packet; `None` at the deadline. Keeps the connection alive meanwhile.
    ///
    /// # Errors
    /// As [`Self::poll`]; the network fails; the user wants to stop.
    pub fn receive(&mut self, deadline: Option<Instant>) -> Result<Option<Incoming>, ClientError> {
        loop {
            if let Some(incoming) = self.poll()? {
                return Ok(Some(incoming));
            }
            if self.stop.is_set() {
                return Err(ClientError::Stopped);
            }
            let now = Instant::now();
            if deadline.is_some_and(|deadline| deadline <= now) {
                self.transmit()?;
                return Ok(None);
            }
            let keep_alive_wait = self.keep_alive(now)?;
            self.transmit()?;
            let deadline_wait = deadline.map_or(STOP_POLL, |deadline| deadline - now);
            let wait = deadline_wait.min(keep_alive_wait).min(STOP_POLL);
            let wait = wait.max(Duration::from_millis(1));
            self.stream
                .set_read_timeout(wait)
                .map_err(ClientError::Network)?;
            self.read()?;
        }
    }

    /// Sends PINGREQ when it is time; how long to wait until the next look.
    fn keep_alive(&mut self, now: Instant) -> Result<Duration, ClientError> {
        let Some(keep_alive) = self.keep_alive else {
            return Ok(STOP_POLL);
        };
        if let Some(ping_sent_at) = self.ping_sent_at {
            let waited = now.saturating_duration_since(ping_sent_at);
            if waited > keep_alive {
                return Err(ClientError::NoPingResponse);
            }
            return Ok(STOP_POLL);
        }
        // A quarter of it is left for the way to the broker.
        let pause = keep_alive * 3 / 4;
        let idle = now.saturating_duration_since(self.sent_at);
        if idle < pause {
            return Ok(pause - idle);
        }
        self.ping_sent_at = Some(now);
        self.enqueue(|| "PINGREQ".to_owned(), wire::ping)?;
        Ok(STOP_POLL)
    }

    /// Reads once; false when nothing came in time.
    fn read(&mut self) -> Result<bool, ClientError> {
        let mut bytes = [0; 16 << 10];
        match self.stream.read(&mut bytes) {
            Ok(0) => Err(ClientError::Closed),
            Ok(byte_count) => {
                self.received.extend_from_slice(&bytes[..byte_count]);
                Ok(true)
            }
            Err(error) => match error.kind() {
                ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted => Ok(false),
                ErrorKind::ConnectionReset => Err(ClientError::Closed),
                _ => Err(ClientError::Network(error)),
            },
        }
    }

    fn decode(&mut self) -> Result<Option<Incoming>, ClientError> {
        let decoded = wire::decode(&self.received[self.decoded..], self.version)?;
        let Some((incoming, byte_count)) = decoded else {
            self.received.drain(..self.decoded);
            self.decoded = 0;
            return Ok(None);
        };
        self.decoded += byte_count;
        if let Incoming::Disconnect { reason, text } = incoming {
            self.debug(|| format!("received DISCONNECT ({})", reason_name(reason)));
            return Err(ClientError::Disconnected { reason, text });
        }
        Ok(Some(incoming))
    }

    /// Says goodbye and waits until the broker has taken everything: closing with unread bytes in
    /// our socket would reset the connection and lose what is still under way.
    pub fn close(mut self) {
        let said = self.enqueue(
            || "DISCONNECT".to_owned(),
            |out, version| {
                wire::disconnect(ReasonCode::Success, version, out);
            },
        );
        if said.and_then(|()| self.transmit()).is_err() {
            return;
        }
        let _ = self.stream.end();
        let _ = self.stream.set_read_timeout(STOP_POLL);
        let deadline = Instant::now() + CLOSE_TIMEOUT;
        while Instant::now() < deadline && self.read().is_ok() {
            self.received.clear();
        }
    }

    /// Says on standard error what happens, when the user wants to know.
    pub fn debug(&self, what: impl FnOnce() -> String) {
        if self.debug {
            let id = if self.client_id.is_empty() {
                "(unnamed)"
            } else {
                &self.client_id
            };
            say(format_args!("Client {id} {}", what()));
        }
    }
}

fn seconds(seconds: u16) -> Option<Duration> {
    (seconds > 0).then(|| Duration::from_secs(u64::from(seconds)))
}
