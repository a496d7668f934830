//! The durable log of one shard: bytes to be written, and bytes read back into state.
//!
//! Responsible for the format, for which record lands where, for batches and their order, for
//! which segments are still needed, and for recovery. Knows no files, no clock and no broker: a
//! record says what happened, not what to do. Lives at the shard that writes it; the runtime
//! carries [`JournalBatch`]es to the disk and segments back into [`Recovery`].
//!
//! - `layout`: segments and blocks, byte by byte. `record`: what a block
//!   contains, with `encode` and `decode`.
//! - `writer`: records -> blocks -> batches. `segments`: what is needed of which segment.
//! - `scan`: segments -> blocks. `state`: what a run of records amounts to.
//! - `recovery`: all segments of a shard -> state, or the place where it is broken. `recovered`:
//!   that state with its messages. `rehome`: divided anew for another number of shards.
//! - `spare`, `losses`, `rewrite`: a damaged journal, the messages that it lost, and the snapshot
//!   without them.
//!
//! # What recovery gives
//!
//! The state after some record that was written, with everything that was reported durable. A group
//! of records takes effect whole or not at all. If that state cannot be had, recovery refuses and
//! says where.
//!
//! # Snapshots
//!
//! A snapshot is written between the ordinary records, one session or retained message at a time:
//! a begin marker, then each object as it is at that moment, then an end marker. Recovery starts
//! with nothing at the begin marker of the last snapshot that has its end. Why that is right, for
//! any object: records about it before its own upsert find no such object and are ignored (or, for
//! an object made after the marker, are complete from its beginning and are replaced by the
//! upsert); the upsert is the object's exact state at its place in the log; records behind it are
//! applied in their order. An object that has no upsert ended before the snapshot came to it (its
//! end is ignored), or was made behind the snapshot's position (all of its records are there).
#![forbid(unsafe_code)]

mod batch;
mod decode;
mod encode;
mod error;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod layout;
mod losses;
mod place;
mod record;
mod recovered;
mod recovery;
mod rehome;
mod rewrite;
mod scan;
mod segments;
mod spare;
mod state;
#[cfg(test)]
mod tests;
mod writer;

pub use batch::{JournalBatch, Write};
pub use error::{Damage, JournalError};
pub use layout::{FORMAT_VERSION, PAGE_BYTES, SEGMENT_BYTES_MIN};
pub use losses::Losses;
pub use place::Place;
pub use record::{
    BodyView, ForwardTarget, Queued, Record, RecordKind, SubscriptionFields, WillFields,
};
pub use recovered::{QueueMemory, Recovered, RecoveredCounts};
pub use recovery::Recovery;
pub use rehome::OverdueMessage;
pub use scan::{Records, SegmentBlocks};
pub use segments::SegmentEvent;
pub use spare::{SparedBlocks, Survey};
pub use state::{
    ForwardState, InflightState, QueuedState, RetainedState, SessionState, State, WillState,
};
pub use writer::{Writer, WriterSettings};
