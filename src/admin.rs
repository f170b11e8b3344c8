//! The administrator's listener: is it alive, is it ready, what has it counted; who is signed in, and the end of that.
//! Loopback or a Unix socket only, and never a part of what people reach.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, HeaderName};
use http::request::Parts;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use tokio::runtime::Handle;

use crate::clock::{Clock, Timestamp};
use crate::inbound::Inbound;
use crate::issuer::Issuer;
use crate::listener::Handler;
use crate::pages::Pages;
use crate::peer::Peer;
use crate::telemetry::audit::Audit;
use crate::telemetry::{Metrics, metrics};
use crate::token::Secret;

mod actions;
mod alarm;
mod api;
mod gate;
mod page;
mod problem;
mod ready;

use actions::Actions;
use alarm::Alarm;
use gate::{Gate, Sender};
use problem::Problem;

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

/// What the administrator's answers are made of.
#[derive(Debug)]
pub struct Tools {
    /// Whether requests can be served.
    pub readiness: Readiness,
    /// What was counted.
    pub metrics: Arc<Metrics>,
    /// The providers.
    pub idps: Vec<Arc<Issuer>>,
    /// The look of the page.
    pub pages: Arc<Pages>,
    /// Where what an administrator does is noted.
    pub audit: Audit,
    /// The time.
    pub clock: Clock,
    /// Where what an administrator does goes on, whoever hangs up.
    pub background: Handle,
}

/// Answers the administrator.
#[derive(Debug)]
pub struct Admin {
    gate: Gate,
    alarm: Alarm,
    readiness: Readiness,
    metrics: Arc<Metrics>,
    pages: Arc<Pages>,
    actions: Actions,
}

type Body = Full<Bytes>;

impl Admin {
    /// One that knows who may ask what.
    pub fn new(settings: &Settings, tools: Tools) -> Self {
        let actions = Actions {
            sessions: Arc::clone(&tools.readiness.sessions),
            idps: tools.idps.into(),
            audit: tools.audit,
            clock: tools.clock,
            background: tools.background,
        };
        Self {
            gate: Gate::new(settings),
            alarm: Alarm::default(),
            readiness: tools.readiness,
            metrics: tools.metrics,
            pages: tools.pages,
            actions,
        }
    }

    /// Probes need no token, and no name of this machine: they tell nothing. All else does.
    async fn answer(
        &self,
        peer: &Peer,
        head: &Parts,
        body: Inbound,
    ) -> Result<Response<Body>, Problem> {
        match head.uri.path() {
            "/livez" => {
                only_get(&head.method)?;
                Ok(say(StatusCode::OK, "ok\n"))
            }
            "/readyz" => {
                only_get(&head.method)?;
                Ok(self.ready(head.uri.query()).await)
            }
            "/metrics" => {
                only_get(&head.method)?;
                self.admit(peer, head)?;
                Ok(self.counted())
            }
            path => {
                if !self.gate.is_called_rightly(head) {
                    return Err(Problem::Misdirected);
                }
                self.admit(peer, head)?;
                let changes = !matches!(head.method, Method::GET | Method::HEAD);
                if changes && gate::sender(head) == Sender::Foreign {
                    return Err(Problem::CrossSite);
                }
                match path.strip_prefix(api::PREFIX) {
                    Some(rest) => {
                        let (method, query) = (&head.method, head.uri.query());
                        api::answer(&self.actions, &self.readiness, method, rest, query).await
                    }
                    None => self.page(head, body).await,
                }
            }
        }
    }

    fn admit(&self, peer: &Peer, head: &Parts) -> Result<(), Problem> {
        if self.gate.admits(&head.headers) {
            return Ok(());
        }
        // Showing nothing is how browsers ask what to show.
        if head.headers.contains_key(AUTHORIZATION) {
            self.alarm.raise(&self.actions.audit, peer, head);
        }
        Err(Problem::Unauthorized)
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
}

impl Handler for Admin {
    type Body = Body;

    async fn handle(&self, peer: &Peer, request: Request<Inbound>) -> Response<Body> {
        let (head, body) = request.into_parts();
        let answer = self.answer(peer, &head, body).await;
        let mut response = answer.unwrap_or_else(|problem| self.refuse(&head, &problem));
        // No other site may take it in.
        let policy = HeaderName::from_static("cross-origin-resource-policy");
        let same_origin = HeaderValue::from_static("same-origin");
        response.headers_mut().insert(policy, same_origin);
        response
    }
}

fn only_get(method: &Method) -> Result<(), Problem> {
    if matches!(*method, Method::GET | Method::HEAD) {
        return Ok(());
    }
    Err(Problem::Method { allow: "GET, HEAD" })
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

/// RFC 3339, in whole seconds.
fn moment(at: Timestamp) -> String {
    let second = i64::try_from(at.as_secs()).unwrap_or(i64::MAX);
    let time = jiff::Timestamp::from_second(second).unwrap_or(jiff::Timestamp::MAX);
    format!("{time:.0}")
}
