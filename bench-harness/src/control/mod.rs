//! The controller: leads all generator threads through the steps of a load, reads the broker's cost
//! at the edges of the measured window, and puts the result together.

mod crew;
mod result;
mod setup;
mod steps;
mod verdict;

pub use crew::{Crew, WORKER_COMMAND, work};
pub use setup::{Setup, new_run_id};

use std::time::Duration;

use crate::environment::Watch;
use crate::measure::Merged;
use crate::result::{BrokerProbe, RunResult};
use steps::Leader;

/// A run that came to its end, valid or not.
pub struct Run {
    pub result: RunResult,
    pub merged: Merged,
    /// Start of the measured window.
    pub window_start_unix: Duration,
}

/// What a person may see while it runs.
#[derive(Clone, Copy, Debug)]
pub struct Status<'a> {
    pub doing: &'a str,
    pub connected: u64,
    pub sent: u64,
    pub delivered: u64,
}

/// Runs a scenario to its end. An error means that there is no result at all: a name that says
/// nothing, a host that is not there, a thread that broke.
pub fn run<'a>(
    setup: &Setup,
    probe: Option<&'a mut dyn BrokerProbe>,
    show: &'a mut dyn FnMut(Status<'_>),
) -> Result<Run, String> {
    let scenario = setup.scenario()?;
    let started_unix = setup::unix_now();
    let watch = Watch::start();
    let (jobs, is_here) = setup.jobs(&scenario)?;
    let crew = if is_here {
        Crew::of_threads(jobs)
    } else {
        Crew::of_processes(&jobs, &setup.worker_program()?)
            .map_err(|error| format!("cannot start a worker: {error}"))?
    };
    let threads = crew.len() as u32;
    let leader = Leader::new(crew, probe, setup.drain_s, show);
    let outcome = leader.lead(&scenario.load)?;
    let connects: u64 = outcome
        .shares
        .iter()
        .map(|share| share.tally.connects)
        .sum();
    let first_note = outcome.shares.iter().find_map(|share| share.notes.first());
    if let (0, Some(note)) = (connects, first_note) {
        return Err(format!("{}: no connection: {note}", setup.target));
    }
    let processes = if is_here { 1 } else { threads };
    let mut run = result::assemble(
        setup,
        &scenario,
        &outcome,
        (threads, processes),
        started_unix,
    )?;
    run.result.environment = Some(watch.finish(&setup.cpus, setup.broker_version.as_deref()));
    Ok(run)
}
