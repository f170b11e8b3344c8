//! Outbound TCP and TLS, deadlines, and the pool of idle HTTP/1.1 connections: the only client sockets of the program.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::TryFutureExt;
use futures_util::future::Either;
use http::{Request, Response, Version};
use http_body_util::Full;

mod body;
mod dial;
mod idle;
mod lease;
mod local;
#[cfg(test)]
mod tests;
mod upload;

pub use body::Body;
use idle::Idle;
use lease::{Exchanged, Lease};
pub use local::{LocalError, Neighbour};

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

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.scheme {
            Scheme::Http => "http",
            Scheme::Https => "https",
        };
        if self.host.contains(':') {
            write!(f, "{scheme}://[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{scheme}://{}:{}", self.host, self.port)
        }
    }
}

/// How to connect.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How long name resolution, TCP and TLS may take together.
    pub connect_timeout: Duration,
    /// How long the response head may take: counted from the last time that anything of the request's body went out, so
    /// that a long upload is not cut off for being long.
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

/// What can be sent as a request's body.
pub trait Outgoing:
    http_body::Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>>
    + Send
    + Unpin
    + 'static
{
}

impl<B> Outgoing for B where
    B: http_body::Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>>
        + Send
        + Unpin
        + 'static
{
}

/// A request that got no response.
#[derive(Debug)]
pub struct Failed<B> {
    /// Why.
    pub error: Error,
    /// The request, its body untouched, exactly where [`Error::nothing_was_sent`].
    pub request: Option<Box<Request<B>>>,
}

/// A pool of connections to one origin, for requests with bodies of one type. Cheap to clone; the clones share the idle
/// connections.
pub struct Pool<B: Outgoing = Full<Bytes>> {
    inner: Arc<Inner<B>>,
}

struct Inner<B: Outgoing> {
    origin: Origin,
    settings: Settings,
    idle: Idle<B>,
}

impl<B: Outgoing> Pool<B> {
    /// A pool without connections.
    pub fn new(origin: Origin, mut settings: Settings) -> Self {
        settings.tls = dial::http1_only(settings.tls);
        let idle = Idle::new(settings.idle_timeout);
        Self {
            inner: Arc::new(Inner {
                origin,
                settings,
                idle,
            }),
        }
    }

    /// Where it connects to.
    pub fn origin(&self) -> &Origin {
        &self.inner.origin
    }

    /// Sends a request and waits for the response's head. The request's URI is in origin form and it has a `Host`.
    ///
    /// A stale idle connection is replaced once if nothing was sent on it. Dropping the future closes the connection, which
    /// is all that HTTP/1.1 has to cancel a request.
    ///
    /// # Errors
    /// When there is no response; [`Error::nothing_was_sent`] tells whether it may be tried again.
    pub fn send(
        &self,
        request: Request<B>,
    ) -> impl Future<Output = Result<Response<Body<B>>, Error>> + Send {
        self.try_send(request).map_err(|failed| failed.error)
    }

    /// The same as [`Pool::send`], but gives the request back if nothing of it was sent.
    ///
    /// # Errors
    /// The same as [`Pool::send`].
    pub async fn try_send(&self, request: Request<B>) -> Result<Response<Body<B>>, Failed<B>> {
        let request = match self.inner.idle.take() {
            Some(lease) => match self.exchange(lease, request).await {
                Err(Failed {
                    request: Some(unsent),
                    ..
                }) => unsent,
                answered => return answered,
            },
            None => Box::new(request),
        };
        // Rare, and large: it must not make the future of every request large, which idle connections of clients hold too.
        Box::pin(self.send_afresh(request)).await
    }

    async fn send_afresh(&self, request: Box<Request<B>>) -> Result<Response<Body<B>>, Failed<B>> {
        self.inner.idle.sweep();
        match dial::lease(&self.inner.origin, &self.inner.settings).await {
            Ok(lease) => self.exchange(lease, *request).await,
            Err(error) => Err(Failed {
                error,
                request: Some(request),
            }),
        }
    }

    fn exchange(
        &self,
        lease: Box<Lease<B>>,
        request: Request<B>,
    ) -> impl Future<Output = Result<Response<Body<B>>, Failed<B>>> + Send {
        let limit = self.inner.settings.response_timeout;
        let exchanged = if request.headers().contains_key(http::header::UPGRADE) {
            Either::Left(Box::pin(lease.exchange_for_upgrade(request, limit)))
        } else {
            Either::Right(lease.exchange(request, limit))
        };
        exchanged.map_ok(|Exchanged { response, lease }| {
            // A peer that speaks HTTP/1.0 can't be sent a chunked body: hyper would leave the next one's away.
            let reusable = response.version() == Version::HTTP_11;
            let home = reusable.then(|| Arc::clone(&self.inner));
            response.map(|incoming| Body::new(incoming, lease, home))
        })
    }
}

impl<B: Outgoing> Clone for Pool<B> {
    fn clone(&self) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
        }
    }
}

impl<B: Outgoing> fmt::Debug for Pool<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("origin", &self.inner.origin)
            .field("idle", &self.inner.idle.len())
            .finish()
    }
}
