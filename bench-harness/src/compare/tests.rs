//! Recipes, generated configurations, goals and tables, without a broker.

use std::path::PathBuf;

use super::recipe::{Kind, Persistence, Recipe};
use super::result::{BrokerInfo, Cell, Comparison, FORMAT, Goal, Metric, RowResult};
use super::{Style, goal_lines, page, tables, trouble};
use crate::broker::Place;
use crate::certificate::CertificateFiles;
use crate::mqtt::Version;
use crate::result::{
    BrokerUse, Counts, GeneratorUse, Negotiated, Pace, Parameters, Percentiles, RunResult, TlsUse,
};

fn recipe(text: &str) -> Recipe {
    text.parse().unwrap()
}

fn place(version: Version) -> Place {
    Place {
        port: 4_711,
        folder: PathBuf::from("/data/x"),
        version,
        tls: None,
        cpus: vec![2, 3],
    }
}

fn tls_place(version: Version) -> Place {
    Place {
        tls: Some(CertificateFiles {
            cert: PathBuf::from("/data/c/cert.pem"),
            key: PathBuf::from("/data/c/key.pem"),
        }),
        ..place(version)
    }
}

#[test]
fn brokers_are_named_by_kind_label_and_program() {
    let cases = [
        ("ringway=/a/b", "ringway", Kind::Ringway, "/a/b"),
        ("ringway-none=/a", "ringway-none", Kind::RingwayNone, "/a"),
        ("ringway-spin=/a", "ringway-spin", Kind::RingwaySpin, "/a"),
        ("ringway-os:old=/a", "old", Kind::RingwayOs, "/a"),
        ("mosquitto=m", "mosquitto", Kind::Mosquitto, "m"),
        ("rumqttd", "rumqttd", Kind::Rumqttd, "rumqttd"),
        (
            "hive=command: run --port {port}",
            "hive",
            Kind::Command,
            "run",
        ),
    ];
    for (text, name, kind, program) in cases {
        let recipe = recipe(text);
        let found = (recipe.name.as_str(), recipe.kind, recipe.program);
        assert_eq!(found, (name, kind, PathBuf::from(program)), "{text}");
    }
    let wrong = [
        "",
        "x",
        "x=/a",
        "ringway=",
        "ringway:=/a",
        "=command: a",
        "a=command: ",
    ];
    for text in wrong {
        assert!(text.parse::<Recipe>().is_err(), "{text}");
    }
}

#[test]
fn a_command_gets_port_folder_and_cpus() {
    let launch = recipe("a=command: run -p {port} --in={dir}/d --on {cpus}")
        .launch(&place(Version::V50), Persistence::Unused);
    assert_eq!(
        launch.arguments,
        ["-p", "4711", "--in=/data/x/d", "--on", "2,3"]
    );
    assert!(launch.files.is_empty());
}

#[test]
fn mosquitto_is_set_as_the_help_says() {
    for (persistence, line) in [
        (Persistence::On, "persistence true"),
        (Persistence::Off, "persistence false"),
        (Persistence::Unused, "persistence false"),
    ] {
        let launch = recipe("mosquitto").launch(&place(Version::V311), persistence);
        let (name, text) = &launch.files[0];
        assert_eq!(launch.arguments, ["-c", &format!("/data/x/{name}")]);
        let lines: Vec<_> = text.lines().collect();
        for wanted in [
            line,
            "listener 4711 127.0.0.1",
            "set_tcp_nodelay true",
            "max_inflight_messages 65535",
            "max_queued_messages 0",
            "persistence_location /data/x/",
        ] {
            assert!(lines.contains(&wanted), "{wanted} in {text}");
        }
    }
}

#[test]
fn rumqttd_serves_the_version_of_the_scenario() {
    for (version, section) in [(Version::V311, "[v4.1]"), (Version::V50, "[v5.1]")] {
        let launch = recipe("rumqttd").launch(&place(version), Persistence::Unused);
        let (name, text) = &launch.files[0];
        assert!(name.ends_with(".toml"), "its reader goes by the ending");
        assert!(
            text.contains(section) && text.contains("127.0.0.1:4711"),
            "{text}"
        );
        assert_eq!(text.matches("listen").count(), 1);
    }
}

#[test]
fn ringway_acknowledges_as_asked() {
    let cases = [
        ("ringway=r", Persistence::Unused, "disk"),
        ("ringway=r", Persistence::On, "disk"),
        ("ringway=r", Persistence::Off, "none"),
        ("ringway-os=r", Persistence::On, "os"),
        ("ringway-none=r", Persistence::On, "none"),
        ("ringway-spin=r", Persistence::On, "disk"),
    ];
    for (text, persistence, ack) in cases {
        let launch = recipe(text).launch(&place(Version::V311), persistence);
        let wanted = format!("durability.ack={ack}");
        assert!(
            launch.arguments.contains(&wanted),
            "{text}: {:?}",
            launch.arguments
        );
        let spins = launch
            .arguments
            .windows(2)
            .any(|it| it == ["--spin-us", "20"]);
        assert_eq!(spins, text.starts_with("ringway-spin"), "{text}");
    }
}

