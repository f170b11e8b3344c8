//! What a request leaves behind, and what it never does.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use std::sync::Mutex;
use std::sync::PoisonError;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use http_body_util::{BodyExt, Full, StreamBody};
use serde_json::Value;

use super::*;
use crate::telemetry::Observed;

#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl Sink {
    fn text(&self) -> String {
        let bytes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8(bytes.clone()).unwrap()
    }

    fn only_line(&self) -> Value {
        let text = self.text();
        assert_eq!(text.lines().count(), 1, "{text}");
        serde_json::from_str(&text).unwrap()
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn log(format: Format) -> (AccessLog, Sink) {
    let sink = Sink::default();
    let settings = AccessSettings {
        format,
        exclude: vec!["/healthz".into()],
    };
    (
        AccessLog::to(Box::new(sink.clone()), settings).unwrap(),
        sink,
    )
}

fn head(request: http::request::Builder) -> Parts {
    request.body(()).unwrap().into_parts().0
}

fn peer() -> Peer {
    Peer {
        addr: "[::ffff:192.0.2.7]:4711".parse().unwrap(),
        local_port: 443,
        tls: true,
        server_name: None,
    }
}

fn begin(log: &AccessLog, request: http::request::Builder) -> Option<Box<Access>> {
    let head = head(request);
    Access::begin(log, &head, &peer(), &RequestId::of(&head.headers))
}

fn answer<B: Body>(body: B, access: Option<Box<Access>>) -> Response<Observed<B>> {
    Observed::watch(Response::new(body), access)
}

#[tokio::test]
async fn a_whole_request_leaves_one_line_under_the_standard_names() {
    let (log, sink) = log(Format::Json);
    let mut access = begin(
        &log,
        Request::get("/orders/7?token=secret")
            .header("host", "apps.example.com:8443")
            .header("user-agent", "curl/8")
            .header("cookie", "__Host-tidegate=secret")
            .header("authorization", "Bearer secret")
            .header(
                "traceparent",
                "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            ),
    )
    .unwrap();
    access.route(&"/{*rest}".into());
    access.subject(&"alice".into());
    let body = answer(Full::new(Bytes::from_static(b"hello")), Some(access)).into_body();
    assert_eq!(body.size_hint().exact(), Some(5));
    assert_eq!(body.collect().await.unwrap().to_bytes(), "hello");
    log.flush();
    let line = sink.only_line();
    for (name, value) in [
        ("http.request.method", Value::from("GET")),
        ("url.path", "/orders/7".into()),
        ("server.address", "apps.example.com".into()),
        ("http.response.status_code", 200.into()),
        ("http.response.body.size", 5.into()),
        ("http.route", "/{*rest}".into()),
        ("enduser.id", "alice".into()),
        ("client.address", "192.0.2.7".into()),
        ("network.protocol.version", "1.1".into()),
        ("user_agent.original", "curl/8".into()),
        ("request_id", "4bf92f3577b34da6a3ce929d0e0e4736".into()),
    ] {
        assert_eq!(line[name], value, "{name}");
    }
    assert!(line["duration_ms"].as_f64().unwrap() >= 0.0);
    assert!(
        line["timestamp"]
            .as_str()
            .unwrap()
            .parse::<jiff::Timestamp>()
            .is_ok()
    );
    assert_eq!(line.get("error.type"), None);
    assert!(!sink.text().contains("secret"));
}

#[test]
fn whatever_a_client_sends_stays_in_its_line_and_its_string() {
    for format in [Format::Json, Format::Pretty] {
        let (log, sink) = log(format);
        let request = Request::get("/a%0d%0ab\"c")
            .header(
                "host",
                http::HeaderValue::from_bytes(b"h\"\\\x80\xff").unwrap(),
            )
            .header(
                "user-agent",
                http::HeaderValue::from_bytes(b"\xe2\x80\xaex\t\"}").unwrap(),
            );
        let mut access = begin(&log, request).unwrap();
        access.subject(&"eve\r\n{\"level\":\"ERROR\"}\u{1b}[2J\u{9b}".into());
        access.refused("no\nroute".to_owned());
        drop(access);
        log.flush();
        let text = sink.text();
        assert_eq!(text.matches('\n').count(), 1, "{text:?}");
        assert!(!text.trim_end().chars().any(char::is_control), "{text:?}");
        if format == Format::Json {
            assert_eq!(
                sink.only_line()["enduser.id"],
                "eve\r\n{\"level\":\"ERROR\"}\u{1b}[2J\u{9b}"
            );
            assert_eq!(sink.only_line()["refusal"], "no\nroute");
        }
    }
}

#[test]
fn a_request_that_is_given_up_leaves_a_line_without_status() {
    let (log, sink) = log(Format::Json);
    drop(begin(&log, Request::post("/slow")));
    log.flush();
    let line = sink.only_line();
    assert_eq!(line.get("http.response.status_code"), None);
    assert_eq!(line["error.type"], "aborted");
}

#[tokio::test]
async fn how_a_response_ended_is_told() {
    let frames = |frames: Vec<Result<&'static str, io::Error>>| {
        StreamBody::new(futures_util::stream::iter(frames.into_iter().map(
            |frame| frame.map(|text| http_body::Frame::data(Bytes::from_static(text.as_bytes()))),
        )))
    };
    let (log, sink) = log(Format::Json);

    let whole = answer(
        frames(vec![Ok("ab"), Ok("c")]),
        begin(&log, Request::get("/whole")),
    );
    assert_eq!(whole.into_body().collect().await.unwrap().to_bytes(), "abc");

    let broken = answer(
        frames(vec![Ok("ab"), Err(io::Error::other("upstream"))]),
        begin(&log, Request::get("/broken")),
    );
    assert!(broken.into_body().collect().await.is_err());

    let mut left = answer(
        frames(vec![Ok("ab"), Ok("c")]),
        begin(&log, Request::get("/left")),
    )
    .into_body();
    assert!(left.frame().await.unwrap().is_ok());
    drop(left);

    let mut exact = answer(
        Full::new(Bytes::from_static(b"abc")),
        begin(&log, Request::get("/exact")),
    )
    .into_body();
    assert!(exact.frame().await.unwrap().is_ok());
    assert!(exact.is_end_stream());
    drop(exact);

    drop(answer(
        Full::new(Bytes::from_static(b"abc")),
        begin(&log, Request::head("/head")),
    ));

    log.flush();
    let told: Vec<_> = sink
        .text()
        .lines()
        .map(|line| {
            let line: Value = serde_json::from_str(line).unwrap();
            let fault = line
                .get("error.type")
                .and_then(Value::as_str)
                .unwrap_or("-")
                .to_owned();
            (
                line["url.path"].as_str().unwrap().to_owned(),
                line["http.response.body.size"].as_u64().unwrap(),
                fault,
            )
        })
        .collect();
    let expected = [
        ("/whole", 3, "-"),
        ("/broken", 2, "broken"),
        ("/left", 2, "aborted"),
        ("/exact", 3, "-"),
        ("/head", 0, "-"),
    ];
    assert_eq!(
        told,
        expected.map(|(path, size, fault)| (path.to_owned(), size, fault.to_owned()))
    );
}

#[test]
fn times_are_rfc_3339_to_the_millisecond() {
    for (millis, text) in [
        (0, "1970-01-01T00:00:00.000Z"),
        (1_709_210_096_007, "2024-02-29T12:34:56.007Z"),
        (1_709_210_096_999, "2024-02-29T12:34:56.999Z"),
        (1_709_210_097_000, "2024-02-29T12:34:57.000Z"),
    ] {
        let mut line = Vec::new();
        write_time(&mut line, Timestamp::from_millis(millis));
        assert_eq!(String::from_utf8(line).unwrap(), text);
    }
}

#[test]
fn excluded_paths_and_a_log_that_is_off_leave_nothing() {
    let (log, sink) = log(Format::Json);
    assert!(begin(&log, Request::get("/healthz?x=1")).is_none());
    assert!(begin(&log, Request::get("/healthz/more")).is_some());
    assert!(begin(&AccessLog::off(), Request::get("/")).is_none());
    log.flush();
    assert_eq!(sink.only_line()["url.path"], "/healthz/more");
}

#[test]
fn people_read_it_in_one_glance() {
    let (log, sink) = log(Format::Pretty);
    let mut access = begin(&log, Request::get("https://apps.example.com:8443/orders")).unwrap();
    access.subject(&"alice".into());
    access.responded(StatusCode::OK, Some(0));
    drop(access);
    log.flush();
    let line = sink.text();
    assert!(
        line.contains(" INFO GET apps.example.com/orders 200 0 B in "),
        "{line}"
    );
    assert!(line.contains(" ms, by alice [192.0.2.7 "), "{line}");
}

/// Not a test of anything: `cargo test --release -- --ignored --nocapture cost` prints what a line costs.
#[test]
#[ignore = "a measurement"]
#[expect(clippy::print_stdout, reason = "a measurement")]
fn what_a_line_costs() {
    let settings = AccessSettings {
        format: Format::Json,
        exclude: Vec::new(),
    };
    let log = AccessLog::to(Box::new(io::sink()), settings).unwrap();
    let head = head(
        Request::get("/orders/7?x=1")
            .header("host", "apps.example.com")
            .header(
                "user-agent",
                "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/120 Safari/537.36",
            ),
    );
    let (route, subject): (Arc<str>, Arc<str>) = ("/{*rest}".into(), "248289761001".into());
    // The time that this thread was on a processor, whatever else the machine does.
    let on_cpu = || -> u64 {
        let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
        stat.split(' ').next().unwrap().parse().unwrap()
    };
    let begun = on_cpu();
    let rounds: u64 = 500_000;
    for _ in 0..rounds {
        let id = RequestId::of(&head.headers);
        let mut access = Access::begin(&log, &head, &peer(), &id).unwrap();
        access.route(&route);
        access.subject(&subject);
        access.responded(StatusCode::OK, Some(0));
        drop(access);
    }
    println!("{} ns a line", (on_cpu() - begun) / rounds);
}
