//! A polite client: its own small protocol state machine, which keeps its side of every handshake
//! over reconnects and checks everything that the broker sends.
//!
//! Makes and takes bytes only; `world` moves them. This file holds the state and the connection's
//! life, `publish` what the client sends, `receive` what it gets, `subscribe` the subscriptions,
//! `act` the choice of what to do next.

pub(crate) mod act;
pub(crate) mod publish;
mod receive;
pub(crate) mod rude;
mod subscribe;

use crate::auditor::Auditor;
use crate::auditor::history::{Attempt, WillFacts};
use crate::model::{Fate, Message, PAYLOAD_BYTES_MIN, payload};
use crate::swarm::{Swarm, Theme};
use crate::trace::Trace;
use crate::wire::decode::Decoder;
use crate::wire::{AckKind, ConnAck, Connect, Packet, Version, Will, encode};
use publish::Outgoing;
use ringway::base::random::Random;
use ringway::base::time::Instant;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Arguments;
use std::time::Duration;
use subscribe::Request;

/// What a client may use of its surroundings.
pub(crate) struct Context<'a> {
    pub(crate) now: Instant,
    pub(crate) auditor: &'a mut Auditor,
    pub(crate) random: &'a mut Random,
    pub(crate) swarm: &'a Swarm,
    pub(crate) trace: &'a mut Trace,
    /// The faults are over: finish what is open, start nothing new.
    pub(crate) calm: bool,
    /// Leave no session behind.
    pub(crate) farewell: bool,
}

impl Context<'_> {
    /// A line in the world's history.
    pub(crate) fn note(&mut self, what: Arguments<'_>) {
        self.trace.note(self.now, what);
    }
}

/// What stays the same for the life of a client.
#[derive(Clone, Debug)]
pub(crate) struct Profile {
    pub(crate) client_id: String,
    pub(crate) version: Version,
    pub(crate) keep_alive_s: u16,
    pub(crate) receive_maximum: Option<u16>,
    pub(crate) topic_alias_maximum: u16,
    pub(crate) maximum_packet_size: Option<u32>,
    /// Acknowledgements may wait.
    pub(crate) lazy_acks: bool,
    /// Acts by the world's script only.
    pub(crate) scripted: bool,
    /// The highest packet identifier: behind it, those that are free again are used again.
    pub(crate) packet_id_max: u16,
}

impl Profile {
    pub(crate) fn scripted(index: usize) -> Self {
        Self {
            client_id: format!("scripted-{index}"),
            version: Version::V5,
            keep_alive_s: 0,
            receive_maximum: None,
            topic_alias_maximum: 0,
            maximum_packet_size: None,
            lazy_acks: false,
            scripted: true,
            packet_id_max: u16::MAX,
        }
    }
}

/// A QoS 2 message received and not released.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Incoming {
    /// Of the payload; only compared.
    message: Option<u32>,
    received_sent: bool,
    /// When the connection began on which it came.
    since: Instant,
}

/// The client's half of the session: kept over connections.
#[derive(Debug, Default)]
struct SessionState {
    outgoing: VecDeque<Outgoing>,
    incoming: BTreeMap<u16, Incoming>,
    last_packet_id: u16,
}

/// One connection, from CONNECT on.
#[derive(Debug)]
pub(crate) struct Live {
    pub(crate) connection: usize,
    pub(crate) connected: bool,
    connect_sent: Instant,
    connack_at: Instant,
    session_present: bool,
    expiry_s: u32,
    decoder: Decoder,
    pub(crate) output: Vec<u8>,
    server_receive_maximum: u16,
    server_alias_maximum: u16,
    server_packet_bytes_max: u32,
    aliases_in: BTreeMap<u16, String>,
    aliases_out: BTreeMap<String, u16>,
    /// Identifiers of messages towards us that are not completed on this connection.
    open_in: BTreeSet<u16>,
    owed: VecDeque<(AckKind, u16)>,
    requests: BTreeMap<u16, Request>,
    /// PUBLISH and PUBREL sent on this connection, for the order of the answers.
    awaited: BTreeMap<AckKind, VecDeque<u16>>,
    /// Counts packets sent, to know what an answer says about those before.
    order: u64,
    unconfirmed: VecDeque<(u64, u32)>,
    pings: VecDeque<u64>,
    keep_alive: Duration,
    last_sent: Instant,
    disconnecting: bool,
    server_said: Option<u8>,
}

