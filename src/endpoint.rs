//! The gateway's own endpoints under `server.prefix`: sign in, callback, sign out, what a page wants to know of its
//! session, and the revocation of tokens for API clients. They run on the background runtime, detached from the client: one that hangs up cancels nothing.

use std::sync::Arc;

use http::header::STRICT_TRANSPORT_SECURITY;
use http::{HeaderValue, Method, Request, Response};

use crate::clock::Clock;
use crate::forward::{Body, whole};
use crate::inbound::Inbound;
use crate::issuer::Issuer;
use crate::pages::{Pages, guard};
use crate::peer::Peer;
use crate::refusal::{Refusal, Site};
use crate::seal::Keyring;
use crate::session::Sessions;
use crate::target::Target;
use crate::telemetry::{Audit, Metrics};
use crate::verify::Verifier;

mod answer;
mod api_client;
mod ask;
mod backchannel;
mod callback;
mod frontchannel;
mod login_state;
mod meant;
mod note;
mod outcome;
mod parameters;
mod refresh;
mod return_to;
mod revoke;
mod session;
mod sessions;
mod sign_in;
mod sign_out;
mod signed_out;
mod spent;
mod start;
mod userinfo;

use ask::Ask;
pub use backchannel::UnderWay;
pub use spent::Spent;

/// Where providers send logout tokens.
const BACK_CHANNEL: &str = "/backchannel_logout";

/// What the endpoints need to know of the configuration.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where sign-in may start and end.
    pub site: Arc<Site>,
    /// The session cookie's name. The names of the short-lived cookies of a sign-in and a sign-out begin with it.
    pub cookie: String,
    /// `logout.rp_initiated`.
    pub rp_initiated: bool,
    /// `logout.post_logout_redirects`: exact URLs that `rd` of sign-out may name, besides our own paths.
    pub post_logout_redirects: Vec<String>,
    /// `logout.backchannel`.
    pub backchannel_logout: bool,
    /// `logout.frontchannel`.
    pub frontchannel_logout: bool,
}

/// The endpoints and what they work with.
#[derive(Debug)]
pub struct Endpoints {
    /// See [`Settings`].
    pub settings: Settings,
    /// The providers, in the order of the file.
    pub idps: Vec<Arc<Issuer>>,
    /// All sessions.
    pub sessions: Arc<Sessions>,
    /// For the tokens that a sign-in brings.
    pub verifier: Arc<Verifier>,
    /// For login state.
    pub keys: Keyring,
    /// For pages.
    pub pages: Arc<Pages>,
    /// The time.
    pub clock: Clock,
    /// Sign-ins whose code was sent to its provider.
    pub spent: Spent,
    /// Logout tokens that are being acted on.
    pub logouts: UnderWay,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Where decisions are noted.
    pub audit: Audit,
}

impl Endpoints {
    /// Serves one request to `path` (under the prefix, such as `/start`).
    ///
    /// # Errors
    /// What the path's own refusals are for.
    pub async fn serve(
        &self,
        path: &str,
        target: &Target,
        peer: &Peer,
        request: Request<Inbound>,
    ) -> Result<Response<Body>, Refusal> {
        let allow = self.allowed(path).ok_or(Refusal::NoEndpoint)?;
        if !allow.split(", ").any(|method| request.method() == method) {
            return Err(Refusal::Method { allow });
        }
        let head_only = request.method() == Method::HEAD;
        let mut response = if path == "/revoke" {
            // For programs: it takes no cookie, and says its errors in another form.
            self.revoke(peer, request).await
        } else {
            match Ask::read(&self.settings.site, target, peer, request).await {
                Ok(ask) => self.dispatch(path, &ask).await?,
                Err(refusal) if path == BACK_CHANNEL => backchannel::unreadable(refusal)?,
                Err(refusal) => return Err(refusal),
            }
        };
        let headers = response.headers_mut();
        guard(headers);
        if let Some(value) = self.settings.site.strict_transport() {
            headers.insert(STRICT_TRANSPORT_SECURITY, HeaderValue::from_static(value));
        }
        if head_only {
            *response.body_mut() = String::new();
        }
        Ok(response.map(whole))
    }

    async fn dispatch(&self, path: &str, ask: &Ask) -> Result<Response<String>, Refusal> {
        let posts = ask.method == Method::POST;
        match (path, posts) {
            ("/sign_in", _) => self.sign_in(ask),
            ("/start", _) => self.start(ask).await,
            ("/callback", false) => self.callback(ask).await,
            ("/callback", true) => self.callback_by_form(ask),
            ("/sign_out", false) => self.ask_to_sign_out(ask).await,
            ("/sign_out", true) => self.sign_out(ask).await,
            ("/signed_out", _) => self.signed_out(ask).await,
            ("/session", _) => self.session(ask).await,
            ("/userinfo", _) => self.userinfo(ask).await,
            ("/refresh", _) => self.refresh(ask).await,
            (BACK_CHANNEL, _) => self.backchannel_logout(ask).await,
            ("/frontchannel_logout", _) => self.frontchannel_logout(ask).await,
            ("/sessions", _) => self.list_sessions(ask).await,
            ("/sessions/end_others", _) => self.end_other_sessions(ask).await,
            _ => match sessions::to_end(path) {
                Some(id) => self.end_session(ask, id).await,
                None => Err(Refusal::NoEndpoint),
            },
        }
    }

    /// The provider that `[idp.NAME]` calls so.
    fn idp(&self, name: &str) -> Option<&Arc<Issuer>> {
        self.idps.iter().find(|idp| &*idp.settings().name == name)
    }

    /// The methods of each endpoint. A sign-in moves on only by GET: what merely looks (HEAD) must not spend a code.
    fn allowed(&self, path: &str) -> Option<&'static str> {
        match path {
            "/sign_in" | "/session" | "/sessions" | "/userinfo" => Some("GET, HEAD"),
            "/start" | "/signed_out" => Some("GET"),
            "/callback" => Some("GET, POST"),
            "/sign_out" => Some("GET, HEAD, POST"),
            "/refresh" | "/revoke" | "/sessions/end_others" => Some("POST"),
            BACK_CHANNEL => self.settings.backchannel_logout.then_some("POST"),
            "/frontchannel_logout" => self.settings.frontchannel_logout.then_some("GET"),
            _ => sessions::to_end(path).map(|_| "POST"),
        }
    }
}
