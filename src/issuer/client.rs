//! Calls to the provider: bounded in time and bytes, no redirect followed, and always known whether anything was sent.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use serde_json::Value;
use tokio::time::{Instant, timeout_at};
use url::{Url, form_urlencoded};

use crate::connect::{self, Body, Origin, Pool, Scheme};
use crate::token::AccessToken;

/// A connection that the provider closes while a request is on its way leaves the outcome unknown, and a refresh token can't
/// be sent twice. Servers close idle connections after five seconds (node) at the earliest, so none is used near that age.
const IDLE: Duration = Duration::from_secs(2);

/// The client side of one provider: a pool for each origin that its endpoints are at.
#[derive(Debug)]
pub(super) struct Client {
    tls: Arc<rustls::ClientConfig>,
    call_timeout: Duration,
    max_answer_bytes: usize,
    pools: Mutex<HashMap<Origin, Pool>>,
}

/// What is sent besides method and address.
#[derive(Default)]
pub(super) struct Content {
    /// What the body is; none where there is no body.
    media_type: Option<&'static str>,
    body: String,
    authorization: Option<HeaderValue>,
}

impl Content {
    /// A form.
    pub(super) fn form(parameters: &[(&str, &str)]) -> Self {
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.extend_pairs(parameters);
        Self {
            media_type: Some("application/x-www-form-urlencoded"),
            body: form.finish(),
            authorization: None,
        }
    }

    /// JSON.
    pub(super) fn json(value: &Value) -> Self {
        Self {
            media_type: Some("application/json"),
            body: value.to_string(),
            authorization: None,
        }
    }

    /// No body, and a bearer token (RFC 6750 section 2.1).
    pub(super) fn bearer(token: &AccessToken) -> Self {
        Self::default().authorized(&format!("Bearer {}", token.expose()))
    }

    /// The same with these credentials; without where they can't be a header.
    pub(super) fn authorized(mut self, credentials: &str) -> Self {
        self.authorization = HeaderValue::try_from(credentials).ok().map(|mut value| {
            value.set_sensitive(true);
            value
        });
        self
    }
}

/// An answer's head, and its body if that came whole.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Result<Bytes, BodyError>,
}

/// Why a body is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BodyError {
    #[error("the answer is too large")]
    TooLarge,
    #[error("the answer broke off")]
    Broken,
    #[error("the answer did not come in time")]
    TooSlow,
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) struct Failure {
    /// Whether the provider may have seen the request.
    pub(super) maybe_sent: bool,
    /// What happened, without any token.
    pub(super) reason: String,
}

impl Client {
    pub(super) fn new(
        tls: Arc<rustls::ClientConfig>,
        call_timeout: Duration,
        max_answer_bytes: usize,
    ) -> Self {
        Self {
            tls,
            call_timeout,
            max_answer_bytes,
            pools: Mutex::default(),
        }
    }

    /// Asks for a document.
    pub(super) async fn fetch(&self, url: &Url) -> Result<Answer, Failure> {
        self.call(Method::GET, url, Content::default()).await
    }

    /// Sends something, once.
    pub(super) async fn post(&self, url: &Url, content: Content) -> Result<Answer, Failure> {
        self.call(Method::POST, url, content).await
    }

    /// One request and its answer.
    pub(super) async fn call(
        &self,
        method: Method,
        url: &Url,
        content: Content,
    ) -> Result<Answer, Failure> {
        let deadline = Instant::now() + self.call_timeout;
        let pool = self
            .pool(url)
            .ok_or_else(|| Failure::not_sent("not an http URL"))?;
        let request =
            request(method, url, content).map_err(|_| Failure::not_sent("not a usable URL"))?;
        let response = timeout_at(deadline, pool.send(request))
            .await
            .map_err(|_| Failure::sent("no answer in time"))?
            .map_err(|error| Failure::of(&error))?;
        let (head, body) = response.into_parts();
        let body = timeout_at(deadline, whole(body, self.max_answer_bytes))
            .await
            .unwrap_or(Err(BodyError::TooSlow));
        Ok(Answer {
            status: head.status,
            headers: head.headers,
            body,
        })
    }

    fn pool(&self, url: &Url) -> Option<Pool> {
        let origin = origin(url)?;
        let mut pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        let pool = pools
            .entry(origin.clone())
            .or_insert_with(|| Pool::new(origin, self.settings()));
        Some(pool.clone())
    }

    /// Connecting gets half of the time, so that the whole call's end always means that something may have been sent.
    fn settings(&self) -> connect::Settings {
        connect::Settings {
            connect_timeout: self.call_timeout / 2,
            response_timeout: self.call_timeout,
            idle_timeout: IDLE,
            tls: Arc::clone(&self.tls),
            server_name: None,
        }
    }
}

impl Failure {
    fn not_sent(reason: &str) -> Self {
        Self {
            maybe_sent: false,
            reason: reason.to_owned(),
        }
    }

    fn sent(reason: &str) -> Self {
        Self {
            maybe_sent: true,
            reason: reason.to_owned(),
        }
    }

    fn of(error: &connect::Error) -> Self {
        let cause = std::error::Error::source(error);
        Self {
            maybe_sent: !error.nothing_was_sent(),
            reason: cause.map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}")),
        }
    }
}

/// Reads a body to its end, but no further than `limit`.
async fn whole(mut body: Body, limit: usize) -> Result<Bytes, BodyError> {
    let mut read = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| BodyError::Broken)?.into_data() else {
            continue;
        };
        if read.len() + data.len() > limit {
            return Err(BodyError::TooLarge);
        }
        read.extend_from_slice(&data);
    }
    Ok(read.into())
}

fn request(
    method: Method,
    url: &Url,
    content: Content,
) -> Result<Request<Full<Bytes>>, http::Error> {
    let target = match url.query() {
        Some(query) => format!("{}?{query}", url.path()),
        None => url.path().to_owned(),
    };
    let mut request = Request::builder()
        .uri(target)
        .header(HOST, authority(url))
        // Some providers answer errors in HTML otherwise.
        .header(ACCEPT, "application/json")
        .header(USER_AGENT, concat!("tidegate/", env!("CARGO_PKG_VERSION")));
    if let Some(media_type) = content.media_type {
        request = request.header(CONTENT_TYPE, media_type);
    }
    if let Some(authorization) = content.authorization {
        request = request.header(AUTHORIZATION, authorization);
    }
    request.method(method).body(Full::from(content.body))
}

/// RFC 9110 section 7.2: the port only where it is not the scheme's own.
fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

/// Where a URL's server is; none if it is not an http URL.
pub(super) fn origin(url: &Url) -> Option<Origin> {
    let scheme = match url.scheme() {
        "http" => Scheme::Http,
        "https" => Scheme::Https,
        _ => return None,
    };
    let host = url.host_str()?;
    let address = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    Some(Origin {
        scheme,
        host: address.unwrap_or(host).into(),
        port: url.port_or_known_default()?,
    })
}
