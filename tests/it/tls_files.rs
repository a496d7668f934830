//! Certificates, keys and lists of a `tls://` listener: whom they let in, what a SIGHUP makes of
//! new ones, and what a start says to bad ones.

use crate::certificates::Authority;
use crate::healthy::Healthy;
use crate::raw::{Raw, connect_v5};
use crate::support::{Broker, counter, scratch_dir};
use crate::tls_stream::{End, Tls, VERSIONS, config, start};
use rustls::version::{TLS12, TLS13};
use rustls::{AlertDescription, ClientConfig, HandshakeKind};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

fn start_with(authority: &Authority, keys: &[(&str, &str)]) -> Broker {
    let keys = keys.iter().map(|(key, value)| format!("&{key}={value}"));
    let listener = authority.listener(&keys.collect::<String>());
    Broker::start_with(2, &["--listen", &listener])
}

/// CONNACK, or why there is none.
fn try_connect(broker: &Broker, config: &Arc<ClientConfig>) -> Result<(), End> {
    let mut raw = Raw::secure(broker, config);
    raw.send(&connect_v5("tries"));
    match raw.try_packet() {
        Some(connack) => {
            assert_eq!((connack[0], connack[3]), (0x20, 0));
            Ok(())
        }
        None => Err(raw.stream.end.unwrap()),
    }
}

#[test]
fn clients_are_let_in_by_their_certificates() {
    let authority = Authority::new();
    authority.certify("good", 21);
    authority.certify("revoked", 22);
    authority.revoke(&[22]);
    let foreign = Authority::new();
    foreign.certify("foreign", 23);
    let ca = authority.path("ca.pem").display().to_string();
    let crl = authority.path("crl.pem").display().to_string();
    let lists = [("tls.client_ca", &*ca), ("tls.crl", &*crl)];
    let required = [&lists[..], &[("tls.require_client_cert", "true")]].concat();
    let fatal = |alert| Err(End::Alert(alert));
    for (keys, is_required) in [(required, true), (lists.to_vec(), false)] {
        let mut broker = start_with(&authority, &keys);
        let mut faults = 0;
        for version in VERSIONS {
            let nobody = match is_required {
                true => fatal(AlertDescription::CertificateRequired),
                false => Ok(()),
            };
            let cases = [
                (Some((&authority, "good")), Ok(())),
                (None, nobody),
                // Who shows a certificate shows a good one, required or not.
                (
                    Some((&foreign, "foreign")),
                    fatal(AlertDescription::UnknownCA),
                ),
                (
                    Some((&authority, "revoked")),
                    fatal(AlertDescription::CertificateRevoked),
                ),
            ];
            for (identity, wanted) in cases {
                let name = identity.map(|(_, name)| name);
                let config = config(&authority, version, identity);
                assert_eq!(
                    try_connect(&broker, &config),
                    wanted,
                    "{version:?} {name:?} {is_required}"
                );
                faults += u64::from(wanted.is_err());
            }
        }
        assert_eq!(counter(&broker.stop_for_log(), "tls_faults"), faults);
    }
}

#[test]
fn old_version_is_refused_where_it_is_not_wanted() {
    let authority = Authority::new();
    let broker = start_with(&authority, &[("tls.min_version", "1.3")]);
    let alert = End::Alert(AlertDescription::ProtocolVersion);
    let old = config(&authority, &TLS12, None);
    assert_eq!(try_connect(&broker, &old), Err(alert));
    let new = config(&authority, &TLS13, None);
    assert_eq!(try_connect(&broker, &new), Ok(()));
}

/// What the listener shows a new client that resumes nothing.
fn shown(broker: &Broker, authority: &Authority) -> Vec<u8> {
    let config = config(authority, &TLS13, None);
    let mut tls = Tls::dial(broker.address, &config);
    tls.handshake();
    tls.connection.peer_certificates().unwrap()[0].to_vec()
}

fn reload(broker: &Broker) {
    broker.signal(libc::SIGHUP);
    broker.wait_for_log("SIGHUP");
}

#[test]
fn reloaded_certificates_are_for_new_connections() {
    let authority = Authority::new();
    let broker = start(&authority, &[]);
    let old = shown(&broker, &authority);
    let configs = VERSIONS.map(|version| config(&authority, version, None));
    let mut staying = Healthy::over(Raw::secure(&broker, &configs[1]));
    let kind = |config| {
        let raw = Raw::secure_connected(&broker, config, "resumes");
        raw.stream.connection.handshake_kind().unwrap()
    };
    for config in &configs {
        kind(config);
        assert_eq!(kind(config), HandshakeKind::Resumed);
    }

    authority.certify("server", 2);
    assert!(shown(&broker, &authority) == old, "not without a SIGHUP");
    reload(&broker);
    let new = shown(&broker, &authority);
    assert!(new != old);
    for config in &configs {
        assert_eq!(kind(config), HandshakeKind::Full, "the old files' session");
        assert_eq!(kind(config), HandshakeKind::Resumed);
    }

    // Files that cannot be used change nothing, and are named.
    fs::write(authority.path("server.key"), "no key").unwrap();
    broker.signal(libc::SIGHUP);
    let said = broker.wait_for_log("not reloaded");
    assert!(
        said.contains("server.key") && said.contains("tls.key"),
        "{said}"
    );
    assert!(shown(&broker, &authority) == new);
    for _ in 0..3 {
        broker.signal(libc::SIGHUP);
    }
    assert!(shown(&broker, &authority) == new);
    staying.check();
    authority.certify("server", 3);
    reload(&broker);
    staying.check();
}

