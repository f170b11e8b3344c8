//! A minimal HTTP client: every host is on loopback, the gateway's certificate is trusted, HTTP/1.1 and HTTP/2.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, Version, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use url::Url;

use super::pki::{client_tls, pki};

pub type Error = Box<dyn std::error::Error + Send + Sync>;

/// No answer takes longer; a test that waits for one fails rather than hangs.
const PATIENCE: Duration = Duration::from_secs(30);

/// Which protocol is spoken with TLS; without TLS it is always HTTP/1.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaks {
    H1,
    H2,
}

/// A response, read to its end.
#[derive(Clone, Debug)]
pub struct Reply {
    pub status: StatusCode,
    pub version: Version,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Reply {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|why| panic!("{}: not JSON ({why}): {}", self.status, self.text()))
    }

    /// A header's value, empty where there is none.
    pub fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name);
        value.map_or("", |value| value.to_str().unwrap_or("(not text)"))
    }
}

type Multiplexed = http2::SendRequest<Full<Bytes>>;

/// Connections: one for each request with HTTP/1.1, one for each origin with HTTP/2, as browsers do.
pub struct Wire {
    speaks: Speaks,
    tls: TlsConnector,
    open: tokio::sync::Mutex<HashMap<(String, u16), Multiplexed>>,
    last_version: Mutex<Option<Version>>,
}

impl Wire {
    pub fn new(speaks: Speaks) -> Self {
        Self::trusting(speaks, &pki().root)
    }

    /// One that trusts this root, or this server's own certificate, alone.
    pub fn trusting(speaks: Speaks, root_pem: &str) -> Self {
        let alpn: &[u8] = match speaks {
            Speaks::H1 => b"http/1.1",
            Speaks::H2 => b"h2",
        };
        Self {
            speaks,
            tls: TlsConnector::from(client_tls(root_pem, &[alpn])),
            open: tokio::sync::Mutex::default(),
            last_version: Mutex::default(),
        }
    }

    /// Sends a request to `url` and reads the whole response. The request's own URI is ignored.
    pub async fn send(&self, url: &Url, request: Request<Full<Bytes>>) -> Result<Reply, Error> {
        let exchange = async {
            let (head, body) = self.open(url, request).await?.into_parts();
            let body = body.collect().await?.to_bytes();
            *self.last_version.lock().unwrap() = Some(head.version);
            Ok(Reply {
                status: head.status,
                version: head.version,
                headers: head.headers,
                body,
            })
        };
        tokio::time::timeout(PATIENCE, exchange).await?
    }

    /// Sends a request to `url` and leaves the response's body to be read as it comes.
    pub async fn open(
        &self,
        url: &Url,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, Error> {
        let host = url.host_str().ok_or("a URL without a host")?.to_owned();
        let port = url.port_or_known_default().ok_or("a URL without a port")?;
        if url.scheme() == "http" {
            let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
            return one_request(stream, url, request).await;
        }
        if self.speaks == Speaks::H1 {
            return one_request(self.tls(&host, port).await?, url, request).await;
        }
        self.multiplexed(&host, port, url, request).await
    }

    /// A TLS connection to the loopback port, for what is no plain request.
    pub async fn tls(&self, host: &str, port: u16) -> Result<TlsStream<TcpStream>, Error> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
        stream.set_nodelay(true)?;
        let name = ServerName::try_from(host.to_owned())?;
        Ok(self.tls.connect(name, stream).await?)
    }

    async fn multiplexed(
        &self,
        host: &str,
        port: u16,
        url: &Url,
        mut request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, Error> {
        *request.uri_mut() = url.as_str().split('#').next().unwrap_or_default().parse()?;
        *request.version_mut() = Version::HTTP_2;
        let mut sender = self.sender(host, port).await?;
        sender.ready().await?;
        Ok(sender.send_request(request).await?)
    }

    async fn sender(&self, host: &str, port: u16) -> Result<Multiplexed, Error> {
        let mut open = self.open.lock().await;
        let key = (host.to_owned(), port);
        if let Some(sender) = open.get(&key).filter(|sender| !sender.is_closed()) {
            return Ok(sender.clone());
        }
        let stream = TokioIo::new(self.tls(host, port).await?);
        let (sender, connection) = http2::handshake(TokioExecutor::new(), stream).await?;
        tokio::spawn(connection);
        open.insert(key, sender.clone());
        Ok(sender)
    }
}

async fn one_request<S>(
    stream: S,
    url: &Url,
    mut request: Request<Full<Bytes>>,
) -> Result<Response<Incoming>, Error>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let path = &url[url::Position::BeforePath..url::Position::AfterQuery];
    *request.uri_mut() = path.parse()?;
    let authority = &url[url::Position::BeforeHost..url::Position::AfterPort];
    if !request.headers().contains_key(header::HOST) {
        request
            .headers_mut()
            .insert(header::HOST, authority.parse()?);
    }
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection.with_upgrades());
    Ok(sender.send_request(request).await?)
}
