//! What is still open when its session ends: a WebSocket, an event stream, a download, an upload.

use std::convert::Infallible;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt, stream};
use http::{HeaderValue, Request, Response, header};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use tidegate::demo::http::Body;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::frame::{self, CloseFrame};
use tokio_tungstenite::tungstenite::{Error as WsError, Message};
use url::Url;

use crate::redis::{led_to, logout_token, over, second, send_logout_token};
use crate::support::browser::Browser;
use crate::support::exposition::Scrape;
use crate::support::redis::RedisServer;
use crate::support::wire::{Speaks, Wire};
use crate::support::{Gateway, HOUR, Kind, MINUTE, Person, SECOND, Scene, Setup, eventually};

type Socket = WebSocketStream<TlsStream<TcpStream>>;

/// Nothing here takes longer, unless it does not come at all.
const SOON: Duration = Duration::from_secs(10);
/// What is open on the node of the sign-out ends in less; generous, since many tests share the machine.
const AT_ONCE: Duration = Duration::from_millis(1500);

/// Opens a WebSocket as a page of the site does.
async fn websocket(browser: &Browser, path: &str) -> Result<Socket, WsError> {
    let cookies = ("cookie", browser.cookie_line());
    websocket_with(browser.base(), path, cookies).await
}

async fn websocket_with(
    base: &Url,
    path: &str,
    credential: (&'static str, String),
) -> Result<Socket, WsError> {
    let port = base.port().unwrap();
    let stream = Wire::new(Speaks::H1).tls("localhost", port).await.unwrap();
    let url = format!("wss://localhost:{port}{path}");
    let mut request = url.into_client_request().unwrap();
    let headers = request.headers_mut();
    let origin = HeaderValue::from_str(&base.origin().ascii_serialization());
    headers.insert("origin", origin.unwrap());
    headers.insert(credential.0, credential.1.parse().unwrap());
    let (socket, _) = tokio_tungstenite::client_async(request, stream).await?;
    Ok(socket)
}

/// One that is known to work.
pub async fn echoing(browser: &Browser, path: &str) -> Socket {
    let mut socket = websocket(browser, path).await.unwrap();
    assert!(echoes(&mut socket).await);
    socket
}

async fn echoes(socket: &mut Socket) -> bool {
    let said = socket.send(Message::text("there?")).await;
    said.is_ok() && matches!(next(socket).await, Some(Ok(Message::Text(text))) if text == "there?")
}

async fn next(socket: &mut Socket) -> Option<Result<Message, WsError>> {
    timeout(SOON, socket.next()).await.expect("silence")
}

/// Hears a socket out: the messages up to the close frame, and that.
async fn heard_out(socket: &mut Socket) -> (Vec<Message>, Option<CloseFrame>) {
    let mut messages = Vec::new();
    loop {
        match next(socket).await {
            Some(Ok(Message::Close(close))) => {
                // Both connections end, not only what is said on them.
                while let Some(Ok(_)) = next(socket).await {}
                return (messages, close);
            }
            Some(Ok(message)) => messages.push(message),
            other => panic!(
                "no close frame, after {} messages: {other:?}",
                messages.len()
            ),
        }
    }
}

pub async fn is_closed_for_good(socket: &mut Socket) {
    is_closed_since(socket, "session ended").await;
}

async fn is_closed_since(socket: &mut Socket, why: &str) {
    let (_, close) = heard_out(socket).await;
    let close = close.unwrap();
    let (code, reason) = (u16::from(close.code), close.reason.as_str());
    assert_eq!((code, reason), (1008, why));
}

async fn sign_out(browser: &Browser) {
    let page = browser.get("/oauth2/sign_out").await;
    let page = browser.press(&page, "Sign out").await;
    assert_eq!(page.status, 200, "{}", page.body);
}

/// Opens a response with the browser's cookies.
async fn open(wire: &Wire, browser: &Browser, path: &str) -> Response<Incoming> {
    open_with(
        wire,
        browser.base(),
        path,
        ("cookie", browser.cookie_line()),
    )
    .await
}

async fn open_with(
    wire: &Wire,
    base: &Url,
    path: &str,
    (name, value): (&str, String),
) -> Response<Incoming> {
    let request = Request::get("/").header(name, value);
    let request = request.body(Full::default()).unwrap();
    let response = wire.open(&base.join(path).unwrap(), request).await.unwrap();
    assert_eq!(response.status(), 200, "{path}");
    response
}

async fn frame_of(body: &mut Incoming) -> Option<Result<Bytes, hyper::Error>> {
    let frame = timeout(SOON, body.frame()).await.expect("silence");
    frame.map(|frame| frame.map(|frame| frame.into_data().unwrap_or_default()))
}

/// Reads on to the end: how many bytes there were, and whether it was clean.
async fn rest_of(body: &mut Incoming) -> (usize, Result<(), hyper::Error>) {
    let mut count = 0;
    loop {
        match frame_of(body).await {
            Some(Ok(data)) => count += data.len(),
            Some(Err(error)) => return (count, Err(error)),
            None => return (count, Ok(())),
        }
    }
}

/// Pieces without an end, one in a while.
fn endless(media_type: &'static str, piece: &'static str) -> Response<Body> {
    let pieces = stream::unfold((), move |()| async move {
        tokio::time::sleep(Duration::from_millis(10)).await;
        Some((
            Ok::<_, Infallible>(Frame::data(Bytes::from_static(piece.as_bytes()))),
            (),
        ))
    });
    let mut response = Response::new(StreamBody::new(pieces).boxed_unsync());
    let media_type = HeaderValue::from_static(media_type);
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, media_type);
    response
}