#[test]
fn over_tls_every_broker_shows_the_same_certificate() {
    let place = tls_place(Version::V50);
    let launch = |text: &str| recipe(text).launch(&place, Persistence::Unused);

    let address = "tls://127.0.0.1:4711?tls.cert=/data/c/cert.pem&tls.key=/data/c/key.pem";
    let ringway = launch("ringway=r").arguments;
    assert!(ringway.iter().any(|text| text == address), "{ringway:?}");
    assert!(!ringway.iter().any(|text| text.contains("tcp://")));

    let mosquitto = launch("mosquitto=m").files.remove(0).1;
    let wanted = "listener 4711 127.0.0.1\ncertfile /data/c/cert.pem\nkeyfile /data/c/key.pem\n";
    assert!(mosquitto.contains(wanted), "{mosquitto}");
    assert_eq!(mosquitto.matches("listener").count(), 1);

    let rumqttd = launch("rumqttd").files.remove(0).1;
    let wanted = "[v5.1.tls]\ncertpath = \"/data/c/cert.pem\"\nkeypath = \"/data/c/key.pem\"\n";
    assert!(rumqttd.ends_with(wanted), "{rumqttd}");

    let command = launch("a=command: run --pair {cert}:{key} {port}").arguments;
    let pair = "/data/c/cert.pem:/data/c/key.pem";
    assert_eq!(command, ["--pair", pair, "4711"]);
}

#[test]
fn a_command_has_the_certificate_s_places_with_tls_only() {
    let check = |text: &str, is_tls| recipe(text).check(is_tls).is_ok();
    let cases = [
        ("a=command: run {cert} {key}", true, true),
        ("a=command: run {cert} {key}", false, false),
        ("a=command: run {cert}", true, false),
        ("a=command: run {port}", true, false),
        ("a=command: run {port}", false, true),
        ("mosquitto", true, true),
        ("floor", true, true),
    ];
    for (text, is_tls, is_right) in cases {
        assert_eq!(check(text, is_tls), is_right, "{text}, TLS {is_tls}");
    }
}

#[test]
fn who_cannot_take_part_says_so() {
    let refuses = |text: &str, scenario: &str, persistence| {
        recipe(text).refusal(scenario, persistence, false).is_some()
    };
    let over_tls = |text: &str| recipe(text).refusal("pairs-1-1", Persistence::Unused, true);
    assert_eq!(over_tls("floor"), Some("the floor speaks no TLS"));
    assert_eq!(over_tls("rumqttd"), None);
    let durable = "durable-p2p-1-1-1-1";
    assert!(refuses("floor", durable, Persistence::Off));
    assert!(refuses("floor", "wild-10", Persistence::Unused));
    assert!(!refuses("floor", "pairs-1-1", Persistence::Unused));
    assert!(refuses("rumqttd", durable, Persistence::On));
    assert!(!refuses("rumqttd", durable, Persistence::Off));
    assert!(!refuses("mosquitto", durable, Persistence::On));
}

#[test]
fn a_missing_program_is_said_with_the_way_to_get_it() {
    let error = recipe("mosquitto=/no/such/program").version().unwrap_err();
    assert!(error.contains("apt-get install mosquitto"), "{error}");
}

fn run(cpu_us: f64) -> RunResult {
    RunResult {
        format: 1,
        scenario: String::new(),
        parameters: Parameters {
            mqtt: "3.1.1".to_owned(),
            qos: 0,
            payload_bytes: 64,
            keep_alive_s: 0,
            clean_session: true,
            publishers: 1,
            subscribers: 1,
            connections: 2,
            fan_out: 1.0,
            pace: Pace::None,
            seed: 1,
        },
        command: Vec::new(),
        target: String::new(),
        started_unix_s: 0,
        warm_up_s: 0.0,
        measured_s: 2.0,
        environment: None,
        counts: Counts {
            delivered: 500,
            ..Counts::default()
        },
        tls: None,
        latency_us: None,
        ack_latency_us: None,
        connect_latency_us: None,
        send_lag_us: None,
        over_time: Vec::new(),
        broker: Some(BrokerUse {
            cpu_us_per_delivered: Some(cpu_us),
            voluntary_switches: 10,
            anon_bytes_before: Some(1_000),
            anon_bytes_after: Some(3_000),
            ..BrokerUse::default()
        }),
        generator: GeneratorUse::default(),
        void: Vec::new(),
        is_generator_limited: false,
        failures: Vec::new(),
    }
}

