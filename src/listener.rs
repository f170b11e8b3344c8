//! Accept loop, TLS handshake deadline, HTTP connection settings and limits; drains when told to.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::gateway::Gateway;

/// What a listener speaks.
#[derive(Clone, Debug)]
pub enum Protocol {
    /// TLS, then h2 or http/1.1 by ALPN.
    Https(Arc<rustls::ServerConfig>),
    /// Plain HTTP/1.1.
    Http,
    /// 308 to the same host and path under https.
    Redirect {
        /// The https port to send to.
        port: u16,
    },
}

/// One `[[listeners]]`.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where to listen.
    pub address: SocketAddr,
    /// What to speak.
    pub protocol: Protocol,
}

/// A bound socket: the port is ours, nothing is accepted yet.
#[derive(Debug)]
pub struct Bound {}

impl Bound {
    /// Binds.
    ///
    /// # Errors
    /// What the system said.
    pub fn bind(_settings: &Settings) -> std::io::Result<Self> {
        todo!()
    }

    /// The address, with the real port where 0 was asked for.
    pub fn address(&self) -> SocketAddr {
        todo!()
    }

    /// A second handle of the same socket, for another worker.
    ///
    /// # Errors
    /// What the system said.
    pub fn try_clone(&self) -> std::io::Result<Self> {
        todo!()
    }

    /// Accepts and serves on the current runtime until `drain` is cancelled; then lets connections finish the requests
    /// that they have begun, and returns when the last is gone.
    pub async fn serve(self, _gateway: Arc<Gateway>, _drain: CancellationToken) {
        todo!()
    }
}
