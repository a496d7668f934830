//! Recipes: how each broker is started for a comparison, with settings that are fair to it.
//!
//! Fair means: one listener on the loopback, anybody may come, TCP_NODELAY, no log, no limit of
//! messages in flight, queued or connections below what a scenario needs, and nothing on the disk
//! unless the scenario asks for persistence. [`HELP`] says it to the user, per broker.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::broker::{Launch, Place};
use crate::certificate::CertificateFiles;
use crate::mqtt::Version;

/// The settings of all recipes, for `--help`.
pub const HELP: &str = "\
Brokers, as KIND[:LABEL][=PROGRAM]; a label tells two of one kind apart. Each is started anew for
every run, with an empty folder, on a free port of 127.0.0.1, on its own CPUs, and ended by its
process number. All: anonymous clients, TCP_NODELAY, no log, limits raised past what a scenario
needs, the limit of open files of this shell, $SYS as the broker's default has it.

  ringway       `ringway serve` as it comes; 65,535 messages in flight and 1,000,000 queued per
                session, a send queue of 64 MiB. A persistent scenario acknowledges when the message
                is on the disk, its default; with persistence off as soon as it is taken. Default
                program: `ringway` beside this one, else of the PATH.
  ringway-os    the same, but acknowledges when the operating system has the message: survives the
                end of the process, not of the machine.
  ringway-none  the same, but never waits for the disk. This is the promise that Mosquitto makes.
  ringway-spin  the same as ringway, but a core looks 20 us for events before it sleeps
                (node.spin_us = 20): lower latency for more CPU time.
  floor         the bare relay of this program: reads and writes sockets, no sessions, nothing else.
                What it costs is the least that any broker could.
  mosquitto     max_inflight_messages 65535, max_queued_messages and _bytes without limit, no
                connection limit, set_tcp_nodelay. A persistent scenario sets `persistence true`:
                Mosquitto then writes its database at its end and every autosave_interval (1800 s);
                an acknowledgement does not say that anything is on the disk.
                To install: apt-get install mosquitto
  rumqttd       one listener of the scenario's protocol version, payloads up to 256 MiB, 65,535 in
                flight. It has no setting for TCP_NODELAY and keeps nothing on the disk: it does not
                take part with persistence on.
                To install: cargo install rumqttd (its lock file is too old for current compilers)
  NAME=command: PROGRAM ARGUMENTS
                anything else; {port}, {dir} and {cpus} are replaced, with --tls {cert} and {key}
                too, words end at blanks. Whether its settings are fair is up to you.

With --tls each broker has one TLS listener in place of the plain one. All show the same
certificate (ECDSA P-256, made for the comparison, the only one that the generator trusts);
versions, ciphers and library are each broker's own and its defaults, and what was negotiated is
named with the results. The generator offers TLS 1.3 and 1.2, key exchange by X25519, P-256, P-384
in this order, and resumes no session unless --tls-resume says so. The floor does not take part.
ringway: a tls:// address; mosquitto: certfile, keyfile; rumqttd: certpath, keypath, which it reads
anew for each connection, so that nothing is ever resumed.";

/// About what it takes to wake a sleeping CPU: a longer look brings little more, and leaves other
/// work on the machine no time.
const SPIN_US: &str = "20";

/// Whether the broker shall keep sessions and messages on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Persistence {
    /// The scenario has no sessions to keep: the broker's own default, where that writes nothing.
    Unused,
    On,
    Off,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    Ringway,
    RingwayOs,
    RingwayNone,
    RingwaySpin,
    Floor,
    Mosquitto,
    Rumqttd,
    Command,
}

impl Kind {
    const NAMED: [(&'static str, Self); 7] = [
        ("ringway", Self::Ringway),
        ("ringway-os", Self::RingwayOs),
        ("ringway-none", Self::RingwayNone),
        ("ringway-spin", Self::RingwaySpin),
        ("floor", Self::Floor),
        ("mosquitto", Self::Mosquitto),
        ("rumqttd", Self::Rumqttd),
    ];

    pub fn is_ringway(self) -> bool {
        matches!(
            self,
            Self::Ringway | Self::RingwayOs | Self::RingwayNone | Self::RingwaySpin
        )
    }

    fn how_to_install(self) -> &'static str {
        match self {
            Self::Mosquitto => "apt-get install mosquitto",
            Self::Rumqttd => "cargo install rumqttd",
            Self::Command => "the command names it",
            Self::Floor => "it is this program",
            _ => "cargo build --release, or name it: --broker ringway=PATH",
        }
    }
}

/// One broker of a comparison, as `--broker` names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recipe {
    /// What tables call it.
    pub name: String,
    pub kind: Kind,
    pub program: PathBuf,
    /// Of `command` only; elsewhere the recipe makes them.
    pub arguments: Vec<String>,
}

