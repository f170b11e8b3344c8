//! The administrator's page at `/`: made here, without a script. Its forms carry a proof that they are ours.

use std::borrow::Cow;
use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use http::header::LOCATION;
use http::request::Parts;
use http::{HeaderValue, Method, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use serde_json::{Value, json};
use url::form_urlencoded;

use super::actions::{Actions, Done, word};
use super::problem::Problem;
use super::{Admin, Body, moment};
use crate::clock::{Timestamp, in_words};
use crate::inbound::Inbound;
use crate::pages::guard;
use crate::refusal::understands_pages;
use crate::session::{Awaited, Search, Summary};
use crate::token::SessionHash;

/// How many sessions the page shows at a time.
const SESSIONS: usize = 50;
/// How much of what is owed.
const OWED: usize = 100;
/// The largest form that is read, and how long it may take.
const LARGEST: usize = 16 * 1024;
const SLOWEST: Duration = Duration::from_secs(10);
/// How many letters of an id are shown: as many as in the log.
const LETTERS: usize = 12;
/// How much of a browser's name is shown.
const AGENT: usize = 80;
/// What a form's proof is of.
const FORM: &str = "a form of the administrator's page";

/// Decoded names and values.
type Fields = HashMap<String, String>;

impl Admin {
    /// Everything that is not the API: the page, and what its forms ask for.
    pub(super) async fn page(
        &self,
        head: &Parts,
        body: Inbound,
    ) -> Result<Response<Body>, Problem> {
        match (head.uri.path(), &head.method) {
            ("/", &Method::GET | &Method::HEAD) => self.overview(&fields(head)).await,
            ("/end_all", &Method::GET | &Method::HEAD) => self.ask_to_end_all().await,
            ("/end", &Method::POST) => self.end(&form(body).await?).await,
            ("/" | "/end_all", _) => Err(Problem::Method { allow: "GET, HEAD" }),
            ("/end", _) => Err(Problem::Method { allow: "POST" }),
            _ => Err(Problem::Nowhere),
        }
    }

    /// A no: as a page where one is wanted.
    pub(super) fn refuse(&self, head: &Parts, problem: &Problem) -> Response<Body> {
        let answer = problem.answer();
        if head.uri.path().starts_with("/api/") || !understands_pages(head) {
            return answer;
        }
        let context = json!({
            "title": problem.status().canonical_reason(),
            "text": format!("{}.", capitalized(&problem.to_string())),
            "action": { "url": "/", "label": "To the overview" },
        });
        let page = self.pages.render(problem.status(), "problem.html", context);
        let mut page = whole(page);
        problem.explain(&mut page);
        page
    }

    async fn overview(&self, query: &Fields) -> Result<Response<Body>, Problem> {
        let now = self.actions.clock.now();
        let field = |name: &str| query.get(name).filter(|value| !value.is_empty());
        let (user, from) = (field("user").cloned(), field("cursor"));
        let from = from.and_then(|cursor| SessionHash::parse(cursor));
        let search = Search {
            idp: None,
            user: user.clone(),
        };
        let sessions = &self.actions.sessions;
        let found = sessions
            .page(&search, from.unwrap_or_default(), SESSIONS)
            .await?;
        let (count, owed) = sessions.counts().await?;
        let queue = sessions.owed(OWED).await?;
        let report = self.readiness.report().await;
        let checks = report.checks().map(
            |(check, state, how)| json!({ "check": check.replace('_', " "), "state": state, "how": how }),
        );
        let next = found.next.map(|next| link(user.as_deref(), next));
        let context = json!({
            "wide": true,
            "said": self.said(query),
            "form": self.gate.proof(FORM),
            "ready": report.is_ready(),
            "checks": checks.collect::<Vec<_>>(),
            "count": count,
            "complete": sessions.sees_all(),
            "user": user,
            "from": from.is_some(),
            "sessions": found.sessions.iter().map(|s| session(s, now)).collect::<Vec<_>>(),
            "next": next,
            "idps": self.idps(),
            "owed": owed,
            "unreadable": queue.unreadable,
            "queue": queue.awaited.iter().map(|a| revocation(a, now)).collect::<Vec<_>>(),
        });
        Ok(whole(self.pages.render(
            StatusCode::OK,
            "admin.html",
            context,
        )))
    }

    async fn ask_to_end_all(&self) -> Result<Response<Body>, Problem> {
        let (count, _) = self.actions.sessions.counts().await?;
        let context = json!({ "count": count, "form": self.gate.proof(FORM) });
        Ok(whole(self.pages.render(
            StatusCode::OK,
            "admin_end_all.html",
            context,
        )))
    }

    async fn end(&self, form: &Fields) -> Result<Response<Body>, Problem> {
        let field = |name: &str| form.get(name).map(String::as_str).unwrap_or_default();
        if !self.gate.proves(field("form"), FORM) {
            return Err(Problem::StaleForm);
        }
        let done = match field("what") {
            "session" => {
                let session = self.actions.session(field("id")).await?;
                self.actions.end_one(session).await?
            }
            "user" => {
                let idp = self.actions.provider(Some(field("idp")))?;
                let subject = Actions::subject(field("subject"))?;
                self.actions.end_user(idp, subject).await?
            }
            "everything" => self.actions.end_everything().await?,
            _ => return Err(Problem::Malformed("there is no such form".to_owned())),
        };
        Ok(self.see_what_was_done(&done))
    }

    /// To the page again, so that loading it once more ends nothing more. What it is to say is proven to be ours.
    fn see_what_was_done(&self, done: &Done) -> Response<Body> {
        let (revoked, left) = (word(done.refresh_token), done.unreadable);
        let said = format!("{} {revoked} {left}", done.ended);
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.append_pair("said", &said);
        query.append_pair("proof", &self.gate.proof(&said));
        let mut response = Response::new(Body::default());
        *response.status_mut() = StatusCode::SEE_OTHER;
        guard(response.headers_mut());
        if let Ok(place) = HeaderValue::from_str(&format!("/?{}", query.finish())) {
            response.headers_mut().insert(LOCATION, place);
        }
        response
    }

    fn said(&self, query: &Fields) -> Option<String> {
        let (said, proof) = (query.get("said")?, query.get("proof")?);
        if !self.gate.proves(proof, said) {
            return None;
        }
        let mut said = said.split(' ');
        let (ended, revoked, left) = (said.next()?, said.next()?, said.next()?);
        let ended = match ended {
            "0" => "There was no session to end.".to_owned(),
            "1" => "One session has ended.".to_owned(),
            many => format!("{many} sessions have ended."),
        };
        let revoked = match revoked {
            "confirmed" => "The identity provider confirmed that the refresh token is revoked.",
            "owed" => "Revoking the tokens at the identity provider is under way.",
            "not_offered" => "The identity provider offers no revocation.",
            _ => "",
        };
        let left = match left {
            "0" => String::new(),
            left => format!(
                "{left} can't be ended here: end them at a node that has their encryption key."
            ),
        };
        Some(format!("{ended} {revoked} {left}"))
    }

    fn idps(&self) -> Vec<Value> {
        let idps = self.actions.idps.iter().map(|issuer| {
            let settings = issuer.settings();
            let state = self.readiness.provider(&settings.name);
            json!({
                "name": settings.name,
                "label": settings.label,
                "issuer": settings.issuer,
                "reachable": state.reachable,
                "has_keys": state.has_keys,
            })
        });
        idps.collect()
    }
}

fn link(user: Option<&str>, next: SessionHash) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    if let Some(user) = user {
        query.append_pair("user", user);
    }
    query.append_pair("cursor", &next.to_string());
    format!("/?{}", query.finish())
}

