//! The admin listener: who may ask, what it says of the gateway's health, and what was counted.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::{Duration, Instant};

use tidegate::demo::idp::Client as Registered;
use url::form_urlencoded;

use crate::support::client::request;
use crate::support::exposition::Scrape;
use crate::support::gateway::Gateway;
use crate::support::redis::RedisServer;
use crate::support::scene::{CLIENT_SECRET, STANDARD};
use crate::support::{Clock, Fault, MINUTE, Person, SECOND, Scene, Setup, eventually};

mod command;
mod page;
mod sessions;

const TOKEN: &str = "an-admin-token-that-nobody-guesses";

/// A piece of a configuration: the admin listener on a free port.
fn on_loopback(setup: &mut Setup) {
    let admin = format!("[admin]\naddress = \"127.0.0.1:0\"\ntoken = \"{TOKEN}\"\n");
    setup.toml.push_str(&admin);
}

fn on_a_socket(setup: &mut Setup) {
    setup
        .toml
        .push_str("[admin]\naddress = \"unix:$DIR/admin.sock\"\n");
}

/// An answer of the admin listener.
#[derive(Debug)]
struct Answer {
    status: u16,
    head: String,
    body: String,
}

/// Asks over any stream, with these further header lines.
fn ask_over(stream: impl Read + Write, line: &str, headers: &str) -> Answer {
    let host = "Host: localhost:9901";
    let request = format!("{line} HTTP/1.1\r\n{host}\r\nConnection: close\r\n{headers}\r\n");
    exchange(stream, &request)
}

