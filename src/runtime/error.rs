//! Why the broker could not start or had to end. Each message says what to do.

use super::disk::DiskError;
use std::fmt;
use std::io;
use std::net::SocketAddr;

/// Oldest kernel that has all that the ring needs (deferred task work, single issuer).
pub(super) const KERNEL_MIN: (u32, u32) = (6, 1);

/// Everything that can end `serve` other than a requested stop.
#[derive(Debug)]
pub enum ServeError {
    /// More cores were asked for than the affinity mask of the process has.
    TooFewCpus {
        wanted: usize,
        allowed: usize,
    },
    /// A CPU of the list is not in the affinity mask of the process.
    CpuNotAllowed {
        cpu: usize,
        allowed: Vec<usize>,
    },
    /// More cores than a broker may have.
    TooManyCores {
        wanted: usize,
        max: usize,
    },
    /// No core at all.
    NoCores,
    /// The affinity mask could not be read.
    AffinityUnknown,
    /// The kernel has no io_uring, or is built without it.
    IoUringMissing,
    /// io_uring exists but this process may not use it; the value of `kernel.io_uring_disabled`.
    IoUringForbidden {
        disabled: Option<u32>,
    },
    /// The kernel lacks what the ring needs.
    KernelTooOld {
        release: String,
    },
    /// Memory that may be locked does not suffice for the rings; `None` means no limit.
    LockedMemoryTooSmall {
        limit_bytes: Option<u64>,
    },
    /// Another step of the ring's set-up failed.
    RingSetUp {
        step: &'static str,
        error: io::Error,
    },
    /// The limit of open files leaves no room for connections.
    TooFewDescriptors {
        limit: u64,
        needed: u64,
    },
    /// A listener's host name has no address.
    HostUnknown {
        host: String,
        error: io::Error,
    },
    AddressInUse {
        address: SocketAddr,
    },
    AddressForbidden {
        address: SocketAddr,
    },
    AddressNotLocal {
        address: SocketAddr,
    },
    /// Another reason why a listener could not be opened.
    Listen {
        address: SocketAddr,
        error: io::Error,
    },
    /// A resource that every start needs was refused by the system.
    System {
        what: &'static str,
        error: io::Error,
    },
    /// The journals cannot be used.
    Journal(DiskError),
    /// The executor of a core could not be made.
    Executor {
        reason: String,
    },
    /// A core ended although nobody asked it to.
    CoreEnded {
        core: usize,
        reason: String,
    },
}

impl fmt::Display for ServeError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooFewCpus { .. }
            | Self::CpuNotAllowed { .. }
            | Self::TooManyCores { .. }
            | Self::NoCores
            | Self::AffinityUnknown => self.describe_cpus(formatter),
            Self::IoUringMissing
            | Self::IoUringForbidden { .. }
            | Self::KernelTooOld { .. }
            | Self::LockedMemoryTooSmall { .. }
            | Self::RingSetUp { .. } => self.describe_ring(formatter),
            Self::HostUnknown { .. }
            | Self::AddressInUse { .. }
            | Self::AddressForbidden { .. }
            | Self::AddressNotLocal { .. }
            | Self::Listen { .. } => self.describe_listener(formatter),
            Self::TooFewDescriptors { limit, needed } => write!(
                formatter,
                "the limit of open files (RLIMIT_NOFILE) is {limit}, at least {needed} are needed: \
                 raise it with `ulimit -n`, or LimitNOFILE= in the service unit"
            ),
            Self::System { what, error } => write!(formatter, "{what}: {error}"),
            Self::Journal(error) => error.fmt(formatter),
            Self::Executor { reason } => write!(
                formatter,
                "a core's executor could not start: {reason}; check `ulimit -l` (locked memory, \
                 at least 512 KiB) and `ulimit -u` (threads)"
            ),
            Self::CoreEnded { core, reason } => {
                write!(formatter, "core {core} ended unexpectedly: {reason}")
            }
        }
    }
}

