//! The traceability tables: every normative statement of MQTT 5.0, and what 3.1.1 and 3.1 do
//! otherwise, with the tests that show it.
//!
//! ```text
//! MQTT-3.1.0-1   connect: name of a conversation in connect.txt
//!                src/topic/names.rs: name of a test in that file
//! MQTT-3.1.2-20  client-only: why the broker has no part in it
//! MQTT-6.0.0-1   not-applicable: why it does not concern this broker
//! ```
//! A test that is named must name the statement itself: in the title of the conversation, or in a
//! comment of the function. `differences.txt` has the same form, but its statements are words.

use crate::conversations;
use ringway::config::key::KEYS;
use ringway::config::listener_key::LISTENER_KEYS;
use std::collections::BTreeSet;
use std::path::Path;

/// Normative statements of MQTT 5.0.
const STATEMENT_COUNT: usize = 251;

/// One line of a table and those that continue it.
struct Entry {
    statement: String,
    proofs: Vec<(String, String)>,
}

fn entries(text: &str) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    for line in text.lines() {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let proof = if line.starts_with(' ') {
            line.trim()
        } else {
            let (statement, proof) = line.split_once("  ").expect("a statement and a proof");
            entries.push(Entry {
                statement: statement.to_owned(),
                proofs: Vec::new(),
            });
            proof.trim()
        };
        let (kind, what) = proof.split_once(": ").expect("kind: what");
        let entry = entries.last_mut().expect("a statement first");
        entry.proofs.push((kind.to_owned(), what.to_owned()));
    }
    entries
}

/// The text of a test function, or `None`.
fn function<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let start = text.find(&format!("fn {name}("))?;
    let rest = &text[start..];
    let end = rest.find("#[test]").unwrap_or(rest.len());
    let is_test = text[..start].trim_end().ends_with("#[test]");
    is_test.then_some(&rest[..end])
}

/// What is wrong with one proof. `statement`: what the test has to name, if it has to.
fn check(kind: &str, what: &str, statement: Option<&str>) -> Option<String> {
    if matches!(kind, "client-only" | "not-applicable") {
        return (what.len() < 10).then(|| "no reason".to_owned());
    }
    if kind.ends_with(".rs") {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(kind);
        let Ok(text) = std::fs::read_to_string(path) else {
            return Some(format!("there is no file {kind}"));
        };
        let Some(body) = function(&text, what) else {
            return Some(format!("there is no test {what} in {kind}"));
        };
        let named = statement.is_none_or(|id| body.contains(&format!("[{id}]")));
        return (!named).then(|| format!("{what} in {kind} does not name it"));
    }
    let all = conversations();
    let found = all
        .iter()
        .find(|(table, conversation)| *table == kind && conversation.name == what);
    let Some((_, conversation)) = found else {
        return Some(format!("there is no conversation {what} in {kind}.txt"));
    };
    let named = statement.is_none_or(|id| conversation.statements.iter().any(|it| it == id));
    (!named).then(|| format!("{what} in {kind}.txt does not name it"))
}

#[test]
fn every_statement_has_its_proof() {
    let entries = entries(include_str!("statements.txt"));
    let mut problems = Vec::new();
    let mut known = BTreeSet::new();
    for Entry { statement, proofs } in &entries {
        if !known.insert(statement.clone()) {
            problems.push(format!("{statement} is there twice"));
        }
        for (kind, what) in proofs {
            if let Some(problem) = check(kind, what, Some(statement)) {
                problems.push(format!("{statement}: {problem}"));
            }
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    assert_eq!(known.len(), STATEMENT_COUNT);
}

#[test]
fn conversations_name_statements_that_exist_and_are_listed_with_them() {
    let entries = entries(include_str!("statements.txt"));
    let mut problems = Vec::new();
    for (table, conversation) in conversations() {
        for statement in &conversation.statements {
            let entry = entries.iter().find(|entry| entry.statement == *statement);
            let listed = entry.is_some_and(|entry| {
                let mut proofs = entry.proofs.iter();
                proofs.any(|(kind, what)| kind == table && *what == conversation.name)
            });
            if !listed {
                let name = &conversation.name;
                problems.push(format!("{statement} does not list {table}: {name}"));
            }
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn conversation_names_are_unique() {
    let mut names = BTreeSet::new();
    for (table, conversation) in conversations() {
        let name = format!("{table}: {}", conversation.name);
        assert!(names.insert(name.clone()), "{name} is there twice");
    }
}

#[test]
fn every_difference_of_the_old_versions_has_its_proof() {
    let entries = entries(include_str!("differences.txt"));
    let problems: Vec<String> = entries
        .iter()
        .flat_map(|entry| entry.proofs.iter().map(move |proof| (entry, proof)))
        .filter_map(|(entry, (kind, what))| {
            let problem = check(kind, what, None)?;
            Some(format!("{}: {problem}", entry.statement))
        })
        .collect();
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    assert!(entries.len() >= 20);
}

/// Keys of the protocol side: each is set by a conversation that shows what it does.
#[test]
fn every_key_has_its_conversation() {
    const SECTIONS: [&str; 4] = ["mqtt", "session", "retained", "sys"];
    /// Not about the protocol: where to listen and how many, tested with real sockets, and what
    /// waits for the disk, tested with journals.
    const OTHER_KEYS: [&str; 5] = [
        "bind",
        "max_connections",
        "allow_anonymous",
        "backlog",
        "durability_ack",
    ];
    let all = conversations();
    let is_set = |name: &str| {
        let start = format!("{name}=");
        let mut conversations = all.iter().map(|(_, conversation)| conversation);
        conversations.any(|it| it.settings.iter().any(|text| text.starts_with(&start)))
    };
    let is_listeners = |name: &str| {
        let wanted = format!("{name}=");
        let mut conversations = all.iter().map(|(_, conversation)| conversation);
        conversations.any(|it| it.listener.contains(&wanted))
    };
    let keys = KEYS.iter().filter(|key| SECTIONS.contains(&key.section));
    let mut missing: Vec<String> = keys
        .map(|key| key.full_name())
        .filter(|name| !is_set(name))
        .collect();
    let keys = LISTENER_KEYS.iter().map(|key| key.name);
    let keys = keys.filter(|name| !OTHER_KEYS.contains(name) && !is_listeners(name));
    missing.extend(keys.map(|name| format!("listener.{name}")));
    assert!(missing.is_empty(), "no conversation sets {missing:?}");
}

#[test]
fn a_proof_that_is_none_is_found() {
    let of = |kind, what, statement| check(kind, what, Some(statement)).is_some();
    assert!(of("connect", "no such conversation", "MQTT-3.1.0-1"));
    assert!(of("connect", "only one CONNACK is sent", "MQTT-3.1.0-1"));
    assert!(!of("connect", "only one CONNACK is sent", "MQTT-3.2.0-2"));
    let names = "src/topic/names.rs";
    let test = "topic_name_is_accepted_or_refused";
    assert!(!of(names, test, "MQTT-4.7.3-3"));
    assert!(of(names, test, "MQTT-3.1.0-1"));
    assert!(of(names, "no_such_test", "MQTT-4.7.3-3"));
    assert!(of("src/no/such/file.rs", test, "MQTT-4.7.3-3"));
    assert!(of("client-only", "", "MQTT-3.1.2-20"));
}
