//! Sessions: an opaque cookie in the browser, tokens here. Opening one slides it and, when its access token is about to
//! end, swaps the refresh token; ending one is final.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use dashmap::DashMap;
use serde_json::{Map, Value};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock::{Clock, Timestamp};
use crate::ending::{Ending, Roll};
use crate::issuer::Issuer;
use crate::seal::Keyring;
use crate::telemetry::{Audit, Metrics};
use crate::token::{AccessToken, Grant, IdToken, SessionCookie, SessionHash};
use crate::verify::{Held, IdClaims, Refusal, Rendered, Verifier};

mod answer;
mod begin;
mod breaker;
mod chores;
mod client;
mod cookie;
mod dismiss;
mod end;
mod entry;
mod keep;
mod limit;
mod list;
mod measure;
mod pace;
mod provider;
mod record;
mod refresh;
mod refuse;
mod revoke;
mod share;
mod store;
mod streams;
mod survey;
mod sweep;

#[cfg(test)]
mod tests;

use cookie::Shown;
use entry::{ByFirstBytes, Entry};
use provider::Provider;
use refresh::Wish;
use revoke::Debts;
use store::disk::Disk;
use store::memory::Memory;
use store::redis::Redis;
use store::timed::Timed;
use store::{Shared, Store};

pub use crate::ending::EndReason;
pub use client::Unrevoked;
pub use dismiss::{Dismissed, Fate};
pub use list::Summary;
pub use refuse::Whose;
pub use revoke::queue::{Awaited, OwedKind, Queue, Tries};
pub use store::redis::{RedisAddress, RedisServers, RedisSettings};
pub use survey::{Everything, Named, NoPrefix, Page, Prefix, Search};

/// How many sessions are looked for in the store at a time: a flood of cookies that name none must not hold up the rest.
const LOADS_AT_ONCE: usize = 256;

/// What `[session]` and `[logout]` say.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How long a session lives without activity.
    pub idle_timeout: Duration,
    /// How long it lives at most.
    pub absolute_timeout: Duration,
    /// How long before the access token's end it is swapped in the background.
    pub refresh_before: Duration,
    /// The swap by age where the provider states no lifetime.
    pub refresh_every: Duration,
    /// How long past the access token's end a session is still served while the provider can't be reached.
    pub outage_grace: Duration,
    /// How many sessions a person has at a provider at most; none for no limit.
    pub max_per_user: Option<NonZeroUsize>,
    /// Swaps at once per provider.
    pub swaps_at_once: usize,
    /// How long a request waits for a swap that it needs.
    pub swap_wait: Duration,
    /// How long memory is believed without asking a store that others share.
    pub cache_ttl: Duration,
    /// What becomes of requests while such a store can't be asked.
    pub on_store_error: OnStoreError,
    /// How long the cookie may be where it holds the session itself ([`StoreSettings::Cookie`]), in bytes; `None` where it
    /// is the session's id.
    pub cookie_room: Option<usize>,
    /// Which tokens are revoked at the provider when a session ends.
    pub revoke_refresh_token: bool,
    /// See [`Settings::revoke_refresh_token`].
    pub revoke_access_token: bool,
    /// How long an owed revocation is retried.
    pub revoke_retry_for: Duration,
    /// How long tokens are refused by their user or their session at the provider: longer than any access token lives.
    pub refuse_for: Duration,
}

/// What becomes of requests while a store that other processes share can't be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnStoreError {
    /// They are refused for the time being: a sign-out elsewhere could not be heard of.
    Deny,
    /// Those whose session the store has confirmed within [`Settings::cache_ttl`] are served.
    ServeCached,
}

/// Where sessions are kept.
#[derive(Clone, Debug)]
pub enum StoreSettings {
    /// In memory only: gone with the process.
    Memory,
    /// In one file (redb) that survives kill -9.
    Disk {
        /// The file.
        path: std::path::PathBuf,
    },
    /// In Redis or Valkey, for many nodes.
    Redis(RedisSettings),
    /// Sealed in the browser's cookie, and in memory what is more. [`Settings::cookie_room`] must be set.
    Cookie,
}

/// Whether a request counts as the person's activity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activity {
    /// Pushes the idle deadline forward and may set off a swap.
    Slides,
    /// A page load does the same; yet where the refresh token may be spent it is not tried once more, since a page load
    /// can sign in unseen ([`Error::InDoubt`]).
    Navigates,
    /// Leaves the idle deadline where it is (`slide = false`: polling in the background), and sets off a swap only where
    /// the access token has ended, since until the session is idle it is to be served.
    Watches,
}

impl Activity {
    /// As the route's `slide` says.
    pub fn of(slide: bool) -> Self {
        if slide { Self::Slides } else { Self::Watches }
    }
}

