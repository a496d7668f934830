//! Leading the threads through the steps, all at the same time.

use std::time::Duration;

use super::{Crew, Status};
use crate::engine::system::now_ns;
use crate::engine::{Command, Event, Progress, ShareResult};
use crate::load::{Action, Load};
use crate::result::{BrokerProbe, BrokerSample};

/// Time for a command to reach every thread before its step begins.
const LEAD_NS: u64 = 30_000_000;
/// The longest wait between two looks at events.
const LOOK_NS: u64 = 50_000_000;
const SECOND_NS: u64 = 1_000_000_000;
/// A step other than the drain in which nothing moves for so long is given up.
const STALL_NS: u64 = 60 * SECOND_NS;
/// A drain in which something moves is still given up after so long.
const DRAIN_NS_MAX: u64 = 600 * SECOND_NS;
/// Time that threads have for their last report.
const FINISH_NS_MAX: u64 = 60 * SECOND_NS;

/// What a run left behind, before anybody judges it.
pub(super) struct Outcome {
    pub shares: Vec<ShareResult>,
    pub window_ns: (u64, u64),
    /// The broker before the first connection.
    pub before: Option<BrokerSample>,
    /// Readings from the window's start to its end, with their times; one per second between.
    pub samples: Vec<(u64, BrokerSample)>,
    /// Set when a step was given up.
    pub stalled: Option<String>,
}

pub(super) struct Leader<'a> {
    crew: Crew,
    probe: Option<&'a mut dyn BrokerProbe>,
    drain_ns: u64,
    show: &'a mut dyn FnMut(Status<'_>),
    progress: Vec<Progress>,
    results: Vec<ShareResult>,
    window_ns: (u64, u64),
    is_window_open: bool,
    samples: Vec<(u64, BrokerSample)>,
    next_sample_ns: u64,
    steps_done: usize,
}

