//! The whole story at a real Keycloak with refresh-token rotation: what the development identity provider can't prove.
//!
//! Keycloak's clock is the machine's, so here, and only here, tests wait in real time for tokens to end. The gateway
//! reaches Keycloak at another origin (127.0.0.1) than browsers do (localhost), as in docker-compose.yml.

use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::future::join_all;
use http::{Method, header};

use crate::streams::{echoing, is_closed_for_good};
use crate::support::client::request;
use crate::support::forgery::parts;
use crate::support::keycloak::Keycloak;
use crate::support::tap::Tap;
use crate::support::wire::Reply;
use crate::support::{Browser, Page, Scene, Setup};

/// Longer than the access tokens of the client `gateway-brief` live (6 s).
const PAST_BRIEF: Duration = Duration::from_millis(6_500);

/// Longer than the access tokens of the client `gateway-steady` live (20 s).
const PAST_STEADY: Duration = Duration::from_millis(20_500);

#[tokio::test]
#[ignore = "needs Keycloak: run ./test"]
async fn a_session_slides_over_rotating_refresh_tokens_and_signing_out_ends_it_there_too() {
    let keycloak = Keycloak::shared().await;
    let scene = scene(&keycloak, "gateway-brief").await;
    let browser = scene.browser();

    let page = sign_in(&browser, "/reports?year=2026", "alice").await;
    assert_eq!(page.status, 200, "{}", page.body);
    assert_eq!(page.url.path(), "/reports");
    assert_eq!(page.url.query(), Some("year=2026"));
    assert_eq!(
        page.json()["headers"]["x-forwarded-email"][0],
        "alice@example.com"
    );
    assert_eq!(
        browser.get("/admin/").await.status,
        200,
        "alice is an admin"
    );

    for swaps in 1..=3 {
        tokio::time::sleep(PAST_BRIEF).await;
        let page = browser.get("/reports").await;
        assert_eq!(page.status, 200, "after {swaps} swaps: {}", page.body);
        assert_eq!(keycloak.events("REFRESH_TOKEN", "alice").await, swaps);
    }
    assert_eq!(keycloak.events("LOGIN", "alice").await, 1);
    assert_eq!(keycloak.sessions_of("alice").await, 1);

    let cookie = browser.session_cookie().expect("signed in");
    let page = sign_out(&browser).await;
    assert_eq!(page.status, 200);
    assert_eq!(page.url.path(), "/oauth2/signed_out");
    assert_eq!(
        keycloak.sessions_of("alice").await,
        0,
        "the refresh token is worth nothing any more"
    );
    assert!(browser.session_cookie().is_none());

    browser.put_cookie(cookie);
    assert_eq!(
        browser.fetch("/reports").await.status,
        401,
        "a kept cookie revives nothing"
    );
    let page = browser.get("/reports").await;
    assert!(asks_for_a_password(&page), "{} {}", page.url, page.body);
    assert_eq!(
        keycloak.events("REFRESH_TOKEN_ERROR", "alice").await,
        0,
        "no token was ever sent twice"
    );
    assert_no_token_in(&browser);
}

#[tokio::test]
#[ignore = "needs Keycloak: run ./test"]
async fn the_authorization_request_has_pkce_state_and_nonce() {
    let keycloak = Keycloak::shared().await;
    let scene = scene(&keycloak, "gateway-brief").await;
    let page = scene.browser().get("/").await;
    assert!(asks_for_a_password(&page));
    let asked = |name: &str| {
        let mut pairs = page.url.query_pairs();
        pairs
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.into_owned())
    };
    assert_eq!(asked("code_challenge_method").as_deref(), Some("S256"));
    assert_eq!(asked("response_type").as_deref(), Some("code"));
    for name in ["code_challenge", "state", "nonce"] {
        assert!(asked(name).is_some_and(|value| value.len() >= 43), "{name}");
    }
    assert!(asked("client_secret").is_none());
}