fn void(cpu_us: f64) -> RunResult {
    RunResult {
        void: vec!["too <slow>".to_owned()],
        ..run(cpu_us)
    }
}

fn cell(runs: Vec<RunResult>) -> Cell {
    Cell {
        runs,
        ..Cell::default()
    }
}

/// Rows of one metric, with a goal each.
fn comparison(brokers: &[&str], rows: Vec<(Goal, Vec<Cell>)>) -> Comparison {
    let row = |(index, (goal, cells)): (usize, (Goal, Vec<Cell>))| RowResult {
        label: format!("row {index}"),
        scenario: "pairs-1-1".to_owned(),
        qos: 0,
        persistence: Persistence::Unused,
        metrics: vec![Metric::CpuUsPerDelivered],
        goal: Some(goal),
        note: None,
        cells,
    };
    let broker = |name: &&str| BrokerInfo {
        recipe: recipe(name),
        version: None,
        tls: None,
    };
    Comparison {
        format: FORMAT,
        title: "Test".to_owned(),
        command: Vec::new(),
        started_unix_s: 0,
        rounds: 3,
        brokers: brokers.iter().map(broker).collect(),
        broker_cpus: vec![0],
        generator_cpus: vec![1],
        rows: rows.into_iter().enumerate().map(row).collect(),
    }
}

const THREE: [&str; 3] = ["floor", "ringway=r", "mosquitto=m"];

#[test]
fn figures_come_from_runs() {
    let run = run(1.5);
    let values = Metric::ALL.map(|metric| metric.of(&run));
    let expected = [
        Some(1.5),
        Some(250.0),
        None,
        None,
        None,
        None,
        None,
        None,
        Some(1_000.0),
        Some(5.0),
    ];
    assert_eq!(values, expected);
}

#[test]
fn connections_have_a_cost_and_a_latency() {
    let connect = |count| Percentiles {
        count,
        p50: 70,
        p99: 900,
        ..Percentiles::default()
    };
    let of = |count| {
        let mut run = RunResult {
            connect_latency_us: Some(connect(count)),
            ..run(1.5)
        };
        let broker = run.broker.as_mut().unwrap();
        (broker.cpu_user_s, broker.cpu_system_s) = (0.03, 0.01);
        [
            Metric::CpuUsPerConnection,
            Metric::ConnectP50Us,
            Metric::ConnectP99Us,
        ]
        .map(|metric| metric.of(&run))
    };
    assert_eq!(of(200), [Some(200.0), Some(70.0), Some(900.0)]);
    assert_eq!(of(0)[0], None);
}

#[test]
fn what_was_negotiated_is_told_of_each_broker() {
    let cells = vec![cell(vec![run(1.0)]), Cell::default(), Cell::default()];
    let mut comparison = comparison(&THREE, vec![(Goal::AtMost(1.0), cells)]);
    assert_eq!(comparison.brokers[0].words(), "version not asked");
    comparison.brokers[2].version = Some("m 2".to_owned());
    let mut tls = TlsUse::default();
    for is_resumed in [false, true, true] {
        let negotiated = Negotiated {
            version: "1.2".to_owned(),
            cipher_suite: "SUITE".to_owned(),
            key_exchange: (!is_resumed).then(|| "X25519".to_owned()),
        };
        tls.count(negotiated, is_resumed);
    }
    comparison.brokers[2].tls = Some(tls);
    let words = "m 2; TLS 1.2 SUITE X25519, TLS 1.2 SUITE, 1 full handshakes, 2 resumed";
    assert_eq!(comparison.brokers[2].words(), words);
    assert!(page(&comparison).contains(words));
}

#[test]
fn void_rounds_are_left_out_but_shown() {
    let mixed = cell(vec![run(1.0), void(50.0), run(3.0)]);
    let figure = mixed.figure(Metric::CpuUsPerDelivered).unwrap();
    assert_eq!((figure.spread.median, figure.spread.runs), (2.0, 2));
    assert_eq!(
        (mixed.void(), mixed.broken(), figure.is_valid),
        (1, 0, true)
    );

    let broken = RunResult {
        failures: vec!["lost".to_owned()],
        ..void(7.0)
    };
    let mut bad = cell(vec![broken]);
    bad.errors.push("it ended".to_owned());
    let figure = bad.figure(Metric::CpuUsPerDelivered).unwrap();
    assert!(!figure.is_valid);
    assert_eq!((bad.void(), bad.broken()), (0, 1));

    let comparison = comparison(
        &["floor", "mosquitto=m"],
        vec![(Goal::AtMost(1.0), vec![mixed, bad])],
    );
    assert_eq!(comparison.failed_rounds(), (1, 1, 1));
    let markdown = tables(&comparison, Style::Markdown);
    assert!(
        markdown.contains("| row 0 | 2.00 (1.00..3.00) [1 void] | !7.00 [1 BROKEN] [1 FAILED] |"),
        "{markdown}"
    );
    let trouble = trouble(&comparison);
    assert_eq!(trouble.len(), 4, "{trouble:?}");
    assert!(trouble.contains(&"row 0: mosquitto: 1 FAILED: it ended".to_owned()));
}