#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) index: usize,
    pub(crate) profile: Profile,
    session: SessionState,
    pub(crate) live: Option<Live>,
    pub(crate) actions_left: usize,
    /// Does not connect by itself.
    pub(crate) asleep: bool,
    subscribed: Vec<String>,
    /// Has thrown its half of the session away and does not know whether the broker did.
    awaits_clean: bool,
    /// Crashes of the broker after which it has subscribed again.
    renewed: u32,
}

impl Client {
    pub(crate) fn new(index: usize, profile: Profile) -> Self {
        Self {
            index,
            session: SessionState::default(),
            live: None,
            asleep: profile.scripted,
            actions_left: 0,
            profile,
            subscribed: Vec::new(),
            awaits_clean: false,
            renewed: 0,
        }
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.live
            .as_ref()
            .is_some_and(|live| live.connected && !live.disconnecting)
    }

    const fn v5(&self) -> bool {
        matches!(self.profile.version, Version::V5)
    }

    /// All handshakes are over, also those that an earlier connection left open [MQTT-4.4.0-1],
    /// unless the broker may have forgotten them.
    pub(crate) fn is_idle(&self, auditor: &Auditor) -> bool {
        let Some(live) = &self.live else { return false };
        let mut incoming = self.session.incoming.values();
        live.connected
            && live.output.is_empty()
            && live.owed.is_empty()
            && live.requests.is_empty()
            && live.pings.is_empty()
            && live.open_in.is_empty()
            && self.session.outgoing.is_empty()
            && incoming.all(|it| auditor.is_undone(it.since))
    }

    /// What is still open, for a report.
    pub(crate) fn open_work(&self) -> String {
        let Some(live) = &self.live else {
            return "not connected".into();
        };
        format!(
            "connected {} owed {:?} requests {:?} pings {:?} open_in {:?} outgoing {:?} \
             incoming {:?}",
            live.connected,
            live.owed,
            live.requests,
            live.pings,
            live.open_in,
            self.session.outgoing,
            self.session.incoming
        )
    }

    /// Whether the client must not resume a session now.
    pub(crate) fn must_start_clean(&self, context: &Context<'_>) -> bool {
        let history = &context.auditor.receivers[self.index].history;
        let untold = self.profile.version == Version::V31 && history.may_be_gone(context.now);
        untold || self.awaits_clean || history.is_uncertain(context.now)
    }

    /// The first packet on a new connection.
    pub(crate) fn connect(
        &mut self,
        context: &mut Context<'_>,
        connection: usize,
        clean_start: bool,
        expiry_s: u32,
        will: Option<Will>,
    ) {
        let now = context.now;
        let expiry_s = match self.profile.version {
            Version::V5 => expiry_s,
            _ if clean_start => 0,
            _ => u32::MAX,
        };
        if clean_start {
            self.forget_session(context);
            self.awaits_clean = true;
        }
        let connect = Connect {
            version: self.profile.version,
            clean_start,
            keep_alive_s: self.profile.keep_alive_s,
            client_id: self.profile.client_id.clone(),
            session_expiry_s: expiry_s,
            receive_maximum: self.profile.receive_maximum,
            maximum_packet_size: self.profile.maximum_packet_size,
            topic_alias_maximum: self.profile.topic_alias_maximum,
            will,
        };
        let attempt = Attempt {
            connection,
            sent: now,
            clean_start,
            expiry_s: expiry_s.min(context.swarm.limits.session_expiry_max_s),
            will: self.register_will(context, connect.will.as_ref()),
            confirmed: None,
            disconnect: None,
            ended: None,
        };
        let index = self.index;
        let version = self.profile.version;
        context.note(format_args!(
            "    client {index} > CONNECT {version:?} clean {clean_start} expiry {expiry_s} \
                 will {:?}",
            attempt.will
        ));
        context.auditor.on_connect_sent(self.index, attempt);
        let mut live = Live::new(connection, now, expiry_s, &self.profile);
        encode::connect(&connect, &mut live.output);
        self.live = Some(live);
    }

    fn register_will(&self, context: &mut Context<'_>, will: Option<&Will>) -> Option<WillFacts> {
        let will = will?;
        let (topic, bytes) = (will.topic.clone(), will.payload.len());
        let message = context.auditor.add_message(Message {
            retain: will.retain,
            will: Some(Fate::Pending),
            ..Message::new(self.index, topic, will.qos, bytes, context.now)
        });
        Some(WillFacts {
            message,
            delay_s: if self.v5() { will.delay_s } else { 0 },
        })
    }

