//! `tidegate session`, asked of a gateway that runs.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use super::{TOKEN, ask, bearer, on_a_socket};
use crate::support::gateway::free_port;
use crate::support::{Browser, Child, Clock, Scene, Setup};

/// What a command said, and how it ended.
#[derive(Debug)]
struct Said {
    code: i32,
    out: String,
    err: String,
}

fn tidegate(config: &Path, arguments: &[&str]) -> Said {
    let output = Command::new(env!("CARGO_BIN_EXE_tidegate"))
        .args(["-c", config.to_str().unwrap(), "session"])
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Said {
        code: output.status.code().unwrap(),
        out: text(output.stdout),
        err: text(output.stderr),
    }
}

/// The real program with an admin listener on an address that is known, and people at work.
struct Stage {
    scene: Scene,
    gateway: Child,
    config: std::path::PathBuf,
}

impl Stage {
    async fn set(change: impl FnOnce(&mut Setup)) -> Self {
        let scene = Scene::without_gateway(|setup| {
            setup.idp.clock = Clock::System;
            change(setup);
        })
        .await;
        let gateway = scene.spawn_gateway().await;
        let config = scene.file("gateway.toml");
        Self {
            scene,
            gateway,
            config,
        }
    }

    async fn signed_in(&self, person: &str) -> Browser {
        let browser = self.scene.browser();
        assert_eq!(browser.login(person).await.status, 200);
        browser
    }

    fn session(&self, arguments: &[&str]) -> Said {
        tidegate(&self.config, arguments)
    }

    fn listed(&self) -> Vec<Value> {
        let said = self.session(&["list", "--format", "json"]);
        assert_eq!((said.code, &*said.err), (0, ""), "{said:?}");
        let listed: Value = serde_json::from_str(&said.out).unwrap();
        listed["sessions"].as_array().unwrap().clone()
    }
}

fn on_a_port(setup: &mut Setup) {
    let port = free_port();
    let admin = format!("[admin]\naddress = \"127.0.0.1:{port}\"\ntoken = \"{TOKEN}\"\n");
    setup.toml.push_str(&admin);
}

async fn people_are_listed_shown_and_ended(stage: Stage) {
    let none = stage.session(&["list"]);
    assert_eq!((none.code, &*none.out), (0, "no sessions\n"), "{none:?}");
    let (alice, bob) = (stage.signed_in("alice").await, stage.signed_in("bob").await);
    let carols = [
        stage.signed_in("carol").await,
        stage.signed_in("carol").await,
    ];

    let table = stage.session(&["list"]);
    assert_eq!((table.code, &*table.err), (0, ""), "{table:?}");
    let lines: Vec<_> = table.out.lines().collect();
    assert_eq!(lines.len(), 5, "{}", table.out);
    assert!(lines[0].starts_with("SESSION       USER"), "{}", table.out);
    assert!(
        lines.iter().all(|line| line.chars().count() <= 100),
        "{}",
        table.out
    );
    assert!(
        lines[1].contains("carol"),
        "the newest first: {}",
        table.out
    );
    assert_eq!(stage.session(&["list", "--idp", "other"]).code, 1);

    let of_bob = stage.session(&["list", "--user", "bob"]);
    let short = of_bob
        .out
        .lines()
        .nth(1)
        .unwrap()
        .split(' ')
        .next()
        .unwrap();
    assert_eq!(short.len(), 12);
    let card = stage.session(&["show", short]);
    assert_eq!(card.code, 0, "{card:?}");
    assert!(
        card.out.contains("u-bob") && card.out.contains(short),
        "{}",
        card.out
    );
    let json = stage.session(&["show", short, "--format", "json"]);
    let json: Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!(json["subject"], "u-bob");

    let ended = stage.session(&["end", short]);
    let said =
        format!("ended {short}; refresh token: revoked, the identity provider confirmed it\n");
    assert_eq!((ended.code, &*ended.out), (0, &*said), "{ended:?}");
    assert_eq!(bob.fetch("/app").await.status, 401);
    let again = stage.session(&["end", short]);
    assert_eq!((again.code, &*again.out), (1, ""), "{again:?}");
    assert!(again.err.contains("no session of that id"), "{}", again.err);
    assert_eq!(stage.session(&["show", "xyz"]).code, 1);

    // A user name is no subject: nobody shall believe that somebody is out who is in.
    let named = stage.session(&["end", "--user", "carol"]);
    assert_eq!((named.code, &*named.out), (1, ""), "{named:?}");
    assert!(
        named
            .err
            .contains("tidegate session end --user u-carol --idp main"),
        "{}",
        named.err
    );
    let ended = stage.session(&["end", "--user", "u-carol"]);
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(ended.out.starts_with("ended 2 sessions; "), "{}", ended.out);
    assert!(
        ended
            .out
            .contains("bearer tokens that were issued to u-carol"),
        "{}",
        ended.out
    );
    for carol in &carols {
        assert_eq!(carol.fetch("/app").await.status, 401);
    }

    let unasked = stage.session(&["end", "--all"]);
    assert_eq!((unasked.code, &*unasked.out), (2, ""), "{unasked:?}");
    assert!(unasked.err.contains("--yes"), "{}", unasked.err);
    assert_eq!(alice.fetch("/app").await.status, 200);
    let all = stage.session(&["end", "--all", "--yes"]);
    assert_eq!(all.code, 0, "{all:?}");
    assert!(all.out.starts_with("ended 1 session; "), "{}", all.out);
    assert_eq!(alice.fetch("/app").await.status, 401);
    assert!(stage.listed().is_empty());
    let output = stage.gateway.output();
    assert!(!output.contains(TOKEN), "{output}");
}

