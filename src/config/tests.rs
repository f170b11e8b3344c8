//! What a person who writes a configuration sees: what it comes to, and every mistake with its place.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

mod dialects;
mod every_key;
mod overlays;
mod redis;
mod rules;
mod secrets;

use std::path::Path;
use std::time::Duration;

use super::{Checked, Coloring, Config, EncryptionKeys, Overlay, Problems, Protocol};
use crate::session::StoreSettings;

const MIN: &str = include_str!("tests/contract-min.toml");

/// The smallest configuration whose secret needs no file.
const SMALL: &str = r#"version = 1
[server]
external_url = "https://localhost:8443"
[idp.main]
issuer = "https://idp.example.com"
client_id = "gateway"
client_auth = "none"
access_token = { audience = ["apps"] }
[upstreams.app]
targets = ["http://127.0.0.1:8080"]
[[routes]]
path = "/{*rest}"
upstream = "app"
auth = "session"
"#;

fn parse(text: &str) -> Result<Checked, Problems> {
    Config::parse(text, Path::new("gateway.toml"), &Overlay::default())
}

fn accept(text: &str) -> Config {
    match parse(text) {
        Ok(checked) => checked.config,
        Err(problems) => panic!("{problems}"),
    }
}

/// What is wrong with it, one line each.
fn refuse(text: &str) -> Vec<String> {
    match parse(text) {
        Ok(_) => panic!("accepted:\n{text}"),
        Err(problems) => messages(&problems),
    }
}

fn messages(problems: &Problems) -> Vec<String> {
    problems.entries().map(|entry| entry.message).collect()
}

fn overlay(variables: &[(&str, &str)], set: &[&str]) -> Overlay {
    let variables = variables
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Overlay {
        environment: variables.collect(),
        set: set.iter().map(|setting| (*setting).to_owned()).collect(),
        log_format: None,
    }
}

#[test]
fn the_smallest_configuration_has_the_promised_defaults() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("client_secret"), "hush\n").unwrap();
    let checked = Config::parse(MIN, &dir.path().join("gateway.toml"), &Overlay::default());
    let Checked { config, warnings } = checked.unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(warnings.len(), 0, "{warnings}");
    let addresses: Vec<_> = config
        .listeners
        .iter()
        .map(|l| l.address.to_string())
        .collect();
    assert_eq!(addresses[0], "127.0.0.1:8443");
    assert!(
        config
            .listeners
            .iter()
            .all(|l| l.protocol == Protocol::Https && l.address.ip().is_loopback())
    );
    assert!(config.tls.certificates.is_empty());
    assert_eq!(config.prefix, "/oauth2");
    assert_eq!(config.cookie, "__Host-tidegate");
    assert_eq!(
        config.idps[0]
            .issuer
            .client_secret
            .as_ref()
            .unwrap()
            .expose(),
        "hush"
    );
    assert_eq!(config.session.idle_timeout, Duration::from_mins(30));
    assert_eq!(config.session.absolute_timeout, Duration::from_hours(12));
    assert_eq!(config.session.refresh_before, Duration::from_mins(1));
    assert_eq!(config.session.outage_grace, Duration::ZERO);
    assert!(
        config.session.revoke_refresh_token
            && config.session.revoke_access_token
            && config.rp_initiated
    );
    assert!(
        matches!(&config.store, StoreSettings::Disk { path } if path == Path::new("state/sessions.redb"))
    );
    assert!(
        matches!(&config.encryption_keys, EncryptionKeys::KeptIn(path) if path == Path::new("state/session.key"))
    );
    let identity: Vec<_> = config
        .forward
        .identity
        .iter()
        .map(|(name, template)| (name.as_str(), template.as_str()))
        .collect();
    assert_eq!(
        identity,
        [
            ("x-forwarded-user", "{sub}"),
            ("x-forwarded-email", "{email}"),
            ("x-forwarded-groups", "{groups}"),
            ("x-forwarded-preferred-username", "{preferred_username}"),
        ]
    );
    assert!(config.routes[0].slide && config.routes[0].rules.is_empty());
}

#[test]
fn the_state_directory_is_the_systems_then_the_users_then_here() {
    let state_dir = |variables: &[(&str, &str)]| {
        let checked = Config::parse(SMALL, Path::new("gateway.toml"), &overlay(variables, &[]));
        checked.unwrap().config.state_dir.display().to_string()
    };
    let xdg = ("XDG_STATE_HOME", "/home/a/.local/state");
    assert_eq!(
        state_dir(&[("STATE_DIRECTORY", "/var/lib/a:/var/lib/b"), xdg]),
        "/var/lib/a"
    );
    assert_eq!(
        state_dir(&[("STATE_DIRECTORY", ""), xdg]),
        "/home/a/.local/state/tidegate"
    );
    assert_eq!(state_dir(&[("XDG_STATE_HOME", "relative")]), "state");
}

