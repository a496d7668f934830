//! The keys of a listener, and those of its part `tls`.

use super::address::ListenAddress;
use super::key::{Key, LISTENER, LISTENER_TLS, Value, narrow};
use super::limits::DurabilityAck;
use super::quantity::Unit;
use super::settings::{ListenerSettings, TlsSettings, TlsVersion};

pub static LISTENER_KEYS: &[Key<ListenerSettings>] = &[
    Key {
        section: LISTENER,
        name: "bind",
        meaning: "where to listen, tcp://HOST:PORT or tls://HOST:PORT; port 0 takes a free one",
        value: Value::Text {
            allowed: "must be tcp://HOST:PORT or tls://HOST:PORT",
            integer_too: false,
            put: |listener, url| {
                listener.bind = ListenAddress::parse(url)?;
                Ok(())
            },
            of: |listener| listener.bind.to_string(),
        },
    },
    Key {
        section: LISTENER,
        name: "max_connections",
        meaning: "connections of this listener at one time, over all cores",
        value: Value::Number {
            unit: Unit::Count,
            min: 1,
            max: 16_000_000,
            put: |listener, number| listener.max_connections = narrow(number),
            of: |listener| u64::from(listener.max_connections),
        },
    },
    Key {
        section: LISTENER,
        name: "allow_anonymous",
        meaning: "let clients in without asking who they are",
        value: Value::Switch {
            put: |listener, on| listener.allow_anonymous = on,
            of: |listener| listener.allow_anonymous,
        },
    },
    Key {
        section: LISTENER,
        name: "backlog",
        meaning: "connections that wait in the kernel; net.core.somaxconn cuts it",
        value: Value::Number {
            unit: Unit::Count,
            min: 1,
            max: 65_535,
            put: |listener, number| listener.backlog = narrow(number),
            of: |listener| u64::from(listener.backlog),
        },
    },
    Key {
        section: LISTENER,
        name: "max_qos",
        meaning: "highest QoS taken from publishers here, if mqtt.max_qos is not lower; announced",
        value: Value::Number {
            unit: Unit::Count,
            min: 0,
            max: 2,
            put: |listener, number| listener.limits.qos_max = narrow(number),
            of: |listener| u64::from(listener.limits.qos_max),
        },
    },
    Key {
        section: LISTENER,
        name: "check_payload_format",
        meaning: "refuse payloads that say they are UTF-8 and are not",
        value: Value::Switch {
            put: |listener, on| listener.limits.check_payload_format = on,
            of: |listener| listener.limits.check_payload_format,
        },
    },
    Key {
        section: LISTENER,
        name: "durability_ack",
        meaning: "durability.ack for the messages of these clients; default: as that key says. os \
                  where other listeners have disk is disk",
        value: Value::Text {
            allowed: "must be \"default\", \"disk\", \"os\" or \"none\"",
            integer_too: false,
            put: |listener, text| {
                listener.limits.durability_ack = match text {
                    "default" => None,
                    "disk" => Some(DurabilityAck::Disk),
                    "os" => Some(DurabilityAck::Os),
                    "none" => Some(DurabilityAck::None),
                    _ => return Err(""),
                };
                Ok(())
            },
            of: |listener| match listener.limits.durability_ack {
                None => "default".to_owned(),
                Some(DurabilityAck::Disk) => "disk".to_owned(),
                Some(DurabilityAck::Os) => "os".to_owned(),
                Some(DurabilityAck::None) => "none".to_owned(),
            },
        },
    },
    Key {
        section: LISTENER,
        name: "mount_point",
        meaning: "stands before all topics of these clients, unseen by them, such as \"tenant/\"; \
                  empty: nothing",
        value: Value::Text {
            allowed: "must be at most 1024 bytes of a topic name, without + and #, not below $",
            integer_too: false,
            put: |listener, text| {
                let is_name = !text.contains(['+', '#', '\0']) && !text.starts_with('$');
                if text.len() > 1024 || !is_name {
                    return Err("");
                }
                listener.limits.mount_point = text.to_owned();
                Ok(())
            },
            of: |listener| listener.limits.mount_point.clone(),
        },
    },
];

/// What a key for a file that need not be there takes.
const PATH_OR_NONE: &str = "must be the path of a PEM file, or left out";

pub static TLS_KEYS: &[Key<TlsSettings>] = &[
    Key {
        section: LISTENER_TLS,
        name: "cert",
        meaning: "PEM file: the certificate chain, the listener's own first",
        value: Value::Path {
            allowed: "must be the path of a PEM file",
            put: |tls, path| tls.cert = path,
            of: |tls| Some(&tls.cert),
        },
    },
    Key {
        section: LISTENER_TLS,
        name: "key",
        meaning: "PEM file: the private key of the first certificate",
        value: Value::Path {
            allowed: "must be the path of a PEM file",
            put: |tls, path| tls.key = path,
            of: |tls| Some(&tls.key),
        },
    },
    Key {
        section: LISTENER_TLS,
        name: "client_ca",
        meaning: "PEM file: who signs the clients' certificates; left out: none are asked for",
        value: Value::Path {
            allowed: PATH_OR_NONE,
            put: |tls, path| tls.client_ca = Some(path),
            of: |tls| tls.client_ca.as_deref(),
        },
    },
    Key {
        section: LISTENER_TLS,
        name: "crl",
        meaning: "PEM file: clients' certificates that are revoked; left out: none are",
        value: Value::Path {
            allowed: PATH_OR_NONE,
            put: |tls, path| tls.crl = Some(path),
            of: |tls| tls.crl.as_deref(),
        },
    },
    Key {
        section: LISTENER_TLS,
        name: "require_client_cert",
        meaning: "send away clients without a certificate",
        value: Value::Switch {
            put: |tls, on| tls.require_client_cert = on,
            of: |tls| tls.require_client_cert,
        },
    },
    Key {
        section: LISTENER_TLS,
        name: "min_version",
        meaning: "oldest version of TLS that is spoken: 1.2 or 1.3",
        value: Value::Text {
            allowed: "must be \"1.2\" or \"1.3\"",
            integer_too: false,
            put: |tls, text| {
                tls.min_version = match text {
                    "1.2" => TlsVersion::V1_2,
                    "1.3" => TlsVersion::V1_3,
                    _ => return Err(""),
                };
                Ok(())
            },
            of: |tls| match tls.min_version {
                TlsVersion::V1_2 => "1.2".to_owned(),
                TlsVersion::V1_3 => "1.3".to_owned(),
            },
        },
    },
];
