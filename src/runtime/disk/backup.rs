//! A consistent copy of a data directory, also of a running broker.
//!
//! While the copy is made, a lock keeps the broker from recycling and removing segments; new ones
//! are only added, and written from front to back. So everything is read *from back to front*, the
//! newest segment first and each segment's last page first: where a later page has something,
//! the earlier ones, which are read after it, are complete. What is missing is only what was
//! written last, and that is what a crash leaves, too. Each shard's copy is a state that existed
//! after the command began; those of two shards may be of different moments of the copying.

use super::error::DiskError;
use super::keeper::open_hold_file;
use super::rehome::refuse_during_rehoming;
use super::segment::{self, ALIGNMENT};
use std::fs::{self, DirBuilder, File};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::Path;

/// Identity of the broker; beside the journals the only file that a restore needs.
const IDENTITY_FILE: &str = "node.toml";

/// What was copied.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct BackupSummary {
    pub shards: u16,
    pub segments: u64,
    pub bytes: u64,
}

/// Copies the data directory `from` to `to`, which must be empty or not exist. A broker started on
/// the copy goes on from there.
///
/// # Errors
/// Not a data directory, a target that has something, or the system refuses.
pub fn backup(from: &Path, to: &Path) -> Result<BackupSummary, DiskError> {
    let identity_path = from.join(IDENTITY_FILE);
    let identity = fs::read(&identity_path)
        .map_err(|error| DiskError::system("read", &identity_path, error))?;
    let hold = open_hold_file(from).map_err(|error| DiskError::system("open", from, error))?;
    hold.lock_shared()
        .map_err(|error| DiskError::system("lock", from, error))?;
    refuse_during_rehoming(from)?;
    make_target(to)?;
    let mut summary = BackupSummary::default();
    for shard in segment::shards(from).map_err(|error| DiskError::system("read", from, error))? {
        copy_shard(from, to, shard, &mut summary)?;
        summary.shards += 1;
    }
    let after = fs::read(&identity_path)
        .map_err(|error| DiskError::system("read", &identity_path, error))?;
    if after != identity {
        return Err(DiskError::Changing {
            path: from.to_owned(),
        });
    }
    refuse_during_rehoming(from)?;
    // Last: without it nothing can be started on an incomplete copy.
    let target = to.join(IDENTITY_FILE);
    segment::write_whole(&target, &identity, 0o600)
        .map_err(|error| DiskError::system("write", &target, error))?;
    Ok(summary)
}

fn make_target(to: &Path) -> Result<(), DiskError> {
    let system = |error| DiskError::system("make", to, error);
    DirBuilder::new()
        .recursive(true)
        .mode(0o750)
        .create(to)
        .map_err(system)?;
    match fs::read_dir(to).map_err(system)?.next() {
        None => Ok(()),
        Some(_) => Err(DiskError::NotEmpty {
            path: to.to_owned(),
        }),
    }
}

fn copy_shard(
    from: &Path,
    to: &Path,
    shard: u16,
    summary: &mut BackupSummary,
) -> Result<(), DiskError> {
    let source = segment::shard_directory(from, shard);
    let target = segment::shard_directory(to, shard);
    segment::prepare_directory(&target)
        .map_err(|error| DiskError::system("make", &target, error))?;
    let numbers =
        segment::list(&source).map_err(|error| DiskError::system("read", &source, error))?;
    for number in numbers.into_iter().rev() {
        let path = segment::segment_path(&source, number);
        let new_path = segment::segment_path(&target, number);
        summary.bytes += copy_segment(&path, &new_path)?;
        summary.segments += 1;
    }
    segment::sync_directory(&target).map_err(|error| DiskError::system("sync", &target, error))
}

/// Copies page by page from the end; pages of zeros become holes.
fn copy_segment(from: &Path, to: &Path) -> Result<u64, DiskError> {
    let reading = |error| DiskError::system("read", from, error);
    let writing = |error| DiskError::system("write", to, error);
    let source = File::open(from).map_err(reading)?;
    let bytes = source.metadata().map_err(reading)?.len();
    let target = File::options()
        .write(true)
        .create_new(true)
        .mode(0o640)
        .open(to)
        .map_err(writing)?;
    target.set_len(bytes).map_err(writing)?;
    let mut page = [0; ALIGNMENT];
    let mut end = bytes;
    while end > 0 {
        let start = (end - 1) / ALIGNMENT as u64 * ALIGNMENT as u64;
        let length = usize::try_from(end - start).unwrap_or(ALIGNMENT);
        let part = &mut page[..length];
        source.read_exact_at(part, start).map_err(reading)?;
        if part.iter().any(|byte| *byte != 0) {
            target.write_all_at(part, start).map_err(writing)?;
        }
        end = start;
    }
    target.sync_all().map_err(writing)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::super::tests::place;
    use super::*;

    /// A data directory with two shards.
    fn filled(name: &str) -> std::path::PathBuf {
        let from = place(name);
        for shard in 0..2 {
            let directory = segment::shard_directory(&from, shard);
            segment::prepare_directory(&directory).unwrap();
            for number in 1..=3u8 {
                let mut contents = vec![0; 3 * ALIGNMENT + 100];
                contents[ALIGNMENT..][..5].fill(number);
                contents[3 * ALIGNMENT + 99] = number;
                fs::write(
                    segment::segment_path(&directory, u32::from(number)),
                    contents,
                )
                .unwrap();
            }
        }
        fs::write(from.join(IDENTITY_FILE), "identity").unwrap();
        from
    }

    #[test]
    fn copy_is_equal_and_only_into_an_empty_place() {
        let from = filled("backup-from");
        let to = place("backup-to").join("deeper");
        let summary = backup(&from, &to).unwrap();
        assert_eq!((summary.shards, summary.segments), (2, 6));
        for shard in 0..2 {
            for number in 1..=3 {
                let read = |root: &Path| {
                    let directory = segment::shard_directory(root, shard);
                    fs::read(segment::segment_path(&directory, number)).unwrap()
                };
                assert_eq!(read(&from), read(&to));
            }
        }
        assert_eq!(fs::read(to.join(IDENTITY_FILE)).unwrap(), b"identity");
        let error = backup(&from, &to).unwrap_err().to_string();
        assert!(error.contains("is not empty"), "{error}");
        let error = backup(&to.join("nothing"), &from).unwrap_err().to_string();
        assert!(error.contains("cannot read"), "{error}");
        fs::remove_dir_all(&from).unwrap();
        fs::remove_dir_all(to.parent().unwrap()).unwrap();
    }
}
