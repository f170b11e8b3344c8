//! An API client: a bearer token, no cookies, no redirects.

use bytes::Bytes;
use http::{Request, header};
use http_body_util::Full;
use url::Url;

use super::wire::{Error, Reply, Speaks, Wire};

pub struct Client {
    wire: Wire,
    base: Url,
}

impl Client {
    pub fn new(base: Url, speaks: Speaks) -> Self {
        Self {
            wire: Wire::new(speaks),
            base,
        }
    }

    /// GET without a token.
    pub async fn get(&self, path: &str) -> Reply {
        self.send(path, request("GET")).await
    }

    /// GET with a bearer token.
    pub async fn get_as(&self, token: &str, path: &str) -> Reply {
        let request = request("GET");
        let request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        self.send(path, request).await
    }

    /// Sends a request without a body.
    pub async fn send(&self, path: &str, request: http::request::Builder) -> Reply {
        self.send_with(path, request, "").await
    }

    /// Sends a request with a body.
    pub async fn send_with(
        &self,
        path: &str,
        request: http::request::Builder,
        body: impl Into<Bytes>,
    ) -> Reply {
        let request = request.body(Full::new(body.into())).unwrap();
        self.try_send(path, request).await.unwrap()
    }

    /// Sends a request that may get no response.
    pub async fn try_send(
        &self,
        path: &str,
        request: Request<Full<Bytes>>,
    ) -> Result<Reply, Error> {
        self.wire.send(&self.base.join(path)?, request).await
    }

    pub fn wire(&self) -> &Wire {
        &self.wire
    }

    pub fn base(&self) -> &Url {
        &self.base
    }
}

/// A request to be filled.
pub fn request(method: &str) -> http::request::Builder {
    let request = Request::builder().method(method);
    request.header(header::ACCEPT, "application/json")
}
