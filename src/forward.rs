//! Permit × request → the upstream's response.

use std::collections::HashMap;
use std::error::Error as _;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::Either;
use http::header::{AUTHORIZATION, HeaderName, HeaderValue};
use http::uri::PathAndQuery;
use http::{HeaderMap, Request, Response, StatusCode, Uri, Version};
use http_body_util::Full;
use ipnet::IpNet;

use crate::authorize::{Identity, Permit};
use crate::connect;
use crate::ending::Cause;
use crate::inbound::{self, Inbound};
use crate::peer::Peer;
use crate::target::Target;
use crate::telemetry::metrics::StreamKind;
use crate::telemetry::{Metrics, RequestId};
use crate::verify::Rendered;

mod bound;
mod chain;
mod cookies;
mod frames;
mod guard;
mod headers;
mod identity;
mod lane;
#[cfg(test)]
mod tests;
mod tunnel;
mod upgrade;
mod upload;

pub use bound::Bound;
use bound::{Form, Leash, Tie};
use cookies::OwnCookies;
use guard::Guard;
pub use identity::Template;
use lane::Lane;
pub use upload::Upload;

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
    /// How long what is open on a route with `on_session_end = "drain"` may go on when its session ends.
    pub drain: Duration,
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
    /// 502: it can't be reached, or broke off.
    #[error("the upstream {upstream} can't be reached or broke off")]
    Unreachable {
        /// Its name.
        upstream: Arc<str>,
        /// Why.
        #[source]
        source: connect::Error,
    },
    /// 502: it answered something that must not be passed on.
    #[error("the upstream {upstream} answered nonsense: {what}")]
    Nonsense {
        /// Its name.
        upstream: Arc<str>,
        /// What is wrong with the answer.
        what: &'static str,
        /// What it was found by, where that was not here.
        #[source]
        source: Option<connect::Error>,
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
    /// 408: the client's body came too slowly.
    #[error("the request's body came too slowly")]
    RequestTooSlow,
    /// 501: an upgrade to something else than WebSocket.
    #[error("only WebSocket can be upgraded to")]
    Upgrade,
    /// 401: what the request was let through by has ended since.
    #[error("it has ended meanwhile: {0:?}")]
    Ended(Cause),
}

/// A response's body on its way to the client: the upstream's, or one of our own pages.
pub type Body = http_body_util::Either<Bound, Full<Bytes>>;

/// A body of our own.
pub fn whole(bytes: impl Into<Bytes>) -> Body {
    http_body_util::Either::Right(Full::new(bytes.into()))
}

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// Forwards requests. One per worker thread: its idle connections are its own.
#[derive(Debug)]
pub struct Forwarder {
    lanes: HashMap<Arc<str>, Lane>,
    settings: Arc<Settings>,
    guard: Arc<Guard>,
    own_cookies: OwnCookies,
    templates: Vec<(HeaderName, Template)>,
    metrics: Arc<Metrics>,
}

impl Forwarder {
    /// A forwarder without connections. An identity header whose template can't be read is never set; nobody else can set
    /// it either.
    pub fn new(
        settings: Arc<Settings>,
        upstreams: &HashMap<Arc<str>, Arc<Upstream>>,
        metrics: &Arc<Metrics>,
    ) -> Self {
        let names = settings.identity.iter().map(|(name, _)| name);
        let guard = Guard::new(names.chain(&settings.strip_incoming));
        let templates = settings
            .identity
            .iter()
            .filter_map(|(name, text)| Some((name.clone(), Template::parse(text).ok()?)));
        Self {
            lanes: upstreams
                .iter()
                .map(|(name, upstream)| (Arc::clone(name), Lane::new(upstream)))
                .collect(),
            guard: Arc::new(guard),
            own_cookies: OwnCookies::new(&settings.cookie),
            templates: templates.collect(),
            settings,
            metrics: Arc::clone(metrics),
        }
    }

    /// The client behind a peer that is one of `trusted_proxies`; `None` where it is not.
    pub fn client_behind(&self, peer: &Peer, headers: &HeaderMap) -> Option<IpAddr> {
        chain::client(headers, &self.settings.trusted_proxies, peer.addr.ip())
    }

