//! The whole story at an Auth0 tenant (a stand-in after its documentation): what it has of its own, its JSON revocation,
//! and what is done in its dashboard.

use http::{Method, Request, header};
use http_body_util::Full;
use tidegate::config::{Config, Overlay};
use tidegate::issuer::{self, Issuer};
use url::Url;

use crate::support::auth0::{API, Auth0, CLIENT_ID, CLIENT_SECRET, M2M_SECRET, Options, user_id};
use crate::support::gateway::logs;
use crate::support::wire::{Reply, Speaks, Wire};
use crate::support::{Browser, MINUTE, Page, SECOND, Scene, Setup};

async fn sign_out(browser: &Browser) -> Page {
    let page = browser.get("/oauth2/sign_out").await;
    browser.press(&page, "Sign out").await
}

fn asks_who(page: &Page) -> bool {
    page.body.contains("Log in to the tenant")
}

/// None of a tenant's tokens in what a browser received, nor in a log.
fn assert_no_token_leaked(auth0: &Auth0, browser: &Browser) {
    let (received, logs) = (browser.received(), logs());
    for issued in auth0.issued() {
        assert!(!logs.contains(&issued), "a log line has a token");
        let code = issued.len() == 43 && received.contains(&format!("code={issued}"));
        let proof = issued.rsplit('.').next().unwrap_or_default();
        assert!(
            code || !received.contains(proof),
            "the browser received a token"
        );
    }
    for secret in [CLIENT_SECRET, M2M_SECRET] {
        assert!(!logs.contains(secret), "a log line has a secret");
    }
}

/// The same for what has to be asked for; no time passes but the machine's.
async fn eventually_async(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    for _ in 0..200 {
        if holds().await {
            return;
        }
        tokio::time::sleep(SECOND / 20).await;
    }
    panic!("did not come true: {what}");
}

