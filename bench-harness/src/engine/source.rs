//! Streams: when each sends its next message, and what holds it up.

use super::client::{Client, InFlight};
use super::context::{Context, Mode, Timer};
use crate::load::{Publish as PublishPlan, SourcePace};
use crate::measure::Measure;
use crate::mqtt::{FILLING, PacketTemplate, Publish, Version, encode_publish};
use crate::payload::{STAMP_BYTES, Stamp};
use crate::schedule::Schedule;

/// Messages of one client that are unacknowledged while it only fills the broker.
const FILL_IN_FLIGHT: usize = 200;
/// A closed loop that lost its messages (QoS 0 permits it) starts again after so long.
pub(super) const STALL_NS: u64 = 1_000_000_000;

/// One stream of messages of one client.
pub(super) struct Source {
    pub id: u32,
    /// The client that sends it.
    pub slot: u32,
    group: u16,
    /// `None` where the topic changes with each message.
    template: Option<PacketTemplate>,
    pub sequence: u64,
    schedule: Option<Schedule>,
    /// Deliveries, or gaps that stand for them, that came back in a closed loop.
    pub returned: u64,
    pub returned_ns: u64,
    pub fill_left: u64,
    pub is_waiting: bool,
    pub is_refilled: bool,
}

impl Source {
    pub(super) fn new(
        id: u32,
        slot: u32,
        group: u16,
        plan: &PublishPlan,
        version: Version,
    ) -> Self {
        let payload = vec![FILLING; plan.payload_bytes as usize];
        let topic = plan.topic.expand(id - plan.first_source, 0);
        let publish = Publish {
            qos: plan.qos,
            retain: plan.retain,
            is_dup: false,
            topic: topic.as_bytes(),
            packet_id: 0,
            payload: &payload,
        };
        let is_constant = !plan.topic.has_sequence();
        Self {
            id,
            slot,
            group,
            template: is_constant.then(|| PacketTemplate::new(version, &publish)),
            sequence: 0,
            schedule: None,
            returned: 0,
            returned_ns: 0,
            fill_left: 0,
            is_waiting: false,
            is_refilled: false,
        }
    }

    /// Fixes the times of a load that starts at `start_ns`; says when to send first.
    pub(super) fn begin_load(&mut self, context: &Context, start_ns: u64) -> Option<u64> {
        let plan = context.publish(self.group)?;
        let streams = context.group(self.group).count * plan.per_client;
        self.returned_ns = start_ns;
        match plan.pace {
            SourcePace::Window { .. } => Some(start_ns),
            SourcePace::Open {
                arrivals,
                messages_per_s,
            } => {
                let position = f64::from(self.id - plan.first_source) / f64::from(streams);
                let seed = context.job.seed << 24 ^ u64::from(self.id);
                let schedule = Schedule::new(arrivals, messages_per_s, start_ns, position, seed);
                Some(self.schedule.insert(schedule).next_ns())
            }
        }
    }

    /// Whether it sends when something came back, not at times fixed in advance.
    pub(super) fn is_closed_loop(&self) -> bool {
        self.schedule.is_none()
    }

    /// Something came back, or the connection takes bytes again: goes on where it was held up.
    pub(super) fn emit_again(
        &mut self,
        index: u32,
        client: &mut Client,
        context: &mut Context,
        now_ns: u64,
    ) {
        self.is_refilled = false;
        // A schedule that is not held up has its timer running; a second one would double it.
        if self.is_waiting || self.is_closed_loop() {
            self.emit(index, client, context, now_ns);
        }
    }

    /// Sends everything that is due and possible.
    pub(super) fn emit(
        &mut self,
        index: u32,
        client: &mut Client,
        context: &mut Context,
        now_ns: u64,
    ) {
        let Some(plan) = context.publish(self.group) else {
            return;
        };
        let (qos, pace) = (plan.qos, plan.pace);
        match (context.mode, pace) {
            (Mode::Silent, SourcePace::Window { .. }) => {}
            (Mode::Fill { erase }, _) => self.emit_fill(index, client, context, erase, now_ns),
            (Mode::Load, SourcePace::Window { messages }) => {
                if now_ns < context.load_end_ns {
                    self.emit_window(index, client, context, messages, now_ns);
                }
            }
            // After the load's end, too: what the broker held up is still owed.
            (Mode::Load | Mode::Silent, SourcePace::Open { .. }) => {
                self.emit_open(index, client, context, qos, now_ns);
            }
        }
    }

    fn emit_open(
        &mut self,
        index: u32,
        client: &mut Client,
        context: &mut Context,
        qos: u8,
        now_ns: u64,
    ) {
        let Some(mut schedule) = self.schedule.take() else {
            return;
        };
        let end_ns = context.load_end_ns;
        let was_behind = self.is_waiting;
        while schedule.next_ns() <= now_ns && schedule.next_ns() < end_ns {
            let intended_ns = schedule.next_ns();
            if !client.can_send(qos) {
                self.wait(index, client, context);
                self.schedule = Some(schedule);
                return;
            }
            // What the broker held up is not the generator's lag.
            if !was_behind {
                context
                    .recorder
                    .record(Measure::SendLag, intended_ns, now_ns);
            }
            self.send(index, client, context, intended_ns, now_ns, false);
            schedule.advance();
        }
        self.go_on(context);
        if schedule.next_ns() < end_ns {
            context.set_timer(schedule.next_ns(), Timer::Send(index));
        }
        self.schedule = Some(schedule);
    }

