//! The little HTTP server that the development identity provider and the demo upstream stand on: loopback only, HTTP/1.1.

use std::collections::HashSet;
use std::convert::Infallible;
use std::fmt;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use socket2::SockRef;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_util::sync::{CancellationToken, DropGuard};

/// A response's body.
pub type Body = UnsyncBoxBody<Bytes, Infallible>;

/// What a handler says; `None` closes the connection without an answer.
pub type Answer = Option<Response<Body>>;

/// Whatever answers requests on a port.
pub trait Service: Send + Sync + 'static {
    /// Answers one request.
    fn answer(self: Arc<Self>, request: Request<Incoming>) -> impl Future<Output = Answer> + Send;
}

/// A bound loopback port. It can be closed, so that connections are refused, and opened again; dropping it ends it.
pub struct Server {
    port: u16,
    serve: Box<dyn Fn(Vec<Arc<TcpListener>>) -> Opening + Send + Sync>,
    now: Mutex<Option<Opening>>,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Server({})", self.port)
    }
}

/// The time between two closings.
struct Opening {
    listeners: Vec<Arc<TcpListener>>,
    closes: DropGuard,
}

/// A loopback port that is ours, before anything answers on it.
#[derive(Debug)]
pub struct Port {
    number: u16,
    listeners: Vec<Arc<TcpListener>>,
}

impl Port {
    /// Its number.
    pub fn number(&self) -> u16 {
        self.number
    }
}

/// Takes `port`, or any where it is 0.
///
/// # Errors
/// When it can't be had.
pub fn reserve(port: u16) -> io::Result<Port> {
    const TRIES: usize = 20;
    let mut reserved = take(port);
    for _ in 1..TRIES {
        if port != 0 || reserved.is_ok() {
            break;
        }
        reserved = take(port);
    }
    reserved
}

/// Takes a port on both loopback addresses: whoever connects to `localhost` may try either. A machine without IPv6 has no
/// second, and needs none; a port where somebody else answers there can't be used.
fn take(port: u16) -> io::Result<Port> {
    let first = bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))?;
    let number = first.local_addr()?.port();
    let mut listeners = vec![Arc::new(first)];
    match bind(SocketAddr::from((Ipv6Addr::LOCALHOST, number))) {
        Ok(second) => listeners.push(Arc::new(second)),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => return Err(error),
        Err(_) => {}
    }
    Ok(Port { number, listeners })
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(1024)
}

