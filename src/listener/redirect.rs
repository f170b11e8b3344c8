//! Sends every request to the same host and path under https, and forwards nothing.

use bytes::Bytes;
use http::header::LOCATION;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::Empty;

use super::Handler;
use crate::inbound::Inbound;
use crate::peer::Peer;
use crate::target::{self, Target};

/// Answers 308 (RFC 9110 section 15.4.9).
#[derive(Debug)]
pub(super) struct Redirect {
    port: u16,
}

impl Redirect {
    pub(super) fn to(port: u16) -> Self {
        Self { port }
    }

    /// Only what [`Target`] has found sound is put into the address.
    fn location(&self, target: &Target) -> Option<HeaderValue> {
        let Target {
            host, path, query, ..
        } = target;
        let port = match self.port {
            443 => String::new(),
            port => format!(":{port}"),
        };
        let query = query
            .as_ref()
            .map_or_else(String::new, |query| format!("?{query}"));
        HeaderValue::try_from(format!("https://{host}{port}{path}{query}")).ok()
    }
}

impl Handler for Redirect {
    type Body = Empty<Bytes>;

    async fn handle(&self, peer: &Peer, request: Request<Inbound>) -> Response<Self::Body> {
        let (head, _) = request.into_parts();
        let mut response = Response::new(Empty::new());
        let location = Target::read(&head, peer).map(|target| self.location(&target));
        if location.is_err() {
            response.extensions_mut().insert(target::Unsound);
        }
        *response.status_mut() = match location {
            Ok(Some(location)) => {
                response.headers_mut().insert(LOCATION, location);
                StatusCode::PERMANENT_REDIRECT
            }
            Ok(None) | Err(target::Error::Bad(_)) => StatusCode::BAD_REQUEST,
            Err(target::Error::TooLong) => StatusCode::URI_TOO_LONG,
            Err(target::Error::Misdirected) => StatusCode::MISDIRECTED_REQUEST,
            Err(target::Error::Method) => StatusCode::METHOD_NOT_ALLOWED,
        };
        response
    }
}
