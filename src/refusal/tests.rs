//! Every cause against every kind of asker: who is redirected, who gets a page, who a problem; what is cleared and what
//! is left alone.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that can't be set up should fail"
)]

use std::sync::Arc;
use std::time::Duration;

use http::request::Parts;
use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use serde_json::Value;
use url::Url;

use super::{Asker, Refusal, Refusals, Site};
use crate::forward::Body;
use crate::pages::{Pages, Settings};
use crate::route::Access;
use crate::session::{EndReason, StoreError};
use crate::telemetry::RequestId;
use crate::{authorize, credential, forward, issuer, route, session, target, verify};

const COOKIE: &str = "__Host-tidegate";

fn refusals() -> Refusals {
    let url = Url::parse("https://apps.example.com:8443").unwrap();
    Refusals {
        pages: Arc::new(Pages::new(Settings::default())),
        site: Arc::new(Site::new(
            &url,
            "/oauth2",
            vec!["wiki.example.com".to_owned()],
        )),
        cookie: COOKIE.to_owned(),
    }
}

fn head(method: Method, uri: &str, headers: &[(&str, &str)]) -> Parts {
    let mut request = Request::builder().method(method).uri(uri);
    if !headers.iter().any(|(name, _)| *name == "host") {
        request = request.header("host", "apps.example.com:8443");
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap().into_parts().0
}

fn answer_to(refusal: &Refusal, head: &Parts) -> Response<Body> {
    let asker = Asker::of(head, &RequestId::of(&head.headers));
    refusals().answer(refusal, &asker)
}

/// A browser's page load of `/app?x=1&y=2`.
fn to_browser(refusal: &Refusal) -> Response<Body> {
    answer_to(
        refusal,
        &head(
            Method::GET,
            "/app?x=1&y=2",
            &[
                ("sec-fetch-mode", "navigate"),
                ("sec-fetch-dest", "document"),
            ],
        ),
    )
}

/// A program's GET.
fn to_program(refusal: &Refusal) -> Response<Body> {
    answer_to(
        refusal,
        &head(Method::GET, "/api/x?q=1", &[("accept", "*/*")]),
    )
}

fn header<'r>(response: &'r Response<Body>, name: &str) -> &'r str {
    response
        .headers()
        .get(name)
        .map_or("", |value| value.to_str().unwrap())
}

