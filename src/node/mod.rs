//! The files of the data directory that belong to the process as a whole: the lock and `node.toml`.
//!
//! Used once, before the cores start, by the program's main thread; may touch files, knows nothing
//! of MQTT. The shards' journals are not its business.
#![forbid(unsafe_code)]

pub mod data_dir;
pub mod error;
pub mod identity;

#[cfg(test)]
mod tests;
