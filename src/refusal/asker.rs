//! Who asks, as far as it decides how a refusal looks: a page load, a form, a frame, or a program.

use http::header::{ACCEPT, HOST, REFERER};
use http::request::Parts;
use http::uri::Uri;
use http::{HeaderMap, HeaderName, HeaderValue, Method};

use crate::telemetry::RequestId;

const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
const SEC_FETCH_DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");
const X_REQUESTED_WITH: HeaderName = HeaderName::from_static("x-requested-with");

/// What an asker can make use of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wants {
    /// The address bar: may be sent elsewhere.
    Redirect,
    /// Shows HTML, but must not be sent elsewhere: a form's POST, a frame.
    Page,
    /// A program: status, challenge, problem (RFC 9457).
    Problem,
}

/// What of a request decides how a refusal looks: kept from the head before it is consumed. All of it shares the head's
/// bytes, since most requests are never refused.
#[derive(Clone, Debug)]
pub struct Asker {
    pub(super) wants: Wants,
    method: Method,
    uri: Uri,
    host: Option<HeaderValue>,
    referer: Option<HeaderValue>,
    id: RequestId,
}

impl Asker {
    /// From a request's head.
    pub fn of(head: &Parts, id: &RequestId) -> Self {
        Self {
            wants: wants(head),
            method: head.method.clone(),
            uri: head.uri.clone(),
            host: head.headers.get(HOST).cloned(),
            referer: head.headers.get(REFERER).cloned(),
            id: id.clone(),
        }
    }

    /// Whether this is a page load that can be sent elsewhere.
    pub fn navigates(&self) -> bool {
        self.wants == Wants::Redirect
    }

    /// The host as the client named it, in lower case, without port.
    pub(super) fn host(&self) -> String {
        let named = match (self.uri.authority(), &self.host) {
            (Some(authority), _) => authority.as_str(),
            (None, Some(host)) => host.to_str().unwrap_or_default(),
            (None, None) => "",
        };
        let named = named.rsplit_once('@').map_or(named, |(_, host)| host);
        let end = match named.find(']') {
            Some(bracket) => bracket + 1,
            None => named.find(':').unwrap_or(named.len()),
        };
        let host = named.get(..end).unwrap_or_default();
        host.trim_end_matches('.').to_ascii_lowercase()
    }

    pub(super) fn path(&self) -> &str {
        self.uri.path()
    }

    pub(super) fn request_id(&self) -> &str {
        self.id.as_str()
    }

    /// Whether the answer must have no body (RFC 9110 section 9.3.2).
    pub(super) fn is_head(&self) -> bool {
        self.method == Method::HEAD
    }

    /// Whether asking again does nothing twice.
    pub(super) fn is_safe(&self) -> bool {
        self.method.is_safe()
    }

    /// What to come back to after signing in: the page itself; for a program the page that it runs in, if that is on
    /// `origin`. What can't be repeated leads to the start page.
    pub(super) fn return_to(&self, origin: &str) -> String {
        let own = || {
            let own = self.uri.path_and_query().map_or("/", |own| own.as_str());
            if self.is_safe() { own } else { "/" }.to_owned()
        };
        match self.wants {
            Wants::Redirect => own(),
            Wants::Page | Wants::Problem => self.page(origin).unwrap_or_else(own),
        }
    }

    fn page(&self, origin: &str) -> Option<String> {
        let path = self.referer.as_ref()?.to_str().ok()?.strip_prefix(origin)?;
        path.starts_with('/').then(|| path.to_owned())
    }
}

/// Whether whoever sent this can make use of a page.
pub fn understands_pages(head: &Parts) -> bool {
    wants(head) != Wants::Problem
}

fn wants(head: &Parts) -> Wants {
    let readable = head.method == Method::GET || head.method == Method::HEAD;
    let html = match head.headers.get(SEC_FETCH_MODE) {
        // Fetch Metadata says it outright: no `Accept` of a script can look like a page load.
        Some(mode) => mode == "navigate",
        None => !head.headers.contains_key(X_REQUESTED_WITH) && prefers_html(&head.headers),
    };
    let framed = head
        .headers
        .get(SEC_FETCH_DEST)
        .is_some_and(|dest| dest != "document");
    match (html, readable && !framed) {
        (true, true) => Wants::Redirect,
        (true, false) => Wants::Page,
        (false, _) => Wants::Problem,
    }
}

/// Whether `Accept` names HTML, and no JSON that it likes better or names earlier. `*/*` names nothing.
fn prefers_html(headers: &HeaderMap) -> bool {
    let (mut html, mut json) = (0, 0);
    let lines = headers.get_all(ACCEPT).iter();
    let ranges = lines
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(','));
    for range in ranges {
        let (name, parameters) = range.split_once(';').unwrap_or((range, ""));
        let (name, weight) = (name.trim(), weight(parameters));
        if name.eq_ignore_ascii_case("text/html") {
            html = if weight > json { weight } else { 0 };
        } else if name.to_ascii_lowercase().ends_with("json") {
            json = json.max(weight);
        }
    }
    html > 0 && html >= json
}

/// `q` in thousandths (RFC 9110 section 12.4.2).
fn weight(parameters: &str) -> u16 {
    let q = parameters.split(';').find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("q").then(|| value.trim())
    });
    let Some(q) = q else { return 1000 };
    let (whole, fraction) = q.split_once('.').unwrap_or((q, ""));
    let mut digits = fraction.bytes().chain(*b"000").take(3);
    let thousandths = digits.try_fold(0, |sum, digit| {
        let digit = digit.is_ascii_digit().then_some(digit - b'0')?;
        Some(sum * 10 + u16::from(digit))
    });
    match (whole, thousandths) {
        ("1", Some(_)) => 1000,
        ("0", Some(thousandths)) => thousandths,
        _ => 0,
    }
}