#[tokio::test]
#[ignore = "needs Keycloak: run ./test"]
async fn two_hundred_requests_after_expiry_cost_one_swap() {
    let keycloak = Keycloak::shared().await;
    let scene = scene(&keycloak, "gateway-brief").await;
    let browser = scene.browser();
    sign_in(&browser, "/", "bob").await;
    assert_eq!(browser.get("/admin/").await.status, 403, "bob is no admin");

    for swaps in 1..=2 {
        tokio::time::sleep(PAST_BRIEF).await;
        let answers = join_all((0..200).map(|_| browser.fetch("/api/numbers"))).await;
        let served = answers.iter().filter(|answer| answer.status == 200).count();
        assert_eq!(served, 200);
        assert_eq!(keycloak.events("REFRESH_TOKEN", "bob").await, swaps);
        assert_eq!(keycloak.events("REFRESH_TOKEN_ERROR", "bob").await, 0);
    }
    assert_no_token_in(&browser);
}

#[tokio::test]
#[ignore = "needs Keycloak: run ./test"]
async fn sessions_and_sign_outs_survive_kill_9() {
    let keycloak = Keycloak::shared().await;
    let scene = Scene::without_gateway(|setup| {
        keycloak.configure(setup, "gateway-brief");
        setup.replace(
            "store            = \"memory\"",
            "store            = \"disk\"",
        );
        setup.replace("path = \"off\"", "path = \"-\"");
        setup.replace(
            "[upstreams.app]",
            "[store.disk]\npath = \"$DIR/sessions.redb\"\n[upstreams.app]",
        );
    })
    .await;
    let mut program = scene.spawn_gateway().await;
    let (stays, leaves) = (scene.browser(), scene.browser());
    sign_in(&stays, "/", "carol").await;
    sign_in(&leaves, "/", "carol").await;
    let left = leaves.session_cookie().expect("signed in");
    sign_out(&leaves).await;

    program.kill().await;
    let program = scene.spawn_gateway().await;

    assert_eq!(stays.get("/").await.status, 200);
    tokio::time::sleep(PAST_BRIEF).await;
    assert_eq!(
        stays.fetch("/api/numbers").await.status,
        200,
        "the kept refresh token is the newest"
    );
    leaves.put_cookie(left);
    assert_eq!(
        leaves.fetch("/api/numbers").await.status,
        401,
        "signed out stays signed out"
    );
    assert_no_token_in(&stays);
    let log = program.output();
    assert!(!has_token(&log), "a log line has a token:\n{log}");
}

#[tokio::test]
#[ignore = "needs Keycloak: run ./test"]
async fn a_sign_out_by_an_administrator_there_ends_the_session_at_the_next_swap() {
    let keycloak = Keycloak::shared().await;
    let scene = scene(&keycloak, "gateway-brief").await;
    let browser = scene.browser();
    sign_in(&browser, "/", "dave").await;

    keycloak.sign_out("dave").await;
    tokio::time::sleep(PAST_BRIEF).await;

    assert_eq!(browser.fetch("/api/numbers").await.status, 401);
    assert!(asks_for_a_password(&browser.get("/").await));
}

#[tokio::test]
#[ignore = "needs Keycloak: run ./test"]
async fn a_sign_out_ends_access_at_once_everywhere() {
    let keycloak = Keycloak::shared().await;
    let tap = Tap::to(keycloak.port()).await;
    let scene = scene_through(&keycloak, &tap, |setup| {
        let told = "[upstreams.app]\nauthorization = \"access_token\"";
        setup.replace("[upstreams.app]", told);
    })
    .await;
    let browser = scene.browser();
    sign_in(&browser, "/", "frank").await;
    tokio::time::sleep(PAST_BRIEF).await;
    assert_eq!(browser.get("/").await.status, 200);
    let tokens = tap.refresh_tokens();
    assert_eq!(tokens.len(), 2, "a sign-in and a swap");
    let access = token_of_last(&scene);
    let status = async || scene.client().get_as(&access, "/api/x").await.status;
    assert_eq!(status().await, 200);
    let mut socket = echoing(&browser, "/ws").await;
    let stolen = browser.stolen();

    let page = sign_out(&browser).await;
    assert!(page.body.contains("confirmed by"), "{}", page.body);
    assert_eq!(status().await, 401, "the access token, in the same moment");
    assert_eq!(stolen.fetch("/api/x").await.status, 401, "the cookie");
    is_closed_for_good(&mut socket).await;
    let (status, answer) = keycloak.refresh("gateway-brief", &tokens[1]).await;
    assert_eq!((status, &answer["error"]), (400, &"invalid_grant".into()));
    assert_eq!(keycloak.sessions_of("frank").await, 0);
}

