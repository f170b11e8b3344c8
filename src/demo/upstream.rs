//! The demo's upstream: shows who it is told that you are, and lets bytes flow in every way that a gateway must pass on.

mod flow;
mod socket;

use std::sync::Arc;

use http::{HeaderMap, Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use serde_json::{Map, Value, json};
use tokio::sync::broadcast;

use super::control::Control;
use super::http::{
    Answer, Body, Params, Port, Server, Service, escape, fill, full, json, page, style,
};

/// A request arrived: what the demo shows of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// Its method and path.
    pub what: String,
    /// Whose it is, as the gateway says.
    pub person: Option<String>,
}

/// What answers its requests.
#[derive(Debug)]
pub struct App {
    control: Option<Control>,
    arrivals: broadcast::Sender<Arrival>,
}

impl Default for App {
    fn default() -> Self {
        Self::new(None)
    }
}

/// A running demo upstream.
#[derive(Debug)]
pub struct Upstream {
    server: Server,
    app: Arc<App>,
}

impl Upstream {
    /// Starts one on the current runtime; with `control` its page `/_demo` has buttons.
    pub fn start(port: Port, control: Option<Control>) -> Self {
        let app = Arc::new(App::new(control));
        let server = Server::start(port, &app);
        Self { server, app }
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.server.port()
    }

    /// What arrives from now on.
    pub fn arrivals(&self) -> broadcast::Receiver<Arrival> {
        self.app.arrivals.subscribe()
    }
}

impl Service for App {
    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Answer {
        self.note(&request);
        let path = request.uri().path().to_owned();
        let method = request.method().clone();
        Some(match (method, path.as_str()) {
            (Method::GET, path) if path.ends_with("/_style.css") => style(),
            (Method::GET, path) if path.ends_with("/_socket.js") => flow::script(),
            (Method::GET, "/_demo" | "/public/_demo") => self.control_page(&request),
            (Method::POST, "/_demo" | "/public/_demo") => self.control(request).await,
            (_, path) if path.ends_with("/headers.json") => headers_json(&request),
            (_, path) if path.ends_with("/ws") => socket::echo(request),
            (Method::GET, path) if path.ends_with("/clock") => flow::clock(),
            (Method::GET, path) if path.ends_with("/slow") => flow::slow(&request).await,
            (Method::GET, path) if path.ends_with("/bytes") => flow::bytes(&request),
            (Method::POST | Method::PUT, path) if path.ends_with("/upload") => {
                flow::upload(request).await
            }
            _ => who(&request),
        })
    }
}

impl App {
    fn new(control: Option<Control>) -> Self {
        let arrivals = broadcast::Sender::new(1024);
        Self { control, arrivals }
    }

    fn note(&self, request: &Request<Incoming>) {
        let path = request.uri().path();
        if path.ends_with("/_style.css") || path.ends_with("/_socket.js") {
            return;
        }
        let arrival = Arrival {
            what: format!("{} {path}", request.method()),
            person: told(request.headers(), "x-forwarded-preferred-username"),
        };
        // Nobody may be listening.
        let _ = self.arrivals.send(arrival);
    }

    fn control_page(&self, request: &Request<Incoming>) -> Response<Body> {
        if self.control.is_none() {
            return page(StatusCode::NOT_FOUND, "Not here".to_owned());
        }
        let said = Params::query(request.uri()).unwrap_or_default();
        let said = said
            .find("said")
            .and_then(Control::word)
            .unwrap_or_default();
        let said = if said.is_empty() {
            String::new()
        } else {
            format!("<p class=\"said\">{}</p>", escape(said))
        };
        let html = fill(include_str!("pages/control.html"), &[("said_html", &said)]);
        page(StatusCode::OK, html)
    }

    async fn control(&self, request: Request<Incoming>) -> Response<Body> {
        match &self.control {
            Some(control) => control.press(request).await,
            None => page(StatusCode::NOT_FOUND, "Not here".to_owned()),
        }
    }
}

/// A header's value.
fn told(headers: &HeaderMap, name: &str) -> Option<String> {
    let value = headers.get(name)?.as_bytes();
    Some(String::from_utf8_lossy(value).into_owned())
}

/// The page that shows who you are: every header that the gateway sets, no cookie and no token.
fn who(request: &Request<Incoming>) -> Response<Body> {
    let headers = request.headers();
    let name = told(headers, "x-forwarded-preferred-username");
    let title = match name.or_else(|| told(headers, "x-forwarded-user")) {
        Some(name) => format!("Hello {name}"),
        None => "Hello stranger".to_owned(),
    };
    let shown = |name: &str| {
        name.starts_with("x-forwarded-") || name == "forwarded" || name == "traceparent"
    };
    let rows: Vec<String> = headers
        .iter()
        .filter(|(name, _)| shown(name.as_str()))
        .map(|(name, value)| {
            let value = escape(&String::from_utf8_lossy(value.as_bytes()));
            format!("<tr><th><code>{name}</code></th><td>{value}</td></tr>")
        })
        .collect();
    let values = [
        ("title", title.as_str()),
        ("path", request.uri().path()),
        ("rows_html", &rows.concat()),
    ];
    let html = fill(include_str!("pages/who.html"), &values);
    flow::with_script(page(StatusCode::OK, html))
}

/// The request's head as JSON. Credentials are named, never shown.
fn headers_json(request: &Request<Incoming>) -> Response<Body> {
    let mut headers = Map::new();
    for (name, value) in request.headers() {
        let secret = matches!(name.as_str(), "authorization" | "cookie");
        let value = if secret {
            json!("(present)")
        } else {
            json!(String::from_utf8_lossy(value.as_bytes()))
        };
        let values = headers.entry(name.as_str()).or_insert_with(|| json!([]));
        if let Value::Array(values) = values {
            values.push(value);
        }
    }
    let head = json!({
        "method": request.method().as_str(),
        "target": request.uri().path(),
        "headers": headers,
    });
    json(StatusCode::OK, &head)
}

/// A bare status with a line of text.
fn plain(status: StatusCode, text: &'static str) -> Response<Body> {
    let mut response = Response::new(full(text));
    *response.status_mut() = status;
    response
}
