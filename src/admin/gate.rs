//! Who may ask: the token, as bearer or as the password of HTTP Basic; the name that this listener was called by; and
//! whether a page of another site is behind a change.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::{hmac, rand};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::header::{AUTHORIZATION, HOST, ORIGIN};
use http::request::Parts;
use http::uri::Authority;
use http::{HeaderMap, HeaderValue};

use super::Settings;

/// What proves an administrator.
#[derive(Debug)]
pub(super) struct Gate {
    token: Option<Digest>,
    place: Place,
    /// Proves that a form, or a word about what was done, is ours. It is gone with the process.
    ours: hmac::Key,
}

/// How the listener is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Loopback,
    Socket,
}

/// What a browser says about where a request came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sender {
    /// A page of ours, or the person's own hand.
    Own,
    /// Another site.
    Foreign,
    /// Nothing was said: it is no browser, or an old one.
    Unknown,
}

/// A secret's digest: comparing these tells nothing of the secret, not even its length.
#[derive(Debug)]
struct Digest([u8; 32]);

impl Digest {
    fn of(secret: &[u8]) -> Self {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest(&SHA256, secret).as_ref());
        Self(bytes)
    }

    fn is_of(&self, shown: &[u8]) -> bool {
        let Self(shown) = Self::of(shown);
        verify_slices_are_equal(&self.0, &shown).is_ok()
    }
}

impl Gate {
    pub(super) fn new(settings: &Settings) -> Self {
        let (token, place) = match settings {
            Settings::Loopback { token, .. } => (Some(token), Place::Loopback),
            Settings::Socket { token, .. } => (token.as_ref(), Place::Socket),
        };
        let mut key = [0; 32];
        // aws-lc ends the process rather than hand out bytes that can be guessed; should that ever change, so do we.
        if rand::fill(&mut key).is_err() {
            std::process::abort();
        }
        Self {
            token: token.map(|token| Digest::of(token.expose().as_bytes())),
            place,
            ours: hmac::Key::new(hmac::HMAC_SHA256, &key),
        }
    }

    /// Whether the token is shown, where one is asked for: as a bearer (RFC 6750 section 2.1), or as the password of any
    /// user (RFC 7617), since that is what browsers can send.
    pub(super) fn admits(&self, headers: &HeaderMap) -> bool {
        let Some(wanted) = &self.token else {
            return true;
        };
        let mut shown = headers.get_all(AUTHORIZATION).iter();
        let (Some(shown), None) = (shown.next(), shown.next()) else {
            return false;
        };
        if let Some(token) = after_scheme(shown, b"bearer ") {
            return wanted.is_of(token);
        }
        let basic = after_scheme(shown, b"basic ").and_then(|text| STANDARD.decode(text).ok());
        let Some(basic) = basic else { return false };
        let mut parts = basic.splitn(2, |byte| *byte == b':');
        let password = parts.nth(1);
        password.is_some_and(|password| wanted.is_of(password))
    }

    /// Whether the request was meant for this machine. A name of somebody else's that leads here (DNS rebinding) makes a
    /// browser take this listener for a part of their site.
    pub(super) fn is_called_rightly(&self, head: &Parts) -> bool {
        let mut named = head.headers.get_all(HOST).iter();
        let named = match (head.uri.authority(), named.next(), named.next()) {
            (Some(authority), _, None) => Some(authority.clone()),
            (None, Some(host), None) => Authority::try_from(host.as_bytes()).ok(),
            (None, None, _) => None,
            (_, _, Some(_)) => return false,
        };
        let Some(named) = named else {
            return self.place == Place::Socket;
        };
        match self.place {
            Place::Loopback => is_loopback(&named),
            // Whoever forwards a port to the socket has a browser in front of it; a name without a dot is nobody's site.
            Place::Socket => is_loopback(&named) || !named.as_str().contains(['.', '[', '@']),
        }
    }

    /// What proves that something is ours.
    pub(super) fn proof(&self, of: &str) -> String {
        let tag = hmac::sign(&self.ours, of.as_bytes());
        URL_SAFE_NO_PAD.encode(tag.as_ref())
    }

    /// Whether this proves it.
    pub(super) fn proves(&self, proof: &str, of: &str) -> bool {
        let tag = URL_SAFE_NO_PAD.decode(proof);
        tag.is_ok_and(|tag| hmac::verify(&self.ours, of.as_bytes(), &tag).is_ok())
    }
}

/// Fetch Metadata where there is any; else `Origin`. An `Origin: null` says nothing: browsers send it with our own forms
/// too, since our pages have no referrer.
pub(super) fn sender(head: &Parts) -> Sender {
    if let Some(site) = head.headers.get("sec-fetch-site") {
        return if site == "same-origin" || site == "none" {
            Sender::Own
        } else {
            Sender::Foreign
        };
    }
    let Some(origin) = head.headers.get(ORIGIN).filter(|origin| *origin != "null") else {
        return Sender::Unknown;
    };
    let host = head.headers.get(HOST).map(HeaderValue::as_bytes);
    let origin = origin.as_bytes().strip_prefix(b"http://");
    if origin.is_some() && origin == host {
        Sender::Own
    } else {
        Sender::Foreign
    }
}

fn after_scheme<'a>(shown: &'a HeaderValue, scheme: &[u8]) -> Option<&'a [u8]> {
    let (found, rest) = shown.as_bytes().split_at_checked(scheme.len())?;
    found
        .eq_ignore_ascii_case(scheme)
        .then(|| rest.trim_ascii())
}

fn is_loopback(named: &Authority) -> bool {
    if named.as_str().contains('@') {
        return false;
    }
    let host = named.host();
    let bare = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    let address = bare.unwrap_or(host).parse::<std::net::IpAddr>();
    host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|ip| ip.is_loopback())
}
