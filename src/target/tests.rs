//! Heads made by hand, one rule each. What hyper refuses before us is tried over sockets in `listener`.
#![expect(clippy::unwrap_used, reason = "a test")]

use std::net::SocketAddr;

use http::{HeaderName, HeaderValue, Request, Uri, Version};
use proptest::prelude::*;

use super::*;

fn peer(tls: bool, server_name: Option<&str>) -> Peer {
    Peer {
        addr: SocketAddr::from(([192, 0, 2, 1], 40000)),
        local_port: 443,
        tls,
        server_name: server_name.map(Into::into),
    }
}

fn parts(version: Version, method: &str, uri: &str, headers: &[(&str, &str)]) -> Parts {
    let mut request = Request::new(());
    *request.version_mut() = version;
    *request.method_mut() = method.parse().unwrap();
    *request.uri_mut() = uri.parse::<Uri>().unwrap();
    for (name, value) in headers {
        request.headers_mut().append(
            HeaderName::from_bytes(name.as_bytes()).unwrap(),
            HeaderValue::from_str(value).unwrap(),
        );
    }
    request.into_parts().0
}

fn http1(method: &str, uri: &str, headers: &[(&str, &str)]) -> Result<Target, Error> {
    let head = parts(Version::HTTP_11, method, uri, headers);
    Target::read(&head, &peer(true, None))
}

fn http2(uri: &str, headers: &[(&str, &str)]) -> Result<Target, Error> {
    let head = parts(Version::HTTP_2, "GET", uri, headers);
    Target::read(&head, &peer(true, None))
}

fn with(headers: &[(&str, &str)]) -> Result<Target, Error> {
    let headers: Vec<_> = [("host", "a.test")]
        .iter()
        .chain(headers)
        .copied()
        .collect();
    http1("POST", "/", &headers)
}

fn path(path: &str) -> Result<String, Error> {
    path::normal(path).map(String::from)
}

#[track_caller]
fn bad<T: std::fmt::Debug>(result: &Result<T, Error>) {
    assert!(matches!(result, Err(Error::Bad(_))), "{result:?}");
}

#[test]
fn a_plain_request_is_read_as_it_is() {
    let target = http1("GET", "/a/b.html?x=1&y=%2f", &[("host", "a.test:8443")]).unwrap();
    assert_eq!(
        target,
        Target {
            host: "a.test".into(),
            port: Some(8443),
            path: "/a/b.html".into(),
            query: Some("x=1&y=%2f".into()),
        }
    );
    assert_eq!(
        http1("GET", "/", &[("host", "a.test")]).unwrap().query,
        None
    );
}

#[test]
fn hosts_have_one_form() {
    for (given, host, port) in [
        ("a.test", "a.test", None),
        ("A.TEST", "a.test", None),
        ("a.test.", "a.test", None),
        ("A.Test.:443", "a.test", Some(443)),
        ("localhost:65535", "localhost", Some(65535)),
        ("my_app:80", "my_app", Some(80)),
        ("192.0.2.7", "192.0.2.7", None),
        ("[::1]", "[::1]", None),
        ("[0:0::0:1]:8443", "[::1]", Some(8443)),
        ("[2001:DB8::A]", "[2001:db8::a]", None),
        ("xn--bcher-kva.test", "xn--bcher-kva.test", None),
    ] {
        let target = http1("GET", "/", &[("host", given)]).unwrap();
        assert_eq!((&*target.host, target.port), (host, port), "{given}");
    }
}

#[test]
fn what_is_no_host_is_refused() {
    let long = "a.".repeat(127) + "test";
    let label = format!("{}.test", "a".repeat(64));
    for host in [
        "",
        ".",
        "..",
        "a..b",
        ".a",
        "a.test..",
        "a b",
        "a,b",
        "a.test, b.test",
        "a/b",
        "a\\b",
        "a?b",
        "a#b",
        "u@a.test",
        "u:p@a.test",
        "a@",
        "http://a.test",
        "a:",
        "a:0",
        "a:080",
        "a:65536",
        "a:+80",
        "a:-1",
        "a:8 0",
        "a:80:80",
        "a:x",
        ":80",
        "::1",
        "[::1",
        "[::1]x",
        "[::1]:",
        "[::1%25eth0]",
        "[::1%eth0]",
        "[v1.x]",
        "[]",
        "[a.test]",
        "%61.test",
        "a%00",
        "a\u{e9}",
        "a\"b",
        "a<b",
        "a;b",
        "a'b",
        "a\tb",
        "*",
        "*.test",
        "a!b",
        "a$b",
        &long,
        &label,
    ] {
        bad(&http1("GET", "/", &[("host", host)]));
    }
}

