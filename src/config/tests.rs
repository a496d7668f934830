//! Texts and what they configure, or exactly what is wrong with them.

use super::address::ListenAddress;
use super::fuzz::exercise_config;
use super::limits::{DurabilityAck, QueueFullPolicy};
use super::load::{FileText, Override, Sources, load};
use super::memory::{memory_sum, show};
use super::settings::{CoreSelection, LogFormat, LogLevel, Settings};
use super::show::to_toml;
use crate::base::random::Random;
use std::time::Duration;

pub(super) fn file(name: &str, text: &str) -> FileText {
    FileText {
        name: name.to_owned(),
        text: text.to_owned(),
    }
}

pub(super) fn loaded(text: &str) -> Settings {
    let sources = Sources {
        files: vec![file("r.toml", text)],
        ..Sources::default()
    };
    load(&sources).unwrap_or_else(|problems| panic!("refused:\n{problems}"))
}

fn problems_of(sources: &Sources) -> Vec<String> {
    match load(sources) {
        Ok(_) => Vec::new(),
        Err(problems) => problems.0.iter().map(ToString::to_string).collect(),
    }
}

pub(super) fn check(text: &str, expected: &[&str]) {
    let sources = Sources {
        files: vec![file("r.toml", text)],
        ..Sources::default()
    };
    assert_eq!(problems_of(&sources), expected, "\nof:\n{text}");
}

#[test]
fn empty_text_is_the_default() {
    assert_eq!(loaded(""), Settings::default());
    assert_eq!(loaded("[node]\n[mqtt]\n"), Settings::default());
    let settings = Settings::default();
    assert_eq!(
        settings.listeners[0].bind.to_string(),
        "tcp://127.0.0.1:1883"
    );
    assert!(settings.listeners[0].allow_anonymous);
    assert_eq!(settings.limits.connections_max, 100_000);
}

#[test]
fn every_section_reaches_its_settings() {
    let settings = loaded(
        r#"
        [node]
        cores = "0,2-3"
        data_dir = "/var/lib/ringway"
        spin_us = 50
        shutdown_timeout_s = 3
        [[listener]]
        bind = "tcp://0.0.0.0:1883"
        max_connections = 10
        allow_anonymous = true
        backlog = 5
        [[listener]]
        bind = "tcp://[::1]:0"
        max_connections = 1_000
        durability_ack = "none"
        [mqtt]
        max_packet_bytes = "1MiB"
        receive_maximum = 20
        max_qos = 1
        retain_available = false
        connect_timeout_s = 4
        [session]
        queue_full = "drop-newest"
        max_queued_bytes = 0x10000
        [retained]
        ttl_s = 60
        [durability]
        ack = "os"
        segment_bytes = "32MiB"
        snapshot_after_bytes = "1GiB"
        buffer_bytes = "1MiB"
        sync_delay_us = 250
        disk_max_bytes = "10GiB"
        min_free_bytes = 0
        [limit]
        send_timeout_s = 7
        link_bytes = "10MB"
        [log]
        level = "warn"
        format = "json"
        "#,
    );
    assert_eq!(settings.node.cores, CoreSelection::List(vec![0, 2, 3]));
    assert_eq!(settings.node.data_dir.to_str(), Some("/var/lib/ringway"));
    assert_eq!(settings.node.spin_time, Duration::from_micros(50));
    assert_eq!(settings.node.shutdown_timeout, Duration::from_secs(3));
    assert_eq!(settings.listeners.len(), 2);
    assert_eq!(settings.listeners[0].backlog, 5);
    assert!(settings.listeners[1].allow_anonymous);
    let acks = settings.listeners.iter().map(|it| it.limits.durability_ack);
    assert!(acks.eq([None, Some(DurabilityAck::None)]));
    let limits = &settings.limits;
    assert_eq!(limits.connections_max, 1010);
    assert_eq!(limits.packet_bytes_max, 1 << 20);
    assert_eq!((limits.receive_maximum, limits.qos_max), (20, 1));
    assert!(!limits.retain_available);
    assert_eq!(limits.connect_timeout, Duration::from_secs(4));
    assert_eq!(limits.queue_full, QueueFullPolicy::DropNewest);
    assert_eq!(limits.queued_bytes_max, 65_536);
    assert_eq!(limits.retained_ttl, Some(Duration::from_secs(60)));
    assert_eq!(limits.send_timeout, Duration::from_secs(7));
    assert_eq!(limits.link_bytes_max, 10_000_000);
    assert_eq!(limits.durability.ack, DurabilityAck::Os);
    assert_eq!(limits.durability.segment_bytes, 32 << 20);
    assert_eq!(limits.durability.snapshot_after_bytes, 1 << 30);
    assert_eq!(limits.durability.buffer_bytes_max, 1 << 20);
    let durability = settings.durability;
    assert_eq!(durability.sync_delay, Duration::from_micros(250));
    assert_eq!(durability.disk_bytes_max, Some(10 << 30));
    assert_eq!(durability.free_bytes_min, 0);
    assert_eq!(settings.log.level, LogLevel::Warn);
    assert_eq!(settings.log.format, LogFormat::Json);
}

