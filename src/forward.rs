//! Permit × request → the upstream's response.

use std::collections::HashMap;
use std::sync::Arc;

use http::{Request, Response};
use hyper::body::Incoming;
use ipnet::IpNet;

use crate::authorize::Permit;
use crate::connect;
use crate::peer::Peer;
use crate::target::Target;
use crate::telemetry::RequestId;

/// What `[headers]`, `[server]` and the session's cookie say about what goes upstream.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Identity headers: name and template, `{claim}` or `{nested.claim}` in text.
    pub identity: Vec<(http::HeaderName, String)>,
    /// Further headers that a client may never send.
    pub strip_incoming: Vec<http::HeaderName>,
    /// Whose `X-Forwarded-*` and `Forwarded` are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// The session cookie's name: it and every cookie that begins with it never goes upstream, nor is it taken from there.
    pub cookie: String,
}

/// What `[upstreams.NAME].authorization` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Authorization {
    /// The upstream gets no `Authorization` at all.
    None,
    /// It gets the verified access token as a bearer.
    AccessToken,
}

/// One `[upstreams.NAME]`.
#[derive(Clone, Debug)]
pub struct Upstream {
    /// The section's name.
    pub name: Arc<str>,
    /// Where it is: more than one take turns.
    pub targets: Vec<connect::Origin>,
    /// How to connect. `response_timeout` is `request_timeout`.
    pub connect: connect::Settings,
    /// What it gets of the access token.
    pub authorization: Authorization,
}

/// Why there is no response of the upstream's.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// 502: it can't be reached, or broke off, or answered nonsense.
    #[error("the upstream {upstream} can't be reached or broke off")]
    Unreachable {
        /// Its name.
        upstream: Arc<str>,
        /// Why.
        #[source]
        source: connect::Error,
    },
    /// 504: it took too long to connect or to answer.
    #[error("the upstream {upstream} took too long")]
    TooLong {
        /// Its name.
        upstream: Arc<str>,
    },
    /// 400: the client's own body was malformed or broke off.
    #[error("the request's body broke off")]
    RequestBody,
    /// 501: an upgrade to something else than WebSocket.
    #[error("only WebSocket can be upgraded to")]
    Upgrade,
}

/// Forwards requests. One per worker thread: its idle connections are its own.
#[derive(Debug)]
pub struct Forwarder {}

/// A response's body on its way to the client: the upstream's, or one of our own pages.
pub type Body = http_body_util::Either<connect::Body, http_body_util::Full<bytes::Bytes>>;

impl Forwarder {
    /// A forwarder without connections.
    pub fn new(_settings: Arc<Settings>, _upstreams: &HashMap<Arc<str>, Arc<Upstream>>) -> Self {
        todo!()
    }

    /// Sends the request upstream with the identity that the permit carries.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn send(
        &self,
        _permit: Permit,
        _target: &Target,
        _peer: &Peer,
        _id: &RequestId,
        _request: Request<Incoming>,
    ) -> Result<Response<Body>, Error> {
        todo!()
    }
}
