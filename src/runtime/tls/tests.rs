//! Streams against rustls as a client, without a socket; files that are and are not what they
//! should be.

use super::*;
use crate::config::settings::{TlsSettings, TlsVersion};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use std::io::{Read, Write};
use std::path::PathBuf;
use std::sync::Arc;

/// A directory with an authority, a server's certificate and a client's.
pub(super) struct Files {
    dir: PathBuf,
    ca: CertifiedIssuer<'static, KeyPair>,
}

impl Files {
    pub(super) fn make(test: &str) -> Self {
        let name = format!("ringway-tls-{test}-{}", std::process::id());
        let dir = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&dir).unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let ca = CertifiedIssuer::self_signed(params, key).unwrap();
        let files = Self { dir, ca };
        std::fs::write(files.path("ca.pem"), files.ca.pem()).unwrap();
        files.certify("server");
        files.certify("client");
        files
    }

    fn certify(&self, name: &str) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.ca).unwrap();
        std::fs::write(self.path(&format!("{name}.pem")), certificate.pem()).unwrap();
        std::fs::write(self.path(&format!("{name}.key")), key.serialize_pem()).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    pub(super) fn settings(&self) -> TlsSettings {
        TlsSettings {
            cert: self.path("server.pem"),
            key: self.path("server.key"),
            client_ca: None,
            crl: None,
            require_client_cert: false,
            min_version: TlsVersion::V1_2,
        }
    }

    pub(super) fn client(&self, version: TlsVersion, with_certificate: bool) -> ClientConnection {
        let mut roots = RootCertStore::empty();
        let ca = CertificateDer::from_pem_file(self.path("ca.pem")).unwrap();
        roots.add(ca).unwrap();
        let versions = match version {
            TlsVersion::V1_2 => vec![&rustls::version::TLS12],
            TlsVersion::V1_3 => vec![&rustls::version::TLS13],
        };
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&versions)
            .unwrap()
            .with_root_certificates(roots);
        let config = if with_certificate {
            let chain = CertificateDer::from_pem_file(self.path("client.pem")).unwrap();
            let key = PrivateKeyDer::from_pem_file(self.path("client.key")).unwrap();
            builder.with_client_auth_cert(vec![chain], key).unwrap()
        } else {
            builder.with_no_client_auth()
        };
        let name = ServerName::try_from("localhost").unwrap();
        ClientConnection::new(Arc::new(config), name).unwrap()
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// A client and the broker's stream, joined by hand.
pub(super) struct Pair {
    pub(super) client: ClientConnection,
    pub(super) stream: TlsStream,
    pub(super) buffers: Buffers,
    /// What the stream has opened.
    pub(super) plain: Vec<u8>,
    /// What the client has opened.
    received: Vec<u8>,
    /// Bytes that reach the stream at one time.
    piece_bytes: usize,
}

impl Pair {
    fn new(settings: &TlsSettings, client: ClientConnection) -> Self {
        Self::at(&Gate::open(settings).unwrap(), client)
    }

    pub(super) fn at(gate: &Gate, client: ClientConnection) -> Self {
        Self {
            client,
            stream: TlsStream::new(gate.config()).unwrap(),
            buffers: Buffers::default(),
            plain: Vec::new(),
            received: Vec::new(),
            piece_bytes: 4096,
        }
    }

    /// Carries bytes both ways until nobody has any.
    pub(super) fn exchange(&mut self) -> Result<Received, TlsFault> {
        let mut outcome = Ok(Received::Open);
        loop {
            let mut to_stream = Vec::new();
            while self.client.wants_write() {
                self.client.write_tls(&mut to_stream).unwrap();
            }
            for piece in to_stream.chunks_mut(self.piece_bytes) {
                if outcome == Ok(Received::Open) {
                    outcome = self.deliver(piece);
                }
            }
            let to_client = self.stream.unsent().to_vec();
            self.stream.advance(to_client.len(), &mut self.buffers);
            let mut left = &to_client[..];
            while !left.is_empty() {
                self.client.read_tls(&mut left).unwrap();
                let _ = self.client.process_new_packets();
                let _ = self.client.reader().read_to_end(&mut self.received);
            }
            if to_stream.is_empty() && to_client.is_empty() {
                return outcome;
            }
        }
    }

    pub(super) fn deliver(&mut self, piece: &mut [u8]) -> Result<Received, TlsFault> {
        let (plain, buffers) = (&mut self.plain, &mut self.buffers);
        if self.stream.is_handshaking() {
            self.stream.hold(piece, buffers)?;
            return self.stream.step(plain, buffers);
        }
        self.stream.open(piece, plain, buffers)
    }

