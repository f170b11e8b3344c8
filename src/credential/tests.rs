//! The forms a credential comes in, and those that it must not come in.
#![expect(
    clippy::unwrap_used,
    reason = "a test that can't be set up should fail"
)]

use http::{HeaderMap, HeaderName, HeaderValue};

use super::{Credential, Error, cookie};
use crate::token::SessionId;

const NAME: &str = "__Host-tidegate";

fn headers(list: &[(&str, &str)]) -> HeaderMap {
    list.iter()
        .map(|(name, value)| {
            (
                name.parse::<HeaderName>().unwrap(),
                HeaderValue::from_bytes(value.as_bytes()).unwrap(),
            )
        })
        .collect()
}

fn shown(list: &[(&str, &str)]) -> Result<String, Error> {
    Credential::read(&headers(list), NAME).map(|credential| match credential {
        Credential::Nothing => "nothing".to_owned(),
        Credential::Bearer(token) => format!("bearer {}", token.expose()),
        Credential::Session(cookie) => format!("session {}", cookie.encode()),
    })
}

fn authorization(value: &str) -> Result<String, Error> {
    shown(&[("authorization", value)])
}

#[test]
fn the_bearer_scheme_has_no_case_and_takes_spaces() {
    for value in [
        "Bearer a.b-c_d~e+f/g==",
        "bearer a.b-c_d~e+f/g==",
        "BEARER   a.b-c_d~e+f/g==",
    ] {
        assert_eq!(
            authorization(value).unwrap(),
            "bearer a.b-c_d~e+f/g==",
            "{value}"
        );
    }
}

#[test]
fn another_scheme_counts_as_nothing() {
    for value in [
        "Basic YTpi",
        "Digest username=\"a\", realm=\"b\"",
        "DPoP abc",
        "Bearer2 abc",
        "x",
        "",
    ] {
        assert_eq!(authorization(value).unwrap(), "nothing", "{value}");
    }
}

#[test]
fn a_malformed_bearer_is_refused() {
    for value in [
        "Bearer",
        "Bearer\tabc",
        "Bearer \tabc",
        "Bearer,abc",
        "Bearer=abc",
        "Bearer a b",
        "Bearer a,b",
        "Bearer a, Bearer b",
        "Bearer ==",
        "Bearer a=b",
        "Bearer \"a\"",
        "Bearer a\u{e9}",
        "Bearer a;b",
        "Basic YTpi, Bearer abc",
        "Basic YTpi,bearer\tabc",
    ] {
        assert_eq!(authorization(value), Err(Error::Malformed), "{value}");
    }
}

#[test]
fn several_authorization_headers_are_refused_whatever_they_hold() {
    for (a, b) in [
        ("Bearer a", "Bearer a"),
        ("Basic a", "Bearer b"),
        ("Basic a", "Basic b"),
    ] {
        assert_eq!(
            shown(&[("authorization", a), ("authorization", b)]),
            Err(Error::Malformed)
        );
    }
}

#[test]
fn the_session_cookie_is_found_among_others_and_in_crumbs() {
    let id = SessionId::random().encode();
    let session = Ok(format!("session {id}"));
    for line in [
        format!("{NAME}={id}"),
        format!("a=b; {NAME}={id}; c=d"),
        format!(";;=;a; {NAME}={id};"),
        format!("{NAME}={id}; {NAME}={id}"),
        format!("{NAME}-login-x=1; {NAME}={id}; x{NAME}=2"),
    ] {
        assert_eq!(shown(&[("cookie", &line)]), session, "{line}");
    }
    let crumb = format!("{NAME}={id}");
    assert_eq!(shown(&[("cookie", "a=b"), ("cookie", &crumb)]), session);
}

#[test]
fn what_can_not_be_our_cookie_counts_as_nothing() {
    let id = SessionId::random().encode();
    for line in [
        String::new(),
        ";".to_owned(),
        "=".to_owned(),
        NAME.to_owned(),
        format!("{NAME}="),
        format!("{NAME}=short"),
        format!("{NAME}={id}x"),
        format!("{NAME}=\"{id}\""),
        format!("{NAME}={id}="),
        format!("{}={id}", NAME.to_lowercase()),
        format!("x{NAME}={id}"),
        format!("{NAME}\u{e9}={id}"),
    ] {
        assert_eq!(shown(&[("cookie", &line)]).unwrap(), "nothing", "{line}");
    }
}

#[test]
fn two_different_cookies_of_our_name_are_neither_tried() {
    let (a, b) = (SessionId::random().encode(), SessionId::random().encode());
    for line in [
        format!("{NAME}={a}; {NAME}={b}"),
        format!("{NAME}={a}; {NAME}=junk"),
        format!("{NAME}=; {NAME}={a}"),
    ] {
        assert_eq!(shown(&[("cookie", &line)]).unwrap(), "nothing", "{line}");
    }
}

#[test]
fn a_bearer_beside_a_session_cookie_is_refused_but_not_beside_junk() {
    let id = SessionId::random().encode();
    let cookie = format!("{NAME}={id}");
    assert_eq!(
        shown(&[("authorization", "Bearer abc"), ("cookie", &cookie)]),
        Err(Error::Ambiguous)
    );
    assert_eq!(
        shown(&[("authorization", "Basic abc"), ("cookie", &cookie)]).unwrap(),
        format!("session {id}")
    );
    let junk = format!("{NAME}=junk");
    assert_eq!(
        shown(&[("authorization", "Bearer abc"), ("cookie", &junk)]).unwrap(),
        "bearer abc"
    );
}

#[test]
fn clearing_repeats_every_attribute_of_setting() {
    let set = cookie::set(NAME, "x").unwrap();
    let clear = cookie::clear(NAME).unwrap();
    for attribute in set.to_str().unwrap().split("; ").skip(1) {
        assert!(clear.to_str().unwrap().contains(attribute), "{attribute}");
    }
    for attribute in ["Path=/", "Secure", "HttpOnly", "SameSite=Lax"] {
        assert!(set.to_str().unwrap().contains(attribute), "{attribute}");
    }
    assert!(clear.to_str().unwrap().contains("Max-Age=0"));
}
