//! TLS and WebSocket, against a small proxy in front of the test's broker that ends them.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bench_harness::control;
use bench_harness::result::{RunResult, TlsUse};
use bench_harness::transport::{TlsOptions, TlsVersion};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection};
use sha1::{Digest as _, Sha1};

use crate::fake::{Fake, Fault};
use crate::guarantees::setup;

/// How long the proxy looks at one side before it looks at the other.
const LOOK: Duration = Duration::from_millis(1);

struct Proxy {
    tls: Option<ServerConnection>,
    is_websocket: bool,
    is_upgraded: bool,
    /// What came from the client without its TLS and is not taken yet.
    inner: Vec<u8>,
    client: TcpStream,
    broker: TcpStream,
}

/// Serves until the test's process ends.
fn start(tls: Option<Arc<ServerConfig>>, is_websocket: bool) -> SocketAddr {
    let broker = Fake::start(Fault::None).address;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let tls = tls.clone().map(|tls| ServerConnection::new(tls).unwrap());
            let broker = TcpStream::connect(broker).unwrap();
            for stream in [&client, &broker] {
                stream.set_read_timeout(Some(LOOK)).unwrap();
                stream.set_nodelay(true).unwrap();
            }
            let mut proxy = Proxy {
                tls,
                is_websocket,
                is_upgraded: false,
                inner: Vec::new(),
                client,
                broker,
            };
            thread::spawn(move || while proxy.turn().is_some() {});
        }
    });
    address
}

/// `None` at the end of the stream.
fn look(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut bytes = vec![0; 65_536];
    match stream.read(&mut bytes) {
        Ok(0) => None,
        Ok(count) => Some(bytes[..count].to_vec()),
        Err(error) => {
            matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut).then(Vec::new)
        }
    }
}

impl Proxy {
    fn turn(&mut self) -> Option<()> {
        let bytes = look(&mut self.client)?;
        self.take(&bytes)?;
        let plain = self.unwrap();
        self.broker.write_all(&plain).ok()?;
        let answer = look(&mut self.broker)?;
        if !answer.is_empty() {
            let wrapped = if self.is_websocket {
                [
                    &[0x82, 126][..],
                    &u16::try_from(answer.len()).unwrap().to_be_bytes(),
                    &answer,
                ]
                .concat()
            } else {
                answer
            };
            self.give(&wrapped)?;
        }
        Some(())
    }

    fn take(&mut self, mut bytes: &[u8]) -> Option<()> {
        let Some(tls) = &mut self.tls else {
            self.inner.extend_from_slice(bytes);
            return Some(());
        };
        while !bytes.is_empty() {
            tls.read_tls(&mut bytes).ok()?;
            let state = tls.process_new_packets();
            let _ = tls.reader().read_to_end(&mut self.inner);
            while tls.wants_write() {
                tls.write_tls(&mut self.client).ok()?;
            }
            state.ok()?;
        }
        Some(())
    }

    fn give(&mut self, bytes: &[u8]) -> Option<()> {
        let Some(tls) = &mut self.tls else {
            return self.client.write_all(bytes).ok();
        };
        tls.writer().write_all(bytes).ok()?;
        while tls.wants_write() {
            tls.write_tls(&mut self.client).ok()?;
        }
        Some(())
    }

    /// MQTT's bytes of what came.
    fn unwrap(&mut self) -> Vec<u8> {
        if !self.is_websocket {
            return std::mem::take(&mut self.inner);
        }
        if !self.is_upgraded {
            let text = String::from_utf8_lossy(&self.inner).into_owned();
            if !text.ends_with("\r\n\r\n") {
                return Vec::new();
            }
            assert!(text.contains("Sec-WebSocket-Protocol: mqtt\r\n"), "{text}");
            let (_, rest) = text.split_once("Sec-WebSocket-Key: ").unwrap();
            let key = rest.lines().next().unwrap();
            let proof = format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
            let accept = STANDARD.encode(Sha1::digest(proof));
            let answer = format!("HTTP/1.1 101 Yes\r\nSec-WebSocket-Accept: {accept}\r\n\r\n");
            self.inner.clear();
            self.is_upgraded = true;
            self.give(answer.as_bytes());
        }
        let mut plain = Vec::new();
        while let Some((payload, length)) = unmask(&self.inner) {
            plain.extend(payload);
            self.inner.drain(..length);
        }
        plain
    }
}

/// The payload of the first frame, and the frame's length.
fn unmask(bytes: &[u8]) -> Option<(Vec<u8>, usize)> {
    assert!(bytes.is_empty() || bytes[0] == 0x82, "one binary frame");
    let (start, length) = match bytes.get(1)? & 0x7F {
        126 => (
            4,
            u16::from_be_bytes([*bytes.get(2)?, *bytes.get(3)?]).into(),
        ),
        127 => panic!("no frame of the test is so long"),
        length => (2, usize::from(length)),
    };
    assert!(bytes[1] & 0x80 != 0, "clients mask");
    let mask = bytes.get(start..start + 4)?;
    let payload = bytes.get(start + 4..start + 4 + length)?;
    let masked = payload.iter().zip(mask.iter().cycle());
    Some((
        masked.map(|(byte, mask)| byte ^ mask).collect(),
        start + 4 + length,
    ))
}

