//! The application behind the gateways. Whatever reaches it must carry the identity provider's own token of the very
//! session that the client says it holds, not ended, and not signed out: anything else is an unauthorised forward.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{HeaderMap, Request, StatusCode};
use hyper::body::Incoming;
use tidegate::clock::{Clock, Timestamp};
use tidegate::demo::http::{Answer, Server, Service, reply, reserve};
use tidegate::demo::idp::Idp;

use crate::tally::{Tally, up};

/// Says who asks and since when: `NUMBER.MILLISECONDS`, or `nobody` for a request that must never arrive.
pub const MARK: &str = "x-chaos";
/// What it answers.
pub const BODY: &str = "from the application";
/// A token may be used so long after its end: the gateways' `clock_skew`, and a request's way.
const SKEW: Duration = Duration::from_secs(3);

/// What it knows of a session.
#[derive(Clone, Debug)]
pub struct Known {
    pub sid: String,
    /// From then on no request of it may be forwarded.
    pub out: Option<Timestamp>,
}

pub struct Upstream {
    server: Server,
    books: Arc<Books>,
}

pub struct Books {
    idp: Idp,
    tally: Arc<Tally>,
    known: Mutex<HashMap<usize, Known>>,
    /// Tokens whose signature was checked: their `sid` and `exp`.
    read: Mutex<HashMap<String, (String, Timestamp)>>,
}

impl Upstream {
    pub fn start(idp: &Idp, tally: &Arc<Tally>) -> Self {
        let books = Arc::new(Books {
            idp: idp.clone(),
            tally: Arc::clone(tally),
            known: Mutex::default(),
            read: Mutex::default(),
        });
        let server = Server::start(reserve(0).unwrap(), &books);
        Self { server, books }
    }

    pub fn port(&self) -> u16 {
        self.server.port()
    }

    /// A session exists, or has changed.
    pub fn know(&self, number: usize, known: Known) {
        self.books.known.lock().unwrap().insert(number, known);
    }
}

impl Books {
    /// Why this request should not be here.
    fn objection(&self, headers: &HeaderMap) -> Option<String> {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let Some((number, began)) = text(MARK).and_then(|mark| mark.split_once('.')) else {
            return Some(format!("a request without a session: {:?}", text(MARK)));
        };
        let began = Timestamp::from_millis(began.parse().unwrap());
        let known = self
            .known
            .lock()
            .unwrap()
            .get(&number.parse().unwrap())
            .cloned();
        let Some(known) = known else {
            return Some(format!("a session that nobody knows: {number}"));
        };
        let bearer = text("authorization").and_then(|value| value.strip_prefix("Bearer "));
        let Some((sid, ends)) = bearer.and_then(|token| self.claims(token)) else {
            return Some(format!("session {number}: no token of the provider's"));
        };
        if sid != known.sid {
            return Some(format!("session {number}: the token of another session"));
        }
        if ends + SKEW < Clock::System.now() {
            return Some(format!("session {number}: its token has ended"));
        }
        let out = known.out.filter(|out| began >= *out)?;
        let late = began.since(out).as_millis();
        Some(format!(
            "session {number}: {late} ms after it was to be out"
        ))
    }

    fn claims(&self, token: &str) -> Option<(String, Timestamp)> {
        if let Some(read) = self.read.lock().unwrap().get(token) {
            return Some(read.clone());
        }
        let claims = self.idp.read(token)?;
        let sid = claims.get("sid")?.as_str()?.to_owned();
        let ends = Timestamp::from_secs(claims.get("exp")?.as_u64()?);
        let mut all = self.read.lock().unwrap();
        if all.len() > 20_000 {
            all.clear();
        }
        all.insert(token.to_owned(), (sid.clone(), ends));
        Some((sid, ends))
    }
}

impl Service for Books {
    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Answer {
        if let Some(why) = self.objection(request.headers()) {
            up(&self.tally.unauthorised);
            self.tally.problem(format!("unauthorised forward: {why}"));
        }
        Some(reply(StatusCode::OK, "text/plain", BODY))
    }
}
