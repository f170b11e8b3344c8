//! Headers: what an upstream is told of the caller, and what nobody else can tell it.

use super::*;

const GET: &str = "GET /a%20b?c=d&e HTTP/1.1\nHost: apps.example.com\n";

/// Every header that a client tries, alone, against a public route, a bearer and a session.
#[tokio::test]
async fn a_client_never_speaks_for_the_gateway() {
    let tries = [
        "X-Forwarded-User: eve",
        "x-forwarded-user: eve",
        "X_Forwarded_User: eve",
        "X.Forwarded.User: eve",
        "X-Forwarded_User: eve",
        "XForwardedUser: eve",
        "X-Forwarded-User: eve\nX-Forwarded-User: eve",
        "X-Forwarded-Email: eve",
        "X-Forwarded-Groups: eve",
        "X-Forwarded-Preferred-Username: eve",
        "X-Forwarded-Access-Token: eve",
        "X-Team: eve",
        "x_team: eve",
        "X-Internal: eve",
        "x.internal: eve",
        "X-Forwarded-For: eve",
        "X-Forwarded-For: 6.6.6.6",
        "X_Forwarded_For: eve",
        "X-Forwarded-Proto: eve",
        "X-Forwarded-Host: eve",
        "X-Forwarded-Port: eve",
        "X-Forwarded-Prefix: eve",
        "X-Forwarded-Uri: eve",
        "X-Forwarded-Method: eve",
        "X-Forwarded-Server: eve",
        "X-Forwarded-Client-Cert: eve",
        "Forwarded: for=eve",
        "X-Real-IP: eve",
        "X-Client-IP: eve",
        "True-Client-IP: eve",
        "CF-Connecting-IP: eve",
        "X-Original-URL: eve",
        "X-Original-Method: eve",
        "X-Rewrite-URL: eve",
        "X-HTTP-Method-Override: eve",
        "X-HTTP-Method: eve",
        "X-Method-Override: eve",
        "X-Auth-Request-User: eve",
        "X-Auth-Request-Email: eve",
        "X-Tidegate-Jwt-Assertion: eve",
        "X-Envoy-Original-Path: eve",
        "X-SSL-Client-Verify: eve",
        "Client-Cert: eve",
        "Remote-User: eve",
        "Remote_User: eve",
        "Proxy: eve",
        "X-Request-Id: eve",
        "Traceparent: eve",
        "Proxy-Authorization: eve",
        "Proxy-Connection: eve",
        "Keep-Alive: eve",
        "Upgrade: eve",
        "Connection: upgrade, HTTP2-Settings\nUpgrade: h2c\nHTTP2-Settings: eve",
        "TE: eve",
        "Connection: X-Eve\nX-Eve: eve",
        "Connection: close\nConnection: a , x-eve,b\nX-Eve: eve",
        "Author_ization: eve",
        "Content_Length: 6666666eve",
        "Transfer_Encoding: eve",
        "Co.okie: eve",
        "Expect: eve",
        "Cookie: __Host-tidegate=eve",
    ];
    for line in tries {
        for identity in [None, Some(bearer()), Some(in_session())] {
            let setup = |setup: Setup| Setup { identity, ..setup };
            let head = seen_by_upstream(setup, &format!("{GET}{line}\n\n")).await;
            assert!(!head.0.contains("eve"), "{line}: {head:?}");
            assert!(!head.0.contains("6.6.6.6"), "{line}: {head:?}");
        }
    }
}

