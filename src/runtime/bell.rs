//! How threads wake a core that sleeps in its ring.
//!
//! A core wakes another one by a message to its ring. Threads without a ring (the main thread,
//! later the control thread and the hashing pool) use the core's event descriptor, which the
//! ring polls.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering, fence};

/// What others need to wake one core. Shared by all threads; alone on its cache lines, as the
/// peers look at it whenever they have sent something.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct Bell {
    /// The core is about to sleep, or sleeps.
    sleeping: AtomicBool,
    /// Of the core's ring; negative before it exists and after it is gone.
    ring: AtomicI32,
    event: OwnedFd,
    /// Packed [`Arrivals`]; [`NO_ARRIVALS`] before the core serves.
    arrivals: AtomicU64,
}

const NO_ARRIVALS: u64 = u64::MAX;

/// The ring into which other cores put connections that belong to a core.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Arrivals {
    /// Which of the core's rings it is.
    pub(crate) ring: usize,
    pub(crate) descriptor: RawFd,
}

impl Bell {
    pub(crate) fn new() -> io::Result<Self> {
        // SAFETY: takes no pointers.
        let descriptor = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if descriptor < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Self {
            sleeping: AtomicBool::new(false),
            ring: AtomicI32::new(-1),
            // SAFETY: the descriptor was just opened and has no other owner.
            event: unsafe { OwnedFd::from_raw_fd(descriptor) },
            arrivals: AtomicU64::new(NO_ARRIVALS),
        })
    }

    /// The core says where its ring is.
    pub(crate) fn set_ring(&self, ring: RawFd) {
        self.ring.store(ring, Ordering::Release);
    }

    /// The core's ring, if it exists.
    pub(crate) fn ring(&self) -> Option<RawFd> {
        let ring = self.ring.load(Ordering::Acquire);
        (ring >= 0).then_some(ring)
    }

    /// The core says where connections from other cores go.
    pub(crate) fn set_arrivals(&self, arrivals: Arrivals) {
        #[allow(clippy::cast_sign_loss, reason = "a descriptor is not negative")]
        let packed = (arrivals.ring as u64) << 32 | arrivals.descriptor as u64;
        self.arrivals.store(packed, Ordering::Release);
    }

    /// Where connections for the core go now.
    pub(crate) fn arrivals(&self) -> Option<Arrivals> {
        let packed = self.arrivals.load(Ordering::Acquire);
        (packed != NO_ARRIVALS).then(|| Arrivals {
            ring: usize::try_from(packed >> 32).unwrap_or_default(),
            #[allow(clippy::cast_possible_truncation, reason = "packed from a descriptor")]
            descriptor: packed as RawFd,
        })
    }

    /// What the core's ring polls.
    pub(crate) fn event(&self) -> RawFd {
        self.event.as_raw_fd()
    }

    /// The core is about to sleep. It must look at everything that peers may have sent *after*
    /// this call: the fence here and the one in [`Bell::must_ring`] make sure that either the
    /// core sees what was sent, or the sender sees that the core sleeps.
    pub(crate) fn begin_sleep(&self) {
        self.sleeping.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    pub(crate) fn end_sleep(&self) {
        self.sleeping.store(false, Ordering::Relaxed);
    }

    /// Asked by a peer after it has sent something: the ring to wake, if the core sleeps. Says so
    /// to one peer only; the core wakes once for all.
    pub(crate) fn must_ring(&self) -> Option<RawFd> {
        fence(Ordering::SeqCst);
        let sleeps =
            self.sleeping.load(Ordering::Relaxed) && self.sleeping.swap(false, Ordering::AcqRel);
        if sleeps { self.ring() } else { None }
    }

    /// Wakes the core from a thread without a ring.
    pub(crate) fn wake(&self) {
        let one = 1u64.to_ne_bytes();
        // SAFETY: reads eight bytes from this stack frame. A full counter (EAGAIN) means that the
        // core has not read it yet and wakes anyway.
        unsafe { libc::write(self.event(), one.as_ptr().cast(), one.len()) };
    }

    /// The core has seen the event and takes it back.
    pub(crate) fn clear(&self) {
        let mut count = [0u8; 8];
        // SAFETY: writes eight bytes to this stack frame; never blocks.
        unsafe { libc::read(self.event(), count.as_mut_ptr().cast(), count.len()) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn arrivals_are_known_once_they_are_told() {
        let bell = Bell::new().unwrap();
        assert_eq!(bell.arrivals(), None);
        for (ring, descriptor) in [(0, 7), (3, 1 << 20)] {
            let arrivals = Arrivals { ring, descriptor };
            bell.set_arrivals(arrivals);
            assert_eq!(bell.arrivals(), Some(arrivals));
        }
    }

    #[test]
    fn only_one_peer_rings_a_sleeping_core() {
        let bell = Bell::new().unwrap();
        bell.set_ring(7);
        assert_eq!(bell.must_ring(), None);
        bell.begin_sleep();
        assert_eq!(bell.must_ring(), Some(7));
        assert_eq!(bell.must_ring(), None);
    }

    /// The lost wake-up: a sender that does not ring although the sleeper saw nothing.
    #[test]
    fn nothing_sent_is_missed_by_a_core_that_goes_to_sleep() {
        const ROUNDS: u64 = 20_000;
        let bell = Arc::new(Bell::new().unwrap());
        bell.set_ring(1);
        let sent = Arc::new(AtomicU64::new(0));
        let rung = Arc::new(AtomicU64::new(0));
        let sender = {
            let (bell, sent, rung) = (Arc::clone(&bell), Arc::clone(&sent), Arc::clone(&rung));
            std::thread::spawn(move || {
                for _ in 0..ROUNDS {
                    let before = sent.fetch_add(1, Ordering::Release);
                    if bell.must_ring().is_some() {
                        rung.fetch_add(1, Ordering::Release);
                    }
                    if before % 64 == 0 {
                        std::thread::yield_now();
                    }
                }
            })
        };
        let (mut seen, mut rings) = (0, 0);
        while seen < ROUNDS {
            bell.begin_sleep();
            let now_sent = sent.load(Ordering::Acquire);
            if now_sent == seen {
                // Asleep: must be woken by a ring, and then find something.
                while rung.load(Ordering::Acquire) == rings {
                    std::thread::yield_now();
                }
            }
            bell.end_sleep();
            rings = rung.load(Ordering::Acquire);
            seen = sent.load(Ordering::Acquire);
        }
        sender.join().unwrap();
    }

    #[test]
    fn event_is_readable_until_cleared() {
        let bell = Bell::new().unwrap();
        bell.wake();
        bell.wake();
        let mut poll = libc::pollfd {
            fd: bell.event(),
            events: libc::POLLIN,
            revents: 0,
        };
        // SAFETY: one pollfd on this stack frame.
        assert_eq!(unsafe { libc::poll(&raw mut poll, 1, 0) }, 1);
        bell.clear();
        // SAFETY: one pollfd on this stack frame.
        assert_eq!(unsafe { libc::poll(&raw mut poll, 1, 0) }, 0);
    }
}
