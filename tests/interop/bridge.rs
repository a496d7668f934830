//! A Mosquitto broker that is bridged to ours, in every version that its bridges speak.

use super::CORES;
use super::mosquitto::{Subscriber, publish_at};
use super::support::{Broker, scratch_dir, wait_until};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// A running mosquitto; ended with its owner.
struct Mosquitto {
    child: Child,
    port: u16,
    folder: PathBuf,
}

impl Mosquitto {
    /// With a bridge that carries `house/#` both ways.
    fn bridged_to(broker: &Broker, version: &str) -> Self {
        let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = free.local_addr().expect("bound").port();
        drop(free);
        let folder = scratch_dir("mosquitto");
        let file = folder.join("mosquitto.conf");
        let text = format!(
            "listener {port} 127.0.0.1\nallow_anonymous true\nconnection ours\n\
             address 127.0.0.1:{}\nremote_clientid bridge\nbridge_protocol_version {version}\n\
             cleansession true\ntopic house/# both 2\n",
            broker.port()
        );
        std::fs::write(&file, text).expect("the folder is there");
        let program = ["/usr/sbin/mosquitto", "mosquitto"]
            .into_iter()
            .find(|program| Command::new(program).arg("-h").output().is_ok())
            .expect("mosquitto; `tests/run` installs it");
        let child = Command::new(program)
            .arg("-c")
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("mosquitto starts");
        wait_until("mosquitto listens", || {
            TcpStream::connect(("127.0.0.1", port)).ok()
        });
        Self {
            child,
            port,
            folder,
        }
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

#[test]
fn mosquitto_bridge_carries_messages_both_ways_and_none_twice() {
    for (cores, version) in CORES.into_iter().flat_map(|cores| {
        let versions = ["mqttv31", "mqttv311", "mqttv50"];
        versions.map(|version| (cores, version))
    }) {
        let near = Broker::start(cores, &[]);
        let far = Mosquitto::bridged_to(&near, version);
        // A bridge says that it is there, below $SYS.
        let state = [
            "-t",
            "$SYS/broker/connection/+/state",
            "-C",
            "1",
            "-F",
            "%r %p",
        ];
        let state = Subscriber::start_at(near.port(), "mqttv5", &state).messages();
        assert!(state[0].ends_with(" 1"), "{version}: {state:?}");
        // Its subscription is there when what is retained here arrives there, still retained.
        let retained = ["-r", "-q", "1", "-t", "house/kept", "-m", "kept"];
        publish_at(near.port(), "mqttv5", &retained);
        let kept = ["-t", "house/kept", "-C", "1", "-F", "%p"];
        assert_eq!(
            Subscriber::start_at(far.port, "mqttv5", &kept).messages(),
            ["kept"]
        );
        let live = ["-q", "2", "-t", "house/live/#", "-C", "3", "-F", "%t %p"];
        let watchers =
            [near.port(), far.port].map(|port| Subscriber::start_at(port, "mqttv311", &live));
        for (port, number) in [(near.port(), "1"), (far.port, "2"), (near.port(), "3")] {
            let topic = format!("house/live/{number}");
            publish_at(port, "mqttv311", &["-q", "2", "-t", &topic, "-m", number]);
        }
        for watcher in watchers {
            let mut messages = watcher.messages();
            messages.sort_unstable();
            let wanted = ["house/live/1 1", "house/live/2 2", "house/live/3 3"];
            assert_eq!(messages, wanted, "{version}, {cores} cores");
        }
    }
}
