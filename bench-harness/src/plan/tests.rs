//! The whole way from measurements to answers, on hosts whose costs are known.

use super::answer::{self, Answer, Confidence, Question};
use super::cost::{Message, PARTS};
use super::data::{FORMAT, FleetKind, PlanData, merge};
use super::model::Model;
use super::scaling::Basis;
use super::synthetic::{self, COST, SCALING};

fn question() -> Question {
    Question {
        connections: 5_000,
        messages_per_s: 40_000.0,
        fan_out: 2.0,
        qos: 1,
        payload_bytes: 256,
        topic_bytes: 32,
        is_v5: false,
        keep_alive_s: 60,
        is_durable: false,
        is_tls: false,
        busy_max: 0.6,
        offline_share: None,
    }
}

fn message(qos: u8, fan_out: f64, payload_bytes: f64, is_durable: bool) -> Message {
    Message {
        qos,
        payload_bytes,
        fan_out,
        is_v5: false,
        is_durable,
        is_tls: false,
        batch: 1.0,
    }
}

fn ask(model: &Model, change: impl Fn(&mut Question)) -> Answer {
    let mut asked = question();
    change(&mut asked);
    answer::answer(model, &asked).unwrap()
}

#[test]
fn known_costs_are_found() {
    let model = Model::fit(&synthetic::data(0.0, 1)).unwrap();
    for part in 0..PARTS {
        let (found, known) = (model.cost.cost.parts_us[part], COST.parts_us[part]);
        assert!(
            (found / known - 1.0).abs() < 0.02,
            "part {part}: {found} {known}"
        );
    }
    for (found, known) in model.cost.cost.events.into_iter().zip(COST.events) {
        assert!((found - known).abs() < 0.01, "{found} {known}");
    }
    assert_eq!(model.scaling.basis, Basis::Fitted);
    let found = model.scaling.scaling;
    assert!(
        (found.contention - SCALING.contention).abs() < 0.002,
        "{found:?}"
    );
    let fleet = model.fleets[&FleetKind::Subscribed];
    assert!((fleet.user.slope.estimate - synthetic::USER_BYTES).abs() < 1.0);
    assert!((fleet.kernel.slope.estimate - synthetic::KERNEL_BYTES).abs() < 1.0);
    let [by_delivery, by_byte, by_sync] = model.journal.unwrap();
    assert!((by_delivery - 90.0).abs() < 1.0 && (by_byte - 1.0).abs() < 0.01);
    assert!((by_sync - 4_096.0).abs() < 10.0, "{by_sync}");
}

#[test]
fn loads_that_were_not_measured_are_predicted_and_intervals_hold_them() {
    let held_out = [
        message(1, 5.5, 200.0, false),
        message(0, 30.0, 500.0, false),
        message(2, 2.0, 64.0, false),
        message(1, 3.0, 300.0, true),
    ];
    let (mut hits, mut worst) = (0, 0.0_f64);
    for seed in 0..15 {
        let model = Model::fit(&synthetic::data(0.1, seed)).unwrap();
        for held in held_out {
            for (cores, busy) in [(1, 0.2), (4, 0.6)] {
                let truth = COST.message_us(&held, busy) * SCALING.cost(cores);
                let found = model.message_us(&held, cores, busy);
                worst = worst.max((found.estimate / truth - 1.0).abs());
                hits += u32::from(found.contains(truth));
            }
        }
    }
    assert!(worst < 0.2, "{worst}");
    assert!(hits > 120 * 85 / 100, "{hits} of 120");
}

#[test]
fn runs_of_a_late_generator_count_little() {
    let mut data = synthetic::data(0.0, 1);
    let open = data
        .traffic
        .iter_mut()
        .filter(|point| point.is_open() && point.qos == 2);
    for point in open.skip(1).step_by(2) {
        point.send_lag_us_p99 = Some(50_000);
        point.wake_ups /= 10;
        point.cpu_user_s *= 0.5;
    }
    let model = Model::fit(&data).unwrap();
    assert!(model.range.late > 0);
    let asked = message(2, 3.0, 100.0, false);
    let found = model.message_us(&asked, 1, 0.4).estimate;
    let truth = COST.message_us(&asked, 0.4);
    assert!((found / truth - 1.0).abs() < 0.03, "{found} {truth}");
    let answer = ask(&model, |_| {});
    assert!(
        answer
            .assumed
            .iter()
            .any(|text| text.contains("generator was late"))
    );
}