#[test]
fn there_is_exactly_one_host() {
    bad(&http1("GET", "/", &[]));
    bad(&http1(
        "GET",
        "/",
        &[("host", "a.test"), ("host", "a.test")],
    ));
    bad(&http1(
        "GET",
        "/",
        &[("host", "a.test"), ("host", "b.test")],
    ));
    bad(&http1("GET", "http://a.test/", &[]));
    bad(&http2("/", &[]));
    bad(&http2(
        "https://a.test/",
        &[("host", "a.test"), ("host", "a.test")],
    ));
    let old = parts(Version::HTTP_10, "GET", "/", &[]);
    bad(&Target::read(&old, &peer(false, None)));
}

#[test]
fn all_that_name_a_host_must_agree() {
    for (uri, host) in [
        ("https://a.test/", "a.test"),
        ("https://A.test/", "a.TEST"),
        ("https://a.test:443/", "a.test"),
        ("https://a.test/", "a.test:443"),
        ("http://a.test:80/", "a.test"),
        ("https://a.test:8443/", "a.test:8443"),
        ("https://a.test./", "a.test"),
    ] {
        for read in [
            http1("GET", uri, &[("host", host)]),
            http2(uri, &[("host", host)]),
        ] {
            assert_eq!(&*read.unwrap().host, "a.test", "{uri} {host}");
        }
    }
    for (uri, host) in [
        ("https://a.test/", "b.test"),
        ("https://a.test/", "a.test:80"),
        ("http://a.test/", "a.test:443"),
        ("https://a.test:8443/", "a.test"),
        ("https://a.test/", "a.test.evil.test"),
        ("https://u@a.test/", "a.test"),
        ("https://a.test@b.test/", "b.test"),
    ] {
        bad(&http1("GET", uri, &[("host", host)]));
        bad(&http2(uri, &[("host", host)]));
    }
    assert_eq!(&*http2("https://a.test/", &[]).unwrap().host, "a.test");
}

#[test]
fn the_name_of_the_handshake_is_the_host() {
    let read = |host, name| {
        let head = parts(Version::HTTP_11, "GET", "/", &[("host", host)]);
        Target::read(&head, &peer(true, name)).map(|_| ())
    };
    assert_eq!(read("a.test", Some("a.test")), Ok(()));
    assert_eq!(read("A.test.:8443", Some("a.test")), Ok(()));
    assert_eq!(read("192.0.2.7", None), Ok(()));
    assert_eq!(read("b.test", Some("a.test")), Err(Error::Misdirected));
    assert_eq!(read("a.test", Some("b.a.test")), Err(Error::Misdirected));
    let head = parts(Version::HTTP_2, "GET", "https://b.test/", &[]);
    assert_eq!(
        Target::read(&head, &peer(true, Some("a.test"))),
        Err(Error::Misdirected)
    );
}

#[test]
fn only_paths_are_asked_for() {
    let host = [("host", "a.test")];
    for uri in ["*", "a.test", "a.test:443", "ftp://a.test/", "ws://a.test/"] {
        bad(&http1("GET", uri, &host));
    }
    bad(&http1("OPTIONS", "*", &host));
    assert_eq!(&*http1("GET", "http://a.test", &host).unwrap().path, "/");
    assert_eq!(
        http1("GET", "http://a.test?q", &host)
            .unwrap()
            .query
            .as_deref(),
        Some("q")
    );
}

#[test]
fn methods() {
    let host = [("host", "a.test")];
    for method in [
        "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND", "M-SEARCH",
    ] {
        assert!(http1(method, "/", &host).is_ok(), "{method}");
    }
    for method in ["TRACE", "get", "Get", "GeT", "trace", "PUT!", "A|B", "x"] {
        assert_eq!(http1(method, "/", &host), Err(Error::Method), "{method}");
    }
    assert_eq!(http1("CONNECT", "a.test:443", &host), Err(Error::Method));
}

