//! The record layer of one connection.
//!
//! The handshake is the dear part (up to a millisecond of CPU for an RSA key), so it is taken apart
//! from the traffic: during it bytes are only held ([`TlsStream::hold`]), and the driver decides
//! when a step is made ([`TlsStream::step`]).

use super::Buffers;
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncodeTlsData, EncryptError, UnbufferedStatus, WriteTraffic,
};
use rustls::{Error, ServerConfig};
use std::fmt;
use std::sync::Arc;

/// Plain bytes of one record at most (RFC 8446 section 5.1).
const RECORD_BYTES: usize = 1 << 14;
/// What a record adds: header, nonce, tag and content type, rounded up.
const RECORD_EXTRA_BYTES: usize = 64;
/// What may wait of a handshake: a chain of client certificates needs some KiB.
pub(super) const HANDSHAKE_BYTES_MAX: usize = 32 << 10;
/// What may wait of one record (RFC 5246 section 6.2.3, the longer ones), with what came with it.
pub(super) const PARTIAL_BYTES_MAX: usize = RECORD_BYTES + 2048 + 5 + 4096;
/// Records that wait for the socket; one record more may be on top.
pub(super) const OUT_BYTES_MAX: usize = 64 << 10;

/// What became of received bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Received {
    /// More may come.
    Open,
    /// The peer has said that nothing more comes (close_notify).
    Ended,
}

/// The connection cannot go on. What tells the peer of it may wait in [`TlsStream::unsent`].
#[derive(Clone, PartialEq, Debug)]
pub enum TlsFault {
    /// What rustls says of it: no TLS, a certificate that is missing, a record that was changed.
    Protocol(Error),
    /// More bytes came than the step that was due can need.
    TooMuch,
    /// There was something to send before the handshake was over, or after the keys were used up.
    CannotSend,
    /// It had failed before.
    CannotGoOn,
}

impl fmt::Display for TlsFault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Protocol(error) => error.fmt(formatter),
            Self::TooMuch => formatter.write_str("the handshake is too long"),
            Self::CannotSend => formatter.write_str("nothing can be sent"),
            Self::CannotGoOn => formatter.write_str("failed before"),
        }
    }
}

/// One connection's TLS.
pub struct TlsStream {
    connection: UnbufferedServerConnection,
    /// Received and not yet used: the beginning of a record, or of a handshake message.
    partial: Vec<u8>,
    /// Records for the peer.
    out: Vec<u8>,
    /// Bytes of `out` that are sent.
    sent: usize,
    /// The driver is sending [`TlsStream::unsent`]; it must not move meanwhile.
    pub sending: bool,
    /// The driver's present transmit is more than one send.
    pub in_parts: bool,
    /// In the driver's list of handshakes.
    pub waits_for_step: bool,
    /// A step was made.
    has_begun: bool,
    /// The peer was told that nothing more comes.
    said_end: bool,
    /// The peer has said so.
    heard_end: bool,
    /// rustls must not be asked again: it would look at the same bytes once more.
    has_failed: bool,
}

impl TlsStream {
    /// # Errors
    /// The configuration is unusable, which [`super::Gate`] prevents.
    pub fn new(config: Arc<ServerConfig>) -> Result<Self, TlsFault> {
        Ok(Self {
            connection: UnbufferedServerConnection::new(config).map_err(TlsFault::Protocol)?,
            partial: Vec::new(),
            out: Vec::new(),
            sent: 0,
            sending: false,
            in_parts: false,
            waits_for_step: false,
            has_begun: false,
            said_end: false,
            heard_end: false,
            has_failed: false,
        })
    }

    #[must_use]
    pub fn is_handshaking(&self) -> bool {
        self.connection.is_handshaking()
    }

    /// Whether a step of the handshake was made.
    #[must_use]
    pub const fn has_begun(&self) -> bool {
        self.has_begun
    }

    /// Whether the peer has said that nothing more comes.
    #[must_use]
    pub const fn has_ended(&self) -> bool {
        self.heard_end
    }

    /// Bytes that wait for the rest of a record or of a handshake message.
    #[cfg(test)]
    pub(super) const fn held_bytes(&self) -> usize {
        self.partial.len()
    }

