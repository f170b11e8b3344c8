//! The store that many nodes share: Redis or Valkey. Every change to a row is one script that Redis runs as a whole; what
//! the nodes change they tell each other by its pub/sub; what nobody asks for any more Redis forgets by itself.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::try_join_all;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use redis::Cmd;
use tokio::runtime::Handle;
use tokio::time::{Instant, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::news::News;
use super::{
    Answer, Census, Change, Debt, DebtId, Due, Found, Index, Shared, Store, Written, failed,
};
use crate::clock::{Clock, Timestamp};
use crate::session::OnStoreError;
use crate::token::SessionHash;
use crate::verify::Refused;

mod desk;
mod lanes;
mod link;
mod masters;
mod names;
mod pulse;
mod recent;
mod refusals;
mod rows;
mod scripts;
mod sentinel;
mod server;
mod servers;

#[cfg(test)]
pub(super) mod tests;

pub use servers::{RedisAddress, RedisServers, RedisSettings};

use desk::{Desk, Told};
use lanes::Lanes;
use link::{Fault, Link, Up};
use names::TAGS;
use recent::Recent;
use refusals::Refusals;
use scripts::{CLAIM, HOUSE, LOAD};

/// How long a read may take.
const READ: Duration = Duration::from_secs(1);
/// How long a write may take.
const WRITE: Duration = Duration::from_secs(2);
/// How long looking over all sessions may take.
const SURVEY: Duration = Duration::from_secs(5);
/// How long a swap waits at most for the link to settle.
const SETTLING: Duration = Duration::from_secs(5);
/// How long who keeps house may be silent before another does.
const HOUSE_LEASE: Duration = Duration::from_secs(20);
/// How long it is remembered what was written before the link was lost.
const KEEP: Duration = Duration::from_secs(10);
/// The same where a shard can be lost while the link is up: longer than its replica takes to take over.
const KEEP_CLUSTER: Duration = Duration::from_secs(30);
/// So many sessions are looked at together.
const TOGETHER: usize = 32;

/// This process, in what it writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Owner([u8; 8]);

/// One write, so that it is known when it comes a second time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct WriteId([u8; 16]);

/// How long what lasts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// How long the lease of a swap lives unless it is renewed.
    lease: Duration,
    /// How long the link has to be up before a swap may begin: until then other processes may still repeat what Redis
    /// has forgotten.
    settle: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(10),
            settle: Duration::from_millis(1500),
        }
    }
}

/// See the file's first line.
pub(in crate::session) struct Redis {
    inner: Arc<Inner>,
    lanes: Arc<Lanes>,
    /// The order of those that wait for the link to settle.
    waiting: Arc<Lanes>,
    background: Handle,
    _stop: DropGuard,
}

struct Inner {
    link: Link,
    desk: Desk,
    recent: Recent,
    news: Arc<News>,
    pace: Pace,
    written: AtomicU64,
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redis")
            .field("news", &self.inner.news)
            .finish_non_exhaustive()
    }
}

impl Redis {
    /// Begins to connect. That Redis can't be reached is no error here: it is tried for ever. No token is known to be good
    /// before what is refused could be read.
    pub(in crate::session) fn open(
        settings: &RedisSettings,
        owner: u64,
        background: Handle,
        clock: &Clock,
        refused: (Arc<Refused>, OnStoreError),
    ) -> Self {
        Self::at_pace(settings, owner, background, clock, refused, Pace::default())
    }

    fn at_pace(
        settings: &RedisSettings,
        owner: u64,
        background: Handle,
        clock: &Clock,
        (refused, on_error): (Arc<Refused>, OnStoreError),
        pace: Pace,
    ) -> Self {
        let owner = Owner(owner.to_be_bytes());
        let news = Arc::new(News::default());
        let remembered = match settings.servers {
            RedisServers::One(_) | RedisServers::Sentinel { .. } => KEEP,
            RedisServers::Cluster(_) => KEEP_CLUSTER,
        };
        let refusals = Refusals::new(refused, on_error, clock.clone());
        let inner = Arc::new(Inner {
            link: Link::new(settings.clone(), owner, Arc::clone(&news), refusals),
            desk: Desk {
                names: names::Names::new(&settings.prefix),
                owner,
                lease: pace.lease,
                clock: clock.clone(),
            },
            recent: Recent::for_so_long(remembered),
            news,
            pace,
            written: AtomicU64::default(),
        });
        let lanes = Arc::new(Lanes::default());
        let stop = CancellationToken::new();
        let keeping = keep(Arc::clone(&inner), Arc::clone(&lanes));
        background.spawn(stop.clone().run_until_cancelled_owned(keeping));
        Self {
            inner,
            lanes,
            waiting: Arc::default(),
            background,
            _stop: stop.drop_guard(),
        }
    }

