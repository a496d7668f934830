//! `ringway config`.

use super::exit::{DONE, print, refused};
use super::serve::core_count;
use super::sources;
use crate::config::load::load;
use crate::config::memory::{memory_sum, show};
use crate::config::show::to_toml;
use clap::Args;
use std::path::PathBuf;
use std::process::ExitCode;

/// Print the effective configuration and what memory it can use
///
/// Defaults, FILE, the conf.d/*.toml beside it and the environment taken together, as TOML that
/// can be used as a file. The memory sum stands below as comments.
#[derive(Debug, Args)]
pub(super) struct ConfigArguments {
    /// Configuration file (TOML)
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

pub(super) fn main(arguments: &ConfigArguments) -> ExitCode {
    let sources = match sources::collect(arguments.config.as_deref()) {
        Ok(sources) => sources,
        Err(error) => return refused(error),
    };
    match load(&sources) {
        Ok(settings) => {
            let core_count = core_count(&settings.node.cores);
            let memory = show(&memory_sum(&settings, core_count), core_count);
            print(format_args!(
                "{}\n{}",
                to_toml(&settings),
                memory.trim_end()
            ));
            DONE
        }
        Err(problems) => refused(problems),
    }
}
