//! "My sessions": what a person sees of them, whom they can end, and who can't.

use http::{Method, header};
use serde_json::Value;
use tidegate::demo::idp::{Client as Registered, Options};
use url::Url;

use crate::support::browser::{Browser, Page};
use crate::support::client::request;
use crate::support::scene::CLIENT_SECRET;
use crate::support::{Fault, Idp, Kind, MINUTE, SECOND, Scene};

const FIREFOX: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0";
const SAFARI: &str = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) \
     Version/18.0 Mobile/15E148 Safari/604.1";
const EVIL: &str = "<script>alert('me')</script>\"";
const END_SAFARI: &str = "End the session in Safari on iPhone";
const END_OTHERS: &str = "End all other sessions";

/// Alice at her desk and on her telephone, and Bob.
struct Cast {
    desk: Browser,
    phone: Browser,
    bob: Browser,
}

impl Cast {
    async fn of(scene: &Scene) -> Self {
        let cast = Self {
            desk: scene.browser().claiming(FIREFOX),
            phone: scene.browser().claiming(SAFARI),
            bob: scene.browser().claiming(EVIL),
        };
        cast.phone.login("alice").await;
        scene.clock.advance(4 * MINUTE);
        cast.bob.login("bob").await;
        cast.desk.login("alice").await;
        cast
    }
}

async fn list(browser: &Browser) -> Vec<Value> {
    let told = browser.fetch("/oauth2/sessions").await;
    assert_eq!(told.status, 200, "{}", told.body);
    told.json()["sessions"].as_array().unwrap().clone()
}

/// The id of the one whose device reads so.
async fn id_of(browser: &Browser, device: &str) -> String {
    let sessions = list(browser).await;
    let found = sessions.iter().find(|one| one["device"] == device);
    found.unwrap()["id"].as_str().unwrap().to_owned()
}

async fn post(browser: &Browser, path: &str) -> Page {
    browser.fetch_with(Method::POST, path, &[]).await
}

fn newest_refresh_token(scene: &Scene) -> String {
    let journal = scene.idp.journal();
    journal.newest(Kind::Refresh).unwrap().to_owned()
}

