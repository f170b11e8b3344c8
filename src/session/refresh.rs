//! The swap: one exchange of the refresh token per session at a time, finished whoever hangs up, saved before it is used.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::end::Tokens;
use super::entry::{Entry, Flight, Progress, State, Trouble};
use super::record::{Kept, Phase, Record};
use super::revoke::Owed;
use super::store::{Change, Written};
use super::{Activity, EndReason, Error, Live, Provider, Sessions, pace};
use crate::clock::Timestamp;
use crate::issuer;
use crate::token::{Grant, RefreshToken};
use crate::verify::{self, Expected, IdClaims};

/// The pause between two looks for the keys that an ID token needs.
const KEYS_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause between two tries to save what could not be saved.
const SAVE_PAUSE: Duration = Duration::from_secs(5);

/// What a look at a session came to.
enum Step {
    Done(Result<Arc<Live>, Error>),
    Wait(Flight),
    Over(EndReason),
}

/// A swap that is about to be asked for.
struct Ask {
    token: RefreshToken,
    /// The outcome of the one before was unknown: a refusal now means that its answer was lost.
    doubt: bool,
}

/// What a caller wants of a session.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Wish {
    /// Tokens that have not ended.
    Fresh(Activity),
    /// The next ones, whatever the age of these.
    Next,
}

/// Tells the waiters, also when the task panics: a session must not wait for a swap that will never land.
struct Landing {
    entry: Arc<Entry>,
    done: watch::Sender<Progress>,
    progress: Progress,
}

impl Drop for Landing {
    fn drop(&mut self) {
        self.entry.state().flight = None;
        self.done.send_replace(self.progress);
    }
}

impl Sessions {
    /// The tokens that are wished for: waits for a swap, starting it if need be.
    pub(super) async fn renewed(
        self: &Arc<Self>,
        entry: &Arc<Entry>,
        wish: Wish,
    ) -> Result<Arc<Live>, Error> {
        match self.look(entry, wish) {
            Step::Done(result) => result,
            Step::Wait(flight) => self.wait(entry, flight).await,
            Step::Over(reason) => Err(self.expire(entry, reason).await),
        }
    }

    fn look(self: &Arc<Self>, entry: &Arc<Entry>, wish: Wish) -> Step {
        let now = self.clock.now();
        let mut state = entry.state();
        if let Some(ended) = self.ended(entry, &state) {
            return Step::Over(ended);
        }
        let current = entry.current();
        let fresh = now < current.fresh_until;
        let activity = match wish {
            Wish::Fresh(activity) => activity,
            Wish::Next => Activity::Slides,
        };
        if activity != Activity::Watches {
            self.note_activity(entry, now);
        }
        if fresh && serves_as_it_is(&state, wish, now) {
            return Step::Done(Ok(Arc::clone(&current.live)));
        }
        if let Some(flight) = &state.flight {
            return Step::Wait(flight.clone());
        }
        if state.record().is_some_and(cannot_renew) {
            return Step::Over(EndReason::Expired);
        }
        let rest = state.not_before.since(now);
        if let Some(error) = state.obstacle(activity, rest) {
            return Step::Done(self.graced(&current.live, &state).ok_or(error));
        }
        // While the access token lives, a token that may be spent is not sent again.
        if fresh && state.in_doubt() {
            return Step::Done(Err(state.not_now(rest)));
        }
        Step::Wait(self.launch(entry, &mut state))
    }

    /// The deadline that has passed, or the end that was.
    pub(super) fn ended(&self, entry: &Entry, state: &State) -> Option<EndReason> {
        match &state.kept {
            Kept::Over(tombstone) => Some(tombstone.reason),
            Kept::Alive(_) => entry.expired(self.clock.now(), self.settings.idle_timeout),
        }
    }

