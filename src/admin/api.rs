//! `/api/v1`: sessions, users, providers and what is owed, as JSON. No token, no cookie and no secret claim is in it.

use std::borrow::Cow;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, Response};
use http_body_util::Full;
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};
use url::form_urlencoded;

use super::actions::Actions;
use super::problem::Problem;
use super::ready::Readiness;
use super::{Body, moment};
use crate::clock::Timestamp;
use crate::pages::guard;
use crate::session::{Awaited, Page, Search, Summary};
use crate::token::SessionHash;

/// Where it is.
pub(super) const PREFIX: &str = "/api/v1/";
/// How many sessions a page has where nobody says, and at most.
const LIMIT: usize = 100;
const HIGHEST_LIMIT: usize = 1000;
/// How much of what is owed is told.
const OWED: usize = 1000;

/// What is asked, taken apart.
struct Asked<'a> {
    method: &'a Method,
    path: Vec<Cow<'a, str>>,
    query: Query,
}

/// Parameters: each at most once, and none that is not known. A mistyped one must not make an end reach further.
struct Query(Vec<(String, String)>);

/// Answers what is asked under [`PREFIX`].
pub(super) async fn answer(
    actions: &Actions,
    readiness: &Readiness,
    method: &Method,
    rest: &str,
    query: Option<&str>,
) -> Result<Response<Body>, Problem> {
    let path = rest.split('/').map(|part| {
        let decoded = percent_decode_str(part).decode_utf8();
        decoded.map_err(|_| Problem::Malformed("the path is not UTF-8".to_owned()))
    });
    let asked = Asked {
        method,
        path: path.collect::<Result<_, _>>()?,
        query: Query::parse(query.unwrap_or_default())?,
    };
    let answer = asked.answer(actions, readiness).await?;
    let mut response = Response::new(Full::new(Bytes::from(format!("{answer}\n"))));
    let headers = response.headers_mut();
    guard(headers);
    let kind = HeaderValue::from_static("application/json");
    headers.insert(CONTENT_TYPE, kind);
    Ok(response)
}

impl Asked<'_> {
    async fn answer(self, actions: &Actions, readiness: &Readiness) -> Result<Value, Problem> {
        let path: Vec<&str> = self.path.iter().map(AsRef::as_ref).collect();
        let query = self.query;
        match (&*path, self.method) {
            (["sessions"], &Method::GET | &Method::HEAD) => list(actions, query).await,
            (["sessions"], &Method::DELETE) => end_everything(actions, query).await,
            (["sessions", id], &Method::GET | &Method::HEAD) => {
                query.done()?;
                Ok(session(&actions.session(id).await?))
            }
            (["sessions", id], &Method::DELETE) => {
                query.done()?;
                let found = actions.session(id).await?;
                let (id, idp) = (found.id.to_string(), found.idp.clone());
                let mut done = actions.end_one(found).await?.json();
                if let Some(done) = done.as_object_mut() {
                    done.insert("id".to_owned(), json!(id));
                    done.insert("idp".to_owned(), json!(idp));
                }
                Ok(done)
            }
            (["users", subject, "sessions"], &Method::GET | &Method::HEAD) => {
                of_user(actions, subject, query).await
            }
            (["users", subject, "sessions"], &Method::DELETE) => {
                end_user(actions, subject, query).await
            }
            (["revocations"], &Method::GET | &Method::HEAD) => revocations(actions, query).await,
            (["idps"], &Method::GET | &Method::HEAD) => {
                query.done()?;
                Ok(idps(actions, readiness))
            }
            (["sessions"] | ["sessions", _] | ["users", _, "sessions"], _) => {
                Err(Problem::Method {
                    allow: "GET, HEAD, DELETE",
                })
            }
            (["revocations" | "idps"], _) => Err(Problem::Method { allow: "GET, HEAD" }),
            _ => Err(Problem::Nowhere),
        }
    }
}

async fn list(actions: &Actions, mut query: Query) -> Result<Value, Problem> {
    let limit = query.limit()?;
    let from = query.cursor()?;
    let search = query.search(actions)?;
    query.done()?;
    let page = actions.sessions.page(&search, from, limit).await?;
    Ok(sessions(actions, &page))
}

async fn of_user(actions: &Actions, subject: &str, mut query: Query) -> Result<Value, Problem> {
    let named = query.take("idp");
    query.done()?;
    let subject = Actions::subject(subject)?;
    let idps = match &named {
        Some(named) => vec![actions.provider(Some(named))?],
        None => actions.provider_names().collect(),
    };
    let mut page = Page::default();
    for idp in idps {
        let found = actions.sessions.of_user(&idp, &subject).await?;
        page.sessions.extend(found);
    }
    Ok(sessions(actions, &page))
}

async fn end_user(actions: &Actions, subject: &str, mut query: Query) -> Result<Value, Problem> {
    let named = query.take("idp");
    query.done()?;
    let idp = actions.provider(named.as_deref())?;
    let subject = Actions::subject(subject)?;
    let done = actions.end_user(idp.clone(), subject.clone()).await?;
    let mut done = done.json();
    if let Some(done) = done.as_object_mut() {
        done.insert("idp".to_owned(), json!(idp));
        done.insert("subject".to_owned(), json!(subject));
    }
    Ok(done)
}

