//! The swap: one exchange of the refresh token per session at a time, finished whoever hangs up, saved before it is used.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use super::answer::is_unknown;
use super::entry::{Current, Entry, Flight, Progress, SecondTry, State, Trouble};
use super::provider::Provider;
use super::record::{Kept, Phase, Record};
use super::store::{Change, Row, Written};
use super::{Activity, EndReason, Error, Live, Sessions, StoreError, pace};
use crate::clock::Timestamp;
use crate::issuer;
use crate::telemetry::metrics::SwapOutcome;
use crate::token::{Grant, RefreshToken};

/// How long a request that is served in its grace waits for a swap: a provider that hangs must not slow everything down.
const GRACE_WAIT: Duration = Duration::from_secs(1);

/// What a look at a session came to.
enum Step {
    Done(Result<Arc<Live>, Error>),
    Wait(Flight, Duration),
    Over(EndReason),
}

/// A swap that is about to be asked for.
pub(super) struct Ask {
    token: RefreshToken,
    /// The number of its mark.
    pub(super) fence: u64,
    /// Which tokens it is to replace.
    pub(super) generation: u64,
    /// The outcome of the one before was unknown: a refusal now means that its answer was lost.
    pub(super) doubt: bool,
    /// The token is out of a cookie, and a later one may have been lost on the way to the browser: the same.
    untried: bool,
}