impl ServeError {
    fn describe_cpus(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooFewCpus { wanted, allowed } => write!(
                formatter,
                "{wanted} cores were asked for, but this process may use only {allowed} CPUs: \
                 lower --cores, or widen the affinity mask (taskset, cpuset, container limit)"
            ),
            Self::CpuNotAllowed { cpu, allowed } => write!(
                formatter,
                "CPU {cpu} is not among those that this process may use ({allowed:?}): change \
                 --cores, or widen the affinity mask (taskset, cpuset, container limit)"
            ),
            Self::TooManyCores { wanted, max } => write!(
                formatter,
                "{wanted} cores were asked for; a broker has at most {max}: lower --cores"
            ),
            Self::NoCores => write!(formatter, "no core was asked for: --cores takes 1 or more"),
            _ => write!(
                formatter,
                "the CPUs that this process may use could not be read (sched_getaffinity)"
            ),
        }
    }

    fn describe_ring(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::IoUringForbidden {
                disabled: Some(value @ 1..),
            } => write!(
                formatter,
                "io_uring is switched off on this machine: the sysctl kernel.io_uring_disabled \
                 is {value}; set it to 0 (`sysctl -w kernel.io_uring_disabled=0`), or to 1 and \
                 put this user into the group kernel.io_uring_group"
            ),
            Self::IoUringForbidden { .. } => write!(
                formatter,
                "io_uring is forbidden for this process, most likely by a container's seccomp \
                 profile: allow io_uring_setup, io_uring_enter and io_uring_register (for Docker \
                 `--security-opt seccomp=PROFILE.json`)"
            ),
            Self::KernelTooOld { release } => write!(
                formatter,
                "this kernel ({release}) is too old: Linux {}.{} or newer is needed",
                KERNEL_MIN.0, KERNEL_MIN.1
            ),
            Self::LockedMemoryTooSmall { limit_bytes } => write!(
                formatter,
                "the kernel has no memory for the rings; the limit of locked memory \
                 (RLIMIT_MEMLOCK) is {}: raise it with `ulimit -l`, or LimitMEMLOCK= in the \
                 service unit, or use fewer cores",
                limit_bytes
                    .map_or_else(|| "unlimited".to_owned(), |bytes| format!("{bytes} bytes"))
            ),
            Self::RingSetUp { step, error } => {
                write!(formatter, "io_uring could not be set up ({step}): {error}")
            }
            _ => write!(
                formatter,
                "this kernel has no io_uring: Linux {}.{} or newer, built with CONFIG_IO_URING, \
                 is needed",
                KERNEL_MIN.0, KERNEL_MIN.1
            ),
        }
    }

    fn describe_listener(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HostUnknown { host, error } => {
                write!(
                    formatter,
                    "cannot listen: {host} has no address here: {error}"
                )
            }
            Self::AddressInUse { address } => write!(
                formatter,
                "cannot listen on {address}: the port is in use; stop the program that has it \
                 (`ss -ltnp` names it) or take another port"
            ),
            Self::AddressForbidden { address } => write!(
                formatter,
                "cannot listen on {address}: not permitted; ports below 1024 need the capability \
                 CAP_NET_BIND_SERVICE (AmbientCapabilities= in the service unit) or a lower \
                 sysctl net.ipv4.ip_unprivileged_port_start"
            ),
            Self::AddressNotLocal { address } => write!(
                formatter,
                "cannot listen on {address}: this machine does not have that address (`ip addr` \
                 lists its own; 0.0.0.0 or [::] means all)"
            ),
            Self::Listen { address, error } => {
                write!(formatter, "cannot listen on {address}: {error}")
            }
            _ => Ok(()),
        }
    }

    /// What a failed step of the ring's set-up means.
    pub(super) fn from_ring(step: &'static str, error: io::Error) -> Self {
        match error.raw_os_error() {
            Some(libc::ENOSYS) => Self::IoUringMissing,
            Some(libc::EPERM | libc::EACCES) => Self::IoUringForbidden {
                disabled: super::limits::io_uring_disabled(),
            },
            Some(libc::ENOMEM) => Self::LockedMemoryTooSmall {
                limit_bytes: super::limits::locked_memory_bytes(),
            },
            _ => Self::RingSetUp { step, error },
        }
    }

    /// What a failed step of opening a listener means.
    pub(super) fn from_listener(address: SocketAddr, error: io::Error) -> Self {
        match error.raw_os_error() {
            Some(libc::EADDRINUSE) => Self::AddressInUse { address },
            Some(libc::EACCES | libc::EPERM) => Self::AddressForbidden { address },
            Some(libc::EADDRNOTAVAIL) => Self::AddressNotLocal { address },
            _ => Self::Listen { address, error },
        }
    }
}

impl std::error::Error for ServeError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(errno: i32) -> ServeError {
        ServeError::from_ring("test", io::Error::from_raw_os_error(errno))
    }

    #[test]
    fn ring_errors_say_what_to_do() {
        let table = [
            (ring(libc::ENOSYS), "CONFIG_IO_URING"),
            (
                ServeError::IoUringForbidden { disabled: Some(2) },
                "io_uring_disabled is 2",
            ),
            (
                ServeError::IoUringForbidden { disabled: Some(0) },
                "seccomp",
            ),
            (ServeError::IoUringForbidden { disabled: None }, "seccomp"),
            (ring(libc::ENOMEM), "RLIMIT_MEMLOCK"),
            (ring(libc::EINVAL), "(test)"),
            (
                ServeError::KernelTooOld {
                    release: "5.15.0".to_owned(),
                },
                "5.15.0",
            ),
        ];
        for (error, expected) in table {
            let text = error.to_string();
            assert!(text.contains(expected), "{text} lacks {expected}");
        }
        assert!(matches!(
            ring(libc::EPERM),
            ServeError::IoUringForbidden { .. }
        ));
    }

    #[test]
    fn listener_errors_name_the_address() {
        let address: SocketAddr = "192.0.2.1:80".parse().unwrap();
        let table = [
            (libc::EADDRINUSE, "in use"),
            (libc::EACCES, "CAP_NET_BIND_SERVICE"),
            (libc::EADDRNOTAVAIL, "does not have that address"),
            (libc::ENOBUFS, "cannot listen"),
        ];
        for (errno, expected) in table {
            let error = io::Error::from_raw_os_error(errno);
            let text = ServeError::from_listener(address, error).to_string();
            assert!(text.contains(expected), "{text} lacks {expected}");
            assert!(text.contains("192.0.2.1:80"), "{text}");
        }
    }
}
