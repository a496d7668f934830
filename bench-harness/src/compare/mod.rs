//! Several brokers in turn under the same load: A B A B, each with a fresh folder and on CPUs of
//! its own, medians and ratios with their spread.
//!
//! A round that is void or broken is counted and shown, and left out of the medians as long as
//! there are others. Nothing is ever dropped in silence.

mod html;
pub mod recipe;
pub mod result;
pub mod statistics;
pub mod suite;
mod table;
#[cfg(test)]
mod tests;

pub use html::page;
pub use table::{Style, goal_lines, tables, trouble};

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::broker::{self, Broker, Place};
use crate::certificate::{Certificate, CertificateFiles};
use crate::control::{self, Setup, Status};
use crate::knee::{self, Limit, Question};
use crate::observe::ProcessProbe;
use crate::result::{RunResult, TlsUse};
use crate::scenario::{Options, PaceChoice};
use crate::transport::TlsOptions;
use recipe::{Kind, Recipe};
use result::{BrokerInfo, Cell, Comparison, FORMAT, RowResult};
use suite::Row;

/// Everything that a comparison is made of.
#[derive(Clone, Debug)]
pub struct Plan {
    pub title: String,
    pub brokers: Vec<Recipe>,
    pub rows: Vec<Row>,
    pub rounds: u32,
    pub duration_s: f64,
    pub warm_up_s: f64,
    /// Empty: all.
    pub broker_cpus: Vec<usize>,
    pub generator_cpus: Vec<usize>,
    /// Where the brokers' folders are made: the disk that persistence is measured on.
    pub folder: PathBuf,
    pub threads: u32,
    pub lag_max_us: u64,
    pub drain_s: f64,
    /// Over TLS, with these wishes; the authority is the comparison's own certificate.
    pub tls: Option<TlsOptions>,
    pub command: Vec<String>,
}

/// A plan with what is made for it.
struct Stage<'a> {
    plan: &'a Plan,
    /// With TLS.
    certificate: Option<Certificate>,
}

impl<'a> Stage<'a> {
    fn new(plan: &'a Plan) -> Result<Self, String> {
        let make = |_: &TlsOptions| Certificate::make(&plan.folder);
        let certificate = plan.tls.as_ref().map(make).transpose()?;
        Ok(Self { plan, certificate })
    }

    fn files(&self) -> Option<&CertificateFiles> {
        self.certificate
            .as_ref()
            .map(|certificate| &certificate.files)
    }

    fn tls_options(&self) -> TlsOptions {
        TlsOptions {
            ca: self.files().map(|files| files.cert.clone()),
            ..self.plan.tls.clone().unwrap_or_default()
        }
    }

    fn refusal(&self, recipe: &Recipe, row: &Row) -> Option<&'static str> {
        recipe.refusal(&row.scenario, row.persistence, self.plan.tls.is_some())
    }
}

