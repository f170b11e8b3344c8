//! One session in memory: what requests read without a lock, and behind a small lock what a swap and a sign-out change.

use std::fmt;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::record::{Kept, Phase, Record};
use super::store::news::Edition;
use super::{Activity, EndReason, Error, Live, Settings, pace};
use crate::clock::Timestamp;
use crate::ending::{Cause, Ending};
use crate::token::SessionHash;

/// "Last seen" is not written more often than this, so that the requests of one session don't fight for it.
const SEEN_GRAIN: Duration = Duration::from_millis(250);

/// How far a swap is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    UnderWay,
    /// The next generation is there.
    Swapped,
    /// It is not; the session's state says why.
    Failed,
}

/// What the waiters of a swap hold.
pub(super) type Flight = watch::Receiver<Progress>;

/// One session.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) hash: SessionHash,
    /// Since when it is in memory.
    since: Timestamp,
    absolute_deadline: Timestamp,
    /// Comes under the lock, together with [`State::kept`].
    pub(super) ending: Arc<Ending>,
    current: ArcSwap<Current>,
    seen: AtomicU64,
    seen_saved: AtomicU64,
    confirmed: Confirmed,
    /// Held by who asks the store whether this is still so.
    pub(super) confirming: tokio::sync::Mutex<()>,
    state: Mutex<State>,
}

/// When the store last said that what memory has is so; where the store is this process's own, nobody asks.
#[derive(Debug, Default)]
struct Confirmed {
    edition: AtomicU64,
    at: AtomicU64,
    /// From when on a request sets off the next look at the store, in milliseconds.
    next: AtomicU64,
}

/// One generation of tokens, and until when it is good for.
#[derive(Debug)]
pub(super) struct Current {
    pub(super) live: Arc<Live>,
    pub(super) fresh_until: Timestamp,
    /// The same as `live`, to be accepted past its end.
    graced: OnceLock<Arc<Live>>,
    /// From when on activity sets off a swap, in milliseconds.
    swap_at: AtomicU64,
}

/// What changes seldom.
#[derive(Debug)]
pub(super) struct State {
    pub(super) kept: Kept,
    /// The one swap under way.
    pub(super) flight: Option<Flight>,
    /// What came of the last swap.
    pub(super) trouble: Trouble,
    /// Failures in a row.
    pub(super) failures: u32,
    /// No swap before this.
    pub(super) not_before: Timestamp,
    /// Another process is at work on the next tokens.
    pub(super) elsewhere: bool,
    /// A task is at work to save what could not be saved.
    pub(super) saving: bool,
}

/// What is wrong with the last swap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Trouble {
    /// Nothing.
    #[default]
    None,
    /// The provider refuses the gateway itself.
    Refusal,
    /// The provider was not there.
    Outage,
    /// The outcome is unknown: the refresh token may be spent.
    Doubt,
}

/// What it means to a provider when a refresh token whose fate is unknown is sent once more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SecondTry {
    /// Nothing: it does not rotate.
    Harmless,
    /// Nobody knows, and nobody is there to be asked: neither this nor a page load would help.
    Away,
    /// Theft, perhaps: it ends what that person has at the provider through this client, other sessions included.
    Theft,
}

impl Entry {
    /// A session that begins, or comes out of the store. `held`: another process holds the lease of its swap.
    pub(super) fn new(
        ending: Arc<Ending>,
        record: Box<Record>,
        held: bool,
        seen: Timestamp,
        now: Timestamp,
        settings: &Settings,
    ) -> Self {
        let hash = SessionHash::from_bytes(*ending.key());
        let current = Current::of(&record, settings, &hash, &ending);
        let absolute_deadline = record.absolute_deadline;
        let state = State::new(record, held);
        let entry = Self {
            hash,
            since: now,
            absolute_deadline,
            ending,
            current: ArcSwap::from_pointee(current),
            seen: AtomicU64::new(seen.as_millis()),
            seen_saved: AtomicU64::new(seen.as_millis()),
            confirmed: Confirmed::default(),
            confirming: tokio::sync::Mutex::default(),
            state: Mutex::new(state),
        };
        entry.pause_swaps(&entry.state());
        entry
    }

