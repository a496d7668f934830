//! A broker of this program's own: started with a fresh folder on a free port, observed until it
//! serves, and gone when dropped, whatever ends this program.
//!
//! It is always ended by its process number. A signal that ends this program ends the broker first
//! ([`stop_on_signal`]); if even that is impossible, the kernel ends it with us.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::certificate::CertificateFiles;
use crate::engine::system;
use crate::mqtt::{self, Packet, Version};
use crate::target::Target;
use crate::transport::{Layers, Tls, TlsOptions};

/// Filling the first files of a journal takes the longest.
const START_MAX: Duration = Duration::from_secs(30);
/// From SIGTERM to SIGKILL.
const STOP_MAX: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(5);
/// Wait for an answer to CONNECT, before another try.
const ANSWER_MAX: Duration = Duration::from_secs(2);
/// Lines of a broker's log that an error quotes.
const QUOTED_LINES: usize = 5;

/// Where a broker is to serve and to keep its files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// On 127.0.0.1.
    pub port: u16,
    /// Empty, and its own.
    pub folder: PathBuf,
    /// What the clients will speak; some brokers serve one version per port.
    pub version: Version,
    /// Serves TLS with it, and nothing else on the port; plain TCP when `None`.
    pub tls: Option<CertificateFiles>,
    /// CPUs for all its threads; empty for all.
    pub cpus: Vec<usize>,
}

/// How a broker is started at a place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Launch {
    pub program: PathBuf,
    pub arguments: Vec<String>,
    /// Names and texts of the files that it needs in its folder.
    pub files: Vec<(&'static str, String)>,
    /// Said when there is no such program.
    pub how_to_install: String,
}

/// A broker that serves.
#[derive(Debug)]
pub struct Broker {
    child: Child,
    folder: PathBuf,
    target: Target,
}

/// Brokers under way and other folders, for the thread that ends them on a signal.
struct Running {
    is_ending: bool,
    brokers: Vec<(u32, PathBuf)>,
    folders: Vec<PathBuf>,
}

static RUNNING: Mutex<Running> = Mutex::new(Running {
    is_ending: false,
    brokers: Vec::new(),
    folders: Vec::new(),
});

fn running() -> MutexGuard<'static, Running> {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Place {
    fn target(&self) -> Result<Target, String> {
        let scheme = if self.tls.is_some() { "tls" } else { "tcp" };
        format!("{scheme}://127.0.0.1:{}", self.port).parse()
    }

    /// The certificate is all that its clients trust.
    fn client_tls(&self) -> Result<Option<Tls>, String> {
        let options = self.tls.as_ref().map(|files| TlsOptions {
            ca: Some(files.cert.clone()),
            ..TlsOptions::default()
        });
        let tls = options.map(|options| Tls::new(&options, "127.0.0.1"));
        tls.transpose().map_err(|error| error.to_string())
    }
}

