//! Capacity planning: short runs measure a host, a model is fitted to them, and questions about
//! other loads are answered with an interval and with what was extrapolated.
//!
//! `data` is the file that measurements are kept in. `cost` is the CPU time of a message, `scaling`
//! what more cores bring, `network` arithmetic; `model` puts them together and `answer` asks them.
//! These are pure. `measure` fills a file by starting brokers and driving them, `check` compares
//! predictions with runs that were not used for them.

pub mod answer;
mod broker;
pub mod check;
pub mod cost;
pub mod data;
mod disk;
mod fleet;
pub mod linear;
pub mod measure;
pub mod model;
pub mod network;
mod probe;
pub mod scaling;
#[cfg(test)]
mod synthetic;
#[cfg(test)]
mod tests;
pub mod text;

pub use broker::default_program;