/// A certificate for this host, and a file with it.
fn certificate(name: &str) -> (Arc<ServerConfig>, PathBuf) {
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let file = format!("ringway-bench-{}-{name}.pem", std::process::id());
    let path = std::env::temp_dir().join(file);
    std::fs::write(&path, made.cert.pem()).unwrap();
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], PrivateKeyDer::Pkcs8(key))
        .unwrap();
    (Arc::new(config), path)
}

#[test]
fn every_transport_carries_a_run() {
    let (tls, path) = certificate("run");
    for (scheme, is_tls, is_websocket) in [
        ("tls", true, false),
        ("ws", false, true),
        ("wss", true, true),
    ] {
        let address = start(is_tls.then(|| Arc::clone(&tls)), is_websocket);
        let url = format!("{scheme}://127.0.0.1:{}", address.port());
        let mut setup = setup("pairs-2-400", &url, 2);
        setup.tls.ca = Some(path.clone());
        setup.options.payload_bytes = Some(300);
        let result = control::run(&setup, None, &mut |_| {}).unwrap().result;
        assert!(
            result.is_valid(),
            "{scheme}: {:?} {:?}",
            result.void,
            result.failures
        );
        assert_eq!(result.counts.delivered_total, 80, "{scheme}");
        let tls = result
            .tls
            .map(|tls| (tls.full_handshakes, tls.resumed_handshakes));
        assert_eq!(tls, is_tls.then_some((4, 0)), "{scheme}");
    }
    std::fs::remove_file(path).unwrap();
}

#[test]
fn unknown_certificates_are_refused_unless_asked_for() {
    let (tls, known) = certificate("known");
    let (_, other) = certificate("other");
    let address = start(Some(tls), false);
    let url = format!("tls://127.0.0.1:{}", address.port());
    let mut setup = setup("pairs-1-100", &url, 0);
    setup.tls.ca = Some(other.clone());
    let error = control::run(&setup, None, &mut |_| {}).err().unwrap();
    for path in [known, other] {
        std::fs::remove_file(path).unwrap();
    }
    assert!(error.contains("certificate"), "{error}");

    setup.tls = TlsOptions {
        insecure: true,
        ..TlsOptions::default()
    };
    let result = control::run(&setup, None, &mut |_| {}).unwrap().result;
    assert_eq!((result.counts.connect_failures, result.counts.lost), (0, 0));
}

#[test]
fn a_missing_file_of_authorities_is_an_error() {
    let mut setup = setup("pairs-1-100", "tls://127.0.0.1:1", 0);
    setup.tls.ca = Some(PathBuf::from("/nowhere/ca.pem"));
    let error = control::run(&setup, None, &mut |_| {}).err().unwrap();
    assert!(error.contains("/nowhere/ca.pem"), "{error}");
}

fn run_over_tls(scenario: &str, name: &str, options: &TlsOptions) -> RunResult {
    let (tls, path) = certificate(name);
    let address = start(Some(tls), false);
    let mut setup = setup(scenario, &format!("tls://127.0.0.1:{}", address.port()), 0);
    setup.tls = TlsOptions {
        ca: Some(path.clone()),
        ..options.clone()
    };
    let result = control::run(&setup, None, &mut |_| {}).unwrap().result;
    std::fs::remove_file(path).unwrap();
    assert_eq!(result.counts.connect_failures, 0, "{:?}", result.void);
    result
}

fn handshakes(tls: &TlsUse) -> (u64, u64) {
    (tls.full_handshakes, tls.resumed_handshakes)
}

/// More clients than the library's own cache keeps tickets for.
#[test]
fn clients_that_come_back_resume_when_asked() {
    for version in [TlsVersion::V1_2, TlsVersion::V1_3] {
        for resume in [false, true] {
            let options = TlsOptions {
                version: Some(version),
                resume,
                ..TlsOptions::default()
            };
            let name = format!("resume-{}-{resume}", version.name());
            let result = run_over_tls("reconnect-storm-10", &name, &options);
            let tls = result.tls.unwrap();
            let expected = if resume { (10, 30) } else { (40, 0) };
            assert_eq!(handshakes(&tls), expected, "{name}");
            let is_only = |it: &bench_harness::result::Negotiated| it.version == version.name();
            assert!(tls.negotiated.iter().all(is_only), "{tls}");
            assert!(!tls.negotiated.is_empty(), "{name}");
        }
    }
}

#[test]
fn a_result_says_what_was_negotiated() {
    let result = run_over_tls("tls-conn-20-50", "negotiated", &TlsOptions::default());
    assert_eq!(result.connect_latency_us.unwrap().count, 20);
    let tls = result.tls.unwrap();
    let told = tls.to_string();
    assert_eq!(
        told,
        "TLS 1.3 TLS13_AES_256_GCM_SHA384 X25519, 20 full handshakes, 0 resumed"
    );
}

#[test]
fn what_is_about_tls_is_refused_without_it() {
    let target = "tcp://127.0.0.1:1";
    let setup_of = |scenario, resume, version| {
        let mut setup = setup(scenario, target, 0);
        setup.tls.resume = resume;
        setup.tls.version = version;
        setup
    };
    let cases = [
        setup_of("tls-conn-20-50", false, None),
        setup_of("pairs-1-100", true, None),
        setup_of("pairs-1-100", false, Some(TlsVersion::V1_3)),
    ];
    for setup in cases {
        let error = control::run(&setup, None, &mut |_| {}).err().unwrap();
        let is_clear = error.contains("tls://") && error.contains(target);
        assert!(is_clear, "{error}");
    }
}
