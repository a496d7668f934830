//! `ringway-bench floor`: a bare relay, the yardstick for CPU per delivered message.
//!
//! It reads and writes sockets in the cheapest way that we know and does nothing else. The
//! receivers of a connection's messages are looked up once and kept while its topic stays the
//! same, frames are passed on as they came (packet identifiers too), a batch is one write per
//! receiver, straight from the receive buffer where possible. There are no sessions, no retained
//! messages, no re-delivery, no QoS downgrade, no checks beyond what finds the ends of frames;
//! answers are counted right, so that the same generator can drive it.
//!
//! It uses io_uring: measured with the relay prototypes of this project, one message at a time
//! costs the same as with epoll, but batches of sends leave with one system call, receives need
//! none, and the kernel's file lookup falls away (direct descriptors). In fan-out it was 17 %
//! cheaper than epoll, at low rates up to a sixth.

mod pages;
mod relay;
mod ring;
mod table;

use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};

/// A relay that listens but does not serve yet.
pub struct Floor {
    listener: TcpListener,
}

impl Floor {
    pub fn bind(address: impl ToSocketAddrs) -> io::Result<Self> {
        let address = address
            .to_socket_addrs()?
            .next()
            .ok_or_else(|| io::Error::other("no such address"))?;
        let domain = socket2::Domain::for_address(address);
        let socket = socket2::Socket::new(domain, socket2::Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        // Accepted sockets inherit it.
        socket.set_tcp_nodelay(true)?;
        socket.bind(&address.into())?;
        socket.listen(4_096)?;
        Ok(Self {
            listener: socket.into(),
        })
    }

    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves on the calling thread; returns on an error of the ring only.
    pub fn serve(self) -> io::Result<()> {
        ring::Server::new(self.listener)?.serve()
    }
}
