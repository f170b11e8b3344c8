//! What became of each family of tokens, and how many refreshes were under way at once: for whoever has to prove that no
//! session is lost. Never holds a token.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::clock::Timestamp;

/// What happened to a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Its code was exchanged.
    Founded,
    /// A refresh token was spent and the next one made.
    Rotated,
    /// The answer that carries the next tokens was handed over for sending.
    Answered,
    /// The answer never left: the connection was gone, or broken on purpose.
    AnswerLost,
    /// A spent refresh token came again.
    Reused,
    /// A refresh token of it was revoked (RFC 7009).
    Revoked,
    /// A spent refresh token of it was revoked, which did nothing ([`super::Fault::SpentIsForgotten`]).
    RevokedInVain,
    /// A refresh was refused, since the family was dead.
    Refused,
}

/// A family of tokens: what came of one code.
#[derive(Clone, Debug)]
pub struct Family {
    /// Its number.
    pub number: u64,
    /// The browser's session here that it belongs to.
    pub sid: String,
    /// How often its refresh token was swapped.
    pub swaps: usize,
    /// Whether its newest refresh token is good.
    pub alive: bool,
    /// What happened to it and when, in order.
    pub history: Vec<(Timestamp, Step)>,
}

impl Family {
    /// How often something happened to it.
    pub fn count(&self, step: Step) -> usize {
        self.history.iter().filter(|(_, s)| *s == step).count()
    }

    /// When something happened to it last.
    pub fn last(&self, step: Step) -> Option<Timestamp> {
        let mut backwards = self.history.iter().rev();
        backwards.find(|(_, s)| *s == step).map(|(at, _)| *at)
    }
}

/// A browser's session that was made without a page.
#[derive(Clone, Debug)]
pub struct Presence {
    /// The value of its cookie `idp_session`.
    pub cookie: String,
    /// Its id, as tokens have it.
    pub sid: String,
}

/// Refreshes under way.
#[derive(Debug, Default)]
pub(super) struct UnderWay {
    now: AtomicUsize,
    most: AtomicUsize,
}

/// One of them, until it is dropped.
pub(super) struct OneUnderWay<'a>(&'a UnderWay);

impl UnderWay {
    pub(super) fn begin(&self) -> OneUnderWay<'_> {
        let now = self.now.fetch_add(1, Ordering::Relaxed) + 1;
        self.most.fetch_max(now, Ordering::Relaxed);
        OneUnderWay(self)
    }

    pub(super) fn most(&self) -> usize {
        self.most.load(Ordering::Relaxed)
    }
}

impl Drop for OneUnderWay<'_> {
    fn drop(&mut self) {
        self.0.now.fetch_sub(1, Ordering::Relaxed);
    }
}