    fn emit_window(
        &mut self,
        index: u32,
        client: &mut Client,
        context: &mut Context,
        messages: u32,
        now_ns: u64,
    ) {
        let Some(plan) = context.publish(self.group) else {
            return;
        };
        let (qos, fan_out) = (plan.qos, u64::from(plan.fan_out.max(1)));
        let per_client = plan.per_client as usize;
        let window = u64::from(messages);
        // At QoS 1 and 2 nothing may be lost: a loop that stands still is the broker's answer.
        if qos == 0 && now_ns > self.returned_ns + STALL_NS {
            self.returned = self.sequence * fan_out;
        }
        let under_way = self.sequence.saturating_sub(self.returned / fan_out);
        let free = window.saturating_sub(under_way);
        for _ in 0..free {
            if qos > 0 && client.in_flight.len() >= messages as usize * per_client {
                // The next acknowledgement refills.
                break;
            }
            if !client.can_send(qos) {
                return self.wait(index, client, context);
            }
            self.send(index, client, context, now_ns, now_ns, false);
        }
        self.go_on(context);
    }

    fn emit_fill(
        &mut self,
        index: u32,
        client: &mut Client,
        context: &mut Context,
        erase: bool,
        now_ns: u64,
    ) {
        let qos = context.publish(self.group).map_or(0, |plan| plan.qos);
        while self.fill_left > 0 {
            if qos > 0 && client.in_flight.len() >= FILL_IN_FLIGHT {
                break;
            }
            if !client.can_send(qos) {
                return self.wait(index, client, context);
            }
            self.fill_left -= 1;
            context.fill_left -= 1;
            self.send(index, client, context, now_ns, now_ns, erase);
        }
        self.go_on(context);
    }

    fn wait(&mut self, index: u32, client: &mut Client, context: &mut Context) {
        if !self.is_waiting {
            self.is_waiting = true;
            context.streams_behind += 1;
        }
        if !client.blocked.contains(&index) {
            client.blocked.push_back(index);
        }
    }

    fn go_on(&mut self, context: &mut Context) {
        if self.is_waiting {
            self.is_waiting = false;
            context.streams_behind -= 1;
        }
    }

    fn send(
        &mut self,
        index: u32,
        client: &mut Client,
        context: &mut Context,
        intended_ns: u64,
        now_ns: u64,
        is_erasing: bool,
    ) {
        let Some(plan) = context.job.load.groups[usize::from(self.group)]
            .publish
            .as_ref()
        else {
            return;
        };
        let packet_id = if plan.qos > 0 { client.packet_id() } else { 0 };
        let stamp = Stamp {
            source: self.id,
            sequence: self.sequence,
            intended_ns,
        };
        match &self.template {
            Some(template) => template.append(packet_id, &stamp.encode(), &mut client.out),
            None => {
                let sequence = if is_erasing {
                    self.fill_left
                } else {
                    self.sequence
                };
                let topic = plan.topic.expand(self.id - plan.first_source, sequence);
                let payload = padded(&stamp, plan.payload_bytes);
                let publish = Publish {
                    qos: plan.qos,
                    retain: plan.retain,
                    is_dup: false,
                    topic: topic.as_bytes(),
                    packet_id,
                    payload: if is_erasing { &[] } else { &payload },
                };
                encode_publish(context.job.version, &publish, &mut client.out);
            }
        }
        let tally = &mut context.tally;
        if plan.qos > 0 {
            client.in_flight.push_back(InFlight {
                packet_id,
                source: index,
                intended_ns,
                is_counted: !is_erasing,
            });
            context.acknowledgements_open += 1;
        }
        if !is_erasing {
            tally.sent += 1;
            tally.expected += u64::from(plan.fan_out);
            tally.expected_slow += u64::from(plan.fan_out_slow);
            context.recorder.count_sent(now_ns);
            self.sequence += 1;
        }
        client.mark_dirty(context);
    }

    /// Messages of the schedule that were not sent when the run ended.
    pub(super) fn unsent(&mut self, end_ns: u64) -> u64 {
        let Some(schedule) = &mut self.schedule else {
            return self.fill_left;
        };
        let mut count = 0;
        while schedule.next_ns() < end_ns {
            schedule.advance();
            count += 1;
        }
        count
    }
}

fn padded(stamp: &Stamp, payload_bytes: u32) -> Vec<u8> {
    let mut payload = stamp.encode().to_vec();
    payload.resize((payload_bytes as usize).max(STAMP_BYTES), FILLING);
    payload
}
