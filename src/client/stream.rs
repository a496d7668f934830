//! The socket, with TLS around it where the user wants it.

use super::error::ClientError;
use super::options::TlsOptions;
use super::tls;
use rustls::{ClientConnection, StreamOwned};
use std::io::{ErrorKind, Read, Result, Write};
use std::net::{Shutdown, SocketAddr, TcpStream, ToSocketAddrs};
use std::time::Duration;

/// Time for a TCP connection, and for each answer of the TLS handshake.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A broker that takes nothing for this long is gone.
const WRITE_TIMEOUT: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(super) enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Stream {
    /// Tries the host's addresses in their order; the stream and what it is connected to, for
    /// people.
    pub(super) fn connect(
        host: &str,
        port: u16,
        tls: Option<&TlsOptions>,
    ) -> std::result::Result<(Self, String), ClientError> {
        let address = format!("{host}:{port}");
        // Before anything is sent: a file that cannot be used is no failure of the network.
        let session = tls.map(|options| tls::connection(options, host));
        let session = session.transpose().map_err(ClientError::TlsFile)?;
        let socket = connect(host, port)?;
        let Some(session) = session else {
            return Ok((Self::Plain(socket), address));
        };
        let mut stream = StreamOwned::new(session, socket);
        match stream.conn.complete_io(&mut stream.sock) {
            Ok(_) => Ok((Self::Tls(Box::new(stream)), address)),
            Err(source) => Err(ClientError::Tls { address, source }),
        }
    }

    const fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(socket) => socket,
            Self::Tls(stream) => &stream.sock,
        }
    }

    pub(super) fn set_read_timeout(&self, time: Duration) -> Result<()> {
        self.socket().set_read_timeout(Some(time))
    }

    /// Says that nothing more comes.
    pub(super) fn end(&mut self) -> Result<()> {
        if let Self::Tls(stream) = self {
            stream.conn.send_close_notify();
            stream.flush()?;
        }
        self.socket().shutdown(Shutdown::Write)
    }
}

impl Read for Stream {
    fn read(&mut self, bytes: &mut [u8]) -> Result<usize> {
        match self {
            Self::Plain(socket) => socket.read(bytes),
            // MQTT says itself where it ends.
            Self::Tls(stream) => match stream.read(bytes) {
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(0),
                read => read,
            },
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        match self {
            Self::Plain(socket) => socket.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> Result<()> {
        match self {
            Self::Plain(socket) => socket.flush(),
            Self::Tls(stream) => stream.flush(),
        }
    }
}

fn connect(host: &str, port: u16) -> std::result::Result<TcpStream, ClientError> {
    let refused = |source| ClientError::Resolve {
        host: host.to_owned(),
        source,
    };
    let addresses: Vec<SocketAddr> = (host, port).to_socket_addrs().map_err(refused)?.collect();
    let mut last = refused(std::io::Error::from(ErrorKind::NotFound));
    for socket_address in addresses {
        match connect_to(socket_address) {
            Ok(socket) => return Ok(socket),
            Err(source) => {
                let address = format!("{host}:{port}");
                last = ClientError::Connect { address, source };
            }
        }
    }
    Err(last)
}

fn connect_to(address: SocketAddr) -> Result<TcpStream> {
    let socket = TcpStream::connect_timeout(&address, CONNECT_TIMEOUT)?;
    socket.set_nodelay(true)?;
    socket.set_write_timeout(Some(WRITE_TIMEOUT))?;
    socket.set_read_timeout(Some(CONNECT_TIMEOUT))?;
    Ok(socket)
}
