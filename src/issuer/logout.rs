//! The end of the provider's own session, from server to server (OpenID Connect RP-Initiated Logout).

use http::header::LOCATION;
use url::Url;

use super::answer::{self, ErrorCode};
use super::client::{Answer, Failure};
use super::{EndSession, Error};

/// What the provider's answer to a logout request with `id_token_hint` means. `expected` are the addresses that it may
/// send a browser back to.
pub(super) fn read(
    answer: Result<Answer, Failure>,
    endpoint: &Url,
    back_to: &str,
    state: &str,
) -> Result<EndSession, Error> {
    // A session that is ended twice is ended, so whatever went wrong on the way may be tried again.
    let answer = answer.map_err(|failure| answer::not_now(failure.reason))?;
    if answer.status.is_redirection() {
        return Ok(redirected(&answer, endpoint, back_to, state));
    }
    // A page for the person, or an endpoint that only talks to browsers.
    if answer.status.is_success() || answer.status == 404 || answer.status == 405 {
        return Ok(EndSession::AskPerson);
    }
    if answer.status.as_u16() == 429 || answer.status.is_server_error() {
        return Err(answer::unavailable(&answer));
    }
    let code = ErrorCode::of(&answer::members(&answer));
    Err(Error::Refused {
        error: code.map_or_else(
            || format!("status {}", answer.status.as_u16()),
            |code| code.to_string(),
        ),
    })
}

/// Only the way back that we asked for means that it is done (section 3); any other leads the person to a page.
fn redirected(answer: &Answer, endpoint: &Url, back_to: &str, state: &str) -> EndSession {
    let location = answer
        .headers
        .get(LOCATION)
        .and_then(|location| location.to_str().ok())
        .and_then(|location| endpoint.join(location).ok());
    let plain = Url::parse(back_to).ok();
    let mut stated = plain.clone();
    if let Some(url) = &mut stated {
        url.query_pairs_mut().append_pair("state", state);
    }
    if location.is_some() && (location == stated || location == plain) {
        EndSession::Ended
    } else {
        EndSession::AskPerson
    }
}
