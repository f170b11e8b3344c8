//! The swap: one exchange of the refresh token per session at a time, finished whoever hangs up, saved before it is used.

use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::timeout;

use super::answer::unmark;
use super::entry::{Entry, Flight, Progress, State, Trouble};
use super::record::{Kept, Record};
use super::store::{Change, Written};
use super::{Activity, EndReason, Error, Live, Sessions, pace};
use crate::clock::Timestamp;
use crate::telemetry::metrics::SwapOutcome;
use crate::token::RefreshToken;

/// What a look at a session came to.
enum Step {
    Done(Result<Arc<Live>, Error>),
    Wait(Flight),
    Over(EndReason),
}

/// A swap that is about to be asked for.
pub(super) struct Ask {
    token: RefreshToken,
    /// The outcome of the one before was unknown: a refusal now means that its answer was lost.
    pub(super) doubt: bool,
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
            Step::Wait(flight) => {
                self.count_wait(wish);
                self.wait(entry, flight).await
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
        let timed = provider.metrics.swap_begins();
        let answer = provider.issuer.refresh(&ask.token).await;
        drop((timed, permit));
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
                self.count_swap(entry, SwapOutcome::Elsewhere);
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
