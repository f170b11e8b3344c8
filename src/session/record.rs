//! What is known of a session: the record that a store keeps sealed, and how a token endpoint's answer changes it.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::cookie::Ticket;
use super::end::Tokens;
use super::entry::Trouble;
use super::store::{Index, Row};
use super::{EndReason, Live, Login, pace};
use crate::clock::Timestamp;
use crate::ending::Ending;
use crate::seal::{Keyring, Purpose};
use crate::token::{AccessToken, Grant, IdToken, RefreshToken, SessionHash};
use crate::verify::{Criterion, IdClaims, Refusal};

#[cfg(test)]
mod tests;

/// The encoding of what is sealed: this byte, then JSON. A field more or less needs no new number.
const ENCODING: u8 = 1;

/// So many earlier access tokens are remembered.
const MOST_OLDER: usize = 8;
/// How long after its end a token may still pass: more than the greatest `clock_skew`.
pub(super) const LATE: Duration = Duration::from_mins(6);

/// How long a tombstone outlives the absolute deadline, so that a late look still learns the reason.
const TOMBSTONE_LINGERS: Duration = Duration::from_mins(5);

/// A session that has not ended.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) idp: Arc<str>,
    pub(super) subject: Arc<str>,
    pub(super) sid: Option<Arc<str>>,
    pub(super) claims: Arc<Map<String, Value>>,
    pub(super) access_token: AccessToken,
    pub(super) access_expires: Timestamp,
    /// When the access token came.
    pub(super) obtained: Timestamp,
    /// The last lifetime that the provider stated, for answers that state none.
    pub(super) life: Option<Duration>,
    pub(super) refresh_token: Option<RefreshToken>,
    pub(super) refresh_expires: Option<Timestamp>,
    pub(super) id_token: Option<IdToken>,
    /// The answer of the last swap was saved, but nothing in it was checked yet: it must not be served.
    pub(super) unchecked: Option<Unchecked>,
    pub(super) created: Timestamp,
    pub(super) authenticated: Option<Timestamp>,
    /// Never moves.
    pub(super) absolute_deadline: Timestamp,
    pub(super) user_agent: String,
    pub(super) address: IpAddr,
    pub(super) generation: u64,
    /// Up by one whenever a swap is begun; the store refuses a writer with a smaller one.
    pub(super) fence: u64,
    pub(super) phase: Phase,
    /// What was wrong with the last swap, and until when the next one waits: for the other processes.
    #[serde(default)]
    pub(super) trouble: Trouble,
    #[serde(default)]
    pub(super) retry_at: Timestamp,
    /// The last swap left the refresh token as it was: the provider does not rotate, as far as this session knows.
    #[serde(default)]
    pub(super) kept_token: bool,
    /// Access tokens of earlier generations that may still pass, as digests, and until when: they end with the session too.
    #[serde(default, with = "older", skip_serializing_if = "Vec::is_empty")]
    older: Vec<(Criterion, Timestamp)>,
    /// What a newer version wrote: handed back unchanged.
    #[serde(flatten)]
    other: Map<String, Value>,
}

/// Whether the provider has been asked for the next tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Phase {
    /// No.
    Active,
    /// Yes, and what it did is not known yet.
    Swapping {
        /// The process that asked.
        owner: u64,
        /// When.
        since: Timestamp,
    },
}

/// What of a swap's answer is still to be checked.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Unchecked {
    /// The ID token, where the answer had one.
    pub(super) id_token: Option<IdToken>,
    /// The access token before: the new one must speak of the same subject.
    pub(super) before: AccessToken,
}

/// What stays of a session that has ended.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Tombstone {
    pub(super) reason: EndReason,
    pub(super) at: Timestamp,
    /// What becomes of tokens that come late.
    #[serde(default)]
    pub(super) tokens: Tokens,
    idp: Arc<str>,
    subject: Arc<str>,
    sid: Option<Arc<str>>,
    absolute_deadline: Timestamp,
    fence: u64,
    generation: u64,
}

/// What the store has under a session's key.
#[derive(Clone, Debug)]
pub(super) enum Kept {
    Alive(Box<Record>),
    Over(Tombstone),
}

