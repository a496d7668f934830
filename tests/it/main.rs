//! The real process over loopback sockets: start and stop, bad input, fleets, TLS.
#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "tests of real processes wait, and may fail loudly"
)]

mod bad_input;
#[path = "../support/certificates.rs"]
mod certificates;
mod client_tls;
mod durability;
mod first_message;
mod fleet;
mod healthy;
mod overflow;
mod raw;
mod start_stop;
mod stopped_start;
#[path = "../support/mod.rs"]
mod support;
mod tls;
mod tls_bad;
mod tls_ends;
mod tls_files;
mod tls_stream;