    /// The store has said of this entry, read under this edition of the news and at this time, that it is so.
    pub(super) fn confirm(&self, edition: Edition, at: Timestamp, ttl: Duration) {
        let Confirmed { next, .. } = &self.confirmed;
        self.confirmed.at.store(at.as_millis(), Ordering::Relaxed);
        next.store((at + ttl * 3 / 4).as_millis(), Ordering::Relaxed);
        let edition = edition.as_u64();
        self.confirmed.edition.store(edition, Ordering::Release);
    }

    /// Whether that still holds.
    pub(super) fn is_confirmed(&self, edition: Edition, now: Timestamp, ttl: Duration) -> bool {
        self.is_confirmed_under(edition)
            && now < Timestamp::from_millis(self.confirmed.at.load(Ordering::Relaxed)) + ttl
    }

    /// Whether it held when it was looked at last, and nothing was heard since.
    pub(super) fn is_confirmed_under(&self, edition: Edition) -> bool {
        self.confirmed.edition.load(Ordering::Acquire) == edition.as_u64()
    }

    /// Whether it is time to look at the store again, so that no request has to wait for it: `true` for one caller.
    pub(super) fn confirmation_is_due(&self, now: Timestamp) -> bool {
        let at = self.confirmed.next.load(Ordering::Relaxed);
        now.as_millis() >= at && claim(&self.confirmed.next, at)
    }

    /// What another process did.
    pub(super) fn saw(&self, seen: Timestamp) {
        self.seen.fetch_max(seen.as_millis(), Ordering::Relaxed);
        self.seen_saved
            .fetch_max(seen.as_millis(), Ordering::Relaxed);
    }

    /// What the log calls it.
    pub(super) fn name(&self) -> impl fmt::Display {
        self.hash.name()
    }

    /// The lock. It is held for moments only, and never across an await.
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a request gets without a lock or a wait: nothing when anything needs a second look.
    pub(super) fn fresh(&self, now: Timestamp, idle: Duration) -> Option<Arc<Live>> {
        if self.is_over() || self.expired(now, idle).is_some() {
            return None;
        }
        let current = self.current.load();
        (now < current.fresh_until).then(|| Arc::clone(&current.live))
    }

    /// The deadline that has passed.
    pub(super) fn expired(&self, now: Timestamp, idle: Duration) -> Option<EndReason> {
        if now >= self.absolute_deadline {
            return Some(EndReason::Absolute);
        }
        (now >= self.seen() + idle).then_some(EndReason::Idle)
    }

    /// When there was activity last.
    pub(super) fn seen(&self) -> Timestamp {
        Timestamp::from_millis(self.seen.load(Ordering::Relaxed))
    }

    pub(super) fn absolute_deadline(&self) -> Timestamp {
        self.absolute_deadline
    }

    /// There is activity. Tells whether the store should hear of it: `true` for one caller in a while.
    pub(super) fn see(&self, now: Timestamp, step: Duration) -> bool {
        if now < self.seen() + SEEN_GRAIN.min(step) {
            return false;
        }
        self.seen.fetch_max(now.as_millis(), Ordering::Relaxed);
        let saved = self.seen_saved.load(Ordering::Relaxed);
        now >= Timestamp::from_millis(saved) + step && self.claim_seen(saved, now)
    }

    /// What of its activity the store has not heard, for one caller.
    pub(super) fn unsaved_seen(&self) -> Option<Timestamp> {
        let (seen, saved) = (self.seen(), self.seen_saved.load(Ordering::Relaxed));
        (seen.as_millis() > saved && self.claim_seen(saved, seen)).then_some(seen)
    }

    /// The store could not be told: it must be told again, and until then memory is the only one who knows.
    pub(super) fn seen_is_unsaved(&self) {
        self.seen_saved.store(0, Ordering::Relaxed);
    }

