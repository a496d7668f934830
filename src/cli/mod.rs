//! The command line: arguments in, exit status out.
//!
//! Collects what the other modules need from outside (files, environment, flags), calls them, and
//! says to people what came of it. Runs on the main thread, and decides nothing about MQTT.
#![forbid(unsafe_code)]

mod check_config;
mod client_arguments;
mod exit;
mod journal;
mod log;
mod publish;
mod ready;
mod repair;
mod serve;
mod show_config;
mod sources;
mod subscribe;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Ringway: an MQTT broker for Linux, one thread per core on io_uring.
///
/// Without a command it serves on tcp://127.0.0.1:1883 with the defaults of `ringway serve`.
#[derive(Debug, Parser)]
#[command(name = "ringway", version, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::ServeArguments),
    CheckConfig(check_config::CheckConfigArguments),
    Config(show_config::ConfigArguments),
    Pub(Box<publish::PublishArguments>),
    Sub(Box<subscribe::SubscribeArguments>),
    Journal(journal::JournalArguments),
}

/// The whole program.
#[must_use]
pub fn main() -> ExitCode {
    match Arguments::parse().command {
        None => serve::main(&serve::ServeArguments::default()),
        Some(Command::Serve(arguments)) => serve::main(&arguments),
        Some(Command::CheckConfig(arguments)) => check_config::main(&arguments),
        Some(Command::Config(arguments)) => show_config::main(&arguments),
        Some(Command::Pub(arguments)) => publish::main(*arguments),
        Some(Command::Sub(arguments)) => subscribe::main(*arguments),
        Some(Command::Journal(arguments)) => journal::main(&arguments),
    }
}

#[cfg(test)]
mod tests;
