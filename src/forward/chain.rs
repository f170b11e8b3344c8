//! Whom a request came through: `X-Forwarded-*` and `Forwarded` (RFC 7239), rebuilt on every request.

use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};

use http::header::{FORWARDED, HeaderName};
use http::{HeaderMap, HeaderValue};
use ipnet::IpNet;

use super::guard::Source;
use crate::peer::Peer;
use crate::target::Target;

const FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const PORT: HeaderName = HeaderName::from_static("x-forwarded-port");

/// Whether `trusted` vouches for an address.
pub(super) fn source(trusted: &[IpNet], address: IpAddr) -> Source {
    let address = address.to_canonical();
    if trusted.iter().any(|net| net.contains(&address)) {
        Source::TrustedProxy
    } else {
        Source::Stranger
    }
}

/// The client behind the trusted proxy at `peer`, as far as the chain of those vouches for it; `None` where `peer` is a stranger,
/// and so the client itself.
pub(super) fn client(headers: &HeaderMap, trusted: &[IpNet], peer: IpAddr) -> Option<IpAddr> {
    match source(trusted, peer) {
        Source::Stranger => None,
        Source::TrustedProxy => Some(before(headers, trusted).first().copied().unwrap_or(peer)),
    }
}

/// Sets them all. What the headers say already is the word of a trusted proxy: a stranger's was removed before.
pub(super) fn set(
    headers: &mut HeaderMap,
    peer: &Peer,
    target: &Target,
    host: &HeaderValue,
    trusted: &[IpNet],
) {
    let chain = Chain {
        before: before(headers, trusted),
        peer: peer.addr.ip().to_canonical(),
    };
    let https = match only(headers, &PROTO).map(HeaderValue::as_bytes) {
        Some(b"https") => true,
        Some(b"http") => false,
        _ => peer.tls,
    };
    let proto = if https { "https" } else { "http" };
    let outer_host = only(headers, &HOST).unwrap_or(host).clone();
    let port = match only(headers, &PORT) {
        Some(said) if said.as_bytes().iter().all(u8::is_ascii_digit) => said.clone(),
        _ => port(target, https),
    };
    if let Ok(forwarded) = HeaderValue::try_from(chain.forwarded(proto, &outer_host)) {
        headers.insert(FORWARDED, forwarded);
    } else {
        headers.remove(FORWARDED);
    }
    if let Ok(chain) = HeaderValue::try_from(chain.x_forwarded_for()) {
        headers.insert(FOR, chain);
    }
    headers.insert(PROTO, HeaderValue::from_static(proto));
    headers.insert(HOST, outer_host);
    headers.insert(PORT, port);
}

/// A header's value where there is exactly one and it is not a list.
fn only<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h HeaderValue> {
    let mut values = headers.get_all(name).iter();
    let only = values.next().filter(|v| !v.as_bytes().contains(&b','))?;
    values.next().is_none().then_some(only)
}

fn port(target: &Target, https: bool) -> HeaderValue {
    match target.port {
        Some(port) => port.into(),
        None if https => HeaderValue::from_static("443"),
        None => HeaderValue::from_static("80"),
    }
}

/// The addresses that a request came through, the client's first.
struct Chain {
    before: Vec<IpAddr>,
    peer: IpAddr,
}

impl Chain {
    fn x_forwarded_for(&self) -> String {
        let mut text = String::with_capacity(16 * (self.before.len() + 1));
        for address in &self.before {
            // Writing to a String can't fail.
            let _ = write!(text, "{address}, ");
        }
        let _ = write!(text, "{}", self.peer);
        text
    }

    /// What the client asked for goes with the client's own element, which is the first.
    fn forwarded(&self, proto: &str, host: &HeaderValue) -> String {
        let mut text = String::with_capacity(64 + host.len());
        let mut asked_for = Some((proto, host));
        for address in self.before.iter().chain([&self.peer]) {
            let _ = match address {
                IpAddr::V4(v4) => write!(text, "for={v4}"),
                // A colon and a bracket are no token characters (RFC 7239 section 6).
                IpAddr::V6(v6) => write!(text, "for=\"[{v6}]\""),
            };
            if let Some((proto, host)) = asked_for.take() {
                host_parameter(&mut text, host);
                let _ = write!(text, ";proto={proto}");
            }
            text.push_str(", ");
        }
        text.truncate(text.len() - 2);
        text
    }
}

fn host_parameter(text: &mut String, host: &HeaderValue) {
    let Ok(host) = host.to_str() else { return };
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if host.bytes().all(token) {
        let _ = write!(text, ";host={host}");
    } else if !host.contains(['"', '\\']) {
        let _ = write!(text, ";host=\"{host}\"");
    }
}

/// The addresses before the peer, as far as trusted proxies vouch for them: from the right, up to and including the first
/// that nobody vouches for. What stands left of that one is anybody's word and ends here.
fn before(headers: &HeaderMap, trusted: &[IpNet]) -> Vec<IpAddr> {
    let mut said = listed(headers, &FOR, parse);
    if said.is_empty() {
        said = listed(headers, &FORWARDED, for_parameter);
    }
    let mut kept = Vec::with_capacity(said.len());
    for address in said.into_iter().rev() {
        let Some(address) = address else { break };
        kept.push(address);
        if source(trusted, address) == Source::Stranger {
            break;
        }
    }
    kept.reverse();
    kept
}

fn listed(
    headers: &HeaderMap,
    name: &HeaderName,
    read: impl Fn(&str) -> Option<IpAddr>,
) -> Vec<Option<IpAddr>> {
    headers
        .get_all(name)
        .iter()
        .flat_map(|value| value.to_str().unwrap_or("?").split(','))
        .map(|element| read(element.trim()))
        .collect()
}

fn for_parameter(element: &str) -> Option<IpAddr> {
    let node = element.split(';').find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("for").then_some(value)
    })?;
    parse(node.trim().trim_matches('"'))
}

/// An address, with or without brackets and port.
fn parse(node: &str) -> Option<IpAddr> {
    let bare = node.strip_prefix('[').and_then(|n| n.strip_suffix(']'));
    bare.unwrap_or(node)
        .parse()
        .ok()
        .or_else(|| Some(node.parse::<SocketAddr>().ok()?.ip()))
        .map(|ip: IpAddr| ip.to_canonical())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn the_client_is_whom_the_trusted_chain_names() {
        let trusted = ["10.0.0.0/8".parse().unwrap()];
        for (peer, said, expected) in [
            ("203.0.113.1", "198.51.100.7", None),
            ("10.0.0.1", "198.51.100.7", Some("198.51.100.7")),
            (
                "10.0.0.1",
                "1.1.1.1, 198.51.100.7, 10.0.0.2",
                Some("198.51.100.7"),
            ),
            ("10.0.0.1", "nonsense", Some("10.0.0.1")),
            ("::ffff:10.0.0.1", "198.51.100.7", Some("198.51.100.7")),
        ] {
            let headers = [(FOR, HeaderValue::from_static(said))]
                .into_iter()
                .collect();
            let found = client(&headers, &trusted, peer.parse().unwrap());
            assert_eq!(
                found,
                expected.map(|address| address.parse().unwrap()),
                "{said}"
            );
        }
    }
}