/// Time passes until something holds: what is owed is tried again and again.
async fn in_time(scene: &Scene, what: &str, holds: impl Fn() -> bool) {
    for _ in 0..100 {
        if holds() {
            return;
        }
        scene.clock.advance(2 * SECOND);
        tokio::time::sleep(SECOND / 20).await;
    }
    panic!("did not come true: {what}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_slides_over_rotating_refresh_tokens_and_signing_out_kills_the_last() {
    let (scene, auth0) = Auth0::scene("", |_, _| {}).await;
    let browser = scene.browser();
    let page = browser.login_at("/reports?year=2026", "alice").await;
    assert_eq!((page.status.as_u16(), page.url.path()), (200, "/reports"));
    let seen = page.json();
    assert_eq!(seen["headers"]["x-forwarded-user"][0], user_id("alice"));
    assert_eq!(seen["headers"]["x-forwarded-email"][0], "alice@example.com");
    let asked = auth0.asked_at("/authorize").remove(0).target;
    let audience: String = url::form_urlencoded::byte_serialize(API.as_bytes()).collect();
    assert!(asked.contains(&format!("audience={audience}")), "{asked}");
    assert!(asked.contains("offline_access"), "{asked}");

    for swaps in 1..=3 {
        scene.clock.advance(6 * MINUTE);
        assert_eq!(browser.get("/reports").await.status, 200);
        assert_eq!(auth0.asked_at("/oauth/token").len(), 1 + swaps);
    }
    let last = auth0.newest_refresh_token();

    let page = sign_out(&browser).await;
    let revoked = auth0.asked_at("/oauth/revoke");
    assert_eq!(revoked.len(), 1, "the refresh token alone: {revoked:?}");
    assert_eq!(revoked[0].media_type, "application/json");
    assert_eq!(revoked[0].json()["client_id"], CLIENT_ID);
    assert_eq!(revoked[0].json()["token"], last);
    assert_eq!(revoked[0].status, 200);
    let (status, answer) = auth0.refresh(&last).await;
    assert_eq!((status, &answer["error"]), (403, &"invalid_grant".into()));

    // `/oidc/logout` wants the browser, whose session the swapped ID tokens no longer name; that of the sign-in did.
    let logout = page.hops.iter().find(|hop| hop.path() == "/oidc/logout");
    let logout = logout.expect("sent there").as_str();
    assert!(!logout.contains("id_token_hint") && logout.contains("logout_hint"));
    assert_eq!(page.url.path(), "/oauth2/signed_out", "{}", page.body);
    assert!(page.body.contains("You were taken there"), "{}", page.body);
    assert!(page.body.contains("confirmed by Auth0"), "{}", page.body);
    assert!(
        page.body.contains("Auth0 offers no revocation"),
        "of access tokens: {}",
        page.body
    );
    assert_eq!(browser.fetch("/reports").await.status, 401);
    assert!(
        asks_who(&browser.get("/reports").await),
        "its session ended too"
    );
    assert_no_token_leaked(&auth0, &browser);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_in_the_dashboard_is_a_clean_end_at_the_next_swap() {
    let (scene, auth0) = Auth0::scene("", |_, _| {}).await;
    let (page, api) = (scene.browser(), scene.browser());
    page.login("alice").await;
    api.login("alice").await;
    auth0.unlink_devices_of("alice");
    assert_eq!(
        api.fetch("/api/x").await.status,
        200,
        "the access token is good"
    );
    scene.clock.advance(6 * MINUTE);

    let answer = api.fetch("/api/x").await;
    assert_eq!(answer.status, 401, "{}", answer.body);
    assert_eq!(answer.json()["status"], 401);
    assert!(answer.header("www-authenticate").starts_with("Bearer"));
    assert!(api.session_cookie().is_none(), "the cookie is cleared");

    // The browser is still signed in at the tenant, so the person sees nothing of it.
    let swaps = auth0.asked_at("/oauth/token").len();
    let shown = page.get("/reports").await;
    assert_eq!((shown.status.as_u16(), shown.url.path()), (200, "/reports"));
    assert!(shown.hops.iter().any(|hop| hop.path() == "/authorize"));
    assert_eq!(auth0.asked_at("/oauth/token").len(), swaps + 2);
    assert!(
        auth0.asked_at("/oauth/revoke").is_empty(),
        "it is dead already"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_signed_out_at_the_tenant_too_is_asked_anew() {
    let (scene, auth0) = Auth0::scene("", |_, _| {}).await;
    let browser = scene.browser();
    browser.login("bob").await;
    auth0.revoke_grants_of("bob");
    let logout = format!(
        "{}v2/logout?client_id={CLIENT_ID}&returnTo={}oauth2/signed_out",
        auth0.issuer(),
        scene.url()
    );
    assert_eq!(browser.glance(&logout).await.status, 302);
    scene.clock.advance(6 * MINUTE);
    assert!(asks_who(&browser.get("/reports").await));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_signs_out_of_another_application_is_signed_out_here() {
    let (scene, auth0) = Auth0::scene("", |_, _| {}).await;
    let (browser, other) = (scene.browser(), scene.browser());
    browser.login("alice").await;
    other.login("alice").await;
    let cookie = browser.session_cookie().unwrap();
    let logout = format!(
        "{}v2/logout?client_id={CLIENT_ID}&returnTo={}oauth2/signed_out",
        auth0.issuer(),
        scene.url()
    );
    browser.glance(&logout).await;
    browser.put_cookie(cookie);
    for _ in 0..100 {
        if browser.fetch("/api/x").await.status == 401 {
            assert_eq!(
                other.fetch("/api/x").await.status,
                200,
                "another session there"
            );
            return;
        }
        tokio::time::sleep(SECOND / 20).await;
    }
    panic!("it was not told");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_swap_whose_answer_got_lost_is_tried_again_within_the_overlap_and_no_family_dies() {
    let leeway = 10 * SECOND;
    let (scene, auth0) = Auth0::scene("reuse_leeway = \"10s\"\n", |_, options| {
        options.rotation = Some(leeway);
    })
    .await;
    let browser = scene.browser();
    browser.login("alice").await;
    let first = auth0.newest_refresh_token();
    // What the gateway would have sent, had its answer got lost.
    assert_eq!(auth0.refresh(&first).await.0, 200);
    scene.clock.advance(6 * MINUTE);
    // Beyond the overlap it counts as stolen, and all of that sign-in is over.
    assert_eq!(browser.fetch("/api/x").await.status, 401);
    assert_eq!(auth0.devices_of("alice"), 0);

    // She is still signed in at the tenant.
    assert_eq!(browser.get("/").await.status, 200);
    scene.clock.advance(6 * MINUTE);
    let second = auth0.newest_refresh_token();
    assert_eq!(auth0.refresh(&second).await.0, 200);
    assert_eq!(
        browser.fetch("/api/x").await.status,
        200,
        "within it both go on"
    );
    assert_eq!(auth0.devices_of("alice"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_that_publishes_little_is_known_by_its_documentation() {
    let (scene, auth0) = Auth0::scene("", |_, options| {
        options.publishes_oidc_logout = false;
        options.publishes_revocation = false;
    })
    .await;
    let browser = scene.browser();
    browser.login("carol").await;
    let last = auth0.newest_refresh_token();
    let page = sign_out(&browser).await;
    assert_eq!(page.url.path(), "/oauth2/signed_out", "{}", page.body);
    assert!(page.hops.iter().any(|hop| hop.path() == "/v2/logout"));
    assert_eq!(auth0.refresh(&last).await.0, 403);
    assert!(asks_who(&browser.get("/").await), "signed out there");
    assert_no_token_leaked(&auth0, &browser);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_signed_in_there_as_somebody_else_by_now_is_asked() {
    let (scene, auth0) = Auth0::scene("", |_, _| {}).await;
    let browser = scene.browser();
    browser.login("alice").await;
    let again = browser.get("/oauth2/start?prompt=login").await;
    assert!(asks_who(&again), "{}", again.body);
    browser.press_once(&again, "bob").await;

    let page = sign_out(&browser).await;
    assert!(page.body.contains("Log out?"), "{} {}", page.url, page.body);
    assert!(browser.session_cookie().is_none(), "over here already");
    let page = browser.press(&page, "Log out").await;
    assert_eq!(page.url.path(), "/oauth2/signed_out");
    assert_eq!(auth0.devices_of("alice"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_that_is_down_is_told_when_it_is_back() {
    let (scene, auth0) = Auth0::scene("", |_, _| {}).await;
    let browser = scene.browser();
    browser.login("alice").await;
    let last = auth0.newest_refresh_token();
    auth0.go_down();
    let told = browser
        .fetch_with(Method::POST, "/oauth2/sign_out", &[])
        .await
        .json();
    assert_eq!(told["refresh_token"], "owed");
    assert_eq!(told["access_token"], "not_offered");
    assert_eq!(browser.fetch("/api/x").await.status, 401);
    auth0.come_up();
    in_time(&scene, "it is revoked", || auth0.devices_of("alice") == 0).await;
    assert_eq!(auth0.refresh(&last).await.0, 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_audience_nobody_gets_in_with_a_token_that_nobody_can_read() {
    let (scene, auth0) = Auth0::scene(
        "authorize_params = { audience = \"https://nobody.example\" }\n",
        |_, _| {},
    )
    .await;
    let browser = scene.browser();
    let page = browser.get("/").await;
    assert_ne!(page.status, 200, "Service not found");
    assert!(browser.session_cookie().is_none());
    assert!(auth0.asked_at("/oauth/token").is_empty());
}

/// What `management` says, with this way of ending a user.
fn management(end_user: &str) -> String {
    format!(
        "management = {{ client_id = \"m2m\", client_secret = \"{M2M_SECRET}\", end_user = \"{end_user}\" }}\n"
    )
}

const ADMIN: &str = "an-admin-token-that-nobody-guesses";

/// With the admin API.
fn administered(setup: &mut Setup, _: &mut Options) {
    let admin = format!("[admin]\naddress = \"127.0.0.1:0\"\ntoken = \"{ADMIN}\"\n");
    setup.toml.push_str(&admin);
}

/// Asks the admin API.
async fn admin(scene: &Scene, method: Method, path: &str) -> Reply {
    let base = format!("http://{}", scene.admin_address().unwrap());
    let url = Url::parse(&base).unwrap().join(path).unwrap();
    let request = Request::builder()
        .method(method)
        .header(header::AUTHORIZATION, format!("Bearer {ADMIN}"))
        .body(Full::default());
    let reply = Wire::new(Speaks::H1).send(&url, request.unwrap()).await;
    reply.unwrap()
}

const ALL_OF_ALICE: &str = "/api/v1/users/auth0%7Calice/sessions";

/// How often ends of users came to this.
async fn counted(scene: &Scene, outcome: &str) -> u64 {
    let metrics = admin(scene, Method::GET, "/metrics").await.text();
    let series = format!(
        "tidegate_revocations_total{{source=\"administrator\",target=\"user\",outcome=\"{outcome}\"}} "
    );
    let line = metrics.lines().find_map(|line| line.strip_prefix(&series));
    line.unwrap_or_else(|| panic!("no {series}"))
        .parse()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_administrator_ends_all_that_a_user_has_on_devices_that_no_gateway_knows_of_too() {
    for (end_user, grants) in [("grants", 0), ("device_credentials", 1)] {
        let (scene, auth0) = Auth0::scene(&management(end_user), administered).await;
        let (phone, desk, other) = (scene.browser(), scene.browser(), scene.browser());
        phone.login("alice").await;
        desk.login("alice").await;
        other.login("bob").await;
        let elsewhere = auth0.sign_in_elsewhere("alice");
        assert_eq!(auth0.devices_of("alice"), 3);

        let told = admin(&scene, Method::DELETE, ALL_OF_ALICE).await;
        assert_eq!(told.status, 200, "{}", told.text());
        assert_eq!(told.json()["ended"], 2);
        assert_eq!(phone.fetch("/api/x").await.status, 401);
        assert_eq!(desk.fetch("/api/x").await.status, 401);
        in_time(&scene, "it is paid", || auth0.devices_of("alice") == 0).await;
        assert_eq!(auth0.grants_of("alice"), grants);
        assert_eq!(auth0.refresh(&elsewhere).await.0, 403);
        assert_eq!(auth0.devices_of("bob"), 1);
        assert_eq!(other.fetch("/api/x").await.status, 200);
        eventually_async("it is counted", async || {
            counted(&scene, "confirmed").await == 1
        })
        .await;
        assert_no_token_leaked(&auth0, &phone);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_users_end_stays_owed_until_the_management_api_does_it() {
    let (scene, auth0) = Auth0::scene(&management("grants"), administered).await;
    let browser = scene.browser();
    browser.login("alice").await;
    let elsewhere = auth0.sign_in_elsewhere("alice");
    auth0.api_goes_down();
    admin(&scene, Method::DELETE, ALL_OF_ALICE).await;
    assert_eq!(browser.fetch("/api/x").await.status, 401, "here it is over");
    eventually_async("it was tried", async || counted(&scene, "failed").await > 0).await;
    let owed = admin(&scene, Method::GET, "/api/v1/revocations")
        .await
        .json();
    assert_eq!(owed["owed"], 1, "{owed}");
    assert_eq!(owed["revocations"][0]["kind"], "user");

    // A mistake of whoever set it up is said aloud, and forgiven once it is mended.
    let scopes = auth0.change_api_scopes(&["read:grants"]);
    auth0.forget_api_tokens();
    auth0.api_works();
    in_time(&scene, "it is said", || {
        logs().contains("expected any of: delete:grants")
            && logs().contains("check its configuration")
    })
    .await;
    assert_eq!(auth0.grants_of("alice"), 1);
    let scopes: Vec<_> = scopes.iter().map(String::as_str).collect();
    auth0.change_api_scopes(&scopes);
    in_time(&scene, "it is paid", || auth0.grants_of("alice") == 0).await;
    assert_eq!(auth0.refresh(&elsewhere).await.0, 403);
    let nothing = async || {
        let owed = admin(&scene, Method::GET, "/api/v1/revocations")
            .await
            .json();
        owed["owed"] == 0
    };
    eventually_async("nothing is owed", nothing).await;
}

/// The provider as the gateway of a scene has it.
fn as_configured(scene: &Scene) -> Issuer {
    let path = std::path::Path::new("gateway.toml");
    let checked = Config::parse(scene.toml(), path, &Overlay::default()).unwrap();
    let settings = checked.config.idps[0].issuer.clone();
    let tls = tidegate::tls::client_config(None).unwrap();
    Issuer::new(settings, tls, scene.clock.clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn all_that_a_user_has_is_ended_by_their_grants_or_by_their_devices() {
    for (end_user, grants) in [("grants", 0), ("device_credentials", 1)] {
        let (scene, auth0) = Auth0::scene(&management(end_user), |_, _| {}).await;
        let (phone, desk, other) = (scene.browser(), scene.browser(), scene.browser());
        phone.login("alice").await;
        desk.login("alice").await;
        other.login("bob").await;
        assert_eq!(
            (auth0.grants_of("alice"), auth0.devices_of("alice")),
            (1, 2)
        );

        let issuer = as_configured(&scene);
        for _twice in 0..2 {
            issuer.end_user(&user_id("alice")).await.unwrap();
            let left = (auth0.grants_of("alice"), auth0.devices_of("alice"));
            assert_eq!(left, (grants, 0), "{end_user}");
        }
        assert_eq!((auth0.grants_of("bob"), auth0.devices_of("bob")), (1, 1));
        scene.clock.advance(6 * MINUTE);
        assert_eq!(phone.fetch("/api/x").await.status, 401);
        assert_eq!(desk.fetch("/api/x").await.status, 401);
        assert_eq!(other.fetch("/api/x").await.status, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_may_not_use_the_management_api_is_told_apart_from_an_outage() {
    let (scene, auth0) = Auth0::scene(&management("grants"), |_, _| {}).await;
    scene.browser().login("alice").await;
    let issuer = as_configured(&scene);
    let ended = async || issuer.end_user(&user_id("alice")).await;

    auth0.change_api_scopes(&["read:grants"]);
    let missing = ended().await.unwrap_err();
    assert!(
        matches!(missing, issuer::Error::Client { .. }),
        "{missing:?}"
    );
    assert!(missing.to_string().contains("delete:grants"), "{missing}");
    auth0.forget_api_tokens();
    auth0.api_goes_down();
    let down = ended().await.unwrap_err();
    assert!(
        matches!(down, issuer::Error::Unavailable { .. }),
        "{down:?}"
    );
    let now = tidegate::clock::Clock::System.now().as_secs();
    auth0.api_is_busy_until(now + 30);
    let busy = ended().await.unwrap_err();
    let issuer::Error::Unavailable { retry_after, .. } = busy else {
        panic!("{busy:?}");
    };
    assert!(
        (20..=30).contains(&retry_after.unwrap().as_secs()),
        "{retry_after:?}"
    );
    assert_eq!(auth0.grants_of("alice"), 1);

    auth0.api_works();
    assert!(ended().await.is_err());
    auth0.change_api_scopes(&["read:grants", "delete:grants"]);
    ended().await.unwrap();
    assert_eq!(auth0.grants_of("alice"), 0, "at once, once it is mended");
}
