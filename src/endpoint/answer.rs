//! The few shapes that the endpoints answer in.

use http::header::{CONTENT_TYPE, LOCATION, SET_COOKIE};
use http::{HeaderValue, Response, StatusCode};
use serde_json::Value;

/// 303: go there by GET, whatever this was asked by (RFC 9700 section 4.12). `to` is absolute.
pub(super) fn see_other(to: &str) -> Response<String> {
    let mut response = Response::new(String::new());
    *response.status_mut() = StatusCode::SEE_OTHER;
    match HeaderValue::from_str(to) {
        Ok(to) => {
            response.headers_mut().insert(LOCATION, to);
        }
        Err(_) => *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR,
    }
    response
}

pub(super) fn json(body: &Value) -> Response<String> {
    let mut response = Response::new(body.to_string());
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// Adds cookies to an answer.
pub(super) fn with_cookies(
    mut response: Response<String>,
    cookies: impl IntoIterator<Item = Option<HeaderValue>>,
) -> Response<String> {
    for cookie in cookies.into_iter().flatten() {
        response.headers_mut().append(SET_COOKIE, cookie);
    }
    response
}
