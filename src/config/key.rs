//! Every configuration key, once: its name, its meaning, its range, and where its value goes. Those
//! of a listener are in [`super::listener_key`].

use super::limits::{DurabilityAck, QueueFullPolicy, Redirect, SharedStrategy};
use super::quantity::{self, Unit};
use super::settings::{CoreSelection, LogFormat, LogLevel, Settings};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// One key of a section; `T` is what its value is written into.
#[derive(Debug)]
pub struct Key<T: 'static> {
    pub section: &'static str,
    pub name: &'static str,
    /// One line for people who read a configuration.
    pub meaning: &'static str,
    pub value: Value<T>,
}

/// What a key takes.
#[derive(Debug)]
pub enum Value<T> {
    Number {
        unit: Unit,
        min: u64,
        max: u64,
        put: fn(&mut T, u64),
        of: fn(&T) -> u64,
    },
    Switch {
        put: fn(&mut T, bool),
        of: fn(&T) -> bool,
    },
    Text {
        allowed: &'static str,
        /// A TOML integer does as well.
        integer_too: bool,
        /// Refuses with what is allowed instead, or with `allowed` when that is empty.
        put: fn(&mut T, &str) -> Result<(), &'static str>,
        of: fn(&T) -> String,
    },
    /// Of a file or a directory, in UTF-8.
    Path {
        allowed: &'static str,
        put: fn(&mut T, PathBuf),
        /// `None`: left out.
        of: fn(&T) -> Option<&Path>,
    },
}

/// The section whose entries are a list; its keys are
/// [`super::listener_key::LISTENER_KEYS`].
pub const LISTENER: &str = "listener";

/// The part of a listener whose keys are [`super::listener_key::TLS_KEYS`].
pub const LISTENER_TLS: &str = "listener.tls";

pub const SECTIONS: &[&str] = &[
    "node",
    LISTENER,
    "mqtt",
    "shared",
    "session",
    "retained",
    "durability",
    "limit",
    "sys",
    "log",
];

/// A number that goes into a field of `limits` as it is.
macro_rules! limit {
    ($section:literal, $name:literal, $unit:ident, $min:expr, $max:expr, $field:ident,
     $meaning:literal) => {
        Key {
            section: $section,
            name: $name,
            meaning: $meaning,
            value: Value::Number {
                unit: Unit::$unit,
                min: $min,
                max: $max,
                put: |settings, number| settings.limits.$field = narrow(number),
                of: |settings| u64::from(settings.limits.$field),
            },
        }
    };
}

/// A whole number of seconds that becomes a `Duration`.
macro_rules! seconds {
    ($section:literal, $name:literal, $min:expr, $max:expr, $($field:ident).+,
     $meaning:literal) => {
        Key {
            section: $section,
            name: $name,
            meaning: $meaning,
            value: Value::Number {
                unit: Unit::Seconds,
                min: $min,
                max: $max,
                put: |settings, number| settings.$($field).+ = Duration::from_secs(number),
                of: |settings| settings.$($field).+.as_secs(),
            },
        }
    };
}

/// A whole number of microseconds that becomes a `Duration`.
macro_rules! micros {
    ($section:literal, $name:literal, $min:expr, $max:expr, $($field:ident).+,
     $meaning:literal) => {
        Key {
            section: $section,
            name: $name,
            meaning: $meaning,
            value: Value::Number {
                unit: Unit::Micros,
                min: $min,
                max: $max,
                put: |settings, number| settings.$($field).+ = Duration::from_micros(number),
                of: |settings| u64::try_from(settings.$($field).+.as_micros()).unwrap_or(0),
            },
        }
    };
}

macro_rules! switch {
    ($section:literal, $name:literal, $field:ident, $meaning:literal) => {
        Key {
            section: $section,
            name: $name,
            meaning: $meaning,
            value: Value::Switch {
                put: |settings, on| settings.limits.$field = on,
                of: |settings| settings.limits.$field,
            },
        }
    };
}

