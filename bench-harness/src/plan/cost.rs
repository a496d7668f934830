//! What a published message costs the broker in CPU time: a sum of what it is made of.
//!
//! | part | counted as |
//! | --- | --- |
//! | PUBLISH in, PUBLISH out, acknowledgement | packets of the handshake, with all receivers |
//! | payload | KiB in and out |
//! | read, write | socket operations: packets by the number that share one operation |
//! | wake-up | times that a core slept and was woken |
//! | MQTT 5.0 | PUBLISH packets in and out with property lengths |
//! | TLS | records in and out, as many as socket operations; KiB in them |
//! | durable delivery, sync | records for persistent sessions, and batches of them |
//!
//! Packets, bytes and durable records are work that is always there; reads, writes, records of TLS
//! and wake-ups depend on how messages come. In full batches they vanish, one message at a time
//! they are nearly all there is. Between these two ends the number of wake-ups decides: an event
//! wakes a core only if it sleeps, so a core that is busy for a share `b` of its time is woken by
//! `1 - b` of the events. How many events a message has is fitted to the context switches of open
//! loops.

use super::data::{LAG_US_MAX, TrafficPoint};
use super::linear::{self, Row, dot};
use crate::result::Pace;
use crate::schedule::Random;

/// Parts of the sum.
pub const PARTS: usize = 12;
const READ: usize = 4;
const WRITE: usize = 5;
const WAKE_UP: usize = 6;
const RECORD: usize = 10;
pub const PART_NAMES: [&str; PARTS] = [
    "PUBLISH in",
    "PUBLISH out",
    "acknowledgement",
    "KiB of payload",
    "socket read",
    "socket write",
    "wake-up",
    "PUBLISH of MQTT 5.0",
    "durable delivery",
    "journal sync",
    "TLS record",
    "KiB through TLS",
];
/// What the number of events is made of.
pub const EVENT_PARTS: usize = 4;
/// Points below which the parts cannot be told from each other.
pub const POINTS_MIN: usize = 12;

/// A message and how its like come.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Message {
    pub qos: u8,
    pub payload_bytes: f64,
    pub fan_out: f64,
    pub is_v5: bool,
    pub is_durable: bool,
    pub is_tls: bool,
    /// Packets that share a socket operation, and messages that share a wake-up.
    pub batch: f64,
}

/// Microseconds of each part, and the events of a message.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cost {
    pub parts_us: [f64; PARTS],
    /// By message, by stage of answers, by stage and logarithm of the fan-out, by durable message.
    pub events: [f64; EVENT_PARTS],
}

#[derive(Clone, Debug)]
pub struct CostFit {
    pub cost: Cost,
    /// Fits to the same points with the errors exchanged.
    pub draws: Vec<Cost>,
    /// Relative errors of the points: what the model leaves out.
    pub errors: Vec<f64>,
}

impl Message {
    pub fn of_point(point: &TrafficPoint) -> Self {
        let batch = match point.pace {
            Pace::Window { messages } => f64::from(messages.max(1)),
            _ => 1.0,
        };
        Self {
            qos: point.qos,
            payload_bytes: f64::from(point.payload_bytes),
            fan_out: point.fan_out,
            is_v5: point.mqtt == "5.0",
            is_durable: point.is_durable,
            is_tls: point.is_tls,
            batch,
        }
    }

    /// Acknowledgements that a PUBLISH of this quality has, in both directions.
    fn answers(&self) -> f64 {
        [0.0, 1.0, 3.0][usize::from(self.qos.min(2))]
    }

    /// Times that the broker waits for an answer of a receiver.
    fn stages(&self) -> f64 {
        f64::from(self.qos.min(2))
    }

    pub fn packets_in(&self) -> f64 {
        let releases = if self.qos == 2 { 1.0 } else { 0.0 };
        1.0 + releases + self.stages() * self.fan_out
    }

    pub fn packets_out(&self) -> f64 {
        let releases = if self.qos == 2 { self.fan_out } else { 0.0 };
        self.fan_out + releases + self.stages()
    }

    fn features(&self, wake_ups: f64) -> [f64; PARTS] {
        let publishes = 1.0 + self.fan_out;
        let flag = |is_set: bool| if is_set { 1.0 } else { 0.0 };
        [
            1.0,
            self.fan_out,
            self.answers() * publishes,
            self.payload_bytes / 1_024.0 * publishes,
            self.packets_in() / self.batch,
            self.packets_out() / self.batch,
            wake_ups,
            flag(self.is_v5) * publishes,
            flag(self.is_durable) * self.fan_out,
            flag(self.is_durable) / self.batch,
            flag(self.is_tls) * (self.packets_in() + self.packets_out()) / self.batch,
            flag(self.is_tls) * self.payload_bytes / 1_024.0 * publishes,
        ]
    }

    /// What is durable is delivered in groups behind a sync, and answered in groups.
    fn event_features(&self) -> [f64; EVENT_PARTS] {
        let stages = if self.is_durable { 0.0 } else { self.stages() };
        let durable = if self.is_durable { 1.0 } else { 0.0 };
        [1.0, stages, stages * self.fan_out.max(1.0).ln(), durable]
    }
}

impl Cost {
    /// Wake-ups of a message on a core that is busy for the share `busy` of its time.
    pub fn wake_ups(&self, message: &Message, busy: f64) -> f64 {
        let events = dot(&message.event_features(), &self.events);
        // More events than packets there cannot be.
        events.min(message.packets_in()) * (1.0 - busy) / message.batch
    }

