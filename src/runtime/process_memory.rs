//! The memory of the process: how much it has, for the `$SYS` topics, and of which pages.

use crate::metrics::sys::ProcessMemory;

/// Resident memory now and at its peak, from the kernel's own count. Reading it takes some tens of
/// microseconds and touches no disk.
pub(super) fn resident() -> Option<ProcessMemory> {
    of_status(&std::fs::read_to_string("/proc/self/status").ok()?)
}

/// From now on the process gets pages of 4 KiB only, also where the system would give it huge ones
/// of 2 MiB for each small part that is touched. Inherited by threads; a kernel that refuses costs
/// memory and nothing else.
pub(super) fn decline_huge_pages() {
    // SAFETY: sets a flag of this process.
    unsafe { libc::prctl(libc::PR_SET_THP_DISABLE, 1, 0, 0, 0) };
}

fn of_status(text: &str) -> Option<ProcessMemory> {
    let bytes = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
        Some(kib * 1024)
    };
    Some(ProcessMemory {
        current: bytes("VmRSS:")?,
        maximum: bytes("VmHWM:")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn huge_pages_are_declined() {
        decline_huge_pages();
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        assert!(!status.contains("THP_enabled:\t1"), "{status}");
    }

    #[test]
    fn the_lines_of_the_kernel_are_read() {
        let text = "Name:\tringway\nVmHWM:\t   2048 kB\nVmRSS:\t   1024 kB\nThreads:\t3\n";
        let memory = ProcessMemory {
            current: 1024 * 1024,
            maximum: 2048 * 1024,
        };
        assert_eq!(of_status(text), Some(memory));
        assert_eq!(of_status("VmRSS:\t\n"), None);
        assert!(resident().is_some_and(|memory| memory.current > 0));
    }
}
