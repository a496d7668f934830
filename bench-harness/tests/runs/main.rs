//! Whole runs against a broker of the test's own, which can lose, double and swap messages.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used,
    reason = "tests with real sockets wait, and may fail loudly"
)]

mod compare;
mod fake;
mod guarantees;
mod processes;
mod relay;
mod transports;
