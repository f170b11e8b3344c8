//! Refused tokens: access tokens that are over before their end, though the signature on them is good. Asked on every
//! request, for what is remembered of a token too.
//!
//! A request pays one atomic load for it, however many tokens are refused: what was looked up under one edition of the
//! register holds until the next refusal.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use aws_lc_rs::digest::{Context, SHA256};
use serde_json::{Map, Value};

use super::claims::date;
use crate::clock::Timestamp;

mod open;
#[cfg(test)]
mod tests;

use open::Open;
pub(super) use open::Watch;

/// So many are kept; more would be an attack, or a mistake.
const MOST: usize = 1_000_000;
/// What has expired is dropped once there are so many, and at each doubling.
const FIRST_TIDYING: usize = 1024;
/// Where that makes no room, it is not tried again sooner: everybody who asks waits for it.
const TIDYING_PAUSE: Duration = Duration::from_secs(1);

/// What tokens are refused by: a digest, so that a store that keeps it shows no names and no tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Criterion([u8; 32]);

impl Criterion {
    /// One token: what its signature covers, since some signatures can be written in more than one way (ECDSA).
    pub fn token(text: &str) -> Self {
        let signed = text.rsplit_once('.').map_or(text, |(signed, _)| signed);
        Self::of(b"token", &[signed])
    }

    /// All tokens of one session at a provider (`sid`).
    pub fn sid(idp: &str, sid: &str) -> Self {
        Self::of(b"sid", &[idp, sid])
    }

    /// All tokens of a user (`sub`).
    pub fn subject(idp: &str, subject: &str) -> Self {
        Self::of(b"sub", &[idp, subject])
    }

    /// All sessions there were, at every provider. No bearer token is refused by it.
    pub fn all_sessions() -> Self {
        Self::of(b"all", &[])
    }

    /// A logout token, which is good once (OpenID Connect Back-Channel Logout section 2.6).
    pub fn logout_token(idp: &str, jti: &str) -> Self {
        Self::of(b"logout", &[idp, jti])
    }

    /// As a store gives it back.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// As a store keeps it.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    fn of(kind: &[u8], values: &[&str]) -> Self {
        let mut context = Context::new(&SHA256);
        for part in [kind]
            .into_iter()
            .chain(values.iter().map(|v| v.as_bytes()))
        {
            context.update(&part.len().to_be_bytes());
            context.update(part);
        }
        let mut bytes = [0; 32];
        bytes.copy_from_slice(context.finish().as_ref());
        Self(bytes)
    }
}

/// Tokens that are refused from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Which.
    pub criterion: Criterion,
    /// Of those the ones that were issued until then, that moment included.
    pub issued_by: Timestamp,
    /// When the last of them has expired by itself.
    pub until: Timestamp,
}

/// How far ahead a provider's clock is taken to be, at most: whoever fetches a new token so soon after a refusal gets one
/// that is refused too.
const AHEAD: Duration = Duration::from_secs(5);

/// By what a token may come to be refused.
#[derive(Clone, Debug)]
pub(super) struct Marks {
    token: Criterion,
    subject: Criterion,
    sid: Option<Criterion>,
    /// When it was issued by this gateway's clock, at the earliest: `iat` is by the provider's, which may be ahead by the
    /// leeway. A token that does not say is as old as can be.
    issued: Timestamp,
}

impl Marks {
    pub(super) fn of(
        idp: &str,
        text: &str,
        subject: &str,
        claims: &Map<String, Value>,
        leeway: Duration,
    ) -> Self {
        let sid = claims.get("sid").and_then(Value::as_str);
        let issued = date(claims, "iat").ok().flatten().unwrap_or_default();
        Self {
            token: Criterion::token(text),
            subject: Criterion::subject(idp, subject),
            sid: sid.map(|sid| Criterion::sid(idp, sid)),
            issued: issued - leeway.min(AHEAD),
        }
    }
}

/// A state of the register. Nothing holds under the first one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Edition(u64);

/// The edition under which a token was found not to be refused.
#[derive(Debug, Default)]
pub(super) struct Cleared(AtomicU64);

impl Cleared {
    pub(super) fn holds(&self, edition: Edition) -> bool {
        edition != Edition::default() && self.0.load(Ordering::Acquire) == edition.0
    }

    pub(super) fn under(&self, edition: Edition) {
        self.0.store(edition.0, Ordering::Release);
    }
}

/// What was found of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Finding {
    /// It is refused.
    Refused,
    /// It is not, whoever shows it.
    Clear,
    /// A session's own is not: it came after what was refused.
    ClearForSession,
    /// What other nodes refuse can't be heard of now.
    Unknown,
}

/// The register.
#[derive(Debug)]
pub struct Refused {
    refusals: RwLock<Register>,
    edition: AtomicU64,
    /// Whether refusals that other nodes make are heard of.
    hears: AtomicBool,
    /// What ends with a token.
    open: Open,
}

#[derive(Debug)]
struct Register {
    by: HashMap<Criterion, Terms>,
    tidy_at: usize,
    tidy_from: Timestamp,
}

