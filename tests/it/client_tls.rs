//! `ringway pub` and `ringway sub` over TLS, as processes.

use crate::certificates::Authority;
use crate::support::{Broker, PATIENCE};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Output, Stdio};

fn client(command: &str, address: SocketAddr, arguments: &[&str]) -> Command {
    let mut client = Command::new(env!("CARGO_BIN_EXE_ringway"));
    client.args([command, "-t", "news", "-q", "2"]);
    let (host, port) = (address.ip().to_string(), address.port().to_string());
    client.args(["-h", &host, "-p", &port]).args(arguments);
    client
}

fn publish(address: SocketAddr, arguments: &[&str]) -> Output {
    client("pub", address, arguments)
        .args(["-m", "hello"])
        .output()
        .unwrap()
}

/// Status 1, and `what` on standard error.
fn assert_refused(output: &Output, what: &str) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains(what), "{said}");
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn messages_pass_and_certificates_are_shown() {
    let authority = Authority::new();
    authority.certify("client", 2);
    let (ca, cert, key) = ("ca.pem", "client.pem", "client.key");
    let [ca, cert, key] = [ca, cert, key].map(|name| authority.path(name));
    let mutual = format!(
        "&tls.client_ca={}&tls.require_client_cert=true",
        ca.display()
    );
    let (open, mutual) = (authority.listener(""), authority.listener(&mutual));
    let broker = Broker::start_with(2, &["--listen", &open, "--listen", &mutual]);
    let trust = ["--cafile", text(&ca)];
    let identity = ["--cert", text(&cert), "--key", text(&key)];
    let all = [&trust[..], &identity[..]].concat();

    let seconds = PATIENCE.as_secs().to_string();
    let mut subscriber = client("sub", broker.addresses[1], &all)
        .args(["-C", "2", "-W", &seconds, "-d"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let stderr = subscriber.stderr.take().unwrap();
    let mut said = BufReader::new(stderr).lines().map_while(Result::ok);
    assert!(said.any(|line| line.contains("received SUBACK")));
    // It says more, and must not wait for us to read it.
    std::thread::spawn(move || said.count());
    for address in &broker.addresses {
        let output = publish(*address, &all);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
    }
    let heard = subscriber.wait_with_output().unwrap();
    assert_eq!(heard.status.code(), Some(0));
    assert_eq!(String::from_utf8_lossy(&heard.stdout), "hello\nhello\n");

    let nameless = publish(broker.addresses[1], &trust);
    assert_refused(&nameless, "CertificateRequired");
}

#[test]
fn a_broker_that_is_not_trusted_gets_nothing() {
    let (authority, other) = (Authority::new(), Authority::new());
    let (ca, foreign) = (authority.path("ca.pem"), other.path("ca.pem"));
    // The certificate is for 127.0.0.1.
    let elsewhere = authority.listener("").replace("127.0.0.1:0", "127.0.0.2:0");
    let here = authority.listener("");
    let broker = Broker::start_with(1, &["--listen", &here, "--listen", &elsewhere]);
    let (here, elsewhere) = (broker.addresses[0], broker.addresses[1]);

    let output = publish(here, &["--cafile", text(&foreign)]);
    assert_refused(&output, "UnknownIssuer");
    let output = publish(elsewhere, &["--cafile", text(&ca)]);
    assert_refused(&output, "not valid for name");
    let output = publish(elsewhere, &["--cafile", text(&foreign), "--insecure"]);
    assert_refused(&output, "UnknownIssuer");
    let output = publish(elsewhere, &["--cafile", text(&ca), "--insecure"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let output = publish(here, &[]);
    assert_refused(&output, "speaks TLS: name its authority with --cafile");
    let output = publish(here, &["--cafile", text(&authority.path("server.key"))]);
    assert_refused(&output, "server.key: holds no certificate");
}