#[test]
fn all_mistakes_come_at_once_each_with_its_line_its_caret_and_what_to_do() {
    let problems = parse(include_str!("tests/mistakes.toml")).unwrap_err();
    let expected = include_str!("tests/mistakes.txt");
    let told = problems.render(Coloring::Plain);
    assert!(told == expected, "it says now:\n{told}");
    assert!(!told.contains("hunter2"));
}

#[test]
fn programs_are_told_the_same_with_line_and_column() {
    let problems =
        parse("version = 1\n\t\"ö\" = 1\n[server]\nexternal_url = \"https://localhost\"\n")
            .unwrap_err();
    let entry = problems
        .entries()
        .find(|entry| entry.message.contains('ö'))
        .unwrap();
    assert_eq!(
        (entry.line, entry.column, entry.source.as_str()),
        (Some(2), Some(2), "gateway.toml")
    );
    let after = parse("version = 1\npages = { title = \"größe日本\", tite = 1 }\n").unwrap_err();
    let entry = after
        .entries()
        .find(|entry| entry.message.contains("tite"))
        .unwrap();
    assert_eq!((entry.line, entry.column), (Some(2), Some(30)));
}

#[test]
fn what_is_not_toml_is_told_whole_and_without_its_secrets() {
    let text = "version = 1\nclient_secret = \"hunter2\n[server]\nport = 8 8\nencryption_keys = [\"hunter2\", ]]\n";
    let problems = parse(text).unwrap_err();
    assert!(problems.len() >= 3, "{problems}");
    let told = problems.to_string();
    assert!(
        told.contains("gateway.toml:2:") && told.contains("gateway.toml:4:"),
        "{told}"
    );
    assert!(!told.contains("hunter2"), "{told}");
    assert!(!parse("a = ").unwrap_err().is_empty());
    assert!(!parse("=").unwrap_err().is_empty());
    assert!(!parse("\u{0}").unwrap_err().is_empty());
}

#[test]
fn secrets_are_blotted_out_wherever_an_error_shows_their_line() {
    for line in [
        "client_secret = { env = \"hunter2\", fil = 1 }, oops = 1",
        "client_secret = \"hunter2\", oops = 1",
        "clientsecret = \"hunter2\"",
        "pasword = 'hunter2'",
        "access_tken = \"hunter2\", encryption_keys = [\"hunter2\"]",
        "url = \"rediss://user:hunter2@redis\"",
    ] {
        let text = format!("version = 1\nidp = {{ main = {{ {line} }} }}\n");
        let told = parse(&text).unwrap_err().to_string();
        let named = told.replace("environment variable hunter2", "");
        assert!(
            line.contains("env =") || !named.contains("hunter2"),
            "{told}"
        );
    }
}

#[test]
fn nothing_at_all_says_what_is_needed() {
    assert_eq!(
        refuse(""),
        [
            "there are no routes, so nothing would be served",
            "`server.external_url` is missing",
        ]
        .map(str::to_owned)
        .into_iter()
        .rev()
        .collect::<Vec<_>>()
    );
}

#[test]
fn a_missing_file_is_said_with_where_it_was_looked_for() {
    let problems =
        Config::load(Path::new("/nowhere/gateway.toml"), &Overlay::default()).unwrap_err();
    let told = problems.to_string();
    assert!(
        told.contains("can't read the file /nowhere/gateway.toml: there is no such file"),
        "{told}"
    );
    assert!(
        told.contains("--config") && told.contains("TIDEGATE_CONFIG"),
        "{told}"
    );
    assert!(!problems.are_permissions());
}

#[test]
fn the_configurations_that_are_shipped_load() {
    let dir = tempfile::tempdir().unwrap();
    let reference = include_str!("../../gateway.toml");
    let secrets = [
        ("CLIENT_SECRET", "hush"),
        ("ADMIN_TOKEN", "hush-hush-hush-hush"),
    ];
    let with_secret = overlay(&secrets, &[]);
    Config::parse(reference, &dir.path().join("gateway.toml"), &with_secret)
        .unwrap_or_else(|problems| panic!("{problems}"));
    let compose = include_str!("../../deploy/compose/gateway.toml");
    let secret = ["idp.main.client_secret=hush"];
    Config::parse(
        compose,
        &dir.path().join("gateway.toml"),
        &overlay(&[], &secret),
    )
    .unwrap_or_else(|problems| panic!("{problems}"));
    let reference = reference
        .lines()
        .skip_while(|line| !line.starts_with("#   version"))
        .take(14);
    let lines: Vec<_> = reference
        .map(|line| line.trim_start_matches("#   "))
        .collect();
    let smallest = lines.join("\n");
    std::fs::write(dir.path().join("client_secret"), "hush").unwrap();
    Config::parse(
        &smallest,
        &dir.path().join("gateway.toml"),
        &Overlay::default(),
    )
    .unwrap_or_else(|problems| panic!("{smallest}\n{problems}"));
}

