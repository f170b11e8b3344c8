//! Where the gateway is reached, as browsers name it, and the addresses of its own endpoints there.

use std::fmt::Write;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use url::{Host, Url};

/// Everything but the unreserved characters of RFC 3986: fit for a query's value.
const VALUE: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// The gateway's places on the web. A host that is named here may start and end a sign-in; no other ever does.
#[derive(Clone, Debug)]
pub struct Site {
    external: String,
    external_host: String,
    scheme: String,
    /// `:8443`, or nothing.
    port: String,
    prefix: String,
    hosts: Vec<String>,
    loopback: bool,
    lists_sessions: bool,
}

impl Site {
    /// From `server.external_url`, `server.prefix`, and the hosts (lower case, without port) that have routes of their own:
    /// they are taken to be reached by the scheme and port of the external URL.
    pub fn new(external_url: &Url, prefix: &str, hosts: Vec<String>) -> Self {
        Self {
            external: external_url.origin().ascii_serialization(),
            external_host: external_url.host_str().unwrap_or_default().to_owned(),
            scheme: external_url.scheme().to_owned(),
            port: external_url
                .port()
                .map(|port| format!(":{port}"))
                .unwrap_or_default(),
            prefix: prefix.trim_end_matches('/').to_owned(),
            hosts,
            loopback: match external_url.host() {
                Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
                Some(Host::Ipv4(address)) => address.is_loopback(),
                Some(Host::Ipv6(address)) => address.is_loopback(),
                None => false,
            },
            lists_sessions: true,
        }
    }

    /// The same, where the sessions of a person can't be listed.
    #[must_use]
    pub fn without_sessions(self) -> Self {
        Self {
            lists_sessions: false,
            ..self
        }
    }

    /// The external URL's origin: `https://apps.example.com`, without a trailing slash.
    pub fn external(&self) -> &str {
        &self.external
    }

    /// `server.prefix`, without a trailing slash.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The origin that stands for `host` (lower case, without port), or nothing where it is none of ours.
    pub fn origin(&self, host: &str) -> Option<String> {
        if host == self.external_host {
            return Some(self.external.clone());
        }
        self.hosts
            .iter()
            .any(|ours| ours == host)
            .then(|| format!("{}://{host}{}", self.scheme, self.port))
    }

    /// The origin that stands for `host`, or the external one.
    pub fn home(&self, host: &str) -> String {
        self.origin(host).unwrap_or_else(|| self.external.clone())
    }

    /// The address of one of our endpoints: `path` such as `/start`, its query escaped here.
    pub fn endpoint(&self, origin: &str, path: &str, query: &[(&str, &str)]) -> String {
        let mut url = format!("{origin}{}{path}", self.prefix);
        for (index, (name, value)) in query.iter().enumerate() {
            let joint = if index == 0 { '?' } else { '&' };
            let _ = write!(url, "{joint}{name}={}", utf8_percent_encode(value, VALUE));
        }
        url
    }

    /// Where people see their sessions, if they can.
    pub fn sessions(&self, origin: &str) -> Option<String> {
        self.lists_sessions
            .then(|| self.endpoint(origin, "/sessions", &[]))
    }

    /// `Strict-Transport-Security` (RFC 6797), where it does no harm: pinning localhost to https would break whatever else
    /// is developed there.
    pub fn strict_transport(&self) -> Option<&'static str> {
        (self.scheme == "https" && !self.loopback).then_some("max-age=31536000")
    }
}