#[derive(Clone, Copy, Debug)]
struct Terms {
    issued_by: Timestamp,
    until: Timestamp,
}

impl Default for Refused {
    fn default() -> Self {
        Self {
            refusals: RwLock::new(Register {
                by: HashMap::new(),
                tidy_at: FIRST_TIDYING,
                tidy_from: Timestamp::default(),
            }),
            edition: AtomicU64::new(1),
            hears: AtomicBool::new(true),
            open: Open::default(),
        }
    }
}

impl Refused {
    /// Refuses from now on: no request that comes after this passes, and what is open ends.
    ///
    /// # Errors
    /// When there are too many already; what is refused anyhow is refused for longer all the same.
    pub fn add(&self, refusals: &[Refusal], now: Timestamp) -> Result<(), TooMany> {
        let mut register = self
            .refusals
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let taken = refusals.iter().map(|one| register.add(one, now));
        let taken = taken.fold(Ok(()), Result::and);
        drop(register);
        self.edition.fetch_add(1, Ordering::SeqCst);
        self.open.end(refusals);
        taken
    }

    /// Whether refusals that other nodes make are heard of. While they are not, no token is known to be good.
    pub fn hears(&self, hears: bool) {
        self.hears.store(hears, Ordering::SeqCst);
        self.edition.fetch_add(1, Ordering::SeqCst);
    }

    /// See [`Refused::hears`].
    pub fn is_heard(&self) -> bool {
        self.hears.load(Ordering::SeqCst)
    }

    /// Whether something is refused that was issued then, such as a session that began then.
    pub fn refuses(&self, criterion: &Criterion, issued: Timestamp, now: Timestamp) -> bool {
        let register = self.refusals.read().unwrap_or_else(PoisonError::into_inner);
        register.refuses(criterion, issued, now)
    }

    /// All that is refused.
    pub fn all(&self, now: Timestamp) -> Vec<Refusal> {
        let register = self.refusals.read().unwrap_or_else(PoisonError::into_inner);
        let all = register.by.iter().map(|(criterion, terms)| Refusal {
            criterion: *criterion,
            issued_by: terms.issued_by,
            until: terms.until,
        });
        all.filter(|refusal| now < refusal.until).collect()
    }

    /// How many refusals there are; some may have expired.
    pub fn len(&self) -> usize {
        let register = self.refusals.read().unwrap_or_else(PoisonError::into_inner);
        register.by.len()
    }

    /// Whether nothing is refused.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// To be asked before the register is looked up.
    pub(super) fn edition(&self) -> Edition {
        Edition(self.edition.load(Ordering::SeqCst))
    }

    /// Looks a token up. A session's own was `obtained` when this gateway's clock said so, which tells more than `iat`:
    /// that is in whole seconds of another clock.
    pub(super) fn look_up(
        &self,
        marks: &Marks,
        obtained: Option<Timestamp>,
        now: Timestamp,
    ) -> Finding {
        if !self.is_heard() {
            return Finding::Unknown;
        }
        let register = self.refusals.read().unwrap_or_else(PoisonError::into_inner);
        if register.by.is_empty() {
            return Finding::Clear;
        }
        let refused = |issued| {
            let groups = [Some(&marks.subject), marks.sid.as_ref()];
            let mut groups = groups.into_iter().flatten();
            groups.any(|group| register.refuses(group, issued, now))
        };
        if register.refuses(&marks.token, marks.issued, now) {
            return Finding::Refused;
        }
        if !refused(marks.issued) {
            return Finding::Clear;
        }
        match obtained {
            Some(obtained) if !refused(obtained) => Finding::ClearForSession,
            Some(_) | None => Finding::Refused,
        }
    }
}

/// There are too many refused tokens.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("more than {MOST} tokens are refused")]
pub struct TooMany;

impl Register {
    fn add(&mut self, refusal: &Refusal, now: Timestamp) -> Result<(), TooMany> {
        if refusal.until <= now {
            return Ok(());
        }
        if self.by.len() >= self.tidy_at && now >= self.tidy_from {
            self.by.retain(|_, terms| now < terms.until);
            self.tidy_at = (2 * self.by.len()).clamp(FIRST_TIDYING, MOST);
            self.tidy_from = now + TIDYING_PAUSE;
        }
        if self.by.len() >= MOST && !self.by.contains_key(&refusal.criterion) {
            return Err(TooMany);
        }
        let Refusal {
            criterion,
            issued_by,
            until,
        } = *refusal;
        let terms = self
            .by
            .entry(criterion)
            .or_insert(Terms { issued_by, until });
        terms.issued_by = terms.issued_by.max(issued_by);
        terms.until = terms.until.max(until);
        Ok(())
    }

    fn refuses(&self, criterion: &Criterion, issued: Timestamp, now: Timestamp) -> bool {
        let terms = self.by.get(criterion);
        terms.is_some_and(|terms| issued <= terms.issued_by && now < terms.until)
    }
}
