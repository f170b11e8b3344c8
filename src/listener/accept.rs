//! Takes connections and starts a task for each, until the drain; then waits for the last.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use tokio::net::TcpListener;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Handler;
use super::connection::Common;
use super::watch::Limits;

/// How long nothing is accepted when the system can't: out of descriptors or memory.
const PAUSE: Duration = Duration::from_millis(100);

pub(super) async fn run<H: Handler>(
    socket: TcpListener,
    tls: Option<Arc<ServerConfig>>,
    handler: Arc<H>,
    drain: CancellationToken,
    limits: Limits,
) {
    let common = Arc::new(Common::new(handler, tls, limits));
    let connections = TaskTracker::new();
    let mut drained = pin!(drain.cancelled());
    let mut paused = false;
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut drained => break,
            accepted = socket.accept() => accepted,
        };
        match accepted {
            Ok((stream, addr)) => {
                paused = false;
                connections.spawn(Arc::clone(&common).serve(stream, addr));
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
    drop(socket);
    common.draining.begin();
    connections.close();
    connections.wait().await;
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