    /// CPU time of a published message with everything that it causes.
    pub fn message_us(&self, message: &Message, busy: f64) -> f64 {
        self.with_wake_ups_us(message, self.wake_ups(message, busy))
    }

    /// What the model says about a point: of a closed loop only with its observed wake-ups, as
    /// nobody asks about such loads.
    pub fn point_us(&self, point: &TrafficPoint) -> f64 {
        let message = Message::of_point(point);
        if point.is_open() {
            self.message_us(&message, point.busy())
        } else {
            self.with_wake_ups_us(&message, point.wake_ups_per_message())
        }
    }

    fn with_wake_ups_us(&self, message: &Message, wake_ups: f64) -> f64 {
        dot(&message.features(wake_ups), &self.parts_us)
    }

    /// Where everything comes in full batches to cores that never sleep.
    pub fn batched_us(&self, message: &Message) -> f64 {
        let batched = Message {
            batch: f64::INFINITY,
            ..*message
        };
        self.with_wake_ups_us(&batched, 0.0)
    }

    /// Where each packet comes alone and wakes a core.
    pub fn alone_us(&self, message: &Message) -> f64 {
        self.with_wake_ups_us(message, message.packets_in())
    }

    /// PINGREQ and PINGRESP: a read, a write and a wake-up, and two records of TLS.
    pub fn ping_us(&self, is_tls: bool, busy: f64) -> f64 {
        let records = if is_tls { 2.0 } else { 0.0 };
        self.parts_us[READ]
            + self.parts_us[WRITE]
            + self.parts_us[WAKE_UP] * (1.0 - busy)
            + self.parts_us[RECORD] * records
    }
}

/// Fits to points of one core count; `None` with too few of them.
pub fn fit(points: &[TrafficPoint], draw_count: usize, random: &mut Random) -> Option<CostFit> {
    if points.len() < POINTS_MIN {
        return None;
    }
    let rows: Vec<_> = points.iter().map(cost_row).collect();
    let parts_us = linear::fit(&rows);
    let events: Vec<_> = points
        .iter()
        .filter(|point| point.is_open())
        .map(|point| event_row(point, parts_us[WAKE_UP]))
        .collect();
    let cost = Cost {
        parts_us,
        events: linear::fit(&events),
    };
    let cost_errors = errors(&rows, &cost.parts_us);
    let event_errors = errors(&events, &cost.events);
    let draws = (0..draw_count).map(|_| Cost {
        parts_us: linear::fit(&disturbed(&rows, &cost.parts_us, &cost_errors, random)),
        events: linear::fit(&disturbed(&events, &cost.events, &event_errors, random)),
    });
    let draws = draws.collect();
    let in_time: Vec<_> = points.iter().filter(|point| !point.is_late()).collect();
    let all: Vec<_> = points.iter().collect();
    let judged = if in_time.len() < POINTS_MIN {
        all
    } else {
        in_time
    };
    let error = |point: &&TrafficPoint| point.cpu_us_per_message() / cost.point_us(point) - 1.0;
    Some(CostFit {
        errors: judged.iter().map(error).collect(),
        draws,
        cost,
    })
}

fn cost_row(point: &TrafficPoint) -> Row<PARTS> {
    let features = Message::of_point(point).features(point.wake_ups_per_message());
    let mut row = Row::relative(features, point.cpu_us_per_message());
    row.scale *= doubt(point);
    row
}

/// Only where senders do not wait for the broker do their times of sending tell anything about
/// others. Measured by the wake-ups that would double the message's cost, but not by fewer than a
/// message to one receiver could have.
fn event_row(point: &TrafficPoint, wake_up_us: f64) -> Row<EVENT_PARTS> {
    let asleep = 1.0 - point.busy();
    let message = Message::of_point(point);
    let doubling = point.cpu_us_per_message() / wake_up_us.max(0.1);
    Row {
        features: message.event_features().map(|feature| feature * asleep),
        observed: point.wake_ups_per_message(),
        scale: doubling.max(1.0 + message.stages()) * doubt(point),
    }
}

/// The later the generator, the less its messages came alone.
fn doubt(point: &TrafficPoint) -> f64 {
    let lag_us = point
        .send_lag_us_p99
        .filter(|_| point.is_open())
        .unwrap_or(0);
    1.0 + lag_us as f64 / LAG_US_MAX as f64
}

/// In units of the scale; larger by what the fitted coefficients took away.
fn errors<const N: usize>(rows: &[Row<N>], coefficients: &[f64; N]) -> Vec<f64> {
    let used = coefficients.iter().filter(|part| **part > 0.0).count();
    let count = rows.len() as f64;
    let widening = (count / (count - used as f64).max(1.0)).sqrt();
    let error = |row: &Row<N>| {
        let fitted = dot(&row.features, coefficients);
        (row.observed - fitted) / row.scale.max(f64::MIN_POSITIVE) * widening
    };
    rows.iter().map(error).collect()
}

/// The fitted values with errors of other rows.
fn disturbed<const N: usize>(
    rows: &[Row<N>],
    coefficients: &[f64; N],
    errors: &[f64],
    random: &mut Random,
) -> Vec<Row<N>> {
    rows.iter()
        .map(|row| {
            let error = errors[(random.draw() % errors.len() as u64) as usize];
            Row {
                observed: (dot(&row.features, coefficients) + error * row.scale).max(0.0),
                ..row.clone()
            }
        })
        .collect()
}
