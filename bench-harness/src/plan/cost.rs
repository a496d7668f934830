//! What a published message costs the broker in CPU time: a sum of what it is made of.
//!
//! | part | counted as |
//! | --- | --- |
//! | PUBLISH in, PUBLISH out, acknowledgement | packets of the handshake, with all receivers |
//! | payload | KiB in and out |
//! | read, write | socket operations: packets by the number that share one operation |
//! | wake-up | times that a core slept and was woken |
//! | MQTT 5.0 | PUBLISH packets in and out with property lengths |
//! | durable delivery, sync | records for persistent sessions, and batches of them |
//!
//! The first four and the last two are work that is always there; reads, writes and wake-ups depend
//! on how messages come. In full batches they vanish, one message at a time they are nearly all
//! there is. Between these two ends the number of wake-ups decides: an event wakes a core only if
//! the core sleeps, so a core that is busy for a share `b` of its time is woken by `1 - b` of the
//! events. How many events a message has is fitted to the observed context switches.

use super::data::TrafficPoint;
use super::linear::{self, Row, dot};
use crate::result::Pace;
use crate::schedule::Random;

/// Parts of the sum.
pub const PARTS: usize = 10;
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
];
/// Points below which the parts cannot be told from each other.
pub const POINTS_MIN: usize = 12;
/// A core that is busier leaves too few sleeps to count events by.
const BUSY_MAX: f64 = 0.7;

/// A message and how its like come.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Message {
    pub qos: u8,
    pub payload_bytes: f64,
    pub fan_out: f64,
    pub is_v5: bool,
    pub is_durable: bool,
    /// Packets that share a socket operation, and messages that share a wake-up.
    pub batch: f64,
}

/// Microseconds of each part, and the events of a message.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cost {
    pub parts_us: [f64; PARTS],
    /// By message, by stage of answers, by stage and logarithm of the fan-out.
    pub events: [f64; 3],
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
        ]
    }

    fn event_features(&self) -> [f64; 3] {
        let stages = self.stages();
        [1.0, stages, stages * self.fan_out.max(1.0).ln()]
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

    /// PINGREQ and PINGRESP: a read, a write and a wake-up.
    pub fn ping_us(&self, busy: f64) -> f64 {
        self.parts_us[4] + self.parts_us[5] + self.parts_us[6] * (1.0 - busy)
    }
}

/// Fits to points of one core count; `None` with too few of them.
pub fn fit(points: &[TrafficPoint], draw_count: usize, random: &mut Random) -> Option<CostFit> {
    if points.len() < POINTS_MIN {
        return None;
    }
    let rows: Vec<_> = points.iter().map(cost_row).collect();
    let events: Vec<_> = points.iter().filter_map(event_row).collect();
    let cost = Cost {
        parts_us: linear::fit(&rows),
        events: linear::fit(&events),
    };
    let used = |parts: &[f64]| parts.iter().filter(|part| **part > 0.0).count();
    let cost_errors = errors(&rows, &cost.parts_us, used(&cost.parts_us));
    let event_errors = errors(&events, &cost.events, used(&cost.events));
    let draws = (0..draw_count).map(|_| Cost {
        parts_us: linear::fit(&disturbed(&rows, &cost.parts_us, &cost_errors, random)),
        events: linear::fit(&disturbed(&events, &cost.events, &event_errors, random)),
    });
    let draws = draws.collect();
    // As it will be asked: with the wake-ups of the model in place of the observed ones.
    let rows = points.iter().map(|point| {
        let message = Message::of_point(point);
        let modelled = cost.message_us(&message, point.busy());
        point.cpu_us_per_message() / modelled - 1.0
    });
    Some(CostFit {
        cost,
        draws,
        errors: rows.collect(),
    })
}

fn cost_row(point: &TrafficPoint) -> Row<PARTS> {
    Row {
        features: Message::of_point(point).features(point.wake_ups_per_message()),
        observed: point.cpu_us_per_message(),
    }
}

/// Only what comes one at a time to a core that sleeps often enough shows its events.
fn event_row(point: &TrafficPoint) -> Option<Row<3>> {
    let message = Message::of_point(point);
    let asleep = 1.0 - point.busy();
    let is_telling = message.batch <= 1.0 && point.busy() < BUSY_MAX;
    (is_telling && point.wake_ups > 0).then(|| Row {
        features: message.event_features(),
        observed: point.wake_ups_per_message() / asleep,
    })
}

/// Observed over fitted, less one; larger by what the fitted coefficients took away.
fn errors<const N: usize>(rows: &[Row<N>], coefficients: &[f64; N], used: usize) -> Vec<f64> {
    let count = rows.len() as f64;
    let widening = (count / (count - used as f64).max(1.0)).sqrt();
    let error = |row: &Row<N>| match dot(&row.features, coefficients) {
        fitted if fitted > 0.0 => (row.observed / fitted - 1.0) * widening,
        _ => 0.0,
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
                features: row.features,
                observed: dot(&row.features, coefficients) * (1.0 + error).max(0.05),
            }
        })
        .collect()
}
