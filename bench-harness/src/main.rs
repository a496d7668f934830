//! `ringway-bench`: the load generator and capacity planner.
//!
//! It drives any MQTT broker over the network and does not import ours. It has no commands yet.

use std::io::Write as _;
use std::process::ExitCode;

fn main() -> ExitCode {
    let text = b"ringway-bench has no commands yet\n";
    // Nothing sensible is left to do when standard error is closed.
    let _ = std::io::stderr().write_all(text);
    ExitCode::from(2)
}
