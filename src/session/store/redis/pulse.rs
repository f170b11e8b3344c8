//! Whether this process hears itself: what it said and when, and what of that came back.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// How long it may go without hearing itself.
pub(super) const SILENCE: Duration = Duration::from_millis(1500);

/// What this process has said to itself and not heard yet.
#[derive(Debug)]
pub(super) struct Pulse {
    state: Mutex<Beats>,
}

#[derive(Debug)]
struct Beats {
    next: u64,
    waited_for: Vec<(u64, Instant)>,
    heard: Instant,
}

impl Default for Pulse {
    fn default() -> Self {
        let beats = Beats {
            next: 0,
            waited_for: Vec::new(),
            heard: Instant::now(),
        };
        Self {
            state: Mutex::new(beats),
        }
    }
}

impl Pulse {
    fn state(&self) -> MutexGuard<'_, Beats> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The time that it took to get here does not count.
    pub(super) fn begin(&self) {
        self.state().heard = Instant::now();
    }

    pub(super) fn sends(&self) -> u64 {
        let mut beats = self.state();
        let number = beats.next;
        beats.next += 1;
        beats.waited_for.push((number, Instant::now()));
        number
    }

    pub(super) fn not_sent(&self, number: u64) {
        self.state().waited_for.retain(|(n, _)| *n != number);
    }

    pub(super) fn heard(&self, number: u64) {
        self.not_sent(number);
        self.state().heard = Instant::now();
    }

    pub(super) fn is_waited_for(&self) -> bool {
        !self.state().waited_for.is_empty()
    }

    /// When the silence has been too long: since any beat was heard, or for one that was sent.
    pub(super) fn deadline(&self) -> Instant {
        let beats = self.state();
        let sent = beats.waited_for.iter().map(|(_, at)| *at);
        sent.chain([beats.heard]).min().unwrap_or(beats.heard) + SILENCE
    }
}
