//! Signing out: wanted by the person and by nobody else, honest about what was achieved, and the same however often.

use http::{Method, header};
use tidegate::demo::idp::Event;
use url::Url;

use crate::support::browser::{Browser, Page};
use crate::support::client::request;
use crate::support::{Fault, Kind, MINUTE, SECOND, Scene, Setup, eventually};

/// A provider may end its session when its tokens are revoked; here it is to do only what it is asked for.
const REVOKES_NOTHING: &str = "[logout]\nrevoke = []\n";

async fn sign_out(browser: &Browser) -> Page {
    let page = browser.get("/oauth2/sign_out").await;
    browser.press(&page, "Sign out").await
}

fn elsewhere() -> Url {
    Url::parse("https://evil.example/").unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn another_site_can_not_sign_anyone_out() {
    let scene = Scene::start().await;
    let browser = scene.browser();
    browser.login("alice").await;
    browser
        .post_from(&elsewhere(), "/oauth2/sign_out", &[])
        .await;
    assert_eq!(
        browser.fetch("/app").await.status,
        200,
        "no cookie came with it"
    );

    // A sibling of ours, or a browser that sends cookies all the same.
    for headers in [
        &[("sec-fetch-site", "same-site")][..],
        &[("sec-fetch-site", "cross-site")],
        &[("origin", "https://evil.example")],
        &[("origin", "null")],
        &[],
    ] {
        let mut post = request("POST").header(header::COOKIE, browser.cookie_line());
        for (name, value) in headers {
            post = post.header(*name, *value);
        }
        let reply = scene.client().send("/oauth2/sign_out", post).await;
        assert_eq!(reply.status, 403, "{headers:?}: {}", reply.text());
        assert_eq!(reply.header("set-cookie"), "", "{headers:?}");
    }
    assert_eq!(browser.fetch("/app").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_that_says_nothing_of_itself_signs_out_by_our_own_form() {
    let scene = Scene::start().await;
    let (browser, other) = (scene.browser(), scene.browser());
    browser.login("alice").await;
    other.login("bob").await;
    let token = |page: Page| {
        let (form, _) = page.form_with("Sign out").unwrap();
        let found = form.hidden.into_iter().find(|(name, _)| name == "form");
        found.unwrap().1
    };
    let foreign = token(other.get("/oauth2/sign_out").await);
    let own = token(browser.get("/oauth2/sign_out").await);
    for (token, status) in [(foreign, 403), (own, 200)] {
        let post = request("POST")
            .header(header::COOKIE, browser.cookie_line())
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(header::ORIGIN, "null");
        let form = format!("form={token}");
        let client = scene.client();
        let reply = client.send_with("/oauth2/sign_out", post, form).await;
        assert_eq!(reply.status, status, "{}", reply.text());
    }
    assert_eq!(browser.fetch("/app").await.status, 401);
    assert_eq!(other.fetch("/app").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_script_of_ours_gets_json() {
    let scene = Scene::start().await;
    let browser = scene.browser();
    browser.login("alice").await;
    let page = browser
        .fetch_with(Method::POST, "/oauth2/sign_out", &[])
        .await;
    assert_eq!(page.status, 200, "{}", page.body);
    let told = page.json();
    assert_eq!(told["signed_out"], true);
    assert_eq!(told["provider_session"], "ended");
    assert!(browser.session_cookie().is_none());
    let told = browser
        .fetch_with(Method::POST, "/oauth2/sign_out", &[])
        .await;
    assert_eq!(told.status, 200);
    assert_eq!(told.json()["signed_out"], false);
    scene.assert_no_token_leaked(&browser);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_achieved_is_said_once_and_truly() {
    let scene = Scene::start().await;
    let browser = scene.browser();
    browser.login("alice").await;
    let page = sign_out(&browser).await;
    assert_eq!(
        (page.status.as_u16(), page.url.path()),
        (200, "/oauth2/signed_out")
    );
    assert!(
        page.body.contains("Your session there has ended too."),
        "{}",
        page.body
    );
    assert!(
        page.body.contains("confirmed by Development"),
        "{}",
        page.body
    );
    assert_eq!(page.header("cache-control"), "no-store");
    assert!(
        page.url.query().is_none(),
        "nothing in the address: {}",
        page.url
    );
    let again = browser.get("/oauth2/signed_out").await;
    assert!(!again.body.contains("confirmed by"), "{}", again.body);
    let page = browser.get("/app").await;
    assert!(
        page.body.contains("Who are you today?"),
        "the provider asks again"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_that_is_not_confirmed_is_said_to_be_owed_and_paid_later() {
    let scene = Scene::start().await;
    let browser = scene.browser();
    browser.login("alice").await;
    scene.idp.faults().set(Fault::RevocationDown);
    let page = sign_out(&browser).await;
    assert_eq!(page.status, 200);
    assert!(
        page.body.contains("queued, and repeated for a while"),
        "{}",
        page.body
    );
    assert_eq!(browser.fetch("/app").await.status, 401);
    scene.idp.faults().clear();
    for _ in 0..60 {
        if scene.idp.journal().requests_to("/revoke") > 2 {
            break;
        }
        scene.clock.advance(10 * SECOND);
        tokio::time::sleep(SECOND / 20).await;
    }
    assert!(
        scene.idp.journal().requests_to("/revoke") > 1,
        "it was tried again"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_offers_no_revocation_is_said_not_to() {
    let mut scene = Scene::without_gateway(|_| {}).await;
    scene.idp.faults().set(Fault::NoRevocation);
    scene.start_gateway();
    let (person, script) = (scene.browser(), scene.browser());
    person.login("alice").await;
    script.login("bob").await;
    let page = sign_out(&person).await;
    let said = page
        .body
        .matches("Development offers no revocation")
        .count();
    assert_eq!(said, 2, "of either token: {}", page.body);
    assert!(!page.body.contains("confirmed by"), "{}", page.body);
    assert_eq!(person.fetch("/app").await.status, 401, "it ended here");

    let told = script
        .fetch_with(Method::POST, "/oauth2/sign_out", &[])
        .await
        .json();
    assert_eq!(told["signed_out"], true);
    assert_eq!(told["refresh_token"], "not_offered");
    assert_eq!(told["access_token"], "not_offered");
    assert_eq!(script.fetch("/app").await.status, 401);
    assert_eq!(scene.idp.journal().requests_to("/revoke"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_does_not_say_whether_is_not_said_to_have() {
    let scene = Scene::start().await;
    let browser = scene.browser();
    browser.login("alice").await;
    scene.idp.faults().set(Fault::EndSessionDown);
    let page = sign_out(&browser).await;
    assert_eq!(page.status, 200);
    assert!(
        page.body.contains("It could not be learnt"),
        "{}",
        page.body
    );
    assert_eq!(browser.fetch("/app").await.status, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_is_down_keeps_nobody_signed_in() {
    let scene = Scene::start().await;
    let browser = scene.browser();
    browser.login("alice").await;
    let thief = browser.stolen();
    let refresh_token = scene
        .idp
        .journal()
        .newest(Kind::Refresh)
        .unwrap()
        .to_owned();
    scene.idp.go_down();
    let page = sign_out(&browser).await;
    assert_eq!(page.status, 200, "{}", page.body);
    assert!(page.body.contains("queued"), "{}", page.body);
    assert!(browser.session_cookie().is_none());
    assert_eq!(thief.fetch("/app").await.status, 401);
    scene.idp.come_up();
    for _ in 0..60 {
        if scene.idp.journal().refresh_revocations == 1 {
            break;
        }
        scene.clock.advance(10 * SECOND);
        tokio::time::sleep(SECOND / 20).await;
    }
    assert_eq!(scene.idp.journal().refresh_revocations, 1, "paid later");
    assert!(!scene.idp.replay("gateway", &refresh_token));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_goes_on_to_where_the_configuration_lets_one() {
    let bye = "https://www.example.com/bye";
    let scene = Scene::with(|setup: &mut Setup| {
        setup
            .toml
            .push_str("[logout]\npost_logout_redirects = [\"https://www.example.com/bye\"]\n");
    })
    .await;
    let browser = scene.browser();
    for (rd, to) in [
        (bye, bye.to_owned()),
        ("/public/bye", format!("{}public/bye", scene.url())),
        (
            "https://www.example.com/bye/",
            format!("{}oauth2/signed_out", scene.url()),
        ),
        (
            "https://evil.example/",
            format!("{}oauth2/signed_out", scene.url()),
        ),
        (
            "//evil.example/",
            format!("{}oauth2/signed_out", scene.url()),
        ),
    ] {
        browser.login("alice").await;
        let page = browser.get(&format!("/oauth2/sign_out?rd={rd}")).await;
        let page = browser.press_once(&page, "Sign out").await;
        assert_eq!(page.status, 303);
        assert_eq!(page.header("location"), to, "{rd}");
        assert!(browser.session_cookie().is_none());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn signing_out_again_or_without_a_session_is_no_error() {
    let scene = Scene::start().await;
    let browser = scene.browser();
    let page = browser.get("/oauth2/sign_out").await;
    assert_eq!(page.status, 200);
    assert!(page.body.contains("You are not signed in"), "{}", page.body);
    browser.login("alice").await;
    let asked = browser.get("/oauth2/sign_out").await;
    browser.press(&asked, "Sign out").await;
    let page = browser.press(&asked, "Sign out").await;
    assert_eq!(page.status, 200, "the button of a page that lay about");
    assert!(page.body.contains("You are not signed in"), "{}", page.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cookie_is_cleared_as_browsers_want_it_and_the_cache_with_it() {
    let scene = Scene::start().await;
    let browser = scene.browser();
    browser.login("alice").await;
    let page = browser.get("/oauth2/sign_out").await;
    assert_eq!(
        page.header("cache-control"),
        "no-store",
        "the back button shows nothing"
    );
    let page = browser.press_once(&page, "Sign out").await;
    assert_eq!(page.header("clear-site-data"), "\"cache\"");
    assert!(browser.session_cookie().is_none());
    assert!(browser.refused_cookies().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn signing_out_while_a_swap_is_under_way_wins() {
    let scene = Scene::start().await;
    let browser = scene.browser();
    browser.login("alice").await;
    scene.clock.advance(6 * MINUTE);
    scene.idp.faults().set(Fault::Slow(SECOND / 2));
    let swapping = browser.clone();
    let swapping = tokio::spawn(async move { swapping.fetch("/app").await.status });
    tokio::time::sleep(SECOND / 10).await;
    let thief = browser.stolen();
    let page = browser
        .fetch_with(Method::POST, "/oauth2/sign_out", &[])
        .await;
    assert_eq!(page.status, 200, "{}", page.body);
    let _ = swapping.await.unwrap();
    scene.idp.faults().clear();
    assert_eq!(thief.fetch("/app").await.status, 401);
    eventually("what came late was revoked", || {
        let newest = scene
            .idp
            .journal()
            .newest(Kind::Refresh)
            .unwrap()
            .to_owned();
        !scene.idp.replay("gateway", &newest)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_wants_to_ask_is_asked_by_the_browser_without_a_token() {
    for (rd, ends_at) in [
        ("", "/oauth2/signed_out"),
        ("?rd=/public/bye", "/public/bye"),
    ] {
        let scene = Scene::start().await;
        let browser = scene.browser();
        browser.login("alice").await;
        scene.idp.faults().set(Fault::EndSessionAsks);
        let page = browser.get(&format!("/oauth2/sign_out{rd}")).await;
        let page = browser.press(&page, "Sign out").await;
        assert_eq!(page.url.path(), "/end_session", "{}", page.body);
        assert!(!page.url.as_str().contains("id_token_hint"));
        assert!(browser.session_cookie().is_none(), "over here already");
        let page = browser.press(&page, "Sign out").await;
        assert_eq!((page.status.as_u16(), page.url.path()), (200, ends_at));
        if rd.is_empty() {
            assert!(page.body.contains("You were taken there"), "{}", page.body);
        }
        let page = browser.get("/app").await;
        assert!(page.body.contains("Who are you today?"));
        scene.assert_no_token_leaked(&browser);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_refuses_is_said_to_have_refused() {
    let scene = Scene::with(|setup: &mut Setup| {
        // Somebody forgot to register it.
        setup.client.post_logout_redirect_uris.clear();
        setup.toml.push_str(REVOKES_NOTHING);
    })
    .await;
    let browser = scene.browser();
    browser.login("alice").await;
    let page = sign_out(&browser).await;
    assert_eq!(page.status, 200);
    assert!(page.body.contains("It did not accept"), "{}", page.body);
    assert!(page.body.contains("may still be signed in there"));
    assert_eq!(browser.fetch("/app").await.status, 401);
    browser.get("/app").await;
    assert_eq!(browser.fetch("/app").await.status, 200, "and so they were");
    let told = browser
        .fetch_with(Method::POST, "/oauth2/sign_out", &[])
        .await;
    assert_eq!(told.json()["provider_session"], "refused");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_offers_none_is_not_said_to_have_ended_anything() {
    let mut scene = Scene::without_gateway(|setup| setup.toml.push_str(REVOKES_NOTHING)).await;
    scene.idp.faults().set(Fault::NoEndSession);
    scene.start_gateway();
    let browser = scene.browser();
    browser.login("alice").await;
    let page = sign_out(&browser).await;
    assert_eq!(page.status, 200);
    let there = "At Development</strong>You may still be signed in there.";
    assert!(page.body.contains(there), "{}", page.body);
    assert_eq!(scene.idp.journal().requests_to("/end_session"), 0);
    browser.get("/app").await;
    assert_eq!(browser.fetch("/app").await.status, 200, "unseen");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_way_back_says_something_to_the_one_sign_out_that_it_is_of() {
    let scene = Scene::start().await;
    let browser = scene.browser();
    browser.login("alice").await;
    scene.idp.faults().set(Fault::EndSessionAsks);
    let asked = sign_out(&browser).await;
    assert_eq!(asked.url.path(), "/end_session");
    let foreign = browser.get("/oauth2/signed_out?state=foreign").await;
    assert!(!foreign.body.contains("taken there"), "{}", foreign.body);
    assert!(!foreign.body.contains("At Development"), "{}", foreign.body);
    let page = browser.press(&asked, "Sign out").await;
    assert_eq!(page.url.path(), "/oauth2/signed_out");
    assert!(page.body.contains("You were taken there"), "{}", page.body);
    let again = browser.get(page.url.as_str()).await;
    assert!(!again.body.contains("taken there"), "{}", again.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_provider_is_told_who_and_in_which_language_when_it_asks() {
    for (wanted, sent) in [
        ("de-CH en", Some("de-CH en")),
        ("de&x=y\"><script>", None),
        ("", None),
    ] {
        let scene = Scene::start().await;
        let browser = scene.browser();
        browser.login("alice").await;
        scene.idp.faults().set(Fault::EndSessionAsks);
        let mut way = browser.base().join("/oauth2/sign_out").unwrap();
        way.query_pairs_mut().append_pair("ui_locales", wanted);
        let page = browser.get(way.as_str()).await;
        assert!(!page.body.contains("<script"), "{}", page.body);
        let page = browser.press(&page, "Sign out").await;
        let said = |name: &str| {
            let mut pairs = page.url.query_pairs();
            let found = pairs.find(|(key, _)| key == name);
            found.map(|(_, value)| value.into_owned())
        };
        assert_eq!(page.url.path(), "/end_session");
        assert_eq!(said("ui_locales").as_deref(), sent);
        assert_eq!(said("logout_hint").as_deref(), Some("alice"));
        assert_eq!(said("client_id").as_deref(), Some("gateway"));
        assert_eq!(said("id_token_hint"), None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sign_out_that_comes_back_from_the_provider_as_a_logout_token_is_one_sign_out() {
    let scene = Scene::with(|setup| setup.toml.push_str(REVOKES_NOTHING)).await;
    let browser = scene.browser();
    browser.login("alice").await;
    let page = sign_out(&browser).await;
    assert!(page.body.contains("Your session there has ended too."));
    assert_eq!(scene.idp.journal().backchannel_logouts, 1);
    let taken = Event::BackchannelLogout { taken: true };
    assert!(scene.idp.journal().events.contains(&taken));
    assert_eq!(browser.login("alice").await.status, 200, "at once");
    assert_eq!(browser.fetch("/app").await.status, 200);
}