#[test]
fn message_fits_into_a_file_of_the_journal() {
    let sizes = |text: &str| {
        let limits = loaded(text).limits;
        (limits.durability.segment_bytes, limits.packet_bytes_max)
    };
    assert_eq!(
        sizes("[durability]\nsegment_bytes = \"2MiB\""),
        (2 << 20, (2 << 20) - (128 << 10))
    );
    assert_eq!(
        sizes("[mqtt]\nmax_packet_bytes = \"100MiB\"\n[limit]\nreassembly_bytes = \"1GiB\""),
        (101 << 20, 100 << 20)
    );
    check(
        "[mqtt]\nmax_packet_bytes = \"2MiB\"\n[durability]\nsegment_bytes = \"2MiB\"",
        &[
            "r.toml:4:17: durability.segment_bytes: must be at least 2176KiB: a message of \
             mqtt.max_packet_bytes, or one to a session with all of session.max_subscriptions, \
             must fit into a file",
        ],
    );
}

#[test]
fn cores_are_read_in_every_form() {
    let cases = [
        ("\"auto\"", CoreSelection::Auto),
        ("4", CoreSelection::Count(4)),
        ("\"4\"", CoreSelection::Count(4)),
        ("\"4,\"", CoreSelection::List(vec![4])),
        ("\"5-7,1\"", CoreSelection::List(vec![1, 5, 6, 7])),
        ("\"3,1-2,2\"", CoreSelection::List(vec![1, 2, 3])),
    ];
    for (text, cores) in cases {
        assert_eq!(
            loaded(&format!("node.cores = {text}")).node.cores,
            cores,
            "{text}"
        );
    }
}

#[test]
fn unreadable_cores_are_refused() {
    for text in [
        "", "0", "129", "-1", "7-5", "1,,2", "a", "9999", "0-8191", "1-2-3", "+1",
    ] {
        assert_eq!(CoreSelection::parse(text), None, "{text}");
    }
}

#[test]
fn all_problems_are_said_with_their_places() {
    check(
        "[node]\ncores = 0\n\n[mqtt]\n  max_qos = 3\n  speed = 1\n[tls]\ncert = 1\n",
        &[
            "r.toml:2:9: node.cores: must be \"auto\", a number of cores 1 to 128, or CPU ids \
             such as \"0,2-5\", is 0",
            "r.toml:5:13: mqtt.max_qos: must be a number from 0 to 2, is 3",
            "r.toml:6:3: mqtt.speed: unknown key, known in this section are max_packet_bytes, \
             max_topic_levels, receive_maximum, topic_alias_maximum, keep_alive_max_s, \
             session_expiry_max_s, max_qos, retain_available, wildcard_available, \
             shared_available, subscription_identifiers_available, response_information, redirect, \
             server_reference, max_client_id_chars_v31, connect_timeout_s, max_connect_bytes",
            "r.toml:7:2: tls: unknown section, known are node, listener, mqtt, shared, session, \
             retained, durability, limit, sys, log",
        ],
    );
}

#[test]
fn values_of_the_wrong_kind_are_refused() {
    check(
        "mqtt.max_qos = \"2\"\nmqtt.retain_available = 1\nmqtt.max_packet_bytes = 1.5\n\
         log.level = 3\nsession = 5\nretained.ttl_s = 1979-05-27\n",
        &[
            "r.toml:1:16: mqtt.max_qos: must be a number from 0 to 2, is \"2\"",
            "r.toml:2:25: mqtt.retain_available: must be true or false, is 1",
            "r.toml:3:25: mqtt.max_packet_bytes: must be bytes from 128B to 256MiB, as a number \
             or with a unit (\"16MiB\"), is a number with a fraction",
            "r.toml:4:13: log.level: must be \"error\", \"warn\", \"info\", \"debug\" or \
             \"trace\", is 3",
            "r.toml:5:1: session: must be a section [session], is a number",
            "r.toml:6:18: retained.ttl_s: must be seconds from 0 to 4294967295, is a date",
        ],
    );
}

