//! What a real Keycloak tells of its sessions, and how soon they have ended here.

use std::time::{Duration, Instant};

use crate::support::keycloak::Keycloak;
use crate::support::{Browser, Page, SECOND, Scene};

/// Everything that is measured takes a small part of it on a quiet machine.
const SOON: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Keycloak: run ./test"]
async fn an_administrators_sign_out_there_ends_all_of_the_users_sessions_here_at_once() {
    let keycloak = Keycloak::shared().await;
    let scene = scene(&keycloak, "told-by-admin", &[]).await;
    let (one, two, other) = (scene.browser(), scene.browser(), scene.browser());
    for user in ["heidi", "ivan"] {
        keycloak.enrol(user).await;
    }
    sign_in(&one, "heidi").await;
    let token = scene.upstream.last().header("authorization").to_owned();
    sign_in(&two, "heidi").await;
    sign_in(&other, "ivan").await;
    let token = token.strip_prefix("Bearer ").expect("it is passed on");
    let client = scene.client();
    assert_eq!(client.get_as(token, "/api/x").await.status, 200);

    // What Keycloak does for the first time takes it long.
    keycloak.enrol("mallory").await;
    keycloak.sign_out("mallory").await;
    let begun = Instant::now();
    let signing_out = keycloak.sign_out("heidi");
    let noticing = async {
        until_over(&one, begun).await;
        until_over(&two, begun).await
    };
    let ((), took) = tokio::join!(signing_out, noticing);
    eprintln!("two sessions have ended {took:?} after an administrator at Keycloak asked for it");
    assert!(took < SOON, "{took:?}");
    let refused = client.get_as(token, "/api/x").await;
    assert_eq!(refused.status, 401, "{}", refused.text());
    assert_eq!(other.fetch("/").await.status, 200, "ivan stays");
    assert_eq!(keycloak.events("REFRESH_TOKEN", "heidi").await, 0);
    let page = one.get("/").await;
    assert!(asks_for_a_password(&page), "{}", page.url);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Keycloak: run ./test"]
async fn signing_out_of_another_application_signs_out_here() {
    let keycloak = Keycloak::shared().await;
    let here = scene(&keycloak, "told-by-another", &[]).await;
    let another = scene(&keycloak, "another-application", &[]).await;
    keycloak.enrol("judy").await;
    let browser = here.browser();
    sign_in(&browser, "judy").await;
    // The same browser at the other application: cookies know no ports, so its jar is divided here by hand.
    let there = another.browser();
    for cookie in browser.cookies() {
        if !cookie.name.contains("tidegate") {
            there.put_cookie(cookie);
        }
    }
    assert_eq!(there.get("/").await.status, 200, "unseen");
    assert_eq!(keycloak.sessions_of("judy").await, 1, "one for both");
    assert_eq!(browser.fetch("/").await.status, 200);

    let begun = Instant::now();
    let page = there.get("/oauth2/sign_out").await;
    let page = there.press(&page, "Sign out").await;
    assert_eq!(page.status, 200, "{}", page.body);
    let took = until_over(&browser, begun).await;
    eprintln!("a session has ended {took:?} after a sign-out from another application");
    assert!(took < SOON, "{took:?}");
    let refused = browser.fetch("/").await;
    assert_eq!(refused.status, 401);
    assert_eq!(keycloak.sessions_of("judy").await, 0);
    assert_eq!(keycloak.events("REFRESH_TOKEN", "judy").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Keycloak: run ./test"]
async fn one_session_there_is_one_here_unless_keycloak_names_none() {
    let keycloak = Keycloak::shared().await;
    for (client, named, user, left) in [
        ("told-of-sessions", "true", "kim", 200),
        ("told-of-users", "false", "leo", 401),
    ] {
        let attributes = [("backchannel.logout.session.required", named)];
        let scene = scene(&keycloak, client, &attributes).await;
        keycloak.enrol(user).await;
        let (first, newest) = (scene.browser(), scene.browser());
        sign_in(&first, user).await;
        tokio::time::sleep(SECOND + SECOND / 10).await;
        sign_in(&newest, user).await;
        let begun = Instant::now();
        keycloak.sign_out_newest(user).await;
        let took = until_over(&newest, begun).await;
        assert!(took < SOON, "{took:?}");
        assert_eq!(first.fetch("/").await.status, left, "{client}");
    }
}

/// A gateway that is such a client, and passes its access tokens on.
async fn scene(keycloak: &Keycloak, client: &str, attributes: &[(&str, &str)]) -> Scene {
    let mut scene = Scene::without_gateway(|setup| {
        keycloak.configure(setup, client);
        setup.replace(
            "[upstreams.app]",
            "[upstreams.app]\nauthorization = \"access_token\"",
        );
    })
    .await;
    let told_at = scene.url().join("/oauth2/backchannel_logout").unwrap();
    keycloak
        .register(client, told_at.as_str(), attributes)
        .await;
    scene.start_gateway();
    scene
}

/// Waits until a browser's session is over; how long after `begun` that is.
async fn until_over(browser: &Browser, begun: Instant) -> Duration {
    while browser.fetch("/").await.status == 200 {
        assert!(begun.elapsed() < 2 * SOON, "it goes on");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    begun.elapsed()
}

async fn sign_in(browser: &Browser, user: &str) -> Page {
    let page = browser.get("/").await;
    assert!(asks_for_a_password(&page), "{} {}", page.url, page.body);
    let action = page.forms().remove(0).action;
    let form = [("username", user), ("password", user), ("credentialId", "")];
    let page = browser.post_from(&page.url, action.as_str(), &form).await;
    assert_eq!(page.status, 200, "{} {}", page.url, page.body);
    page
}

fn asks_for_a_password(page: &Page) -> bool {
    page.body.contains("kc-form-login")
}
