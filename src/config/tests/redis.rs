//! `[store.redis]`: what its URL says, and what is said of it.

use super::*;
use crate::session::{OnStoreError, RedisAddress, RedisServers, RedisSettings};

fn with(lines: &str) -> String {
    let session = "[session]\nstore = \"redis\"\nencryption_keys = [{ env = \"KEY\" }]\n";
    format!("{SMALL}{session}[store.redis]\n{lines}\n")
}

fn load(lines: &str) -> Result<Checked, Problems> {
    let variables = [
        ("KEY", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="),
        ("PASSWORD", "hunter2"),
    ];
    let text = with(lines);
    Config::parse(&text, Path::new("gateway.toml"), &overlay(&variables, &[]))
}

fn settings(lines: &str) -> RedisSettings {
    match load(lines)
        .unwrap_or_else(|problems| panic!("{problems}"))
        .config
        .store
    {
        StoreSettings::Redis(settings) => settings,
        StoreSettings::Memory | StoreSettings::Disk { .. } | StoreSettings::Cookie => {
            panic!("another store")
        }
    }
}

fn address(host: &str, port: u16) -> RedisAddress {
    let host = host.to_owned();
    RedisAddress { host, port }
}

#[test]
fn a_url_says_which_servers_and_how() {
    let sentinel = |addresses: Vec<RedisAddress>| RedisServers::Sentinel {
        addresses,
        master: "main".to_owned(),
    };
    for (url, servers, tls, db) in [
        (
            "redis://localhost",
            RedisServers::One(address("localhost", 6379)),
            false,
            0,
        ),
        (
            "rediss://r:7000/3",
            RedisServers::One(address("r", 7000)),
            true,
            3,
        ),
        (
            "rediss://[fd00::1]:7000",
            RedisServers::One(address("fd00::1", 7000)),
            true,
            0,
        ),
        (
            "redis+sentinel://a,b:5/main",
            sentinel(vec![address("a", 26379), address("b", 5)]),
            false,
            0,
        ),
        (
            "rediss+sentinel://a/main/2",
            sentinel(vec![address("a", 26379)]),
            true,
            2,
        ),
        (
            "rediss+cluster://a,b:5",
            RedisServers::Cluster(vec![address("a", 6379), address("b", 5)]),
            true,
            0,
        ),
    ] {
        let settings = settings(&format!("url = \"{url}\""));
        assert_eq!(
            (settings.servers, settings.tls, settings.db),
            (servers, tls, db),
            "{url}"
        );
        assert_eq!(
            (settings.username, settings.prefix.as_str()),
            (None, "tidegate:")
        );
    }
}

#[test]
fn the_password_is_beside_the_url_or_in_it_and_never_shown() {
    let beside = settings("url = \"rediss://me%40home@r\"\npassword = { env = \"PASSWORD\" }");
    assert_eq!(beside.username.as_deref(), Some("me@home"));
    assert_eq!(beside.password.as_ref().unwrap().expose(), "hunter2");
    let checked = load("url = \"rediss://me:hunter2@r\"").unwrap();
    assert_eq!(
        messages(&checked.warnings),
        ["`store.redis.url` has a password in plain text in it"]
    );
    let shown = format!(
        "{} {} {:?}",
        checked.warnings,
        checked.config.summary(),
        checked.config.store
    );
    assert!(!shown.contains("hunter2"), "{shown}");
    assert!(shown.contains("Redis at r:6379 as me over TLS"), "{shown}");
}

#[test]
fn another_machine_in_the_clear_is_warned_of() {
    for (url, warned) in [
        ("redis://r.example.com", 1),
        ("rediss://r.example.com", 0),
        ("redis://127.0.0.1", 0),
        ("redis+cluster://[::1],localhost", 0),
        ("redis+cluster://[::1],r", 1),
    ] {
        let warnings = load(&format!("url = \"{url}\"")).unwrap().warnings;
        assert_eq!(warnings.len(), warned, "{url}");
    }
}

#[test]
fn a_wrong_url_is_said_without_its_password() {
    for (url, why) in [
        ("r:6379", "no scheme"),
        ("http://me:hunter2@r", "the scheme must be redis or rediss"),
        (
            "redis+what://me:hunter2@r",
            "after the + comes sentinel or cluster",
        ),
        ("redis://me:hunter2@r?db=1", "nothing may follow a ? or #"),
        (
            "redis://me:hunter2@a,b",
            "more than one server: is it redis+sentinel:// or redis+cluster://?",
        ),
        ("redis://me:hunter2@r/x", "the database is not a number"),
        ("redis://me:hunter2@r:x", "a port is not a number"),
        ("redis://me:hunter2@", "a host is missing"),
        (
            "redis+sentinel://me:hunter2@a",
            "the name of the master is missing",
        ),
        (
            "redis+cluster://me:hunter2@a/1",
            "a cluster has no database but 0",
        ),
    ] {
        let problems = load(&format!("url = \"{url}\"")).unwrap_err();
        let text = problems.to_string();
        assert!(
            text.contains(&format!("`store.redis.url` is not a Redis URL: {why}")),
            "{text}"
        );
        assert!(!text.contains("hunter2"), "{text}");
    }
}

#[test]
fn what_is_missing_or_makes_no_sense_is_said() {
    let wrong = |lines: &str| messages(&load(lines).unwrap_err());
    assert_eq!(wrong(""), ["`store.redis.url` is missing"]);
    let url = "url = \"redis://localhost\"\n";
    assert_eq!(
        wrong(&format!("{url}prefix = \"{{x}}\"")),
        ["`store.redis.prefix` may hold letters, digits and : . _ - / only"]
    );
    assert_eq!(
        wrong(&format!("{url}on_error = \"ignore\"")),
        ["`store.redis.on_error` can't be \"ignore\""]
    );
    let missing = wrong(&format!("{url}ca = \"/nowhere/ca.pem\""));
    assert_eq!(
        missing,
        ["can't read the file /nowhere/ca.pem: there is no such file"]
    );
    let keyless = with(url).replace("encryption_keys = [{ env = \"KEY\" }]\n", "");
    assert_eq!(refuse(&keyless), ["`session.encryption_keys` is missing"]);
}

#[test]
fn what_becomes_of_requests_without_it_is_chosen() {
    let of = |lines: &str| {
        let text = format!("url = \"redis://localhost\"\n{lines}");
        let session = load(&text)
            .unwrap_or_else(|problems| panic!("{problems}"))
            .config
            .session;
        (session.on_store_error, session.cache_ttl)
    };
    assert_eq!(of(""), (OnStoreError::Deny, Duration::from_secs(5)));
    let chosen = of("on_error = \"serve_cached\"\ncache_ttl = \"1m\"");
    assert_eq!(chosen, (OnStoreError::ServeCached, Duration::from_mins(1)));
}
