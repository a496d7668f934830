//! Load generator and capacity planner for MQTT brokers, behind the program `ringway-bench`.
//!
//! It drives any broker over the network and does not import ours: what it says about Ringway it
//! can say about others by the same means.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "the rules for the broker's data path; the harness has clock, threads and locks"
)]
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "counts, times and rates of a measurement stay far below the limits of their types"
)]

pub mod broker;
pub mod certificate;
pub mod cli;
pub mod compare;
pub mod control;
pub mod engine;
pub mod environment;
pub mod floor;
pub mod knee;
pub mod load;
pub mod measure;
pub mod mqtt;
pub mod observe;
pub mod payload;
pub mod plan;
pub mod report;
pub mod result;
pub mod scenario;
pub mod schedule;
pub mod sequence;
pub mod target;
pub mod transport;