/// A session as a request sees it: one generation of its tokens. Immutable; the next swap makes the next one.
#[derive(Debug)]
pub struct Live {
    /// The `[idp.NAME]` that it belongs to.
    pub idp: Arc<str>,
    /// The ID token's `sub`.
    pub subject: Arc<str>,
    /// The access token: to be verified before anything is believed of it.
    pub access_token: AccessToken,
    /// When it came.
    pub obtained: Timestamp,
    /// When the access token ends.
    pub access_expires: Timestamp,
    /// It has ended, and is to be accepted until then all the same, since the provider can't be reached for the next one
    /// ([`Settings::outage_grace`]).
    pub grace: Option<Timestamp>,
    /// Claims of the verified ID token, for identity headers where the access token lacks them.
    pub claims: Arc<Map<String, Value>>,
    /// Up by one at every swap.
    pub generation: u64,
    /// What `forward` made of it for the upstream, rendered once per generation.
    pub rendered: OnceLock<Rendered>,
    /// The session's end, whatever its generation: for what stays open under it.
    pub ending: Arc<Ending>,
}

impl Live {
    /// What its verification has to know of it.
    pub fn held(&self) -> Held {
        Held {
            obtained: Some(self.obtained),
            grace: self.grace,
        }
    }

    /// The same, to be accepted until then though its access token has ended.
    fn graced(&self, until: Timestamp) -> Self {
        Self {
            idp: Arc::clone(&self.idp),
            subject: Arc::clone(&self.subject),
            access_token: self.access_token.clone(),
            obtained: self.obtained,
            access_expires: self.access_expires,
            grace: Some(until),
            claims: Arc::clone(&self.claims),
            generation: self.generation,
            rendered: OnceLock::new(),
            ending: Arc::clone(&self.ending),
        }
    }
}

/// Where a session stands (GET `/oauth2/session`).
#[derive(Clone, Debug)]
pub struct Standing {
    /// The session as a request sees it.
    pub live: Arc<Live>,
    /// When it ends without activity.
    pub idle_deadline: Timestamp,
    /// When it ends in any case.
    pub absolute_deadline: Timestamp,
}

/// A login that succeeded.
#[derive(Debug)]
pub struct Login {
    /// The `[idp.NAME]`.
    pub idp: Arc<str>,
    /// The tokens.
    pub grant: Grant,
    /// The verified ID token's claims.
    pub id_claims: IdClaims,
    /// `User-Agent`, cut to a sensible length.
    pub user_agent: String,
    /// The client's address.
    pub address: IpAddr,
    /// When its tokens were asked for: what is revoked from then on, and before they came, is revoked with them.
    pub requested: Timestamp,
    /// The session that the browser held before: it ends, so that nobody who planted or knows its cookie gains by the
    /// login.
    pub replaces: Option<SessionCookie>,
}

/// Why there is no live session.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No such session: never was, or forgotten.
    #[error("no such session")]
    Unknown,
    /// There is one, sealed with an encryption key that this process does not have: one that was taken out, or that another
    /// node has already. Its cookie may be good elsewhere.
    #[error("the session is sealed with an encryption key that is not here")]
    Unreadable,
    /// It ended.
    #[error("the session has ended: {0:?}")]
    Ended(EndReason),
    /// Its access token has ended and the provider can't be asked for a new one now. The session stays.
    #[error("the session's access token can't be renewed now")]
    NotNow {
        /// When to try again.
        retry_after: Duration,
    },
    /// Its access token has ended, and whether the refresh token still works is unknown (design: lost in flight). A page
    /// load signs in silently. The session stays.
    #[error("the outcome of the session's last swap is unknown")]
    InDoubt {
        /// When anything else may try again; `None` where that could count as theft, so that only a page load helps.
        retry_after: Option<Duration>,
    },
    /// The store failed. The session stays.
    #[error("the session store failed")]
    Store(#[source] StoreError),
}

/// The store can't read or write.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub struct StoreError {
    /// What was tried.
    pub what: &'static str,
    /// What came back.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// Why a login begins no session.
#[derive(Debug, thiserror::Error)]
pub enum Unbegun {
    /// The store can't keep it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The provider's refresh token is too long to be kept in a cookie.
    #[error("the session needs {bytes} bytes in its cookie, which has room for {room}")]
    TooLong {
        /// How many it needs.
        bytes: usize,
        /// How many there are.
        room: usize,
    },
}

/// What the provider said of one revocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Revocation {
    /// The provider confirmed it.
    Confirmed,
    /// It is owed: queued and retried.
    Owed,
    /// The provider offers no revocation.
    NotOffered,
    /// There was no such token, or the configuration does not ask for it.
    NothingToDo,
}

