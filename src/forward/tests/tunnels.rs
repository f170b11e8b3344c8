//! WebSocket through the gateway, and what only looks like one.

use super::*;

const HANDSHAKE: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

#[tokio::test]
async fn a_websocket_goes_through() {
    let (upstream, address) = listen().await;
    let front = Setup::towards(address).of(in_session()).start().await;
    let server = tokio::spawn(async move {
        let (stream, _) = upstream.accept().await.unwrap();
        let mut socket = tokio_tungstenite::accept_async(stream).await.unwrap();
        while let Some(Ok(message)) = socket.next().await {
            if message.is_close() {
                break;
            }
            socket.send(message).await.unwrap();
        }
        // The client's close has reached us; the answer to it goes out before the end.
        while let Some(Ok(_)) = socket.next().await {}
    });
    let url = format!("ws://{}/chat", front.address);
    let (mut socket, response) = tokio_tungstenite::connect_async(url).await.unwrap();
    assert_eq!(response.status(), 101);
    for text in ["one", "two", &"x".repeat(1 << 20)] {
        socket.send(Message::text(text)).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap(), Message::text(text));
    }
    socket.close(None).await.unwrap();
    while let Some(Ok(_)) = socket.next().await {}
    server.await.unwrap();
}

#[tokio::test]
async fn either_end_ends_a_tunnel() {
    for client_first in [true, false] {
        let (upstream, address) = listen().await;
        let front = Setup::towards(address).start().await;
        let mut client = Talk::to(&front).await;
        client
            .say(format!("GET / HTTP/1.1\r\nHost: x\r\n{HANDSHAKE}\r\n"))
            .await;
        let mut server = Talk::accept(&upstream).await;
        let head = server.head().await;
        assert_eq!(head.only("upgrade"), Some("websocket"));
        assert_eq!(head.only("connection"), Some("upgrade"));
        assert!(head.only("sec-websocket-key").is_some());
        server
            .say("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: WebSocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\nearly")
            .await;
        let head = client.head().await;
        assert_eq!(head.status(), "101");
        assert!(head.only("sec-websocket-accept").is_some());
        client.hear("early").await;
        client.say("up").await;
        server.hear("up").await;
        let (gone, mut left) = if client_first {
            (client, server)
        } else {
            (server, client)
        };
        drop(gone);
        assert!(left.is_hung_up().await);
    }
}

/// An upstream that does not want a WebSocket answers as usual.
#[tokio::test]
async fn a_refused_handshake_is_an_answer() {
    let (upstream, address) = listen().await;
    let front = Setup::towards(address).start().await;
    let mut client = Talk::to(&front).await;
    client
        .say(format!("GET / HTTP/1.1\r\nHost: x\r\n{HANDSHAKE}\r\n"))
        .await;
    let mut server = Talk::accept(&upstream).await;
    server.head().await;
    server
        .say("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")
        .await;
    assert_eq!(client.head().await.status(), "403");
    client.hear("no").await;
    assert!(server.is_hung_up().await);
}

#[tokio::test]
async fn what_is_no_handshake_is_no_tunnel() {
    let table = [
        format!("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n{HANDSHAKE}\r\n"),
        format!("GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n{HANDSHAKE}\r\nok"),
        format!("GET / HTTP/1.0\r\nHost: x\r\n{HANDSHAKE}\r\n"),
        format!(
            "GET / HTTP/1.1\r\nHost: x\r\n{}\r\n",
            HANDSHAKE.replace("13", "12")
        ),
        format!(
            "GET / HTTP/1.1\r\nHost: x\r\n{}\r\n",
            HANDSHAKE.replace("websocket\r", "h2c, websocket\r")
        ),
        format!(
            "GET / HTTP/1.1\r\nHost: x\r\n{}\r\n",
            HANDSHAKE.replace("-Key", "-Kee")
        ),
    ];
    for request in table {
        let (_upstream, address) = listen().await;
        let front = Setup::towards(address).start().await;
        let mut client = Talk::to(&front).await;
        client.say(&request).await;
        assert_eq!(client.head().await.status(), "501", "{request}");
    }
}

/// 101 to a request that asked for nothing, or for something else, opens nothing (premature upgrade, h2c smuggling).
#[tokio::test]
async fn a_switch_nobody_asked_for_is_nonsense() {
    let asked = [
        "GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(),
        "GET / HTTP/1.1\r\nHost: x\r\nConnection: upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n\r\n".to_owned(),
        format!("GET / HTTP/1.1\r\nHost: x\r\n{HANDSHAKE}\r\n"),
    ];
    for request in asked {
        let (upstream, address) = listen().await;
        let front = Setup::towards(address).start().await;
        let mut client = Talk::to(&front).await;
        client.say(&request).await;
        let mut server = Talk::accept(&upstream).await;
        server.head().await;
        server
            .say("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n")
            .await;
        assert_eq!(client.head().await.status(), "502", "{request}");
        assert!(server.is_hung_up().await);
    }
}
