//! Answers for people.

use super::answer::{Answer, Confidence, Cores, Disk, Memory};
use super::cost::{Message, PART_NAMES};
use super::data::{FleetKind, PlanData};
use super::linear::Interval;
use super::model::Model;
use super::network::Direction;
use super::scaling::Basis;

const MEBI: f64 = 1_048_576.0;

pub fn answer(answer: &Answer) -> String {
    let asked = &answer.question;
    let durable = if asked.is_durable { ", durable" } else { "" };
    let tls = if asked.is_tls { ", TLS" } else { "" };
    let mut lines = vec![format!(
        "{} connections, {} messages/s to {} receivers each, QoS {}{durable}{tls}, {} bytes, \
         MQTT {}",
        asked.connections,
        number(asked.messages_per_s),
        number(asked.fan_out),
        asked.qos,
        asked.payload_bytes,
        if asked.is_v5 { "5.0" } else { "3.1.1" },
    )];
    cores(&answer.cores, &mut lines);
    if let Some(found) = &answer.memory {
        memory(found, &mut lines);
    }
    if let Some(found) = &answer.disk {
        disk(found, &mut lines);
    }
    if let Some(found) = &answer.handshakes {
        let (each, all) = (number(found.us_each), number(found.all_s));
        let text = format!("{each} us of CPU a TLS handshake; all at once {all} s of all cores");
        row("handshakes", &text, &mut lines);
    }
    let network = &answer.network;
    row(
        "network",
        &format!("in   {}", direction(&network.to_broker)),
        &mut lines,
    );
    row(
        "",
        &format!("out  {}", direction(&network.from_broker)),
        &mut lines,
    );
    let confidence = match answer.confidence {
        Confidence::Good => "good",
        Confidence::Fair => "fair",
        Confidence::Poor => "poor",
    };
    row(
        "confidence",
        &format!("{confidence}; intervals are of 90 %"),
        &mut lines,
    );
    list("assumed", &answer.assumed, &mut lines);
    list("extrapolated", &answer.extrapolated, &mut lines);
    list("not measured", &answer.not_measured, &mut lines);
    lines.join("\n")
}

/// The fitted parts with their intervals, and each point against the model.
pub fn model(data: &PlanData, model: &Model) -> String {
    let mut lines = vec![format!("{}, {}", data.host.cpu_model, data.broker_version)];
    for (part, name) in PART_NAMES.iter().enumerate() {
        let us = model.interval(|view| view.cost.parts_us[part]);
        lines.push(format!("{name:<22}{} us", interval(us, 1.0)));
    }
    let [message, stage, fan_out, durable] = model.cost.cost.events;
    lines.push(format!(
        "events of a message: {message:.2}, {stage:.2} more by stage of answers, {fan_out:.2} by \
         stage and logarithm of the fan-out; {durable:.2} in their place where it is durable"
    ));
    for point in &data.traffic {
        let message = Message::of_point(point);
        let modelled = model.cost.cost.point_us(point) * model.more(point.cores);
        let measured = point.cpu_us_per_message();
        let durable = if point.is_durable { " durable" } else { "" };
        let tls = if point.is_tls { " TLS" } else { "" };
        let late = if point.is_late() {
            ", generator late"
        } else {
            ""
        };
        lines.push(format!(
            "{} cores {} QoS {}{durable}{tls} MQTT {} {} bytes, batch {:.0}, {:.0} % busy, \
             {:.3} wake-ups (model {:.3}): {measured:.2} us, model {modelled:.2}, {:+.0} %{late}",
            point.cores,
            point.scenario,
            point.qos,
            point.mqtt,
            point.payload_bytes,
            message.batch,
            point.busy() * 100.0,
            point.wake_ups_per_message(),
            model.cost.cost.wake_ups(&message, point.busy()),
            (modelled / measured - 1.0) * 100.0
        ));
    }
    lines.join("\n")
}

fn row(name: &str, text: &str, lines: &mut Vec<String>) {
    lines.push(format!("{name:<14}{text}"));
}

fn list(name: &str, items: &[String], lines: &mut Vec<String>) {
    for (index, item) in items.iter().enumerate() {
        row(
            if index == 0 { name } else { "" },
            &format!("- {item}"),
            lines,
        );
    }
}

