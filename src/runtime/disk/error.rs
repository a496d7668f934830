//! Why the files of the journal cannot be used, and what to do about it.

use crate::journal::JournalError;
use crate::shard::interface::StartError;
use std::fmt;
use std::io;
use std::path::PathBuf;

/// Everything that can be wrong with a data directory's journals before a core serves.
#[derive(Debug)]
pub enum DiskError {
    /// The target of a backup has something in it.
    NotEmpty { path: PathBuf },
    /// The broker was starting while a backup was made.
    Changing { path: PathBuf },
    /// A journal is damaged or of a newer format; says where.
    Journal(JournalError),
    /// What is stored does not fit this configuration.
    Start(StartError),
    /// The system refused; `doing` says what to.
    System {
        doing: &'static str,
        path: PathBuf,
        error: io::Error,
    },
}

impl DiskError {
    pub(super) fn system(doing: &'static str, path: impl Into<PathBuf>, error: io::Error) -> Self {
        Self::System {
            doing,
            path: path.into(),
            error,
        }
    }
}

impl fmt::Display for DiskError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotEmpty { path } => write!(
                formatter,
                "{} is not empty: a backup goes into a directory of its own",
                path.display()
            ),
            Self::Changing { path } => write!(
                formatter,
                "{} is being changed by a start of its broker: try again when it serves",
                path.display()
            ),
            Self::Journal(error) => write!(
                formatter,
                "{error}; `ringway journal verify` says what `--repair` would make of it"
            ),
            Self::Start(error) => error.fmt(formatter),
            Self::System { doing, path, error } => {
                write!(formatter, "cannot {doing} {}: {error}", path.display())
            }
        }
    }
}

impl std::error::Error for DiskError {}
