//! The administrator's page: who may see it, whose forms count, and what they do.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use url::form_urlencoded::Serializer;

use super::{Answer, TOKEN, ask, ask_with, on_a_socket, on_loopback};
use crate::support::chromium::Chromium;
use crate::support::{Browser, Fault, Scene, eventually};

const FORM: &str = "Content-Type: application/x-www-form-urlencoded\r\n";

fn basic(user: &str, password: &str) -> String {
    let shown = STANDARD.encode(format!("{user}:{password}"));
    format!("Authorization: Basic {shown}\r\n")
}

impl Scene {
    fn look(&self, path: &str) -> Answer {
        ask(self.admin(), &format!("GET {path}"), &basic("me", TOKEN))
    }

    /// Sends a form as a browser does that is on the page.
    fn send(&self, fields: &[(&str, &str)], headers: &str) -> Answer {
        let body = Serializer::new(String::new()).extend_pairs(fields).finish();
        let headers = format!("{}{FORM}{headers}", basic("me", TOKEN));
        ask_with(self.admin(), "POST /end", &headers, &body)
    }

    fn proof(&self) -> String {
        hidden(&self.look("/").body, "form")
    }
}

/// The first hidden field of a name.
fn hidden(page: &str, name: &str) -> String {
    let (_, after) = page
        .split_once(&format!("name=\"{name}\" value=\""))
        .unwrap_or_else(|| panic!("no {name} in {page}"));
    after.split('"').next().unwrap().to_owned()
}

async fn signed_in(scene: &Scene, person: &str) -> Browser {
    let browser = scene.browser();
    browser.login(person).await;
    browser
}