#[test]
fn more_of_anything_never_takes_less() {
    let model = Model::fit(&synthetic::data(0.05, 3)).unwrap();
    let needs = |answer: &Answer| {
        let memory = answer.memory.unwrap();
        [
            f64::from(answer.cores.estimate.unwrap()),
            answer.cores.cpu.estimate,
            memory.user_bytes.estimate,
            memory.kernel_bytes.estimate,
            answer.network.to_broker.bits_per_s.estimate,
            answer.network.from_broker.bits_per_s.estimate,
        ]
    };
    let check = |name: &str, change: fn(&mut Question, f64)| {
        let mut last = needs(&ask(&model, |asked| change(asked, 1.0)));
        for factor in [2.0, 5.0, 10.0, 40.0] {
            let next = needs(&ask(&model, |asked| change(asked, factor)));
            let grows = last.iter().zip(next).all(|(last, next)| next >= *last);
            assert!(grows, "{name} times {factor}: {last:?} {next:?}");
            last = next;
        }
    };
    check("connections", |asked, factor| {
        asked.connections *= factor as u64
    });
    check("rate", |asked, factor| {
        asked.messages_per_s = 1_000.0 * factor
    });
    check("fan-out", |asked, factor| {
        asked.messages_per_s = 1_000.0;
        asked.fan_out = factor;
    });
    check("payload", |asked, factor| {
        asked.payload_bytes = (64.0 * factor) as u32
    });
    let by_qos = |qos| ask(&model, |asked| asked.qos = qos).cores.cpu.estimate;
    assert!(by_qos(0) < by_qos(1) && by_qos(1) < by_qos(2));
}

#[test]
fn the_answer_lies_between_the_ends() {
    let model = Model::fit(&synthetic::data(0.05, 3)).unwrap();
    let cores = ask(&model, |_| {}).cores;
    assert!(cores.cpu_batched < cores.cpu.estimate && cores.cpu.estimate < cores.cpu_alone);
    assert!(cores.low <= cores.estimate && cores.estimate <= cores.high);
    // Cores that may be no busier than that.
    let capacity = SCALING.capacity(cores.estimate.unwrap()) * 0.6;
    let truth = COST.message_us(&message(1, 2.0, 256.0, false), 0.6) * 40_000.0 / 1e6;
    assert!((truth / capacity) < 1.1, "{truth} on {capacity}");
}

#[test]
fn what_goes_beyond_the_measurements_is_said() {
    let model = Model::fit(&synthetic::data(0.05, 3)).unwrap();
    let near = ask(&model, |asked| {
        asked.connections = 200;
        asked.messages_per_s = 5_000.0;
    });
    assert_eq!(near.extrapolated, Vec::<String>::new());
    assert_eq!(near.confidence, Confidence::Good);
    let far = ask(&model, |asked| {
        asked.connections = 1_000_000;
        asked.messages_per_s = 200_000.0;
        asked.payload_bytes = 20_000;
    });
    let text = far.extrapolated.join("\n");
    for what in [
        "cores",
        "connections (memory)",
        "connections with traffic",
        "payload",
    ] {
        assert!(text.contains(what), "{what}: {text}");
    }
    assert_eq!(far.confidence, Confidence::Poor);
}