impl Record {
    /// The record of a login that has just succeeded.
    pub(super) fn begin(
        login: Login,
        now: Timestamp,
        absolute: Duration,
        refresh_every: Duration,
    ) -> Self {
        let Login {
            grant, id_claims, ..
        } = login;
        let mut record = Self {
            idp: login.idp,
            subject: id_claims.subject,
            // Some providers name their session in the access token only.
            sid: id_claims
                .sid
                .or_else(|| Peek::at(&grant.access_token).sid.map(Arc::from)),
            claims: Arc::new(id_claims.claims),
            access_token: grant.access_token.clone(),
            access_expires: now,
            obtained: now,
            life: None,
            refresh_token: None,
            refresh_expires: None,
            id_token: grant.id_token.clone(),
            unchecked: None,
            created: login.requested,
            authenticated: id_claims.auth_time,
            absolute_deadline: now + absolute,
            user_agent: login.user_agent,
            address: login.address,
            generation: 0,
            fence: 0,
            phase: Phase::Active,
            trouble: Trouble::None,
            retry_at: Timestamp::default(),
            kept_token: false,
            older: Vec::new(),
            other: Map::new(),
        };
        record.take(grant, now, refresh_every);
        record
    }

    /// What a cookie knows of a session. It has no access token: nothing is served before a swap brings one.
    pub(super) fn won_back(ticket: Ticket) -> Self {
        let mut claims = Map::new();
        if let Some(sid) = &ticket.sid {
            claims.insert("sid".to_owned(), Value::from(&**sid));
        }
        Self {
            idp: ticket.idp,
            subject: ticket.subject,
            sid: ticket.sid,
            claims: Arc::new(claims),
            access_token: AccessToken::new(""),
            access_expires: Timestamp::default(),
            obtained: Timestamp::default(),
            life: None,
            refresh_token: ticket.refresh_token,
            refresh_expires: ticket.refresh_expires,
            id_token: None,
            unchecked: None,
            created: ticket.created,
            authenticated: ticket.authenticated,
            absolute_deadline: ticket.absolute_deadline,
            user_agent: String::new(),
            address: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            generation: ticket.generation,
            fence: ticket.generation,
            phase: Phase::Active,
            trouble: Trouble::None,
            retry_at: Timestamp::default(),
            kept_token: false,
            older: Vec::new(),
            other: Map::new(),
        }
    }

    /// Whether it came out of a cookie and was not swapped since: its refresh token may be spent.
    pub(super) fn is_untried(&self) -> bool {
        self.access_token.expose().is_empty()
    }

    /// Begins the next swap: a new fencing number, and the mark that it is under way.
    pub(super) fn mark(&mut self, owner: u64, now: Timestamp) {
        self.fence += 1;
        self.phase = Phase::Swapping { owner, since: now };
    }

    /// Takes over a swap's answer, unchecked. What the answer lacks keeps what was known (RFC 6749 section 6).
    pub(super) fn absorb(&mut self, grant: Grant, now: Timestamp, refresh_every: Duration) {
        self.unchecked = Some(Unchecked {
            id_token: grant.id_token.clone(),
            before: self.access_token.clone(),
        });
        self.generation += 1;
        self.phase = Phase::Active;
        self.trouble = Trouble::None;
        self.retry_at = Timestamp::default();
        let next = grant.refresh_token.as_ref();
        self.kept_token = next.is_none_or(|next| Some(next) == self.refresh_token.as_ref());
        self.retire(now);
        self.take(grant, now, refresh_every);
    }

    /// The access token makes way for the next one, and may go on to be good for a while.
    fn retire(&mut self, now: Timestamp) {
        self.older.retain(|(_, passes_until)| now < *passes_until);
        self.older
            .extend(passing(&self.access_token, self.access_expires, now));
        let surplus = self.older.len().saturating_sub(MOST_OLDER);
        self.older.drain(..surplus);
    }

    /// What is refused once it has ended. Nothing where its tokens are spared: its successor's may be the very same.
    pub(super) fn refusals(&self, live: &Live, tokens: Tokens, now: Timestamp) -> Vec<Refusal> {
        if tokens == Tokens::Spare {
            return Vec::new();
        }
        let mut all: Vec<_> = self.older.clone();
        for (token, expires) in [
            (&self.access_token, self.access_expires),
            (&live.access_token, live.access_expires),
        ] {
            let token = passing(token, expires, now);
            all.extend(token.filter(|token| !all.contains(token)));
        }
        all.retain(|(_, passes_until)| now < *passes_until);
        let refusal = |(criterion, until)| Refusal {
            criterion,
            issued_by: Timestamp::MAX,
            until,
        };
        all.into_iter().map(refusal).collect()
    }

    fn take(&mut self, grant: Grant, now: Timestamp, refresh_every: Duration) {
        let stated = [grant.access_expires, Peek::at(&grant.access_token).expires];
        let stated = stated.into_iter().flatten().min();
        self.life = stated.map(|at| at.since(now)).or(self.life);
        self.access_expires = stated.unwrap_or(now + self.life.unwrap_or(refresh_every));
        self.access_token = grant.access_token;
        self.obtained = now;
        if grant.refresh_token.is_some() {
            self.refresh_token = grant.refresh_token;
            self.refresh_expires = grant.refresh_expires;
        }
    }

