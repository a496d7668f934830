//! From a question to cores, memory, disk and network, each with its interval, and to what the
//! answer does not rest on.

use serde::Serialize;

use super::cost::Message;
use super::data::FleetKind;
use super::linear::Interval;
use super::model::{FleetFit, Model, View, syncs_per_s};
use super::network::{self, Network};
use super::scaling::{self, Basis};

/// Version of the answer as JSON.
pub const FORMAT: u32 = 2;
/// The broker runs on no more.
pub const CORES_MAX: u32 = 128;

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Question {
    pub connections: u64,
    /// Published messages per second of all clients together.
    pub messages_per_s: f64,
    /// Receivers of a message on average.
    pub fan_out: f64,
    pub qos: u8,
    pub payload_bytes: u32,
    pub topic_bytes: u32,
    pub is_v5: bool,
    pub keep_alive_s: u16,
    pub is_durable: bool,
    pub is_tls: bool,
    /// The share of its time that a core may be busy.
    pub busy_max: f64,
    /// The share of receivers that are away while their messages queue.
    pub offline_share: Option<f64>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Answer {
    pub format: u32,
    pub question: Question,
    pub cores: Cores,
    pub memory: Option<Memory>,
    pub disk: Option<Disk>,
    /// Where TLS was asked for and measured.
    pub handshakes: Option<Handshakes>,
    pub network: Network,
    pub confidence: Confidence,
    /// What was taken for granted, with its value.
    pub assumed: Vec<String>,
    /// Where the question lies outside of what was measured.
    pub extrapolated: Vec<String>,
    pub not_measured: Vec<String>,
}

/// All intervals are of 90 %.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Cores {
    /// `None` at an end for more than the broker can use.
    pub low: Option<u32>,
    pub estimate: Option<u32>,
    pub high: Option<u32>,
    /// Core-seconds per second, on cores as busy as they may be.
    pub cpu: Interval,
    /// The same if everything came in full batches, and if each packet came alone to a sleeping
    /// core: the ends between which the arrival of messages decides.
    pub cpu_batched: f64,
    pub cpu_alone: f64,
    pub us_per_message: Interval,
    /// Past this number further cores take capacity away; `None` when there is no such number.
    pub peak: Option<f64>,
    pub contention: Interval,
    pub crosstalk: Interval,
    pub basis: Basis,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Memory {
    pub kind: FleetKind,
    pub user_bytes: Interval,
    pub kernel_bytes: Interval,
    pub user_bytes_per_connection: Interval,
    pub kernel_bytes_per_connection: Interval,
}

/// Full TLS handshakes, as after a loss of power when nobody has a ticket.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Handshakes {
    /// CPU time of the broker.
    pub us_each: f64,
    /// For all connections at once, on all cores of the answer.
    pub all_s: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Disk {
    pub bytes_per_s: Interval,
    pub syncs_per_s: Interval,
    /// Of one sync: what durability adds to the way to PUBACK at least.
    pub sync_us_p50: u64,
    pub sync_us_p99: u64,
    /// What the queues of absent receivers grow by.
    pub offline_bytes_per_hour: Option<Interval>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Confidence {
    /// Narrow intervals, nothing extrapolated.
    Good,
    /// Wider intervals, or a little outside of what was measured.
    Fair,
    /// A guess: wide intervals, far outside, or a part that was not measured.
    Poor,
}

impl Question {
    pub fn check(&self) -> Result<(), String> {
        let within = |name: &str, value: f64, low: f64, high: f64| match value {
            value if (low..=high).contains(&value) => Ok(()),
            _ => Err(format!("{name} must be {low} to {high}, is {value}")),
        };
        within("connections", self.connections as f64, 1.0, 1e9)?;
        within("rate", self.messages_per_s, 0.0, 1e9)?;
        within("fan-out", self.fan_out, 0.0, 1e9)?;
        within("QoS", f64::from(self.qos), 0.0, 2.0)?;
        within("the busy share", self.busy_max, 0.05, 1.0)?;
        within(
            "the topic's length",
            f64::from(self.topic_bytes),
            1.0,
            65_535.0,
        )?;
        within(
            "the payload's size",
            f64::from(self.payload_bytes),
            0.0,
            268_435_455.0,
        )?;
        within(
            "the offline share",
            self.offline_share.unwrap_or(0.0),
            0.0,
            1.0,
        )?;
        if self.fan_out > self.connections as f64 {
            return Err("a message cannot have more receivers than there are connections".into());
        }
        if self.offline_share.is_some() && !self.is_durable {
            return Err("queues of absent receivers take disk only with --durable".to_owned());
        }
        if self.is_durable && self.qos == 0 {
            return Err("QoS 0 is never written to the disk: --durable needs QoS 1 or 2".into());
        }
        Ok(())
    }

    fn message(&self) -> Message {
        Message {
            qos: self.qos,
            payload_bytes: f64::from(self.payload_bytes),
            fan_out: self.fan_out,
            is_v5: self.is_v5,
            is_durable: self.is_durable,
            is_tls: self.is_tls,
            batch: 1.0,
        }
    }

    fn pings_per_s(&self) -> f64 {
        match self.keep_alive_s {
            0 => 0.0,
            seconds => self.connections as f64 / f64::from(seconds),
        }
    }

    fn kind(&self) -> FleetKind {
        if self.is_durable {
            FleetKind::Persistent
        } else {
            FleetKind::Subscribed
        }
    }
}

pub fn answer(model: &Model, question: &Question) -> Result<Answer, String> {
    question.check()?;
    let cores = cores(model, question);
    let memory = memory(model, question, cores.estimate.unwrap_or(CORES_MAX));
    let disk = disk(model, question, cores.estimate.unwrap_or(CORES_MAX));
    let message = question.message();
    let mut answer = Answer {
        format: FORMAT,
        question: question.clone(),
        cores,
        memory,
        disk,
        handshakes: handshakes(model, question, cores.estimate.unwrap_or(CORES_MAX)),
        network: network::load(
            &message,
            question.messages_per_s,
            f64::from(question.topic_bytes),
            question.pings_per_s(),
        ),
        confidence: Confidence::Poor,
        assumed: assumed(model, question),
        extrapolated: extrapolated(model, question, &cores),
        not_measured: Vec::new(),
    };
    answer.not_measured = not_measured(model, &answer);
    answer.confidence = confidence(model, &answer);
    Ok(answer)
}

fn cores(model: &Model, question: &Question) -> Cores {
    let (message, busy) = (question.message(), question.busy_max);
    let (rate, pings) = (question.messages_per_s / 1e6, question.pings_per_s() / 1e6);
    // Of the cores that the cost was fitted on.
    let cpu_of = |view: &View<'_>| {
        rate * view.message_us(&message, busy)
            + pings * view.cost.ping_us(question.is_tls, busy) * view.factor
    };
    // More than the broker can use counts as infinitely many.
    let wanted = model.interval(|view| {
        let one_core = cpu_of(view) / view.scaling.cost(model.cores_of_cost);
        let cores = view.scaling.cores_for(one_core / busy, CORES_MAX);
        cores.map_or(f64::INFINITY, f64::from)
    });
    let number = |cores: f64| cores.is_finite().then(|| cores.round().max(1.0) as u32);
    let cores = number(wanted.estimate);
    let more = |view: &View<'_>| match cores {
        Some(cores) => view.scaling.cost(cores) / view.scaling.cost(model.cores_of_cost),
        None => 1.0,
    };
    let cost = &model.cost.cost;
    Cores {
        low: number(wanted.low),
        estimate: cores,
        high: number(wanted.high),
        cpu: model.interval(|view| cpu_of(view) * more(view)),
        cpu_batched: rate * cost.batched_us(&message) * more(&model.best()),
        cpu_alone: (rate * cost.alone_us(&message) + pings * cost.ping_us(question.is_tls, 0.0))
            * more(&model.best()),
        us_per_message: model.message_us(&message, cores.unwrap_or(model.cores_of_cost), busy),
        peak: model.scaling.scaling.peak_cores(),
        contention: model.scaling.contention(),
        crosstalk: model.scaling.crosstalk(),
        basis: model.scaling.basis,
    }
}