#[test]
fn ratios_refer_to_the_first_broker() {
    let cells = [0.5, 1.0, 10.0]
        .map(|value| cell(vec![run(value)]))
        .to_vec();
    let comparison = comparison(&THREE, vec![(Goal::FloorPlus(0.5), cells)]);
    let text = tables(&comparison, Style::Text);
    let line = text.lines().rfind(|line| !line.is_empty()).unwrap();
    let words: Vec<_> = line.split_whitespace().collect();
    assert_eq!(
        words,
        ["row", "0", "0.500", "1.00", "2.00x", "10.0", "20.0x"]
    );
}

#[test]
fn goals_compare_ringway_with_what_they_name() {
    let cells = |values: [f64; 3]| values.map(|value| cell(vec![run(value)])).to_vec();
    let other = |row| Goal::RowTimes { row, factor: 1.3 };
    let comparison = comparison(
        &THREE,
        vec![
            (Goal::FloorPlus(0.2), cells([1.0, 1.2, 9.0])),
            (Goal::FloorTimes(1.15), cells([10.0, 11.6, 20.0])),
            (Goal::FloorTimes(1.15), cells([10.0, 11.0, 10.5])),
            (other(0), cells([1.0, 1.5, 1.0])),
            (Goal::BelowMosquitto, cells([1.0, 5.0, 6.0])),
            (
                Goal::BelowMosquitto,
                vec![Cell::default(), Cell::default(), Cell::default()],
            ),
        ],
    );
    let verdict = |row| comparison.goals(row).first().map(|(_, _, is_met)| *is_met);
    let expected = [Some(true), Some(false), Some(false), Some(true), None, None];
    assert_eq!((0..6).map(verdict).collect::<Vec<_>>(), expected);
    let lines = goal_lines(&comparison);
    assert_eq!(lines.len(), 4);
    assert!(lines[2].starts_with("goal MISSED row 2: ") && lines[2].ends_with(": at most 10.5"));
}

#[test]
fn latency_goals_are_about_every_percentile() {
    let late = |p50, p99| {
        let latency_us = Some(Percentiles {
            p50,
            p99,
            ..Percentiles::default()
        });
        cell(vec![RunResult {
            latency_us,
            ..run(1.0)
        }])
    };
    let cells = vec![Cell::default(), late(50, 900), late(60, 800)];
    let mut comparison = comparison(&THREE, vec![(Goal::BelowMosquitto, cells)]);
    comparison.rows[0].metrics = vec![Metric::P50Us, Metric::P99Us, Metric::CpuUsPerDelivered];
    let expected = [(Metric::P50Us, 60.0, true), (Metric::P99Us, 800.0, false)];
    assert_eq!(comparison.goals(0), expected);
}

#[test]
fn the_page_stands_alone_and_escapes() {
    let cells = vec![
        cell(vec![run(1.0)]),
        cell(vec![void(2.0)]),
        cell(vec![run(30.0)]),
    ];
    let comparison = comparison(&THREE, vec![(Goal::FloorPlus(0.2), cells)]);
    let page = page(&comparison);
    assert!(page.contains("too &lt;slow&gt;") && !page.contains("<slow>"));
    assert!(page.contains("30.0x") && page.contains("[1 void]"));
    for outside in ["http:", "https:", "src=", "href=", "@import"] {
        assert!(!page.contains(outside), "{outside}");
    }
    for tag in ["table", "tr", "td", "svg", "ul", "pre", "html"] {
        let open = page.matches(&format!("<{tag}>")).count();
        let open = open + page.matches(&format!("<{tag} ")).count();
        assert_eq!(open, page.matches(&format!("</{tag}>")).count(), "{tag}");
    }
}

#[test]
fn a_result_survives_its_file() {
    let cells = vec![cell(vec![run(1.0)]), Cell::default(), cell(vec![void(2.0)])];
    let comparison = comparison(&THREE, vec![(Goal::FloorTimes(1.5), cells)]);
    let text = serde_json::to_string(&comparison).unwrap();
    assert_eq!(
        serde_json::from_str::<Comparison>(&text).unwrap(),
        comparison
    );
}
