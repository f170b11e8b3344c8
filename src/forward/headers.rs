//! What becomes of the headers on their way through: first everything is taken away that is not the client's, or not the
//! upstream's, to say; then ours are set. In this order nothing that a client sends can remove ours.

use http::header::{
    CONNECTION, CONTENT_LENGTH, EXPECT, HOST, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION,
    STRICT_TRANSPORT_SECURITY, TE, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use http_body::Body;

use super::guard::{Guard, Source};
use crate::target::Target;

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");

/// Hop-by-hop in either direction (RFC 9110 section 7.6.1). `Trailer` is not among them: without it trailers are not sent on.
const HOP_BY_HOP: [HeaderName; 7] = [
    CONNECTION,
    KEEP_ALIVE,
    PROXY_CONNECTION,
    PROXY_AUTHENTICATE,
    TE,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// Not forwarded either: meant for us, or for a protocol that is not spoken.
const FOR_US_ONLY: [HeaderName; 3] = [PROXY_AUTHORIZATION, HTTP2_SETTINGS, EXPECT];

/// A year, for this host only.
const HSTS: HeaderValue = HeaderValue::from_static("max-age=31536000");

/// Takes away what a client may not say.
///
/// `Expect` ends here: hyper answers 100 itself once the upstream is connected and begins to take the body.
pub(super) fn strip_request(headers: &mut HeaderMap, guard: &Guard, source: Source) {
    let trailers = accepts_trailers(headers);
    remove_named_by_connection(headers);
    for name in HOP_BY_HOP.iter().chain(&FOR_US_ONLY) {
        headers.remove(name);
    }
    let refused: Vec<HeaderName> = headers
        .keys()
        .filter(|name| !guard.passes(name.as_str(), source))
        .cloned()
        .collect();
    for name in refused {
        headers.remove(name);
    }
    if trailers {
        // RFC 9110 section 10.1.4 wants both.
        headers.insert(TE, HeaderValue::from_static("trailers"));
        headers.insert(CONNECTION, HeaderValue::from_static("te"));
    }
}

/// Says how long the body is, by the body and not by what the client said of it. Without any of this hyper would leave a
/// body of unknown length away from a GET.
pub(super) fn frame_request(headers: &mut HeaderMap, method: &Method, body: &impl Body) {
    let said = headers.remove(CONTENT_LENGTH).is_some();
    if body.is_end_stream() {
        let expected = matches!(*method, Method::POST | Method::PUT | Method::PATCH);
        if said || expected {
            headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
    } else if let Some(length) = body.size_hint().exact() {
        headers.insert(CONTENT_LENGTH, length.into());
    } else {
        headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
}

/// Sets `Host` to the host that the request was matched by: the upstream sees the name that people type, as applications
/// behind a proxy need it for their links and cookies.
pub(super) fn set_host(headers: &mut HeaderMap, target: &Target) -> Option<HeaderValue> {
    if !headers.get(HOST).is_some_and(|said| is_host(said, target)) {
        let host = match target.port {
            Some(port) => HeaderValue::try_from(format!("{}:{port}", target.host)),
            None => HeaderValue::from_str(&target.host),
        };
        headers.insert(HOST, host.ok()?);
    }
    headers.get(HOST).cloned()
}

fn is_host(said: &HeaderValue, target: &Target) -> bool {
    match said.as_bytes().strip_prefix(target.host.as_bytes()) {
        Some([]) => target.port.is_none(),
        Some([b':', port @ ..]) => {
            std::str::from_utf8(port).is_ok_and(|port| port.parse().ok() == target.port)
        }
        _ => false,
    }
}

/// Takes away what an upstream may not say to the client.
pub(super) fn strip_response(headers: &mut HeaderMap) {
    // A length beside a transfer coding is void (RFC 9112 section 6.3), and must not be believed by the next reader.
    if headers.contains_key(TRANSFER_ENCODING) {
        headers.remove(CONTENT_LENGTH);
    }
    // hyper has made sure that several lengths are the same.
    if headers.get_all(CONTENT_LENGTH).iter().nth(1).is_some()
        && let Some(length) = headers.get(CONTENT_LENGTH).cloned()
    {
        headers.insert(CONTENT_LENGTH, length);
    }
    remove_named_by_connection(headers);
    for name in &HOP_BY_HOP {
        headers.remove(name);
    }
}

/// Keeps browsers on https (RFC 6797). Not for localhost, where other things run on other ports, nor for bare addresses,
/// where it has no meaning (section 8.1.1).
pub(super) fn keep_on_https(headers: &mut HeaderMap, target: &Target) {
    let host = &*target.host;
    let local = host == "localhost" || host.ends_with(".localhost");
    let bare = host.starts_with('[') || host.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    if !local && !bare {
        headers.entry(STRICT_TRANSPORT_SECURITY).or_insert(HSTS);
    }
}

fn remove_named_by_connection(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|name| !is_usual(name))
        .filter_map(|name| HeaderName::from_bytes(name).ok())
        .collect();
    for name in named {
        headers.remove(name);
    }
}

/// What `Connection` names nearly always, and what is removed anyway.
fn is_usual(option: &[u8]) -> bool {
    [&b"keep-alive"[..], b"close", b"upgrade", b"te"]
        .iter()
        .any(|usual| option.eq_ignore_ascii_case(usual))
}

fn accepts_trailers(headers: &HeaderMap) -> bool {
    headers
        .get_all(TE)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .any(|coding| coding.trim_ascii().eq_ignore_ascii_case(b"trailers"))
}
