//! The tables in the file, and how a change changes them.

use redb::{
    AccessGuard, Database, MultimapTable, MultimapTableDefinition, ReadTransaction, ReadableTable,
    ReadableTableMetadata, Table, TableDefinition, WriteTransaction,
};

use crate::clock::Timestamp;
use crate::session::store::{
    Census, Change, Debt, DebtId, Due, Index, Row, Stamp, Writer, Written,
};
use crate::token::SessionHash;
use crate::verify::{Criterion, Refusal};

/// What is readable of a row: small, so that activity is cheap to note.
const HEADS: TableDefinition<'_, &[u8; 32], &[u8]> = TableDefinition::new("heads");
/// The sealed rest.
const SEALED: TableDefinition<'_, &[u8; 32], &[u8]> = TableDefinition::new("sealed");
/// Deadline in milliseconds and session, in the order of time.
const DEADLINES: TableDefinition<'_, (u64, &[u8; 32]), ()> = TableDefinition::new("deadlines");
/// By user, and by session at the provider.
const INDICES: MultimapTableDefinition<'_, &[u8; 32], &[u8; 32]> =
    MultimapTableDefinition::new("indices");
/// Those that have ended, so that the others can be counted.
const TOMBSTONES: TableDefinition<'_, &[u8; 32], ()> = TableDefinition::new("tombstones");
/// What is owed: held until, expires, sealed.
const DEBTS: TableDefinition<'_, &[u8; 16], (u64, u64, &[u8])> = TableDefinition::new("debts");

/// What is refused, by when that is over in milliseconds: issued by when, in milliseconds.
const REFUSALS: TableDefinition<'_, (u64, &[u8; 32]), u64> = TableDefinition::new("refusals");

/// The layout of a head. A later one may be longer: what this version does not know it ignores.
const HEAD: u8 = 2;
const ENDED: u8 = 1;
const HAS_SUBJECT: u8 = 2;
const HAS_SID: u8 = 4;

type Result<T> = std::result::Result<T, redb::Error>;

/// Makes the tables, so that readers find them, and frees what an earlier process held: it is gone, since the file opened.
pub(super) fn prepare(database: &Database) -> Result<()> {
    let transaction = database.begin_write()?;
    let free = Tables::open(&transaction)?.free_debts();
    free.and_then(|()| Ok(transaction.commit()?))
}

/// Makes changes durable, all or none.
pub(super) fn write(database: &Database, changes: &[Change]) -> Result<Vec<Written>> {
    let transaction = database.begin_write()?;
    let written = {
        let mut tables = Tables::open(&transaction)?;
        let written = changes.iter().map(|change| tables.apply(change));
        written.collect::<Result<Vec<_>>>()?
    };
    transaction.commit()?;
    Ok(written)
}

/// All that is refused.
pub(super) fn refusals(transaction: &ReadTransaction) -> Result<Vec<Refusal>> {
    let refusals = transaction.open_table(REFUSALS)?;
    let all = refusals.iter()?.map(|refusal| {
        let (key, issued_by) = refusal?;
        let (until, criterion) = key.value();
        Ok(Refusal {
            criterion: Criterion::from_bytes(*criterion),
            issued_by: Timestamp::from_millis(issued_by.value()),
            until: Timestamp::from_millis(until),
        })
    });
    all.collect()
}

pub(super) fn load(transaction: &ReadTransaction, id: SessionHash) -> Result<Option<Row>> {
    let head = transaction.open_table(HEADS)?.get(id.as_bytes())?;
    let sealed = transaction.open_table(SEALED)?.get(id.as_bytes())?;
    let (Some(head), Some(sealed)) = (head, sealed) else {
        return Ok(None);
    };
    let head = Head::decode(head.value())?;
    Ok(Some(head.into_row(sealed.value().to_vec())))
}

pub(super) fn due(transaction: &ReadTransaction, now: Timestamp, limit: usize) -> Result<Vec<Due>> {
    let deadlines = transaction.open_table(DEADLINES)?;
    let heads = transaction.open_table(HEADS)?;
    let mut due = Vec::new();
    for deadline in deadlines
        .range(..=(now.as_millis(), &[0xff; 32]))?
        .take(limit)
    {
        let (key, ()) = {
            let (key, _) = deadline?;
            let (_, id) = key.value();
            (*id, ())
        };
        let Some(head) = heads.get(&key)? else {
            continue;
        };
        due.push(Due {
            id: SessionHash::from_bytes(key),
            ended: Head::decode(head.value())?.ended,
        });
    }
    Ok(due)
}

