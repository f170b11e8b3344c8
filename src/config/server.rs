//! `[server]`, `[[listeners]]` and `[tls]`: where people reach the gateway.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use url::{Host, Url};

use super::reader::{Field, Section, not_yet};
use super::secret::secret_file;
use super::value::{
    duration, is_loopback, list, network, path, possibly_empty_list, socket_address, text, url,
    word,
};
use super::{Listener, Protocol, Tls};
use crate::tls::MinVersion;

/// `[server]`.
pub(super) struct Server {
    pub(super) external_url: Option<Url>,
    pub(super) prefix: String,
    pub(super) trusted_proxies: Vec<IpNet>,
    pub(super) shutdown_grace: Duration,
}

/// Reads `[server]`.
pub(super) fn server(mut section: Section<'_>) -> Server {
    let server = Server {
        external_url: section.required(
            "external_url",
            "external_url = \"https://apps.example.com\"",
            external_url,
        ),
        prefix: section.or("prefix", "/oauth2".to_owned(), prefix),
        trusted_proxies: section.or(
            "trusted_proxies",
            Vec::new(),
            possibly_empty_list("[\"10.0.0.0/8\"]", network),
        ),
        shutdown_grace: section.or("shutdown_grace", Duration::from_secs(30), duration),
    };
    section.finish();
    server
}

/// The session cookie is `Secure` and `__Host-`: over http no browser would ever send it back.
fn external_url(field: &Field<'_>) -> Option<Url> {
    let url = url(field)?;
    let fault = if url.scheme() != "https" {
        "it must be https, as browsers keep the session cookie for https only"
    } else if url.path() != "/" || url.query().is_some() {
        "it must be scheme, host and port only"
    } else {
        return Some(url);
    };
    let title = format!("`{}` can't be used: {fault}", field.path);
    let host = url.host_str().unwrap_or_default();
    let port = url
        .port()
        .map(|port| format!(":{port}"))
        .unwrap_or_default();
    field.wrong(
        title,
        "what people type",
        format!("write \"https://{host}{port}\""),
    );
    None
}

fn prefix(field: &Field<'_>) -> Option<String> {
    let prefix = text(field)?;
    let segments = prefix
        .strip_prefix('/')
        .into_iter()
        .flat_map(|rest| rest.split('/'));
    let is_segment = |segment: &str| {
        !segment.is_empty()
            && segment.bytes().any(|b| b != b'.')
            && segment
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~'))
    };
    if prefix.starts_with('/') && segments.into_iter().all(is_segment) {
        return Some(prefix);
    }
    let title = format!("`{}` can't be used as a path", field.path);
    field.wrong(
        title,
        "expected a path",
        "such as \"/oauth2\": a slash before, none behind",
    );
    None
}

/// Reads `[[listeners]]`; without any, the one that `external_url` asks for.
pub(super) fn listeners(field: Option<Field<'_>>, external_url: Option<&Url>) -> Vec<Listener> {
    let Some(field) = field else {
        return external_url.map(default_listeners).unwrap_or_default();
    };
    let Some(items) = field.items("[[listeners]]") else {
        return Vec::new();
    };
    let mut listeners: Vec<Listener> = Vec::new();
    for item in &items {
        let Some(listener) = item.section().and_then(listener) else {
            continue;
        };
        let address = listener.address;
        if address.port() != 0 && listeners.iter().any(|other| other.address == address) {
            let title = format!("two listeners want {address}");
            item.wrong(title, "the second", "give it another address or port");
        }
        listeners.push(listener);
    }
    if listeners.len() == items.len() && listeners.iter().all(|l| l.protocol == Protocol::Redirect)
    {
        let help = "add a listener with protocol = \"https\"";
        field.wrong("no listener serves anything", "nothing but redirects", help);
    }
    listeners
}

