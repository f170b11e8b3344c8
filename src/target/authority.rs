//! The host that a request is for: one of `Host`, `:authority` and absolute-form, or several that agree.

use std::net::Ipv6Addr;

use http::header::HOST;
use http::request::Parts;
use http::{HeaderValue, Version};

use super::Error;
use crate::peer::Peer;

const NO_HOST: Error = Error::Bad("Host is not a host");
const NO_PORT: Error = Error::Bad("the port of Host is not a port");

/// A host without its trailing dot, in the case that it came in, and a port.
#[derive(Clone, Copy, Debug)]
pub(super) struct Authority<'a> {
    host: &'a str,
    pub(super) port: Option<u16>,
}

/// Reads and compares all that name a host (RFC 9112 section 3.2, RFC 9113 section 8.3.1).
pub(super) fn of<'a>(head: &'a Parts, peer: &Peer) -> Result<Authority<'a>, Error> {
    let mut fields = head.headers.get_all(HOST).iter();
    let field = fields.next().map(field).transpose()?;
    if fields.next().is_some() {
        return Err(Error::Bad("more than one Host"));
    }
    let line = match head.uri.authority() {
        Some(authority) => Some(Authority::parse(authority.as_str())?),
        None => None,
    };
    let scheme = head.uri.scheme_str();
    if line.is_some() && !matches!(scheme, Some("http" | "https")) {
        return Err(Error::Bad(
            "the request target is not in origin or absolute form",
        ));
    }
    let secure = scheme.map_or(peer.tls, |scheme| scheme == "https");
    match (line, field) {
        (None, Some(field)) => Ok(field),
        (Some(line), Some(field)) if line.agrees(field, secure) => Ok(line),
        (Some(_), Some(_)) => Err(Error::Bad("Host is not the host of the request target")),
        (Some(line), None) if head.version == Version::HTTP_2 => Ok(line),
        (_, None) => Err(Error::Bad("no Host")),
    }
}

fn field(value: &HeaderValue) -> Result<Authority<'_>, Error> {
    Authority::parse(value.to_str().map_err(|_| NO_HOST)?)
}

impl<'a> Authority<'a> {
    /// RFC 3986 section 3.2 without userinfo and without percent-encoding, which no host on the Web needs.
    fn parse(text: &'a str) -> Result<Self, Error> {
        let (host, port) = if let Some(inner) = text.strip_prefix('[') {
            inner
                .split_once(']')
                .filter(|(address, _)| address.parse::<Ipv6Addr>().is_ok())
                .ok_or(NO_HOST)?
        } else {
            let (host, port) = text.split_at(text.find(':').unwrap_or(text.len()));
            let host = host.strip_suffix('.').unwrap_or(host);
            if !is_name(host) {
                return Err(NO_HOST);
            }
            (host, port)
        };
        let port = match port.strip_prefix(':') {
            Some(digits) => Some(read_port(digits)?),
            None if port.is_empty() => None,
            None => return Err(NO_HOST),
        };
        Ok(Self { host, port })
    }

    fn agrees(self, other: Self, secure: bool) -> bool {
        let default = if secure { 443 } else { 80 };
        self.host.eq_ignore_ascii_case(other.host)
            && self.port.unwrap_or(default) == other.port.unwrap_or(default)
    }

    /// In lower case; an IPv6 address in its canonical text (RFC 5952) in brackets.
    pub(super) fn normal_host(&self) -> Box<str> {
        match self.host.parse::<Ipv6Addr>() {
            Ok(address) => format!("[{address}]").into(),
            Err(_) => self.host.to_ascii_lowercase().into(),
        }
    }
}

fn is_name(host: &str) -> bool {
    let letter = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    host.len() <= 253
        && host
            .split('.')
            .all(|label| (1..=63).contains(&label.len()) && label.bytes().all(letter))
}

fn read_port(digits: &str) -> Result<u16, Error> {
    if digits.starts_with('0') || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(NO_PORT);
    }
    digits.parse().map_err(|_| NO_PORT)
}
