//! One core's io_uring for sockets: set-up, queueing, entering the kernel.
//!
//! Knows nothing of what the operations mean. Used by the core's own thread only, which the
//! kernel enforces (SINGLE_ISSUER).

use super::operation::{Completion, UserData};
use crate::runtime::error::ServeError;
use io_uring::{IoUring, squeue, types};
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::time::Duration;

/// Operations that are queued before the kernel must be entered: more than a busy turn makes, so
/// that a turn is one entry. 256 KiB.
const SUBMISSIONS: u32 = 4096;
/// Completions that may wait. Each connection can have one at a time, and a storm of them must
/// not go over the slow overflow list. 256 KiB.
const COMPLETIONS: u32 = 16_384;
/// Tries in a row in which the kernel took nothing (it has no memory for requests) before the
/// core gives up; some seconds.
const FRUITLESS_TRIES_MAX: u32 = 100_000;
/// Worker threads that the kernel may start for this ring. Only `shutdown` runs there.
const WORKERS_MAX: u32 = 2;

const ENTER_GETEVENTS: u32 = 1 << 0;
const ENTER_EXT_ARG: u32 = 1 << 3;
const ENTER_REGISTERED_RING: u32 = 1 << 4;
const REGISTER_RING_FDS: u32 = 20;

/// How long to wait in the kernel for a completion.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Wait {
    /// Not at all.
    No,
    AtMost(Duration),
    Forever,
}

/// Whether the core sleeps in the ring.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Role {
    /// It does: the kernel's work for the ring is put off until then (DEFER_TASKRUN).
    Lead,
    /// The core sleeps in the lead, which polls this one. A poll does not see work that was put
    /// off for an entry, so the kernel does the work whenever the thread is in the kernel.
    Watched,
}

/// Whether a ring shows in its memory that the kernel has put work off.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Notice {
    /// It does not, which spares the kernel an atomic operation for each piece of work.
    None,
    /// It does, for a core that looks without entering the kernel: [`Ring::has_events`].
    Flag,
}

/// The ring and the operations that did not fit into its queue.
pub(super) struct Ring {
    ring: IoUring,
    /// The ring's index among the registered rings of this thread: spares the kernel a look-up
    /// at each entry.
    registered: u32,
    /// Operations beyond the submission queue, in order. Emptied by each [`Ring::enter`]; bounded
    /// by what one turn makes, a few per connection.
    backlog: VecDeque<squeue::Entry>,
    enters: u64,
}

/// `struct io_uring_getevents_arg` of the kernel.
#[repr(C)]
struct EnterArgument {
    signal_mask: u64,
    signal_mask_bytes: u32,
    wait_min_us: u32,
    timespec: u64,
}

/// `struct io_uring_rsrc_update` of the kernel.
#[repr(C)]
struct RingRegistration {
    offset: u32,
    reserved: u32,
    data: u64,
}

impl Ring {
    /// A ring with an empty table of `direct_descriptors` entries.
    pub(super) fn new(
        direct_descriptors: u32,
        role: Role,
        notice: Notice,
    ) -> Result<Self, ServeError> {
        let mut builder = IoUring::builder();
        builder
            .setup_single_issuer()
            .setup_coop_taskrun()
            .setup_submit_all()
            .setup_cqsize(COMPLETIONS);
        if role == Role::Lead {
            builder.setup_defer_taskrun();
        }
        if notice == Notice::Flag {
            builder.setup_taskrun_flag();
        }
        let ring: IoUring = builder
            .build(SUBMISSIONS)
            .map_err(|error| ServeError::from_ring("io_uring_setup", error))?;
        ring.submitter()
            .register_files_sparse(direct_descriptors)
            .map_err(|error| ServeError::from_ring("table of direct descriptors", error))?;
        // Fails on kernels without the setting, which then use their own bound.
        let _ = ring
            .submitter()
            .register_iowq_max_workers(&mut [WORKERS_MAX, WORKERS_MAX]);
        let registered = register(ring.as_raw_fd())
            .map_err(|error| ServeError::from_ring("registered ring", error))?;
        Ok(Self {
            ring,
            registered,
            backlog: VecDeque::new(),
            enters: 0,
        })
    }

    pub(super) fn descriptor(&self) -> RawFd {
        self.ring.as_raw_fd()
    }

    pub(super) fn inner(&self) -> &IoUring {
        &self.ring
    }

    pub(super) const fn enters(&self) -> u64 {
        self.enters
    }

