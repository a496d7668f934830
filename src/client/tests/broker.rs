//! A broker that follows a script, byte by byte.

use crate::client::options::ConnectOptions;
use crate::codec::ProtocolVersion;
use Step::{Drip, Expect, ExpectEnd, ExpectSilence, Send};
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread::JoinHandle;
use std::time::Duration;

/// What a scripted broker does next.
#[derive(Clone, Debug)]
pub(super) enum Step {
    /// Exactly these bytes must come.
    Expect(&'static str),
    Send(&'static str),
    /// The same, one byte at a time.
    Drip(&'static str),
    /// The client must close its side.
    ExpectEnd,
    /// Nothing may come for this long.
    ExpectSilence(Duration),
}

/// Hexadecimal bytes and `'text'`, separated by spaces.
fn bytes(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for part in text.split_whitespace() {
        match part.strip_prefix('\'') {
            Some(text) => bytes.extend_from_slice(text.trim_end_matches('\'').as_bytes()),
            None => bytes.push(u8::from_str_radix(part, 16).unwrap()),
        }
    }
    bytes
}

/// A broker for one connection; joining it tells whether the script was followed.
pub(super) fn broker(script: &[Step]) -> (u16, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let script = script.to_vec();
    let thread = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_nodelay(true).unwrap();
        for step in script {
            follow(&mut stream, &step);
        }
    });
    (port, thread)
}

fn follow(stream: &mut TcpStream, step: &Step) {
    let patience = Duration::from_secs(10);
    stream.set_read_timeout(Some(patience)).unwrap();
    match step {
        Expect(text) => {
            let expected = bytes(text);
            let mut received = vec![0; expected.len()];
            stream
                .read_exact(&mut received)
                .unwrap_or_else(|error| panic!("{error} at {text}"));
            assert_eq!(
                format!("{received:02x?}"),
                format!("{expected:02x?}"),
                "{text}"
            );
        }
        Send(text) => stream.write_all(&bytes(text)).unwrap(),
        Drip(text) => {
            for byte in bytes(text) {
                stream.write_all(&[byte]).unwrap();
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        ExpectEnd => {
            let mut rest = Vec::new();
            stream.read_to_end(&mut rest).unwrap();
            assert!(rest.is_empty(), "{rest:02x?}");
        }
        ExpectSilence(time) => {
            stream.set_read_timeout(Some(*time)).unwrap();
            let mut byte = [0];
            let error = stream
                .read(&mut byte)
                .expect_err("bytes in place of silence");
            assert_eq!(error.kind(), ErrorKind::WouldBlock);
        }
    }
}

pub(super) const CONNECT_V5: Step = Expect("10 0e 00 04 'MQTT' 05 02 00 3c 00 00 01 'c'");
pub(super) const CONNECT_V311: Step = Expect("10 0d 00 04 'MQTT' 04 02 00 3c 00 01 'c'");
pub(super) const CONNACK_V5: Step = Send("20 03 00 00 00");
pub(super) const CONNACK_V311: Step = Send("20 02 00 00");
pub(super) const DISCONNECT: Step = Expect("e0 00");

pub(super) fn connect_options(port: u16) -> ConnectOptions {
    ConnectOptions {
        host: "127.0.0.1".to_owned(),
        port,
        tls: None,
        version: ProtocolVersion::V5,
        client_id: "c".to_owned(),
        clean_start: true,
        session_expiry_interval_s: None,
        keep_alive_s: 60,
        username: None,
        password: None,
        will: None,
        debug: false,
    }
}
