//! Opening listeners: from a host and a port to one listening socket per core and address.
//!
//! Every core has its own socket on the same address (SO_REUSEPORT) and the kernel spreads the
//! connections. All are opened here, by the main thread, before any core starts: a start either
//! has all its addresses or none.

use super::error::ServeError;
use crate::config::address::ListenAddress;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

#[allow(clippy::cast_possible_truncation, reason = "small constants")]
const FAMILY_V4: libc::sa_family_t = libc::AF_INET as libc::sa_family_t;
#[allow(clippy::cast_possible_truncation, reason = "small constants")]
const FAMILY_V6: libc::sa_family_t = libc::AF_INET6 as libc::sa_family_t;

/// One configured listener, opened.
#[derive(Debug)]
pub(super) struct OpenListener {
    /// With real ports.
    pub(super) addresses: Vec<SocketAddr>,
    /// The sockets of each core.
    pub(super) sockets: Vec<Vec<OwnedFd>>,
}

/// Opens one listener for all cores.
pub(super) fn open(
    address: &ListenAddress,
    backlog: u32,
    cores: usize,
) -> Result<OpenListener, ServeError> {
    let resolved = resolve(address)?;
    let mut open = OpenListener {
        addresses: Vec::new(),
        sockets: (0..cores).map(|_| Vec::new()).collect(),
    };
    for address in &resolved {
        // The addresses of one name share a port where that is possible, as clients expect.
        let shared = open.addresses.first().map_or(0, SocketAddr::port);
        let mut wanted = *address;
        if wanted.port() == 0 {
            wanted.set_port(shared);
        }
        let only_v6 = resolved.iter().any(SocketAddr::is_ipv4);
        let opened = open_address(wanted, only_v6, backlog, cores)
            .or_else(|_| open_address(*address, only_v6, backlog, cores))?;
        open.addresses.push(opened.0);
        for (core, socket) in open.sockets.iter_mut().zip(opened.1) {
            core.push(socket);
        }
    }
    Ok(open)
}

