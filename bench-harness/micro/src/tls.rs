//! Records of TLS: small ones as packets come and go alone, and the largest there are.

use crate::case::Workload;
use ringway::config::settings::TlsSettings;
use ringway::runtime::tls::{Buffers, Gate, TlsStream};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;

/// Plain bytes of one run at most: what waits for a socket at a time.
const RUN_BYTES: usize = 60_000;
/// Records of one run at most.
const RECORDS_MAX: usize = 64;
/// A PUBLISH with 64 bytes of payload.
pub(crate) const SMALL_BYTES: usize = 88;
/// What the broker receives at a time at most, in one record.
pub(crate) const LARGE_BYTES: usize = 4000;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// Received records are opened.
    Open,
    /// Records to send are made.
    Seal,
}

/// An established connection and its client, of TLS 1.3 with AES-256-GCM.
pub(crate) struct Records {
    way: Way,
    plain: Vec<u8>,
    /// Records of one run.
    count: usize,
    client: ClientConnection,
    stream: TlsStream,
    buffers: Buffers,
    /// Sealed by the client, one record each.
    records: Vec<Vec<u8>>,
    opened: Vec<u8>,
}

impl Records {
    pub(crate) fn new(way: Way, bytes: usize) -> Self {
        let dir = std::env::temp_dir().join(format!("ringway-micro-{}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("a temporary directory");
        let (client, stream) = connection(&dir);
        // Another case may use the directory now.
        let _ = std::fs::remove_dir_all(&dir);
        let mut records = Self {
            way,
            plain: vec![7; bytes],
            count: RECORDS_MAX.min(RUN_BYTES / bytes),
            client,
            stream,
            buffers: Buffers::default(),
            records: Vec::new(),
            opened: Vec::new(),
        };
        records.shake_hands();
        records
    }

    fn shake_hands(&mut self) {
        while self.stream.is_handshaking() || self.client.is_handshaking() {
            if let Some(bytes) = self.client_bytes() {
                self.stream
                    .hold(&bytes, &mut self.buffers)
                    .expect("a handshake");
                self.stream
                    .step(&mut self.opened, &mut self.buffers)
                    .expect("a handshake");
            }
            self.feed_client();
        }
    }

    fn client_bytes(&mut self) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        while self.client.wants_write() {
            self.client
                .write_tls(&mut bytes)
                .expect("written to memory");
        }
        (!bytes.is_empty()).then_some(bytes)
    }

    fn feed_client(&mut self) {
        let mut left = self.stream.unsent();
        while !left.is_empty() {
            self.client.read_tls(&mut left).expect("read from memory");
            self.client.process_new_packets().expect("records");
            let mut opened = Vec::new();
            let read = self.client.reader().read_to_end(&mut opened);
            // The connection is open: at the end of what is there it would block.
            assert!(read.is_err());
            self.opened.extend_from_slice(&opened);
        }
        let count = self.stream.unsent().len();
        self.stream.advance(count, &mut self.buffers);
    }
}

fn connection(dir: &Path) -> (ClientConnection, TlsStream) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a key");
    let (cert, key) = (dir.join("cert.pem"), dir.join("key.pem"));
    std::fs::write(&cert, made.cert.pem()).expect("a file");
    std::fs::write(&key, made.signing_key.serialize_pem()).expect("a file");
    let gate = Gate::open(&TlsSettings::new(cert, key)).expect("files that were just made");
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from(made.cert.der().to_vec()))
        .expect("a certificate");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("a version of the provider")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").expect("a name");
    let client = ClientConnection::new(Arc::new(config), name).expect("a configuration");
    let stream = TlsStream::new(gate.config()).expect("a configuration");
    (client, stream)
}

impl Workload for Records {
    fn arrange(&mut self) {
        self.feed_client();
        self.opened.clear();
        match self.way {
            Way::Seal => {}
            Way::Open => {
                self.records.clear();
                for _ in 0..self.count {
                    let written = self.client.writer().write_all(&self.plain);
                    written.expect("room for one record");
                    let record = self.client_bytes();
                    self.records.extend(record);
                }
            }
        }
    }

    fn run(&mut self) {
        match self.way {
            Way::Open => {
                for record in &mut self.records {
                    let opened = self
                        .stream
                        .open(record, &mut self.opened, &mut self.buffers);
                    opened.expect("a whole record");
                }
            }
            Way::Seal => {
                for _ in 0..self.count {
                    let sealed = self.stream.seal(&self.plain, &mut self.buffers);
                    assert_eq!(sealed.ok(), Some(self.plain.len()));
                }
            }
        }
    }

    fn units(&self) -> u32 {
        u32::try_from(self.count).expect("few")
    }

    fn verify(&mut self) {
        self.feed_client();
        assert_eq!(self.opened.len(), self.plain.len() * self.count);
        assert!(self.opened.iter().all(|byte| *byte == 7));
        self.opened.clear();
    }
}