    /// Sends the request upstream with the identity that the permit carries.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn send<'a>(
        &'a self,
        permit: Permit,
        target: &'a Target,
        peer: &'a Peer,
        id: &RequestId,
        request: Request<Inbound>,
    ) -> impl Future<Output = Result<Response<Body>, Error>> + Send + use<'a> {
        // No async fn: every argument would be kept in the future of every request, and the request twice.
        let prepared = self.prepare(&permit, target, peer, id, request);
        let leash = Leash::of(permit, self.settings.drain);
        match prepared {
            Ok((lane, tunnel, mut request)) => {
                if let Some(leash) = &leash {
                    request.body_mut().bind(leash);
                }
                Either::Left(lane.send(request).map(move |response| {
                    let response = response.map_err(|error| self::error(lane.name(), error));
                    let outcome = response.and_then(|response| match over(leash.as_ref()) {
                        Some(cause) => Err(Error::Ended(cause)),
                        None => self.pass_on(response, lane, tunnel, leash.as_ref(), target, peer),
                    });
                    outcome.inspect_err(|error| self.count(error))
                }))
            }
            Err(error) => Either::Right(std::future::ready(Err(error))),
        }
    }

    fn count(&self, error: &Error) {
        if let Error::Ended(cause) = error {
            bound::count(&self.metrics, StreamKind::Request, *cause);
        }
    }

    fn prepare(
        &self,
        permit: &Permit,
        target: &Target,
        peer: &Peer,
        id: &RequestId,
        mut request: Request<Inbound>,
    ) -> Result<(&Lane, Option<upgrade::Asked>, Request<Upload>), Error> {
        let lane = self.lane(permit)?;
        let tunnel = upgrade::asked(&mut request)?;
        let mut request = self
            .outgoing(request, permit, target, peer, lane.authorization())
            .ok_or_else(|| unreachable(lane.name(), "the request can't be written"))?;
        request.headers_mut().insert(TRACEPARENT, id.traceparent());
        if let Ok(id) = HeaderValue::from_str(id.as_str()) {
            request.headers_mut().insert(REQUEST_ID, id);
        }
        if tunnel.is_some() {
            upgrade::announce(request.headers_mut());
        }
        Ok((lane, tunnel, request))
    }

    /// The response as it goes to the client.
    fn pass_on(
        &self,
        mut response: Response<connect::Body<Upload>>,
        lane: &Lane,
        tunnel: Option<upgrade::Asked>,
        leash: Option<&Leash>,
        target: &Target,
        peer: &Peer,
    ) -> Result<Response<Body>, Error> {
        // What was asked to be a tunnel has a connection that another task drives.
        let whole = tunnel.is_none() && response.body().came_whole();
        let tie = |form| leash.and_then(|leash| Tie::new(leash, form, &self.metrics));
        let mut bound = None;
        let switched = response.status() == StatusCode::SWITCHING_PROTOCOLS;
        let agreed = switched && upgrade::agreed(response.headers());
        headers::strip_response(response.headers_mut());
        match tunnel {
            Some(tunnel) if agreed => {
                upgrade::announce(response.headers_mut());
                tunnel.join(&mut response, tie(Form::WebSocket));
            }
            _ if switched => {
                return Err(Error::Nonsense {
                    upstream: Arc::clone(lane.name()),
                    what: "it switched protocols unasked",
                    source: None,
                });
            }
            _ if whole => {}
            _ => bound = tie(Form::of(response.headers())),
        }
        self.own_cookies.refuse(response.headers_mut());
        if peer.tls {
            headers::keep_on_https(response.headers_mut(), target);
        }
        Ok(response.map(|body| http_body_util::Either::Left(Bound::new(body, bound))))
    }

    fn lane(&self, permit: &Permit) -> Result<&Lane, Error> {
        let name = &permit.route().upstream;
        self.lanes
            .get(name)
            .ok_or_else(|| unreachable(name, "no such upstream"))
    }

    /// The request as it goes upstream: what is the client's to say, and then what is ours.
    fn outgoing(
        &self,
        request: Request<Inbound>,
        permit: &Permit,
        target: &Target,
        peer: &Peer,
        authorization: Authorization,
    ) -> Option<Request<Upload>> {
        let (mut head, body) = request.into_parts();
        let source = chain::source(&self.settings.trusted_proxies, peer.addr.ip());
        headers::strip_request(&mut head.headers, &self.guard, source);
        headers::frame_request(&mut head.headers, &head.method, &body);
        self.own_cookies.withhold(&mut head.headers);
        let host = headers::set_host(&mut head.headers, target)?;
        chain::set(
            &mut head.headers,
            peer,
            target,
            &host,
            &self.settings.trusted_proxies,
        );
        if let Some(identity) = permit.identity() {
            self.identify(&mut head.headers, identity, authorization);
        }
        if !is_same(&head.uri, target) {
            head.uri = Uri::from(path_and_query(target)?);
        }
        head.version = Version::HTTP_11;
        head.extensions.clear();
        let body = Upload::new(body, Arc::clone(&self.guard));
        Some(Request::from_parts(head, body))
    }

    /// Sets the identity headers, rendered once per token, and `Authorization`. A bearer's own stays where the upstream is to
    /// have the access token: it is the token that was verified.
    fn identify(&self, headers: &mut HeaderMap, identity: &Identity, authorization: Authorization) {
        if authorization == Authorization::None || identity.session.is_some() {
            headers.remove(AUTHORIZATION);
        }
        let rendered = match &identity.session {
            Some(live) => live.rendered.get_or_init(|| self.render(identity)),
            None => identity
                .verified
                .rendered
                .get_or_init(|| self.render(identity)),
        };
        for (name, value) in rendered {
            if *name != AUTHORIZATION || authorization == Authorization::AccessToken {
                headers.insert(name.clone(), value.clone());
            }
        }
    }

    fn render(&self, identity: &Identity) -> Rendered {
        let claims = identity::Claims {
            access: &identity.verified.claims,
            id: identity.session.as_ref().map(|live| &*live.claims),
            groups: &identity.verified.groups,
        };
        let mut rendered = identity::render(&self.templates, claims);
        if let Some(live) = &identity.session
            && let Ok(mut bearer) =
                HeaderValue::try_from(format!("Bearer {}", live.access_token.expose()))
        {
            bearer.set_sensitive(true);
            rendered.push((AUTHORIZATION, bearer));
        }
        rendered.into()
    }
}

