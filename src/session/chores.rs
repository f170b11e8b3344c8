//! Housekeeping: what is done from time to time, whatever requests do.

use std::sync::Arc;
use std::time::Duration;

use super::{Sessions, StoreError};
use crate::clock::Timestamp;

/// The longest that what is due waits.
const TICK: Duration = Duration::from_secs(1);

impl Sessions {
    /// Retries owed revocations, sweeps what has expired, takes samples, ends what outlives its session; runs until the
    /// process ends.
    pub async fn keep_house(self: Arc<Self>) {
        tokio::join!(self.do_chores(), self.watch_streams());
    }

    async fn do_chores(self: &Arc<Self>) {
        let mut claims = Chore::every(TICK);
        let mut samples = Chore::every(Duration::from_secs(5));
        let mut sweeps = Chore::every(Duration::from_secs(15));
        let mut complaint = Complaint::default();
        loop {
            let now = self.clock.now();
            complaint.hear(self.save_debts().await);
            if claims.is_due(now) {
                complaint.hear(self.claim_debts().await);
            }
            self.pay_debts();
            if samples.is_due(now) {
                complaint.hear(self.sample().await);
            }
            if sweeps.is_due(now) {
                complaint.hear(self.sweep().await);
                self.tidy_memory().await;
            }
            // Woken or not: it is looked at once in a tick at least, since the time may have been moved.
            let _ = tokio::time::timeout(TICK, self.debts.wait()).await;
        }
    }
}

/// Something that is done from time to time.
struct Chore {
    period: Duration,
    next: Timestamp,
}

impl Chore {
    fn every(period: Duration) -> Self {
        let next = Timestamp::default();
        Self { period, next }
    }

    fn is_due(&mut self, now: Timestamp) -> bool {
        let due = now >= self.next;
        if due {
            self.next = now + self.period;
        }
        due
    }
}

/// One line when the store goes, and one when it is back, not one a second.
#[derive(Default)]
struct Complaint {
    made: bool,
}

impl Complaint {
    fn hear(&mut self, done: Result<(), StoreError>) {
        match done {
            Ok(()) => self.made = false,
            Err(error) if !self.made => {
                self.made = true;
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "the session store can't be asked: what is owed stays owed, and what has expired is swept later"
                );
            }
            Err(_) => {}
        }
    }
}