async fn end_everything(actions: &Actions, mut query: Query) -> Result<Value, Problem> {
    let all = query.take("all");
    query.done()?;
    if all.as_deref() != Some("true") {
        return Err(Problem::NotSaid);
    }
    let all = actions.end_everything().await?;
    let mut done = all.json();
    if let Some(done) = done.as_object_mut() {
        let complete = actions.sessions.sees_all() && all.unreadable == 0;
        done.insert("complete".to_owned(), json!(complete));
        done.insert("unreadable".to_owned(), json!(all.unreadable));
    }
    Ok(done)
}

async fn revocations(actions: &Actions, query: Query) -> Result<Value, Problem> {
    query.done()?;
    let queue = actions.sessions.owed(OWED).await?;
    let (_, owed) = actions.sessions.counts().await?;
    let awaited: Vec<_> = queue.awaited.iter().map(revocation).collect();
    Ok(json!({ "owed": owed, "unreadable": queue.unreadable, "revocations": awaited }))
}

fn idps(actions: &Actions, readiness: &Readiness) -> Value {
    let idps = actions.idps.iter().map(|issuer| {
        let settings = issuer.settings();
        let state = readiness.provider(&settings.name);
        json!({
            "name": settings.name,
            "label": settings.label,
            "issuer": settings.issuer,
            "reachable": state.reachable,
            "has_keys": state.has_keys,
        })
    });
    json!({ "idps": idps.collect::<Vec<_>>() })
}

/// `complete`: whether all that there are can be seen from here.
fn sessions(actions: &Actions, page: &Page) -> Value {
    let sessions: Vec<_> = page.sessions.iter().map(session).collect();
    json!({
        "sessions": sessions,
        "next": page.next.map(|next| next.to_string()),
        "complete": actions.sessions.sees_all(),
    })
}

fn session(summary: &Summary) -> Value {
    json!({
        "id": summary.id.to_string(),
        "idp": summary.idp,
        "subject": summary.subject,
        "user": summary.user,
        "email": summary.email,
        "sid": summary.sid,
        "created": moment(summary.created),
        "last_seen": moment(summary.seen),
        "idle_end": moment(summary.idle_deadline),
        "absolute_end": moment(summary.absolute_deadline),
        "access_token_end": moment(summary.access_expires),
        "swaps": summary.generation,
        "user_agent": summary.user_agent,
        "address": summary.address.to_string(),
    })
}

fn revocation(awaited: &Awaited) -> Value {
    let tries = awaited.tries.as_ref();
    json!({
        "idp": awaited.idp,
        "kind": awaited.kind.as_str(),
        "since": moment(awaited.since),
        "until": (awaited.until < Timestamp::MAX).then(|| moment(awaited.until)),
        "here": tries.is_some(),
        "tries": tries.map(|tries| tries.count),
        "next_try": tries.map(|tries| moment(tries.next)),
        "last_error": tries.and_then(|tries| tries.trouble.as_deref()),
    })
}

impl Query {
    fn parse(text: &str) -> Result<Self, Problem> {
        let mut found: Vec<(String, String)> = Vec::new();
        for (name, value) in form_urlencoded::parse(text.as_bytes()).into_owned() {
            if found.iter().any(|(other, _)| *other == name) {
                return Err(Problem::Malformed(format!("{name:?} came twice")));
            }
            found.push((name, value));
        }
        Ok(Self(found))
    }

    fn take(&mut self, name: &str) -> Option<String> {
        let at = self.0.iter().position(|(found, _)| found == name)?;
        let (_, value) = self.0.swap_remove(at);
        (!value.is_empty()).then_some(value)
    }

    fn limit(&mut self) -> Result<usize, Problem> {
        let Some(text) = self.take("limit") else {
            return Ok(LIMIT);
        };
        let limit = text.parse().ok();
        limit
            .filter(|limit| (1..=HIGHEST_LIMIT).contains(limit))
            .ok_or_else(|| Problem::Malformed(format!("limit must be 1 to {HIGHEST_LIMIT}")))
    }

    fn cursor(&mut self) -> Result<SessionHash, Problem> {
        let Some(text) = self.take("cursor") else {
            return Ok(SessionHash::default());
        };
        let wrong = "cursor must be what `next` of the page before said";
        SessionHash::parse(&text).ok_or_else(|| Problem::Malformed(wrong.to_owned()))
    }

    fn search(&mut self, actions: &Actions) -> Result<Search, Problem> {
        let idp = self.take("idp");
        Ok(Search {
            idp: idp.map(|idp| actions.provider(Some(&idp))).transpose()?,
            user: self.take("user"),
        })
    }

    fn done(&self) -> Result<(), Problem> {
        match self.0.first() {
            None => Ok(()),
            Some((name, _)) => Err(Problem::Malformed(format!(
                "{name:?} is not understood here"
            ))),
        }
    }
}