fn over(leash: Option<&Leash>) -> Option<Cause> {
    leash.and_then(Leash::over)
}

fn is_same(uri: &Uri, target: &Target) -> bool {
    uri.authority().is_none()
        && uri.path() == &*target.path
        && uri.query() == target.query.as_deref()
}

fn path_and_query(target: &Target) -> Option<PathAndQuery> {
    let text = match &target.query {
        Some(query) => format!("{}?{query}", target.path),
        None => target.path.to_string(),
    };
    PathAndQuery::try_from(text).ok()
}

fn unreachable(upstream: &Arc<str>, why: &'static str) -> Error {
    let source = std::io::Error::other(why);
    Error::Unreachable {
        upstream: Arc::clone(upstream),
        source: connect::Error::Connect {
            origin: upstream.to_string(),
            source,
        },
    }
}

fn error(upstream: &Arc<str>, source: connect::Error) -> Error {
    let upstream = Arc::clone(upstream);
    match source {
        connect::Error::ConnectTimeout { .. } | connect::Error::ResponseTimeout => {
            Error::TooLong { upstream }
        }
        connect::Error::Broken(ref cause) if let Some(cause) = of_the_client(cause) => {
            match cause {
                upload::Error::Client(inbound::Error::Broken(_)) => Error::RequestBody,
                upload::Error::Client(inbound::Error::TooSlow) => Error::RequestTooSlow,
                upload::Error::Ended(cause) => Error::Ended(*cause),
            }
        }
        connect::Error::Broken(ref cause) if cause.is_parse() => Error::Nonsense {
            upstream,
            what: "it is no HTTP",
            source: Some(source),
        },
        connect::Error::Connect { .. } | connect::Error::NotSent(_) | connect::Error::Broken(_) => {
            Error::Unreachable { upstream, source }
        }
    }
}

/// What was wrong with the client's body, if the connection broke because of that: hyper then wraps the body's own error.
fn of_the_client(error: &hyper::Error) -> Option<&upload::Error> {
    let cause = error.is_user().then(|| error.source()).flatten()?;
    cause.downcast_ref()
}
