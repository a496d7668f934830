//! The generator threads of a run: threads of this process, or, where the sockets do not fit,
//! processes of the same program with one thread each.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, Stdio};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::engine::{self, Command, Event, Job};

/// The hidden command that makes the program a worker.
pub const WORKER_COMMAND: &str = "worker";

pub struct Crew {
    members: Vec<Member>,
    events: Receiver<(usize, Event)>,
}

enum Member {
    Thread {
        commands: Sender<Command>,
        handle: JoinHandle<()>,
    },
    Process {
        child: Child,
        stdin: ChildStdin,
        reader: JoinHandle<()>,
    },
}

impl Crew {
    pub fn of_threads(jobs: Vec<Job>) -> Self {
        let (tell, events) = mpsc::channel();
        let members = jobs.into_iter().enumerate().map(|(number, job)| {
            let (commands, received) = mpsc::channel();
            let tell = tell.clone();
            let handle = thread::spawn(move || {
                // When nobody listens any more, the run is over and the event of no use.
                engine::run(job, &received, |event| drop(tell.send((number, event))));
            });
            Member::Thread { commands, handle }
        });
        Self {
            members: members.collect(),
            events,
        }
    }

    /// `program` must know the worker command.
    pub fn of_processes(jobs: &[Job], program: &Path) -> io::Result<Self> {
        let (tell, events) = mpsc::channel();
        let mut crew = Self {
            members: Vec::new(),
            events,
        };
        for (number, job) in jobs.iter().enumerate() {
            crew.members
                .push(start_process(job, program, number, &tell)?);
        }
        Ok(crew)
    }

    pub fn len(&self) -> usize {
        self.members.len()
    }

    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// A member that cannot be told has ended; its last event says why.
    pub fn tell_all(&mut self, command: Command) {
        for member in &mut self.members {
            match member {
                Member::Thread { commands, .. } => drop(commands.send(command)),
                Member::Process { stdin, .. } => drop(write_line(stdin, &command)),
            }
        }
    }

    pub fn next_event(&self, timeout: Duration) -> Option<(usize, Event)> {
        self.events.recv_timeout(timeout).ok()
    }

    /// Waits for the end of all members, which `Stop` or an error has brought about.
    pub fn join(self) {
        for member in self.members {
            match member {
                Member::Thread { commands, handle } => {
                    drop(commands);
                    // A panic has been printed by the thread itself.
                    let _ = handle.join();
                }
                Member::Process {
                    mut child,
                    stdin,
                    reader,
                } => {
                    drop(stdin);
                    let _ = reader.join();
                    let _ = child.wait();
                }
            }
        }
    }
}

fn start_process(
    job: &Job,
    program: &Path,
    number: usize,
    tell: &Sender<(usize, Event)>,
) -> io::Result<Member> {
    let mut child = std::process::Command::new(program)
        .arg(WORKER_COMMAND)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let missing = || io::Error::other("a worker without pipes");
    let mut stdin = child.stdin.take().ok_or_else(missing)?;
    let stdout = child.stdout.take().ok_or_else(missing)?;
    write_line(&mut stdin, job)?;
    let tell = tell.clone();
    let reader = thread::spawn(move || {
        let mut is_over = false;
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            let event = serde_json::from_str(&line)
                .unwrap_or_else(|error| Event::Failed(format!("a worker said {line:?}: {error}")));
            is_over |= matches!(event, Event::Finished(_) | Event::Failed(_));
            let _ = tell.send((number, event));
        }
        if !is_over {
            let _ = tell.send((number, Event::Failed("a worker ended early".to_owned())));
        }
    });
    Ok(Member::Process {
        child,
        stdin,
        reader,
    })
}

fn write_line(out: &mut impl io::Write, value: &impl serde::Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    out.write_all(&line)?;
    out.flush()
}

/// The worker's side: a job and then commands on standard input, events on standard output.
pub fn work() -> io::Result<()> {
    let mut lines = BufReader::new(io::stdin()).lines();
    let first = lines.next().ok_or(io::ErrorKind::UnexpectedEof)??;
    let job: Job = serde_json::from_str(&first)?;
    engine::system::raise_descriptor_limit();
    let (commands, received) = mpsc::channel();
    thread::spawn(move || {
        for line in lines.map_while(Result::ok) {
            let Ok(command) = serde_json::from_str(&line) else {
                return;
            };
            if commands.send(command).is_err() {
                return;
            }
        }
    });
    let mut stdout = io::stdout();
    engine::run(job, &received, |event| {
        // Without a reader the controller is gone; the closed standard input ends the run.
        let _ = write_line(&mut stdout, &event);
    });
    stdout.flush()
}
