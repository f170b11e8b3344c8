//! Takes connections and starts a task for each, until the drain; then waits for the last.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Handler;
use super::connection::Common;
use super::watch::Limits;

/// How long nothing is accepted when the system can't: out of descriptors or memory.
const PAUSE: Duration = Duration::from_millis(100);

/// What connections come out of.
pub(super) trait Socket {
    type Stream;

    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(Self::Stream, SocketAddr)>>;
}

impl Socket for TcpListener {
    type Stream = TcpStream;

    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(TcpStream, SocketAddr)>> {
        self.poll_accept(cx)
    }
}

pub(super) async fn run<H: Handler>(
    socket: TcpListener,
    tls: Option<Arc<ServerConfig>>,
    handler: Arc<H>,
    drain: CancellationToken,
    limits: Limits,
) {
    let common = Arc::new(Common::new(handler, tls, limits));
    let connections = TaskTracker::new();
    until_drained(socket, &drain, |stream, addr| {
        connections.spawn(Arc::clone(&common).serve(stream, addr));
    })
    .await;
    common.draining.begin();
    connections.close();
    connections.wait().await;
}

/// Hands each connection to `take`, which must not wait. The socket is closed when this returns.
pub(super) async fn until_drained<S: Socket>(
    socket: S,
    drain: &CancellationToken,
    mut take: impl FnMut(S::Stream, SocketAddr),
) {
    let mut drained = pin!(drain.cancelled());
    let mut paused = false;
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut drained => return,
            accepted = poll_fn(|cx| socket.poll_accept(cx)) => accepted,
        };
        match accepted {
            Ok((stream, addr)) => {
                paused = false;
                take(stream, addr);
            }
            Err(error) if is_of_the_peer(&error) => {}
            Err(error) => {
                // Once for each stretch of failures, not ten times a second.
                if !paused {
                    tracing::error!(%error, "can't accept connections; trying again");
                }
                paused = true;
                sleep(PAUSE).await;
            }
        }
    }
}

/// The connection was gone before it was accepted: nothing is wrong here.
fn is_of_the_peer(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}
