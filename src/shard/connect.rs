//! CONNECT: to the home shard, take-over, clean start, resumption, CONNACK.

use super::Shard;
use super::input::Flow;
use super::interface::CloseCause;
use crate::base::ids::ConnectionId;
use crate::base::time::Instant;
use crate::codec::{
    ConnAck, Connect, ProtocolError, ProtocolVersion, RawPacket, ReasonCode, conn_ack_return_code,
    decode_connect, encode_conn_ack, peek_version,
};
use crate::connection::handshake::{Negotiated, conn_ack_properties, negotiate};
use crate::session::Session;
use crate::session::will::Will;
use crate::topic::names::validate_topic_name;

/// First byte of a CONNECT packet; the flags are reserved [MQTT-3.1.2-3].
const CONNECT_FIRST_BYTE: u8 = 0x10;
/// Characters of an assigned client identifier after its prefix: 100 bits of the generator.
const ASSIGNED_CHARACTERS: usize = 20;
const ASSIGNED_ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

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
        let version = peek_version(raw);
        let connect = match decode_connect(raw) {
            Ok(connect) => connect,
            Err(error) => return self.refuse_connect(now, id, version, error),
        };
        let checked = self
            .check_will(&connect)
            .and_then(|()| negotiate(&connect, &self.limits));
        let negotiated = match checked {
            Ok(negotiated) => negotiated,
            Err(error) => return self.refuse_connect(now, id, version, error),
        };
        if connect.client_id.is_empty() {
            let assigned = self.assign_client_id();
            return self.accept_connect(now, id, &connect, &negotiated, &assigned);
        }
        let home = self
            .home_key
            .home(connect.client_id.as_bytes(), self.shard_count);
        if home != self.id {
            return Flow::HandOver(home);
        }
        self.accept_connect(now, id, &connect, &negotiated, connect.client_id)
    }

    fn check_will(&self, connect: &Connect<'_>) -> Result<(), ProtocolError> {
        let Some(will) = &connect.will else {
            return Ok(());
        };
        let valid = validate_topic_name(will.topic, self.limits.topic_levels_max).is_ok();
        if valid && !will.topic.starts_with("$SYS/") {
            return Ok(());
        }
        Err(ProtocolError {
            reason_code: ReasonCode::TopicNameInvalid,
            context: "invalid will topic",
        })
    }

    /// CONNACK with the reason, as far as the version has a word for it, and the end
    /// [MQTT-3.2.2-7].
    fn refuse_connect(
        &mut self,
        now: Instant,
        id: ConnectionId,
        version: Option<ProtocolVersion>,
        error: ProtocolError,
    ) -> Flow {
        self.counters.connects_refused += 1;
        let reason_code = error.reason_code;
        match version {
            Some(ProtocolVersion::V5) => self.enqueue(id, |out| {
                let properties = Default::default();
                encode_conn_ack(
                    &ConnAck {
                        session_present: false,
                        reason_code,
                        properties,
                    },
                    ProtocolVersion::V5,
                    out,
                );
            }),
            // A level that is neither 3, 4 nor 5 is answered in the manner of 3.1.1, which every
            // client can read; everything else has an answer only if there is a return code.
            _ if conn_ack_return_code(reason_code).is_some() => self.enqueue(id, |out| {
                let properties = Default::default();
                encode_conn_ack(
                    &ConnAck {
                        session_present: false,
                        reason_code,
                        properties,
                    },
                    ProtocolVersion::V311,
                    out,
                );
            }),
            _ => {}
        }
        self.close_connection(now, id, CloseCause::ConnectRefused(error.context));
        Flow::Closed
    }

    fn accept_connect(
        &mut self,
        now: Instant,
        id: ConnectionId,
        connect: &Connect<'_>,
        negotiated: &Negotiated,
        client_id: &str,
    ) -> Flow {
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
                    return self.refuse_connect(now, id, Some(negotiated.version), error);
                }
            },
        };
        self.attach(id, session, connect, negotiated);
        let assigned = connect.client_id.is_empty().then_some(client_id);
        if !self.send_conn_ack(id, resumed.is_some(), negotiated, assigned) {
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
        self.pump(now, session);
        Flow::Done
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
            self.say_goodbye(older, ReasonCode::SessionTakenOver);
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
        session.expiry_interval_s = negotiated.session_expiry_interval_s;
        session.will = will_of(connect);
        connection.establish(session_index, negotiated);
    }

    /// False: the client's Maximum Packet Size leaves no room for it [MQTT-3.1.2-24].
    fn send_conn_ack(
        &mut self,
        id: ConnectionId,
        session_present: bool,
        negotiated: &Negotiated,
        assigned: Option<&str>,
    ) -> bool {
        let Self {
            connections,
            wire,
            limits,
            ..
        } = self;
        let Some(connection) = connections.get_named_mut(id.index, id.generation) else {
            return true;
        };
        let properties = conn_ack_properties(negotiated, limits, assigned);
        let version = negotiated.version;
        let mut encoded = Vec::new();
        let conn_ack = ConnAck {
            session_present,
            reason_code: ReasonCode::Success,
            properties,
        };
        encode_conn_ack(&conn_ack, version, &mut encoded);
        if encoded.len() > connection.client_packet_bytes_max as usize {
            return false;
        }
        wire.enqueue(id, connection, |out| out.extend_from_slice(&encoded));
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

fn will_of(connect: &Connect<'_>) -> Option<Box<Will>> {
    let will = connect.will.as_ref()?;
    let mut properties = Vec::new();
    for run in will.properties.forwardable() {
        properties.extend_from_slice(run);
    }
    Some(Box::new(Will {
        topic_name: will.topic.into(),
        properties: properties.into(),
        payload: will.payload.into(),
        qos: will.qos,
        retain: will.retain,
        delay_interval_s: will.properties.will_delay_interval_s.unwrap_or(0),
        message_expiry_interval_s: will.properties.message_expiry_interval_s,
    }))
}
