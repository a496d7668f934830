//! The notation of the tables.
//!
//! ```text
//! # a comment
//! == name of the conversation  [MQTT-3.1.0-1] [MQTT-3.1.0-2]
//! set mqtt.max_qos=1                     configuration, before the first step
//! listener max_qos=1&backlog=10          the listener's, likewise
//! shards 1                               holds only for so many shards
//! method                                 with the method "test", and so only with bare shards
//! A> [10: s"MQTT" 05 02 003c 00 s"a"]    client A sends a packet; A> opens its connection
//! A< [20: 00 00 *]                       client A receives; `*`: any rest of the packet
//! A< quiet | A< closed | A cut | advance 10
//! ```
//! Bytes are hexadecimal; `s"text"` is a length-prefixed string, `"text"` its bytes alone;
//! `[xx: ...]` puts the remaining length between the first byte and the body; `??` is any byte;
//! `5xAB` repeats a byte. A line of `let NAME = ...` names a piece that `$NAME` stands for.

use std::collections::BTreeMap;
use std::fmt;

pub(crate) struct Conversation {
    pub(crate) name: String,
    /// The statements that it shows, without brackets.
    pub(crate) statements: Vec<String>,
    /// `section.key=value`.
    pub(crate) settings: Vec<String>,
    /// `key=value&...` behind the listener's URL.
    pub(crate) listener: String,
    /// With the authentication method of `shards::TestMethod`.
    pub(crate) has_method: bool,
    /// How many shards it is about, if not any number.
    pub(crate) shards: Option<u16>,
    pub(crate) steps: Vec<(usize, Step)>,
}

pub(crate) enum Step {
    Send(char, Vec<u8>),
    Expect(char, Pattern),
    Quiet(char),
    Closed(char),
    Cut(char),
    Advance(u64),
}

/// Bytes in which some may be anything.
#[derive(Default)]
pub(crate) struct Pattern {
    bytes: Vec<Option<u8>>,
    /// The packet that starts here has any rest: only its first bytes are fixed.
    open_from: Option<usize>,
}

impl Conversation {
    /// From its title: the name, then the statements in brackets.
    fn titled(title: &str) -> Self {
        let mut parts = title.split("[MQTT-");
        let name = parts.next().unwrap_or_default().trim().to_owned();
        let statements = parts.filter_map(|part| part.split_once(']'));
        Self {
            name,
            statements: statements.map(|(id, _)| format!("MQTT-{id}")).collect(),
            settings: Vec::new(),
            listener: String::new(),
            has_method: false,
            shards: None,
            steps: Vec::new(),
        }
    }

    /// Takes a line that is about the conversation as a whole.
    fn take_condition(&mut self, line: &str) -> bool {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        let rest = rest.trim();
        match word {
            "set" => self.settings.push(rest.to_owned()),
            "listener" => self.listener = format!("?{rest}"),
            "method" => self.has_method = true,
            "shards" => self.shards = Some(rest.parse().expect("a number of shards")),
            _ => return false,
        }
        true
    }

    /// Whether it is about a broker with so many shards.
    pub(crate) fn is_for(&self, shard_count: u16) -> bool {
        self.shards.is_none_or(|wanted| wanted == shard_count)
    }

    /// Can it be played against a real process? That has its own time and its own methods.
    pub(crate) fn is_for_process(&self) -> bool {
        let mut steps = self.steps.iter();
        !self.has_method && !steps.any(|(_, step)| matches!(step, Step::Advance(_)))
    }
}

impl Pattern {
    /// How many bytes to read first: all, or the fixed header's two of an open packet.
    pub(crate) fn len_min(&self) -> usize {
        self.open_from.map_or(self.bytes.len(), |start| start + 2)
    }

    /// Reads the rest of an open packet by its own remaining length (below 128).
    pub(crate) fn complete(
        &self,
        mut got: Vec<u8>,
        mut read: impl FnMut(usize) -> Vec<u8>,
    ) -> Vec<u8> {
        if let Some(start) = self.open_from
            && got.len() == start + 2
        {
            let rest = usize::from(got[start + 1]);
            got.extend(read(rest));
        }
        got
    }

    pub(crate) fn matches(&self, got: &[u8]) -> bool {
        let fits = |(wanted, got): (&Option<u8>, &u8)| wanted.is_none_or(|wanted| wanted == *got);
        let length = match self.open_from {
            Some(_) => got.len() >= self.bytes.len(),
            None => got.len() == self.bytes.len(),
        };
        length && self.bytes.iter().zip(got).all(fits)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in &self.bytes {
            match byte {
                Some(byte) => write!(formatter, "{byte:02x} ")?,
                None => formatter.write_str("?? ")?,
            }
        }
        formatter.write_str(if self.open_from.is_some() { "*" } else { "" })
    }
}

