//! `[upstreams.*]`: the applications behind the gateway.

use std::sync::Arc;
use std::time::Duration;

use url::Host;

use super::Upstream;
use super::reader::{Field, Section};
use super::value::{needed_list, path, shared_text, some_duration, url, word};
use crate::connect::{Origin, Scheme};
use crate::forward::Authorization;

const TARGETS: &str = "[\"http://127.0.0.1:8080\"]";

/// Reads all of `[upstreams]`: with the names of those that are wrong, so that routes to them are not blamed.
pub(super) fn upstreams(section: &Section<'_>) -> (Vec<Upstream>, Vec<String>) {
    let entries = section.entries();
    let names = entries.iter().map(|(entry, _)| entry.key.clone()).collect();
    let upstreams = entries
        .into_iter()
        .filter_map(|(entry, field)| upstream(field.section()?, &entry.key));
    (upstreams.collect(), names)
}

fn upstream(mut section: Section<'_>, name: &str) -> Option<Upstream> {
    const AUTHORIZATIONS: &[(&str, Authorization)] = &[
        ("none", Authorization::None),
        ("access_token", Authorization::AccessToken),
    ];
    let targets = section.required(
        "targets",
        &format!("targets = {TARGETS}"),
        needed_list(TARGETS, target),
    );
    let connect_timeout = section.or("connect_timeout", Duration::from_secs(2), some_duration);
    let request_timeout = section.or("request_timeout", Duration::from_mins(1), some_duration);
    let tls_field = section.field("tls");
    let mut tls = section.section("tls");
    let ca = tls.optional("ca", path);
    let server_name = tls.optional("server_name", server_name);
    tls.finish();
    if let (Some(field), Some(targets)) = (tls_field, &targets)
        && targets.iter().all(|target| target.scheme == Scheme::Http)
    {
        let title = format!("`{}` has no effect: no target is https", field.path);
        field.wrong(
            title,
            "never used",
            "make the targets https, or take it out",
        );
    }
    let authorization = section.or(
        "authorization",
        Authorization::None,
        word(AUTHORIZATIONS, &[]),
    );
    section.later(&["health"]);
    section.finish();
    Some(Upstream {
        name: Arc::from(name),
        targets: targets?,
        connect_timeout,
        request_timeout,
        ca,
        server_name,
        authorization,
    })
}

fn target(field: &Field<'_>) -> Option<Origin> {
    let parsed = url(field)?;
    if parsed.path() != "/" || parsed.query().is_some() {
        let title = format!("`{}` must be scheme, host and port only", field.path);
        field.wrong(
            title,
            "no path here",
            "a request's path is passed on as it is",
        );
        return None;
    }
    let host = match parsed.host()? {
        Host::Domain(name) => name.to_owned(),
        Host::Ipv4(address) => address.to_string(),
        Host::Ipv6(address) => address.to_string(),
    };
    Some(Origin {
        scheme: if parsed.scheme() == "https" {
            Scheme::Https
        } else {
            Scheme::Http
        },
        host: Arc::from(host),
        port: parsed.port_or_known_default()?,
    })
}

fn server_name(field: &Field<'_>) -> Option<Arc<str>> {
    let name = shared_text(field)?;
    if rustls_pki_types::ServerName::try_from(&*name).is_ok() {
        return Some(name);
    }
    let title = format!("`{}` is not a host's name", field.path);
    field.wrong(title, "expected a host's name", "such as \"api.internal\"");
    None
}
