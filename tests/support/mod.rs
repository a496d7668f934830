//! A real broker process for tests: started on a free port of the loopback, stopped by pid.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// A running `ringway serve`. Dropping it stops the process.
pub(crate) struct Broker {
    child: Child,
    /// Of the first listener.
    pub(crate) address: SocketAddr,
    /// Of all listeners, in the order of the configuration.
    pub(crate) addresses: Vec<SocketAddr>,
    pub(crate) data_dir: PathBuf,
    /// The data directory outlives this process of the broker.
    keeps_data: bool,
    /// What it said before it was ready.
    pub(crate) start_log: Vec<String>,
    log: Receiver<String>,
}

/// Long enough for a loaded machine; nothing waits this long when all is well.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

impl Broker {
    /// Starts with the given number of cores and extra arguments.
    pub(crate) fn start(cores: usize, arguments: &[&str]) -> Self {
        let mut with_listener = vec!["--listen", "tcp://127.0.0.1:0"];
        with_listener.extend(arguments);
        Self::start_with(cores, &with_listener)
    }

    /// The same with listeners as the arguments say.
    pub(crate) fn start_with(cores: usize, arguments: &[&str]) -> Self {
        Self::launch(
            Command::new(env!("CARGO_BIN_EXE_ringway")),
            cores,
            scratch_dir("data"),
            arguments,
        )
    }

    /// On a data directory that stays when this process has ended.
    pub(crate) fn start_on(data_dir: &Path, cores: usize, arguments: &[&str]) -> Self {
        let mut with_listener = vec!["--listen", "tcp://127.0.0.1:0"];
        with_listener.extend(arguments);
        let program = Command::new(env!("CARGO_BIN_EXE_ringway"));
        let mut broker = Self::launch(program, cores, data_dir.to_owned(), &with_listener);
        broker.keeps_data = true;
        broker
    }

    /// With a limit of open files that the broker cannot raise.
    pub(crate) fn start_with_descriptors(count: u32, cores: usize, arguments: &[&str]) -> Self {
        let mut shell = Command::new("sh");
        let limited = format!("ulimit -n {count}; exec \"$@\"");
        shell.args(["-c", &limited, "sh", env!("CARGO_BIN_EXE_ringway")]);
        Self::launch(shell, cores, scratch_dir("data"), arguments)
    }

    fn launch(mut program: Command, cores: usize, data_dir: PathBuf, arguments: &[&str]) -> Self {
        let mut child = program
            .args(["serve", "--cores", &cores.to_string()])
            // The smallest files that take the largest packet: they are filled with zeros first.
            .args(["--set", "durability.segment_bytes=17MiB"])
            .arg("--data-dir")
            .arg(&data_dir)
            .args(arguments)
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the broker's program starts");
        let stderr = child.stderr.take().expect("stderr is piped");
        let (sender, log) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let (addresses, start_log) = wait_for_ready(&mut child, &log);
        Self {
            child,
            address: addresses[0],
            addresses,
            data_dir,
            keeps_data: false,
            start_log,
            log,
        }
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Lines logged since the last call.
    pub(crate) fn log_lines(&self) -> Vec<String> {
        self.log.try_iter().collect()
    }

    /// Waits for a line of the log with `part` in it, which must come after the last such call.
    pub(crate) fn wait_for_log(&self, part: &str) -> String {
        wait_until(part, || {
            self.log.try_iter().find(|line| line.contains(part))
        })
    }

    /// Stops the broker as an operator would and returns what it logged since the last look, its
    /// counters last.
    pub(crate) fn stop_for_log(&mut self) -> Vec<String> {
        let status = self.stop();
        assert_eq!(status.code(), Some(0));
        // Ends with the pipe, when all of it was read.
        self.log.iter().collect()
    }

    pub(crate) fn signal(&self, signal: i32) {
        let pid = i32::try_from(self.child.id()).expect("a pid");
        // SAFETY: only sends a signal to the child that this value owns and has not reaped.
        unsafe { libc::kill(pid, signal) };
    }

    /// Stops the broker as an operator would and returns how it ended.
    pub(crate) fn stop(&mut self) -> ExitStatus {
        self.signal(libc::SIGTERM);
        self.wait()
    }

    /// Ends the process as a power cut would, but for what the kernel holds.
    pub(crate) fn kill(&mut self) {
        self.signal(libc::SIGKILL);
        self.wait();
    }

    /// Waits for the end of the process.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        wait_until("the broker ends", || {
            self.child.try_wait().expect("the child is ours")
        })
    }

    /// User and system CPU time used so far, in clock ticks (10 ms).
    pub(crate) fn cpu_ticks(&self) -> u64 {
        let text = fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap_or_default();
        let after_name = text.rsplit(')').next().unwrap_or_default();
        let fields: Vec<&str> = after_name.split_whitespace().collect();
        let ticks = |index: usize| {
            fields
                .get(index)
                .and_then(|it| it.parse().ok())
                .unwrap_or(0)
        };
        ticks(11) + ticks(12)
    }

    /// A line of /proc/PID/status in KiB, such as `RssAnon`.
    pub(crate) fn status_kib(&self, name: &str) -> u64 {
        let text = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap_or_default();
        let line = text
            .lines()
            .find(|line| line.starts_with(&format!("{name}:")));
        line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok())
            .unwrap_or(0)
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.signal(libc::SIGKILL);
            let _ = self.child.wait();
        }
        if !self.keeps_data {
            let _ = fs::remove_dir_all(&self.data_dir);
        }
    }
}