/// What ending a session left to do, and what of it is done.
#[derive(Debug)]
pub struct Ended {
    /// The provider.
    pub idp: Arc<str>,
    /// The hint for RP-initiated logout.
    pub id_token: Option<IdToken>,
    /// The provider's session, where it was named.
    pub sid: Option<Arc<str>>,
    /// The verified ID token's claims.
    pub claims: Arc<Map<String, Value>>,
    /// The refresh token's revocation.
    pub refresh_token: Revocation,
    /// The access token's revocation.
    pub access_token: Revocation,
}

/// What sessions work with.
#[derive(Debug)]
pub struct Tools {
    /// Seals what is kept.
    pub keys: Keyring,
    /// The providers.
    pub idps: Vec<Arc<Issuer>>,
    /// Checks the ID tokens that swaps bring.
    pub verifier: Arc<Verifier>,
    /// The time.
    pub clock: Clock,
    /// Where swaps, revocations and sweeps run.
    pub background: Handle,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Where decisions are noted.
    pub audit: Audit,
}

/// All sessions.
pub struct Sessions {
    settings: Settings,
    keys: Keyring,
    clock: Clock,
    verifier: Arc<Verifier>,
    idps: HashMap<Arc<str>, Provider>,
    /// Sessions in use. What is missing here is looked for in the store.
    hot: DashMap<SessionHash, Arc<Entry>, ByFirstBytes>,
    /// Sessions under which something is open that waits for their end.
    streaming: Arc<Roll>,
    store: Arc<dyn Store>,
    /// Where other processes share the store.
    shared: Option<Shared>,
    loads: Semaphore,
    /// Held by who makes a session from its cookie.
    winning_back: tokio::sync::Mutex<()>,
    debts: Debts,
    /// What is refused, and could not be saved yet.
    unsaved_refusals: std::sync::Mutex<Vec<Refusal>>,
    /// Held by who saves it.
    saving_refusals: tokio::sync::Mutex<()>,
    /// This process, in the marks that it leaves.
    owner: u64,
    background: Handle,
    metrics: Arc<Metrics>,
    audit: Audit,
    /// What must be done before the process may end.
    work: TaskTracker,
    stopping: CancellationToken,
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sessions")
            .field("in_memory", &self.hot.len())
            .field("revocations_owed", &self.debts.len())
            .finish_non_exhaustive()
    }
}

impl Sessions {
    /// Opens the store.
    ///
    /// # Errors
    /// When the store can't be opened: the text says which file and why.
    pub fn open_store(
        store: &StoreSettings,
        settings: Settings,
        tools: Tools,
    ) -> Result<Arc<Self>, StoreError> {
        let background = tools.background.clone();
        let (kind, store): (_, Arc<dyn Store>) = match store {
            StoreSettings::Memory => ("memory", Arc::new(Memory::default())),
            StoreSettings::Cookie => ("cookie", Arc::new(Memory::default())),
            StoreSettings::Disk { path } => {
                let disk = Disk::open(path, background, &tools.clock, tools.verifier.refused())?;
                ("disk", Arc::new(disk))
            }
            StoreSettings::Redis(redis) => {
                let refused = Arc::clone(tools.verifier.refused());
                let refused = (refused, settings.on_store_error);
                let redis = Redis::open(redis, random_owner(), background, &tools.clock, refused);
                ("redis", Arc::new(redis))
            }
        };
        let store = Timed::over(store, tools.metrics.store(kind));
        let sessions = Self::over(store, settings, tools);
        sessions.listen();
        Ok(sessions)
    }

    fn over(store: Arc<dyn Store>, settings: Settings, tools: Tools) -> Arc<Self> {
        let idps = tools.idps.into_iter().map(|issuer| {
            let name = Arc::clone(&issuer.settings().name);
            let metrics = tools.metrics.idp(&name);
            let provider = Provider::new(issuer, settings.swaps_at_once, metrics);
            (name, provider)
        });
        Arc::new(Self {
            idps: idps.collect(),
            settings,
            keys: tools.keys,
            clock: tools.clock,
            verifier: tools.verifier,
            hot: DashMap::default(),
            streaming: Arc::default(),
            shared: store.shared(),
            store,
            loads: Semaphore::new(LOADS_AT_ONCE),
            winning_back: tokio::sync::Mutex::default(),
            debts: Debts::default(),
            unsaved_refusals: std::sync::Mutex::default(),
            saving_refusals: tokio::sync::Mutex::default(),
            owner: random_owner(),
            background: tools.background,
            metrics: tools.metrics,
            audit: tools.audit,
            work: TaskTracker::new(),
            stopping: CancellationToken::new(),
        })
    }

