//! Who may pass: identity × route → [`Permit`], the only thing that `forward` accepts.

use std::sync::Arc;

use http::header::{HOST, ORIGIN, UPGRADE};
use http::{HeaderMap, HeaderValue, Method};

use crate::route::{Access, Route, Rule};
use crate::session::Live;
use crate::verify::Verified;

/// A caller whose access token was verified on this very request.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The access token's contents.
    pub verified: Arc<Verified>,
    /// The session that it came from; none for a bearer.
    pub session: Option<Arc<Live>>,
}

/// Leave to forward one request. Can't be made elsewhere.
#[derive(Debug)]
#[must_use]
pub struct Permit {
    route: Arc<Route>,
    identity: Option<Identity>,
}

impl Permit {
    /// The route to forward by.
    pub fn route(&self) -> &Arc<Route> {
        &self.route
    }

    /// Who asks; none on a public route.
    pub fn identity(&self) -> Option<&Identity> {
        self.identity.as_ref()
    }

    /// The same, when the request is on its way and its permit is used up.
    pub fn into_identity(self) -> Option<Identity> {
        self.identity
    }
}

/// Why a caller may not pass.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    /// 401: the route needs a credential, and there is none of the kind that it takes.
    #[error("no credential")]
    NoCredential(Access),
    /// 403: the token's scope is not enough (RFC 6750 section 3.1).
    #[error("insufficient scope")]
    InsufficientScope {
        /// What would be enough.
        scope: String,
    },
    /// 403: no rule of the route allows this caller.
    #[error("no rule allows this")]
    Forbidden,
    /// 403: an unsafe method with a cookie, without the header that a cross-site form can't send.
    #[error("the X-CSRF header is missing")]
    Csrf,
    /// 403: a WebSocket that a page of another origin opens with the person's cookie.
    #[error("a WebSocket of another origin")]
    CrossOrigin,
}

/// Decides. A route without rules lets every verified caller pass; one with rules needs one that holds as a whole.
///
/// # Errors
/// See [`Error`].
pub fn authorize(
    route: &Arc<Route>,
    method: &Method,
    headers: &HeaderMap,
    identity: Option<Identity>,
) -> Result<Permit, Error> {
    let identity = match (route.access, identity) {
        (Access::Public, _) => None,
        (Access::Session, Some(id)) if id.session.is_some() => Some(id),
        (Access::Bearer, Some(id)) if id.session.is_none() => Some(id),
        (Access::Any, Some(id)) => Some(id),
        (access @ (Access::Session | Access::Bearer | Access::Any), _) => {
            return Err(Error::NoCredential(access));
        }
    };
    if let Some(id) = &identity {
        if route.csrf_header
            && id.session.is_some()
            && !method.is_safe()
            && !asserts_same_origin(headers)
        {
            return Err(Error::Csrf);
        }
        if id.session.is_some() && is_foreign_websocket(headers) {
            return Err(Error::CrossOrigin);
        }
        check_rules(&route.rules, method, &id.verified)?;
    }
    Ok(Permit {
        route: Arc::clone(route),
        identity,
    })
}

/// A custom header can't be sent cross-site without a CORS preflight, which no route of ours answers with leave.
fn asserts_same_origin(headers: &HeaderMap) -> bool {
    headers.get("x-csrf").is_some_and(|value| value == "1")
}

/// Browsers hold no page back from opening a WebSocket anywhere, and send a sibling host's `SameSite` cookies along: only
/// `Origin` tells (RFC 6455 section 10.2). A program that sends none has no page that could abuse it.
fn is_foreign_websocket(headers: &HeaderMap) -> bool {
    if !headers.contains_key(UPGRADE) {
        return false;
    }
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    let own = |origin: &HeaderValue| {
        let origin = origin.to_str().ok();
        let authority = origin.and_then(|origin| origin.split_once("://"));
        let (Some((scheme, authority)), Some(host)) = (authority, host) else {
            return false;
        };
        let default = if scheme == "https" { ":443" } else { ":80" };
        let bare = |authority: &str| {
            authority
                .strip_suffix(default)
                .unwrap_or(authority)
                .to_ascii_lowercase()
        };
        bare(authority) == bare(host)
    };
    !headers.get_all(ORIGIN).iter().all(own)
}

fn check_rules(rules: &[Rule], method: &Method, verified: &Verified) -> Result<(), Error> {
    if rules.is_empty() || rules.iter().any(|rule| holds(rule, method, verified)) {
        return Ok(());
    }
    // A rule that only the scope stands against tells the client what to ask for (RFC 6750 section 3.1).
    let missing = rules
        .iter()
        .find(|rule| holds_but_for_scope(rule, method, verified))
        .map(|rule| rule.scopes.join(" "));
    Err(missing.map_or(Error::Forbidden, |scope| Error::InsufficientScope { scope }))
}

fn holds(rule: &Rule, method: &Method, verified: &Verified) -> bool {
    holds_but_for_scope(rule, method, verified)
        && rule
            .scopes
            .iter()
            .all(|wanted| verified.scopes.iter().any(|has| **has == **wanted))
}

fn holds_but_for_scope(rule: &Rule, method: &Method, verified: &Verified) -> bool {
    let group = rule.groups.is_empty()
        || rule
            .groups
            .iter()
            .any(|wanted| verified.groups.iter().any(|has| **has == **wanted));
    let methods = rule.methods.is_empty() || rule.methods.contains(method);
    group && methods
}

#[cfg(test)]
mod tests;
