//! The command line of `ringway-bench`.

mod broker;
mod compare;
mod knee;
mod output;
mod plan;
mod run;
mod values;

pub use run::{LoadArguments, exit_code};

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::control;
use crate::floor::Floor;
use crate::scenario::FAMILIES;

/// Exit status of a run in which a guarantee of MQTT did not hold.
pub const EXIT_BROKEN: u8 = 3;
/// Exit status of a run whose figures do not count.
pub const EXIT_VOID: u8 = 4;

const KNEE_HELP: &str = "\
Exit status: 0 the broker's knee was found, 1 no result, 2 wrong usage, 4 no rate holds, or the
generator reached its own limit first.";

/// Load generator for MQTT brokers.
#[derive(Parser)]
#[command(name = "ringway-bench", version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Name the scenarios
    List,
    /// Run one scenario against a broker
    #[command(after_help = run::AFTER_HELP)]
    Run(Box<run::RunArguments>),
    /// Find the highest rate with p99 below a bound and nothing lost
    #[command(after_help = KNEE_HELP)]
    Knee(Box<knee::KneeArguments>),
    /// Let a generator on another host observe a broker on this one
    Agent(broker::AgentArguments),
    /// Plan capacity: measure a host, say what a load needs, check predictions
    #[command(subcommand)]
    Plan(Box<plan::PlanCommand>),
    /// Run several brokers in turn under the same loads, each started afresh
    #[command(after_long_help = compare::after_help())]
    Compare(Box<compare::CompareArguments>),
    /// Serve as a bare relay that other brokers' cost can be compared with
    Floor(FloorArguments),
    #[command(name = control::WORKER_COMMAND, hide = true)]
    Worker,
}

/// Arguments of `ringway-bench floor`. It knows no sessions and no retained messages: scenarios
/// that need them cannot be run against it.
#[derive(clap::Args)]
struct FloorArguments {
    /// Port 0 picks a free one, which the line `ready` names
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:1883")]
    listen: String,
    /// The CPU to stay on
    #[arg(long)]
    cpu: Option<usize>,
}

fn floor(arguments: &FloorArguments) -> ExitCode {
    if let Some(id) = arguments.cpu
        && !core_affinity::set_for_current(core_affinity::CoreId { id })
    {
        return output::fail(&format!("CPU {id} cannot be used"));
    }
    let address = arguments.listen.trim_start_matches("tcp://");
    let served = Floor::bind(address).and_then(|floor| {
        output::ready(floor.address()?);
        floor.serve()
    });
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => output::fail(&format!("{}: {error}", arguments.listen)),
    }
}

pub fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::List => list(),
        Command::Run(arguments) => run::run(&arguments),
        Command::Knee(arguments) => knee::knee(&arguments),
        Command::Agent(arguments) => broker::agent(&arguments),
        Command::Plan(command) => plan::plan(&command),
        Command::Compare(arguments) => compare::compare(&arguments),
        Command::Floor(arguments) => floor(&arguments),
        Command::Worker => match control::work() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => output::fail(&error.to_string()),
        },
    }
}

fn list() -> ExitCode {
    for family in FAMILIES {
        output::line(&format!("{:<24}{}", family.form, family.line));
        output::line(&format!("{:<26}{}", "", family.examples.join("  ")));
    }
    output::line("");
    output::line("Numbers may be written 250, 50K or 1M; NAME@0.1 scales all counts and rates.");
    ExitCode::SUCCESS
}
