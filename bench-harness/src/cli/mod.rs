//! The command line of `ringway-bench`.

mod output;
mod run;
mod values;

pub use run::{LoadArguments, exit_code};

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::control;
use crate::scenario::FAMILIES;

/// Exit status of a run in which a guarantee of MQTT did not hold.
pub const EXIT_BROKEN: u8 = 3;
/// Exit status of a run whose figures do not count.
pub const EXIT_VOID: u8 = 4;

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
    #[command(name = control::WORKER_COMMAND, hide = true)]
    Worker,
}

pub fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::List => list(),
        Command::Run(arguments) => run::run(&arguments),
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
