//! A broker of the planner's own: started with fresh data on a free port, gone when dropped.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use crate::target::Target;

/// Filling the first journal segments takes the longest.
const START_MAX: Duration = Duration::from_secs(30);

pub(super) struct Broker {
    child: Child,
    pub target: Target,
    data: PathBuf,
}

impl Broker {
    /// `folder` is where its data directory is made, on the disk that is to be measured.
    pub(super) fn start(program: &Path, cores: u32, folder: &Path) -> Result<Self, String> {
        let data = folder.join(format!("ringway-plan-{}", std::process::id()));
        // What another process of this number left behind is not ours to continue.
        remove(&data)?;
        let failed = |error: std::io::Error| {
            format!(
                "{}: {error}; name the broker with --broker",
                program.display()
            )
        };
        let child = Command::new(program)
            .args(["serve", "--listen", "tcp://127.0.0.1:0"])
            .args(["--cores", &cores.to_string()])
            .arg("--data-dir")
            .arg(&data)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        let mut broker = Self {
            child,
            target: "tcp://127.0.0.1:1883".parse()?,
            data,
        };
        broker.target = broker.await_ready()?;
        Ok(broker)
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The address in the line `ready`; its last words when it ends instead.
    fn await_ready(&mut self) -> Result<Target, String> {
        let stderr = self.child.stderr.take().ok_or("a broker without stderr")?;
        let (tell, told) = mpsc::channel();
        // Reads to the end, so that the broker never waits for a full pipe.
        thread::spawn(move || {
            let mut tell = Some(tell);
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                if let Some(sender) = &tell
                    && sender.send(line).is_err()
                {
                    tell = None;
                }
            }
        });
        let mut last = "no word from it".to_owned();
        loop {
            let Ok(line) = told.recv_timeout(START_MAX) else {
                return Err(format!("the broker does not start: {last}"));
            };
            let ready = line.split_whitespace().skip_while(|word| *word != "ready");
            if let Some(url) = ready.clone().find(|word| word.starts_with("tcp://")) {
                return url.parse();
            }
            last = line;
        }
    }
}

impl Drop for Broker {
    /// Nobody needs its data: no time for a graceful stop.
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = remove(&self.data);
    }
}

fn remove(folder: &Path) -> Result<(), String> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(format!("{}: {error}", folder.display()))
        }
        _ => Ok(()),
    }
}

/// As the program says it.
pub(super) fn version(program: &Path) -> Result<String, String> {
    let failed = |error: String| {
        format!(
            "{}: {error}; name the broker with --broker",
            program.display()
        )
    };
    let output = Command::new(program).arg("--version").output();
    let output = output.map_err(|error| failed(error.to_string()))?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if text.is_empty() {
        return Err(failed("does not say its version".to_owned()));
    }
    Ok(text)
}

/// `ringway` beside this program, as both are built together; else as the shell finds it.
pub fn default_program() -> PathBuf {
    let beside = std::env::current_exe().ok();
    let beside = beside.and_then(|own| Some(own.parent()?.join("ringway")));
    beside
        .filter(|path| path.is_file())
        .unwrap_or_else(|| PathBuf::from("ringway"))
}