impl Broker {
    /// Starts it and waits until it answers CONNECT. An error quotes the broker's last words.
    pub fn start(launch: &Launch, place: &Place) -> Result<Self, String> {
        let failed = |error: io::Error| format!("{}: {error}", place.folder.display());
        fs::create_dir_all(&place.folder).map_err(failed)?;
        for (name, text) in &launch.files {
            fs::write(place.folder.join(name), text).map_err(failed)?;
        }
        let mut broker = Self {
            child: spawn(launch, place)?,
            folder: place.folder.clone(),
            target: place.target()?,
        };
        broker.await_service(place)?;
        Ok(broker)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Why it ended, if it did.
    pub fn ended(&mut self) -> Option<String> {
        let status = self.child.try_wait().ok().flatten()?;
        Some(format!("the broker ended: {status}{}", self.last_words()))
    }

    fn await_service(&mut self, place: &Place) -> Result<(), String> {
        let tls = place.client_tls()?;
        let end = Instant::now() + START_MAX;
        loop {
            if let Some(ended) = self.ended() {
                return Err(ended);
            }
            match greet(&self.target, tls.as_ref(), place.version) {
                Ok(()) => return Ok(()),
                Err(error) if Instant::now() > end => {
                    let words = self.last_words();
                    return Err(format!("the broker does not serve: {error}{words}"));
                }
                Err(_) => thread::sleep(LOOK),
            }
        }
    }

    fn last_words(&self) -> String {
        let text = fs::read(self.folder.join(LOG_NAME)).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<_> = text.trim().lines().collect();
        let first = lines.len().saturating_sub(QUOTED_LINES);
        lines[first..]
            .iter()
            .map(|line| format!("\n  {line}"))
            .collect()
    }

    /// Asks it to end, then makes it.
    fn stop(&mut self) -> io::Result<ExitStatus> {
        system::terminate(self.child.id());
        let end = Instant::now() + STOP_MAX;
        while Instant::now() < end {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            thread::sleep(LOOK);
        }
        self.child.kill()?;
        self.child.wait()
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // Held to the end, so that a signal never meets a process number that is free again.
        let mut running = running();
        // An error means that it is gone.
        let _ = self.stop();
        let pid = self.child.id();
        running.brokers.retain(|(other, _)| *other != pid);
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// What a broker writes goes here: a pipe that nobody reads would stop it.
const LOG_NAME: &str = "broker.log";

fn spawn(launch: &Launch, place: &Place) -> Result<Child, String> {
    let failed = |error: io::Error| {
        let program = launch.program.display();
        match error.kind() {
            io::ErrorKind::NotFound => {
                format!("{program}: no such program; {}", launch.how_to_install)
            }
            _ => format!("{program}: {error}"),
        }
    };
    let log = File::create(place.folder.join(LOG_NAME)).map_err(failed)?;
    let errors = log.try_clone().map_err(failed)?;
    // Brokers take the limit of open files that they are given.
    system::raise_descriptor_limit();
    let mut command = Command::new(&launch.program);
    command
        .args(&launch.arguments)
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(errors);
    system::bind_child(&mut command, &place.cpus);
    // Held over the start, so that a signal finds every broker in the list or none to come.
    let mut running = running();
    if running.is_ending {
        return Err("interrupted".to_owned());
    }
    let child = command.spawn().map_err(failed)?;
    running.brokers.push((child.id(), place.folder.clone()));
    Ok(child)
}

/// CONNECT until CONNACK says yes.
fn greet(target: &Target, tls: Option<&Tls>, version: Version) -> io::Result<()> {
    let mut greeting = Greeting::open(target, tls)?;
    let mut bytes = Vec::new();
    mqtt::encode_connect(
        &mqtt::Connect {
            version,
            client_id: "ringway-bench-greeting",
            clean: true,
            keep_alive_s: 10,
            session_expiry_s: 0,
            receive_maximum: u16::MAX,
            username: None,
            password: None,
        },
        &mut bytes,
    );
    greeting.send(&mut bytes)?;
    let mut answer = Vec::new();
    loop {
        greeting.receive(&mut answer)?;
        match mqtt::decode(&answer, version) {
            Ok(Some((Packet::Connack { code: 0, .. }, _))) => break,
            Ok(None) => {}
            _ => return Err(io::Error::other("no CONNACK that accepts")),
        }
    }
    mqtt::encode_disconnect(&mut bytes);
    greeting.send(&mut bytes)
}

/// A connection that waits for its answers.
struct Greeting {
    stream: TcpStream,
    layers: Option<Layers>,
}

impl Greeting {
    fn open(target: &Target, tls: Option<&Tls>) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&target.address()?, ANSWER_MAX)?;
        stream.set_read_timeout(Some(ANSWER_MAX))?;
        let layers = Layers::new(target, tls, 0)?;
        Ok(Self { stream, layers })
    }

    /// Takes what is in `plain`; the layers keep what their handshakes do not let through yet.
    fn send(&mut self, plain: &mut Vec<u8>) -> io::Result<()> {
        let wire = match &mut self.layers {
            Some(layers) => {
                layers.seal(plain)?;
                &mut layers.wire
            }
            None => plain,
        };
        self.stream.write_all(wire)?;
        wire.clear();
        Ok(())
    }

    fn receive(&mut self, plain: &mut Vec<u8>) -> io::Result<()> {
        let mut buffer = [0; 4_096];
        let count = self.stream.read(&mut buffer)?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let Some(layers) = &mut self.layers else {
            plain.extend_from_slice(&buffer[..count]);
            return Ok(());
        };
        layers
            .open(&buffer[..count], plain)
            .map_err(io::Error::other)?;
        // The handshake's next step.
        self.send(&mut Vec::new())
    }
}

/// A folder that goes with this value, or with the signal that ends this program.
#[derive(Debug)]
pub struct Folder(PathBuf);

impl Folder {
    pub fn make(path: PathBuf) -> Result<Self, String> {
        let mut running = running();
        fs::create_dir_all(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        running.folders.push(path.clone());
        Ok(Self(path))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let mut running = running();
        running.folders.retain(|folder| *folder != self.0);
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A port that was free a moment ago.
pub fn free_port() -> io::Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    Ok(listener.local_addr()?.port())
}

/// A folder name below `parent` that no other run on this host has.
pub fn fresh_folder(parent: &Path) -> PathBuf {
    parent.join(format!("ringway-bench-{}", crate::control::new_run_id()))
}

/// From now on SIGINT, SIGTERM and SIGHUP first end the brokers under way, then this program.
pub fn stop_on_signal() -> io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    thread::spawn(move || {
        if let Some(signal) = signals.forever().next() {
            end_all();
            std::process::exit(128 + signal);
        }
    });
    Ok(())
}

/// Does not return when a signal is ending this program: what a broker's end looks like then is no
/// result.
pub fn yield_to_signal() {
    while running().is_ending {
        thread::park();
    }
}

fn end_all() {
    let mut running = running();
    running.is_ending = true;
    for (pid, _) in &running.brokers {
        system::terminate(*pid);
    }
    let end = Instant::now() + STOP_MAX;
    while running.brokers.iter().any(|(pid, _)| is_alive(*pid)) && Instant::now() < end {
        thread::sleep(LOOK);
    }
    for (pid, folder) in &running.brokers {
        system::kill(*pid);
        let _ = fs::remove_dir_all(folder);
    }
    for folder in &running.folders {
        let _ = fs::remove_dir_all(folder);
    }
}

/// A child that ended and was not waited for yet counts as gone; its number is still its own.
fn is_alive(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat
        .rsplit_once(')')
        .and_then(|(_, rest)| rest.trim().chars().next());
    state.is_some_and(|state| state != 'Z')
}
