//! The whole story of a session, from the first page to the sign-out, and of what may not break it on the way.

use futures_util::{SinkExt, StreamExt};
use http::{HeaderValue, Method};
use tidegate::demo::idp::Options;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::support::forgery::bad_bearers;
use crate::support::gateway::logs;
use crate::support::wire::{Speaks, Wire};
use crate::support::{Fault, HOUR, Idp, Kind, MINUTE, SECOND, Scene, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn signing_in_leads_back_to_where_one_wanted_to_go_and_the_upstream_knows_who() {
    let scene = Scene::start().await;
    let browser = scene.browser();
    let page = browser
        .login_at("/reports/7?year=2026&page=2", "alice")
        .await;

    assert_eq!(page.status, 200, "{}", page.body);
    assert_eq!(page.url.path(), "/reports/7");
    assert_eq!(page.json()["target"], "/reports/7?year=2026&page=2");
    let arrived = scene.upstream.last();
    assert_eq!(arrived.header("x-forwarded-user"), "u-alice");
    assert_eq!(arrived.header("x-forwarded-email"), "alice@example.com");
    assert_eq!(arrived.header("x-forwarded-preferred-username"), "alice");
    assert_eq!(arrived.header("x-forwarded-groups"), "admins,staff");
    assert_eq!(arrived.header("x-forwarded-proto"), "https");
    // The provider's own cookie comes along, since cookies know no ports; ours does not.
    assert!(!arrived.header("cookie").contains("tidegate"));
    assert!(!arrived.headers.contains_key("authorization"));

    let cookie = browser.session_cookie().unwrap();
    assert!(cookie.secure && cookie.http_only && cookie.path == "/");
    assert_eq!(cookie.value.len(), 43, "256 opaque bits");
    assert_eq!(browser.refused_cookies(), Vec::<String>::new());
    let journal = scene.idp.journal();
    assert_eq!(
        (journal.logins, journal.exchanges, journal.refreshes),
        (1, 1, 0)
    );
    let left_over = browser
        .cookies()
        .into_iter()
        .filter(|c| c.name.contains("-login-"));
    assert_eq!(left_over.count(), 0, "login cookies go once they are used");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ended_access_token_is_swapped_unseen() {
    let scene = Scene::start().await;
    let browser = scene.browser();
    browser.login("alice").await;
    for round in 1..=5 {
        scene.clock.advance(6 * MINUTE);
        assert_eq!(browser.get("/app").await.status, 200);
        assert_eq!(scene.idp.journal().refreshes, round);
    }
    let journal = scene.idp.journal();
    assert_eq!((journal.logins, journal.reuses), (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_about_to_end_is_swapped_in_the_background() {
    let scene = Scene::start().await;
    let browser = scene.browser();
    browser.login("alice").await;
    scene.clock.advance(4 * MINUTE + 30 * SECOND);
    assert_eq!(browser.get("/app").await.status, 200);
    eventually("it was swapped", || scene.idp.journal().refreshes == 1).await;
    assert_eq!(browser.get("/app").await.status, 200);
    assert_eq!(scene.idp.journal().refreshes, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_requests_on_an_ended_token_make_one_swap_and_are_all_served() {
    let scene = Scene::start().await;
    let browser = scene.browser();
    browser.login("alice").await;
    scene.clock.advance(6 * MINUTE);
    scene.idp.faults().set(Fault::Slow(SECOND / 5));

    let requests = (0..200).map(|n| {
        let browser = browser.clone();
        tokio::spawn(async move { browser.fetch(&format!("/app/{n}")).await.status })
    });
    for request in requests.collect::<Vec<_>>() {
        assert_eq!(request.await.unwrap(), 200);
    }
    let journal = scene.idp.journal();
    assert_eq!(
        (journal.refreshes, journal.reuses, journal.logins),
        (1, 0, 1)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn signing_out_ends_access_here_and_at_the_provider() {
    let scene = Scene::start().await;
    let browser = scene.browser();
    browser.login("alice").await;
    let before = browser.stolen();
    assert_eq!(before.fetch("/app").await.status, 200);
    let refresh_token = scene
        .idp
        .journal()
        .newest(Kind::Refresh)
        .unwrap()
        .to_owned();

    let page = browser.get("/oauth2/sign_out").await;
    assert_eq!(
        browser.fetch("/app").await.status,
        200,
        "a GET signs nobody out"
    );
    let page = browser.press(&page, "Sign out").await;
    assert_eq!(page.status, 200, "{}", page.body);
    assert_eq!(page.url.path(), "/oauth2/signed_out");

    assert!(browser.session_cookie().is_none(), "the cookie is gone");
    let arrived = scene.upstream.count();
    assert_eq!(
        before.fetch("/app").await.status,
        401,
        "the old cookie opens nothing"
    );
    assert_eq!(scene.upstream.count(), arrived);
    assert!(
        !scene.idp.replay("gateway", &refresh_token),
        "the provider refuses the old refresh token"
    );
    let journal = scene.idp.journal();
    assert_eq!(journal.refresh_revocations, 1);
    let page = browser.get("/app").await;
    assert!(
        page.body.contains("Who are you today?"),
        "one has to sign in anew: {}",
        page.url
    );
    scene.assert_no_token_leaked(&browser);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_has_too_many_sessions_loses_the_oldest_and_is_told_why() {
    let scene = Scene::with(|setup| {
        setup.replace(
            "absolute_timeout = \"12h\"",
            "absolute_timeout = \"12h\"\nmax_per_user = 2",
        );
    })
    .await;
    let browsers = [scene.browser(), scene.browser(), scene.browser()];
    let bob = scene.browser();
    bob.login("bob").await;
    for browser in &browsers {
        scene.clock.advance(SECOND);
        browser.login("alice").await;
    }
    let [first, second, third] = &browsers;
    let refused = first.fetch("/app").await;
    assert_eq!(
        (refused.status.as_u16(), &refused.json()["code"]),
        (401, &"session_displaced".into())
    );
    assert!(
        first.session_cookie().is_none(),
        "the cookie stands for nothing"
    );
    for browser in [second, third, &bob] {
        assert_eq!(browser.fetch("/app").await.status, 200);
    }

    scene.clock.advance(SECOND);
    first.login("alice").await;
    let page = second.get("/app").await;
    assert_eq!(
        page.status, 401,
        "a page that says why, and nobody is signed in again unseen"
    );
    assert!(
        page.body.contains("you signed in elsewhere"),
        "{}",
        page.body
    );
    assert_eq!(first.fetch("/app").await.status, 200);
    assert_eq!(third.fetch("/app").await.status, 200);
    assert!(scene.idp.journal().refresh_revocations >= 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn signing_in_anew_gives_a_fresh_id_and_the_new_session_lives() {
    let scene = Scene::start().await;
    let browser = scene.browser();
    browser.login("alice").await;
    let first = browser.session_cookie().unwrap();
    let old = browser.stolen();

    let page = browser.get("/oauth2/start?rd=/again").await;
    assert_eq!(
        (page.status.as_u16(), page.url.path()),
        (200, "/again"),
        "{}",
        page.body
    );
    assert_ne!(browser.session_cookie().unwrap().value, first.value);
    assert_eq!(
        old.fetch("/app").await.status,
        401,
        "the old session was replaced"
    );
    scene.clock.advance(6 * MINUTE);
    assert_eq!(browser.fetch("/app").await.status, 200, "the new one swaps");
    assert_eq!(scene.idp.journal().reuses, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_provider_is_down_nobody_is_signed_out() {
    let scene = Scene::start().await;
    let browser = scene.browser();
    browser.login("alice").await;
    scene.idp.go_down();

    assert_eq!(
        browser.fetch("/app").await.status,
        200,
        "the access token is still good"
    );
    scene.clock.advance(6 * MINUTE);
    let refused = browser.fetch("/app").await;
    assert_eq!(refused.status, 503, "{}", refused.body);
    assert!(refused.header("retry-after").parse::<u32>().is_ok());
    assert!(browser.session_cookie().is_some());
    let page = browser.get("/app").await;
    assert_eq!(
        page.status, 503,
        "a page, not a redirect to a provider that is down"
    );

    scene.idp.come_up();
    scene.clock.advance(MINUTE);
    eventually_served(&browser).await;
    let journal = scene.idp.journal();
    assert_eq!(
        (journal.logins, journal.refreshes, journal.reuses),
        (1, 1, 0)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn in_the_grace_a_session_goes_on_without_the_provider_and_a_bearer_does_not() {
    let scene = Scene::with(|setup| {
        let idle = "idle_timeout     = \"30m\"";
        setup.replace(idle, "idle_timeout = \"1h\"\noutage_grace = \"20m\"");
    })
    .await;
    let browser = scene.browser();
    browser.login("alice").await;
    let bearer = scene.bearer("alice");
    let everywhere = ["/app", "/api/x", "/quiet/poll", "/oauth2/userinfo"];
    let grace = async || {
        browser.fetch("/oauth2/session").await.json()["outage_grace_seconds_left"].as_u64()
    };
    scene.idp.go_down();
    assert_eq!(grace().await, None);
    // The access token lives for five minutes.
    for _ in 0..4 {
        scene.clock.advance(6 * MINUTE);
        for path in everywhere {
            assert_eq!(browser.fetch(path).await.status, 200, "{path}");
        }
        assert_eq!(browser.get("/app").await.status, 200, "a page");
        assert_eq!(scene.upstream.last().header("x-forwarded-user"), "u-alice");
        assert!(grace().await.unwrap() <= 19 * 60);
        let refused = scene.client().get_as(&bearer, "/api/x").await;
        assert_eq!(refused.status, 401, "a bearer gets no grace");
    }
    scene.clock.advance(2 * MINUTE);
    for path in everywhere {
        let refused = browser.fetch(path).await;
        assert_eq!(refused.status, 503, "{path}: {}", refused.body);
        assert!(refused.header("retry-after").parse::<u32>().is_ok());
    }
    assert_eq!(grace().await, None);
    assert!(browser.session_cookie().is_some());

    scene.idp.come_up();
    scene.clock.advance(2 * MINUTE);
    eventually_served(&browser).await;
    let journal = scene.idp.journal();
    assert_eq!(
        (journal.logins, journal.refreshes, journal.reuses),
        (1, 1, 0)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_comes_back_in_the_grace_is_asked_and_heard() {
    let scene = Scene::with(|setup| {
        let idle = "idle_timeout     = \"30m\"";
        setup.replace(idle, "idle_timeout = \"1h\"\noutage_grace = \"20m\"");
    })
    .await;
    let (alice, bob) = (scene.browser(), scene.browser());
    alice.login("alice").await;
    bob.login("bob").await;
    let thief = bob.stolen();
    scene.idp.go_down();
    scene.clock.advance(6 * MINUTE);
    for browser in [&alice, &bob, &thief] {
        assert_eq!(browser.fetch("/app").await.status, 200);
    }
    let out = bob.get("/oauth2/sign_out").await;
    bob.press(&out, "Sign out").await;
    assert_eq!(
        thief.fetch("/app").await.status,
        401,
        "no grace for what is over"
    );

    scene.idp.come_up();
    scene.idp.faults().once(Fault::InvalidGrant);
    scene.clock.advance(2 * MINUTE);
    let refused = alice.fetch("/app").await;
    assert_eq!(
        refused.status, 401,
        "nor for what the provider refused: {}",
        refused.body
    );
}

/// Until what was broken has healed by itself.
async fn eventually_served(browser: &crate::support::browser::Browser) {
    let mut status = 0;
    for _ in 0..100 {
        status = browser.fetch("/app").await.status.as_u16();
        if status == 200 {
            break;
        }
        tokio::time::sleep(SECOND / 20).await;
    }
    assert_eq!(status, 200, "it heals by itself");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_gateway_starts_while_the_provider_is_down() {
    let mut scene = Scene::without_gateway(|_| {}).await;
    scene.idp.go_down();
    scene.start_gateway();
    let browser = scene.browser();
    assert_eq!(browser.get("/public/x").await.status, 200);
    assert_eq!(browser.get("/").await.status, 503);
    let bearer = scene.bearer("alice");
    assert_eq!(scene.client().get_as(&bearer, "/api/x").await.status, 503);

    scene.idp.come_up();
    let mut page = browser.get("/").await;
    for _ in 0..100 {
        if page.status == 200 {
            break;
        }
        scene.clock.advance(10 * SECOND);
        tokio::time::sleep(SECOND / 20).await;
        page = browser.get("/").await;
    }
    assert_eq!(browser.press(&page, "alice").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_tokens_are_refused_and_never_reach_the_upstream() {
    let scene = Scene::start().await;
    let stranger = Idp::start(Options {
        clock: scene.clock.clone(),
        clients: vec![tidegate::demo::idp::Client::new("gateway", "x")],
        ..Options::default()
    });
    let stranger = stranger.await.unwrap();
    let client = scene.client();
    let good = scene.bearer("alice");
    assert_eq!(client.get_as(&good, "/api/x").await.status, 200);
    assert_eq!(scene.upstream.last().header("x-forwarded-user"), "u-alice");
    let arrived = scene.upstream.count();

    for (name, token) in bad_bearers(&scene.idp, &stranger) {
        for path in ["/api/x", "/bearer/x"] {
            let refused = client.get_as(&token, path).await;
            assert_eq!(refused.status, 401, "{name}: {}", refused.text());
            let challenge = refused.header("www-authenticate");
            assert!(challenge.starts_with("Bearer"), "{name}: {challenge}");
            assert!(!refused.text().contains(&token), "{name}: echoed");
        }
    }
    let refused = client.get("/api/x").await;
    assert_eq!(refused.status, 401);
    assert!(
        !refused.header("www-authenticate").contains("error="),
        "RFC 6750 section 3.1"
    );
    assert_eq!(scene.upstream.count(), arrived, "none of them arrived");

    scene.clock.advance(6 * MINUTE);
    assert_eq!(
        client.get_as(&good, "/api/x").await.status,
        401,
        "it was good, and has ended"
    );
    assert!(!logs().contains(&good));
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_decide_who_gets_in() {
    let scene = Scene::start().await;
    let alice = scene.browser();
    alice.login("alice").await;
    assert_eq!(alice.get("/admin/").await.status, 200);
    for person in ["bob", "carol"] {
        let browser = scene.browser();
        browser.login(person).await;
        let arrived = scene.upstream.count();
        let page = browser.get("/admin/").await;
        assert_eq!(page.status, 403, "{person}");
        assert!(page.header("content-type").starts_with("text/html"));
        assert_eq!(scene.upstream.count(), arrived);
        assert_eq!(
            browser.get("/app").await.status,
            200,
            "{person} may go elsewhere"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_ends_when_nobody_uses_it_and_slides_while_someone_does() {
    let scene = Scene::start().await;
    let browser = scene.browser();
    browser.login("alice").await;
    for _ in 0..3 {
        scene.clock.advance(20 * MINUTE);
        assert_eq!(browser.fetch("/app").await.status, 200, "it slides");
    }
    scene.clock.advance(2 * MINUTE);
    assert_eq!(browser.fetch("/quiet/poll").await.status, 200);
    scene.clock.advance(29 * MINUTE);
    assert_eq!(browser.fetch("/app").await.status, 401, "polling is no use");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_ends_at_its_absolute_deadline_however_active() {
    let scene = Scene::start().await;
    let browser = scene.browser();
    browser.login("alice").await;
    for _ in 0..35 {
        scene.clock.advance(20 * MINUTE);
        assert_eq!(browser.fetch("/app").await.status, 200);
    }
    scene.clock.advance(20 * MINUTE);
    assert_eq!(
        browser.fetch("/app").await.status,
        401,
        "twelve hours have passed"
    );
    assert_eq!(scene.idp.journal().reuses, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_ended_at_the_provider_ends_here_at_the_next_swap() {
    let scene = Scene::start().await;
    let browser = scene.browser();
    browser.login("alice").await;
    scene.clock.advance(6 * MINUTE);
    assert_eq!(browser.fetch("/app").await.status, 200);
    let spent = scene.idp.journal();
    let spent: Vec<&str> = spent.all(Kind::Refresh).collect();
    assert!(
        !scene.idp.replay("gateway", spent[0]),
        "a thief replays the spent one"
    );

    scene.clock.advance(6 * MINUTE);
    assert_eq!(browser.fetch("/app").await.status, 401);
    let page = browser.get("/app").await;
    assert_eq!(
        page.status, 200,
        "the provider's own session signs a page load in again, unseen"
    );
    assert_eq!(scene.idp.journal().logins, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_swap_whose_answer_is_lost_heals_without_a_page() {
    let scene = Scene::start().await;
    let browser = scene.browser();
    browser.login("alice").await;
    scene.clock.advance(6 * MINUTE);
    scene.idp.faults().once(Fault::LostAnswer);

    let mut page = browser.get("/app").await;
    for _ in 0..50 {
        if page.status == 200 {
            break;
        }
        scene.clock.advance(10 * SECOND);
        page = browser.get("/app").await;
    }
    assert_eq!(page.status, 200, "{}", page.body);
    assert_eq!(page.json()["target"], "/app");
    assert_eq!(scene.idp.journal().logins, 1, "nobody saw a sign-in page");
}

#[tokio::test(flavor = "multi_thread")]
async fn temporary_trouble_at_the_token_endpoint_signs_nobody_out() {
    let troubles = [
        Fault::TokenError,
        Fault::TooMany(5 * SECOND),
        Fault::Down,
        Fault::InvalidClient,
    ];
    for trouble in troubles {
        let scene = Scene::start().await;
        let browser = scene.browser();
        browser.login("alice").await;
        scene.clock.advance(6 * MINUTE);
        scene.idp.faults().set(trouble.clone());
        assert_eq!(browser.fetch("/app").await.status, 503, "{trouble:?}");
        scene.idp.faults().clear();
        scene.clock.advance(2 * MINUTE);
        let mut status = browser.fetch("/app").await.status;
        for _ in 0..20 {
            if status == 200 {
                break;
            }
            scene.clock.advance(10 * SECOND);
            status = browser.fetch("/app").await.status;
        }
        assert_eq!(status, 200, "{trouble:?}");
        let journal = scene.idp.journal();
        assert_eq!((journal.logins, journal.reuses), (1, 0), "{trouble:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sign_in_whose_answer_is_forged_comes_to_nothing() {
    let lies = [
        Fault::WrongNonce,
        Fault::WrongIssuer,
        Fault::WrongAudience,
        Fault::WrongResponseIssuer,
    ];
    for lie in lies {
        let scene = Scene::start().await;
        let browser = scene.browser();
        scene.idp.faults().set(lie.clone());
        let page = browser.get("/app").await;
        let page = browser.press(&page, "alice").await;
        assert!(
            page.status.is_client_error() || page.status.is_server_error(),
            "{lie:?}: {}",
            page.status
        );
        assert!(browser.session_cookie().is_none(), "{lie:?}");
        assert_eq!(scene.upstream.count(), 0, "{lie:?}");
        scene.assert_no_token_leaked(&browser);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_swap_that_answers_with_someone_else_ends_the_session() {
    let scene = Scene::start().await;
    let browser = scene.browser();
    browser.login("alice").await;
    scene.clock.advance(6 * MINUTE);
    scene.idp.faults().once(Fault::WrongSubject);
    let arrived = scene.upstream.count();
    assert_eq!(browser.fetch("/app").await.status, 401);
    assert_eq!(scene.upstream.count(), arrived);
}

#[tokio::test(flavor = "multi_thread")]
async fn new_keys_at_the_provider_go_unnoticed() {
    let scene = Scene::start().await;
    let browser = scene.browser();
    browser.login("alice").await;
    scene.idp.publish_odd_keys();
    scene.idp.rotate_keys().unwrap();
    scene.idp.drop_old_keys();
    scene.clock.advance(6 * MINUTE);
    assert_eq!(browser.fetch("/app").await.status, 200);
    let bearer = scene.bearer("bob");
    assert_eq!(scene.client().get_as(&bearer, "/api/x").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_callback_works_once_and_only_in_the_browser_that_began() {
    let scene = Scene::start().await;
    let victim = scene.browser();
    let page = victim.get("/app").await;
    let callback = victim.press_once(&page, "alice").await;
    let callback = callback.header("location").to_owned();
    assert!(callback.contains("/oauth2/callback?"), "{callback}");

    let attacker = scene.browser();
    let page = attacker.get(&callback).await;
    assert!(attacker.session_cookie().is_none());
    assert!(
        page.body.contains("Who are you today?"),
        "led to a sign-in of its own: {}",
        page.url
    );
    assert_eq!(scene.idp.journal().exchanges, 0, "the code was not touched");
    assert_eq!(victim.get(&callback).await.status, 200);
    let session = victim.session_cookie().unwrap().value;
    victim.get(&callback).await;
    let journal = scene.idp.journal();
    assert_eq!(
        (journal.exchanges, journal.code_replays),
        (1, 0),
        "no code is sent twice"
    );
    assert_eq!(victim.session_cookie().unwrap().value, session);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_tabs_can_sign_in_at_once() {
    let scene = Scene::start().await;
    let browser = scene.browser();
    let first = browser.get("/one").await;
    let second = browser.get("/two").await;
    let second = browser.press(&second, "alice").await;
    assert_eq!((second.status.as_u16(), second.url.path()), (200, "/two"));
    let first = browser.press(&first, "alice").await;
    assert_eq!((first.status.as_u16(), first.url.path()), (200, "/one"));
    scene.clock.advance(6 * MINUTE);
    assert_eq!(browser.fetch("/app").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_script_gets_a_401_and_a_page_load_the_sign_in() {
    let scene = Scene::start().await;
    let browser = scene.browser();
    let refused = browser.fetch("/app").await;
    assert_eq!(refused.status, 401);
    assert_eq!(refused.header("content-type"), "application/problem+json");
    let page = browser.glance("/app").await;
    assert!(page.status.is_redirection(), "{}", page.body);
    assert!(page.header("location").contains("/oauth2/start"));
    let refused = browser.fetch_with(Method::POST, "/app", &[]).await;
    assert_eq!(refused.status, 401);
    assert_eq!(scene.upstream.count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_token_is_in_anything_that_a_browser_sees_or_a_log_has() {
    let scene = Scene::start().await;
    let browser = scene.browser();
    browser.login("alice").await;
    for round in 0..3 {
        scene.clock.advance(6 * MINUTE);
        browser.get(&format!("/app/{round}")).await;
        browser.fetch("/oauth2/session").await;
        browser.fetch("/oauth2/userinfo").await;
        browser.fetch("/admin/x").await;
    }
    let bearer = scene.bearer("bob");
    scene.client().get_as(&bearer, "/api/x").await;
    scene.client().get_as(&format!("{bearer}x"), "/api/x").await;
    scene.idp.faults().once(Fault::InvalidGrant);
    scene.clock.advance(6 * MINUTE);
    browser.get("/app").await;
    let page = browser.get("/oauth2/sign_out").await;
    browser.press(&page, "Sign out").await;
    assert!(scene.idp.journal().issued.len() > 10);
    scene.assert_no_token_leaked(&browser);
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_on_disk_survive_kill_9() {
    let scene = Scene::without_gateway(|setup| {
        setup.idp.clock = tidegate::clock::Clock::System;
        setup.on_disk().replace("\"off\"", "\"-\"");
    });
    let scene = scene.await;
    let mut gateway = scene.spawn_gateway().await;
    let browser = scene.browser();
    browser.login("alice").await;
    gateway.kill().await;

    let mut gateway = scene.spawn_gateway().await;
    assert_eq!(browser.fetch("/app").await.status, 200);
    assert_eq!(scene.idp.journal().logins, 1);
    gateway.signal("TERM");
    assert_eq!(gateway.wait().await.code(), Some(0), "{}", gateway.output());
    for issued in scene.idp.journal().issued {
        assert!(
            !gateway.output().contains(&issued.text),
            "a {:?} token in the log",
            issued.kind
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_encryption_key_signs_nobody_out_and_breaks_no_sign_in() {
    let mut scene = Scene::without_gateway(|setup| {
        setup.on_disk().replace(
            "[{ file = \"$DIR/session_key\" }]",
            "[{ file = \"$DIR/first\" }, { file = \"$DIR/second\" }]",
        );
    })
    .await;
    let (old, new) = ("b2xk".repeat(11), "bmV3".repeat(11));
    let keys = |scene: &Scene, first: &str, second: &str| {
        std::fs::write(scene.file("first"), first).unwrap();
        std::fs::write(scene.file("second"), second).unwrap();
    };
    keys(&scene, &old, &old);
    scene.start_gateway();
    let (alice, bob, carol) = (scene.browser(), scene.browser(), scene.browser());
    alice.login("alice").await;
    carol.login("carol").await;
    let sign_in = bob.get("/reports").await;

    scene.stop_gateway().await;
    keys(&scene, &new, &old);
    scene.start_gateway();
    let page = bob.press(&sign_in, "bob").await;
    assert_eq!(
        (page.status.as_u16(), page.url.path()),
        (200, "/reports"),
        "it was under way"
    );
    assert_eq!(alice.fetch("/app").await.status, 200);
    scene.clock.advance(6 * MINUTE);
    assert_eq!(alice.fetch("/app").await.status, 200, "swapped and saved");

    scene.stop_gateway().await;
    keys(&scene, &new, &new);
    scene.start_gateway();
    for browser in [&alice, &bob] {
        assert_eq!(browser.fetch("/app").await.status, 200);
    }
    assert_eq!(carol.fetch("/app").await.status, 401, "nobody has her key");
    assert!(logs().contains("sealed with a key that is gone"));
    assert_eq!(
        carol.get("/app").await.status,
        200,
        "the provider signs her in unseen"
    );
    assert_eq!(scene.idp.journal().reuses, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_for_hours_is_a_new_sign_in_that_the_provider_makes_silent() {
    let scene = Scene::start().await;
    let browser = scene.browser();
    browser.login("alice").await;
    scene.clock.advance(2 * HOUR);
    let page = browser.get("/app").await;
    assert_eq!(page.status, 200, "{}", page.body);
    assert_eq!(scene.idp.journal().logins, 1, "single sign-on");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_opens_with_a_session_and_not_without() {
    let scene = Scene::start().await;
    let browser = scene.browser();
    browser.login("alice").await;
    let open = async |cookies: &str| {
        let port = scene.url().port().unwrap();
        let stream = Wire::new(Speaks::H1).tls("localhost", port).await.unwrap();
        let url = format!("wss://localhost:{port}/ws");
        let mut request = url.into_client_request().unwrap();
        let origin = HeaderValue::from_str(&scene.url().origin().ascii_serialization());
        request.headers_mut().insert("origin", origin.unwrap());
        if !cookies.is_empty() {
            let cookies = HeaderValue::from_str(cookies).unwrap();
            request.headers_mut().insert("cookie", cookies);
        }
        tokio_tungstenite::client_async(request, stream).await
    };
    let Err(Error::Http(refused)) = open("").await else {
        panic!("opened without a session");
    };
    assert_eq!(refused.status(), 401);
    assert_eq!(
        scene.upstream.count(),
        1,
        "only the page of the login arrived"
    );

    let (mut socket, _) = open(&browser.cookie_line()).await.unwrap();
    socket
        .send(Message::text("through the gate"))
        .await
        .unwrap();
    let echoed = socket.next().await.unwrap().unwrap();
    assert_eq!(echoed, Message::text("through the gate"));
    assert_eq!(scene.upstream.last().header("x-forwarded-user"), "u-alice");
}
