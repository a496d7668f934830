//! One network connection's protocol state: what it negotiated, its aliases, the acknowledgements
//! owed to it, the bytes that wait for its socket.
//!
//! Knows no other connection, no routing and no core. Lives at the shard of the client's session
//! (until CONNECT is complete: at the shard that accepted it) and is called by that shard only.
#![forbid(unsafe_code)]

pub mod acknowledge;
pub mod alias;
pub mod handshake;
pub mod open_lookups;
pub mod origin;
#[cfg(test)]
mod tests;
pub mod transmit;

use crate::base::time::Instant;
use crate::base::wheel::TimerId;
use crate::codec::{PACKET_BYTES_MAX, ProtocolVersion, QosLevel, SharedMessage};
use acknowledge::PendingAcks;
use alias::{InboundAliases, OutboundAliases};
use handshake::Negotiated;
use open_lookups::OpenLookups;
use origin::ConnectionOrigin;
use std::rc::Rc;
use std::time::Duration;
use transmit::{Transmit, TransmitPool};

/// How far the connection is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    /// Nothing but CONNECT is allowed [MQTT-3.1.0-1].
    AwaitingConnect,
    /// CONNECT named an authentication method, and AUTH packets decide about CONNACK.
    Authenticating,
    /// CONNACK was sent; the connection uses the session with this index.
    Connected { session: u32 },
}

/// One network connection.
#[derive(Debug)]
pub struct Connection {
    pub origin: ConnectionOrigin,
    pub phase: Phase,
    pub version: ProtocolVersion,
    /// No read is wanted: the socket's bytes stay in the kernel until a resume.
    pub paused: bool,
    /// In the shard's list of connections with bytes to send.
    pub dirty: bool,
    /// In the shard's list of connections to try again.
    pub resuming: bool,
    /// CONNECT asked for a session expiry; only then may DISCONNECT set one (section 3.14.2.2.2).
    pub connected_with_expiry: bool,
    /// The client takes Reason Strings where it does not ask for none [MQTT-3.1.2-29].
    pub wants_reasons: bool,
    /// A Mosquitto bridge of 3.x.
    pub is_bridge: bool,
    /// Payloads that say they are UTF-8 are looked at.
    pub check_payload_format: bool,
    /// PUBACK and PUBREC wait until other shards and the journal have what a message caused.
    pub awaits_effects: bool,
    /// Highest QoS taken from the client, and granted to it.
    pub qos_max: QosLevel,
    /// QoS 2 messages that earlier connections left unreleased: they do not count against the
    /// Receive Maximum of this one.
    pub carried_inbound: u16,
    /// The client's Receive Maximum, or our own limit if smaller.
    pub window: u16,
    /// The client's Maximum Packet Size; what the format allows, if it has none.
    pub client_packet_bytes_max: u32,
    /// Zero: no keep alive.
    pub keep_alive: Duration,
    /// When the last complete packet came [MQTT-3.1.2-22].
    pub last_packet: Instant,
    /// When the socket last made progress while it could not take all; `None`: it takes all.
    pub blocked_since: Option<Instant>,
    /// Fires at the connection's earliest deadline or before.
    pub timer: Option<TimerId>,
    /// Bytes of an incomplete packet, or received while paused.
    pub partial: Vec<u8>,
    /// Total length of the incomplete packet in `partial` as far as it is known.
    pub partial_needed: usize,
    /// Stands before all topics of the listener's clients, unseen by them.
    pub mount_point: Option<Rc<str>>,
    pub inbound_aliases: Option<Box<InboundAliases>>,
    pub outbound_aliases: Option<Box<OutboundAliases>>,
    pub pending_acks: PendingAcks,
    /// Bytes for the socket that the driver has not taken yet.
    send: Option<Box<Transmit>>,
    /// Bytes that the driver has taken and not reported as sent.
    transmitting: Option<u32>,
    /// In the `paused` list of a full link.
    pub waits_for_link: bool,
    /// In the `paused` list of the journal.
    pub waits_for_journal: bool,
    /// CONNACK waits for the journal: nothing is sent before it, and nothing is read.
    pub awaits_conn_ack: bool,
    /// Retained lookups asked for and not finished.
    pub lookups: Option<Box<OpenLookups>>,
}

impl Connection {
    #[must_use]
    pub fn new(now: Instant, origin: ConnectionOrigin) -> Self {
        Self {
            origin,
            phase: Phase::AwaitingConnect,
            version: ProtocolVersion::V5,
            paused: false,
            dirty: false,
            resuming: false,
            connected_with_expiry: false,
            wants_reasons: false,
            is_bridge: false,
            check_payload_format: false,
            awaits_effects: true,
            qos_max: QosLevel::ExactlyOnce,
            carried_inbound: 0,
            window: 0,
            client_packet_bytes_max: PACKET_BYTES_MAX,
            keep_alive: Duration::ZERO,
            last_packet: now,
            blocked_since: None,
            timer: None,
            partial: Vec::new(),
            partial_needed: 0,
            mount_point: None,
            inbound_aliases: None,
            outbound_aliases: None,
            pending_acks: PendingAcks::default(),
            send: None,
            transmitting: None,
            waits_for_link: false,
            waits_for_journal: false,
            awaits_conn_ack: false,
            lookups: None,
        }
    }