    /// Reads once what was asked for before is done.
    fn read<T, F>(
        &self,
        limit: Duration,
        read: impl FnOnce(Arc<Inner>, Up) -> F + Send + 'static,
    ) -> Answer<T>
    where
        F: Future<Output = Result<T, Fault>> + Send,
    {
        let inner = Arc::clone(&self.inner);
        Box::pin(async move {
            let reading = async {
                let up = inner.link.up().await?;
                read(Arc::clone(&inner), up).await
            };
            within(limit, reading)
                .await
                .map_err(|fault| failed(CANT_READ, fault))
        })
    }
}

const CANT_READ: &str = "sessions can't be read from Redis";
const CANT_WRITE: &str = "sessions can't be written to Redis";

async fn within<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, Fault>>,
) -> Result<T, Fault> {
    timeout(limit, work).await.map_err(|_| Fault::Slow(limit))?
}

async fn keep(inner: Arc<Inner>, lanes: Arc<Lanes>) {
    let prepare = |up, lost| inner.repeat(up, lost, &lanes);
    inner.link.keep(prepare).await;
}

impl Inner {
    async fn settle(&self) -> Result<(), Fault> {
        let settling = async { self.link.up().await?.settled(self.pace.settle).await };
        within(SETTLING, settling).await
    }

    async fn write(&self, change: Change) -> Result<Written, Fault> {
        let id = self.write_id();
        let up = within(WRITE, self.link.up()).await?;
        if let Change::Mark(session, _) = &change {
            within(READ, up.assure(session)).await?;
        }
        let writing = self.desk.write(&up, id, &change, Told::First);
        let written = within(WRITE, writing).await?;
        match (written, change) {
            (Written::Done, change) => self.recent.remember(id, change),
            (Written::Refused, Change::End { owed, .. }) if !owed.is_empty() => {
                self.recent.remember(id, Change::Owe(owed));
            }
            (Written::Refused, _) => {}
        }
        Ok(written)
    }

    /// Tells Redis once more what it confirmed before it was lost. What it does not take is said; where it can't be told
    /// now, the link is not up yet.
    async fn repeat(&self, up: Up, lost: Instant, lanes: &Arc<Lanes>) -> Result<(), Fault> {
        let writes = self.recent.to_repeat(lost);
        // Each takes its place before the first of them begins.
        let writes: Vec<_> = writes
            .into_iter()
            .map(|(id, change)| (lanes.enter(&change), id, change))
            .collect();
        let up = &up;
        let repeating = writes.into_iter().map(|(mut turn, id, change)| async move {
            turn.come().await;
            let written = self.desk.write(up, id, &change, Told::Again).await;
            drop(turn);
            written
        });
        let mut repeated = stream::iter(repeating).buffered(TOGETHER);
        let mut refused = 0;
        while let Some(written) = repeated.next().await {
            match written {
                Ok(_) => {}
                Err(Fault::Redis(error)) if server::refuses(&error) => refused += 1,
                Err(other) => return Err(other),
            }
        }
        if refused > 0 {
            tracing::error!(refused, "Redis does not take what it may have forgotten");
        }
        Ok(())
    }

    fn write_id(&self) -> WriteId {
        let mut id = [0; 16];
        let number = self.written.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        let (front, back) = id.split_at_mut(8);
        front.copy_from_slice(&self.desk.owner.0);
        back.copy_from_slice(&number);
        WriteId(id)
    }