/// A short text for clients, as a UTF-8 Encoded String carries it.
macro_rules! text {
    ($section:literal, $name:literal, $field:ident, $bytes_max:literal, $meaning:literal) => {
        Key {
            section: $section,
            name: $name,
            meaning: $meaning,
            value: Value::Text {
                allowed: concat!("must be a text of at most ", $bytes_max, " bytes"),
                integer_too: false,
                put: |settings, text| {
                    if text.len() > $bytes_max || text.contains('\0') {
                        return Err("");
                    }
                    settings.limits.$field = text.into();
                    Ok(())
                },
                of: |settings| settings.limits.$field.to_string(),
            },
        }
    };
}

/// One of some names.
macro_rules! choice {
    ($section:literal, $name:literal, $allowed:literal, $($field:ident).+,
     [$($text:literal => $choice:path),+], $meaning:literal) => {
        Key {
            section: $section,
            name: $name,
            meaning: $meaning,
            value: Value::Text {
                allowed: $allowed,
                integer_too: false,
                put: |settings, text| {
                    settings.$($field).+ = match text {
                        $($text => $choice,)+
                        _ => return Err(""),
                    };
                    Ok(())
                },
                of: |settings| match settings.$($field).+ {
                    $($choice => $text.to_owned(),)+
                },
            },
        }
    };
}

const U16_MAX: u64 = u16::MAX as u64;
const U32_MAX: u64 = u32::MAX as u64;
const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const TIB: u64 = 1 << 40;
/// A packet's remaining length is 268,435,455 bytes at most; with its header it is larger.
const PACKET_BYTES_MAX: u64 = 256 * MIB;