/// What a person may see while it goes on.
#[derive(Debug)]
pub enum Event<'a> {
    Status(Status<'a>),
    /// A run begins.
    Turn {
        row: &'a Row,
        round: u32,
        broker: &'a str,
    },
    Run {
        row: &'a Row,
        round: u32,
        broker: &'a str,
        run: Result<&'a RunResult, &'a str>,
    },
    Note(&'a str),
}

type Show<'a> = &'a mut dyn FnMut(Event<'_>);

/// The bound on p99 at which a broker counts as saturated.
const KNEE_P99_US: u64 = 10_000;
const KNEE_FIRST_PER_S: f64 = 20_000.0;
const KNEE_PRECISION: f64 = 0.15;
const KNEE_TRIES: u32 = 2;

/// Runs everything. An error means that nothing could be compared: a program that is not there or
/// does not serve.
pub fn run(plan: &Plan, show: Show<'_>) -> Result<Comparison, String> {
    let mut brokers = Vec::new();
    for recipe in &plan.brokers {
        let version = recipe.version()?;
        brokers.push(BrokerInfo {
            recipe: recipe.clone(),
            version,
            tls: None,
        });
    }
    let stage = Stage::new(plan)?;
    for recipe in &plan.brokers {
        try_out(&stage, recipe)?;
    }
    let started = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let rows = plan
        .rows
        .iter()
        .map(|row| run_row(&stage, &brokers, row, show));
    let rows: Vec<_> = rows.collect::<Result<_, _>>()?;
    for (index, broker) in brokers.iter_mut().enumerate() {
        broker.tls = tls_of(&rows, index);
    }
    Ok(Comparison {
        format: FORMAT,
        title: plan.title.clone(),
        command: plan.command.clone(),
        started_unix_s: started.as_secs(),
        rounds: plan.rounds,
        brokers,
        broker_cpus: plan.broker_cpus.clone(),
        generator_cpus: plan.generator_cpus.clone(),
        rows,
    })
}

/// What a broker's runs negotiated, all together.
fn tls_of(rows: &[RowResult], broker: usize) -> Option<TlsUse> {
    let runs = rows.iter().flat_map(|row| &row.cells[broker].runs);
    let parts = runs.filter_map(|run| run.tls.clone());
    parts.reduce(|mut sum, part| {
        sum.add(&part);
        sum
    })
}

/// Started once before anything is measured: a broker that does not serve is found at once, not
/// after minutes. One that can take part in no row is not started at all.
fn try_out(stage: &Stage<'_>, recipe: &Recipe) -> Result<(), String> {
    let is_possible = |row: &&Row| stage.refusal(recipe, row).is_none();
    let Some(row) = stage.plan.rows.iter().find(is_possible) else {
        return Ok(());
    };
    start(stage, recipe, row)?;
    Ok(())
}

fn start(stage: &Stage<'_>, recipe: &Recipe, row: &Row) -> Result<Broker, String> {
    let plan = stage.plan;
    let port = broker::free_port().map_err(|error| format!("no free port: {error}"))?;
    let setup = setup(stage, row, "tcp://127.0.0.1:1883".parse()?);
    let version = crate::scenario::build(&setup.scenario, &setup.options)?.version;
    let place = Place {
        port,
        folder: broker::fresh_folder(&plan.folder),
        version,
        tls: stage.files().cloned(),
        cpus: plan.broker_cpus.clone(),
    };
    let launch = recipe.launch(&place, row.persistence);
    Broker::start(&launch, &place).map_err(|error| format!("{}: {error}", recipe.name))
}

fn run_row(
    stage: &Stage<'_>,
    brokers: &[BrokerInfo],
    row: &Row,
    show: Show<'_>,
) -> Result<RowResult, String> {
    let plan = stage.plan;
    let mut row = row.clone();
    let mut result = RowResult {
        label: row.label.clone(),
        scenario: row.scenario.clone(),
        qos: row.qos,
        persistence: row.persistence,
        metrics: row.metrics.clone(),
        goal: row.goal,
        note: None,
        cells: vec![Cell::default(); plan.brokers.len()],
    };
    if row.is_at_half_knee {
        let (rate, note) = half_knee(stage, &row, show)?;
        show(Event::Note(&note));
        result.note = Some(note);
        let Some(rate) = rate else {
            return Ok(result);
        };
        row.pace = Some(PaceChoice::Rate(rate));
    }
    for round in 1..=plan.rounds {
        for (broker, cell) in brokers.iter().zip(&mut result.cells) {
            match stage.refusal(&broker.recipe, &row) {
                Some(reason) => cell.refusal = Some(reason.to_owned()),
                None => turn(stage, broker, &row, round, cell, show),
            }
        }
    }
    Ok(result)
}

/// One broker's run in one round.
fn turn(
    stage: &Stage<'_>,
    info: &BrokerInfo,
    row: &Row,
    round: u32,
    cell: &mut Cell,
    show: Show<'_>,
) {
    let broker = info.recipe.name.as_str();
    show(Event::Turn { row, round, broker });
    let run = run_once(stage, info, row, show);
    show(Event::Run {
        row,
        round,
        broker,
        run: run.as_ref().map_err(String::as_str),
    });
    match run {
        Ok(run) => cell.runs.push(run),
        Err(error) => cell.errors.push(error),
    }
}

fn run_once(
    stage: &Stage<'_>,
    info: &BrokerInfo,
    row: &Row,
    show: Show<'_>,
) -> Result<RunResult, String> {
    let mut broker = start(stage, &info.recipe, row)?;
    let mut probe = ProcessProbe::new(broker.pid())?;
    let setup = Setup {
        broker_version: info.version.clone(),
        ..setup(stage, row, broker.target().clone())
    };
    let run = control::run(&setup, Some(&mut probe), &mut |status| {
        show(Event::Status(status))
    });
    match broker.ended() {
        Some(ended) => Err(ended),
        None => Ok(run?.result),
    }
}

fn setup(stage: &Stage<'_>, row: &Row, target: crate::target::Target) -> Setup {
    let plan = stage.plan;
    Setup {
        options: Options {
            version: row.version,
            qos: Some(row.qos),
            payload_bytes: row.payload_bytes,
            duration_s: plan.duration_s,
            warm_up_s: plan.warm_up_s,
            pace: row.pace,
            run_id: control::new_run_id(),
            ..Options::default()
        },
        threads: plan.threads,
        cpus: plan.generator_cpus.clone(),
        tls: stage.tls_options(),
        lag_max_us: plan.lag_max_us,
        drain_s: plan.drain_s,
        command: plan.command.clone(),
        ..Setup::new(&row.scenario, target)
    }
}

/// Half of the rate that the reference broker holds, and a line that says so; no rate when there
/// is none.
fn half_knee(
    stage: &Stage<'_>,
    row: &Row,
    show: Show<'_>,
) -> Result<(Option<f64>, String), String> {
    let plan = stage.plan;
    let is_mosquitto = |recipe: &&Recipe| recipe.kind == Kind::Mosquitto;
    let recipe = plan
        .brokers
        .iter()
        .find(is_mosquitto)
        .unwrap_or(&plan.brokers[0]);
    let name = &recipe.name;
    let broker = start(stage, recipe, row)?;
    let setup = setup(stage, row, broker.target().clone());
    let question = Question {
        p99_us_max: KNEE_P99_US,
        first_per_s: knee::own_rate(&setup)?.unwrap_or(KNEE_FIRST_PER_S),
        precision: KNEE_PRECISION,
        tries: KNEE_TRIES,
    };
    let on_status = &mut |status: Status<'_>| show(Event::Status(status));
    let label = &row.label;
    let answer = match knee::find(&setup, &question, None, on_status, &mut |_| {}) {
        Ok(answer) => answer,
        Err(error) => return Ok((None, format!("{label}: {name}: {error}"))),
    };
    let Some(knee) = answer.knee_per_s else {
        return Ok((
            None,
            format!("{label}: {name} holds no rate with p99 below 10 ms"),
        ));
    };
    let reason = match answer.limit {
        Limit::Generator => ", where the generator ends",
        _ => "",
    };
    let half = knee / 2.0;
    let note = format!("{label}: {half:.0} msg/s, half of the {knee:.0} of {name}{reason}");
    Ok((Some(half), note))
}
