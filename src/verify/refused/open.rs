//! What is open under bearer tokens: found by what they come to be refused by, so that it ends with them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::{Cleared, Criterion, Finding, Marks, Refusal, Refused};
use crate::clock::{Clock, Timestamp};
use crate::ending::{Cause, Ending, Roll};

/// What is gone is dropped once there are so many, and at each doubling.
const FIRST_TIDYING: usize = 1024;

/// The ends to come of what is open.
#[derive(Debug, Default)]
pub(super) struct Open {
    by: Mutex<Index>,
    roll: Arc<Roll>,
}

#[derive(Debug)]
struct Index {
    by: HashMap<Criterion, Vec<One>>,
    count: usize,
    tidy_at: usize,
}

/// Something open under a token that was issued then.
#[derive(Debug)]
struct One {
    issued: Timestamp,
    ending: Weak<Ending>,
}

impl Default for Index {
    fn default() -> Self {
        Self {
            by: HashMap::new(),
            count: 0,
            tidy_at: FIRST_TIDYING,
        }
    }
}

impl Open {
    /// Ends what these refuse.
    pub(super) fn end(&self, refusals: &[Refusal]) {
        let mut over = Vec::new();
        let index = self.index();
        for refusal in refusals {
            let open = index.by.get(&refusal.criterion);
            let open = open.into_iter().flatten();
            let refused = open.filter(|one| one.issued <= refusal.issued_by);
            over.extend(refused.filter_map(|one| one.ending.upgrade()));
        }
        drop(index);
        for ending in over {
            ending.come(Cause::Token);
        }
    }

    fn begin(&self, marks: &Marks) -> Arc<Ending> {
        let ending = Ending::new(*marks.token.as_bytes(), &self.roll);
        let mut index = self.index();
        index.tidy();
        let criteria = [Some(marks.token), Some(marks.subject), marks.sid];
        for criterion in criteria.into_iter().flatten() {
            let one = One {
                issued: marks.issued,
                ending: Arc::downgrade(&ending),
            };
            index.by.entry(criterion).or_default().push(one);
            index.count += 1;
        }
        drop(index);
        ending
    }

    fn index(&self) -> MutexGuard<'_, Index> {
        self.by.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Index {
    fn tidy(&mut self) {
        if self.count < self.tidy_at {
            return;
        }
        self.by.retain(|_, open| {
            open.retain(|one| one.ending.strong_count() > 0);
            !open.is_empty()
        });
        self.count = self.by.values().map(Vec::len).sum();
        self.tidy_at = (2 * self.count).max(FIRST_TIDYING);
    }
}

#[cfg(test)]
impl Refused {
    pub(super) fn open_ones(&self) -> usize {
        self.open.index().count
    }
}

/// What a verified token may come to be refused by later, while something is open under it.
#[derive(Debug)]
pub(in crate::verify) struct Watch {
    marks: Marks,
    cleared: Cleared,
    refused: Arc<Refused>,
    clock: Clock,
}

impl Watch {
    pub(in crate::verify) fn over(marks: Marks, refused: &Arc<Refused>, clock: &Clock) -> Self {
        Self {
            marks,
            cleared: Cleared::default(),
            refused: Arc::clone(refused),
            clock: clock.clone(),
        }
    }

    /// Whether it is refused by now. That what other nodes refuse can't be heard of ends nothing.
    pub(in crate::verify) fn finds_refusal(&self) -> bool {
        let edition = self.refused.edition();
        if self.cleared.holds(edition) {
            return false;
        }
        let finding = self.refused.look_up(&self.marks, None, self.clock.now());
        if finding == Finding::Clear {
            self.cleared.under(edition);
        }
        finding == Finding::Refused
    }

    /// The end to come of what is open under it.
    pub(in crate::verify) fn ending(&self) -> Arc<Ending> {
        let ending = self.refused.open.begin(&self.marks);
        // It may have been refused just before it could be found.
        if self.finds_refusal() {
            ending.come(Cause::Token);
        }
        ending
    }
}
