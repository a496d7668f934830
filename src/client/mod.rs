//! The small client behind `ringway pub` and `ringway sub`: one blocking socket, TLS around it if
//! wanted, our own codec.
//!
//! Runs on the program's main thread, never in the broker. It reads the clock and waits, as a
//! program for one connection may.
#![forbid(unsafe_code)]
#![allow(
    clippy::disallowed_methods,
    reason = "a program of its own: it reads the clock, and standard input from a thread"
)]

pub mod connection;
pub mod error;
pub mod filter;
pub mod format;
pub mod message;
pub mod options;
pub mod payload;
pub mod publish;
mod report;
pub mod stop;
mod stream;
pub mod subscribe;
mod tls;
mod wire;

#[cfg(test)]
mod tests;
