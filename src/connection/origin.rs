//! Where a network connection comes from.

use std::net::SocketAddr;

/// Where a network connection comes from. Unix sockets have no address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ConnectionOrigin {
    pub peer: Option<SocketAddr>,
    /// Position of the listener in the configuration.
    pub listener: u16,
}