fn wait_for_ready(child: &mut Child, log: &Receiver<String>) -> (Vec<SocketAddr>, Vec<String>) {
    let deadline = Instant::now() + PATIENCE;
    let mut seen = Vec::new();
    while Instant::now() < deadline {
        match log.recv_timeout(Duration::from_millis(100)) {
            Ok(line) => {
                if let Some(rest) = line.strip_prefix("ready ") {
                    return (addresses(rest), seen);
                }
                seen.push(line);
            }
            Err(_) => {
                if let Ok(Some(status)) = child.try_wait() {
                    panic!("the broker ended with {status} before it was ready: {seen:#?}");
                }
            }
        }
    }
    panic!("the broker was not ready in time: {seen:#?}");
}

/// Of the URLs of a ready line, whatever their scheme.
fn addresses(ready: &str) -> Vec<SocketAddr> {
    let urls = ready
        .split_whitespace()
        .map_while(|it| it.split_once("://"));
    let addresses: Vec<_> = urls
        .map(|(_, address)| address.parse().expect("the ready line names an address"))
        .collect();
    assert!(!addresses.is_empty(), "no URL: ready {ready}");
    addresses
}

/// A counter in the summary that the broker logs at its end.
pub(crate) fn counter(log: &[String], name: &str) -> u64 {
    let stopped = log.iter().rfind(|line| line.contains("stopped"));
    let stopped = stopped.expect("the broker logs its counters");
    let start = stopped.find(&format!(" {name}: ")).expect("a counter") + name.len() + 3;
    let digits = stopped[start..].split(|it: char| !it.is_ascii_digit());
    digits
        .take(1)
        .collect::<String>()
        .parse()
        .expect("a number")
}

/// A directory of its own for each caller, below the build's own directory for test data.
pub(crate) fn scratch_dir(name: &str) -> PathBuf {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
        .join(format!("{name}-{}-{number}", std::process::id()));
    fs::create_dir_all(&path).expect("the target directory is writable");
    path
}

/// Polls until there is a value; a test that waits for ever fails with what it waited for.
pub(crate) fn wait_until<T>(what: &str, mut poll: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = poll() {
            return value;
        }
        assert!(Instant::now() < deadline, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Runs a program to its end; fails the test with its output if it fails or takes too long.
pub(crate) fn run(command: &mut Command) -> String {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?}: {error}; `tests/run` installs it"));
    let mut stdout = child.stdout.take().expect("piped");
    let mut stderr = child.stderr.take().expect("piped");
    let errors = std::thread::spawn(move || {
        let mut text = String::new();
        let _ = stderr.read_to_string(&mut text);
        text
    });
    let output = std::thread::spawn(move || {
        let mut text = String::new();
        let _ = stdout.read_to_string(&mut text);
        text
    });
    let deadline = Instant::now() + PATIENCE;
    let status = loop {
        if let Some(status) = child.try_wait().expect("the child is ours") {
            break Some(status);
        }
        if Instant::now() > deadline {
            let _ = child.kill();
            break None;
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let (output, errors) = (output.join().unwrap(), errors.join().unwrap());
    assert!(
        status.is_some_and(|status| status.success()),
        "{command:?}: {status:?}\n{output}\n{errors}"
    );
    output
}
