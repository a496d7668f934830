//! Whether the disk has room for one more segment.
//!
//! Only making a segment takes space; writes go into segments that are zeros already. So space is
//! looked at here and nowhere else, always before it is needed.

use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// The limits of a data directory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct SpaceLimits {
    /// Bytes of all segments together at most; `None`: what the disk has.
    pub(super) disk_bytes_max: Option<u64>,
    /// Bytes that stay free on the file system.
    pub(super) free_bytes_min: u64,
}

/// Why no segment can be made now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Shortage {
    /// `durability.disk_max_bytes` is reached.
    Limit { used_bytes: u64 },
    /// `durability.min_free_bytes` would not stay free.
    FreeSpace { free_bytes: u64 },
    /// A segment that is needed could not be made.
    NoSegment,
    /// The system refused; its error number (no space, quota, file size, descriptors, memory).
    Refused { error_number: i32 },
}

impl SpaceLimits {
    /// Whether `bytes` more may be taken beside `used_bytes`, with `free_bytes` on the disk.
    pub(super) fn check(
        &self,
        bytes: u64,
        used_bytes: u64,
        free_bytes: u64,
    ) -> Result<(), Shortage> {
        if self
            .disk_bytes_max
            .is_some_and(|max| used_bytes.saturating_add(bytes) > max)
        {
            return Err(Shortage::Limit { used_bytes });
        }
        if free_bytes < bytes.saturating_add(self.free_bytes_min) {
            return Err(Shortage::FreeSpace { free_bytes });
        }
        Ok(())
    }
}

impl Shortage {
    /// What a failure of making a segment means: a shortage that may pass, or `None`.
    pub(super) fn of_error(error: &io::Error) -> Option<Self> {
        const PASSING: &[i32] = &[
            libc::ENOSPC,
            libc::EDQUOT,
            libc::EFBIG,
            libc::EMFILE,
            libc::ENFILE,
            libc::ENOMEM,
            libc::EINTR,
        ];
        let error_number = error.raw_os_error()?;
        PASSING
            .contains(&error_number)
            .then_some(Self::Refused { error_number })
    }
}

impl std::fmt::Display for Shortage {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Limit { used_bytes } => write!(
                formatter,
                "durability.disk_max_bytes is reached with {used_bytes} bytes"
            ),
            Self::FreeSpace { free_bytes } => write!(
                formatter,
                "only {free_bytes} bytes are free, and durability.min_free_bytes stay free"
            ),
            Self::NoSegment => formatter.write_str("the journal has no room to go on"),
            Self::Refused { error_number } => {
                let error = io::Error::from_raw_os_error(*error_number);
                write!(formatter, "the system refuses: {error}")
            }
        }
    }
}

/// Bytes of the file system of `path` that this process may take.
pub(super) fn free_bytes(path: &Path) -> io::Result<u64> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: all zeros is a valid statvfs.
    let mut found: libc::statvfs = unsafe { std::mem::zeroed() };
    // SAFETY: reads a string that ends in zero, writes to this stack frame.
    if unsafe { libc::statvfs(path.as_ptr(), &raw mut found) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(found.f_bavail.saturating_mul(found.f_frsize))
}

/// A file that grows past RLIMIT_FSIZE gives an error instead of ending the process.
pub(super) fn survive_file_size_limit() {
    // SAFETY: ignoring a signal runs no code of ours.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_limits_are_kept() {
        let limits = |disk_bytes_max, free_bytes_min| SpaceLimits {
            disk_bytes_max,
            free_bytes_min,
        };
        let none = limits(None, 0);
        assert_eq!(none.check(10, 1 << 60, 10), Ok(()));
        assert_eq!(
            none.check(10, 0, 9),
            Err(Shortage::FreeSpace { free_bytes: 9 })
        );
        let both = limits(Some(100), 5);
        assert_eq!(both.check(10, 90, 15), Ok(()));
        assert_eq!(
            both.check(10, 91, 1000),
            Err(Shortage::Limit { used_bytes: 91 })
        );
        assert_eq!(
            both.check(10, 90, 14),
            Err(Shortage::FreeSpace { free_bytes: 14 })
        );
        assert_eq!(
            limits(None, u64::MAX).check(1, 0, u64::MAX - 1),
            Err(Shortage::FreeSpace {
                free_bytes: u64::MAX - 1
            })
        );
    }

    #[test]
    fn only_what_may_pass_is_a_shortage() {
        let of = |number| Shortage::of_error(&io::Error::from_raw_os_error(number));
        assert_eq!(
            of(libc::ENOSPC),
            Some(Shortage::Refused {
                error_number: libc::ENOSPC
            })
        );
        assert_eq!(of(libc::EIO), None);
        assert_eq!(of(libc::EROFS), None);
        assert!(free_bytes(&std::env::temp_dir()).unwrap() > 0);
        assert!(free_bytes(Path::new("/no/such/place")).is_err());
    }
}
