//! The shell around the shards: threads, io_uring, sockets, clock, signals.
//!
//! The only module that knows the kernel and glommio. It moves bytes and tells time; it knows no
//! MQTT. One thread per core runs [`core`]'s turn over one shard; the main thread starts and stops
//! them ([`serve`]). Cores share nothing but their [`link`]s and [`bell`]s.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "the clock, threads and start-up locks live here and nowhere else"
)]

mod allocator;
mod bell;
mod clock;
mod core;
mod counters;
mod cpu;
mod disk;
mod error;
mod executor;
mod limits;
mod link;
mod listen;
mod log;
mod net;
mod process_memory;
mod running;
mod serve;
mod signal;
#[cfg(test)]
mod tests;
pub mod tls;

pub use counters::NetCounters;
pub use disk::{
    BackupSummary, Cut, DiskError, JournalError, JournalOptions, Losses, Mending, RecordCounts,
    RehomeOptions, Remedy, ShardContents, StoredCounts, backup, carry_out_rehoming, end_rehoming,
    inspect, pending_rehoming, rehome, remedy, repair,
};
pub use error::ServeError;
pub use executor::Tasks;
pub use serve::{
    CoreSummary, ListenerOptions, Ready, ServeOptions, ServeSummary, core_count, random_seed, serve,
};
pub use signal::Signals;
