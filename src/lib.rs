//! Ringway: a single-node MQTT broker on io_uring, one thread and one shard per core.
//!
//! `src/ARCHITECTURE.md` is the map.

pub mod auth;
pub mod base;
pub mod cli;
pub mod client;
pub mod codec;
pub mod config;
pub mod connection;
pub mod journal;
pub mod metrics;
pub mod node;
pub mod runtime;
pub mod session;
pub mod shard;
pub mod topic;