impl Ask {
    /// Whether a refusal means that an answer was lost, rather than that the provider ended the session.
    pub(super) const fn may_be_spent(&self) -> bool {
        self.doubt || self.untried
    }
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
        let mut step = self.look(entry, wish);
        // Another node may have seen activity that this one has not heard of: it is asked for before a session is idle.
        if self.shared.is_some() && matches!(step, Step::Over(EndReason::Idle)) {
            self.reread(entry).await.map_err(Error::Store)?;
            step = self.look(entry, wish);
        }
        match step {
            Step::Done(result) => result,
            Step::Wait(flight, patience) => {
                self.count_wait(wish);
                self.wait(entry, flight, patience).await
            }
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
            if activity != Activity::Watches && entry.swap_is_due(now) {
                self.swap_ahead(entry, &mut state);
            }
            return Step::Done(Ok(Arc::clone(&current.live)));
        }
        let graced = self.in_grace(&current, &state);
        let patience = self.patience(graced.as_deref());
        if let Some(flight) = &state.flight {
            return Step::Wait(flight.clone(), patience);
        }
        if state.elsewhere {
            return Step::Wait(self.launch(entry, &mut state), patience);
        }
        if state.record().is_some_and(cannot_renew) {
            return Step::Over(EndReason::Expired);
        }
        let (rest, second) = (state.not_before.since(now), self.second_try(&state));
        if let Some(error) = state.obstacle(activity, rest, second) {
            return Step::Done(graced.ok_or(error));
        }
        // While the access token lives, a token that may be spent is not sent again.
        if fresh && state.in_doubt() {
            return Step::Done(Err(state.not_now(rest, second)));
        }
        Step::Wait(self.launch(entry, &mut state), patience)
    }

    /// Whether a refresh token whose fate is unknown may be sent once more: only where the provider was never seen to rotate.
    fn second_try(&self, state: &State) -> SecondTry {
        let provider = state.record().and_then(|r| self.idps.get(&r.idp));
        let (Some(record), Some(provider)) = (state.record(), provider) else {
            return SecondTry::Theft;
        };
        if record.kept_token && !provider.rotates.load(Ordering::Relaxed) {
            SecondTry::Harmless
        } else if provider.is_away(self.clock.now()) {
            SecondTry::Away
        } else {
            SecondTry::Theft
        }
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
        patience: Duration,
    ) -> Result<Arc<Live>, Error> {
        let landed = flight.wait_for(|progress| *progress != Progress::UnderWay);
        // Whether it landed, and how, is seen by what there is now.
        let _ = timeout(patience, landed).await;
        let now = self.clock.now();
        let state = entry.state();
        if let Kept::Over(tombstone) = &state.kept {
            return Err(Error::Ended(tombstone.reason));
        }
        let current = entry.current();
        if now < current.fresh_until {
            return Ok(Arc::clone(&current.live));
        }
        let second = self.second_try(&state);
        let error = state.not_now(state.not_before.since(now), second);
        self.in_grace(&current, &state).ok_or(error)
    }

    /// While the provider can't be reached, the last tokens go on for a while where the configuration says so. Not where
    /// it refused anything, nor where the refresh token may be spent: whatever that means, it is no outage.
    pub(super) fn in_grace(&self, current: &Current, state: &State) -> Option<Arc<Live>> {
        let now = self.clock.now();
        let checked = state.record().is_some_and(|r| r.unchecked.is_none());
        if state.trouble != Trouble::Outage || !checked {
            return None;
        }
        if now < current.fresh_until {
            return Some(Arc::clone(&current.live));
        }
        let until = current.live.access_expires + self.settings.outage_grace;
        (now < until).then(|| current.graced(until))
    }

    /// How long a request waits for a swap. One that can be served without it waits just so long that a provider which is
    /// there again is noticed.
    fn patience(&self, meanwhile: Option<&Live>) -> Duration {
        match meanwhile.and_then(|live| live.grace) {
            Some(_) => self.settings.swap_wait.min(GRACE_WAIT),
            None => self.settings.swap_wait,
        }
    }

    /// Starts a swap in the background, if none is under way and nothing speaks against it.
    pub(super) fn swap_in_background(self: &Arc<Self>, entry: &Arc<Entry>) {
        self.swap_ahead(entry, &mut entry.state());
    }

    fn swap_ahead(self: &Arc<Self>, entry: &Arc<Entry>, state: &mut State) {
        let Some(record) = state.record() else { return };
        let another = state.flight.is_some() || state.elsewhere;
        if another || state.in_doubt() || cannot_renew(record) {
            return;
        }
        self.launch(entry, state);
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
        // What another node is at work on is that node's to save.
        let ours = |record: &Record| record.phase == Phase::Active;
        if swapped && entry.state().record().is_some_and(ours) {
            self.save(&entry).await;
        }
        // Its new token came after what was refused meanwhile, and the session itself did not.
        if swapped {
            self.end_by_refusal(&entry).await;
        }
    }

    async fn swap(self: &Arc<Self>, entry: &Arc<Entry>) -> Progress {
        if entry.state().elsewhere {
            return self.follow(entry).await;
        }
        let (idp, pending) = match entry.state().record() {
            Some(record) => (Arc::clone(&record.idp), record.unchecked.is_some()),
            None => return Progress::Failed,
        };
        if pending {
            return self.check(entry).await;
        }
        let Some(provider) = self.idps.get(&idp) else {
            self.stumbled(entry, None);
            return Progress::Failed;
        };
        // Fair: in the order of asking. A closed semaphore would be a bug; failing is what it would come to.
        let Ok(permit) = provider.swaps.acquire().await else {
            self.stumbled(entry, None);
            return Progress::Failed;
        };
        if let Err(rest) = provider.breaker.admit(self.clock.now()) {
            return self.spare_provider(entry, rest);
        }
        let mut ask = match self.mark(entry).await {
            Ok(ask) => ask,
            Err(progress) => return progress,
        };
        let timed = provider.metrics.swap_begins();
        let fence = ask.fence;
        let call = self.ask(entry, provider, &mut ask);
        let answer = self.holding(entry, fence, call).await;
        drop((timed, permit));
        match answer {
            Ok(grant) => {
                provider.is_up();
                self.answered(entry, &ask, grant).await
            }
            Err(error) => self.failed(entry, provider, &ask, error).await,
        }
    }

    /// Asks the provider: once; and once more at once where nobody knows what came of it, and the provider is known to take
    /// the same token again for so long.
    async fn ask(
        &self,
        entry: &Entry,
        provider: &Provider,
        ask: &mut Ask,
    ) -> Result<Grant, issuer::Error> {
        let sent = self.clock.now();
        let answer = provider.endpoint.refresh(&ask.token).await;
        let leeway = provider.issuer.settings().reuse_leeway;
        let again = !ask.doubt && pace::may_reuse(sent, self.clock.now(), leeway);
        if !again || !answer.as_ref().is_err_and(is_unknown) {
            return answer;
        }
        tracing::warn!(session = %entry.name(), "the outcome of a swap is unknown: its token is sent once more at once");
        ask.doubt = true;
        entry.state().trouble = Trouble::Doubt;
        provider.endpoint.refresh(&ask.token).await
    }

    /// Leaves the durable mark that the provider is about to be asked.
    ///
    /// # Errors
    /// It must not be asked now: what came of it instead.
    async fn mark(self: &Arc<Self>, entry: &Arc<Entry>) -> Result<Ask, Progress> {
        let now = self.clock.now();
        let (ask, marked) = self.prepare(entry, now).ok_or(Progress::Failed)?;
        let row = self.row(entry, &marked);
        match self.write_mark(entry, row).await {
            Ok(Written::Done) => {}
            // Another node was faster, or has ended it.
            Ok(Written::Refused) => {
                self.count_swap(entry, SwapOutcome::Elsewhere);
                return Err(self.follow(entry).await);
            }
            // Without the mark a crash would have the token sent twice, and another node may send it at the same time.
            // While the old token lives there is time to wait for the store. After that a session that goes on is worth
            // more than the risk of a crash, where no other node is.
            Err(error) if self.shared.is_some() || now < entry.current().fresh_until => {
                tracing::warn!(session = %entry.name(), error = &error as &dyn std::error::Error,
                    "a swap waits, since it can't be noted in the session store");
                self.look_after_mark(entry);
                return Err(self.wait_for_store(entry));
            }
            Err(error) => {
                tracing::warn!(session = %entry.name(), error = &error as &dyn std::error::Error,
                    "a swap can't be noted in the session store and goes on without");
            }
        }
        let mut state = entry.state();
        let record = state.record_mut().ok_or(Progress::Failed)?;
        (record.fence, record.phase) = (marked.fence, marked.phase);
        Ok(ask)
    }

    async fn write_mark(&self, entry: &Entry, row: Row) -> Result<Written, StoreError> {
        let (asked, fence) = (Instant::now(), row.fence);
        match self.store.write(Change::Mark(entry.hash, row)).await? {
            Written::Done => self.still_holds(entry, fence, asked).await,
            Written::Refused => Ok(Written::Refused),
        }
    }

    fn prepare(&self, entry: &Entry, now: Timestamp) -> Option<(Ask, Record)> {
        let state = entry.state();
        if self.ended(entry, &state).is_some() || self.stopping.is_cancelled() {
            return None;
        }
        let mut marked = state.record()?.clone();
        marked.mark(self.owner, now);
        let ask = Ask {
            token: marked.refresh_token.clone()?,
            fence: marked.fence,
            generation: marked.generation,
            doubt: state.in_doubt(),
            untried: marked.is_untried(),
        };
        Some((ask, marked))
    }
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
