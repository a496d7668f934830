//! What wakes the main thread: signals and cores that end.
//!
//! Both arrive as bytes on one socket pair, so that one blocking read with a time limit waits for
//! everything.

use super::error::ServeError;
use signal_hook::SigId;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook::low_level::{pipe, unregister};
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// Written by a core's thread when it ends; signal handlers write `X`.
const CORE_ENDED: u8 = b'E';

/// Why the main thread woke.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Event {
    /// SIGTERM or SIGINT.
    StopRequested,
    /// One core's thread has ended.
    CoreEnded,
    /// The time is over.
    TimedOut,
}

/// The reading end; owns the registration of the signals.
#[derive(Debug)]
pub(super) struct Signals {
    receiver: UnixStream,
    sender: UnixStream,
    registered: Vec<SigId>,
}

impl Signals {
    pub(super) fn register() -> Result<Self, ServeError> {
        let failed = |error| ServeError::System {
            what: "signals could not be set up",
            error,
        };
        let (receiver, sender) = UnixStream::pair().map_err(failed)?;
        let mut signals = Self {
            receiver,
            sender,
            registered: Vec::new(),
        };
        for signal in [SIGTERM, SIGINT] {
            let sender = signals.sender.try_clone().map_err(failed)?;
            let id = pipe::register(signal, sender).map_err(failed)?;
            signals.registered.push(id);
        }
        Ok(signals)
    }

    /// What a core's thread holds: says at its end, also after a panic, that it has ended.
    pub(super) fn core_end(&self) -> io::Result<CoreEnd> {
        Ok(CoreEnd(self.sender.try_clone()?))
    }

    /// Waits for the next event, `None`: without an end.
    pub(super) fn wait(&mut self, timeout: Option<Duration>) -> Event {
        // A time limit of zero would mean none at all.
        let timeout = timeout.map(|timeout| timeout.max(Duration::from_millis(1)));
        if self.receiver.set_read_timeout(timeout).is_err() {
            return Event::TimedOut;
        }
        let mut byte = [0];
        loop {
            match self.receiver.read(&mut byte) {
                Ok(1) if byte[0] == CORE_ENDED => return Event::CoreEnded,
                Ok(1) => return Event::StopRequested,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                _ => return Event::TimedOut,
            }
        }
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        for id in self.registered.drain(..) {
            unregister(id);
        }
    }
}

/// See [`Signals::core_end`].
#[derive(Debug)]
pub(super) struct CoreEnd(UnixStream);

impl Drop for CoreEnd {
    fn drop(&mut self) {
        // Fails only when the main thread is gone, and then nobody needs to know.
        let _ = self.0.write(&[CORE_ENDED]);
    }
}

/// Keeps the signals that people send away from the calling thread: a core is not interrupted in
/// the kernel. Faults still arrive where they happen.
pub(super) fn block_in_this_thread() {
    // SAFETY: all zeros is a valid, empty signal set.
    let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
    for signal in [SIGTERM, SIGINT, SIGHUP, SIGUSR1] {
        // SAFETY: writes the set on this stack frame.
        unsafe { libc::sigaddset(&raw mut set, signal) };
    }
    // SAFETY: reads the set; the old mask is not asked for.
    unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ended_core_wakes_the_main_thread() {
        let mut signals = Signals::register().unwrap();
        assert_eq!(signals.wait(Some(Duration::ZERO)), Event::TimedOut);
        let end = signals.core_end().unwrap();
        let thread = std::thread::spawn(move || drop(end));
        assert_eq!(signals.wait(None), Event::CoreEnded);
        thread.join().unwrap();
    }
}
