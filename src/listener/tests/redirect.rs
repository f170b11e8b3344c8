//! 308 to https, and nowhere else.

use super::*;

async fn location(port: u16, request: &str) -> (Vec<u16>, Option<String>) {
    let served = serve(Protocol::Redirect { port }, Limits::default());
    let text = served
        .exchange(request.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n"))
        .await;
    assert!(served.site.seen().is_empty());
    let location = text
        .lines()
        .find_map(|line| line.strip_prefix("location: "))
        .map(str::to_owned);
    (statuses(&text), location)
}

#[tokio::test]
async fn host_path_and_query_are_kept() {
    for (port, request, expected) in [
        (
            443,
            "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n",
            "https://a.test/",
        ),
        (
            443,
            "GET /a/b?c=d&e HTTP/1.1\r\nHost: A.test:80\r\n\r\n",
            "https://a.test/a/b?c=d&e",
        ),
        (
            8443,
            "POST /a HTTP/1.1\r\nHost: a.test:8080\r\nContent-Length: 0\r\n\r\n",
            "https://a.test:8443/a",
        ),
        (
            443,
            "GET //evil.test/ HTTP/1.1\r\nHost: a.test\r\n\r\n",
            "https://a.test//evil.test/",
        ),
        (
            443,
            "GET http://a.test/x HTTP/1.1\r\nHost: a.test\r\n\r\n",
            "https://a.test/x",
        ),
        (
            443,
            "GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n",
            "https://[::1]/",
        ),
    ] {
        let (statuses, location) = location(port, request).await;
        assert_eq!(
            (&*statuses, location.as_deref()),
            (&[308][..], Some(expected))
        );
    }
}

#[tokio::test]
async fn what_is_not_sound_is_not_sent_anywhere() {
    for (request, status) in [
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a.test@evil.test\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a.test/evil\r\n\r\n", 400),
        (
            "GET / HTTP/1.1\r\nHost: a.test\r\nHost: evil.test\r\n\r\n",
            400,
        ),
        (
            "GET http://evil.test/ HTTP/1.1\r\nHost: a.test\r\n\r\n",
            400,
        ),
        (
            "GET /%0d%0aSet-Cookie:x HTTP/1.1\r\nHost: a.test\r\n\r\n",
            400,
        ),
        ("OPTIONS * HTTP/1.1\r\nHost: a.test\r\n\r\n", 400),
        ("TRACE / HTTP/1.1\r\nHost: a.test\r\n\r\n", 405),
        ("CONNECT a.test:443 HTTP/1.1\r\nHost: a.test\r\n\r\n", 405),
    ] {
        let (statuses, location) = location(443, request).await;
        assert_eq!((&*statuses, location), (&[status][..], None), "{request}");
    }
}
