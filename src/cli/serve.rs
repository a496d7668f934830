//! `ringway serve`: from arguments to a running broker.

use super::exit::{DONE, failed, refused};
use super::log::{self, LogLines};
use super::{ready, sources};
use crate::config::limits::Limits;
use crate::config::load::{Override, Sources, load};
use crate::config::problem::Problems;
use crate::config::settings::{ListenerSettings, Settings};
use crate::node::data_dir::DataDir;
use crate::runtime::tls::Gate;
use crate::runtime::{
    self, JournalOptions, ListenerOptions, RehomeOptions, ServeOptions, ServeSummary, Signals,
    carry_out_rehoming, end_rehoming, pending_rehoming, random_seed, rehome, serve,
};
use clap::Args;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

/// Why there is nothing to run.
type StartError = Box<dyn Error + Send + Sync>;

/// Run the broker
///
/// Order of precedence: built-in defaults, the --config file, the conf.d/*.toml beside it, the
/// environment (RINGWAY__SECTION__KEY), flags. When every core is serving, one line on standard
/// error says so: `ready tcp://127.0.0.1:1883 cores=2 pid=123`. SIGTERM or SIGINT stops it
/// gracefully, a second one, or one before it is ready, at once; SIGHUP reads the certificates and
/// keys of TLS listeners again, for the connections to come. Exit status: 0 after a requested
/// stop, 1 for a failure while running, 2 for wrong usage or configuration.
#[derive(Debug, Default, Args)]
pub(super) struct ServeArguments {
    /// Configuration file (TOML)
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Listen on tcp://HOST:PORT or tls://HOST:PORT instead of the configured listeners; may be
    /// repeated
    ///
    /// Port 0 takes a free one. A listener's other keys may follow, for example
    /// tcp://0.0.0.0:1883?allow_anonymous=true or
    /// tls://127.0.0.1:8883?tls.cert=chain.pem&tls.key=key.pem
    #[arg(long, value_name = "URL")]
    listen: Vec<String>,

    /// Directory that belongs to this broker [default: ./ringway-data]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<String>,

    /// CPUs to serve on: auto, a number of them, or CPU ids such as 0,2-5 [default: auto]
    #[arg(long, value_name = "auto|N|LIST")]
    cores: Option<String>,

    /// Microseconds for which a core with nothing to do looks for events before it sleeps: lower
    /// latency for up to all of its CPU time [default: 0]
    #[arg(long, value_name = "N")]
    spin_us: Option<String>,

    /// Set one configuration key, for example mqtt.max_qos=1; may be repeated
    #[arg(long, value_name = "SECTION.KEY=VALUE")]
    set: Vec<String>,
}

pub(super) fn main(arguments: &ServeArguments) -> ExitCode {
    let sources = match sources::collect(arguments.config.as_deref()) {
        Ok(sources) => sources,
        Err(error) => return refused(error),
    };
    let settings = match settings(arguments, sources) {
        Ok(settings) => settings,
        Err(problems) => return refused(problems),
    };
    let gates = match gates(&settings.listeners) {
        Ok(gates) => gates,
        Err(error) => return refused(error),
    };
    let mut signals = match Signals::register() {
        Ok(signals) => signals,
        Err(error) => return failed(error),
    };
    let log = log::start(settings.log);
    match run(&settings, gates, log.lines(), &mut signals) {
        Ok(Some(summary)) => {
            let (net, counters) = summary.sums();
            tracing::info!(?net, ?counters, cut_short = summary.cut_short, "stopped");
            DONE
        }
        Ok(None) => {
            tracing::info!("stopped before it was ready");
            DONE
        }
        Err(why) => failed(why),
    }
}

/// The data directory, with what is stored in it of `shard_count` shards.
fn open_data_dir(path: &Path, limits: &Limits, shard_count: u16) -> Result<DataDir, StartError> {
    let mut data_dir = DataDir::open(path, shard_count)?;
    settle_shard_count(&mut data_dir, limits, shard_count)?;
    Ok(data_dir)
}

