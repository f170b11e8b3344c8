//! Front-channel logout: a page of the provider says that its session is over, and nobody has to believe more than that.

use url::form_urlencoded;

use crate::support::client::request;
use crate::support::{Browser, Kind, Scene};

/// The address that a provider's page frames.
fn address(issuer: &str, sid: &str) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.append_pair("iss", issuer).append_pair("sid", sid);
    format!("/oauth2/frontchannel_logout?{}", query.finish())
}

async fn sign_in(scene: &Scene, browser: &Browser, person: &str) -> String {
    browser.login(person).await;
    let newest = scene.idp.journal().newest(Kind::Access).unwrap().to_owned();
    scene.idp.read(&newest).unwrap()["sid"]
        .as_str()
        .unwrap()
        .to_owned()
}

async fn status(browser: &Browser) -> u16 {
    browser.fetch("/app").await.status.as_u16()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_the_provider_ends_the_session_here_and_nothing_else() {
    let scene = Scene::start().await;
    let (browser, bob) = (scene.browser(), scene.browser());
    let sid = sign_in(&scene, &browser, "alice").await;
    let held = scene.idp.journal().newest(Kind::Access).unwrap().to_owned();
    let refresh = scene
        .idp
        .journal()
        .newest(Kind::Refresh)
        .unwrap()
        .to_owned();
    sign_in(&scene, &bob, "bob").await;
    // In a frame of another site: the cookie does not come along.
    let reply = scene.client().get(&address(scene.idp.issuer(), &sid)).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(reply.header("cache-control"), "no-store");
    assert_eq!(reply.header("x-frame-options"), "");
    assert_eq!(
        reply.header("content-security-policy"),
        format!("default-src 'none'; frame-ancestors {}", scene.idp.issuer())
    );
    assert_eq!(reply.header("set-cookie"), "");
    let page = browser.fetch("/app").await;
    assert_eq!(page.status, 401);
    assert_eq!(page.json()["code"], "signed_out_at_provider");
    assert_eq!(status(&bob).await, 200);
    assert_eq!(
        scene.client().get_as(&held, "/api/x").await.status,
        200,
        "nobody has proven that its token is over"
    );
    assert_eq!(scene.idp.journal().requests_to("/revoke"), 0);
    assert!(scene.idp.replay("gateway", &refresh));
    let again = scene.client().get(&address(scene.idp.issuer(), &sid)).await;
    assert_eq!(again.status, 200, "as often as it likes");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cookie_is_cleared_if_its_session_is_over_and_stays_if_not() {
    let scene = Scene::start().await;
    let (alice, bob) = (scene.browser(), scene.browser());
    let sid = sign_in(&scene, &alice, "alice").await;
    let kept = alice.session_cookie().unwrap();
    sign_in(&scene, &bob, "bob").await;
    let page = bob.get(&address(scene.idp.issuer(), &sid)).await;
    assert_eq!(page.status, 200);
    assert_eq!(page.header("set-cookie"), "");
    assert_eq!((status(&alice).await, status(&bob).await), (401, 200));
    alice.put_cookie(kept);
    let sid = sign_in(&scene, &scene.browser(), "carol").await;
    let page = alice.get(&address(scene.idp.issuer(), &sid)).await;
    assert!(page.header("set-cookie").starts_with("__Host-tidegate=;"));
    assert!(alice.session_cookie().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_and_what_must_both_be_said_and_known() {
    let scene = Scene::start().await;
    let browser = scene.browser();
    let sid = sign_in(&scene, &browser, "alice").await;
    let issuer = scene.idp.issuer();
    let good = address(issuer, &sid);
    for bad in [
        "/oauth2/frontchannel_logout".to_owned(),
        format!("/oauth2/frontchannel_logout?sid={sid}"),
        format!("/oauth2/frontchannel_logout?iss={issuer}"),
        address(issuer, ""),
        address("", &sid),
        address("https://other.example", &sid),
        address(&format!("{issuer}/"), &sid),
        address(&issuer.to_uppercase(), &sid),
        format!("{good}&sid={sid}"),
        format!("{good}&iss={issuer}"),
        format!("{good}&sid="),
    ] {
        let reply = scene.client().get(&bad).await;
        assert_eq!(reply.status, 400, "{bad}: {}", reply.text());
        assert_eq!(reply.header("cache-control"), "no-store", "{bad}");
        let policy = reply.header("content-security-policy");
        assert!(policy.contains("frame-ancestors 'none'"), "{bad}: {policy}");
    }
    let reply = scene.client().send(&good, request("POST")).await;
    assert_eq!(reply.status, 405);
    assert_eq!(status(&browser).await, 200);
    let unknown = scene.client().get(&address(issuer, "no-such")).await;
    assert_eq!(unknown.status, 200);
    assert_eq!(status(&browser).await, 200);
}
