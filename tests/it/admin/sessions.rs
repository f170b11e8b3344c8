//! The admin API: who is signed in, and the end of that, here, on the other nodes and at the provider.

use std::collections::BTreeSet;
use std::time::Instant;

use serde_json::Value;

use super::{TOKEN, ask, ask_socket, bearer, on_a_socket, on_loopback};
use crate::support::redis::RedisServer;
use crate::support::{Browser, Fault, Gateway, Kind, MINUTE, SECOND, Scene, Setup, eventually};

impl Scene {
    /// Asks the API with the token, and reads the JSON that must come.
    fn api(&self, line: &str) -> (u16, Value) {
        let answer = ask(self.admin(), line, &bearer());
        let kind = if answer.status < 300 {
            "content-type: application/json"
        } else {
            "content-type: application/problem+json"
        };
        assert!(answer.head.contains(kind), "{line}: {}", answer.head);
        assert!(answer.head.contains("cache-control: no-store"), "{line}");
        (answer.status, serde_json::from_str(&answer.body).unwrap())
    }

    fn told(&self, line: &str) -> Value {
        let (status, told) = self.api(line);
        assert_eq!(status, 200, "{line}: {told}");
        told
    }

    fn all(&self) -> Vec<Value> {
        let told = self.told("GET /api/v1/sessions");
        told["sessions"].as_array().unwrap().clone()
    }
}

fn id(session: &Value) -> &str {
    session["id"].as_str().unwrap()
}

