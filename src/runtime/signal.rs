//! What wakes the main thread: signals, threads that have something to tell, and threads that end.
//!
//! All of it arrives as bytes on one socket pair, so that one blocking read with a time limit waits
//! for everything.

use super::error::ServeError;
use signal_hook::SigId;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook::low_level::{pipe, register, unregister};
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::Builder;
use std::time::Duration;

/// Written by the handler of SIGHUP; those of SIGTERM and SIGINT write `X`.
const RELOAD: u8 = b'H';
/// Written by a thread when it ends.
const ENDED: u8 = b'E';
/// Written when something was put into a channel.
const TOLD: u8 = b'T';

/// Why the main thread woke.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Event {
    /// SIGTERM or SIGINT.
    StopRequested,
    /// SIGHUP.
    ReloadRequested,
    /// One thread with a [`ThreadEnd`] has ended.
    ThreadEnded,
    /// Something was put into the channel of a [`Teller`].
    Told,
    /// The time is over.
    TimedOut,
}

/// The requests to stop, from the moment of the registration on, and whatever else the main
/// thread waits for.
#[derive(Debug)]
pub struct Signals {
    receiver: UnixStream,
    sender: Arc<UnixStream>,
    registered: Vec<SigId>,
}

impl Signals {
    /// From now on SIGTERM, SIGINT and SIGHUP do not end the process but wait for who asks.
    ///
    /// # Errors
    /// The system refuses.
    pub fn register() -> Result<Self, ServeError> {
        let failed = |error| ServeError::System {
            what: "signals could not be set up",
            error,
        };
        let (receiver, sender) = UnixStream::pair().map_err(failed)?;
        let mut signals = Self {
            receiver,
            sender: Arc::new(sender),
            registered: Vec::new(),
        };
        for signal in [SIGTERM, SIGINT] {
            let sender = signals.sender.try_clone().map_err(failed)?;
            let id = pipe::register(signal, sender).map_err(failed)?;
            signals.registered.push(id);
        }
        let sender = signals.sender.try_clone().map_err(failed)?;
        // SAFETY: `send` is allowed in a signal handler (signal-safety(7)), and nothing else is
        // done there.
        let id = unsafe { register(SIGHUP, move || send_reload(&sender)) }.map_err(failed)?;
        signals.registered.push(id);
        Ok(signals)
    }

    /// Does `work`, which may take long, on a thread of its own. `None`: a stop was requested
    /// meanwhile. The thread may still be at work then, and the caller ends the process.
    ///
    /// # Errors
    /// There can be no such thread.
    pub fn unless_stopped<T: Send + 'static>(
        &mut self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<Option<T>, ServeError> {
        let end = self.thread_end();
        let thread = Builder::new()
            .name("start".to_owned())
            .spawn(move || {
                let _end = end;
                block_in_this_thread();
                work()
            })
            .map_err(|error| ServeError::System {
                what: "a thread could not be started",
                error,
            })?;
        loop {
            match self.wait(None) {
                Event::StopRequested => return Ok(None),
                Event::ThreadEnded => break,
                Event::ReloadRequested | Event::Told | Event::TimedOut => {}
            }
        }
        match thread.join() {
            Ok(done) => Ok(Some(done)),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }

    /// What a thread holds: says at its end, also after a panic, that it has ended.
    pub(super) fn thread_end(&self) -> ThreadEnd {
        ThreadEnd(Arc::clone(&self.sender))
    }

    /// A channel to the main thread; what is put into it wakes it.
    pub(super) fn channel<T>(&self) -> (Teller<T>, Receiver<T>) {
        let (sender, receiver) = channel();
        let socket = Arc::clone(&self.sender);
        (Teller { sender, socket }, receiver)
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
                Ok(1) if byte[0] == ENDED => return Event::ThreadEnded,
                Ok(1) if byte[0] == TOLD => return Event::Told,
                Ok(1) if byte[0] == RELOAD => return Event::ReloadRequested,
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

fn send_reload(socket: &UnixStream) {
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: reads one byte of a constant. It fails when nobody reads any more, or when as many
    // wake-ups as the socket holds wait already.
    unsafe { libc::send(socket.as_raw_fd(), [RELOAD].as_ptr().cast(), 1, flags) };
}

/// See [`Signals::thread_end`].
#[derive(Debug)]
pub(super) struct ThreadEnd(Arc<UnixStream>);

impl Drop for ThreadEnd {
    fn drop(&mut self) {
        // Fails only when the main thread is gone, and then nobody needs to know.
        let _ = self.0.as_ref().write(&[ENDED]);
    }
}

/// See [`Signals::channel`].
#[derive(Debug)]
pub(super) struct Teller<T> {
    sender: Sender<T>,
    socket: Arc<UnixStream>,
}

impl<T> Teller<T> {
    /// Nobody may listen any more: the main thread has given up.
    pub(super) fn tell(&self, message: T) {
        if self.sender.send(message).is_ok() {
            let _ = self.socket.as_ref().write(&[TOLD]);
        }
    }
}

impl<T> Clone for Teller<T> {
    fn clone(&self) -> Self {
        Self {
            sender: self.sender.clone(),
            socket: Arc::clone(&self.socket),
        }
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
    fn ended_thread_wakes_the_main_thread() {
        let mut signals = Signals::register().unwrap();
        assert_eq!(signals.wait(Some(Duration::ZERO)), Event::TimedOut);
        let end = signals.thread_end();
        let thread = std::thread::spawn(move || drop(end));
        assert_eq!(signals.wait(None), Event::ThreadEnded);
        thread.join().unwrap();
    }

    #[test]
    fn message_is_there_when_it_wakes_the_main_thread() {
        let mut signals = Signals::register().unwrap();
        let (teller, told) = signals.channel();
        let thread = std::thread::spawn(move || teller.tell(5));
        assert_eq!(signals.wait(None), Event::Told);
        assert_eq!(told.try_recv(), Ok(5));
        thread.join().unwrap();
    }

    #[test]
    fn reloads_are_told_from_stops_however_many_come() {
        let mut signals = Signals::register().unwrap();
        for _ in 0..3 {
            signal_hook::low_level::raise(SIGHUP).unwrap();
        }
        for _ in 0..3 {
            assert_eq!(signals.wait(None), Event::ReloadRequested);
        }
        assert_eq!(signals.wait(Some(Duration::ZERO)), Event::TimedOut);
    }

    #[test]
    fn work_is_done_unless_a_stop_is_requested() {
        let mut signals = Signals::register().unwrap();
        assert_eq!(signals.unless_stopped(|| 7).unwrap(), Some(7));
        // As the handler of a signal does.
        signals.sender.as_ref().write_all(b"X").unwrap();
        let (release, held) = channel::<()>();
        let stopped = signals.unless_stopped(move || held.recv()).unwrap();
        assert_eq!(stopped, None);
        drop(release);
    }
}