/// The fleet of the question's kind, or the one nearest to it.
fn fleet(model: &Model, wanted: FleetKind) -> Option<(FleetKind, &FleetFit)> {
    let others = [
        FleetKind::Persistent,
        FleetKind::Subscribed,
        FleetKind::Connected,
    ];
    [wanted]
        .into_iter()
        .chain(others)
        .find_map(|kind| Some((kind, model.fleets.get(&kind)?)))
}

fn memory(model: &Model, question: &Question, cores: u32) -> Option<Memory> {
    let (kind, fleet) = fleet(model, question.kind())?;
    let connections = question.connections as f64;
    // Buffers and tables that each core has, whoever is connected.
    let base = fleet.user.intercept.max(0.0) * f64::from(cores) / f64::from(fleet.cores);
    let tls = tls_bytes(model, question);
    let positive = |slope: Interval| slope.map(|bytes| bytes.max(0.0));
    let user = positive(fleet.user.slope.map(|bytes| bytes + tls));
    let kernel = positive(fleet.kernel.slope);
    Some(Memory {
        kind,
        user_bytes: user.map(|bytes| base + bytes * connections),
        kernel_bytes: kernel.map(|bytes| bytes * connections),
        user_bytes_per_connection: user,
        kernel_bytes_per_connection: kernel,
    })
}

