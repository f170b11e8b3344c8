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

/// RFC 9112 section 6.1: the length is dropped, the coding obeyed, and the connection closed after the answer. RFC 9110
/// section 8.6: equal lengths are one.
#[tokio::test]
async fn what_hyper_folds_has_one_meaning_afterwards() {
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: a.test\r\n\r\n";
    for lines in [
        "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 400\r\n",
        "Content-Length: 0\r\nTransfer-Encoding: chunked\r\nContent-Length: 9\r\n",
    ] {
        let served = plain();
        let text = served
            .exchange(format!(
                "POST /body HTTP/1.1\r\nHost: a.test\r\n{lines}\r\n5\r\nhello\r\n0\r\n\r\n{smuggled}"
            ))
            .await;
        assert_eq!(statuses(&text), [200], "{lines:?}: {text}");
        assert!(text.contains("5 bytes"), "{text}");
        assert_eq!(served.site.seen(), ["POST /body"], "{lines:?}");
    }
    let twice = "Content-Length: 5\r\nContent-Length: 5\r\n";
    let text = plain().exchange(closing(twice, "hello")).await;
    assert!(text.ends_with("5 bytes"), "{text}");
}

#[tokio::test]
async fn chunks_that_are_no_chunks_break_the_request_off() {
    for body in [
        "x\r\nhello\r\n0\r\n\r\n",
        "-5\r\nhello\r\n0\r\n\r\n",
        "+5\r\nhello\r\n0\r\n\r\n",
        "0x5\r\nhello\r\n0\r\n\r\n",
        "5 5\r\nhello\r\n0\r\n\r\n",
        "5\nhello\r\n0\r\n\r\n",
        "5\r\nhelloo\r\n0\r\n\r\n",
        "5\r\nhello0\r\n\r\n",
        "fffffffffffffffff\r\nhello\r\n0\r\n\r\n",
        "5;a\nb\r\nhello\r\n0\r\n\r\n",
        "\r\n5\r\nhello\r\n0\r\n\r\n",
    ] {
        let served = plain();
        let request =
            closing("Transfer-Encoding: chunked\r\n", body).replace("Connection: close\r\n", "");
        let text = served
            .exchange(request + "GET /smuggled HTTP/1.1\r\nHost: a.test\r\n\r\n")
            .await;
        assert_eq!(statuses(&text), [400], "{body:?}: {text}");
        assert_eq!(served.site.seen(), ["POST /body"], "{body:?}");
    }
}

#[tokio::test]
async fn too_much_of_anything_is_answered() {
    let request = |uri: &str, lines: &str| format!("GET {uri} HTTP/1.1\r\nHost: a\r\n{lines}\r\n");
    let header = |length| format!("X: {}\r\n", "y".repeat(length));
    for (request, status) in [
        (request(&format!("/{}", "a".repeat(9_000)), ""), 414),
        (request(&format!("/{}", "a".repeat(65_000)), ""), 414),
        (request("/", &header(60_000)), 200),
        (request("/", &header(70_000)), 431),
        (request("/", &header(2_000_000)), 431),
        (request("/", &"X: y\r\n".repeat(98)), 200),
        (request("/", &"X: y\r\n".repeat(99)), 431),
        (request("/", &"X: y\r\n".repeat(9_000)), 431),
    ] {
        let served = plain();
        let request = request.replace("Host: a\r\n", "Host: a\r\nConnection: close\r\n");
        let mut stream = served.connect().await;
        let (mut read, mut write) = stream.split();
        let mut bytes = Vec::new();
        let (_, read) = tokio::join!(
            write.write_all(request.as_bytes()),
            timeout(PATIENCE, read.read_to_end(&mut bytes)),
        );
        let text = String::from_utf8_lossy(&bytes);
        assert_eq!(
            statuses(&text),
            [status],
            "{read:?} {}: {text}",
            request.len()
        );
    }
}

#[tokio::test]
async fn several_requests_follow_each_other() {
    let served = plain();
    let one = "GET /1 HTTP/1.1\r\nHost: a\r\n\r\n";
    let last = "GET /2 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let text = served.exchange([one, one, last].concat()).await;
    assert_eq!(statuses(&text), [200, 200, 200]);
    assert_eq!(served.site.seen(), ["GET /1", "GET /1", "GET /2"]);
}

#[tokio::test]
async fn a_connection_is_closed_after_a_refused_head() {
    let refused = "GET / HTTP/1.1\r\nHost: a\r\nContent_Length: 40\r\n\r\n";
    let served = plain();
    let text = served
        .exchange(format!(
            "{refused}GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
        ))
        .await;
    assert_eq!(statuses(&text), [400]);
    assert!(text.contains("connection: close"), "{text}");
    assert_eq!(served.site.seen(), ["GET /"]);
}

#[tokio::test]
async fn http2_is_not_spoken_on_a_plain_port() {
    let served = plain();
    let text = served
        .exchange("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")
        .await;
    assert!(served.site.seen().is_empty(), "{text}");
    assert!(!text.contains(" 200"), "{text}");
}

#[tokio::test]
async fn a_body_is_asked_for_only_when_it_is_read() {
    let served = plain();
    let mut stream = served.connect().await;
    stream
        .write_all(b"POST /body HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\nConnection: close\r\n\r\n")
        .await
        .unwrap();
    let text = until(&mut stream, "\r\n\r\n").await;
    assert_eq!(statuses(&text), [100]);
    stream.write_all(b"hello").await.unwrap();
    assert!(rest_of(&mut stream).await.ends_with("5 bytes"));
}

/// A connection that is closed while the peer still sends is reset by the system, and the answer may be lost with it.
#[tokio::test]
async fn an_answer_arrives_however_much_was_still_being_sent() {
    let upload = format!(
        "POST /refuse HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n",
        20 << 20
    );
    let chunked =
        "POST /refuse HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nfffffff\r\n";
    let refused = "POST / HTTP/1.1\r\nHost: a\r\nContent_Length: 20971520\r\n\r\n";
    for (head, length, status) in [
        (&*upload, 20 << 20, 401),
        (chunked, 20 << 20, 401),
        (refused, 20 << 20, 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: ", 5 << 20, 431),
        ("\0", 5 << 20, 400),
    ] {
        let served = plain();
        let mut stream = served.connect().await;
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(&vec![b'x'; length]).await.unwrap();
        let text = rest_of(&mut stream).await;
        assert_eq!(statuses(&text), [status], "{head}");
    }
}

/// A body that nobody wanted and that is small enough costs nobody the connection.
#[tokio::test]
async fn a_connection_outlives_a_refused_upload() {
    let served = plain();
    let mut stream = served.connect().await;
    for _ in 0..3 {
        let head = "POST /refuse HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n";
        stream.write_all(head.as_bytes()).await.unwrap();
        assert!(until(&mut stream, "not you").await.contains(" 401 "));
        stream.write_all(&vec![b'x'; 100_000]).await.unwrap();
    }
    let demanding =
        "POST /refuse HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n";
    stream.write_all(demanding.as_bytes()).await.unwrap();
    assert_eq!(statuses(&rest_of(&mut stream).await), [401]);
}
