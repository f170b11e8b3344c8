//! What a request asks for, in one normal form, and the framing rules that hyper leaves to its users. A request whose
//! meaning could differ between us and an upstream is refused here.

use http::request::Parts;

use crate::peer::Peer;

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
    /// 421: the host is not the one that TLS was set up for (RFC 9110 section 7.4).
    #[error("misdirected request")]
    Misdirected,
    /// 405 or 501: a method that is never forwarded (TRACE, CONNECT).
    #[error("method not allowed")]
    Method,
}

impl Target {
    /// Reads the head of a request, or refuses it.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn read(_head: &Parts, _peer: &Peer) -> Result<Self, Error> {
        todo!()
    }
}
