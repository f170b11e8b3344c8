//! The circuit breaker of a provider: while it is down, or has asked for a rest, sessions are not sent to it one by one.
//!
//! A provider that hangs leaves each token that was sent to it in doubt; one that answers 429 wants to be left alone.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use super::pace;
use crate::clock::Timestamp;

#[cfg(test)]
mod tests;

/// So many calls in a row must have failed: sessions are told apart from the provider.
const FAILURES: u32 = 5;
/// The longest pause between two calls that find out whether it is back.
const LONGEST: Duration = Duration::from_secs(5);

/// See the file's first line.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    /// Failures in a row.
    failures: AtomicU32,
    /// Nobody asks before this, in milliseconds.
    until: AtomicU64,
}

impl Breaker {
    /// Lets a call through. When the time has come after failures, it is one call that finds out.
    ///
    /// # Errors
    /// How long to wait.
    pub(super) fn admit(&self, now: Timestamp) -> Result<(), Duration> {
        let until = self.until.load(Ordering::Relaxed);
        let rest = Timestamp::from_millis(until).since(now);
        if !rest.is_zero() {
            return Err(rest);
        }
        let failures = self.failures.load(Ordering::Relaxed);
        if failures < FAILURES {
            return Ok(());
        }
        let pause = pause(failures);
        let next = (now + pause).as_millis();
        let first = self
            .until
            .compare_exchange(until, next, Ordering::Relaxed, Ordering::Relaxed);
        first.map(|_| ()).map_err(|_| pause)
    }

    /// Whether there were too many failures to go on as usual.
    pub(super) fn is_open(&self) -> bool {
        self.failures.load(Ordering::Relaxed) >= FAILURES
    }

    /// A call came to nothing; the provider may have asked for a pause.
    pub(super) fn failed(&self, now: Timestamp, asked: Option<Duration>) {
        let failures = self.failures.fetch_add(1, Ordering::Relaxed) + 1;
        let broken = if failures < FAILURES {
            Duration::ZERO
        } else {
            pause(failures)
        };
        let rest = broken.max(asked.unwrap_or_default().min(pace::RETRY_AFTER));
        self.until
            .fetch_max((now + rest).as_millis(), Ordering::Relaxed);
    }

    /// The provider has answered.
    pub(super) fn answered(&self) {
        self.failures.store(0, Ordering::Relaxed);
        self.until.store(0, Ordering::Relaxed);
    }
}

fn pause(failures: u32) -> Duration {
    pace::backoff(failures.saturating_sub(FAILURES) + 1, None, 0.5).min(LONGEST)
}
