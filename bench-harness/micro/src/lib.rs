//! What the broker's core costs, in instructions and allocations: decode, match, delivery,
//! acknowledgements, hops between shards, whole batches from bytes in to bytes out.
//!
//! Shards are driven in one thread without sockets and without a clock, and everything is seeded:
//! the same build gives the same counts. `benches/instructions.rs` runs each case under callgrind,
//! `tests/cases.rs` runs it with tiny input, `main.rs` compares with `recorded.txt`.
#![forbid(unsafe_code)]

mod batch;
pub mod broker;
pub mod case;
mod disk;
pub mod index;
mod journal;
mod packets;
pub mod record;
mod session;
pub mod stored;
pub mod subscriptions;
mod tls;
