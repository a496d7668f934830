//! Why a data directory cannot be used, and what to do about it.

use std::fmt;
use std::io;
use std::path::PathBuf;

#[derive(Debug)]
pub enum DataDirError {
    /// Another process holds the lock.
    InUse { path: PathBuf, pid: Option<u32> },
    /// No `node.toml` in it.
    Missing { path: PathBuf },
    /// Written by a later Ringway.
    NewerFormat { path: PathBuf, format: u32 },
    /// `node.toml` is not what Ringway writes.
    Damaged { path: PathBuf, what: String },
    /// The system refused; `doing` says what to.
    System {
        doing: &'static str,
        path: PathBuf,
        source: io::Error,
    },
}

impl DataDirError {
    pub(super) fn system(doing: &'static str, path: impl Into<PathBuf>, source: io::Error) -> Self {
        Self::System {
            doing,
            path: path.into(),
            source,
        }
    }
}

impl fmt::Display for DataDirError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InUse { path, pid } => {
                write!(formatter, "data directory {} is in use by ", path.display())?;
                match pid {
                    Some(pid) => write!(formatter, "process {pid}")?,
                    None => formatter.write_str("another process")?,
                }
                formatter.write_str(": stop it, or give this one its own with --data-dir")
            }
            Self::Missing { path } => write!(
                formatter,
                "{} is not a data directory: it has no node.toml",
                path.display()
            ),
            Self::NewerFormat { path, format } => write!(
                formatter,
                "{} has format {format}, this Ringway reads up to {}: use the newer Ringway that \
                 wrote it",
                path.display(),
                super::identity::FORMAT
            ),
            Self::Damaged { path, what } => write!(
                formatter,
                "{} is damaged ({what}): restore it from a backup; the data beside it cannot be \
                 found without it",
                path.display()
            ),
            Self::System {
                doing,
                path,
                source,
            } => {
                write!(formatter, "cannot {doing} {}: {source}", path.display())?;
                match source.kind() {
                    io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                        formatter.write_str("; choose a writable directory with --data-dir")
                    }
                    _ => Ok(()),
                }
            }
        }
    }
}

impl std::error::Error for DataDirError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::System { source, .. } => Some(source),
            _ => None,
        }
    }
}
