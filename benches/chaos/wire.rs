//! Light raw clients: pooled HTTP/1.1 connections to the gateways (TLS) and to the identity provider.

use std::net::Ipv4Addr;
use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// No answer takes longer.
const PATIENCE: Duration = Duration::from_secs(40);

type Sender = SendRequest<Full<Bytes>>;

/// A server, and the connections to it that are idle.
pub struct Door {
    port: u16,
    tls: Option<TlsConnector>,
    idle: Mutex<Vec<Sender>>,
}

/// A whole answer.
#[derive(Debug)]
pub struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// Why there is none.
#[derive(Debug, PartialEq, Eq)]
pub enum Failure {
    /// Nobody listens: nothing was sent.
    Unreachable,
    /// The connection broke.
    Broken,
    /// It takes too long.
    Slow,
}

impl Door {
    pub fn new(port: u16, tls: Option<TlsConnector>) -> Self {
        Self {
            port,
            tls,
            idle: Mutex::default(),
        }
    }

    /// Sends a request and reads the whole response. Dropping this drops the connection, in whatever state.
    pub async fn send(&self, request: Request<Full<Bytes>>) -> Result<Reply, Failure> {
        let sent = tokio::time::timeout(PATIENCE, self.exchange(request)).await;
        sent.unwrap_or(Err(Failure::Slow))
    }

    async fn exchange(&self, mut request: Request<Full<Bytes>>) -> Result<Reply, Failure> {
        loop {
            let pooled = self.pooled();
            let again = pooled.is_some();
            let mut sender = match pooled {
                Some(sender) => sender,
                None => self.connect().await.map_err(|_| Failure::Unreachable)?,
            };
            match sender.try_send_request(request).await {
                Ok(response) => {
                    let (head, body) = response.into_parts();
                    let body = body.collect().await.map_err(|_| Failure::Broken)?;
                    if sender.ready().await.is_ok() {
                        self.idle.lock().unwrap().push(sender);
                    }
                    return Ok(Reply {
                        status: head.status,
                        headers: head.headers,
                        body: body.to_bytes(),
                    });
                }
                // A connection that was closed while it was idle: nothing was sent.
                Err(mut error) => match error.take_message().filter(|_| again) {
                    Some(unsent) => request = unsent,
                    None => return Err(Failure::Broken),
                },
            }
        }
    }

    fn pooled(&self) -> Option<Sender> {
        let mut idle = self.idle.lock().unwrap();
        while let Some(sender) = idle.pop() {
            if sender.is_ready() {
                return Some(sender);
            }
        }
        None
    }

    async fn connect(&self) -> std::io::Result<Sender> {
        let tcp = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).await?;
        tcp.set_nodelay(true)?;
        match &self.tls {
            Some(tls) => {
                let name = ServerName::try_from("localhost").unwrap();
                speak(tls.connect(name, tcp).await?).await
            }
            None => speak(tcp).await,
        }
    }
}

async fn speak<S>(stream: S) -> std::io::Result<Sender>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let shaken = http1::handshake(TokioIo::new(stream)).await;
    let (sender, connection) = shaken.map_err(std::io::Error::other)?;
    tokio::spawn(connection);
    Ok(sender)
}