#[test]
fn tls_takes_what_was_measured_of_it_and_nothing_is_invented() {
    let mut data = synthetic::data(0.0, 3);
    let plain = |model: &Model| ask(model, |_| {});
    let secure = |model: &Model| ask(model, |asked| asked.is_tls = true);
    let model = Model::fit(&data).unwrap();
    let (before, after) = (plain(&model), secure(&model));
    // Three packets in, three out, and 0.25 KiB three times, on cores as busy as they may be.
    let more = after.cores.us_per_message.estimate - before.cores.us_per_message.estimate;
    let known = 6.0 * COST.parts_us[10] + 0.75 * COST.parts_us[11];
    let cores = |answer: &Answer| SCALING.cost(answer.cores.estimate.unwrap());
    assert!((more / known - cores(&after)).abs() < 0.5, "{more} {known}");
    let bytes = |answer: &Answer| answer.memory.unwrap().user_bytes_per_connection.estimate;
    assert!((bytes(&after) - bytes(&before) - synthetic::TLS_BYTES).abs() < 40.0);
    let handshakes = after.handshakes.unwrap();
    assert!((handshakes.us_each - synthetic::HANDSHAKE_US).abs() < 0.1);
    let cores = f64::from(after.cores.estimate.unwrap());
    assert!((handshakes.all_s - 2.0 / cores).abs() < 0.01);
    assert!(!after.not_measured.iter().any(|text| text.contains("TLS")));
    assert_eq!(before.handshakes, None);

    data.traffic.retain(|point| !point.is_tls);
    data.fleets.retain(|point| point.kind != FleetKind::Secure);
    data.handshakes = None;
    let model = Model::fit(&data).unwrap();
    let (before, after) = (plain(&model), secure(&model));
    assert_eq!(after.cores, before.cores);
    assert_eq!(after.memory, before.memory);
    let missing = after.not_measured.iter();
    assert_eq!(missing.filter(|text| text.contains("TLS")).count(), 2);
    assert_eq!(after.confidence, Confidence::Poor);
}

#[test]
fn too_much_for_any_machine_is_no_number() {
    let model = Model::fit(&synthetic::data(0.05, 3)).unwrap();
    let answer = ask(&model, |asked| asked.messages_per_s = 1e9);
    assert_eq!((answer.cores.estimate, answer.cores.high), (None, None));
    assert!(answer.cores.peak.unwrap() < 40.0);
    assert_eq!(answer.confidence, Confidence::Poor);
}

#[test]
fn durable_messages_take_disk() {
    let model = Model::fit(&synthetic::data(0.0, 3)).unwrap();
    assert_eq!(ask(&model, |_| {}).disk, None);
    let answer = ask(&model, |asked| {
        asked.is_durable = true;
        asked.offline_share = Some(0.5);
    });
    assert_eq!(answer.memory.unwrap().kind, FleetKind::Persistent);
    let disk = answer.disk.unwrap();
    let written =
        |copies: f64, syncs: f64| (2.0 * 90.0 + 256.0 * copies) * 40_000.0 + 4_096.0 * syncs;
    let (bytes, syncs) = (disk.bytes_per_s, disk.syncs_per_s);
    assert!((bytes.low / written(1.0, syncs.low) - 1.0).abs() < 0.02);
    assert!((bytes.high / written(2.0, syncs.high) - 1.0).abs() < 0.02);
    let per_hour = disk.offline_bytes_per_hour.unwrap().low;
    assert!((per_hour / (written(1.0, 0.0) * 1_800.0) - 1.0).abs() < 0.02);
    // Never more than all cores can, one after the other.
    let cores = f64::from(answer.cores.estimate.unwrap());
    assert!(disk.syncs_per_s.high <= cores * 10_000.0);
    assert!(disk.syncs_per_s.low > 0.0);
}

