//! Exit statuses, and lines for people.

use std::fmt::Display;
use std::io::Write;
use std::process::ExitCode;

/// A requested stop, or all went well.
pub(super) const DONE: ExitCode = ExitCode::SUCCESS;

/// Says on standard error why running failed: exit status 1.
pub(super) fn failed(why: impl Display) -> ExitCode {
    say(format_args!("ringway: {why}"));
    ExitCode::from(1)
}

/// Says on standard error what is wrong with usage or configuration: exit status 2.
pub(super) fn refused(why: impl Display) -> ExitCode {
    say(why);
    ExitCode::from(2)
}

/// One line on standard error. Where nobody listens there, there is nobody to tell.
pub(super) fn say(line: impl Display) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Text on standard output; a reader that went away (`| head`) is no failure.
pub(super) fn print(text: impl Display) {
    let mut output = std::io::stdout().lock();
    let _ = writeln!(output, "{text}");
    let _ = output.flush();
}
