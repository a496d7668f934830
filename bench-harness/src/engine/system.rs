//! What the engine asks of the kernel: clocks, epoll with nanosecond timeouts, sockets.
//!
//! The only file of the generator with unsafe code.

use std::io;
use std::mem::MaybeUninit;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::{AsRawFd, FromRawFd as _, OwnedFd};

use socket2::{Domain, Protocol, Socket, Type};

/// The host's monotonic clock: the same for all processes of the host.
pub fn now_ns() -> u64 {
    clock_ns(libc::CLOCK_MONOTONIC)
}

/// CPU time of the calling thread.
pub fn thread_cpu_ns() -> u64 {
    clock_ns(libc::CLOCK_THREAD_CPUTIME_ID)
}

/// CPU time of a process with all threads that it has or had; `None` when it is gone.
pub fn process_cpu_ns(pid: u32) -> Option<u64> {
    let mut clock = MaybeUninit::<libc::clockid_t>::uninit();
    let pid = libc::pid_t::try_from(pid).ok().filter(|pid| *pid > 0)?;
    // SAFETY: the call fills the number that the pointer names.
    let result = unsafe { libc::clock_getcpuclockid(pid, clock.as_mut_ptr()) };
    // SAFETY: a call that succeeded has written it.
    (result == 0).then(|| read_clock(unsafe { clock.assume_init() }))?
}

fn clock_ns(clock: libc::clockid_t) -> u64 {
    read_clock(clock).expect("the clock exists on every Linux")
}

fn read_clock(clock: libc::clockid_t) -> Option<u64> {
    let mut time = MaybeUninit::<libc::timespec>::uninit();
    // SAFETY: the kernel fills the structure that the pointer names.
    let result = unsafe { libc::clock_gettime(clock, time.as_mut_ptr()) };
    if result != 0 {
        return None;
    }
    // SAFETY: the call above succeeded and so wrote it.
    let time = unsafe { time.assume_init() };
    Some(time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64)
}

/// Raises the soft limit of file descriptors to the hard one and returns it.
pub fn raise_descriptor_limit() -> u64 {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the kernel fills the structure that the pointer names.
    let result = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) };
    if result != 0 {
        return 1_024;
    }
    let soft = limit.rlim_cur;
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: the kernel only reads the structure.
    let result = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) };
    if result == 0 { limit.rlim_cur } else { soft }
}

/// The child will stay on `cpus` (on all when empty) and end with the thread that starts it, so
/// that not even a killed program leaves it behind.
pub fn bind_child(command: &mut std::process::Command, cpus: &[usize]) {
    use std::os::unix::process::CommandExt as _;

    // SAFETY: plain data, for which all zeros is the empty set.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    for cpu in cpus.iter().filter(|cpu| **cpu < libc::CPU_SETSIZE as usize) {
        // SAFETY: the number is below the size of the set.
        unsafe { libc::CPU_SET(*cpu, &mut set) };
    }
    let is_bound = !cpus.is_empty();
    let prepare = move || {
        if is_bound {
            // SAFETY: the kernel only reads the set, whose size is given.
            check(unsafe { libc::sched_setaffinity(0, size_of_val(&set), &raw const set) })?;
        }
        // SAFETY: plain numbers.
        check(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) }).map(drop)
    };
    // SAFETY: between fork and exec only two system calls are made; nothing is allocated.
    unsafe { command.pre_exec(prepare) };
}

/// Asks a process to end. Whether it does is another question.
pub fn terminate(pid: u32) {
    signal(pid, libc::SIGTERM);
}

/// Ends a process at once.
pub fn kill(pid: u32) {
    signal(pid, libc::SIGKILL);
}

fn signal(pid: u32, signal: libc::c_int) {
    // 0 and what looks negative would name whole groups.
    if let Ok(pid @ 1..) = libc::pid_t::try_from(pid) {
        // SAFETY: plain numbers. A process that is gone is none that could be harmed.
        unsafe { libc::kill(pid, signal) };
    }
}

/// Lets the kernel wake this thread as precisely as it can.
pub fn set_precise_timers() {
    // SAFETY: the call takes plain numbers; 1 ns of timer slack concerns this thread only.
    unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1) };
}

