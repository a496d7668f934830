//! Segment files: their names, how they are found, opened and made.
//!
//! A segment is one file of fixed size in its shard's directory. Its number is its name, so that
//! the order of the files is the order of the journal.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// What the journal's blocks, and so all writes, are aligned to, in bytes. O_DIRECT asks for the
/// device's logical block, 512 or 4096.
pub(super) const ALIGNMENT: usize = 4096;
/// Zeros that one write of a new segment's filling takes: small enough that a commit of the same
/// disk does not wait behind it for long.
const FILL_BYTES: usize = 256 << 10;
const SUFFIX: &str = ".segment";
/// Of a segment that is being filled; what is left of one at a start is removed.
const NEW_SUFFIX: &str = ".segment.new";

/// A memory area that O_DIRECT takes.
#[repr(C, align(4096))]
struct Zeros([u8; FILL_BYTES]);

static ZEROS: Zeros = Zeros([0; FILL_BYTES]);

/// `shard-03`, below the data directory.
pub(super) fn shard_directory(data_dir: &Path, shard: u16) -> PathBuf {
    data_dir.join(format!("shard-{shard:02}"))
}

/// The shard whose directory has this name.
fn shard_of_name(name: &str) -> Option<u16> {
    let shard = name.strip_prefix("shard-")?.parse().ok()?;
    (format!("shard-{shard:02}") == name).then_some(shard)
}

/// The shards that have a directory, ascending; none when there is no directory at all.
pub(super) fn shards(data_dir: &Path) -> io::Result<Vec<u16>> {
    let mut shards = Vec::new();
    let entries = match fs::read_dir(data_dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(shards),
        Err(error) => return Err(error),
    };
    for entry in entries {
        shards.extend(entry?.file_name().to_str().and_then(shard_of_name));
    }
    shards.sort_unstable();
    Ok(shards)
}

pub(super) fn segment_path(directory: &Path, number: u32) -> PathBuf {
    directory.join(format!("{number:08x}{SUFFIX}"))
}

/// The number in a segment's file name; `None` for every other file.
fn number_of_name(name: &str) -> Option<u32> {
    let digits = name.strip_suffix(SUFFIX)?;
    let number = u32::from_str_radix(digits, 16).ok()?;
    (format!("{number:08x}") == digits).then_some(number)
}

/// The numbers of a directory's segments, ascending; none when there is no directory.
pub(super) fn list(directory: &Path) -> io::Result<Vec<u32>> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut numbers = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        numbers.extend(name.to_str().and_then(number_of_name));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// Makes a shard's directory if it is not there, and removes what an interrupted start has left.
pub(super) fn prepare_directory(directory: &Path) -> io::Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o750)
        .create(directory)?;
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let is_left = entry.file_name().to_string_lossy().ends_with(NEW_SUFFIX);
        if is_left {
            fs::remove_file(entry.path())?;
        }
    }
    match directory.parent() {
        Some(parent) => sync_directory(parent),
        None => Ok(()),
    }
}

/// Opens a segment for the journal's writes: past the page cache where the file system can.
pub(super) fn open_for_writes(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true);
    match options.custom_flags(libc::O_DIRECT).open(path) {
        // The file system knows no direct writes: the page cache does, at more CPU. Each write is
        // synced then, as a later sync of the device would not reach the pages of another file.
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
            options.custom_flags(libc::O_DSYNC).open(path)
        }
        opened => opened,
    }
}

/// Makes segment `number` of `bytes` zeros, complete and durable or not at all.
///
/// Really written, not only reserved: a write into a reserved block would change the file system's
/// own tables at each sync.
pub(super) fn make(directory: &Path, number: u32, bytes: u64) -> io::Result<File> {
    let new_path = directory.join(format!("{number:08x}{NEW_SUFFIX}"));
    let made = fill(&new_path, bytes).and_then(|()| {
        let path = segment_path(directory, number);
        fs::rename(&new_path, &path)?;
        sync_directory(directory)?;
        open_for_writes(&path)
    });
    if made.is_err() {
        let _ = fs::remove_file(&new_path);
    }
    made
}

fn fill(path: &Path, bytes: u64) -> io::Result<()> {
    File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o640)
        .open(path)?;
    let file = open_for_writes(path)?;
    reserve(&file, bytes)?;
    let mut offset = 0;
    while offset < bytes {
        let length = usize::try_from(bytes - offset).map_or(FILL_BYTES, |it| it.min(FILL_BYTES));
        file.write_all_at(&ZEROS.0[..length], offset)?;
        offset += length as u64;
    }
    file.sync_all()
}

