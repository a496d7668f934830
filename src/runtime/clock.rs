//! The one clock of the process.
//!
//! Made by `serve` before the threads start and copied to each core, so that an [`Instant`] means
//! the same everywhere and may travel in messages between shards.

use crate::base::time::Instant;

/// CLOCK_MONOTONIC, counted from the start of the process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    start: std::time::Instant,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self {
            start: std::time::Instant::now(),
        }
    }

    pub(crate) fn now(self) -> Instant {
        let micros = self.start.elapsed().as_micros();
        Instant::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
    }
}
