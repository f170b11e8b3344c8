//! The table: every cause, and what it is answered with. No `_` arm, so that a new cause must choose.

use std::borrow::Cow;
use std::time::Duration;

use http::StatusCode;

use super::Refusal;
use crate::ending::Cause;
use crate::route::Access;
use crate::session::EndReason;
use crate::{authorize, credential, forward, issuer, route, session, target, verify};

/// How soon to ask again where nobody said.
const SOON: Duration = Duration::from_secs(2);
/// What a request that is never forwarded may be sent as instead.
const FORWARDED_METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";

/// What one cause is answered with.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) status: StatusCode,
    /// For programs: one word, stable.
    pub(super) code: &'static str,
    /// For people, and `detail` of the problem.
    pub(super) text: Cow<'static, str>,
    pub(super) way: Way,
    pub(super) challenge: Challenge,
    /// Whether the cookie stands for nothing any more. Never where something merely can't be had now.
    pub(super) over: bool,
    pub(super) allow: Option<&'static str>,
}

/// How to get further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// Nothing helps.
    None,
    /// Signing in: a page load is sent there.
    SignIn,
    /// Signing in unseen, at a provider that likely still knows the person. A program tries again after this time.
    SignInSilently(Option<Duration>),
    /// Signing in, but nobody is sent there: being signed in may not be enough, and a redirect could go round for ever.
    OfferSignIn,
    /// Being someone else.
    SwitchPerson,
    /// Time.
    Wait(Duration),
}

/// `WWW-Authenticate` (RFC 6750 section 3).
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Challenge {
    None,
    /// Nothing was shown: no error code.
    Bare,
    InvalidRequest,
    InvalidToken,
    InsufficientScope(String),
}

impl Row {
    fn new(status: StatusCode, code: &'static str, text: impl Into<Cow<'static, str>>) -> Self {
        Self {
            status,
            code,
            text: text.into(),
            way: Way::None,
            challenge: Challenge::None,
            over: false,
            allow: None,
        }
    }

    fn bad(text: &'static str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_request", text)
    }

    fn sign_in(code: &'static str, text: &'static str) -> Self {
        let row = Self::new(StatusCode::UNAUTHORIZED, code, text);
        row.way(Way::SignIn).challenge(Challenge::Bare)
    }

    fn wait(code: &'static str, text: &'static str, time: Duration) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, code, text).way(Way::Wait(time))
    }

    fn way(self, way: Way) -> Self {
        Self { way, ..self }
    }

    fn challenge(self, challenge: Challenge) -> Self {
        Self { challenge, ..self }
    }

    fn over(self) -> Self {
        Self { over: true, ..self }
    }

    fn allow(self, allow: &'static str) -> Self {
        Self {
            allow: Some(allow),
            ..self
        }
    }
}

pub(super) fn row(refusal: &Refusal) -> Row {
    match refusal {
        Refusal::Target(error) => of_target(error),
        Refusal::Route(error) => of_route(error),
        Refusal::Credential(error) => of_credential(error),
        Refusal::Session(error) => of_session(error),
        Refusal::Verify(error) => of_bearer(error),
        Refusal::SessionToken(error) => of_session_token(error),
        Refusal::Authorize(error) => of_authorize(error),
        Refusal::Forward(error) => of_forward(error),
        Refusal::Provider(error) => of_provider(error),
        Refusal::NoEndpoint => Row::new(
            StatusCode::NOT_FOUND,
            "not_found",
            "There is nothing at this address.",
        ),
        Refusal::NoSuchProvider => Row::new(
            StatusCode::NOT_FOUND,
            "no_such_provider",
            "There is no sign-in service of that name here.",
        ),
        Refusal::Method { allow } => Row::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "method_not_allowed",
            "This address can't be asked in this way.",
        )
        .allow(allow),
        Refusal::Malformed(what) => Row::bad(what),
        Refusal::TooLarge => Row::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "too_large",
            "What was sent is too large.",
        ),
        Refusal::CrossSite => cross_site(),
        Refusal::SessionsNotListed => Row::new(
            StatusCode::NOT_FOUND,
            "sessions_not_listed",
            "There is no list of sessions here: they are kept in the browsers alone (session.store = \"cookie\").",
        ),
        Refusal::NoSuchSession => Row::new(
            StatusCode::NOT_FOUND,
            "no_such_session",
            "There is no such session of yours. It may have ended already.",
        ),
        Refusal::NotEnded(_) => Row::wait(
            "sessions_not_ended",
            "It is not certain that it has ended, since sessions can't be read or changed just now. Please try again in a moment.",
            SOON,
        ),
        Refusal::NoCsrfHeader => no_csrf_header(),
        Refusal::Internal => Row::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "Something went wrong on our side.",
        ),
    }
}