pub(super) fn find(transaction: &ReadTransaction, index: Index) -> Result<Vec<SessionHash>> {
    let indices = transaction.open_multimap_table(INDICES)?;
    let found = indices.get(index.as_bytes())?;
    found
        .map(|id| Ok(SessionHash::from_bytes(*id?.value())))
        .collect()
}

pub(super) fn list(
    transaction: &ReadTransaction,
    from: SessionHash,
    limit: usize,
) -> Result<Vec<SessionHash>> {
    let heads = transaction.open_table(HEADS)?;
    let mut alive = Vec::new();
    for head in heads.range::<&[u8; 32]>(from.as_bytes()..)? {
        if alive.len() == limit {
            break;
        }
        let (id, head) = head?;
        if !Head::decode(head.value())?.ended {
            alive.push(SessionHash::from_bytes(*id.value()));
        }
    }
    Ok(alive)
}

pub(super) fn free_debts(
    transaction: &ReadTransaction,
    now: Timestamp,
    limit: usize,
) -> Result<Vec<Debt>> {
    let debts = transaction.open_table(DEBTS)?;
    let all = debts.iter()?.map(debt);
    let free = all.filter(|debt| debt.as_ref().map_or(true, |debt| debt.held_until <= now));
    free.take(limit).collect()
}

pub(super) fn debts(transaction: &ReadTransaction, limit: usize) -> Result<Vec<Debt>> {
    let debts = transaction.open_table(DEBTS)?;
    let mut all: Vec<_> = debts.iter()?.map(debt).collect::<Result<_>>()?;
    all.sort_by_key(|debt| (debt.held_until, debt.id));
    all.truncate(limit);
    Ok(all)
}

type Owed<'a> = (
    AccessGuard<'a, &'static [u8; 16]>,
    AccessGuard<'a, (u64, u64, &'static [u8])>,
);

fn debt(found: std::result::Result<Owed<'_>, redb::StorageError>) -> Result<Debt> {
    let (id, debt) = found?;
    let (held_until, expires, sealed) = debt.value();
    Ok(Debt {
        id: DebtId(*id.value()),
        held_until: Timestamp::from_millis(held_until),
        expires: Timestamp::from_millis(expires),
        sealed: sealed.to_vec(),
    })
}

pub(super) fn census(transaction: &ReadTransaction) -> Result<Census> {
    let all = transaction.open_table(HEADS)?.len()?;
    let ended = transaction.open_table(TOMBSTONES)?.len()?;
    let owed = transaction.open_table(DEBTS)?.len()?;
    Ok(Census {
        alive: all - ended,
        owed,
    })
}

struct Tables<'t> {
    heads: Table<'t, &'static [u8; 32], &'static [u8]>,
    sealed: Table<'t, &'static [u8; 32], &'static [u8]>,
    tombstones: Table<'t, &'static [u8; 32], ()>,
    deadlines: Table<'t, (u64, &'static [u8; 32]), ()>,
    indices: MultimapTable<'t, &'static [u8; 32], &'static [u8; 32]>,
    debts: Table<'t, &'static [u8; 16], (u64, u64, &'static [u8])>,
    refusals: Table<'t, (u64, &'static [u8; 32]), u64>,
}

impl<'t> Tables<'t> {
    fn open(transaction: &'t WriteTransaction) -> Result<Self> {
        Ok(Self {
            heads: transaction.open_table(HEADS)?,
            sealed: transaction.open_table(SEALED)?,
            tombstones: transaction.open_table(TOMBSTONES)?,
            deadlines: transaction.open_table(DEADLINES)?,
            indices: transaction.open_multimap_table(INDICES)?,
            debts: transaction.open_table(DEBTS)?,
            refusals: transaction.open_table(REFUSALS)?,
        })
    }