    /// A will for the next CONNECT.
    pub(crate) fn draw_will(&self, context: &mut Context<'_>) -> Will {
        let features = &context.swarm.features;
        let bytes = PAYLOAD_BYTES_MIN + context.random.below(20) as usize;
        let delay = features.will_delay && self.v5() && context.random.chance(1, 2);
        Will {
            topic: format!("w/{}", self.index),
            payload: payload(context.auditor.next_message(), bytes),
            qos: context.random.below(u64::from(features.qos_max) + 1) as u8,
            retain: features.retained && context.random.chance(1, 3),
            delay_s: if delay {
                1 + context.random.below(6) as u32
            } else {
                0
            },
        }
    }

    /// DISCONNECT; the caller closes the socket behind it.
    pub(crate) fn disconnect(
        &mut self,
        context: &mut Context<'_>,
        code: u8,
        expiry_s: Option<u32>,
    ) {
        let v5 = self.v5();
        let Some(live) = &mut self.live else { return };
        let (code, expiry_s) = if v5 { (code, expiry_s) } else { (0, None) };
        // [MQTT-3.14.2-2]
        let expiry_s = expiry_s.filter(|_| live.expiry_s > 0);
        let index = self.index;
        context.note(format_args!(
            "    client {index} > DISCONNECT {code} expiry {expiry_s:?}"
        ));
        encode::disconnect(code, expiry_s, self.profile.version, &mut live.output);
        live.disconnecting = true;
        let capped = expiry_s.map(|it| it.min(context.swarm.limits.session_expiry_max_s));
        context
            .auditor
            .on_disconnect_sent(self.index, live.connection, code, capped);
    }

    /// The client's view of the connection ends here, whatever the socket still does.
    pub(crate) fn forget_connection(&mut self) -> Option<usize> {
        self.live.take().map(|live| live.connection)
    }

    /// The broker closed the connection. Returns what DISCONNECT said before.
    pub(crate) fn on_end(&mut self, connection: usize) -> Option<u8> {
        let live = self.live.take_if(|live| live.connection == connection)?;
        live.server_said
    }

    pub(crate) fn on_bytes(
        &mut self,
        context: &mut Context<'_>,
        connection: usize,
        bytes: &[u8],
    ) -> Result<(), String> {
        let version = self.profile.version;
        match &mut self.live {
            Some(live) if live.connection == connection => live.decoder.feed(bytes),
            _ => return Ok(()),
        }
        while let Some(live) = &mut self.live
            && let Some((packet, length)) = live.decoder.next(version)?
        {
            let maximum = self
                .profile
                .maximum_packet_size
                .filter(|_| version == Version::V5);
            if maximum.is_some_and(|maximum| length > maximum as usize) {
                // [MQTT-3.1.2-24]
                return Err(format!(
                    "packet of {length} bytes exceeds the client's maximum"
                ));
            }
            self.on_packet(context, packet)?;
        }
        if !self.profile.lazy_acks || context.calm {
            self.send_owed(context, usize::MAX);
        }
        Ok(())
    }

    fn on_packet(&mut self, context: &mut Context<'_>, packet: Packet) -> Result<(), String> {
        let index = self.index;
        context.note(format_args!("    client {index} < {packet}"));
        let Some(live) = &mut self.live else {
            return Ok(());
        };
        if live.server_said.is_some() {
            return Err(format!("{packet:?} behind DISCONNECT"));
        }
        match packet {
            Packet::ConnAck(conn_ack) => self.on_conn_ack(context, &conn_ack),
            // [MQTT-3.2.0-1]
            packet if !live.connected => Err(format!("{packet:?} before CONNACK")),
            Packet::Publish(publish) => self.on_publish(context, publish),
            Packet::Ack {
                kind: AckKind::PubRel,
                packet_id,
                code,
            } => self.on_pub_rel(context, packet_id, code),
            Packet::Ack {
                kind,
                packet_id,
                code,
            } => self.on_answer(context, kind, packet_id, code),
            Packet::SubAck { packet_id, codes } => self.on_sub_ack(context, packet_id, &codes),
            Packet::UnsubAck { packet_id, codes } => self.on_unsub_ack(context, packet_id, &codes),
            Packet::PingResp => {
                let order = live.pings.pop_front().ok_or("PINGRESP without PINGREQ")?;
                live.confirm(order, context.auditor);
                Ok(())
            }
            Packet::Disconnect { code } => {
                live.server_said = Some(code);
                Ok(())
            }
        }
    }