    async fn wait(
        self: &Arc<Self>,
        entry: &Arc<Entry>,
        mut flight: Flight,
    ) -> Result<Arc<Live>, Error> {
        let landed = flight.wait_for(|progress| *progress != Progress::UnderWay);
        let landed = timeout(self.settings.swap_wait, landed).await;
        let progress = landed.ok().and_then(Result::ok).map(|progress| *progress);
        let now = self.clock.now();
        let state = entry.state();
        if let Kept::Over(tombstone) = &state.kept {
            return Err(Error::Ended(tombstone.reason));
        }
        let current = entry.current();
        if progress == Some(Progress::Swapped) || now < current.fresh_until {
            return Ok(Arc::clone(&current.live));
        }
        let error = state.not_now(state.not_before.since(now));
        self.graced(&current.live, &state).ok_or(error)
    }

    /// While the provider is unreachable, the last tokens go on for a while where the configuration says so.
    fn graced(&self, live: &Arc<Live>, state: &State) -> Option<Arc<Live>> {
        let until = live.access_expires + self.settings.outage_grace;
        (state.trouble == Trouble::Outage && self.clock.now() < until).then(|| Arc::clone(live))
    }

    /// Starts a swap in the background, if none is under way and nothing speaks against it.
    pub(super) fn swap_in_background(self: &Arc<Self>, entry: &Arc<Entry>) {
        let mut state = entry.state();
        let Some(record) = state.record() else { return };
        if state.flight.is_some() || state.in_doubt() || cannot_renew(record) {
            return;
        }
        self.launch(entry, &mut state);
    }

    fn launch(self: &Arc<Self>, entry: &Arc<Entry>, state: &mut State) -> Flight {
        let (done, flight) = watch::channel(Progress::UnderWay);
        state.flight = Some(flight.clone());
        entry.swap_not_before(Timestamp::MAX);
        let landing = Landing {
            entry: Arc::clone(entry),
            done,
            progress: Progress::Failed,
        };
        let sessions = Arc::clone(self);
        self.work
            .spawn_on(async move { sessions.fly(landing).await }, &self.background);
        flight
    }

    async fn fly(self: Arc<Self>, mut landing: Landing) {
        let entry = Arc::clone(&landing.entry);
        landing.progress = self.swap(&entry).await;
        let swapped = landing.progress == Progress::Swapped;
        drop(landing);
        if swapped {
            self.save(&entry).await;
        }
    }

    async fn swap(self: &Arc<Self>, entry: &Arc<Entry>) -> Progress {
        let (idp, pending) = match entry.state().record() {
            Some(record) => (Arc::clone(&record.idp), record.unchecked.is_some()),
            None => return Progress::Failed,
        };
        if pending {
            return self.check(entry).await;
        }
        let Some(provider) = self.idps.get(&idp) else {
            return self.stumbled(entry, None);
        };
        // Fair: in the order of asking. A closed semaphore would be a bug; failing is what it would come to.
        let Ok(permit) = provider.swaps.acquire().await else {
            return self.stumbled(entry, None);
        };
        let Some(ask) = self.mark(entry).await else {
            return Progress::Failed;
        };
        let answer = provider.issuer.refresh(&ask.token).await;
        drop(permit);
        match answer {
            Ok(grant) => {
                provider.is_up();
                self.answered(entry, grant).await
            }
            Err(error) => self.failed(entry, provider, &ask, error).await,
        }
    }