impl<'a> Leader<'a> {
    pub(super) fn new(
        crew: Crew,
        probe: Option<&'a mut dyn BrokerProbe>,
        drain_s: f64,
        show: &'a mut dyn FnMut(Status<'_>),
    ) -> Self {
        let progress = vec![Progress::default(); crew.len()];
        Self {
            crew,
            probe,
            drain_ns: (drain_s * 1e9) as u64,
            show,
            progress,
            results: Vec::new(),
            window_ns: (u64::MAX, u64::MAX),
            is_window_open: false,
            samples: Vec::new(),
            next_sample_ns: u64::MAX,
            steps_done: 0,
        }
    }

    /// Through all steps to the last report. The threads are gone afterwards, also on an error.
    pub(super) fn lead(mut self, load: &Load) -> Result<Outcome, String> {
        let before = self.probe.as_mut().and_then(|probe| probe.sample());
        let result = self.lead_steps(load).and_then(|stalled| {
            self.close_window(now_ns());
            self.collect()?;
            Ok(stalled)
        });
        self.crew.join();
        Ok(Outcome {
            stalled: result?,
            shares: self.results,
            window_ns: self.window_ns,
            before,
            samples: self.samples,
        })
    }

    /// The step that was given up, if one was.
    fn lead_steps(&mut self, load: &Load) -> Result<Option<String>, String> {
        for (index, step) in load.steps.iter().enumerate() {
            let at_ns = now_ns() + LEAD_NS;
            if step.is_measured {
                self.open_window(&step.action, at_ns);
            } else {
                self.close_window(now_ns());
            }
            let index = index as u32;
            self.crew.tell_all(Command::Step { index, at_ns });
            let failures = self.sum().connect_failures;
            if !self.await_step(index, &step.action)? {
                let doing = doing(&step.action);
                return Ok(Some(format!("nothing moved any more while {doing}")));
            }
            let failures = self.sum().connect_failures - failures;
            if failures > 0 && failures == clients_of(load, &step.action) {
                return Ok(Some(
                    "none of the clients could connect and subscribe".to_owned(),
                ));
            }
        }
        Ok(None)
    }

    /// The window of a load is known in advance; another one ends with its last step.
    fn open_window(&mut self, action: &Action, at_ns: u64) {
        if self.is_window_open {
            return;
        }
        let (start_ns, end_ns) = match action {
            Action::Load { warm_up_s, seconds } => {
                let start_ns = at_ns + (warm_up_s * 1e9) as u64;
                (start_ns, start_ns + (seconds * 1e9) as u64)
            }
            _ => (at_ns, u64::MAX),
        };
        self.is_window_open = true;
        self.next_sample_ns = start_ns;
        self.set_window(start_ns, end_ns);
    }

    fn close_window(&mut self, now: u64) {
        if self.is_window_open {
            self.is_window_open = false;
            if self.window_ns.1 > now {
                self.set_window(self.window_ns.0, now);
                self.sample(now);
            }
            self.next_sample_ns = u64::MAX;
        }
    }

    fn set_window(&mut self, start_ns: u64, end_ns: u64) {
        self.window_ns = (start_ns, end_ns);
        self.crew.tell_all(Command::Window { start_ns, end_ns });
    }

    fn sample(&mut self, now: u64) {
        if let Some(sample) = self.probe.as_mut().and_then(|probe| probe.sample()) {
            self.samples.push((now, sample));
        }
    }

    /// At the window's edges and each second between.
    fn sample_when_due(&mut self, now: u64) {
        if now < self.next_sample_ns {
            return;
        }
        self.sample(now);
        let (start_ns, end_ns) = self.window_ns;
        self.next_sample_ns = if now >= end_ns {
            u64::MAX
        } else {
            let next = start_ns + ((now - start_ns) / SECOND_NS + 1) * SECOND_NS;
            next.min(end_ns)
        };
    }

    /// Whether the step came to its end.
    fn await_step(&mut self, index: u32, action: &Action) -> Result<bool, String> {
        let begin_ns = now_ns();
        let mut moved_ns = begin_ns;
        let mut last = self.sum();
        self.steps_done = 0;
        loop {
            let now = now_ns();
            self.sample_when_due(now);
            let is_done = self.steps_done == self.crew.len() && self.next_sample_ns > now;
            let sum = self.sum();
            if sum != last {
                (last, moved_ns) = (sum, now);
            }
            let is_timed = matches!(action, Action::Load { .. } | Action::Hold { .. });
            match action {
                Action::Settle if is_done => {
                    let is_over = now > moved_ns + self.drain_ns || now > begin_ns + DRAIN_NS_MAX;
                    if sum.is_settled() || is_over {
                        return Ok(true);
                    }
                }
                _ if is_done && !self.is_inside_load(action, now) => return Ok(true),
                _ if !is_timed && now > moved_ns + STALL_NS => return Ok(false),
                _ => {}
            }
            self.show(doing(action), &sum);
            let wake_ns = self.next_sample_ns.min(now + LOOK_NS);
            let timeout = Duration::from_nanos(wake_ns.saturating_sub(now));
            if let Some((member, event)) = self.crew.next_event(timeout) {
                self.on_event(member, event, Some(index))?;
            }
        }
    }

    /// The last reading of a load is taken at its end, whatever the threads say.
    fn is_inside_load(&self, action: &Action, now: u64) -> bool {
        matches!(action, Action::Load { .. }) && self.is_window_open && now < self.window_ns.1
    }

    fn show(&mut self, doing: &str, sum: &Progress) {
        (self.show)(Status {
            doing,
            connected: sum.connected,
            sent: sum.sent,
            delivered: sum.delivered,
        });
    }

    fn sum(&self) -> Progress {
        let mut sum = Progress::default();
        for progress in &self.progress {
            sum.add(progress);
        }
        sum
    }

    fn on_event(&mut self, member: usize, event: Event, step: Option<u32>) -> Result<(), String> {
        match event {
            Event::Progress(progress) => self.progress[member] = progress,
            Event::StepDone { index } => self.steps_done += usize::from(step == Some(index)),
            Event::Finished(result) => self.results.push(*result),
            Event::Failed(reason) => return Err(format!("a generator thread failed: {reason}")),
        }
        Ok(())
    }

    fn collect(&mut self) -> Result<(), String> {
        self.crew.tell_all(Command::Stop);
        let end_ns = now_ns() + FINISH_NS_MAX;
        while self.results.len() < self.crew.len() {
            if now_ns() > end_ns {
                return Err("a generator thread does not report".to_owned());
            }
            if let Some((member, event)) = self.crew.next_event(Duration::from_nanos(LOOK_NS)) {
                self.on_event(member, event, None)?;
            }
        }
        Ok(())
    }
}

/// Clients that a step connects.
fn clients_of(load: &Load, action: &Action) -> u64 {
    let Action::Connect { groups, .. } = action else {
        return 0;
    };
    let count = |group: &u32| u64::from(load.groups[*group as usize].count);
    groups.iter().map(count).sum()
}

fn doing(action: &Action) -> &'static str {
    match action {
        Action::Connect { .. } => "connecting",
        Action::Load { .. } => "publishing",
        Action::Hold { .. } => "holding",
        Action::Fill { erase: false, .. } => "filling",
        Action::Fill { erase: true, .. } => "erasing",
        Action::Settle => "draining",
        Action::Close { .. } => "closing",
    }
}
