//! `ringway check-config FILE`.

use super::exit::{DONE, print, refused};
use super::serve::gates;
use super::sources;
use crate::config::load::{Sources, load};
use clap::Args;
use std::path::PathBuf;
use std::process::ExitCode;

/// Validate a configuration file
///
/// Reads FILE and the conf.d/*.toml beside it, and prints everything that is wrong, one line each:
/// `FILE:LINE:COL: key: what is wrong, what is allowed`. The environment is left out, as a service
/// has another one than this shell. The files of TLS listeners are read,
/// too. Exit status: 0 when the broker would take it, 2 when not.
#[derive(Debug, Args)]
pub(super) struct CheckConfigArguments {
    file: PathBuf,
}

pub(super) fn main(arguments: &CheckConfigArguments) -> ExitCode {
    let files = match sources::files(&arguments.file) {
        Ok(files) => files,
        Err(error) => return refused(error),
    };
    let loaded = load(&Sources {
        files,
        ..Sources::default()
    });
    match loaded {
        Ok(settings) => match gates(&settings.listeners) {
            Ok(_) => {
                print(format_args!("{}: good", arguments.file.display()));
                DONE
            }
            Err(error) => {
                print(format_args!("{}: {error}", arguments.file.display()));
                ExitCode::from(2)
            }
        },
        Err(problems) => {
            print(problems);
            ExitCode::from(2)
        }
    }
}
