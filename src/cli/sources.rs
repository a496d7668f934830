//! Collects the layers of a configuration: the file, `conf.d` beside it, the environment.

use crate::config::load::{FileText, Override, Sources};
use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

/// A configuration file that cannot be read.
#[derive(Debug)]
pub(super) struct ReadError {
    path: PathBuf,
    source: io::Error,
}

impl std::fmt::Display for ReadError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { path, source } = self;
        write!(formatter, "{}: cannot read: {source}", path.display())
    }
}

/// The file and its `conf.d/*.toml`, in the order in which they apply.
pub(super) fn files(path: &Path) -> Result<Vec<FileText>, ReadError> {
    let mut files = vec![read(path)?];
    let directory = path
        .parent()
        .unwrap_or_else(|| Path::new(""))
        .join("conf.d");
    for path in directory_entries(&directory)? {
        files.push(read(&path)?);
    }
    Ok(files)
}

fn directory_entries(directory: &Path) -> Result<Vec<PathBuf>, ReadError> {
    let refused = |source| ReadError {
        path: directory.to_owned(),
        source,
    };
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(refused(error)),
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.map_err(refused)?.path();
        if path.extension() == Some(OsStr::new("toml")) {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

fn read(path: &Path) -> Result<FileText, ReadError> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(FileText {
            name: path.display().to_string(),
            text,
        }),
        Err(source) => Err(ReadError {
            path: path.to_owned(),
            source,
        }),
    }
}

/// The layers below the command line's: the file if there is one, then the environment.
pub(super) fn collect(config: Option<&Path>) -> Result<Sources, ReadError> {
    let variables = std::env::vars_os().filter_map(|(name, value)| {
        let value = value.to_string_lossy().into_owned();
        Some((name.into_string().ok()?, value))
    });
    Ok(Sources {
        files: config.map(files).transpose()?.unwrap_or_default(),
        overrides: Override::from_environment(variables),
        listen: Vec::new(),
    })
}
