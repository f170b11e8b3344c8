//! The payload classes of the public open-redirect lists, spelled out in every combination, and whatever proptest thinks of:
//! what is followed is always on an origin of ours, as a browser reads it.
#![expect(
    clippy::unwrap_used,
    reason = "a test that can't be set up should fail"
)]

use proptest::prelude::*;
use url::Url;

use super::ReturnTo;
use crate::refusal::Site;

const HERE: &str = "https://apps.example.com:8443";
const OTHER: &str = "https://wiki.example.com:8443";

fn site() -> Site {
    let url = Url::parse(HERE).unwrap();
    Site::new(&url, "/oauth2", vec!["wiki.example.com".to_owned()])
}

fn location(rd: &str) -> String {
    ReturnTo::read(Some(rd), &site(), HERE).location()
}

/// Follows `rd` as a browser does, and fails if that leads anywhere but to us.
fn stays(rd: &str) {
    let read = ReturnTo::read(Some(rd), &site(), HERE);
    for location in [
        read.location(),
        ReturnTo::read(Some(read.path()), &site(), HERE).location(),
    ] {
        // As an absolute URL, and as a reader would take it that resolves it against the page.
        for url in [
            Url::parse(&location),
            Url::parse(HERE).unwrap().join(&location),
        ] {
            let url = url.unwrap();
            let origin = url.origin().ascii_serialization();
            assert!(origin == HERE || origin == OTHER, "{rd:?} leads to {url}");
            assert!(
                url.username().is_empty() && url.password().is_none(),
                "{rd:?} → {url}"
            );
        }
        assert!(
            location.is_ascii()
                && !location.contains(|c: char| c.is_control() || c == ' ' || c == '\\'),
            "{rd:?} → {location:?}"
        );
        assert!(http::HeaderValue::from_str(&location).is_ok(), "{rd:?}");
    }
    assert!(
        read.path().starts_with('/') && !read.path().starts_with("//"),
        "{rd:?}"
    );
}

#[test]
fn our_own_places_are_kept() {
    for path in [
        "/",
        "/app",
        "/app/",
        "/a/b?x=1&y=2",
        "/a?next=https://evil.example/",
        "/a#fragment",
        "/%20a",
        "/a%2Fb",
        "/a:b@c",
        "/?",
        "/oauth2x",
        "/oauth",
        "/oauth2/userinfo",
        "/oauth2/session",
        "/oauth2/sessions",
    ] {
        assert_eq!(location(path), format!("{HERE}{path}"));
        assert_eq!(location(&format!("{HERE}{path}")), format!("{HERE}{path}"));
        assert_eq!(
            location(&format!("{OTHER}{path}")),
            format!("{OTHER}{path}")
        );
    }
    assert_eq!(
        location("HTTPS://APPS.example.com:8443/x"),
        format!("{HERE}/x")
    );
    assert_eq!(location("/a/../b"), format!("{HERE}/b"));
    assert_eq!(location("/ü"), format!("{HERE}/%C3%BC"));
    assert_eq!(
        ReturnTo::read(None, &site(), OTHER).location(),
        format!("{OTHER}/")
    );
}

#[test]
fn another_origin_is_not_ours_though_its_host_is() {
    for rd in [
        "https://apps.example.com/x",
        "https://apps.example.com:443/x",
        "https://apps.example.com:8444/x",
        "http://apps.example.com:8443/x",
        "https://apps.example.com.:8443/x",
        "https://wiki.example.com/x",
        "https://xapps.example.com:8443/x",
        "https://apps.example.com:8443.evil.example/x",
    ] {
        assert_eq!(location(rd), format!("{HERE}/"), "{rd}");
    }
}

#[test]
fn endpoints_of_ours_that_lead_away_again_are_not_returned_to() {
    for rd in [
        "/oauth2",
        "/oauth2/",
        "/oauth2/start",
        "/oauth2/start?rd=/",
        "/oauth2/callback?code=x",
        "/oauth2/sign_in",
        "/oauth2/sign_out",
        "/oauth2/signed_out",
        "/OAuth2/Start",
        "/oauth2/%73tart",
        "/%6fauth2/start",
        "/oauth2//start",
        "/./oauth2/start",
        "/x/../oauth2/start",
        "/x/%2e%2e/oauth2/start",
        "/oauth2;x/start",
        "/oauth2/start;y",
        "/oauth2%2Fstart",
        "/oauth2%5cstart",
        "https://apps.example.com:8443/oauth2/start",
        "https://wiki.example.com:8443/oauth2/sign_out",
    ] {
        assert!(location(rd).ends_with(":8443/"), "{rd} → {}", location(rd));
    }
}

