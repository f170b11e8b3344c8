//! The gateway's own endpoints under `server.prefix`: sign in, callback, sign out, and what a page wants to know of its
//! session. They run on the background runtime, detached from the client: one that hangs up cancels nothing.

use std::sync::Arc;

use http::{Request, Response};
use hyper::body::Incoming;

use crate::clock::Clock;
use crate::forward::Body;
use crate::issuer::Issuer;
use crate::pages::Pages;
use crate::peer::Peer;
use crate::refusal::{Refusal, Site};
use crate::seal::Keyring;
use crate::session::Sessions;
use crate::target::Target;
use crate::verify::Verifier;

/// What the endpoints need to know of the configuration.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where sign-in may start and end.
    pub site: Arc<Site>,
    /// The session cookie's name.
    pub cookie: String,
    /// `logout.rp_initiated`.
    pub rp_initiated: bool,
    /// `logout.post_logout_redirects`: exact URLs that `rd` of sign-out may name, besides our own paths.
    pub post_logout_redirects: Vec<String>,
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
    /// For ID tokens.
    pub verifier: Arc<Verifier>,
    /// For login state.
    pub keys: Keyring,
    /// For pages.
    pub pages: Arc<Pages>,
    /// The time.
    pub clock: Clock,
}

impl Endpoints {
    /// Serves one request to `path` (under the prefix, such as `/start`).
    ///
    /// # Errors
    /// What the path's own refusals are for.
    pub async fn serve(
        &self,
        _path: &str,
        _target: &Target,
        _peer: &Peer,
        _request: Request<Incoming>,
    ) -> Result<Response<Body>, Refusal> {
        todo!()
    }
}