    fn send_sealed(&mut self, plain: &[u8]) {
        let mut left = plain;
        while !left.is_empty() {
            while !left.is_empty() && !self.stream.is_full() {
                let sealed = self.stream.seal(left, &mut self.buffers).unwrap();
                left = &left[sealed..];
            }
            self.exchange().unwrap();
        }
    }
}

fn bytes(count: usize) -> Vec<u8> {
    (0..=250).cycle().take(count).collect()
}

#[test]
fn bytes_pass_both_ways_in_both_versions_however_they_are_cut() {
    let files = Files::make("both");
    for version in [TlsVersion::V1_2, TlsVersion::V1_3] {
        for piece_bytes in [1, 7, 100, 4096] {
            let client = files.client(version, false);
            let mut pair = Pair::new(&files.settings(), client);
            pair.piece_bytes = piece_bytes;
            pair.exchange().unwrap();
            assert!(!pair.stream.is_handshaking());
            for count in [1, 100, 16_384, 16_385, 300_000] {
                let sent = bytes(count);
                for part in sent.chunks(10_000) {
                    pair.client.writer().write_all(part).unwrap();
                    assert_eq!(pair.exchange(), Ok(Received::Open));
                }
                assert!(pair.plain == sent, "{count} bytes");
                pair.plain.clear();
                pair.send_sealed(&sent);
                assert!(pair.received == sent, "{count} bytes");
                pair.received.clear();
            }
        }
    }
}

#[test]
fn ends_are_said_and_heard() {
    let files = Files::make("ends");
    for version in [TlsVersion::V1_2, TlsVersion::V1_3] {
        let client = files.client(version, false);
        let mut pair = Pair::new(&files.settings(), client);
        assert!(!pair.stream.end(&mut pair.buffers), "nobody to say it to");
        let client = files.client(version, false);
        let mut pair = Pair::new(&files.settings(), client);
        pair.exchange().unwrap();
        assert!(pair.stream.end(&mut pair.buffers));
        assert!(!pair.stream.end(&mut pair.buffers), "once");
        pair.exchange().unwrap();
        let mut byte = [0];
        assert_eq!(pair.client.reader().read(&mut byte).unwrap(), 0);
        pair.client.writer().write_all(b"last words").unwrap();
        pair.client.send_close_notify();
        assert_eq!(pair.exchange(), Ok(Received::Ended));
        assert!(pair.stream.has_ended());
        assert_eq!(pair.plain, b"last words");
    }
}

#[test]
fn what_is_no_tls_is_a_fault_and_the_peer_is_told() {
    let files = Files::make("garbage");
    let gate = Gate::open(&files.settings()).unwrap();
    let connect: &[u8] = &[0x10, 12, 0, 4, b'M', b'Q', b'T', b'T', 4, 2, 0, 60, 0, 0];
    let http = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let noise = bytes(5_000);
    for input in [connect, http, &noise] {
        let mut stream = TlsStream::new(gate.config()).unwrap();
        let (mut buffers, mut plain) = (Buffers::default(), Vec::new());
        stream.hold(input, &mut buffers).unwrap();
        let outcome = stream.step(&mut plain, &mut buffers);
        assert!(matches!(outcome, Err(TlsFault::Protocol(_))), "{outcome:?}");
        // An alert record, level fatal.
        assert_eq!(stream.unsent()[0], 21);
        assert_eq!(stream.unsent()[5], 2);
        assert!(plain.is_empty());
    }
}

#[test]
fn a_handshake_that_never_ends_is_cut_off() {
    let files = Files::make("long");
    let gate = Gate::open(&files.settings()).unwrap();
    let mut stream = TlsStream::new(gate.config()).unwrap();
    let (mut buffers, mut plain) = (Buffers::default(), Vec::new());
    // A record of the handshake with the beginning of a message of 60,000 bytes, again and again.
    let mut record = vec![22, 3, 1, 0x10, 0];
    record.extend_from_slice(&[1, 0, 0xEA, 0x60]);
    record.resize(5 + 0x1000, 7);
    let mut held = 0;
    let fault = loop {
        if let Err(fault) = stream.hold(&record, &mut buffers) {
            break fault;
        }
        if let Err(fault) = stream.step(&mut plain, &mut buffers) {
            break fault;
        }
        held += record.len();
        record[5..9].fill(7);
        assert!(held < 100_000);
    };
    assert_eq!(fault, TlsFault::TooMuch);
}

