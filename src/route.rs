//! Which route a target belongs to: by host and path, the most specific first; order in the file never matters.

use std::collections::HashMap;
use std::sync::Arc;

use crate::target::Target;

mod pattern;
mod readings;
mod tree;

use pattern::Pattern;
use tree::Tree;

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
    /// What becomes of what is still open when the session, or the bearer token, ends.
    pub on_session_end: OnSessionEnd,
}

/// What becomes of a WebSocket, an event stream or a long answer when what it was let through for ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnSessionEnd {
    /// It ends at once.
    #[default]
    Close,
    /// It may go on for `server.shutdown_grace`.
    Drain,
    /// It goes on.
    Ignore,
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
pub struct Table {
    /// Without a trailing slash.
    prefix: Box<str>,
    routes: Vec<Arc<Route>>,
    by_host: HashMap<Box<str>, Host>,
    any_host: Host,
}

/// One host's patterns, as written and as a server reads them that ignores case.
#[derive(Debug, Default)]
struct Host {
    exact: Tree,
    folded: Tree,
    /// Whether a pattern has an upper-case letter.
    cased: bool,
}

/// What a path means: the index of a route, if it is not ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meaning {
    Own,
    Route(usize),
    Nothing,
}

/// Reserved on every host (RFC 9728 section 3).
const RESOURCE_METADATA: &str = "/.well-known/oauth-protected-resource";

impl Table {
    /// A table of `routes`, with the gateway's own endpoints under `prefix` on every host.
    ///
    /// A host's own routes come before those of any host. Within them the first segment that differs decides: a literal before
    /// `{segment}` before `{*rest}`. `/a/{*rest}` is also `/a` and `/a/`, and a trailing slash makes no difference unless both
    /// spellings have a route.
    ///
    /// # Errors
    /// The index of the route that can't be had, and why: a malformed pattern, or one that another route has already.
    pub fn new(prefix: &str, routes: Vec<Route>) -> Result<Self, (usize, String)> {
        let mut table = Self {
            prefix: prefix.trim_end_matches('/').into(),
            routes: Vec::with_capacity(routes.len()),
            by_host: HashMap::new(),
            any_host: Host::default(),
        };
        for (index, route) in routes.into_iter().enumerate() {
            table.add(&route).map_err(|why| (index, why))?;
            table.routes.push(Arc::new(route));
        }
        Ok(table)
    }

    fn add(&mut self, route: &Route) -> Result<(), String> {
        let pattern = Pattern::parse(&route.path)?;
        if self.is_own(pattern.literal_start().as_bytes(), Case::Folded) {
            return Err(format!(
                "{} belongs to the gateway itself",
                pattern.literal_start()
            ));
        }
        let host = match &route.host {
            Some(name) => self
                .by_host
                .entry(name.to_ascii_lowercase().into())
                .or_default(),
            None => &mut self.any_host,
        };
        host.add(&pattern, self.routes.len())
            .map_err(|other| self.clash(other))
    }

    fn clash(&self, other: usize) -> String {
        let name = self.routes.get(other).map_or("", |route| &route.name);
        format!("{name} has the same host and path, or differs only in upper and lower case")
    }

    /// Finds where a target goes. All sensible readings of the path must lead to the same place.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn find(&self, target: &Target) -> Result<Destination, Error> {
        let host = self.by_host.get(&target.host);
        let path = target.path.as_bytes();
        let meaning = self.meaning(host, path, Case::Exact);
        let cased = self.any_host.cased || host.is_some_and(|host| host.cased);
        let folds = |reading: &[u8]| {
            let matters = cased || reading.iter().any(u8::is_ascii_uppercase);
            !matters || self.meaning(host, &fold(reading), Case::Folded) == meaning
        };
        let unambiguous = if readings::is_plain(path) {
            folds(path)
        } else {
            readings::of(path).iter().all(|reading| {
                self.meaning(host, reading, Case::Exact) == meaning && folds(reading)
            })
        };
        if !unambiguous {
            return Err(Error::Ambiguous);
        }
        match meaning {
            Meaning::Own => Ok(Destination::Own(self.own_path(&target.path))),
            Meaning::Route(index) => self
                .routes
                .get(index)
                .map(|route| Destination::Upstream(Arc::clone(route)))
                .ok_or(Error::NoRoute),
            Meaning::Nothing => Err(Error::NoRoute),
        }
    }

    fn meaning(&self, host: Option<&Host>, path: &[u8], case: Case) -> Meaning {
        if self.is_own(path, case) {
            return Meaning::Own;
        }
        host.and_then(|host| host.find(path, case))
            .or_else(|| self.any_host.find(path, case))
            .map_or(Meaning::Nothing, Meaning::Route)
    }

    fn is_own(&self, path: &[u8], case: Case) -> bool {
        is_under(&self.prefix, path, case) || is_under(RESOURCE_METADATA, path, case)
    }

    /// The path under the prefix; the prefix itself is `/`; what is reserved elsewhere keeps its whole path.
    fn own_path(&self, path: &str) -> Box<str> {
        match path.strip_prefix(&*self.prefix) {
            Some("") => "/".into(),
            Some(under) if under.starts_with('/') => under.into(),
            Some(_) | None => path.into(),
        }
    }
}

/// How letters are compared. A folded path is in lower case already.
#[derive(Clone, Copy, Debug)]
enum Case {
    Exact,
    Folded,
}

fn is_under(prefix: &str, path: &[u8], case: Case) -> bool {
    let Some((start, after)) = path.split_at_checked(prefix.len()) else {
        return false;
    };
    let same = match case {
        Case::Exact => start == prefix.as_bytes(),
        Case::Folded => start.eq_ignore_ascii_case(prefix.as_bytes()),
    };
    same && matches!(after.first(), None | Some(b'/'))
}

fn fold(path: &[u8]) -> Vec<u8> {
    path.to_ascii_lowercase()
}

impl Host {
    fn add(&mut self, pattern: &Pattern, route: usize) -> Result<(), usize> {
        self.cased |= pattern.is_cased();
        self.exact.insert(pattern, route)?;
        self.folded.insert(&pattern.folded(), route)
    }

    fn find(&self, path: &[u8], case: Case) -> Option<usize> {
        match case {
            Case::Exact => self.exact.find(path),
            Case::Folded => self.folded.find(path),
        }
    }
}

#[cfg(test)]
mod tests;