    fn on_conn_ack(&mut self, context: &mut Context<'_>, conn_ack: &ConnAck) -> Result<(), String> {
        let limits = &context.swarm.limits;
        let Some(live) = &mut self.live else {
            return Ok(());
        };
        let refused = match self.profile.version {
            Version::V5 => 0x97,
            _ => 3,
        };
        if !live.connected && conn_ack.code == refused && context.swarm.theme == Theme::Narrow {
            // No place for one more session.
            return Ok(());
        }
        if live.connected || conn_ack.code != 0 {
            return Err(format!("unexpected {conn_ack:?}"));
        }
        let now = context.now;
        let history = &context.auditor.receivers[self.index].history;
        let session_present = match self.profile.version {
            Version::V31 if conn_ack.session_present => return Err("flag of 3.1.1".into()),
            Version::V31 => history.is_present(live.connection, now),
            _ => conn_ack.session_present,
        };
        context
            .auditor
            .on_connack(self.index, live.connection, now, session_present)?;
        context.auditor.receivers[self.index].packet_bytes_max = self
            .profile
            .maximum_packet_size
            .filter(|_| self.profile.version == Version::V5);
        live.connected = true;
        self.awaits_clean = false;
        live.connack_at = now;
        live.session_present = session_present;
        if self.profile.version == Version::V5 {
            let expected = live.expiry_s.min(limits.session_expiry_max_s);
            if conn_ack.session_expiry_s.unwrap_or(live.expiry_s) != expected {
                return Err(format!("session expiry, expected {expected}: {conn_ack:?}"));
            }
            live.server_receive_maximum = conn_ack.receive_maximum;
            live.server_alias_maximum = conn_ack.topic_alias_maximum;
            live.server_packet_bytes_max = conn_ack.maximum_packet_size.unwrap_or(u32::MAX);
        }
        let keep_alive_s = conn_ack
            .server_keep_alive_s
            .unwrap_or(self.profile.keep_alive_s);
        live.keep_alive = Duration::from_secs(keep_alive_s.into());
        if !session_present {
            self.forget_session(context);
        }
        self.resend(context);
        self.renew_subscriptions(context);
        Ok(())
    }

    /// Where a crash may bring an earlier session back, its packet identifiers are not used again:
    /// the broker would take a QoS 2 message for the repetition of one that it has not forgotten.
    fn forget_session(&mut self, context: &Context<'_>) {
        let last_packet_id = match context.auditor.undoes {
            true => self.session.last_packet_id,
            false => 0,
        };
        self.session = SessionState {
            last_packet_id,
            ..SessionState::default()
        };
        self.subscribed.clear();
    }
}

impl Live {
    fn new(connection: usize, now: Instant, expiry_s: u32, profile: &Profile) -> Self {
        Self {
            connection,
            connected: false,
            connect_sent: now,
            connack_at: now,
            session_present: false,
            expiry_s,
            decoder: Decoder::default(),
            output: Vec::new(),
            server_receive_maximum: u16::MAX,
            server_alias_maximum: 0,
            server_packet_bytes_max: u32::MAX,
            aliases_in: BTreeMap::new(),
            aliases_out: BTreeMap::new(),
            open_in: BTreeSet::new(),
            owed: VecDeque::new(),
            requests: BTreeMap::new(),
            awaited: BTreeMap::new(),
            order: 0,
            unconfirmed: VecDeque::new(),
            pings: VecDeque::new(),
            keep_alive: Duration::from_secs(profile.keep_alive_s.into()),
            last_sent: now,
            disconnecting: false,
            server_said: None,
        }
    }

    fn next_order(&mut self) -> u64 {
        self.order += 1;
        self.order
    }

    /// The broker has handled the packet with this number, and so all before it.
    fn confirm(&mut self, order: u64, auditor: &mut Auditor) {
        while let Some((sent, message)) = self.unconfirmed.front().copied()
            && sent < order
        {
            auditor.on_processed(message);
            self.unconfirmed.pop_front();
        }
    }
}
