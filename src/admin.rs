//! The administrator's listener: is it alive, is it ready, what has it counted. Loopback or a Unix socket only, and never a
//! part of what people reach.

use std::path::PathBuf;
use std::sync::Arc;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use http::header::{ALLOW, AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;

use crate::inbound::Inbound;
use crate::listener::Handler;
use crate::peer::Peer;
use crate::telemetry::{Metrics, metrics};
use crate::token::Secret;

mod ready;

pub use ready::{Readiness, Report, Workers};

/// What `[admin]` says.
#[derive(Clone, Debug)]
pub enum Settings {
    /// On a loopback address, which every process of this machine can reach.
    Loopback {
        /// Where.
        address: std::net::SocketAddr,
        /// What proves an administrator.
        token: Secret,
    },
    /// On a Unix socket, which only its owner can open.
    Socket {
        /// Where.
        path: PathBuf,
        /// What else proves an administrator.
        token: Option<Secret>,
    },
}

/// Answers the administrator.
#[derive(Debug)]
pub struct Admin {
    token: Option<Digest>,
    readiness: Readiness,
    metrics: Arc<Metrics>,
}

/// A secret's digest: comparing these tells nothing of the secret, not even its length.
#[derive(Debug)]
struct Digest([u8; 32]);

impl Digest {
    fn of(secret: &[u8]) -> Self {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest(&SHA256, secret).as_ref());
        Self(bytes)
    }
}

type Body = Full<Bytes>;

impl Admin {
    /// One that knows who may ask what.
    pub fn new(settings: &Settings, readiness: Readiness, metrics: Arc<Metrics>) -> Self {
        let token = match settings {
            Settings::Loopback { token, .. } => Some(token),
            Settings::Socket { token, .. } => token.as_ref(),
        };
        Self {
            token: token.map(|token| Digest::of(token.expose().as_bytes())),
            readiness,
            metrics,
        }
    }

    async fn answer(&self, request: &Request<Inbound>) -> Response<Body> {
        let path = request.uri().path();
        if !matches!(path, "/livez" | "/readyz" | "/metrics") {
            return say(StatusCode::NOT_FOUND, "not found\n");
        }
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let mut response = say(StatusCode::METHOD_NOT_ALLOWED, "GET or HEAD only\n");
            let allowed = HeaderValue::from_static("GET, HEAD");
            response.headers_mut().insert(ALLOW, allowed);
            return response;
        }
        match path {
            "/livez" => say(StatusCode::OK, "ok\n"),
            "/readyz" => self.ready(request.uri().query()).await,
            _ if self.admits(request.headers()) => self.counted(),
            _ => unauthorized(),
        }
    }

    async fn ready(&self, query: Option<&str>) -> Response<Body> {
        let report = self.readiness.report().await;
        let status = if report.is_ready() {
            StatusCode::OK
        } else {
            StatusCode::SERVICE_UNAVAILABLE
        };
        let wordy = query.is_some_and(|query| {
            let mut keys = query.split('&').map(|pair| pair.split('=').next());
            keys.any(|key| key == Some("verbose"))
        });
        if wordy {
            return say(status, report.to_string());
        }
        say(status, report.in_a_word())
    }

    fn counted(&self) -> Response<Body> {
        let mut response = say(StatusCode::OK, self.metrics.text());
        let kind = HeaderValue::from_static(metrics::CONTENT_TYPE);
        response.headers_mut().insert(CONTENT_TYPE, kind);
        response
    }

    /// Whether the request shows the token (RFC 6750 section 2.1), where one is asked for.
    fn admits(&self, headers: &HeaderMap) -> bool {
        let Some(Digest(wanted)) = &self.token else {
            return true;
        };
        let mut shown = headers.get_all(AUTHORIZATION).iter();
        let (Some(shown), None) = (shown.next(), shown.next()) else {
            return false;
        };
        let Some((scheme, token)) = shown.as_bytes().split_at_checked(7) else {
            return false;
        };
        let Digest(shown) = Digest::of(token.trim_ascii());
        scheme.eq_ignore_ascii_case(b"bearer ") && verify_slices_are_equal(wanted, &shown).is_ok()
    }
}

impl Handler for Admin {
    type Body = Body;

    async fn handle(&self, _: &Peer, request: Request<Inbound>) -> Response<Body> {
        self.answer(&request).await
    }
}

fn unauthorized() -> Response<Body> {
    let mut response = say(StatusCode::UNAUTHORIZED, "the admin token is needed\n");
    let challenge = HeaderValue::from_static("Bearer realm=\"tidegate admin\"");
    response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
    response
}

fn say(status: StatusCode, text: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(Full::new(text.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    headers.insert(CONTENT_TYPE, plain);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
