//! Why the client gave up, for people.

use super::report::reason_name;
use crate::codec::{ProtocolError, ReasonCode};
use std::fmt;
use std::io;

#[derive(Debug)]
pub enum ClientError {
    /// No address for the host.
    Resolve { host: String, source: io::Error },
    /// None of the host's addresses answers.
    Connect { address: String, source: io::Error },
    /// A file that TLS needs cannot be used; which, and why.
    TlsFile(String),
    /// The TLS handshake failed.
    Tls { address: String, source: io::Error },
    /// What came instead of CONNACK was TLS.
    AnswersInTls { address: String },
    /// CONNACK did not come in time.
    NoConnAck { address: String },
    /// CONNACK with a reason.
    ConnectRefused { reason: ReasonCode, text: String },
    /// The broker ended the connection and said why.
    Disconnected { reason: ReasonCode, text: String },
    /// The broker ended the connection.
    Closed,
    /// The network failed.
    Network(io::Error),
    /// PINGRESP did not come in time.
    NoPingResponse,
    /// The broker broke the protocol.
    Protocol(ProtocolError),
    /// A packet that makes no sense where it came.
    Unexpected(&'static str),
    /// The broker's limits forbid what was asked for.
    NotAllowed(String),
    /// At least one message was not taken.
    PublishRefused { reason: ReasonCode, text: String },
    /// None of the subscriptions was taken.
    SubscribeRefused(ReasonCode),
    /// The input cannot be read.
    Input(io::Error),
    /// Nobody reads what we print.
    Output(io::Error),
    /// The time given by the user is over.
    TimedOut,
    /// The user wants us to stop.
    Stopped,
}

impl From<ProtocolError> for ClientError {
    fn from(error: ProtocolError) -> Self {
        Self::Protocol(error)
    }
}

impl fmt::Display for ClientError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Resolve { host, source } => {
                write!(formatter, "cannot find host {host}: {source}; see --host")
            }
            Self::Connect { address, source } => {
                write!(formatter, "cannot connect to {address}: {source}")?;
                match source.kind() {
                    io::ErrorKind::ConnectionRefused => formatter.write_str(
                        "; nothing listens there: start a broker (`ringway serve`) or choose \
                         another one with --host and --port",
                    ),
                    _ => formatter.write_str("; see --host and --port"),
                }
            }
            Self::TlsFile(what) => formatter.write_str(what),
            Self::Tls { address, source } => write!(
                formatter,
                "TLS with {address} failed: {source}; see --cafile, --cert and --insecure"
            ),
            Self::AnswersInTls { address } => write!(
                formatter,
                "{address} speaks TLS: name its authority with --cafile, or add \
                 --tls-use-os-certs"
            ),
            Self::NoConnAck { address } => write!(
                formatter,
                "{address} took the connection but does not answer CONNECT: is it an MQTT broker, \
                 and one without TLS unless --cafile was given?"
            ),
            Self::ConnectRefused { reason, text } => {
                formatter.write_str("the broker refused the connection: ")?;
                with_reason(formatter, *reason, text)
            }
            Self::Disconnected { reason, text } => {
                formatter.write_str("the broker ended the connection: ")?;
                with_reason(formatter, *reason, text)
            }
            Self::Closed => formatter.write_str("the broker closed the connection"),
            Self::Network(error) => write!(formatter, "the connection failed: {error}"),
            Self::NoPingResponse => formatter.write_str("the broker does not answer any more"),
            Self::Protocol(error) => write!(formatter, "the broker broke the protocol: {error}"),
            Self::Unexpected(what) => {
                write!(
                    formatter,
                    "the broker broke the protocol: unexpected {what}"
                )
            }
            Self::NotAllowed(what) => formatter.write_str(what),
            Self::PublishRefused { reason, text } => {
                formatter.write_str("the broker refused the message: ")?;
                with_reason(formatter, *reason, text)
            }
            Self::SubscribeRefused(reason) => {
                formatter.write_str("the broker refused every subscription: ")?;
                with_reason(formatter, *reason, "")
            }
            Self::Input(error) => write!(formatter, "cannot read the input: {error}"),
            Self::Output(error) => write!(formatter, "cannot write the output: {error}"),
            Self::TimedOut => formatter.write_str("timed out"),
            Self::Stopped => formatter.write_str("stopped before the broker had answered"),
        }
    }
}

fn with_reason(formatter: &mut fmt::Formatter<'_>, reason: ReasonCode, text: &str) -> fmt::Result {
    formatter.write_str(&reason_name(reason))?;
    if text.is_empty() {
        return Ok(());
    }
    write!(formatter, ": {}", text.escape_debug())
}

impl std::error::Error for ClientError {}
