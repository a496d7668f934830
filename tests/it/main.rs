//! The real process over loopback sockets: start and stop, bad input, fleets.
#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "tests of real processes wait, and may fail loudly"
)]

mod bad_input;
mod durability;
mod first_message;
mod fleet;
mod overflow;
mod raw;
mod start_stop;
mod stopped_start;
#[path = "../support/mod.rs"]
mod support;