#[test]
fn values_out_of_range_are_refused() {
    check(
        "[mqtt]\nmax_packet_bytes = \"257MiB\"\nreceive_maximum = 0\nkeep_alive_max_s = 70_000\n\
         [session]\nmax_queued_bytes = \"5 parsecs\"\nqueue_full = \"block\"\n\
         max_sessions = -1\nmax_subscriptions = 99999999999999999999999999999999999999999\n",
        &[
            "r.toml:2:20: mqtt.max_packet_bytes: must be bytes from 128B to 256MiB, as a number \
             or with a unit (\"16MiB\"), is \"257MiB\"",
            "r.toml:3:19: mqtt.receive_maximum: must be a number from 1 to 65535, is 0",
            "r.toml:4:20: mqtt.keep_alive_max_s: must be seconds from 1 to 65535, is 70000",
            "r.toml:6:20: session.max_queued_bytes: must be bytes from 0 to 1TiB, as a number or \
             with a unit (\"16MiB\"), is \"5 parsecs\"",
            "r.toml:7:14: session.queue_full: must be \"drop-oldest\", \"drop-newest\" or \
             \"reject\", is \
             \"block\"",
            "r.toml:8:16: session.max_sessions: must be a number from 1 to 100000000, is -1",
            "r.toml:9:21: session.max_subscriptions: must be a number from 1 to 4294967295, is \
             99999999999999999999999999999999999999999",
        ],
    );
}

#[test]
fn text_that_is_no_toml_is_refused_at_its_place() {
    for (text, place) in [
        ("[node\ncores = 1\n", "r.toml:1:"),
        ("[node]\ncores = \n", "r.toml:2:"),
        ("[node]\ncores = 1\ncores = 2\n", "r.toml:3:1: "),
    ] {
        let sources = Sources {
            files: vec![file("r.toml", text)],
            ..Sources::default()
        };
        let problems = problems_of(&sources);
        assert!(problems[0].starts_with(place), "{problems:?}");
        assert!(problems.iter().all(|problem| !problem.contains('\n')));
    }
}

pub(super) const EXPOSED: &str = "other machines can reach this address and nobody is asked who \
    they are: write allow_anonymous = true on this listener (?allow_anonymous=true behind a \
    --listen URL) to let everybody in, bind 127.0.0.1, or take a tls:// address with client_ca \
    and require_client_cert = true under [listener.tls]";

pub(super) const NOBODY: &str = "nobody could connect, as client certificates are the only \
    authentication yet: must be true, left out on a loopback address, or stand on a tls:// \
    address with require_client_cert = true";

#[test]
fn listener_problems_are_said() {
    let exposed = format!("r.toml:2:8: listener.bind: {EXPOSED}");
    check("[[listener]]\nbind = \"tcp://0.0.0.0:1883\"\n", &[&exposed]);
    check(
        "[[listener]]\nbind = \"tcp://127.0.0.1:1\"\nallow_anonymous = false\n",
        &[&format!("r.toml:3:19: listener.allow_anonymous: {NOBODY}")],
    );
    check(
        "[[listener]]\nbacklog = 0\n\n[[listener]]\nbind = \"ssl://127.0.0.1:8883\"\n",
        &[
            "r.toml:1:1: listener.bind: missing, write for example bind = \
             \"tcp://127.0.0.1:1883\"",
            "r.toml:2:11: listener.backlog: must be a number from 1 to 65535, is 0",
            "r.toml:5:8: listener.bind: only tcp://HOST:PORT and tls://HOST:PORT are supported, is \
             \"ssl://127.0.0.1:8883\"",
        ],
    );
    check(
        "[[listener]]\nbind = \"tcp://127.0.0.1:1\"\nspeed = true\n\
         [[listener]]\nbind = \"tcp://127.0.0.1:1\"\n",
        &[
            "r.toml:3:1: listener.speed: unknown key, known in this section are bind, \
             max_connections, allow_anonymous, backlog, max_qos, check_payload_format, \
             durability_ack, mount_point, tls.cert, tls.key, tls.client_ca, tls.crl, \
             tls.require_client_cert, tls.min_version",
            "r.toml:5:8: listener.bind: tcp://127.0.0.1:1 is listened on already",
        ],
    );
    let not_a_list = "must be a list, each entry under [[listener]]";
    check(
        "[listener]\nbind = 1\n",
        &[&format!("r.toml:1:2: listener: {not_a_list}")],
    );
    check(
        "listener = [1]\n",
        &[&format!("r.toml:1:13: listener: {not_a_list}")],
    );
    check(
        "listener = []\n",
        &["r.toml:1:1: listener: must have at least one [[listener]]"],
    );
}