    /// Queues an operation for the next entry.
    ///
    /// Its memory must stay valid until that entry has returned, and longer if the kernel goes on
    /// using it; the callers in this module say how they make sure of that.
    pub(super) fn push(&mut self, entry: squeue::Entry, user_data: UserData) {
        let entry = entry.user_data(user_data.0);
        if self.backlog.is_empty() {
            // SAFETY: the caller keeps the operation's memory valid, as documented.
            let pushed = unsafe { self.ring.submission().push(&entry) };
            if pushed.is_ok() {
                return;
            }
        }
        self.backlog.push_back(entry);
    }

    /// Moves what fits from the backlog to the queue.
    fn refill(&mut self) {
        let mut queue = self.ring.submission();
        while let Some(entry) = self.backlog.front() {
            // SAFETY: the caller of `push` keeps the operation's memory valid.
            if unsafe { queue.push(entry) }.is_err() {
                return;
            }
            self.backlog.pop_front();
        }
    }

    /// Submits everything that is queued, waits as `wait` says unless `completions` gets
    /// something before, and collects all completions.
    ///
    /// When it has returned `Ok`, the kernel has taken every queued operation. So a send that the
    /// kernel neither may retry later nor has complained about is done, and its memory is free.
    ///
    /// # Errors
    /// Those that leave the ring unusable: the core ends.
    pub(super) fn enter(
        &mut self,
        mut wait: Wait,
        completions: &mut Vec<Completion>,
    ) -> io::Result<()> {
        let mut fruitless = 0;
        loop {
            self.refill();
            let before = self.queued();
            let wait_now = if self.backlog.is_empty() && completions.is_empty() {
                std::mem::replace(&mut wait, Wait::No)
            } else {
                Wait::No
            };
            let result = self.enter_once(before, wait_now);
            self.collect(completions);
            result?;
            if self.is_submitted() {
                return Ok(());
            }
            fruitless = if self.queued() == before {
                fruitless + 1
            } else {
                0
            };
            if fruitless > FRUITLESS_TRIES_MAX {
                return Err(io::Error::from(io::ErrorKind::OutOfMemory));
            }
            if fruitless > 0 {
                std::thread::yield_now();
            }
        }
    }

    /// The next entry brings a completion, or may bring one. Looks without a call, and sees
    /// everything only with [`Notice::Flag`].
    pub(super) fn has_events(&mut self) -> bool {
        self.ring.submission().taskrun() || !self.ring.completion().is_empty()
    }

    /// Something waits for the next entry.
    pub(super) fn has_queued(&mut self) -> bool {
        self.queued() > 0 || !self.backlog.is_empty()
    }

    /// Entries of the submission queue that the kernel has not taken.
    fn queued(&mut self) -> u32 {
        u32::try_from(self.ring.submission().len()).unwrap_or(u32::MAX)
    }

    /// Nothing is left to submit, and no completion hides in the kernel's overflow list.
    fn is_submitted(&mut self) -> bool {
        let queue = self.ring.submission();
        let settled = queue.is_empty() && !queue.cq_overflow();
        drop(queue);
        settled && self.backlog.is_empty()
    }

    fn enter_once(&mut self, submit: u32, wait: Wait) -> io::Result<()> {
        self.enters += 1;
        match enter(self.registered, submit, wait).map_err(|error| error.raw_os_error()) {
            // ETIME: the time to wait is over. EINTR: a signal. EBUSY: completions must be
            // collected first. EAGAIN: no memory for a request at the moment.
            Ok(())
            | Err(Some(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN | libc::ENOMEM)) => {
                Ok(())
            }
            Err(error) => Err(io::Error::from_raw_os_error(error.unwrap_or(libc::EIO))),
        }
    }

    /// Collects the completions that are there, without an entry if possible.
    pub(super) fn take(&mut self, completions: &mut Vec<Completion>) -> io::Result<()> {
        self.collect(completions);
        if self.is_submitted() {
            return Ok(());
        }
        self.enter(Wait::No, completions)
    }

    fn collect(&mut self, completions: &mut Vec<Completion>) {
        completions.extend(self.ring.completion().map(|entry| Completion {
            user_data: UserData(entry.user_data()),
            result: entry.result(),
            flags: entry.flags(),
        }));
    }

    /// Ends all operations, so that the kernel uses none of our memory any more.
    pub(super) fn cancel_all(&mut self) -> io::Result<()> {
        let limit = types::Timespec::new().sec(1);
        let all = types::CancelBuilder::any();
        match self.ring.submitter().register_sync_cancel(Some(limit), all) {
            Err(error) if error.raw_os_error() != Some(libc::ENOENT) => Err(error),
            _ => Ok(()),
        }
    }
}

