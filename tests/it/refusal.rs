//! How a no looks: to people, to forms and frames, and to programs.

use http::{Method, header};

use crate::support::client::request;
use crate::support::{MINUTE, Scene, eventually};

const BROWSER: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";

#[tokio::test(flavor = "multi_thread")]
async fn a_page_load_is_sent_to_sign_in_and_everything_else_is_told() {
    let scene = Scene::start().await;
    let client = scene.client();
    let navigate = ("sec-fetch-mode", "navigate");
    for (method, headers, status, kind) in [
        (
            "GET",
            &[navigate, ("sec-fetch-dest", "document")][..],
            303,
            "",
        ),
        ("GET", &[("accept", BROWSER)], 303, ""),
        ("HEAD", &[navigate, ("sec-fetch-dest", "document")], 303, ""),
        (
            "GET",
            &[navigate, ("sec-fetch-dest", "iframe")],
            401,
            "text/html; charset=utf-8",
        ),
        (
            "POST",
            &[navigate, ("sec-fetch-dest", "document")],
            401,
            "text/html; charset=utf-8",
        ),
        (
            "GET",
            &[("sec-fetch-mode", "cors"), ("accept", BROWSER)],
            401,
            "application/problem+json",
        ),
        (
            "GET",
            &[("sec-fetch-mode", "websocket")],
            401,
            "application/problem+json",
        ),
        ("GET", &[], 401, "application/problem+json"),
        ("DELETE", &[], 401, "application/problem+json"),
    ] {
        let mut request = http::Request::builder().method(method);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let reply = client.send("/app?x=1", request).await;
        assert_eq!(reply.status, status, "{method} {headers:?}");
        assert_eq!(reply.header("content-type"), kind, "{method} {headers:?}");
        if status == 401 {
            assert_eq!(
                reply.header("www-authenticate"),
                "Bearer realm=\"tidegate\""
            );
        } else {
            let to = format!("{}oauth2/start?rd=%2Fapp%3Fx%3D1", scene.url());
            assert_eq!(reply.header("location"), to);
        }
        assert_eq!(reply.header("cache-control"), "no-store");
    }
    assert_eq!(scene.upstream.count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_problem_names_everything_that_a_program_needs() {
    let scene = Scene::start().await;
    let reply = scene.client().get("/app").await;
    let problem = reply.json();
    assert_eq!(problem["status"], 401);
    assert_eq!(problem["title"], "Unauthorized");
    assert_eq!(problem["instance"], "/app");
    let login = problem["login_url"].as_str().unwrap();
    let browser = scene.browser();
    let page = browser.get(login).await;
    let page = browser.press(&page, "alice").await;
    assert_eq!((page.status.as_u16(), page.url.path()), (200, "/app"));
}

#[tokio::test(flavor = "multi_thread")]
async fn where_bearer_tokens_are_taken_nobody_is_ever_sent_round() {
    let scene = Scene::start().await;
    let browser = scene.browser();
    for path in ["/api/x", "/bearer/x"] {
        let page = browser.get(path).await;
        assert_eq!((page.status.as_u16(), page.hops.len()), (401, 1), "{path}");
        assert!(page.header("content-type").starts_with("text/html"));
    }
    browser.login("alice").await;
    assert_eq!(browser.get("/api/x").await.status, 200);
    let page = browser.get("/bearer/x").await;
    assert_eq!(
        (page.status.as_u16(), page.hops.len()),
        (401, 1),
        "a session is no bearer"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_and_a_bearer_at_once_are_refused() {
    let scene = Scene::start().await;
    let browser = scene.browser();
    browser.login("alice").await;
    let arrived = scene.upstream.count();
    let bearer = format!("Bearer {}", scene.bearer("bob"));
    let reply = browser
        .fetch_with(Method::GET, "/api/x", &[("authorization", &bearer)])
        .await;
    assert_eq!(reply.status, 400);
    assert!(
        reply
            .header("www-authenticate")
            .contains("error=\"invalid_request\"")
    );
    assert!(browser.session_cookie().is_some());
    assert_eq!(scene.upstream.count(), arrived);
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_ways_to_show_a_bearer_are_refused_and_the_scheme_has_no_case() {
    let scene = Scene::start().await;
    let client = scene.client_h1();
    let token = scene.bearer("alice");
    for (values, status) in [
        (vec![format!("bearer {token}")], 200),
        (vec![format!("BEARER  {token}")], 200),
        (
            vec![format!("Bearer {token}"), format!("Bearer {token}")],
            400,
        ),
        (
            vec!["Basic eDp5".to_owned(), format!("Bearer {token}")],
            400,
        ),
        (vec![format!("Basic eDp5, Bearer {token}")], 400),
        (vec![format!("Bearer {token},x")], 400),
        (vec![format!("Bearer\t{token}")], 400),
        (vec!["Bearer".to_owned()], 400),
        (vec!["Basic eDp5".to_owned()], 401),
    ] {
        let mut get = request("GET");
        for value in &values {
            get = get.header(header::AUTHORIZATION, value);
        }
        let reply = client.send("/api/x", get).await;
        assert_eq!(
            reply.status,
            status,
            "{} header(s): {}",
            values.len(),
            reply.text()
        );
    }
    let query = client.get(&format!("/api/x?access_token={token}")).await;
    assert_eq!(query.status, 401, "a token in the query is none");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_403_says_why_and_what_to_do() {
    let scene = Scene::start().await;
    let browser = scene.browser();
    browser.login("carol").await;
    let page = browser.get("/admin/x").await;
    assert_eq!(page.status, 403);
    assert!(page.body.contains("not in a group"), "{}", page.body);
    assert!(
        !page.body.contains("admins"),
        "which group is nobody's business"
    );
    let links: Vec<String> = page
        .links()
        .iter()
        .map(|link| link.path().to_owned())
        .collect();
    assert_eq!(
        links,
        ["/", "/oauth2/start", "/oauth2/sign_out", "/oauth2/sessions"]
    );
    let problem = browser.fetch("/admin/x").await;
    assert_eq!(problem.status, 403);
    assert_eq!(problem.json()["code"], "forbidden");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cookie_is_cleared_when_its_session_is_over_and_only_then() {
    let scene = Scene::start().await;
    let browser = scene.browser();
    browser.login("alice").await;
    scene.idp.go_down();
    scene.clock.advance(6 * MINUTE);
    let refused = browser.fetch("/app").await;
    assert_eq!(
        (refused.status.as_u16(), refused.header("set-cookie")),
        (503, "")
    );
    assert!(browser.session_cookie().is_some());
    scene.idp.come_up();
    scene.clock.advance(31 * MINUTE);
    let refused = browser.fetch("/app").await;
    assert_eq!(refused.status, 401, "idle");
    assert!(browser.session_cookie().is_none());
    assert!(browser.refused_cookies().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_application_that_is_away_is_a_page_without_internals() {
    let scene = Scene::start().await;
    let browser = scene.browser();
    browser.login("alice").await;
    scene.upstream.go_down();
    let port = scene.upstream.port().to_string();
    let page = browser.get("/app").await;
    assert_eq!(page.status, 502, "{}", page.body);
    assert!(page.header("content-type").starts_with("text/html"));
    let problem = browser.fetch("/app").await;
    assert_eq!(problem.header("content-type"), "application/problem+json");
    for body in [&page.body, &problem.body] {
        assert!(
            !body.contains(&port) && !body.contains("127.0.0.1"),
            "{body}"
        );
    }
    assert!(browser.session_cookie().is_some());
    scene.upstream.come_up();
    assert_eq!(browser.get("/app").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_sent_after_the_session_ended_is_not_lost() {
    let scene = Scene::start().await;
    let browser = scene.browser();
    browser.login("alice").await;
    scene.clock.advance(31 * MINUTE);
    let page = browser
        .post("/app/save", &[("text", "an hour of work")])
        .await;
    assert_eq!(
        (page.status.as_u16(), page.hops.len()),
        (401, 1),
        "not sent elsewhere as a GET"
    );
    assert!(page.body.contains("send it again"), "{}", page.body);
    assert!(page.body.contains("target=\"_blank\""));
    // In the other tab, where the provider asks anew: an idle session's end is told to it.
    eventually("the idle session's end is told", || {
        scene.idp.journal().refresh_revocations == 1
    })
    .await;
    let link = page.links().remove(0);
    let tab = browser.click(&page, &link).await;
    let tab = browser.press(&tab, "alice").await;
    assert_eq!((tab.status.as_u16(), tab.url.path()), (200, "/"));
    let page = browser
        .post("/app/save", &[("text", "an hour of work")])
        .await;
    assert_eq!(page.status, 200);
    assert!(scene.upstream.last().body.starts_with(b"text="));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_page_of_ours_is_guarded_and_has_no_script() {
    let scene = Scene::start().await;
    let browser = scene.browser();
    let mut pages = vec![
        browser.get("/api/x").await,
        browser.get("/oauth2/sign_out").await,
        browser.get("/oauth2/signed_out").await,
        browser.get("/oauth2/callback").await,
        browser.get("/oauth2/none").await,
    ];
    browser.login("carol").await;
    pages.extend([
        browser.get("/admin/x").await,
        browser.get("/oauth2/sign_out").await,
    ]);
    for page in pages {
        let policy = page.header("content-security-policy");
        assert!(
            policy.starts_with("default-src 'none'; style-src 'sha256-"),
            "{}: {policy}",
            page.url
        );
        assert!(policy.contains("frame-ancestors 'none'") && policy.contains("base-uri 'none'"));
        assert_eq!(page.header("x-content-type-options"), "nosniff");
        assert_eq!(page.header("referrer-policy"), "no-referrer");
        assert_eq!(page.header("cache-control"), "no-store");
        assert_eq!(
            page.header("strict-transport-security"),
            "",
            "localhost is not pinned"
        );
        assert!(
            !page.body.contains("<script") && !page.body.contains("javascript:"),
            "{}",
            page.url
        );
    }
}

/// A client may not choose the id that its requests have in our logs; a trusted proxy may.
#[tokio::test(flavor = "multi_thread")]
async fn a_strangers_trace_goes_on_but_its_id_is_ours() {
    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    let traceparent = format!("00-{TRACE}-00f067aa0ba902b7-01");
    for (trusted, same) in [("[]", false), ("[\"127.0.0.0/8\"]", true)] {
        let scene = Scene::with(|setup| {
            setup.replace(
                "shutdown_grace = \"10s\"",
                &format!("shutdown_grace = \"10s\"\ntrusted_proxies = {trusted}"),
            );
        })
        .await;
        let request = http::Request::builder().header("traceparent", &traceparent);
        let reply = scene.client().send("/public/x", request).await;
        assert_eq!(reply.status, 200);
        let arrived = scene.upstream.last();
        assert!(
            arrived
                .header("traceparent")
                .starts_with(&format!("00-{TRACE}-"))
        );
        assert_eq!(arrived.header("x-request-id") == TRACE, same, "{trusted}");
    }
}