    /// Whether there is room for `count` more bytes of the handshake.
    #[must_use]
    pub const fn can_hold(&self, count: usize) -> bool {
        self.partial.len() + count <= HANDSHAKE_BYTES_MAX
    }

    /// Keeps bytes for the next [`TlsStream::step`].
    ///
    /// # Errors
    /// They are more than a handshake needs.
    pub fn hold(&mut self, received: &[u8], buffers: &mut Buffers) -> Result<(), TlsFault> {
        if !self.can_hold(received.len()) {
            return Err(TlsFault::TooMuch);
        }
        if self.partial.capacity() == 0 {
            self.partial = buffers.take();
        }
        self.partial.extend_from_slice(received);
        Ok(())
    }

    /// Does what the bytes held so far allow; appends what they hold for MQTT to `plain`.
    ///
    /// # Errors
    /// The peer broke TLS, or is not let in.
    pub fn step(
        &mut self,
        plain: &mut Vec<u8>,
        buffers: &mut Buffers,
    ) -> Result<Received, TlsFault> {
        self.has_begun = true;
        let mut partial = std::mem::take(&mut self.partial);
        let (used, outcome) = self.process(&mut partial, plain, buffers);
        partial.drain(..used);
        self.partial = partial;
        self.after_process(outcome, buffers)
    }

    /// Opens received records in place; appends what they hold to `plain`. Once the handshake is
    /// over, see [`TlsStream::hold`].
    ///
    /// # Errors
    /// The peer broke TLS.
    pub fn open(
        &mut self,
        received: &mut [u8],
        plain: &mut Vec<u8>,
        buffers: &mut Buffers,
    ) -> Result<Received, TlsFault> {
        if !self.partial.is_empty() {
            self.partial.extend_from_slice(received);
            return self.step(plain, buffers);
        }
        let (used, outcome) = self.process(received, plain, buffers);
        let rest = received.get(used..).unwrap_or_default();
        if !rest.is_empty() {
            self.partial = buffers.take();
            self.partial.extend_from_slice(rest);
        }
        self.after_process(outcome, buffers)
    }

    fn after_process(
        &mut self,
        outcome: Result<Received, TlsFault>,
        buffers: &mut Buffers,
    ) -> Result<Received, TlsFault> {
        if self.partial.is_empty() {
            buffers.give(&mut self.partial);
        }
        let bytes_max = match self.is_handshaking() {
            true => HANDSHAKE_BYTES_MAX,
            false => PARTIAL_BYTES_MAX,
        };
        if outcome.is_ok() && self.partial.len() > bytes_max {
            return Err(TlsFault::TooMuch);
        }
        outcome
    }

