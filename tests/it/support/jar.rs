//! A browser's cookies, with the rules that browsers hold (rfc6265bis): prefixes, `Secure`, `Path`, `SameSite`.

use std::time::Duration;

use tidegate::clock::{Clock, Timestamp};
use url::Url;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SameSite {
    Strict,
    Lax,
    None,
}

#[derive(Clone, Debug)]
pub struct Cookie {
    pub name: String,
    pub value: String,
    pub host: String,
    pub path: String,
    pub secure: bool,
    pub http_only: bool,
    pub same_site: SameSite,
    pub expires: Option<Timestamp>,
}

/// What a request is, for `SameSite`.
#[derive(Clone, Copy, Debug)]
pub struct Sending {
    pub cross_site: bool,
    pub top_level: bool,
    pub safe_method: bool,
}

#[derive(Debug, Default)]
pub struct Jar {
    cookies: Vec<Cookie>,
    /// What a browser would have refused, and why.
    pub refused: Vec<String>,
}

impl Jar {
    /// Takes a `Set-Cookie` as a browser does.
    pub fn set(&mut self, line: &str, from: &Url, clock: &Clock) {
        match parse(line, from, clock) {
            Ok(cookie) => {
                self.cookies.retain(|known| !same(known, &cookie));
                if cookie.expires.is_none_or(|expires| expires > clock.now()) {
                    self.cookies.push(cookie);
                }
            }
            Err(why) => self.refused.push(format!("{why}: {line}")),
        }
    }

    /// The `Cookie` header for a request, longest paths first.
    pub fn line(&self, to: &Url, sending: Sending, clock: &Clock) -> Option<String> {
        let mut due: Vec<&Cookie> = self.cookies.iter().collect();
        due.retain(|cookie| cookie.host == to.host_str().unwrap_or_default());
        due.retain(|cookie| !cookie.secure || trustworthy(to));
        due.retain(|cookie| path_matches(to.path(), &cookie.path));
        due.retain(|cookie| cookie.expires.is_none_or(|expires| expires > clock.now()));
        due.retain(|cookie| goes(cookie.same_site, sending));
        due.sort_by_key(|cookie| std::cmp::Reverse(cookie.path.len()));
        let pairs: Vec<String> = due
            .iter()
            .map(|cookie| format!("{}={}", cookie.name, cookie.value))
            .collect();
        (!pairs.is_empty()).then(|| pairs.join("; "))
    }

    pub fn find(&self, name: &str) -> Option<&Cookie> {
        self.cookies.iter().find(|cookie| cookie.name == name)
    }

    pub fn all(&self) -> &[Cookie] {
        &self.cookies
    }

    /// Puts a cookie back as it was: what a thief, a restored tab or a back-up does.
    pub fn put(&mut self, cookie: Cookie) {
        self.cookies.retain(|known| !same(known, &cookie));
        self.cookies.push(cookie);
    }

    pub fn clear(&mut self) {
        self.cookies.clear();
    }
}

fn same(a: &Cookie, b: &Cookie) -> bool {
    a.name == b.name && a.host == b.host && a.path == b.path
}

fn goes(same_site: SameSite, sending: Sending) -> bool {
    match same_site {
        _ if !sending.cross_site => true,
        SameSite::None => true,
        SameSite::Lax => sending.top_level && sending.safe_method,
        SameSite::Strict => false,
    }
}

fn parse(line: &str, from: &Url, clock: &Clock) -> Result<Cookie, &'static str> {
    let mut parts = line.split(';').map(str::trim);
    let (name, value) = parts
        .next()
        .and_then(|pair| pair.split_once('='))
        .ok_or("no name")?;
    if name.len() + value.len() > 4096 {
        return Err("over 4096 bytes");
    }
    let mut cookie = Cookie {
        name: name.to_owned(),
        value: value.to_owned(),
        host: from.host_str().unwrap_or_default().to_owned(),
        path: default_path(from),
        secure: false,
        http_only: false,
        same_site: SameSite::Lax,
        expires: None,
    };
    let mut domain = false;
    let mut max_age = false;
    for part in parts {
        let (attribute, value) = part.split_once('=').unwrap_or((part, ""));
        match attribute.to_ascii_lowercase().as_str() {
            "secure" => cookie.secure = true,
            "httponly" => cookie.http_only = true,
            "path" if value.starts_with('/') => value.clone_into(&mut cookie.path),
            "domain" => domain = true,
            "samesite" => cookie.same_site = same_site(value),
            "max-age" => {
                cookie.expires = Some(lifetime(value, clock));
                max_age = true;
            }
            // The only date that anyone sets on purpose is the one that deletes.
            "expires" if !max_age && value.contains("1970") => {
                cookie.expires = Some(Timestamp::from_millis(0));
            }
            _ => {}
        }
    }
    check_prefixes(&cookie, from, domain)?;
    Ok(cookie)
}

fn check_prefixes(cookie: &Cookie, from: &Url, domain: bool) -> Result<(), &'static str> {
    let name = cookie.name.to_ascii_lowercase();
    if cookie.secure && !trustworthy(from) {
        return Err("Secure over http");
    }
    if cookie.same_site == SameSite::None && !cookie.secure {
        return Err("SameSite=None without Secure");
    }
    if name.starts_with("__secure-") && !cookie.secure {
        return Err("__Secure- without Secure");
    }
    if name.starts_with("__host-") && (!cookie.secure || domain || cookie.path != "/") {
        return Err("__Host- without Secure, with Domain, or without Path=/");
    }
    Ok(())
}

/// Browsers take localhost for safe without TLS too; Keycloak's `Secure` cookies over http count on it.
fn trustworthy(url: &Url) -> bool {
    url.scheme() == "https" || url.host_str() == Some("localhost")
}

fn same_site(value: &str) -> SameSite {
    match value.to_ascii_lowercase().as_str() {
        "strict" => SameSite::Strict,
        "none" => SameSite::None,
        _ => SameSite::Lax,
    }
}

fn lifetime(value: &str, clock: &Clock) -> Timestamp {
    let seconds = value.parse::<i64>().unwrap_or_default();
    match u64::try_from(seconds) {
        Ok(seconds) if seconds > 0 => clock.now() + Duration::from_secs(seconds),
        _ => Timestamp::from_millis(0),
    }
}

fn default_path(url: &Url) -> String {
    match url.path().rsplit_once('/') {
        Some(("", _)) | None => "/".to_owned(),
        Some((directory, _)) => directory.to_owned(),
    }
}

fn path_matches(path: &str, cookie: &str) -> bool {
    path == cookie
        || path
            .strip_prefix(cookie)
            .is_some_and(|rest| cookie.ends_with('/') || rest.starts_with('/'))
}