    /// Leaves the durable mark that the provider is about to be asked. `None`: it must not be asked now.
    async fn mark(self: &Arc<Self>, entry: &Arc<Entry>) -> Option<Ask> {
        let now = self.clock.now();
        let (ask, row) = {
            let mut state = entry.state();
            if self.ended(entry, &state).is_some() || self.stopping.is_cancelled() {
                return None;
            }
            let doubt = state.in_doubt();
            let record = state.record_mut()?;
            let token = record.refresh_token.clone()?;
            record.mark(self.owner, now);
            (Ask { token, doubt }, self.row(entry, record))
        };
        match self.store.write(Change::Mark(entry.hash, row)).await {
            Ok(Written::Done) => Some(ask),
            Ok(Written::Refused) => {
                self.reread(entry).await;
                None
            }
            // Without the mark a crash would have the token sent twice. While the old token lives there is time to wait
            // for the store; after that a session that goes on is worth more than that risk.
            Err(error) if now < entry.current().fresh_until => {
                tracing::warn!(session = %entry.name(), error = &error as &dyn std::error::Error,
                    "a swap waits, since it can't be noted in the session store");
                if !ask.doubt {
                    unmark(entry);
                }
                self.stumbled(entry, None);
                None
            }
            Err(error) => {
                tracing::warn!(session = %entry.name(), error = &error as &dyn std::error::Error,
                    "a swap can't be noted in the session store and goes on without");
                Some(ask)
            }
        }
    }

    /// The answer is saved before anything else is done with it.
    async fn answered(self: &Arc<Self>, entry: &Arc<Entry>, grant: Grant) -> Progress {
        let absorbed = {
            let mut state = entry.state();
            let now = self.clock.now();
            match state.record_mut() {
                Some(record) => {
                    record.absorb(grant, now, self.settings.refresh_every);
                    state.recover();
                    None
                }
                None => Some((grant, state.spared)),
            }
        };
        match absorbed {
            None => {
                self.save(entry).await;
                self.check(entry).await
            }
            Some((late, spared)) => {
                self.came_too_late(entry, late, spared);
                Progress::Failed
            }
        }
    }

    /// The session ended while the provider was asked: the end stands, and what came is given back.
    fn came_too_late(self: &Arc<Self>, entry: &Entry, grant: Grant, spared: bool) {
        let idp = match &entry.state().kept {
            Kept::Over(tombstone) => Arc::clone(tombstone.idp()),
            Kept::Alive(record) => Arc::clone(&record.idp),
        };
        if spared {
            return;
        }
        let owed = Owed::all_of(&idp, grant, &self.term()).into_iter();
        self.owe(owed.filter(|o| o.is_asked_for(&self.settings)).collect());
    }

    /// Checks the answer that was saved, and lets requests see it.
    async fn check(self: &Arc<Self>, entry: &Arc<Entry>) -> Progress {
        let mut said = false;
        while !self.stopping.is_cancelled() {
            let Some(record) = entry.state().record().cloned() else {
                return Progress::Failed;
            };
            match self.judge(&record).await {
                Ok(claims) => return self.accept(entry, claims),
                Err(verify::Error::Invalid(why)) => {
                    return self.bad_answer(entry, why).await;
                }
                Err(verify::Error::KeysUnavailable(error)) if !said => {
                    said = true;
                    tracing::warn!(session = %entry.name(), error = &*error as &dyn std::error::Error,
                        "a swap's answer is saved and waits for the provider's keys to be checked");
                }
                Err(verify::Error::KeysUnavailable(_)) => {}
            }
            tokio::select! {
                () = sleep(KEYS_PAUSE) => {}
                () = self.stopping.cancelled() => {}
            }
        }
        Progress::Failed
    }

    async fn judge(&self, record: &Record) -> Result<Option<IdClaims>, verify::Error> {
        let Some(unchecked) = &record.unchecked else {
            return Ok(None);
        };
        if !Record::same_person(unchecked, &record.access_token) {
            return Err(verify::Error::Invalid(
                "the access token is of another subject or session",
            ));
        }
        let Some(id_token) = &unchecked.id_token else {
            return Ok(None);
        };
        if record.ended_unchecked(id_token, self.clock.now()) {
            return Ok(None);
        }
        let expected = Expected {
            idp: &record.idp,
            nonce: None,
            subject: Some(&record.subject),
            access_token: &record.access_token,
        };
        let claims = match self.verifier.verify_id_token(id_token, &expected).await {
            // It ended while its keys were fetched.
            Err(_) if record.ended_unchecked(id_token, self.clock.now()) => return Ok(None),
            checked => checked?,
        };
        if !record.same_session(&claims) {
            return Err(verify::Error::Invalid(
                "the ID token is of another subject or session",
            ));
        }
        Ok(Some(claims))
    }

