//! The page: a request's whole way, top to bottom.

use std::sync::Arc;

use http::{HeaderMap, Request, Response};

use crate::authorize::{Identity, authorize};
use crate::credential::{Credential, cookie};
use crate::endpoint::Endpoints;
use crate::forward::{Body, Forwarder};
use crate::inbound::Inbound;
use crate::peer::Peer;
use crate::refusal::{Asker, Refusal, Refusals};
use crate::route::{self, Destination, Route, Table};
use crate::session::{Activity, Sessions};
use crate::target::Target;
use crate::telemetry::{Access, AccessLog, Observed, RequestId};
use crate::token::SessionCookie;
use crate::verify::Verifier;

/// What all workers share.
#[derive(Debug)]
pub struct Shared {
    /// Where requests go.
    pub routes: Table,
    /// The session cookie's name.
    pub cookie: String,
    /// Cookie to access token.
    pub sessions: Arc<Sessions>,
    /// Access token to identity.
    pub verifier: Arc<Verifier>,
    /// Our own pages.
    pub endpoints: Arc<Endpoints>,
    /// How refusals look.
    pub refusals: Refusals,
    /// The line that each request leaves.
    pub access_log: AccessLog,
    /// Where endpoints run.
    pub background: tokio::runtime::Handle,
}

/// One worker's gateway.
#[derive(Debug)]
pub struct Gateway {
    shared: Arc<Shared>,
    forwarder: Forwarder,
}

impl Gateway {
    /// One worker's gateway over what all share.
    pub fn new(shared: Arc<Shared>, forwarder: Forwarder) -> Self {
        Self { shared, forwarder }
    }

    /// Answers a request: admitted and forwarded, or refused.
    pub async fn handle(&self, peer: &Peer, request: Request<Inbound>) -> Response<Observed<Body>> {
        let client = self.forwarder.client_behind(peer, request.headers());
        let id = match client {
            Some(_) => RequestId::of(request.headers()),
            None => RequestId::of_stranger(request.headers()),
        };
        let (head, body) = request.into_parts();
        let mut access = Access::begin(&self.shared.access_log, &head, peer, &id);
        if let (Some(access), Some(client)) = (&mut access, client) {
            access.client(client);
        }
        let asker = Asker::of(&head, &id);
        let request = Request::from_parts(head, body);
        let mut shown = None;
        let mut response = match self
            .admit(
                peer,
                request,
                &id,
                &asker,
                access.as_deref_mut(),
                &mut shown,
            )
            .await
        {
            Ok(response) => response,
            Err(refusal) => {
                if let Some(access) = &mut access {
                    access.refused(refusal.to_string());
                    if let Some(reason) = refusal.denial() {
                        access.denied(reason, refusal.status());
                    }
                }
                self.shared.refusals.answer(&refusal, &asker)
            }
        };
        if let Some(newer) = shown.and_then(|shown| self.shared.sessions.newer_cookie(&shown)) {
            cookie::renew(response.headers_mut(), &self.shared.cookie, &newer.encode());
        }
        Observed::watch(response, access)
    }

    /// The way of a request that is let through. Each stage is handed what the one before it made, so none can be left out.
    /// `shown` is the session's cookie, which the response may have to replace.
    async fn admit(
        &self,
        peer: &Peer,
        request: Request<Inbound>,
        id: &RequestId,
        asker: &Asker,
        mut access: Option<&mut Access>,
        shown: &mut Option<SessionCookie>,
    ) -> Result<Response<Body>, Refusal> {
        let (head, body) = request.into_parts();
        let target = Target::read(&head, peer)?;
        let route = match self.shared.routes.find(&target)? {
            Destination::Upstream(route) => route,
            Destination::Own(path) => {
                *shown = cookie::session(&head.headers, &self.shared.cookie);
                return self
                    .own(path, target, peer, Request::from_parts(head, body))
                    .await;
            }
        };
        if let Some(access) = &mut access {
            access.route(&route.name);
        }
        let identity = self.identify(&route, &head.headers, asker, shown).await?;
        if let (Some(access), Some(identity)) = (&mut access, &identity) {
            access.subject(&identity.verified.subject);
        }
        let permit = authorize(&route, &head.method, &head.headers, identity)?;
        let request = Request::from_parts(head, body);
        Ok(self
            .forwarder
            .send(permit, &target, peer, id, request)
            .await?)
    }

    /// Both kinds of credential end in an access token, and every access token is verified, on every request.
    ///
    /// A public route asks for none: what is shown there is neither believed nor a reason to refuse.
    async fn identify(
        &self,
        route: &Route,
        headers: &HeaderMap,
        asker: &Asker,
        shown: &mut Option<SessionCookie>,
    ) -> Result<Option<Identity>, Refusal> {
        if route.access == route::Access::Public {
            return Ok(None);
        }
        let (token, session) = match Credential::read(headers, &self.shared.cookie)? {
            Credential::Nothing => return Ok(None),
            Credential::Bearer(token) => (token, None),
            Credential::Session(cookie) => {
                let activity = activity(route, asker);
                let cookie = shown.insert(cookie);
                let live = self.shared.sessions.open(cookie, activity).await?;
                (live.access_token.clone(), Some(live))
            }
        };
        // A session whose provider is down may be served for a while with a token that has ended; a bearer never.
        let held = session.as_ref().map(|live| live.held()).unwrap_or_default();
        let verified = self.shared.verifier.verify_held(&token, held).await;
        let verified = verified.map_err(|error| match session {
            Some(_) => Refusal::SessionToken(error),
            None => Refusal::Verify(error),
        })?;
        Ok(Some(Identity { verified, session }))
    }

    /// The gateway's own endpoints run detached: a client that hangs up in the middle of a login or a sign-out cancels
    /// nothing of it.
    async fn own(
        &self,
        path: Box<str>,
        target: Target,
        peer: &Peer,
        request: Request<Inbound>,
    ) -> Result<Response<Body>, Refusal> {
        let endpoints = Arc::clone(&self.shared.endpoints);
        let mut peer = peer.clone();
        // What a session keeps of where it began is the person's address, not the proxy's.
        if let Some(client) = self.forwarder.client_behind(&peer, request.headers()) {
            peer.addr.set_ip(client);
        }
        self.shared
            .background
            .spawn(async move { endpoints.serve(&path, &target, &peer, request).await })
            .await
            .map_err(|_| Refusal::Internal)?
    }
}

/// A page load that may be sent to sign in unseen is told apart: its session's doubts are cleared there.
fn activity(route: &Route, asker: &Asker) -> Activity {
    if route.slide && route.access == route::Access::Session && asker.navigates() {
        return Activity::Navigates;
    }
    Activity::of(route.slide)
}