    /// Whether the access tokens before and after a swap speak of the same subject and session, as far as they can be
    /// read. This is no verification: each request's token is verified in any case.
    pub(super) fn same_person(unchecked: &Unchecked, after: &AccessToken) -> bool {
        let (before, after) = (Peek::at(&unchecked.before), Peek::at(after));
        same(before.subject.as_deref(), after.subject.as_deref())
            && same(before.sid.as_deref(), after.sid.as_deref())
    }

    /// Whether an ID token was good when it came, and ended before it could be checked (the provider's keys could not be
    /// had, or the process was down): it is not taken over then, and is no reason to end the session either. The tokens
    /// came from the provider itself, over its own TLS (OpenID Connect Core section 3.1.3.7 number 6), and the access
    /// token is verified with each request; so all that is asked of it is that it names nobody else.
    pub(super) fn ended_unchecked(&self, id_token: &IdToken, now: Timestamp) -> bool {
        let Some(peek) = Peek::read(id_token.expose()) else {
            return false;
        };
        let ended = peek
            .expires
            .is_some_and(|at| self.obtained < at && at <= now);
        ended
            && peek.subject.as_deref() == Some(&*self.subject)
            && same(self.sid.as_deref(), peek.sid.as_deref())
    }

    /// Whether a verified ID token is of this session: the same subject, and the same `sid` where both are known.
    pub(super) fn same_session(&self, claims: &IdClaims) -> bool {
        claims.subject == self.subject && same(self.sid.as_deref(), claims.sid.as_deref())
    }

    /// The answer has passed its checks. What a verified ID token says anew replaces what was known.
    pub(super) fn accept(&mut self, claims: Option<IdClaims>) {
        let checked = self.unchecked.take();
        let Some(claims) = claims else { return };
        self.id_token = checked.and_then(|c| c.id_token).or(self.id_token.take());
        self.sid = self.sid.take().or(claims.sid);
        self.authenticated = claims.auth_time.or(self.authenticated);
        self.claims = Arc::new(claims.claims);
    }

    /// As a request sees it.
    pub(super) fn live(&self, ending: &Arc<Ending>) -> Live {
        Live {
            idp: Arc::clone(&self.idp),
            subject: Arc::clone(&self.subject),
            access_token: self.access_token.clone(),
            obtained: self.obtained,
            access_expires: self.access_expires,
            grace: None,
            claims: Arc::clone(&self.claims),
            generation: self.generation,
            rendered: std::sync::OnceLock::new(),
            ending: Arc::clone(ending),
        }
    }

    /// When it ends without further activity.
    pub(super) fn deadline(&self, seen: Timestamp, idle: Duration) -> Timestamp {
        self.absolute_deadline.min(seen + idle)
    }

    /// What stays of it when it ends.
    pub(super) fn tombstone(&self, reason: EndReason, tokens: Tokens, at: Timestamp) -> Tombstone {
        Tombstone {
            reason,
            at,
            tokens,
            idp: Arc::clone(&self.idp),
            subject: Arc::clone(&self.subject),
            sid: self.sid.clone(),
            absolute_deadline: self.absolute_deadline,
            fence: self.fence,
            generation: self.generation,
        }
    }

    /// As the store keeps it.
    pub(super) fn row(
        &self,
        id: &SessionHash,
        keys: &Keyring,
        seen: Timestamp,
        idle: Duration,
    ) -> Row {
        Row {
            fence: self.fence,
            generation: self.generation,
            ended: false,
            seen,
            deadline: self.deadline(seen, idle),
            expires: self.absolute_deadline + TOMBSTONE_LINGERS,
            subject: Some(Index::subject(&self.idp, &self.subject)),
            sid: self.sid.as_deref().map(|sid| Index::sid(&self.idp, sid)),
            sealed: seal(self, id, keys),
        }
    }

    /// When the next swap is due by age.
    pub(super) fn swap_at(&self, refresh_before: Duration, id: &SessionHash) -> Timestamp {
        if self.refresh_token.is_none() {
            return Timestamp::MAX;
        }
        let share = pace::share(id, self.generation);
        pace::swap_at(self.obtained, self.access_expires, refresh_before, share)
    }
}

impl Tombstone {
    pub(super) fn idp(&self) -> &Arc<str> {
        &self.idp
    }

