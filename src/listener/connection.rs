//! One connection from its handshake to its end: hyper's settings, and the watch over it.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use http::header::CONNECTION;
use http::{HeaderValue, Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::Handler;
use super::pulse::{Counted, Pulse, Speaks, Wire};
use super::watch::{Draining, Limits, Verdict, Watch};
use crate::inbound::Inbound;
use crate::peer::Peer;
use crate::target::Unsound;

const KIB: usize = 1024;

/// What all connections of a listener on one worker share.
pub(super) struct Common<H> {
    handler: Arc<H>,
    tls: Option<TlsAcceptor>,
    pub(super) draining: Draining,
    limits: Limits,
    http1: http1::Builder,
    http2: http2::Builder<TokioExecutor>,
}

/// What the requests of one connection share.
struct Shared<H> {
    handler: Arc<H>,
    peer: Peer,
    pulse: Arc<Pulse>,
}

impl<H: Handler> Common<H> {
    pub(super) fn new(handler: Arc<H>, tls: Option<Arc<ServerConfig>>, limits: Limits) -> Self {
        Self {
            handler,
            tls: tls.map(TlsAcceptor::from),
            draining: Draining::default(),
            limits,
            http1: http1(),
            http2: http2(),
        }
    }

    /// Serves a connection until it is over.
    pub(super) async fn serve(self: Arc<Self>, stream: TcpStream, addr: SocketAddr) {
        let Ok(local) = stream.local_addr() else {
            return;
        };
        // Answers are written whole: there is nothing to wait for.
        let _ = stream.set_nodelay(true);
        let peer = Peer {
            addr: SocketAddr::new(addr.ip().to_canonical(), addr.port()),
            local_port: local.port(),
            tls: self.tls.is_some(),
            server_name: None,
        };
        let Some(tls) = &self.tls else {
            return self.http1(stream, peer).await;
        };
        let handshake = timeout(self.limits.handshake, tls.accept(stream));
        let shaken = tokio::select! {
            shaken = handshake => shaken,
            // Nothing has been asked for yet: a peer that says nothing holds up no restart.
            () = self.draining.begun() => return,
        };
        match shaken {
            // In a box, for it is large and moves through several states of this task, each with room for it.
            Ok(Ok(stream)) => self.secured(Box::new(stream), peer).await,
            Ok(Err(error)) => tracing::debug!(%error, peer = %peer.addr, "no TLS handshake"),
            Err(_) => tracing::debug!(peer = %peer.addr, "the TLS handshake took too long"),
        }
    }

    /// What was agreed on by ALPN is spoken, nothing else: a preface is never guessed at.
    async fn secured(&self, stream: Box<TlsStream<TcpStream>>, mut peer: Peer) {
        let (_, session) = stream.get_ref();
        peer.server_name = session
            .server_name()
            .map(|name| name.to_ascii_lowercase().into());
        if session.alpn_protocol() == Some(b"h2") {
            // In a box, so that a connection without it is smaller.
            Box::pin(self.http2(stream, peer)).await;
        } else {
            self.http1(stream, peer).await;
        }
    }

    pub(super) async fn http1<S>(&self, stream: S, peer: Peer)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (shared, pulse) = self.shared(peer);
        let io = TokioIo::new(Wire::new(stream, Speaks::Http1, &pulse));
        let service = service_fn(move |request| answer(Arc::clone(&shared), request));
        let connection = self.http1.serve_connection(io, service).with_upgrades();
        let watch = Watch::new(Speaks::Http1, &pulse, &self.draining, &self.limits);
        watched(
            connection,
            http1::UpgradeableConnection::graceful_shutdown,
            watch,
        )
        .await;
    }

    pub(super) async fn http2<S>(&self, stream: S, peer: Peer)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (shared, pulse) = self.shared(peer);
        let io = TokioIo::new(Wire::new(stream, Speaks::Http2, &pulse));
        let service = service_fn(move |request| answer(Arc::clone(&shared), request));
        let connection = self.http2.serve_connection(io, service);
        let watch = Watch::new(Speaks::Http2, &pulse, &self.draining, &self.limits);
        watched(connection, http2::Connection::graceful_shutdown, watch).await;
    }

    fn shared(&self, peer: Peer) -> (Arc<Shared<H>>, Arc<Pulse>) {
        let pulse = Arc::new(Pulse::default());
        let shared = Shared {
            handler: Arc::clone(&self.handler),
            peer,
            pulse: Arc::clone(&pulse),
        };
        (Arc::new(shared), pulse)
    }
}

async fn answer<H: Handler>(
    shared: Arc<Shared<H>>,
    request: Request<Incoming>,
) -> Result<Response<Counted<H::Body>>, Infallible> {
    let under_way = shared.pulse.begin();
    let version = request.version();
    let (request, answered) = Inbound::of(request, shared.pulse.hearing());
    let mut response = shared.handler.handle(&shared.peer, request).await;
    answered.tell(&response);
    if version < Version::HTTP_2 && response.extensions().get::<Unsound>().is_some() {
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(CONNECTION, close);
        shared.pulse.distrust();
    }
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        shared.pulse.becomes_tunnel();
    }
    Ok(response.map(|body| Counted { body, under_way }))
}

/// Drives a connection until it is over, or the watch says so.
async fn watched<C>(connection: C, close: fn(Pin<&mut C>), watch: Watch<'_>)
where
    C: Future<Output = hyper::Result<()>>,
{
    let mut connection = pin!(connection);
    let mut watch = pin!(watch);
    let over = poll_fn(|cx| {
        loop {
            if let Poll::Ready(over) = connection.as_mut().poll(cx) {
                return Poll::Ready(over);
            }
            match watch.as_mut().look(cx) {
                Verdict::Stay => return Poll::Pending,
                Verdict::Close => close(connection.as_mut()),
                Verdict::Cut => return Poll::Ready(Ok(())),
            }
        }
    });
    if let Err(error) = over.await {
        tracing::debug!(%error, "a connection broke off");
    }
}

/// No timer: [`Watch`] has one for the whole connection, where hyper would set one for each request. No `pipeline_flush`: it
/// keeps every answer back while anything behind its request is unread, such as the 400 to a head that can't be read.
fn http1() -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .header_read_timeout(None)
        .max_header_size(64 * KIB)
        .max_buf_size(64 * KIB);
    builder
}

fn http2() -> http2::Builder<TokioExecutor> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(250)
        .max_header_list_size(64 * 1024)
        .max_pending_accept_reset_streams(20)
        .max_local_error_reset_streams(100)
        .initial_stream_window_size(256 * 1024)
        .initial_connection_window_size(1024 * 1024)
        .max_send_buf_size(256 * KIB)
        // Notices a peer that vanished in the middle of a long answer.
        .keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(Duration::from_secs(20));
    builder
}

#[cfg(test)]
mod tests {
    //! What each connection costs.

    use super::*;
    use crate::gateway::Gateway;

    /// A task is as large as its largest state, whatever it does: this is what an idle connection holds beside its buffers.
    #[test]
    fn a_connection_and_a_request_stay_small() {
        fn of<F, A, B>(_: fn(A, B) -> F) -> usize {
            size_of::<F>()
        }
        fn of_three<F, A, B, C>(_: fn(A, B, C) -> F) -> usize {
            size_of::<F>()
        }
        let connection = of_three(Common::<Gateway>::serve);
        let request = of(answer::<Gateway>);
        assert!(connection <= 4 * 1024, "{connection}");
        assert!(request <= 8 * 1024, "{request}");
    }
}