#[tokio::test]
async fn a_connection_header_takes_nothing_of_ours_away() {
    let nominate = "Connection: x-forwarded-for, X-Forwarded-User, forwarded, traceparent, host, authorization\n\n";
    let access_token = |setup: Setup| Setup {
        authorization: Authorization::AccessToken,
        ..setup.of(in_session())
    };
    let head = seen_by_upstream(access_token, &format!("{GET}{nominate}")).await;
    assert_eq!(head.only("x-forwarded-user"), Some("alice"));
    assert_eq!(head.only("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(head.only("host"), Some("apps.example.com"));
    assert_eq!(head.only("authorization"), Some("Bearer the-access-token"));
    assert!(head.only("forwarded").is_some());
    assert!(head.only("traceparent").is_some());
    assert_eq!(head.only("connection"), None);
}

#[tokio::test]
async fn what_is_sent_upstream() {
    let head = seen_by_upstream(
        |setup| setup.of(bearer()),
        "GET /a%20b?c=d&e HTTP/1.1\nHost: Apps.Example.com:8443\nAccept: */*\nUser-Agent: test\n\n",
    )
    .await;
    assert_eq!(head.first_line(), "GET /a%20b?c=d&e HTTP/1.1");
    assert_eq!(head.only("host"), Some("apps.example.com:8443"));
    assert_eq!(head.only("x-forwarded-host"), Some("apps.example.com:8443"));
    assert_eq!(head.only("x-forwarded-port"), Some("8443"));
    assert_eq!(head.only("x-forwarded-proto"), Some("https"));
    assert_eq!(head.only("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(
        head.only("forwarded"),
        Some("for=127.0.0.1;host=\"apps.example.com:8443\";proto=https")
    );
    assert_eq!(head.only("x-forwarded-user"), Some("alice"));
    assert_eq!(head.only("x-forwarded-email"), Some("alice@example.com"));
    assert_eq!(head.only("x-forwarded-groups"), Some("admins,staff"));
    assert_eq!(head.only("x-team"), Some("team blue"));
    assert_eq!(head.only("accept"), Some("*/*"));
    assert_eq!(head.only("user-agent"), Some("test"));
    assert_eq!(head.only("content-length"), None);
    assert_eq!(head.only("transfer-encoding"), None);
    let trace = head.only("traceparent").unwrap();
    assert!(
        trace.contains(head.only("x-request-id").unwrap()),
        "{trace}"
    );
}

/// A claim that is not there leaves its header away, even where the client had sent one.
#[tokio::test]
async fn a_missing_claim_is_nobodys() {
    let request = format!("{GET}X-Forwarded-Groups: admins\nX-Team: red\n\n");
    let head = seen_by_upstream(|setup| setup.of(in_session()), &request).await;
    assert_eq!(head.only("x-forwarded-user"), Some("alice"));
    assert_eq!(
        head.only("x-forwarded-email"),
        Some("from-the-id-token@example.com")
    );
    assert_eq!(head.only("x-forwarded-groups"), None);
    assert_eq!(head.only("x-team"), None);
}

#[tokio::test]
async fn authorization_goes_where_it_is_configured_to_go() {
    use Authorization::{AccessToken, None as Nothing};
    let own = "Bearer shown-by-the-client";
    let table = [
        (None, Nothing, Some(own)),
        (None, AccessToken, Some(own)),
        (Some(bearer()), Nothing, None),
        (Some(bearer()), AccessToken, Some(own)),
        (Some(in_session()), Nothing, None),
        (
            Some(in_session()),
            AccessToken,
            Some("Bearer the-access-token"),
        ),
    ];
    for (identity, authorization, expected) in table {
        let case = format!(
            "{:?} {authorization:?}",
            identity.as_ref().map(|i| i.session.is_some())
        );
        let setup = |setup: Setup| Setup {
            identity,
            authorization,
            ..setup
        };
        let head = seen_by_upstream(setup, &format!("{GET}Authorization: {own}\n\n")).await;
        assert_eq!(head.only("authorization"), expected, "{case}");
    }
}

#[tokio::test]
async fn a_trusted_proxy_is_believed_as_far_as_it_can_know() {
    let trusted = |setup: Setup| Setup {
        trusted: true,
        tls: false,
        ..setup
    };
    let table = [
        ("X-Forwarded-For: 203.0.113.9", "203.0.113.9, 127.0.0.1"),
        // What stands left of the first stranger is that stranger's word.
        (
            "X-Forwarded-For: 1.1.1.1, 203.0.113.9, 10.0.0.1",
            "203.0.113.9, 10.0.0.1, 127.0.0.1",
        ),
        (
            "X-Forwarded-For: 1.1.1.1\nX-Forwarded-For: 10.0.0.1",
            "1.1.1.1, 10.0.0.1, 127.0.0.1",
        ),
        (
            "X-Forwarded-For: 203.0.113.9, nonsense, 10.0.0.1",
            "10.0.0.1, 127.0.0.1",
        ),
        (
            "X-Forwarded-For: [2001:db8::9]:1234",
            "2001:db8::9, 127.0.0.1",
        ),
        (
            "Forwarded: for=1.1.1.1, For=\"[2001:db8::9]:1\";proto=https",
            "2001:db8::9, 127.0.0.1",
        ),
        (
            "X-Forwarded-For: 203.0.113.9\nConnection: x-forwarded-for",
            "127.0.0.1",
        ),
        ("X_Forwarded_For: 203.0.113.9", "127.0.0.1"),
    ];
    for (line, expected) in table {
        let head = seen_by_upstream(trusted, &format!("{GET}{line}\n\n")).await;
        assert_eq!(head.only("x-forwarded-for"), Some(expected), "{line}");
        assert_eq!(head.only("x-forwarded-proto"), Some("http"), "{line}");
    }
    let said = "X-Forwarded-For: 2001:db8::9, 10.0.0.1\nX-Forwarded-Proto: https\nX-Forwarded-Host: outside.example.com\nX-Forwarded-Port: 444\nX-Forwarded-Prefix: /in\nX-Real-IP: 203.0.113.9\nX-Forwarded-User: eve\n\n";
    let head = seen_by_upstream(trusted, &format!("{GET}{said}")).await;
    assert_eq!(head.only("x-forwarded-proto"), Some("https"));
    assert_eq!(head.only("x-forwarded-host"), Some("outside.example.com"));
    assert_eq!(head.only("x-forwarded-port"), Some("444"));
    assert_eq!(head.only("x-forwarded-prefix"), Some("/in"));
    assert_eq!(head.only("x-real-ip"), Some("203.0.113.9"));
    assert_eq!(head.only("x-forwarded-user"), None);
    assert_eq!(head.only("host"), Some("apps.example.com"));
    assert_eq!(
        head.only("forwarded"),
        Some(
            "for=\"[2001:db8::9]\";host=outside.example.com;proto=https, for=10.0.0.1, for=127.0.0.1"
        )
    );
}

#[tokio::test]
async fn cookies_are_sorted_out() {
    let table = [
        ("a=1; b=\"2 3\"", Some("a=1; b=\"2 3\"")),
        ("a=1;b=2;  c=3;", Some("a=1;b=2;  c=3;")),
        ("__Host-tidegate=x", None),
        ("a=1; __Host-tidegate=x; b=2", Some("a=1; b=2")),
        ("__Host-tidegate=x;a=1", Some("a=1")),
        ("__HOST-Tidegate=x; a=1", Some("a=1")),
        ("__Host-tidegate-login-abc=x; a=1", Some("a=1")),
        ("__Host-tidegate =x; a=1", Some("a=1")),
        ("=__Host-tidegate=x; a=1", Some("a=1")),
        ("__Host-tidegate; a=1", Some("a=1")),
        ("__Host-tidegates=x", Some("__Host-tidegates=x")),
        ("x__Host-tidegate=x", Some("x__Host-tidegate=x")),
    ];
    for (sent, expected) in table {
        let head = seen_by_upstream(|setup| setup, &format!("{GET}Cookie: {sent}\n\n")).await;
        assert_eq!(head.only("cookie"), expected, "{sent}");
    }
    let several = format!("{GET}Cookie: a=1\nCookie: __Host-tidegate=x\nCookie: b=2; c=3\n\n");
    let head = seen_by_upstream(|setup| setup, &several).await;
    assert_eq!(head.all("cookie"), ["a=1; b=2; c=3"]);
}

#[tokio::test]
async fn a_body_is_framed_by_what_it_is() {
    let post = "POST / HTTP/1.1\nHost: x\n";
    let table = [
        (format!("{GET}\n"), None, None),
        (format!("{GET}Content-Length: 0\n\n"), Some("0"), None),
        (format!("{GET}Content-Length: 2\n\nok"), Some("2"), None),
        (
            format!("{GET}Transfer-Encoding: chunked\n\n0\n\n"),
            None,
            Some("chunked"),
        ),
        (format!("{post}\n"), Some("0"), None),
        (format!("{post}Content-Length: 2\n\nok"), Some("2"), None),
        (
            format!("{post}Transfer-Encoding: chunked\n\n2\nok\n0\n\n"),
            None,
            Some("chunked"),
        ),
    ];
    for (request, length, coding) in table {
        let head = seen_by_upstream(|setup| setup, &request).await;
        assert_eq!(head.only("content-length"), length, "{request}");
        assert_eq!(head.only("transfer-encoding"), coding, "{request}");
    }
}

#[tokio::test]
async fn te_trailers_goes_on() {
    let head = seen_by_upstream(|setup| setup, &format!("{GET}TE: gzip, Trailers\n\n")).await;
    assert_eq!(head.only("te"), Some("trailers"));
    assert_eq!(head.only("connection"), Some("te"));
}

#[tokio::test]
async fn what_a_response_may_not_say() {
    let answer = "HTTP/1.1 200 Fine\nConnection: X-Hop, keep-alive\nKeep-Alive: timeout=5\nX-Hop: 1\nProxy-Connection: close\nUpgrade: h2c\nServer: legacy\nSet-Cookie: a=1; Path=/\nSet-Cookie: __host-TIDEGATE=evil; Path=/\nSet-Cookie: =__Host-tidegate=evil\nSet-Cookie: __Host-tidegate-login-x=evil\nSet-Cookie:  b=2\nX-Kept: yes\nContent-Length: 2\nContent-Length: 2\n\nok";
    let head = seen_by_client(&format!("{GET}\n"), answer, "\r\n\r\nok").await;
    assert_eq!(head.first_line(), "HTTP/1.1 200 Fine");
    for gone in [
        "connection",
        "keep-alive",
        "x-hop",
        "proxy-connection",
        "upgrade",
    ] {
        assert_eq!(head.only(gone), None);
    }
    assert_eq!(head.all("set-cookie"), ["a=1; Path=/", "b=2"]);
    assert_eq!(head.only("server"), Some("legacy"));
    assert_eq!(head.only("x-kept"), Some("yes"));
    assert_eq!(head.only("content-length"), Some("2"));
    assert_eq!(
        head.only("strict-transport-security"),
        Some("max-age=31536000")
    );
}

#[tokio::test]
async fn a_length_beside_a_transfer_coding_is_void() {
    let answer =
        "HTTP/1.1 200 OK\nContent-Length: 1\nTransfer-Encoding: chunked\n\n5\nhello\n0\n\n";
    let head = seen_by_client(&format!("{GET}\n"), answer, "0\r\n\r\n").await;
    assert_eq!(head.only("content-length"), None);
    assert_eq!(head.only("transfer-encoding"), Some("chunked"));
    assert!(
        head.0.ends_with("\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
        "{head:?}"
    );
}

#[tokio::test]
async fn a_response_to_head_keeps_its_length() {
    let answer = "HTTP/1.1 200 OK\nContent-Length: 123\n\n";
    let head = seen_by_client("HEAD / HTTP/1.1\nHost: x\n\n", answer, "\r\n\r\n").await;
    assert_eq!(head.only("content-length"), Some("123"));
}

#[tokio::test]
async fn hsts_is_the_upstreams_to_say_and_not_for_localhost() {
    let answer = "HTTP/1.1 204 No Content\nStrict-Transport-Security: max-age=1\n\n";
    let head = seen_by_client(&format!("{GET}\n"), answer, "\r\n\r\n").await;
    assert_eq!(head.only("strict-transport-security"), Some("max-age=1"));
    for host in ["localhost:8443", "127.0.0.1:8443", "a.localhost"] {
        let request = format!("GET / HTTP/1.1\nHost: {host}\n\n");
        let head = seen_by_client(&request, "HTTP/1.1 204 No Content\n\n", "\r\n\r\n").await;
        assert_eq!(head.only("strict-transport-security"), None, "{host}");
    }
}
