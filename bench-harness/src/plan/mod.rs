//! Capacity planning: short runs measure a host, a model is fitted to them, and questions about
//! other loads are answered with an interval and with what was extrapolated.
//!
//! `data` is the file that measurements are kept in. `cost` is the CPU time of a message, `scaling`
//! what more cores bring, `network` arithmetic; `model` puts them together and `answer` asks them.
//! All of these are pure.

pub mod answer;
pub mod cost;
pub mod data;
pub mod linear;
pub mod model;
pub mod network;
pub mod scaling;
#[cfg(test)]
mod synthetic;
#[cfg(test)]
mod tests;
pub mod text;
