//! Starting the broker's cores, from the main thread.
//!
//! The start has three steps, so that it either succeeds as a whole or leaves nothing behind:
//! everything that can be refused without a core (CPUs, limits, listeners); one thread per core
//! that makes its executor and ring and reports; then the word to serve, when all have.

use super::bell::Bell;
use super::clock::Clock;
use super::core::{Control, Core};
use super::counters::NetCounters;
use super::cpu;
use super::disk::{self, Disk, Found, JournalOptions, KeeperLink};
use super::error::ServeError;
use super::executor::{self, Made};
use super::limits::{self, DescriptorPlan};
use super::link::{self, Links};
use super::listen;
use super::net::{ListenSocket, ListenerLoad, Net, NetSettings};
use super::process_memory;
use super::running::Running;
use super::signal::{self, Signals, Teller, ThreadEnd};
use super::tls::Gate;
use crate::base::hash::HomeKey;
use crate::base::ids::ShardId;
use crate::config::address::ListenAddress;
use crate::config::limits::Limits;
use crate::config::settings::CoreSelection;
use crate::metrics::Counters;
use crate::shard::Shard;
use crate::shard::interface::ShardSettings;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::thread::Builder;
use std::time::Duration;
use tracing::debug;

/// One listener of the configuration.
#[derive(Clone, Debug)]
pub struct ListenerOptions {
    pub address: ListenAddress,
    /// Connections that the kernel holds until they are accepted, for each core.
    pub backlog: u32,
    /// Connections of this listener at one time, over all cores; `u32::MAX`: no limit.
    pub max_connections: u32,
    /// `None`: plain TCP.
    pub tls: Option<Arc<Gate>>,
}

/// What the broker runs with.
pub struct ServeOptions {
    pub listeners: Vec<ListenerOptions>,
    pub cores: CoreSelection,
    /// Of the whole process; divided among the shards here.
    pub limits: Limits,
    pub home_key: HomeKey,
    /// Where the journals are; `None`: nothing survives the process.
    pub journal: Option<JournalOptions>,
    /// So long a core with nothing to do looks for something before it sleeps.
    pub spin_time: Duration,
    /// For goodbyes and unfinished sends at a requested stop.
    pub shutdown_timeout: Duration,
    /// Called once, on the calling thread, when every core is serving.
    pub on_ready: Box<dyn FnOnce(&Ready) + Send>,
}

/// What the broker serves on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ready {
    /// With real ports, `tcp://ADDRESS:PORT` or `tls://ADDRESS:PORT`, in the order of the
    /// configuration.
    pub urls: Vec<String>,
    pub addresses: Vec<SocketAddr>,
    pub core_count: usize,
    pub pid: u32,
}

/// What one core leaves at its end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CoreSummary {
    pub shard: ShardId,
    pub cpu: usize,
    pub net: NetCounters,
    pub counters: Counters,
}

/// What is left at a requested stop.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ServeSummary {
    /// In the order of the shards; without the cores that did not end in time.
    pub cores: Vec<CoreSummary>,
    /// A second signal or the end of the time cut the goodbyes short.
    pub cut_short: bool,
}

impl ServeSummary {
    /// The sums over all cores: of sockets and of shards.
    #[must_use]
    pub fn sums(&self) -> (NetCounters, Counters) {
        let mut sums = (NetCounters::default(), Counters::default());
        for core in &self.cores {
            sums.0.add(&core.net);
            sums.1.add(&core.counters);
        }
        sums
    }
}

/// Runs the broker on the calling thread and its cores until SIGTERM or SIGINT; SIGHUP reads the
/// files of the listeners' TLS again, for the connections to come. A second SIGTERM or SIGINT stops
/// at once, and so does the first one before the broker is ready (`None`). Then the cores' threads
/// may still run at the return, as they may when the goodbyes are cut short: the caller ends the
/// process. What is on the disk is whole at any moment of the start.
///
/// # Errors
/// Why the broker could not start, or why it had to end; see [`ServeError`].
pub fn serve(
    options: ServeOptions,
    signals: &mut Signals,
) -> Result<Option<ServeSummary>, ServeError> {
    process_memory::decline_huge_pages();
    let Some((ready, running)) = Plan::make(&options)?.start(signals)? else {
        return Ok(None);
    };
    (options.on_ready)(&ready);
    let gates = options.listeners.into_iter().filter_map(|it| it.tls);
    running.run(signals, &gates.collect::<Vec<_>>()).map(Some)
}