/// What TLS adds to a connection's user memory, whatever its session.
fn tls_bytes(model: &Model, question: &Question) -> f64 {
    let slope = |kind| Some(model.fleets.get(&kind)?.user.slope.estimate);
    match (slope(FleetKind::Secure), slope(FleetKind::Subscribed)) {
        (Some(secure), Some(plain)) if question.is_tls => (secure - plain).max(0.0),
        _ => 0.0,
    }
}

fn handshakes(model: &Model, question: &Question, cores: u32) -> Option<Handshakes> {
    let point = model.handshakes.as_ref().filter(|_| question.is_tls)?;
    let us_each = point.us_each();
    Some(Handshakes {
        us_each,
        all_s: us_each / 1e6 * question.connections as f64 / f64::from(cores),
    })
}

fn disk(model: &Model, question: &Question, cores: u32) -> Option<Disk> {
    let sync = model.disk.as_ref()?.syncs.first()?;
    let [by_delivery, by_byte, by_sync] = model.journal?;
    if !question.is_durable {
        return None;
    }
    let (rate, fan_out) = (question.messages_per_s, question.fan_out.max(1.0));
    let (all, payload) = (f64::from(cores), f64::from(question.payload_bytes));
    // A message is a record on each core with a receiver, or on one if all are there; answers of
    // receivers are records too, and may come alone.
    let copies = fan_out.min(all);
    let syncs = |records: f64| syncs_per_s(records * rate, all, sync.us_mean / 1e6);
    let syncs_per_s = Interval {
        low: syncs(1.0),
        estimate: syncs(copies),
        high: syncs(2.0 * fan_out),
    };
    let bytes = |copies: f64, syncs: f64| {
        let message = question.fan_out * by_delivery + payload * by_byte * copies;
        message * rate + syncs * by_sync
    };
    let share = question.offline_share;
    Some(Disk {
        bytes_per_s: Interval {
            low: bytes(1.0, syncs_per_s.low),
            estimate: bytes(copies, syncs_per_s.estimate),
            high: bytes(fan_out, syncs_per_s.high),
        },
        syncs_per_s,
        sync_us_p50: sync.us_p50,
        sync_us_p99: sync.us_p99,
        // What fills up blocks is not kept.
        offline_bytes_per_hour: share.map(|share| {
            let kept = |copies: f64| bytes(copies, 0.0) * share * 3_600.0;
            Interval {
                low: kept(1.0),
                estimate: kept(copies),
                high: kept(fan_out),
            }
        }),
    })
}

fn assumed(model: &Model, question: &Question) -> Vec<String> {
    let percent = question.busy_max * 100.0;
    let mut assumed = vec![
        format!("cores may be busy for {percent:.0} % of their time"),
        "each message comes alone on its connection; what wakes a core depends on how busy it is"
            .to_owned(),
    ];
    if question.keep_alive_s > 0 {
        assumed.push(format!(
            "each connection sends a PINGREQ every {} s, counted as one read, write and wake-up",
            question.keep_alive_s
        ));
    }
    if question.is_tls {
        assumed.push(
            "TLS 1.3, each packet a record of its own, an ECDSA key; a handshake with an RSA key \
             takes a multiple"
                .to_owned(),
        );
    }
    let (late, open) = (model.range.late, model.range.open);
    if late > 0 {
        assumed.push(format!(
            "{late} of {open} runs with a rate count little: the generator was late, as on a busy \
             machine"
        ));
    }
    let (low, high) = scaling::CONTENTION_ASSUMED;
    let (cross_low, cross_high) = scaling::CROSSTALK_ASSUMED;
    match model.scaling.basis {
        Basis::Fitted => {}
        Basis::CrosstalkAssumed => assumed.push(format!(
            "two core counts were measured: crosstalk between cores is taken as {cross_low} to \
             {cross_high}"
        )),
        Basis::Assumed => assumed.push(format!(
            "one core count was measured: contention is taken as {low} to {high}, crosstalk as \
             {cross_low} to {cross_high}"
        )),
    }
    assumed
}

