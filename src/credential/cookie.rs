//! Cookies of ours: how they are found among others, and with which attributes they are set and cleared.

use http::header::{CACHE_CONTROL, COOKIE, HeaderName, SET_COOKIE};
use http::{HeaderMap, HeaderValue};

use crate::token::SessionCookie;

/// What every cookie of ours carries. `__Host-` asks for `Secure`, `Path=/` and no `Domain`; one that lacks any of them is
/// dropped by the browser, also one that is meant to clear.
const ATTRIBUTES: &str = "Path=/; Secure; HttpOnly; SameSite=Lax";

/// What tells caches of one maker or kind more than `Cache-Control` does, and goes before it (RFC 9213).
const TARGETED: [HeaderName; 2] = [
    HeaderName::from_static("cdn-cache-control"),
    HeaderName::from_static("surrogate-control"),
];

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
pub fn session(headers: &HeaderMap, name: &str) -> Option<SessionCookie> {
    value(headers, name).and_then(SessionCookie::parse)
}

/// How long the value of the cookie called `name` may be: browsers keep 4096 bytes, and some count the attributes too.
pub fn room(name: &str) -> usize {
    let rest = name.len() + "=; ".len() + ATTRIBUTES.len();
    SessionCookie::LONGEST.saturating_sub(rest)
}

/// Sets a newer value on any response on its way out. No cache may keep that for others.
pub fn renew(headers: &mut HeaderMap, name: &str, value: &str) {
    if let Some(cookie) = set(name, value) {
        headers.append(SET_COOKIE, cookie);
        keep_private(headers);
    }
}

/// RFC 9111 section 5.2.2.7. What the upstream says besides stays, but for what speaks to shared caches; what must not be
/// stored at all stays so.
fn keep_private(headers: &mut HeaderMap) {
    for name in &TARGETED {
        headers.remove(name);
    }
    let lines = headers.get_all(CACHE_CONTROL).iter();
    let lines: Vec<&str> = lines.filter_map(|line| line.to_str().ok()).collect();
    let said = lines.join(", ");
    if directives(&said).any(|said| said.eq_ignore_ascii_case("no-store")) {
        return;
    }
    let private = if said.contains('"') {
        // A quoted list has commas of its own.
        format!("{said}, private")
    } else {
        let kept = directives(&said).filter(|said| !speaks_to_shared_caches(said));
        kept.chain(["private"]).collect::<Vec<_>>().join(", ")
    };
    if let Ok(private) = HeaderValue::from_str(&private) {
        headers.insert(CACHE_CONTROL, private);
    }
}

fn directives(said: &str) -> impl Iterator<Item = &str> {
    said.split(',').map(str::trim).filter(|one| !one.is_empty())
}

fn speaks_to_shared_caches(directive: &str) -> bool {
    let (name, _) = directive.split_once('=').unwrap_or((directive, ""));
    let name = name.trim_ascii();
    ["public", "private", "s-maxage"]
        .iter()
        .any(|known| name.eq_ignore_ascii_case(known))
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
