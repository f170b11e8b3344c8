//! Bodies: streamed both ways as they come, cut off where one side goes, and what it is called when they break.

use super::*;

async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

#[tokio::test]
async fn an_event_is_there_when_it_is_sent() {
    let (upstream, address) = listen().await;
    let front = Setup::towards(address).start().await;
    let mut client = Talk::to(&front).await;
    client.say("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let mut server = Talk::accept(&upstream).await;
    server.head().await;
    server
        .say("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        .await;
    client.head().await;
    for _ in 0..3 {
        server.say("9\r\ndata: 1\n\n\r\n").await;
        client.hear("data: 1\n\n").await;
    }
    // The client goes, so the upstream is told.
    drop(client);
    assert!(server.is_hung_up().await);
}

#[tokio::test]
async fn a_client_that_goes_takes_its_request_along() {
    let (upstream, address) = listen().await;
    let front = Setup::towards(address).start().await;
    let mut client = Talk::to(&front).await;
    client.say("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let mut server = Talk::accept(&upstream).await;
    server.head().await;
    drop(client);
    assert!(server.is_hung_up().await);
}

/// Trailers pass both ways, but not those that would be identity or framing.
#[tokio::test]
async fn trailers_are_held_to_the_rules_of_headers() {
    let (upstream, address) = listen().await;
    let front = Setup::towards(address).start().await;
    let mut client = Talk::to(&front).await;
    client
        .say(
            "POST / HTTP/1.1\r\nHost: x\r\nTE: trailers\r\nTrailer: x-sum, x-forwarded-user, x_team, authorization\r\n\
             Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\
             x-sum: 1\r\nx-forwarded-user: eve\r\nx_team: eve\r\nauthorization: eve\r\n\r\n",
        )
        .await;
    let mut server = Talk::accept(&upstream).await;
    server.head().await;
    let body = server.hear("\r\n\r\n").await;
    assert_eq!(body, "2\r\nok\r\n0\r\nx-sum: 1\r\n\r\n");
    server
        .say("HTTP/1.1 200 OK\r\nTrailer: x-more\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nx-more: 2\r\n\r\n")
        .await;
    client.head().await;
    assert_eq!(client.hear("\r\n\r\n").await, "0\r\nx-more: 2\r\n\r\n");
}

/// The client is only asked for its body once there is somebody to send it to.
#[tokio::test]
async fn expect_is_answered_when_the_upstream_is_there() {
    let expect = "POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n";
    let (upstream, address) = listen().await;
    let front = Setup::towards(address).start().await;
    let mut client = Talk::to(&front).await;
    client.say(expect).await;
    assert_eq!(client.head().await.first_line(), "HTTP/1.1 100 Continue");
    let mut server = Talk::accept(&upstream).await;
    assert_eq!(server.head().await.only("expect"), None);
    client.say("ok").await;
    server.hear("ok").await;
    server.say(OK).await;
    assert_eq!(client.head().await.status(), "200");

    drop((upstream, server));
    let (_, gone) = listen().await;
    let front = Setup::towards(gone).start().await;
    let mut client = Talk::to(&front).await;
    client.say(expect).await;
    assert_eq!(client.head().await.status(), "502");
}

#[tokio::test]
async fn a_malformed_body_is_the_clients_fault() {
    for broken in [
        "zz\r\n",
        "2\r\nokXX",
        "fffffffffffffffff\r\n",
        "2\r\nok\r\n0\r\nbad trailer\r\n\r\n",
    ] {
        let (upstream, address) = listen().await;
        let front = Setup::towards(address).start().await;
        let mut client = Talk::to(&front).await;
        client
            .say("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
            .await;
        let mut server = Talk::accept(&upstream).await;
        server.head().await;
        client.say(broken).await;
        assert_eq!(client.head().await.status(), "400", "{broken:?}");
        // The upstream must not take it for whole.
        let mut rest = Vec::new();
        server
            .stream
            .read_to_end(&mut rest)
            .await
            .unwrap_or_default();
        assert!(
            !String::from_utf8_lossy(&rest).contains("0\r\n\r\n"),
            "{broken:?}"
        );
    }
}

#[tokio::test]
async fn an_upstream_that_fails_is_told_by_its_failure() {
    // Nobody there.
    let (listener, address) = listen().await;
    drop(listener);
    let front = Setup::towards(address).start().await;
    let mut client = Talk::to(&front).await;
    client.say("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert_eq!(client.head().await.status(), "502");
    // Garbage, a head without end, and nothing at all.
    for (garbage, said) in [
        ("garbage\r\n\r\n", "answered nonsense"),
        ("HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n", "answered nonsense"),
        ("", "broke off"),
    ] {
        let (upstream, address) = listen().await;
        let front = Setup::towards(address).start().await;
        let mut client = Talk::to(&front).await;
        client.say("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
        let mut server = Talk::accept(&upstream).await;
        server.head().await;
        server.say(garbage).await;
        drop(server);
        assert_eq!(client.head().await.status(), "502", "{garbage:?}");
        client.hear(said).await;
    }
    // Silence.
    let (upstream, address) = listen().await;
    let setup = Setup::towards(address);
    let request_timeout = Duration::from_millis(50);
    let front = Setup {
        request_timeout,
        ..setup
    }
    .start()
    .await;
    let mut client = Talk::to(&front).await;
    client.say("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let mut server = Talk::accept(&upstream).await;
    server.head().await;
    assert_eq!(client.head().await.status(), "504");
}

/// A body that breaks off must not look whole.
#[tokio::test]
async fn a_response_that_breaks_off_breaks_off() {
    for framing in ["Content-Length: 10", "Transfer-Encoding: chunked"] {
        let (upstream, address) = listen().await;
        let front = Setup::towards(address).start().await;
        let mut client = Talk::to(&front).await;
        client.say("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
        let mut server = Talk::accept(&upstream).await;
        server.head().await;
        server
            .say(format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\n2\r\nok\r\n"))
            .await;
        client.hear("ok").await;
        drop(server);
        let mut rest = Vec::new();
        client
            .stream
            .read_to_end(&mut rest)
            .await
            .unwrap_or_default();
        assert!(
            !String::from_utf8_lossy(&rest).contains("0\r\n\r\n"),
            "{framing}"
        );
    }
}

#[tokio::test]
async fn the_next_target_is_tried_if_nothing_was_sent() {
    let (listener, dead) = listen().await;
    drop(listener);
    let (upstream, alive) = listen().await;
    let mut setup = Setup::towards(dead);
    setup.targets.push(alive);
    let front = setup.start().await;
    let mut client = Talk::to(&front).await;
    let mut server = None;
    for _ in 0..4 {
        client
            .say("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody")
            .await;
        if server.is_none() {
            server = Some(Talk::accept(&upstream).await);
        }
        let server = server.as_mut().unwrap();
        server.hear("body").await;
        server.say(OK).await;
        assert_eq!(client.head().await.status(), "200");
        client.hear("ok").await;
    }
}

#[tokio::test]
async fn targets_take_turns() {
    let (first, second) = (listen().await, listen().await);
    let mut setup = Setup::towards(first.1);
    setup.targets.push(second.1);
    let front = setup.start().await;
    let mut client = Talk::to(&front).await;
    let mut turns = Vec::new();
    for upstream in [&first.0, &second.0] {
        client.say("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
        let mut server = Talk::accept(upstream).await;
        server.head().await;
        server.say(OK).await;
        client.hear("\r\n\r\nok").await;
        turns.push(server);
    }
    for server in &mut turns {
        client.say("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
        server.head().await;
        server.say(OK).await;
        client.hear("\r\n\r\nok").await;
    }
}

/// What is under way at most: socket buffers on four ends, and ours.
const UNDER_WAY: u64 = 32 << 20;
const LARGE: u64 = 192 << 20;

/// Writes without end and counts what was taken from it.
async fn pour(stream: &mut (impl AsyncWriteExt + Unpin), poured: &AtomicU64) {
    let chunk = vec![0x5a; 64 * 1024];
    let mut left = LARGE;
    while left > 0 {
        let n = stream
            .write(&chunk[..chunk.len().min(usize::try_from(left).unwrap())])
            .await
            .unwrap();
        left -= n as u64;
        poured.fetch_add(n as u64, Ordering::Relaxed);
    }
}

/// Waits until nothing more is taken, and answers how much was.
async fn stalled(poured: &AtomicU64) -> u64 {
    let mut before = u64::MAX;
    loop {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let now = poured.load(Ordering::Relaxed);
        if now == before {
            return now;
        }
        before = now;
    }
}

/// Reads nothing until the other end can't pour any more, then everything.
async fn drink(stream: &mut (impl AsyncReadExt + Unpin), head: usize, poured: &AtomicU64) {
    let under_way = stalled(poured).await;
    assert!(under_way > 0 && under_way < UNDER_WAY, "{under_way}");
    let mut got = head as u64;
    let mut buf = vec![0; 256 * 1024];
    while got < LARGE {
        let n = stream.read(&mut buf).await.unwrap();
        assert_ne!(n, 0, "cut off after {got}");
        assert!(buf[..n].iter().all(|byte| *byte == 0x5a));
        got += n as u64;
        let ahead = poured.load(Ordering::Relaxed).saturating_sub(got);
        assert!(ahead < UNDER_WAY, "{ahead} bytes under way");
    }
    assert_eq!(got, LARGE);
}

#[tokio::test]
async fn a_large_download_waits_for_its_reader() {
    let (upstream, address) = listen().await;
    let front = Setup::towards(address).start().await;
    let mut client = Talk::to(&front).await;
    client.say("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let mut server = Talk::accept(&upstream).await;
    server.head().await;
    server
        .say(format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\n\r\n"
        ))
        .await;
    client.head().await;
    let poured = AtomicU64::new(0);
    let read_already = client.heard.len();
    tokio::join!(
        pour(&mut server.stream, &poured),
        drink(&mut client.stream, read_already, &poured)
    );
}

#[tokio::test]
async fn a_large_upload_waits_for_its_reader() {
    let (upstream, address) = listen().await;
    let front = Setup::towards(address).start().await;
    let mut client = Talk::to(&front).await;
    client
        .say(format!(
            "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {LARGE}\r\n\r\n"
        ))
        .await;
    let mut server = Talk::accept(&upstream).await;
    server.head().await;
    let poured = AtomicU64::new(0);
    let read_already = server.heard.len();
    tokio::join!(
        pour(&mut client.stream, &poured),
        drink(&mut server.stream, read_already, &poured)
    );
    server.say(OK).await;
    assert_eq!(client.head().await.status(), "200");
}

/// Half a body, and then nothing: the client's fault, not the upstream's.
#[tokio::test]
async fn a_body_that_stops_is_a_request_that_took_too_long() {
    let (upstream, address) = listen().await;
    let mut setup = Setup::towards(address);
    setup.request_timeout = Duration::from_mins(1);
    let front = setup.start().await;
    let mut client = Talk::to(&front).await;
    client
        .say("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhello")
        .await;
    let mut server = Talk::accept(&upstream).await;
    server.head().await;
    server.hear("hello").await;
    tokio::time::pause();
    let start = tokio::time::Instant::now();
    let mut status = [0; 12];
    client.stream.read_exact(&mut status).await.unwrap();
    assert_eq!(status, *b"HTTP/1.1 408");
    assert_eq!(start.elapsed().as_secs(), 30);
    assert!(server.is_hung_up().await);
}

/// An upstream that has heard enough is not what makes the client's connection break.
#[tokio::test]
async fn an_upstream_may_answer_before_the_body_is_over() {
    let (upstream, address) = listen().await;
    let front = Setup::towards(address).start().await;
    let mut client = Talk::to(&front).await;
    client
        .say("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 200000\r\n\r\nhello")
        .await;
    let mut server = Talk::accept(&upstream).await;
    server.head().await;
    server
        .say("HTTP/1.1 413 Content Too Large\r\nConnection: close\r\nContent-Length: 3\r\n\r\nbig")
        .await;
    drop(server);
    assert_eq!(client.head().await.status(), "413");
    client.hear("big").await;
    client.say("x".repeat(199_995)).await;
    client.say("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let mut server = Talk::accept(&upstream).await;
    server.head().await;
    server.say(OK).await;
    assert_eq!(client.head().await.status(), "200");
}

/// Who goes on reading after having answered talks in both directions: silence in one of them is no fault.
#[tokio::test]
async fn once_answered_a_body_may_take_its_time() {
    let (upstream, address) = listen().await;
    let front = Setup::towards(address).start().await;
    let mut client = Talk::to(&front).await;
    client
        .say("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n")
        .await;
    let mut server = Talk::accept(&upstream).await;
    server.head().await;
    server.hear("hi").await;
    server
        .say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nho\r\n")
        .await;
    client.hear("ho").await;
    tokio::time::pause();
    tokio::time::sleep(Duration::from_mins(10)).await;
    tokio::time::resume();
    client.say("3\r\nhey\r\n0\r\n\r\n").await;
    server.hear("hey").await;
    server.say("0\r\n\r\n").await;
    client.hear("0\r\n\r\n").await;
}
