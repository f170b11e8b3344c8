//! The end of the provider's own session, from server to server (OpenID Connect RP-Initiated Logout).

use http::header::LOCATION;
use url::Url;

use super::answer::{self, ErrorCode};
use super::client::{Answer, Content, Failure};
use super::{EndSession, Error, Issuer, Preset, append};
use crate::token::IdToken;

impl Issuer {
    /// Ends the session at the provider from server to server with `id_token_hint`, so that no token passes through the
    /// browser (OpenID Connect RP-Initiated Logout section 2). It is a POST, so that none is in a URL either.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn end_session(
        &self,
        hint: &IdToken,
        back_to: &str,
        state: &str,
    ) -> Result<EndSession, Error> {
        let metadata = self.metadata().await?;
        let Some(endpoint) = &metadata.end_session_here else {
            let by_browser = metadata.browser_logout.as_ref();
            return by_browser.map_or(Err(NO_LOGOUT), |_| Ok(EndSession::AskPerson));
        };
        let content = Content::form(&[
            ("id_token_hint", hint.expose()),
            ("client_id", &self.settings.client_id),
            ("post_logout_redirect_uri", back_to),
            ("state", state),
        ]);
        let answer = self.client.post(endpoint, content).await;
        read(answer, endpoint, back_to, state)
    }

    /// Where to send the browser when the provider wants to ask the person: `client_id`, `post_logout_redirect_uri` and
    /// `state`, but no token.
    ///
    /// # Errors
    /// When the provider has no such endpoint.
    pub async fn end_session_url(
        &self,
        back_to: &str,
        state: &str,
        hints: LogoutHints<'_>,
    ) -> Result<Url, Error> {
        let metadata = self.metadata().await?;
        let client_id = ("client_id", &*self.settings.client_id);
        if let Some(endpoint) = &metadata.end_session_endpoint {
            let mut url = endpoint.clone();
            let back = [("post_logout_redirect_uri", back_to), ("state", state)];
            append(&mut url, &[&[client_id], &back[..]].concat());
            let whom = match self.settings.preset {
                Some(Preset::Auth0) => hints.sid,
                None => hints.login_hint,
            };
            let hints = [("logout_hint", whom), ("ui_locales", hints.ui_locales)];
            let hints = hints
                .into_iter()
                .filter_map(|(name, hint)| Some((name, hint?)));
            append(&mut url, &hints.collect::<Vec<_>>());
            return Ok(url);
        }
        let mut url = metadata.browser_logout.clone().ok_or(NO_LOGOUT)?;
        // Auth0 compares it without its query, and has no `state` of its own to hand back.
        let back = with_state(back_to, state).map_or_else(|| back_to.to_owned(), String::from);
        append(&mut url, &[client_id, ("returnTo", &back)]);
        Ok(url)
    }
}

/// What helps a provider that wants to talk to the person (OpenID Connect RP-Initiated Logout section 2).
#[derive(Clone, Copy, Debug, Default)]
pub struct LogoutHints<'a> {
    /// `sid`: Auth0 asks nothing of a browser whose session it names.
    pub sid: Option<&'a str>,
    /// The claim of this name: Entra ID puts it into ID tokens for this very use, and then nobody has to pick the account.
    pub login_hint: Option<&'a str>,
    /// The languages that its page may be in, the best first.
    pub ui_locales: Option<&'a str>,
}

const NO_LOGOUT: Error = Error::NotOffered("logout");

/// What the provider's answer to a logout request with `id_token_hint` means. `expected` are the addresses that it may
/// send a browser back to.
fn read(
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
    if location.is_some() && (location == with_state(back_to, state) || location == plain) {
        EndSession::Ended
    } else {
        EndSession::AskPerson
    }
}

fn with_state(back_to: &str, state: &str) -> Option<Url> {
    let mut url = Url::parse(back_to).ok()?;
    url.query_pairs_mut().append_pair("state", state);
    Some(url)
}