/// Finds out at once that the space is not there, and gets it in one piece where possible.
fn reserve(file: &File, bytes: u64) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    let bytes = libc::off_t::try_from(bytes).map_err(|_| ErrorKind::InvalidInput)?;
    // SAFETY: takes no pointers; the descriptor is open.
    let result = unsafe { libc::fallocate(file.as_raw_fd(), 0, 0, bytes) };
    match io::Error::last_os_error() {
        _ if result == 0 => Ok(()),
        // Not every file system has it; the zeros take the space.
        error if error.raw_os_error() == Some(libc::EOPNOTSUPP) => Ok(()),
        error => Err(error),
    }
}

/// Gives a segment that nobody needs the name of a new one. Its old contents stay: they do not
/// validate under the new number.
pub(super) fn recycle(directory: &Path, old: u32, number: u32) -> io::Result<File> {
    let path = segment_path(directory, number);
    fs::rename(segment_path(directory, old), &path)?;
    sync_directory(directory)?;
    open_for_writes(&path)
}

/// Whether a file is a whole segment of `bytes`, all of it written at least once.
pub(super) fn is_whole(path: &Path, bytes: u64) -> bool {
    // Counted in blocks of 512 bytes, whatever the file system's own.
    fs::metadata(path).is_ok_and(|found| found.len() == bytes && found.blocks() * 512 >= bytes)
}

pub(super) fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

/// Writes a file as a whole: after a crash it is there complete, or not.
pub(super) fn write_whole(path: &Path, contents: &[u8], mode: u32) -> io::Result<()> {
    let new_path = path.with_extension("new");
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(&new_path)?;
    file.write_all(contents)?;
    file.sync_all()?;
    fs::rename(&new_path, path)?;
    path.parent().map_or(Ok(()), sync_directory)
}

#[cfg(test)]
mod tests {
    use super::super::tests::place;
    use super::*;

    #[test]
    fn names_are_read_back_and_others_are_not() {
        let directory = Path::new("d");
        for number in [0, 1, 0xABC, u32::MAX] {
            let path = segment_path(directory, number);
            let name = path.file_name().unwrap().to_str().unwrap();
            assert_eq!(number_of_name(name), Some(number));
        }
        let others = [
            "1.segment",
            "0000000A.segment",
            "+000000a.segment",
            "0000000a.segment.new",
            "0000000a",
            "node.toml",
        ];
        for name in others {
            assert_eq!(number_of_name(name), None, "{name}");
        }
        assert_eq!(shard_of_name("shard-03"), Some(3));
        assert_eq!(shard_of_name("shard-127"), Some(127));
        for name in ["shard-3", "shard-", "shard-0x", "rehomed", "shard-003"] {
            assert_eq!(shard_of_name(name), None, "{name}");
        }
    }

    #[test]
    fn made_segment_is_zeros_and_recycled_one_keeps_its_contents() {
        let directory = place("segments");
        prepare_directory(&directory).unwrap();
        let bytes = FILL_BYTES as u64 + 4096;
        make(&directory, 3, bytes).unwrap();
        let path = segment_path(&directory, 3);
        assert!(is_whole(&path, bytes));
        assert!(!is_whole(&path, bytes + 4096));
        assert_eq!(fs::read(&path).unwrap(), vec![0; FILL_BYTES + 4096]);
        fs::write(&path, b"old").unwrap();
        assert!(!is_whole(&path, bytes));
        recycle(&directory, 3, 7).unwrap();
        assert_eq!(list(&directory).unwrap(), [7]);
        assert_eq!(fs::read(segment_path(&directory, 7)).unwrap(), b"old");
        fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn interrupted_filling_leaves_no_segment() {
        let directory = place("interrupted");
        prepare_directory(&directory).unwrap();
        fs::write(directory.join(format!("{:08x}{NEW_SUFFIX}", 5)), b"half").unwrap();
        assert!(list(&directory).unwrap().is_empty());
        prepare_directory(&directory).unwrap();
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 0);
        // No disk has this much.
        assert!(make(&directory, 6, 1 << 60).is_err());
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 0);
        fs::remove_dir_all(&directory).unwrap();
    }
}
