//! What the system allows this process: descriptors, locked memory, io_uring, kernel version.

use super::error::{KERNEL_MIN, ServeError};
use std::io;
use tracing::warn;

/// The kernel's own bound of one ring's table of direct descriptors.
const DIRECT_DESCRIPTORS_MAX: u64 = 1 << 20;
/// Slots beyond those for connections: sockets that are being closed or moved.
const DIRECT_DESCRIPTORS_SPARE: u64 = 1024;
/// Ordinary descriptors that one core needs at most: its rings, its bell, three rings and an event
/// descriptor of the executor, files.
const DESCRIPTORS_PER_CORE: u64 = 32 + RINGS_PER_CORE_MAX;
/// Rings for the sockets of one core. Each has a table of its own and costs about 2 MiB; only the
/// first is made at the start.
const RINGS_PER_CORE_MAX: u64 = 16;
/// Ordinary descriptors of the process itself: standard streams, signals, data directory, log.
const DESCRIPTORS_OF_PROCESS: u64 = 64;
/// With room for fewer connections than this the broker does not start.
const CONNECTIONS_MIN: u64 = 64;

/// What the limit of open files leads to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct DescriptorPlan {
    /// Entries of each ring's table of direct descriptors.
    pub(super) table: u32,
    /// Rings that each core may make.
    pub(super) rings: usize,
    /// Connections that fit, over all cores.
    pub(super) connections: u64,
}

/// Raises the soft limit of open files to the hard one and returns it.
pub(super) fn raise_descriptor_limit() -> io::Result<u64> {
    let mut limit = descriptor_limit()?;
    if limit.rlim_cur < limit.rlim_max {
        limit.rlim_cur = limit.rlim_max;
        // SAFETY: reads one rlimit that lives on this stack frame.
        if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) } != 0 {
            // The hard limit is above what the kernel allows now: go on with the soft one.
            limit = descriptor_limit()?;
        }
    }
    Ok(limit.rlim_cur)
}

fn descriptor_limit() -> io::Result<libc::rlimit> {
    resource_limit(libc::RLIMIT_NOFILE)
}

fn resource_limit(resource: libc::__rlimit_resource_t) -> io::Result<libc::rlimit> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: writes one rlimit that lives on this stack frame.
    if unsafe { libc::getrlimit(resource, &raw mut limit) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(limit)
}

/// Bytes that may be locked; `None`: no limit, or unknown.
pub(super) fn locked_memory_bytes() -> Option<u64> {
    let limit = resource_limit(libc::RLIMIT_MEMLOCK).ok()?;
    (limit.rlim_cur != libc::RLIM_INFINITY).then_some(limit.rlim_cur)
}

/// The sysctl that switches io_uring off (1: for most users, 2: for all).
pub(super) fn io_uring_disabled() -> Option<u32> {
    let text = std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled").ok()?;
    text.trim().parse().ok()
}

/// Sizes the tables of direct descriptors. One ring's table may have as many entries as the
/// process may open files, and each ring has its own.
pub(super) fn plan_descriptors(
    limit: u64,
    cores: usize,
    shard_connections_max: u32,
    listener_connections_max: u64,
) -> Result<DescriptorPlan, ServeError> {
    let cores = cores as u64;
    let needed = DESCRIPTORS_OF_PROCESS + cores * DESCRIPTORS_PER_CORE + CONNECTIONS_MIN;
    if limit < needed {
        return Err(ServeError::TooFewDescriptors { limit, needed });
    }
    let wanted = u64::from(shard_connections_max) + DIRECT_DESCRIPTORS_SPARE;
    let table = limit.min(DIRECT_DESCRIPTORS_MAX).min(wanted);
    let rings = wanted.div_ceil(table).min(RINGS_PER_CORE_MAX);
    let per_ring = table.saturating_sub(u64::from(super::net::SLOTS_RESERVED));
    let connections = per_ring * rings * cores;
    if connections < listener_connections_max {
        warn!(
            limit,
            connections,
            configured = listener_connections_max,
            "the limit of open files (RLIMIT_NOFILE) leaves room for fewer connections than the \
             listeners may have: raise it with `ulimit -n`, or LimitNOFILE= in the service unit"
        );
    }
    Ok(DescriptorPlan {
        table: u32::try_from(table).unwrap_or(u32::MAX),
        rings: usize::try_from(rings).unwrap_or(usize::MAX),
        connections,
    })
}

/// Refuses kernels that lack what the ring needs.
pub(super) fn check_kernel() -> Result<(), ServeError> {
    let release = kernel_release();
    match parse_release(&release) {
        Some(version) if version < KERNEL_MIN => Err(ServeError::KernelTooOld { release }),
        // An unreadable version is no reason to refuse: the set-up of the ring decides.
        _ => Ok(()),
    }
}

fn kernel_release() -> String {
    std::fs::read_to_string("/proc/sys/kernel/osrelease")
        .map(|text| text.trim().to_owned())
        .unwrap_or_default()
}

fn parse_release(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|letter: char| !letter.is_ascii_digit());
    let major = numbers.next()?.parse().ok()?;
    let minor = numbers.next()?.parse().ok()?;
    Some((major, minor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_release_is_read() {
        let table = [
            ("6.18.44-fc-v657", Some((6, 18))),
            ("6.1.0-13-amd64", Some((6, 1))),
            ("5.15.153.1-microsoft-standard-WSL2", Some((5, 15))),
            ("7.0", Some((7, 0))),
            ("", None),
            ("six", None),
        ];
        for (release, expected) in table {
            assert_eq!(parse_release(release), expected, "{release}");
        }
        assert!((5, 19) < KERNEL_MIN && (6, 1) >= KERNEL_MIN);
        assert!(check_kernel().is_ok());
    }

    #[test]
    fn descriptor_table_follows_the_limits() {
        let plan = |limit, cores, shard| plan_descriptors(limit, cores, shard, 0).map(|p| p.table);
        assert_eq!(plan(20_000, 2, 4_000_000).ok(), Some(20_000));
        assert_eq!(plan(20_000, 2, 1000).ok(), Some(2024));
        assert_eq!(plan(1 << 30, 2, 4_000_000).ok(), Some(1 << 20));
        assert_eq!(plan(64 + 96 + 64, 2, 1000).ok(), Some(224));
        let error = plan(150, 2, 1000).unwrap_err();
        assert!(error.to_string().contains("150"), "{error}");
        assert!(error.to_string().contains("224"), "{error}");
    }

    #[test]
    fn each_core_has_as_many_tables_as_its_connections_need() {
        let per_ring = 20_000 - u64::from(super::super::net::SLOTS_RESERVED);
        for (connections, rings) in [(100, 1), (18_000, 1), (30_000, 2), (4_000_000, 16)] {
            let plan = plan_descriptors(20_000, 4, connections, 100).unwrap();
            assert_eq!(plan.rings, rings, "{connections}");
            if rings > 1 {
                let rings = u64::try_from(rings).unwrap();
                assert_eq!(plan.connections, 4 * rings * per_ring);
            }
        }
    }
}
