//! The story in a real browser, which keeps rules of its own: cookie prefixes, content security policies, the back
//! button. Every page is photographed, light and dark, into `target/screenshots`.

use chromiumoxide::cdp::browser_protocol::network::Cookie;
use http::StatusCode;
use tidegate::demo::http::reply;

use crate::support::chromium::{Chromium, Tab};
use crate::support::gateway::free_port;
use crate::support::keycloak::Keycloak;
use crate::support::{Child, MINUTE, Person, Scene, eventually};

#[tokio::test]
#[ignore = "needs Chromium: run ./test"]
async fn signing_in_working_and_signing_out() {
    work_and_sign_out(scene().await, 64).await;
}

#[tokio::test]
#[ignore = "needs Chromium: run ./test"]
async fn the_same_with_the_session_in_the_cookie() {
    let in_cookie = Scene::with(|setup| {
        setup.replace("\"memory\"", "\"cookie\"");
    });
    let scene = in_cookie.await;
    show_pages(&scene);
    work_and_sign_out(scene, 3000).await;
}

async fn work_and_sign_out(scene: Scene, cookie: usize) {
    let chromium = Chromium::start().await;

    let tab = chromium.open(&at(&scene, "/reports?year=2026")).await;
    tab.until("document.querySelector('button[value=alice]')")
        .await;
    tab.photograph("development-idp").await;
    tab.click("button[value=alice]").await;
    tab.until("location.pathname + location.search === '/reports?year=2026'")
        .await;
    assert!(tab.text().await.contains("u-alice"));
    tab.photograph("application").await;
    assert_scripts_find_nothing(&tab).await;
    assert_one_good_cookie(&tab, cookie).await;

    scene.clock.advance(6 * MINUTE);
    tab.goto(&at(&scene, "/reports")).await;
    assert!(tab.text().await.contains("u-alice"));
    assert_eq!(
        scene.idp.journal().refreshes,
        1,
        "swapped, and nobody saw it"
    );

    sign_out(&tab, &scene).await;
    let text = tab.text().await;
    assert!(!text.contains("u-alice"), "{text}");
    assert!(our_cookies(&tab).await.is_empty());
    assert_back_shows_nothing_protected(&tab).await;
    chromium.close().await;
}

#[tokio::test]
#[ignore = "needs Chromium: run ./test"]
async fn signing_in_at_keycloak_and_out_again() {
    let keycloak = Keycloak::shared().await;
    let scene = of_keycloak(&keycloak).await;
    let chromium = Chromium::start().await;

    let tab = chromium.open(&at(&scene, "/reports")).await;
    tab.until("document.querySelector('#kc-form-login')").await;
    tab.photograph("keycloak-login").await;
    tab.fill("#username", "erin").await;
    tab.fill("#password", "erin").await;
    tab.click("#kc-login").await;
    tab.until("location.pathname === '/reports'").await;
    assert_scripts_find_nothing(&tab).await;
    assert_one_good_cookie(&tab, 64).await;
    assert_eq!(keycloak.sessions_of("erin").await, 1);

    sign_out(&tab, &scene).await;
    assert_eq!(keycloak.sessions_of("erin").await, 0);
    assert_back_shows_nothing_protected(&tab).await;
    tab.goto(&at(&scene, "/reports")).await;
    tab.until("document.querySelector('#kc-form-login')").await;
    chromium.close().await;
}

#[tokio::test]
#[ignore = "needs Chromium: run ./test"]
async fn a_script_on_a_page_of_an_ended_session_gets_401_and_no_redirect() {
    let scene = scene().await;
    let chromium = Chromium::start().await;
    let tab = signed_in(&chromium, &scene, "bob").await;
    assert_eq!(fetch(&tab, "/api/numbers").await, "200 as asked");

    scene
        .idp
        .end_sessions_of(Person::named("bob").unwrap())
        .await;

    scene.clock.advance(6 * MINUTE);
    assert_eq!(fetch(&tab, "/api/numbers").await, "401 as asked");
    assert_eq!(fetch(&tab, "/reports").await, "401 as asked");
    chromium.close().await;
}

