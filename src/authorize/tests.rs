//! Who may pass, as tables: a route and a caller on one side, the decision on the other.

use http::HeaderValue;
use serde_json::Map;

use super::*;
use crate::clock::Timestamp;
use crate::session::Live;
use crate::token::AccessToken;

fn route(access: Access, rules: Vec<Rule>) -> Arc<Route> {
    Arc::new(Route {
        name: "/x".into(),
        host: None,
        path: "/x".into(),
        upstream: "app".into(),
        access,
        rules,
        slide: true,
        csrf_header: false,
        on_session_end: crate::route::OnSessionEnd::Close,
    })
}

fn bearer(scopes: &[&str], groups: &[&str]) -> Identity {
    let verified = Verified::for_tests("ana", Timestamp::MAX, scopes, groups, Map::new());
    Identity {
        verified,
        session: None,
    }
}

fn session(scopes: &[&str], groups: &[&str]) -> Identity {
    let live = Live {
        idp: "main".into(),
        subject: "ana".into(),
        access_token: AccessToken::new("t"),
        obtained: Timestamp::default(),
        access_expires: Timestamp::MAX,
        grace: None,
        claims: Arc::default(),
        generation: 0,
        rendered: std::sync::OnceLock::new(),
        ending: crate::ending::Ending::new([0; 32], &Arc::default()),
    };
    Identity {
        session: Some(Arc::new(live)),
        ..bearer(scopes, groups)
    }
}

fn rule(groups: &[&str], scopes: &[&str], methods: &[Method]) -> Rule {
    let texts = |texts: &[&str]| texts.iter().map(|text| Box::from(*text)).collect();
    Rule {
        groups: texts(groups),
        scopes: texts(scopes),
        methods: methods.to_vec(),
    }
}

fn decide(route: &Arc<Route>, method: &Method, caller: Option<Identity>) -> Result<Permit, Error> {
    authorize(route, method, &HeaderMap::new(), caller)
}

#[test]
fn a_route_takes_its_own_kind_of_credential_and_no_other() {
    let callers = || [None, Some(bearer(&[], &[])), Some(session(&[], &[]))];
    let table = [
        (Access::Public, [true, true, true]),
        (Access::Session, [false, false, true]),
        (Access::Bearer, [false, true, false]),
        (Access::Any, [false, true, true]),
    ];
    for (access, expected) in table {
        for (caller, passes) in callers().into_iter().zip(expected) {
            let shown = format!("{access:?} {caller:?}");
            let decided = decide(&route(access, Vec::new()), &Method::GET, caller);
            assert_eq!(decided.is_ok(), passes, "{shown}");
            if let Err(error) = decided {
                assert_eq!(error, Error::NoCredential(access), "{shown}");
            }
        }
    }
}

#[test]
fn nobody_is_known_on_a_public_route() {
    let permit = decide(
        &route(Access::Public, Vec::new()),
        &Method::GET,
        Some(session(&[], &["a"])),
    );
    assert!(permit.is_ok_and(|permit| permit.identity().is_none()));
}

#[test]
fn any_rule_is_enough_but_it_must_hold_as_a_whole() {
    let rules = vec![
        rule(&["admins", "owners"], &["read", "write"], &[]),
        rule(&["break-glass"], &[], &[Method::GET]),
    ];
    let route = route(Access::Any, rules);
    let lacks = |scope: &str| {
        Err(Error::InsufficientScope {
            scope: scope.to_owned(),
        })
    };
    let get = Method::GET;
    let table = [
        (&["read", "write"][..], &["owners"][..], &get, Ok(())),
        (
            &["write", "read", "more"],
            &["x", "admins"],
            &Method::POST,
            Ok(()),
        ),
        (&["read"], &["admins"], &get, lacks("read write")),
        (&["read", "write"], &["Admins"], &get, Err(Error::Forbidden)),
        (
            &["read", "write"],
            &["admins,owners"],
            &get,
            Err(Error::Forbidden),
        ),
        (&["read", "write"], &[], &get, Err(Error::Forbidden)),
        (&[], &["break-glass"], &get, Ok(())),
        (&[], &["break-glass"], &Method::POST, Err(Error::Forbidden)),
        (&[], &["break-glass"], &Method::HEAD, Err(Error::Forbidden)),
    ];
    for (scopes, groups, method, expected) in table {
        let decided = decide(&route, method, Some(bearer(scopes, groups))).map(drop);
        assert_eq!(decided, expected, "{scopes:?} {groups:?} {method}");
    }
}

#[test]
fn a_websocket_with_a_cookie_is_opened_by_our_own_pages_only() {
    let ask = |host: &'static str, origin: Option<&'static str>| {
        let mut headers = HeaderMap::new();
        headers.insert("host", HeaderValue::from_static(host));
        headers.insert("upgrade", HeaderValue::from_static("websocket"));
        if let Some(origin) = origin {
            headers.insert("origin", HeaderValue::from_static(origin));
        }
        headers
    };
    let table = [
        ("apps.example.com", Some("https://apps.example.com"), true),
        (
            "Apps.example.com:443",
            Some("https://apps.example.com"),
            true,
        ),
        ("localhost:8443", Some("https://localhost:8443"), true),
        ("apps.example.com", None, true),
        ("apps.example.com", Some("https://other.example.com"), false),
        ("localhost:8443", Some("https://localhost:9443"), false),
        (
            "apps.example.com",
            Some("https://apps.example.com.evil.example"),
            false,
        ),
        ("apps.example.com", Some("null"), false),
        ("apps.example.com", Some(""), false),
    ];
    let route = route(Access::Any, Vec::new());
    for (host, origin, opens) in table {
        let headers = ask(host, origin);
        let decided = authorize(&route, &Method::GET, &headers, Some(session(&[], &[])));
        let expected = (!opens).then_some(Error::CrossOrigin);
        assert_eq!(decided.err(), expected, "{host} {origin:?}");
        let bearer = authorize(&route, &Method::GET, &headers, Some(bearer(&[], &[])));
        assert!(bearer.is_ok(), "{host} {origin:?}");
    }
}

#[test]
fn unsafe_methods_with_a_cookie_need_the_header_where_the_route_asks_for_it() {
    let mut asking = route(Access::Any, Vec::new());
    if let Some(route) = Arc::get_mut(&mut asking) {
        route.csrf_header = true;
    }
    let with = |value: &'static str| {
        let mut headers = HeaderMap::new();
        headers.insert("x-csrf", HeaderValue::from_static(value));
        headers
    };
    let none = HeaderMap::new();
    let table = [
        (Method::POST, &none, session(&[], &[]), Some(Error::Csrf)),
        (
            Method::DELETE,
            &with("0"),
            session(&[], &[]),
            Some(Error::Csrf),
        ),
        (
            Method::from_bytes(b"PURGE").unwrap_or_default(),
            &none,
            session(&[], &[]),
            Some(Error::Csrf),
        ),
        (Method::POST, &with("1"), session(&[], &[]), None),
        (Method::GET, &none, session(&[], &[]), None),
        (Method::POST, &none, bearer(&[], &[]), None),
    ];
    for (method, headers, caller, expected) in table {
        let shown = format!("{method} {headers:?}");
        let decided = authorize(&asking, &method, headers, Some(caller));
        assert_eq!(decided.err(), expected, "{shown}");
    }
}
