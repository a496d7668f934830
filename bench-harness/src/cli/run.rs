//! `ringway-bench run`.

use std::fs::{self, File};
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use serde::Serialize;

use super::broker::BrokerArguments;
use super::output::{self, Progress};
use super::{EXIT_BROKEN, EXIT_VOID, values};
use crate::control::{self, Run, Setup};
use crate::engine::SourceAddresses;
use crate::mqtt::Version;
use crate::report;
use crate::result::{BrokerProbe, RunResult};
use crate::scenario::{Options, PaceChoice};
use crate::schedule::Arrivals;
use crate::target::Target;
use crate::transport::{TlsOptions, TlsVersion};

pub(super) const AFTER_HELP: &str = "\
Latency is counted from the time at which a message was meant to be sent, in an open loop whose
times are fixed in advance. The first 16 bytes of a payload are 3 bytes of stream, 5 of sequence
number and 8 of that time in nanoseconds, big-endian.

The latency of a connection ends with its CONNACK and so holds the handshakes of TLS and WebSocket.
With TLS the result names version, cipher suite and key exchange, and counts full and resumed
handshakes; key exchanges are offered in the order X25519, P-256, P-384.

Exit status: 0 figures count, 1 no result, 2 wrong usage, 3 a guarantee of MQTT did not hold
(QoS 1 or 2 lost, QoS 0 or 2 doubled, order broken), 4 the figures do not count (generator too
slow, connections lost, schedule not kept).";

#[derive(Args)]
pub(super) struct RunArguments {
    /// As `ringway-bench list` names them, with `@SCALE` if wanted
    scenario: String,
    #[command(flatten)]
    load: LoadArguments,
    #[command(flatten)]
    broker: BrokerArguments,
    /// Write the result as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the histograms of each second as an interval log
    #[arg(long, value_name = "FILE")]
    hlog: Option<PathBuf>,
    /// Write a page with plots, tables and the environment
    #[arg(long, value_name = "FILE.html")]
    report: Option<PathBuf>,
    /// Print a Markdown table in place of the line
    #[arg(long)]
    markdown: bool,
}

/// What makes a run besides the scenario.
#[derive(Args, Clone, Debug)]
pub struct LoadArguments {
    /// The broker
    #[arg(long, value_name = "URL", default_value = "tcp://127.0.0.1:1883")]
    target: Target,
    /// Protocol version: 3.1.1 or 5.0 [default: the scenario's]
    #[arg(long, value_name = "VERSION", value_parser = values::version)]
    mqtt: Option<Version>,
    /// [default: 1]
    #[arg(long, value_parser = clap::value_parser!(u8).range(0..=2))]
    qos: Option<u8>,
    /// At least 16 [default: 16]
    #[arg(long, value_name = "BYTES",
        value_parser = clap::value_parser!(u32).range(16..=268_000_000))]
    payload_bytes: Option<u32>,
    /// Keep-alive of all clients; 0 for none
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    keep_alive: u16,
    /// Length of the measured window
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = values::seconds)]
    duration: f64,
    /// Load before the measured window
    #[arg(long, value_name = "SECONDS", default_value = "2", value_parser = values::seconds)]
    warm_up: f64,
    /// Open loop with so many messages per second in all, in place of the scenario's pace
    #[arg(long, value_name = "PER_S", value_parser = values::rate,
        conflicts_with_all = ["window_bytes", "in_flight"])]
    rate: Option<f64>,
    /// Exponentially distributed gaps in place of equal ones
    #[arg(long)]
    poisson: bool,
    /// Closed loop with so many bytes of each publisher under way, as in 64KiB
    #[arg(long, value_name = "SIZE", value_parser = values::bytes, conflicts_with = "in_flight")]
    window_bytes: Option<u64>,
    /// Closed loop with so many messages of each publisher under way
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=65_000))]
    in_flight: Option<u32>,
    /// Connections per second [default: the scenario's, or as fast as answered]
    #[arg(long, value_name = "PER_S", value_parser = values::rate)]
    connect_rate: Option<f64>,
    /// Of random gaps
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Generator threads; one where a closed loop counts across them, worker processes more where
    /// sockets do not fit into one
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_024))]
    threads: u32,
    /// CPUs for the generator's threads, as in 0,2-5
    #[arg(long, value_name = "LIST", value_parser = values::cpus)]
    cpus: Option<CpuList>,
    /// Local addresses to connect from [default: 127.1.0.1 and on for many local connections]
    #[arg(long, value_name = "NETWORK", value_parser = values::sources)]
    sources: Option<SourceAddresses>,
    /// PEM file of the authorities to trust for tls:// and wss:// [default: the system's]
    #[arg(long, value_name = "FILE", conflicts_with = "insecure")]
    ca: Option<PathBuf>,
    /// Accept any certificate
    #[arg(long)]
    insecure: bool,
    /// Offer this version of TLS only: 1.2 or 1.3 [default: both]
    #[arg(long, value_name = "VERSION", value_parser = values::tls_version)]
    tls_version: Option<TlsVersion>,
    /// Each client that comes back resumes its last TLS session, as devices do [default: all
    /// handshakes are full ones]
    #[arg(long)]
    tls_resume: bool,
    #[arg(long)]
    username: Option<String>,
    #[arg(long, requires = "username")]
    password: Option<String>,
    /// Poll so long before each send time in place of sleeping: exact, but a whole CPU
    #[arg(long, value_name = "US", default_value_t = 0)]
    spin_us: u64,
    /// The generator's own lag (99th percentile) past which a run is void
    #[arg(long, value_name = "US", default_value_t = 1_000)]
    lag_max_us: u64,
    /// How long nothing may arrive before the drain at the end gives up
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = values::seconds)]
    drain: f64,
}

