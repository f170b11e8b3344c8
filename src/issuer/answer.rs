//! What all of a provider's answers have in common: JSON, error codes (RFC 6749 section 5.2) and `Retry-After`.

use std::fmt;
use std::time::Duration;

use http::HeaderName;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use serde_json::{Map, Value};

use super::Error;
use super::client::{Answer, Failure};
use crate::clock::Clock;

/// Nobody is waited for longer, whatever they ask.
const LONGEST_RETRY_AFTER: Duration = Duration::from_hours(1);
const MAX_CODE: usize = 64;
const MAX_MESSAGE: usize = 160;
/// When the caller's share is full again, in Unix seconds (Auth0, which sends no `Retry-After`).
const RATE_LIMIT_RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");

/// An `error` code in RFC 6749's own alphabet and bounded, so that it may be logged and shown.
pub(super) struct ErrorCode(String);

impl ErrorCode {
    pub(super) fn of(members: &Map<String, Value>) -> Option<Self> {
        Self::cut(members.get("error")?.as_str()?, MAX_CODE)
    }

    /// What an API says in words (`message`), or else its code.
    pub(super) fn in_words(members: &Map<String, Value>) -> Option<Self> {
        let message = members.get("message").and_then(Value::as_str);
        let message = message.and_then(|message| Self::cut(message, MAX_MESSAGE));
        message.or_else(|| Self::of(members))
    }

    fn cut(text: &str, most: usize) -> Option<Self> {
        let allowed = |c: &char| matches!(c, ' '..='~' if !matches!(c, '"' | '\\'));
        let text: String = text.chars().filter(allowed).take(most).collect();
        (!text.is_empty()).then_some(Self(text))
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The members of a JSON object, or none.
pub(super) fn members(answer: &Answer) -> Map<String, Value> {
    let body = answer.body.as_ref().ok();
    body.and_then(|body| serde_json::from_slice(body).ok())
        .unwrap_or_default()
}

/// A document that was asked for with GET. Asking again does no harm, so whatever went wrong is *not now* at worst.
pub(super) fn document(answer: Result<Answer, Failure>) -> Result<Value, Error> {
    let answer = answer.map_err(|failure| not_now(failure.reason))?;
    if answer.status.is_redirection() {
        return Err(Error::unusable("a redirect, which is not followed"));
    }
    if answer.status != 200 {
        return Err(unavailable(&answer));
    }
    if !says_json(&answer) {
        return Err(Error::unusable("the answer is not JSON"));
    }
    let body = answer.body.map_err(|error| not_now(error.to_string()))?;
    serde_json::from_slice(&body).map_err(|_| Error::unusable("the answer is not JSON"))
}

/// `application/json`, `application/jwk-set+json` and their like; not naming a type is forgiven.
fn says_json(answer: &Answer) -> bool {
    let Some(kind) = answer.headers.get(CONTENT_TYPE) else {
        return true;
    };
    let kind = kind.to_str().unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    kind.to_ascii_lowercase().ends_with("json")
}

pub(super) fn not_now(reason: String) -> Error {
    Error::Unavailable {
        reason,
        retry_after: None,
    }
}

/// A status that says nothing about what was asked, only that it can't be had now.
pub(super) fn unavailable(answer: &Answer) -> Error {
    Error::Unavailable {
        reason: format!("status {}", answer.status.as_u16()),
        retry_after: retry_after(answer),
    }
}

/// RFC 9110 section 10.2.3: seconds or a date. Without it, when the rate limit's window ends.
fn retry_after(answer: &Answer) -> Option<Duration> {
    let header = |name| answer.headers.get(name)?.to_str().ok().map(str::trim);
    let wait = match header(RETRY_AFTER) {
        Some(text) => match text.parse() {
            Ok(seconds) => Duration::from_secs(seconds),
            Err(_) => until_date(text)?,
        },
        None if answer.status.as_u16() == 429 => until(header(RATE_LIMIT_RESET)?.parse().ok()?),
        None => return None,
    };
    Some(wait.min(LONGEST_RETRY_AFTER))
}

/// How long until an HTTP date, by the machine's own clock; zero if it has passed.
fn until_date(date: &str) -> Option<Duration> {
    let date = jiff::fmt::rfc2822::DateTimeParser::new()
        .relaxed_weekday(true)
        .parse_timestamp(date)
        .ok()?;
    Some(until(u64::try_from(date.as_second()).ok()?))
}

/// The same for Unix seconds.
fn until(seconds: u64) -> Duration {
    let now = Clock::System.now().as_secs();
    Duration::from_secs(seconds.saturating_sub(now))
}