/// A page that was left open in another tab: its WebSocket is told why, and its event stream does not try for ever.
#[tokio::test]
#[ignore = "needs Chromium: run ./test"]
async fn what_a_page_has_open_ends_with_the_session() {
    let scene = scene().await;
    let chromium = Chromium::start().await;
    let tab = signed_in(&chromium, &scene, "alice").await;
    tab.until(
        "window.socket || (window.told = [], \
         window.socket = new WebSocket(`wss://${location.host}/ws`), \
         socket.onmessage = message => told.push(message.data), \
         socket.onopen = () => socket.send('there?'), \
         socket.onclose = end => told.push(`${end.code} ${end.reason} ${end.wasClean}`), \
         window.events = new EventSource('/clock'), true)",
    )
    .await;
    tab.until("told.length === 1 && events.readyState === 1")
        .await;
    let other = chromium.open(&at(&scene, "/reports")).await;
    sign_out(&other, &scene).await;
    tab.until("told.length === 2").await;
    let told: Vec<String> = tab.script("told").await;
    assert_eq!(told, ["there?", "1008 session ended true"]);
    // It comes back after three seconds, is refused, and gives up.
    tab.until("events.readyState === 2").await;
    chromium.close().await;
}

#[tokio::test]
#[ignore = "needs Chromium: run ./test"]
async fn every_refusal_is_a_page_that_says_what_to_do() {
    let scene = scene().await;
    let chromium = Chromium::start().await;

    let nowhere = "/oauth2/callback?state=unknown&code=unknown";
    let tab = chromium.open(&at(&scene, nowhere)).await;
    tab.photograph("sign-in-failed").await;
    assert!(tab.buttons().await >= 1);

    let tab = signed_in(&chromium, &scene, "bob").await;
    tab.goto(&at(&scene, "/admin/")).await;
    tab.photograph("forbidden").await;
    assert_eq!(tab.buttons().await, 4);

    scene.upstream.go_down();
    tab.goto(&at(&scene, "/reports")).await;
    tab.photograph("application-down").await;
    scene.upstream.come_up();

    scene.idp.go_down();
    scene.clock.advance(6 * MINUTE);
    tab.goto(&at(&scene, "/reports")).await;
    tab.photograph("provider-down").await;
    scene.idp.come_up();
    chromium.close().await;
}

#[tokio::test]
#[ignore = "needs Chromium: run ./test"]
async fn other_sessions_are_ended_by_keyboard_on_a_narrow_screen() {
    let scene = scene().await;
    let elsewhere = |user_agent| scene.browser().claiming(user_agent);
    let phone = elsewhere("Mozilla/5.0 (iPhone) Version/18.0 Safari/604.1");
    let old = elsewhere("something that nobody knows");
    for browser in [&phone, &old] {
        browser.login("alice").await;
        scene.clock.advance(3 * MINUTE);
    }
    let chromium = Chromium::start().await;
    let tab = signed_in(&chromium, &scene, "alice").await;
    tab.goto(&at(&scene, "/oauth2/sessions")).await;
    tab.photograph("sessions").await;
    let text = tab.text().await;
    for said in ["Chrome on Linux", "This session", "Safari on iPhone"] {
        assert!(text.contains(said), "{said}: {text}");
    }

    tab.resize(320, 1300).await;
    tab.photograph_window("sessions-narrow").await;
    let width: i64 = tab.script("document.documentElement.scrollWidth").await;
    assert!(width <= 320, "nobody has to scroll sideways: {width}");
    let described: bool = tab
        .script("[...document.querySelectorAll('[aria-describedby]')].every(b => document.getElementById(b.getAttribute('aria-describedby')).tagName === 'DL')")
        .await;
    assert!(described);

    let order = tab_to(&tab, "End the session in Safari on iPhone").await;
    assert_eq!(order[..1], ["Sign out of this session"], "{order:?}");
    tab.key("Enter").await;
    tab.until("document.body.innerText.includes('The session in Safari on iPhone has ended')")
        .await;
    tab.photograph_window("sessions-ended-one").await;
    let title: String = tab.script("document.title").await;
    assert!(title.contains("has ended"), "read out first: {title}");
    assert_eq!(phone.fetch("/reports").await.status, 401);
    assert_eq!(old.fetch("/reports").await.status, 200);

    tab_to(&tab, "End all other sessions").await;
    tab.key("Enter").await;
    tab.until("document.body.innerText.includes('The session in an unknown browser has ended')")
        .await;
    assert_eq!(old.fetch("/reports").await.status, 401);
    tab.goto(&at(&scene, "/reports")).await;
    assert!(tab.text().await.contains("u-alice"), "this one goes on");
    chromium.close().await;
}