/// Named, so that clap takes it for one value.
type CpuList = Vec<usize>;

impl LoadArguments {
    /// A run of `scenario` with a name of its own.
    pub fn setup(&self, scenario: &str) -> Setup {
        let window = self.window_bytes.map(PaceChoice::WindowBytes);
        let in_flight = self.in_flight.map(PaceChoice::InFlight);
        let options = Options {
            version: self.mqtt,
            qos: self.qos,
            payload_bytes: self.payload_bytes,
            keep_alive_s: self.keep_alive,
            duration_s: self.duration,
            warm_up_s: self.warm_up,
            pace: self.rate.map(PaceChoice::Rate).or(window).or(in_flight),
            arrivals: if self.poisson {
                Arrivals::Poisson
            } else {
                Arrivals::Constant
            },
            connect_rate: self.connect_rate,
            seed: self.seed,
            run_id: control::new_run_id(),
        };
        Setup {
            options,
            threads: self.threads,
            cpus: self.cpus.clone().unwrap_or_default(),
            sources: self.sources,
            tls: TlsOptions {
                ca: self.ca.clone(),
                insecure: self.insecure,
                version: self.tls_version,
                resume: self.tls_resume,
            },
            username: self.username.clone(),
            password: self.password.clone(),
            spin_us: self.spin_us,
            lag_max_us: self.lag_max_us,
            drain_s: self.drain,
            command: std::env::args().collect(),
            ..Setup::new(scenario, self.target.clone())
        }
    }
}

pub(super) fn run(arguments: &RunArguments) -> ExitCode {
    let mut setup = arguments.load.setup(&arguments.scenario);
    setup
        .broker_version
        .clone_from(&arguments.broker.broker_version);
    // Before the run: a name that says nothing is wrong usage, not a failed run.
    if let Err(error) = setup.scenario() {
        output::fail(&error);
        return ExitCode::from(2);
    }
    let mut probe = match arguments.broker.probe() {
        Ok(probe) => probe,
        Err(error) => return output::fail(&error),
    };
    let progress = Progress::new(&setup.scenario);
    let probe = probe
        .as_mut()
        .map(|probe| &mut **probe as &mut dyn BrokerProbe);
    let run = control::run(&setup, probe, &mut |status| progress.show(status));
    progress.clear();
    let run = match run {
        Ok(run) => run,
        Err(error) => return output::fail(&error),
    };
    output::print(&run.result, arguments.markdown);
    match write_files(arguments, &run) {
        Ok(()) => exit_code(&run.result),
        Err(error) => output::fail(&error),
    }
}

fn write_files(arguments: &RunArguments, run: &Run) -> Result<(), String> {
    let failed = |path: &Path, error: io::Error| format!("{}: {error}", path.display());
    if let Some(path) = &arguments.json {
        write_json(path, &run.result).map_err(|error| failed(path, error))?;
    }
    if let Some(path) = &arguments.hlog {
        write_hlog(path, run).map_err(|error| failed(path, error))?;
    }
    if let Some(path) = &arguments.report {
        let mut page = report::Page::new(&format!("Run of {}", run.result.scenario));
        page.run(&run.result, Some(&run.merged));
        fs::write(path, page.finish()).map_err(|error| failed(path, error))?;
    }
    Ok(())
}

pub(super) fn write_json(path: &Path, result: &impl Serialize) -> io::Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    serde_json::to_writer_pretty(&mut file, result)?;
    io::Write::flush(&mut file)
}

fn write_hlog(path: &Path, run: &Run) -> io::Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    run.merged.write_log(run.window_start_unix, &mut file)?;
    io::Write::flush(&mut file)
}

/// A broken guarantee weighs more than void figures.
pub fn exit_code(result: &RunResult) -> ExitCode {
    if !result.failures.is_empty() {
        ExitCode::from(EXIT_BROKEN)
    } else if !result.void.is_empty() {
        ExitCode::from(EXIT_VOID)
    } else {
        ExitCode::SUCCESS
    }
}
