//! `ringway-bench`: the load generator and capacity planner.

use std::process::ExitCode;

fn main() -> ExitCode {
    bench_harness::cli::main()
}
