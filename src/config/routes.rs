//! `[[routes]]`: which path goes where, and who may pass.

use std::sync::Arc;

use http::Method;
use url::Host;

use super::reader::{Field, Section, not_yet, suggestion};
use super::value::{flag, list, text, word};
use crate::route::{Access, OnSessionEnd, Route, Rule, Table};

/// What routes are checked against.
pub(super) struct Surroundings<'a> {
    /// `server.prefix`.
    pub(super) prefix: &'a str,
    /// The names in `[upstreams]`.
    pub(super) upstreams: &'a [String],
    /// How many there are in `[idp]`.
    pub(super) idps: usize,
}

const EXAMPLE: &str =
    "[[routes]] with path = \"/{*rest}\", upstream = \"app\" and auth = \"session\"";

/// Reads `[[routes]]`, and proves that a table can be made of them.
pub(super) fn routes(root: &mut Section<'_>, around: &Surroundings<'_>) -> Vec<Route> {
    let Some(field) = root.field("routes") else {
        root.wrong(
            "there are no routes, so nothing would be served",
            "",
            format!("add {EXAMPLE}"),
        );
        return Vec::new();
    };
    let items = field.items(EXAMPLE).unwrap_or_default();
    let mut routes: Vec<_> = items
        .into_iter()
        .filter_map(|item| Some((route(item.section()?, around)?, item)))
        .collect();
    // The table stops at the first that it can't have: without that one it finds the next.
    while let Err((at, why)) = Table::new(
        around.prefix,
        routes.iter().map(|(r, _)| r.clone()).collect(),
    ) {
        if at >= routes.len() {
            field.wrong(format!("the routes can't be used: {why}"), "here", EXAMPLE);
            break;
        }
        let (route, item) = routes.remove(at);
        let title = format!("the route {} can't be used: {why}", route.name);
        item.wrong(
            title,
            "this route",
            "a path is /exact, /{segment} or /{*rest}, and each stands once",
        );
    }
    routes.into_iter().map(|(route, _)| route).collect()
}

fn route(mut section: Section<'_>, around: &Surroundings<'_>) -> Option<Route> {
    const ACCESSES: &[(&str, Access)] = &[
        ("session", Access::Session),
        ("bearer", Access::Bearer),
        ("any", Access::Any),
        ("none", Access::Public),
    ];
    const ENDS: &[(&str, OnSessionEnd)] = &[
        ("close", OnSessionEnd::Close),
        ("drain", OnSessionEnd::Drain),
        ("ignore", OnSessionEnd::Ignore),
    ];
    let host = section.optional("host", host);
    let path = section.required("path", "path = \"/{*rest}\"", text);
    let upstream = section.required(
        "upstream",
        "upstream = \"…\", one of [upstreams]",
        |field| upstream(field, around.upstreams),
    );
    let auth = section.field("auth");
    if auth.is_none() {
        let example = "auth = \"session\" (or \"bearer\", \"any\", \"none\"): there is no default";
        section.missing("auth", example);
    }
    let access = auth.as_ref().and_then(word(ACCESSES, &[]));
    if let (Some(field), Some(Access::Session | Access::Bearer | Access::Any), 0) =
        (&auth, access, around.idps)
    {
        let title = format!(
            "`{}` needs an identity provider, and there is none",
            field.path
        );
        field.wrong(
            title,
            "nobody could pass",
            "add [idp.main] with issuer, client_id and client_secret",
        );
    }
    let rules = guarded(&mut section, "rules", access, |f| {
        list("[{ groups = [\"admins\"] }]", rule)(f)
    });
    let csrf = guarded(&mut section, "csrf", access, |f| {
        word(&[("header", true), ("off", false)], &[])(f)
    });
    let slide = section.or("slide", true, flag);
    section.optional("credential_from", credential_from);
    let on_session_end = guarded(&mut section, "on_session_end", access, word(ENDS, &[]));
    section.later(&["rate_limit"]);
    section.finish();
    let path = path?;
    Some(Route {
        name: Arc::from(format!("{}{path}", host.as_deref().unwrap_or_default())),
        host: host.map(String::into_boxed_str),
        path: path.into_boxed_str(),
        upstream: upstream?,
        access: access?,
        rules: rules.unwrap_or_default(),
        slide,
        csrf_header: csrf.unwrap_or(false),
        on_session_end: on_session_end.unwrap_or_default(),
    })
}