/// The scene's upstream answers so wherever the path is named after it.
fn stream_everything(scene: &Scene) {
    scene.upstream.say(|arrived| {
        Some(match arrived.uri.path().rsplit('/').next()? {
            "events" => endless("Text/Event-Stream; charset=utf-8", "data: x\n\n"),
            "lines" => endless("application/x-ndjson", "{\"a\":1}\n"),
            "half-lines" => endless("application/x-ndjson", "{\"a\":"),
            "chunks" => endless("application/octet-stream", "xxxx"),
            "part" => {
                let mut response = endless("text/event-stream", "data: x\n\n");
                let length = HeaderValue::from_static("1000000");
                response
                    .headers_mut()
                    .insert(header::CONTENT_LENGTH, length);
                response
            }
            _ => return None,
        })
    });
}

const ADMIN: &str =
    "[admin]\naddress = \"127.0.0.1:0\"\ntoken = \"an-admin-token-that-nobody-guesses\"\n";

fn scrape(scene: &Scene) -> Scrape {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(scene.admin_address().unwrap()).unwrap();
    let bearer = "Authorization: Bearer an-admin-token-that-nobody-guesses\r\n";
    let request = format!("GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{bearer}\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    Scrape::read(text.split_once("\r\n\r\n").unwrap().1)
}

fn streaming(scene: &Scene) -> u64 {
    scrape(scene).count("tidegate_sessions_streaming", &[])
}

fn ended(scene: &Scene, kind: &str, reason: &str) -> u64 {
    let labels = [("kind", kind), ("reason", reason)];
    scrape(scene).count("tidegate_streams_ended_total", &labels)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sign_out_closes_every_websocket_of_the_session_and_no_other() {
    let scene = Scene::with(|setup| setup.toml.push_str(ADMIN)).await;
    let (alice, bob) = (scene.browser(), scene.browser());
    alice.login("alice").await;
    bob.login("bob").await;
    let mut sockets = [
        echoing(&alice, "/ws").await,
        echoing(&alice, "/quiet/ws").await,
    ];
    let mut others = echoing(&bob, "/ws").await;
    eventually("both are known of", || streaming(&scene) == 2).await;
    let begun = Instant::now();
    sign_out(&alice).await;
    for socket in &mut sockets {
        is_closed_for_good(socket).await;
    }
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    assert!(echoes(&mut others).await);
    let Err(WsError::Http(refused)) = websocket(&alice, "/ws").await else {
        panic!("it opens again");
    };
    assert_eq!(refused.status(), 401);
    eventually("one is left", || streaming(&scene) == 1).await;
    assert_eq!(ended(&scene, "websocket", "signed_out"), 2);
    others.close(None).await.unwrap();
    while let Some(Ok(_)) = next(&mut others).await {}
    eventually("none is left", || streaming(&scene) == 0).await;
    assert_eq!(scrape(&scene).sum("tidegate_streams_ended_total"), 2);
}

/// A scene with one more application, at `/raw/`, which is told each connection that comes.
async fn scene_with<F>(more: &str, serve: impl Fn(TcpStream) -> F + Send + 'static) -> Scene
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream));
        }
    });
    Scene::with(|setup| {
        let raw = format!(
            "[upstreams.raw]\ntargets = [\"http://127.0.0.1:{port}\"]\n\
             [[routes]]\npath = \"/raw/{{*rest}}\"\nupstream = \"raw\"\nauth = \"session\"\n{more}\n"
        );
        setup.toml.push_str(&raw);
    })
    .await
}

