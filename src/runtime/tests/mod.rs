//! The runtime as a whole: real cores in this process, real sockets on the loopback.

mod client;
mod inversion;
mod life;
mod sockets;
mod spin;

use super::running::Running;
use super::serve::Plan;
use super::signal::Signals;
use super::{ListenerOptions, Ready, ServeError, ServeOptions, ServeSummary};
use crate::base::hash::HomeKey;
use crate::config::address::{ListenAddress, Scheme};
use crate::config::limits::Limits;
use crate::config::settings::CoreSelection;
use client::Client;
use std::time::Duration;

/// Longer than anything takes when all is well, on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// Cores that serve within this process.
struct Broker {
    running: Running,
    ready: Ready,
    _signals: Signals,
}

fn options(cores: u16) -> ServeOptions {
    ServeOptions {
        listeners: vec![ListenerOptions {
            address: ListenAddress {
                scheme: Scheme::Tcp,
                host: "127.0.0.1".to_owned(),
                port: 0,
            },
            backlog: 1024,
            max_connections: u32::MAX,
            tls: None,
        }],
        cores: CoreSelection::Count(cores),
        limits: Limits::default(),
        home_key: HomeKey::new([7; 16]),
        journal: None,
        spin_time: Duration::ZERO,
        shutdown_timeout: Duration::from_secs(5),
        on_ready: Box::new(|_| {}),
    }
}

impl Broker {
    fn start(options: &ServeOptions) -> Self {
        Self::start_with_tables(options, None)
    }

    /// With other tables of direct descriptors: their entries, and how many a core may have.
    fn start_with_tables(options: &ServeOptions, tables: Option<(u32, usize)>) -> Self {
        let mut signals = Signals::register().unwrap();
        let mut plan = Plan::make(options).unwrap();
        (plan.slots, plan.rings_max) = tables.unwrap_or((plan.slots, plan.rings_max));
        let started = plan.start(&mut signals).unwrap();
        let (ready, running) = started.expect("nobody stops it");
        Self {
            running,
            ready,
            _signals: signals,
        }
    }

    fn client(&self) -> Client {
        Client::open(self.ready.addresses[0])
    }

    /// Stops gracefully and returns what was counted.
    fn stop(mut self) -> ServeSummary {
        self.running.control.request(super::core::Stop::Graceful);
        self.running.collect(false).unwrap()
    }
}

fn start_error(options: &ServeOptions) -> ServeError {
    let mut signals = Signals::register().unwrap();
    let started = Plan::make(options).and_then(|plan| plan.start(&mut signals));
    started.map(|_| ()).unwrap_err()
}
