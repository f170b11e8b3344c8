//! `tidegate demo`, the program itself: what a person sees who has just downloaded it.

use std::fs;
use std::time::Duration;

use tempfile::TempDir;
use tidegate::clock::Clock;
use url::Url;

use crate::support::browser::Browser;
use crate::support::chromium::Chromium;
use crate::support::gateway::{Child, free_port};
use crate::support::wire::{Speaks, Wire};

/// A running demo, and someone who looks at it.
struct Demo {
    child: Child,
    browser: Browser,
    dir: TempDir,
}

impl Demo {
    async fn start(arguments: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let port = free_port().to_string();
        let arguments = [&["demo", "--port", &port], arguments].concat();
        let state = [("XDG_STATE_HOME", dir.path())];
        let child = Child::start_with(&arguments, &state);
        wait_for(&child, "What happens").await;
        let certificate = dir.path().join("tidegate/localhost.crt");
        let certificate = fs::read_to_string(certificate).unwrap();
        let base = Url::parse(&format!("https://localhost:{port}")).unwrap();
        let wire = Wire::trusting(Speaks::H2, &certificate);
        Self {
            browser: Browser::over(wire, base, Clock::System),
            child,
            dir,
        }
    }
}

async fn wait_for(child: &Child, text: &str) {
    for _ in 0..1000 {
        if child.output().contains(text) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{text:?} was never said:\n{}", child.output());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_shows_sign_in_swap_refusal_and_accidents_and_tells_of_each() {
    let mut demo = Demo::start(&[]).await;
    let browser = demo.browser.clone();
    let page = browser.login("alice").await;
    assert!(page.body.contains("Hello alice"), "{}", page.body);
    wait_for(&demo.child, "cookie set").await;
    assert_eq!(browser.get("/admin/").await.status, 200);
    assert_eq!(browser.fetch("/api/headers.json").await.status, 200);

    let page = browser.get("/_demo").await;
    let page = browser.press(&page, "expire").await;
    assert!(
        page.body.contains("The clock of gateway and provider"),
        "{}",
        page.body
    );
    assert_eq!(browser.get("/").await.status, 200);
    wait_for(&demo.child, "swap no. 1 of alice").await;

    let page = browser.press(&page, "replay").await;
    wait_for(&demo.child, "reuse detected").await;
    browser.press(&page, "expire").await;
    let page = browser.get("/").await;
    assert!(
        page.body.contains("Hello alice"),
        "signed in again, unseen: {}",
        page.url
    );

    let page = browser.get("/_demo").await;
    let page = browser.press(&page, "end").await;
    assert_eq!(page.url.path(), "/public/_demo");
    assert!(
        page.body.contains("It has told the gateway"),
        "{}",
        page.body
    );
    wait_for(&demo.child, "back-channel logout: the gateway took it").await;
    let refused = browser.fetch("/").await;
    assert_eq!(refused.json()["code"], "signed_out_at_provider");
    browser.login("alice").await;

    let page = browser.get("/_demo").await;
    let page = browser.press(&page, "down").await;
    browser.press_once(&page, "expire").await;
    assert_eq!(browser.fetch("/").await.status, 503);
    assert!(browser.session_cookie().is_some());
    assert_eq!(browser.get("/_demo").await.status, 503);
    let page = browser.get("/public/_demo").await;
    let page = browser.press(&page, "up").await;
    assert!(page.body.contains("is back"), "{}", page.body);
    for _ in 0..100 {
        if browser.fetch("/").await.status == 200 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let page = browser.get("/").await;
    assert!(
        page.body.contains("Hello alice"),
        "{} {}",
        page.status,
        page.url
    );
    demo.child.signal("TERM");
    assert_eq!(
        demo.child.wait().await.code(),
        Some(0),
        "{}",
        demo.child.output()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn carol_sees_a_403_and_the_public_page_asks_for_nobody() {
    let demo = Demo::start(&[]).await;
    let public = demo.browser.get("/public/").await;
    assert!(public.body.contains("Hello stranger"), "{}", public.body);
    for (part, kind) in [
        ("_style.css", "text/css"),
        ("_socket.js", "text/javascript"),
    ] {
        assert!(public.body.contains(&format!("\"/public/{part}\"")));
        let part = demo.browser.fetch(&format!("/public/{part}")).await;
        assert!(
            part.header("content-type").starts_with(kind),
            "{}",
            part.status
        );
    }
    demo.browser.login("carol").await;
    assert_eq!(demo.browser.get("/admin/").await.status, 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_configuration_that_it_writes_is_one_that_check_accepts() {
    let into = tempfile::tempdir().unwrap();
    let into = into.path().join("new");
    let demo = Demo::start(&["--write", into.to_str().unwrap()]).await;
    let file = into.join("gateway.toml");
    let mut check = Child::start_with(
        &["check", "-c", file.to_str().unwrap()],
        &[("XDG_STATE_HOME", demo.dir.path())],
    );
    let status = check.wait().await;
    assert_eq!(status.code(), Some(0), "{}", check.output());
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Chromium: run ./test"]
async fn in_a_real_browser_the_pages_have_their_style_and_the_websocket_speaks() {
    let demo = Demo::start(&[]).await;
    let chromium = Chromium::start().await;
    let tab = chromium.open(demo.browser.base().as_str()).await;
    tab.until("document.querySelector('button[value=bob]')")
        .await;
    tab.photograph("demo-login").await;
    tab.click("button[value=bob]").await;
    tab.until("document.body.textContent.includes('it said echo')")
        .await;
    tab.photograph("demo-application").await;
    tab.goto(demo.browser.base().join("/_demo").unwrap().as_str())
        .await;
    tab.click("button[value=rotate]").await;
    tab.until("document.querySelector('p.said')").await;
    tab.photograph("demo-buttons").await;
    chromium.close().await;
}
