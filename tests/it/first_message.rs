//! The README's first message: `ringway sub` in one terminal, `ringway pub` in another.

use crate::support::{Broker, run};
use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};

fn ringway(command: &str, broker: &Broker) -> Command {
    let mut program = Command::new(env!("CARGO_BIN_EXE_ringway"));
    program.args([command, "-p", &broker.port().to_string()]);
    program
}

#[test]
fn the_broker_says_how_it_is() {
    let broker = Broker::start(2, &["--set", "sys.interval_s=1"]);
    let topics = ["-t", "$SYS/broker/heap/+", "-t", "$SYS/broker/version"];
    let output = run(ringway("sub", &broker)
        .args(topics)
        .args(["-v", "-C", "3", "-W", "60"]));
    let mut lines: Vec<&str> = output.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines.len(), 3, "{output}");
    assert_eq!(
        lines[2],
        format!(
            "$SYS/broker/version ringway version {}",
            env!("CARGO_PKG_VERSION")
        )
    );
    let bytes = |line: &str, name: &str| -> u64 {
        let value = line.strip_prefix(&format!("$SYS/broker/heap/{name} "));
        value.and_then(|value| value.parse().ok()).unwrap_or(0)
    };
    assert!(bytes(lines[0], "current") > 1 << 20, "{output}");
    assert!(
        bytes(lines[1], "maximum") >= bytes(lines[0], "current"),
        "{output}"
    );
}

#[test]
fn own_clients_talk_through_the_broker() {
    for cores in [1, 2] {
        let broker = Broker::start(cores, &[]);
        for version in ["31", "311", "5"] {
            let mut subscriber = ringway("sub", &broker)
                .args([
                    "-t",
                    "house/+/temperature",
                    "-v",
                    "-q",
                    "2",
                    "-C",
                    "3",
                    "-d",
                ])
                .args(["-V", version, "-W", "60"])
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            let mut debug = BufReader::new(subscriber.stderr.take().unwrap()).lines();
            let subscribed = debug.any(|line| line.unwrap().contains("received SUBACK"));
            assert!(subscribed, "MQTT {version}");
            for qos in ["0", "1", "2"] {
                run(ringway("pub", &broker)
                    .args(["-t", "house/kitchen/temperature", "-m", "21.5", "-q", qos])
                    .args(["-V", version]));
            }
            // Its debug lines must not fill the pipe.
            let rest = std::thread::spawn(move || debug.count());
            let mut output = String::new();
            let mut stdout = subscriber.stdout.take().unwrap();
            stdout.read_to_string(&mut output).unwrap();
            assert_eq!(
                output,
                "house/kitchen/temperature 21.5\n".repeat(3),
                "MQTT {version}"
            );
            assert!(subscriber.wait().unwrap().success());
            rest.join().unwrap();
        }
    }
}