async fn signed_in(scene: &Scene, person: &str) -> Browser {
    let browser = scene.browser();
    browser.login(person).await;
    browser
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_told_anything_without_the_token() {
    let scene = Scene::with(on_loopback).await;
    let browser = signed_in(&scene, "alice").await;
    let one = id(&scene.all()[0]).to_owned();
    let lines = [
        "GET /",
        "GET /end_all",
        "POST /end",
        "GET /api/v1/sessions",
        "DELETE /api/v1/sessions?all=true",
        "GET /api/v1/idps",
        "GET /api/v1/revocations",
        "GET /api/v1/users/u-alice/sessions",
        "DELETE /api/v1/users/u-alice/sessions",
        &format!("GET /api/v1/sessions/{one}"),
        &format!("DELETE /api/v1/sessions/{one}"),
        "GET /nowhere",
    ];
    for line in lines {
        for wrong in [
            "",
            "Authorization: Bearer wrong\r\n",
            "Authorization: Basic eDp5\r\n",
        ] {
            let answer = ask(scene.admin(), line, wrong);
            assert_eq!(answer.status, 401, "{line} {wrong}");
            for challenge in ["bearer", "basic"] {
                let challenge = format!("www-authenticate: {challenge} realm=");
                assert!(answer.head.contains(&challenge), "{}", answer.head);
            }
            assert!(!answer.body.contains("alice"), "{}", answer.body);
        }
    }
    assert_eq!(browser.fetch("/app").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_are_told_of_and_no_secret_is() {
    let scene = Scene::with(on_loopback).await;
    let browser = signed_in(&scene, "alice").await;
    scene.clock.advance(6 * MINUTE);
    assert_eq!(browser.fetch("/app").await.status, 200);
    let all = scene.all();
    assert_eq!(all.len(), 1, "{all:?}");
    let session = &all[0];
    assert_eq!(session["idp"], "main");
    assert_eq!(session["subject"], "u-alice");
    assert_eq!(session["user"], "alice");
    assert_eq!(session["swaps"], 1);
    assert_eq!(session["address"], "127.0.0.1");
    assert_eq!(id(session).len(), 64);
    let times = [
        "created",
        "last_seen",
        "idle_end",
        "absolute_end",
        "access_token_end",
    ];
    for time in times {
        let text = session[time].as_str().unwrap();
        assert!(text.len() == 20 && text.ends_with('Z'), "{time}: {text}");
    }
    let times = times.map(|time| session[time].as_str().unwrap());
    assert!(times[0] < times[1] && times[1] < times[2] && times[2] < times[3]);

    let shown = scene.told(&format!("GET /api/v1/sessions/{}", id(session)));
    assert_eq!(&shown, session);
    let of_user = scene.told("GET /api/v1/users/u%2Dalice/sessions");
    assert_eq!(of_user["sessions"], Value::Array(all.clone()));
    let idps = scene.told("GET /api/v1/idps");
    let idp = &idps["idps"][0];
    assert_eq!(idp["name"], "main");
    assert_eq!(idp["label"], "Development");
    assert_eq!(
        (&idp["reachable"], &idp["has_keys"]),
        (&true.into(), &true.into())
    );
    let owed = scene.told("GET /api/v1/revocations");
    assert_eq!(
        (&owed["owed"], &owed["revocations"]),
        (&0.into(), &Value::Array(vec![]))
    );

    let mut everything = [shown, of_user, idps, owed]
        .map(|told| told.to_string())
        .concat();
    everything += &ask(scene.admin(), "GET /", &bearer()).body;
    everything += &ask(scene.admin(), "GET /end_all", &bearer()).body;
    let journal = scene.idp.journal();
    let tokens = journal.issued.iter().map(|issued| issued.text.as_str());
    let cookie = browser.session_cookie().unwrap().value;
    for secret in tokens.chain([TOKEN, &cookie]) {
        assert!(!everything.contains(secret), "{secret}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_understood_ends_nothing() {
    let scene = Scene::with(on_loopback).await;
    let browser = signed_in(&scene, "alice").await;
    let whole = id(&scene.all()[0]).to_owned();
    for (line, status, code) in [
        ("GET /api/v1/sessions?limit=0", 400, "malformed"),
        ("GET /api/v1/sessions?limit=1001", 400, "malformed"),
        ("GET /api/v1/sessions?cursor=x", 400, "malformed"),
        ("GET /api/v1/sessions?usr=alice", 400, "malformed"),
        ("GET /api/v1/sessions?user=a&user=b", 400, "malformed"),
        ("GET /api/v1/sessions?idp=other", 404, "no_such_idp"),
        ("DELETE /api/v1/sessions", 400, "all_not_said"),
        ("DELETE /api/v1/sessions?all=yes", 400, "all_not_said"),
        (
            "DELETE /api/v1/sessions?all=true&user=bob",
            400,
            "malformed",
        ),
        ("DELETE /api/v1/sessions/1234567", 400, "malformed"),
        ("DELETE /api/v1/sessions/12345678", 404, "no_such_session"),
        ("DELETE /api/v1/sessions/..%2f", 400, "malformed"),
        (
            "DELETE /api/v1/users/u-alice/sessions?idp=other",
            404,
            "no_such_idp",
        ),
        ("DELETE /api/v1/users/%ff/sessions", 400, "malformed"),
        ("DELETE /api/v1/users//sessions", 400, "malformed"),
        ("DELETE /api/v1/users/%20/sessions", 400, "malformed"),
        ("GET /api/v1/users/%20%09/sessions", 400, "malformed"),
        ("DELETE /api/v1/users/u-alice", 404, "nothing_here"),
        ("POST /api/v1/sessions", 405, "method"),
        ("PUT /api/v1/users/u-alice/sessions", 405, "method"),
        ("DELETE /api/v1/revocations", 405, "method"),
        ("GET /api/v2/sessions", 404, "nothing_here"),
    ] {
        let (found, problem) = scene.api(line);
        assert_eq!(
            (found, &problem["code"]),
            (status, &code.into()),
            "{line}: {problem}"
        );
        assert_eq!(problem["status"], status, "{line}");
        assert!(!problem["detail"].as_str().unwrap().is_empty(), "{line}");
    }
    let line = format!("DELETE /api/v1/sessions/{whole}0");
    assert_eq!(scene.api(&line).0, 400);
    assert_eq!(browser.fetch("/app").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_session_ends_here_at_once_and_its_refresh_token_at_the_provider() {
    let scene = Scene::with(on_loopback).await;
    let (browser, other) = (
        signed_in(&scene, "alice").await,
        signed_in(&scene, "bob").await,
    );
    let of_alice = scene.told("GET /api/v1/users/u-alice/sessions");
    let whole = id(&of_alice["sessions"][0]).to_owned();
    let done = scene.told(&format!("DELETE /api/v1/sessions/{}", &whole[..8]));
    assert_eq!(done["ended"], 1, "{done}");
    assert_eq!(done["id"], whole.as_str());
    assert_eq!(done["refresh_token"], "confirmed");
    assert_eq!(browser.fetch("/app").await.status, 401);
    assert_eq!(other.fetch("/app").await.status, 200);
    assert_eq!(scene.idp.journal().refresh_revocations, 1);

    let again = format!("DELETE /api/v1/sessions/{whole}");
    assert_eq!(scene.api(&again).0, 404);
    assert_eq!(scene.api(&format!("GET /api/v1/sessions/{whole}")).0, 404);
    assert_eq!(scene.all().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn all_of_a_user_end_and_what_no_session_holds_is_refused_too() {
    let scene = Scene::with(on_loopback).await;
    let alices = [
        signed_in(&scene, "alice").await,
        signed_in(&scene, "alice").await,
    ];
    let bob = signed_in(&scene, "bob").await;
    let bearer = scene.bearer("alice");
    assert_eq!(scene.client().get_as(&bearer, "/api/x").await.status, 200);
    let done = scene.told("DELETE /api/v1/users/u-alice/sessions");
    assert_eq!(done["ended"], 2, "{done}");
    assert_eq!(done["bearer_tokens_refused"], true);
    assert_eq!(
        (&done["idp"], &done["subject"]),
        (&"main".into(), &"u-alice".into())
    );
    for alice in &alices {
        assert_eq!(alice.fetch("/app").await.status, 401);
    }
    assert_eq!(scene.client().get_as(&bearer, "/api/x").await.status, 401);
    assert_eq!(bob.fetch("/app").await.status, 200);
    let revoked = || scene.idp.journal().refresh_revocations == 2;
    eventually("both refresh tokens are revoked", revoked).await;
    let none = scene.told("DELETE /api/v1/users/u-alice/sessions");
    assert_eq!(
        (&none["ended"], &none["refresh_token"]),
        (&0.into(), &"nothing_to_do".into())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn all_end_and_whoever_signs_in_anew_is_in() {
    let scene = Scene::with(on_loopback).await;
    let alice = signed_in(&scene, "alice").await;
    let bob = signed_in(&scene, "bob").await;
    let done = scene.told("DELETE /api/v1/sessions?all=true");
    assert_eq!(
        (&done["ended"], &done["complete"]),
        (&2.into(), &true.into()),
        "{done}"
    );
    assert_eq!(alice.fetch("/app").await.status, 401);
    assert_eq!(bob.fetch("/app").await.status, 401);
    assert!(scene.all().is_empty());
    scene.clock.advance(2 * SECOND);
    let anew = signed_in(&scene, "alice").await;
    assert_eq!(anew.fetch("/app").await.status, 200);
}

fn of_many(setup: &mut Setup) {
    on_loopback(setup);
    let unlimited = "idle_timeout     = \"30m\"\nmax_per_user = 0";
    setup.replace("idle_timeout     = \"30m\"", unlimited);
}

/// Signs in so many times, some at once.
async fn crowd(scene: &Scene, many: usize) -> Vec<Browser> {
    let mut all = Vec::new();
    while all.len() < many {
        let some = (0..10.min(many - all.len())).map(|n| {
            let browser = scene.browser();
            let person = ["alice", "bob", "carol"][n % 3];
            tokio::spawn(async move {
                browser.login(person).await;
                browser
            })
        });
        for browser in some.collect::<Vec<_>>() {
            all.push(browser.await.unwrap());
        }
    }
    all
}

fn pages(scene: &Scene, query: &str, limit: usize) -> Vec<Value> {
    let (mut found, mut cursor) = (Vec::new(), String::new());
    loop {
        let line = format!("GET /api/v1/sessions?limit={limit}{query}{cursor}");
        let page = scene.told(&line);
        let sessions = page["sessions"].as_array().unwrap();
        assert!(sessions.len() <= limit, "{}", sessions.len());
        found.extend(sessions.iter().cloned());
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return found,
        }
    }
}

async fn hundreds_are_found_page_by_page(scene: &Scene) {
    let browsers = crowd(scene, 120).await;
    for limit in [1000, 50, 17] {
        let found = pages(scene, "", limit);
        let ids: BTreeSet<_> = found.iter().map(id).collect();
        assert_eq!((found.len(), ids.len()), (120, 120), "limit {limit}");
    }
    for (user, subject) in [("u-bob", "u-bob"), ("bob", "u-bob"), ("BOB", "u-bob")] {
        let found = pages(scene, &format!("&user={user}"), 9);
        assert_eq!(found.len(), 36, "{user}");
        assert!(found.iter().all(|found| found["subject"] == subject));
    }
    assert!(pages(scene, "&user=nobody", 9).is_empty());
    assert_eq!(pages(scene, "&idp=main", 100).len(), 120);

    let done = scene.told("DELETE /api/v1/users/u-carol/sessions");
    assert_eq!(done["ended"], 36, "{done}");
    assert_eq!(pages(scene, "", 100).len(), 84);
    let done = scene.told("DELETE /api/v1/sessions?all=true");
    assert_eq!(done["ended"], 84, "{done}");
    assert!(pages(scene, "", 100).is_empty());
    for browser in browsers.iter().step_by(7) {
        assert_eq!(browser.fetch("/app").await.status, 401);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hundreds_on_disk_are_found_page_by_page() {
    let scene = Scene::with(|setup| {
        of_many(setup);
        setup.on_disk();
    })
    .await;
    hundreds_are_found_page_by_page(&scene).await;
}

fn over(redis: &RedisServer) -> impl FnOnce(&mut Setup) + use<> {
    let url = redis.url();
    move |setup| {
        of_many(setup);
        setup.replace("\"memory\"", "\"redis\"");
        let store = format!("[store.redis]\nurl = \"{url}\"\n");
        setup.toml.push_str(&store);
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server"]
async fn hundreds_in_redis_are_found_page_by_page() {
    let redis = RedisServer::start();
    let scene = Scene::with(over(&redis)).await;
    hundreds_are_found_page_by_page(&scene).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server"]
async fn a_users_end_holds_on_both_nodes_within_100_ms() {
    let redis = RedisServer::start();
    let scene = Scene::with(over(&redis)).await;
    let mut url = scene.url().clone();
    let (first, port) = (
        url.port().unwrap().to_string(),
        crate::support::redis::free_port(),
    );
    url.set_port(Some(port)).unwrap();
    let other = Gateway::start(
        &scene.toml().replace(&first, &port.to_string()),
        &scene.clock,
    );
    let browser = signed_in(&scene, "alice").await;
    let there = Browser::new(url.clone(), scene.clock.clone());
    there.put_cookie(browser.session_cookie().unwrap());
    let client = crate::support::Client::new(url, crate::support::wire::Speaks::H2);
    let bearer = scene.bearer("alice");
    for _ in 0..3 {
        assert_eq!(there.fetch("/app").await.status, 200);
        assert_eq!(client.get_as(&bearer, "/api/x").await.status, 200);
    }
    let done = scene.told("DELETE /api/v1/users/u-alice/sessions");
    let ended = Instant::now();
    assert_eq!(done["ended"], 1, "{done}");
    assert_eq!(browser.fetch("/app").await.status, 401);
    assert_eq!(scene.client().get_as(&bearer, "/api/x").await.status, 401);
    tokio::time::sleep((SECOND / 10).saturating_sub(ended.elapsed())).await;
    assert_eq!(there.fetch("/app").await.status, 401);
    assert_eq!(client.get_as(&bearer, "/api/x").await.status, 401);
    other.stop().await;
}

/// Here it holds already, and elsewhere as soon as Redis is back: neither is denied, and neither promised.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server"]
async fn without_redis_an_end_is_said_to_be_uncertain_and_comes() {
    let mut redis = RedisServer::start();
    let scene = Scene::with(over(&redis)).await;
    let alice = signed_in(&scene, "alice").await;
    let bob = signed_in(&scene, "bob").await;
    let page = alice.get("/oauth2/sign_out").await;
    redis.kill();
    let uncertain = "may be in force already";
    let page = alice.press(&page, "Sign out").await;
    assert_eq!(page.status, 503, "{}", page.body);
    assert!(page.body.contains(uncertain), "{}", page.body);
    let (status, told) = scene.api("DELETE /api/v1/users/u-bob/sessions");
    assert_eq!((status, &told["code"]), (503, &"store".into()), "{told}");
    let detail = told["detail"].as_str().unwrap();
    assert!(detail.contains(uncertain), "{detail}");
    redis.restart();
    for browser in [&alice, &bob] {
        let mut status = browser.fetch("/app").await.status;
        for _ in 0..500 {
            if status == 401 {
                break;
            }
            tokio::time::sleep(SECOND / 100).await;
            status = browser.fetch("/app").await.status;
        }
        assert_eq!(status, 401);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_owed_is_told_while_the_provider_is_down_and_gone_after() {
    let scene = Scene::with(on_loopback).await;
    signed_in(&scene, "bob").await;
    scene.idp.faults().set(Fault::RevocationDown);
    let whole = id(&scene.all()[0]).to_owned();
    let done = scene.told(&format!("DELETE /api/v1/sessions/{whole}"));
    assert_eq!(
        (&done["ended"], &done["refresh_token"]),
        (&1.into(), &"owed".into())
    );
    let queue = || scene.told("GET /api/v1/revocations");
    eventually("both tokens are owed, and were tried", || {
        let queue = queue();
        let tried = |one: &Value| one["tries"].as_u64() >= Some(1);
        queue["owed"] == 2 && queue["revocations"].as_array().unwrap().iter().all(tried)
    })
    .await;
    let owed = queue();
    for one in owed["revocations"].as_array().unwrap() {
        assert_eq!(one["idp"], "main");
        assert!(["refresh_token", "access_token"].contains(&one["kind"].as_str().unwrap()));
        assert!(
            one["last_error"]
                .as_str()
                .unwrap()
                .contains("not available"),
            "{one}"
        );
        assert!(one["next_try"].as_str() >= one["since"].as_str(), "{one}");
        assert_eq!(one["here"], true);
    }
    let page = ask(scene.admin(), "GET /", &bearer()).body;
    assert!(
        page.contains("not available") && page.contains("refresh token"),
        "{page}"
    );
    for kind in [Kind::Refresh, Kind::Access] {
        let journal = scene.idp.journal();
        let token = journal.newest(kind).unwrap().to_owned();
        assert!(!owed.to_string().contains(&token) && !page.contains(&token));
    }
    scene.idp.faults().clear();
    scene.clock.advance(MINUTE);
    eventually("the queue is empty", || queue()["owed"] == 0).await;
    assert_eq!(queue()["revocations"], Value::Array(vec![]));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_over_a_socket_without_a_token() {
    let scene = Scene::with(on_a_socket).await;
    let browser = signed_in(&scene, "alice").await;
    let path = scene.file("admin.sock");
    let listed = ask_socket(&path, "GET /api/v1/sessions");
    assert_eq!(listed.status, 200, "{}", listed.body);
    let listed: Value = serde_json::from_str(&listed.body).unwrap();
    let line = format!("DELETE /api/v1/sessions/{}", id(&listed["sessions"][0]));
    assert_eq!(ask_socket(&path, &line).status, 200);
    assert_eq!(browser.fetch("/app").await.status, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_subject_at_two_providers_is_two_people() {
    let scene = Scene::with(|setup| {
        on_loopback(setup);
        let second = "[idp.second]\nissuer = \"http://localhost:1\"\nclient_id = \"gateway\"\nclient_secret = \"0123456789abcdef\"\n[idp.second.access_token]\naudience = [\"apps\"]\n";
        setup.toml.push_str(second);
    })
    .await;
    let line = "DELETE /api/v1/users/u-alice/sessions";
    let (status, problem) = scene.api(line);
    assert_eq!(
        (status, &problem["code"]),
        (400, &"which_idp".into()),
        "{problem}"
    );
    let done = scene.told(&format!("{line}?idp=second"));
    assert_eq!(
        (&done["ended"], &done["idp"]),
        (&0.into(), &"second".into())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn each_end_leaves_a_line_in_the_audit_log() {
    let mut scene = Scene::with(|setup| {
        on_loopback(setup);
        let access = "access_log = { path = \"off\" }";
        let audit = format!("{access}\naudit_log = {{ path = \"$DIR/audit.jsonl\" }}");
        setup.replace(access, &audit);
    })
    .await;
    for person in ["alice", "bob", "bob", "carol"] {
        signed_in(&scene, person).await;
    }
    let of_alice = scene.told("GET /api/v1/users/u-alice/sessions");
    let whole = id(&of_alice["sessions"][0]).to_owned();
    scene.told(&format!("DELETE /api/v1/sessions/{whole}"));
    scene.told("DELETE /api/v1/users/u-bob/sessions");
    scene.told("DELETE /api/v1/sessions?all=true");
    for shown in ["", "Authorization: Bearer hush\r\n"] {
        let line = "GET /api/v1/sessions?user=zoe";
        assert_eq!(ask(scene.admin(), line, shown).status, 401);
    }
    scene.stop_gateway().await;
    let text = std::fs::read_to_string(scene.file("audit.jsonl")).unwrap();
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let asked = |name: &str| {
        let mut found = lines.iter().filter(|line| line["event.name"] == name);
        let (one, None) = (found.next(), found.next()) else {
            panic!("not exactly one {name}: {text}");
        };
        one.unwrap().to_string()
    };
    let one = asked("administrator_end_session");
    assert!(one.contains(&whole[..12]) && !one.contains(&whole), "{one}");
    assert!(one.contains("u-alice") && one.contains("\"main\""), "{one}");
    let user = asked("administrator_end_user_sessions");
    assert!(user.contains("u-bob") && user.contains(":2"), "{user}");
    assert!(asked("administrator_end_all_sessions").contains(":1"));
    let refused = asked("administrator_refused");
    for part in ["\"/api/v1/sessions\"", "\"127.0.0.1\""] {
        assert!(refused.contains(part), "{refused}");
    }
    assert!(!text.contains("hush") && !text.contains("zoe"), "{text}");
    let ends = lines
        .iter()
        .filter(|line| line["event.name"] == "session_ended");
    assert_eq!(ends.count(), 4, "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_readmes_requests_do_what_they_say() {
    let scene = Scene::with(on_loopback).await;
    let browsers = [
        signed_in(&scene, "alice").await,
        signed_in(&scene, "bob").await,
    ];
    let readme = include_str!("../../../README.md");
    let (_, section) = readme.split_once("### Who is signed in").unwrap();
    let (section, _) = section.split_once("\n### ").unwrap_or((section, ""));
    let curls: Vec<_> = section
        .lines()
        .filter(|line| line.starts_with("curl "))
        .collect();
    assert_eq!(curls.len(), 6);
    let port = format!(":{}/", scene.admin().port());
    for line in curls {
        let line = line
            .replace(":9901/", &port)
            .replace("SUBJECT", "u%2Dalice");
        let mut curl = tokio::process::Command::new("sh");
        curl.args(["-c", &line]).env("ADMIN_TOKEN", TOKEN);
        let output = curl.output().await.unwrap();
        assert!(output.status.success(), "{line}: {output:?}");
        let told: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert!(told.is_object(), "{line}");
    }
    for browser in &browsers {
        assert_eq!(browser.fetch("/app").await.status, 401);
    }
}