/// Everything that is decided before the first thread starts.
pub(super) struct Plan {
    clock: Clock,
    cpus: Vec<usize>,
    bells: Vec<Arc<Bell>>,
    control: Arc<Control>,
    loads: Vec<Arc<ListenerLoad>>,
    gates: Vec<Option<Arc<Gate>>>,
    /// By core.
    sockets: Vec<Vec<ListenSocket>>,
    addresses: Vec<SocketAddr>,
    /// Of the addresses.
    urls: Vec<String>,
    /// Entries of each ring's table of direct descriptors, and rings of each core.
    pub(super) slots: u32,
    pub(super) rings_max: usize,
    limits: Limits,
    home_key: HomeKey,
    journal: Option<JournalOptions>,
    spin_time: Duration,
    seed: u64,
}

impl Plan {
    pub(super) fn make(options: &ServeOptions) -> Result<Self, ServeError> {
        limits::check_kernel()?;
        let cpus = cpu::choose(&options.cores)?;
        let shard_count = u16::try_from(cpus.len()).unwrap_or(u16::MAX);
        let limits = options.limits.for_shard_count(shard_count);
        let descriptors = plan_descriptors(options, &limits, cpus.len())?;
        let opened = open_listeners(&options.listeners, cpus.len())?;
        let bells = make_bells(cpus.len())?;
        Ok(Self {
            clock: Clock::start(),
            control: Arc::new(Control::new(bells.clone(), options.shutdown_timeout)),
            loads: options
                .listeners
                .iter()
                .map(|listener| Arc::new(ListenerLoad::new(listener.max_connections)))
                .collect(),
            gates: options.listeners.iter().map(|it| it.tls.clone()).collect(),
            cpus,
            bells,
            sockets: opened.by_core,
            addresses: opened.addresses,
            urls: opened.urls,
            slots: descriptors.table,
            rings_max: descriptors.rings,
            limits,
            home_key: options.home_key,
            journal: options.journal.clone(),
            spin_time: options.spin_time,
            seed: random_seed()?,
        })
    }

    fn ready(&self) -> Ready {
        Ready {
            urls: self.urls.clone(),
            addresses: self.addresses.clone(),
            core_count: self.cpus.len(),
            pid: std::process::id(),
        }
    }

    /// Starts all threads and waits until each one serves. `None`: a stop was requested meanwhile.
    pub(super) fn start(
        self,
        signals: &mut Signals,
    ) -> Result<Option<(Ready, Running)>, ServeError> {
        let ready = self.ready();
        let start = self.clock.now();
        let clock = self.clock;
        let has_journal = self.journal.is_some();
        let (reports, reported) = signals.channel();
        let (openings, opened) = signals.channel();
        let mut running = Running::new(Arc::clone(&self.control));
        for seat in self.seats(signals, &reports, &openings)? {
            let (go, gate) = channel();
            let name = format!("core-{}", seat.index);
            let thread = Builder::new()
                .name(name)
                .spawn(move || seat.run(&gate))
                .map_err(|error| ServeError::System {
                    what: "a core's thread could not be started",
                    error,
                })?;
            running.add(thread, go);
        }
        drop((reports, openings));
        let Some(found) = running.await_reports(signals, &reported)? else {
            return Ok(None);
        };
        if has_journal {
            found.log(clock.now().saturating_since(start));
        }
        running.let_go();
        let opened = running.await_openings(signals, &opened)?;
        Ok(opened.then_some((ready, running)))
    }

