//! An application behind the gateway that tells what truly arrived: it answers with the request's head as JSON.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri, Version};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::{Value, json};
use tidegate::demo::http::{self as web, Answer, Body, Server, Service};
use tidegate::demo::upstream::App;

/// A request as it arrived.
#[derive(Clone, Debug)]
pub struct Arrived {
    pub method: Method,
    pub uri: Uri,
    pub version: Version,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Arrived {
    /// A header's value, empty where there is none.
    pub fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name);
        value.map_or("", |value| value.to_str().unwrap_or("(not text)"))
    }

    /// `{ method, target, version, headers: { name: [value, …] }, body_bytes, body }`
    pub fn json(&self) -> Value {
        let mut headers = serde_json::Map::new();
        for (name, value) in &self.headers {
            let value = json!(String::from_utf8_lossy(value.as_bytes()));
            let values = headers.entry(name.as_str()).or_insert(json!([]));
            values.as_array_mut().unwrap().push(value);
        }
        json!({
            "method": self.method.as_str(),
            "target": self.uri.to_string(),
            "version": format!("{:?}", self.version),
            "headers": headers,
            "body_bytes": self.body.len(),
            "body": String::from_utf8_lossy(&self.body[..self.body.len().min(4096)]),
        })
    }
}

type Script = Box<dyn Fn(&Arrived) -> Option<Response<Body>> + Send + Sync>;

/// What it saw and what it was told to say.
#[derive(Default)]
struct Seen {
    arrived: Mutex<Vec<Arrived>>,
    script: Mutex<Option<Script>>,
    app: Arc<App>,
}

/// A running one.
pub struct Upstream {
    server: Server,
    seen: Arc<Seen>,
}

/// Paths that the demo's application answers, since what matters there is how bytes flow: WebSocket, SSE, sizes, delays.
const FLOWS: [&str; 5] = ["/ws", "/clock", "/slow", "/bytes", "/upload"];

impl Upstream {
    pub fn start() -> Self {
        let seen = Arc::new(Seen::default());
        let server = Server::start(web::reserve(0).unwrap(), &seen);
        Self { server, seen }
    }

    pub fn port(&self) -> u16 {
        self.server.port()
    }

    /// How many requests arrived.
    pub fn count(&self) -> usize {
        self.seen.arrived.lock().unwrap().len()
    }

    /// All that arrived, the oldest first.
    pub fn arrived(&self) -> Vec<Arrived> {
        self.seen.arrived.lock().unwrap().clone()
    }

    /// The newest that arrived.
    pub fn last(&self) -> Arrived {
        let arrived = self.seen.arrived.lock().unwrap();
        arrived.last().cloned().expect("nothing arrived upstream")
    }

    /// From now on says what `script` says, and echoes where that says nothing.
    pub fn say(&self, script: impl Fn(&Arrived) -> Option<Response<Body>> + Send + Sync + 'static) {
        *self.seen.script.lock().unwrap() = Some(Box::new(script));
    }

    /// Connections are refused from now on.
    pub fn go_down(&self) {
        self.server.close();
    }

    /// Connections are accepted again.
    pub fn come_up(&self) {
        self.server.open();
    }
}

impl Service for Seen {
    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Answer {
        let path = request.uri().path().to_owned();
        let (head, body) = request.into_parts();
        let mut arrived = Arrived {
            method: head.method.clone(),
            uri: head.uri.clone(),
            version: head.version,
            headers: head.headers.clone(),
            body: Bytes::new(),
        };
        let flows = FLOWS
            .iter()
            .any(|flow| path == *flow || path.ends_with(flow));
        if flows {
            self.arrived.lock().unwrap().push(arrived);
            let request = Request::from_parts(head, body);
            return Arc::clone(&self.app).answer(request).await;
        }
        arrived.body = body.collect().await.ok()?.to_bytes();
        self.arrived.lock().unwrap().push(arrived.clone());
        let script = self.script.lock().unwrap();
        let said = script.as_ref().and_then(|script| script(&arrived));
        Some(said.unwrap_or_else(|| web::json(StatusCode::OK, &arrived.json())))
    }
}
