//! What a request asks for, in one normal form, and the framing rules that hyper leaves to its users. A request whose
//! meaning could differ between us and an upstream is refused here.

use http::Method;
use http::request::Parts;

use crate::peer::Peer;

mod authority;
mod framing;
mod path;

pub(crate) use path::{normal as normal_path, resolve_dots};

/// The longest path and query that is read: what upstreams commonly accept.
const LONGEST: usize = 8 * 1024;

/// Host and path in normal form: what rules match is what the upstream is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// In lower case, without trailing dot and port; an IPv6 address in brackets.
    pub host: Box<str>,
    /// The port that the client named.
    pub port: Option<u16>,
    /// The path as it will be sent upstream: dot segments resolved, unreserved characters decoded (RFC 3986 section 6.2.2).
    pub path: Box<str>,
    /// The query as it came, without `?`.
    pub query: Option<Box<str>>,
}

/// Why a request is refused before anything is looked up.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    /// 400: malformed or ambiguous. The text names the rule.
    #[error("bad request: {0}")]
    Bad(&'static str),
    /// 414: path and query are longer than 8 KiB.
    #[error("the URI is too long")]
    TooLong,
    /// 421: the host is not the one that TLS was set up for (RFC 9110 section 7.4).
    #[error("misdirected request")]
    Misdirected,
    /// 405 or 501: a method that is never forwarded (TRACE, CONNECT).
    #[error("method not allowed")]
    Method,
}

/// Marks the answer to a request that was refused here: where it ends can't be trusted, so nothing more is read from its
/// HTTP/1 connection (RFC 9112 section 9.6).
#[derive(Clone, Copy, Debug)]
pub struct Unsound;

impl Target {
    /// Reads the head of a request, or refuses it.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn read(head: &Parts, peer: &Peer) -> Result<Self, Error> {
        forwardable(&head.method)?;
        framing::check(head)?;
        let authority = authority::of(head, peer)?;
        let host = authority.normal_host();
        if peer
            .server_name
            .as_deref()
            .is_some_and(|name| name != &*host)
        {
            return Err(Error::Misdirected);
        }
        let Some(asked) = head.uri.path_and_query() else {
            return Err(Error::Bad("the request target is not a path"));
        };
        if asked.as_str().len() > LONGEST {
            return Err(Error::TooLong);
        }
        Ok(Self {
            host,
            port: authority.port,
            path: path::normal(asked.path())?,
            query: asked.query().map(Box::from),
        })
    }
}

/// CONNECT and TRACE never are (RFC 9110 sections 9.3.6 and 9.3.8). Methods are case-sensitive (section 9.1), but an upstream
/// may not know: one in lower case would pass as another method here than there.
fn forwardable(method: &Method) -> Result<(), Error> {
    let cased = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_');
    match *method {
        Method::GET | Method::POST | Method::HEAD => Ok(()),
        Method::CONNECT | Method::TRACE => Err(Error::Method),
        _ if method.as_str().bytes().all(cased) => Ok(()),
        _ => Err(Error::Method),
    }
}

#[cfg(test)]
mod tests;