/// Makes sure that what is stored is of `shard_count` shards.
fn settle_shard_count(
    data_dir: &mut DataDir,
    limits: &Limits,
    shard_count: u16,
) -> Result<(), StartError> {
    // An earlier start may have ended in the middle of it.
    finish_rehoming(data_dir)?;
    rehome(&RehomeOptions {
        data_dir: data_dir.path(),
        stored: data_dir.identity().shard_count,
        wanted: shard_count,
        limits,
        home_key: data_dir.identity().home_key,
        seed: random_seed()?,
    })?;
    finish_rehoming(data_dir)?;
    Ok(data_dir.record_shard_count(shard_count)?)
}

fn finish_rehoming(data_dir: &mut DataDir) -> Result<(), StartError> {
    let Some(count) = pending_rehoming(data_dir.path())? else {
        return Ok(());
    };
    carry_out_rehoming(data_dir.path(), count)?;
    data_dir.record_shard_count(count)?;
    Ok(end_rehoming(data_dir.path(), count)?)
}

/// Puts the flags over the other layers.
fn settings(arguments: &ServeArguments, mut sources: Sources) -> Result<Settings, Problems> {
    let mut unreadable = Problems::default();
    for text in &arguments.set {
        match Override::from_assignment(text) {
            Ok(value) => sources.overrides.push(value),
            Err(problem) => unreadable.0.push(problem),
        }
    }
    let flags = [
        ("--data-dir", "node.data_dir", &arguments.data_dir),
        ("--cores", "node.cores", &arguments.cores),
        ("--spin-us", "node.spin_us", &arguments.spin_us),
    ];
    for (name, key, value) in flags {
        let value = value.iter().map(|value| Override {
            name: name.to_owned(),
            key: key.to_owned(),
            value: value.clone(),
        });
        sources.overrides.extend(value);
    }
    sources.listen.clone_from(&arguments.listen);
    match load(&sources) {
        Ok(settings) if unreadable.0.is_empty() => Ok(settings),
        Ok(_) => Err(unreadable),
        Err(mut problems) => {
            problems.0.append(&mut unreadable.0);
            Err(problems)
        }
    }
}

/// What the listeners' connections begin their TLS with.
pub(super) fn gates(listeners: &[ListenerSettings]) -> Result<Vec<Option<Arc<Gate>>>, String> {
    let gate = |listener: &ListenerSettings| {
        let gate = listener.tls.as_ref().map(Gate::open).transpose();
        gate.map(|gate| gate.map(Arc::new))
            .map_err(|error| format!("listener {}: {error}", listener.bind))
    };
    listeners.iter().map(gate).collect()
}

/// Runs the broker until it is told to stop; `None`: before it was ready. Whatever is still at
/// work then may end with the process at any moment.
fn run(
    settings: &Settings,
    gates: Vec<Option<Arc<Gate>>>,
    mut log: LogLines,
    signals: &mut Signals,
) -> Result<Option<ServeSummary>, StartError> {
    // Nothing stored is moved for cores that there are not.
    let core_count = runtime::core_count(&settings.node.cores)?;
    let (path, limits) = (settings.node.data_dir.clone(), settings.limits.clone());
    let opened = signals.unless_stopped(move || open_data_dir(&path, &limits, core_count))?;
    let Some(data_dir) = opened.transpose()? else {
        return Ok(None);
    };
    let listeners = settings.listeners.iter().zip(gates);
    let listeners = listeners.map(|(listener, tls)| ListenerOptions {
        address: listener.bind.clone(),
        backlog: listener.backlog,
        max_connections: listener.max_connections,
        tls,
    });
    let options = ServeOptions {
        listeners: listeners.collect(),
        cores: settings.node.cores.clone(),
        limits: settings.limits.clone(),
        home_key: data_dir.identity().home_key,
        journal: Some(JournalOptions {
            data_dir: data_dir.path().to_owned(),
            segment_bytes: settings.limits.durability.segment_bytes,
            settings: settings.durability,
        }),
        spin_time: settings.node.spin_time,
        shutdown_timeout: settings.node.shutdown_timeout,
        on_ready: Box::new(move |serving| {
            ready::announce(&mut log, &serving.urls, serving.core_count);
        }),
    };
    Ok(serve(options, signals)?)
}
