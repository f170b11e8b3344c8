//! How a change is written: its parts in the order in which a crash between them does no harm.

use std::time::Duration;

use redis::Cmd;

use super::link::{Fault, Up};
use super::names::Names;
use super::rows::{self, digits, moment};
use super::scripts::{FORGET, HOLD, INDEX, OWE, PAID, RENEW, REPLACE, TOUCH};
use super::{Owner, WriteId, refusals};
use crate::clock::{Clock, Timestamp};
use crate::session::store::{Change, Debt, DebtId, Index, Row, Written};
use crate::token::SessionHash;
use crate::verify::Refusal;

/// How long a session that is over stays, so that a process can still revoke what it held.
const OVER: Duration = Duration::from_hours(1);

/// Whether Redis is told for the first time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// It is.
    First,
    /// It has confirmed this once, and may have forgotten: a row that is missing is put there.
    Again,
}

/// See the file's first line.
#[derive(Debug)]
pub(super) struct Desk {
    pub(super) names: Names,
    pub(super) owner: Owner,
    pub(super) lease: Duration,
    pub(super) clock: Clock,
}

/// A row on its way.
struct Put<'a> {
    verb: &'static str,
    id: SessionHash,
    row: &'a Row,
    number: WriteId,
    told: Told,
}

/// What became of it.
enum Replaced {
    Done([Option<Index>; 2]),
    Refused,
    IndexFirst,
}

impl Desk {
    /// Makes a change.
    pub(super) async fn write(
        &self,
        up: &Up,
        write: WriteId,
        change: &Change,
        told: Told,
    ) -> Result<Written, Fault> {
        let put = |verb, id, row| {
            self.put(
                up,
                Put {
                    verb,
                    id,
                    row,
                    number: write,
                    told,
                },
            )
        };
        match change {
            Change::Create(id, row) => put("create", *id, row).await,
            Change::Mark(id, row) => put("mark", *id, row).await,
            Change::Save(id, row) => put("save", *id, row).await,
            Change::End {
                id,
                tombstone,
                owed,
            } => {
                self.owe(up, owed).await?;
                put("end", *id, tombstone).await
            }
            Change::Renew(id, fence) => self.renew(up, id, *fence).await,
            Change::Touch { id, seen, deadline } => self.touch(up, id, *seen, *deadline).await,
            Change::Forget(ids) => self.forget(up, ids).await,
            Change::Owe(owed) => self.owe(up, owed).await,
            Change::Hold(ids, until) => self.hold(up, ids, *until).await,
            Change::Paid(ids) => self.paid(up, ids).await,
            Change::Refuse { refusals, now } => self.refuse(up, refusals, *now).await,
        }
    }

    /// A session is under its indices before its row is there and until it is gone: who looks finds one too many, and
    /// sees that by the row, but never one too few.
    async fn put(&self, up: &Up, put: Put<'_>) -> Result<Written, Fault> {
        let mut replaced = Replaced::IndexFirst;
        if put.verb != "create" {
            replaced = self.replace(up, &put, "0").await?;
        }
        if matches!(replaced, Replaced::IndexFirst) {
            self.index(up, &put).await?;
            replaced = self.replace(up, &put, "1").await?;
        }
        match replaced {
            Replaced::Done(before) => {
                self.unindex(up, &put, before).await?;
                Ok(Written::Done)
            }
            Replaced::Refused => Ok(Written::Refused),
            Replaced::IndexFirst => Err(Fault::Answer),
        }
    }

    async fn replace(&self, up: &Up, put: &Put<'_>, indexed: &str) -> Result<Replaced, Fault> {
        let (id, row) = (&put.id, put.row);
        let call = REPLACE
            .call()
            .key(self.names.row(id))
            .key(self.names.lease(id))
            .key(self.names.due_of(id))
            .arg(put.verb)
            .arg(flag(put.told == Told::Again))
            .arg(indexed)
            .arg(&self.owner.0)
            .arg(&put.number.0)
            .arg(millis(self.lease))
            .arg(self.names.news())
            .arg(id.as_bytes())
            .arg(moment(row.deadline))
            .arg(moment(gone(row)))
            .arg(digits(row.fence))
            .arg(digits(row.generation))
            .arg(flag(row.ended))
            .arg(digits(row.seen.as_millis()))
            .arg(row.deadline.as_millis())
            .arg(row.expires.as_millis())
            .arg(rows::index(row.subject.as_ref()))
            .arg(rows::index(row.sid.as_ref()))
            .arg(&row.sealed);
        let answer: Vec<redis::Value> = rows::read(up.run(&call).await?)?;
        let mut answer = answer.into_iter();
        let what: i64 = rows::read(answer.next().ok_or(Fault::Answer)?)?;
        match what {
            0 => Ok(Replaced::Refused),
            1 => rows::indices(redis::Value::Array(answer.collect())).map(Replaced::Done),
            2 => Ok(Replaced::IndexFirst),
            _ => Err(Fault::Answer),
        }
    }

