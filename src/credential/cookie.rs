//! Cookies of ours: how they are found among others, and with which attributes they are set and cleared.

use http::header::COOKIE;
use http::{HeaderMap, HeaderValue};

use crate::token::SessionId;

/// What every cookie of ours carries. `__Host-` asks for `Secure`, `Path=/` and no `Domain`; one that lacks any of them is
/// dropped by the browser, also one that is meant to clear.
const ATTRIBUTES: &str = "Path=/; Secure; HttpOnly; SameSite=Lax";

/// All cookies of a request, in order, over all `Cookie` headers (HTTP/2 sends crumbs, RFC 9113 section 8.2.3). What has
/// no `=` is none of ours.
pub fn all(headers: &HeaderMap) -> impl Iterator<Item = (&[u8], &[u8])> {
    headers
        .get_all(COOKIE)
        .iter()
        .flat_map(|line| line.as_bytes().split(|byte| *byte == b';'))
        .filter_map(|pair| {
            let pair = pair.trim_ascii();
            let eq = pair.iter().position(|byte| *byte == b'=')?;
            Some((pair.get(..eq)?, pair.get(eq + 1..)?))
        })
}

/// The value of the cookie called exactly `name`. Two that differ count as none: one of them was planted, and which
/// can't be told (RFC 6265bis section 8.6).
pub fn value<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let mut values = all(headers)
        .filter(|(found, _)| *found == name.as_bytes())
        .map(|(_, value)| value);
    let first = values.next()?;
    if values.any(|other| other != first) {
        return None;
    }
    std::str::from_utf8(first).ok()
}

/// The session that the cookie called `name` stands for.
pub fn session(headers: &HeaderMap, name: &str) -> Option<SessionId> {
    value(headers, name).and_then(SessionId::parse)
}

/// `Set-Cookie` for as long as the browser runs. `value` must be made of cookie octets (base64url here).
pub fn set(name: &str, value: &str) -> Option<HeaderValue> {
    sensitive(&format!("{name}={value}; {ATTRIBUTES}"))
}

/// `Set-Cookie` for `seconds`.
pub fn set_for(name: &str, value: &str, seconds: u64) -> Option<HeaderValue> {
    sensitive(&format!("{name}={value}; Max-Age={seconds}; {ATTRIBUTES}"))
}

/// `Set-Cookie` that clears: both ways of saying it, and every attribute repeated.
pub fn clear(name: &str) -> Option<HeaderValue> {
    sensitive(&format!(
        "{name}=; Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT; {ATTRIBUTES}"
    ))
}

fn sensitive(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    // Kept out of HPACK's dynamic table, and out of `Debug`.
    value.set_sensitive(true);
    Some(value)
}
