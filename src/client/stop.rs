//! The wish to stop, said from outside: by a signal, or by a test.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Shared between whoever wishes and the connection, which looks at it whenever it waits.
#[derive(Clone, Debug, Default)]
pub struct StopFlag(Arc<AtomicBool>);

impl StopFlag {
    /// A flag that SIGINT and SIGTERM set; the second signal ends the process at once.
    ///
    /// # Errors
    /// The system refuses the signal handler.
    pub fn on_signals() -> io::Result<Self> {
        const STATUS_AFTER_SECOND: i32 = 130;
        let flag = Self::default();
        for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
            let shared = || Arc::clone(&flag.0);
            signal_hook::flag::register_conditional_shutdown(
                signal,
                STATUS_AFTER_SECOND,
                shared(),
            )?;
            signal_hook::flag::register(signal, shared())?;
        }
        Ok(flag)
    }

    pub fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    #[must_use]
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