    async fn index(&self, up: &Up, put: &Put<'_>) -> Result<(), Fault> {
        for index in [put.row.subject, put.row.sid].into_iter().flatten() {
            let call = INDEX
                .call()
                .key(self.names.index(&index))
                .arg(moment(self.clock.now()))
                .arg(moment(put.row.expires))
                .arg(put.id.as_bytes());
            up.run(&call).await?;
        }
        Ok(())
    }

    /// What is no longer so. Where this fails the row tells all the same.
    async fn unindex(
        &self,
        up: &Up,
        put: &Put<'_>,
        before: [Option<Index>; 2],
    ) -> Result<(), Fault> {
        let now = [put.row.subject, put.row.sid];
        let stale = before
            .into_iter()
            .flatten()
            .filter(|i| !now.contains(&Some(*i)));
        for index in stale {
            self.remove(up, &index, &put.id).await?;
        }
        Ok(())
    }

    async fn remove(&self, up: &Up, index: &Index, id: &SessionHash) -> Result<(), Fault> {
        let mut remove = Cmd::new();
        remove
            .arg("ZREM")
            .arg(self.names.index(index))
            .arg(id.as_bytes());
        up.ask(&remove).await.map(|_| ())
    }

    async fn touch(
        &self,
        up: &Up,
        id: &SessionHash,
        seen: Timestamp,
        deadline: Timestamp,
    ) -> Result<Written, Fault> {
        let call = TOUCH
            .call()
            .key(self.names.row(id))
            .key(self.names.due_of(id))
            .arg(digits(seen.as_millis()))
            .arg(deadline.as_millis())
            .arg(moment(deadline))
            .arg(moment(deadline + OVER))
            .arg(id.as_bytes());
        written(up.run(&call).await?)
    }

    async fn renew(&self, up: &Up, id: &SessionHash, fence: u64) -> Result<Written, Fault> {
        let call = RENEW
            .call()
            .key(self.names.row(id))
            .key(self.names.lease(id))
            .arg(&self.owner.0)
            .arg(digits(fence))
            .arg(millis(self.lease));
        written(up.run(&call).await?)
    }

    async fn forget(&self, up: &Up, ids: &[SessionHash]) -> Result<Written, Fault> {
        for id in ids {
            let call = FORGET
                .call()
                .key(self.names.row(id))
                .key(self.names.lease(id))
                .key(self.names.due_of(id))
                .arg(id.as_bytes());
            let indices = rows::indices(up.run(&call).await?)?;
            for index in indices.into_iter().flatten() {
                self.remove(up, &index, id).await?;
            }
        }
        Ok(Written::Done)
    }

    async fn owe(&self, up: &Up, owed: &[Debt]) -> Result<Written, Fault> {
        if owed.is_empty() {
            return Ok(Written::Done);
        }
        let names = owed.iter().map(|debt| self.names.debt(&debt.id));
        let mut call = OWE.call().key(self.names.held()).keys(names);
        for debt in owed {
            call = call
                .arg(moment(debt.held_until))
                .arg(moment(debt.expires))
                .arg(&debt.id.0)
                .arg(debt.expires.as_millis())
                .arg(&debt.sealed);
        }
        written(up.run(&call).await?)
    }

    async fn hold(&self, up: &Up, ids: &[DebtId], until: Timestamp) -> Result<Written, Fault> {
        let names = ids.iter().map(|id| self.names.debt(id));
        let call = HOLD.call().key(self.names.held()).keys(names);
        let call = call.arg(moment(until));
        let call = ids.iter().fold(call, |call, id| call.arg(&id.0));
        written(up.run(&call).await?)
    }

    async fn refuse(&self, up: &Up, refused: &[Refusal], now: Timestamp) -> Result<Written, Fault> {
        let told = self.names.refusal_news();
        for call in refusals::calls(&self.names, self.owner, &told, refused, now) {
            up.run(&call).await?;
        }
        Ok(Written::Done)
    }

    async fn paid(&self, up: &Up, ids: &[DebtId]) -> Result<Written, Fault> {
        let names = ids.iter().map(|id| self.names.debt(id));
        let call = PAID.call().key(self.names.held()).keys(names);
        let call = ids.iter().fold(call, |call, id| call.arg(&id.0));
        written(up.run(&call).await?)
    }
}

/// When Redis may let go of a row by itself.
fn gone(row: &Row) -> Timestamp {
    if row.ended {
        return row.expires;
    }
    row.expires.min(row.deadline + OVER)
}

const fn flag(is: bool) -> &'static str {
    if is { "1" } else { "0" }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn written(answer: redis::Value) -> Result<Written, Fault> {
    match rows::read::<i64>(answer)? {
        1 => Ok(Written::Done),
        0 => Ok(Written::Refused),
        _ => Err(Fault::Answer),
    }
}