fn listener(mut section: Section<'_>) -> Option<Listener> {
    const PROTOCOLS: &[(&str, Protocol)] = &[
        ("https", Protocol::Https),
        ("http", Protocol::Http),
        ("redirect", Protocol::Redirect),
    ];
    let address = section.required("address", "address = \"[::]:443\"", socket_address);
    let protocol = section.or("protocol", Protocol::Https, word(PROTOCOLS, &["ext_authz"]));
    section.optional(
        "proxy_protocol",
        word(&[("off", ())], &["optional", "required"]),
    );
    section.finish();
    Some(Listener {
        address: address?,
        protocol,
    })
}

/// One https listener on the port of the external URL: on loopback where its host is localhost, else on all addresses.
fn default_listeners(external_url: &Url) -> Vec<Listener> {
    let port = external_url.port_or_known_default().unwrap_or(443);
    let addresses: Vec<IpAddr> = match external_url.host() {
        Some(Host::Ipv4(address)) if address.is_loopback() => vec![address.into()],
        Some(Host::Ipv6(address)) if address.is_loopback() => vec![address.into()],
        _ if is_loopback(external_url) => {
            let mut both = vec![Ipv4Addr::LOCALHOST.into()];
            both.extend(has_ipv6(Ipv6Addr::LOCALHOST).then_some(IpAddr::V6(Ipv6Addr::LOCALHOST)));
            both
        }
        _ if has_ipv6(Ipv6Addr::UNSPECIFIED) => vec![Ipv6Addr::UNSPECIFIED.into()],
        _ => vec![Ipv4Addr::UNSPECIFIED.into()],
    };
    let listener = |address| Listener {
        address: SocketAddr::new(address, port),
        protocol: Protocol::Https,
    };
    addresses.into_iter().map(listener).collect()
}

/// Containers are often without IPv6.
fn has_ipv6(address: Ipv6Addr) -> bool {
    TcpListener::bind((address, 0)).is_ok()
}

/// Reads `[tls]`. Only for localhost can a certificate be made on the spot.
pub(super) fn tls(
    mut section: Section<'_>,
    external_url: Option<&Url>,
    listeners: &[Listener],
) -> Tls {
    const VERSIONS: &[(&str, MinVersion)] =
        &[("1.2", MinVersion::Tls12), ("1.3", MinVersion::Tls13)];
    const EXAMPLE: &str = "[{ cert = \"tls.crt\", key = { file = \"tls.key\" } }]";
    let min_version = section.or("min_version", MinVersion::Tls12, word(VERSIONS, &[]));
    let certificates = section.field("certificates");
    let missing = certificates.is_none();
    let certificates = certificates
        .and_then(|field| list(EXAMPLE, |item| certificate(item.section()?))(&field))
        .unwrap_or_default();
    let needed = listeners.iter().any(|l| l.protocol == Protocol::Https)
        && external_url.is_some_and(|url| !is_loopback(url));
    if missing && needed {
        let title = "there is no certificate for `server.external_url`";
        let help = format!(
            "add to [tls]: certificates = {EXAMPLE}; only for localhost is one made on the spot"
        );
        section.wrong(title, "no certificates here", help);
    }
    section.later(&["acme", "client_auth"]);
    section.finish();
    Tls {
        min_version,
        certificates,
    }
}

fn certificate(mut section: Section<'_>) -> Option<(PathBuf, PathBuf)> {
    let cert = section.required("cert", "cert = \"tls.crt\"", path);
    let key = section.required("key", "key = { file = \"tls.key\" }", secret_file);
    section.finish();
    Some((cert?, key?))
}

/// `version`: the shape of the file.
pub(super) fn version(field: &Field<'_>) -> Option<()> {
    use super::tree::Value;
    match field.node.value {
        Value::Integer(Some(1)) => return Some(()),
        Value::Integer(Some(other)) => {
            field
                .reader
                .tell(not_yet(&field.node.place, &format!("version = {other}")));
        }
        Value::Integer(None)
        | Value::Text(_)
        | Value::Flag(_)
        | Value::Other(_)
        | Value::List(_)
        | Value::Table(_) => field.mistyped("a number", "version = 1"),
    }
    None
}
