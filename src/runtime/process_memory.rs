//! How much memory the process has, for the `$SYS` topics.

use crate::metrics::sys::ProcessMemory;

/// Resident memory now and at its peak, from the kernel's own count. Reading it takes some tens of
/// microseconds and touches no disk.
pub(super) fn resident() -> Option<ProcessMemory> {
    of_status(&std::fs::read_to_string("/proc/self/status").ok()?)
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