/// The n-th frame of a flood: messages of three frames each, of all kinds of lengths.
fn nth(n: usize) -> Vec<u8> {
    let length = [1, 125, 126, 70_000, 65_535, 300_000][n % 6];
    vec![u8::try_from(n % 251).unwrap(); length]
}

fn nth_frame(n: usize) -> Message {
    let opcode = [Data::Binary, Data::Continue, Data::Continue][n % 3];
    Message::Frame(frame::Frame::message(
        nth(n),
        OpCode::Data(opcode),
        n % 3 == 2,
    ))
}

/// Floods until the connection is gone, and tells what the last word of the other side was.
async fn flood(stream: TcpStream, tell: mpsc::UnboundedSender<Option<CloseFrame>>) {
    let socket = tokio_tungstenite::accept_async(stream).await.unwrap();
    let (mut say, mut hear) = socket.split();
    let says = async {
        let mut frames = (0..).map(nth_frame);
        while say.send(frames.next().unwrap()).await.is_ok() {}
    };
    let hears = async {
        let mut close = None;
        while let Some(Ok(message)) = hear.next().await {
            close = Some(message);
        }
        if let Some(Message::Close(close)) = close {
            tell.send(close).unwrap();
        }
    };
    tokio::join!(says, hears);
}

/// An upstream that goes on and on gets its word through, frame by frame, until the last one: none is cut, and the close frame
/// stands between two of them, though it may stand in the middle of a message.
#[tokio::test(flavor = "multi_thread")]
async fn the_frames_before_the_last_are_whole_though_the_upstream_floods() {
    let (tell, mut told) = mpsc::unbounded_channel();
    let scene = scene_with("", move |stream| flood(stream, tell.clone())).await;
    let browser = scene.browser();
    browser.login("alice").await;
    for round in 0..4 {
        let mut socket = websocket(&browser, "/raw/ws").await.unwrap();
        let mut messages = Vec::new();
        for _ in 0..20 {
            messages.push(next(&mut socket).await.unwrap().unwrap());
        }
        // A reader that has stopped for a while, too: then frames are stuck on the way.
        let signing_out = tokio::spawn({
            let browser = browser.clone();
            async move { sign_out(&browser).await }
        });
        if round % 2 == 0 {
            signing_out.await.unwrap();
        }
        let (rest, close) = heard_out(&mut socket).await;
        messages.extend(rest);
        for (n, message) in messages.into_iter().enumerate() {
            let frames: Vec<_> = (n * 3..n * 3 + 3).map(nth).collect();
            let same = message.into_data() == frames.concat();
            assert!(same, "message {n} of round {round}");
        }
        assert_eq!(u16::from(close.unwrap().code), 1008);
        let close = timeout(SOON, told.recv()).await.unwrap().unwrap().unwrap();
        assert_eq!(
            (u16::from(close.code), close.reason.as_str()),
            (1001, "session ended")
        );
        browser.login("alice").await;
    }
}

/// In the middle of a frame that does not come to its end: cut off, within bounds. The upstream's connection too.
#[tokio::test(flavor = "multi_thread")]
async fn half_a_frame_is_waited_for_and_no_longer_than_that() {
    let (tell, mut told) = mpsc::unbounded_channel();
    let scene = scene_with("", move |stream| {
        let tell = tell.clone();
        async move {
            let mut socket = tokio_tungstenite::accept_async(stream).await.unwrap();
            let stream = socket.get_mut();
            // What comes together with the answer to the handshake is not seen by this test's client.
            let mut ping = [0; 6];
            stream.read_exact(&mut ping).await.unwrap();
            stream
                .write_all(b"\x82\x7e\x10\x00half of it")
                .await
                .unwrap();
            let mut heard = Vec::new();
            let _ = stream.read_to_end(&mut heard).await;
            tell.send(heard).unwrap();
        }
    })
    .await;
    let browser = scene.browser();
    browser.login("alice").await;
    let socket = websocket(&browser, "/raw/ws").await.unwrap();
    let mut stream = socket.into_inner();
    stream.write_all(b"\x89\x80mask").await.unwrap();
    let mut heard = [0; 14];
    timeout(SOON, stream.read_exact(&mut heard))
        .await
        .unwrap()
        .unwrap();
    sign_out(&browser).await;
    let begun = Instant::now();
    let mut rest = Vec::new();
    let ended = timeout(SOON, stream.read_to_end(&mut rest))
        .await
        .expect("it stays open");
    assert!(rest.is_empty(), "{ended:?} after {rest:?}");
    assert!(begun.elapsed() < 4 * SECOND, "{:?}", begun.elapsed());
    let upstream_heard = timeout(SOON, told.recv()).await.unwrap().unwrap();
    assert!(upstream_heard.is_empty());
}