impl FromStr for Recipe {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, program) = match text.split_once('=') {
            Some((name, program)) => (name, Some(program)),
            None => (text, None),
        };
        if let Some(line) = program.and_then(|program| program.strip_prefix("command:")) {
            return command(name, line);
        }
        let (word, label) = name.split_once(':').unwrap_or((name, name));
        let kind = Kind::NAMED.iter().find(|(known, _)| *known == word);
        let Some((_, kind)) = kind.filter(|_| !label.is_empty() && program != Some("")) else {
            let known = Kind::NAMED.map(|(known, _)| known).join(", ");
            return Err(format!(
                "`{text}`: known are {known} with =PROGRAM, and NAME=command: PROGRAM ARGUMENTS"
            ));
        };
        let program = program.map_or_else(|| default_program(*kind), |text| Ok(text.into()))?;
        Ok(Self {
            name: label.to_owned(),
            kind: *kind,
            program,
            arguments: Vec::new(),
        })
    }
}

fn command(name: &str, line: &str) -> Result<Recipe, String> {
    let mut words = line.split_whitespace().map(str::to_owned);
    let (false, Some(program)) = (name.is_empty(), words.next()) else {
        return Err("NAME=command: PROGRAM ARGUMENTS needs a name and a program".to_owned());
    };
    Ok(Recipe {
        name: name.to_owned(),
        kind: Kind::Command,
        program: program.into(),
        arguments: words.collect(),
    })
}

fn default_program(kind: Kind) -> Result<PathBuf, String> {
    let own = std::env::current_exe().map_err(|error| format!("own program: {error}"))?;
    Ok(match kind {
        Kind::Floor => own,
        // A distribution puts it where a user's PATH may not look.
        Kind::Mosquitto => first_file(&["/usr/sbin/mosquitto", "/usr/local/sbin/mosquitto"], kind),
        Kind::Rumqttd | Kind::Command => "rumqttd".into(),
        _ => match own.parent().map(|folder| folder.join("ringway")) {
            Some(beside) if beside.is_file() => beside,
            _ => "ringway".into(),
        },
    })
}

fn first_file(paths: &[&str], kind: Kind) -> PathBuf {
    let found = paths.iter().map(Path::new).find(|path| path.is_file());
    let name = Kind::NAMED.iter().find(|(_, other)| *other == kind);
    found.map_or_else(|| name.map_or("", |(name, _)| name).into(), Path::to_owned)
}

impl Recipe {
    /// How it is started at a place.
    pub fn launch(&self, place: &Place, persistence: Persistence) -> Launch {
        let mut launch = Launch {
            program: self.program.clone(),
            how_to_install: format!("{}: {}", self.name, self.kind.how_to_install()),
            ..Launch::default()
        };
        match self.kind {
            Kind::Floor => {
                let listen = format!("127.0.0.1:{}", place.port);
                launch.arguments = ["floor", "--listen", &listen].map(str::to_owned).to_vec();
            }
            Kind::Mosquitto => {
                launch.files = vec![("mosquitto.conf", mosquitto(place, persistence))];
                launch.arguments = vec!["-c".to_owned(), path(place, "mosquitto.conf")];
            }
            Kind::Rumqttd => {
                launch.files = vec![("rumqttd.toml", rumqttd(place))];
                let config = path(place, "rumqttd.toml");
                launch.arguments = vec!["-q".to_owned(), "-c".to_owned(), config];
            }
            Kind::Command => launch.arguments = self.filled_in(place),
            _ => launch.arguments = self.ringway(place, persistence),
        }
        launch
    }

    /// What is wrong with a command's placeholders. Others have nothing that could be wrong.
    pub fn check(&self, is_tls: bool) -> Result<(), String> {
        let has = |word: &str| self.arguments.iter().any(|text| text.contains(word));
        let name = &self.name;
        match (self.kind, is_tls) {
            (Kind::Command, true) if !has("{cert}") || !has("{key}") => Err(format!(
                "{name}: with --tls a command needs {{cert}} and {{key}}, the certificate that the \
                 generator trusts"
            )),
            (Kind::Command, false) if has("{cert}") || has("{key}") => Err(format!(
                "{name}: there is no {{cert}} and no {{key}} without --tls"
            )),
            _ => Ok(()),
        }
    }