/// Presses Tab until what reads so has the focus, and can be seen to; answers what had it on the way.
async fn tab_to(tab: &Tab, text: &str) -> Vec<String> {
    let mut order = Vec::new();
    for _ in 0..20 {
        tab.key("Tab").await;
        let focused: String = tab.script("document.activeElement.innerText").await;
        let outline: String = tab
            .script("getComputedStyle(document.activeElement).outlineStyle")
            .await;
        assert_ne!(outline, "none", "{focused}");
        order.push(focused);
        if order.last().is_some_and(|focused| focused == text) {
            return order;
        }
    }
    panic!("never came to {text:?}: {order:?}");
}

#[tokio::test]
#[ignore = "needs Chromium: run ./test"]
async fn with_two_providers_people_choose() {
    let scene = Scene::with(|setup| {
        let other = "[idp.other]\nlabel = \"Partners\"\nissuer = \"http://localhost:1\"\nclient_id = \"gateway\"\n\
             client_secret = { file = \"$DIR/client_secret\" }\naccess_token = { audience = [\"apps\"] }\n[session]";
        setup.replace("[session]", other);
    })
    .await;
    let chromium = Chromium::start().await;
    let tab = chromium.open(&at(&scene, "/reports")).await;
    tab.photograph("choose-a-provider").await;
    let text = tab.text().await;
    assert!(
        text.contains("Development") && text.contains("Partners"),
        "{text}"
    );
    chromium.close().await;
}

#[tokio::test]
#[ignore = "needs Chromium: run ./test"]
async fn the_demo_does_what_its_first_lines_promise() {
    let port = free_port();
    let mut demo = Child::start(&["demo", "--port", &port.to_string()]);
    eventually("the demo listens", || demo.output().contains("Ctrl-C")).await;
    let at = |path: &str| format!("https://localhost:{port}{path}");
    let chromium = Chromium::start().await;

    let tab = chromium.open(&at("/")).await;
    tab.until("document.querySelector('button[value=bob]')")
        .await;
    tab.click("button[value=bob]").await;
    tab.until("location.pathname === '/'").await;
    tab.photograph("demo-application").await;
    assert!(tab.text().await.contains("bob"));
    assert_scripts_find_nothing(&tab).await;

    tab.goto(&at("/admin/")).await;
    tab.photograph("demo-forbidden").await;
    assert!(!tab.text().await.contains("Demo application"));

    tab.goto(&at("/_demo")).await;
    tab.photograph("demo-buttons").await;
    press(&tab, "expire").await;
    tab.goto(&at("/")).await;
    assert!(
        tab.text().await.contains("bob"),
        "swapped, and nobody saw it"
    );

    tab.goto(&at("/_demo")).await;
    press(&tab, "replay").await;
    tab.photograph("demo-replayed").await;
    chromium.close().await;
    let trace = demo.output();
    for happened in ["bob signed in", "swap no. 1 of bob", "reuse detected"] {
        assert!(trace.contains(happened), "{happened}:\n{trace}");
    }
    demo.signal("TERM");
    assert!(demo.wait().await.success());
}

