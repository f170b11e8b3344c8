//! Which route a target belongs to: by host and path, the most specific first; order in the file never matters.

use std::sync::Arc;

use crate::target::Target;

/// Who may pass: there is no default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// `auth = "none"`.
    Public,
    /// `auth = "session"`: browsers are sent to sign in.
    Session,
    /// `auth = "bearer"`.
    Bearer,
    /// `auth = "any"`: a session or a bearer token; never a redirect.
    Any,
}

/// One alternative of `rules`: everything inside must hold; an empty list asks nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// One of these groups.
    pub groups: Vec<Box<str>>,
    /// All of these scopes.
    pub scopes: Vec<Box<str>>,
    /// One of these methods.
    pub methods: Vec<http::Method>,
}

/// One `[[routes]]`.
#[derive(Clone, Debug)]
pub struct Route {
    /// How it is called in logs and metrics: its host and path as written.
    pub name: Arc<str>,
    /// The host, in lower case; none matches any.
    pub host: Option<Box<str>>,
    /// The path pattern: `/exact`, `/{segment}`, `/{*rest}`.
    pub path: Box<str>,
    /// The name of the `[upstreams.NAME]`.
    pub upstream: Arc<str>,
    /// Who may pass.
    pub access: Access,
    /// Any one is enough; none at all means that being signed in is enough.
    pub rules: Vec<Rule>,
    /// Whether requests here push the idle deadline forward.
    pub slide: bool,
    /// Whether unsafe methods with a cookie need `X-CSRF: 1`.
    pub csrf_header: bool,
}

/// Where a request goes.
#[derive(Clone, Debug)]
pub enum Destination {
    /// One of the gateway's own endpoints: the path under the prefix, such as `/sign_out`.
    Own(Box<str>),
    /// An upstream, by this route.
    Upstream(Arc<Route>),
}

/// Why there is no route.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    /// 404: no route matches.
    #[error("no route")]
    NoRoute,
    /// 400: the path means different routes to different readers (`%2F`, `;`, `//`, `\`, case).
    #[error("the path is ambiguous")]
    Ambiguous,
}

/// All routes.
#[derive(Debug)]
pub struct Table {}

impl Table {
    /// A table of `routes`, with the gateway's own endpoints under `prefix` on every host.
    ///
    /// # Errors
    /// The index of the route that can't be had, and why: a malformed pattern, or one that another route has already.
    pub fn new(_prefix: &str, _routes: Vec<Route>) -> Result<Self, (usize, String)> {
        todo!()
    }

    /// Finds where a target goes. All sensible readings of the path must lead to the same place.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn find(&self, _target: &Target) -> Result<Destination, Error> {
        todo!()
    }
}
