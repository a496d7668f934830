//! `ringway config`.

use super::exit::{DONE, print, refused};
use super::sources;
use crate::config::load::load;
use crate::config::memory::{memory_sum, show};
use crate::config::settings::CoreSelection;
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
            let core_count = cores_asked_for(&settings.node.cores);
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

/// Also those that this machine does not have: the configuration may be another one's.
fn cores_asked_for(cores: &CoreSelection) -> u16 {
    let count = match cores {
        CoreSelection::Auto => core_affinity::get_core_ids().map_or(1, |ids| ids.len()),
        CoreSelection::Count(count) => usize::from(*count),
        CoreSelection::List(ids) => ids.len(),
    };
    u16::try_from(count).map_or(CoreSelection::COUNT_MAX, |count| {
        count.clamp(1, CoreSelection::COUNT_MAX)
    })
}
