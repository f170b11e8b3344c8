//! `[headers]`: who the upstream is told is asking.

use http::HeaderName;

use super::reader::{Field, Section};
use super::value::{possibly_empty_list, text};

/// `[headers]`.
pub(super) struct Headers {
    pub(super) identity: Vec<(HeaderName, String)>,
    pub(super) strip_incoming: Vec<HeaderName>,
}

/// What identity headers are where nothing is said. An upstream may believe them, so clients never get to send them.
const DEFAULTS: [(&str, &str); 4] = [
    ("x-forwarded-user", "{sub}"),
    ("x-forwarded-email", "{email}"),
    ("x-forwarded-groups", "{groups}"),
    ("x-forwarded-preferred-username", "{preferred_username}"),
];

/// Headers that the gateway or HTTP itself needs: an identity in one of them would be lost or do harm.
const TAKEN: &[&str] = &[
    "host",
    "connection",
    "content-length",
    "content-type",
    "content-encoding",
    "transfer-encoding",
    "te",
    "trailer",
    "upgrade",
    "keep-alive",
    "proxy-authorization",
    "proxy-authenticate",
    "proxy-connection",
    "authorization",
    "cookie",
    "set-cookie",
    "expect",
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-forwarded-port",
    "traceparent",
    "tracestate",
];

/// Reads `[headers]`.
pub(super) fn headers(mut section: Section<'_>) -> Headers {
    let identity = section.or("identity", default_identity(), identity);
    let mut strip_incoming = section.or(
        "strip_incoming",
        Vec::new(),
        possibly_empty_list("[\"X-Forwarded-User\"]", strippable),
    );
    section.later(&["assertion"]);
    section.finish();
    strip_incoming.extend(default_identity().into_iter().map(|(name, _)| name));
    strip_incoming.sort_by(|a, b| a.as_str().cmp(b.as_str()));
    strip_incoming.dedup();
    Headers {
        identity,
        strip_incoming,
    }
}

fn default_identity() -> Vec<(HeaderName, String)> {
    DEFAULTS
        .iter()
        .map(|(name, template)| (HeaderName::from_static(name), (*template).to_owned()))
        .collect()
}

fn identity(field: &Field<'_>) -> Option<Vec<(HeaderName, String)>> {
    let entries = field.section()?.entries();
    let mut headers: Vec<(HeaderName, String)> = Vec::new();
    let mut all_good = true;
    for (entry, value) in entries {
        let header = own_name(&value, &entry.key).zip(template(&value));
        let Some((name, template)) = header else {
            all_good = false;
            continue;
        };
        if headers
            .iter()
            .any(|(other, _)| folded(other) == folded(&name))
        {
            let title = format!("`{}` is the same header as one before it", value.path);
            value.wrong(title, "the second", "upstreams fold case, and `_` to `-`");
            all_good = false;
        }
        headers.push((name, template));
    }
    all_good.then_some(headers)
}

/// As CGI, WSGI and their kin see it.
fn folded(name: &HeaderName) -> String {
    name.as_str().replace('_', "-")
}

fn own_name(field: &Field<'_>, name: &str) -> Option<HeaderName> {
    let name = header_name(field, name)?;
    if TAKEN.contains(&folded(&name).as_str()) {
        let title = format!(
            "`{}`: the gateway or HTTP itself needs this header",
            field.path
        );
        field.wrong(
            title,
            "not this one",
            "choose another name, such as X-Forwarded-User",
        );
        return None;
    }
    Some(name)
}

fn strippable(field: &Field<'_>) -> Option<HeaderName> {
    const NEEDED: &[&str] = &["host", "connection", "content-length", "transfer-encoding"];
    let name = header_name(field, &text(field)?)?;
    if NEEDED.contains(&name.as_str()) {
        let title = format!(
            "`{}`: a request makes no sense without `{name}`",
            field.path
        );
        field.wrong(title, "not this one", "take it out");
        return None;
    }
    Some(name)
}

fn header_name(field: &Field<'_>, name: &str) -> Option<HeaderName> {
    let parsed = HeaderName::from_bytes(name.as_bytes()).ok();
    if parsed.is_none() {
        let title = format!("`{}`: this is not a header's name", field.path);
        field.wrong(
            title,
            "expected a header's name",
            "such as X-Forwarded-User",
        );
    }
    parsed
}

/// Text with `{claim}` in it.
fn template(field: &Field<'_>) -> Option<String> {
    let template = text(field)?;
    let Some(fault) = template_fault(&template) else {
        return Some(template);
    };
    let title = format!("`{}` can't be used: {fault}", field.path);
    field.wrong(
        title,
        fault,
        "such as \"{sub}\", \"{email}\" or \"{realm_access.roles}\"",
    );
    None
}

fn template_fault(template: &str) -> Option<&'static str> {
    if template.chars().any(char::is_control) {
        return Some("a header holds no control characters");
    }
    let mut rest = template;
    let mut claims = 0;
    while let Some((text, tail)) = rest.split_once('{') {
        let Some((claim, tail)) = tail.split_once('}') else {
            return Some("a { is never closed");
        };
        if text.contains('}') || claim.contains('{') {
            return Some("{ and } don't match");
        }
        if claim.split('.').any(str::is_empty) {
            return Some("a claim has no name");
        }
        claims += 1;
        rest = tail;
    }
    if rest.contains('}') {
        return Some("{ and } don't match");
    }
    (claims == 0).then_some("it names no claim")
}
