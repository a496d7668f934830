//! A TLS client that shows what it does: how its bytes are cut, and how the connection ended.

use crate::certificates::Authority;
use crate::healthy::Healthy;
use crate::raw::{Raw, dial, packet, string};
use crate::support::Broker;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{
    AlertDescription, ClientConfig, ClientConnection, Error, RootCertStore,
    SupportedProtocolVersion,
};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

pub(crate) static VERSIONS: [&SupportedProtocolVersion; 2] = [&TLS12, &TLS13];

/// How a connection has ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum End {
    /// The broker said that nothing more comes.
    Notified,
    /// The socket ended without such a word.
    Cut,
    Alert(AlertDescription),
}

/// A client's end of TLS, over a blocking socket.
pub(crate) struct Tls {
    pub(crate) connection: ClientConnection,
    pub(crate) socket: TcpStream,
    /// At most so many bytes go into one write.
    pub(crate) piece_bytes: usize,
    pub(crate) end: Option<End>,
}

/// What clients of one kind begin with: whom they believe, and who they are.
pub(crate) fn config(
    authority: &Authority,
    version: &'static SupportedProtocolVersion,
    identity: Option<(&Authority, &str)>,
) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    let ca = CertificateDer::from_pem_file(authority.path("ca.pem")).unwrap();
    roots.add(ca).unwrap();
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots);
    let config = match identity {
        None => builder.with_no_client_auth(),
        Some((signer, name)) => {
            let chain = CertificateDer::from_pem_file(signer.path(&format!("{name}.pem")));
            let key = PrivateKeyDer::from_pem_file(signer.path(&format!("{name}.key")));
            builder
                .with_client_auth_cert(vec![chain.unwrap()], key.unwrap())
                .unwrap()
        }
    };
    Arc::new(config)
}

impl Tls {
    /// Connected by TCP; nothing is said.
    pub(crate) fn dial(address: SocketAddr, config: &Arc<ClientConfig>) -> Self {
        let name = ServerName::try_from("localhost").unwrap();
        let mut connection = ClientConnection::new(Arc::clone(config), name).unwrap();
        connection.set_buffer_limit(None);
        Self {
            connection,
            socket: dial(address),
            piece_bytes: usize::MAX,
            end: None,
        }
    }

    /// Records for the broker that wait, as bytes.
    pub(crate) fn records(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        while self.connection.wants_write() {
            self.connection.write_tls(&mut bytes).unwrap();
        }
        bytes
    }

    /// One record (more if it is long) that holds `plain`.
    pub(crate) fn seal(&mut self, plain: &[u8]) -> Vec<u8> {
        self.connection.writer().write_all(plain).unwrap();
        self.records()
    }

    /// Says that nothing more comes.
    pub(crate) fn notify(&mut self) {
        self.connection.send_close_notify();
        self.flush().unwrap();
    }

    /// Up to its end, good or bad.
    pub(crate) fn handshake(&mut self) {
        self.flush().unwrap();
        while self.connection.is_handshaking() && self.end.is_none() {
            self.take_some();
        }
    }

    /// Waits for bytes of the broker and does what they ask for.
    fn take_some(&mut self) {
        match self.connection.read_tls(&mut self.socket) {
            Ok(0) => self.end = self.end.or(Some(End::Cut)),
            Ok(_) => match self.connection.process_new_packets() {
                Ok(_) => drop(self.flush()),
                Err(Error::AlertReceived(alert)) => self.end = Some(End::Alert(alert)),
                Err(error) => panic!("the broker broke TLS: {error}"),
            },
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {
                self.end = self.end.or(Some(End::Cut));
            }
            Err(error) => panic!("nothing in time: {error}"),
        }
    }
}

impl Read for Tls {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        loop {
            match self.connection.reader().read(buffer) {
                Ok(0) => {
                    self.end = Some(End::Notified);
                    return Ok(0);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                other if self.end.is_none() => return other,
                _ => {}
            }
            if self.end.is_some() {
                return Ok(0);
            }
            self.take_some();
        }
    }
}

impl Write for Tls {
    /// Before the handshake is over what is written goes with its last flight.
    fn write(&mut self, plain: &[u8]) -> std::io::Result<usize> {
        self.connection.writer().write_all(plain)?;
        self.flush()?;
        Ok(plain.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        let bytes = self.records();
        let mut pieces = bytes.chunks(self.piece_bytes);
        pieces.try_for_each(|piece| self.socket.write_all(piece))
    }
}

impl Raw<Tls> {
    /// Connected by TCP; the handshake begins with the first bytes.
    pub(crate) fn secure(broker: &Broker, config: &Arc<ClientConfig>) -> Self {
        Self {
            stream: Tls::dial(broker.address, config),
        }
    }

    /// Connected as a 5.0 client.
    pub(crate) fn secure_connected(
        broker: &Broker,
        config: &Arc<ClientConfig>,
        client_id: &str,
    ) -> Self {
        let mut raw = Self::secure(broker, config);
        raw.connect(client_id);
        raw
    }

    /// What comes to the end of the connection, and how it ends.
    pub(crate) fn until_end(&mut self) -> (Vec<Vec<u8>>, End) {
        let packets = self.until_closed();
        (packets, self.stream.end.expect("it has ended"))
    }
}

/// A broker on two cores with one TLS listener.
pub(crate) fn start(authority: &Authority, more: &[&str]) -> Broker {
    let listener = authority.listener("");
    let arguments = [&["--listen", &listener][..], more].concat();
    Broker::start_with(2, &arguments)
}

/// A client beside bad ones.
pub(crate) fn healthy(broker: &Broker, authority: &Authority) -> Healthy<Tls> {
    let config = config(authority, VERSIONS[1], None);
    Healthy::over(Raw::secure(broker, &config))
}

/// CONNECT of 5.0 with a will of QoS 1 that the healthy client gets.
pub(crate) fn connect_with_will(client_id: &str) -> Vec<u8> {
    let mut bytes = vec![0, 4, b'M', b'Q', b'T', b'T', 5, 0x0e, 0, 0, 0];
    bytes.extend(string(client_id));
    bytes.push(0);
    bytes.extend(string("healthy/will"));
    bytes.extend(string(&format!("will of {client_id}")));
    packet(0x10, &bytes)
}

/// The healthy client gets the will of [`connect_with_will`].
pub(crate) fn assert_will(healthy: &mut Healthy<Tls>, client_id: &str) {
    let will = healthy.message();
    let wanted = format!("will of {client_id}");
    assert!(will.ends_with(wanted.as_bytes()), "{will:02x?}");
}
