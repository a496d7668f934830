//! The cores' threads while they start, run and end, as the main thread sees them.

use super::core::{Control, Stop};
use super::disk::Found;
use super::error::ServeError;
use super::serve::{CoreOutcome, ServeSummary};
use super::signal::{Event, Signals};
use super::tls::Gate;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tracing::{info, warn};

/// Beyond the shutdown timeout, for the cores' threads to end; then the main thread goes without
/// them.
const JOIN_TIME: Duration = Duration::from_secs(5);

/// For the cores to end when they do so at once.
const AT_ONCE_TIME: Duration = Duration::from_millis(500);

/// The cores' threads and how to end them.
pub(super) struct Running {
    pub(super) control: Arc<Control>,
    threads: Vec<Option<JoinHandle<CoreOutcome>>>,
    /// Threads whose end was not seen.
    alive: usize,
    /// Dropped without a word, they end the cores that wait to serve.
    go: Vec<Sender<()>>,
}

impl Running {
    /// No core yet.
    pub(super) const fn new(control: Arc<Control>) -> Self {
        Self {
            control,
            threads: Vec::new(),
            alive: 0,
            go: Vec::new(),
        }
    }

    /// One more core; `go` lets it serve.
    pub(super) fn add(&mut self, thread: JoinHandle<CoreOutcome>, go: Sender<()>) {
        self.threads.push(Some(thread));
        self.alive += 1;
        self.go.push(go);
    }

    /// The word to serve.
    pub(super) fn let_go(&mut self) {
        for go in self.go.drain(..) {
            // Fails only if the core has ended since; the main thread is told.
            let _ = go.send(());
        }
    }

    /// Waits until each core could serve; what all of them have recovered. `None`: a stop was
    /// requested.
    pub(super) fn await_reports(
        &mut self,
        signals: &mut Signals,
        reported: &Receiver<Result<Found, ServeError>>,
    ) -> Result<Option<Found>, ServeError> {
        let mut sum = Found::default();
        for _ in 0..self.threads.len() {
            match self.await_message(signals, reported)? {
                None => return Ok(None),
                Some(Ok(found)) => sum.add(&found),
                Some(Err(error)) => {
                    self.end_at_once(signals);
                    return Err(error);
                }
            }
        }
        Ok(Some(sum))
    }

    /// Waits until each core has opened its listeners. False: a stop was requested.
    pub(super) fn await_openings(
        &mut self,
        signals: &mut Signals,
        opened: &Receiver<()>,
    ) -> Result<bool, ServeError> {
        for _ in 0..self.threads.len() {
            if self.await_message(signals, opened)?.is_none() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The next message of a core, or an error when one ends that should not. `None`: a stop was
    /// requested.
    fn await_message<T>(
        &mut self,
        signals: &mut Signals,
        messages: &Receiver<T>,
    ) -> Result<Option<T>, ServeError> {
        loop {
            if let Ok(message) = messages.try_recv() {
                return Ok(Some(message));
            }
            // What it had to say was said before its end.
            if self.alive < self.threads.len() {
                return Err(self.failure(signals));
            }
            match signals.wait(None) {
                Event::StopRequested => return Ok(None),
                Event::ThreadEnded => self.alive -= 1,
                // What it starts with is as new.
                Event::ReloadRequested | Event::Told | Event::TimedOut => {}
            }
        }
    }

    /// Waits for a signal or for a core that ends, then stops everything.
    pub(super) fn run(
        mut self,
        signals: &mut Signals,
        gates: &[Arc<Gate>],
    ) -> Result<ServeSummary, ServeError> {
        loop {
            match signals.wait(None) {
                Event::StopRequested => break,
                Event::ThreadEnded => {
                    self.alive -= 1;
                    return Err(self.failure(signals));
                }
                Event::ReloadRequested => reload(gates),
                Event::Told | Event::TimedOut => {}
            }
        }
        info!("stopping: goodbye to all clients");
        self.control.request(Stop::Graceful);
        let time = self.control.shutdown_timeout() + JOIN_TIME;
        if self.await_ends(signals, Some(time)) {
            return self.collect(false);
        }
        warn!("stopping at once");
        self.control.request(Stop::AtOnce);
        self.await_ends(signals, Some(AT_ONCE_TIME));
        self.collect(true)
    }

    /// Waits until no core is running. False: the time is over, or a signal came.
    fn await_ends(&mut self, signals: &mut Signals, time: Option<Duration>) -> bool {
        let limit = time.map(|time| Instant::now() + time);
        while self.alive > 0 {
            let left = limit.map(|limit| limit.saturating_duration_since(Instant::now()));
            match signals.wait(left) {
                Event::ThreadEnded => self.alive -= 1,
                Event::ReloadRequested | Event::Told => {}
                Event::StopRequested | Event::TimedOut => return false,
            }
        }
        true
    }

    /// Joins the threads that have ended, or all.
    pub(super) fn collect(&mut self, cut_short: bool) -> Result<ServeSummary, ServeError> {
        let mut summary = ServeSummary {
            cores: Vec::new(),
            cut_short,
        };
        for (index, thread) in self.threads.iter_mut().enumerate() {
            let Some(thread) = thread.take_if(|thread| !cut_short || thread.is_finished()) else {
                continue;
            };
            match thread.join() {
                Ok(Some(Ok(core))) => summary.cores.push(core),
                Ok(None) => {}
                Ok(Some(Err(error))) => return Err(ended(index, &error.to_string())),
                Err(_) => return Err(ended(index, "panic")),
            }
        }
        Ok(summary)
    }

    /// Ends all cores and waits for that, unless a signal comes. True: all have ended.
    fn end_at_once(&mut self, signals: &mut Signals) -> bool {
        self.go.clear();
        self.control.request(Stop::AtOnce);
        self.await_ends(signals, None)
    }

    /// Why a core has ended although nobody asked it to.
    fn failure(&mut self, signals: &mut Signals) -> ServeError {
        let all_ended = self.end_at_once(signals);
        match self.collect(!all_ended) {
            Err(error) => error,
            Ok(_) => ended(0, "unknown reason"),
        }
    }
}

impl Drop for Running {
    /// After a failed start: no thread stays behind.
    fn drop(&mut self) {
        self.go.clear();
        self.control.request(Stop::AtOnce);
    }
}

/// Reads the files of the listeners' TLS again; those that cannot be used change nothing.
fn reload(gates: &[Arc<Gate>]) {
    let mut count = 0;
    for gate in gates {
        match gate.reload() {
            Ok(()) => count += 1,
            Err(error) => warn!(%error, "not reloaded: the listener goes on as before"),
        }
    }
    info!(
        listeners = count,
        of = gates.len(),
        "SIGHUP: certificates are read again"
    );
}

fn ended(core: usize, reason: &str) -> ServeError {
    ServeError::CoreEnded {
        core,
        reason: reason.to_owned(),
    }
}