/// A button of the demo's page, which answers by saying what happened.
async fn press(tab: &Tab, button: &str) {
    tab.script::<bool>("history.replaceState(null, '', '/_demo') === undefined")
        .await;
    tab.click(&format!("button[value={button}]")).await;
    tab.until("location.search.startsWith('?said=')").await;
}

/// The standard scene, with an application that has a page for people.
async fn scene() -> Scene {
    let scene = Scene::start().await;
    show_pages(&scene);
    scene
}

async fn of_keycloak(keycloak: &Keycloak) -> Scene {
    let mut scene = Scene::without_gateway(|setup| keycloak.configure(setup, "gateway")).await;
    scene.start_gateway();
    show_pages(&scene);
    scene
}

fn show_pages(scene: &Scene) {
    scene.upstream.say(|arrived| {
        let page = format!(
            "<!doctype html><title>Reports</title><h1>Reports</h1><p>A secret of {}.",
            arrived.header("x-forwarded-user")
        );
        let asked = arrived.header("accept").contains("text/html");
        asked.then(|| reply(StatusCode::OK, "text/html; charset=utf-8", page))
    });
}

fn at(scene: &Scene, path: &str) -> String {
    scene.url().join(path).unwrap().into()
}

async fn signed_in(chromium: &Chromium, scene: &Scene, person: &str) -> Tab {
    let tab = chromium.open(&at(scene, "/reports")).await;
    let button = format!("button[value={person}]");
    tab.until(&format!("document.querySelector('{button}')"))
        .await;
    tab.click(&button).await;
    tab.until("location.pathname === '/reports'").await;
    tab
}

async fn sign_out(tab: &Tab, scene: &Scene) {
    tab.goto(&at(scene, "/oauth2/sign_out")).await;
    tab.photograph("sign-out").await;
    tab.click("button[type=submit]").await;
    tab.until("location.pathname === '/oauth2/signed_out'")
        .await;
    tab.photograph("signed-out").await;
}

/// What a script of the site, and so also one that an attacker got into it, can read.
async fn assert_scripts_find_nothing(tab: &Tab) {
    let found: String = tab
        .script("document.cookie + JSON.stringify(localStorage) + JSON.stringify(sessionStorage)")
        .await;
    assert_eq!(found, "{}{}");
}

async fn assert_one_good_cookie(tab: &Tab, longest: usize) {
    let ours = our_cookies(tab).await;
    assert_eq!(ours.len(), 1, "{ours:?}");
    let cookie = &ours[0];
    assert_eq!(cookie.name, "__Host-tidegate");
    assert!(cookie.http_only && cookie.secure, "{cookie:?}");
    assert_eq!(
        (cookie.path.as_str(), cookie.domain.as_str()),
        ("/", "localhost")
    );
    assert!(cookie.value.len() <= longest, "opaque");
}

/// Those of the gateway: the provider's are localhost's too.
async fn our_cookies(tab: &Tab) -> Vec<Cookie> {
    let mut cookies = tab.cookies().await;
    cookies.retain(|cookie| cookie.name.starts_with("__Host-"));
    cookies
}

/// The status that a page's own script gets, and whether it was led elsewhere.
async fn fetch(tab: &Tab, path: &str) -> String {
    let script = format!(
        "fetch('{path}').then(r => r.status + (r.redirected ? ' redirected' : ' as asked'), e => '' + e)"
    );
    tab.script(&script).await
}

/// All the way back, page by page: none of them may be shown again.
async fn assert_back_shows_nothing_protected(tab: &Tab) {
    for _ in 0..6 {
        if !tab.back().await {
            break;
        }
        let text = tab.text().await;
        assert!(
            !text.contains("A secret of"),
            "{} shows: {text}",
            tab.url().await
        );
    }
}
