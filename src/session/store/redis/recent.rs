//! What was written lately. Redis may forget what it has confirmed (a replica that lagged behind takes over; it is
//! killed before its file was synced), and then it is told once more.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::WriteId;
use crate::session::store::{Change, Debt, Row};
use crate::token::SessionHash;

/// How much is remembered at most, in bytes.
const ROOM: usize = 64 << 20;
/// What a row takes besides its sealed part, roughly.
const ROW: usize = 300;

/// See the file's first line.
#[derive(Debug)]
pub(super) struct Recent {
    keep: Duration,
    written: Mutex<Written>,
}

#[derive(Debug, Default)]
struct Written {
    writes: VecDeque<Write>,
    bytes: usize,
}

#[derive(Debug)]
struct Write {
    at: Instant,
    bytes: usize,
    id: WriteId,
    change: Change,
}

impl Recent {
    /// Each write is remembered so long: longer than a replica lags behind or a file is not synced (a second by default).
    pub(super) fn for_so_long(keep: Duration) -> Self {
        Self {
            keep,
            written: Mutex::default(),
        }
    }

    /// Remembers a change that Redis has confirmed.
    pub(super) fn remember(&self, id: WriteId, change: Change) {
        let (at, bytes) = (Instant::now(), weight(&change));
        let mut written = self.written();
        written.bytes += bytes;
        written.writes.push_back(Write {
            at,
            bytes,
            id,
            change,
        });
        written.forget(at, self.keep);
    }

    /// What to tell once more to a server that was lost then, in order; of several writes of one row the last, which says it all.
    pub(super) fn to_repeat(&self, lost: Instant) -> Vec<(WriteId, Change)> {
        let mut written = self.written();
        written.forget(lost, self.keep);
        let mut newest = HashMap::new();
        for (n, write) in written.writes.iter().enumerate() {
            if let Some(id) = whole_row(&write.change) {
                newest.insert(id, n);
            }
        }
        let says_it_all = |n: usize, write: &Write| {
            let id = whole_row(&write.change)?;
            Some(newest.get(&id) == Some(&n))
        };
        let writes = written.writes.iter().enumerate();
        writes
            .filter(|(n, write)| says_it_all(*n, write).unwrap_or(true))
            .map(|(_, write)| (write.id, write.change.clone()))
            .collect()
    }

    fn written(&self) -> MutexGuard<'_, Written> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Written {
    fn forget(&mut self, now: Instant, keep: Duration) {
        while let Some(first) = self.writes.front() {
            if now.duration_since(first.at) < keep && self.bytes <= ROOM {
                break;
            }
            self.bytes -= first.bytes;
            self.writes.pop_front();
        }
    }
}

/// Whose row it writes as a whole. What an end leaves owed is not superseded by anything.
fn whole_row(change: &Change) -> Option<SessionHash> {
    match change {
        Change::Create(id, _) | Change::Mark(id, _) | Change::Save(id, _) => Some(*id),
        Change::End { id, owed, .. } if owed.is_empty() => Some(*id),
        Change::End { .. }
        | Change::Renew(..)
        | Change::Touch { .. }
        | Change::Forget(_)
        | Change::Owe(_)
        | Change::Hold(..)
        | Change::Paid(_)
        | Change::Refuse { .. } => None,
    }
}

fn weight(change: &Change) -> usize {
    let row = |row: &Row| ROW + row.sealed.len();
    let debts =
        |debts: &[Debt]| -> usize { debts.iter().map(|debt| ROW + debt.sealed.len()).sum() };
    match change {
        Change::Create(_, new) | Change::Mark(_, new) | Change::Save(_, new) => row(new),
        Change::End {
            tombstone, owed, ..
        } => row(tombstone) + debts(owed),
        Change::Owe(owed) => debts(owed),
        Change::Forget(ids) => ROW + ids.len() * 32,
        Change::Hold(ids, _) | Change::Paid(ids) => ROW + ids.len() * 16,
        Change::Refuse { refusals, .. } => ROW + refusals.len() * 48,
        Change::Renew(..) | Change::Touch { .. } => ROW,
    }
}
