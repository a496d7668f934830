//! CONNECT: to the home shard, take-over, clean start, resumption, CONNACK.

use super::Shard;
use super::client_key::ClientKey;
use super::input::Flow;
use super::interface::CloseCause;
use super::journal::Waiter;
use super::mount::mounted_name;
use super::snapshot::will_fields;
use super::sys::is_reserved;
use crate::base::ids::ConnectionId;
use crate::base::time::Instant;
use crate::codec::{
    ConnAck, ConnAckProperties, Connect, PACKET_BYTES_MAX, Packet, ProtocolError, ProtocolVersion,
    RawPacket, ReasonCode, answer_version, decode_connect, encode_conn_ack, encoded_bytes,
};
use crate::config::limits::{Limits, Redirect};
use crate::connection::handshake::{Negotiated, conn_ack_properties, negotiate, wants_reasons};
use crate::journal::Record;
use crate::session::Session;
use crate::session::will::Will;
use crate::topic::names::validate_topic_name;

/// First byte of a CONNECT packet; the flags are reserved [MQTT-3.1.2-3].
const CONNECT_FIRST_BYTE: u8 = 0x10;
/// Characters of an assigned client identifier after its prefix: 100 bits of the generator.
const ASSIGNED_CHARACTERS: usize = 20;
const ASSIGNED_ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// Whom a refusal is said to.
#[derive(Clone, Copy)]
pub(super) struct Refused {
    /// As far as it could be read.
    version: Option<ProtocolVersion>,
    wants_reasons: bool,
    packet_bytes_max: usize,
}

impl Refused {
    /// Its CONNECT could not be read to the end.
    pub(super) const fn unread(version: Option<ProtocolVersion>) -> Self {
        Self {
            version,
            wants_reasons: false,
            packet_bytes_max: PACKET_BYTES_MAX as usize,
        }
    }

    pub(super) fn of(connect: &Connect<'_>) -> Self {
        let packet_bytes_max = connect.properties.maximum_packet_size;
        Self {
            version: Some(connect.version),
            wants_reasons: wants_reasons(connect),
            packet_bytes_max: packet_bytes_max.unwrap_or(PACKET_BYTES_MAX) as usize,
        }
    }

    /// Appends the CONNACK; in 3.x there is one only if there is a return code for the reason.
    fn answer(&self, error: ProtocolError, server_reference: &str, out: &mut Vec<u8>) {
        let mut conn_ack = ConnAck {
            session_present: false,
            reason_code: error.reason_code,
            properties: ConnAckProperties::default(),
        };
        let version = self.version.unwrap_or(ProtocolVersion::V311);
        if version == ProtocolVersion::V5 {
            let is_redirect = matches!(
                error.reason_code,
                ReasonCode::UseAnotherServer | ReasonCode::ServerMoved
            );
            let properties = &mut conn_ack.properties;
            properties.server_reference =
                (is_redirect && !server_reference.is_empty()).then_some(server_reference);
            properties.reason_string = self.wants_reasons.then_some(error.context);
            // What explains goes first when the client takes little [MQTT-3.2.2-19].
            if self.is_too_large(&conn_ack) {
                conn_ack.properties.reason_string = None;
            }
            if self.is_too_large(&conn_ack) {
                conn_ack.properties.server_reference = None;
            }
            if self.is_too_large(&conn_ack) {
                return;
            }
        }
        encode_conn_ack(&conn_ack, version, out);
    }

    fn is_too_large(&self, conn_ack: &ConnAck<'_>) -> bool {
        let packet = Packet::ConnAck(*conn_ack);
        encoded_bytes(&packet, ProtocolVersion::V5) > self.packet_bytes_max
    }
}

/// What an accepted client is told.
struct Granted<'a> {
    client_id: &'a str,
    /// The identifier is news to the client.
    is_assigned: bool,
    session_present: bool,
    /// The last word of the authentication method; empty: nothing.
    authentication_data: &'a [u8],
}

impl Granted<'_> {
    /// Only for a client that asked for it [MQTT-3.1.2-28].
    fn response_information(&self, negotiated: &Negotiated, limits: &Limits) -> Option<String> {
        let wanted = negotiated.wants_response_information;
        (wanted && !limits.response_information.is_empty())
            .then(|| limits.response_information.replace("%c", self.client_id))
    }
}