fn extrapolated(model: &Model, question: &Question, cores: &Cores) -> Vec<String> {
    let range = &model.range;
    let mut found = Vec::new();
    let mut past = |what: &str, asked: f64, low: f64, high: f64| {
        if asked > high * 1.001 {
            found.push(format!(
                "{what}: {asked:.0} asked, at most {high:.0} measured"
            ));
        } else if asked < low * 0.999 {
            found.push(format!(
                "{what}: {asked:.0} asked, at least {low:.0} measured"
            ));
        }
    };
    let cores = cores.high.unwrap_or(CORES_MAX);
    past(
        "cores (upper end)",
        f64::from(cores),
        0.0,
        f64::from(model.cores_max()),
    );
    if let Some((_, fleet)) = fleet(model, question.kind()) {
        let measured = fleet.connections_max as f64;
        past(
            "connections (memory)",
            question.connections as f64,
            0.0,
            measured,
        );
    }
    let traffic = f64::from(range.connections);
    past(
        "connections with traffic",
        question.connections as f64,
        0.0,
        traffic,
    );
    past(
        "fan-out",
        question.fan_out,
        range.fan_out.0,
        range.fan_out.1,
    );
    let (low, high) = range.payload_bytes;
    past(
        "payload bytes",
        f64::from(question.payload_bytes),
        f64::from(low),
        f64::from(high),
    );
    found
}

fn not_measured(model: &Model, answer: &Answer) -> Vec<String> {
    let (question, range) = (&answer.question, &model.range);
    let mut missing = Vec::new();
    if question.is_tls && !range.is_tls {
        missing.push("TLS: not measured; nothing is added for it to the cores".to_owned());
    }
    if question.is_tls && !model.fleets.contains_key(&FleetKind::Secure) {
        missing.push("memory of TLS: nothing is added for it".to_owned());
    }
    if !range.qos.contains(&question.qos) && !range.durable_qos.contains(&question.qos) {
        missing.push(format!(
            "QoS {}: its cost is the sum of its packets",
            question.qos
        ));
    }
    let version = if question.is_v5 { "5.0" } else { "3.1.1" };
    if !range.versions.contains(version) {
        missing.push(format!("MQTT {version}: taken as the other version"));
    }
    if question.is_durable && range.durable_qos.is_empty() {
        missing.push("durable delivery: nothing is added for it to the cores".to_owned());
    } else if question.is_durable && !range.durable_qos.contains(&question.qos) {
        missing.push(format!(
            "durable delivery at QoS {}: taken as that at 1",
            question.qos
        ));
    }
    match answer.memory {
        None => missing.push("memory: the file has no fleets".to_owned()),
        Some(memory) if memory.kind != question.kind() => {
            missing.push("memory of this kind of session: another kind's is given".to_owned());
        }
        Some(_) => {}
    }
    if question.is_durable && answer.disk.is_none() {
        missing.push("disk: the file has no figures of it".to_owned());
    }
    missing
        .push("send and receive buffers in the kernel under load, queues of slow receivers".into());
    missing.push("network cards: the measurements went over the loopback".to_owned());
    if question.offline_share.is_some() {
        missing.push("memory of messages that queue".to_owned());
    }
    missing
}

/// The worst of: width of the interval of CPU time, distance from what was measured, missing parts.
fn confidence(model: &Model, answer: &Answer) -> Confidence {
    let question = &answer.question;
    let width = answer.cores.cpu.relative_width();
    let factors = [
        f64::from(answer.cores.estimate.unwrap_or(CORES_MAX)) / f64::from(model.cores_max()),
        question.fan_out / model.range.fan_out.1.max(1.0),
        f64::from(question.payload_bytes) / f64::from(model.range.payload_bytes.1.max(1)),
        fleet(model, question.kind()).map_or(f64::INFINITY, |(_, fleet)| {
            question.connections as f64 / fleet.connections_max.max(1) as f64
        }),
    ];
    let distance = factors.into_iter().fold(1.0, f64::max);
    let is_missing = (question.is_tls && !model.range.is_tls)
        || answer.cores.estimate.is_none()
        || model.range.late * 2 > model.range.open
        || (question.is_durable && (model.range.durable_qos.is_empty() || answer.disk.is_none()));
    if is_missing || width > 0.6 || distance > 16.0 {
        Confidence::Poor
    } else if width > 0.25 || distance > 2.0 || model.range.shares_cpu {
        Confidence::Fair
    } else {
        Confidence::Good
    }
}