fn text(response: Response<Body>) -> String {
    let body = futures_util::FutureExt::now_or_never(response.into_body().collect());
    let bytes = body.unwrap().ok().unwrap().to_bytes();
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn json(response: Response<Body>) -> Value {
    serde_json::from_str(&text(response)).unwrap()
}

fn ended(reason: EndReason) -> Refusal {
    Refusal::Session(session::Error::Ended(reason))
}

fn no_credential(access: Access) -> Refusal {
    Refusal::Authorize(authorize::Error::NoCredential(access))
}

fn keys_unavailable() -> verify::Error {
    verify::Error::KeysUnavailable(Arc::new(issuer::Error::NotOffered("x")))
}

const RETRY: Duration = Duration::from_millis(2500);

#[expect(clippy::too_many_lines, reason = "a table")]
/// Cause, status to a program, status to a page load, whether the cookie is cleared.
fn table() -> Vec<(Refusal, u16, u16, bool)> {
    let store = StoreError {
        what: "x",
        source: None,
    };
    vec![
        (Refusal::Target(target::Error::Bad("x")), 400, 400, false),
        (Refusal::Target(target::Error::TooLong), 414, 414, false),
        (Refusal::Target(target::Error::Misdirected), 421, 421, false),
        (Refusal::Target(target::Error::Method), 405, 405, false),
        (Refusal::Route(route::Error::NoRoute), 404, 404, false),
        (Refusal::Route(route::Error::Ambiguous), 400, 400, false),
        (
            Refusal::Credential(credential::Error::Ambiguous),
            400,
            400,
            false,
        ),
        (
            Refusal::Credential(credential::Error::Malformed),
            400,
            400,
            false,
        ),
        (Refusal::Session(session::Error::Unknown), 401, 303, true),
        (
            Refusal::Session(session::Error::Unreadable),
            401,
            303,
            false,
        ),
        (ended(EndReason::SignedOut), 401, 303, true),
        (ended(EndReason::Replaced), 401, 303, false),
        (ended(EndReason::Displaced), 401, 401, true),
        (ended(EndReason::Dismissed), 401, 401, true),
        (ended(EndReason::Administrator), 401, 401, true),
        (ended(EndReason::BackChannel), 401, 303, true),
        (ended(EndReason::FrontChannel), 401, 303, true),
        (ended(EndReason::Idle), 401, 303, true),
        (ended(EndReason::Absolute), 401, 303, true),
        (ended(EndReason::Refused), 401, 303, true),
        (ended(EndReason::Expired), 401, 303, true),
        (ended(EndReason::LostInFlight), 401, 303, true),
        (ended(EndReason::BadAnswer), 401, 303, true),
        (
            Refusal::Session(session::Error::NotNow { retry_after: RETRY }),
            503,
            503,
            false,
        ),
        (
            Refusal::Session(session::Error::InDoubt {
                retry_after: Some(RETRY),
            }),
            503,
            303,
            false,
        ),
        (
            Refusal::Session(session::Error::InDoubt { retry_after: None }),
            401,
            303,
            false,
        ),
        (
            Refusal::Session(session::Error::Store(store)),
            503,
            503,
            false,
        ),
        (
            Refusal::Verify(verify::Error::Invalid("x")),
            401,
            401,
            false,
        ),
        (Refusal::Verify(verify::Error::Revoked), 401, 401, false),
        (
            Refusal::Verify(verify::Error::RevocationsUnknown),
            503,
            503,
            false,
        ),
        (Refusal::Verify(keys_unavailable()), 503, 503, false),
        (
            Refusal::SessionToken(verify::Error::Invalid("x")),
            401,
            303,
            false,
        ),
        (
            Refusal::SessionToken(verify::Error::Revoked),
            401,
            303,
            false,
        ),
        (Refusal::SessionToken(keys_unavailable()), 503, 503, false),
        (no_credential(Access::Session), 401, 303, false),
        (no_credential(Access::Any), 401, 401, false),
        (no_credential(Access::Bearer), 401, 401, false),
        (
            Refusal::Authorize(authorize::Error::InsufficientScope {
                scope: "api.read x".to_owned(),
            }),
            403,
            403,
            false,
        ),
        (
            Refusal::Authorize(authorize::Error::Forbidden),
            403,
            403,
            false,
        ),
        (Refusal::Authorize(authorize::Error::Csrf), 403, 403, false),
        (
            Refusal::Authorize(authorize::Error::CrossOrigin),
            403,
            403,
            false,
        ),
        (
            Refusal::Forward(forward::Error::TooLong {
                upstream: "x".into(),
            }),
            504,
            504,
            false,
        ),
        (
            Refusal::Forward(forward::Error::RequestBody),
            400,
            400,
            false,
        ),
        (Refusal::Forward(forward::Error::Upgrade), 501, 501, false),
        (
            Refusal::Provider(issuer::Error::NotOffered("x")),
            503,
            503,
            false,
        ),
        (Refusal::NoEndpoint, 404, 404, false),
        (Refusal::Method { allow: "GET" }, 405, 405, false),
        (Refusal::Malformed("x"), 400, 400, false),
        (Refusal::TooLarge, 413, 413, false),
        (Refusal::CrossSite, 403, 403, false),
        (Refusal::SessionsNotListed, 404, 404, false),
        (Refusal::NoSuchSession, 404, 404, false),
        (
            Refusal::NotEnded(session::StoreError {
                what: "x",
                source: None,
            }),
            503,
            503,
            false,
        ),
        (Refusal::NoCsrfHeader, 403, 403, false),
        (Refusal::Internal, 500, 500, false),
    ]
}

#[test]
fn every_cause_has_its_answer() {
    for (refusal, program, browser, clears) in table() {
        let response = to_program(&refusal);
        assert_eq!(response.status(), program, "{refusal:?} to a program");
        assert_eq!(refusal.status(), program, "{refusal:?}");
        assert_eq!(
            header(&response, "content-type"),
            "application/problem+json"
        );
        assert_eq!(
            header(&response, "set-cookie").contains("Max-Age=0"),
            clears,
            "{refusal:?}"
        );
        let response = to_browser(&refusal);
        assert_eq!(response.status(), browser, "{refusal:?} to a browser");
        assert_eq!(
            header(&response, "set-cookie").contains("Max-Age=0"),
            clears,
            "{refusal:?}"
        );
    }
}

#[test]
fn every_answer_is_guarded() {
    for (refusal, ..) in table() {
        for response in [to_program(&refusal), to_browser(&refusal)] {
            assert_eq!(
                header(&response, "cache-control"),
                "no-store",
                "{refusal:?}"
            );
            assert_eq!(header(&response, "x-content-type-options"), "nosniff");
            assert_eq!(header(&response, "referrer-policy"), "no-referrer");
            assert!(
                header(&response, "content-security-policy").contains("frame-ancestors 'none'")
            );
            assert_eq!(
                header(&response, "strict-transport-security"),
                "max-age=31536000"
            );
            if response.status() == StatusCode::UNAUTHORIZED {
                assert!(
                    header(&response, "www-authenticate").starts_with("Bearer "),
                    "{refusal:?}"
                );
            }
            if response.status() == StatusCode::SERVICE_UNAVAILABLE {
                assert!(!header(&response, "retry-after").is_empty(), "{refusal:?}");
            }
            if response.status() == StatusCode::METHOD_NOT_ALLOWED {
                assert!(!header(&response, "allow").is_empty(), "{refusal:?}");
            }
        }
    }
}

#[test]
fn a_problem_says_all_that_the_contract_names() {
    let problem = json(to_program(&no_credential(Access::Session)));
    assert_eq!(problem["type"], "about:blank");
    assert_eq!(problem["title"], "Unauthorized");
    assert_eq!(problem["status"], 401);
    assert!(problem["detail"].is_string());
    assert_eq!(problem["instance"], "/api/x");
    assert_eq!(problem["request_id"].as_str().unwrap().len(), 32);
    assert_eq!(
        problem["login_url"],
        "https://apps.example.com:8443/oauth2/start?rd=%2Fapi%2Fx%3Fq%3D1"
    );
}

#[test]
fn no_internals_are_said() {
    let store = StoreError {
        what: "reading /var/secret",
        source: None,
    };
    let secret = |refusal: &Refusal| {
        text(to_program(refusal)).contains("secret") || text(to_browser(refusal)).contains("secret")
    };
    for refusal in [
        Refusal::Session(session::Error::Store(store)),
        Refusal::Target(target::Error::Bad("secret")),
        Refusal::Verify(verify::Error::Invalid("secret")),
        Refusal::SessionToken(verify::Error::Invalid("secret")),
        Refusal::Forward(forward::Error::TooLong {
            upstream: "secret".into(),
        }),
        Refusal::Provider(issuer::Error::Unknown {
            reason: "secret".to_owned(),
        }),
    ] {
        assert!(!secret(&refusal), "{refusal:?}");
    }
}

#[test]
fn challenges_follow_rfc_6750() {
    let challenge = |refusal: &Refusal| header(&to_program(refusal), "www-authenticate").to_owned();
    let bare = "Bearer realm=\"tidegate\"";
    assert_eq!(challenge(&no_credential(Access::Bearer)), bare);
    assert_eq!(challenge(&Refusal::Session(session::Error::Unknown)), bare);
    assert_eq!(
        challenge(&Refusal::Verify(verify::Error::Invalid("x"))),
        format!("{bare}, error=\"invalid_token\"")
    );
    assert_eq!(
        challenge(&Refusal::Credential(credential::Error::Malformed)),
        format!("{bare}, error=\"invalid_request\"")
    );
    let scope = "api.read \"x\"".to_owned();
    assert_eq!(
        challenge(&Refusal::Authorize(authorize::Error::InsufficientScope {
            scope
        })),
        format!("{bare}, error=\"insufficient_scope\", scope=\"api.read x\"")
    );
    assert_eq!(
        challenge(&Refusal::Authorize(authorize::Error::Forbidden)),
        ""
    );
}

#[test]
fn page_loads_are_sent_to_sign_in_and_back_to_where_they_were() {
    let back = "https://apps.example.com:8443/oauth2/start?rd=%2Fapp%3Fx%3D1%26y%3D2";
    let location = |refusal: &Refusal| header(&to_browser(refusal), "location").to_owned();
    assert_eq!(location(&no_credential(Access::Session)), back);
    assert_eq!(location(&Refusal::Session(session::Error::Unknown)), back);
    let silently = format!("{back}&prompt=none");
    assert_eq!(location(&ended(EndReason::LostInFlight)), silently);
    let in_doubt = Refusal::Session(session::Error::InDoubt {
        retry_after: Some(RETRY),
    });
    assert_eq!(location(&in_doubt), silently);
    assert_eq!(header(&to_program(&in_doubt), "retry-after"), "3");
}

#[test]
fn sign_in_starts_on_the_host_that_was_asked_if_it_is_ours() {
    let location = |host: &str| {
        let head = head(
            Method::GET,
            "/a",
            &[("host", host), ("sec-fetch-mode", "navigate")],
        );
        header(
            &answer_to(&no_credential(Access::Session), &head),
            "location",
        )
        .to_owned()
    };
    for host in [
        "apps.example.com",
        "APPS.example.com:8443",
        "apps.example.com.:1",
    ] {
        assert_eq!(
            location(host),
            "https://apps.example.com:8443/oauth2/start?rd=%2Fa"
        );
    }
    assert_eq!(
        location("Wiki.example.com:8443"),
        "https://wiki.example.com:8443/oauth2/start?rd=%2Fa"
    );
    for host in [
        "evil.example",
        "evil.example:8443",
        "[::1]:8443",
        "wiki.example.com.evil.example",
        "",
    ] {
        assert_eq!(
            location(host),
            "https://apps.example.com:8443/oauth2/start?rd=%2Fa",
            "{host}"
        );
    }
}

type Row = (Method, &'static [(&'static str, &'static str)], u16);

#[test]
fn who_is_a_page_load() {
    const NAVIGATE: (&str, &str) = ("sec-fetch-mode", "navigate");
    const BROWSER: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
    let rows: &[Row] = &[
        (
            Method::GET,
            &[NAVIGATE, ("sec-fetch-dest", "document")],
            303,
        ),
        (
            Method::HEAD,
            &[NAVIGATE, ("sec-fetch-dest", "document")],
            303,
        ),
        (Method::GET, &[NAVIGATE], 303),
        (Method::GET, &[NAVIGATE, ("sec-fetch-dest", "iframe")], 401),
        (Method::GET, &[NAVIGATE, ("sec-fetch-dest", "embed")], 401),
        (
            Method::POST,
            &[NAVIGATE, ("sec-fetch-dest", "document")],
            401,
        ),
        (
            Method::GET,
            &[("sec-fetch-mode", "cors"), ("accept", BROWSER)],
            401,
        ),
        (
            Method::GET,
            &[("sec-fetch-mode", "no-cors"), ("accept", BROWSER)],
            401,
        ),
        (Method::GET, &[("sec-fetch-mode", "websocket")], 401),
        (Method::GET, &[("accept", BROWSER)], 303),
        (Method::POST, &[("accept", BROWSER)], 401),
        (
            Method::GET,
            &[("accept", BROWSER), ("x-requested-with", "XMLHttpRequest")],
            401,
        ),
        (Method::GET, &[], 401),
        (Method::GET, &[("accept", "*/*")], 401),
        (
            Method::GET,
            &[("accept", "application/json, text/plain, */*")],
            401,
        ),
        (
            Method::GET,
            &[("accept", "application/json, text/html")],
            401,
        ),
        (
            Method::GET,
            &[("accept", "text/html, application/json")],
            303,
        ),
        (
            Method::GET,
            &[("accept", "text/html;q=0.5, application/json;q=0.4")],
            303,
        ),
        (
            Method::GET,
            &[("accept", "text/html;q=0.4, application/problem+json;q=0.5")],
            401,
        ),
        (Method::GET, &[("accept", "text/html;q=0")], 401),
        (Method::GET, &[("accept", "text/html;q=x")], 401),
        (Method::GET, &[("accept", "TEXT/HTML ; Q=0.001")], 303),
    ];
    for (method, headers, status) in rows {
        let head = head(method.clone(), "/", headers);
        let response = answer_to(&no_credential(Access::Session), &head);
        assert_eq!(response.status(), *status, "{method} {headers:?}");
    }
}

#[test]
fn forms_and_frames_get_a_page_and_programs_a_problem() {
    let kind = |method: Method, headers: &[(&str, &str)]| {
        let head = head(method, "/form", headers);
        let response = answer_to(&no_credential(Access::Session), &head);
        header(&response, "content-type").to_owned()
    };
    let navigate = ("sec-fetch-mode", "navigate");
    assert_eq!(kind(Method::POST, &[navigate]), "text/html; charset=utf-8");
    assert_eq!(
        kind(Method::GET, &[navigate, ("sec-fetch-dest", "iframe")]),
        "text/html; charset=utf-8"
    );
    assert_eq!(
        kind(Method::POST, &[("sec-fetch-mode", "cors")]),
        "application/problem+json"
    );
}

#[test]
fn a_program_comes_back_to_the_page_that_it_runs_in() {
    let login_url = |method: Method, referer: Option<&str>| {
        let mut headers = vec![("sec-fetch-mode", "cors")];
        headers.extend(referer.map(|referer| ("referer", referer)));
        let head = head(method, "/api/x", &headers);
        let problem = json(answer_to(&no_credential(Access::Any), &head));
        let (_, rd) = problem["login_url"]
            .as_str()
            .unwrap()
            .split_once("rd=")
            .unwrap();
        rd.to_owned()
    };
    let page = "https://apps.example.com:8443/page?a#b";
    assert_eq!(login_url(Method::GET, Some(page)), "%2Fpage%3Fa%23b");
    assert_eq!(login_url(Method::POST, Some(page)), "%2Fpage%3Fa%23b");
    assert_eq!(login_url(Method::GET, None), "%2Fapi%2Fx");
    assert_eq!(login_url(Method::POST, None), "%2F");
    for foreign in [
        "https://evil.example/x",
        "https://apps.example.com:8443.evil.example/x",
        "https://apps.example.com:8443@evil.example/x",
        "https://apps.example.com/x",
    ] {
        assert_eq!(login_url(Method::POST, Some(foreign)), "%2F", "{foreign}");
    }
}

#[test]
fn head_is_answered_without_a_body() {
    for headers in [&[("sec-fetch-mode", "navigate")][..], &[("accept", "*/*")]] {
        let head = head(Method::HEAD, "/x", headers);
        let response = answer_to(&Refusal::Route(route::Error::NoRoute), &head);
        assert_eq!(response.status(), 404);
        assert_eq!(text(response), "");
    }
}

#[test]
fn what_may_pass_is_tried_again_by_the_page_itself() {
    let response = to_browser(&Refusal::Session(session::Error::NotNow {
        retry_after: RETRY,
    }));
    assert_eq!(header(&response, "refresh"), "3");
    assert_eq!(header(&response, "retry-after"), "3");
    assert!(text(response).contains("You are still signed in"));
}

#[test]
fn localhost_is_not_pinned_to_https() {
    let pin =
        |url: &str| Site::new(&Url::parse(url).unwrap(), "/oauth2", vec![]).strict_transport();
    assert!(pin("https://apps.example.com").is_some());
    for url in [
        "https://localhost:8443",
        "https://app.localhost",
        "https://127.0.0.1",
        "https://[::1]:8443",
        "http://apps.example.com",
    ] {
        assert_eq!(pin(url), None, "{url}");
    }
}