impl Shard {
    /// The first packet of a connection [MQTT-3.1.0-1].
    pub(super) fn on_connect(
        &mut self,
        now: Instant,
        id: ConnectionId,
        raw: RawPacket<'_>,
    ) -> Flow {
        if raw.first_byte != CONNECT_FIRST_BYTE {
            self.counters.protocol_errors += 1;
            let cause = CloseCause::ProtocolError("first packet is not CONNECT");
            self.close_connection(now, id, cause);
            return Flow::Closed;
        }
        let version = answer_version(raw);
        let connect = match decode_connect(raw) {
            Ok(connect) => connect,
            Err(error) => return self.refuse_connect(now, id, Refused::unread(version), error),
        };
        let negotiated = match self.check_connect(id, &connect) {
            Ok(negotiated) => negotiated,
            Err(error) => return self.refuse_connect(now, id, Refused::of(&connect), error),
        };
        let home = self
            .home_key
            .home(connect.client_id.as_bytes(), self.shard_count);
        if home != self.id && !connect.client_id.is_empty() {
            return Flow::HandOver(home);
        }
        if connect.properties.authentication_method.is_some() {
            return self.begin_authentication(now, id, &connect, raw);
        }
        self.admit(now, id, &connect, &negotiated, &[])
    }

    /// The client is who it says, and is told so with the method's last data [MQTT-4.12.0-5].
    pub(super) fn accept_authenticated(
        &mut self,
        now: Instant,
        id: ConnectionId,
        connect: &Connect<'_>,
        data: &[u8],
    ) -> Flow {
        match self.check_connect(id, connect) {
            Ok(negotiated) => self.admit(now, id, connect, &negotiated, data),
            Err(error) => self.refuse_connect(now, id, Refused::of(connect), error),
        }
    }

    fn admit(
        &mut self,
        now: Instant,
        id: ConnectionId,
        connect: &Connect<'_>,
        negotiated: &Negotiated,
        authentication_data: &[u8],
    ) -> Flow {
        let assigned;
        let is_assigned = connect.client_id.is_empty();
        let client_id = if is_assigned {
            assigned = self.assign_client_id();
            &assigned
        } else {
            connect.client_id
        };
        let granted = Granted {
            client_id,
            is_assigned,
            session_present: false,
            authentication_data,
        };
        self.accept_connect(now, id, connect, negotiated, granted)
    }

    fn check_connect(
        &self,
        id: ConnectionId,
        connect: &Connect<'_>,
    ) -> Result<Negotiated, ProtocolError> {
        let listener = self.connection(id).map_or(0, |it| it.origin.listener);
        self.check_redirect()?;
        self.check_will(connect)?;
        self.check_method(connect)?;
        negotiate(connect, &self.limits, self.limits.listener(listener))
    }

    fn check_will(&self, connect: &Connect<'_>) -> Result<(), ProtocolError> {
        let Some(will) = &connect.will else {
            return Ok(());
        };
        let valid = validate_topic_name(will.topic, self.limits.topic_levels_max).is_ok();
        if valid && !is_reserved(will.topic) {
            return Ok(());
        }
        Err(ProtocolError {
            reason_code: ReasonCode::TopicNameInvalid,
            context: "invalid will topic",
        })
    }

    /// CONNACK with the reason, as far as the version has a word for it, and the end
    /// [MQTT-3.2.2-7].
    pub(super) fn refuse_connect(
        &mut self,
        now: Instant,
        id: ConnectionId,
        refused: Refused,
        error: ProtocolError,
    ) -> Flow {
        self.counters.connects_refused += 1;
        let reference = self.limits.server_reference.clone();
        self.enqueue(id, |out| refused.answer(error, &reference, out));
        self.close_connection(now, id, CloseCause::ConnectRefused(error.context));
        Flow::Closed
    }

    /// The configuration may send all clients elsewhere (section 4.11).
    const fn check_redirect(&self) -> Result<(), ProtocolError> {
        let reason_code = match self.limits.redirect {
            Redirect::No => return Ok(()),
            Redirect::AnotherServer => ReasonCode::UseAnotherServer,
            Redirect::Moved => ReasonCode::ServerMoved,
        };
        Err(ProtocolError {
            reason_code,
            context: "this server takes no clients",
        })
    }

