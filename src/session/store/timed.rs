//! A store that is timed: how long each operation took, and whether it failed. No store knows of it.

use std::sync::Arc;
use std::time::Instant;

use super::{Answer, Census, Change, Debt, Due, Found, Index, Shared, Store, Written};
use crate::clock::Timestamp;
use crate::telemetry::metrics::{StoreMetrics, StoreOperation};
use crate::token::SessionHash;

/// A store, and where its times go. It passes on every method, those with a default too.
#[derive(Debug)]
pub(in crate::session) struct Timed {
    store: Arc<dyn Store>,
    metrics: Arc<StoreMetrics>,
}

impl Timed {
    pub(in crate::session) fn over(store: Arc<dyn Store>, metrics: StoreMetrics) -> Arc<Self> {
        let metrics = Arc::new(metrics);
        Arc::new(Self { store, metrics })
    }

    /// `answer` was asked for just now: what is asked for takes effect in the order of the calls.
    fn timed<T: 'static>(&self, operation: StoreOperation, answer: Answer<T>) -> Answer<T> {
        let begun = Instant::now();
        let metrics = Arc::clone(&self.metrics);
        Box::pin(async move {
            let answer = answer.await;
            metrics.ended(operation, begun.elapsed(), &answer);
            answer
        })
    }
}

impl Store for Timed {
    fn load(&self, id: SessionHash) -> Answer<Option<Found>> {
        self.timed(StoreOperation::Load, self.store.load(id))
    }

    fn write(&self, change: Change) -> Answer<Written> {
        let operation = change.operation();
        self.timed(operation, self.store.write(change))
    }

    fn due(&self, now: Timestamp, limit: usize) -> Answer<Vec<Due>> {
        self.timed(StoreOperation::Due, self.store.due(now, limit))
    }

    fn find(&self, index: Index) -> Answer<Vec<SessionHash>> {
        self.timed(StoreOperation::Find, self.store.find(index))
    }

    fn list(&self, from: SessionHash, limit: usize) -> Answer<Vec<SessionHash>> {
        self.timed(StoreOperation::Find, self.store.list(from, limit))
    }

    fn claim_debts(&self, now: Timestamp, until: Timestamp, limit: usize) -> Answer<Vec<Debt>> {
        let claimed = self.store.claim_debts(now, until, limit);
        self.timed(StoreOperation::Debts, claimed)
    }

    fn debts(&self, limit: usize) -> Answer<Vec<Debt>> {
        self.timed(StoreOperation::Debts, self.store.debts(limit))
    }

    fn census(&self) -> Answer<Census> {
        self.timed(StoreOperation::Census, self.store.census())
    }

    fn shared(&self) -> Option<Shared> {
        self.store.shared()
    }

    fn keeps_house(&self) -> Answer<bool> {
        self.timed(StoreOperation::Lease, self.store.keeps_house())
    }
}

impl Change {
    /// What it is counted as.
    fn operation(&self) -> StoreOperation {
        match self {
            Self::Create(..) => StoreOperation::Create,
            Self::Mark(..) => StoreOperation::Mark,
            Self::Save(..) => StoreOperation::Save,
            Self::Touch { .. } => StoreOperation::Touch,
            Self::End { .. } => StoreOperation::End,
            Self::Forget(_) => StoreOperation::Forget,
            Self::Renew(..) => StoreOperation::Lease,
            Self::Owe(_) | Self::Hold(..) | Self::Paid(_) => StoreOperation::Debts,
            Self::Refuse { .. } => StoreOperation::Refuse,
        }
    }
}
