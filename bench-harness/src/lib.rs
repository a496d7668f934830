//! Load generator and capacity planner for MQTT brokers, behind the program `ringway-bench`.
//!
//! It drives any broker over the network and does not import ours: what it says about Ringway it
//! can say about others by the same means.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "the rules for the broker's data path; the harness has clock, threads and locks"
)]

pub mod result;