    fn accept_connect(
        &mut self,
        now: Instant,
        id: ConnectionId,
        connect: &Connect<'_>,
        negotiated: &Negotiated,
        mut granted: Granted<'_>,
    ) -> Flow {
        let client_id = granted.client_id;
        let before = self.journal.sequence();
        self.take_over(now, client_id, negotiated.clean_start);
        let resumed = self.directory.find(&self.sessions, client_id);
        let session = match resumed {
            Some(session) => session,
            None => match self.create_session(client_id) {
                Some(session) => session,
                None => {
                    let error = ProtocolError {
                        reason_code: ReasonCode::QuotaExceeded,
                        context: "session.max_sessions",
                    };
                    return self.refuse_connect(now, id, Refused::of(connect), error);
                }
            },
        };
        self.attach(id, session, connect, negotiated);
        granted.session_present = resumed.is_some();
        self.log_connect(session, resumed.is_some());
        // Session Present 0 also says that an earlier session is gone for good: its end may have
        // been asked for on a connection that did not live to hear of it.
        let is_end_open = resumed.is_none() && self.is_session_end_open(granted.client_id);
        let must_wait =
            is_end_open || self.journal.sequence() > before && !self.journal.all_is_durable();
        if !self.send_conn_ack(id, connect, negotiated, &granted, must_wait) {
            self.close_connection(
                now,
                id,
                CloseCause::ConnectRefused("CONNACK exceeds the client's maximum packet size"),
            );
            return Flow::Closed;
        }
        self.counters.connects_accepted += 1;
        self.counters.packets_received += 1;
        if let Some(connection) = self.connection_mut(id) {
            connection.last_packet = now;
        }
        self.rearm_connection(id);
        if !must_wait {
            self.resume_session(now, session);
        }
        Flow::Done
    }

    /// An earlier session of the client is over, but not yet on the disk.
    fn is_session_end_open(&mut self, client_id: &str) -> bool {
        let Self {
            session_ends,
            journal,
            home_key,
            ..
        } = self;
        session_ends.is_open(|| ClientKey::new(home_key, client_id), journal)
    }

    /// What CONNECT did to a session that outlives the process. A new one does if it has an expiry.
    fn log_connect(&mut self, session_index: u32, was_resumed: bool) {
        let Self {
            sessions, journal, ..
        } = self;
        let Some(it) = sessions.get_mut(session_index) else {
            return;
        };
        let expiry_interval_s = it.expiry_interval_s;
        if !was_resumed && expiry_interval_s > 0 && journal.is_on() {
            it.journal_number = journal.next_session;
            journal.next_session += 1;
            journal.append(&Record::SessionBegin {
                session: it.journal_number,
                expiry_interval_s,
                disconnected_at_ms: 0,
                client_id: &it.client_id,
            });
        }
        let session = it.journal_number;
        if was_resumed {
            let connected = Record::SessionConnected {
                session,
                expiry_interval_s,
            };
            journal.about(session, &connected);
            journal.about(session, &Record::WillCleared { session });
        }
        if let Some(will) = &it.will {
            let will = will_fields(will);
            journal.about(session, &Record::Will { session, will });
        }
    }

    /// What CONNECT did is durable: the client is told, and the session goes on.
    pub(super) fn on_connect_durable(&mut self, now: Instant, id: ConnectionId, packet: &[u8]) {
        let Some(connection) = self.connection_mut(id) else {
            return;
        };
        connection.awaits_conn_ack = false;
        let session = connection.session();
        self.enqueue(id, |out| out.extend_from_slice(packet));
        if let Some(session) = session {
            self.resume_session(now, session);
        }
        self.resume_later(id);
    }

    /// Ends what the new connection replaces: an older connection of the same client
    /// [MQTT-3.1.4-3], and with Clean Start the session itself [MQTT-3.1.2-4].
    fn take_over(&mut self, now: Instant, client_id: &str, clean_start: bool) {
        let Some(session) = self.directory.find(&self.sessions, client_id) else {
            return;
        };
        let older = self
            .sessions
            .get(session)
            .and_then(|session| session.connection);
        if let Some(older) = older {
            self.counters.sessions_taken_over += 1;
            self.say_goodbye(older, ReasonCode::SessionTakenOver, "");
            self.close_connection(now, older, CloseCause::SessionTakenOver);
        }
        // The session may have ended with its connection.
        if clean_start && let Some(session) = self.directory.find(&self.sessions, client_id) {
            self.end_session(now, session);
        }
    }