    /// Takes the place of tokens that are newer than those which ended; tells whether they are.
    pub(super) fn supersede(&mut self, record: &Record) -> bool {
        let newer = record.generation > self.generation;
        if newer {
            (self.generation, self.fence) = (record.generation, record.fence);
        }
        newer
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    /// As the store keeps it: found by its key only.
    pub(super) fn row(&self, id: &SessionHash, keys: &Keyring) -> Row {
        let forgotten = self.absolute_deadline.max(self.at) + TOMBSTONE_LINGERS;
        Row {
            fence: self.fence,
            generation: self.generation,
            ended: true,
            seen: self.at,
            deadline: forgotten,
            expires: forgotten,
            subject: None,
            sid: None,
            sealed: seal(self, id, keys),
        }
    }
}

impl Kept {
    /// Out of the store; `None` when it was not sealed by us for this key, or by a version that this one can't read.
    pub(super) fn open(row: &Row, id: &SessionHash, keys: &Keyring) -> Option<Self> {
        let plain = keys.open(Purpose::Session, id.as_bytes(), &row.sealed);
        let plain = Zeroizing::new(plain.ok()?);
        let (&version, json) = plain.split_first()?;
        if version != ENCODING {
            return None;
        }
        if row.ended {
            return serde_json::from_slice(json).ok().map(Self::Over);
        }
        let record = serde_json::from_slice(json).ok()?;
        Some(Self::Alive(Box::new(record)))
    }
}

fn seal(value: &impl Serialize, id: &SessionHash, keys: &Keyring) -> Vec<u8> {
    let mut plain = Zeroizing::new(vec![ENCODING]);
    // Writing JSON into memory fails for maps without text keys only, and neither type has one.
    let written = serde_json::to_writer(&mut *plain, value);
    debug_assert!(written.is_ok(), "a record is always JSON");
    keys.seal(Purpose::Session, id.as_bytes(), &plain)
}

fn same(before: Option<&str>, after: Option<&str>) -> bool {
    match (before, after) {
        (Some(before), Some(after)) => before == after,
        (None, _) | (_, None) => true,
    }
}

/// What an access token is refused by, and until when it may pass if it is not: by its own `exp`, where the provider has
/// told us of an earlier end. Nothing where it is over, or there is none.
fn passing(
    token: &AccessToken,
    expires: Timestamp,
    now: Timestamp,
) -> Option<(Criterion, Timestamp)> {
    let text = token.expose();
    let own = Peek::at(token).expires.unwrap_or_default();
    let until = expires.max(own) + LATE;
    (!text.is_empty() && now < until).then(|| (Criterion::token(text), until))
}

/// What a JWT says of itself, read without verification; nothing where the token is opaque.
#[derive(Default)]
struct Peek {
    expires: Option<Timestamp>,
    subject: Option<String>,
    sid: Option<String>,
}

impl Peek {
    fn at(token: &AccessToken) -> Self {
        Self::read(token.expose()).unwrap_or_default()
    }

    fn read(token: &str) -> Option<Self> {
        let mut parts = token.split('.');
        let (_header, payload, _signature) = (parts.next()?, parts.next()?, parts.next()?);
        let payload = URL_SAFE_NO_PAD.decode(payload).ok()?;
        let claims: Map<String, Value> = serde_json::from_slice(&payload).ok()?;
        let text = |name| claims.get(name).and_then(Value::as_str).map(str::to_owned);
        Some(Self {
            expires: claims.get("exp").and_then(numeric_date),
            subject: text("sub"),
            sid: text("sid"),
        })
    }
}

/// RFC 7519 section 2: seconds, perhaps with a fraction.
fn numeric_date(value: &Value) -> Option<Timestamp> {
    let seconds = value.as_u64().or_else(|| {
        let seconds = Duration::try_from_secs_f64(value.as_f64()?).ok()?;
        Some(seconds.as_secs())
    })?;
    Some(Timestamp::from_secs(seconds))
}

/// Digests as base64url.
mod older {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::{Criterion, Timestamp};

    pub(super) fn serialize<S: Serializer>(
        older: &[(Criterion, Timestamp)],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let text = |(token, expires): &(Criterion, Timestamp)| {
            (URL_SAFE_NO_PAD.encode(token.as_bytes()), *expires)
        };
        let texts: Vec<_> = older.iter().map(text).collect();
        texts.serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<(Criterion, Timestamp)>, D::Error> {
        let texts = Vec::<(String, Timestamp)>::deserialize(deserializer)?;
        let token = |(text, expires): (String, Timestamp)| {
            let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
            Some((Criterion::from_bytes(bytes.try_into().ok()?), expires))
        };
        Ok(texts.into_iter().filter_map(token).collect())
    }
}
