//! What `ringway pub` and `ringway sub` have in common: where to connect, and as whom.

use super::exit::refused;
use crate::client::filter::is_topic_name;
use crate::client::options::{ConnectOptions, TlsOptions, WillOptions};
use crate::codec::{FIELD_BYTES_MAX, ProtocolVersion, QosLevel};
use clap::Args;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::path::PathBuf;
use std::process::ExitCode;

/// Flags of mosquitto_pub and mosquitto_sub where both have the thing.
#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("trust").args(["cafile", "tls_use_os_certs"])))]
pub(super) struct ClientArguments {
    /// Host to connect to
    #[arg(short = 'h', long, default_value = "localhost", help_heading = CONNECTION)]
    host: String,

    /// TCP port [default: 1883, with TLS 8883]
    #[arg(short, long, help_heading = CONNECTION)]
    port: Option<u16>,

    /// Protocol version: 31, 311 or 5 (also mqttv31, mqttv311, mqttv5)
    #[arg(short = 'V', long, default_value = "5", value_parser = version,
          help_heading = CONNECTION)]
    protocol_version: ProtocolVersion,

    /// Client identifier; without it the broker assigns one
    #[arg(short, long, value_parser = field, help_heading = CONNECTION)]
    id: Option<String>,

    /// User name
    #[arg(short, long, value_parser = field, help_heading = CONNECTION)]
    username: Option<String>,

    /// Password
    #[arg(short = 'P', long = "pw", value_name = "PASSWORD", value_parser = field,
          allow_hyphen_values = true, help_heading = CONNECTION)]
    password: Option<String>,

    /// Keep alive in seconds; 0 turns it off
    #[arg(short, long, default_value_t = 60, help_heading = CONNECTION)]
    keepalive: u16,

    /// Continue the session of --id, and keep it when the connection ends
    #[arg(short = 'c', long, help_heading = CONNECTION)]
    disable_clean_session: bool,

    /// Seconds that the broker keeps the session after the connection [default: 0, with -c no end]
    #[arg(short = 'x', long, value_name = "SECONDS", help_heading = CONNECTION)]
    session_expiry_interval: Option<u32>,

    /// Say every packet on standard error
    #[arg(short, long, help_heading = CONNECTION)]
    debug: bool,

    /// Speak TLS, and trust the authorities in this PEM file
    #[arg(long, value_name = "FILE", help_heading = TLS)]
    cafile: Option<PathBuf>,

    /// Speak TLS, and trust the authorities that the system trusts
    #[arg(long, conflicts_with = "cafile", help_heading = TLS)]
    tls_use_os_certs: bool,

    /// Certificate to show to the broker, with its chain (PEM)
    #[arg(long, value_name = "FILE", requires = "key", requires = "trust", help_heading = TLS)]
    cert: Option<PathBuf>,

    /// Its private key (PEM)
    #[arg(long, value_name = "FILE", requires = "cert", help_heading = TLS)]
    key: Option<PathBuf>,

    /// Take a certificate of these authorities that is for another host
    #[arg(long, requires = "trust", help_heading = TLS)]
    insecure: bool,

    /// Topic of a message that the broker publishes when this connection breaks
    #[arg(long, value_name = "TOPIC", help_heading = WILL)]
    will_topic: Option<String>,

    /// Its payload
    #[arg(long, value_name = "PAYLOAD", value_parser = field, requires = "will_topic",
          allow_hyphen_values = true, help_heading = WILL)]
    will_payload: Option<String>,

    /// Its QoS: 0, 1 or 2
    #[arg(long, value_name = "QOS", default_value = "0", value_parser = qos,
          requires = "will_topic", help_heading = WILL)]
    will_qos: QosLevel,

    /// Retain it
    #[arg(long, requires = "will_topic", help_heading = WILL)]
    will_retain: bool,

    /// Seconds between the break and its publication
    #[arg(long, value_name = "SECONDS", requires = "will_topic", help_heading = WILL)]
    will_delay: Option<u32>,

    /// Print help
    #[arg(long, action = clap::ArgAction::Help, help_heading = "Help")]
    help: Option<bool>,
}

const CONNECTION: &str = "Connection";
const TLS: &str = "TLS";
const WILL: &str = "Will";
/// As registered with IANA.
const PORT: u16 = 1883;
const TLS_PORT: u16 = 8883;

impl ClientArguments {
    pub(super) const fn version(&self) -> ProtocolVersion {
        self.protocol_version
    }

