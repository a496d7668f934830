//! TLS 1.2 and 1.3 on the broker's side, as bytes in and bytes out (rustls, unbuffered).
//!
//! [`Gate`] is what a listener's connections begin with: its files, read at the start and again at
//! SIGHUP. [`TlsStream`] is the record layer of one connection: it makes plain bytes of received
//! ones and records of bytes to send. Knows no socket, no ring and no MQTT; `net/secure.rs` stands
//! between it and the sockets. Everything here may be called with whatever a client sends.

mod buffers;
mod gate;
#[cfg(test)]
mod mutated;
mod stream;
#[cfg(test)]
mod tests;

pub use buffers::Buffers;
pub use gate::{Gate, TlsFileError};
pub use stream::{Received, TlsFault, TlsStream};