    /// CONNECT was accepted.
    pub fn establish(&mut self, session: u32, negotiated: &Negotiated) {
        assert!(self.session().is_none());
        self.phase = Phase::Connected { session };
        self.version = negotiated.version;
        self.window = negotiated.window;
        self.client_packet_bytes_max = negotiated.client_packet_bytes_max;
        self.keep_alive = Duration::from_secs(u64::from(negotiated.keep_alive_s));
        self.connected_with_expiry = negotiated.session_expiry_asked;
        self.wants_reasons = negotiated.wants_reasons;
        self.is_bridge = negotiated.is_bridge;
        self.check_payload_format = negotiated.check_payload_format;
        self.awaits_effects = negotiated.awaits_effects;
        self.qos_max = negotiated.qos_max;
        if negotiated.version == ProtocolVersion::V5 && negotiated.topic_alias_maximum > 0 {
            self.inbound_aliases = Some(Box::new(InboundAliases::new(
                negotiated.topic_alias_maximum,
            )));
        }
        if negotiated.outbound_topic_alias_maximum > 0 {
            self.outbound_aliases = Some(Box::new(OutboundAliases::new(
                negotiated.outbound_topic_alias_maximum,
            )));
        }
    }

    #[must_use]
    pub const fn session(&self) -> Option<u32> {
        match self.phase {
            Phase::Connected { session } => Some(session),
            Phase::AwaitingConnect | Phase::Authenticating => None,
        }
    }

    /// Bytes that wait for the socket, whoever holds them.
    #[must_use]
    pub fn send_bytes(&self) -> usize {
        self.send.as_ref().map_or(0, |transmit| transmit.bytes())
            + self.transmitting.unwrap_or(0) as usize
    }

    /// The end of the bytes to send.
    pub(crate) fn send_queue(&mut self, pool: &mut TransmitPool) -> &mut Transmit {
        self.send.get_or_insert_with(|| pool.take())
    }

    /// How many bytes of a topic name are kept from the client. A subscription that it made through
    /// another listener may match names that do not begin with the mount point.
    #[must_use]
    pub fn mount_bytes(&self, topic_name: &[u8]) -> u16 {
        match &self.mount_point {
            Some(mount_point) if topic_name.starts_with(mount_point.as_bytes()) => {
                u16::try_from(mount_point.len()).unwrap_or(0)
            }
            _ => 0,
        }
    }

    /// Hands the bytes to the driver, unless it still holds some.
    pub fn begin_transmit(&mut self) -> Option<Box<Transmit>> {
        if self.transmitting.is_some() {
            return None;
        }
        let transmit = self.send.take()?;
        self.transmitting = Some(u32::try_from(transmit.bytes()).unwrap_or(u32::MAX));
        Some(transmit)
    }

    /// The driver's bytes are sent. True when more wait.
    pub const fn end_transmit(&mut self) -> bool {
        self.transmitting = None;
        self.blocked_since = None;
        self.send.is_some()
    }

    /// What the driver has not taken, when the connection ends.
    pub const fn take_unsent(&mut self) -> Option<Box<Transmit>> {
        self.send.take()
    }

    /// Messages that the bytes to send hold.
    pub(crate) fn unsent_messages(&self) -> impl Iterator<Item = &SharedMessage> {
        self.send.iter().flat_map(|transmit| transmit.messages())
    }

    /// The next time at which something about this connection may be due.
    #[must_use]
    pub fn next_deadline(
        &self,
        connect_timeout: Duration,
        send_timeout: Duration,
    ) -> Option<Instant> {
        let silence = match self.phase {
            Phase::AwaitingConnect | Phase::Authenticating => {
                Some(self.last_packet + connect_timeout)
            }
            Phase::Connected { .. } => self.keep_alive_deadline(),
        };
        let stall = self.blocked_since.map(|since| since + send_timeout);
        match (silence, stall) {
            (Some(silence), Some(stall)) => Some(silence.min(stall)),
            (silence, stall) => silence.or(stall),
        }
    }

    /// One and a half times the keep alive after the last packet [MQTT-3.1.2-22].
    #[must_use]
    pub fn keep_alive_deadline(&self) -> Option<Instant> {
        (self.keep_alive > Duration::ZERO).then(|| self.last_packet + self.keep_alive * 3 / 2)
    }

    /// Gives memory back that a burst needed.
    pub fn shrink(&mut self) {
        self.pending_acks.shrink();
        if self.partial.is_empty() {
            self.partial = Vec::new();
        }
    }
}

// An idle connection holds this and nothing on the heap; the memory budget in ARCHITECTURE.md
// counts on it.
const _: () = assert!(size_of::<Connection>() <= 288);
