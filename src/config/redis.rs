//! `[store.redis]`: where Redis is, who asks, and what to do while it can't be asked.

use std::net::IpAddr;
use std::time::Duration;

use percent_encoding::percent_decode_str;

use super::problem;
use super::reader::{Field, Section};
use super::secret::secret;
use super::value::{duration, path, text, word};
use crate::session::{OnStoreError, RedisAddress, RedisServers, RedisSettings};
use crate::token::Secret;

/// The ports that a URL may leave out.
const PORT: u16 = 6379;
/// See [`PORT`].
const SENTINEL_PORT: u16 = 26379;

const EXAMPLES: &str = "such as \"rediss://redis.example.com:6379/0\", \
    \"redis+sentinel://s1:26379,s2:26379/mymaster/0\" or \"redis+cluster://r1:6379,r2:6379\"";

/// `[store.redis]`.
pub(super) struct Redis {
    /// Nothing where it says no URL, or a wrong one.
    pub(super) settings: Option<RedisSettings>,
    pub(super) on_error: OnStoreError,
    pub(super) cache_ttl: Duration,
}

/// What a URL says.
struct Place {
    servers: RedisServers,
    tls: bool,
    username: Option<String>,
    password: Option<Secret>,
    db: u16,
}

/// Reads `[store.redis]`.
pub(super) fn redis(mut section: Section<'_>, chosen: Chosen) -> Redis {
    const ON_ERROR: &[(&str, OnStoreError)] = &[
        ("deny", OnStoreError::Deny),
        ("serve_cached", OnStoreError::ServeCached),
    ];
    const EXAMPLE: &str = "url = \"rediss://redis.example.com:6379/0\"";
    let place = match chosen {
        Chosen::Yes => section.required("url", EXAMPLE, place),
        Chosen::No => section.optional("url", place),
    };
    let password = section.optional("password", secret);
    let ca = section.optional("ca", authorities);
    let prefix = section.or("prefix", "tidegate:".to_owned(), prefix);
    let on_error = section.or("on_error", OnStoreError::Deny, word(ON_ERROR, &[]));
    let cache_ttl = section.or("cache_ttl", Duration::from_secs(5), duration);
    section.finish();
    let settings = place.map(|place| RedisSettings {
        servers: place.servers,
        tls: place.tls,
        ca,
        username: place.username,
        password: password.or(place.password),
        db: place.db,
        prefix,
    });
    Redis {
        settings,
        on_error,
        cache_ttl,
    }
}

/// Whether `session.store` asks for it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Chosen {
    Yes,
    No,
}

fn place(field: &Field<'_>) -> Option<Place> {
    match parse(&text(field)?) {
        Ok(place) => {
            warn(field, &place);
            Some(place)
        }
        Err(why) => {
            let title = format!("`{}` is not a Redis URL: {why}", field.path);
            field.wrong(title, why, EXAMPLES);
            None
        }
    }
}

/// A variable is a fair place for a password.
fn warn(field: &Field<'_>, place: &Place) {
    if place.password.is_some() && !matches!(field.node.place, problem::Place::Variable(_)) {
        field.warn(
            format!("`{}` has a password in plain text in it", field.path),
            "better: password = { file = \"redis_password\" }",
        );
    }
    if !place.tls && !place.servers.all().iter().all(is_here) {
        field.warn(
            format!("`{}` leads to another machine in the clear", field.path),
            "better: rediss://, which goes over TLS",
        );
    }
}

fn is_here(address: &RedisAddress) -> bool {
    let ip = address.host.parse::<IpAddr>();
    address.host == "localhost" || ip.is_ok_and(|ip| ip.is_loopback())
}

/// What is wrong is said without the text: there may be a password in it.
fn parse(text: &str) -> Result<Place, &'static str> {
    let (scheme, rest) = text.split_once("://").ok_or("no scheme")?;
    let (scheme, kind) = scheme.split_once('+').unwrap_or((scheme, ""));
    let tls = match scheme {
        "redis" | "valkey" => false,
        "rediss" | "valkeys" => true,
        _ => return Err("the scheme must be redis or rediss"),
    };
    if rest.contains(['?', '#']) {
        return Err("nothing may follow a ? or #");
    }
    let (rest, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (user, hosts) = match rest.rsplit_once('@') {
        Some((user, hosts)) => (user, hosts),
        None => ("", rest),
    };
    let (username, password) = credentials(user)?;
    let (servers, db) = servers(kind, hosts, path)?;
    Ok(Place {
        servers,
        tls,
        username,
        password,
        db,
    })
}

