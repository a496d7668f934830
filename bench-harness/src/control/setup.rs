//! Everything that a run is started with, and its division among generator threads.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::engine::{self, CONNECTIONS_PER_ADDRESS, Job, SourceAddresses, system};
use crate::scenario::{self, Options, Scenario};
use crate::target::Target;
use crate::transport::{Tls, TlsOptions};

#[derive(Clone, Debug)]
pub struct Setup {
    pub scenario: String,
    pub options: Options,
    pub target: Target,
    /// Generator threads; more where their sockets do not fit into one process.
    pub threads: u32,
    /// CPUs for the threads, one after the other.
    pub cpus: Vec<usize>,
    /// Local addresses; chosen by the number of connections when `None`.
    pub sources: Option<SourceAddresses>,
    pub tls: TlsOptions,
    pub username: Option<String>,
    pub password: Option<String>,
    pub spin_us: u64,
    /// The generator's own lag at the 99th percentile past which a run is void.
    pub lag_max_us: u64,
    /// How long nothing may move before the drain gives up.
    pub drain_s: f64,
    /// The program to start workers with; this one when `None`.
    pub worker_program: Option<PathBuf>,
    /// The command line that the result names.
    pub command: Vec<String>,
    /// What the result calls the broker.
    pub broker_version: Option<String>,
}

impl Setup {
    pub fn new(scenario: &str, target: Target) -> Self {
        Self {
            scenario: scenario.to_owned(),
            options: Options::default(),
            target,
            threads: 1,
            cpus: Vec::new(),
            sources: None,
            tls: TlsOptions::default(),
            username: None,
            password: None,
            spin_us: 0,
            lag_max_us: 1_000,
            drain_s: 5.0,
            worker_program: None,
            command: Vec::new(),
            broker_version: None,
        }
    }

    /// The scenario that it names, once it is clear that the target is one for it.
    pub fn scenario(&self) -> Result<Scenario, String> {
        let scenario = scenario::build(&self.scenario, &self.options)?;
        let (name, target) = (&self.scenario, &self.target);
        if scenario.needs_tls && !target.is_tls {
            return Err(format!(
                "`{name}` is about TLS handshakes: it needs a target with tls:// or wss://, not \
                 {target}"
            ));
        }
        if (self.tls.resume || self.tls.version.is_some()) && !target.is_tls {
            return Err(format!(
                "what is said about TLS needs a target with tls:// or wss://, not {target}"
            ));
        }
        Ok(scenario)
    }

    /// The parts of all threads, and whether they fit into this process.
    pub(super) fn jobs(&self, scenario: &Scenario) -> Result<(Vec<Job>, bool), String> {
        let address = self
            .target
            .address()
            .map_err(|error| format!("{}: {error}", self.target))?;
        if self.target.is_tls {
            // Once here, so that a wrong file is one clear error and not one of every thread.
            Tls::new(&self.tls, &self.target.host).map_err(|error| error.to_string())?;
        }
        let connections = scenario.load.connection_count();
        let capacity = sockets_per_process();
        let load = &scenario.load;
        let shares = shares(self.threads, connections, capacity).min(load.shares_max());
        let biggest = (0..shares).map(|share| engine::connections_of(load, share, shares));
        if biggest.max().unwrap_or(0) > capacity {
            return Err(format!(
                "{connections} connections that must be counted together do not fit into one \
                 process: its limit of open files leaves {capacity}"
            ));
        }
        let sources = self
            .sources
            .unwrap_or_else(|| default_sources(address.ip(), connections));
        let jobs = (0..shares).map(|share| Job {
            load: load.clone(),
            share,
            shares,
            target: self.target.clone(),
            address,
            version: scenario.version,
            keep_alive_s: self.options.keep_alive_s,
            run_id: self.options.run_id.clone(),
            seed: self.options.seed,
            sources,
            cpu: self.cpu(share),
            tls: self.tls.clone(),
            username: self.username.clone(),
            password: self.password.clone(),
            spin_ns: self.spin_us * 1_000,
        });
        Ok((jobs.collect(), connections <= capacity))
    }

    fn cpu(&self, share: u32) -> Option<usize> {
        let count = self.cpus.len();
        (count > 0).then(|| self.cpus[share as usize % count])
    }

    pub(super) fn worker_program(&self) -> Result<PathBuf, String> {
        match &self.worker_program {
            Some(program) => Ok(program.clone()),
            None => std::env::current_exe().map_err(|error| format!("own program: {error}")),
        }
    }
}

/// Leaves descriptors for standard streams, epolls and the broker's `/proc` files.
fn sockets_per_process() -> u32 {
    const OTHERS: u64 = 100;
    let limit = system::raise_descriptor_limit();
    u32::try_from(limit.saturating_sub(OTHERS)).unwrap_or(u32::MAX)
}

fn shares(threads: u32, connections: u32, capacity: u32) -> u32 {
    threads.max(1).max(connections.div_ceil(capacity.max(1)))
}

/// Towards this host there are addresses enough: 127.1.0.1 and on. Elsewhere, and where one address
/// has ports enough, the kernel chooses.
fn default_sources(address: IpAddr, connections: u32) -> SourceAddresses {
    if connections <= CONNECTIONS_PER_ADDRESS || !address.is_loopback() || address.is_ipv6() {
        return SourceAddresses::Any;
    }
    SourceAddresses::Range {
        first: Ipv4Addr::new(127, 1, 0, 1),
        count: connections.div_ceil(CONNECTIONS_PER_ADDRESS),
    }
}

pub(super) fn unix_now() -> Duration {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.unwrap_or_default()
}

/// A name that no other run on this host has.
pub fn new_run_id() -> String {
    let nanos = system::now_ns() ^ u64::from(std::process::id()) << 32;
    format!("{:08x}", crate::schedule::Random(nanos).draw() >> 32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_shares_as_the_sockets_need() {
        assert_eq!(shares(1, 19_000, 19_900), 1);
        assert_eq!(shares(2, 19_000, 19_900), 2);
        assert_eq!(shares(1, 100_000, 19_900), 6);
    }

    #[test]
    fn addresses_change_before_ports_run_out() {
        let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
        assert_eq!(default_sources(loopback, 20_000), SourceAddresses::Any);
        let sources = default_sources(loopback, 40_001);
        assert_eq!(sources.of(0), Some(Ipv4Addr::new(127, 1, 0, 1)));
        assert_eq!(sources.of(19_999), sources.of(0));
        assert_eq!(sources.of(40_000), Some(Ipv4Addr::new(127, 1, 0, 3)));
        let remote = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
        assert_eq!(default_sources(remote, 40_001), SourceAddresses::Any);
    }
}
