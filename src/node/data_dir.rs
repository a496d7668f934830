//! The data directory of one broker process: held by a lock, identified by `node.toml`.

use super::error::DataDirError;
use super::identity::{FORMAT, Identity};
use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

const IDENTITY_FILE: &str = "node.toml";
const LOCK_FILE: &str = "lock";

/// An open data directory. No other process can open it until this is dropped or the process ends.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    identity: Identity,
    /// The lock is the kernel's (`flock`): it ends with the process, however that ends.
    _lock: File,
}

impl DataDir {
    /// Makes the directory if it is not there, locks it, and reads its identity; draws one with
    /// `shard_count` shards for a new directory. The recorded number of shards of an old one stays:
    /// its journals are of that many.
    ///
    /// # Errors
    /// Another process holds it, a later format, a damaged identity, or the system refuses.
    pub fn open(path: &Path, shard_count: u16) -> Result<Self, DataDirError> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o750)
            .create(path)
            .map_err(|error| DataDirError::system("make data directory", path, error))?;
        let lock = lock(path)?;
        let known = read_identity(path)?;
        let (identity, is_current) = match known {
            Some((identity, format)) => (identity, format == FORMAT),
            None => (draw_identity(shard_count)?, false),
        };
        if !is_current {
            write_identity(path, &identity)?;
        }
        Ok(Self {
            path: path.to_owned(),
            identity,
            _lock: lock,
        })
    }

    /// Locks a data directory that exists, for work on it without a broker.
    ///
    /// # Errors
    /// There is none, another process holds it, a later format, or the system refuses.
    pub fn open_existing(path: &Path) -> Result<Self, DataDirError> {
        let identity = Self::identity_at(path)?;
        let lock = lock(path)?;
        Ok(Self {
            path: path.to_owned(),
            identity,
            _lock: lock,
        })
    }

    /// Reads the identity of a data directory that another process may hold.
    ///
    /// # Errors
    /// There is none, a later format, or the system refuses.
    pub fn identity_at(path: &Path) -> Result<Identity, DataDirError> {
        match read_identity(path)? {
            Some((identity, _)) => Ok(identity),
            None => Err(DataDirError::Missing {
                path: path.to_owned(),
            }),
        }
    }

    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    #[must_use]
    pub const fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Records of how many shards the journals are.
    ///
    /// # Errors
    /// The system refuses; the old record stays.
    pub fn record_shard_count(&mut self, shard_count: u16) -> Result<(), DataDirError> {
        let identity = self.identity.with_shard_count(shard_count);
        if identity != self.identity {
            write_identity(&self.path, &identity)?;
            self.identity = identity;
        }
        Ok(())
    }
}

/// Takes the lock and leaves this process's id in it.
fn lock(directory: &Path) -> Result<File, DataDirError> {
    let path = directory.join(LOCK_FILE);
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o640)
        .open(&path)
        .map_err(|error| DataDirError::system("open", &path, error))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            let pid = match file.read_to_string(&mut holder) {
                Ok(_) => holder.trim().parse().ok(),
                Err(_) => None,
            };
            let path = directory.to_owned();
            return Err(DataDirError::InUse { path, pid });
        }
        Err(TryLockError::Error(error)) => return Err(DataDirError::system("lock", path, error)),
    }
    file.set_len(0)
        .and_then(|()| writeln!(file, "{}", std::process::id()))
        .map_err(|error| DataDirError::system("write", path, error))?;
    Ok(file)
}

/// The identity and the format that it was written in.
fn read_identity(directory: &Path) -> Result<Option<(Identity, u32)>, DataDirError> {
    let path = directory.join(IDENTITY_FILE);
    match std::fs::read_to_string(&path) {
        Ok(text) => Identity::from_text(&text, &path).map(Some),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(DataDirError::system("read", path, error)),
    }
}

fn draw_identity(shard_count: u16) -> Result<Identity, DataDirError> {
    let mut drawn = [[0u8; 16]; 2];
    File::open("/dev/urandom")
        .and_then(|mut source| source.read_exact(drawn.as_flattened_mut()))
        .map_err(|error| DataDirError::system("read", "/dev/urandom", error))?;
    Ok(Identity::new(drawn[0], drawn[1], shard_count))
}

/// Replaces `node.toml` as a whole: after a crash either the old one or the new one is there.
fn write_identity(directory: &Path, identity: &Identity) -> Result<(), DataDirError> {
    let path = directory.join(IDENTITY_FILE);
    let new_path = directory.join("node.toml.new");
    let write = || {
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&new_path)?;
        file.write_all(identity.to_text().as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&new_path, &path)?;
        File::open(directory)?.sync_all()
    };
    write().map_err(|error| DataDirError::system("write", &path, error))
}
