//! Resolution, TCP and TLS towards an origin, within one deadline.

use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::lease::Lease;
use super::{Error, Origin, Outgoing, Scheme, Settings};

/// How long one address gets before the next is tried beside it (RFC 8305 section 5).
const HEAD_START: Duration = Duration::from_millis(250);

/// The same configuration, offering HTTP/1.1 and nothing else (RFC 7301): an h2 answer could not be read.
pub(super) fn http1_only(tls: Arc<rustls::ClientConfig>) -> Arc<rustls::ClientConfig> {
    let offered = vec![b"http/1.1".to_vec()];
    if tls.alpn_protocols == offered {
        return tls;
    }
    let mut tls = Arc::unwrap_or_clone(tls);
    tls.alpn_protocols = offered;
    Arc::new(tls)
}

/// A fresh connection.
pub(super) async fn lease<B: Outgoing>(
    origin: &Origin,
    settings: &Settings,
) -> Result<Box<Lease<B>>, Error> {
    let connected = tokio::time::timeout(settings.connect_timeout, connect(origin, settings))
        .await
        .map_err(|_| Error::ConnectTimeout {
            origin: origin.to_string(),
        })?;
    let stream = connected.map_err(|source| Error::Connect {
        origin: origin.to_string(),
        source,
    })?;
    Lease::over(stream).await.map_err(Error::NotSent)
}

async fn connect(origin: &Origin, settings: &Settings) -> io::Result<Stream> {
    let tcp = race(addresses(origin).await?).await?;
    tcp.set_nodelay(true)?;
    match origin.scheme {
        Scheme::Http => Ok(Stream::Tcp(tcp)),
        Scheme::Https => {
            let name = settings.server_name.as_ref().unwrap_or(&origin.host);
            let name = ServerName::try_from(name.to_string())
                .map_err(|e| io::Error::new(io::ErrorKind::InvalidInput, e))?;
            let tls = TlsConnector::from(Arc::clone(&settings.tls));
            Ok(Stream::Tls(Box::new(tls.connect(name, tcp).await?)))
        }
    }
}

async fn addresses(origin: &Origin) -> io::Result<Vec<SocketAddr>> {
    if let Ok(ip) = origin.host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(ip, origin.port)]);
    }
    let found = tokio::net::lookup_host((&*origin.host, origin.port)).await?;
    Ok(interleave(found.collect()))
}

/// Takes turns between the address families, in the resolver's order otherwise (RFC 8305 section 4).
fn interleave(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let v6_first = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (first, second): (Vec<_>, Vec<_>) =
        addresses.into_iter().partition(|a| a.is_ipv6() == v6_first);
    let mut mixed = Vec::with_capacity(first.len() + second.len());
    let mut second = second.into_iter();
    for address in first {
        mixed.push(address);
        mixed.extend(second.next());
    }
    mixed.extend(second);
    mixed
}

type Attempt = Pin<Box<dyn Future<Output = io::Result<TcpStream>> + Send>>;

/// The first of `addresses` to answer: each gets a head start before the next one, unless it fails sooner.
async fn race(addresses: Vec<SocketAddr>) -> io::Result<TcpStream> {
    let mut waiting = addresses.into_iter();
    let mut running: Vec<Attempt> = Vec::new();
    let mut failure = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    loop {
        match waiting.next() {
            Some(address) => running.push(Box::pin(TcpStream::connect(address))),
            None if running.is_empty() => return Err(failure),
            None => {}
        }
        let first = first(&mut running);
        let outcome = if waiting.len() > 0 {
            tokio::time::timeout(HEAD_START, first).await.ok()
        } else {
            Some(first.await)
        };
        match outcome {
            Some(Ok(stream)) => return Ok(stream),
            Some(Err(error)) => failure = error,
            None => {}
        }
    }
}

/// The first attempt to end, which is then no longer among `running`.
async fn first(running: &mut Vec<Attempt>) -> io::Result<TcpStream> {
    poll_fn(|cx| {
        let ended = running.iter_mut().enumerate().find_map(|(at, attempt)| {
            match attempt.as_mut().poll(cx) {
                Poll::Ready(outcome) => Some((at, outcome)),
                Poll::Pending => None,
            }
        });
        match ended {
            Some((at, outcome)) => {
                drop(running.swap_remove(at));
                Poll::Ready(outcome)
            }
            None => Poll::Pending,
        }
    })
    .await
}

/// The bytes of a connection.
pub(super) enum Stream {
    Tcp(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

macro_rules! either {
    ($self:ident, $stream:ident => $call:expr) => {
        match $self.get_mut() {
            Stream::Tcp($stream) => {
                let $stream = Pin::new($stream);
                $call
            }
            Stream::Tls($stream) => {
                let $stream = Pin::new($stream.as_mut());
                $call
            }
        }
    };
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        either!(self, stream => stream.poll_read(cx, buf))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        either!(self, stream => stream.poll_write(cx, buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        either!(self, stream => stream.poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Tcp(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => stream.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => stream.poll_shutdown(cx))
    }
}