impl Server {
    /// Answers on `port` with `service`, on the current runtime.
    pub fn start<S: Service>(port: Port, service: &Arc<S>) -> Self {
        let service = Arc::clone(service);
        let serve = move |listeners: Vec<Arc<TcpListener>>| {
            let token = CancellationToken::new();
            for listener in &listeners {
                let (listener, service) = (Arc::clone(listener), Arc::clone(&service));
                tokio::spawn(accept(listener, service, token.clone()));
            }
            let closes = token.drop_guard();
            Opening { listeners, closes }
        };
        Self {
            port: port.number,
            now: Mutex::new(Some(serve(port.listeners))),
            serve: Box::new(serve),
        }
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Closes the port and breaks its connections: when this returns, the system refuses.
    pub fn close(&self) {
        let Some(opening) = self.opening().take() else {
            return;
        };
        drop(opening.closes);
        for listener in opening.listeners {
            // The task that accepts drops its handle a moment later; nobody gets in until then.
            let _ = SockRef::from(&*listener).shutdown(Shutdown::Both);
        }
    }

    /// Opens it again: when this returns, connections are accepted.
    pub fn open(&self) {
        let mut now = self.opening();
        if now.is_some() {
            return;
        }
        match take(self.port) {
            Ok(port) => *now = Some((self.serve)(port.listeners)),
            Err(error) => {
                tracing::warn!(%error, port = self.port, "the port can't be opened again");
            }
        }
    }

    fn opening(&self) -> MutexGuard<'_, Option<Opening>> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Accepts until the door is closed; what was accepted breaks off then.
async fn accept<S: Service>(
    listener: Arc<TcpListener>,
    service: Arc<S>,
    closed: CancellationToken,
) {
    loop {
        tokio::select! {
            biased;
            () = closed.cancelled() => return,
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                tokio::spawn(converse(stream, Arc::clone(&service), closed.clone()));
            }
        }
    }
}

/// One connection.
async fn converse<S: Service>(stream: TcpStream, service: Arc<S>, closed: CancellationToken) {
    let handler = service_fn(move |request| {
        let service = Arc::clone(&service);
        async move {
            service
                .answer(request)
                .await
                .ok_or_else(|| io::Error::other("no answer on purpose"))
        }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(stream), handler)
        .with_upgrades();
    tokio::select! {
        biased;
        () = closed.cancelled() => {}
        _ = connection => {}
    }
}

/// A whole body in one piece.
pub fn full(body: impl Into<Bytes>) -> Body {
    Full::new(body.into()).boxed_unsync()
}

/// A response with a body of `content_type`, kept by nobody.
pub fn reply(
    status: StatusCode,
    content_type: &'static str,
    body: impl Into<Bytes>,
) -> Response<Body> {
    let mut response = Response::new(full(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// JSON.
pub fn json(status: StatusCode, body: &serde_json::Value) -> Response<Body> {
    reply(status, "application/json", body.to_string())
}

/// 303 to `location`; 500 where it can't be a header.
pub fn see_other(location: &str) -> Response<Body> {
    let mut response = reply(StatusCode::SEE_OTHER, "text/plain; charset=utf-8", "");
    match HeaderValue::from_str(location) {
        Ok(value) => {
            response.headers_mut().insert(header::LOCATION, value);
        }
        Err(_) => *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR,
    }
    response
}

/// A page of ours: no script unless `script` allows it, in no frame.
pub fn page(status: StatusCode, html: String) -> Response<Body> {
    let mut response = reply(status, "text/html; charset=utf-8", html);
    let headers = response.headers_mut();
    // `form-action` binds the redirects that follow a form too, and they lead to the client's own address.
    headers.insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(
            "default-src 'none'; img-src data:; style-src 'self'; form-action 'self' http: https:; \
             frame-ancestors 'none'; base-uri 'none'",
        ),
    );
    headers.insert(
        header::REFERRER_POLICY,
        HeaderValue::from_static("no-referrer"),
    );
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    response
}

/// Fills the `{{slots}}` of a template; every value is escaped unless its name ends in `_html`.
pub fn fill(template: &str, values: &[(&str, &str)]) -> String {
    let mut out = template.replace("{{mark_html}}", include_str!("../pages/mark.svg"));
    for (name, value) in values {
        let value = if name.ends_with("_html") {
            (*value).to_owned()
        } else {
            escape(value)
        };
        out = out.replace(&format!("{{{{{name}}}}}"), &value);
    }
    out
}

/// Text made safe for HTML, attributes included.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '{' => out.push_str("&#123;"),
            c => out.push(c),
        }
    }
    out
}

/// Parameters of a query or a form: each name once.
#[derive(Clone, Debug, Default)]
pub struct Params(Vec<(String, String)>);

/// Why parameters can't be read.
#[derive(Debug, thiserror::Error)]
pub enum BadParams {
    /// RFC 6749 section 3.1: none may come twice.
    #[error("a parameter came more than once")]
    Repeated,
    /// Not `application/x-www-form-urlencoded`.
    #[error("the body is not a form")]
    NotAForm,
    /// Over 64 KiB, or it broke off.
    #[error("the body can't be read")]
    Unreadable,
}

impl Params {
    /// Of `name=value&…`.
    ///
    /// # Errors
    /// When a name comes twice.
    pub fn parse(encoded: &[u8]) -> Result<Self, BadParams> {
        let pairs: Vec<(String, String)> =
            url::form_urlencoded::parse(encoded).into_owned().collect();
        let mut seen = HashSet::new();
        if pairs.iter().all(|(name, _)| seen.insert(name.as_str())) {
            return Ok(Self(pairs));
        }
        Err(BadParams::Repeated)
    }

    /// Of a request's query.
    ///
    /// # Errors
    /// When a name comes twice.
    pub fn query(uri: &http::Uri) -> Result<Self, BadParams> {
        Self::parse(uri.query().unwrap_or_default().as_bytes())
    }

    /// Of a request's form.
    ///
    /// # Errors
    /// See [`BadParams`].
    pub async fn form(request: Request<Incoming>) -> Result<Self, BadParams> {
        let form = request
            .headers()
            .get(header::CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .is_some_and(|value| value.starts_with("application/x-www-form-urlencoded"));
        if !form {
            return Err(BadParams::NotAForm);
        }
        let body = Limited::new(request.into_body(), 64 * 1024)
            .collect()
            .await
            .map_err(|_| BadParams::Unreadable)?;
        Self::parse(&body.to_bytes())
    }

    /// A parameter, unless it is missing or empty (RFC 6749 section 3.1 takes the two for the same).
    pub fn find(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(known, value)| known == name && !value.is_empty())
            .map(|(_, value)| value.as_str())
    }

    /// A parameter's words, split at spaces.
    pub fn words(&self, name: &str) -> Vec<String> {
        let words = self.find(name).unwrap_or_default().split_ascii_whitespace();
        words.map(str::to_owned).collect()
    }
}

/// A cookie's value.
pub fn cookie(headers: &HeaderMap, name: &str) -> Option<String> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(known, _)| *known == name)
        .map(|(_, value)| value.to_owned())
}

/// Whether a form was sent from one of our own pages, or by something that is no browser.
pub fn from_own_page(headers: &HeaderMap) -> bool {
    headers
        .get("sec-fetch-site")
        .is_none_or(|site| site == "same-origin" || site == "none")
}

/// The style that all pages of the demo share.
pub fn style() -> Response<Body> {
    let mut response = reply(
        StatusCode::OK,
        "text/css; charset=utf-8",
        concat!(
            include_str!("../pages/style.css"),
            include_str!("pages/style.css")
        ),
    );
    response.headers_mut().insert(
        header::CACHE_CONTROL,
        HeaderValue::from_static("max-age=600"),
    );
    response
}