pub static KEYS: &[Key<Settings>] = &[
    Key {
        section: "node",
        name: "cores",
        meaning: "auto (the CPUs of the affinity mask), a number, or CPU ids such as \"0,2-5\"",
        value: Value::Text {
            allowed: "must be \"auto\", a number of cores 1 to 128, or CPU ids such as \"0,2-5\"",
            integer_too: true,
            put: |settings, text| {
                settings.node.cores = CoreSelection::parse(text).ok_or("")?;
                Ok(())
            },
            of: |settings| settings.node.cores.to_string(),
        },
    },
    Key {
        section: "node",
        name: "data_dir",
        meaning: "the directory that belongs to this broker; one process at a time",
        value: Value::Path {
            allowed: "must be a path",
            put: |settings, path| settings.node.data_dir = path,
            of: |settings| Some(&settings.node.data_dir),
        },
    },
    micros!(
        "node",
        "spin_us",
        0,
        1_000_000,
        node.spin_time,
        "a core with nothing to do looks so long for events before it sleeps; costs its CPU time"
    ),
    seconds!(
        "node",
        "shutdown_timeout_s",
        0,
        3600,
        node.shutdown_timeout,
        "time for goodbyes and unfinished sends at a requested stop"
    ),
    limit!(
        "mqtt",
        "max_packet_bytes",
        Bytes,
        128,
        PACKET_BYTES_MAX,
        packet_bytes_max,
        "largest packet taken from a client, header included; announced"
    ),
    limit!(
        "mqtt",
        "max_topic_levels",
        Count,
        1,
        1024,
        topic_levels_max,
        "most levels of a topic name or filter"
    ),
    limit!(
        "mqtt",
        "receive_maximum",
        Count,
        1,
        U16_MAX,
        receive_maximum,
        "QoS 1 and 2 messages a client may have unacknowledged towards us; announced"
    ),
    limit!(
        "mqtt",
        "topic_alias_maximum",
        Count,
        0,
        U16_MAX,
        topic_alias_maximum,
        "topic aliases a client may set; announced"
    ),
    limit!(
        "mqtt",
        "keep_alive_max_s",
        Seconds,
        1,
        U16_MAX,
        keep_alive_max_s,
        "a longer keep alive becomes this one; 65535 leaves every keep alive as it is"
    ),
    limit!(
        "mqtt",
        "session_expiry_max_s",
        Seconds,
        0,
        U32_MAX,
        session_expiry_max_s,
        "a longer session expiry becomes this one; 4294967295 allows sessions without end"
    ),
    limit!(
        "mqtt",
        "max_qos",
        Count,
        0,
        2,
        qos_max,
        "highest QoS taken from publishers; announced"
    ),
    switch!(
        "mqtt",
        "retain_available",
        retain_available,
        "whether messages may be retained; announced"
    ),
    switch!(
        "mqtt",
        "wildcard_available",
        wildcard_available,
        "whether subscriptions may have wildcards; announced"
    ),
    switch!(
        "mqtt",
        "shared_available",
        shared_available,
        "whether there are shared subscriptions; announced"
    ),
    switch!(
        "mqtt",
        "subscription_identifiers_available",
        subscription_identifiers_available,
        "whether subscriptions may have identifiers; announced"
    ),
    text!(
        "mqtt",
        "response_information",
        response_information,
        1024,
        "told to clients that ask for it, a base for their response topics; %c is the client \
         identifier; empty: nothing is told"
    ),
    choice!("mqtt", "redirect", "must be \"no\", \"another-server\" or \"moved\"",
        limits.redirect,
        ["no" => Redirect::No, "another-server" => Redirect::AnotherServer,
         "moved" => Redirect::Moved],
        "no, or refuse every CONNECT with Use another server or Server moved"),
    text!(
        "mqtt",
        "server_reference",
        server_reference,
        1024,
        "where redirected clients should go, such as \"host:1883\"; empty: not said"
    ),
    limit!(
        "mqtt",
        "max_client_id_chars_v31",
        Count,
        23,
        U16_MAX,
        client_id_characters_max_v31,
        "longest client identifier of a 3.1 client; its specification says 23"
    ),
    seconds!(
        "mqtt",
        "connect_timeout_s",
        1,
        600,
        limits.connect_timeout,
        "time from accept to a complete CONNECT"
    ),
    limit!(
        "mqtt",
        "max_connect_bytes",
        Bytes,
        128,
        PACKET_BYTES_MAX,
        connect_packet_bytes_max,
        "largest CONNECT"
    ),
    limit!(
        "session",
        "max_inflight",
        Count,
        1,
        U16_MAX,
        inflight_max,
        "QoS 1 and 2 messages unacknowledged by a client, if its own limit is not smaller"
    ),
    limit!(
        "session",
        "max_queued_messages",
        Count,
        0,
        U32_MAX,
        queued_messages_max,
        "messages that wait for one session beyond those in flight"
    ),
    limit!(
        "session",
        "max_queued_bytes",
        Bytes,
        0,
        TIB,
        queued_bytes_max,
        "bytes that wait for one session"
    ),
    choice!("shared", "strategy",
        "must be \"round-robin\", \"least-inflight\", \"sticky\", \"hash-client\", \"hash-topic\" \
         or \"random\"",
        limits.shared_strategy,
        ["round-robin" => SharedStrategy::RoundRobin,
         "least-inflight" => SharedStrategy::LeastInflight,
         "sticky" => SharedStrategy::Sticky,
         "hash-client" => SharedStrategy::HashClient,
         "hash-topic" => SharedStrategy::HashTopic,
         "random" => SharedStrategy::Random],
        "which member of a shared subscription gets a message"),
    choice!("session", "queue_full", "must be \"drop-oldest\", \"drop-newest\" or \"reject\"",
        limits.queue_full,
        ["drop-oldest" => QueueFullPolicy::DropOldest,
         "drop-newest" => QueueFullPolicy::DropNewest,
         "reject" => QueueFullPolicy::Reject],
        "what a full queue does: drop-oldest, drop-newest, or reject (drops the newest and tells \
         5.0 publishers)"),
    limit!(
        "session",
        "max_sessions",
        Count,
        1,
        100_000_000,
        sessions_max,
        "sessions, connected or not, over all cores"
    ),
    limit!(
        "session",
        "max_subscriptions",
        Count,
        1,
        U32_MAX,
        subscriptions_per_session_max,
        "subscriptions of one session"
    ),
    limit!(
        "retained",
        "max_messages",
        Count,
        0,
        U32_MAX,
        retained_messages_max,
        "retained messages, over all cores"
    ),
    limit!(
        "retained",
        "max_bytes",
        Bytes,
        0,
        16 * TIB,
        retained_bytes_max,
        "memory of the retained messages: contents, 144 bytes each, 96 for each node of the topic \
         tree, 80 for each different level"
    ),
    limit!(
        "retained",
        "max_payload_bytes",
        Bytes,
        0,
        PACKET_BYTES_MAX,
        retained_payload_bytes_max,
        "largest payload that is retained; a larger one is delivered but not stored"
    ),
    Key {
        section: "retained",
        name: "ttl_s",
        meaning: "retained messages end after this time at the latest; 0 keeps them",
        value: Value::Number {
            unit: Unit::Seconds,
            min: 0,
            max: U32_MAX,
            put: |settings, number| {
                settings.limits.retained_ttl = (number > 0).then(|| Duration::from_secs(number));
            },
            of: |settings| settings.limits.retained_ttl.map_or(0, |ttl| ttl.as_secs()),
        },
    },
    choice!("durability", "ack", "must be \"disk\", \"os\" or \"none\"",
        limits.durability.ack,
        ["disk" => DurabilityAck::Disk, "os" => DurabilityAck::Os, "none" => DurabilityAck::None],
        "who must have a message before its acknowledgement: disk, os or none"),
    Key {
        section: "durability",
        name: "segment_bytes",
        meaning: "size of the journal's files; each core has two at least",
        value: Value::Number {
            unit: Unit::Bytes,
            min: 2 * MIB,
            max: GIB,
            // Whole pages, as the journal's blocks are.
            put: |settings, number| {
                settings.limits.durability.segment_bytes = narrow(number & !4095);
            },
            of: |settings| u64::from(settings.limits.durability.segment_bytes),
        },
    },
    Key {
        section: "durability",
        name: "snapshot_after_bytes",
        meaning: "journal of a core that makes a snapshot due: bounds the time of a start",
        value: Value::Number {
            unit: Unit::Bytes,
            min: MIB,
            max: TIB,
            put: |settings, number| settings.limits.durability.snapshot_after_bytes = number,
            of: |settings| settings.limits.durability.snapshot_after_bytes,
        },
    },
    Key {
        section: "durability",
        name: "buffer_bytes",
        meaning: "bytes of a core that gather during a write; past it publishers wait",
        value: Value::Number {
            unit: Unit::Bytes,
            min: 64 * KIB,
            max: GIB,
            put: |settings, number| settings.limits.durability.buffer_bytes_max = narrow(number),
            of: |settings| u64::from(settings.limits.durability.buffer_bytes_max),
        },
    },
    limit!(
        "durability",
        "queue_memory_bytes",
        Bytes,
        0,
        TIB,
        queue_memory_bytes_max,
        "bytes of a persistent session's queue that stay in memory; the rest is on the disk only"
    ),
    limit!(
        "durability",
        "queues_memory_bytes",
        Bytes,
        MIB,
        TIB,
        queues_memory_bytes_max,
        "bytes of memory for the queues of all persistent sessions; past it they are on the disk"
    ),
    micros!(
        "durability",
        "sync_delay_us",
        0,
        1_000_000,
        durability.sync_delay,
        "shortest time from one write of a core's journal to the next; 0: none"
    ),
    Key {
        section: "durability",
        name: "disk_max_bytes",
        meaning: "bytes of all journal files; past it QoS 1 and 2 are refused; 0: what there is",
        value: Value::Number {
            unit: Unit::Bytes,
            min: 0,
            max: 1024 * TIB,
            put: |settings, number| {
                settings.durability.disk_bytes_max = (number > 0).then_some(number);
            },
            of: |settings| settings.durability.disk_bytes_max.unwrap_or(0),
        },
    },
    Key {
        section: "durability",
        name: "min_free_bytes",
        meaning: "bytes that stay free on the disk; below it QoS 1 and 2 are refused",
        value: Value::Number {
            unit: Unit::Bytes,
            min: 0,
            max: 1024 * TIB,
            put: |settings, number| settings.durability.free_bytes_min = number,
            of: |settings| settings.durability.free_bytes_min,
        },
    },
    limit!(
        "limit",
        "send_queue_bytes",
        Bytes,
        4 * KIB,
        GIB,
        send_queue_bytes_max,
        "bytes that wait for one client's socket; past it QoS 0 is dropped and counted"
    ),
    seconds!(
        "limit",
        "send_timeout_s",
        1,
        3600,
        limits.send_timeout,
        "a client whose socket takes nothing for this long is closed"
    ),
    limit!(
        "limit",
        "reassembly_bytes",
        Bytes,
        64 * KIB,
        TIB,
        reassembly_bytes_max,
        "bytes of incomplete packets, over all connections and cores"
    ),
    limit!(
        "limit",
        "link_bytes",
        Bytes,
        64 * KIB,
        GIB,
        link_bytes_max,
        "bytes on the way from one core to another; past it publishers are paused"
    ),
    limit!(
        "limit",
        "link_messages",
        Count,
        16,
        1_000_000,
        link_messages_max,
        "messages on the way from one core to another; past it publishers are paused"
    ),
    seconds!(
        "sys",
        "interval_s",
        0,
        3600,
        limits.sys_interval,
        "between two updates of the $SYS topics; 0 turns them off"
    ),
    choice!("log", "level", "must be \"error\", \"warn\", \"info\", \"debug\" or \"trace\"",
        log.level,
        ["error" => LogLevel::Error, "warn" => LogLevel::Warn, "info" => LogLevel::Info,
         "debug" => LogLevel::Debug, "trace" => LogLevel::Trace],
        "least severe level that is written: error, warn, info, debug or trace"),
    choice!("log", "format", "must be \"text\" or \"json\"", log.format,
        ["text" => LogFormat::Text, "json" => LogFormat::Json],
        "text or json"),
];

