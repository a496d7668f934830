//! Enhanced authentication (section 4.12): the exchange of AUTH packets before CONNACK, and again
//! at any time later.

use super::Shard;
use super::connect::Refused;
use super::input::Flow;
use super::interface::CloseCause;
use crate::auth::method::{Exchange, Methods, Step};
use crate::base::ids::ConnectionId;
use crate::base::map::{Map, map};
use crate::base::time::Instant;
use crate::codec::{
    Auth, Connect, Frame, PACKET_BYTES_MAX, Packet, ProtocolError, ProtocolVersion, RawPacket,
    ReasonCode, decode_connect, decode_from_client, encode_auth, encoded_bytes, frame,
};
use crate::connection::Phase;

/// AUTH packets of one exchange; a method that wants more is refused.
const STEPS_MAX: u8 = 16;

/// The methods, and the connections that named one of them.
#[derive(Debug)]
pub(super) struct Authentications {
    pub(super) methods: Methods,
    /// By the connection's index; bounded by the connections.
    open: Map<u32, Authentication>,
}

/// One connection's authentication, for as long as it lives.
#[derive(Debug)]
struct Authentication {
    /// As CONNECT named it [MQTT-4.12.0-5].
    method: Box<str>,
    exchange: Option<Box<dyn Exchange>>,
    /// Of the exchange under way.
    steps: u8,
    /// The CONNECT that waits for its answer, at most `mqtt.max_connect_bytes`; then empty.
    connect: Vec<u8>,
}

impl Authentications {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            methods: Methods::default(),
            open: map(seed),
        }
    }

    /// The connection is gone, or moves elsewhere.
    pub(super) fn forget(&mut self, id: ConnectionId) {
        self.open.remove(&id.index);
    }
}

impl Authentication {
    fn step(&mut self, data: Option<&[u8]>) -> Step {
        self.steps += 1;
        match &mut self.exchange {
            Some(exchange) if self.steps <= STEPS_MAX => exchange.step(data),
            _ => Step::Refused,
        }
    }
}

/// Before CONNACK.
impl Shard {
    /// A method that is not offered is refused at once [MQTT-4.12.0-1].
    pub(super) fn check_method(&self, connect: &Connect<'_>) -> Result<(), ProtocolError> {
        let Some(method) = connect.properties.authentication_method else {
            return Ok(());
        };
        if self.authentications.methods.find(method).is_some() {
            return Ok(());
        }
        Err(ProtocolError {
            reason_code: ReasonCode::BadAuthenticationMethod,
            context: "authentication method is not supported",
        })
    }

    /// CONNECT with a method: the first step.
    pub(super) fn begin_authentication(
        &mut self,
        now: Instant,
        id: ConnectionId,
        connect: &Connect<'_>,
        packet: RawPacket<'_>,
    ) -> Flow {
        let name = connect.properties.authentication_method.unwrap_or_default();
        let Some(method) = self.authentications.methods.find(name) else {
            return Flow::Closed;
        };
        let authentication = Authentication {
            method: name.into(),
            exchange: Some(method.begin()),
            steps: 0,
            connect: packet.to_bytes(),
        };
        self.authentications.open.insert(id.index, authentication);
        if let Some(connection) = self.connection_mut(id) {
            connection.phase = Phase::Authenticating;
        }
        self.step_towards_conn_ack(now, id, connect.properties.authentication_data)
    }

    /// A packet between CONNECT and CONNACK: AUTH goes on, DISCONNECT ends it, anything else is a
    /// Protocol Error [MQTT-3.1.2-30].
    pub(super) fn on_packet_of_authentication(
        &mut self,
        now: Instant,
        id: ConnectionId,
        raw: RawPacket<'_>,
    ) -> Flow {
        match decode_from_client(ProtocolVersion::V5, raw) {
            Ok(Packet::Auth(auth)) if self.continues(id, &auth) => {
                self.step_towards_conn_ack(now, id, auth.authentication_data)
            }
            Ok(Packet::Disconnect(_)) => {
                self.close_connection(now, id, CloseCause::ClientDisconnected);
                Flow::Closed
            }
            Ok(_) => {
                let context = "only AUTH may follow CONNECT with an authentication method";
                self.refuse_authentication(now, id, Self::protocol_error(context))
            }
            Err(error) => self.refuse_authentication(now, id, error),
        }
    }

    /// Continue authentication, with the method that CONNECT named [MQTT-4.12.0-3],
    /// [MQTT-4.12.0-5].
    fn continues(&self, id: ConnectionId, auth: &Auth<'_>) -> bool {
        auth.reason_code == ReasonCode::ContinueAuthentication && self.has_method(id, auth)
    }

    fn has_method(&self, id: ConnectionId, auth: &Auth<'_>) -> bool {
        let authentication = self.authentications.open.get(&id.index);
        authentication.is_some_and(|it| auth.authentication_method == Some(&*it.method))
    }