    fn apply(&mut self, change: &Change) -> Result<Written> {
        match change {
            Change::Create(id, row) => self.put(id, row),
            Change::Mark(id, row) => self.replace(id, row, Writer::Marks),
            Change::Save(id, row) => self.replace(id, row, Writer::Saves),
            Change::Touch { id, seen, deadline } => self.touch(id, *seen, *deadline),
            Change::End {
                id,
                tombstone,
                owed,
            } => {
                self.owe(owed)?;
                self.replace(id, tombstone, Writer::Ends)
            }
            Change::Forget(ids) => {
                ids.iter().try_for_each(|id| self.take(id))?;
                Ok(Written::Done)
            }
            Change::Renew(id, fence) => {
                let head = self.head(id)?;
                let still = head.is_some_and(|head| !head.ended && head.fence == *fence);
                Ok(if still {
                    Written::Done
                } else {
                    Written::Refused
                })
            }
            Change::Owe(owed) => self.owe(owed),
            Change::Hold(ids, until) => {
                ids.iter().try_for_each(|id| self.hold(id, *until))?;
                Ok(Written::Done)
            }
            Change::Paid(ids) => {
                for id in ids {
                    self.debts.remove(&id.0)?;
                }
                Ok(Written::Done)
            }
            Change::Refuse { refusals, now } => self.refuse(refusals, *now),
        }
    }

    fn head(&self, id: &SessionHash) -> Result<Option<Head>> {
        let head = self.heads.get(id.as_bytes())?;
        head.map(|head| Head::decode(head.value())).transpose()
    }

    fn replace(&mut self, id: &SessionHash, row: &Row, writer: Writer) -> Result<Written> {
        let stored = self.head(id)?.map(|head| head.stamp());
        if !writer.may_replace(stored, row.stamp()) {
            return Ok(Written::Refused);
        }
        self.put(id, row)
    }

    fn put(&mut self, id: &SessionHash, row: &Row) -> Result<Written> {
        let (old, new) = (self.head(id)?, Head::of(row));
        if let Some(old) = &old {
            self.deadlines
                .remove((old.deadline.as_millis(), id.as_bytes()))?;
        }
        self.deadlines
            .insert((new.deadline.as_millis(), id.as_bytes()), ())?;
        // The indices seldom change, so that most swaps don't touch them.
        for index in old.iter().flat_map(Head::indices) {
            if new.indices().all(|kept| kept != index) {
                self.indices.remove(index.as_bytes(), id.as_bytes())?;
            }
        }
        for index in new.indices() {
            if old.iter().flat_map(Head::indices).all(|had| had != index) {
                self.indices.insert(index.as_bytes(), id.as_bytes())?;
            }
        }
        self.heads.insert(id.as_bytes(), new.encode().as_slice())?;
        self.sealed.insert(id.as_bytes(), row.sealed.as_slice())?;
        if row.ended {
            self.tombstones.insert(id.as_bytes(), ())?;
        } else if old.is_some_and(|old| old.ended) {
            self.tombstones.remove(id.as_bytes())?;
        }
        Ok(Written::Done)
    }

    fn take(&mut self, id: &SessionHash) -> Result<()> {
        let Some(head) = self.head(id)? else {
            return Ok(());
        };
        self.heads.remove(id.as_bytes())?;
        self.sealed.remove(id.as_bytes())?;
        self.tombstones.remove(id.as_bytes())?;
        self.deadlines
            .remove((head.deadline.as_millis(), id.as_bytes()))?;
        for index in head.indices() {
            self.indices.remove(index.as_bytes(), id.as_bytes())?;
        }
        Ok(())
    }

    fn touch(&mut self, id: &SessionHash, seen: Timestamp, deadline: Timestamp) -> Result<Written> {
        let head = self.head(id)?;
        let Some(head) = head.filter(|head| !head.ended && head.seen <= seen) else {
            return Ok(Written::Refused);
        };
        self.deadlines
            .remove((head.deadline.as_millis(), id.as_bytes()))?;
        self.deadlines
            .insert((deadline.as_millis(), id.as_bytes()), ())?;
        let head = Head {
            seen,
            deadline,
            ..head
        };
        self.heads.insert(id.as_bytes(), head.encode().as_slice())?;
        Ok(Written::Done)
    }

    fn owe(&mut self, owed: &[Debt]) -> Result<Written> {
        for debt in owed {
            let times = (debt.held_until.as_millis(), debt.expires.as_millis());
            self.debts
                .insert(&debt.id.0, (times.0, times.1, debt.sealed.as_slice()))?;
        }
        Ok(Written::Done)
    }