/// Keycloak ends a browser's whole session when one refresh token of it is revoked: what shares it must not be.
#[tokio::test]
#[ignore = "needs Keycloak: run ./test"]
async fn ending_other_sessions_leaves_this_one_alive_there_though_they_share_its_sid() {
    let keycloak = Keycloak::shared().await;
    let tap = Tap::to(keycloak.port()).await;
    let scene = scene_through(&keycloak, &tap, |_| {}).await;
    let (desk, twin, phone) = (scene.browser(), scene.browser(), scene.browser());
    sign_in(&desk, "/", "carol").await;
    for cookie in desk.cookies() {
        if !cookie.name.starts_with("__Host-") {
            twin.put_cookie(cookie);
        }
    }
    assert_eq!(twin.get("/").await.status, 200, "signed in unseen");
    sign_in(&phone, "/", "carol").await;
    let of_phone = tap.refresh_tokens().pop().expect("signed in");

    let path = "/oauth2/sessions/end_others";
    let told = desk.fetch_with(Method::POST, path, &[]).await.json();
    assert_eq!(told["ended"], 2, "{told}");
    let said = |one: usize| told["sessions"][one]["refresh_token"].clone();
    assert_eq!((said(0), said(1)), ("confirmed".into(), "spared".into()));
    assert_eq!(twin.fetch("/api/numbers").await.status, 401);
    assert_eq!(phone.fetch("/api/numbers").await.status, 401);
    let (status, _) = keycloak.refresh("gateway-brief", &of_phone).await;
    assert_eq!(status, 400, "dead there");

    for _ in 0..2 {
        tokio::time::sleep(PAST_BRIEF).await;
        assert_eq!(desk.fetch("/api/numbers").await.status, 200);
    }
    assert_eq!(tap.refresh_tokens().len(), 5, "three sign-ins, two swaps");
}

/// Keycloak's end of session spares offline tokens: they end by being revoked, or not at all.
#[tokio::test]
#[ignore = "needs Keycloak: run ./test"]
async fn an_offline_token_ends_with_the_sign_out_too() {
    let keycloak = Keycloak::shared().await;
    let tap = Tap::to(keycloak.port()).await;
    let scene = scene_through(&keycloak, &tap, |setup| {
        setup.replace("\"email\"]", "\"email\", \"offline_access\"]");
    })
    .await;
    let browser = scene.browser();
    sign_in(&browser, "/", "grace").await;
    let token = tap.refresh_tokens().pop().expect("signed in");
    let (_, claims) = parts(&token);
    assert_eq!(claims["typ"], "Offline");
    assert_eq!(
        keycloak.offline_sessions_of("grace", "gateway-brief").await,
        1
    );

    let page = sign_out(&browser).await;
    assert!(page.body.contains("confirmed by"), "{}", page.body);
    let (status, answer) = keycloak.refresh("gateway-brief", &token).await;
    assert_eq!((status, &answer["error"]), (400, &"invalid_grant".into()));
    assert_eq!(
        keycloak.offline_sessions_of("grace", "gateway-brief").await,
        0
    );
}