/// The code of the problem that a program gets.
async fn refusal(browser: &Browser) -> String {
    let refused = browser.fetch("/app").await;
    assert_eq!(refused.status, 401, "{}", refused.body);
    refused.json()["code"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn people_see_where_they_are_signed_in_and_nobody_else() {
    let scene = Scene::start().await;
    let cast = Cast::of(&scene).await;
    let page = cast.desk.get("/oauth2/sessions").await;
    assert_eq!(page.status, 200);
    for said in [
        "Firefox on Linux",
        "Safari on iPhone",
        "This session",
        "4 minutes ago",
        "127.0.0.1",
        END_SAFARI,
        END_OTHERS,
    ] {
        assert!(page.body.contains(said), "{said}: {}", page.body);
    }
    let own = page.body.find("Firefox on Linux").unwrap();
    assert!(own < page.body.find("Safari on iPhone").unwrap());
    assert_eq!(page.body.matches("aria-current").count(), 1);
    assert_eq!(page.header("cache-control"), "no-store");
    assert!(
        page.header("content-security-policy")
            .contains("form-action 'self'")
    );

    let told = list(&cast.desk).await;
    let device = |one: &Value| one["device"].as_str().unwrap().to_owned();
    let devices: Vec<_> = told.iter().map(device).collect();
    assert_eq!(devices, ["Firefox on Linux", "Safari on iPhone"]);
    assert_eq!(
        (&told[0]["current"], &told[1]["current"]),
        (&true.into(), &false.into())
    );
    assert_eq!(told[0]["idp"], "main");
    assert_eq!(told[0]["provider"], "Development");
    for name in [
        "signed_in_at",
        "last_seen_at",
        "idle_expires_at",
        "expires_at",
    ] {
        let time = told[1][name].as_str().unwrap();
        assert!(time.parse::<jiff::Timestamp>().is_ok(), "{name}: {time}");
    }

    let bobs = cast.bob.get("/oauth2/sessions").await;
    assert!(bobs.body.contains("An unknown browser"), "{}", bobs.body);
    assert!(!bobs.body.contains("Safari") && !bobs.body.contains("alert("));
    assert!(!bobs.body.contains(END_OTHERS), "there is none");
    for browser in [&cast.desk, &cast.bob] {
        scene.assert_no_token_leaked(browser);
        let cookie = browser.session_cookie().unwrap().value;
        assert!(!page.body.contains(&cookie));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ending_one_ends_it_here_and_at_the_provider_and_says_so() {
    let scene = Scene::start().await;
    let phone = scene.browser().claiming(SAFARI);
    phone.login("alice").await;
    let of_phone = newest_refresh_token(&scene);
    let desk = scene.browser().claiming(FIREFOX);
    desk.login("alice").await;

    let page = desk.get("/oauth2/sessions").await;
    let answer = desk.press_once(&page, END_SAFARI).await;
    assert_eq!(answer.status, 303);
    let to = answer.header("location").to_owned();
    assert_eq!(to, format!("{}oauth2/sessions", scene.url()));
    let page = desk.get(&to).await;
    for said in [
        "The session in Safari on iPhone has ended",
        "Revoked, and confirmed by Development.",
    ] {
        assert!(page.body.contains(said), "{said}: {}", page.body);
    }
    assert!(!page.body.contains(END_SAFARI) && !page.body.contains(END_OTHERS));
    let again = desk.get("/oauth2/sessions").await;
    assert!(!again.body.contains("has ended"), "said once");

    assert!(
        !scene.idp.replay("gateway", &of_phone),
        "dead at the provider"
    );
    let kept = phone.session_cookie().unwrap();
    let refused = phone.get("/app").await;
    assert_eq!(
        refused.status, 401,
        "a page that says why: {}",
        refused.body
    );
    assert!(
        refused.body.contains("ended this session from another one"),
        "{}",
        refused.body
    );
    phone.put_cookie(kept);
    assert_eq!(refusal(&phone).await, "session_dismissed");
    assert_eq!(desk.fetch("/app").await.status, 200);
    scene.clock.advance(6 * MINUTE);
    assert_eq!(desk.fetch("/app").await.status, 200, "and its swap works");
    assert_eq!(scene.idp.journal().reuses, 0);
    scene.assert_no_token_leaked(&desk);
}

#[tokio::test(flavor = "multi_thread")]
async fn ending_the_others_leaves_this_one() {
    let scene = Scene::start().await;
    let cast = Cast::of(&scene).await;
    let tablet = scene.browser();
    tablet.login("alice").await;
    let page = cast.desk.get("/oauth2/sessions").await;
    let page = cast.desk.press(&page, END_OTHERS).await;
    assert_eq!(
        (page.status.as_u16(), page.url.path()),
        (200, "/oauth2/sessions")
    );
    assert!(page.body.contains("2 sessions have ended"), "{}", page.body);
    assert_eq!(refusal(&cast.phone).await, "session_dismissed");
    assert_eq!(refusal(&tablet).await, "session_dismissed");
    assert_eq!(cast.desk.fetch("/app").await.status, 200);
    assert_eq!(cast.bob.fetch("/app").await.status, 200);
    assert_eq!(scene.idp.journal().refresh_revocations, 2);
    let told = post(&cast.desk, "/oauth2/sessions/end_others").await;
    assert_eq!(told.json()["ended"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn ending_this_one_is_signing_out() {
    let scene = Scene::start().await;
    let cast = Cast::of(&scene).await;
    let page = cast.desk.get("/oauth2/sessions").await;
    let sign_out = format!("{}oauth2/sign_out", scene.url());
    assert!(page.links().iter().any(|link| link.as_str() == sign_out));
    let own = id_of(&cast.desk, "Firefox on Linux").await;
    let told = post(&cast.desk, &format!("/oauth2/sessions/{own}/end")).await;
    assert_eq!(told.json()["signed_out"], true, "{}", told.body);
    assert!(cast.desk.session_cookie().is_none());
    assert_eq!(cast.phone.fetch("/app").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn programs_get_json() {
    let scene = Scene::start().await;
    let cast = Cast::of(&scene).await;
    let phone = id_of(&cast.desk, "Safari on iPhone").await;
    assert_eq!(phone.len(), 64);
    let told = post(&cast.desk, &format!("/oauth2/sessions/{phone}/end")).await;
    assert_eq!(told.status, 200, "{}", told.body);
    let told = told.json();
    assert_eq!(told["ended"], 1);
    assert_eq!(told["sessions"][0]["id"], phone.as_str());
    assert_eq!(told["sessions"][0]["refresh_token"], "confirmed");
    assert_eq!(told["sessions"][0]["access_token"], "confirmed");
    let again = post(&cast.desk, &format!("/oauth2/sessions/{phone}/end")).await;
    assert_eq!(
        (again.status.as_u16(), &again.json()["code"]),
        (404, &"no_such_session".into())
    );
    scene.assert_no_token_leaked(&cast.desk);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_ones_own_is_not_found_and_goes_on() {
    let scene = Scene::start().await;
    let cast = Cast::of(&scene).await;
    let bobs = id_of(&cast.bob, "An unknown browser").await;
    let nobodys = "0".repeat(64);
    let wrong = [
        bobs.clone(),
        nobodys,
        bobs.to_uppercase(),
        bobs[..63].to_owned(),
        format!("{bobs}0"),
        cast.bob.session_cookie().unwrap().value,
        "end_others".to_owned(),
        "%2e%2e".to_owned(),
    ];
    let mut answers = Vec::new();
    for id in wrong {
        let answer = post(&cast.desk, &format!("/oauth2/sessions/{id}/end")).await;
        assert!(
            [400, 404].contains(&answer.status.as_u16()),
            "{id}: {}",
            answer.body
        );
        answers.push((answer.status.as_u16(), answer.json()["detail"].clone()));
    }
    assert_eq!(
        answers[0], answers[1],
        "whether there is one is told to nobody"
    );
    assert_eq!(answers[0].0, 404);
    let page = cast
        .desk
        .post(&format!("/oauth2/sessions/{bobs}/end"), &[])
        .await;
    assert_eq!(page.status, 404);
    assert!(
        page.body.contains("Your sessions"),
        "a way back: {}",
        page.body
    );
    assert_eq!(cast.bob.fetch("/app").await.status, 200);
    for path in [
        "/oauth2/sessions/",
        "/oauth2/sessions/a/b/end",
        "/oauth2/sessions//end",
    ] {
        let answer = post(&cast.desk, path).await;
        assert!(
            [400, 404, 405].contains(&answer.status.as_u16()),
            "{path}: {}",
            answer.status
        );
    }
    let got = cast
        .desk
        .fetch(&format!("/oauth2/sessions/{bobs}/end"))
        .await;
    assert_eq!((got.status.as_u16(), got.header("allow")), (405, "POST"));
    assert_eq!(cast.phone.fetch("/app").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_site_can_not_end_anything() {
    let scene = Scene::start().await;
    let cast = Cast::of(&scene).await;
    let phone = id_of(&cast.desk, "Safari on iPhone").await;
    let paths = [
        "/oauth2/sessions/end_others".to_owned(),
        format!("/oauth2/sessions/{phone}/end"),
    ];
    for path in &paths {
        let elsewhere = Url::parse("https://evil.example/").unwrap();
        cast.desk.post_from(&elsewhere, path, &[]).await;
        for headers in [
            &[("sec-fetch-site", "same-site")][..],
            &[("sec-fetch-site", "cross-site"), ("x-csrf", "1")],
            &[("origin", "https://evil.example"), ("x-csrf", "1")],
            &[("origin", "null")],
            &[],
        ] {
            let mut post = request("POST").header(header::COOKIE, cast.desk.cookie_line());
            for (name, value) in headers {
                post = post.header(*name, *value);
            }
            let reply = scene.client().send(path, post).await;
            assert_eq!(reply.status, 403, "{headers:?}: {}", reply.text());
        }
    }
    assert_eq!(cast.phone.fetch("/app").await.status, 200);
    let post = request("POST")
        .header(header::COOKIE, cast.desk.cookie_line())
        .header("x-csrf", "1");
    assert_eq!(scene.client().send(&paths[1], post).await.status, 200);
    assert_eq!(refusal(&cast.phone).await, "session_dismissed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_is_good_for_its_own_session_and_purpose() {
    let scene = Scene::start().await;
    let cast = Cast::of(&scene).await;
    let token = |page: Page, button: &str| {
        let (form, _) = page.form_with(button).unwrap();
        let found = form.hidden.into_iter().find(|(name, _)| name == "form");
        found.unwrap().1
    };
    let of_phone = token(cast.phone.get("/oauth2/sessions").await, END_OTHERS);
    let of_sign_out = token(cast.desk.get("/oauth2/sign_out").await, "Sign out");
    let own = token(cast.desk.get("/oauth2/sessions").await, END_OTHERS);
    let send = async |path: &str, token: &str| {
        let post = request("POST")
            .header(header::COOKIE, cast.desk.cookie_line())
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(header::ORIGIN, "null");
        let client = scene.client();
        client
            .send_with(path, post, format!("form={token}"))
            .await
            .status
            .as_u16()
    };
    assert_eq!(send("/oauth2/sessions/end_others", &of_phone).await, 403);
    assert_eq!(send("/oauth2/sessions/end_others", &of_sign_out).await, 403);
    assert_eq!(send("/oauth2/sign_out", &own).await, 403);
    assert_eq!(cast.phone.fetch("/app").await.status, 200);
    assert_eq!(send("/oauth2/sessions/end_others", &own).await, 200);
    assert_eq!(refusal(&cast.phone).await, "session_dismissed");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_not_signed_in_is_sent_to_sign_in_and_comes_back() {
    let scene = Scene::start().await;
    let browser = scene.browser().claiming(FIREFOX);
    assert_eq!(browser.fetch("/oauth2/sessions").await.status, 401);
    let page = browser.login_at("/oauth2/sessions", "alice").await;
    assert_eq!(
        (page.status.as_u16(), page.url.path()),
        (200, "/oauth2/sessions")
    );
    assert!(page.body.contains("Firefox on Linux"), "{}", page.body);
    let stranger = scene.browser();
    assert_eq!(
        post(&stranger, "/oauth2/sessions/end_others").await.status,
        401
    );
    let post = request("POST").header("x-csrf", "1");
    let post = post.header(
        header::AUTHORIZATION,
        format!("Bearer {}", scene.bearer("alice")),
    );
    let reply = scene
        .client()
        .send("/oauth2/sessions/end_others", post)
        .await;
    assert_eq!(reply.status, 401, "a token is no session: {}", reply.text());
    assert_eq!(browser.fetch("/app").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn looking_keeps_no_session_alive() {
    let scene = Scene::start().await;
    let cast = Cast::of(&scene).await;
    for _ in 0..4 {
        scene.clock.advance(6 * MINUTE);
        assert_eq!(list(&cast.desk).await.len(), 2);
        assert_eq!(cast.desk.get("/oauth2/sessions").await.status, 200);
    }
    assert_eq!(scene.idp.journal().refreshes, 0, "nor is anything swapped");
    scene.clock.advance(3 * MINUTE);
    assert_eq!(list(&cast.desk).await.len(), 1, "the other has run out");
    scene.clock.advance(5 * MINUTE);
    assert_eq!(refusal(&cast.desk).await, "session_idle");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_name_at_another_provider_is_somebody_else() {
    let mut other = None;
    let mut scene = Scene::without_gateway(|setup| {
        let options = Options {
            clock: setup.idp.clock.clone(),
            ..Options::default()
        };
        let idp = tokio::task::block_in_place(|| {
            tokio::runtime::Handle::current().block_on(Idp::start(options))
        });
        let idp = idp.unwrap();
        let section = format!(
            "[idp.other]\nlabel = \"Partners\"\nissuer = \"{}\"\nclient_id = \"gateway\"\n\
             client_secret = {{ file = \"$DIR/client_secret\" }}\naccess_token = {{ audience = [\"apps\"] }}\n[session]",
            idp.issuer()
        );
        setup.replace("[session]", &section);
        other = Some(idp);
    })
    .await;
    let other = other.unwrap();
    let origin = scene.url().origin().ascii_serialization();
    other.register(Registered::new("gateway", CLIENT_SECRET).for_gateway(&origin));
    scene.start_gateway();
    let (here, there) = (
        scene.browser().claiming(FIREFOX),
        scene.browser().claiming(SAFARI),
    );
    here.login_at("/oauth2/start?idp=main&rd=/app", "alice")
        .await;
    there
        .login_at("/oauth2/start?idp=other&rd=/app", "alice")
        .await;
    assert_eq!(scene.upstream.last().header("x-forwarded-user"), "u-alice");
    for (browser, device) in [(&here, "Firefox on Linux"), (&there, "Safari on iPhone")] {
        let told = list(browser).await;
        assert_eq!(told.len(), 1, "{told:?}");
        assert_eq!(told[0]["device"], device);
    }
    let id = id_of(&there, "Safari on iPhone").await;
    assert_eq!(
        post(&here, &format!("/oauth2/sessions/{id}/end"))
            .await
            .status,
        404
    );
    assert_eq!(
        post(&here, "/oauth2/sessions/end_others").await.json()["ended"],
        0
    );
    assert_eq!(there.fetch("/app").await.status, 200);
}

/// Another session of the same browser, as with another host of the gateway: the provider signs in unseen.
async fn another_in(browser: &Browser, scene: &Scene) -> Browser {
    let twin = scene.browser().claiming(SAFARI);
    for cookie in browser.cookies() {
        if !cookie.name.starts_with("__Host-") {
            twin.put_cookie(cookie);
        }
    }
    let page = twin.get("/app").await;
    assert_eq!(
        (page.status.as_u16(), page.url.path()),
        (200, "/app"),
        "{}",
        page.body
    );
    twin
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_shares_the_providers_own_ends_without_taking_this_one_along() {
    let scene = Scene::start().await;
    let desk = scene.browser().claiming(FIREFOX);
    desk.login("alice").await;
    for others in [false, true] {
        let twin = another_in(&desk, &scene).await;
        let logins = scene.idp.journal().logins;
        assert_eq!(logins, 1, "the same session there");
        let page = desk.get("/oauth2/sessions").await;
        let button = if others { END_OTHERS } else { END_SAFARI };
        let page = desk.press(&page, button).await;
        assert!(
            page.body.contains("Nothing was revoked there"),
            "{}",
            page.body
        );
        assert_eq!(refusal(&twin).await, "session_dismissed");
        assert_eq!(scene.idp.journal().refresh_revocations, 0);
        scene.clock.advance(6 * MINUTE);
        assert_eq!(desk.fetch("/app").await.status, 200, "its swap works");
    }
    let twin = another_in(&desk, &scene).await;
    let id = id_of(&desk, "Safari on iPhone").await;
    let told = post(&desk, &format!("/oauth2/sessions/{id}/end")).await;
    assert_eq!(told.json()["sessions"][0]["refresh_token"], "spared");
    assert_eq!(refusal(&twin).await, "session_dismissed");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_provider_does_not_confirm_is_said_to_be_owed() {
    let scene = Scene::start().await;
    let cast = Cast::of(&scene).await;
    scene.idp.faults().set(Fault::RevocationDown);
    let page = cast.desk.get("/oauth2/sessions").await;
    let page = cast.desk.press(&page, END_SAFARI).await;
    assert!(page.body.contains("queued"), "{}", page.body);
    assert_eq!(refusal(&cast.phone).await, "session_dismissed");
    scene.idp.faults().clear();
    for _ in 0..60 {
        if scene.idp.journal().refresh_revocations == 1 {
            return;
        }
        scene.clock.advance(10 * SECOND);
        tokio::time::sleep(SECOND / 20).await;
    }
    panic!("never paid");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_note_is_for_the_session_that_ended_another_and_for_a_while() {
    let scene = Scene::start().await;
    let cast = Cast::of(&scene).await;
    let page = cast.desk.get("/oauth2/sessions").await;
    cast.desk.press_once(&page, END_SAFARI).await;
    let note = cast.desk.cookie("__Host-tidegate-ended").unwrap();
    assert!(note.http_only && note.secure, "{note:?}");
    cast.bob.put_cookie(note);
    let page = cast.bob.get("/oauth2/sessions").await;
    assert!(!page.body.contains("has ended"), "{}", page.body);
    scene.clock.advance(2 * MINUTE);
    let page = cast.desk.get("/oauth2/sessions").await;
    assert!(!page.body.contains("has ended"), "{}", page.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pages_where_one_would_look_lead_here() {
    let scene = Scene::start().await;
    let bob = scene.browser();
    bob.login("bob").await;
    let list = format!("{}oauth2/sessions", scene.url());
    for path in ["/oauth2/sign_out", "/admin/"] {
        let page = bob.get(path).await;
        assert!(
            page.links().iter().any(|link| link.as_str() == list),
            "{path}: {}",
            page.body
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_sessions_in_cookies_there_is_no_list_and_no_link_to_it() {
    let scene = Scene::with(|setup| {
        setup.replace("\"memory\"", "\"cookie\"");
    })
    .await;
    let browser = scene.browser();
    browser.login("bob").await;
    let told = browser.fetch("/oauth2/sessions").await;
    assert_eq!(
        (told.status.as_u16(), &told.json()["code"]),
        (404, &"sessions_not_listed".into())
    );
    assert!(told.body.contains("session.store"), "{}", told.body);
    assert_eq!(
        post(&browser, "/oauth2/sessions/end_others").await.status,
        404
    );
    for path in ["/oauth2/sign_out", "/admin/"] {
        let page = browser.get(path).await;
        assert!(
            !page.body.contains("/oauth2/sessions"),
            "{path}: {}",
            page.body
        );
    }
    assert_eq!(browser.fetch("/app").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_list_survives_a_restart() {
    let mut scene = Scene::with(|setup| {
        setup.on_disk();
    })
    .await;
    let cast = Cast::of(&scene).await;
    let before = list(&cast.desk).await;
    scene.stop_gateway().await;
    scene.start_gateway();
    assert_eq!(list(&cast.desk).await, before);
    let page = cast.desk.get("/oauth2/sessions").await;
    cast.desk.press(&page, END_OTHERS).await;
    scene.stop_gateway().await;
    scene.start_gateway();
    assert_eq!(refusal(&cast.phone).await, "session_dismissed");
    assert_eq!(list(&cast.desk).await.len(), 1);
}