#[test]
fn people_read_every_part_of_an_answer() {
    let model = Model::fit(&synthetic::data(0.05, 3)).unwrap();
    let answer = ask(&model, |asked| {
        asked.is_durable = true;
        asked.offline_share = Some(0.1);
        asked.is_tls = true;
    });
    let text = super::text::answer(&answer);
    for part in [
        "cores",
        "memory",
        "disk",
        "network",
        "confidence",
        "assumed",
        "queued",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(
        text.lines().all(|line| line.chars().count() < 160),
        "{text}"
    );
    assert!(text.contains("TLS handshake"), "{text}");
}

#[test]
fn nonsense_is_refused_with_its_reason() {
    let model = Model::fit(&synthetic::data(0.0, 3)).unwrap();
    type Change = fn(&mut Question);
    let cases: [(Change, &str); 8] = [
        (|asked| asked.connections = 0, "connections must be"),
        (|asked| asked.messages_per_s = -1.0, "rate must be"),
        (|asked| asked.messages_per_s = f64::NAN, "rate must be"),
        (|asked| asked.qos = 3, "QoS must be"),
        (|asked| asked.fan_out = 6_000.0, "more receivers than"),
        (|asked| asked.busy_max = 0.0, "busy share must be"),
        (|asked| asked.offline_share = Some(0.5), "--durable"),
        (
            |asked| (asked.is_durable, asked.qos) = (true, 0),
            "QoS 0 is never",
        ),
    ];
    for (change, reason) in cases {
        let mut asked = question();
        change(&mut asked);
        let error = answer::answer(&model, &asked).unwrap_err();
        assert!(error.contains(reason), "{error}");
    }
}

#[test]
fn files_are_read_as_they_were_written() {
    let data = synthetic::data(0.05, 9);
    let path = std::env::temp_dir().join(format!("ringway-plan-{}.json", std::process::id()));
    data.save(&path).unwrap();
    let read = PlanData::load(&path).unwrap();
    assert_eq!((&read.fleets, &read.disk), (&data.fleets, &data.disk));
    // The last digit of a float may differ.
    let cpu = |data: &PlanData| -> Vec<_> {
        let points = data.traffic.iter();
        points
            .map(|point| format!("{:.9e}", point.cpu_us_per_message()))
            .collect()
    };
    assert_eq!(cpu(&read), cpu(&data));
    std::fs::remove_file(&path).unwrap();
    assert!(PlanData::load(&path).unwrap_err().contains("ringway-plan-"));
}

#[test]
fn files_from_before_tls_are_read() {
    let mut data = synthetic::data(0.0, 1);
    data.traffic.retain(|point| !point.is_tls);
    data.fleets.retain(|point| point.kind != FleetKind::Secure);
    data.handshakes = None;
    let text = serde_json::to_string(&data).unwrap();
    let old = text
        .replace("\"is_tls\":false,", "")
        .replace(",\"handshakes\":null", "")
        .replacen(&format!("\"format\":{FORMAT}"), "\"format\":1", 1);
    assert!(!old.contains("is_tls") && !old.contains("handshakes"));
    let read = PlanData::parse(&old).unwrap();
    assert_eq!((read.format, read.traffic.len()), (1, data.traffic.len()));
    assert!(Model::fit(&read).is_ok());
}

#[test]
fn files_of_others_are_refused() {
    let text = serde_json::to_string(&synthetic::data(0.0, 1)).unwrap();
    let (own, next) = (
        format!("\"format\":{FORMAT}"),
        format!("\"format\":{}", FORMAT + 1),
    );
    let newer = text.replacen(&own, &next, 1);
    assert!(PlanData::parse(&newer).unwrap_err().contains("newer"));
    let newer = "{\"format\": 7, \"another\": []}";
    assert!(PlanData::parse(newer).unwrap_err().contains("newer"));
    for text in ["", "[]", "{\"format\":1}", "{\"scenario\":\"x\"}"] {
        let error = PlanData::parse(text).unwrap_err();
        assert!(error.contains("not a file of"), "{error}");
    }
    let broken = text.replacen("\"published\":1000000000", "\"published\":0", 1);
    assert!(
        PlanData::parse(&broken)
            .unwrap_err()
            .contains("not a measurement")
    );
}

#[test]
fn files_of_one_kind_of_host_are_merged() {
    let all = synthetic::data(0.0, 1);
    let part = |cores: u32| {
        let mut part = all.clone();
        part.traffic.retain(|point| point.cores == cores);
        part
    };
    let merged = merge(vec![part(1), part(4)]).unwrap();
    let model = Model::fit(&merged).unwrap();
    assert_eq!(model.scaling.basis, Basis::CrosstalkAssumed);
    let mut other = part(8);
    other.host.cpu_model = "another".to_owned();
    assert!(
        merge(vec![part(1), other])
            .unwrap_err()
            .contains("different CPUs")
    );
    assert!(merge(Vec::new()).is_err());
    // A machine that was measured on many cores only.
    let model = Model::fit(&part(8)).unwrap();
    let at_8 = model
        .message_us(&message(1, 1.0, 64.0, false), 8, 0.5)
        .estimate;
    let truth = COST.message_us(&message(1, 1.0, 64.0, false), 0.5) * SCALING.cost(8);
    assert!((at_8 / truth - 1.0).abs() < 0.02, "{at_8} {truth}");
}

#[test]
fn too_few_points_are_no_model() {
    let mut data = synthetic::data(0.0, 1);
    data.traffic.truncate(5);
    assert!(Model::fit(&data).unwrap_err().contains("too few"));
    data.traffic.clear();
    assert!(Model::fit(&data).unwrap_err().contains("no runs"));
}
