//! `ringway-bench plan`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::output::{self, Progress};
use super::values;
use crate::broker::{stop_on_signal, yield_to_signal};
use crate::control::Status;
use crate::mqtt::Version;
use crate::plan::answer::{self, Question};
use crate::plan::check;
use crate::plan::data::{self, PlanData};
use crate::plan::default_program;
use crate::plan::measure::{self, Lengths, Witness};
use crate::plan::model::Model;
use crate::plan::text;

#[derive(Subcommand)]
pub(super) enum PlanCommand {
    /// Measure this host with short runs against brokers that are started for it
    #[command(after_help = MEASURE_HELP)]
    Measure(MeasureArguments),
    /// Say what a load needs: cores, memory, disk and network
    #[command(after_help = ANSWER_HELP)]
    Answer(AnswerArguments),
    /// Show what was fitted to measurements, and where it misses them
    Show(ShowArguments),
    /// Compare predictions with runs that were not used for fitting
    Check(CheckArguments),
}

const MEASURE_HELP: &str = "\
The broker runs on the first CPUs, the generator on the last one: the machine should have nothing
else to do. Memory of the kernel is read from the whole host. Points that could not be taken are in
the file with the reason.";

const ANSWER_HELP: &str = "\
Intervals hold the truth in nine of ten cases if the load is like those that were measured. What was
extrapolated, assumed or not measured is listed below the answer; read it.";

#[derive(Args)]
struct BrokerArguments {
    /// The program to measure [default: ringway beside this one, else as the shell finds it]
    #[arg(long, value_name = "PATH")]
    broker: Option<PathBuf>,
    /// Where data directories are made and removed; its disk is measured
    #[arg(long, value_name = "DIR", default_value = ".")]
    data_dir: PathBuf,
}

#[derive(Args)]
pub(super) struct MeasureArguments {
    /// The file to write
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    #[command(flatten)]
    broker: BrokerArguments,
    /// Numbers of cores to measure, as in 1,2,4 [default: 1, 2, 4 and on to all CPUs]
    #[arg(long, value_name = "LIST", value_delimiter = ',',
        value_parser = clap::value_parser!(u32).range(1..=128))]
    cores: Vec<u32>,
    /// Fewer and shorter runs: one to two minutes, wider intervals
    #[arg(long)]
    quick: bool,
}

#[derive(Args)]
pub(super) struct ShowArguments {
    /// Measurements of one kind of host
    #[arg(long, value_name = "FILE", required = true, num_args = 1..)]
    from: Vec<PathBuf>,
}

#[derive(Args)]
pub(super) struct CheckArguments {
    /// Measurements of this host
    #[arg(long, value_name = "FILE", required = true, num_args = 1..)]
    from: Vec<PathBuf>,
    #[command(flatten)]
    broker: BrokerArguments,
    /// Length of each run
    #[arg(long, value_name = "SECONDS", default_value = "3", value_parser = values::seconds)]
    duration: f64,
    /// Write the comparison as JSON to standard output
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub(super) struct AnswerArguments {
    /// Measurements of this host or of another; several of one kind of host are one
    #[arg(long, value_name = "FILE", required = true, num_args = 1..)]
    from: Vec<PathBuf>,
    #[arg(long, value_name = "N", value_parser = count)]
    connections: u64,
    /// Published messages of all clients together
    #[arg(long, value_name = "PER_S", value_parser = values::rate)]
    rate: f64,
    /// Receivers of a message on average
    #[arg(long, value_name = "F", default_value = "1", value_parser = values::rate)]
    fan_out: f64,
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(0..=2))]
    qos: u8,
    #[arg(long, value_name = "BYTES", default_value_t = 64)]
    payload_bytes: u32,
    /// Length of a topic name
    #[arg(long, value_name = "BYTES", default_value_t = 32)]
    topic_bytes: u32,
    /// Protocol version: 3.1.1 or 5.0
    #[arg(long, value_name = "VERSION", default_value = "5.0", value_parser = values::version)]
    mqtt: Version,
    /// Keep-alive of all clients; 0 for none
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    keep_alive: u16,
    /// Receivers have persistent sessions and messages are on disk before they are acknowledged
    #[arg(long)]
    durable: bool,
    #[arg(long)]
    tls: bool,
    /// How busy cores may be, in percent; the rest is for bursts
    #[arg(long, value_name = "PERCENT", default_value = "60", value_parser = percent)]
    busy: f64,
    /// Of the receivers, in percent, that are away while their messages queue on disk
    #[arg(long, value_name = "PERCENT", value_parser = percent, requires = "durable")]
    offline: Option<f64>,
    /// Write the answer as JSON to standard output
    #[arg(long)]
    json: bool,
}

fn percent(text: &str) -> Result<f64, String> {
    match text.trim_end_matches('%').parse::<f64>() {
        Ok(percent) if (0.1..=100.0).contains(&percent) => Ok(percent),
        _ => Err("0.1 to 100".to_owned()),
    }
}

/// With `K` and `M`.
fn count(text: &str) -> Result<u64, String> {
    values::rate(text).map(|number| number.round().max(1.0) as u64)
}

pub(super) fn plan(command: &PlanCommand) -> ExitCode {
    match command {
        PlanCommand::Measure(arguments) => measure(arguments),
        PlanCommand::Answer(arguments) => answer(arguments),
        PlanCommand::Show(arguments) => show(arguments),
        PlanCommand::Check(arguments) => check(arguments),
    }
}

