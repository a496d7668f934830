//! How much a core may log about single connections: a storm of bad clients must not become a
//! storm of lines.

use crate::base::time::Instant;
use std::time::Duration;

/// Lines that may come at once.
const BURST: u32 = 20;
/// After the burst, one line in this time.
const REFILL: Duration = Duration::from_millis(100);

/// A token bucket of log lines. What it holds back is counted and told with the next line.
#[derive(Debug)]
pub(crate) struct LogBudget {
    tokens: u32,
    refilled: Instant,
    suppressed: u64,
}

impl LogBudget {
    pub(crate) const fn new() -> Self {
        Self {
            tokens: BURST,
            refilled: Instant::ZERO,
            suppressed: 0,
        }
    }

    /// Whether a line may be written now; `Some` holds how many were held back before it.
    pub(crate) fn take(&mut self, now: Instant) -> Option<u64> {
        self.refill(now);
        if self.tokens == 0 {
            self.suppressed += 1;
            return None;
        }
        self.tokens -= 1;
        Some(std::mem::take(&mut self.suppressed))
    }

    fn refill(&mut self, now: Instant) {
        let since = now.saturating_since(self.refilled);
        let earned = since.as_micros() / REFILL.as_micros();
        if earned == 0 {
            return;
        }
        self.refilled = now;
        self.tokens = self
            .tokens
            .saturating_add(u32::try_from(earned).unwrap_or(u32::MAX))
            .min(BURST);
    }
}

/// One line in an interval, for warnings about a state that lasts.
#[derive(Debug)]
pub(crate) struct LogInterval {
    next: Instant,
    interval: Duration,
}

impl LogInterval {
    pub(crate) const fn new(interval: Duration) -> Self {
        Self {
            next: Instant::ZERO,
            interval,
        }
    }

    pub(crate) fn take(&mut self, now: Instant) -> bool {
        let due = now >= self.next;
        if due {
            self.next = now + self.interval;
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn held_back_lines_are_told_when_the_budget_is_back() {
        let mut budget = LogBudget::new();
        let now = Instant::from_micros(1_000_000);
        for _ in 0..BURST {
            assert_eq!(budget.take(now), Some(0));
        }
        assert_eq!(budget.take(now), None);
        assert_eq!(budget.take(now), None);
        assert_eq!(budget.take(now + REFILL), Some(2));
        assert_eq!(budget.take(now + REFILL), None);
    }

    #[test]
    fn budget_never_exceeds_the_burst() {
        let mut budget = LogBudget::new();
        let late = Instant::from_micros(u64::MAX / 2);
        let allowed = (0..1000).filter(|_| budget.take(late).is_some()).count();
        assert_eq!(allowed, BURST as usize);
    }

    #[test]
    fn lasting_state_is_told_once_per_interval() {
        let second = Duration::from_secs(1);
        let mut interval = LogInterval::new(second);
        let now = Instant::from_micros(5);
        assert!(interval.take(now));
        assert!(!interval.take(now + Duration::from_millis(999)));
        assert!(interval.take(now + second));
    }
}