    fn claim_seen(&self, saved: u64, now: Timestamp) -> bool {
        self.seen_saved
            .compare_exchange(saved, now.as_millis(), Ordering::Relaxed, Ordering::Relaxed)
            .is_ok()
    }

    /// Whether activity now sets off a swap in the background: `true` for one caller.
    pub(super) fn swap_is_due(&self, now: Timestamp) -> bool {
        let current = self.current.load();
        let at = current.swap_at.load(Ordering::Relaxed);
        now.as_millis() >= at && claim(&current.swap_at, at)
    }

    /// The generation that requests see.
    pub(super) fn current(&self) -> Arc<Current> {
        self.current.load_full()
    }

    /// Lets requests see what the record holds now.
    pub(super) fn publish(&self, state: &State, settings: &Settings) {
        if let Kept::Alive(record) = &state.kept {
            let current = Current::of(record, settings, &self.hash, &self.ending);
            self.current.store(Arc::new(current));
            self.pause_swaps(state);
        }
    }

    /// No request sets off a swap in the background before it may be tried again.
    fn pause_swaps(&self, state: &State) {
        let at = if state.in_doubt() {
            Timestamp::MAX
        } else {
            state.not_before
        };
        let current = self.current.load();
        current.swap_at.fetch_max(at.as_millis(), Ordering::Relaxed);
    }

    /// From when on activity may set off the next swap.
    pub(super) fn swap_not_before(&self, at: Timestamp) {
        self.current
            .load()
            .swap_at
            .store(at.as_millis(), Ordering::Relaxed);
    }

    /// No request is served by it from now on, and what is open under it ends. To be called under the lock.
    pub(super) fn close(&self, reason: EndReason) {
        self.ending.come(Cause::Session(reason));
    }

    /// Whether it has ended. That is final, whatever the store says.
    pub(super) fn is_over(&self) -> bool {
        self.ending.has_come()
    }

    /// Why it has ended.
    pub(super) fn end(&self) -> Option<EndReason> {
        match self.ending.came(Duration::ZERO)? {
            Cause::Session(reason) => Some(reason),
            Cause::Token => None,
        }
    }

    /// Whether a request under way, or something that it left open, was let through by this session.
    pub(super) fn is_in_use(&self) -> bool {
        let current = self.current.load();
        // This entry has one, and each form of its tokens.
        let own = 2 + usize::from(current.graced.get().is_some());
        Arc::strong_count(&current.live) > 1
            || current
                .graced
                .get()
                .is_some_and(|live| Arc::strong_count(live) > 1)
            || Arc::strong_count(&self.ending) > own
    }

    /// Whether memory may forget it, since the store knows all of it and nobody has asked for it in a while.
    pub(super) fn may_leave(&self, now: Timestamp, quiet: Duration) -> bool {
        let seen = self.seen();
        // There must never be two of the same, of which only one hears of the end.
        if self.is_in_use()
            || now < seen.max(self.since) + quiet
            || seen.as_millis() != self.seen_saved.load(Ordering::Relaxed)
        {
            return false;
        }
        let state = self.state();
        // A backoff must not be forgotten before it has passed, nor an answer that is not saved.
        state.flight.is_none() && !state.saving && now >= state.not_before
    }
}

impl Current {
    fn of(record: &Record, settings: &Settings, hash: &SessionHash, ending: &Arc<Ending>) -> Self {
        let swap_at = record.swap_at(settings.refresh_before, hash);
        // What no check has passed is not served: the first request has it checked.
        let fresh_until = match record.unchecked {
            Some(_) => Timestamp::default(),
            None => pace::fresh_until(record.obtained, record.access_expires),
        };
        Self {
            live: Arc::new(record.live(ending)),
            fresh_until,
            graced: OnceLock::new(),
            swap_at: AtomicU64::new(swap_at.as_millis()),
        }
    }

