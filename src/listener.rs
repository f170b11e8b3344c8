//! Accept loop, TLS handshake deadline, HTTP connection settings and limits; drains when told to. And the small listener for
//! this machine's own administrator.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Socket, TcpKeepalive, Type};
use tokio_util::sync::CancellationToken;

use crate::gateway::Gateway;

mod accept;
mod connection;
mod flood;
mod handler;
mod local;
mod pulse;
mod redirect;
mod watch;

pub use handler::Handler;
pub use local::Local;
use redirect::Redirect;

/// How many connections the system holds until they are accepted.
const BACKLOG: i32 = 4096;

/// After how long a silent connection is probed: a peer that vanished is noticed within two minutes.
const PROBE_AFTER: Duration = Duration::from_mins(1);
const PROBE_EVERY: Duration = Duration::from_secs(15);
const PROBES: u32 = 4;

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
pub struct Bound {
    socket: TcpListener,
    address: SocketAddr,
    protocol: Protocol,
}

impl Bound {
    /// Binds. `[::]` takes IPv4 too.
    ///
    /// # Errors
    /// What the system said.
    pub fn bind(settings: &Settings) -> io::Result<Self> {
        let address = settings.address;
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        if address.is_ipv6() {
            socket.set_only_v6(!address.ip().is_unspecified())?;
        }
        // Connections of a gateway that was here before may still be closing; one that still listens makes binding fail.
        socket.set_reuse_address(true)?;
        // Accepted connections inherit it.
        socket.set_tcp_keepalive(
            &TcpKeepalive::new()
                .with_time(PROBE_AFTER)
                .with_interval(PROBE_EVERY)
                .with_retries(PROBES),
        )?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        let socket = TcpListener::from(socket);
        Ok(Self {
            address: socket.local_addr()?,
            socket,
            protocol: settings.protocol.clone(),
        })
    }

    /// The address, with the real port where 0 was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A second handle of the same socket, for another worker.
    ///
    /// # Errors
    /// What the system said.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self {
            socket: self.socket.try_clone()?,
            address: self.address,
            protocol: self.protocol.clone(),
        })
    }

    /// Accepts and serves on the current runtime until `drain` is cancelled; then lets connections finish the requests
    /// that they have begun, and returns when the last is gone.
    pub async fn serve(self, gateway: Arc<Gateway>, drain: CancellationToken) {
        self.serve_with(gateway, drain, watch::Limits::default())
            .await;
    }

    async fn serve_with<H: Handler>(
        self,
        handler: Arc<H>,
        drain: CancellationToken,
        limits: watch::Limits,
    ) {
        let (tls, port) = match self.protocol {
            Protocol::Https(config) => (Some(config), None),
            Protocol::Http => (None, None),
            Protocol::Redirect { port } => (None, Some(port)),
        };
        let socket = match tokio::net::TcpListener::from_std(self.socket) {
            Ok(socket) => socket,
            Err(error) => {
                tracing::error!(%error, address = %self.address, "can't accept connections");
                return;
            }
        };
        match port {
            Some(port) => {
                accept::run(socket, tls, Arc::new(Redirect::to(port)), drain, limits).await;
            }
            None => accept::run(socket, tls, handler, drain, limits).await,
        }
    }
}

#[cfg(test)]
mod tests;
