//! The demo's application itself: it tells what it was told, lets bytes flow, and its buttons do what they say.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http::{Request, header};
use http_body_util::{BodyExt, Full};
use tidegate::clock::Clock;
use tidegate::demo::control::Control;
use tidegate::demo::http::reserve;
use tidegate::demo::idp::{Event, Idp, Options};
use tidegate::demo::upstream::Upstream;
use tokio_tungstenite::tungstenite::Message;
use url::Url;

use crate::support::wire::{Reply, Speaks, Wire};

struct Application {
    upstream: Upstream,
    idp: Idp,
    clock: Clock,
    wire: Wire,
}

impl Application {
    async fn start() -> Self {
        let clock = Clock::shifted();
        let options = Options {
            clock: clock.clone(),
            ..Options::default()
        };
        let idp = Idp::start(options).await.unwrap();
        let minute = Duration::from_mins(1);
        let control = Control::new(idp.clone(), clock.clone(), minute, "demo");
        Self {
            upstream: Upstream::start(reserve(0).unwrap(), Some(control)),
            idp,
            clock,
            wire: Wire::new(Speaks::H1),
        }
    }

    fn url(&self, path: &str) -> Url {
        Url::parse(&format!("http://127.0.0.1:{}{path}", self.upstream.port())).unwrap()
    }

    async fn get(&self, path: &str) -> Reply {
        let request = Request::get("/")
            .header("x-forwarded-user", "u-alice")
            .header("x-forwarded-preferred-username", "<alice>")
            .header("authorization", "Bearer very-secret")
            .header("cookie", "other=also-secret")
            .body(Full::default())
            .unwrap();
        self.wire.send(&self.url(path), request).await.unwrap()
    }

    async fn press(&self, button: &str, site: &str) -> Reply {
        let request = Request::post("/")
            .header("x-forwarded-user", "u-alice")
            .header("sec-fetch-site", site)
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(Full::new(Bytes::from(format!("do={button}"))))
            .unwrap();
        self.wire.send(&self.url("/_demo"), request).await.unwrap()
    }
}

#[tokio::test]
async fn it_shows_who_it_is_told_that_you_are_and_no_credential() {
    let application = Application::start().await;
    for path in ["/", "/deep/down", "/api/headers.json"] {
        let page = application.get(path).await;
        assert_eq!(page.status, 200);
        assert!(page.text().contains("u-alice"), "{path}");
        assert!(!page.text().contains("-secret"), "{path}");
    }
    let page = application.get("/").await;
    assert!(
        page.text().contains("Hello &lt;alice&gt;"),
        "{}",
        page.text()
    );
    assert!(!page.text().contains("{{"), "every slot is filled");
}

#[tokio::test]
async fn a_websocket_says_what_it_is_told() {
    let application = Application::start().await;
    let url = format!("ws://127.0.0.1:{}/ws", application.upstream.port());
    let (mut socket, _) = tokio_tungstenite::connect_async(&url).await.unwrap();
    for length in [0, 5, 125, 126, 65_535, 65_536, 300_000] {
        let sent = Message::Binary(Bytes::from(vec![7; length]));
        socket.send(sent.clone()).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap(), sent);
    }
    socket.send(Message::Ping(Bytes::from("hi"))).await.unwrap();
    assert_eq!(
        socket.next().await.unwrap().unwrap(),
        Message::Pong(Bytes::from("hi"))
    );
    socket.close(None).await.unwrap();
}

#[tokio::test]
async fn bytes_flow_down_up_and_bit_by_bit() {
    let application = Application::start().await;
    let down = application.get("/bytes?n=200001").await;
    assert_eq!(down.body.len(), 200_001);
    let body = Bytes::from(vec![b'x'; 150_000]);
    let request = Request::post("/").body(Full::new(body)).unwrap();
    let up = application
        .wire
        .send(&application.url("/upload"), request)
        .await
        .unwrap();
    assert_eq!(up.json()["bytes"], 150_000);

    let request = Request::get("/").body(Full::default()).unwrap();
    let clock = application
        .wire
        .open(&application.url("/clock"), request)
        .await
        .unwrap();
    let mut body = clock.into_body();
    let tick = body.frame().await.unwrap().unwrap().into_data().unwrap();
    assert!(tick.starts_with(b"id: 0\nevent: tick\n"));
}

#[tokio::test]
async fn its_buttons_move_the_clock_the_keys_and_the_provider_from_its_own_page_only() {
    let application = Application::start().await;
    let before = application.clock.now();
    for site in ["cross-site", "same-site"] {
        assert_eq!(application.press("expire", site).await.status, 403);
    }
    assert!(application.clock.now().since(before) < Duration::from_secs(30));

    let pressed = application.press("expire", "same-origin").await;
    assert_eq!(
        (pressed.status.as_u16(), pressed.header("location")),
        (303, "/_demo?said=expired")
    );
    assert!(application.clock.now().since(before) >= Duration::from_mins(1));
    assert!(
        application
            .get("/_demo?said=expired")
            .await
            .text()
            .contains("The clock of")
    );
    assert!(
        !application
            .get("/_demo?said=made-up")
            .await
            .text()
            .contains("made-up")
    );

    for button in ["rotate", "down", "up"] {
        application.press(button, "same-origin").await;
    }
    let events = application.idp.journal().events;
    let expected = [
        Event::KeysRotated,
        Event::Reachable(false),
        Event::Reachable(true),
    ];
    assert_eq!(events, expected);
    assert_eq!(
        application
            .press("replay", "same-origin")
            .await
            .header("location"),
        "/_demo?said=nothing"
    );
}