fn cores(cores: &Cores, lines: &mut Vec<String>) {
    let count =
        |count: Option<u32>| count.map_or_else(|| "no number".to_owned(), |n| n.to_string());
    let (low, high) = (count(cores.low), count(cores.high));
    let needed = format!("{} ({low} to {high})", count(cores.estimate));
    let busy = format!("{} busy", interval(cores.cpu, 1.0));
    let each = interval(cores.us_per_message, 1.0);
    row(
        "cores",
        &format!("{needed}; {busy}, {each} us of CPU a message"),
        lines,
    );
    let (batched, alone) = (number(cores.cpu_batched), number(cores.cpu_alone));
    let ends = format!("{batched} busy if all came in full batches, {alone} if each packet came");
    row("", &format!("{ends} alone to a sleeping core"), lines);
    let basis = match cores.basis {
        Basis::Fitted => "fitted",
        Basis::CrosstalkAssumed => "crosstalk assumed",
        Basis::Assumed => "assumed",
    };
    let (contention, crosstalk) = (precise(cores.contention), precise(cores.crosstalk));
    let mut law = format!("contention {contention}, crosstalk {crosstalk}, {basis}");
    if let Some(peak) = cores.peak {
        law.push_str(&format!("; no gain past {peak:.0} cores"));
    }
    row("", &law, lines);
}

fn memory(memory: &Memory, lines: &mut Vec<String>) {
    let user = interval(memory.user_bytes, MEBI);
    let kernel = interval(memory.kernel_bytes, MEBI);
    row(
        "memory",
        &format!("user {user} MiB, kernel {kernel} MiB"),
        lines,
    );
    let kind = match memory.kind {
        FleetKind::Connected => "without subscription",
        FleetKind::Subscribed => "with a subscription",
        FleetKind::Persistent => "with a subscription and a persistent session",
        FleetKind::Secure => "with a subscription, over TLS",
    };
    let user = interval(memory.user_bytes_per_connection, 1.0);
    let kernel = interval(memory.kernel_bytes_per_connection, 1.0);
    let each = format!("user {user} and kernel {kernel} bytes a connection {kind}");
    row("", &each, lines);
}

fn disk(disk: &Disk, lines: &mut Vec<String>) {
    let bytes = interval(disk.bytes_per_s, 1e6);
    let syncs = interval(disk.syncs_per_s, 1.0);
    let (p50, p99) = (disk.sync_us_p50, disk.sync_us_p99);
    let sync = format!("a sync takes p50 {p50} p99 {p99} us");
    row(
        "disk",
        &format!("{bytes} MB/s, {syncs} syncs/s; {sync}"),
        lines,
    );
    if let Some(offline) = disk.offline_bytes_per_hour {
        let hour = interval(offline, 1e9);
        row("", &format!("{hour} GB of queued messages an hour"), lines);
    }
}

fn direction(direction: &Direction) -> String {
    let bits = interval(direction.bits_per_s, 1e6);
    let packets = interval(direction.packets_per_s, 1.0);
    format!("{bits} Mbit/s, {packets} packets/s")
}

fn interval(interval: Interval, unit: f64) -> String {
    let of = |value: f64| number(value / unit);
    let Interval {
        low,
        estimate,
        high,
    } = interval;
    format!("{} ({} to {})", of(estimate), of(low), of(high))
}

fn precise(interval: Interval) -> String {
    let Interval {
        low,
        estimate,
        high,
    } = interval;
    format!("{estimate:.4} ({low:.4} to {high:.4})")
}

/// Three digits that count; whole numbers where there are more.
fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 99.95 || size == 0.0 => format!("{value:.0}"),
        size if size >= 9.995 => format!("{value:.1}"),
        size if size >= 0.995 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits() {
        let cases = [
            (0.0, "0"),
            (0.1234, "0.123"),
            (1.0, "1.00"),
            (12.345, "12.3"),
            (123.45, "123"),
            (1_234_567.8, "1234568"),
        ];
        for (value, expected) in cases {
            assert_eq!(number(value), expected);
        }
    }
}
