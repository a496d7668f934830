//! Where the broker's log goes: standard error, written by a thread of its own.

use crate::config::settings::{LogFormat, LogLevel, LogSettings};
use std::fmt::Display;
use std::io::{IsTerminal, Write};
use tracing::level_filters::LevelFilter;
use tracing_appender::non_blocking::{NonBlocking, NonBlockingBuilder, WorkerGuard};

/// The running log; what is still unwritten when it is dropped is written then.
pub(super) struct Log {
    writer: NonBlocking,
    _guard: WorkerGuard,
}

impl Log {
    /// For lines that are not events of the log.
    pub(super) fn lines(&self) -> LogLines {
        LogLines(self.writer.clone())
    }
}

/// Writes lines as they are, in the order of the log: whoever has read one has read all that was
/// logged before it.
pub(super) struct LogLines(NonBlocking);

impl LogLines {
    pub(super) fn say(&mut self, line: impl Display) {
        // In one piece: what is written apart may come apart. Refused only when the log's thread
        // has ended: then nobody reads it.
        let _ = self.0.write_all(format!("{line}\n").as_bytes());
    }
}

/// Starts logging.
pub(super) fn start(settings: LogSettings) -> Log {
    let (writer, _guard) = writer(std::io::stderr());
    let builder = tracing_subscriber::fmt()
        .with_writer(writer.clone())
        .with_max_level(level(settings.level))
        .with_ansi(std::io::stderr().is_terminal());
    match settings.format {
        LogFormat::Text => builder.init(),
        LogFormat::Json => builder.json().init(),
    }
    Log { writer, _guard }
}

/// Lossy: a reader of standard error that stands still must not hold up a core. Lines are dropped
/// instead, past the appender's 128,000.
fn writer(output: impl Write + Send + 'static) -> (NonBlocking, WorkerGuard) {
    NonBlockingBuilder::default()
        .lossy(true)
        .thread_name("ringway-log")
        .finish(output)
}

const fn level(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{Sender, channel};

    /// A standard error that others are served before.
    struct Slow(Sender<u8>);

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            std::thread::yield_now();
            for byte in bytes {
                self.0.send(*byte).unwrap();
            }
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn line_comes_behind_what_was_logged_before() {
        let (sender, written) = channel();
        let (mut writer, _guard) = writer(Slow(sender));
        for _ in 0..20 {
            writer.write_all(b"logged\n").unwrap();
        }
        let log = Log { writer, _guard };
        log.lines().say("ready");
        drop(log);
        let text = String::from_utf8(written.iter().collect()).unwrap();
        assert_eq!(text, "logged\n".repeat(20) + "ready\n");
    }
}