#[test]
fn framing_that_has_one_meaning_passes() {
    for headers in [
        &[][..],
        &[("content-length", "0")],
        &[("content-length", "00012")],
        &[("content-length", "999999999999999999")],
        &[("transfer-encoding", "chunked")],
        &[("transfer-encoding", "Chunked")],
        &[("expect", "100-continue")],
        &[("te", "trailers"), ("trailer", "x"), ("connection", "te")],
        &[
            ("x-hosts", "a"),
            ("hosts", "b"),
            ("content-type", "c"),
            ("cookie2", "d"),
        ],
        &[("cookie", "a=b"), ("cookie", "c=d"), ("x_custom", "e")],
    ] {
        assert!(with(headers).is_ok(), "{headers:?}");
    }
}

#[test]
fn framing_that_two_could_read_differently_is_refused() {
    for headers in [
        &[("content-length", "")][..],
        &[("content-length", "+1")],
        &[("content-length", "-1")],
        &[("content-length", " 1")],
        &[("content-length", "1 ")],
        &[("content-length", "1,1")],
        &[("content-length", "1, 2")],
        &[("content-length", "0x10")],
        &[("content-length", "1e3")],
        &[("content-length", "1_000")],
        &[("content-length", "1.0")],
        &[("content-length", "\u{b2}")],
        &[("content-length", "18446744073709551616")],
        &[("content-length", "18446744073709551615")],
        &[("content-length", "5"), ("content-length", "5")],
        &[("content-length", "5"), ("content-length", "6")],
        &[("transfer-encoding", "")],
        &[("transfer-encoding", "identity")],
        &[("transfer-encoding", "gzip")],
        &[("transfer-encoding", "gzip, chunked")],
        &[("transfer-encoding", "chunked, chunked")],
        &[("transfer-encoding", "chunked,")],
        &[("transfer-encoding", ",chunked")],
        &[("transfer-encoding", "xchunked")],
        &[("transfer-encoding", "chunkedx")],
        &[("transfer-encoding", "chunked;q=1")],
        &[("transfer-encoding", "\"chunked\"")],
        &[("transfer-encoding", "chunked\t")],
        &[("transfer-encoding", "chunk")],
        &[
            ("transfer-encoding", "chunked"),
            ("transfer-encoding", "chunked"),
        ],
        &[
            ("transfer-encoding", "chunked"),
            ("transfer-encoding", "identity"),
        ],
        &[("transfer-encoding", "chunked"), ("content-length", "5")],
        &[("content-length", "5"), ("transfer-encoding", "chunked")],
        &[("content-length", "0"), ("transfer-encoding", "chunked")],
        &[("expect", "")],
        &[("expect", "200-ok")],
        &[("expect", "100-continue, x")],
        &[("expect", "100-continue"), ("expect", "100-continue")],
    ] {
        bad(&with(headers));
    }
    let chunked = [("host", "a.test"), ("transfer-encoding", "chunked")];
    for version in [Version::HTTP_10, Version::HTTP_2, Version::HTTP_09] {
        let head = parts(version, "POST", "/", &chunked);
        bad(&Target::read(&head, &peer(true, None)));
    }
}

#[test]
fn no_name_looks_like_one_that_frames() {
    for name in [
        "transfer_encoding",
        "transfer.encoding",
        "transferencoding",
        "transfer--encoding",
        "transfer-encoding-",
        "_transfer-encoding",
        "transfer-encoding!",
        "trans-fer-encoding",
        "content_length",
        "content.length",
        "contentlength",
        "content-length'",
        "con-tent-length",
        "content~length",
        "content*length",
        "content+length",
        "content|length",
        "content^length",
        "content`length",
        "content#length",
        "content$length",
        "content%length",
        "content&length",
        "host_",
        "_host",
        "h-o-s-t",
        "hos.t",
        "connection_",
        "con-nection",
        "upgrade.",
        "t-e",
        "te_",
        "trailer_",
        "keep_alive",
        "keepalive",
        "proxy_connection",
        "expect_",
        "cookie_",
        "_cookie",
        "authorization_",
        "author-ization",
    ] {
        bad(&with(&[(name, "1")]));
    }
}

#[test]
fn control_characters_never_get_this_far() {
    for byte in (0..=0x1fu8).chain([0x7f]).filter(|&b| b != b'\t') {
        assert!(HeaderValue::from_bytes(&[b'a', byte]).is_err(), "{byte:#x}");
        assert!(Uri::try_from(&[b'/', byte][..]).is_err(), "{byte:#x}");
    }
}