#[test]
fn clients_revoked_at_a_reload_do_not_come_back() {
    let authority = Authority::new();
    authority.certify("client", 21);
    authority.revoke(&[99]);
    let ca = authority.path("ca.pem").display().to_string();
    let crl = authority.path("crl.pem").display().to_string();
    let keys = [
        ("tls.client_ca", &*ca),
        ("tls.crl", &*crl),
        ("tls.require_client_cert", "true"),
    ];
    let broker = start_with(&authority, &keys);
    for version in VERSIONS {
        authority.revoke(&[99]);
        reload(&broker);
        let config = config(&authority, version, Some((&authority, "client")));
        assert_eq!(try_connect(&broker, &config), Ok(()));
        authority.revoke(&[21]);
        reload(&broker);
        // Not by the ticket of the first connection either.
        let alert = End::Alert(AlertDescription::CertificateRevoked);
        assert_eq!(try_connect(&broker, &config), Err(alert));
    }
}

#[test]
fn reload_without_tls_changes_nothing() {
    let mut broker = Broker::start(2, &[]);
    let mut healthy = Healthy::start(&broker);
    for _ in 0..3 {
        reload(&broker);
        healthy.check();
    }
    assert_eq!(broker.stop().code(), Some(0));
}

/// Exit status, and what was said on either stream.
fn ringway(arguments: &[&str]) -> (Option<i32>, String) {
    let mut program = Command::new(env!("CARGO_BIN_EXE_ringway"));
    let output = program.args(arguments).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(said).unwrap())
}

fn is_empty(directory: &Path) -> bool {
    fs::read_dir(directory).unwrap().next().is_none()
}

#[test]
fn files_that_cannot_be_used_are_refused_before_anything_is_made() {
    let authority = Authority::new();
    authority.certify("other", 2);
    fs::write(authority.path("empty.pem"), "").unwrap();
    let data_dir = scratch_dir("refused");
    let (data, file) = (data_dir.to_str().unwrap(), authority.path("ringway.toml"));
    let cases = [
        ("none.pem", "server.key", "tls.cert", "cannot be read"),
        ("empty.pem", "server.key", "tls.cert", "no certificate"),
        ("server.key", "server.key", "tls.cert", "no certificate"),
        ("server.pem", "none.key", "tls.key", "cannot be read"),
        ("server.pem", "server.pem", "tls.key", "no private key"),
        ("server.pem", "other.key", "tls.key", "is not the key of"),
    ];
    for (cert, key, wrong, what) in cases {
        let named = if wrong == "tls.cert" { cert } else { key };
        let named = authority.path(named).display().to_string();
        let (cert, key) = (authority.path(cert), authority.path(key));
        let (cert, key) = (cert.display(), key.display());
        let bind = "tls://127.0.0.1:0";
        let url = format!("{bind}?tls.cert={cert}&tls.key={key}");
        fs::write(
            &file,
            format!("[[listener]]\nbind = '{bind}'\ntls.cert = '{cert}'\ntls.key = '{key}'\n"),
        )
        .unwrap();
        let file = file.to_str().unwrap();
        let starts: [&[&str]; 3] = [
            &["serve", "--data-dir", data, "--listen", &url],
            &["serve", "--data-dir", data, "--config", file],
            &["check-config", file],
        ];
        for arguments in starts {
            let (status, said) = ringway(arguments);
            assert_eq!(status, Some(2), "{said}");
            for part in [bind, wrong, &*named, what] {
                assert!(said.contains(part), "no {part} in {said}");
            }
            assert_eq!(said.lines().count(), 1, "{said}");
            assert!(is_empty(&data_dir), "{arguments:?}");
        }
    }
    fs::remove_dir_all(&data_dir).unwrap();
}

#[test]
fn ready_line_names_the_listeners_of_both_kinds() {
    let authority = Authority::new();
    let secure = authority.listener("");
    let plain = "tcp://127.0.0.1:0";
    let broker = Broker::start_with(2, &["--listen", &secure, "--listen", plain]);
    assert_eq!(broker.addresses.len(), 2);
    let config = config(&authority, &TLS13, None);
    let mut secure: Healthy<Tls> = Healthy::over(Raw::secure(&broker, &config));
    secure.check();
    let mut plain = Raw {
        stream: crate::raw::dial(broker.addresses[1]),
    };
    plain.connect("plain");
    secure.check();
}