    fn refuse(&mut self, refusals: &[Refusal], now: Timestamp) -> Result<Written> {
        let over = ..=(now.as_millis(), &[0xff; 32]);
        self.refusals.retain_in(over, |_, _| false)?;
        for refusal in refusals {
            let until = refusal.until.as_millis();
            let key = (until, refusal.criterion.as_bytes());
            let known = self.refusals.get(key)?.map(|known| known.value());
            let issued_by = refusal.issued_by.as_millis();
            self.refusals
                .insert(key, known.unwrap_or_default().max(issued_by))?;
        }
        Ok(Written::Done)
    }

    fn hold(&mut self, id: &DebtId, until: Timestamp) -> Result<()> {
        let debt = self.debts.get(&id.0)?.map(|debt| {
            let (_, expires, sealed) = debt.value();
            (expires, sealed.to_vec())
        });
        if let Some((expires, sealed)) = debt {
            let held = (until.as_millis(), expires, sealed.as_slice());
            self.debts.insert(&id.0, held)?;
        }
        Ok(())
    }

    fn free_debts(&mut self) -> Result<()> {
        let ids = self.debts.iter()?.map(|debt| Ok(DebtId(*debt?.0.value())));
        let ids: Vec<_> = ids.collect::<Result<_>>()?;
        ids.iter()
            .try_for_each(|id| self.hold(id, Timestamp::default()))
    }
}

/// A row without its sealed part.
struct Head {
    fence: u64,
    generation: u64,
    ended: bool,
    seen: Timestamp,
    deadline: Timestamp,
    expires: Timestamp,
    subject: Option<Index>,
    sid: Option<Index>,
}

impl Head {
    fn of(row: &Row) -> Self {
        Self {
            fence: row.fence,
            generation: row.generation,
            ended: row.ended,
            seen: row.seen,
            deadline: row.deadline,
            expires: row.expires,
            subject: row.subject,
            sid: row.sid,
        }
    }

    fn into_row(self, sealed: Vec<u8>) -> Row {
        Row {
            fence: self.fence,
            generation: self.generation,
            ended: self.ended,
            seen: self.seen,
            deadline: self.deadline,
            expires: self.expires,
            subject: self.subject,
            sid: self.sid,
            sealed,
        }
    }

    fn stamp(&self) -> Stamp {
        Stamp {
            fence: self.fence,
            generation: self.generation,
            ended: self.ended,
        }
    }

    fn indices(&self) -> impl Iterator<Item = Index> + use<> {
        [self.subject, self.sid].into_iter().flatten()
    }

    fn encode(&self) -> Vec<u8> {
        let flag = |set: bool, bit: u8| if set { bit } else { 0 };
        let flags = flag(self.ended, ENDED)
            | flag(self.subject.is_some(), HAS_SUBJECT)
            | flag(self.sid.is_some(), HAS_SID);
        let mut bytes = vec![HEAD, flags];
        let times = [self.seen, self.deadline, self.expires].map(Timestamp::as_millis);
        for number in [self.fence, self.generation].into_iter().chain(times) {
            bytes.extend_from_slice(&number.to_be_bytes());
        }
        for index in self.indices() {
            bytes.extend_from_slice(index.as_bytes());
        }
        bytes
    }

    fn decode(bytes: &[u8]) -> Result<Self> {
        Self::read(bytes)
            .ok_or_else(|| redb::Error::Corrupted("a session's head can't be read".to_owned()))
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let (&[version, flags], rest) = bytes.split_first_chunk()?;
        let (fence, rest) = number(rest)?;
        let (generation, rest) = number(rest)?;
        let (seen, rest) = number(rest)?;
        let (deadline, rest) = number(rest)?;
        let (expires, rest) = number(rest)?;
        let (subject, rest) = index(rest, flags & HAS_SUBJECT != 0)?;
        let (sid, _later) = index(rest, flags & HAS_SID != 0)?;
        (version == HEAD).then_some(Self {
            fence,
            generation,
            ended: flags & ENDED != 0,
            seen: Timestamp::from_millis(seen),
            deadline: Timestamp::from_millis(deadline),
            expires: Timestamp::from_millis(expires),
            subject,
            sid,
        })
    }
}

fn number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (number, rest) = bytes.split_first_chunk()?;
    Some((u64::from_be_bytes(*number), rest))
}

fn index(bytes: &[u8], there: bool) -> Option<(Option<Index>, &[u8])> {
    if !there {
        return Some((None, bytes));
    }
    let (index, rest) = bytes.split_first_chunk()?;
    Some((Some(Index::from_bytes(*index)), rest))
}