    /// What each core's thread takes with it.
    fn seats(
        self,
        signals: &Signals,
        reports: &Teller<Result<Found, ServeError>>,
        openings: &Teller<()>,
    ) -> Result<Vec<Seat>, ServeError> {
        let links = link::mesh(&self.bells);
        let mut desks = self.journal_desks()?.into_iter();
        let shard_count = u16::try_from(self.cpus.len()).unwrap_or(u16::MAX);
        let parts = self.cpus.iter().zip(self.sockets).zip(links);
        let mut seats = Vec::new();
        for (index, ((cpu, sockets), links)) in parts.enumerate() {
            let id = ShardId(u16::try_from(index).unwrap_or(u16::MAX));
            seats.push(Seat {
                index,
                cpu: *cpu,
                clock: self.clock,
                links,
                control: Arc::clone(&self.control),
                net: NetSettings {
                    sockets,
                    loads: self.loads.clone(),
                    gates: self.gates.clone(),
                    slots: self.slots,
                    rings_max: self.rings_max,
                    send_queue_bytes_max: self.limits.send_queue_bytes_max,
                    spins: !self.spin_time.is_zero(),
                },
                spin_time: self.spin_time,
                shard: ShardSettings {
                    id,
                    shard_count,
                    limits: self.limits.clone(),
                    home_key: self.home_key,
                    seed: self.seed.wrapping_add(u64::from(id.0)),
                },
                journal: desks.next(),
                report: reports.clone(),
                opened: openings.clone(),
                end: signals.thread_end(),
            });
        }
        Ok(seats)
    }
}

impl Plan {
    /// Starts the thread that makes the journals' files; what each core's journal begins with, or
    /// nothing at all.
    fn journal_desks(&self) -> Result<Vec<JournalDesk>, ServeError> {
        let Some(options) = &self.journal else {
            return Ok(Vec::new());
        };
        let links = disk::start_keeper(options, &self.bells).map_err(ServeError::Journal)?;
        let desk = |keeper| JournalDesk {
            options: options.clone(),
            keeper,
        };
        Ok(links.into_iter().map(desk).collect())
    }
}

fn plan_descriptors(
    options: &ServeOptions,
    shard_limits: &Limits,
    cores: usize,
) -> Result<DescriptorPlan, ServeError> {
    let limit = limits::raise_descriptor_limit().map_err(|error| ServeError::System {
        what: "the limit of open files could not be read",
        error,
    })?;
    let wanted = options
        .listeners
        .iter()
        .filter(|listener| listener.max_connections != u32::MAX)
        .map(|listener| u64::from(listener.max_connections))
        .sum();
    let plan = limits::plan_descriptors(limit, cores, shard_limits.connections_max, wanted)?;
    debug!(
        limit,
        slots = plan.table,
        rings = plan.rings,
        connections = plan.connections,
        "descriptors"
    );
    Ok(plan)
}

/// All listeners, opened.
struct Opened {
    by_core: Vec<Vec<ListenSocket>>,
    addresses: Vec<SocketAddr>,
    urls: Vec<String>,
}

/// Opens all listeners; gives each core its sockets.
fn open_listeners(listeners: &[ListenerOptions], cores: usize) -> Result<Opened, ServeError> {
    let mut all = Opened {
        by_core: (0..cores).map(|_| Vec::new()).collect(),
        addresses: Vec::new(),
        urls: Vec::new(),
    };
    for (position, options) in (0u16..).zip(listeners) {
        let open = listen::open(&options.address, options.backlog, cores)?;
        let scheme = options.address.scheme.name();
        let urls = open.addresses.iter().map(|it| format!("{scheme}://{it}"));
        all.urls.extend(urls);
        all.addresses.extend(open.addresses);
        for (core, sockets) in all.by_core.iter_mut().zip(open.sockets) {
            core.extend(sockets.into_iter().map(|socket| ListenSocket {
                socket,
                listener: position,
            }));
        }
    }
    Ok(all)
}

fn make_bells(cores: usize) -> Result<Vec<Arc<Bell>>, ServeError> {
    (0..cores)
        .map(|_| Ok(Arc::new(Bell::new()?)))
        .collect::<io::Result<_>>()
        .map_err(|error| ServeError::System {
            what: "an event descriptor could not be made",
            error,
        })
}

/// How many cores a selection means on this machine.
///
/// # Errors
/// The process may not use as many CPUs, or not these.
pub fn core_count(selection: &CoreSelection) -> Result<u16, ServeError> {
    let cpus = cpu::choose(selection)?;
    Ok(u16::try_from(cpus.len()).unwrap_or(CoreSelection::COUNT_MAX))
}

/// A number that no two starts share.
///
/// # Errors
/// The kernel gives none.
pub fn random_seed() -> Result<u64, ServeError> {
    let mut bytes = [0u8; 8];
    // SAFETY: writes eight bytes to this stack frame.
    let read = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) };
    if usize::try_from(read) != Ok(bytes.len()) {
        return Err(ServeError::System {
            what: "the kernel gave no random number",
            error: io::Error::last_os_error(),
        });
    }
    Ok(u64::from_ne_bytes(bytes))
}