    /// What they ask for, or what is wrong with them.
    pub(super) fn options(&self) -> Result<ConnectOptions, String> {
        let is_v5 = self.protocol_version == ProtocolVersion::V5;
        let five_only = [
            (
                "--session-expiry-interval",
                self.session_expiry_interval.is_some(),
            ),
            ("--will-delay", self.will_delay.is_some()),
        ];
        refuse_before_v5(self.protocol_version, &five_only)?;
        if !is_v5 && self.password.is_some() && self.username.is_none() {
            return Err("--pw needs --username before MQTT 5.0".to_owned());
        }
        if self.disable_clean_session && self.id.as_deref().unwrap_or_default().is_empty() {
            return Err("--disable-clean-session needs --id: whose session?".to_owned());
        }
        let will = self.will_topic.as_ref().map(|topic_name| WillOptions {
            topic_name: topic_name.clone(),
            payload: self.will_payload.clone().unwrap_or_default().into_bytes(),
            qos: self.will_qos,
            retain: self.will_retain,
            delay_interval_s: self.will_delay,
        });
        if will
            .as_ref()
            .is_some_and(|will| !is_topic_name(&will.topic_name))
        {
            return Err("--will-topic must be a topic name without wildcards".to_owned());
        }
        let tls = self.tls();
        let port = if tls.is_some() { TLS_PORT } else { PORT };
        // As mosquitto_sub does: who keeps a session and does not say for how long, keeps it.
        let kept = (is_v5 && self.disable_clean_session).then_some(u32::MAX);
        Ok(ConnectOptions {
            host: self.host.clone(),
            port: self.port.unwrap_or(port),
            tls,
            version: self.protocol_version,
            client_id: self.client_id(),
            clean_start: !self.disable_clean_session,
            session_expiry_interval_s: self.session_expiry_interval.or(kept),
            keep_alive_s: self.keepalive,
            username: self.username.clone(),
            password: self.password.clone().map(String::into_bytes),
            will,
            debug: self.debug,
        })
    }

    fn tls(&self) -> Option<TlsOptions> {
        let is_wanted = self.cafile.is_some() || self.tls_use_os_certs;
        is_wanted.then(|| TlsOptions {
            ca_file: self.cafile.clone(),
            identity: self.cert.clone().zip(self.key.clone()),
            any_name: self.insecure,
        })
    }

    /// MQTT 3.1 knows no assigned identifiers: one is drawn for it.
    fn client_id(&self) -> String {
        match &self.id {
            Some(id) => id.clone(),
            None if self.protocol_version == ProtocolVersion::V31 => format!(
                "ringway-{:016x}",
                RandomState::new().build_hasher().finish()
            )[..23]
                .into(),
            None => String::new(),
        }
    }
}

/// Refuses flags that MQTT 5.0 alone has a place for; each with whether it was given.
pub(super) fn refuse_before_v5(
    version: ProtocolVersion,
    flags: &[(&str, bool)],
) -> Result<(), String> {
    let given = flags.iter().find(|(_, is_given)| *is_given);
    match given {
        Some((flag, _)) if version != ProtocolVersion::V5 => Err(format!(
            "{flag} needs MQTT 5.0: leave --protocol-version out"
        )),
        _ => Ok(()),
    }
}

/// Says what is wrong with the flags, before anything is connected.
pub(super) fn usage(why: impl std::fmt::Display) -> ExitCode {
    refused(format_args!("ringway: {why}"))
}

pub(super) fn version(text: &str) -> Result<ProtocolVersion, &'static str> {
    match text.strip_prefix("mqttv").unwrap_or(text) {
        "31" => Ok(ProtocolVersion::V31),
        "311" => Ok(ProtocolVersion::V311),
        "5" => Ok(ProtocolVersion::V5),
        _ => Err("must be 31, 311 or 5"),
    }
}

pub(super) fn qos(text: &str) -> Result<QosLevel, &'static str> {
    match text {
        "0" => Ok(QosLevel::AtMostOnce),
        "1" => Ok(QosLevel::AtLeastOnce),
        "2" => Ok(QosLevel::ExactlyOnce),
        _ => Err("must be 0, 1 or 2"),
    }
}

/// Text that fits into one field of a packet.
pub(super) fn field(text: &str) -> Result<String, &'static str> {
    if text.len() > FIELD_BYTES_MAX {
        return Err("longer than the 65,535 bytes of a field in MQTT");
    }
    Ok(text.to_owned())
}

/// `NAME=VALUE`.
pub(super) fn user_property(text: &str) -> Result<(String, String), &'static str> {
    let (name, value) = text.split_once('=').ok_or("must be NAME=VALUE")?;
    Ok((field(name)?, field(value)?))
}

/// Seconds, fractions allowed.
pub(super) fn seconds(text: &str) -> Result<std::time::Duration, &'static str> {
    const WRONG: &str = "must be seconds, for example 0.5";
    let seconds = text.parse().map_err(|_| WRONG)?;
    std::time::Duration::try_from_secs_f64(seconds).map_err(|_| WRONG)
}
