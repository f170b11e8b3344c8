//! Every no: status, challenge, page or problem, and the way to sign in. One exhaustive table.

use std::sync::Arc;

use http::request::Parts;
use http::{Response, StatusCode};

use crate::forward::Body;
use crate::pages::Pages;
use crate::telemetry::RequestId;
use crate::{authorize, credential, forward, route, session, target, verify};

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
    #[error(transparent)]
    Verify(#[from] verify::Error),
    #[error(transparent)]
    Authorize(#[from] authorize::Error),
    #[error(transparent)]
    Forward(#[from] forward::Error),
    #[error("an endpoint of the gateway failed")]
    Internal,
}

/// What of a request decides how a refusal looks: kept from the head before it is consumed.
#[derive(Clone, Debug)]
pub struct Asker {
    /// A page load: `Sec-Fetch-Mode: navigate`, or where absent an `Accept` that prefers `text/html`, and GET or HEAD.
    pub navigation: bool,
    /// Whether a page is understood at all.
    pub html: bool,
    /// Path and query, to come back to after signing in.
    pub return_to: String,
    /// The host as the client named it.
    pub host: String,
    /// The request's id, in the answer and in the log.
    pub request_id: String,
}

impl Asker {
    /// From a request's head.
    pub fn of(_head: &Parts, _id: &RequestId) -> Self {
        todo!()
    }
}

/// What the refusals need to know of the gateway.
#[derive(Clone, Debug)]
pub struct Refusals {
    /// For page loads.
    pub pages: Arc<Pages>,
    /// `server.external_url`, without a trailing slash.
    pub external_url: String,
    /// `server.prefix`.
    pub prefix: String,
    /// The session cookie's name: cleared where a session is over.
    pub cookie: String,
    /// Whether the external URL is https, for HSTS.
    pub secure: bool,
}

impl Refusal {
    /// The status. No `_` arm: a new cause must choose.
    pub fn status(&self) -> StatusCode {
        todo!()
    }
}

impl Refusals {
    /// The answer: a redirect to sign in, a page or a problem (RFC 9457) with its challenge (RFC 6750).
    pub fn answer(&self, _refusal: &Refusal, _asker: &Asker) -> Response<Body> {
        todo!()
    }
}
