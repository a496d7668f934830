//! What happened, as a hash over everything and as the last lines for a failure's report.

use std::collections::VecDeque;
use std::fmt::Arguments;
use std::hash::Hasher;

use ringway::base::time::Instant;
use siphasher::sip::SipHasher13;

/// Lines kept for a report.
const LINES_KEPT: usize = 100;

/// The history of one world. The same seed must give the same hash.
#[derive(Debug)]
pub(crate) struct Trace {
    hasher: SipHasher13,
    lines: VecDeque<String>,
    count: u64,
    /// Lines that mention this are printed as they come, for the search of a cause.
    watched: Option<String>,
}

impl Trace {
    pub(crate) fn new(watched: Option<String>) -> Self {
        Self {
            hasher: SipHasher13::new(),
            lines: VecDeque::new(),
            count: 0,
            watched,
        }
    }

    pub(crate) fn note(&mut self, now: Instant, what: Arguments<'_>) {
        let mut line = if self.lines.len() >= LINES_KEPT {
            self.lines.pop_front().unwrap_or_default()
        } else {
            String::new()
        };
        line.clear();
        let micros = now.as_micros();
        let written = std::fmt::write(
            &mut line,
            format_args!("{:>4}.{:06} {what}", micros / 1_000_000, micros % 1_000_000),
        );
        debug_assert!(written.is_ok());
        self.hasher.write(line.as_bytes());
        self.count += 1;
        if self
            .watched
            .as_ref()
            .is_some_and(|watched| line.contains(watched))
        {
            eprintln!("{line}");
        }
        self.lines.push_back(line);
    }

    pub(crate) fn hash(&self) -> u64 {
        self.hasher.finish()
    }

    pub(crate) const fn count(&self) -> u64 {
        self.count
    }

    pub(crate) fn lines(&self) -> impl Iterator<Item = &str> {
        self.lines.iter().map(String::as_str)
    }
}