#[test]
fn sizes_must_agree() {
    let limits = loaded("mqtt.max_packet_bytes = \"64KiB\"").limits;
    assert_eq!(limits.connect_packet_bytes_max, 64 << 10);
    check(
        "[mqtt]\nmax_packet_bytes = 1000\nmax_connect_bytes = 1001\n",
        &[
            "r.toml:3:21: mqtt.max_connect_bytes: must not be more than mqtt.max_packet_bytes \
           (1000B)",
        ],
    );
    check(
        "[limit]\nreassembly_bytes = \"1MiB\"\n",
        &[
            "r.toml:2:20: limit.reassembly_bytes: must be at least mqtt.max_packet_bytes (16MiB), \
           or the largest packet could never be collected",
        ],
    );
}

fn set(name: &str, key: &str, value: &str) -> Override {
    Override {
        name: name.to_owned(),
        key: key.to_owned(),
        value: value.to_owned(),
    }
}

#[test]
fn later_layers_win() {
    let environment = [
        ("RINGWAY__SESSION__MAX_INFLIGHT", "4"),
        ("RINGWAY__LOG__LEVEL", "debug"),
        ("PATH", "/bin"),
    ];
    let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let mut overrides = Override::from_environment(environment.into_iter());
    overrides.push(Override::from_assignment("session.max_inflight = 5").unwrap());
    let listeners = "[[listener]]\nbind = \"tcp://127.0.0.1:";
    let mut sources = Sources {
        files: vec![
            file(
                "r.toml",
                "session.max_inflight = 2\nmqtt.max_qos = 0\nretained.ttl_s = 9",
            ),
            file(
                "conf.d/1.toml",
                &format!("mqtt.max_qos = 1\n{listeners}1\"\n{listeners}2\""),
            ),
            file("conf.d/2.toml", &format!("{listeners}3\"")),
        ],
        overrides,
        listen: Vec::new(),
    };
    let settings = load(&sources).unwrap();
    assert_eq!(settings.limits.inflight_max, 5);
    assert_eq!(settings.limits.qos_max, 1);
    assert_eq!(settings.limits.retained_ttl, Some(Duration::from_secs(9)));
    assert_eq!(settings.log.level, LogLevel::Debug);
    let ports = |settings: &Settings| -> Vec<u16> {
        settings
            .listeners
            .iter()
            .map(|listener| listener.bind.port)
            .collect()
    };
    assert_eq!(ports(&settings), [3]);

    sources.listen = vec![
        "tcp://localhost:4".to_owned(),
        "tcp://0.0.0.0:5?allow_anonymous=true&max_connections=7".to_owned(),
    ];
    let settings = load(&sources).unwrap();
    assert_eq!(ports(&settings), [4, 5]);
    assert_eq!(settings.listeners[1].max_connections, 7);
    let any = ListenAddress::parse("tcp://0.0.0.0:5").unwrap();
    assert_eq!(settings.listeners[1].bind, any);
}

#[test]
fn problems_from_outside_name_the_flag_or_variable() {
    let sources = Sources {
        files: vec![file("r.toml", "mqtt.max_qos = 9")],
        overrides: vec![
            set("RINGWAY__MQTT__MAX_QOS", "mqtt.max_qos", "many"),
            set("RINGWAY__MAX_QOS", "max_qos", "1"),
            set("--set log.colour=1", "log.colour", "1"),
            set("--set listener.bind=x", "listener.bind", "x"),
            set("--cores", "node.cores", "none"),
        ],
        listen: vec![
            "ws://localhost:1".to_owned(),
            "tcp://1.2.3.4:1?backlog=0&tls=1".to_owned(),
        ],
    };
    let exposed = format!("--listen tcp://1.2.3.4:1?backlog=0&tls=1: listener.bind: {EXPOSED}");
    let expected = [
        "r.toml:1:16: mqtt.max_qos: must be a number from 0 to 2, is 9",
        "RINGWAY__MQTT__MAX_QOS: mqtt.max_qos: must be a number from 0 to 2, is \"many\"",
        "RINGWAY__MAX_QOS: max_qos: unknown section, known are node, listener, mqtt, shared, \
         session, retained, durability, limit, sys, log",
        "--set log.colour=1: log.colour: unknown key, known in this section are level, format",
        "--set listener.bind=x: listener.bind: listeners are set in a file or by --listen URL",
        "--cores: node.cores: must be \"auto\", a number of cores 1 to 128, or CPU ids such as \
         \"0,2-5\", is \"none\"",
        "--listen ws://localhost:1: listener.bind: only tcp://HOST:PORT and tls://HOST:PORT are \
         supported, is \"ws://localhost:1\"",
        "--listen tcp://1.2.3.4:1?backlog=0&tls=1: listener.backlog: must be a number from 1 to \
         65535, is \"0\"",
        "--listen tcp://1.2.3.4:1?backlog=0&tls=1: listener.tls: unknown key, known in this \
         section are bind, max_connections, allow_anonymous, backlog, max_qos, \
         check_payload_format, durability_ack, mount_point, tls.cert, tls.key, tls.client_ca, \
         tls.crl, tls.require_client_cert, tls.min_version",
        &exposed,
    ];
    assert_eq!(problems_of(&sources), expected);
    let problem = Override::from_assignment("log.level").unwrap_err();
    assert_eq!(
        problem.to_string(),
        "--set log.level: must be section.key=value"
    );
}