    /// What requests are served with while the provider is away. The same for all, since the time is.
    pub(super) fn graced(&self, until: Timestamp) -> Arc<Live> {
        let graced = || Arc::new(self.live.graced(until));
        Arc::clone(self.graced.get_or_init(graced))
    }
}

/// Takes a time that has come, so that nobody else acts on it.
fn claim(time: &AtomicU64, at: u64) -> bool {
    time.compare_exchange(at, u64::MAX, Ordering::Relaxed, Ordering::Relaxed)
        .is_ok()
}

impl State {
    fn new(record: Box<Record>, held: bool) -> Self {
        Self {
            elsewhere: record.phase != Phase::Active && held,
            trouble: match record.phase {
                Phase::Active => record.trouble,
                // An outage goes on until the other process has an answer.
                Phase::Swapping { .. } if held && record.trouble == Trouble::Outage => {
                    Trouble::Outage
                }
                Phase::Swapping { .. } if held => Trouble::None,
                // Its process died before it knew the outcome, or never learned it.
                Phase::Swapping { .. } => Trouble::Doubt,
            },
            not_before: record.retry_at,
            kept: Kept::Alive(record),
            flight: None,
            failures: 0,
            saving: false,
        }
    }

    /// What another process made of it.
    pub(super) fn take_over(&mut self, record: Box<Record>, held: bool) {
        let same = self.record().map(|r| r.generation) == Some(record.generation);
        *self = Self {
            flight: self.flight.take(),
            saving: self.saving,
            // As long as no swap has succeeded, the next pause is to be longer than the last.
            failures: if same { self.failures } else { 0 },
            ..Self::new(record, held)
        };
    }

    pub(super) fn record(&self) -> Option<&Record> {
        match &self.kept {
            Kept::Alive(record) => Some(record),
            Kept::Over(_) => None,
        }
    }

    pub(super) fn record_mut(&mut self) -> Option<&mut Record> {
        match &mut self.kept {
            Kept::Alive(record) => Some(record),
            Kept::Over(_) => None,
        }
    }

    pub(super) fn in_doubt(&self) -> bool {
        self.trouble == Trouble::Doubt
    }

    /// Why no swap may be begun now by a request of this kind, `rest` before the next is allowed.
    pub(super) fn obstacle(
        &self,
        activity: Activity,
        rest: Duration,
        second: SecondTry,
    ) -> Option<Error> {
        let pending = self.record().is_some_and(|r| r.unchecked.is_some());
        let free = match activity {
            Activity::Slides => second == SecondTry::Harmless,
            Activity::Navigates | Activity::Watches => false,
        };
        // An answer that is there and only has to be checked asks nothing of the token endpoint.
        let blocked = self.in_doubt() && !pending && !free;
        (blocked || rest > Duration::ZERO).then(|| self.not_now(rest, second))
    }

    /// The session stays, but can't be served.
    pub(super) fn not_now(&self, rest: Duration, second: SecondTry) -> Error {
        let retry_after = rest.max(Duration::from_secs(1));
        if !self.in_doubt() {
            return Error::NotNow { retry_after };
        }
        Error::InDoubt {
            retry_after: (second != SecondTry::Theft).then_some(retry_after),
        }
    }

    /// A swap brought the next tokens.
    pub(super) fn recover(&mut self) {
        self.trouble = Trouble::None;
        self.elsewhere = false;
        self.failures = 0;
        self.not_before = Timestamp::default();
    }
}

/// The keys are digests already: their first bytes are as good a hash as any, and nobody can choose them.
#[derive(Debug, Default)]
pub(super) struct FirstBytes(u64);

impl Hasher for FirstBytes {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        if let Some(first) = bytes.first_chunk() {
            self.0 = u64::from_le_bytes(*first);
        }
    }

    /// The length that goes before an array: the same for all.
    fn write_usize(&mut self, _length: usize) {}
}

/// See [`FirstBytes`].
pub(super) type ByFirstBytes = BuildHasherDefault<FirstBytes>;