impl std::fmt::Debug for Ring {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Ring")
            .field("descriptor", &self.descriptor())
            .field("backlog", &self.backlog.len())
            .finish_non_exhaustive()
    }
}

/// Registers the ring's own descriptor with this thread and returns its index. The crate's method
/// forgets the index with the next borrow of the ring.
fn register(descriptor: RawFd) -> io::Result<u32> {
    let mut registration = RingRegistration {
        offset: u32::MAX,
        reserved: 0,
        data: u64::try_from(descriptor).unwrap_or(u64::MAX),
    };
    // SAFETY: the kernel reads and writes one registration on this stack frame.
    let result = unsafe {
        libc::syscall(
            libc::SYS_io_uring_register,
            descriptor,
            REGISTER_RING_FDS,
            &raw mut registration,
            1,
        )
    };
    if result != 1 {
        return Err(io::Error::last_os_error());
    }
    Ok(registration.offset)
}

/// Submits `submit` operations, runs the work that the kernel has put off for this thread, and
/// waits for one completion as `wait` says.
fn enter(registered: u32, submit: u32, wait: Wait) -> io::Result<()> {
    let timeout = match wait {
        Wait::AtMost(timeout) => types::Timespec::from(timeout),
        Wait::No | Wait::Forever => types::Timespec::new(),
    };
    let argument = EnterArgument {
        signal_mask: 0,
        signal_mask_bytes: 0,
        wait_min_us: 0,
        timespec: (&raw const timeout).addr() as u64,
    };
    let (argument, argument_bytes, flag) = match wait {
        Wait::AtMost(_) => (
            &raw const argument,
            size_of::<EnterArgument>(),
            ENTER_EXT_ARG,
        ),
        Wait::No | Wait::Forever => (std::ptr::null(), 0, 0),
    };
    let flags = ENTER_GETEVENTS | ENTER_REGISTERED_RING | flag;
    // SAFETY: the argument and its timespec live on this stack frame; what the queued operations
    // point to is valid, as `Ring::push` demands.
    let result = unsafe {
        libc::syscall(
            libc::SYS_io_uring_enter,
            registered,
            submit,
            u32::from(wait != Wait::No),
            flags,
            argument,
            argument_bytes,
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::operation::Operation;
    use super::*;
    use io_uring::opcode;
    use std::time::Instant;

    fn no_operation(ring: &mut Ring, index: u32) {
        let entry = opcode::Nop::new().build();
        ring.push(entry, UserData::new(Operation::Ignored, index, 0));
    }

    #[test]
    fn more_operations_than_the_queue_holds_are_all_submitted_in_order() {
        let mut ring = Ring::new(16, Role::Lead, Notice::None).unwrap();
        let total = SUBMISSIONS * 3 + 5;
        for index in 0..total {
            no_operation(&mut ring, index);
        }
        let mut completions = Vec::new();
        ring.enter(Wait::No, &mut completions).unwrap();
        let seen: Vec<u32> = completions.iter().map(|c| c.user_data.index()).collect();
        assert_eq!(seen, (0..total).collect::<Vec<_>>());
    }

    #[test]
    fn completions_beyond_the_ring_are_not_lost() {
        let mut ring = Ring::new(16, Role::Lead, Notice::None).unwrap();
        let total = COMPLETIONS * 2;
        for index in 0..total {
            no_operation(&mut ring, index);
        }
        let mut completions = Vec::new();
        ring.enter(Wait::No, &mut completions).unwrap();
        assert_eq!(completions.len(), total as usize);
    }

    #[test]
    fn waiting_ends_with_the_time_or_with_a_completion() {
        let mut ring = Ring::new(16, Role::Lead, Notice::None).unwrap();
        let mut completions = Vec::new();
        let start = Instant::now();
        let time = Duration::from_millis(20);
        ring.enter(Wait::AtMost(time), &mut completions).unwrap();
        assert!(start.elapsed() >= time);
        assert!(completions.is_empty());
        no_operation(&mut ring, 9);
        ring.enter(Wait::Forever, &mut completions).unwrap();
        assert_eq!(completions[0].user_data.index(), 9);
    }

    #[test]
    fn silent_operation_leaves_no_completion() {
        let mut ring = Ring::new(16, Role::Lead, Notice::None).unwrap();
        let mut completions = Vec::new();
        let silent = opcode::Nop::new()
            .build()
            .flags(squeue::Flags::SKIP_SUCCESS);
        ring.push(silent, UserData::plain(Operation::Ignored));
        ring.enter(Wait::No, &mut completions).unwrap();
        assert!(completions.is_empty());
        assert_eq!(ring.queued(), 0);
    }
}
