//! What a configuration comes to, in words that a person can read at a glance.

use std::fmt::{self, Display, Formatter};

use super::value::spoken;
use super::{Config, EncryptionKeys, Idp, Protocol, Upstream};
use crate::admin::Settings;
use crate::connect::{Origin, Scheme};
use crate::route::{Access, Route, Rule};
use crate::session::StoreSettings;

impl Config {
    /// Listeners, providers, sessions, routes and who may pass: for `check` and for the start.
    pub fn summary(&self) -> impl Display {
        Summary(self)
    }
}

struct Summary<'a>(&'a Config);

impl Display for Summary<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let config = self.0;
        let origin = config.external_url.origin().ascii_serialization();
        writeln!(f, "{origin}")?;
        listeners(f, config)?;
        admin(f, config.admin.as_ref())?;
        config.idps.iter().try_for_each(|idp| provider(f, idp))?;
        sessions(f, config)?;
        told_at(f, config)?;
        upstreams(f, &config.upstreams)?;
        routes(f, &config.routes)
    }
}

/// What `session.store = "cookie"` can't give.
const IN_COOKIE: [&str; 5] = [
    "- a restart forgets which sessions have ended: a cookie that was stolen before is then worth what its refresh token",
    "  is worth at the provider, where a sign-out revokes it",
    "- several nodes need sticky routing and the same encryption_keys",
    "- ending sessions from elsewhere (back-channel logout, \"my sessions\", sign out everywhere) needs store disk or redis",
    "- a refresh token of more than about 2.5 kB does not fit: who has one is not let in",
];

fn line(f: &mut Formatter<'_>, name: &str, rest: impl Display) -> fmt::Result {
    writeln!(f, "  {name:<10} {rest}")
}

fn listeners(f: &mut Formatter<'_>, config: &Config) -> fmt::Result {
    for listener in &config.listeners {
        let certificates = config.tls.certificates.len();
        let what = match (listener.protocol, certificates) {
            (Protocol::Https, 0) => "https, with a certificate made for localhost".to_owned(),
            (Protocol::Https, 1) => "https, with 1 certificate".to_owned(),
            (Protocol::Https, many) => format!("https, with {many} certificates"),
            (Protocol::Http, _) => "http, in the clear".to_owned(),
            (Protocol::Redirect, _) => "redirects to https".to_owned(),
        };
        line(f, "listens", format_args!("{}: {what}", listener.address))?;
    }
    Ok(())
}

fn admin(f: &mut Formatter<'_>, settings: Option<&Settings>) -> fmt::Result {
    match settings {
        None => Ok(()),
        Some(Settings::Loopback { address, .. }) => {
            line(f, "admin", format_args!("{address}: with a token"))
        }
        Some(Settings::Socket { path, token }) => {
            let token = token.as_ref().map_or("", |_| ", with a token");
            line(
                f,
                "admin",
                format_args!("{}: for its owner{token}", path.display()),
            )
        }
    }
}

fn provider(f: &mut Formatter<'_>, idp: &Idp) -> fmt::Result {
    let issuer = &idp.issuer;
    let audience = match &idp.access_token.audience {
        Some(audience) => format!("for {}", audience.join(" or ")),
        None => "for anyone (unchecked)".to_owned(),
    };
    let rest = format!(
        "{}: {} as {}, access tokens {audience}",
        issuer.name, issuer.issuer, issuer.client_id
    );
    line(f, "signs in", rest)
}

fn sessions(f: &mut Formatter<'_>, config: &Config) -> fmt::Result {
    let store = match &config.store {
        StoreSettings::Memory => "in memory, gone at a restart".to_owned(),
        StoreSettings::Cookie => "in the browser's cookie".to_owned(),
        StoreSettings::Disk { path } => format!("in {}", path.display()),
        StoreSettings::Redis(redis) => format!("in {}", redis.summary()),
    };
    let key = match &config.encryption_keys {
        EncryptionKeys::Given(_) | EncryptionKeys::OfThisRun => String::new(),
        EncryptionKeys::KeptIn(path) => format!(", sealed with {}", path.display()),
    };
    let idle = spoken(config.session.idle_timeout);
    let absolute = spoken(config.session.absolute_timeout);
    line(
        f,
        "sessions",
        format_args!("{store}{key}: {idle} idle, {absolute} at most"),
    )?;
    if matches!(config.store, StoreSettings::Cookie) {
        IN_COOKIE.iter().try_for_each(|limit| line(f, "", limit))?;
    }
    Ok(())
}

fn told_at(f: &mut Formatter<'_>, config: &Config) -> fmt::Result {
    if !config.backchannel_logout {
        return Ok(());
    }
    let origin = config.external_url.origin().ascii_serialization();
    let prefix = config.prefix.trim_end_matches('/');
    let what = "(enter it at the provider: who is out there is out here)";
    let rest = format_args!("{origin}{prefix}/backchannel_logout {what}");
    line(f, "told at", rest)
}

fn upstreams(f: &mut Formatter<'_>, upstreams: &[Upstream]) -> fmt::Result {
    for upstream in upstreams {
        let targets: Vec<_> = upstream.targets.iter().map(origin).collect();
        line(
            f,
            "upstream",
            format_args!("{}: {}", upstream.name, targets.join(", ")),
        )?;
    }
    Ok(())
}

fn origin(origin: &Origin) -> String {
    let scheme = match origin.scheme {
        Scheme::Http => "http",
        Scheme::Https => "https",
    };
    let (host, port) = (&origin.host, origin.port);
    if host.contains(':') {
        format!("{scheme}://[{host}]:{port}")
    } else {
        format!("{scheme}://{host}:{port}")
    }
}

fn routes(f: &mut Formatter<'_>, routes: &[Route]) -> fmt::Result {
    let names = routes.iter().map(|route| route.name.chars().count());
    let width = names.max().unwrap_or_default().min(40);
    for route in routes {
        let (name, upstream) = (&route.name, &route.upstream);
        line(
            f,
            "route",
            format_args!("{name:<width$} → {upstream}, {}", who(route)),
        )?;
    }
    Ok(())
}

/// Who may pass.
fn who(route: &Route) -> String {
    let by = match route.access {
        Access::Public => return "everyone, without signing in".to_owned(),
        Access::Session => "signed in",
        Access::Bearer => "with a bearer token",
        Access::Any => "signed in or with a bearer token",
    };
    let rules: Vec<_> = route.rules.iter().map(rule).collect();
    let csrf = if route.csrf_header {
        ", X-CSRF needed"
    } else {
        ""
    };
    if rules.is_empty() {
        return format!("everyone {by}{csrf}");
    }
    format!("those {by} and {}{csrf}", rules.join(", or "))
}

fn rule(rule: &Rule) -> String {
    let mut parts = Vec::new();
    if !rule.groups.is_empty() {
        parts.push(format!("in {}", rule.groups.join(" or ")));
    }
    if !rule.scopes.is_empty() {
        parts.push(format!("with scope {}", rule.scopes.join(" and ")));
    }
    if !rule.methods.is_empty() {
        let methods: Vec<_> = rule.methods.iter().map(http::Method::as_str).collect();
        parts.push(format!("by {}", methods.join(" or ")));
    }
    parts.join(" ")
}
