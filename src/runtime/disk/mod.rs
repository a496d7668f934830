//! The files of the journal: segments made ahead, writes and reads through the core's ring,
//! start-up.
//!
//! The journal itself (what a record is, when it is durable, what a crash leaves) is `journal` and
//! the shard; this module moves its bytes. Each core owns its own files; the [`keeper`] thread
//! makes them.

mod backup;
mod blocking;
mod error;
mod keeper;
mod mend;
mod offline;
mod reader;
mod recover;
mod rehome;
mod segment;
mod space;
#[cfg(test)]
mod tests;
mod writer;

pub use crate::journal::{JournalError, Losses};
pub use backup::{BackupSummary, backup};
pub use error::DiskError;
pub(crate) use keeper::KeeperLink;
pub use mend::{Mending, Remedy, remedy};
pub use offline::{Cut, RecordCounts, ShardContents, StoredCounts, inspect, repair};
pub(crate) use recover::{Found, recover};
pub use rehome::{RehomeOptions, carry_out_rehoming, end_rehoming, pending_rehoming, rehome};
pub(crate) use writer::Disk;

use super::bell::Bell;
use crate::config::settings::DurabilitySettings;
use keeper::{Keeper, KeeperSettings};
use space::SpaceLimits;
use std::path::PathBuf;
use std::sync::Arc;

use std::fmt::Display;
use std::io::Write;

/// Where the journals are, and how their files are made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct JournalOptions {
    pub data_dir: PathBuf,
    pub segment_bytes: u32,
    pub settings: DurabilitySettings,
}

/// Starts the thread that makes segments; one link for each core.
pub(crate) fn start_keeper(
    options: &JournalOptions,
    bells: &[Arc<Bell>],
) -> Result<Vec<KeeperLink>, DiskError> {
    let settings = KeeperSettings {
        data_dir: options.data_dir.clone(),
        segment_bytes: u64::from(options.segment_bytes),
        space: SpaceLimits {
            disk_bytes_max: options.settings.disk_bytes_max,
            free_bytes_min: options.settings.free_bytes_min,
        },
    };
    // The thread ends when the cores' links are gone; nobody waits for it.
    Keeper::start(settings, bells)
        .map(|(_thread, links)| links)
        .map_err(|error| DiskError::system("use data directory", &options.data_dir, error))
}

/// Ends the process because the disk failed: nothing is acknowledged any more, and nothing that
/// failed is tried again. The next start recovers what was durable.
fn fail(what: &str, error: &dyn Display) -> ! {
    tracing::error!(%error, "the journal's disk failed: {what}; the broker stops at once");
    // The log is written by another thread, which ends with the process.
    let line = format!("ringway: the journal's disk failed: {what}: {error}; stopping at once\n");
    let _ = std::io::stderr().write_all(line.as_bytes());
    std::process::abort();
}