    fn step_towards_conn_ack(
        &mut self,
        now: Instant,
        id: ConnectionId,
        data: Option<&[u8]>,
    ) -> Flow {
        let Some(authentication) = self.authentications.open.get_mut(&id.index) else {
            return Flow::Closed;
        };
        match authentication.step(data) {
            Step::Continue(data) => {
                let connect = std::mem::take(&mut authentication.connect);
                let packet_bytes_max = with_connect(&connect, |connect, _| {
                    connect.properties.maximum_packet_size
                });
                if let Some(authentication) = self.authentications.open.get_mut(&id.index) {
                    authentication.connect = connect;
                }
                let packet_bytes_max = packet_bytes_max.flatten().unwrap_or(PACKET_BYTES_MAX);
                let reason_code = ReasonCode::ContinueAuthentication;
                match self.send_auth(id, reason_code, &data, packet_bytes_max) {
                    Ok(()) => Flow::Done,
                    Err(error) => self.refuse_authentication(now, id, error),
                }
            }
            Step::Done(data) => {
                authentication.exchange = None;
                let bytes = std::mem::take(&mut authentication.connect);
                let accepted = with_connect(&bytes, |connect, _| {
                    self.accept_authenticated(now, id, connect, &data)
                });
                accepted.unwrap_or(Flow::Closed)
            }
            Step::Refused => self.refuse_authentication(now, id, NOT_AUTHORIZED),
        }
    }

    /// CONNACK with the reason, and the end [MQTT-4.12.0-4].
    fn refuse_authentication(
        &mut self,
        now: Instant,
        id: ConnectionId,
        error: ProtocolError,
    ) -> Flow {
        let authentication = self.authentications.open.remove(&id.index);
        let bytes = authentication.map_or_else(Vec::new, |it| it.connect);
        let refused = with_connect(&bytes, |connect, _| Refused::of(connect));
        let refused = refused.unwrap_or(Refused::unread(Some(ProtocolVersion::V5)));
        self.refuse_connect(now, id, refused, error)
    }

    /// AUTH with the connection's method, if the client can take it [MQTT-4.12.0-2].
    fn send_auth(
        &mut self,
        id: ConnectionId,
        reason_code: ReasonCode,
        data: &[u8],
        packet_bytes_max: u32,
    ) -> Result<(), ProtocolError> {
        let Self {
            connections,
            wire,
            authentications,
            ..
        } = self;
        let (Some(connection), Some(authentication)) = (
            connections.get_named_mut(id.index, id.generation),
            authentications.open.get(&id.index),
        ) else {
            return Ok(());
        };
        let auth = Auth {
            authentication_method: Some(&authentication.method),
            authentication_data: (!data.is_empty()).then_some(data),
            ..Auth::new(reason_code)
        };
        if encoded_bytes(&Packet::Auth(auth), ProtocolVersion::V5) > packet_bytes_max as usize {
            return Err(ProtocolError {
                reason_code: ReasonCode::PacketTooLarge,
                context: "AUTH exceeds the client's maximum packet size",
            });
        }
        wire.enqueue(id, connection, |out| encode_auth(&auth, out));
        Ok(())
    }
}

/// Of a connected client.
impl Shard {
    /// AUTH after CONNACK: the client authenticates again (section 4.12.1). Other packets go on
    /// meanwhile.
    pub(super) fn on_auth(&mut self, now: Instant, id: ConnectionId, auth: &Auth<'_>) -> Flow {
        if let Err(error) = self.check_auth(id, auth) {
            return self.fail(now, id, error);
        }
        let packet_bytes_max = self
            .connection(id)
            .map_or(0, |connection| connection.client_packet_bytes_max);
        let Some(authentication) = self.authentications.open.get_mut(&id.index) else {
            return Flow::Closed;
        };
        let (reason_code, data) = match authentication.step(auth.authentication_data) {
            Step::Continue(data) => (ReasonCode::ContinueAuthentication, data),
            Step::Done(data) => {
                authentication.exchange = None;
                (ReasonCode::Success, data)
            }
            // [MQTT-4.12.1-2]
            Step::Refused => return self.fail(now, id, NOT_AUTHORIZED),
        };
        match self.send_auth(id, reason_code, &data, packet_bytes_max) {
            Ok(()) => Flow::Done,
            Err(error) => self.fail(now, id, error),
        }
    }

    /// Begins the exchange for Re-authenticate; Continue needs one that is under way
    /// [MQTT-4.12.1-1].
    fn check_auth(&mut self, id: ConnectionId, auth: &Auth<'_>) -> Result<(), ProtocolError> {
        if !self.has_method(id, auth) {
            return Err(Self::protocol_error(
                "AUTH without the authentication method of CONNECT",
            ));
        }
        let Authentications { methods, open } = &mut self.authentications;
        let Some(authentication) = open.get_mut(&id.index) else {
            return Ok(());
        };
        let begins = auth.reason_code == ReasonCode::Reauthenticate;
        if begins == authentication.exchange.is_some() {
            return Err(Self::protocol_error("AUTH out of turn"));
        }
        if begins && let Some(method) = methods.find(&authentication.method) {
            authentication.exchange = Some(method.begin());
            authentication.steps = 0;
        }
        Ok(())
    }
}

const NOT_AUTHORIZED: ProtocolError = ProtocolError {
    reason_code: ReasonCode::NotAuthorized,
    context: "authentication failed",
};

/// Decodes a CONNECT that was kept.
fn with_connect<T>(
    bytes: &[u8],
    use_it: impl FnOnce(&Connect<'_>, RawPacket<'_>) -> T,
) -> Option<T> {
    let Ok(Frame::Complete(raw)) = frame(bytes, PACKET_BYTES_MAX) else {
        return None;
    };
    let connect = decode_connect(raw).ok()?;
    Some(use_it(&connect, raw))
}
