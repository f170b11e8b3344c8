//! A client that speaks HTTP/2 to an upstream that speaks HTTP/1.1.

use http_body_util::BodyExt;
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::TokioExecutor;

use super::*;

async fn client(front: &Front) -> SendRequest<Full<Bytes>> {
    let stream = TcpStream::connect(front.address).await.unwrap();
    let (sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    tokio::spawn(connection);
    sender
}

async fn start() -> (TcpListener, SendRequest<Full<Bytes>>) {
    let upstream = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let setup = Setup::towards(upstream.local_addr().unwrap());
    let front = Setup { h2: true, ..setup }.start().await;
    let client = client(&front).await;
    (upstream, client)
}

fn get() -> Request<Full<Bytes>> {
    Request::get("https://Apps.example.com/a?b")
        .body(Full::default())
        .unwrap()
}

/// Cookie crumbs become one header, `:authority` becomes `Host`, and nothing is left of HTTP/2.
#[tokio::test]
async fn a_request_is_put_into_the_other_version() {
    let (upstream, mut client) = start().await;
    let mut request = get();
    for crumb in ["a=1", "__Host-tidegate=x", "b=2"] {
        request
            .headers_mut()
            .append("cookie", crumb.parse().unwrap());
    }
    request
        .headers_mut()
        .insert("te", "trailers".parse().unwrap());
    let (head, response) = tokio::join!(
        async {
            let mut server = Talk::accept(&upstream).await;
            let head = server.head().await;
            server
                .say("HTTP/1.1 200 OK\r\nConnection: keep-alive\r\nKeep-Alive: timeout=5\r\nTransfer-Encoding: chunked\r\n\r\n")
                .await;
            server.say("2\r\nok\r\n0\r\nx-sum: 1\r\n\r\n").await;
            head
        },
        async { client.send_request(request).await.unwrap() }
    );
    assert_eq!(head.first_line(), "GET /a?b HTTP/1.1");
    assert_eq!(head.only("host"), Some("apps.example.com"));
    assert_eq!(head.all("cookie"), ["a=1; b=2"]);
    assert_eq!(head.only("te"), Some("trailers"));
    assert_eq!(head.only("transfer-encoding"), None);
    assert_eq!(response.status(), 200);
    for gone in ["connection", "keep-alive", "transfer-encoding"] {
        assert!(!response.headers().contains_key(gone));
    }
    let body = response.into_body().collect().await.unwrap();
    assert_eq!(body.trailers().unwrap()["x-sum"], "1");
    assert_eq!(body.to_bytes(), "ok");
}

#[tokio::test]
async fn streams_take_turns_on_one_connection() {
    let (upstream, mut client) = start().await;
    let ask = async {
        for _ in 0..3 {
            let response = client.send_request(get()).await.unwrap();
            assert_eq!(
                response.into_body().collect().await.unwrap().to_bytes(),
                "ok"
            );
            let mut post = get();
            *post.method_mut() = http::Method::POST;
            *post.body_mut() = Full::from("body");
            let response = client.send_request(post).await.unwrap();
            assert_eq!(
                response.into_body().collect().await.unwrap().to_bytes(),
                "ok"
            );
        }
    };
    let serve = async {
        let mut server = Talk::accept(&upstream).await;
        for _ in 0..3 {
            server.head().await;
            server.say(OK).await;
            assert_eq!(server.head().await.only("content-length"), Some("4"));
            server.hear("body").await;
            server.say(OK).await;
        }
        server
    };
    let _open = tokio::join!(serve, ask);
}

#[tokio::test]
async fn a_reset_stream_takes_its_request_along() {
    let (upstream, mut client) = start().await;
    let mut asking = Box::pin(client.send_request(get()));
    let mut server = tokio::select! {
        _ = &mut asking => unreachable!("nobody has answered"),
        server = Talk::accept(&upstream) => server,
    };
    server.head().await;
    drop(asking);
    assert!(server.is_hung_up().await);

    let (mut server, response) = tokio::join!(
        async {
            let mut server = Talk::accept(&upstream).await;
            server.head().await;
            server
                .say("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\npart")
                .await;
            server
        },
        async { client.send_request(get()).await.unwrap() }
    );
    drop(response);
    assert!(server.is_hung_up().await);
}
