//! `session.store = "cookie"`: the session sealed in the browser's cookie, through real sockets.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderValue, Response, header};
use tidegate::demo::http::{Body, json as answer};

use crate::support::gateway::logs;
use crate::support::{Browser, Child, Clock, Fault, Kind, MINUTE, Page, SECOND, Scene, eventually};

const NAME: &str = "__Host-tidegate";

async fn scene() -> Scene {
    Scene::with(|setup| {
        setup.replace("\"memory\"", "\"cookie\"");
    })
    .await
}

fn value(browser: &Browser) -> String {
    browser.session_cookie().unwrap().value
}

/// The session cookies that a response sets.
fn set(reply: &Page) -> Vec<String> {
    let lines = reply.headers.get_all(header::SET_COOKIE).iter();
    let lines = lines.map(|line| line.to_str().unwrap().to_owned());
    lines.filter(|line| line.starts_with(NAME)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn signing_in_working_and_signing_out() {
    let scene = scene().await;
    let browser = scene.browser();
    let page = browser.login_at("/reports/7", "alice").await;
    assert_eq!((page.status.as_u16(), page.url.path()), (200, "/reports/7"));
    let cookie = browser.session_cookie().unwrap();
    assert!(cookie.secure && cookie.http_only && cookie.path == "/" && cookie.expires.is_none());
    assert!(cookie.value.starts_with("s.") && cookie.value.len() < 3000);

    let mut before = cookie.value;
    for round in 1..=5 {
        scene.clock.advance(6 * MINUTE);
        let served = browser.fetch("/app").await;
        assert_eq!(served.status, 200);
        let [line] = &set(&served)[..] else {
            panic!("one new cookie: {:?}", served.headers);
        };
        let (_, attributes) = line.split_once("; ").unwrap();
        assert_eq!(attributes, "Path=/; Secure; HttpOnly; SameSite=Lax");
        assert_eq!(scene.idp.journal().refreshes, round);
        let after = value(&browser);
        assert_ne!(before, after, "set anew");
        before = after;
        let next = browser.fetch("/app").await;
        assert!(set(&next).is_empty(), "the browser shows the newest");
    }
    assert!(!scene.upstream.last().header("cookie").contains("tidegate"));
    assert_eq!(browser.refused_cookies(), Vec::<String>::new());

    let thief = browser.stolen();
    let refresh_token = scene
        .idp
        .journal()
        .newest(Kind::Refresh)
        .unwrap()
        .to_owned();
    let page = browser.get("/oauth2/sign_out").await;
    let page = browser.press(&page, "Sign out").await;
    assert_eq!(page.url.path(), "/oauth2/signed_out", "{}", page.body);
    assert!(browser.session_cookie().is_none());
    assert_eq!(thief.fetch("/app").await.status, 401);
    assert!(!scene.idp.replay("gateway", &refresh_token));
    assert_eq!(scene.idp.journal().reuses, 0);
    scene.assert_no_token_leaked(&browser);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_token_and_no_name_can_be_read_in_the_cookie() {
    let scene = scene().await;
    let browser = scene.browser();
    browser.login("alice").await;
    scene.clock.advance(6 * MINUTE);
    browser.fetch("/app").await;
    let text = value(&browser);
    let bytes = URL_SAFE_NO_PAD.decode(&text[2..]).unwrap();
    let mut secrets = vec!["u-alice".to_owned(), "alice".to_owned(), "main".to_owned()];
    for issued in scene.idp.journal().issued {
        secrets.extend(issued.text.split('.').map(str::to_owned));
        secrets.push(issued.text);
    }
    for secret in secrets.iter().filter(|secret| secret.len() > 3) {
        let found = bytes.windows(secret.len()).any(|w| w == secret.as_bytes());
        assert!(!found && !text.contains(secret), "{secret}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_keeps_the_session_and_parallel_requests_are_one_swap() {
    let mut scene = scene().await;
    let browser = scene.browser();
    browser.login("alice").await;
    scene.stop_gateway().await;
    scene.start_gateway();
    scene.idp.faults().set(Fault::Slow(SECOND / 5));
    let requests = (0..200).map(|n| {
        let browser = browser.clone();
        tokio::spawn(async move { browser.fetch(&format!("/app/{n}")).await.status })
    });
    for request in requests.collect::<Vec<_>>() {
        assert_eq!(request.await.unwrap(), 200);
    }
    let arrived = scene.upstream.last();
    assert_eq!(arrived.header("x-forwarded-user"), "u-alice");
    assert_eq!(arrived.header("x-forwarded-email"), "alice@example.com");
    let journal = scene.idp.journal();
    assert_eq!(
        (journal.refreshes, journal.reuses, journal.logins),
        (1, 0, 1)
    );
    scene.stop_gateway().await;
    scene.start_gateway();
    assert_eq!(browser.get("/app").await.status, 200);
    assert_eq!(
        (scene.idp.journal().logins, scene.idp.journal().reuses),
        (1, 0)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_requests_on_an_ended_token_are_one_swap() {
    let scene = scene().await;
    let browser = scene.browser();
    browser.login("alice").await;
    let older = browser.stolen();
    scene.clock.advance(2 * MINUTE);
    browser.fetch("/app").await;
    assert_ne!(value(&older), value(&browser));
    scene.clock.advance(4 * MINUTE);
    scene.idp.faults().set(Fault::Slow(SECOND / 5));
    let requests = (0..200).map(|n| {
        let browser = if n % 2 == 0 { &browser } else { &older };
        let browser = browser.clone();
        tokio::spawn(async move { browser.fetch(&format!("/app/{n}")).await.status })
    });
    for request in requests.collect::<Vec<_>>() {
        assert_eq!(request.await.unwrap(), 200);
    }
    let journal = scene.idp.journal();
    assert_eq!((journal.refreshes, journal.reuses), (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_response_that_never_arrived_loses_nothing() {
    let scene = scene().await;
    let browser = scene.browser();
    browser.login("alice").await;
    for _ in 0..3 {
        scene.clock.advance(6 * MINUTE);
        // Its cookie is not taken: as if the connection broke.
        let lost = browser.stolen();
        assert_eq!(set(&lost.fetch("/app").await).len(), 1);
        let again = browser.stolen();
        assert_eq!(set(&again.fetch("/app").await).len(), 1, "sent again");
    }
    assert_eq!(browser.fetch("/app").await.status, 200);
    let journal = scene.idp.journal();
    assert_eq!((journal.refreshes, journal.reuses), (3, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cookie_goes_out_with_whatever_answer_there_is() {
    let scene = scene().await;
    let browser = scene.browser();
    browser.login("bob").await;
    scene.clock.advance(2 * MINUTE);
    browser.stolen().fetch("/app").await;
    let cases = [
        ("/admin/x", 403),
        ("/oauth2/session", 200),
        ("/oauth2/nothing", 404),
    ];
    for (path, status) in cases {
        let reply = browser.stolen().fetch(path).await;
        assert_eq!(reply.status, status, "{path}");
        assert_eq!(set(&reply).len(), 1, "{path}");
        assert!(reply.header("cache-control").contains("no-store"), "{path}");
    }
    scene.upstream.go_down();
    let reply = browser.stolen().fetch("/app").await;
    assert_eq!((reply.status.as_u16(), set(&reply).len()), (502, 1));
    scene.upstream.come_up();
    let reply = browser.stolen().fetch("/public/logo").await;
    assert_eq!(set(&reply).len(), 0, "a public page is anybody's");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_shared_cache_keeps_an_answer_that_sets_a_cookie() {
    let scene = scene().await;
    let browser = scene.browser();
    browser.login("alice").await;
    let said = [
        ("public, max-age=600, s-maxage=60", "max-age=600, private"),
        ("no-store", "no-store"),
        (
            "no-cache=\"a, b\", public",
            "no-cache=\"a, b\", public, private",
        ),
        ("", "private"),
    ];
    for (upstream, wanted) in said {
        scene.upstream.say(move |arrived| {
            let mut response: Response<Body> = answer(http::StatusCode::OK, &arrived.json());
            let headers = response.headers_mut();
            headers.remove(header::CACHE_CONTROL);
            if !upstream.is_empty() {
                headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(upstream));
            }
            headers.insert("cdn-cache-control", HeaderValue::from_static("max-age=9"));
            Some(response)
        });
        scene.clock.advance(2 * MINUTE);
        let set_one = browser.fetch("/app").await;
        assert_eq!(set(&set_one).len(), 1);
        assert_eq!(set_one.header("cache-control"), wanted);
        assert!(!set_one.headers.contains_key("cdn-cache-control"));
        let plain = browser.fetch("/app").await;
        assert_eq!(
            plain.header("cache-control"),
            upstream,
            "otherwise as it came"
        );
        assert!(plain.headers.contains_key("cdn-cache-control"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_ours_is_no_session() {
    let mut scene = scene().await;
    let browser = scene.browser();
    browser.login("alice").await;
    let good = browser.session_cookie().unwrap();
    let arrived = scene.upstream.count();
    let text = &good.value;
    let middle = text.len() / 2;
    let other = if text.as_bytes()[middle] == b'A' {
        "B"
    } else {
        "A"
    };
    let wrong = [
        format!("{}{other}{}", &text[..middle], &text[middle + 1..]),
        text[..text.len() - 4].to_owned(),
        text[2..].to_owned(),
        "s.".to_owned(),
        format!("s.{}", "A".repeat(4000)),
        format!("s.{}", "A".repeat(5000)),
        "A".repeat(43),
    ];
    for value in wrong {
        let thief = browser.stolen();
        let mut cookie = good.clone();
        cookie.value.clone_from(&value);
        thief.put_cookie(cookie);
        assert_eq!(thief.fetch("/app").await.status, 401, "{value}");
    }
    // Sealed by us, with a key that is gone.
    scene.stop_gateway().await;
    std::fs::write(scene.file("session_key"), URL_SAFE_NO_PAD.encode([7; 32])).unwrap();
    scene.start_gateway();
    assert_eq!(browser.fetch("/app").await.status, 401);
    assert!(browser.session_cookie().is_none());
    assert_eq!(scene.upstream.count(), arrived);
    assert_eq!(scene.idp.journal().refreshes, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_was_lost_on_the_way_is_healed_by_an_unseen_sign_in() {
    let mut scene = scene().await;
    let browser = scene.browser();
    browser.login("alice").await;
    let older = browser.session_cookie().unwrap();
    scene.clock.advance(6 * MINUTE);
    browser.fetch("/app").await;
    browser.put_cookie(older);
    scene.stop_gateway().await;
    scene.start_gateway();
    let page = browser.get("/app").await;
    assert_eq!(page.status, 200, "{}", page.body);
    assert_eq!(page.url.path(), "/app");
    assert_eq!(scene.upstream.last().header("x-forwarded-user"), "u-alice");
}

#[tokio::test(flavor = "multi_thread")]
async fn sign_out_right_after_a_restart_is_real() {
    let mut scene = scene().await;
    let browser = scene.browser();
    browser.login("alice").await;
    let refresh_token = scene
        .idp
        .journal()
        .newest(Kind::Refresh)
        .unwrap()
        .to_owned();
    scene.stop_gateway().await;
    scene.start_gateway();
    let page = browser.get("/oauth2/sign_out").await;
    scene.clock.advance(2 * MINUTE);
    // Another tab has got a newer cookie meanwhile; the form is good all the same.
    browser.fetch("/app").await;
    let page = browser.press(&page, "Sign out").await;
    assert_eq!(page.url.path(), "/oauth2/signed_out", "{}", page.body);
    assert!(!scene.idp.replay("gateway", &refresh_token));
    let left = scene
        .idp
        .journal()
        .newest(Kind::Refresh)
        .unwrap()
        .to_owned();
    assert!(!scene.idp.replay("gateway", &left));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_swap_in_the_background_reaches_the_browser_with_the_next_answer() {
    let mut scene = scene().await;
    let browser = scene.browser();
    browser.login("alice").await;
    scene.clock.advance(4 * MINUTE + 30 * SECOND);
    browser.fetch("/app").await;
    for _ in 0..500 {
        if browser.fetch("/oauth2/session").await.json()["swaps"] == 1 {
            break;
        }
        tokio::time::sleep(SECOND / 100).await;
    }
    let newest = value(&browser);
    // It holds the new refresh token: the next process needs nothing else.
    scene.stop_gateway().await;
    scene.start_gateway();
    assert_eq!(browser.fetch("/app").await.status, 200);
    let journal = scene.idp.journal();
    assert_eq!(
        (journal.refreshes, journal.reuses, journal.logins),
        (2, 0, 1)
    );
    assert!(!logs().contains(&newest), "no log line has a cookie");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_rotate_without_anybody_signing_in_again() {
    let mut scene = Scene::without_gateway(|setup| {
        setup.replace("\"memory\"", "\"cookie\"");
        let both = "{ file = \"$DIR/first\" }, { file = \"$DIR/second\" }";
        setup.replace("{ file = \"$DIR/session_key\" }", both);
    })
    .await;
    let browser = scene.browser();
    for (round, keys) in [[1, 1], [2, 1], [2, 3]].into_iter().enumerate() {
        for (name, byte) in ["first", "second"].into_iter().zip(keys) {
            std::fs::write(scene.file(name), URL_SAFE_NO_PAD.encode([byte; 32])).unwrap();
        }
        scene.start_gateway();
        if round == 0 {
            browser.login("alice").await;
        }
        assert_eq!(browser.fetch("/app").await.status, 200, "{keys:?}");
        scene.stop_gateway().await;
    }
    let journal = scene.idp.journal();
    assert_eq!(
        (journal.logins, journal.refreshes, journal.reuses),
        (1, 2, 0)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_does_not_fit_is_refused_aloud_and_its_tokens_are_revoked() {
    let scene = Scene::with(|setup| {
        let name = format!("__Host-{}", "n".repeat(3700));
        let cookie = format!("\"cookie\"\ncookie = {{ name = \"{name}\" }}");
        setup.replace("\"memory\"", &cookie);
    })
    .await;
    let browser = scene.browser();
    let page = browser.login_at("/app", "alice").await;
    assert_eq!(page.status, 502, "{}", page.body);
    assert!(page.body.contains("does not fit into a cookie"));
    let refresh_token = scene
        .idp
        .journal()
        .newest(Kind::Refresh)
        .unwrap()
        .to_owned();
    let revoked = || scene.idp.journal().refresh_revocations == 1;
    eventually("its tokens are given back", revoked).await;
    assert!(!scene.idp.replay("gateway", &refresh_token));
    assert!(logs().contains("does not fit into a cookie; choose another session.store"));
}

#[tokio::test(flavor = "multi_thread")]
async fn all_that_stays_on_the_server_is_the_key() {
    let scene = Scene::without_gateway(|setup| {
        setup.replace("\"memory\"", "\"cookie\"");
        setup.replace("encryption_keys  = [{ file = \"$DIR/session_key\" }]", "");
        setup.idp.clock = Clock::System;
    })
    .await;
    let state = scene.file("state");
    let file = scene.file("gateway.toml");
    std::fs::write(&file, scene.toml()).unwrap();
    let start = || {
        Child::start_with(
            &["run", "-c", file.to_str().unwrap()],
            &[("STATE_DIRECTORY", &state)],
        )
    };
    let port = scene.url().port().unwrap();
    let mut first = start();
    first.listens(port).await;
    let browser = scene.browser();
    browser.login("alice").await;
    first.kill().await;
    let kept: Vec<_> = std::fs::read_dir(&state).unwrap().collect();
    let [Ok(key)] = &kept[..] else {
        panic!("one file: {kept:?}");
    };
    assert_eq!(key.file_name(), "session.key");
    let mode = std::os::unix::fs::PermissionsExt::mode(&key.metadata().unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    let mut second = start();
    second.listens(port).await;
    assert_eq!(
        browser.fetch("/app").await.status,
        200,
        "{}",
        second.output()
    );
    let journal = scene.idp.journal();
    assert_eq!(
        (journal.logins, journal.refreshes, journal.reuses),
        (1, 1, 0)
    );
}
