//! Raw bytes: what is refused by hyper or by us, and that one request in is at most one out.

use super::*;

/// The request, the statuses that come back until the connection is closed, and how many requests the handler saw.
type Row<'a> = (&'a str, &'a [u16], usize);

async fn table(rows: &[Row<'_>]) {
    for (request, expected, seen) in rows {
        let served = plain();
        let text = served.exchange(request).await;
        assert_eq!(statuses(&text), *expected, "{request:?}\n{text}");
        assert_eq!(served.site.seen().len(), *seen, "{request:?}");
    }
}

/// A request that closes its connection, so that the exchange ends.
fn closing(lines: &str, body: &str) -> String {
    format!("POST /body HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n{lines}\r\n{body}")
}

#[tokio::test]
async fn sound_requests_pass() {
    for (lines, body, length) in [
        ("", "", 0),
        ("Content-Length: 5\r\n", "hello", 5),
        ("Content-Length: 005\r\n", "hello", 5),
        ("CONTENT-LENGTH:5\r\n", "hello", 5),
        (
            "Transfer-Encoding: chunked\r\n",
            "5\r\nhello\r\n0\r\n\r\n",
            5,
        ),
        (
            "transfer-encoding: Chunked\r\n",
            "2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
            5,
        ),
        (
            "Transfer-Encoding: chunked\r\n",
            "0005\r\nhello\r\n0\r\n\r\n",
            5,
        ),
        (
            "Transfer-Encoding: chunked\r\n",
            "5;ext=1\r\nhello\r\n0\r\n\r\n",
            5,
        ),
        (
            "Transfer-Encoding: chunked\r\n",
            "5\r\nhello\r\n0\r\nX-Trailer: y\r\n\r\n",
            5,
        ),
    ] {
        let text = plain().exchange(closing(lines, body)).await;
        assert_eq!(statuses(&text), [200], "{lines:?} {body:?}: {text}");
        assert!(text.ends_with(&format!("{length} bytes")), "{text}");
    }
}

#[tokio::test]
async fn heads_that_are_no_heads_are_answered_with_400() {
    let long = format!(
        "GET / HTTP/1.1\r\nHost: a\r\n{}: 1\r\n\r\n",
        "x".repeat(1 << 16)
    );
    table(&[
        ("\0\r\n\r\n", &[400], 0),
        ("GET\r\n\r\n", &[400], 0),
        ("GET /\r\n\r\n", &[400], 0),
        ("GET  / HTTP/1.1\r\nHost: a\r\n\r\n", &[400], 0),
        ("GET /  HTTP/1.1\r\nHost: a\r\n\r\n", &[400], 0),
        ("GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", &[400], 0),
        ("GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", &[400], 0),
        ("GET /\x01 HTTP/1.1\r\nHost: a\r\n\r\n", &[400], 0),
        ("GET / HTTP/1.2\r\nHost: a\r\n\r\n", &[400], 0),
        ("GET / HTTP/2.0\r\nHost: a\r\n\r\n", &[400], 0),
        ("GET / HTTP/0.9\r\nHost: a\r\n\r\n", &[400], 0),
        ("GET / http/1.1\r\nHost: a\r\n\r\n", &[400], 0),
        ("GET / HTTP/1.1x\r\nHost: a\r\n\r\n", &[400], 0),
        ("G@T / HTTP/1.1\r\nHost: a\r\n\r\n", &[400], 0),
        (" GET / HTTP/1.1\r\nHost: a\r\n\r\n", &[400], 0),
        ("GET / HTTP/1.1\r\nHost : a\r\n\r\n", &[400], 0),
        ("GET / HTTP/1.1\r\n Host: a\r\n\r\n", &[400], 0),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n z\r\n\r\n", &[400], 0),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n\tz\r\n\r\n",
            &[400],
            0,
        ),
        ("GET / HTTP/1.1\r\nHost: a\r\n: y\r\n\r\n", &[400], 0),
        ("GET / HTTP/1.1\r\nHost: a\r\nX\r\n\r\n", &[400], 0),
        ("GET / HTTP/1.1\r\nHost: a\r\nX y: z\r\n\r\n", &[400], 0),
        ("GET / HTTP/1.1\r\nHost: a\r\nX\0: z\r\n\r\n", &[400], 0),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n", &[400], 0),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n", &[400], 0),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: a\x0bb\r\n\r\n", &[400], 0),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: a\x7fb\r\n\r\n", &[400], 0),
        ("GET / HTTP/1.1\r\nHost: a\r\n\"X\": a\r\n\r\n", &[400], 0),
        ("GET / HTTP/1.1\r\nHost: a\r\nX(y): a\r\n\r\n", &[400], 0),
        (&long, &[431], 0),
    ])
    .await;
}

#[tokio::test]
async fn framing_with_two_meanings_is_refused_and_nothing_behind_it_is_read() {
    // What a smuggler hopes to be taken for a second request.
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: a.test\r\n\r\n";
    for lines in [
        "Content-Length: \r\n",
        "Content-Length: +5\r\n",
        "Content-Length: -5\r\n",
        "Content-Length: 0x5\r\n",
        "Content-Length: 5 5\r\n",
        "Content-Length: 5, 5\r\n",
        "Content-Length: 5,6\r\n",
        "Content-Length: 5;\r\n",
        "Content-Length: 99999999999999999999\r\n",
        "Content-Length: 18446744073709551615\r\n",
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Content-Length : 5\r\n",
        "Content_Length: 5\r\n",
        "Content.Length: 5\r\n",
        "Transfer-Encoding:\r\n",
        "Transfer-Encoding: identity\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding: chunked, identity\r\n",
        "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding: chunked, chunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
        "Transfer-Encoding: \x0bchunked\r\n",
        "Transfer-Encoding: \"chunked\"\r\n",
        "Transfer-Encoding: chunked;x\r\n",
        "Transfer-Encoding : chunked\r\n",
        "Transfer-Encoding\t: chunked\r\n",
        " Transfer-Encoding: chunked\r\n",
        "X: y\r\n Transfer-Encoding: chunked\r\n",
        "Transfer_Encoding: chunked\r\n",
        "Transfer.Encoding: chunked\r\n",
        "Transfer-Encoding-: chunked\r\n",
        "Host: a.test\r\n",
        "Host: b.test\r\n",
        "Host_: b.test\r\n",
        "Expect: 200-ok\r\n",
    ] {
        let served = plain();
        let request = format!("POST /body HTTP/1.1\r\nHost: a.test\r\n{lines}\r\n");
        let text = served.exchange(closing(lines, "")).await;
        // hyper says 431 to a length that it can't count.
        let refused = matches!(*statuses(&text), [400 | 431]);
        assert!(refused, "{lines:?}: {text}");
        let served = plain();
        let mut stream = served.connect().await;
        stream
            .write_all(format!("{request}0\r\n\r\n{smuggled}").as_bytes())
            .await
            .unwrap();
        let _ = until(&mut stream, "\r\n\r\n").await;
        served.drain.cancel();
        rest_of(&mut stream).await;
        let seen = served.site.seen();
        assert!(
            !seen.contains(&"GET /smuggled".to_owned()),
            "{lines:?}: {seen:?}"
        );
    }
}
