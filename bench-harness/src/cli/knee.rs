//! `ringway-bench knee`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{fs, io};

use clap::Args;

use super::broker::BrokerArguments;
use super::output::{self, Progress};
use super::run::{LoadArguments, write_json};
use super::{EXIT_VOID, values};
use crate::knee::{self, KneeResult, KneeStep, Limit, Question};
use crate::report;

#[derive(Args)]
pub(super) struct KneeArguments {
    /// A scenario with a rate
    scenario: String,
    /// The bound on the 99th percentile of the end-to-end latency
    #[arg(long, value_name = "US", value_parser = clap::value_parser!(u64).range(1..))]
    p99_us: u64,
    /// Messages per second to begin with [default: the scenario's, or 1000]
    #[arg(long, value_name = "PER_S", value_parser = values::rate)]
    from: Option<f64>,
    /// How exact the rate is wanted, in percent
    #[arg(long, value_name = "PERCENT", default_value_t = 5.0, value_parser = percent)]
    precision: f64,
    /// Runs that a rate has before it counts as failed
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=20))]
    tries: u32,
    #[command(flatten)]
    load: LoadArguments,
    #[command(flatten)]
    broker: BrokerArguments,
    /// Write the answer and all runs as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write a page with plots, tables and the environment
    #[arg(long, value_name = "FILE.html")]
    report: Option<PathBuf>,
    /// Print all runs as a Markdown table as well
    #[arg(long)]
    markdown: bool,
}

fn percent(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(percent) if (0.1..=100.0).contains(&percent) => Ok(percent),
        _ => Err("0.1 to 100".to_owned()),
    }
}

pub(super) fn knee(arguments: &KneeArguments) -> ExitCode {
    let mut setup = arguments.load.setup(&arguments.scenario);
    setup
        .broker_version
        .clone_from(&arguments.broker.broker_version);
    if setup.options.pace.is_some() {
        output::fail("the knee is searched by rate: no --rate, --window-bytes or --in-flight");
        return ExitCode::from(2);
    }
    let first = match knee::own_rate(&setup) {
        Ok(own) => arguments.from.or(own).unwrap_or(1_000.0),
        Err(error) => {
            output::fail(&error);
            return ExitCode::from(2);
        }
    };
    let question = Question {
        p99_us_max: arguments.p99_us,
        first_per_s: first,
        precision: arguments.precision / 100.0,
        tries: arguments.tries,
    };
    let mut probe = match arguments.broker.probe() {
        Ok(probe) => probe,
        Err(error) => return output::fail(&error),
    };
    let progress = Progress::new(&setup.scenario);
    let mut on_step = |step: &KneeStep| progress.print(&line(step));
    let show = &mut |status: crate::control::Status<'_>| progress.show(status);
    let answer = knee::find(&setup, &question, probe.as_deref_mut(), show, &mut on_step);
    progress.clear();
    let answer = match answer {
        Ok(answer) => answer,
        Err(error) => return output::fail(&error),
    };
    if let Err(error) = write_files(arguments, &answer) {
        return output::fail(&error);
    }
    if arguments.markdown {
        let results: Vec<_> = answer.steps.iter().map(|step| &step.result).collect();
        output::line(report::markdown(&results).trim_end());
    }
    tell(&answer)
}

fn write_files(arguments: &KneeArguments, answer: &KneeResult) -> Result<(), String> {
    let failed = |path: &Path, error: io::Error| format!("{}: {error}", path.display());
    if let Some(path) = &arguments.json {
        write_json(path, answer).map_err(|error| failed(path, error))?;
    }
    if let Some(path) = &arguments.report {
        let mut page = report::Page::new(&format!("Knee of {}", answer.scenario));
        page.knee(answer);
        fs::write(path, page.finish()).map_err(|error| failed(path, error))?;
    }
    Ok(())
}

fn line(step: &KneeStep) -> String {
    let p99 = step.result.latency_us.as_ref().map(|latency| latency.p99);
    let p99 = p99.map_or_else(|| "none".to_owned(), |micros| format!("{micros} us"));
    let verdict = match step.limit {
        Limit::None => "holds",
        Limit::Latency => "too late",
        Limit::Loss => "loses",
        Limit::Refusal => "does not keep up",
        Limit::Generator => "the generator does not keep up",
    };
    format!("{:>10.0}/s  p99 {p99}  {verdict}", step.rate_per_s)
}

fn tell(answer: &KneeResult) -> ExitCode {
    let Some(knee) = answer.knee_per_s else {
        output::line(&format!("{}: no rate holds", answer.scenario));
        return ExitCode::from(EXIT_VOID);
    };
    let bound = answer.p99_us_max;
    let reason = match answer.limit {
        Limit::Latency => "past it p99 is later",
        Limit::Loss => "past it messages are lost",
        Limit::Refusal => "past it the broker holds publishers up",
        Limit::Generator => "past it the generator is the limit: the broker can do more",
        Limit::None => "no limit was found",
    };
    let scenario = &answer.scenario;
    output::line(&format!(
        "{scenario}: {knee:.0} messages/s with p99 <= {bound} us; {reason}"
    ));
    match answer.limit {
        Limit::Generator | Limit::None => ExitCode::from(EXIT_VOID),
        Limit::Latency | Limit::Loss | Limit::Refusal => ExitCode::SUCCESS,
    }
}