    fn accept(&self, entry: &Entry, claims: Option<IdClaims>) -> Progress {
        let mut state = entry.state();
        let Some(record) = state.record_mut() else {
            return Progress::Failed;
        };
        record.accept(claims);
        let generation = record.generation;
        entry.publish(&state, &self.settings);
        tracing::debug!(session = %entry.name(), generation, "swapped");
        Progress::Swapped
    }

    async fn bad_answer(self: &Arc<Self>, entry: &Arc<Entry>, why: &'static str) -> Progress {
        tracing::error!(session = %entry.name(), why,
            "the provider answered a swap with tokens that can't be accepted: the session ends");
        self.finish(entry, EndReason::BadAnswer).await;
        Progress::Failed
    }

    async fn failed(
        self: &Arc<Self>,
        entry: &Arc<Entry>,
        provider: &Provider,
        ask: &Ask,
        error: issuer::Error,
    ) -> Progress {
        let name = entry.name();
        match error {
            issuer::Error::Refused { error } => {
                let reason = if ask.doubt {
                    EndReason::LostInFlight
                } else {
                    EndReason::Refused
                };
                tracing::info!(session = %name, error, ?reason, "the provider refused the refresh token");
                provider.is_up();
                self.finish(entry, reason).await;
                Progress::Failed
            }
            issuer::Error::Unusable { reason, salvage } if holds_a_token(&salvage) => {
                tracing::error!(session = %name, reason, "the provider's answer to a swap can't be used: the session ends");
                self.discard(&provider.issuer.settings().name, &salvage);
                self.finish(entry, EndReason::BadAnswer).await;
                Progress::Failed
            }
            // A success without a single token in it, such as a page of HTML: what the provider did is unknown.
            issuer::Error::Unusable { reason, .. } | issuer::Error::Unknown { reason } => {
                tracing::warn!(session = %name, reason, "the outcome of a swap is unknown");
                self.doubt(entry)
            }
            issuer::Error::Client { error } => {
                provider.alarm(&error);
                self.unavailable(entry, ask, None, Trouble::Refusal).await
            }
            issuer::Error::NotOffered(what) => {
                provider.alarm(what);
                self.unavailable(entry, ask, None, Trouble::Refusal).await
            }
            issuer::Error::Unavailable {
                reason,
                retry_after,
            } => {
                provider.is_down(&reason);
                self.unavailable(entry, ask, retry_after, Trouble::Outage)
                    .await
            }
        }
    }

    /// The refresh token was not used: the session goes on with what it has, and a later request tries again.
    async fn unavailable(
        self: &Arc<Self>,
        entry: &Arc<Entry>,
        ask: &Ask,
        retry_after: Option<Duration>,
        trouble: Trouble,
    ) -> Progress {
        if !ask.doubt {
            unmark(entry);
            entry.state().trouble = trouble;
        }
        self.stumbled(entry, retry_after);
        if !ask.doubt {
            self.save(entry).await;
        }
        Progress::Failed
    }

    /// The refresh token may have been used. It is not sent again while the access token lives.
    fn doubt(&self, entry: &Entry) -> Progress {
        entry.state().trouble = Trouble::Doubt;
        self.stumbled(entry, None)
    }

    fn stumbled(&self, entry: &Entry, asked: Option<Duration>) -> Progress {
        let now = self.clock.now();
        let mut state = entry.state();
        state.failures = state.failures.saturating_add(1);
        let share = pace::share(&entry.hash, u64::from(state.failures));
        let pause = pace::backoff(state.failures, asked, share);
        state.not_before = now + pause;
        let next = if state.in_doubt() {
            Timestamp::MAX
        } else {
            state.not_before
        };
        entry.swap_not_before(next);
        Progress::Failed
    }