    /// Why it cannot take part, if it cannot.
    pub fn refusal(
        &self,
        scenario: &str,
        persistence: Persistence,
        is_tls: bool,
    ) -> Option<&'static str> {
        let needs_index = scenario.starts_with("wild-");
        let needs_retained = scenario.starts_with("retained-");
        match (self.kind, persistence) {
            (Kind::Floor, _) if is_tls => Some("the floor speaks no TLS"),
            (Kind::Floor, _) if needs_index => Some("the floor has no index of filters"),
            (Kind::Floor, _) if needs_retained => Some("the floor keeps no messages"),
            (Kind::Floor, Persistence::On | Persistence::Off) => Some("the floor has no sessions"),
            (Kind::Rumqttd, Persistence::On) => Some("rumqttd keeps nothing on the disk"),
            _ => None,
        }
    }

    fn filled_in(&self, place: &Place) -> Vec<String> {
        let fill = |word: &String| {
            let word = word
                .replace("{port}", &place.port.to_string())
                .replace("{dir}", &place.folder.to_string_lossy())
                .replace("{cpus}", &cpu_list(&place.cpus));
            match &place.tls {
                None => word,
                Some(files) => word
                    .replace("{cert}", &files.cert.to_string_lossy())
                    .replace("{key}", &files.key.to_string_lossy()),
            }
        };
        self.arguments.iter().map(fill).collect()
    }

    fn ringway(&self, place: &Place, persistence: Persistence) -> Vec<String> {
        let ack = match (self.kind, persistence) {
            (Kind::RingwayOs, _) => "os",
            (Kind::RingwayNone, _) | (_, Persistence::Off) => "none",
            _ => "disk",
        };
        let mut arguments = vec![
            "serve".to_owned(),
            "--listen".to_owned(),
            ringway_address(place),
            "--data-dir".to_owned(),
            path(place, "data"),
        ];
        if self.kind == Kind::RingwaySpin {
            arguments.extend(["--spin-us".to_owned(), SPIN_US.to_owned()]);
        }
        let settings = [
            "session.max_inflight=65535",
            "mqtt.receive_maximum=65535",
            "session.max_queued_messages=1000000",
            "session.max_queued_bytes=1GiB",
            "limit.send_queue_bytes=64MiB",
            "log.level=error",
            &format!("durability.ack={ack}"),
        ];
        for setting in settings {
            arguments.extend(["--set".to_owned(), setting.to_owned()]);
        }
        arguments
    }

    /// What the program says about itself; an error when there is no such program.
    pub fn version(&self) -> Result<Option<String>, String> {
        let flag = match self.kind {
            // It knows no flag that says nothing but its version; the help begins with it.
            Kind::Mosquitto => "-h",
            // An unknown program could take any flag for something else and go on.
            Kind::Command => return Ok(None),
            _ => "--version",
        };
        let output = Command::new(&self.program).arg(flag).output();
        let output = output.map_err(|error| {
            let (program, install) = (self.program.display(), self.kind.how_to_install());
            format!("{program}: {error}; to get {}: {install}", self.name)
        })?;
        let text = String::from_utf8_lossy(&output.stdout);
        Ok(text.lines().next().map(|line| line.trim().to_owned()))
    }
}

fn path(place: &Place, name: &str) -> String {
    place.folder.join(name).to_string_lossy().into_owned()
}

fn ringway_address(place: &Place) -> String {
    let port = place.port;
    match &place.tls {
        None => format!("tcp://127.0.0.1:{port}"),
        Some(CertificateFiles { cert, key }) => format!(
            "tls://127.0.0.1:{port}?tls.cert={}&tls.key={}",
            cert.display(),
            key.display()
        ),
    }
}

fn cpu_list(cpus: &[usize]) -> String {
    let texts: Vec<_> = cpus.iter().map(usize::to_string).collect();
    texts.join(",")
}

/// `user root` keeps it who it is when root starts it, so that it may use its folder; for others
/// the line says nothing.
fn mosquitto(place: &Place, persistence: Persistence) -> String {
    let is_kept = persistence == Persistence::On;
    let (port, folder) = (place.port, place.folder.display());
    let tls = place.tls.as_ref().map(|CertificateFiles { cert, key }| {
        format!("certfile {}\nkeyfile {}\n", cert.display(), key.display())
    });
    let tls = tls.unwrap_or_default();
    format!(
        "user root
listener {port} 127.0.0.1
{tls}allow_anonymous true
set_tcp_nodelay true
max_connections -1
max_inflight_messages 65535
max_inflight_bytes 0
max_queued_messages 0
max_queued_bytes 0
log_dest none
persistence {is_kept}
persistence_location {folder}/
"
    )
}

/// It has a section, and so a port, for each protocol version.
fn rumqttd(place: &Place) -> String {
    let section = match place.version {
        Version::V311 => "v4",
        Version::V50 => "v5",
    };
    let port = place.port;
    let tls = place.tls.as_ref().map(|CertificateFiles { cert, key }| {
        let (cert, key) = (cert.display(), key.display());
        format!("\n[{section}.1.tls]\ncertpath = \"{cert}\"\nkeypath = \"{key}\"\n")
    });
    let tls = tls.unwrap_or_default();
    format!(
        "id = 0

[router]
id = 0
max_connections = 20000
max_outgoing_packet_count = 65535
max_segment_size = 104857600
max_segment_count = 10

[{section}.1]
name = \"compare\"
listen = \"127.0.0.1:{port}\"
next_connection_delay_ms = 0

[{section}.1.connections]
connection_timeout_ms = 60000
max_payload_size = 268435456
max_inflight_count = 65535
dynamic_filters = true
{tls}"
    )
}