#[test]
fn over_long_is_not_kept() {
    let long = format!("/{}", "a".repeat(2047));
    assert_eq!(location(&long), format!("{HERE}{long}"));
    assert_eq!(location(&format!("{long}a")), format!("{HERE}/"));
    // Longer only once it is escaped.
    assert_eq!(
        location(&format!("/{}", "ü".repeat(600))),
        format!("{HERE}/")
    );
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn the_open_redirect_lists_lead_nowhere() {
    let targets = [
        "evil.example",
        "evil%E3%80%82example",
        "evil。example",
        "①②⑦.0.0.1",
        "127.1",
        "2130706433",
        "[::1]",
        "0x7f.1",
        "evil.example:80",
        "apps.example.com@evil.example",
        "apps.example.com:8443@evil.example",
        "apps.example.com.evil.example",
        "evil.example#apps.example.com",
        "evil.example?apps.example.com",
        "evil.example\\@apps.example.com:8443",
        "аpps.example.com:8443",
        "xn--pps-6kd.example.com:8443",
    ];
    let starts = [
        "//",
        "///",
        "////",
        "/////",
        "\\\\",
        "/\\",
        "\\/",
        "/\\/",
        "//\\",
        "/\\\\",
        "\\",
        "/\t/",
        "/\n/",
        "/\r/",
        "/\r\n/",
        "\t//",
        " //",
        "\u{b}//",
        "\u{0}//",
        "/\u{0}/",
        "/ /",
        "/%09/",
        "/%0a/",
        "/%0d%0a/",
        "/%5c",
        "/%5c%5c",
        "/%2f",
        "/%2f%2f",
        "/.//",
        "/./",
        "/..//",
        "/../",
        "/;//",
        "/?//",
        "/x/../..//",
        "//;@",
        "/;@",
        "@",
        "/@",
        "//@",
        ".",
        "..",
        "./",
        "http:",
        "https:",
        "http:/",
        "https:/",
        "http://",
        "https://",
        "hTTps://",
        "https:///",
        "https:\\\\",
        "https:/\\",
        "https:\t//",
        "ht\ntps://",
        " https://",
        "\u{feff}https://",
        "https://x:y@",
        "https://apps.example.com:8443@",
        "https://apps.example.com:8443%40",
        "https://apps.example.com%2f@",
        "https://apps.example.com:8443\\@",
        "https://apps.example.com:8443#@",
        "https://apps.example.com:8443?@",
        "javascript:",
        "javascript://",
        "JaVaScRiPt:",
        "java\tscript:",
        "data:text/html,",
        "vbscript:",
        "file://",
        "ftp://",
        "blob:https://",
        "view-source:",
        "mailto:",
        "//%00",
        "/〱",
        "〱",
        "/\u{a0}/",
        "/\u{2028}/",
        "/\u{ff0f}",
        "\u{ff0f}\u{ff0f}",
    ];
    let ends = [
        "",
        "/",
        "/%2e%2e",
        "/..",
        "?",
        "#",
        "/../../../",
        "%2f..",
        "//",
        ";",
        "\u{0}",
        "%00",
        "\r\nSet-Cookie: a=b",
        "%0d%0aSet-Cookie:%20a=b",
        "/%2f%2e%2e",
    ];
    let mut tried = 0;
    for start in starts {
        for target in targets {
            for end in ends {
                stays(&format!("{start}{target}{end}"));
                tried += 1;
            }
        }
    }
    assert!(tried > 15_000, "{tried}");
}

proptest! {
    #[test]
    fn nothing_leads_away(rd in "\\PC{0,60}") {
        stays(&rd);
    }

    #[test]
    fn nothing_made_of_the_parts_of_an_attack_leads_away(
        parts in prop::collection::vec(prop::sample::select(vec![
            "/", "\\", "//", ":", "@", "?", "#", ".", "..", ";", "%", "%2f", "%5c", "%09", "%00", "\t", "\n", "\r", " ", "\u{0}",
            "http", "https", "javascript", "data", "evil.example", "apps.example.com", "apps.example.com:8443", "wiki.example.com",
            "8443", "oauth2", "start", "[", "]", "::1", "é", "。", "\u{202e}", "\u{ad}", "%E3%80%82", "&", "=",
        ]), 0..9)
    ) {
        stays(&parts.concat());
    }
}
