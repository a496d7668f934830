//! Ringway: a single-node MQTT broker on io_uring, one thread and one shard per core.
//!
//! `src/ARCHITECTURE.md` is the map.

pub mod base;
pub mod config;
pub mod connection;
pub mod runtime;
pub mod shard;
