//! What can be wrong with an identity provider, at the turn of a switch.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Every request is answered 503.
    Down,
    /// No request is ever answered.
    Hang,
    /// Every answer is late by this much of real time.
    Slow(Duration),
    /// The token endpoint answers 500.
    TokenError,
    /// The token endpoint answers 429 with this `Retry-After`.
    TooMany(Duration),
    /// The token endpoint answers 200 with something that is not JSON.
    Garbage,
    /// The token endpoint does what it was asked for, and breaks the connection instead of answering.
    LostAnswer,
    /// The token endpoint does what it was asked for at once, and answers so much later.
    SlowAnswer(Duration),
    /// A refresh spends the refresh token that it gives out too, as if a thief had been quicker.
    RotatesTwice,
    /// The token endpoint breaks the connection once it has read the request, having done nothing.
    Reset,
    /// The token endpoint answers `invalid_grant`; nothing is rotated.
    InvalidGrant,
    /// The token endpoint answers `invalid_client`.
    InvalidClient,
    /// ID tokens carry another nonce.
    WrongNonce,
    /// ID tokens carry another issuer.
    WrongIssuer,
    /// ID tokens are for another client.
    WrongAudience,
    /// A refresh answers with the tokens of someone else.
    WrongSubject,
    /// A refresh answers without a refresh token; the old one stays good.
    NoRefreshToken,
    /// A refresh answers without an ID token.
    NoIdToken,
    /// Answers have no `expires_in`.
    NoExpiresIn,
    /// Authorization responses carry another `iss` (RFC 9207).
    WrongResponseIssuer,
    /// Discovery names no revocation endpoint.
    NoRevocation,
    /// Discovery names no end-session endpoint.
    NoEndSession,
    /// Revocation answers 503.
    RevocationDown,
    /// Revoking a refresh token that was spent already does nothing, as at providers that forget them.
    SpentIsForgotten,
    /// Revocation answers 200 and does nothing.
    RevocationIgnored,
    /// End-session answers 503.
    EndSessionDown,
    /// End-session asks the person even where a hint says whose session it is, as oidc-provider does.
    EndSessionAsks,
    /// The key set answers 500.
    KeysError,
    /// Discovery names another issuer.
    WrongDiscovery,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lasts {
    Once,
    UntilCleared,
}

/// The switches.
#[derive(Debug, Default)]
pub struct Faults(Mutex<Vec<(Fault, Lasts)>>);

impl Faults {
    /// From now on, until [`Faults::clear`].
    pub fn set(&self, fault: Fault) {
        self.push(fault, Lasts::UntilCleared);
    }

    /// The next time that it can show, and not again.
    pub fn once(&self, fault: Fault) {
        self.push(fault, Lasts::Once);
    }

    /// Everything works again.
    pub fn clear(&self) {
        self.with(Vec::clear);
    }

    /// One thing works again.
    pub fn mend(&self, fault: &Fault) {
        self.with(|faults| faults.retain(|(known, _)| known != fault));
    }

    /// Whether this fault shows now; one that shows once is used up by this.
    pub(super) fn shows(&self, fault: &Fault) -> bool {
        self.find(|known| (known == fault).then_some(())).is_some()
    }

    /// Whether this fault would show now; it is not used up.
    pub(super) fn peeks(&self, fault: &Fault) -> bool {
        self.with(|faults| faults.iter().any(|(known, _)| known == fault))
    }

    /// The first fault that `pick` makes something of; one that shows once is used up by this.
    pub(super) fn find<T>(&self, pick: impl Fn(&Fault) -> Option<T>) -> Option<T> {
        self.with(|faults| {
            let (at, picked) = faults
                .iter()
                .enumerate()
                .find_map(|(at, (fault, _))| pick(fault).map(|picked| (at, picked)))?;
            if faults
                .get(at)
                .is_some_and(|(_, lasts)| *lasts == Lasts::Once)
            {
                faults.remove(at);
            }
            Some(picked)
        })
    }

    fn push(&self, fault: Fault, lasts: Lasts) {
        self.with(|faults| faults.push((fault, lasts)));
    }

    fn with<T>(&self, work: impl FnOnce(&mut Vec<(Fault, Lasts)>) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
