//! Two gateways over one Redis: what one does holds on the other.

use std::fs;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::CONTENT_TYPE;
use serde_json::json;
use tidegate::demo::idp::Algorithm;
use url::Url;

use crate::support::client::{Client, request};
use crate::support::redis::{RedisServer, free_port};
use crate::support::wire::{Reply, Speaks};
use crate::support::{Browser, Child, Clock, Fault, Gateway, Kind, MINUTE, SECOND, Scene, Setup};

pub fn over(redis: &RedisServer) -> impl FnOnce(&mut Setup) + use<> {
    let url = redis.url();
    move |setup| {
        setup.replace("\"memory\"", "\"redis\"");
        let store = format!("[store.redis]\nurl = \"{url}\"\n");
        setup.toml.push_str(&store);
    }
}

/// The scene's configuration for a second node, and where that is.
pub fn second(scene: &Scene) -> (String, Url) {
    let mut url = scene.url().clone();
    let (first, port) = (url.port().unwrap().to_string(), free_port());
    url.set_port(Some(port)).unwrap();
    (scene.toml().replace(&first, &port.to_string()), url)
}

/// The same browser, led to the other node by whatever balances the load.
pub fn led_to(url: &Url, browser: &Browser, clock: &Clock) -> Browser {
    let there = Browser::new(url.clone(), clock.clone());
    there.put_cookie(browser.session_cookie().unwrap());
    there
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server"]
async fn signed_in_on_one_node_at_work_on_the_other_and_signed_out_on_both() {
    let redis = RedisServer::start();
    let change = over(&redis);
    let scene = Scene::without_gateway(|setup| {
        setup.idp.clock = Clock::System;
        change(setup);
    })
    .await;
    let (toml, url) = second(&scene);
    let file = scene.file("second.toml");
    fs::write(&file, toml).unwrap();
    let _one = scene.spawn_gateway().await;
    let other = Child::run(&file, url.port().unwrap()).await;

    let browser = Browser::new(scene.url().clone(), Clock::System);
    assert_eq!(browser.login("alice").await.status, 200);
    let there = led_to(&url, &browser, &Clock::System);
    assert_eq!(there.fetch("/app").await.status, 200);
    assert_eq!(scene.upstream.last().header("x-forwarded-user"), "u-alice");
    assert_eq!(browser.fetch("/app").await.status, 200);

    let stolen = browser.stolen();
    let page = there.get("/oauth2/sign_out").await;
    let page = there.press(&page, "Sign out").await;
    assert_eq!(page.status, 200, "{}", page.body);
    tokio::time::sleep(SECOND / 10).await;
    assert_eq!(stolen.fetch("/app").await.status, 401);
    assert_eq!(scene.idp.journal().refresh_revocations, 1);
    let said = other.output();
    assert!(said.contains("connected to Redis"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server"]
async fn two_nodes_with_requests_on_an_ended_token_make_one_swap_between_them() {
    let redis = RedisServer::start();
    let scene = Scene::with(over(&redis)).await;
    let (toml, url) = second(&scene);
    let other = Gateway::start(&toml, &scene.clock);
    let browser = scene.browser();
    browser.login("alice").await;
    let there = led_to(&url, &browser, &scene.clock);
    // No node swaps before its link has settled.
    tokio::time::sleep(2 * SECOND).await;
    for round in 1..=4 {
        scene.clock.advance(6 * MINUTE);
        scene.idp.faults().set(Fault::Slow(SECOND / 5));
        let requests = (0..40).map(|n| {
            let browser = if n % 2 == 0 { &browser } else { &there };
            let browser = browser.clone();
            tokio::spawn(async move { browser.fetch(&format!("/app/{n}")).await.status })
        });
        for request in requests.collect::<Vec<_>>() {
            assert_eq!(request.await.unwrap(), 200, "round {round}");
        }
        let journal = scene.idp.journal();
        assert_eq!((journal.refreshes, journal.reuses), (round, 0));
    }
    other.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server"]
async fn a_redis_that_is_gone_answers_503_and_nobody_is_signed_out() {
    let mut redis = RedisServer::start();
    let scene = Scene::with(over(&redis)).await;
    let browser = scene.browser();
    browser.login("alice").await;
    assert_eq!(browser.fetch("/app").await.status, 200);
    redis.kill();
    let mut refused = browser.fetch("/app").await;
    for _ in 0..500 {
        if refused.status != 200 {
            break;
        }
        tokio::time::sleep(SECOND / 100).await;
        refused = browser.fetch("/app").await;
    }
    assert_eq!(refused.status, 503, "{}", refused.body);
    assert!(!refused.header("retry-after").is_empty());
    redis.restart();
    let mut served = browser.fetch("/app").await;
    for _ in 0..500 {
        if served.status == 200 {
            break;
        }
        tokio::time::sleep(SECOND / 100).await;
        served = browser.fetch("/app").await;
    }
    assert_eq!(served.status, 200, "{}", served.body);
    assert_eq!(scene.idp.journal().logins, 1);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server"]
async fn what_redis_keeps_is_no_token_and_opens_nothing() {
    let redis = RedisServer::start();
    let scene = Scene::with(over(&redis)).await;
    let (alice, bob) = (scene.browser(), scene.browser());
    alice.login("alice").await;
    bob.login("bob").await;
    // No node swaps before its link has settled.
    tokio::time::sleep(2 * SECOND).await;
    scene.clock.advance(6 * MINUTE);
    assert_eq!(alice.fetch("/app").await.status, 200);
    assert_eq!(bob.fetch("/app").await.status, 200);
    assert_eq!(scene.idp.journal().refreshes, 2);
    let cookies = [&alice, &bob].map(|browser| browser.session_cookie().unwrap().value);
    // What is owed is kept too.
    scene.idp.faults().set(Fault::Down);
    let page = alice.get("/oauth2/sign_out").await;
    alice.press(&page, "Sign out").await;

    let written = redis.written();
    assert!(written.len() > 5_000, "{} bytes", written.len());
    let has = |secret: &[u8]| written.windows(secret.len()).any(|bytes| bytes == secret);
    assert!(
        has(b"sealed") && has(b"refused"),
        "this is what was written"
    );
    for issued in scene.idp.journal().issued {
        for part in issued.text.split('.').chain([issued.text.as_str()]) {
            assert!(!has(part.as_bytes()), "part of a {:?} token", issued.kind);
        }
    }
    for cookie in &cookies {
        let id = URL_SAFE_NO_PAD.decode(cookie).unwrap();
        assert!(!has(cookie.as_bytes()) && !has(&id), "a cookie");
        // What it is kept under is there, and is no cookie.
        let hash = digest(&SHA256, &id);
        assert!(has(hash.as_ref()), "this is what was written");
        let thief = scene.browser();
        let mut forged = bob.session_cookie().unwrap();
        forged.value = URL_SAFE_NO_PAD.encode(hash.as_ref());
        thief.put_cookie(forged);
        assert_eq!(thief.fetch("/app").await.status, 401);
    }
    for name in ["alice", "u-bob", "eyJ"] {
        assert!(!has(name.as_bytes()), "{name}");
    }
    assert_eq!(bob.fetch("/app").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server"]
async fn what_the_provider_tells_one_node_holds_on_the_other_at_once() {
    let redis = RedisServer::start();
    let scene = Scene::with(over(&redis)).await;
    let (toml, url) = second(&scene);
    let mut other = Gateway::start(&toml, &scene.clock);
    let browser = scene.browser();
    let there = Client::new(url.clone(), Speaks::H2);
    for round in 0..5 {
        browser.login("alice").await;
        let elsewhere = led_to(&url, &browser, &scene.clock);
        let held = scene.idp.journal().newest(Kind::Access).unwrap().to_owned();
        assert_eq!(elsewhere.fetch("/app").await.status, 200);
        assert_eq!(there.get_as(&held, "/api/x").await.status, 200);

        let token = logout_token(&scene, &held);
        let reply = send_logout_token(&scene.client(), &token).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        tokio::time::sleep(SECOND / 10).await;
        assert_eq!(elsewhere.fetch("/app").await.status, 401, "round {round}");
        assert_eq!(there.get_as(&held, "/api/x").await.status, 401);
        let again = send_logout_token(&there, &token).await;
        assert_eq!(again.status, 400, "{}", again.text());
        if round == 2 {
            other.stop().await;
            other = Gateway::start(&toml, &scene.clock);
            // It may have to wait for what the others refuse (503), and lets nothing through until it knows.
            let mut refused = there.get_as(&held, "/api/x").await.status;
            for _ in 0..500 {
                if refused != 503 {
                    break;
                }
                tokio::time::sleep(SECOND / 100).await;
                refused = there.get_as(&held, "/api/x").await.status;
            }
            assert_eq!(refused, 401, "restarted");
            assert_eq!(elsewhere.fetch("/app").await.status, 401);
            assert_eq!(send_logout_token(&there, &token).await.status, 400);
        }
        browser.forget();
        scene.clock.advance(SECOND);
    }
    other.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server"]
async fn what_the_provider_says_once_holds_though_redis_was_gone() {
    let mut redis = RedisServer::start();
    let scene = Scene::with(over(&redis)).await;
    let (toml, url) = second(&scene);
    let other = Gateway::start(&toml, &scene.clock);
    let browser = scene.browser();
    browser.login("alice").await;
    let elsewhere = led_to(&url, &browser, &scene.clock);
    assert_eq!(elsewhere.fetch("/app").await.status, 200);
    let held = scene.idp.journal().newest(Kind::Access).unwrap().to_owned();
    redis.kill();
    let token = logout_token(&scene, &held);
    let reply = send_logout_token(&scene.client(), &token).await;
    assert_eq!(reply.status, 503, "{}", reply.text());
    assert!(!reply.header("retry-after").is_empty());
    redis.restart();
    assert_eq!(browser.fetch("/app").await.status, 401, "here at once");
    // Nobody says it again, but the node that was told to the others as soon as it can.
    let mut status = elsewhere.fetch("/app").await.status;
    for _ in 0..500 {
        if status == 401 {
            break;
        }
        tokio::time::sleep(SECOND / 100).await;
        status = elsewhere.fetch("/app").await.status;
    }
    assert_eq!(status, 401, "elsewhere");
    assert_eq!(browser.fetch("/app").await.status, 401);
    other.stop().await;
}

/// One for the session at the provider that an access token is of.
pub fn logout_token(scene: &Scene, access_token: &str) -> String {
    let held = scene.idp.read(access_token).unwrap();
    let now = scene.clock.now().as_secs();
    let claims = json!({
        "iss": scene.idp.issuer(), "aud": "gateway", "sid": held["sid"],
        "iat": now, "exp": now + 120, "jti": held["jti"],
        "events": { "http://schemas.openid.net/event/backchannel-logout": {} },
    });
    let header = json!({ "alg": "RS256", "typ": "logout+jwt" });
    scene.idp.sign(Algorithm::Rs256, &header, &claims).unwrap()
}

pub async fn send_logout_token(to: &Client, token: &str) -> Reply {
    let post = request("POST").header(CONTENT_TYPE, "application/x-www-form-urlencoded");
    let form = format!("logout_token={token}");
    to.send_with("/oauth2/backchannel_logout", post, form).await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server"]
async fn ones_sessions_are_listed_and_ended_on_any_node() {
    let redis = RedisServer::start();
    let scene = Scene::with(over(&redis)).await;
    let (toml, url) = second(&scene);
    let other = Gateway::start(&toml, &scene.clock);
    let phone = scene
        .browser()
        .claiming("Mozilla/5.0 (Android 15; Mobile) Firefox/128.0");
    phone.login("alice").await;
    let desk = scene.browser();
    desk.login("alice").await;
    assert_eq!(phone.fetch("/app").await.status, 200);
    let desk = led_to(&url, &desk, &scene.clock);
    let page = desk.get("/oauth2/sessions").await;
    assert!(page.body.contains("Firefox on Android"), "{}", page.body);
    let page = desk
        .press(&page, "End the session in Firefox on Android")
        .await;
    assert!(
        page.body.contains("confirmed by Development"),
        "{}",
        page.body
    );
    tokio::time::sleep(SECOND / 10).await;
    let refused = phone.fetch("/app").await;
    assert_eq!(refused.json()["code"], "session_dismissed");
    assert_eq!(desk.fetch("/app").await.status, 200);
    other.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server"]
async fn without_redis_nobody_is_told_that_a_session_has_ended() {
    let mut redis = RedisServer::start();
    let scene = Scene::with(over(&redis)).await;
    let (desk, phone) = (scene.browser(), scene.browser());
    desk.login("alice").await;
    phone.login("alice").await;
    let page = desk.get("/oauth2/sessions").await;
    redis.kill();
    for button in ["End the session in", "End all other sessions"] {
        let refused = desk.press(&page, button).await;
        assert_eq!(refused.status, 503, "{}", refused.body);
        assert!(!refused.body.contains("has ended</"), "{}", refused.body);
    }
    let refused = desk.fetch("/oauth2/sessions").await;
    assert_eq!(refused.status, 503);
    assert!(!refused.header("retry-after").is_empty());
    redis.restart();
    for _ in 0..500 {
        if desk.fetch("/oauth2/sessions").await.status == 200 {
            break;
        }
        tokio::time::sleep(SECOND / 100).await;
    }
    let page = desk.press(&page, "End all other sessions").await;
    assert_eq!(
        (page.status.as_u16(), page.url.path()),
        (200, "/oauth2/sessions")
    );
    assert_eq!(phone.fetch("/app").await.status, 401);
}

/// Which tokens other nodes have revoked can't be heard then: nobody is let in by one, unless the configuration says so.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server"]
async fn without_redis_bearers_wait_or_go_on() {
    for (policy, status) in [("deny", 503), ("serve_cached", 200)] {
        let mut redis = RedisServer::start();
        let change = over(&redis);
        let scene = Scene::with(|setup| {
            change(setup);
            let line = format!("on_error = \"{policy}\"\n");
            setup.toml.push_str(&line);
        })
        .await;
        let client = scene.client();
        let (known, unknown) = (scene.bearer("alice"), scene.bearer("bob"));
        let get = async |token: &str| client.get_as(token, "/bearer/x").await;
        for _ in 0..500 {
            if get(&known).await.status == 200 {
                break;
            }
            tokio::time::sleep(SECOND / 100).await;
        }
        assert_eq!(get(&known).await.status, 200, "{policy}");
        redis.kill();
        for _ in 0..300 {
            if get(&known).await.status != 200 {
                break;
            }
            tokio::time::sleep(SECOND / 100).await;
        }
        for token in [&known, &unknown] {
            let reply = get(token).await;
            let body = String::from_utf8_lossy(&reply.body);
            assert_eq!(reply.status, status, "{policy}: {body}");
            if status == 503 {
                assert!(body.contains("revocations_unknown"), "{body}");
                assert!(!reply.header("retry-after").is_empty());
            }
        }
        redis.restart();
        for _ in 0..500 {
            if get(&known).await.status == 200 {
                break;
            }
            tokio::time::sleep(SECOND / 100).await;
        }
        assert_eq!(get(&unknown).await.status, 200, "{policy}");
    }
}

/// What one process refuses the next one refuses before it serves anybody.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server"]
async fn a_process_that_starts_refuses_what_was_refused_before() {
    let redis = RedisServer::start();
    let mut scene = Scene::with(over(&redis)).await;
    let browser = scene.browser();
    browser.login("alice").await;
    assert_eq!(browser.fetch("/app").await.status, 200);
    let journal = scene.idp.journal();
    let stolen = journal
        .newest(crate::support::Kind::Access)
        .unwrap()
        .to_owned();
    let status = async |scene: &Scene| {
        let reply = scene.client().get_as(&stolen, "/bearer/x").await;
        reply.status.as_u16()
    };
    assert_eq!(status(&scene).await, 200);
    let page = browser.get("/oauth2/sign_out").await;
    assert_eq!(browser.press(&page, "Sign out").await.status, 200);
    assert_eq!(status(&scene).await, 401);
    scene.stop_gateway().await;
    scene.start_gateway();
    let mut seen = status(&scene).await;
    for _ in 0..500 {
        assert_ne!(seen, 200, "never, from its first answer on");
        if seen == 401 {
            break;
        }
        tokio::time::sleep(SECOND / 100).await;
        seen = status(&scene).await;
    }
    assert_eq!(seen, 401);
}
