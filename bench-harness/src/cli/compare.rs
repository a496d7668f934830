//! `ringway-bench compare`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, ValueEnum};

use super::output::{self, Progress};
use super::run::write_json;
use super::{EXIT_BROKEN, EXIT_VOID, values};
use crate::broker;
use crate::compare::recipe::{self, Persistence, Recipe};
use crate::compare::result::{Comparison, Metric};
use crate::compare::suite::{self, Row};
use crate::compare::{self, Event, Plan, Style};
use crate::load::{Action, Step};
use crate::mqtt::Version;
use crate::scenario::{Options, PaceChoice, build};
use crate::transport::{TlsOptions, TlsVersion};

pub(super) fn after_help() -> String {
    format!(
        "{}\n\n{}",
        recipe::HELP,
        "Exit status: 0 all rounds count, 1 no result, 2 wrong usage, 3 a guarantee of MQTT did \
         not hold in\nsome round or a round failed, 4 some rounds are void."
    )
}

#[derive(Args)]
pub(super) struct CompareArguments {
    /// Scenarios, as `ringway-bench list` names them; or --suite
    #[arg(required_unless_present = "suite", conflicts_with = "suite")]
    scenarios: Vec<String>,
    /// goals: cost per message in all patterns, 21 rows; latency: at half of Mosquitto's saturation
    /// rate; durable: persistent sessions, persistence on and off
    #[arg(long)]
    suite: Option<SuiteName>,
    /// A broker; may be repeated, the others' ratios refer to the first. See below
    #[arg(long = "broker", value_name = "KIND[=PROGRAM]", required = true)]
    brokers: Vec<Recipe>,
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    rounds: u32,
    /// Length of each run's measured window
    #[arg(long, value_name = "SECONDS", default_value = "2", value_parser = values::seconds)]
    duration: f64,
    /// Load before the measured window
    #[arg(long, value_name = "SECONDS", default_value = "0.5", value_parser = values::seconds)]
    warm_up: f64,
    /// Of a suite only the rows of these; for scenarios the ones to run [default: 1 for scenarios,
    /// all of a suite]
    #[arg(long, value_name = "LIST", value_delimiter = ',',
        value_parser = clap::value_parser!(u8).range(0..=2))]
    qos: Vec<u8>,
    /// Of a suite only rows with this in their name
    #[arg(long, value_name = "TEXT", requires = "suite")]
    rows: Option<String>,
    #[arg(long, value_name = "BYTES", default_value_t = suite::PAYLOAD_BYTES,
        value_parser = clap::value_parser!(u32).range(16..=268_000_000))]
    payload_bytes: u32,
    /// Protocol version: 3.1.1 or 5.0 [default: the scenario's]
    #[arg(long, value_name = "VERSION", value_parser = values::version)]
    mqtt: Option<Version>,
    /// Messages per second in place of the scenario's pace, or of half of the saturation rate in
    /// the suite `latency`
    #[arg(long, value_name = "PER_S", value_parser = values::rate,
        conflicts_with_all = ["window_bytes", "in_flight"])]
    rate: Option<f64>,
    /// Closed loop with so many bytes of each publisher under way, as in 64KiB
    #[arg(long, value_name = "SIZE", value_parser = values::bytes,
        conflicts_with_all = ["in_flight", "suite"])]
    window_bytes: Option<u64>,
    /// Closed loop with so many messages of each publisher under way
    #[arg(long, value_name = "COUNT", conflicts_with = "suite",
        value_parser = clap::value_parser!(u32).range(1..=65_000))]
    in_flight: Option<u32>,
    /// Whether brokers keep persistent sessions on the disk, for scenarios that have them
    #[arg(long, default_value = "on", conflicts_with = "suite")]
    persistence: Switch,
    /// CPUs for each broker, as in 0,2-5 [default: the first that this process may use]
    #[arg(long, value_name = "LIST", value_parser = values::cpus)]
    broker_cpus: Option<CpuList>,
    /// CPUs for the generator's threads [default: the last that this process may use]
    #[arg(long, value_name = "LIST", value_parser = values::cpus)]
    generator_cpus: Option<CpuList>,
    /// Generator threads
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_024))]
    threads: u32,
    /// Where the brokers' folders are made and removed again: on the disk that is to be measured
    /// [default: the system's folder for temporary files]
    #[arg(long, value_name = "FOLDER")]
    dir: Option<PathBuf>,
    /// The generator's own lag (99th percentile) past which a run is void
    #[arg(long, value_name = "US", default_value_t = 1_000)]
    lag_max_us: u64,
    /// How long nothing may arrive before the drain at the end gives up
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = values::seconds)]
    drain: f64,
    /// Over TLS: one certificate for all brokers, made for the comparison. See below
    #[arg(long)]
    tls: bool,
    /// Offer this version of TLS only: 1.2 or 1.3 [default: both]
    #[arg(long, value_name = "VERSION", value_parser = values::tls_version, requires = "tls")]
    tls_version: Option<TlsVersion>,
    /// Each client that comes back resumes its last TLS session, as devices do [default: all
    /// handshakes are full ones]
    #[arg(long, requires = "tls")]
    tls_resume: bool,
    /// The tables as Markdown
    #[arg(long)]
    markdown: bool,
    /// Write everything, with all runs, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write a page with tables and bars
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

