//! mosquitto_pub and mosquitto_sub.

use super::CORES;
use super::support::{Broker, PATIENCE, run, scratch_dir};
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

/// A mosquitto_sub whose subscription is acknowledged; ended with its owner.
pub(crate) struct Subscriber {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Subscriber {
    fn start(broker: &Broker, version: &str, arguments: &[&str]) -> Self {
        Self::start_at(broker.port(), version, arguments)
    }

    #[allow(clippy::zombie_processes, reason = "its owner waits for it")]
    pub(crate) fn start_at(port: u16, version: &str, arguments: &[&str]) -> Self {
        // It buffers its output when nobody looks at it; the test looks.
        let mut child = Command::new("stdbuf")
            .args(["-oL", "mosquitto_sub"])
            .args([
                "-h",
                "127.0.0.1",
                "-p",
                &port.to_string(),
                "-V",
                version,
                "-d",
            ])
            .args(["-W", &PATIENCE.as_secs().to_string()])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("mosquitto_sub: {error}; `tests/run` installs it"));
        let stdout = child.stdout.take().expect("piped");
        let mut lines = BufReader::new(stdout).lines();
        loop {
            let line = lines.next().expect("mosquitto_sub goes on").expect("text");
            if line.contains("Subscribed (mid:") {
                return Self { child, lines };
            }
        }
    }

    /// Messages up to the end of the program, which `-C` brings about.
    pub(crate) fn messages(mut self) -> Vec<String> {
        let is_debug =
            |line: &String| line.starts_with("Client ") || line.starts_with("Subscribed");
        let lines = self.lines.by_ref().map_while(Result::ok);
        let messages = lines.filter(|line| !is_debug(line)).collect();
        let status = self.child.wait().expect("the child is ours");
        assert!(status.success(), "mosquitto_sub ended with {status}");
        messages
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        // It has ended already when all went well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn publish(broker: &Broker, version: &str, arguments: &[&str]) {
    publish_at(broker.port(), version, arguments);
}

pub(crate) fn publish_at(port: u16, version: &str, arguments: &[&str]) {
    run(Command::new("mosquitto_pub")
        .args(["-h", "127.0.0.1", "-p", &port.to_string(), "-V", version])
        .args(arguments));
}

#[test]
fn mosquitto_clients_deliver_every_qos_and_version() {
    for cores in CORES {
        let broker = Broker::start(cores, &[]);
        for version in ["mqttv31", "mqttv311", "mqttv5"] {
            for qos in ["0", "1", "2"] {
                let subscriber = Subscriber::start(
                    &broker,
                    version,
                    &[
                        "-q",
                        qos,
                        "-t",
                        "house/+/temperature/#",
                        "-C",
                        "3",
                        "-F",
                        "%t %q %r %p",
                    ],
                );
                for number in ["1", "2", "3"] {
                    let topic = format!("house/{version}/temperature/{number}");
                    publish(&broker, version, &["-q", qos, "-t", &topic, "-m", number]);
                }
                let wanted: Vec<String> = (1..=3)
                    .map(|n| format!("house/{version}/temperature/{n} {qos} 0 {n}"))
                    .collect();
                assert_eq!(
                    subscriber.messages(),
                    wanted,
                    "{version} QoS {qos} {cores} cores"
                );
            }
        }
    }
}

#[test]
fn mosquitto_clients_see_retained_message_and_will() {
    for cores in CORES {
        let broker = Broker::start(cores, &[]);
        publish(
            &broker,
            "mqttv311",
            &["-q", "1", "-r", "-t", "kept/here", "-m", "stays"],
        );
        let late = Subscriber::start(
            &broker,
            "mqttv5",
            &["-q", "1", "-t", "kept/#", "-C", "1", "-F", "%r %p"],
        );
        assert_eq!(late.messages(), ["1 stays"]);

        let watcher = Subscriber::start(
            &broker,
            "mqttv5",
            &["-q", "2", "-t", "last/words", "-C", "1", "-F", "%p"],
        );
        let mut doomed = Subscriber::start(
            &broker,
            "mqttv311",
            &[
                "-t",
                "x",
                "--will-topic",
                "last/words",
                "--will-payload",
                "gone",
                "--will-qos",
                "2",
            ],
        );
        doomed.child.kill().expect("the child is ours");
        doomed.child.wait().expect("the child is ours");
        assert_eq!(watcher.messages(), ["gone"]);
    }
}

#[test]
fn mosquitto_persistent_session_gets_what_it_missed() {
    for cores in CORES {
        let broker = Broker::start(cores, &[]);
        let session = ["-i", "sleeper", "-c", "-q", "1", "-t", "missed/#"];
        let mut first = Subscriber::start(&broker, "mqttv311", &session);
        first.child.kill().expect("the child is ours");
        first.child.wait().expect("the child is ours");
        for number in ["1", "2", "3"] {
            publish(
                &broker,
                "mqttv5",
                &["-q", "1", "-t", "missed/it", "-m", number],
            );
        }
        let again = run(Command::new("mosquitto_sub")
            .args([
                "-h",
                "127.0.0.1",
                "-p",
                &broker.port().to_string(),
                "-V",
                "mqttv311",
            ])
            .args(["-C", "3", "-W", "60"])
            .args(session));
        assert_eq!(again.lines().collect::<Vec<_>>(), ["1", "2", "3"]);
    }
}

#[test]
fn mosquitto_clients_find_everything_after_the_broker_was_killed() {
    for cores in CORES {
        let data_dir = scratch_dir("mosquitto");
        let mut broker = Broker::start_on(&data_dir, cores, &[]);
        let session = ["-i", "sleeper", "-c", "-q", "2", "-t", "missed/#"];
        let mut first = Subscriber::start(&broker, "mqttv311", &session);
        first.child.kill().expect("the child is ours");
        first.child.wait().expect("the child is ours");
        for number in ["1", "2", "3"] {
            publish(
                &broker,
                "mqttv5",
                &["-q", "2", "-t", "missed/it", "-m", number],
            );
        }
        publish(
            &broker,
            "mqttv311",
            &["-q", "1", "-r", "-t", "kept/here", "-m", "stays"],
        );
        broker.kill();

        let broker = Broker::start_on(&data_dir, cores, &[]);
        let again = run(Command::new("mosquitto_sub")
            .args(["-h", "127.0.0.1", "-p", &broker.port().to_string()])
            .args(["-V", "mqttv311", "-C", "3", "-W", "60"])
            .args(session));
        assert_eq!(again.lines().collect::<Vec<_>>(), ["1", "2", "3"]);
        let late = Subscriber::start(
            &broker,
            "mqttv5",
            &["-q", "1", "-t", "kept/#", "-C", "1", "-F", "%r %p"],
        );
        assert_eq!(late.messages(), ["1 stays"]);
        drop(broker);
        std::fs::remove_dir_all(&data_dir).unwrap();
    }
}