#[test]
fn paths_have_one_form() {
    for (given, normal) in [
        ("/", "/"),
        ("/a/b", "/a/b"),
        ("/a//b/", "/a//b/"),
        ("/.well-known/x", "/.well-known/x"),
        ("/a.b/..c/d..", "/a.b/..c/d.."),
        ("/...", "/..."),
        ("/%41%7a%2D%2e%5F%7E", "/Az-._~"),
        ("/%2f%3b%5c%3a", "/%2F%3B%5C%3A"),
        ("/%2F", "/%2F"),
        ("/%252e%252e", "/%252e%252e"),
        ("/a/./b", "/a/b"),
        ("/a/../b", "/b"),
        ("/a/%2e%2e/b", "/b"),
        ("/a/.%2E/b", "/b"),
        ("/a/%2e/b", "/a/b"),
        ("/a/b/..", "/a/"),
        ("/a/b/.", "/a/b/"),
        ("/..", "/"),
        ("/../../a", "/a"),
        ("/a/../../b", "/b"),
        ("/a//../b", "/a/b"),
        ("/a/..//b", "//b"),
        ("/a;x/..;y", "/a;x/..;y"),
        ("/a\\..\\b", "/a\\..\\b"),
        ("/a%2f..%2fb", "/a%2F..%2Fb"),
        ("/caf%c3%a9", "/caf%C3%A9"),
        ("/caf%e9", "/caf%E9"),
        ("/%E2%82%AC%f0%9f%98%80", "/%E2%82%AC%F0%9F%98%80"),
        ("/{id}|[1]", "/{id}|[1]"),
    ] {
        assert_eq!(path(given).as_deref(), Ok(normal), "{given}");
    }
}

#[test]
fn paths_that_decoders_differ_on_are_refused() {
    for given in [
        "",
        "a",
        "*",
        "a/b",
        "/caf\u{e9}",
        "/a b",
        "/a\tb",
        "/a\nb",
        "/a\0b",
        "/\u{7f}",
        "/%",
        "/%2",
        "/%zz",
        "/%2g",
        "/%g2",
        "/% 2",
        "/%+2",
        "/%u002f",
        "/%%32%65",
        "/a%",
        "/%00",
        "/a%00.html",
        "/%0a",
        "/%0d%0a",
        "/%09",
        "/%1F",
        "/%7f",
        "/%7F",
        "/%1b",
        "/%c0%af",
        "/%C0%AE%C0%AE",
        "/%c1%9c",
        "/%C1",
        "/%e0%80%af",
        "/%E0%9f%bf",
        "/%f0%80%80%af",
        "/%F0%8f%bf%bf",
        "/x/%c0%2e/y",
    ] {
        bad(&path(given));
    }
}

#[test]
fn what_follows_a_hash_is_neither_matched_nor_sent() {
    let target = http1("GET", "/admin/x#/public/", &[("host", "a.test")]).unwrap();
    assert_eq!(&*target.path, "/admin/x");
    let target = http1("GET", "/admin/x%23/public/", &[("host", "a.test")]).unwrap();
    assert_eq!(&*target.path, "/admin/x%23/public/");
}

#[test]
fn a_long_uri_is_too_long() {
    let host = [("host", "a.test")];
    let fits = format!("/{}", "a".repeat(LONGEST - 1));
    assert!(http1("GET", &fits, &host).is_ok());
    assert_eq!(
        http1("GET", &format!("{fits}a"), &host),
        Err(Error::TooLong)
    );
    let query = format!("/?{}", "a".repeat(LONGEST));
    assert_eq!(http1("GET", &query, &host), Err(Error::TooLong));
}

proptest! {
    #[test]
    fn a_normal_form_is_its_own(given in "(/|\\.|%2[eEfF]|%[0-9a-fA-F]{2}|[a-cA-C]|;|\\\\|~){0,24}") {
        if let Ok(once) = path::normal(&format!("/{given}")) {
            prop_assert!(once.starts_with('/'));
            prop_assert!(!once.split('/').any(|segment| segment == "." || segment == ".."));
            prop_assert_eq!(path::normal(&once), Ok(once.clone()));
        }
    }

    #[test]
    fn anything_is_read_or_refused(given in "\\PC{0,40}") {
        let _ = path::normal(&given);
    }
}