    /// Ends the session and waits until that is durable.
    async fn finish(self: &Arc<Self>, entry: &Arc<Entry>, reason: EndReason) {
        if let Some(burial) = self.close(entry, reason, Tokens::Revoke) {
            // A tombstone that can't be kept now is retried by itself.
            let _ = self.bury(entry, &burial).await;
            self.debts.wake();
        }
    }

    /// Makes durable what memory holds; where the store can't, goes on trying in the background.
    pub(super) async fn save(self: &Arc<Self>, entry: &Arc<Entry>) {
        if let Err(error) = self.save_once(entry).await {
            tracing::error!(session = %entry.name(), error = &error as &dyn std::error::Error,
                "a session can't be saved: it goes on in memory, and saving is retried");
            self.keep_saving(entry);
        }
    }

    async fn save_once(&self, entry: &Entry) -> Result<(), super::StoreError> {
        let change = {
            let state = entry.state();
            match &state.kept {
                Kept::Alive(record) => Change::Save(entry.hash, self.row(entry, record)),
                Kept::Over(tombstone) => Change::End {
                    id: entry.hash,
                    tombstone: tombstone.row(&entry.hash, &self.keys),
                    owed: Vec::new(),
                },
            }
        };
        // Refused: it has ended, or a later swap has begun and has saved all this with its mark.
        self.store.write(change).await.map(|_| ())
    }

    /// Retries until the store has it; shutdown waits for it.
    pub(super) fn keep_saving(self: &Arc<Self>, entry: &Arc<Entry>) {
        if std::mem::replace(&mut entry.state().saving, true) {
            return;
        }
        let (sessions, entry) = (Arc::clone(self), Arc::clone(entry));
        let saving = async move {
            let mut pause = Duration::from_millis(100);
            sleep(pause).await;
            while sessions.save_once(&entry).await.is_err() {
                sleep(pause).await;
                pause = (pause * 2).min(SAVE_PAUSE);
            }
            entry.state().saving = false;
            tracing::info!(session = %entry.name(), "saved after all");
        };
        self.work.spawn_on(saving, &self.background);
    }
}

/// The provider was not asked after all, or has not used the token.
fn unmark(entry: &Entry) {
    if let Some(record) = entry.state().record_mut() {
        record.phase = Phase::Active;
    }
}

fn holds_a_token(salvage: &issuer::Salvage) -> bool {
    salvage.access_token.is_some() || salvage.refresh_token.is_some()
}

/// Whether tokens that have not ended are all that is wished for. One that has just come is as new as can be.
fn serves_as_it_is(state: &State, wish: Wish, now: Timestamp) -> bool {
    match wish {
        Wish::Fresh(_) => true,
        Wish::Next => state.record().is_some_and(|record| {
            cannot_renew(record) || now < pace::fresh_until(record.obtained, record.obtained)
        }),
    }
}

fn cannot_renew(record: &Record) -> bool {
    record.refresh_token.is_none() && record.unchecked.is_none()
}

impl Provider {
    fn is_up(&self) {
        if self.down.swap(false, Ordering::Relaxed) {
            tracing::info!(idp = %self.issuer.settings().name, "the identity provider answers again");
        }
    }

    /// One line when it goes, not one for each session.
    fn is_down(&self, reason: &str) {
        if !self.down.swap(true, Ordering::Relaxed) {
            tracing::warn!(idp = %self.issuer.settings().name, reason,
                "the identity provider is not available: sessions live until their access token ends");
        }
    }

    fn alarm(&self, error: &str) {
        if !self.down.swap(true, Ordering::Relaxed) {
            tracing::error!(idp = %self.issuer.settings().name, error,
                "the identity provider refuses this gateway's client: check client_id, client_secret and client_auth");
        }
    }
}