/// A nonblocking TCP socket on its way to `address`; ready when it can be written.
///
/// `source` is bound without a port, so that the kernel picks one that is free towards `address`.
pub fn connect(
    address: SocketAddr,
    source: Option<Ipv4Addr>,
    receive_buffer_bytes: Option<usize>,
) -> io::Result<Socket> {
    let kind = Type::STREAM.nonblocking();
    let socket = Socket::new(Domain::for_address(address), kind, Some(Protocol::TCP))?;
    socket.set_tcp_nodelay(true)?;
    if let Some(bytes) = receive_buffer_bytes {
        socket.set_recv_buffer_size(bytes)?;
    }
    if let Some(source) = source {
        set_bind_address_no_port(&socket)?;
        socket.bind(&SocketAddr::new(IpAddr::V4(source), 0).into())?;
    }
    match socket.connect(&address.into()) {
        Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => Err(error),
        _ => Ok(socket),
    }
}

fn set_bind_address_no_port(socket: &Socket) -> io::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: the pointer and the length name one integer, which the kernel only reads.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_IP,
            libc::IP_BIND_ADDRESS_NO_PORT,
            (&raw const on).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    check(result).map(drop)
}

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(result)
}

/// What became ready on a socket.
#[derive(Clone, Copy, Debug)]
pub struct Ready {
    /// As given to `Epoll::add`.
    pub token: u64,
    pub is_readable: bool,
    pub is_writable: bool,
    /// The other side ended the connection: read to the end, whatever a short read says.
    pub is_hung_up: bool,
}

/// Edge-triggered: a socket is reported once per change, so readers read until nothing is left.
pub struct Epoll {
    descriptor: OwnedFd,
    events: Vec<libc::epoll_event>,
    ready_count: usize,
}

const EVENTS_PER_WAIT: usize = 1_024;

impl Epoll {
    pub fn new() -> io::Result<Self> {
        // SAFETY: no pointers are passed.
        let descriptor = check(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
        // SAFETY: the kernel has just made the descriptor; nobody else owns it.
        let descriptor = unsafe { OwnedFd::from_raw_fd(descriptor) };
        Ok(Self {
            descriptor,
            events: vec![libc::epoll_event { events: 0, u64: 0 }; EVENTS_PER_WAIT],
            ready_count: 0,
        })
    }

    /// The registration ends when the socket is closed.
    pub fn add(&self, socket: &impl AsRawFd, token: u64) -> io::Result<()> {
        let events = libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLRDHUP | libc::EPOLLET;
        let mut event = libc::epoll_event {
            events: events as u32,
            u64: token,
        };
        let (descriptor, operation) = (self.descriptor.as_raw_fd(), libc::EPOLL_CTL_ADD);
        // SAFETY: the kernel only reads the event.
        let result =
            unsafe { libc::epoll_ctl(descriptor, operation, socket.as_raw_fd(), &raw mut event) };
        check(result).map(drop)
    }

    /// Waits until something is ready or the time is over, and says how much is ready.
    pub fn wait(&mut self, timeout_ns: u64) -> io::Result<usize> {
        let timeout = libc::timespec {
            tv_sec: (timeout_ns / 1_000_000_000) as libc::time_t,
            tv_nsec: (timeout_ns % 1_000_000_000) as libc::c_long,
        };
        // SAFETY: the kernel writes at most as many events as the vector holds, reads the timeout,
        // and takes a null signal mask for none.
        let result = unsafe {
            libc::epoll_pwait2(
                self.descriptor.as_raw_fd(),
                self.events.as_mut_ptr(),
                EVENTS_PER_WAIT as libc::c_int,
                &raw const timeout,
                std::ptr::null(),
            )
        };
        self.ready_count = match check(result) {
            Ok(count) => count as usize,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
            Err(error) => return Err(error),
        };
        Ok(self.ready_count)
    }

    /// One of what the last `wait` found.
    pub fn ready(&self, index: usize) -> Ready {
        let libc::epoll_event { events, u64: token } = self.events[index];
        let has = |flags: libc::c_int| events & flags as u32 != 0;
        let is_hung_up = has(libc::EPOLLRDHUP | libc::EPOLLHUP | libc::EPOLLERR);
        Ready {
            token,
            is_readable: has(libc::EPOLLIN) || is_hung_up,
            is_writable: has(libc::EPOLLOUT) || is_hung_up,
            is_hung_up,
        }
    }
}
