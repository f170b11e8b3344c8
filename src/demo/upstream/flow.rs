//! Bodies of every shape: an event stream, a late answer, many bytes down, many bytes up.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use serde_json::json;

use super::plain;
use crate::demo::http::{Body, Params, json, reply};

/// Bytes that one frame carries.
const CHUNK: u64 = 64 * 1024;
/// What `/bytes` is made of.
static XS: [u8; 64 * 1024] = [b'x'; 64 * 1024];
/// The most that `/bytes` gives.
const MOST_BYTES: u64 = 16 * 1024 * 1024 * 1024;

fn number(request: &Request<Incoming>, name: &str) -> Option<u64> {
    let params = Params::query(request.uri()).ok()?;
    params.find(name)?.parse().ok()
}

/// An event each second (Server-Sent Events), the first at once, until the reader goes.
pub(super) fn clock() -> Response<Body> {
    let ticks = stream::unfold(0_u64, async |count| {
        if count > 0 {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        let event = Bytes::from(format!("id: {count}\nevent: tick\ndata: {count} s\n\n"));
        Some((Ok::<_, Infallible>(Frame::data(event)), count + 1))
    });
    let mut response = Response::new(StreamBody::new(ticks).boxed_unsync());
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/event-stream"),
    );
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// An answer after `?ms=` milliseconds, 2,000 where nothing is said, a minute at most.
pub(super) async fn slow(request: &Request<Incoming>) -> Response<Body> {
    let ms = number(request, "ms").unwrap_or(2000).min(60_000);
    tokio::time::sleep(Duration::from_millis(ms)).await;
    json(StatusCode::OK, &json!({ "waited_ms": ms }))
}

/// `?n=` bytes.
pub(super) fn bytes(request: &Request<Incoming>) -> Response<Body> {
    let Some(count) = number(request, "n").filter(|count| *count <= MOST_BYTES) else {
        return plain(StatusCode::BAD_REQUEST, "say how many: ?n=\n");
    };
    let chunks = stream::unfold(count, async |left| {
        let next = usize::try_from(left.min(CHUNK)).unwrap_or_default();
        let rest = left.saturating_sub(CHUNK);
        let chunk = Bytes::from_static(&XS).slice(..next);
        (next > 0).then(|| (Ok::<_, Infallible>(Frame::data(chunk)), rest))
    });
    let mut response = Response::new(StreamBody::new(chunks).boxed_unsync());
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(count));
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/octet-stream"),
    );
    response
}

/// Counts what is sent.
pub(super) async fn upload(request: Request<Incoming>) -> Response<Body> {
    let mut body = request.into_body();
    let mut count = 0_u64;
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else {
            return plain(StatusCode::BAD_REQUEST, "the body broke off\n");
        };
        let data = frame.data_ref().map_or(0, Bytes::len);
        count += u64::try_from(data).unwrap_or_default();
    }
    json(StatusCode::OK, &json!({ "bytes": count }))
}

/// The one script here: a page can't open a WebSocket without.
pub(super) fn script() -> Response<Body> {
    let script = include_str!("../pages/socket.js");
    reply(StatusCode::OK, "text/javascript; charset=utf-8", script)
}

/// Lets a page run that script.
pub(super) fn with_script(mut response: Response<Body>) -> Response<Body> {
    let policy = HeaderValue::from_static(
        "default-src 'none'; img-src data:; style-src 'self'; script-src 'self'; connect-src 'self'; \
         form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    );
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    response
}
