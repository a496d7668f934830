//! Tables of byte conversations, named by the statements of the specification that they show.
//!
//! Each file in this folder holds conversations (see `script` for the notation). All of them run
//! against bare shards with virtual time; those that do not need virtual time run against the
//! real process too.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests of real processes wait, and may fail loudly"
)]

mod process;
mod script;
mod shards;
mod statements;
#[path = "../support/mod.rs"]
mod support;

use script::{Conversation, Step, parse};

/// The far end of a conversation: something that takes bytes from named clients and answers.
trait Server {
    fn send(&mut self, client: char, bytes: &[u8]);
    /// The next bytes for the client, exactly as many as asked for; fewer if its connection ends
    /// or nothing more comes.
    fn receive(&mut self, client: char, count: usize) -> Vec<u8>;
    /// Nothing waits for the client and its connection is open.
    fn is_quiet(&mut self, client: char) -> bool;
    /// The connection ended, with nothing unread before its end.
    fn is_closed(&mut self, client: char) -> bool;
    /// The client's network connection breaks.
    fn cut(&mut self, client: char);
    /// Virtual time passes.
    fn advance(&mut self, seconds: u64);
}

const TABLES: &[(&str, &str)] = &[
    ("connect", include_str!("connect.txt")),
    ("publish", include_str!("publish.txt")),
    ("qos", include_str!("qos.txt")),
    ("subscribe", include_str!("subscribe.txt")),
    ("shared", include_str!("shared.txt")),
    ("session", include_str!("session.txt")),
    ("will", include_str!("will.txt")),
    ("retained", include_str!("retained.txt")),
    ("errors", include_str!("errors.txt")),
    ("auth", include_str!("auth.txt")),
    ("mount", include_str!("mount.txt")),
    ("limits", include_str!("limits.txt")),
    ("sys", include_str!("sys.txt")),
    ("old_versions", include_str!("old_versions.txt")),
];

fn conversations() -> Vec<(&'static str, Conversation)> {
    let mut all = Vec::new();
    for (table, text) in TABLES {
        all.extend(
            parse(table, text)
                .into_iter()
                .map(|conversation| (*table, conversation)),
        );
    }
    all
}

/// Plays one conversation; the error says where it went another way.
fn play(conversation: &Conversation, server: &mut impl Server) -> Result<(), String> {
    for (line, step) in &conversation.steps {
        let problem = match step {
            Step::Send(client, bytes) => {
                server.send(*client, bytes);
                None
            }
            Step::Expect(client, pattern) => {
                let got = server.receive(*client, pattern.len_min());
                let got = pattern.complete(got, |count| server.receive(*client, count));
                (!pattern.matches(&got)).then(|| format!("wanted {pattern}, got {got:02x?}"))
            }
            Step::Quiet(client) => (!server.is_quiet(*client)).then(|| "wanted silence".to_owned()),
            Step::Closed(client) => {
                (!server.is_closed(*client)).then(|| "wanted the end of the connection".to_owned())
            }
            Step::Cut(client) => {
                server.cut(*client);
                None
            }
            Step::Advance(seconds) => {
                server.advance(*seconds);
                None
            }
        };
        if let Some(problem) = problem {
            return Err(format!("line {line}: {problem}"));
        }
    }
    Ok(())
}

#[test]
fn conversations_hold_against_bare_shards() {
    let mut failures = Vec::new();
    for shard_count in [1, 2, 3] {
        for (table, conversation) in conversations() {
            if !conversation.is_for(shard_count) {
                continue;
            }
            let mut server = shards::Shards::new(shard_count, &conversation);
            if let Err(problem) = play(&conversation, &mut server) {
                let name = &conversation.name;
                failures.push(format!(
                    "{table}.txt: {name} ({shard_count} shards): {problem}"
                ));
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// Brokers that run side by side: most of a conversation is waiting.
const LANES: usize = 4;

/// Every [`LANES`]-th conversation, each against a process of its own; returns the failures.
fn play_lane(lane: usize) -> Vec<String> {
    let mut failures = Vec::new();
    for (table, conversation) in conversations().into_iter().skip(lane).step_by(LANES) {
        for cores in [1_u16, 2] {
            if !conversation.is_for_process() || !conversation.is_for(cores) {
                continue;
            }
            let mut server = process::Process::new(usize::from(cores), &conversation);
            if let Err(problem) = play(&conversation, &mut server) {
                let name = &conversation.name;
                failures.push(format!("{table}.txt: {name} ({cores} cores): {problem}"));
            }
        }
    }
    failures
}

#[test]
fn conversations_hold_against_the_process() {
    let failures: Vec<String> = std::thread::scope(|scope| {
        let lanes = (0..LANES).map(|lane| scope.spawn(move || play_lane(lane)));
        let lanes: Vec<_> = lanes.collect();
        lanes
            .into_iter()
            .flat_map(|lane| lane.join().expect("a lane ends"))
            .collect()
    });
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