/// One core before it runs: everything its thread needs.
struct Seat {
    index: usize,
    cpu: usize,
    clock: Clock,
    links: Links,
    control: Arc<Control>,
    net: NetSettings,
    spin_time: Duration,
    shard: ShardSettings,
    journal: Option<JournalDesk>,
    report: Teller<Result<Found, ServeError>>,
    opened: Teller<()>,
    /// Tells the main thread when this one ends. Last, so that it is dropped last.
    end: ThreadEnd,
}

/// What a core's journal begins with.
struct JournalDesk {
    options: JournalOptions,
    keeper: KeeperLink,
}

/// What a core's thread leaves.
pub(super) type CoreOutcome = Option<io::Result<CoreSummary>>;

impl Seat {
    /// The whole life of a core's thread. `None`: it did not get to serve.
    fn run(self, gate: &Receiver<()>) -> CoreOutcome {
        signal::block_in_this_thread();
        let Self {
            index,
            cpu,
            clock,
            links,
            control,
            net,
            spin_time,
            shard,
            journal,
            report,
            opened,
            end,
        } = self;
        let id = shard.id;
        let prepared = prepare(cpu, net)
            .and_then(|(made, net)| Ok((made, net, recover(shard, journal, clock)?)));
        let (made, net, (shard, disk, recovered)) = match prepared {
            Ok(parts) => parts,
            Err(error) => {
                report.tell(Err(error));
                return None;
            }
        };
        links.bell().set_ring(net.ring_descriptor());
        links.bell().set_arrivals(net.arrivals());
        report.tell(Ok(recovered));
        // An error: another core could not start, and the main thread has given up.
        gate.recv().ok()?;
        let Made { executor, rings } = made;
        let outcome = executor.run(async move {
            // Made here: some of its parts belong to the running executor.
            Core::new(index, shard, net, links, disk, rings, clock, control)
                .telling(opened)
                .spinning(spin_time)
                .run()
                .await
        });
        drop(end);
        Some(outcome.map(|(net, counters)| CoreSummary {
            shard: id,
            cpu,
            net,
            counters,
        }))
    }
}

/// Makes what a core needs of the kernel.
fn prepare(cpu: usize, net: NetSettings) -> Result<(Made, Net), ServeError> {
    // The own ring first: its errors say more about what is wrong with io_uring.
    let net = executor::while_none_is_made(|| Net::new(net))?;
    let made = executor::make(cpu).map_err(|reason| ServeError::Executor { reason })?;
    Ok((made, net))
}

/// Makes the shard with what its journal holds, and the files that it goes on with.
fn recover(
    settings: ShardSettings,
    journal: Option<JournalDesk>,
    clock: Clock,
) -> Result<(Shard, Option<Disk>, Found), ServeError> {
    let id = settings.id;
    let mut shard = Shard::new(settings);
    let Some(JournalDesk { options, keeper }) = journal else {
        return Ok((shard, None, Found::default()));
    };
    let recovered = disk::recover(&options, id, &mut shard, clock).map_err(ServeError::Journal)?;
    let mut disk = Disk::new(id, keeper, &options).map_err(|error| ServeError::System {
        what: "pages for the journal's writes",
        error,
    })?;
    disk.await_keeper(&mut shard);
    Ok((shard, Some(disk), recovered))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_say_what_each_listener_speaks() {
        let urls = ["tls://127.0.0.1:0", "tcp://127.0.0.1:0"];
        let listeners = urls.map(|url| ListenerOptions {
            address: ListenAddress::parse(url).unwrap(),
            backlog: 8,
            max_connections: 1,
            tls: None,
        });
        let opened = open_listeners(&listeners, 1).unwrap();
        let ports: Vec<u16> = opened.addresses.iter().map(SocketAddr::port).collect();
        let [tls, tcp] = ports[..] else {
            panic!("{ports:?}");
        };
        let expected = ["tls", "tcp"].into_iter().zip([tls, tcp]);
        let expected = expected.map(|(scheme, port)| format!("{scheme}://127.0.0.1:{port}"));
        assert_eq!(opened.urls, expected.collect::<Vec<_>>());
    }
}