/// A client that reads nothing any more can't keep its connection, nor the upstream's.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_takes_nothing_is_cut_off() {
    let (tell, mut told) = mpsc::unbounded_channel();
    let scene = scene_with("", move |stream| {
        let tell = tell.clone();
        async move {
            let mut socket = tokio_tungstenite::accept_async(stream).await.unwrap();
            while socket.send(Message::binary(vec![7; 1 << 20])).await.is_ok() {}
            tell.send(()).unwrap();
        }
    })
    .await;
    let browser = scene.browser();
    browser.login("alice").await;
    let socket = websocket(&browser, "/raw/ws").await.unwrap();
    tokio::time::sleep(SECOND / 5).await;
    assert!(told.try_recv().is_err());
    sign_out(&browser).await;
    timeout(SOON, told.recv())
        .await
        .expect("the upstream's connection stays")
        .unwrap();
    drop(socket);
}

/// What the client sends after the end does not reach the upstream, not even the rest of a frame.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_the_clients_reaches_the_upstream_after_the_end() {
    let (tell, mut told) = mpsc::unbounded_channel();
    let scene = scene_with("", move |stream| {
        let tell = tell.clone();
        async move {
            let mut socket = tokio_tungstenite::accept_async(stream).await.unwrap();
            let mut heard = Vec::new();
            let _ = socket.get_mut().read_to_end(&mut heard).await;
            tell.send(heard).unwrap();
        }
    })
    .await;
    let browser = scene.browser();
    browser.login("alice").await;
    let socket = websocket(&browser, "/raw/ws").await.unwrap();
    let mut stream = socket.into_inner();
    stream
        .write_all(b"\x82\xfe\x10\x00mask before")
        .await
        .unwrap();
    tokio::time::sleep(SECOND / 5).await;
    sign_out(&browser).await;
    let _ = stream.write_all(&[b'x'; 0x1000]).await;
    let heard = timeout(SOON, told.recv()).await.unwrap().unwrap();
    assert_eq!(heard, b"\x82\xfe\x10\x00mask before");
    let mut rest = Vec::new();
    let _ = timeout(SOON, stream.read_to_end(&mut rest)).await.unwrap();
    assert_eq!(rest, b"\x88\x0f\x03\xf0session ended");
}

