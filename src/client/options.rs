//! What the user of the client asks for.

use super::format::Format;
use super::message::MessageProperties;
use super::payload::PayloadSource;
use crate::codec::{ProtocolVersion, QosLevel, RetainHandling};
use std::path::PathBuf;
use std::time::Duration;

/// How to connect, and as whom.
#[derive(Clone, Debug)]
pub struct ConnectOptions {
    pub host: String,
    pub port: u16,
    /// `None`: plain TCP.
    pub tls: Option<TlsOptions>,
    pub version: ProtocolVersion,
    /// Empty: the broker assigns one.
    pub client_id: String,
    pub clean_start: bool,
    /// 5.0 only.
    pub session_expiry_interval_s: Option<u32>,
    /// 0 turns keep alive off.
    pub keep_alive_s: u16,
    pub username: Option<String>,
    pub password: Option<Vec<u8>>,
    pub will: Option<WillOptions>,
    /// Say every packet on standard error.
    pub debug: bool,
}

/// How to speak TLS.
#[derive(Clone, Debug, Default)]
pub struct TlsOptions {
    /// PEM file of the authorities to trust; `None`: the system's.
    pub ca_file: Option<PathBuf>,
    /// PEM files of our certificate, with its chain, and of its key.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// The broker's certificate may be for another host.
    pub any_name: bool,
}

#[derive(Clone, Debug)]
pub struct WillOptions {
    pub topic_name: String,
    pub payload: Vec<u8>,
    pub qos: QosLevel,
    pub retain: bool,
    /// 5.0 only.
    pub delay_interval_s: Option<u32>,
}

#[derive(Debug)]
pub struct PublishOptions {
    pub topic_name: String,
    pub payload: PayloadSource,
    pub qos: QosLevel,
    pub retain: bool,
    pub properties: MessageProperties,
    /// How often each payload is published.
    pub repeat: u32,
    pub repeat_delay: Duration,
}

#[derive(Clone, Debug)]
pub struct SubscribeOptions {
    pub topic_filters: Vec<String>,
    /// Subscriptions of an earlier connection that end.
    pub unsubscribe: Vec<String>,
    /// Messages that one of these matches are not shown.
    pub filter_out: Vec<String>,
    pub qos: QosLevel,
    pub no_local: bool,
    pub retain_as_published: bool,
    pub retain_handling: RetainHandling,
    /// Do not show messages that were retained before we subscribed.
    pub skip_stale: bool,
    pub user_properties: Vec<(String, String)>,
    /// End after this many shown messages.
    pub count: Option<u64>,
    /// End after this time.
    pub timeout: Option<Duration>,
    /// End when the broker has answered the subscriptions.
    pub exit_after_subscribed: bool,
    pub format: Format,
}
