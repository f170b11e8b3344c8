//! Outbound TCP and TLS, deadlines, and the pool of idle HTTP/1.1 connections: the only client sockets of the program.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};

/// The scheme of an [`Origin`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// Plain TCP.
    Http,
    /// TLS over TCP.
    Https,
}

/// Where to connect to (RFC 6454).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Origin {
    /// http or https.
    pub scheme: Scheme,
    /// A host name or an address, an IPv6 address without brackets.
    pub host: Arc<str>,
    /// The port.
    pub port: u16,
}

/// How to connect.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How long name resolution, TCP and TLS may take together.
    pub connect_timeout: Duration,
    /// How long the response head may take once the request was sent.
    pub response_timeout: Duration,
    /// How long a connection may stay idle in the pool.
    pub idle_timeout: Duration,
    /// What an https peer is verified with.
    pub tls: Arc<rustls::ClientConfig>,
    /// The name that an https peer's certificate must carry, where it is not the origin's host.
    pub server_name: Option<Arc<str>>,
}

/// Why there is no response.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No connection: resolution, TCP or TLS failed, or took too long. Nothing was sent.
    #[error("can't connect to {origin}")]
    Connect {
        /// Where to.
        origin: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The connection took longer than [`Settings::connect_timeout`]. Nothing was sent.
    #[error("connecting to {origin} took too long")]
    ConnectTimeout {
        /// Where to.
        origin: String,
    },
    /// The connection broke before any of the request was sent.
    #[error("the connection broke before the request was sent")]
    NotSent(#[source] hyper::Error),
    /// The connection broke, or talked nonsense, after some of the request may have been sent: the outcome is unknown.
    #[error("the connection broke after the request was sent")]
    Broken(#[source] hyper::Error),
    /// No response head within [`Settings::response_timeout`]: the outcome is unknown.
    #[error("no response in time")]
    ResponseTimeout,
}

impl Error {
    /// Whether the peer can't have seen any of the request.
    pub fn nothing_was_sent(&self) -> bool {
        match self {
            Self::Connect { .. } | Self::ConnectTimeout { .. } | Self::NotSent(_) => true,
            Self::Broken(_) | Self::ResponseTimeout => false,
        }
    }
}

/// A pool of connections to one origin. Cheap to clone; the clones share the idle connections.
#[derive(Clone, Debug)]
pub struct Pool {}

/// A response body that keeps its connection moving and gives it back to the pool at its end.
#[derive(Debug)]
pub struct Body {}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: std::pin::Pin<&mut Self>,
        _cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Self::Data>, Self::Error>>> {
        todo!()
    }
}

impl Pool {
    /// A pool without connections.
    pub fn new(_origin: Origin, _settings: Settings) -> Self {
        todo!()
    }

    /// Sends a request and waits for the response's head. The request's URI is in origin form and it has a `Host`.
    ///
    /// A stale idle connection is replaced once if nothing was sent on it.
    ///
    /// # Errors
    /// When there is no response; [`Error::nothing_was_sent`] tells whether it may be tried again.
    pub async fn send<B>(&self, _request: Request<B>) -> Result<Response<Body>, Error>
    where
        B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        todo!()
    }
}
