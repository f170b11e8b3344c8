//! The page: a request's whole way, top to bottom.

use std::sync::Arc;

use http::{Request, Response};
use hyper::body::Incoming;

use crate::authorize::{Identity, authorize};
use crate::credential::Credential;
use crate::endpoint::Endpoints;
use crate::forward::{Body, Forwarder};
use crate::peer::Peer;
use crate::refusal::{self, Asker, Refusal};
use crate::route::{Destination, Route, Table};
use crate::session::{Activity, Sessions};
use crate::target::Target;
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
    pub refusals: refusal::Settings,
    /// Where endpoints run.
    pub background: tokio::runtime::Handle,
}

/// One worker's gateway.
#[derive(Debug)]
pub struct Gateway {
    shared: Arc<Shared>,
    forwarder: Forwarder,
}
