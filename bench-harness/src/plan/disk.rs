//! How long the disk under a directory takes to make a write durable: as the journal writes, into a
//! file that was filled before, one write and one data sync at a time.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use super::data::{DiskPoint, SyncPoint};

const FILE_BYTES: u64 = 32 << 20;
/// A lone record, a group of records, a full group.
const WRITE_BYTES: [u32; 3] = [4 << 10, 64 << 10, 1 << 20];
/// Enough for a 99th percentile.
const SYNCS_MAX: usize = 2_000;
/// A slow disk gets as many as fit into the time, but so many at least.
const SYNCS_MIN: usize = 5;

/// Takes `seconds` for each size of write.
pub(super) fn measure(directory: &Path, seconds: f64) -> Result<DiskPoint, String> {
    let path = directory.join(format!("ringway-plan-{}.sync", std::process::id()));
    let result = measure_file(&path, Duration::from_secs_f64(seconds));
    let removed = fs::remove_file(&path);
    let failed = |error: io::Error| format!("{}: {error}", path.display());
    let syncs = result.map_err(failed)?;
    removed.map_err(failed)?;
    let directory = fs::canonicalize(directory).map_err(failed)?;
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    Ok(DiskPoint {
        file_system: file_system(&mounts, &directory),
        directory: directory.display().to_string(),
        syncs,
    })
}

fn measure_file(path: &Path, time: Duration) -> io::Result<Vec<SyncPoint>> {
    let mut file = File::create(path)?;
    let piece = vec![0x5A; 1 << 20];
    for _ in 0..FILE_BYTES / piece.len() as u64 {
        file.write_all(&piece)?;
    }
    file.sync_all()?;
    WRITE_BYTES
        .iter()
        .map(|size| sync_point(&file, &piece[..*size as usize], time))
        .collect()
}

fn sync_point(file: &File, bytes: &[u8], time: Duration) -> io::Result<SyncPoint> {
    let start = Instant::now();
    let mut micros = Vec::new();
    let mut offset = 0;
    while micros.len() < SYNCS_MAX && (micros.len() < SYNCS_MIN || start.elapsed() < time) {
        let begin = Instant::now();
        file.write_all_at(bytes, offset)?;
        file.sync_data()?;
        micros.push(begin.elapsed().as_micros() as u64);
        offset = (offset + bytes.len() as u64) % FILE_BYTES;
    }
    Ok(summary(bytes.len() as u32, micros))
}

fn summary(write_bytes: u32, mut micros: Vec<u64>) -> SyncPoint {
    micros.sort_unstable();
    let at = |share: f64| micros[((micros.len() - 1) as f64 * share).round() as usize];
    SyncPoint {
        write_bytes,
        count: micros.len() as u64,
        us_mean: micros.iter().sum::<u64>() as f64 / micros.len() as f64,
        us_p50: at(0.5),
        us_p90: at(0.9),
        us_p99: at(0.99),
        us_max: at(1.0),
    }
}

/// The type of the longest mount point that the directory lies in.
fn file_system(mounts: &str, directory: &Path) -> Option<String> {
    mounts
        .lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace().skip(1);
            let point = words.next()?;
            directory
                .starts_with(point)
                .then_some((point.len(), words.next()?))
        })
        .max_by_key(|(length, _)| *length)
        .map(|(_, kind)| kind.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn syncs_are_timed_and_nothing_is_left_behind() {
        let folder = std::env::temp_dir().join(format!("ringway-disk-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let point = measure(&folder, 0.0).unwrap();
        let sizes: Vec<_> = point.syncs.iter().map(|sync| sync.write_bytes).collect();
        assert_eq!(sizes, WRITE_BYTES);
        for sync in &point.syncs {
            assert_eq!(sync.count, SYNCS_MIN as u64);
            assert!(sync.us_p50 <= sync.us_p99 && sync.us_p99 <= sync.us_max);
        }
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
        fs::remove_dir(&folder).unwrap();
        assert!(measure(&folder, 0.0).is_err());
    }

    #[test]
    fn percentiles_are_those_of_the_values() {
        let point = summary(1, (1..=100).rev().collect());
        assert_eq!((point.us_p50, point.us_p90, point.us_p99), (51, 90, 99));
        assert_eq!((point.us_mean, point.us_max), (50.5, 100));
    }

    #[test]
    fn the_innermost_mount_counts() {
        let mounts = "a / ext4 rw 0 0\nb /var tmpfs rw 0 0\nc /var/lib xfs rw 0 0\n";
        let of = |path: &str| file_system(mounts, Path::new(path));
        assert_eq!(of("/var/lib/data").as_deref(), Some("xfs"));
        assert_eq!(of("/var/library").as_deref(), Some("tmpfs"));
        assert_eq!(of("/data").as_deref(), Some("ext4"));
    }
}
