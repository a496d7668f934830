//! What lies between MQTT and TCP: TLS, WebSocket, both, or nothing. Bytes in, bytes out.
//!
//! A client without layers pays nothing for them; with layers the packets of a turn become one TLS
//! record or one WebSocket frame where they fit.

mod ticket;
mod tls;
mod websocket;

pub use tls::{Tls, TlsOptions, TlsVersion};

use std::io::{self, Read as _, Write as _};

use rustls::{ClientConnection, HandshakeKind, ProtocolVersion};
use websocket::WebSocket;

use crate::result::Negotiated;
use crate::target::Target;

/// The layers of one connection.
pub(crate) struct Layers {
    tls: Option<Box<ClientConnection>>,
    websocket: Option<WebSocket>,
    /// Bytes for the socket.
    pub(crate) wire: Vec<u8>,
}

impl Layers {
    /// `None` for plain TCP.
    pub(crate) fn new(target: &Target, tls: Option<&Tls>, seed: u64) -> io::Result<Option<Self>> {
        if !target.is_tls && !target.is_websocket {
            return Ok(None);
        }
        let tls = tls.map(Tls::connect).transpose()?;
        Ok(Some(Self {
            tls: tls.map(Box::new),
            websocket: target.is_websocket.then(|| WebSocket::new(target, seed)),
            wire: Vec::new(),
        }))
    }

    /// What the two ends agreed on, and whether they went on with an earlier session; `None`
    /// without TLS and before the end of its handshake.
    pub(crate) fn negotiated(&self) -> Option<(Negotiated, bool)> {
        let tls = self.tls.as_ref()?;
        let version = match tls.protocol_version()? {
            ProtocolVersion::TLSv1_2 => TlsVersion::V1_2,
            ProtocolVersion::TLSv1_3 => TlsVersion::V1_3,
            _ => return None,
        };
        let suite = tls.negotiated_cipher_suite()?.suite();
        let group = tls.negotiated_key_exchange_group();
        let negotiated = Negotiated {
            version: version.name().to_owned(),
            cipher_suite: suite.as_str().unwrap_or("unknown").to_owned(),
            key_exchange: group.map(|group| format!("{:?}", group.name())),
        };
        Some((negotiated, tls.handshake_kind()? == HandshakeKind::Resumed))
    }

    /// Takes what MQTT wants to send, as far as the handshakes allow, and what the layers have to
    /// say themselves.
    pub(crate) fn seal(&mut self, plain: &mut Vec<u8>) -> io::Result<()> {
        let Some(tls) = &mut self.tls else {
            if let Some(websocket) = &mut self.websocket {
                websocket.seal(plain, &mut self.wire);
            }
            return Ok(());
        };
        if let Some(websocket) = &mut self.websocket {
            let mut framed = Vec::new();
            websocket.seal(plain, &mut framed);
            tls.writer().write_all(&framed)?;
        } else {
            tls.writer().write_all(plain)?;
            plain.clear();
        }
        while tls.wants_write() {
            tls.write_tls(&mut self.wire)?;
        }
        Ok(())
    }

    /// Appends the MQTT bytes of what came from the socket to `plain`.
    pub(crate) fn open(&mut self, mut bytes: &[u8], plain: &mut Vec<u8>) -> Result<(), String> {
        let Some(tls) = &mut self.tls else {
            return match &mut self.websocket {
                Some(websocket) => websocket.open(bytes, plain),
                None => Err("no layer".to_owned()),
            };
        };
        let mut inner = Vec::new();
        while !bytes.is_empty() {
            tls.read_tls(&mut bytes)
                .map_err(|error| error.to_string())?;
            tls.process_new_packets()
                .map_err(|error| format!("TLS: {error}"))?;
            match tls.reader().read_to_end(&mut inner) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(format!("TLS: {error}")),
            }
        }
        match &mut self.websocket {
            Some(websocket) => websocket.open(&inner, plain),
            None => {
                plain.extend_from_slice(&inner);
                Ok(())
            }
        }
    }
}
