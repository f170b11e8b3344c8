//! What all of a provider's answers have in common: JSON, error codes (RFC 6749 section 5.2) and `Retry-After`.

use std::fmt;
use std::time::Duration;

use http::header::{CONTENT_TYPE, RETRY_AFTER};
use serde_json::{Map, Value};

use super::Error;
use super::client::{Answer, Failure};
use crate::clock::Clock;

/// Nobody is waited for longer, whatever they ask.
const LONGEST_RETRY_AFTER: Duration = Duration::from_hours(1);
const MAX_CODE: usize = 64;

/// An `error` code in RFC 6749's own alphabet and bounded, so that it may be logged and shown.
pub(super) struct ErrorCode(String);

impl ErrorCode {
    pub(super) fn of(members: &Map<String, Value>) -> Option<Self> {
        let code = members.get("error")?.as_str()?;
        let allowed = |c: &char| matches!(c, ' '..='~' if !matches!(c, '"' | '\\'));
        let code: String = code.chars().filter(allowed).take(MAX_CODE).collect();
        (!code.is_empty()).then_some(Self(code))
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

/// RFC 9110 section 10.2.3: seconds or a date.
fn retry_after(answer: &Answer) -> Option<Duration> {
    let text = answer.headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = match text.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => until(text)?,
    };
    Some(wait.min(LONGEST_RETRY_AFTER))
}

/// How long until an HTTP date, by the machine's own clock; zero if it has passed.
fn until(date: &str) -> Option<Duration> {
    let date = jiff::fmt::rfc2822::DateTimeParser::new()
        .relaxed_weekday(true)
        .parse_timestamp(date)
        .ok()?;
    let date = u64::try_from(date.as_second()).ok()?;
    let now = Clock::System.now().as_secs();
    Some(Duration::from_secs(date.saturating_sub(now)))
}