    /// The live session behind a cookie, its access token fresh enough to be forwarded. Waits for a swap only when the
    /// access token has ended, and then at most [`Settings::swap_wait`].
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn open(
        self: &Arc<Self>,
        cookie: &SessionCookie,
        activity: Activity,
    ) -> Result<Arc<Live>, Error> {
        let shown = self.shown(cookie)?;
        if let Some(live) = self.open_at_once(&shown, activity) {
            return Ok(live);
        }
        self.count_load(&shown.hash);
        let entry = self.entry(shown).await?;
        self.renewed(&entry, Wish::Fresh(activity)).await
    }

    /// The way of nearly all requests: one look-up, no lock, no allocation, no wait.
    fn open_at_once(self: &Arc<Self>, shown: &Shown, activity: Activity) -> Option<Arc<Live>> {
        let now = self.clock.now();
        let entry = self.hot.get(&shown.hash)?;
        if !self.vouches_for(&entry, now) {
            return None;
        }
        let live = entry.fresh(now, self.settings.idle_timeout)?;
        if shown.is_ahead_of(live.generation) {
            return None;
        }
        self.look_ahead(&entry, now);
        if activity != Activity::Watches {
            self.note_activity(&entry, now);
            if entry.swap_is_due(now) {
                self.swap_in_background(&entry);
            }
        }
        Some(live)
    }

    fn note_activity(self: &Arc<Self>, entry: &Arc<Entry>, now: Timestamp) {
        if entry.see(now, pace::seen_step(self.settings.idle_timeout)) {
            self.note_seen(entry);
        }
    }

    /// Where the session stands; never slides it, never swaps.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn standing(self: &Arc<Self>, cookie: &SessionCookie) -> Result<Standing, Error> {
        let entry = self.entry(self.shown(cookie)?).await?;
        if let Some(reason) = self.ended(&entry, &entry.state()) {
            return Err(Error::Ended(reason));
        }
        let live = self.in_grace(&entry.current(), &entry.state());
        Ok(Standing {
            live: live.unwrap_or_else(|| Arc::clone(&entry.current().live)),
            idle_deadline: entry.seen() + self.settings.idle_timeout,
            absolute_deadline: entry.absolute_deadline(),
        })
    }

    /// Swaps now, whatever the access token's age (POST `/oauth2/refresh`).
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn swap_now(self: &Arc<Self>, cookie: &SessionCookie) -> Result<Arc<Live>, Error> {
        let entry = self.entry(self.shown(cookie)?).await?;
        self.renewed(&entry, Wish::Next).await
    }

    /// Begins a session under a fresh id; durable when this returns. The one that it replaces has ended by then.
    ///
    /// # Errors
    /// See [`Unbegun`]; the tokens are then owed to the provider's revocation endpoint.
    pub async fn begin(self: &Arc<Self>, login: Login) -> Result<SessionCookie, Unbegun> {
        let sessions = Arc::clone(self);
        let beginning = async move { sessions.begin_whole(login).await };
        self.uninterrupted("begin a session", beginning).await
    }

    /// Ends a session: here first and durably, then its tokens are revoked at the provider, for which this waits a
    /// bounded time; what is not confirmed by then is owed. `None` when there was nothing to end.
    ///
    /// # Errors
    /// When the store can't keep the tombstone. The session has ended all the same, and the store is tried again.
    pub async fn end(
        self: &Arc<Self>,
        cookie: &SessionCookie,
        reason: EndReason,
    ) -> Result<Option<Ended>, StoreError> {
        let Ok(shown) = self.shown(cookie) else {
            return Ok(None);
        };
        let hash = shown.hash;
        let found = self.entry(shown).await;
        let Some(entry) = self.to_end_of(hash, found)? else {
            return Ok(None);
        };
        self.end_wholly(entry, reason).await
    }

    /// Does what whoever asked for it can't cancel by hanging up, and what a stop waits for.
    async fn uninterrupted<T, E>(
        &self,
        what: &'static str,
        work: impl Future<Output = Result<T, E>> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let done = self.work.spawn_on(work, &self.background).await;
        done.map_err(|source| interrupted(what, source))?
    }

    /// Waits until swaps under way are done and saved. To be called once no more requests come.
    pub async fn settle(&self) {
        self.stopping.cancel();
        self.work.close();
        self.work.wait().await;
        self.save_activity(Duration::ZERO).await;
        self.let_debts_go().await;
    }
}

fn random_owner() -> u64 {
    let mut bytes = [0; 8];
    // It tells processes apart in marks, and guards nothing.
    let _ = aws_lc_rs::rand::fill(&mut bytes);
    u64::from_le_bytes(bytes)
}

fn interrupted(what: &'static str, source: tokio::task::JoinError) -> StoreError {
    StoreError {
        what,
        source: Some(Box::new(source)),
    }
}