fn session(summary: &Summary, now: Timestamp) -> Value {
    let id = summary.id.to_string();
    let person = summary.user.as_ref().or(summary.email.as_ref());
    let ends = summary.idle_deadline.min(summary.absolute_deadline);
    let agent: String = summary.user_agent.chars().take(AGENT).collect();
    json!({
        "short": id.get(..LETTERS),
        "id": id,
        "idp": summary.idp,
        "subject": summary.subject,
        "person": person.unwrap_or(&summary.subject),
        "created": in_words(now.since(summary.created)),
        "created_at": moment(summary.created),
        "seen": in_words(now.since(summary.seen)),
        "ends": in_words(ends.since(now)),
        "address": summary.address.to_string(),
        "agent": agent,
    })
}

fn revocation(awaited: &Awaited, now: Timestamp) -> Value {
    let tries = awaited.tries.as_ref();
    json!({
        "idp": awaited.idp,
        "kind": awaited.kind.as_str().replace('_', " "),
        "since": in_words(now.since(awaited.since)),
        "since_at": moment(awaited.since),
        "tries": tries.map(|tries| tries.count),
        "next": tries.map(|tries| in_words(tries.next.since(now))),
        "trouble": tries.and_then(|tries| tries.trouble.as_deref()),
    })
}

fn capitalized(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(char::to_uppercase);
    first.into_iter().flatten().chain(letters).collect()
}

fn fields(head: &Parts) -> Fields {
    pairs(head.uri.query().unwrap_or_default().as_bytes())
}

fn pairs(text: &[u8]) -> Fields {
    let owned =
        |(name, value): (Cow<'_, str>, Cow<'_, str>)| (name.into_owned(), value.into_owned());
    form_urlencoded::parse(text).map(owned).collect()
}

async fn form(body: Inbound) -> Result<Fields, Problem> {
    let broken = || Problem::Malformed("the form is too large, too slow or broke off".to_owned());
    let collecting = Limited::new(body, LARGEST).collect();
    let collected = tokio::time::timeout(SLOWEST, collecting).await;
    let collected = collected.map_err(|_| broken())?;
    Ok(pairs(&collected.map_err(|_| broken())?.to_bytes()))
}

fn whole(page: Response<String>) -> Response<Body> {
    page.map(|text| Full::new(Bytes::from(text)))
}