    async fn due_of(&self, up: &Up, tag: u8, now: u64, limit: usize) -> Result<DueOf, Fault> {
        let mut due = Cmd::new();
        due.arg("ZRANGEBYSCORE")
            .arg(self.desk.names.due(tag))
            .arg("-inf")
            .arg(now)
            .arg("WITHSCORES")
            .arg("LIMIT")
            .arg(0)
            .arg(limit);
        let members: Vec<(Vec<u8>, f64)> = rows::read(up.ask(&due).await?)?;
        let members = members
            .into_iter()
            .map(|(member, at)| Ok((at, rows::session(member)?)));
        members.collect()
    }

    /// The sessions of a tag that are not before `from`, in order. A tag is the first byte of what it holds, so the tags are
    /// in order too.
    async fn listed(&self, up: &Up, tag: u8, from: SessionHash) -> Result<Vec<SessionHash>, Fault> {
        let mut members = Cmd::new();
        members
            .arg("ZRANGE")
            .arg(self.desk.names.due(tag))
            .arg(0)
            .arg(-1);
        let mut found = rows::sessions(up.ask(&members).await?)?;
        found.retain(|id| *id >= from);
        found.sort_unstable();
        Ok(found)
    }

    async fn debt(&self, up: &Up, member: Vec<u8>, held: f64) -> Result<Option<Debt>, Fault> {
        let id = DebtId(member.try_into().map_err(|_| Fault::Answer)?);
        let mut fields = Cmd::new();
        fields
            .arg("HMGET")
            .arg(self.desk.names.debt(&id))
            .arg("expires")
            .arg("sealed");
        rows::debt(up.ask(&fields).await?, id, rows::time(held))
    }

    async fn is_under(&self, up: &Up, id: SessionHash, index: Index) -> Result<bool, Fault> {
        let mut indices = Cmd::new();
        indices
            .arg("HMGET")
            .arg(self.desk.names.row(&id))
            .arg("subject")
            .arg("sid");
        let found = rows::indices(up.ask(&indices).await?)?;
        Ok(found.contains(&Some(index)))
    }

    async fn count(&self, up: &Up, name: String) -> Result<u64, Fault> {
        let mut count = Cmd::new();
        count.arg("ZCARD").arg(name);
        rows::read(up.ask(&count).await?)
    }
}

type DueOf = Vec<(f64, SessionHash)>;

fn tags() -> impl Iterator<Item = u8> {
    (0..TAGS).filter_map(|tag| u8::try_from(tag).ok())
}

impl Store for Redis {
    fn load(&self, id: SessionHash) -> Answer<Option<Found>> {
        let lanes = Arc::clone(&self.lanes);
        self.read(READ, move |inner, up| async move {
            lanes.pass(id).await;
            let names = &inner.desk.names;
            let call = LOAD.call().key(names.row(&id)).key(names.lease(&id));
            let found = rows::found(up.run(&call).await?, inner.desk.owner.0)?;
            // Until the others have had time to say what became of their marks, none counts as left behind.
            let settling = !up.has_settled(inner.pace.settle);
            Ok(found.map(|found| Found {
                held: found.held || settling,
                ..found
            }))
        })
    }

    fn write(&self, change: Change) -> Answer<Written> {
        let inner = Arc::clone(&self.inner);
        let lanes = Arc::clone(&self.lanes);
        // A swap that has to wait for the link must not hold up what reads the session meanwhile.
        let waits =
            matches!(change, Change::Mark(..)) && !inner.link.has_settled(inner.pace.settle);
        let before = waits.then(|| self.waiting.enter(&change));
        let turn = (!waits).then(|| lanes.enter(&change));
        let writing = self.background.spawn(async move {
            let mut turn = if let Some(turn) = turn {
                turn
            } else {
                inner.settle().await?;
                let mut before = before;
                if let Some(before) = &mut before {
                    before.come().await;
                }
                // The next of those that wait comes when `before` is dropped: behind this one.
                lanes.enter(&change)
            };
            turn.come().await;
            let written = inner.write(change).await;
            drop(turn);
            written
        });
        Box::pin(async move {
            let written = writing.await;
            let written = written.map_err(|source| failed(CANT_WRITE, source))?;
            written.map_err(|source| failed(CANT_WRITE, source))
        })
    }