/// Named, so that clap takes it for one value.
type CpuList = Vec<usize>;

#[derive(Clone, Copy, ValueEnum)]
enum SuiteName {
    Goals,
    Latency,
    Durable,
}

#[derive(Clone, Copy, ValueEnum)]
enum Switch {
    On,
    Off,
}

impl SuiteName {
    fn suite(self) -> suite::Suite {
        match self {
            Self::Goals => suite::Suite::Goals,
            Self::Latency => suite::Suite::Latency,
            Self::Durable => suite::Suite::Durable,
        }
    }
}

impl CompareArguments {
    fn plan(&self) -> Result<Plan, String> {
        let rows = match self.suite {
            Some(suite) => self.suite_rows(suite.suite())?,
            None => self.scenario_rows()?,
        };
        let names: std::collections::BTreeSet<_> =
            self.brokers.iter().map(|recipe| &recipe.name).collect();
        if names.len() < self.brokers.len() {
            return Err("two brokers of one name: KIND:LABEL=PROGRAM tells them apart".to_owned());
        }
        for broker in &self.brokers {
            broker.check(self.tls)?;
        }
        let ids = core_affinity::get_core_ids().unwrap_or_default();
        let is_shared = ids.len() < 2;
        let only = |id: Option<&core_affinity::CoreId>| {
            id.filter(|_| !is_shared)
                .map(|id| id.id)
                .into_iter()
                .collect()
        };
        Ok(Plan {
            title: self.title(),
            brokers: self.brokers.clone(),
            rows,
            rounds: self.rounds,
            duration_s: self.duration,
            warm_up_s: self.warm_up,
            broker_cpus: self
                .broker_cpus
                .clone()
                .unwrap_or_else(|| only(ids.first())),
            generator_cpus: self
                .generator_cpus
                .clone()
                .unwrap_or_else(|| only(ids.last())),
            folder: self.dir.clone().unwrap_or_else(std::env::temp_dir),
            threads: self.threads,
            lag_max_us: self.lag_max_us,
            drain_s: self.drain,
            tls: self.tls.then(|| TlsOptions {
                version: self.tls_version,
                resume: self.tls_resume,
                ..TlsOptions::default()
            }),
            command: std::env::args().collect(),
        })
    }

    fn title(&self) -> String {
        let title = self
            .suite
            .map_or("Comparison", |suite| suite.suite().title());
        let over = if self.tls { " over TLS" } else { "" };
        format!("{title}{over}")
    }

    fn suite_rows(&self, suite: suite::Suite) -> Result<Vec<Row>, String> {
        if self.tls && suite == suite::Suite::Goals {
            return Err("--tls: the goals refer to the floor, which speaks no TLS".to_owned());
        }
        if self.rate.is_some() && suite != suite::Suite::Latency {
            return Err("--rate is for scenarios and the suite latency".to_owned());
        }
        let is_wanted = |row: &Row| {
            let is_qos = self.qos.is_empty() || self.qos.contains(&row.qos);
            is_qos
                && self
                    .rows
                    .as_ref()
                    .is_none_or(|text| row.label.contains(text.as_str()))
        };
        let mut rows = suite::select(suite.rows(), is_wanted);
        for row in &mut rows {
            row.payload_bytes = Some(self.payload_bytes);
            row.version = self.mqtt;
            if let Some(rate) = self.rate {
                row.pace = Some(PaceChoice::Rate(rate));
                row.is_at_half_knee = false;
            }
        }
        match rows.is_empty() {
            true => Err("no row of the suite is like that".to_owned()),
            false => Ok(rows),
        }
    }

    fn scenario_rows(&self) -> Result<Vec<Row>, String> {
        let qos = if self.qos.is_empty() {
            &[1][..]
        } else {
            &self.qos
        };
        let mut rows = Vec::new();
        for scenario in &self.scenarios {
            for qos in qos {
                rows.push(self.scenario_row(scenario, *qos)?);
            }
        }
        Ok(rows)
    }

    fn scenario_row(&self, scenario: &str, qos: u8) -> Result<Row, String> {
        let window = self.window_bytes.map(PaceChoice::WindowBytes);
        let in_flight = self.in_flight.map(PaceChoice::InFlight);
        let pace = self.rate.map(PaceChoice::Rate).or(window).or(in_flight);
        let options = Options {
            version: self.mqtt,
            qos: Some(qos),
            payload_bytes: Some(self.payload_bytes),
            pace,
            ..Options::default()
        };
        let built = build(scenario, &options)?;
        if built.needs_tls && !self.tls {
            return Err(format!(
                "`{scenario}` is about TLS handshakes: compare brokers in it with --tls"
            ));
        }
        let is_storm = built.load.steps.iter().any(is_measured_connect);
        let parameters = built.parameters;
        let persistence = match (parameters.clean_session, self.persistence) {
            (true, _) => Persistence::Unused,
            (false, Switch::On) => Persistence::On,
            (false, Switch::Off) => Persistence::Off,
        };
        let metrics = match parameters.publishers {
            0 if is_storm => vec![
                Metric::CpuUsPerConnection,
                Metric::ConnectP50Us,
                Metric::ConnectP99Us,
                Metric::BytesPerConnection,
            ],
            0 => vec![Metric::BytesPerConnection, Metric::WakeUpsPerS],
            _ => vec![
                Metric::CpuUsPerDelivered,
                Metric::DeliveredPerS,
                Metric::P50Us,
                Metric::P99Us,
                Metric::P999Us,
            ],
        };
        Ok(Row {
            label: format!("{scenario}, QoS {qos}"),
            scenario: scenario.to_owned(),
            qos,
            payload_bytes: options.payload_bytes,
            version: self.mqtt,
            pace,
            is_at_half_knee: false,
            persistence,
            metrics,
            goal: None,
        })
    }
}