#[tokio::test]
#[ignore = "needs Keycloak: run ./test"]
async fn an_outage_of_keycloak_signs_nobody_out() {
    let mut keycloak = Keycloak::start().await;
    let scene = scene(&keycloak, "gateway-steady").await;
    let browser = scene.browser();
    sign_in(&browser, "/", "alice").await;

    keycloak.stop().await;
    assert_eq!(
        browser.fetch("/api/numbers").await.status,
        200,
        "the access token is still good"
    );

    tokio::time::sleep(PAST_STEADY).await;
    let answer = browser.fetch("/api/numbers").await;
    assert_eq!(answer.status, 503, "{}", answer.body);
    assert!(
        answer
            .header("retry-after")
            .parse::<u32>()
            .is_ok_and(|seconds| seconds > 0)
    );
    assert!(browser.session_cookie().is_some(), "not signed out");

    keycloak.start_again().await;
    let begun = Instant::now();
    while browser.fetch("/api/numbers").await.status != 200 {
        assert!(begun.elapsed() < Duration::from_mins(1), "does not heal");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    assert_eq!(
        keycloak.events("LOGIN", "alice").await,
        1,
        "healed without a new sign-in"
    );
    assert_eq!(keycloak.events("REFRESH_TOKEN_ERROR", "alice").await, 0);
}

#[tokio::test]
#[ignore = "needs Keycloak: run ./test"]
async fn the_compose_files_configuration_works() {
    let keycloak = Keycloak::shared().await;
    let mut scene = Scene::without_gateway(|setup| {
        include_str!("../../deploy/compose/gateway.toml").clone_into(&mut setup.toml);
        setup
            .replace("http://localhost:8081/realms/tidegate", &keycloak.issuer())
            .replace(
                "http://keycloak:8080/realms/tidegate",
                &keycloak.back_channel(),
            )
            .replace(
                "{ file = \"/run/secrets/client_secret\" }",
                "\"gateway-secret\"",
            )
            .replace("https://localhost:8443", "https://localhost:$GATEWAY")
            .replace("0.0.0.0:8443", "127.0.0.1:$GATEWAY")
            .replace("http://app:80", "http://127.0.0.1:$UPSTREAM");
        setup.toml.push_str(IN_ITS_OWN_DIRECTORY);
    })
    .await;
    scene.start_gateway();
    let browser = scene.browser();
    assert_eq!(sign_in(&browser, "/", "erin").await.status, 200);
    assert_eq!(browser.get("/admin/").await.status, 403, "erin is no admin");
}

/// What a container has for itself.
const IN_ITS_OWN_DIRECTORY: &str = r#"
[tls]
certificates = [{ cert = "$DIR/tls.crt", key = { file = "$DIR/tls.key" } }]
[store.disk]
path = "$DIR/sessions.redb"
[telemetry]
access_log = { path = "off" }
"#;

/// Whose application gets the access token.
async fn telling_scene(keycloak: &Keycloak, client: &str) -> Scene {
    let mut scene = Scene::without_gateway(|setup| {
        keycloak.configure(setup, client);
        setup.replace(
            "[upstreams.app]",
            "[upstreams.app]\nauthorization = \"access_token\"",
        );
    })
    .await;
    scene.start_gateway();
    scene
}

/// Signs someone in, and tells the access token that the application got.
async fn token_of(scene: &Scene, user: &str) -> String {
    let browser = scene.browser();
    assert_eq!(sign_in(&browser, "/", user).await.status, 200);
    token_of_last(scene)
}

/// The access token of the last request that the application got.
fn token_of_last(scene: &Scene) -> String {
    let arrived = scene.upstream.last();
    let bearer = arrived.header("authorization");
    bearer.strip_prefix("Bearer ").unwrap().to_owned()
}

async fn give_back(scene: &Scene, client: &str, secret: &str, token: &str) -> Reply {
    let pair = STANDARD.encode(format!("{client}:{secret}"));
    let post = request("POST")
        .header(header::AUTHORIZATION, format!("Basic {pair}"))
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
    let body = format!("token={token}&token_type_hint=access_token");
    scene.client().send_with("/oauth2/revoke", post, body).await
}

#[tokio::test]
#[ignore = "needs Keycloak: run ./test"]
async fn a_client_gives_its_own_tokens_back_here_and_at_keycloak_and_nobody_elses() {
    let keycloak = Keycloak::shared().await;
    let other = telling_scene(&keycloak, "gateway").await;
    let ours = telling_scene(&keycloak, "gateway-steady").await;
    let its = token_of(&other, "bob").await;
    let own = token_of(&ours, "bob").await;
    let client = ours.client();
    let status = async |token: &str| client.get_as(token, "/api/x").await.status.as_u16();
    assert_eq!((status(&its).await, status(&own).await), (200, 200));

    let wrong = give_back(&ours, "gateway", "wrong", &its).await;
    assert_eq!(wrong.status, 401, "{}", wrong.text());
    assert_eq!(wrong.json()["error"], "invalid_client");
    let foreign = give_back(&ours, "gateway", "gateway-secret", &own).await;
    assert_eq!(foreign.status, 400, "{}", foreign.text());
    assert_eq!(foreign.json()["error"], "invalid_request");
    let foreign = give_back(&ours, "gateway-steady", "gateway-secret", &its).await;
    assert_eq!(foreign.status, 400, "{}", foreign.text());
    assert_eq!((status(&its).await, status(&own).await), (200, 200));
    assert!(keycloak.knows(&its).await && keycloak.knows(&own).await);

    let done = give_back(&ours, "gateway", "gateway-secret", &its).await;
    assert_eq!(
        (done.status.as_u16(), done.text().as_str()),
        (200, ""),
        "by the other"
    );
    assert_eq!((status(&its).await, status(&own).await), (401, 200));
    assert!(!keycloak.knows(&its).await && keycloak.knows(&own).await);
    let done = give_back(&ours, "gateway-steady", "gateway-secret", &own).await;
    assert_eq!(done.status, 200, "{}", done.text());
    assert_eq!(status(&own).await, 401);
    assert!(!keycloak.knows(&own).await);

    let garbage = give_back(&ours, "gateway", "gateway-secret", "garbage").await;
    assert_eq!(
        (garbage.status.as_u16(), garbage.text().as_str()),
        (200, "")
    );
}

async fn scene(keycloak: &Keycloak, client: &str) -> Scene {
    let mut scene = Scene::without_gateway(|setup| keycloak.configure(setup, client)).await;
    scene.start_gateway();
    scene
}

async fn scene_through(keycloak: &Keycloak, tap: &Tap, change: impl FnOnce(&mut Setup)) -> Scene {
    let mut scene = Scene::without_gateway(|setup| {
        keycloak.configure_through(setup, "gateway-brief", tap);
        change(setup);
    })
    .await;
    scene.start_gateway();
    scene
}

/// Opens a page, fills in Keycloak's form, and ends up on the page.
async fn sign_in(browser: &Browser, path: &str, user: &str) -> Page {
    let page = browser.get(path).await;
    assert!(asks_for_a_password(&page), "{} {}", page.url, page.body);
    let action = page.forms().remove(0).action;
    let form = [("username", user), ("password", user), ("credentialId", "")];
    browser.post_from(&page.url, action.as_str(), &form).await
}

async fn sign_out(browser: &Browser) -> Page {
    let page = browser.get("/oauth2/sign_out").await;
    browser.press(&page, "Sign out").await
}

fn asks_for_a_password(page: &Page) -> bool {
    page.body.contains("kc-form-login")
}

/// No JSON Web Token, and no part of one, in anything that came from the gateway or from the application behind it.
fn assert_no_token_in(browser: &Browser) {
    let received = browser.received();
    let ours = received
        .split("\nhttp")
        .filter(|answer| format!("http{answer}").starts_with(browser.base().as_str()));
    let mut looked_at = 0;
    for answer in ours {
        looked_at += 1;
        assert!(
            !has_token(answer),
            "a token reached the browser:\nhttp{answer}"
        );
    }
    assert!(looked_at > 0);
}

/// The beginning of a signed or encrypted token's header, or of its claims.
fn has_token(text: &str) -> bool {
    text.contains("eyJhbGciOi") || text.contains(".eyJ")
}