    fn due(&self, now: Timestamp, limit: usize) -> Answer<Vec<Due>> {
        self.read(SURVEY, move |inner, up| async move {
            let now = rows::moment(now);
            let all = tags().map(|tag| inner.due_of(&up, tag, now, limit));
            let mut due: DueOf = try_join_all(all).await?.into_iter().flatten().collect();
            due.sort_by(|(a, one), (b, other)| a.total_cmp(b).then_with(|| one.cmp(other)));
            let due = due.into_iter().take(limit);
            Ok(due.map(|(_, id)| Due { id, ended: false }).collect())
        })
    }

    fn find(&self, index: Index) -> Answer<Vec<SessionHash>> {
        self.read(SURVEY, move |inner, up| async move {
            let mut members = Cmd::new();
            members
                .arg("ZRANGE")
                .arg(inner.desk.names.index(&index))
                .arg(0)
                .arg(-1);
            let members = rows::sessions(up.ask(&members).await?)?;
            let (inner, up) = (&inner, &up);
            let looking = members.into_iter().map(|id| async move {
                let is = inner.is_under(up, id, index).await?;
                Ok::<_, Fault>(is.then_some(id))
            });
            let found: Vec<_> = stream::iter(looking)
                .buffered(TOGETHER)
                .try_collect()
                .await?;
            let mut found: Vec<SessionHash> = found.into_iter().flatten().collect();
            found.sort();
            Ok(found)
        })
    }

    fn list(&self, from: SessionHash, limit: usize) -> Answer<Vec<SessionHash>> {
        self.read(SURVEY, move |inner, up| async move {
            let [first, ..] = *from.as_bytes();
            let mut tags = (first..=u8::MAX).peekable();
            let (mut found, mut together) = (Vec::new(), 1);
            // One tag is enough where there are many sessions, and where there are few not each should cost a round trip.
            while found.len() < limit && tags.peek().is_some() {
                let some = tags.by_ref().take(together);
                let asked = some.map(|tag| inner.listed(&up, tag, from));
                found.extend(try_join_all(asked).await?.into_iter().flatten());
                together *= 2;
            }
            found.truncate(limit);
            Ok(found)
        })
    }

    fn claim_debts(&self, now: Timestamp, until: Timestamp, limit: usize) -> Answer<Vec<Debt>> {
        self.read(WRITE, move |inner, up| async move {
            let names = &inner.desk.names;
            let call = CLAIM
                .call()
                .key(names.held())
                .arg(rows::moment(now))
                .arg(rows::moment(until))
                .arg(limit)
                .arg(names.debts());
            rows::debts(up.run(&call).await?, until)
        })
    }

    fn debts(&self, limit: usize) -> Answer<Vec<Debt>> {
        self.read(SURVEY, move |inner, up| async move {
            let Some(last) = limit.checked_sub(1) else {
                return Ok(Vec::new());
            };
            let mut members = Cmd::new();
            members
                .arg("ZRANGE")
                .arg(inner.desk.names.held())
                .arg(0)
                .arg(last)
                .arg("WITHSCORES");
            let members: Vec<(Vec<u8>, f64)> = rows::read(up.ask(&members).await?)?;
            let (inner, up) = (&inner, &up);
            let looking = members.into_iter();
            let looking = looking.map(|(member, held)| inner.debt(up, member, held));
            let found: Vec<_> = stream::iter(looking)
                .buffered(TOGETHER)
                .try_collect()
                .await?;
            Ok(found.into_iter().flatten().collect())
        })
    }

    fn census(&self) -> Answer<Census> {
        self.read(SURVEY, move |inner, up| async move {
            let all = tags().map(|tag| inner.count(&up, inner.desk.names.due(tag)));
            let alive = try_join_all(all).await?.into_iter().sum();
            let owed = inner.count(&up, inner.desk.names.held()).await?;
            Ok(Census { alive, owed })
        })
    }

    fn shared(&self) -> Option<Shared> {
        Some(Shared {
            news: Arc::clone(&self.inner.news),
            lease: self.inner.pace.lease,
        })
    }

    fn keeps_house(&self) -> Answer<bool> {
        self.read(WRITE, move |inner, up| async move {
            let call = HOUSE
                .call()
                .key(inner.desk.names.house())
                .arg(&inner.desk.owner.0)
                .arg(u64::try_from(HOUSE_LEASE.as_millis()).unwrap_or(u64::MAX));
            Ok(rows::read::<i64>(up.run(&call).await?)? == 1)
        })
    }
}
