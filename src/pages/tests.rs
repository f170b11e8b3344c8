//! Every page renders, says what it must, escapes what it is given, and carries its headers.
#![expect(
    clippy::unwrap_used,
    reason = "a test that can't be set up should fail"
)]

use http::StatusCode;
use serde_json::{Value, json};

use super::{Pages, STYLE, Settings};

const EVIL: &str = "\"><script>alert(1)</script>'&";

fn session(current: bool) -> Value {
    let moment = json!({ "stamp": EVIL, "words": EVIL });
    json!({
        "current": current, "device": EVIL, "device_within": EVIL, "address": EVIL, "signed_in": moment, "last_seen": moment,
        "expires": moment, "idle": true, "latest": moment, "end": EVIL,
    })
}

fn contexts() -> Vec<(&'static str, Value)> {
    vec![
        (
            "sign_in.html",
            json!({ "choices": [{ "url": EVIL, "label": EVIL }, { "url": "/b", "label": "B" }] }),
        ),
        (
            "sign_out.html",
            json!({ "provider": EVIL, "at_provider": true, "action": EVIL, "rd": EVIL, "form": EVIL, "stay": EVIL, "sessions": EVIL }),
        ),
        (
            "signed_out.html",
            json!({ "title": EVIL, "facts": [{ "what": EVIL, "how": EVIL }], "onward": EVIL, "sign_in": EVIL }),
        ),
        (
            "signed_out.html",
            json!({ "title": EVIL, "text": EVIL, "sign_in": EVIL }),
        ),
        (
            "refused.html",
            json!({ "title": EVIL, "text": EVIL, "home": EVIL, "other": EVIL, "sign_out": EVIL, "sessions": EVIL, "request_id": EVIL }),
        ),
        (
            "problem.html",
            json!({ "title": EVIL, "text": EVIL, "action": { "url": EVIL, "label": EVIL } }),
        ),
        ("cookies_blocked.html", json!({ "again": EVIL })),
        (
            "sessions.html",
            json!({
                "note": { "title": EVIL, "facts": [{ "what": EVIL, "how": EVIL }] },
                "provider": EVIL, "form": EVIL, "end_others": EVIL, "sign_out": EVIL, "home": EVIL,
                "sessions": [
                    session(true),
                    session(false),
                ],
            }),
        ),
    ]
}

#[test]
fn every_page_renders_and_lets_nothing_through_unescaped() {
    let pages = Pages::new(Settings {
        title: EVIL.to_owned(),
    });
    for (name, context) in contexts() {
        let page = pages.render(StatusCode::OK, name, context);
        assert_eq!(page.status(), StatusCode::OK, "{name}");
        let body = page.body();
        assert!(!body.contains("<script"), "{name}");
        assert!(!body.contains(EVIL), "{name}");
        assert!(body.contains("&lt;script"), "{name}");
        assert!(
            !body.contains(" style="),
            "{name}: inline styles need a hash each"
        );
    }
}

#[test]
fn every_page_carries_its_guards_and_only_its_own_style() {
    let pages = Pages::new(Settings::default());
    for (name, context) in contexts() {
        let page = pages.render(StatusCode::FORBIDDEN, name, context);
        let header = |name: &str| page.headers()[name].to_str().unwrap().to_owned();
        assert_eq!(header("cache-control"), "no-store");
        assert_eq!(header("x-content-type-options"), "nosniff");
        assert_eq!(header("referrer-policy"), "no-referrer");
        let policy = header("content-security-policy");
        assert!(
            policy.starts_with("default-src 'none'; style-src 'sha256-"),
            "{policy}"
        );
        assert!(
            policy.contains("frame-ancestors 'none'; base-uri 'none'"),
            "{policy}"
        );
        assert!(!policy.contains("unsafe"), "{policy}");
        let body = page.body();
        let (_, rest) = body.split_once("<style>").unwrap();
        let (style, _) = rest.split_once("</style>").unwrap();
        assert_eq!(style, STYLE, "{name}: what the hash was made of");
        assert_eq!(
            policy.contains("form-action 'none'"),
            !body.contains("<form"),
            "{name}"
        );
    }
}

#[test]
fn a_page_that_is_none_is_an_error_page() {
    let page = Pages::new(Settings::default()).render(StatusCode::OK, "none.html", json!({}));
    assert_eq!(page.status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert!(page.body().contains("Something went wrong"));
}
