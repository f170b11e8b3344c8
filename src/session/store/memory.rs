//! The store that is gone with the process.

use std::collections::{BTreeMap, BTreeSet};
use std::future::ready;
use std::sync::{Mutex, PoisonError};

use super::{Answer, Census, Change, Debt, DebtId, Due, Found, Index, Row, Store, Writer, Written};
use crate::clock::Timestamp;
use crate::token::SessionHash;

/// See the file's first line.
#[derive(Debug, Default)]
pub(in crate::session) struct Memory {
    tables: Mutex<Tables>,
}

#[derive(Debug, Default)]
struct Tables {
    rows: BTreeMap<SessionHash, Row>,
    tombstones: u64,
    deadlines: BTreeSet<(Timestamp, SessionHash)>,
    indices: BTreeMap<Index, BTreeSet<SessionHash>>,
    debts: BTreeMap<DebtId, Debt>,
}

impl Memory {
    fn with<T: Send + 'static>(&self, act: impl FnOnce(&mut Tables) -> T) -> Answer<T> {
        let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        Box::pin(ready(Ok(act(&mut tables))))
    }
}

impl Store for Memory {
    fn load(&self, id: SessionHash) -> Answer<Option<Found>> {
        self.with(|tables| {
            let row = tables.rows.get(&id).cloned()?;
            Some(Found { row, held: false })
        })
    }

    fn write(&self, change: Change) -> Answer<Written> {
        self.with(|tables| tables.apply(change))
    }

    fn due(&self, now: Timestamp, limit: usize) -> Answer<Vec<Due>> {
        self.with(|tables| {
            let past = tables.deadlines.iter().take_while(|(at, _)| *at <= now);
            let rows = past.filter_map(|(_, id)| Some((*id, tables.rows.get(id)?.ended)));
            rows.take(limit)
                .map(|(id, ended)| Due { id, ended })
                .collect()
        })
    }

    fn find(&self, index: Index) -> Answer<Vec<SessionHash>> {
        self.with(|tables| {
            let found = tables.indices.get(&index);
            found.into_iter().flatten().copied().collect()
        })
    }

    fn list(&self, from: SessionHash, limit: usize) -> Answer<Vec<SessionHash>> {
        self.with(|tables| {
            let alive = tables.rows.range(from..).filter(|(_, row)| !row.ended);
            alive.map(|(id, _)| *id).take(limit).collect()
        })
    }

    fn claim_debts(&self, now: Timestamp, until: Timestamp, limit: usize) -> Answer<Vec<Debt>> {
        self.with(|tables| {
            let free = tables.debts.values_mut().filter(|d| d.held_until <= now);
            let claimed = free.take(limit).map(|debt| {
                debt.held_until = until;
                debt.clone()
            });
            claimed.collect()
        })
    }

    fn debts(&self, limit: usize) -> Answer<Vec<Debt>> {
        self.with(|tables| {
            let mut debts: Vec<_> = tables.debts.values().cloned().collect();
            debts.sort_by_key(|debt| (debt.held_until, debt.id));
            debts.truncate(limit);
            debts
        })
    }

    fn census(&self) -> Answer<Census> {
        self.with(|tables| Census {
            alive: tables.rows.len() as u64 - tables.tombstones,
            owed: tables.debts.len() as u64,
        })
    }
}

impl Tables {
    fn apply(&mut self, change: Change) -> Written {
        match change {
            Change::Create(id, row) => self.put(id, row),
            Change::Mark(id, row) => self.replace(id, row, Writer::Marks),
            Change::Save(id, row) => self.replace(id, row, Writer::Saves),
            Change::Touch { id, seen, deadline } => self.touch(id, seen, deadline),
            Change::End {
                id,
                tombstone,
                owed,
            } => {
                self.owe(owed);
                self.replace(id, tombstone, Writer::Ends)
            }
            Change::Forget(ids) => {
                for id in ids {
                    self.take(&id);
                }
                Written::Done
            }
            Change::Renew(id, fence) => self.renew(&id, fence),
            Change::Owe(owed) => self.owe(owed),
            Change::Hold(ids, until) => {
                for debt in self.debts.values_mut().filter(|d| ids.contains(&d.id)) {
                    debt.held_until = until;
                }
                Written::Done
            }
            Change::Paid(ids) => {
                self.debts.retain(|id, _| !ids.contains(id));
                Written::Done
            }
            // The register that they are in lives as long as this does.
            Change::Refuse { .. } => Written::Done,
        }
    }

    fn replace(&mut self, id: SessionHash, row: Row, writer: Writer) -> Written {
        let stored = self.rows.get(&id).map(Row::stamp);
        if !writer.may_replace(stored, row.stamp()) {
            return Written::Refused;
        }
        self.put(id, row)
    }

    fn put(&mut self, id: SessionHash, row: Row) -> Written {
        self.take(&id);
        self.deadlines.insert((row.deadline, id));
        for index in [row.subject, row.sid].into_iter().flatten() {
            self.indices.entry(index).or_default().insert(id);
        }
        self.tombstones += u64::from(row.ended);
        self.rows.insert(id, row);
        Written::Done
    }

    fn take(&mut self, id: &SessionHash) {
        let Some(row) = self.rows.remove(id) else {
            return;
        };
        self.tombstones -= u64::from(row.ended);
        self.deadlines.remove(&(row.deadline, *id));
        for index in [row.subject, row.sid].into_iter().flatten() {
            let Some(ids) = self.indices.get_mut(&index) else {
                continue;
            };
            ids.remove(id);
            if ids.is_empty() {
                self.indices.remove(&index);
            }
        }
    }

    fn touch(&mut self, id: SessionHash, seen: Timestamp, deadline: Timestamp) -> Written {
        let Some(row) = self.rows.get_mut(&id) else {
            return Written::Refused;
        };
        if row.ended || row.seen > seen {
            return Written::Refused;
        }
        self.deadlines.remove(&(row.deadline, id));
        self.deadlines.insert((deadline, id));
        (row.seen, row.deadline) = (seen, deadline);
        Written::Done
    }

    fn renew(&self, id: &SessionHash, fence: u64) -> Written {
        let row = self.rows.get(id);
        if row.is_some_and(|row| !row.ended && row.fence == fence) {
            Written::Done
        } else {
            Written::Refused
        }
    }

    fn owe(&mut self, owed: Vec<Debt>) -> Written {
        self.debts
            .extend(owed.into_iter().map(|debt| (debt.id, debt)));
        Written::Done
    }
}