const OWN: &str = "Sec-Fetch-Site: same-origin\r\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_shows_the_token_as_a_password() {
    let scene = Scene::with(on_loopback).await;
    let admin = scene.admin();
    for user in ["", "me", "über"] {
        assert_eq!(
            ask(admin, "GET /", &basic(user, TOKEN)).status,
            200,
            "{user}"
        );
    }
    for wrong in [
        basic(TOKEN, ""),
        basic("me", &TOKEN[1..]),
        basic("me:", TOKEN),
        "Authorization: Basic !\r\n".to_owned(),
        format!("Authorization: Basic {}\r\n", STANDARD.encode(TOKEN)),
        format!("{}{}", basic("me", TOKEN), basic("me", TOKEN)),
    ] {
        assert_eq!(ask(admin, "GET /", &wrong).status, 401, "{wrong}");
    }
    let page = scene.look("/");
    for header in [
        "content-type: text/html",
        "cache-control: no-store",
        "frame-ancestors 'none'",
        "form-action 'self'",
        "default-src 'none'",
        "cross-origin-resource-policy: same-origin",
        "referrer-policy: no-referrer",
    ] {
        assert!(page.head.contains(header), "{header}: {}", page.head);
    }
    assert!(!page.body.contains("<script"), "{}", page.body);
    let refused = ask(
        admin,
        "GET /",
        "Accept: text/html\r\nSec-Fetch-Mode: navigate\r\n",
    );
    assert_eq!(refused.status, 401);
    assert!(
        refused.head.contains("www-authenticate: basic"),
        "{}",
        refused.head
    );
    assert!(refused.body.contains("<h1>"), "{}", refused.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_names_of_this_machine_are_answered_to() {
    let scene = Scene::with(on_loopback).await;
    let called = |host: &str, path: &str| {
        let headers = format!("Host: {host}\r\n{}", basic("me", TOKEN));
        let line = format!("GET {path}");
        super::ask_bare(scene.admin(), &line, &headers).status
    };
    for host in [
        "localhost",
        "LOCALHOST:9901",
        "127.0.0.1:9901",
        "127.8.8.8",
        "[::1]:9901",
    ] {
        assert_eq!(called(host, "/"), 200, "{host}");
        assert_eq!(called(host, "/api/v1/sessions"), 200, "{host}");
    }
    for host in [
        "evil.example",
        "evil.example:9901",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "192.0.2.1:9901",
        "[2001:db8::1]",
        "user@localhost",
        "admin",
        "0.0.0.0",
    ] {
        assert_eq!(called(host, "/"), 421, "{host}");
        assert_eq!(called(host, "/api/v1/sessions"), 421, "{host}");
        assert_eq!(called(host, "/livez"), 200, "a probe tells nothing: {host}");
    }
    let absolute = "GET http://evil.example/";
    let headers = format!("Host: localhost\r\n{}", basic("me", TOKEN));
    assert_eq!(
        super::ask_bare(scene.admin(), absolute, &headers).status,
        421
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_that_is_forwarded_to_a_port_is_no_part_of_another_site() {
    let scene = Scene::with(on_a_socket).await;
    let path = scene.file("admin.sock");
    for (host, status) in [
        ("admin", 200),
        ("localhost:9901", 200),
        ("127.0.0.1:9901", 200),
        ("evil.example", 421),
        ("192.0.2.1", 421),
    ] {
        let stream = std::os::unix::net::UnixStream::connect(&path).unwrap();
        let line = "GET /api/v1/sessions HTTP/1.1";
        let request = format!("{line}\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        assert_eq!(super::exchange(stream, &request).status, status, "{host}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_other_site_ends_anything() {
    let scene = Scene::with(on_loopback).await;
    let browser = signed_in(&scene, "alice").await;
    let proof = scene.proof();
    let everything = [("what", "everything"), ("form", proof.as_str())];
    for foreign in [
        "Sec-Fetch-Site: cross-site\r\n",
        "Sec-Fetch-Site: same-site\r\n",
        "Origin: https://evil.example\r\n",
        "Origin: http://localhost:1\r\n",
    ] {
        let answer = scene.send(&everything, foreign);
        assert_eq!(answer.status, 403, "{foreign}");
        let line = "DELETE /api/v1/sessions?all=true";
        let headers = format!("{}{foreign}", basic("me", TOKEN));
        assert_eq!(ask(scene.admin(), line, &headers).status, 403, "{foreign}");
    }
    // A browser that says nothing, and a form that is not from the page.
    for form in ["", "x", &proof[1..]] {
        for headers in ["", OWN] {
            let answer = scene.send(&[("what", "everything"), ("form", form)], headers);
            assert_eq!(answer.status, 403, "{form:?}");
        }
    }
    let preflight = "Origin: https://evil.example\r\nAccess-Control-Request-Method: DELETE\r\n";
    let headers = format!("{}{preflight}", basic("me", TOKEN));
    let answer = ask(scene.admin(), "OPTIONS /api/v1/sessions?all=true", &headers);
    assert!(answer.status >= 400 && !answer.head.contains("access-control-allow"));
    assert_eq!(browser.fetch("/app").await.status, 200);
    assert_eq!(
        ask(scene.admin(), "GET /end", &basic("me", TOKEN)).status,
        405
    );
    let all_ask = scene.look("/end_all");
    assert!(
        all_ask.body.contains("End all sessions?"),
        "{}",
        all_ask.body
    );
    assert_eq!(browser.fetch("/app").await.status, 200, "it was only asked");

    let ended = scene.send(&everything, "Origin: null\r\n");
    assert_eq!(ended.status, 303, "{}", ended.body);
    assert_eq!(browser.fetch("/app").await.status, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn its_forms_end_one_session_and_all_of_a_person() {
    let scene = Scene::with(on_loopback).await;
    let alices = [
        signed_in(&scene, "alice").await,
        signed_in(&scene, "alice").await,
    ];
    let bob = signed_in(&scene, "bob").await;
    let found = scene.look("/?user=bob").body;
    assert!(
        found.contains("u-bob") && !found.contains("u-alice"),
        "{found}"
    );
    let (proof, id) = (hidden(&found, "form"), hidden(&found, "id"));
    let done = scene.send(&[("form", &proof), ("what", "session"), ("id", &id)], OWN);
    assert_eq!(done.status, 303, "{}", done.body);
    assert_eq!(bob.fetch("/app").await.status, 401);
    let place = done.head.split("location: ").nth(1).unwrap();
    let place = place.split("\r\n").next().unwrap();
    // The head was lowered for comparing: its proof is not what it was.
    assert!(place.starts_with("/?said=1+confirmed+0&proof="), "{place}");
    assert!(
        !scene
            .look("/?said=7+confirmed+0&proof=AAAA")
            .body
            .contains("7 sessions")
    );

    let fields = [
        ("form", &*proof),
        ("what", "user"),
        ("idp", "main"),
        ("subject", "u-alice"),
    ];
    assert_eq!(scene.send(&fields, OWN).status, 303);
    for alice in &alices {
        assert_eq!(alice.fetch("/app").await.status, 401);
    }
    let empty = scene.look("/").body;
    assert!(empty.contains("Nobody is signed in."), "{empty}");
    let gone = scene.send(&[("form", &proof), ("what", "session"), ("id", &id)], OWN);
    assert_eq!(gone.status, 404);
    let other = scene.send(&[("form", &proof), ("what", "x")], OWN);
    assert_eq!(other.status, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_people_chose_is_only_text() {
    let scene = Scene::with(on_loopback).await;
    let page = scene.look("/?user=%22%3E%3Cimg%20src%3Dx%3E").body;
    assert!(!page.contains("<img"), "{page}");
}

#[tokio::test]
#[ignore = "needs Chromium: run ./test"]
async fn an_administrator_at_work() {
    let scene = Scene::with(on_loopback).await;
    let alice = signed_in(&scene, "alice").await;
    for person in ["alice", "bob", "carol"] {
        signed_in(&scene, person).await;
    }
    scene.idp.faults().set(Fault::RevocationDown);
    let chromium = Chromium::start().await;
    let port = scene.admin().port();
    let tab = chromium
        .open(&format!("http://me:{TOKEN}@localhost:{port}/"))
        .await;
    tab.until("document.querySelectorAll('.people tr').length === 5")
        .await;
    tab.photograph("admin").await;
    tab.fill("#user", "bob").await;
    tab.click("form.line button").await;
    tab.until("document.querySelectorAll('.people tr').length === 2")
        .await;
    tab.click(".ends form:first-child button").await;
    tab.until("document.body.innerText.includes('One session has ended.')")
        .await;
    tab.until("document.querySelectorAll('.people tr').length === 4")
        .await;
    tab.photograph("admin-ended").await;
    tab.click("a[href='/end_all']").await;
    tab.until("document.body.innerText.includes('End all sessions?')")
        .await;
    tab.photograph("admin-end-all").await;
    assert_eq!(alice.fetch("/app").await.status, 200);
    tab.click("button[type=submit]").await;
    tab.until("document.body.innerText.includes('3 sessions have ended.')")
        .await;
    assert_eq!(alice.fetch("/app").await.status, 401);
    tab.photograph("admin-nobody").await;
    scene.idp.faults().clear();
    scene.clock.advance(crate::support::MINUTE);
    let owed = || super::Scrape::read(&ask(scene.admin(), "GET /metrics", &super::bearer()).body);
    eventually("all is revoked", || {
        owed().count("tidegate_revocation_queue", &[]) == 0
    })
    .await;
    chromium.close().await;
}