    fn create_session(&mut self, client_id: &str) -> Option<u32> {
        let Ok((session, _)) = self.sessions.insert(Session::new(client_id, 0)) else {
            self.counters.limits_reached += 1;
            return None;
        };
        self.directory.insert(&self.sessions, session);
        let maximum = &mut self.sys.clients_maximum;
        *maximum = (*maximum).max(self.sessions.len() as u64);
        Some(session)
    }

    /// Ties connection and session together. A will that waited for its delay is gone
    /// [MQTT-3.1.3-9].
    fn attach(
        &mut self,
        id: ConnectionId,
        session_index: u32,
        connect: &Connect<'_>,
        negotiated: &Negotiated,
    ) {
        let mount_point = self.mount_point(id);
        let Self {
            sessions,
            connections,
            wheel,
            ..
        } = self;
        let Some(session) = sessions.get_mut(session_index) else {
            return;
        };
        let Some(connection) = connections.get_named_mut(id.index, id.generation) else {
            return;
        };
        if let Some(timer) = session.timer.take() {
            wheel.cancel(timer);
        }
        session.on_connected(id);
        connection.carried_inbound = u16::try_from(session.inbound.len()).unwrap_or(u16::MAX);
        session.expiry_interval_s = negotiated.session_expiry_interval_s;
        connection.mount_point = mount_point;
        session.will = will_of(connect, connection.mount_point.as_deref());
        connection.establish(session_index, negotiated);
        self.clients_connected += 1;
        self.set_shared_online(session_index, true);
    }

    /// False: the client's Maximum Packet Size leaves no room for it [MQTT-3.1.2-24]. `must_wait`:
    /// it leaves when what CONNECT did is durable.
    fn send_conn_ack(
        &mut self,
        id: ConnectionId,
        connect: &Connect<'_>,
        negotiated: &Negotiated,
        granted: &Granted<'_>,
        must_wait: bool,
    ) -> bool {
        let Self {
            connections,
            journal,
            wire,
            limits,
            ..
        } = self;
        let Some(connection) = connections.get_named_mut(id.index, id.generation) else {
            return true;
        };
        let response_information = granted.response_information(negotiated, limits);
        let mut properties = conn_ack_properties(
            negotiated,
            limits,
            granted.is_assigned.then_some(granted.client_id),
            response_information.as_deref(),
        );
        properties.authentication_method = connect.properties.authentication_method;
        properties.authentication_data =
            Some(granted.authentication_data).filter(|data| !data.is_empty());
        let version = negotiated.version;
        let mut encoded = Vec::new();
        let conn_ack = ConnAck {
            session_present: granted.session_present,
            reason_code: ReasonCode::Success,
            properties,
        };
        encode_conn_ack(&conn_ack, version, &mut encoded);
        if encoded.len() > connection.client_packet_bytes_max as usize {
            return false;
        }
        if must_wait {
            connection.awaits_conn_ack = true;
            journal.wait(Waiter::ConnAck {
                connection: id,
                packet: encoded.into(),
            });
        } else {
            wire.enqueue(id, connection, |out| out.extend_from_slice(&encoded));
        }
        true
    }

    /// An identifier that no session has and that is at home here: no hand-over is needed.
    fn assign_client_id(&mut self) -> String {
        loop {
            let mut client_id = String::from("ringway-");
            for _ in 0..ASSIGNED_CHARACTERS {
                let character = self.random.below(32).to_le_bytes()[0];
                client_id.push(char::from(ASSIGNED_ALPHABET[usize::from(character)]));
            }
            let at_home = self.home_key.home(client_id.as_bytes(), self.shard_count) == self.id;
            if at_home && self.directory.find(&self.sessions, &client_id).is_none() {
                return client_id;
            }
        }
    }
}

fn will_of(connect: &Connect<'_>, mount_point: Option<&str>) -> Option<Box<Will>> {
    let will = connect.will.as_ref()?;
    let mut properties = Vec::new();
    for run in will.properties.forwardable() {
        properties.extend_from_slice(run);
    }
    Some(Box::new(Will {
        topic_name: mounted_name(mount_point, will.topic).into(),
        properties: properties.into(),
        payload: will.payload.into(),
        qos: will.qos,
        retain: will.retain,
        delay_interval_s: will.properties.will_delay_interval_s.unwrap_or(0),
        message_expiry_interval_s: will.properties.message_expiry_interval_s,
    }))
}
