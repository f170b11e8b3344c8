//! Every no: status, challenge, page or problem, and the way to sign in. One exhaustive table.

use std::sync::Arc;
use std::time::Duration;

use http::header::{
    ALLOW, CONTENT_TYPE, HeaderName, LOCATION, REFRESH, RETRY_AFTER, SET_COOKIE,
    STRICT_TRANSPORT_SECURITY, WWW_AUTHENTICATE,
};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use serde_json::json;

use crate::credential::cookie;
use crate::forward::{Body, whole};
use crate::pages::{Pages, guard};
use crate::{authorize, credential, forward, issuer, route, session, target, verify};

mod asker;
mod site;
mod table;
#[cfg(test)]
mod tests;

use asker::Wants;
pub use asker::{Asker, understands_pages};
pub use site::Site;
use table::{Challenge, Row, Way};

/// Why a request is not forwarded.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each variant is its room's error")]
pub enum Refusal {
    #[error(transparent)]
    Target(#[from] target::Error),
    #[error(transparent)]
    Route(#[from] route::Error),
    #[error(transparent)]
    Credential(#[from] credential::Error),
    #[error(transparent)]
    Session(#[from] session::Error),
    /// A bearer's access token.
    #[error(transparent)]
    Verify(#[from] verify::Error),
    /// A session's access token: not the caller's fault.
    #[error("the session's token: {0}")]
    SessionToken(#[source] verify::Error),
    #[error(transparent)]
    Authorize(#[from] authorize::Error),
    #[error(transparent)]
    Forward(#[from] forward::Error),
    /// The provider can't be used for signing in.
    #[error(transparent)]
    Provider(issuer::Error),
    /// The gateway has no such endpoint.
    #[error("no such endpoint")]
    NoEndpoint,
    /// The endpoint is not asked by this method.
    #[error("method not allowed")]
    Method { allow: &'static str },
    /// A sign-in was asked for at a provider that there is none of.
    #[error("no such identity provider")]
    NoSuchProvider,
    /// An endpoint can't understand what it was sent. The text is for people.
    #[error("malformed: {0}")]
    Malformed(&'static str),
    /// An endpoint was sent too much.
    #[error("the body is too large")]
    TooLarge,
    /// Another site made the browser send this.
    #[error("the request came from another site")]
    CrossSite,
    /// Sessions that browsers keep can't be listed (`session.store = "cookie"`).
    #[error("the sessions of a person are not known here")]
    SessionsNotListed,
    /// The person has no session of that id. Whether anybody has is nobody's business.
    #[error("no such session of this person's")]
    NoSuchSession,
    /// A person's other sessions could not be ended, or not all of them.
    #[error("sessions could not be ended")]
    NotEnded(#[source] session::StoreError),
    /// An endpoint wants `X-CSRF: 1`.
    #[error("the X-CSRF header is missing")]
    NoCsrfHeader,
    #[error("an endpoint of the gateway failed")]
    Internal,
}

/// What the refusals need to know of the gateway.
#[derive(Clone, Debug)]
pub struct Refusals {
    /// For page loads.
    pub pages: Arc<Pages>,
    /// Where to sign in.
    pub site: Arc<Site>,
    /// The session cookie's name: cleared where a session is over.
    pub cookie: String,
}

impl Refusal {
    /// The status that a program is answered with.
    pub fn status(&self) -> StatusCode {
        table::row(self).status
    }

    /// For the audit log: its code, where somebody was refused by a rule, or for what they showed. Not where nothing was
    /// shown, nor where a session is over, whose end has been noted.
    pub fn denial(&self) -> Option<&'static str> {
        let denies = match self {
            Self::Verify(error) | Self::SessionToken(error) => match error {
                verify::Error::Invalid(_) | verify::Error::Revoked => true,
                verify::Error::RevocationsUnknown | verify::Error::KeysUnavailable(_) => false,
            },
            Self::Authorize(error) => match error {
                authorize::Error::NoCredential(_) => false,
                authorize::Error::InsufficientScope { .. }
                | authorize::Error::Forbidden
                | authorize::Error::Csrf
                | authorize::Error::CrossOrigin => true,
            },
            Self::CrossSite | Self::NoCsrfHeader => true,
            Self::Target(_)
            | Self::Route(_)
            | Self::Credential(_)
            | Self::Session(_)
            | Self::Forward(_)
            | Self::Provider(_)
            | Self::NoEndpoint
            | Self::NoSuchProvider
            | Self::SessionsNotListed
            | Self::NoSuchSession
            | Self::NotEnded(_)
            | Self::Method { .. }
            | Self::Malformed(_)
            | Self::TooLarge
            | Self::Internal => false,
        };
        denies.then(|| table::row(self).code)
    }
}

impl Refusals {
    /// The answer: a redirect to sign in, a page or a problem (RFC 9457) with its challenge (RFC 6750).
    pub fn answer(&self, refusal: &Refusal, asker: &Asker) -> Response<Body> {
        let row = table::row(refusal);
        log(refusal, &row, asker);
        let place = Place::of(&self.site, asker);
        let mut response = match (asker.wants, row.way) {
            (Wants::Redirect, Way::SignIn) => redirect(&place.sign_in),
            (Wants::Redirect, Way::SignInSilently(_)) => redirect(&place.sign_in_silently),
            (Wants::Redirect | Wants::Page, _) => self.page(&row, asker, &place),
            (Wants::Problem, _) => problem(&row, asker, &place),
        };
        self.complete(response.headers_mut(), &row);
        if let Refusal::Target(_) = refusal {
            response.extensions_mut().insert(target::Unsound);
        }
        if asker.is_head() {
            *response.body_mut() = String::new();
        }
        response.map(whole)
    }

    fn complete(&self, headers: &mut HeaderMap, row: &Row) {
        guard(headers);
        if let Some(value) = self.site.strict_transport() {
            headers.insert(STRICT_TRANSPORT_SECURITY, HeaderValue::from_static(value));
        }
        if let Some(cleared) = row.over.then(|| cookie::clear(&self.cookie)).flatten() {
            headers.append(SET_COOKIE, cleared);
        }
    }

    fn page(&self, row: &Row, asker: &Asker, place: &Place) -> Response<String> {
        let title = title(row);
        let request_id = asker.request_id();
        let mut response = match row.way {
            Way::SwitchPerson => self.pages.render(
                row.status,
                "refused.html",
                json!({
                    "title": title, "text": row.text, "request_id": request_id,
                    "home": "/", "other": place.switch, "sign_out": place.sign_out,
                    "sessions": place.sessions,
                }),
            ),
            Way::None | Way::SignIn | Way::SignInSilently(_) | Way::OfferSignIn | Way::Wait(_) => {
                self.pages.render(
                    row.status,
                    "problem.html",
                    json!({
                        "title": title, "text": text(row, asker), "request_id": request_id,
                        "action": action(row.way, asker, place),
                    }),
                )
            }
        };
        explain(response.headers_mut(), row);
        if let (Way::Wait(time), true) = (row.way, asker.is_safe()) {
            put(response.headers_mut(), REFRESH, &seconds(time).to_string());
        }
        response
    }
}

/// The addresses that an answer may lead to.
struct Place {
    sign_in: String,
    sign_in_silently: String,
    switch: String,
    sign_out: String,
    sessions: Option<String>,
}

impl Place {
    fn of(site: &Site, asker: &Asker) -> Self {
        let origin = site.home(&asker.host());
        let rd = asker.return_to(&origin);
        let rd = ("rd", rd.as_str());
        Self {
            sign_in: site.endpoint(&origin, "/start", &[rd]),
            sign_in_silently: site.endpoint(&origin, "/start", &[rd, ("prompt", "none")]),
            switch: site.endpoint(&origin, "/start", &[rd, ("prompt", "login")]),
            sign_out: site.endpoint(&origin, "/sign_out", &[]),
            sessions: site.sessions(&origin),
        }
    }
}

fn redirect(to: &str) -> Response<String> {
    let mut response = Response::new(String::new());
    *response.status_mut() = StatusCode::SEE_OTHER;
    put(response.headers_mut(), LOCATION, to);
    response
}

fn problem(row: &Row, asker: &Asker, place: &Place) -> Response<String> {
    let mut body = json!({
        "type": "about:blank",
        "title": row.status.canonical_reason().unwrap_or_default(),
        "status": row.status.as_u16(),
        "detail": row.text,
        "instance": asker.path(),
        "code": row.code,
        "request_id": asker.request_id(),
    });
    let login_url = match row.way {
        Way::SignIn | Way::OfferSignIn | Way::SwitchPerson => Some(&place.sign_in),
        Way::SignInSilently(_) => Some(&place.sign_in_silently),
        Way::None | Way::Wait(_) => None,
    };
    if let (Some(url), Some(body)) = (login_url, body.as_object_mut()) {
        body.insert("login_url".to_owned(), json!(url));
    }
    let mut response = Response::new(body.to_string());
    *response.status_mut() = row.status;
    let headers = response.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("application/problem+json"),
    );
    explain(headers, row);
    response
}

/// What the status itself asks for in headers.
fn explain(headers: &mut HeaderMap, row: &Row) {
    if let Some(challenge) = challenge(&row.challenge) {
        put(headers, WWW_AUTHENTICATE, &challenge);
    }
    if let Some(allow) = row.allow {
        headers.insert(ALLOW, HeaderValue::from_static(allow));
    }
    if let Way::Wait(time) | Way::SignInSilently(Some(time)) = row.way {
        put(headers, RETRY_AFTER, &seconds(time).to_string());
    }
}

/// RFC 6750 section 3: a realm always, so that the scheme is never alone; an error code only where something was shown.
fn challenge(challenge: &Challenge) -> Option<String> {
    const BARE: &str = "Bearer realm=\"tidegate\"";
    match challenge {
        Challenge::None => None,
        Challenge::Bare => Some(BARE.to_owned()),
        Challenge::InvalidRequest => Some(format!("{BARE}, error=\"invalid_request\"")),
        Challenge::InvalidToken => Some(format!("{BARE}, error=\"invalid_token\"")),
        Challenge::InsufficientScope(scope) => {
            // A scope token has no quote and no backslash (RFC 6749 section 3.3); the configuration may.
            let scope: String = scope.chars().filter(|c| !matches!(c, '"' | '\\')).collect();
            Some(format!(
                "{BARE}, error=\"insufficient_scope\", scope=\"{scope}\""
            ))
        }
    }
}

fn put(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

/// Whole seconds, rounded up: asking too early is asking twice.
fn seconds(time: Duration) -> u64 {
    time.as_secs()
        .saturating_add(u64::from(time.subsec_nanos() > 0))
        .max(1)
}

fn title(row: &Row) -> &'static str {
    match row.way {
        Way::SignIn | Way::SignInSilently(_) | Way::OfferSignIn => "Please sign in",
        Way::SwitchPerson => "This is not open to you",
        Way::Wait(_) => "One moment, please",
        Way::None => match row.status {
            StatusCode::NOT_FOUND => "Nothing here",
            StatusCode::BAD_GATEWAY | StatusCode::GATEWAY_TIMEOUT => "The application is away",
            StatusCode::INTERNAL_SERVER_ERROR => "Something went wrong",
            _ => "This can't be done",
        },
    }
}

/// A form that was sent after its session had ended is not lost: browsers offer to send it again when the page is
/// reloaded.
fn text(row: &Row, asker: &Asker) -> String {
    let resend = !asker.is_safe()
        && matches!(
            row.way,
            Way::SignIn | Way::SignInSilently(_) | Way::OfferSignIn
        );
    if !resend {
        return row.text.to_string();
    }
    format!(
        "{} What you sent was not carried out. Sign in in another tab, then reload this page to send it again.",
        row.text
    )
}

fn action(way: Way, asker: &Asker, place: &Place) -> Option<serde_json::Value> {
    let (url, label) = match way {
        Way::SignIn | Way::OfferSignIn => (place.sign_in.as_str(), "Sign in"),
        Way::SignInSilently(_) => (place.sign_in_silently.as_str(), "Sign in"),
        Way::Wait(_) if asker.is_safe() => ("", "Try again"),
        Way::Wait(_) | Way::None | Way::SwitchPerson => return None,
    };
    let new_tab = !asker.is_safe();
    Some(json!({ "url": url, "label": label, "new_tab": new_tab }))
}

/// Said once, here, where it is handled. What a caller can bring about at will is left to the access log.
fn log(refusal: &Refusal, row: &Row, asker: &Asker) {
    let request_id = asker.request_id();
    match refusal {
        Refusal::SessionToken(error) => {
            tracing::warn!(%error, request_id, "a session's access token is not accepted");
        }
        Refusal::Provider(error) => {
            tracing::warn!(%error, request_id, "the identity provider can't be used for signing in");
        }
        Refusal::Session(error @ session::Error::Store(source)) => {
            tracing::error!(%error, %source, request_id, "sessions can't be read or written");
        }
        Refusal::NotEnded(source) => {
            let error = source as &dyn std::error::Error;
            tracing::error!(
                error,
                request_id,
                "sessions that a person wanted to end may go on"
            );
        }
        Refusal::Internal => tracing::error!(request_id, "an endpoint of the gateway failed"),
        Refusal::Target(_)
        | Refusal::Route(_)
        | Refusal::Credential(_)
        | Refusal::Session(_)
        | Refusal::Verify(_)
        | Refusal::Authorize(_)
        | Refusal::Forward(_)
        | Refusal::NoEndpoint
        | Refusal::NoSuchProvider
        | Refusal::Method { .. }
        | Refusal::Malformed(_)
        | Refusal::TooLarge
        | Refusal::CrossSite
        | Refusal::SessionsNotListed
        | Refusal::NoSuchSession
        | Refusal::NoCsrfHeader => {
            tracing::debug!(%refusal, code = row.code, request_id, "refused");
        }
    }
}