/// The keys' ranges keep every number inside its field.
pub(super) fn narrow<N: TryFrom<u64> + Bounded>(number: u64) -> N {
    N::try_from(number).unwrap_or(N::LARGEST)
}

pub(super) trait Bounded {
    const LARGEST: Self;
}

impl Bounded for u8 {
    const LARGEST: Self = Self::MAX;
}
impl Bounded for u16 {
    const LARGEST: Self = Self::MAX;
}
impl Bounded for u32 {
    const LARGEST: Self = Self::MAX;
}
impl Bounded for u64 {
    const LARGEST: Self = Self::MAX;
}

impl<T> Key<T> {
    /// `section.name`.
    #[must_use]
    pub fn full_name(&self) -> String {
        format!("{}.{}", self.section, self.name)
    }

    /// What the key takes, as the end of a message.
    #[must_use]
    pub fn allowed(&self) -> String {
        match &self.value {
            Value::Number { unit, min, max, .. } => {
                let (min, max) = (quantity::show(*min, *unit), quantity::show(*max, *unit));
                match unit {
                    Unit::Count => format!("must be a number from {min} to {max}"),
                    Unit::Seconds => format!("must be seconds from {min} to {max}"),
                    Unit::Micros => format!("must be microseconds from {min} to {max}"),
                    Unit::Bytes => format!(
                        "must be bytes from {min} to {max}, as a number or with a unit (\"16MiB\")"
                    ),
                }
            }
            Value::Switch { .. } => "must be true or false".to_owned(),
            Value::Text { allowed, .. } | Value::Path { allowed, .. } => (*allowed).to_owned(),
        }
    }

    /// The value as TOML; `None`: it is left out.
    #[must_use]
    pub fn show(&self, target: &T) -> Option<String> {
        let text = match &self.value {
            Value::Number { unit, of, .. } => {
                let shown = quantity::show(of(target), *unit);
                let plain = shown.bytes().all(|byte| byte.is_ascii_digit());
                if plain { shown } else { format!("\"{shown}\"") }
            }
            Value::Switch { of, .. } => of(target).to_string(),
            Value::Text { of, .. } => toml::Value::String(of(target)).to_string(),
            Value::Path { of, .. } => {
                let path = of(target)?.display().to_string();
                toml::Value::String(path).to_string()
            }
        };
        Some(text)
    }
}
