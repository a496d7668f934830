//! The real process over loopback sockets: start and stop, bad input, fleets.

mod bad_input;
mod fleet;
mod raw;
mod start_stop;
#[path = "../support/mod.rs"]
mod support;