fn resolve(address: &ListenAddress) -> Result<Vec<SocketAddr>, ServeError> {
    let unknown = |error| ServeError::HostUnknown {
        host: address.host.clone(),
        error,
    };
    let found = (address.host.as_str(), address.port)
        .to_socket_addrs()
        .map_err(unknown)?;
    let mut addresses: Vec<SocketAddr> = Vec::new();
    for address in found {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    // IPv4 first: its port is the one that people look for in the ready line.
    addresses.sort_by_key(SocketAddr::is_ipv6);
    if addresses.is_empty() {
        return Err(unknown(io::Error::from(io::ErrorKind::NotFound)));
    }
    Ok(addresses)
}

/// One listening socket per core, and the address with its real port.
fn open_address(
    address: SocketAddr,
    only_v6: bool,
    backlog: u32,
    cores: usize,
) -> Result<(SocketAddr, Vec<OwnedFd>), ServeError> {
    let failed = |error| ServeError::from_listener(address, error);
    // The first socket is bound without SO_REUSEPORT: another broker of the same user that
    // listens here already would otherwise not be noticed, but share the connections with us.
    let first = bind(address, only_v6, false).map_err(failed)?;
    let real = local_address(&first).map_err(failed)?;
    set_option(&first, libc::SOL_SOCKET, libc::SO_REUSEPORT, 1).map_err(failed)?;
    let mut sockets = vec![first];
    for _ in 1..cores {
        sockets.push(bind(real, only_v6, true).map_err(failed)?);
    }
    for socket in &sockets {
        listen(socket, backlog).map_err(failed)?;
    }
    Ok((real, sockets))
}

/// A bound socket with the options that accepted connections inherit.
fn bind(address: SocketAddr, only_v6: bool, reuse_port: bool) -> io::Result<OwnedFd> {
    let family = match address {
        SocketAddr::V4(_) => libc::AF_INET,
        SocketAddr::V6(_) => libc::AF_INET6,
    };
    let kind = libc::SOCK_STREAM | libc::SOCK_CLOEXEC;
    // SAFETY: takes no pointers.
    let descriptor = unsafe { libc::socket(family, kind, 0) };
    if descriptor < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor was just opened and has no other owner.
    let socket = unsafe { OwnedFd::from_raw_fd(descriptor) };
    set_option(&socket, libc::SOL_SOCKET, libc::SO_REUSEADDR, 1)?;
    if reuse_port {
        set_option(&socket, libc::SOL_SOCKET, libc::SO_REUSEPORT, 1)?;
    }
    // A packet is sent when it is complete; waiting for more would only delay it.
    set_option(&socket, libc::IPPROTO_TCP, libc::TCP_NODELAY, 1)?;
    if only_v6 && address.is_ipv6() {
        set_option(&socket, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, 1)?;
    }
    let (storage, length) = encode_address(address);
    // SAFETY: the storage holds an address of `length` bytes for the time of the call.
    let result = unsafe { libc::bind(socket.as_raw_fd(), (&raw const storage).cast(), length) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(socket)
}

fn set_option(socket: &OwnedFd, level: i32, name: i32, value: i32) -> io::Result<()> {
    let length = size_of_as_socklen::<i32>();
    // SAFETY: reads one i32 from this stack frame.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            (&raw const value).cast(),
            length,
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

fn listen(socket: &OwnedFd, backlog: u32) -> io::Result<()> {
    let backlog = i32::try_from(backlog).unwrap_or(i32::MAX);
    // SAFETY: takes no pointers.
    if unsafe { libc::listen(socket.as_raw_fd(), backlog) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

fn local_address(socket: &OwnedFd) -> io::Result<SocketAddr> {
    let mut storage = AddressStorage::empty();
    let address = (&raw mut storage.address).cast();
    // SAFETY: writes at most `length` bytes to the storage on this stack frame.
    let result = unsafe { libc::getsockname(socket.as_raw_fd(), address, &raw mut storage.length) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    storage
        .decode()
        .ok_or_else(|| io::Error::from(io::ErrorKind::Unsupported))
}

#[allow(
    clippy::cast_possible_truncation,
    reason = "at most the size of an address"
)]
const fn size_of_as_socklen<T>() -> libc::socklen_t {
    size_of::<T>() as libc::socklen_t
}

fn encode_address(address: SocketAddr) -> (libc::sockaddr_storage, libc::socklen_t) {
    // SAFETY: all zeros is a valid sockaddr_storage.
    let mut storage: libc::sockaddr_storage = unsafe { std::mem::zeroed() };
    let length = match address {
        SocketAddr::V4(v4) => {
            let encoded = libc::sockaddr_in {
                sin_family: FAMILY_V4,
                sin_port: v4.port().to_be(),
                sin_addr: libc::in_addr {
                    s_addr: u32::from(*v4.ip()).to_be(),
                },
                sin_zero: [0; 8],
            };
            // SAFETY: the storage is large enough and aligned for every kind of address.
            unsafe {
                (&raw mut storage)
                    .cast::<libc::sockaddr_in>()
                    .write(encoded)
            };
            size_of_as_socklen::<libc::sockaddr_in>()
        }
        SocketAddr::V6(v6) => {
            let encoded = libc::sockaddr_in6 {
                sin6_family: FAMILY_V6,
                sin6_port: v6.port().to_be(),
                sin6_flowinfo: v6.flowinfo(),
                sin6_addr: libc::in6_addr {
                    s6_addr: v6.ip().octets(),
                },
                sin6_scope_id: v6.scope_id(),
            };
            // SAFETY: the storage is large enough and aligned for every kind of address.
            unsafe {
                (&raw mut storage)
                    .cast::<libc::sockaddr_in6>()
                    .write(encoded)
            };
            size_of_as_socklen::<libc::sockaddr_in6>()
        }
    };
    (storage, length)
}

/// Where the kernel writes a socket's address.
#[derive(Clone, Copy)]
#[repr(C)]
pub(super) struct AddressStorage {
    pub(super) address: libc::sockaddr_storage,
    pub(super) length: libc::socklen_t,
}

impl AddressStorage {
    pub(super) fn empty() -> Self {
        Self {
            // SAFETY: all zeros is a valid sockaddr_storage.
            address: unsafe { std::mem::zeroed() },
            length: size_of_as_socklen::<libc::sockaddr_storage>(),
        }
    }

    /// `None`: neither IPv4 nor IPv6. An IPv4 client of an IPv6 socket is shown as IPv4.
    pub(super) fn decode(&self) -> Option<SocketAddr> {
        let storage = &raw const self.address;
        match i32::from(self.address.ss_family) {
            libc::AF_INET => {
                // SAFETY: the family says which kind of address the storage holds.
                let v4 = unsafe { storage.cast::<libc::sockaddr_in>().read() };
                let ip = IpAddr::from(u32::from_be(v4.sin_addr.s_addr).to_be_bytes());
                Some(SocketAddr::new(ip, u16::from_be(v4.sin_port)))
            }
            libc::AF_INET6 => {
                // SAFETY: the family says which kind of address the storage holds.
                let v6 = unsafe { storage.cast::<libc::sockaddr_in6>().read() };
                let ip = IpAddr::from(v6.sin6_addr.s6_addr).to_canonical();
                Some(SocketAddr::new(ip, u16::from_be(v6.sin6_port)))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::address::Scheme;
    use std::net::TcpStream;

    fn loopback(port: u16) -> ListenAddress {
        ListenAddress {
            scheme: Scheme::Tcp,
            host: "127.0.0.1".to_owned(),
            port,
        }
    }

    #[test]
    fn addresses_survive_the_kernels_form() {
        for text in [
            "127.0.0.1:1883",
            "10.1.2.3:65535",
            "[::1]:1",
            "[fe80::1]:1883",
        ] {
            let address: SocketAddr = text.parse().unwrap();
            let (storage, length) = encode_address(address);
            let storage = AddressStorage {
                address: storage,
                length,
            };
            assert_eq!(storage.decode(), Some(address));
        }
        let mapped: SocketAddr = "[::ffff:10.1.2.3]:7".parse().unwrap();
        let (storage, length) = encode_address(mapped);
        let storage = AddressStorage {
            address: storage,
            length,
        };
        assert_eq!(storage.decode(), Some("10.1.2.3:7".parse().unwrap()));
    }

    #[test]
    fn free_port_is_shared_by_all_cores() {
        let open = open(&loopback(0), 8, 3).unwrap();
        assert_eq!(open.sockets.len(), 3);
        assert_eq!(open.addresses.len(), 1);
        let address = open.addresses[0];
        assert_ne!(address.port(), 0);
        for sockets in &open.sockets {
            assert_eq!(local_address(&sockets[0]).unwrap(), address);
        }
        TcpStream::connect(address).unwrap();
    }

    #[test]
    fn port_in_use_is_noticed_even_when_shareable() {
        let open_already = open(&loopback(0), 8, 2).unwrap();
        let port = open_already.addresses[0].port();
        let error = open(&loopback(port), 8, 2).unwrap_err();
        assert!(matches!(error, ServeError::AddressInUse { .. }), "{error}");
    }

    #[test]
    fn port_is_free_again_after_close() {
        let first = open(&loopback(0), 8, 2).unwrap();
        let port = first.addresses[0].port();
        let client = TcpStream::connect(first.addresses[0]).unwrap();
        drop(first);
        drop(client);
        open(&loopback(port), 8, 2).unwrap();
    }

    #[test]
    fn name_with_two_families_gets_one_port() {
        let address = ListenAddress {
            scheme: Scheme::Tcp,
            host: "localhost".to_owned(),
            port: 0,
        };
        let open = open(&address, 8, 2).unwrap();
        assert!(
            open.addresses
                .iter()
                .all(|a| a.port() == open.addresses[0].port())
        );
        assert_eq!(open.sockets[1].len(), open.addresses.len());
    }

    #[test]
    fn foreign_address_is_told() {
        let remote = ListenAddress {
            scheme: Scheme::Tcp,
            host: "192.0.2.1".to_owned(),
            port: 0,
        };
        let error = open(&remote, 8, 1).unwrap_err();
        assert!(
            matches!(error, ServeError::AddressNotLocal { .. }),
            "{error}"
        );
    }
}
