//! Measurements of a host that does not exist, with known costs, for the tests of this module.

use super::cost::{Cost, Message};
use super::data::{
    DiskPoint, FORMAT, FleetKind, FleetPoint, FleetStep, HandshakePoint, PlanData, SyncPoint,
    TrafficPoint,
};
use super::model::syncs_per_s;
use super::scaling::Scaling;
use crate::result::Pace;
use crate::schedule::Random;

/// The order is that of `PART_NAMES`.
pub(super) const COST: Cost = Cost {
    parts_us: [
        0.08, 0.04, 0.03, 0.05, 1.2, 2.6, 22.0, 0.01, 0.9, 3.0, 0.7, 0.6,
    ],
    events: [1.0, 0.95, 0.2, 0.5],
};
pub(super) const SCALING: Scaling = Scaling {
    contention: 0.03,
    crosstalk: 0.0008,
};
pub(super) const USER_BYTES: f64 = 700.0;
pub(super) const KERNEL_BYTES: f64 = 4_300.0;
pub(super) const SYNC_S: f64 = 100e-6;
pub(super) const TLS_BYTES: f64 = 3_900.0;
pub(super) const HANDSHAKE_US: f64 = 400.0;
const BASE_BYTES: f64 = 20e6;

/// A host of 8 cores, measured on 1, 2, 4 and 8, with `noise` as the largest relative error.
pub(super) fn data(noise: f64, seed: u64) -> PlanData {
    let mut random = Random(seed);
    let mut data = PlanData {
        format: FORMAT,
        ..PlanData::default()
    };
    data.host.cpus = 8;
    for cores in [1, 2, 4, 8] {
        for qos in 0..3 {
            for (mqtt, payload_bytes) in [("3.1.1", 64), ("5.0", 64), ("5.0", 1_024)] {
                for load in LOADS {
                    let is_durable = load.is_durable && qos > 0;
                    let shape = (mqtt, payload_bytes, qos, is_durable);
                    data.traffic
                        .push(point(cores, shape, load, noise, &mut random));
                }
            }
        }
    }
    for kind in [
        FleetKind::Connected,
        FleetKind::Subscribed,
        FleetKind::Persistent,
        FleetKind::Secure,
    ] {
        data.fleets.push(fleet(kind, noise, &mut random));
    }
    data.handshakes = Some(HandshakePoint {
        connections: 1_000,
        cpu_s: 0.05 + HANDSHAKE_US / 1e3,
        plain_cpu_s: 0.05,
    });
    data.disk = Some(DiskPoint {
        directory: "data".to_owned(),
        file_system: Some("ext4".to_owned()),
        syncs: vec![SyncPoint {
            write_bytes: 4_096,
            count: 1_000,
            us_mean: SYNC_S * 1e6,
            us_p50: 90,
            us_p90: 120,
            us_p99: 300,
            us_max: 900,
        }],
    });
    data
}

struct Load {
    fan_out: f64,
    pace: Pace,
    busy: f64,
    is_durable: bool,
    is_tls: bool,
}

const fn load(fan_out: f64, pace: Pace, busy: f64, is_durable: bool) -> Load {
    Load {
        fan_out,
        pace,
        busy,
        is_durable,
        is_tls: false,
    }
}

const fn secure(load: Load) -> Load {
    Load {
        is_tls: true,
        ..load
    }
}

const RATE: Pace = Pace::Constant {
    messages_per_s: 1_000.0,
};

const LOADS: &[Load] = &[
    load(1.0, Pace::Window { messages: 600 }, 0.9, false),
    load(1.0, Pace::Window { messages: 1 }, 0.3, false),
    load(100.0, Pace::Window { messages: 600 }, 0.95, false),
    load(100.0, Pace::Window { messages: 1 }, 0.5, false),
    load(1.0, RATE, 0.1, false),
    load(1.0, RATE, 0.45, false),
    load(10.0, RATE, 0.3, false),
    load(1.0, RATE, 0.25, true),
    load(1.0, Pace::Window { messages: 300 }, 0.8, true),
    secure(load(1.0, Pace::Window { messages: 600 }, 0.9, false)),
    secure(load(1.0, Pace::Window { messages: 1 }, 0.4, false)),
    secure(load(10.0, RATE, 0.3, false)),
];

fn point(
    cores: u32,
    (mqtt, payload_bytes, qos, is_durable): (&str, u32, u8, bool),
    load: &Load,
    noise: f64,
    random: &mut Random,
) -> TrafficPoint {
    // So many that rounding to whole wake-ups does not show.
    let published = 1_000_000_000_u64;
    let mut point = TrafficPoint {
        scenario: "synthetic".to_owned(),
        cores,
        mqtt: mqtt.to_owned(),
        qos,
        payload_bytes,
        fan_out: load.fan_out,
        publishers: 100,
        connections: 200,
        pace: load.pace.clone(),
        is_durable,
        is_tls: load.is_tls,
        shares_cpu: false,
        measured_s: 0.0,
        published,
        delivered: (published as f64 * load.fan_out) as u64,
        cpu_user_s: 0.0,
        cpu_system_s: 0.0,
        wake_ups: 0,
        disk_write_bytes: None,
        latency_us_p99: None,
        send_lag_us_p99: Some(50),
    };
    let message = Message::of_point(&point);
    let mut swing = || 1.0 + noise * (2.0 * random.draw_unit() - 1.0);
    let cpu_us = COST.message_us(&message, load.busy) * SCALING.cost(cores) * swing();
    point.cpu_user_s = cpu_us * published as f64 / 4e6;
    point.cpu_system_s = cpu_us * published as f64 * 3.0 / 4e6;
    point.measured_s = cpu_us * published as f64 / 1e6 / load.busy / f64::from(cores);
    let wake_ups = COST.wake_ups(&message, load.busy) * swing();
    point.wake_ups = (wake_ups * published as f64) as u64;
    let rate = published as f64 / point.measured_s;
    let syncs = syncs_per_s(rate, f64::from(cores), SYNC_S) / rate;
    let written = load.fan_out * 90.0 + f64::from(payload_bytes) + 4_096.0 * syncs;
    point.disk_write_bytes = is_durable.then_some((written * published as f64) as u64);
    point
}

fn fleet(kind: FleetKind, noise: f64, random: &mut Random) -> FleetPoint {
    let tls = match kind {
        FleetKind::Secure => TLS_BYTES,
        _ => 0.0,
    };
    let steps = (1..=8).map(|step| {
        let connections = step * 1_000;
        let mut bytes = |each: f64, base: f64| {
            let swing = 500.0 * each * noise * (2.0 * random.draw_unit() - 1.0);
            base + each * connections as f64 + swing
        };
        FleetStep {
            connections,
            user_bytes: bytes(USER_BYTES + tls, BASE_BYTES) as u64,
            kernel_bytes: bytes(KERNEL_BYTES, 1e6) as i64,
        }
    });
    FleetPoint {
        kind,
        cores: 1,
        steps: steps.collect(),
    }
}
