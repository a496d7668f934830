//! The step that a thread is in: how it begins and when its part is done.

use super::client::{Client, State};
use super::connect::{self, Plan};
use super::context::{Context, Mode, Timer};
use super::{Engine, receive};
use crate::load::Action;
use crate::measure::Measure;

/// Between two looks at handshakes that may take too long.
const CHECK_NS: u64 = 500_000_000;

#[derive(Default)]
pub(super) struct Steps {
    current: Option<Current>,
    plan: Option<Plan>,
    check_ns: u64,
}

struct Current {
    index: u32,
    until: Until,
}

/// What ends this thread's part of a step.
enum Until {
    Time(u64),
    Connected,
    /// Fill: everything sent and acknowledged.
    Acknowledged,
    /// The controller's business, or done already.
    Now,
}

impl Steps {
    /// The step that has just become complete; told once.
    pub(super) fn done(&mut self, context: &Context, now_ns: u64) -> Option<u32> {
        let current = self.current.as_ref()?;
        let is_done = match current.until {
            Until::Time(at_ns) => now_ns >= at_ns,
            Until::Connected => {
                let is_begun = self
                    .plan
                    .as_ref()
                    .is_none_or(|plan| plan.due_ns().is_none());
                is_begun && context.connecting == 0
            }
            Until::Acknowledged => {
                context.refill.is_empty()
                    && context.acknowledgements_open == 0
                    && context.streams_behind == 0
                    && context.fill_left == 0
            }
            Until::Now => true,
        };
        if !is_done {
            return None;
        }
        Some(self.current.take()?.index)
    }

    /// When the next connection is due, where connections follow a rate; at once, where a place
    /// is free.
    pub(super) fn connect_due_ns(&self, context: &Context) -> Option<u64> {
        let plan = self.plan.as_ref()?;
        let due_ns = plan.due_ns()?;
        plan.has_place(context.connecting).then_some(due_ns)
    }

    pub(super) fn is_check_due(&mut self, now_ns: u64) -> bool {
        let is_due = now_ns >= self.check_ns;
        if is_due {
            self.check_ns = now_ns + CHECK_NS;
        }
        is_due
    }
}

impl Engine {
    pub(super) fn begin_step(&mut self, index: u32, at_ns: u64, now: u64) {
        let action = self.context.job.load.steps[index as usize].action.clone();
        let until = match action {
            Action::Connect {
                groups,
                pace,
                forget,
            } => {
                let plan = Plan::new(&self.context, &groups, pace, forget, at_ns);
                self.steps.plan = Some(plan);
                Until::Connected
            }
            Action::Load { warm_up_s, seconds } => {
                let end_ns = at_ns + ((warm_up_s + seconds) * 1e9) as u64;
                self.begin_load(at_ns, end_ns);
                Until::Time(end_ns)
            }
            Action::Hold { seconds } => Until::Time(at_ns + (seconds * 1e9) as u64),
            Action::Fill {
                group,
                messages,
                erase,
            } => {
                self.begin_fill(group, messages, erase);
                Until::Acknowledged
            }
            Action::Settle => {
                self.context.mode = Mode::Silent;
                Until::Now
            }
            Action::Close { groups, is_abrupt } => {
                for group in groups {
                    for slot in self.context.layouts[group as usize].slots.clone() {
                        self.leave(slot as usize, is_abrupt, now);
                    }
                }
                Until::Now
            }
        };
        self.steps.current = Some(Current { index, until });
    }

    fn begin_load(&mut self, at_ns: u64, end_ns: u64) {
        self.context.mode = Mode::Load;
        self.context.load_end_ns = end_ns;
        for (index, source) in self.sources.iter_mut().enumerate() {
            if let Some(first_ns) = source.begin_load(&self.context, at_ns) {
                self.context.set_timer(first_ns, Timer::Send(index as u32));
            }
        }
    }

    fn begin_fill(&mut self, group: u32, messages: u64, erase: bool) {
        self.context.mode = Mode::Fill { erase };
        let layout = &self.context.layouts[group as usize];
        let (start, count) = (layout.source_start, layout.source_ids.len() as u32);
        for index in start..start + count {
            let source = &mut self.sources[index as usize];
            source.fill_left = messages;
            source.is_refilled = true;
            self.context.refill.push(index);
        }
        self.context.fill_left = messages * u64::from(count);
    }

    /// Begins the connections that are due.
    pub(super) fn connect_some(&mut self, now: u64) {
        let Some(mut plan) = self.steps.plan.take() else {
            return;
        };
        while let Some((slot, begin_ns)) = plan.take(self.context.connecting, now) {
            if plan.is_timed() {
                let recorder = &mut self.context.recorder;
                recorder.record(Measure::SendLag, begin_ns, now);
            }
            self.connect(slot as usize, begin_ns, plan.forget, now);
        }
        if plan.due_ns().is_some() {
            self.steps.plan = Some(plan);
        }
    }

    fn connect(&mut self, slot: usize, begin_ns: u64, forget: bool, now: u64) {
        let client = &mut self.clients[slot];
        client.is_forgetting = forget;
        let opened = connect::begin(client, &mut self.context, begin_ns, now);
        let added = opened.and_then(|()| match &client.socket {
            Some(socket) => self.epoll.add(socket, client.token()),
            None => Ok(()),
        });
        self.context.connecting += 1;
        if let Err(error) = added {
            client.state = State::Opening;
            self.lose(slot, &error.to_string());
        }
    }

    /// Ends a connection on purpose.
    pub(super) fn leave(&mut self, slot: usize, is_abrupt: bool, now: u64) {
        let client: &mut Client = &mut self.clients[slot];
        if client.socket.is_none() {
            return;
        }
        if client.is_connecting() {
            self.context.connecting -= 1;
        }
        if matches!(client.state, State::Ready | State::Subscribing) {
            self.context.connected -= 1;
        }
        if is_abrupt {
            if let Some(socket) = &client.socket {
                // A reset, as from a device that lost its network and forgot; without it each
                // round would leave its ports behind in TIME-WAIT.
                let _ = socket.set_linger(Some(std::time::Duration::ZERO));
            }
        } else {
            client.say_goodbye(now);
        }
        client.close(State::Idle);
        receive::forget_in_flight(client, &mut self.context);
    }
}