fn credentials(text: &str) -> Result<(Option<String>, Option<Secret>), &'static str> {
    let decode = |text: &str| {
        let decoded = percent_decode_str(text).decode_utf8();
        let decoded = decoded.map_err(|_| "user or password is not UTF-8")?;
        Ok::<_, &'static str>((!decoded.is_empty()).then(|| decoded.into_owned()))
    };
    let (user, password) = text.split_once(':').unwrap_or((text, ""));
    Ok((decode(user)?, decode(password)?.map(Secret::new)))
}

fn servers(kind: &str, hosts: &str, path: &str) -> Result<(RedisServers, u16), &'static str> {
    match kind {
        "" => match &*addresses(hosts, PORT)? {
            [one] => Ok((RedisServers::One(one.clone()), db(path)?)),
            _ => Err("more than one server: is it redis+sentinel:// or redis+cluster://?"),
        },
        "sentinel" => {
            let (master, path) = path.split_once('/').unwrap_or((path, ""));
            if master.is_empty() {
                return Err("the name of the master is missing");
            }
            let servers = RedisServers::Sentinel {
                addresses: addresses(hosts, SENTINEL_PORT)?,
                master: master.to_owned(),
            };
            Ok((servers, db(path)?))
        }
        "cluster" if db(path)? == 0 => Ok((RedisServers::Cluster(addresses(hosts, PORT)?), 0)),
        "cluster" => Err("a cluster has no database but 0"),
        _ => Err("after the + comes sentinel or cluster"),
    }
}

fn addresses(text: &str, port: u16) -> Result<Vec<RedisAddress>, &'static str> {
    text.split(',').map(|one| address(one, port)).collect()
}

fn address(text: &str, default: u16) -> Result<RedisAddress, &'static str> {
    let (host, rest) = match text.strip_prefix('[') {
        Some(v6) => v6.split_once(']').ok_or("a [ without its ]")?,
        None => text.split_at(text.find(':').unwrap_or(text.len())),
    };
    let port = match rest.strip_prefix(':') {
        Some(port) => port.parse().map_err(|_| "a port is not a number")?,
        None if rest.is_empty() => default,
        None => return Err("something follows the ]"),
    };
    if host.is_empty() || host.contains(char::is_whitespace) {
        return Err("a host is missing");
    }
    Ok(RedisAddress {
        host: host.to_owned(),
        port,
    })
}

fn db(path: &str) -> Result<u16, &'static str> {
    if path.is_empty() {
        return Ok(0);
    }
    path.parse().map_err(|_| "the database is not a number")
}

/// Braces would decide in which shard of a cluster things are.
fn prefix(field: &Field<'_>) -> Option<String> {
    let prefix = text(field)?;
    let plain = |c: char| c.is_ascii_alphanumeric() || ":._-/".contains(c);
    if prefix.chars().all(plain) {
        return Some(prefix);
    }
    let title = format!(
        "`{}` may hold letters, digits and : . _ - / only",
        field.path
    );
    field.wrong(title, "expected a plain name", "such as \"tidegate:\"");
    None
}

fn authorities(field: &Field<'_>) -> Option<Vec<u8>> {
    let path = path(field)?;
    let read = std::fs::read(&path).map_err(|error| {
        let place = field.node.place.clone();
        let problem = super::overlay::unreadable(place, &path.display().to_string(), &error);
        field.reader.tell(problem);
    });
    let pem = read.ok()?;
    let begins = b"-----BEGIN CERTIFICATE-----";
    if pem.windows(begins.len()).any(|window| window == begins) {
        return Some(pem);
    }
    let title = format!(
        "`{}`: there is no certificate in {}",
        field.path,
        path.display()
    );
    field.wrong(
        title,
        "expected certificates in PEM",
        "such as \"/etc/tidegate/redis-ca.pem\"",
    );
    None
}