fn of_target(error: &target::Error) -> Row {
    match error {
        target::Error::Bad(_) => {
            Row::bad("The request is malformed, or could be understood in more than one way.")
        }
        target::Error::TooLong => Row::new(
            StatusCode::URI_TOO_LONG,
            "uri_too_long",
            "The address is too long.",
        ),
        target::Error::Misdirected => Row::new(
            StatusCode::MISDIRECTED_REQUEST,
            "misdirected",
            "This connection was made for another host.",
        ),
        target::Error::Method => Row::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "method_not_allowed",
            "This method is never forwarded.",
        )
        .allow(FORWARDED_METHODS),
    }
}

fn of_route(error: &route::Error) -> Row {
    match error {
        route::Error::NoRoute => Row::new(
            StatusCode::NOT_FOUND,
            "not_found",
            "There is nothing at this address.",
        ),
        route::Error::Ambiguous => {
            Row::bad("The address could be understood in more than one way.")
        }
    }
}

fn of_credential(error: &credential::Error) -> Row {
    let text = match error {
        credential::Error::Ambiguous => "A bearer token and a session came in one request.",
        credential::Error::Malformed => "The Authorization header is malformed.",
    };
    Row::bad(text).challenge(Challenge::InvalidRequest)
}

fn of_session(error: &session::Error) -> Row {
    match error {
        session::Error::Unknown => Row::sign_in("session_unknown", "You are not signed in.").over(),
        // The cookie stays: another node may know it.
        session::Error::Unreadable => {
            Row::sign_in("session_unreadable", "Your session can't be read here.")
                .way(Way::SignInSilently(None))
        }
        session::Error::Ended(reason) => of_end(*reason),
        session::Error::NotNow { retry_after } => Row::wait(
            "session_not_now",
            "Your session can't be renewed just now. You are still signed in.",
            *retry_after,
        ),
        session::Error::InDoubt {
            retry_after: Some(wait),
        } => Row::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "session_in_doubt",
            "Your session is being renewed.",
        )
        .way(Way::SignInSilently(Some(*wait))),
        session::Error::InDoubt { retry_after: None } => Row::sign_in(
            "session_in_doubt",
            "Your session could not be renewed. Loading a page will most likely do it.",
        )
        .way(Way::SignInSilently(None)),
        session::Error::Store(_) => Row::wait(
            "session_store",
            "Sessions can't be read just now. You are still signed in.",
            SOON,
        ),
    }
}

fn of_end(reason: EndReason) -> Row {
    match reason {
        EndReason::SignedOut => Row::sign_in("signed_out", "You have signed out.").over(),
        // The browser has a newer cookie, or is about to get it: clearing could hit that one.
        EndReason::Replaced => Row::sign_in("session_replaced", "You have signed in anew."),
        // Nobody is sent to sign in: the provider would do it unseen, and two browsers would go on displacing each other.
        EndReason::Displaced => Row::sign_in(
            "session_displaced",
            "Your session here has ended, since you signed in elsewhere and may have only so many sessions at a time.",
        )
        .way(Way::OfferSignIn)
        .over(),
        EndReason::Dismissed => Row::sign_in(
            "session_dismissed",
            "You have ended this session from another one of yours.",
        )
        .way(Way::OfferSignIn)
        .over(),
        EndReason::Administrator => Row::sign_in(
            "session_ended_by_administrator",
            "An administrator has ended your session.",
        )
        .way(Way::OfferSignIn)
        .over(),
        EndReason::BackChannel | EndReason::FrontChannel => Row::sign_in(
            "signed_out_at_provider",
            "You have signed out at the sign-in service.",
        )
        .over(),
        EndReason::Idle => Row::sign_in(
            "session_idle",
            "Your session has ended, since it was not used for a while.",
        )
        .over(),
        EndReason::Absolute => {
            Row::sign_in("session_expired", "Your session has reached its end.").over()
        }
        EndReason::Forgotten => {
            Row::sign_in("session_forgotten", "Your session is no longer known here.").over()
        }
        EndReason::Expired => Row::sign_in(
            "session_provider_expired",
            "Your session has ended at the sign-in service.",
        )
        .over(),
        EndReason::Refused => Row::sign_in(
            "session_refused",
            "Your session was ended by the sign-in service.",
        )
        .over(),
        EndReason::LostInFlight => Row::sign_in(
            "session_lost",
            "Your session could not be renewed and has ended.",
        )
        .way(Way::SignInSilently(None))
        .over(),
        EndReason::BadAnswer => Row::sign_in(
            "session_bad_answer",
            "Your session could not be renewed and has ended.",
        )
        .over(),
    }
}

fn keys_unavailable() -> Row {
    Row::wait(
        "keys_unavailable",
        "Tokens can't be checked just now.",
        SOON,
    )
}

fn revocations_unknown() -> Row {
    Row::wait(
        "revocations_unknown",
        "Whether tokens were revoked can't be known just now.",
        SOON,
    )
}

