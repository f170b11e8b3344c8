//! The order of the calls: a change waits for those to the same things that were asked for before it.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::session::store::Change;
use crate::token::SessionHash;

/// What a change is a change of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Lane {
    Session(SessionHash),
    Debts,
}

/// See the file's first line.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    last: Mutex<HashMap<Lane, watch::Receiver<()>>>,
}

/// A place in the order; the next one's turn comes when it is dropped.
#[derive(Debug)]
pub(super) struct Turn {
    lanes: Arc<Lanes>,
    taken: Vec<Lane>,
    before: Vec<watch::Receiver<()>>,
    /// Closed when this is over: that is what those behind wait for.
    over: Option<watch::Sender<()>>,
}

impl Lanes {
    /// Takes a place behind all that was asked for so far.
    pub(super) fn enter(self: &Arc<Self>, change: &Change) -> Turn {
        let taken = lanes(change);
        let (over, waiting) = watch::channel(());
        let mut last = self.last();
        let before = taken
            .iter()
            .filter_map(|lane| last.insert(*lane, waiting.clone()))
            .collect();
        drop(last);
        Turn {
            lanes: Arc::clone(self),
            taken,
            before,
            over: Some(over),
        }
    }

    /// Waits for what was asked for so far of a session.
    pub(super) async fn pass(&self, id: SessionHash) {
        let before = self.last().get(&Lane::Session(id)).cloned();
        if let Some(before) = before {
            wait(before).await;
        }
    }

    fn last(&self) -> MutexGuard<'_, HashMap<Lane, watch::Receiver<()>>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turn {
    /// Waits until it has come.
    pub(super) async fn come(&mut self) {
        for before in self.before.drain(..) {
            wait(before).await;
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        drop(self.over.take());
        let mut last = self.lanes.last();
        for lane in &self.taken {
            // Closed and still the last: nobody is behind.
            if last
                .get(lane)
                .is_some_and(|last| last.has_changed().is_err())
            {
                last.remove(lane);
            }
        }
    }
}

async fn wait(mut before: watch::Receiver<()>) {
    // Nothing is ever sent: it is closed when it is over.
    while before.changed().await.is_ok() {}
}

fn lanes(change: &Change) -> Vec<Lane> {
    match change {
        Change::Create(id, _)
        | Change::Mark(id, _)
        | Change::Renew(id, _)
        | Change::Save(id, _)
        | Change::Touch { id, .. } => vec![Lane::Session(*id)],
        Change::End { id, owed, .. } if owed.is_empty() => vec![Lane::Session(*id)],
        Change::End { id, .. } => vec![Lane::Session(*id), Lane::Debts],
        Change::Forget(ids) => {
            let once: HashSet<_> = ids.iter().copied().map(Lane::Session).collect();
            once.into_iter().collect()
        }
        Change::Owe(_) | Change::Hold(..) | Change::Paid(_) => vec![Lane::Debts],
        // The longer of two counts, whichever comes first.
        Change::Refuse { .. } => Vec::new(),
    }
}