/// # Panics
/// When the table is not in the notation: a mistake of its author.
pub(crate) fn parse(table: &str, text: &str) -> Vec<Conversation> {
    let mut names = BTreeMap::new();
    let mut conversations: Vec<Conversation> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(name) = line.strip_prefix("==") {
            conversations.push(Conversation::titled(name));
            continue;
        }
        if let Some(definition) = line.strip_prefix("let ") {
            let (name, value) = definition.split_once('=').expect("let NAME = VALUE");
            names.insert(name.trim().to_owned(), value.trim().to_owned());
            continue;
        }
        if let Some(conversation) = conversations.last_mut()
            && conversation.take_condition(line)
        {
            continue;
        }
        let step =
            step(line, &names).unwrap_or_else(|| panic!("{table}.txt:{}: {line}", index + 1));
        let conversation = conversations
            .last_mut()
            .expect("a conversation before its steps");
        conversation.steps.push((index + 1, step));
    }
    conversations
}

fn step(line: &str, names: &BTreeMap<String, String>) -> Option<Step> {
    if let Some(seconds) = line.strip_prefix("advance ") {
        return Some(Step::Advance(seconds.trim().parse().ok()?));
    }
    let client = line.chars().next()?;
    let rest = line[1..].trim();
    if rest == "cut" {
        return Some(Step::Cut(client));
    }
    let (direction, what) = rest.split_at(1);
    match (direction, what.trim()) {
        ("<", "quiet") => Some(Step::Quiet(client)),
        ("<", "closed") => Some(Step::Closed(client)),
        ("<", what) => Some(Step::Expect(client, bytes(what, names)?)),
        (">", what) => {
            let pattern = bytes(what, names)?;
            Some(Step::Send(
                client,
                pattern.bytes.into_iter().collect::<Option<_>>()?,
            ))
        }
        _ => None,
    }
}

fn bytes(text: &str, names: &BTreeMap<String, String>) -> Option<Pattern> {
    let mut out = Pattern::default();
    let mut rest = text;
    // Positions of the bodies of the packets that are open.
    let mut packets: Vec<usize> = Vec::new();
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix(' ') {
            rest = after;
        } else if let Some(after) = rest.strip_prefix('#') {
            let _comment = after;
            break;
        } else if let Some(after) = rest.strip_prefix('$') {
            let end = after
                .find(|c: char| !c.is_alphanumeric() && c != '_')
                .unwrap_or(after.len());
            let inner = bytes(names.get(&after[..end])?, names)?;
            if let Some(open) = inner.open_from {
                out.open_from = Some(out.bytes.len() + open);
            }
            out.bytes.extend(inner.bytes);
            rest = &after[end..];
        } else if let Some(after) = rest.strip_prefix('[') {
            out.bytes.push(u8::from_str_radix(after.get(..2)?, 16).ok());
            packets.push(out.bytes.len());
            rest = after.get(2..)?.strip_prefix(':')?;
        } else if let Some(after) = rest.strip_prefix(']') {
            let start = packets.pop()?;
            if out.open_from.is_some_and(|open| open + 1 == start) {
                out.bytes.insert(start, None);
            } else {
                let length = out.bytes.len() - start;
                let digits = remaining_length(length);
                out.bytes.splice(start..start, digits.into_iter().map(Some));
            }
            rest = after;
        } else if let Some(after) = rest.strip_prefix('*') {
            out.open_from = Some(packets.last()? - 1);
            rest = after;
        } else if let Some(after) = rest.strip_prefix("??") {
            out.bytes.push(None);
            rest = after;
        } else if let Some(after) = rest.strip_prefix("s\"") {
            let end = after.find('"')?;
            let length = u16::try_from(end).ok()?;
            out.bytes.extend(length.to_be_bytes().map(Some));
            out.bytes.extend(after.bytes().take(end).map(Some));
            rest = &after[end + 1..];
        } else if let Some(after) = rest.strip_prefix('"') {
            let end = after.find('"')?;
            out.bytes.extend(after.bytes().take(end).map(Some));
            rest = &after[end + 1..];
        } else if let Some((count, after)) = repeat(rest) {
            let byte = u8::from_str_radix(after.get(..2)?, 16).ok()?;
            out.bytes.extend(std::iter::repeat_n(Some(byte), count));
            rest = &after[2..];
        } else {
            out.bytes
                .push(Some(u8::from_str_radix(rest.get(..2)?, 16).ok()?));
            rest = &rest[2..];
        }
    }
    packets.is_empty().then_some(out)
}

/// `300xAB`
fn repeat(text: &str) -> Option<(usize, &str)> {
    let (count, after) = text.split_once('x')?;
    Some((count.parse().ok()?, after))
}

fn remaining_length(mut length: usize) -> Vec<u8> {
    let mut digits = Vec::new();
    loop {
        let digit = u8::try_from(length % 128).expect("below 128");
        length /= 128;
        digits.push(if length > 0 { digit | 0x80 } else { digit });
        if length == 0 {
            return digits;
        }
    }
}
