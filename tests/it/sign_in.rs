//! Signing in: tabs, back buttons, other browsers, and whoever would like somebody else to be signed in as them.

use http::Method;
use tidegate::demo::idp::{Client as Registered, Options};
use url::Url;

use crate::support::browser::{Browser, Page};
use crate::support::gateway::logs;
use crate::support::jar::{Cookie, SameSite};
use crate::support::{Fault, Idp, Kind, MINUTE, Scene, eventually};

/// Picks a person at the provider, and stops before the answer comes back to the gateway.
async fn answer(browser: &Browser, page: &Page, person: &str) -> String {
    let page = browser.press_once(page, person).await;
    let callback = page.header("location").to_owned();
    assert!(callback.contains("/oauth2/callback?"), "{callback}");
    callback
}

fn asks_who(page: &Page) -> bool {
    page.body.contains("Who are you today?")
}

fn place(page: &Page) -> (u16, &str) {
    (page.status.as_u16(), page.url.path())
}

fn parameter(url: &str, name: &str) -> String {
    let url = Url::parse(url).unwrap();
    let found = url.query_pairs().find(|(found, _)| found == name);
    found
        .map(|(_, value)| value.into_owned())
        .unwrap_or_default()
}

fn planted(name: &str, value: &str) -> Cookie {
    Cookie {
        name: name.to_owned(),
        value: value.to_owned(),
        host: "localhost".to_owned(),
        path: "/".to_owned(),
        secure: true,
        http_only: true,
        same_site: SameSite::Lax,
        expires: None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_tab_leaves_the_first_ones_session_alone() {
    let scene = Scene::start().await;
    let browser = scene.browser();
    let (one, two) = (browser.get("/one").await, browser.get("/two").await);
    let (one, two) = (
        answer(&browser, &one, "alice").await,
        answer(&browser, &two, "alice").await,
    );
    assert_eq!(place(&browser.get(&one).await), (200, "/one"));
    let first = browser.session_cookie().unwrap().value;
    assert_eq!(place(&browser.get(&two).await), (200, "/two"));
    assert_eq!(browser.session_cookie().unwrap().value, first);
    scene.clock.advance(6 * MINUTE);
    assert_eq!(browser.fetch("/app").await.status, 200);
    assert_eq!(scene.idp.journal().reuses, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_signs_in_last_is_who_the_browser_is() {
    let scene = Scene::start().await;
    let browser = scene.browser();
    let (one, two) = (browser.get("/one").await, browser.get("/two").await);
    let (one, two) = (
        answer(&browser, &one, "alice").await,
        answer(&browser, &two, "bob").await,
    );
    browser.get(&one).await;
    let alice = browser.stolen();
    assert_eq!(place(&browser.get(&two).await), (200, "/two"));
    assert_eq!(scene.upstream.last().header("x-forwarded-user"), "u-bob");
    assert_eq!(alice.fetch("/app").await.status, 401, "hers was replaced");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_took_too_long_begins_anew_and_still_arrives() {
    let scene = Scene::start().await;
    let browser = scene.browser();
    let page = browser.get("/report?year=2026").await;
    scene.clock.advance(11 * MINUTE);
    let page = browser.press(&page, "alice").await;
    assert_eq!(place(&page), (200, "/report"), "{}", page.body);
    assert_eq!(page.url.query(), Some("year=2026"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_of_days_ago_leads_back_into_signing_in() {
    let scene = Scene::start().await;
    let browser = scene.browser();
    let page = browser.get("/report").await;
    let callback = answer(&browser, &page, "alice").await;
    browser.forget();
    scene.clock.advance(48 * 60 * MINUTE);
    let page = browser.get(&callback).await;
    assert!(asks_who(&page), "{}", page.body);
    assert_eq!(
        place(&browser.press(&page, "alice").await),
        (200, "/report")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_answer_leads_on_to_where_one_is_signed_in() {
    let scene = Scene::start().await;
    let browser = scene.browser();
    let page = browser.get("/report").await;
    let callback = answer(&browser, &page, "alice").await;
    browser.get(&callback).await;
    let first = browser.session_cookie().unwrap().value;
    assert_eq!(place(&browser.get(&callback).await), (200, "/report"));
    assert_eq!(browser.session_cookie().unwrap().value, first);
    let journal = scene.idp.journal();
    assert_eq!((journal.exchanges, journal.code_replays), (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_while_the_answer_is_under_way_sends_the_code_once() {
    let scene = Scene::start().await;
    let browser = scene.browser();
    let page = browser.get("/report").await;
    let callback = answer(&browser, &page, "alice").await;
    let loads = (0..5).map(|_| {
        let (browser, callback) = (browser.clone(), callback.clone());
        tokio::spawn(async move { browser.glance(&callback).await.status })
    });
    for load in loads.collect::<Vec<_>>() {
        assert_eq!(load.await.unwrap(), 303);
    }
    let journal = scene.idp.journal();
    assert_eq!((journal.exchanges, journal.code_replays), (1, 0));
    assert_eq!(place(&browser.get("/report").await), (200, "/report"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_worth_nothing_in_another_browser() {
    let scene = Scene::start().await;
    let attacker = scene.browser();
    let page = attacker.get("/app").await;
    let callback = answer(&attacker, &page, "bob").await;

    let victim = scene.browser();
    let page = victim.get(&callback).await;
    assert!(asks_who(&page), "a sign-in of their own: {}", page.body);
    assert!(victim.session_cookie().is_none());
    assert_eq!(scene.idp.journal().exchanges, 0, "the code was not used");
    victim.press(&page, "alice").await;
    assert_eq!(scene.upstream.last().header("x-forwarded-user"), "u-alice");
}

#[tokio::test(flavor = "multi_thread")]
async fn someone_signed_in_stays_who_they_are_when_handed_a_foreign_answer() {
    let scene = Scene::start().await;
    let attacker = scene.browser();
    let page = attacker.get("/app").await;
    let callback = answer(&attacker, &page, "bob").await;

    let victim = scene.browser();
    victim.login("alice").await;
    let cookie = victim.session_cookie().unwrap().value;
    victim.get(&callback).await;
    assert_eq!(victim.session_cookie().unwrap().value, cookie);
    victim.get("/app").await;
    assert_eq!(scene.upstream.last().header("x-forwarded-user"), "u-alice");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_from_elsewhere_does_not_fit_into_a_sign_in_of_ones_own() {
    let scene = Scene::start().await;
    let attacker = scene.browser();
    let page = attacker.get("/app").await;
    let code = parameter(&answer(&attacker, &page, "bob").await, "code");

    let victim = scene.browser();
    let page = victim.get("/app").await;
    let own = answer(&victim, &page, "alice").await;
    let mixed = own.replace(&parameter(&own, "code"), &code);
    let page = victim.get(&mixed).await;
    assert_eq!(page.status, 400, "PKCE: {}", page.body);
    assert!(victim.session_cookie().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_answers_are_refused_and_nothing_of_them_is_shown() {
    let scene = Scene::start().await;
    let browser = scene.browser();
    let page = browser.get("/app").await;
    let good = answer(&browser, &page, "alice").await;
    let state = parameter(&good, "state");
    let evil = "%3Cscript%3Ealert(1)%3C/script%3E";
    let forged = format!("{state}A");
    for query in [
        String::new(),
        "code=x".to_owned(),
        format!("code={evil}"),
        "state=x&code=x".to_owned(),
        format!("state={evil}&code=x"),
        format!("state={forged}&code=x&error=x"),
        format!("error={evil}&error_description={evil}"),
        format!("state={state}&state={state}&code=x"),
        format!("state={state}&code=x&code=y"),
        format!("state={state}&code=x&iss=a&iss=b"),
    ] {
        let page = browser.glance(&format!("/oauth2/callback?{query}")).await;
        assert_eq!(page.status, 400, "{query}: {}", page.body);
        assert!(!page.body.contains("<script"), "{query}");
        assert!(!page.body.contains("alert"), "{query}: reflected");
    }
    assert_eq!(scene.idp.journal().exchanges, 0);
    assert_eq!(
        browser.get(&good).await.status,
        200,
        "the good one was not spent"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_of_the_provider_is_a_page_with_a_way_on_and_no_word_of_its_own() {
    let scene = Scene::start().await;
    let browser = scene.browser();
    for (error, status) in [
        ("access_denied", 403),
        ("server_error", 502),
        ("%3Cscript%3E", 502),
    ] {
        let start = browser.glance("/oauth2/start?rd=/report").await;
        let state = parameter(start.header("location"), "state");
        let iss = scene.idp.issuer();
        let page = format!(
            "/oauth2/callback?state={state}&iss={iss}&error={error}&error_description=sorry-not-sorry"
        );
        let page = browser.glance(&page).await;
        assert_eq!(page.status, status, "{error}: {}", page.body);
        assert!(
            !page.body.contains("script") && !page.body.contains("sorry-not"),
            "{error}"
        );
        let again = page
            .links()
            .into_iter()
            .find(|link| link.path() == "/oauth2/start");
        let again = browser.click(&page, &again.unwrap()).await;
        assert!(asks_who(&again));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_who_declines_is_told_so() {
    let scene = Scene::start().await;
    let browser = scene.browser();
    let page = browser.get("/app").await;
    let page = browser.press(&page, "Cancel").await;
    assert_eq!(page.status, 403, "{}", page.body);
    assert!(page.body.contains("declined"));
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_of_a_sign_in_that_fails_a_check_are_given_back() {
    for lie in [Fault::WrongNonce, Fault::WrongIssuer, Fault::WrongAudience] {
        let scene = Scene::start().await;
        let browser = scene.browser();
        scene.idp.faults().set(lie.clone());
        let page = browser.get("/app").await;
        let page = browser.press(&page, "alice").await;
        assert_eq!(page.status, 502, "{lie:?}: {}", page.body);
        assert!(browser.session_cookie().is_none());
        eventually(&format!("{lie:?}: the refresh token is revoked"), || {
            scene.idp.journal().refresh_revocations == 1
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_audience_that_the_configuration_does_not_accept_is_a_page_and_not_a_loop() {
    let scene = Scene::with(|setup| {
        setup.replace("[\"apps\"]", "[\"something-else\"]");
    })
    .await;
    let browser = scene.browser();
    let page = browser.get("/app").await;
    let page = browser.press(&page, "alice").await;
    assert_eq!(page.status, 502, "{}", page.body);
    assert!(page.body.contains("not configured"), "{}", page.body);
    assert!(browser.session_cookie().is_none());
    assert!(logs().contains("does not accept this provider's access tokens"));
    eventually("the refresh token is revoked", || {
        scene.idp.journal().refresh_revocations == 1
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_rd_says_one_ends_up_at_home() {
    let scene = Scene::start().await;
    let evil = [
        "//evil.example",
        "/%5Cevil.example",
        "%5C%5Cevil.example",
        "https://evil.example",
        "https:evil.example",
        "https:///evil.example",
        "///evil.example",
        "/%09/evil.example",
        "%09//evil.example",
        "/%0d%0aSet-Cookie:%20a=b",
        "javascript:alert(1)",
        "data:text/html,x",
        "https://localhost@evil.example",
        "https://localhost.evil.example",
        "/oauth2/start",
        "/oauth2/sign_out",
        "/oauth2/callback?code=x",
    ];
    let browser = scene.browser();
    browser.login("alice").await;
    for rd in evil {
        let page = browser.get(&format!("/oauth2/start?rd={rd}")).await;
        assert_eq!(place(&page), (200, "/"), "{rd} led to {}", page.url);
        for hop in &page.hops {
            assert_eq!(hop.host_str(), Some("localhost"), "{rd} led over {hop}");
        }
    }
    let page = browser.get("/oauth2/start?rd=/kept?x=1%262").await;
    assert_eq!(place(&page), (200, "/kept"));
    assert!(browser.refused_cookies().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cookie_planted_beforehand_is_never_the_session() {
    let scene = Scene::start().await;
    let attacker = scene.browser();
    attacker.login("bob").await;
    let planting = attacker.session_cookie().unwrap();
    let elsewhere = scene.browser();
    elsewhere.login("bob").await;
    let unknown = planted("__Host-tidegate", &"A".repeat(43));
    for cookie in [planting, unknown] {
        let victim = scene.browser();
        victim.put_cookie(cookie.clone());
        let page = victim.get("/oauth2/start?rd=/app").await;
        let page = victim.press(&page, "alice").await;
        assert_eq!(place(&page), (200, "/app"));
        assert_eq!(scene.upstream.last().header("x-forwarded-user"), "u-alice");
        assert_ne!(victim.session_cookie().unwrap().value, cookie.value);
        let thief = scene.browser();
        thief.put_cookie(cookie);
        assert_eq!(thief.fetch("/app").await.status, 401, "it opens nothing");
        let other = elsewhere.fetch("/app").await.status;
        assert_eq!(other, 200, "no other session of that person's ends by it");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_without_cookies_is_told_so_and_does_not_go_round() {
    let scene = Scene::start().await;
    let browser = scene.browser();
    let mut callback = {
        let page = browser.get("/report").await;
        answer(&browser, &page, "alice").await
    };
    for _ in 0..5 {
        browser.forget();
        let page = browser.glance(&callback).await;
        if page.status == 400 {
            assert!(page.body.contains("Cookies are needed"), "{}", page.body);
            let again = page.links().remove(0);
            assert_eq!(parameter(again.as_str(), "rd"), "/report");
            return;
        }
        let to = page.header("location").to_owned();
        browser.forget();
        let page = browser.glance(&to).await;
        callback = answer(&browser, &page, "alice").await;
    }
    panic!("it went round");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_holds_five_sign_ins_at_most() {
    let scene = Scene::start().await;
    let browser = scene.browser();
    let held = |browser: &Browser| {
        let line = browser.cookie_line();
        line.split("; ")
            .filter(|cookie| cookie.contains("-login-"))
            .count()
    };
    for started in 1..=12 {
        let page = browser.glance("/oauth2/start").await;
        assert_eq!(page.status, 303);
        assert_eq!(held(&browser), started.min(5));
        scene.clock.advance(MINUTE / 60);
    }
    scene.clock.advance(11 * MINUTE);
    browser.glance("/oauth2/start").await;
    assert_eq!(held(&browser), 1);
    assert!(browser.refused_cookies().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_planted_login_cookies_do_not_keep_anyone_out() {
    let scene = Scene::start().await;
    let browser = scene.browser();
    for n in 0..50 {
        browser.put_cookie(planted(&format!("__Host-tidegate-login-{n:022}"), "x"));
    }
    assert_eq!(browser.login("alice").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_sign_in_that_needs_the_person_asks_the_person() {
    let scene = Scene::start().await;
    let browser = scene.browser();
    let page = browser.get("/oauth2/start?prompt=none&rd=/report").await;
    assert!(asks_who(&page), "{}", page.body);
    assert_eq!(
        place(&browser.press(&page, "alice").await),
        (200, "/report")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_provider_is_asked_is_always_protected() {
    let scene = Scene::start().await;
    let browser = scene.browser();
    let page = "/oauth2/start?login_hint=al%26ice&max_age=60&prompt=login&acr_values=gold&x=y&redirect_uri=https://evil.example&code_challenge_method=plain";
    let page = browser.glance(page).await;
    let url = page.header("location");
    assert_eq!(parameter(url, "response_type"), "code");
    assert_eq!(parameter(url, "code_challenge_method"), "S256");
    assert_eq!(parameter(url, "code_challenge").len(), 43);
    assert_eq!(parameter(url, "nonce").len(), 43);
    assert_eq!(
        parameter(url, "redirect_uri"),
        format!("{}oauth2/callback", scene.url())
    );
    for (name, value) in [
        ("login_hint", "al&ice"),
        ("max_age", "60"),
        ("prompt", "login"),
        ("acr_values", "gold"),
        ("x", ""),
    ] {
        assert_eq!(parameter(url, name), value);
    }
    let other = browser.glance("/oauth2/start").await;
    for name in ["state", "nonce", "code_challenge"] {
        assert_ne!(
            parameter(url, name),
            parameter(other.header("location"), name)
        );
    }
    assert_eq!(page.header("cache-control"), "no-store");
    assert_eq!(page.header("referrer-policy"), "no-referrer");
    let nonsense = browser.glance("/oauth2/start?prompt=evil&max_age=-1").await;
    assert_eq!(parameter(nonsense.header("location"), "prompt"), "");
    assert_eq!(parameter(nonsense.header("location"), "max_age"), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_there_is_none_of_is_a_page_that_says_so() {
    let scene = Scene::start().await;
    let browser = scene.browser();
    let page = browser.glance("/oauth2/start?idp=nope").await;
    assert_eq!(page.status, 404, "{}", page.body);
    assert!(page.body.contains("no sign-in service of that name"));
    assert_eq!(page.header("location"), "");
    let main = browser.glance("/oauth2/start?idp=main").await;
    assert_eq!(main.status, 303);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_by_form_signs_in_too() {
    let scene = Scene::start().await;
    let browser = scene.browser();
    let page = browser.get("/report").await;
    let callback = answer(&browser, &page, "alice").await;
    let (code, state) = (parameter(&callback, "code"), parameter(&callback, "state"));
    let iss = parameter(&callback, "iss");
    let provider = Url::parse(scene.idp.issuer()).unwrap();
    let form = [("code", code.as_str()), ("state", &state), ("iss", &iss)];
    let page = browser
        .post_from(&provider, "/oauth2/callback", &form)
        .await;
    assert_eq!(place(&page), (200, "/report"), "{}", page.body);

    let twice = [("code", "a"), ("code", "b"), ("state", "x")];
    let page = browser
        .post_from(&provider, "/oauth2/callback", &twice)
        .await;
    assert_eq!(page.status, 400);
    let large = "x".repeat(70 * 1024);
    let page = browser
        .post_from(&provider, "/oauth2/callback", &[("code", &large)])
        .await;
    assert_eq!(page.status, 413);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_there_are_several_providers_one_chooses() {
    let clock = tidegate::clock::Clock::shifted();
    let other = Idp::start(Options {
        clock: clock.clone(),
        ..Options::default()
    });
    let other = other.await.unwrap();
    let issuer = other.issuer().to_owned();
    let scene = Scene::with(|setup| {
        let section = format!(
            "[idp.other]\nlabel = \"Other <house>\"\nissuer = \"{issuer}\"\nclient_id = \"gateway\"\nclient_secret = \"other-secret\"\naccess_token = {{ audience = [\"apps\"] }}\n"
        );
        setup.replace("[session]\n", &format!("{section}[session]\n"));
        setup.idp.clock = clock.clone();
    })
    .await;
    let origin = scene.url().as_str().trim_end_matches('/').to_owned();
    other.register(Registered::new("gateway", "other-secret").for_gateway(&origin));

    let browser = scene.browser();
    let page = browser.get("/report").await;
    assert_eq!(place(&page), (200, "/oauth2/sign_in"));
    assert!(page.body.contains("Development") && page.body.contains("Other &lt;house&gt;"));
    let choice = page
        .links()
        .into_iter()
        .find(|link| link.as_str().contains("idp=other"));
    let page = browser.click(&page, &choice.unwrap()).await;
    let page = browser.press(&page, "bob").await;
    assert_eq!(place(&page), (200, "/report"), "{}", page.body);
    assert_eq!(scene.upstream.last().header("x-forwarded-user"), "u-bob");
    assert_eq!(
        browser.fetch("/oauth2/session").await.json()["idp"],
        "other"
    );
    assert_eq!((other.journal().logins, scene.idp.journal().logins), (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_is_down_is_a_page_that_says_so() {
    let mut scene = Scene::without_gateway(|_| {}).await;
    scene.idp.go_down();
    scene.start_gateway();
    let page = scene.browser().get("/app").await;
    assert_eq!(page.status, 503, "{}", page.body);
    assert!(page.header("retry-after").parse::<u32>().is_ok());
    assert!(page.header("content-type").starts_with("text/html"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_session_endpoint_counts_down_and_keeps_nothing_alive() {
    let scene = Scene::start().await;
    let browser = scene.browser();
    assert_eq!(browser.fetch("/oauth2/session").await.status, 401);
    browser.login("alice").await;
    let left = |page: &Page, what: &str| {
        page.json()[format!("{what}_seconds_left")]
            .as_u64()
            .unwrap()
    };
    let page = browser.fetch("/oauth2/session").await;
    assert_eq!(page.json()["user"], "u-alice");
    assert!(
        (1795..=1800).contains(&left(&page, "idle")),
        "{}",
        page.body
    );
    assert!((43195..=43200).contains(&left(&page, "absolute")));
    assert!((295..=300).contains(&left(&page, "access_token")));
    scene.clock.advance(20 * MINUTE);
    let page = browser.fetch("/oauth2/session").await;
    assert!((595..=600).contains(&left(&page, "idle")), "{}", page.body);
    assert_eq!(left(&page, "access_token"), 0);
    scene.clock.advance(11 * MINUTE);
    let page = browser.fetch("/oauth2/session").await;
    assert_eq!(page.status, 401);
    assert_eq!(scene.idp.journal().refreshes, 0, "it swaps nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_swap_at_once_needs_a_header_that_no_other_site_can_send() {
    let scene = Scene::start().await;
    let browser = scene.browser();
    browser.login("alice").await;
    scene.clock.advance(MINUTE);
    let page = browser
        .fetch_with(Method::POST, "/oauth2/refresh", &[])
        .await;
    assert_eq!(page.status, 403);
    assert_eq!(scene.idp.journal().refreshes, 0);
    let page = browser
        .fetch_with(Method::POST, "/oauth2/refresh", &[("x-csrf", "1")])
        .await;
    assert_eq!(page.status, 200, "{}", page.body);
    assert_eq!(scene.idp.journal().refreshes, 1);
    let stranger = scene.browser();
    let page = stranger
        .fetch_with(Method::POST, "/oauth2/refresh", &[("x-csrf", "1")])
        .await;
    assert_eq!(page.status, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn userinfo_tells_who_one_is_and_no_token() {
    let scene = Scene::start().await;
    let browser = scene.browser();
    assert_eq!(browser.fetch("/oauth2/userinfo").await.status, 401);
    browser.login("alice").await;
    let page = browser.fetch("/oauth2/userinfo").await;
    let told = page.json();
    assert_eq!(
        (&told["sub"], &told["user"]),
        (&"u-alice".into(), &"u-alice".into())
    );
    assert_eq!(told["email"], "alice@example.com");
    assert!(
        told["groups"]
            .as_array()
            .unwrap()
            .contains(&"admins".into())
    );
    assert!(told.get("nonce").is_none());
    let bearer = scene.bearer("bob");
    let told = scene.client().get_as(&bearer, "/oauth2/userinfo").await;
    assert_eq!(told.json()["user"], "u-bob");
    scene.assert_no_token_leaked(&browser);
}

#[tokio::test(flavor = "multi_thread")]
async fn endpoints_answer_only_what_they_are_for() {
    let scene = Scene::start().await;
    let browser = scene.browser();
    browser.login("alice").await;
    for (method, path, status, allow) in [
        (Method::POST, "/oauth2/start", 405, "GET"),
        (Method::HEAD, "/oauth2/callback", 405, "GET, POST"),
        (Method::DELETE, "/oauth2/session", 405, "GET, HEAD"),
        (Method::GET, "/oauth2/refresh", 405, "POST"),
        (Method::PUT, "/oauth2/sign_out", 405, "GET, HEAD, POST"),
        (Method::OPTIONS, "/oauth2/userinfo", 405, "GET, HEAD"),
        (Method::GET, "/oauth2/none", 404, ""),
        (Method::GET, "/oauth2/", 404, ""),
        (Method::GET, "/oauth2", 404, ""),
        (Method::GET, "/oauth2/auth", 404, ""),
        (Method::GET, "/oauth2/backchannel_logout", 405, "POST"),
        (Method::HEAD, "/oauth2/frontchannel_logout", 405, "GET"),
        (Method::POST, "/oauth2/frontchannel_logout", 405, "GET"),
    ] {
        let page = browser.fetch_with(method.clone(), path, &[]).await;
        assert_eq!(page.status, status, "{method} {path}: {}", page.body);
        assert_eq!(page.header("allow"), allow, "{method} {path}");
        assert_eq!(page.header("cache-control"), "no-store", "{method} {path}");
    }
    let page = browser
        .fetch_with(Method::HEAD, "/oauth2/session", &[])
        .await;
    assert_eq!((page.status.as_u16(), page.body.as_str()), (200, ""));
    assert_eq!(
        scene
            .upstream
            .arrived()
            .iter()
            .filter(|a| a.uri.path().starts_with("/oauth2"))
            .count(),
        0
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_a_sign_in_needs_is_readable_in_the_browser() {
    let scene = Scene::start().await;
    let browser = scene.browser();
    let page = browser.get("/secret-place").await;
    for cookie in browser
        .cookies()
        .iter()
        .filter(|c| c.host == "localhost" && c.name.contains("tidegate"))
    {
        assert!(
            cookie.secure && cookie.http_only && cookie.path == "/",
            "{}",
            cookie.name
        );
        assert_eq!(cookie.same_site, SameSite::Lax);
        assert!(!cookie.value.contains("secret"), "{}", cookie.name);
    }
    browser.press(&page, "alice").await;
    let code = scene.idp.journal().newest(Kind::Code).unwrap().to_owned();
    assert!(!logs().contains(&code));
    scene.assert_no_token_leaked(&browser);
}