/// Whether connecting is what the scenario is about.
fn is_measured_connect(step: &Step) -> bool {
    step.is_measured && matches!(step.action, Action::Connect { .. })
}

pub(super) fn compare(arguments: &CompareArguments) -> ExitCode {
    let plan = match arguments.plan() {
        Ok(plan) => plan,
        Err(error) => {
            output::fail(&error);
            return ExitCode::from(2);
        }
    };
    if let Err(error) = broker::stop_on_signal() {
        return output::fail(&format!("signals: {error}"));
    }
    // The leading thread shares the generator's CPU, not the brokers'.
    if let (false, Some(id)) = (plan.broker_cpus.is_empty(), plan.generator_cpus.last()) {
        core_affinity::set_for_current(core_affinity::CoreId { id: *id });
    }
    let progress = Progress::new("compare");
    let result = compare::run(&plan, &mut |event| show(&progress, &plan, &event));
    broker::yield_to_signal();
    progress.clear();
    let comparison = match result {
        Ok(comparison) => comparison,
        Err(error) => return output::fail(&error),
    };
    print(arguments, &comparison);
    match write_files(arguments, &comparison) {
        Ok(()) => exit_code(&comparison),
        Err(error) => output::fail(&error),
    }
}

fn show(progress: &Progress, plan: &Plan, event: &Event<'_>) {
    match event {
        Event::Status(status) => progress.show(*status),
        Event::Turn { row, round, broker } => {
            let rounds = plan.rounds;
            progress.name(&format!("{}, {round}/{rounds}, {broker}", row.label));
        }
        Event::Note(note) => progress.remark(note),
        Event::Run {
            row,
            round,
            broker,
            run,
        } => {
            let what = match run {
                Err(error) => format!("FAILED: {error}"),
                Ok(run) => {
                    let figure = |metric: &Metric| {
                        let value = metric.of(run)?;
                        Some(format!("{}: {value:.3}", metric.title()))
                    };
                    let mut parts: Vec<_> = row.metrics.iter().take(1).filter_map(figure).collect();
                    parts.extend(run.void.iter().map(|reason| format!("VOID: {reason}")));
                    parts.extend(
                        run.failures
                            .iter()
                            .map(|reason| format!("BROKEN: {reason}")),
                    );
                    parts.join(" | ")
                }
            };
            progress.remark(&format!(
                "{} | round {round} | {broker} | {what}",
                row.label
            ));
        }
    }
}

fn print(arguments: &CompareArguments, comparison: &Comparison) {
    let style = if arguments.markdown {
        Style::Markdown
    } else {
        Style::Text
    };
    output::line(compare::tables(comparison, style).trim_end());
    let bullet = if arguments.markdown { "- " } else { "" };
    for (index, broker) in comparison.brokers.iter().enumerate() {
        let gap = if index == 0 { "\n" } else { "" };
        let (name, words) = (&broker.recipe.name, broker.words());
        output::line(&format!("{gap}{bullet}{name}: {words}"));
    }
    if let Some(machine) = comparison.environment() {
        output::line(&format!(
            "{bullet}machine: {}, {} CPUs, {}, load before {:.2}",
            machine.cpu_model, machine.cpus, machine.kernel, machine.load_average_before
        ));
    }
    for text in compare::goal_lines(comparison)
        .iter()
        .chain(&compare::trouble(comparison))
    {
        output::line(&format!("{bullet}{text}"));
    }
}

fn write_files(arguments: &CompareArguments, comparison: &Comparison) -> Result<(), String> {
    let failed = |path: &Path, error: std::io::Error| format!("{}: {error}", path.display());
    if let Some(path) = &arguments.json {
        write_json(path, comparison).map_err(|error| failed(path, error))?;
    }
    if let Some(path) = &arguments.html {
        let page = compare::page(comparison);
        std::fs::write(path, page).map_err(|error| failed(path, error))?;
    }
    Ok(())
}

fn exit_code(comparison: &Comparison) -> ExitCode {
    match comparison.failed_rounds() {
        (0, 0, 0) => ExitCode::SUCCESS,
        (_, 0, 0) => ExitCode::from(EXIT_VOID),
        _ => ExitCode::from(EXIT_BROKEN),
    }
}
