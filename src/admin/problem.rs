//! Every no that the administrator hears: from cause to answer, as RFC 9457 has it.

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, Response, StatusCode};
use http_body_util::Full;
use serde_json::json;

use super::Body;
use crate::pages::guard;
use crate::session::{NoPrefix, StoreError};

/// Why something is not done or not told.
#[derive(Debug, thiserror::Error)]
pub(super) enum Problem {
    #[error("the admin token is needed, as a bearer or as the password of any user")]
    Unauthorized,
    #[error(
        "this listener answers to localhost and loopback addresses only, whatever name led here"
    )]
    Misdirected,
    #[error("the request came from another site")]
    CrossSite,
    #[error(
        "this form is not from this page, or from before the gateway was started: load the page again"
    )]
    StaleForm,
    #[error("there is nothing here")]
    Nowhere,
    #[error("this is not asked that way")]
    Method { allow: &'static str },
    #[error("{0}")]
    Malformed(String),
    #[error(transparent)]
    Prefix(#[from] NoPrefix),
    #[error("there is no session of that id: it never was, or it has ended")]
    NoSession,
    #[error("there is more than one session whose id begins so: write more of it")]
    Ambiguous,
    #[error("there is no identity provider {0:?} in the configuration")]
    NoProvider(String),
    #[error("there is more than one identity provider: say which one's user is meant, with idp=")]
    WhichProvider,
    #[error("this would end all sessions: write ?all=true if that is meant")]
    NotSaid,
    #[error("the session store can't be asked now")]
    Store(#[from] StoreError),
    #[error(
        "the session store can't be told now: what was asked may be in force already, and what has begun goes on being tried. Ask again to be sure"
    )]
    Unsure(#[source] StoreError),
    #[error("it was broken off")]
    Interrupted,
}

struct Row {
    status: StatusCode,
    code: &'static str,
}

const fn row(status: StatusCode, code: &'static str) -> Row {
    Row { status, code }
}

impl Problem {
    fn row(&self) -> Row {
        match self {
            Self::Unauthorized => row(StatusCode::UNAUTHORIZED, "unauthorized"),
            Self::Misdirected => row(StatusCode::MISDIRECTED_REQUEST, "misdirected"),
            Self::CrossSite => row(StatusCode::FORBIDDEN, "cross_site"),
            Self::StaleForm => row(StatusCode::FORBIDDEN, "stale_form"),
            Self::Nowhere => row(StatusCode::NOT_FOUND, "nothing_here"),
            Self::Method { .. } => row(StatusCode::METHOD_NOT_ALLOWED, "method"),
            Self::Malformed(_) | Self::Prefix(_) => row(StatusCode::BAD_REQUEST, "malformed"),
            Self::NoSession => row(StatusCode::NOT_FOUND, "no_such_session"),
            Self::Ambiguous => row(StatusCode::CONFLICT, "ambiguous_id"),
            Self::NoProvider(_) => row(StatusCode::NOT_FOUND, "no_such_idp"),
            Self::WhichProvider => row(StatusCode::BAD_REQUEST, "which_idp"),
            Self::NotSaid => row(StatusCode::BAD_REQUEST, "all_not_said"),
            Self::Store(_) | Self::Unsure(_) => row(StatusCode::SERVICE_UNAVAILABLE, "store"),
            Self::Interrupted => row(StatusCode::INTERNAL_SERVER_ERROR, "interrupted"),
        }
    }

    pub(super) fn status(&self) -> StatusCode {
        self.row().status
    }

    /// As `application/problem+json`.
    pub(super) fn answer(&self) -> Response<Body> {
        let Row { status, code } = self.row();
        if let Self::Store(error) | Self::Unsure(error) = self {
            let error = error as &dyn std::error::Error;
            tracing::error!(error, "an administrator could not be served");
        }
        let body = json!({
            "type": "about:blank",
            "title": status.canonical_reason().unwrap_or_default(),
            "status": status.as_u16(),
            "detail": self.to_string(),
            "code": code,
        });
        let mut response = Response::new(Full::new(Bytes::from(format!("{body}\n"))));
        *response.status_mut() = status;
        let kind = HeaderValue::from_static("application/problem+json");
        response.headers_mut().insert(CONTENT_TYPE, kind);
        self.explain(&mut response);
        response
    }

    /// What the status itself asks for in headers.
    pub(super) fn explain<B>(&self, response: &mut Response<B>) {
        let headers = response.headers_mut();
        guard(headers);
        match self {
            Self::Unauthorized => {
                for challenge in ["Bearer", "Basic"] {
                    let challenge = format!("{challenge} realm=\"tidegate admin\"");
                    if let Ok(challenge) = HeaderValue::from_str(&challenge) {
                        headers.append(WWW_AUTHENTICATE, challenge);
                    }
                }
            }
            Self::Method { allow } => {
                headers.insert(ALLOW, HeaderValue::from_static(allow));
            }
            Self::Store(_) | Self::Unsure(_) => {
                headers.insert(RETRY_AFTER, HeaderValue::from_static("2"));
            }
            Self::Misdirected
            | Self::CrossSite
            | Self::StaleForm
            | Self::Nowhere
            | Self::Malformed(_)
            | Self::Prefix(_)
            | Self::NoSession
            | Self::Ambiguous
            | Self::NoProvider(_)
            | Self::WhichProvider
            | Self::NotSaid
            | Self::Interrupted => {}
        }
    }
}
