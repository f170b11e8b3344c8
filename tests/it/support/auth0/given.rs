//! A request as the tenant reads it: parameters of the query, of a form or of JSON.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, Method, Request, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::Value;
use tidegate::demo::http as web;

/// See the file's first line.
#[derive(Debug, Default)]
pub(super) struct Given {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) target: String,
    pub(super) headers: HeaderMap,
    pub(super) media_type: String,
    pub(super) body: String,
    pub(super) query: HashMap<String, String>,
    parameters: HashMap<String, String>,
}

impl Given {
    pub(super) async fn read(request: Request<Incoming>) -> Option<Self> {
        let (head, body) = request.into_parts();
        let body = body.collect().await.ok()?.to_bytes();
        let media_type = head.headers.get(header::CONTENT_TYPE);
        let media_type = media_type
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default();
        let media_type = media_type
            .split(';')
            .next()
            .unwrap_or_default()
            .trim()
            .to_owned();
        let pairs = |encoded: &[u8]| -> HashMap<String, String> {
            url::form_urlencoded::parse(encoded).into_owned().collect()
        };
        let query = pairs(head.uri.query().unwrap_or_default().as_bytes());
        let parameters = match &*media_type {
            "application/json" => members(&serde_json::from_slice(&body).unwrap_or(Value::Null)),
            "application/x-www-form-urlencoded" => pairs(&body),
            _ => query.clone(),
        };
        Some(Self {
            method: head.method,
            path: head.uri.path().to_owned(),
            target: head.uri.to_string(),
            headers: head.headers,
            media_type,
            body: String::from_utf8_lossy(&body).into_owned(),
            query,
            parameters,
        })
    }

    /// One that came over no wire.
    pub(super) fn of(parameters: &Value) -> Self {
        Self {
            parameters: members(parameters),
            ..Self::default()
        }
    }

    /// A parameter that is not empty.
    pub(super) fn find(&self, name: &str) -> Option<&str> {
        let found = self.parameters.get(name).map(String::as_str);
        found.filter(|value| !value.is_empty())
    }

    pub(super) fn words(&self, name: &str) -> Vec<String> {
        let words = self.find(name).unwrap_or_default().split_ascii_whitespace();
        words.map(str::to_owned).collect()
    }

    /// The client of `Authorization: Basic`.
    pub(super) fn basic(&self) -> Option<(String, String)> {
        let text = self.headers.get(header::AUTHORIZATION)?.to_str().ok()?;
        let pair = STANDARD.decode(text.strip_prefix("Basic ")?).ok()?;
        let pair = String::from_utf8(pair).ok()?;
        let (id, secret) = pair.split_once(':')?;
        Some((id.to_owned(), secret.to_owned()))
    }

    pub(super) fn bearer(&self) -> Option<&str> {
        let text = self.headers.get(header::AUTHORIZATION)?.to_str().ok()?;
        text.strip_prefix("Bearer ")
    }

    pub(super) fn cookie(&self, name: &str) -> Option<String> {
        web::cookie(&self.headers, name)
    }
}

fn members(value: &Value) -> HashMap<String, String> {
    let members = value.as_object().into_iter().flatten();
    let texts =
        members.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())));
    texts.collect()
}