#[test]
fn shown_settings_load_to_the_same() {
    let text = "mqtt.max_packet_bytes = 1001\nnode.cores = \"3,\"\nretained.ttl_s = 5\n\
                node.data_dir = 'C:\\\"quoted\" '\n[[listener]]\nbind = 'tcp://[::1]:7'\n";
    let tls = "[[listener]]\nbind = 'tls://[::1]:7'\ntls = {cert = 'a \"b\"', key = '\u{e9}'}\n\
               [[listener]]\nbind = 'tcp://[::1]:8'\n";
    for settings in [Settings::default(), loaded(text), loaded(tls)] {
        assert_eq!(loaded(&to_toml(&settings)), settings);
        let with_memory = to_toml(&settings) + &show(&memory_sum(&settings, 2), 2);
        assert_eq!(loaded(&with_memory), settings);
    }
}

#[test]
fn memory_sum_follows_the_limits() {
    let text = "[[listener]]\nbind = 'tcp://127.0.0.1:1'\nmax_connections = 1000\n\
                [session]\nmax_sessions = 3000\n";
    let lines = memory_sum(&loaded(text), 2);
    let bytes = |what: &str| lines.iter().find(|line| line.what == what).unwrap().bytes();
    assert_eq!(bytes("receive buffers, per core"), 16 << 20);
    assert_eq!(bytes("idle connections"), 1000 * 1024);
    assert_eq!(bytes("sessions without a connection"), 2000 * 512);
    assert_eq!(bytes("incomplete packets"), 512 << 20);
}

/// Bytes that are nearly a configuration reach further than bytes that are not.
#[test]
fn no_bytes_panic() {
    let pieces: &[&[u8]] = &[
        b"[[listener]]\n",
        b"[node]\n",
        b"bind = ",
        b"cores=",
        b"\"tcp://[::1]:0\"",
        b"\"0-9,\"",
        b"mqtt.max_packet_bytes = ",
        b"listener = [",
        b"]",
        b"{",
        b"}",
        b"=",
        b".",
        b"\"",
        b"'''",
        b"\n",
        b"\r",
        b"\xff",
        b"1e9",
        b"-1",
        b"0x7fffffffffffffffffff",
        b"\xf0\x9f\xa6\x80",
        b"#",
        b"node.data_dir = 'a\\b'",
        b"retained.ttl_s = 0",
        b"\"1KiB\"",
        b"allow_anonymous = true\n",
        b"[listener.tls]\n",
        b"bind = 'tls://[::1]:0'\n",
        b"cert = 'a'\nkey = 'b'\n",
        b"tls.client_ca",
        b"require_client_cert = true\n",
        b"tls://[::1]:0?tls.cert=a&tls.key=b&",
        b"&",
    ];
    let mut random = Random::new(7);
    let mut draw = |bound: usize| usize::try_from(random.below(bound as u64)).unwrap_or_default();
    for _ in 0..3000 {
        let mut bytes = Vec::new();
        for _ in 0..draw(12) {
            bytes.extend_from_slice(pieces[draw(pieces.len())]);
        }
        if !bytes.is_empty() && draw(2) == 0 {
            let index = draw(bytes.len());
            bytes[index] = u8::try_from(draw(256)).unwrap_or_default();
        }
        exercise_config(&bytes);
    }
}

/// What the documents show must work as it stands.
#[test]
fn examples_of_the_documents_load() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    for name in ["README.md", "src/ARCHITECTURE.md"] {
        let Ok(text) = std::fs::read_to_string(root.join(name)) else {
            continue;
        };
        for block in text.split("```toml\n").skip(1) {
            let example = block.split("```").next().unwrap_or_default();
            loaded(example);
        }
    }
}
