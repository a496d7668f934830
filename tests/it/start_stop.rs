//! Start, ready line, exit codes, signals.

use crate::raw::Raw;
use crate::support::{Broker, scratch_dir};
use std::net::TcpListener;
use std::process::Command;

fn ringway() -> Command {
    Command::new(env!("CARGO_BIN_EXE_ringway"))
}

#[test]
fn requested_stop_says_goodbye_and_exits_with_0() {
    for cores in [1, 2] {
        let mut broker = Broker::start(cores, &[]);
        let mut clients: Vec<Raw> = (0..4)
            .map(|number| Raw::connected(&broker, &format!("c{number}")))
            .collect();
        let status = broker.stop();
        assert_eq!(status.code(), Some(0));
        for client in &mut clients {
            // Server shutting down.
            assert_eq!(client.until_closed(), [[0xe0, 1, 0x8b]]);
        }
    }
}

#[test]
fn port_in_use_is_named_with_exit_code_1() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let output = ringway()
        .args([
            "serve",
            "--listen",
            &format!("tcp://{address}"),
            "--cores",
            "1",
            "--data-dir",
        ])
        .arg(scratch_dir("taken"))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(
        text.contains(&address.to_string()) && text.contains("in use"),
        "{text}"
    );
}

#[test]
fn second_process_on_the_same_data_is_refused() {
    let data_dir = scratch_dir("shared");
    let arguments = |command: &mut Command| {
        command.args([
            "serve",
            "--listen",
            "tcp://127.0.0.1:0",
            "--cores",
            "1",
            "--data-dir",
        ]);
        command.arg(&data_dir);
    };
    let mut first = ringway();
    arguments(&mut first);
    let mut first = first.stderr(std::process::Stdio::piped()).spawn().unwrap();
    let mut stderr = std::io::BufReader::new(first.stderr.take().unwrap());
    let mut line = String::new();
    while !line.starts_with("ready ") {
        line.clear();
        assert!(std::io::BufRead::read_line(&mut stderr, &mut line).unwrap() > 0);
    }
    let mut second = ringway();
    arguments(&mut second);
    let output = second.output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    first.kill().unwrap();
    first.wait().unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(
        text.contains(&first.id().to_string()),
        "the holder's pid: {text}"
    );
}
