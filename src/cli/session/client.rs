//! The admin API as the command line asks it.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, HOST};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use url::form_urlencoded::Serializer;

use crate::admin;
use crate::cli::Exit;
use crate::connect::{LocalError, Neighbour};
use crate::token::Secret;

/// How long an answer may take; and where all sessions are to be ended.
const PATIENCE: Duration = Duration::from_mins(1);
const LONG_PATIENCE: Duration = Duration::from_mins(10);
/// How many sessions are asked for at a time.
const PAGE: &str = "500";

/// Why there is no answer, or not the one that was wanted.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error(
        "there is no [admin] in {file}: the gateway has no listener that could be asked. Add one, and start it anew"
    )]
    NoAdmin { file: String },
    #[error("[admin] address in {file} has port 0: which one the gateway got can't be known here")]
    AnyPort { file: String },
    #[error("the gateway can't be asked: does it run, with this configuration?")]
    Unreachable(#[source] LocalError),
    #[error("the gateway was asked, and its answer did not come")]
    Lost(#[source] LocalError),
    #[error("the gateway refuses the admin token: does it run with this configuration?")]
    Token,
    #[error("{detail}")]
    Refused { status: StatusCode, detail: String },
    #[error("what answers there is no gateway of this version: {what}")]
    Strange { what: String },
    #[error("can't start")]
    Start(#[source] std::io::Error),
}

impl Error {
    pub(super) fn exit(&self) -> Exit {
        match self {
            Self::NoAdmin { .. } | Self::AnyPort { .. } => Exit::Config,
            Self::Unreachable(error) if Exit::of_any(error) == Exit::Permission => Exit::Permission,
            Self::Unreachable(_) => Exit::Unreachable,
            // The store, say.
            Self::Refused { status, .. } if *status == StatusCode::SERVICE_UNAVAILABLE => {
                Exit::Unreachable
            }
            Self::Lost(_)
            | Self::Token
            | Self::Refused { .. }
            | Self::Strange { .. }
            | Self::Start(_) => Exit::Failure,
        }
    }
}

/// Asks one gateway.
pub(super) struct Client {
    place: Neighbour,
    token: Option<Secret>,
    runtime: tokio::runtime::Runtime,
}

impl Client {
    /// Of the gateway that runs with this configuration.
    pub(super) fn of(settings: Option<&admin::Settings>, file: &Path) -> Result<Self, Error> {
        let file = || file.display().to_string();
        let (place, token) = match settings {
            None => return Err(Error::NoAdmin { file: file() }),
            Some(admin::Settings::Loopback { address, .. }) if address.port() == 0 => {
                return Err(Error::AnyPort { file: file() });
            }
            Some(admin::Settings::Loopback { address, token }) => {
                (Neighbour::Tcp(*address), Some(token.clone()))
            }
            Some(admin::Settings::Socket { path, token }) => {
                (Neighbour::Unix(path.clone()), token.clone())
            }
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        Ok(Self {
            place,
            token,
            runtime: runtime.map_err(Error::Start)?,
        })
    }

    /// Where it is.
    pub(super) fn place(&self) -> String {
        self.place.to_string()
    }

    /// All that are looked for, page after page, and whether those are all that there are.
    pub(super) fn sessions(
        &self,
        user: Option<&str>,
        idp: Option<&str>,
    ) -> Result<(Vec<Value>, bool), Error> {
        let (mut found, mut cursor) = (Vec::new(), None::<String>);
        loop {
            let wanted = [("user", user), ("idp", idp), ("cursor", cursor.as_deref())];
            let mut query = Serializer::new(String::new());
            query.append_pair("limit", PAGE);
            for (name, value) in wanted {
                query.extend_pairs(value.map(|value| (name, value)));
            }
            let path = format!("/api/v1/sessions?{}", query.finish());
            let mut page = self.ask(&Method::GET, &path, PATIENCE)?;
            if let Some(Value::Array(more)) = page.get_mut("sessions").map(Value::take) {
                found.extend(more);
            }
            cursor = page.get("next").and_then(Value::as_str).map(str::to_owned);
            if cursor.is_none() {
                let complete = page.get("complete") != Some(&Value::Bool(false));
                return Ok((newest_first(found), complete));
            }
        }
    }

    pub(super) fn session(&self, id: &str) -> Result<Value, Error> {
        let path = format!("/api/v1/sessions/{}", encoded(id));
        self.ask(&Method::GET, &path, PATIENCE)
    }

    pub(super) fn end(&self, id: &str) -> Result<Value, Error> {
        let path = format!("/api/v1/sessions/{}", encoded(id));
        self.ask(&Method::DELETE, &path, PATIENCE)
    }

    pub(super) fn end_user(&self, subject: &str, idp: Option<&str>) -> Result<Value, Error> {
        let mut path = format!("/api/v1/users/{}/sessions", encoded(subject));
        if let Some(idp) = idp {
            path = format!("{path}?idp={}", encoded(idp));
        }
        self.ask(&Method::DELETE, &path, LONG_PATIENCE)
    }

    pub(super) fn end_all(&self) -> Result<Value, Error> {
        let path = "/api/v1/sessions?all=true";
        self.ask(&Method::DELETE, path, LONG_PATIENCE)
    }

    fn ask(&self, method: &Method, path: &str, limit: Duration) -> Result<Value, Error> {
        let request = self.request(method, path)?;
        let asked = self.runtime.block_on(self.place.ask(request, limit));
        let answer = asked.map_err(|error| match error {
            LocalError::Connect { .. } => Error::Unreachable(error),
            LocalError::Broken { .. } | LocalError::Late { .. } => Error::Lost(error),
        })?;
        read(&answer)
    }

    fn request(&self, method: &Method, path: &str) -> Result<Request<Full<Bytes>>, Error> {
        let strange = |what: &str| Error::Strange {
            what: what.to_owned(),
        };
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, "localhost");
        if let Some(token) = &self.token {
            let bearer = format!("Bearer {}", token.expose());
            let mut bearer =
                HeaderValue::try_from(bearer).map_err(|_| strange("the token is no header"))?;
            bearer.set_sensitive(true);
            request = request.header(AUTHORIZATION, bearer);
        }
        let whole = request.body(Full::default());
        whole.map_err(|_| strange("the path is no path"))
    }
}

fn read(answer: &Response<Bytes>) -> Result<Value, Error> {
    let status = answer.status();
    if status == StatusCode::UNAUTHORIZED {
        return Err(Error::Token);
    }
    let Ok(body) = serde_json::from_slice::<Value>(answer.body()) else {
        let what = format!("it answers with {status} and no JSON");
        return Err(Error::Strange { what });
    };
    if status.is_success() {
        return Ok(body);
    }
    let detail = body.get("detail").and_then(Value::as_str);
    let detail = detail.unwrap_or("it says no, and not why").to_owned();
    Err(Error::Refused { status, detail })
}

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

fn newest_first(mut sessions: Vec<Value>) -> Vec<Value> {
    let created = |session: &Value| super::text(session, "created").to_owned();
    sessions.sort_by_cached_key(|session| std::cmp::Reverse(created(session)));
    sessions
}