#[tokio::test(flavor = "multi_thread")]
async fn events_end_between_two_of_them_and_the_connection_goes_on() {
    let scene = Scene::with(|setup| setup.toml.push_str(ADMIN)).await;
    stream_everything(&scene);
    for speaks in [Speaks::H1, Speaks::H2] {
        for path in ["/events", "/lines"] {
            let (alice, bob) = (scene.browser(), scene.browser());
            alice.login("alice").await;
            bob.login("bob").await;
            let wire = Wire::new(speaks);
            let mut body = open(&wire, &alice, path).await.into_body();
            // On the same connection, where there can be two at a time.
            let mut other = open(&wire, &bob, path).await.into_body();
            frame_of(&mut body).await.unwrap().unwrap();
            frame_of(&mut other).await.unwrap().unwrap();
            sign_out(&alice).await;
            let (_, end) = timeout(AT_ONCE * 4, rest_of(&mut body)).await.unwrap();
            end.unwrap();
            for _ in 0..20 {
                frame_of(&mut other).await.unwrap().unwrap();
            }
        }
    }
    assert_eq!(ended(&scene, "events", "signed_out"), 4);
    eventually("none is left", || streaming(&scene) == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_could_be_taken_for_the_whole_is_broken_off() {
    let scene = Scene::with(|setup| setup.toml.push_str(ADMIN)).await;
    stream_everything(&scene);
    let paths = ["/bytes?n=9999999999", "/chunks", "/half-lines", "/part"];
    for speaks in [Speaks::H1, Speaks::H2] {
        for path in paths {
            let (alice, bob) = (scene.browser(), scene.browser());
            alice.login("alice").await;
            bob.login("bob").await;
            let wire = Wire::new(speaks);
            let mut body = open(&wire, &alice, path).await.into_body();
            let mut other = open(&wire, &bob, "/events").await.into_body();
            frame_of(&mut body).await.unwrap().unwrap();
            sign_out(&alice).await;
            let (_, end) = timeout(SOON, rest_of(&mut body)).await.unwrap();
            assert!(
                end.is_err(),
                "{path} over {speaks:?} ended as if it were whole"
            );
            for _ in 0..20 {
                frame_of(&mut other).await.unwrap().unwrap();
            }
        }
    }
    assert_eq!(ended(&scene, "response", "signed_out"), 6);
    assert_eq!(ended(&scene, "events", "signed_out"), 2, "half a line");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_download_under_way_in_full_flow_is_broken_off_and_a_finished_one_is_not() {
    let scene = Scene::start().await;
    let alice = scene.browser();
    alice.login("alice").await;
    let wire = Wire::new(Speaks::H1);
    let mut body = open(&wire, &alice, "/bytes?n=16000000000")
        .await
        .into_body();
    let reading = tokio::spawn(async move { rest_of(&mut body).await });
    tokio::time::sleep(SECOND / 10).await;
    assert!(!reading.is_finished());
    sign_out(&alice).await;
    let (count, end) = timeout(SOON, reading).await.unwrap().unwrap();
    assert!(count > 0 && end.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_swap_leaves_what_is_open_alone() {
    let scene = Scene::start().await;
    stream_everything(&scene);
    let alice = scene.browser();
    alice.login("alice").await;
    let mut socket = echoing(&alice, "/ws").await;
    let mut body = open(&Wire::new(Speaks::H2), &alice, "/chunks")
        .await
        .into_body();
    for round in 1..=3 {
        scene.clock.advance(6 * MINUTE);
        assert_eq!(alice.fetch("/app").await.status, 200);
        assert_eq!(scene.idp.journal().refreshes, round);
        assert!(echoes(&mut socket).await);
        frame_of(&mut body).await.unwrap().unwrap();
    }
    // It is the session that they are bound to, not the tokens with which they began.
    sign_out(&alice).await;
    is_closed_for_good(&mut socket).await;
    assert!(rest_of(&mut body).await.1.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_ends_what_is_open_though_no_request_comes() {
    for (deadline, reason) in [("absolute", "absolute"), ("idle", "idle")] {
        let scene = Scene::with(|setup| {
            setup.toml.push_str(ADMIN);
            if deadline == "absolute" {
                setup
                    .replace("\"30m\"", "\"1h\"")
                    .replace("\"12h\"", "\"1h\"");
            }
        })
        .await;
        stream_everything(&scene);
        let alice = scene.browser();
        alice.login("alice").await;
        let mut socket = echoing(&alice, "/ws").await;
        let mut body = open(&Wire::new(Speaks::H2), &alice, "/events")
            .await
            .into_body();
        let close_by = if deadline == "absolute" {
            HOUR
        } else {
            30 * MINUTE
        };
        scene.clock.advance(close_by.saturating_sub(30 * SECOND));
        tokio::time::sleep(SECOND * 3 / 2).await;
        assert!(echoes(&mut socket).await, "{deadline}");
        scene.clock.advance(31 * SECOND);
        let begun = Instant::now();
        is_closed_for_good(&mut socket).await;
        rest_of(&mut body).await.1.unwrap();
        assert!(begun.elapsed() < 5 * SECOND, "{:?}", begun.elapsed());
        assert_eq!(ended(&scene, "websocket", reason), 1);
        eventually("none is left", || streaming(&scene) == 0).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_at_the_provider_ends_what_is_open() {
    let scene = Scene::start().await;
    let alice = scene.browser();
    alice.login("alice").await;
    let mut socket = echoing(&alice, "/ws").await;
    let person = Person::named("alice").unwrap();
    scene.idp.end_sessions_of(person).await;
    scene.clock.advance(6 * MINUTE);
    assert_eq!(alice.fetch("/app").await.status, 401);
    is_closed_for_good(&mut socket).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn drained_streams_go_on_for_the_grace_and_ignored_ones_for_good() {
    let scene = Scene::with(|setup| {
        setup.replace("\"10s\"", "\"2s\"");
        for way in ["drain", "ignore"] {
            let route = format!(
                "[[routes]]\npath = \"/{way}/{{*rest}}\"\nupstream = \"app\"\nauth = \"session\"\non_session_end = \"{way}\"\n"
            );
            setup.toml.push_str(&route);
        }
    })
    .await;
    stream_everything(&scene);
    let alice = scene.browser();
    alice.login("alice").await;
    let wire = Wire::new(Speaks::H2);
    let mut closed = echoing(&alice, "/ws").await;
    let mut drained = echoing(&alice, "/drain/ws").await;
    let mut drained_events = open(&wire, &alice, "/drain/events").await.into_body();
    let mut ignored = echoing(&alice, "/ignore/ws").await;
    let mut ignored_chunks = open(&wire, &alice, "/ignore/chunks").await.into_body();
    sign_out(&alice).await;
    let ended = Instant::now();
    is_closed_for_good(&mut closed).await;
    assert!(echoes(&mut drained).await);
    assert!(
        ended.elapsed() < 2 * SECOND,
        "the machine is too slow for this test"
    );
    frame_of(&mut drained_events).await.unwrap().unwrap();
    is_closed_for_good(&mut drained).await;
    rest_of(&mut drained_events).await.1.unwrap();
    assert!(
        ended.elapsed() > SECOND && ended.elapsed() < 6 * SECOND,
        "{:?}",
        ended.elapsed()
    );
    assert!(echoes(&mut ignored).await);
    frame_of(&mut ignored_chunks).await.unwrap().unwrap();
    for path in ["/drain/app", "/ignore/app"] {
        assert_eq!(alice.fetch(path).await.status, 401, "nothing new begins");
    }
}

/// Whoever is in the middle of a request gets the answer that a new one would get.
#[tokio::test(flavor = "multi_thread")]
async fn half_an_upload_and_an_answer_that_has_not_begun_are_refused() {
    let scene = Scene::start().await;
    let alice = scene.browser();
    alice.login("alice").await;
    let port = scene.url().port().unwrap();
    let wire = Wire::new(Speaks::H1);
    let mut upload = wire.tls("localhost", port).await.unwrap();
    let cookies = alice.cookie_line();
    let head = format!(
        "POST /upload HTTP/1.1\r\nHost: localhost:{port}\r\nCookie: {cookies}\r\nContent-Length: 10000\r\n\r\nhalf"
    );
    upload.write_all(head.as_bytes()).await.unwrap();
    let slow = {
        let alice = alice.stolen();
        tokio::spawn(async move { alice.fetch("/slow?ms=1500").await })
    };
    let upstream = &scene.upstream;
    let before = upstream.count();
    eventually("both have arrived", || upstream.count() >= before.max(3)).await;
    sign_out(&alice).await;
    upload.write_all(b" and more").await.unwrap();
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    while !answer.windows(10).any(|w| w == b"signed_out") {
        let count = timeout(SOON, upload.read(&mut buffer))
            .await
            .unwrap()
            .unwrap();
        assert_ne!(count, 0, "{}", String::from_utf8_lossy(&answer));
        answer.extend(&buffer[..count]);
    }
    assert!(
        answer.starts_with(b"HTTP/1.1 401 "),
        "{}",
        String::from_utf8_lossy(&answer)
    );
    let slow = slow.await.unwrap();
    assert_eq!(
        (slow.status.as_u16(), &slow.json()["code"]),
        (401, &"signed_out".into())
    );
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server"]
async fn a_sign_out_on_one_node_closes_what_is_open_on_another() {
    let mut redis = RedisServer::start();
    let scene = Scene::with(over(&redis)).await;
    stream_everything(&scene);
    let (toml, url) = second(&scene);
    let other = Gateway::start(&toml, &scene.clock);
    for lost in [false, true] {
        let browser = scene.browser();
        browser.login("alice").await;
        let there = led_to(&url, &browser, &scene.clock);
        let mut socket = echoing(&there, "/ws").await;
        let mut body = open(&Wire::new(Speaks::H2), &there, "/events")
            .await
            .into_body();
        frame_of(&mut body).await.unwrap().unwrap();
        // An idle time of another node is none here, and a swap elsewhere ends nothing.
        scene.clock.advance(6 * MINUTE);
        assert_eq!(browser.fetch("/app").await.status, 200);
        assert!(echoes(&mut socket).await);
        if lost {
            // What happens while nothing is heard is found out afterwards.
            redis.kill();
            redis.restart();
            let served = async {
                while browser.fetch("/app").await.status != 200 {
                    tokio::time::sleep(SECOND / 20).await;
                }
            };
            timeout(SOON, served).await.unwrap();
        }
        sign_out(&browser).await;
        let begun = Instant::now();
        is_closed_for_good(&mut socket).await;
        let took = begun.elapsed();
        rest_of(&mut body).await.1.unwrap();
        assert!(took < AT_ONCE * 2, "{took:?}");
        eprintln!("closed on the other node after {took:?}, lost: {lost}");
    }
    other.stop().await;
}

fn bearer(token: &str) -> (&'static str, String) {
    ("authorization", format!("Bearer {token}"))
}

/// What an API client has open ends when its token is refused, and only then.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_open_under_a_bearer_token_ends_when_that_is_refused() {
    let scene = Scene::with(|setup| setup.toml.push_str(ADMIN)).await;
    stream_everything(&scene);
    let alice = scene.browser();
    alice.login("alice").await;
    let held = scene.idp.journal().newest(Kind::Access).unwrap().to_owned();
    let others = scene.bearer("bob");
    let (url, wire) = (scene.url(), Wire::new(Speaks::H2));
    let mut socket = websocket_with(url, "/api/ws", bearer(&held)).await.unwrap();
    let mut of_session = echoing(&alice, "/ws").await;
    let mut other = websocket_with(url, "/api/ws", bearer(&others))
        .await
        .unwrap();
    let mut events = open_with(&wire, url, "/api/events", bearer(&held))
        .await
        .into_body();
    let mut chunks = open_with(&wire, url, "/api/chunks", bearer(&held))
        .await
        .into_body();
    let mut other_chunks = open_with(&wire, url, "/api/chunks", bearer(&others))
        .await
        .into_body();
    let slow = {
        let (client, held) = (scene.client(), held.clone());
        tokio::spawn(async move { client.get_as(&held, "/api/slow?ms=1500").await })
    };
    // Another session of the same person, at the gateway and at the provider, is no reason.
    let again = scene.browser();
    again.login("alice").await;
    sign_out(&again).await;
    assert!(echoes(&mut socket).await && echoes(&mut other).await);
    frame_of(&mut events).await.unwrap().unwrap();
    let upstream = &scene.upstream;
    eventually("it has arrived", || {
        let arrived = upstream.arrived();
        arrived.iter().any(|one| one.uri.path() == "/api/slow")
    })
    .await;

    let reply = send_logout_token(&scene.client(), &logout_token(&scene, &held)).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    is_closed_since(&mut socket, "token refused").await;
    is_closed_for_good(&mut of_session).await;
    rest_of(&mut events).await.1.unwrap();
    assert!(rest_of(&mut chunks).await.1.is_err());
    let slow = slow.await.unwrap();
    assert_eq!(
        (slow.status.as_u16(), &slow.json()["code"]),
        (401, &"token_revoked".into())
    );
    assert!(echoes(&mut other).await);
    frame_of(&mut other_chunks).await.unwrap().unwrap();
    assert_eq!(ended(&scene, "websocket", "token_refused"), 1);
    assert_eq!(ended(&scene, "websocket", "back_channel"), 1);
    assert_eq!(ended(&scene, "request", "token_refused"), 1);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server"]
async fn a_bearers_stream_ends_on_the_node_that_did_not_hear_the_refusal_itself() {
    let redis = RedisServer::start();
    let scene = Scene::with(over(&redis)).await;
    let (toml, url) = second(&scene);
    let other = Gateway::start(&toml, &scene.clock);
    let alice = scene.browser();
    alice.login("alice").await;
    let held = scene.idp.journal().newest(Kind::Access).unwrap().to_owned();
    let mut socket = websocket_with(&url, "/api/ws", bearer(&held))
        .await
        .unwrap();
    assert!(echoes(&mut socket).await);
    let reply = send_logout_token(&scene.client(), &logout_token(&scene, &held)).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let begun = Instant::now();
    is_closed_since(&mut socket, "token refused").await;
    eprintln!("closed on the other node after {:?}", begun.elapsed());
    other.stop().await;
}
