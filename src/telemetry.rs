//! Logs: what goes where, in which form, and the one line a request leaves.

/// What `[telemetry]` says.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The form of log lines.
    pub format: Format,
    /// A filter of tracing-subscriber's, such as `info` or `tidegate::session=debug`.
    pub level: String,
    /// Whether each request leaves a line.
    pub access_log: bool,
}

/// The form of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One JSON object a line.
    Json,
    /// For people.
    Pretty,
}

/// Sets up logging for the process.
///
/// # Errors
/// When the filter can't be parsed.
pub fn init(_settings: &Settings) -> Result<(), String> {
    todo!()
}

/// A request's id: the trace id of its `traceparent` (W3C Trace Context), or a fresh one. 32 lower-case hex digits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId {}

impl RequestId {
    /// Of a request with these headers.
    pub fn of(_headers: &http::HeaderMap) -> Self {
        todo!()
    }

    /// The 32 digits.
    pub fn as_str(&self) -> &str {
        todo!()
    }

    /// The `traceparent` to send upstream: this trace, a fresh span.
    pub fn traceparent(&self) -> http::HeaderValue {
        todo!()
    }
}

/// The line that a request leaves, written when its response is over. Never a token, a cookie, a query or a password.
#[derive(Debug)]
pub struct Access {}

impl Access {
    /// A request has come. `None` where the access log is off.
    pub fn begin(
        _enabled: bool,
        _head: &http::request::Parts,
        _peer: &crate::peer::Peer,
        _id: &RequestId,
    ) -> Option<Box<Self>> {
        todo!()
    }

    /// By which route it went.
    pub fn route(&mut self, _route: &std::sync::Arc<str>) {
        todo!()
    }

    /// Whose it was.
    pub fn subject(&mut self, _subject: &std::sync::Arc<str>) {
        todo!()
    }

    /// Why it was refused.
    pub fn refused(&mut self, _reason: String) {
        todo!()
    }
}

/// A response body that writes its request's access line when it is over, or dropped.
#[derive(Debug)]
pub struct Observed<B> {
    inner: B,
}

impl<B> Observed<B> {
    /// Watches `response` for `access`.
    pub fn watch(
        _response: http::Response<B>,
        _access: Option<Box<Access>>,
    ) -> http::Response<Self> {
        todo!()
    }
}