#[test]
fn a_changed_record_is_a_fault() {
    let files = Files::make("changed");
    for version in [TlsVersion::V1_2, TlsVersion::V1_3] {
        let client = files.client(version, false);
        let mut pair = Pair::new(&files.settings(), client);
        pair.exchange().unwrap();
        pair.client.writer().write_all(b"hello").unwrap();
        let mut record = Vec::new();
        pair.client.write_tls(&mut record).unwrap();
        *record.last_mut().unwrap() ^= 1;
        let outcome = pair.deliver(&mut record);
        assert!(matches!(outcome, Err(TlsFault::Protocol(_))), "{outcome:?}");
        assert!(pair.plain.is_empty());
        assert!(!pair.stream.unsent().is_empty(), "the alert");
    }
}

#[test]
fn clients_are_let_in_by_their_certificates() {
    let files = Files::make("mutual");
    let mut settings = files.settings();
    settings.client_ca = Some(files.path("ca.pem"));
    for (is_required, has_one, is_let_in) in [
        (true, true, true),
        (true, false, false),
        (false, false, true),
        (false, true, true),
    ] {
        settings.require_client_cert = is_required;
        for version in [TlsVersion::V1_2, TlsVersion::V1_3] {
            let client = files.client(version, has_one);
            let mut pair = Pair::new(&settings, client);
            let outcome = pair.exchange();
            assert_eq!(outcome.is_ok(), is_let_in, "{outcome:?}");
            assert_eq!(!pair.stream.is_handshaking(), is_let_in);
        }
    }
    let other = Files::make("other");
    settings.require_client_cert = true;
    settings.client_ca = Some(other.path("ca.pem"));
    let client = files.client(TlsVersion::V1_3, true);
    assert!(Pair::new(&settings, client).exchange().is_err());
}

#[test]
fn files_that_cannot_be_used_are_named() {
    let files = Files::make("files");
    let write = |name: &str, text: &str| std::fs::write(files.path(name), text).unwrap();
    write("empty.pem", "");
    write(
        "broken.pem",
        "-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n",
    );
    type Change<'a> = &'a dyn Fn(&mut TlsSettings, PathBuf);
    let cases: [(&str, &str, Change<'_>, &str); 8] = [
        (
            "none.pem",
            "tls.cert",
            &|it, path| it.cert = path,
            "cannot be read",
        ),
        (
            "empty.pem",
            "tls.cert",
            &|it, path| it.cert = path,
            "holds no certificate",
        ),
        (
            "broken.pem",
            "tls.cert",
            &|it, path| it.cert = path,
            "is no PEM file",
        ),
        (
            "client.key",
            "tls.key",
            &|it, path| it.key = path,
            "is not the key of",
        ),
        (
            "server.pem",
            "tls.key",
            &|it, path| it.key = path,
            "holds no private key",
        ),
        (
            "none.key",
            "tls.key",
            &|it, path| it.key = path,
            "cannot be read",
        ),
        (
            "empty.pem",
            "tls.client_ca",
            &|it, path| it.client_ca = Some(path),
            "holds no",
        ),
        (
            "server.pem",
            "tls.crl",
            &|it, path| {
                it.client_ca = Some(path.with_file_name("ca.pem"));
                it.crl = Some(path);
            },
            "holds no certificate revocation list",
        ),
    ];
    for (name, key, change, what) in cases {
        let mut settings = files.settings();
        change(&mut settings, files.path(name));
        let error = Gate::open(&settings).unwrap_err();
        assert_eq!(error.key, key);
        assert_eq!(error.path, files.path(name));
        assert!(error.what.contains(what), "{error}");
    }
}

#[test]
fn a_reload_takes_all_files_or_none() {
    let files = Files::make("reload");
    let gate = Gate::open(&files.settings()).unwrap();
    let handshake = |gate: &Gate| {
        let mut pair = Pair::at(gate, files.client(TlsVersion::V1_3, false));
        pair.exchange().unwrap();
        pair.client.peer_certificates().unwrap()[0].to_vec()
    };
    let old = handshake(&gate);
    files.certify("server");
    assert!(handshake(&gate) == old, "not before the reload");
    gate.reload().unwrap();
    let new = handshake(&gate);
    assert!(new != old);
    std::fs::write(files.path("server.key"), "").unwrap();
    let error = gate.reload().unwrap_err();
    assert_eq!(
        (error.key, &*error.path),
        ("tls.key", &*files.path("server.key"))
    );
    assert!(handshake(&gate) == new);
}
