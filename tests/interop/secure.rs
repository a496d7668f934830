//! The clients of `main.rs` over TLS: OpenSSL in mosquitto's programs, in Python and in Node.js.

use super::certificates::Authority;
use super::mosquitto::{Subscriber, publish_at};
use super::support::{Broker, run};
use super::{CORES, installed, script};
use std::process::Command;

const TLS_VERSIONS: [&str; 2] = ["1.2", "1.3"];

/// Versions of MQTT and of TLS: over both numbers of cores each with each.
fn pairs(cores: usize) -> [(&'static str, &'static str); 2] {
    match cores {
        1 => [("4", "1.2"), ("5", "1.3")],
        _ => [("4", "1.3"), ("5", "1.2")],
    }
}

fn start(authority: &Authority, cores: usize, keys: &str) -> Broker {
    Broker::start_with(cores, &["--listen", &authority.listener(keys)])
}

#[test]
fn mosquitto_clients_deliver_every_qos_over_tls() {
    let authority = Authority::new();
    let ca = authority.path("ca.pem");
    for cores in CORES {
        let broker = start(&authority, cores, "");
        for tls in TLS_VERSIONS {
            let tls = format!("tlsv{tls}");
            let trust = ["--cafile", ca.to_str().unwrap(), "--tls-version", &tls];
            for (version, qos) in [("mqttv311", "0"), ("mqttv311", "1"), ("mqttv5", "2")] {
                let wanted = ["-q", qos, "-t", "secure/#", "-C", "3", "-F", "%q %p"];
                let arguments = [&wanted[..], &trust].concat();
                let subscriber = Subscriber::start_at(broker.port(), version, &arguments);
                for text in ["1", "2", "3"] {
                    let message = ["-q", qos, "-t", "secure/x", "-m", text];
                    publish_at(broker.port(), version, &[&message[..], &trust].concat());
                }
                let wanted = ["1", "2", "3"].map(|text| format!("{qos} {text}"));
                assert_eq!(subscriber.messages(), wanted, "{version} {tls}");
            }
        }
    }
}

#[test]
fn mosquitto_clients_show_who_they_are() {
    let authority = Authority::new();
    authority.certify("client", 21);
    let path = |name| authority.path(name).display().to_string();
    let (ca, cert, key) = (path("ca.pem"), path("client.pem"), path("client.key"));
    let keys = format!("&tls.client_ca={ca}&tls.require_client_cert=true");
    let broker = start(&authority, 2, &keys);
    for tls in ["tlsv1.2", "tlsv1.3"] {
        let trust = ["--cafile", &ca, "--tls-version", tls];
        let identity = ["--cert", &cert, "--key", &key];
        let subscription = ["-q", "1", "-t", "who/#", "-C", "1", "-F", "%p"];
        let arguments = [&subscription[..], &trust, &identity].concat();
        let subscriber = Subscriber::start_at(broker.port(), "mqttv5", &arguments);
        let message = ["-q", "1", "-t", "who/x", "-m", "me"];
        let nobody = Command::new("mosquitto_pub")
            .args(["-h", "127.0.0.1", "-p", &broker.port().to_string()])
            .args(message)
            .args(trust)
            .output()
            .unwrap();
        assert!(!nobody.status.success(), "{tls} without a certificate");
        let arguments = [&message[..], &trust, &identity].concat();
        publish_at(broker.port(), "mqttv5", &arguments);
        assert_eq!(subscriber.messages(), ["me"]);
    }
}

#[test]
fn paho_python_delivers_every_qos_over_tls() {
    let authority = Authority::new();
    for cores in CORES {
        let broker = start(&authority, cores, "");
        for (version, tls) in pairs(cores) {
            run(Command::new(installed("python/bin/python"))
                .arg(script("paho_client.py"))
                .args([&broker.port().to_string(), version])
                .arg(authority.path("ca.pem"))
                .arg(tls));
        }
    }
}

#[test]
fn mqtt_js_delivers_every_qos_over_tls() {
    let authority = Authority::new();
    for cores in CORES {
        let broker = start(&authority, cores, "");
        for (version, tls) in pairs(cores) {
            run(Command::new("node")
                .arg(script("mqttjs_client.mjs"))
                .arg(installed("node/node_modules/mqtt/build/index.js"))
                .args([&broker.port().to_string(), version])
                .arg(authority.path("ca.pem"))
                .arg(tls));
        }
    }
}