/// A restriction. On a public route nobody is asked who they are, so it would be ignored.
fn guarded<T>(
    section: &mut Section<'_>,
    key: &'static str,
    access: Option<Access>,
    read: impl FnOnce(&Field<'_>) -> Option<T>,
) -> Option<T> {
    let field = section.field(key)?;
    if access == Some(Access::Public) {
        let title = format!(
            "`{}` has no effect on a route with auth = \"none\"",
            field.path
        );
        field.wrong(
            title,
            "never asked for",
            "choose auth = \"session\", \"bearer\" or \"any\", or take it out",
        );
    }
    read(&field)
}

fn host(field: &Field<'_>) -> Option<String> {
    let host = text(field)?;
    if host.contains('*') {
        field.reader.tell(not_yet(
            &field.node.place,
            &format!("{} = \"{host}\"", field.path),
        ));
        return None;
    }
    if let Ok(parsed) = Host::parse(&host) {
        return Some(parsed.to_string().trim_end_matches('.').to_owned());
    }
    let title = format!("`{}` is not a host's name", field.path);
    field.wrong(
        title,
        "expected a host's name",
        "such as \"apps.example.com\", without scheme and port",
    );
    None
}

fn upstream(field: &Field<'_>, upstreams: &[String]) -> Option<Arc<str>> {
    let name = text(field)?;
    if upstreams.contains(&name) {
        return Some(Arc::from(name));
    }
    let help = match suggestion(&name, upstreams.iter().map(String::as_str)) {
        Some(near) => format!("did you mean \"{near}\"?"),
        None if upstreams.is_empty() => {
            format!("add [upstreams.{name}] with targets = [\"http://…\"]")
        }
        None => format!("there are: {}", upstreams.join(", ")),
    };
    let title = format!("there is no upstream \"{name}\"");
    field.wrong(title, "not in [upstreams]", help);
    None
}

/// An alternative that asks for nothing would open the route to everyone who can sign in.
fn rule(field: &Field<'_>) -> Option<Rule> {
    let mut section = field.section()?;
    let is_empty = section.entries().is_empty();
    let boxed = |field: &Field<'_>| text(field).map(String::into_boxed_str);
    let groups = section
        .field("groups")
        .map(|f| list("[\"admins\"]", boxed)(&f));
    let scopes = section
        .field("scopes")
        .map(|f| list("[\"api.read\"]", boxed)(&f));
    let methods = section
        .field("methods")
        .map(|f| list("[\"GET\", \"HEAD\"]", method)(&f));
    section.later(&["acr", "max_age", "client_ip"]);
    section.finish();
    if is_empty {
        let title = format!(
            "`{}` asks for nothing, so everyone signed in would pass",
            field.path
        );
        field.wrong(
            title,
            "an empty rule",
            "write groups, scopes or methods into it, or take it out",
        );
        return None;
    }
    Some(Rule {
        groups: groups.unwrap_or_else(|| Some(Vec::new()))?,
        scopes: scopes.unwrap_or_else(|| Some(Vec::new()))?,
        methods: methods.unwrap_or_else(|| Some(Vec::new()))?,
    })
}

fn method(field: &Field<'_>) -> Option<Method> {
    let name = text(field)?;
    let fault = if name.bytes().any(|b| b.is_ascii_lowercase()) {
        "methods are written in capitals"
    } else if matches!(name.as_str(), "TRACE" | "CONNECT") {
        "such requests are never passed on"
    } else if let Ok(method) = Method::from_bytes(name.as_bytes()) {
        return Some(method);
    } else {
        "it has characters that no method has"
    };
    let title = format!("`{}` can't be \"{name}\": {fault}", field.path);
    field.wrong(title, "expected a method", "such as \"GET\" or \"POST\"");
    None
}

/// Only the header is read in this version.
fn credential_from(field: &Field<'_>) -> Option<()> {
    list("[\"header\"]", word(&[("header", ())], &["query"]))(field).map(drop)
}