fn of_bearer(error: &verify::Error) -> Row {
    match error {
        verify::Error::Invalid(_) => Row::new(
            StatusCode::UNAUTHORIZED,
            "invalid_token",
            "The access token is not valid.",
        )
        .way(Way::OfferSignIn)
        .challenge(Challenge::InvalidToken),
        verify::Error::Revoked => Row::new(
            StatusCode::UNAUTHORIZED,
            "token_revoked",
            "The access token was revoked.",
        )
        .way(Way::OfferSignIn)
        .challenge(Challenge::InvalidToken),
        verify::Error::RevocationsUnknown => revocations_unknown(),
        verify::Error::KeysUnavailable(_) => keys_unavailable(),
    }
}

/// The token came from our own session: the caller has shown nothing wrong, and gets a better one by signing in anew. The
/// session is left as it is; the sign-in replaces it.
fn of_session_token(error: &verify::Error) -> Row {
    match error {
        verify::Error::Invalid(_) => Row::sign_in(
            "session_token_invalid",
            "Your session is no longer accepted here. Please sign in again.",
        ),
        verify::Error::Revoked => Row::sign_in(
            "session_token_revoked",
            "Your access was revoked. Please sign in again.",
        ),
        verify::Error::RevocationsUnknown => revocations_unknown(),
        verify::Error::KeysUnavailable(_) => keys_unavailable(),
    }
}

fn of_authorize(error: &authorize::Error) -> Row {
    match error {
        authorize::Error::NoCredential(access) => {
            let row = Row::sign_in("no_credential", "You are not signed in.");
            match access {
                Access::Session => row,
                // Never a redirect where bearer tokens are taken: what asks there is a program.
                Access::Any | Access::Bearer | Access::Public => row.way(Way::OfferSignIn),
            }
        }
        authorize::Error::InsufficientScope { scope } => Row::new(
            StatusCode::FORBIDDEN,
            "insufficient_scope",
            "What you signed in with does not reach this far.",
        )
        .way(Way::SwitchPerson)
        .challenge(Challenge::InsufficientScope(scope.clone())),
        authorize::Error::Forbidden => Row::new(
            StatusCode::FORBIDDEN,
            "forbidden",
            "You are signed in, but your account is not in a group that may use this. \
             Whoever looks after this application can change that.",
        )
        .way(Way::SwitchPerson),
        authorize::Error::Csrf => no_csrf_header(),
        authorize::Error::CrossOrigin => cross_site(),
    }
}

fn cross_site() -> Row {
    Row::new(
        StatusCode::FORBIDDEN,
        "cross_site",
        "This request came from another site, so it was not carried out.",
    )
}

fn no_csrf_header() -> Row {
    Row::new(
        StatusCode::FORBIDDEN,
        "csrf_header_missing",
        "This request needs the header X-CSRF: 1, which shows that no other site sent it.",
    )
}

fn of_forward(error: &forward::Error) -> Row {
    match error {
        forward::Error::Unreachable { .. } => Row::new(
            StatusCode::BAD_GATEWAY,
            "upstream_unreachable",
            "The application behind this address can't be reached.",
        ),
        forward::Error::Nonsense { .. } => Row::new(
            StatusCode::BAD_GATEWAY,
            "upstream_bad_answer",
            "The application behind this address gave an answer that can't be passed on.",
        ),
        forward::Error::TooLong { .. } => Row::new(
            StatusCode::GATEWAY_TIMEOUT,
            "upstream_timeout",
            "The application behind this address took too long to answer.",
        ),
        forward::Error::RequestBody => Row::bad("The request's body is malformed or broke off."),
        forward::Error::RequestTooSlow => Row::new(
            StatusCode::REQUEST_TIMEOUT,
            "request_too_slow",
            "What you sent took too long to arrive.",
        ),
        forward::Error::Upgrade => Row::new(
            StatusCode::NOT_IMPLEMENTED,
            "upgrade",
            "Only WebSocket connections can be upgraded to.",
        ),
        forward::Error::Ended(Cause::Session(reason)) => of_end(*reason),
        forward::Error::Ended(Cause::Token) => of_bearer(&verify::Error::Revoked),
    }
}

/// The provider's trouble is never the person's fault, and all of it may pass: what differs is for the log.
fn of_provider(error: &issuer::Error) -> Row {
    let time = match error {
        issuer::Error::Unavailable {
            retry_after: Some(time),
            ..
        } => *time,
        issuer::Error::Unavailable {
            retry_after: None, ..
        }
        | issuer::Error::Refused { .. }
        | issuer::Error::Client { .. }
        | issuer::Error::Unknown { .. }
        | issuer::Error::Unusable { .. }
        | issuer::Error::NotOffered(_) => Duration::from_secs(5),
    };
    Row::wait(
        "provider_unavailable",
        "The sign-in service can't be reached just now.",
        time,
    )
}