fn exchange(mut stream: impl Read + Write, request: &str) -> Answer {
    stream.write_all(request.as_bytes()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    Answer {
        status: head[9..12].parse().unwrap(),
        head: head.to_ascii_lowercase(),
        body: body.to_owned(),
    }
}

fn ask(address: SocketAddr, line: &str, headers: &str) -> Answer {
    ask_over(TcpStream::connect(address).unwrap(), line, headers)
}

/// Asks with these header lines and no others.
fn ask_bare(address: SocketAddr, line: &str, headers: &str) -> Answer {
    let request = format!("{line} HTTP/1.1\r\nConnection: close\r\n{headers}\r\n");
    exchange(TcpStream::connect(address).unwrap(), &request)
}

fn ask_with(address: SocketAddr, line: &str, headers: &str, body: &str) -> Answer {
    let headers = format!("Content-Length: {}\r\n{headers}\r\n{body}", body.len());
    let headers = headers.trim_end_matches("\r\n").to_owned();
    let host = "Host: localhost:9901";
    let request = format!("{line} HTTP/1.1\r\n{host}\r\nConnection: close\r\n{headers}");
    exchange(TcpStream::connect(address).unwrap(), &request)
}

fn ask_socket(path: &Path, line: &str) -> Answer {
    ask_over(UnixStream::connect(path).unwrap(), line, "")
}

fn bearer() -> String {
    format!("Authorization: Bearer {TOKEN}\r\n")
}

impl Scene {
    fn admin(&self) -> SocketAddr {
        self.admin_address().expect("no admin listener")
    }

    fn scrape(&self) -> Scrape {
        let answer = ask(self.admin(), "GET /metrics", &bearer());
        assert_eq!(answer.status, 200, "{}", answer.head);
        Scrape::read(&answer.body)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_need_the_token_and_probes_need_none() {
    let scene = Scene::with(on_loopback).await;
    let admin = scene.admin();
    assert!(admin.ip().is_loopback());
    let good = ask(admin, "GET /metrics", &bearer());
    assert_eq!(good.status, 200);
    assert!(
        good.head
            .contains("content-type: text/plain; version=0.0.4; charset=utf-8"),
        "{}",
        good.head
    );
    for wrong in [
        String::new(),
        format!("Authorization: Bearer {TOKEN}x\r\n"),
        format!("Authorization: Bearer {}\r\n", &TOKEN[1..]),
        format!("Authorization: Basic {TOKEN}\r\n"),
        format!("Authorization: {TOKEN}\r\n"),
        "Authorization: Bearer \r\n".to_owned(),
        "Authorization: B\r\n".to_owned(),
        format!("Authorization: Bearer x\r\n{}", bearer()),
        format!("X-Authorization: Bearer {TOKEN}\r\n"),
    ] {
        let answer = ask(admin, "GET /metrics", &wrong);
        assert_eq!(answer.status, 401, "{wrong}");
        assert!(answer.head.contains("www-authenticate: bearer"), "{wrong}");
        assert!(!answer.body.contains("tidegate_"), "{wrong}");
    }
    let in_query = format!("GET /metrics?access_token={TOKEN}");
    assert_eq!(ask(admin, &in_query, "").status, 401);

    assert_eq!(ask(admin, "GET /livez", "").body, "ok\n");
    assert_eq!(ask(admin, "GET /readyz", "").body, "ready\n");
    assert_eq!(ask(admin, "HEAD /readyz", "").body, "");
    for elsewhere in ["/metrics/", "/api/v1/", "/livez/x", "/oauth2/start"] {
        let line = format!("GET {elsewhere}");
        assert_eq!(ask(admin, &line, &bearer()).status, 404, "{elsewhere}");
    }
    let post = ask(admin, "POST /metrics", &bearer());
    assert_eq!(post.status, 405);
    assert!(post.head.contains("allow: get, head"));
    // What people reach has none of it.
    let page = scene.client().get_as(TOKEN, "/metrics").await;
    assert_eq!(page.status, 401, "{}", page.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sign_in_a_swap_and_a_sign_out_are_counted() {
    let scene = Scene::with(on_loopback).await;
    let before = scene.scrape();
    for name in [
        "tidegate_build_info",
        "tidegate_certificate_expiry_timestamp_seconds",
        "tidegate_jwks_refresh_total",
        "tidegate_logins_total",
        "tidegate_revocation_queue",
        "tidegate_revocations_total",
        "tidegate_session_waits_total",
        "tidegate_sessions_active",
        "tidegate_sessions_ended_total",
        "tidegate_store_errors_total",
        "tidegate_store_operation_duration_seconds",
        "tidegate_token_refresh_duration_seconds",
        "tidegate_token_refresh_in_flight",
        "tidegate_token_refresh_total",
    ] {
        assert!(before.names().contains(&name), "no {name}");
    }
    let version = [("version", env!("CARGO_PKG_VERSION"))];
    assert_eq!(before.count("tidegate_build_info", &version), 1);
    let ends = "tidegate_certificate_expiry_timestamp_seconds";
    let ends = before.count(ends, &[("host", "localhost")]);
    assert_eq!(ends, 67_090_118_400, "4096-01-01, as rcgen has it");
    assert_eq!(before.sum("tidegate_logins_total"), 0);
    assert_eq!(before.sum("tidegate_token_refresh_total"), 0);

    let browser = scene.browser();
    browser.login("alice").await;
    scene.clock.advance(6 * MINUTE);
    assert_eq!(browser.fetch("/app").await.status, 200);
    let after = scene.scrape();
    let main = ("idp", "main");
    let of = |outcome| [main, ("outcome", outcome)];
    assert_eq!(after.count("tidegate_logins_total", &of("signed_in")), 1);
    assert_eq!(after.sum("tidegate_logins_total"), 1);
    assert_eq!(
        after.count("tidegate_token_refresh_total", &of("swapped")),
        1
    );
    assert_eq!(after.sum("tidegate_token_refresh_total"), 1);
    let took = "tidegate_token_refresh_duration_seconds";
    assert_eq!(after.count(&format!("{took}_count"), &[main]), 1);
    assert!(after.value(&format!("{took}_sum"), &[main]) > 0.0);
    assert_eq!(after.count("tidegate_token_refresh_in_flight", &[main]), 0);
    let waits = "tidegate_session_waits_total";
    assert_eq!(
        after.count(waits, &[("on", "swap")]),
        1,
        "its token had ended"
    );
    assert_eq!(after.count(waits, &[("on", "store")]), 0);
    let ops = "tidegate_store_operation_duration_seconds_count";
    let memory = ("store", "memory");
    assert_eq!(after.count(ops, &[memory, ("op", "create")]), 1);
    assert_eq!(after.count(ops, &[memory, ("op", "mark")]), 1);
    assert!(after.count("tidegate_jwks_refresh_total", &of("fetched")) >= 1);
    let active = || scene.scrape().count("tidegate_sessions_active", &[]);
    eventually("one session is sampled", || active() == 1).await;

    let page = browser.get("/oauth2/sign_out").await;
    browser.press(&page, "Sign out").await;
    let end = scene.scrape();
    let ended = "tidegate_sessions_ended_total";
    assert_eq!(end.count(ended, &[("reason", "signed_out")]), 1);
    assert_eq!(end.sum(ended), 1);
    for target in ["refresh_token", "access_token"] {
        let labels = [
            ("source", "sign_out"),
            ("target", target),
            ("outcome", "confirmed"),
        ];
        assert_eq!(
            end.count("tidegate_revocations_total", &labels),
            1,
            "{target}"
        );
    }
    assert_eq!(end.sum("tidegate_revocations_total"), 2);
    eventually("no session is sampled", || active() == 0).await;
    assert_eq!(
        end.samples().count(),
        before.samples().count(),
        "no new series"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn in_steady_state_no_request_waits() {
    let scene = Scene::with(on_loopback).await;
    let browser = scene.browser();
    browser.login("alice").await;
    for swap in 1..=3 {
        // Within `refresh_before` of the access token's end.
        scene.clock.advance(4 * MINUTE + 30 * SECOND);
        assert_eq!(browser.fetch("/app").await.status, 200);
        let swapped = || {
            let labels = [("outcome", "swapped")];
            scene
                .scrape()
                .count("tidegate_token_refresh_total", &labels)
        };
        eventually("it is swapped off the request's path", || swapped() == swap).await;
        assert_eq!(browser.fetch("/app").await.status, 200);
    }
    assert_eq!(scene.scrape().sum("tidegate_session_waits_total"), 0);
}

/// The real program, since memory is lost with it; and its socket is left behind.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_memory_has_not_got_is_a_wait_for_the_store() {
    let scene = Scene::without_gateway(|setup| {
        on_a_socket(setup);
        setup.idp.clock = Clock::System;
        setup.on_disk();
    })
    .await;
    let mut killed = scene.spawn_gateway().await;
    let browser = scene.browser();
    browser.login("alice").await;
    let path = scene.file("admin.sock");
    let scrape = || Scrape::read(&ask_socket(&path, "GET /metrics").body);
    let waited = || scrape().count("tidegate_session_waits_total", &[("on", "store")]);
    assert_eq!(waited(), 0);
    killed.kill().await;
    let _again = scene.spawn_gateway().await;
    let load = [("store", "disk"), ("op", "load")];
    let loads = "tidegate_store_operation_duration_seconds_count";
    // A start has asked whether the store answers.
    let before = scrape().count(loads, &load);
    let page = browser.fetch("/app").await;
    assert_eq!(page.status, 200, "{}", page.body);
    assert_eq!(browser.fetch("/app").await.status, 200);
    assert_eq!(waited(), 1, "the first request after a restart");
    assert_eq!(scrape().count(loads, &load), before + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_goes_wrong_is_counted_as_what_it_is() {
    let scene = Scene::with(on_loopback).await;
    let browser = scene.browser();
    browser.login("alice").await;
    let swaps = |outcome: &str| {
        let labels = [("outcome", outcome)];
        scene
            .scrape()
            .count("tidegate_token_refresh_total", &labels)
    };
    scene.idp.faults().once(Fault::TokenError);
    scene.clock.advance(6 * MINUTE);
    assert_eq!(browser.fetch("/app").await.status, 503);
    assert_eq!(swaps("unavailable"), 1);
    scene.idp.faults().once(Fault::InvalidClient);
    scene.clock.advance(MINUTE);
    assert_eq!(browser.fetch("/app").await.status, 503);
    assert_eq!(swaps("client_refused"), 1);
    scene.idp.faults().once(Fault::InvalidGrant);
    scene.clock.advance(MINUTE);
    assert_eq!(browser.fetch("/app").await.status, 401);
    assert_eq!(swaps("refused"), 1);
    assert_eq!(swaps("swapped"), 0);
    let ended = "tidegate_sessions_ended_total";
    let scrape = scene.scrape();
    assert_eq!(scrape.count(ended, &[("reason", "refused")]), 1);

    scene.idp.faults().once(Fault::WrongNonce);
    scene.browser().login("carol").await;
    let refused = [("outcome", "bad_id_token")];
    let logins = "tidegate_logins_total";
    assert_eq!(scene.scrape().count(logins, &refused), 1);
    // A callback that is nobody's answer is no provider's either.
    browser.get("/oauth2/callback?state=none&code=x").await;
    assert_eq!(scene.scrape().sum(logins), 2);
    // What cannot be revoked now is owed, and shown.
    let other = scene.browser();
    other.login("bob").await;
    scene.idp.faults().set(Fault::RevocationDown);
    let page = other.get("/oauth2/sign_out").await;
    other.press(&page, "Sign out").await;
    let owed = || scene.scrape().count("tidegate_revocation_queue", &[]);
    eventually("the queue is sampled", || owed() == 2).await;
    scene.idp.faults().clear();
    scene.clock.advance(MINUTE);
    eventually("the queue is empty", || owed() == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_secret_is_in_any_answer() {
    let scene = Scene::with(on_loopback).await;
    let browser = scene.browser();
    browser.login("alice").await;
    scene.clock.advance(6 * MINUTE);
    browser.fetch("/app?secret=in-a-path").await;
    let mut told = ask(scene.admin(), "GET /metrics", &bearer()).body;
    told += &ask(scene.admin(), "GET /readyz?verbose", "").body;
    let journal = scene.idp.journal();
    let tokens = journal.issued.iter().map(|issued| issued.text.as_str());
    let cookie = browser.session_cookie().unwrap().value;
    let others = [TOKEN, CLIENT_SECRET, &cookie, "alice", "in-a-path", "/app"];
    for secret in tokens.chain(others) {
        assert!(!told.contains(secret), "{secret}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_does_not_answer_degrades_and_no_more() {
    let scene = Scene::with(on_loopback).await;
    let admin = scene.admin();
    let browser = scene.browser();
    browser.login("alice").await;
    let verbose = || ask(admin, "GET /readyz?verbose", "");
    let fine = verbose();
    assert_eq!(fine.status, 200);
    assert_eq!(
        fine.body,
        "[+] workers: ok\n[+] session_store: ok\n[+] serving: ok\n[+] idp main: ok\nready\n"
    );
    let faults = [
        (Fault::TokenError, 503),
        // The token may be spent: a page load has to find out.
        (Fault::Reset, 401),
        (Fault::InvalidClient, 503),
    ];
    for (fault, status) in faults {
        scene.idp.faults().once(fault.clone());
        scene.clock.advance(6 * MINUTE);
        assert_eq!(browser.fetch("/app").await.status, status, "{fault:?}");
        let degraded = verbose();
        assert_eq!(degraded.status, 200, "sessions go on");
        let told = degraded.body;
        assert!(
            told.contains("[~] idp main: degraded: "),
            "{fault:?}: {told}"
        );
        assert!(told.ends_with("\nready\n"), "{told}");
        scene.clock.advance(MINUTE);
        assert_eq!(browser.get("/app").await.status, 200, "{fault:?}");
        let told = verbose().body;
        assert!(told.contains("[+] idp main: ok\n"), "{fault:?}: {told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server"]
async fn redis_that_is_gone_or_hangs_makes_unready() {
    let mut redis = RedisServer::start();
    let scene = Scene::with(|setup| {
        on_loopback(setup);
        setup.replace("\"memory\"", "\"redis\"");
        let store = format!("[store.redis]\nurl = \"{}\"\n", redis.url());
        setup.toml.push_str(&store);
    })
    .await;
    let admin = scene.admin();
    let ready = || ask(admin, "GET /readyz?verbose", "");
    let is = |wanted: u16| move || ask(admin, "GET /readyz", "").status == wanted;
    eventually("it is ready", is(200)).await;
    scene.browser().login("alice").await;
    let stores = |name: &str, op: &str| {
        let labels = [("store", "redis"), ("op", op)];
        scene.scrape().count(name, &labels)
    };
    let took = "tidegate_store_operation_duration_seconds_count";
    assert_eq!(stores(took, "create"), 1);
    assert_eq!(stores("tidegate_store_errors_total", "create"), 0);

    redis.pause();
    let asked = Instant::now();
    let hanging = ready();
    assert!(asked.elapsed() < 3 * SECOND, "{:?}", asked.elapsed());
    assert_eq!(hanging.status, 503);
    let failed = "[-] session_store: failed: it does not answer\n";
    assert!(hanging.body.contains(failed), "{}", hanging.body);
    assert_eq!(ask(admin, "GET /livez", "").status, 200);
    redis.resume();
    eventually("it is ready again", is(200)).await;

    redis.kill();
    let gone = ready();
    assert_eq!(gone.status, 503);
    assert!(gone.body.contains(failed), "{}", gone.body);
    assert!(gone.body.ends_with("\nnot ready\n"), "{}", gone.body);
    assert!(stores("tidegate_store_errors_total", "load") >= 1);
    redis.restart();
    eventually("it is ready once more", is(200)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_drains_is_not_ready_and_alive() {
    let mut scene = Scene::with(on_loopback).await;
    let admin = scene.admin();
    // A request under way holds the drain up; meanwhile it is said.
    let (under_way, arrived) = (scene.client_h1(), scene.upstream.count());
    let slow = tokio::spawn(async move { under_way.get("/public/slow?ms=1500").await });
    eventually("it is under way", || scene.upstream.count() > arrived).await;
    let watching = tokio::task::spawn_blocking(move || {
        loop {
            let answer = ask(admin, "GET /readyz?verbose", "");
            if answer.status != 200 {
                return (answer, ask(admin, "GET /livez", ""));
            }
        }
    });
    scene.stop_gateway().await;
    let (draining, alive) = watching.await.unwrap();
    assert_eq!(draining.status, 503);
    assert!(
        draining.body.contains("[-] serving: failed: draining\n"),
        "{}",
        draining.body
    );
    assert!(draining.body.ends_with("\nnot ready\n"));
    assert_eq!(alive.status, 200);
    assert_eq!(slow.await.unwrap().status, 200);
    assert!(
        TcpStream::connect(admin).is_err(),
        "it is gone with the gateway"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_is_for_its_owner_and_a_stale_one_is_replaced() {
    let mut scene = Scene::without_gateway(on_a_socket).await;
    let path = scene.file("admin.sock");
    // Left over by a gateway that was killed.
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    scene.start_gateway();
    let found = std::fs::symlink_metadata(&path).unwrap();
    assert!(found.file_type().is_socket());
    assert_eq!(found.permissions().mode() & 0o777, 0o600);
    assert_eq!(scene.admin_address(), None);
    assert_eq!(ask_socket(&path, "GET /readyz").body, "ready\n");
    let metrics = ask_socket(&path, "GET /metrics");
    assert_eq!(metrics.status, 200, "its owner needs no token");
    Scrape::read(&metrics.body);

    // A second gateway takes it from nobody.
    let toml = scene.toml().replace(
        &format!("\"127.0.0.1:{}\"", scene.url().port().unwrap()),
        "\"127.0.0.1:0\"",
    );
    let refused = Gateway::try_start(&toml, &scene.clock).err().unwrap();
    assert!(
        refused.contains("can't listen for the administrator on unix:"),
        "{refused}"
    );
    assert!(refused.contains("somebody listens there"), "{refused}");
    assert_eq!(ask_socket(&path, "GET /livez").body, "ok\n");

    scene.stop_gateway().await;
    assert!(!path.exists(), "it goes with the gateway");
    // What is no socket is never removed.
    std::fs::write(&path, "precious").unwrap();
    let refused = Gateway::try_start(scene.toml(), &scene.clock)
        .err()
        .unwrap();
    assert!(refused.contains("no socket"), "{refused}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_in_the_readme_do_what_they_say() {
    let scene = Scene::with(on_loopback).await;
    let readme = include_str!("../../README.md");
    let (_, section) = readme.split_once("### Watching it").unwrap();
    let (_, block) = section.split_once("```sh\n").unwrap();
    let (block, _) = block.split_once("```").unwrap();
    let port = format!(":{}/", scene.admin().port());
    let mut said = Vec::new();
    for line in block.lines() {
        let mut curl = tokio::process::Command::new("sh");
        curl.args(["-c", &line.replace(":9901/", &port)]);
        let output = curl.env("ADMIN_TOKEN", TOKEN).output().await.unwrap();
        assert!(output.status.success(), "{line}: {output:?}");
        said.push(String::from_utf8(output.stdout).unwrap());
    }
    assert_eq!(said[0], "ok\n");
    assert!(
        said[1].ends_with("[+] idp main: ok\nready\n"),
        "{}",
        said[1]
    );
    Scrape::read(&said[2]);
    assert_eq!(said.len(), 3);
    // Every metric that is worth an alarm is there.
    let names = said[2].clone();
    for row in section
        .lines()
        .filter(|line| line.starts_with("| `tidegate_"))
    {
        let name = row.split(['`', '{']).nth(1).unwrap();
        assert!(names.contains(&format!("# TYPE {name} ")), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_admin_section_nobody_listens() {
    let scene = Scene::start().await;
    assert_eq!(scene.admin_address(), None);
    assert!(!STANDARD.contains("[admin]"));
}

#[tokio::test(flavor = "multi_thread")]
async fn many_connections_at_once_are_bounded_and_a_slow_one_is_cut() {
    let scene = Scene::with(on_loopback).await;
    let admin = scene.admin();
    let mut idle: Vec<_> = (0..64)
        .map(|_| TcpStream::connect(admin).unwrap())
        .collect();
    // One whose head never ends.
    idle[0].write_all(b"GET /livez HTTP/1.1\r\nX: ").unwrap();
    let closed = |stream: &mut TcpStream| {
        stream.set_read_timeout(Some(20 * SECOND)).unwrap();
        let mut byte = [0];
        !matches!(stream.read(&mut byte), Ok(1..))
    };
    let mut one_more = TcpStream::connect(admin).unwrap();
    one_more
        .set_read_timeout(Some(Duration::from_secs(4)))
        .unwrap();
    let mut byte = [0];
    assert_eq!(one_more.read(&mut byte).unwrap(), 0, "closed unheard");
    assert!(closed(&mut idle[0]));
    assert_eq!(ask(admin, "GET /livez", "").status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_clients_have_revoked_is_counted_by_what_came_of_it() {
    let scene = Scene::with(|setup| {
        on_loopback(setup);
        setup.idp.clients.push(Registered::new("cli", "hush"));
    })
    .await;
    let revoke = async |client: &str| {
        let person = Person::named("alice").unwrap();
        let token = scene.idp.bearer(person, client, &["openid"]).unwrap();
        let secret = match client {
            "cli" => "hush".to_owned(),
            _ => form_urlencoded::byte_serialize(CLIENT_SECRET.as_bytes()).collect(),
        };
        let post = request("POST").header("content-type", "application/x-www-form-urlencoded");
        let form = format!("token={token}&client_id={client}&client_secret={secret}");
        let reply = scene.client().send_with("/oauth2/revoke", post, form).await;
        reply.status.as_u16()
    };
    let counted = |outcome: &str| {
        let labels = [
            ("source", "client"),
            ("target", "access_token"),
            ("outcome", outcome),
        ];
        scene.scrape().count("tidegate_revocations_total", &labels)
    };
    assert_eq!(counted("confirmed"), 0);
    assert_eq!((revoke("gateway").await, revoke("cli").await), (200, 200));
    assert_eq!((counted("confirmed"), counted("failed")), (2, 0));
    scene.idp.faults().set(Fault::RevocationDown);
    assert_eq!(revoke("cli").await, 503);
    assert_eq!((counted("confirmed"), counted("failed")), (2, 1));
}