#[test]
fn the_contracts_whole_configuration_is_refused_for_what_is_not_there_yet_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("client_secret"), "hush").unwrap();
    std::fs::write(dir.path().join("admin_token"), "hush-hush-hush-hush").unwrap();
    std::fs::write(dir.path().join("redis_password"), "hush").unwrap();
    std::fs::write(
        dir.path().join("session_key"),
        "0123456789abcdef0123456789abcdef!",
    )
    .unwrap();
    let secrets = format!("{}/", dir.path().display());
    let text = include_str!("tests/contract-gateway.toml").replace("/run/secrets/", &secrets);
    assert_eq!(
        refuse(&text),
        [
            "idp.main.par = \"auto\"",
            "idp.main.access_token.introspection",
            "headers.assertion",
            "upstreams.legacy.health",
            "routes[1].rules[0].acr",
            "routes[1].rules[0].max_age",
            "routes[1].rules[1].client_ip",
            "routes[2].rate_limit",
            "pages.logo",
            "pages.templates",
            "pages.languages",
            "telemetry.otlp",
        ]
        .map(|what| format!("`{what}` is not supported by this version yet"))
    );
}

#[test]
fn the_summary_says_who_may_pass() {
    let text = format!(
        "{SMALL}{}",
        r#"[[routes]]
host = "Admin.Example.com"
path = "/admin/{*rest}"
upstream = "app"
auth = "session"
rules = [{ groups = ["admins", "ops"], methods = ["GET"] }, { scopes = ["a", "b"] }]
[[routes]]
path = "/public"
upstream = "app"
auth = "none"
[[routes]]
path = "/api"
upstream = "app"
auth = "any"
csrf = "header"
[admin]
address = "127.0.0.1:9901"
token = "a-token-that-nobody-guesses"
"#
    );
    let told = accept(&text).summary().to_string();
    for line in [
        "https://localhost:8443\n",
        "listens    127.0.0.1:8443: https, with a certificate made for localhost\n",
        "admin      127.0.0.1:9901: with a token\n",
        "signs in   main: https://idp.example.com as gateway, access tokens for apps\n",
        "sessions   in state/sessions.redb, sealed with state/session.key: 30m idle, 12h at most\n",
        "told at    https://localhost:8443/oauth2/backchannel_logout (enter it at the provider: who is out there is out here)\n",
        "upstream   app: http://127.0.0.1:8080\n",
        "/{*rest}                        → app, everyone signed in\n",
        "admin.example.com/admin/{*rest} → app, those signed in and in admins or ops by GET, or with scope a and b\n",
        "/public                         → app, everyone, without signing in\n",
        "/api                            → app, everyone signed in or with a bearer token, X-CSRF needed\n",
    ] {
        assert!(told.contains(line), "{line}\nnot in\n{told}");
    }
}

#[test]
fn sessions_in_the_cookie_are_told_with_their_limits() {
    let text = format!("{SMALL}[session]\nstore = \"cookie\"\n");
    let checked = parse(&text).unwrap();
    assert!(checked.warnings.is_empty(), "a choice is no mistake");
    let config = checked.config;
    assert!(matches!(config.store, StoreSettings::Cookie));
    assert!(!config.backchannel_logout && !config.frontchannel_logout);
    for (key, warned) in [("backchannel", 1), ("frontchannel", 1), ("rp_initiated", 0)] {
        let wanted = parse(&format!("{text}[logout]\n{key} = true\n")).unwrap();
        let told = wanted.warnings.to_string();
        assert_eq!(wanted.warnings.len(), warned, "{told}");
        assert_eq!(
            warned == 1,
            told.contains("has no effect with session.store")
        );
        let unwanted = parse(&format!("{text}[logout]\n{key} = false\n")).unwrap();
        assert!(unwanted.warnings.is_empty(), "{}", unwanted.warnings);
    }
    assert!(
        matches!(&config.encryption_keys, EncryptionKeys::KeptIn(path) if path == Path::new("state/session.key"))
    );
    let long = format!("{text}cookie = {{ name = \"__Host-a-rather-long-name\" }}\n");
    let (room, less) = (
        config.session.cookie_room,
        accept(&long).session.cookie_room,
    );
    assert!(room.is_some_and(|room| room < 4096) && less < room);
    assert_eq!(accept(SMALL).session.cookie_room, None);
    let told = config.summary().to_string();
    for line in [
        "sessions   in the browser's cookie, sealed with state/session.key: 30m idle, 12h at most\n",
        "a restart forgets which sessions have ended",
        "sticky routing",
        "back-channel logout",
    ] {
        assert!(told.contains(line), "{line}\nnot in\n{told}");
    }
    assert!(!accept(SMALL).summary().to_string().contains("sticky"));
}