    /// Takes all whole records; how many bytes they were, at most all. After a fault the alert is
    /// in `out`, and nothing of the input is wanted any more.
    fn process(
        &mut self,
        input: &mut [u8],
        plain: &mut Vec<u8>,
        buffers: &mut Buffers,
    ) -> (usize, Result<Received, TlsFault>) {
        let length = input.len();
        if self.has_failed {
            return (length, Err(TlsFault::CannotGoOn));
        }
        let mut used = 0;
        loop {
            let left = input.get_mut(used..).unwrap_or_default();
            let UnbufferedStatus { mut discard, state } = self.connection.process_tls_records(left);
            match state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(Ok(record)) = traffic.next_record() {
                        discard += record.discard;
                        plain.extend_from_slice(record.payload);
                    }
                }
                Ok(ConnectionState::EncodeTlsData(data)) => encode(data, &mut self.out, buffers),
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(ConnectionState::PeerClosed | ConnectionState::Closed) => {
                    // Nothing that follows is looked at.
                    self.heard_end = true;
                    return (length, Ok(Received::Ended));
                }
                Ok(_) => return ((used + discard).min(length), Ok(Received::Open)),
                Err(error) => {
                    self.fail(input, used, buffers);
                    return (length, Err(TlsFault::Protocol(error)));
                }
            }
            used += discard;
        }
    }

    /// Takes the alert that rustls has for the peer. One call: it comes before anything else, and
    /// a second call would look at the bytes that failed.
    fn fail(&mut self, input: &mut [u8], used: usize, buffers: &mut Buffers) {
        self.has_failed = true;
        let left = input.get_mut(used..).unwrap_or_default();
        let status = self.connection.process_tls_records(left);
        if let Ok(ConnectionState::EncodeTlsData(data)) = status.state {
            encode(data, &mut self.out, buffers);
        }
    }

    /// Whether [`TlsStream::seal`] should wait until more is sent.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.out.len() - self.sent >= OUT_BYTES_MAX
    }

    /// Makes one record of the beginning of `plain`; how many bytes of it that was.
    ///
    /// # Errors
    /// The handshake is not over, or no key may be used any longer.
    pub fn seal(&mut self, plain: &[u8], buffers: &mut Buffers) -> Result<usize, TlsFault> {
        let plain = &plain[..plain.len().min(RECORD_BYTES)];
        let bytes_max = plain.len() + RECORD_EXTRA_BYTES;
        let written = self.write(bytes_max, buffers, |traffic, room| {
            traffic.encrypt(plain, room)
        });
        written.then_some(plain.len()).ok_or(TlsFault::CannotSend)
    }

    /// Says that nothing more comes (close_notify). False: it is said, or there is nobody to say
    /// it to.
    pub fn end(&mut self, buffers: &mut Buffers) -> bool {
        if std::mem::replace(&mut self.said_end, true) || self.is_handshaking() {
            return false;
        }
        self.write(RECORD_EXTRA_BYTES, buffers, |traffic, room| {
            traffic.queue_close_notify(room)
        })
    }

    /// Lets `write` add at most `bytes_max` bytes to `out`. False: it cannot now.
    fn write(
        &mut self,
        bytes_max: usize,
        buffers: &mut Buffers,
        write: impl FnOnce(
            &mut WriteTraffic<'_, ServerConnectionData>,
            &mut [u8],
        ) -> Result<usize, EncryptError>,
    ) -> bool {
        if self.has_failed {
            return false;
        }
        // rustls wants to see all that waits, though nothing of it is complete.
        let status = self.connection.process_tls_records(&mut self.partial);
        let Ok(ConnectionState::WriteTraffic(mut traffic)) = status.state else {
            return false;
        };
        let out = writable(&mut self.out, buffers);
        let before = out.len();
        out.resize(before + bytes_max, 0);
        let written = write(&mut traffic, &mut out[before..]);
        out.truncate(before + written.as_ref().copied().unwrap_or(0));
        written.is_ok()
    }

    /// Records that wait for the socket.
    #[must_use]
    pub fn unsent(&self) -> &[u8] {
        &self.out[self.sent..]
    }

    /// The socket has taken `count` bytes, at most all of [`TlsStream::unsent`].
    pub fn advance(&mut self, count: usize, buffers: &mut Buffers) {
        self.sent += count;
        assert!(self.sent <= self.out.len());
        if self.sent == self.out.len() {
            self.sent = 0;
            buffers.give(&mut self.out);
        }
    }
}

impl fmt::Debug for TlsStream {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Nothing of keys or of what was said.
        formatter
            .debug_struct("TlsStream")
            .field("is_handshaking", &self.is_handshaking())
            .field("partial_bytes", &self.partial.len())
            .field("unsent_bytes", &self.unsent().len())
            .finish_non_exhaustive()
    }
}

/// The buffer for records, with memory of the core's.
fn writable<'a>(out: &'a mut Vec<u8>, buffers: &mut Buffers) -> &'a mut Vec<u8> {
    if out.capacity() == 0 {
        *out = buffers.take();
    }
    out
}

/// Adds what rustls has to say by itself to `out`.
fn encode(
    mut data: EncodeTlsData<'_, ServerConnectionData>,
    out: &mut Vec<u8>,
    buffers: &mut Buffers,
) {
    let out = writable(out, buffers);
    let before = out.len();
    // It says how much room it needs, and takes it the second time.
    let mut written = data.encode(&mut []);
    if let Err(EncodeError::InsufficientSize(size)) = &written {
        out.resize(before + size.required_size, 0);
        written = data.encode(&mut out[before..]);
    }
    out.truncate(before + written.unwrap_or(0));
}