fn wrong(text: &str) -> ExitCode {
    output::fail(text);
    ExitCode::from(2)
}

fn load(paths: &[PathBuf]) -> Result<PlanData, String> {
    let files: Result<_, _> = paths.iter().map(|path| PlanData::load(path)).collect();
    data::merge(files?)
}

impl BrokerArguments {
    fn program(&self) -> PathBuf {
        self.broker.clone().unwrap_or_else(default_program)
    }
}

/// Lines on standard error; standard output is for results.
struct Teller(Progress);

impl Witness for Teller {
    fn show(&mut self, status: Status<'_>) {
        self.0.show(status);
    }

    fn tell(&mut self, line: &str) {
        self.0.print(line);
    }
}

fn measure(arguments: &MeasureArguments) -> ExitCode {
    let mut cores = arguments.cores.clone();
    if cores.is_empty() {
        cores = doublings(std::thread::available_parallelism().map_or(1, usize::from) as u32);
    }
    cores.sort_unstable();
    cores.dedup();
    let order = measure::Order {
        program: arguments.broker.program(),
        cores,
        folder: arguments.broker.data_dir.clone(),
        is_quick: arguments.quick,
        lengths: if arguments.quick {
            Lengths::QUICK
        } else {
            Lengths::FULL
        },
        command: std::env::args().collect(),
    };
    let mut teller = Teller(Progress::new("measure"));
    let data = with_broker(|| measure::measure(&order, &mut teller));
    teller.0.clear();
    let saved = data.and_then(|data| {
        data.save(&arguments.out)?;
        Model::fit(&data).map(|_| data)
    });
    match saved {
        Ok(data) => {
            output::line(&format!(
                "{}: {} loads, {} fleets, {} skipped",
                arguments.out.display(),
                data.traffic.len(),
                data.fleets.len(),
                data.skipped.len()
            ));
            ExitCode::SUCCESS
        }
        Err(error) => output::fail(&error),
    }
}

/// A signal ends the brokers that this starts before it ends the program.
fn with_broker<T>(carry_out: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    stop_on_signal().map_err(|error| format!("signals: {error}"))?;
    let result = carry_out();
    yield_to_signal();
    result
}

/// 1, 2, 4 and on, and all.
fn doublings(all: u32) -> Vec<u32> {
    let doubled = std::iter::successors(Some(1_u32), |cores| cores.checked_mul(2));
    doubled
        .take_while(|cores| *cores < all)
        .chain([all])
        .collect()
}

fn show(arguments: &ShowArguments) -> ExitCode {
    let shown = load(&arguments.from).and_then(|data| {
        let model = Model::fit(&data)?;
        Ok(text::model(&data, &model))
    });
    match shown {
        Ok(text) => {
            output::line(&text);
            ExitCode::SUCCESS
        }
        Err(error) => wrong(&error),
    }
}

fn check(arguments: &CheckArguments) -> ExitCode {
    let data = match load(&arguments.from) {
        Ok(data) => data,
        Err(error) => return wrong(&error),
    };
    let order = check::Order {
        program: arguments.broker.program(),
        folder: arguments.broker.data_dir.clone(),
        seconds: arguments.duration,
    };
    let mut teller = Teller(Progress::new("check"));
    let found = with_broker(|| check::check(&data, &order, &mut teller));
    teller.0.clear();
    let found = match found {
        Ok(found) => found,
        Err(error) => return output::fail(&error),
    };
    if arguments.json {
        return json(&found);
    }
    for comparison in &found {
        output::line(&check::line(comparison));
    }
    for (unit, what) in [("us a message", "CPU time"), ("MB", "memory")] {
        if let Some(error) = check::mean_error(&found, unit) {
            output::line(&format!("mean error of {what}: {:.0} %", error * 100.0));
        }
    }
    ExitCode::SUCCESS
}

fn json(value: &impl serde::Serialize) -> ExitCode {
    match serde_json::to_string_pretty(value) {
        Ok(text) => {
            output::line(&text);
            ExitCode::SUCCESS
        }
        Err(error) => output::fail(&error.to_string()),
    }
}

fn answer(arguments: &AnswerArguments) -> ExitCode {
    let question = Question {
        connections: arguments.connections,
        messages_per_s: arguments.rate,
        fan_out: arguments.fan_out,
        qos: arguments.qos,
        payload_bytes: arguments.payload_bytes,
        topic_bytes: arguments.topic_bytes,
        is_v5: arguments.mqtt == Version::V50,
        keep_alive_s: arguments.keep_alive,
        is_durable: arguments.durable,
        is_tls: arguments.tls,
        busy_max: arguments.busy / 100.0,
        offline_share: arguments.offline.map(|percent| percent / 100.0),
    };
    if let Err(error) = question.check() {
        return wrong(&error);
    }
    let model = match load(&arguments.from).and_then(|data| Model::fit(&data)) {
        Ok(model) => model,
        Err(error) => return wrong(&error),
    };
    let answer = match answer::answer(&model, &question) {
        Ok(answer) => answer,
        Err(error) => return wrong(&error),
    };
    if arguments.json {
        return json(&answer);
    }
    output::line(&text::answer(&answer));
    ExitCode::SUCCESS
}