#[tokio::test(flavor = "multi_thread")]
async fn over_a_loopback_address() {
    people_are_listed_shown_and_ended(Stage::set(on_a_port).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn over_a_socket() {
    people_are_listed_shown_and_ended(Stage::set(on_a_socket).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stands_in_the_way_is_said() {
    let mut stage = Stage::set(on_a_port).await;
    let config = fs::read_to_string(&stage.config).unwrap();
    let with = |name: &str, text: &str| {
        let file = stage.scene.file(name);
        fs::write(&file, text).unwrap();
        file
    };
    let (before, _) = config.split_once("[admin]").unwrap();
    let without = with("without.toml", before);
    let said = tidegate(&without, &["list"]);
    assert_eq!(said.code, 78, "{said:?}");
    let wanted = format!("error: there is no [admin] in {}", without.display());
    assert!(said.err.starts_with(&wanted), "{}", said.err);

    let other = with(
        "other.toml",
        &config.replace(TOKEN, "another-token-of-another-gateway"),
    );
    let said = tidegate(&other, &["list"]);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.err.contains("refuses the admin token"), "{}", said.err);
    assert!(!said.err.contains("another-token"), "{}", said.err);

    let any = config.split("[admin]\naddress = \"").nth(1).unwrap();
    let address = any.split('"').next().unwrap();
    let any = with("any.toml", &config.replace(address, "127.0.0.1:0"));
    assert_eq!(tidegate(&any, &["list"]).code, 78);

    let broken = with("broken.toml", "version = 2");
    assert_eq!(tidegate(&broken, &["list"]).code, 78);
    for wrong in [
        &["end"][..],
        &["end", "--user", "u", "--all"],
        &["end", "0123456789ab", "--all"],
        &["end", "--idp", "main"],
        &["list", "--format", "xml"],
        &["show"],
        &[],
    ] {
        let said = stage.session(wrong);
        assert_eq!((said.code, &*said.out), (2, ""), "{wrong:?} {said:?}");
    }

    let address: std::net::SocketAddr = address.parse().unwrap();
    assert_eq!(ask(address, "GET /api/v1/sessions", &bearer()).status, 200);
    stage.gateway.kill().await;
    let said = stage.session(&["list"]);
    assert_eq!((said.code, &*said.out), (69, ""), "{said:?}");
    assert!(said.err.contains(&address.to_string()), "{}", said.err);
    let socket = config.replace(&address.to_string(), "unix:$DIR/none.sock");
    let socket = socket.replace("$DIR", stage.scene.dir().to_str().unwrap());
    let said = tidegate(&with("socket.toml", &socket), &["list"]);
    assert_eq!(said.code, 69, "{said:?}");
    assert!(said.err.contains("none.sock"), "{}", said.err);
}
