//! One request to a listener of this machine: a loopback address or a Unix socket. No TLS, no pool: who asks so asks once.

use std::fmt;
use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::handshake;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(5);
/// The largest answer that is read.
const LARGEST: usize = 64 * 1024 * 1024;

/// Where it listens.
#[derive(Clone, Debug)]
pub enum Neighbour {
    /// On a loopback address.
    Tcp(SocketAddr),
    /// On a Unix socket.
    Unix(PathBuf),
}

impl fmt::Display for Neighbour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    /// Nobody listens there, or not for us.
    #[error("can't connect to {place}")]
    Connect {
        /// Where to.
        place: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The connection broke, or talked nonsense.
    #[error("{place} gave no answer that can be read")]
    Broken {
        /// Who.
        place: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// It took too long. What was asked for may have been done.
    #[error("{place} did not answer within {limit:?}")]
    Late {
        /// Who.
        place: String,
        /// How long it was waited for.
        limit: Duration,
    },
}

impl Neighbour {
    /// Sends a request and reads the whole answer. The request's URI is in origin form and it has a `Host`.
    ///
    /// # Errors
    /// See [`LocalError`].
    pub async fn ask(
        &self,
        request: Request<Full<Bytes>>,
        limit: Duration,
    ) -> Result<Response<Bytes>, LocalError> {
        let asking = async {
            match self {
                Self::Tcp(address) => {
                    let stream = self.connected(TcpStream::connect(address)).await?;
                    self.exchange(stream, request).await
                }
                Self::Unix(path) => {
                    let stream = self.connected(UnixStream::connect(path)).await?;
                    self.exchange(stream, request).await
                }
            }
        };
        let late = |_| LocalError::Late {
            place: self.to_string(),
            limit,
        };
        timeout(limit, asking).await.map_err(late)?
    }

    async fn connected<S>(
        &self,
        connecting: impl Future<Output = io::Result<S>>,
    ) -> Result<S, LocalError> {
        let connected = timeout(CONNECT, connecting).await;
        let connected = connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        connected.map_err(|source| LocalError::Connect {
            place: self.to_string(),
            source,
        })
    }

    async fn exchange(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Bytes>, LocalError> {
        let broken = |source| LocalError::Broken {
            place: self.to_string(),
            source,
        };
        let shaken = handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = shaken.map_err(|error| broken(error.into()))?;
        let exchange = async {
            let (head, body) = sender.send_request(request).await?.into_parts();
            let body = Limited::new(body, LARGEST).collect().await?.to_bytes();
            Ok(Response::from_parts(head, body))
        };
        let driving = async {
            // How it ended shows in the exchange, which may still have something to read.
            let _ = connection.await;
            pending::<()>().await;
        };
        tokio::select! {
            answer = exchange => answer.map_err(broken),
            () = driving => Err(broken("the connection ended".into())),
        }
    }
}
