//! The gateway's own cookies: never to an upstream, never from one.

use bytes::Bytes;
use http::header::{COOKIE, SET_COOKIE};
use http::{HeaderMap, HeaderValue};

/// Tells the gateway's own cookies from others.
#[derive(Debug)]
pub(super) struct OwnCookies {
    name: Box<[u8]>,
}

impl OwnCookies {
    pub(super) fn new(name: &str) -> Self {
        Self {
            name: name.as_bytes().into(),
        }
    }

    /// Our cookie, or one whose name goes on from there after a `-`; in any case of letters.
    fn owns(&self, name: &[u8]) -> bool {
        match name.split_at_checked(self.name.len()) {
            Some((head, rest)) => {
                head.eq_ignore_ascii_case(&self.name) && matches!(rest.first(), None | Some(b'-'))
            }
            None => false,
        }
    }

    /// Takes ours out of a request; the others stay byte for byte, but in one header: HTTP/2 may have them in several, HTTP/1.1
    /// may not (RFC 9113 section 8.2.3).
    pub(super) fn withhold(&self, headers: &mut HeaderMap) {
        let ours = |value: &HeaderValue| pairs(value).any(|pair| self.owns(name(pair)));
        let all = headers.get_all(COOKIE);
        if all.iter().nth(1).is_none() && !all.iter().any(ours) {
            return;
        }
        let kept: Vec<Vec<u8>> = headers
            .get_all(COOKIE)
            .iter()
            .filter_map(|value| self.without_ours(value))
            .collect();
        headers.remove(COOKIE);
        if !kept.is_empty()
            && let Ok(cookie) = HeaderValue::from_maybe_shared(Bytes::from(kept.join(&b"; "[..])))
        {
            headers.insert(COOKIE, cookie);
        }
    }

    fn without_ours(&self, value: &HeaderValue) -> Option<Vec<u8>> {
        let mut kept: Vec<u8> = Vec::with_capacity(value.len());
        for pair in pairs(value).filter(|pair| !self.owns(name(pair))) {
            if !kept.is_empty() {
                kept.push(b';');
            }
            kept.extend_from_slice(if kept.is_empty() {
                pair.trim_ascii_start()
            } else {
                pair
            });
        }
        (!kept.trim_ascii().is_empty()).then_some(kept)
    }

    /// Takes out of a response what would set a cookie of ours.
    pub(super) fn refuse(&self, headers: &mut HeaderMap) {
        let ours = |value: &HeaderValue| self.owns(name(value.as_bytes()));
        if !headers.get_all(SET_COOKIE).iter().any(ours) {
            return;
        }
        let kept: Vec<HeaderValue> = headers
            .get_all(SET_COOKIE)
            .iter()
            .filter(|value| !ours(value))
            .cloned()
            .collect();
        headers.remove(SET_COOKIE);
        for value in kept {
            headers.append(SET_COOKIE, value);
        }
    }
}

fn pairs(value: &HeaderValue) -> impl Iterator<Item = &[u8]> {
    value.as_bytes().split(|byte| *byte == b';')
}

/// The name as a browser would send it back: `=name=value` has an empty name and comes back as `name=value`.
fn name(pair: &[u8]) -> &[u8] {
    let start = pair
        .iter()
        .position(|byte| !byte.is_ascii_whitespace() && *byte != b'=')
        .unwrap_or(pair.len());
    let pair = pair.get(start..).unwrap_or_default();
    let end = pair
        .iter()
        .position(|byte| matches!(byte, b'=' | b';'))
        .unwrap_or(pair.len());
    pair.get(..end).unwrap_or_default().trim_ascii()
}
