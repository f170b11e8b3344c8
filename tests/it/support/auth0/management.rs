//! The Management API: a user's grants and devices, for whom has a token with the right scope. Errors are
//! `{ statusCode, error, message }`.

use std::collections::HashMap;

use http::{HeaderValue, Method, Response, StatusCode};
use serde_json::{Value, json};
use tidegate::demo::http::{self as web, Body};

use super::given::Given;
use super::rotation::Family;
use super::{Tenant, Trouble};

fn error(status: StatusCode, message: &str, code: &str) -> Response<Body> {
    let body = json!({
        "statusCode": status.as_u16(),
        "error": status.canonical_reason(),
        "message": message,
        "errorCode": code,
    });
    web::json(status, &body)
}

impl Tenant {
    pub(super) fn management(&self, given: &Given) -> Response<Body> {
        match *self.trouble.lock().unwrap() {
            Trouble::None => {}
            Trouble::ApiDown => {
                return web::reply(StatusCode::SERVICE_UNAVAILABLE, "text/plain", "");
            }
            Trouble::ApiBusy { until } => return busy(until),
        }
        let path = given.path.trim_start_matches("/api/v2/");
        let (list, id) = path.split_once('/').unwrap_or((path, ""));
        let verb = if given.method == Method::GET {
            "read"
        } else {
            "delete"
        };
        let scope = format!("{verb}:{}", list.replace('-', "_"));
        if let Err(refused) = self.may(given, &scope) {
            return *refused;
        }
        match (&given.method, list, id) {
            (&Method::GET, "grants", "") => self.grants(given),
            (&Method::GET, "device-credentials", "") => self.devices(given),
            (&Method::DELETE, "grants", "") => match given.query.get("user_id") {
                Some(user) => {
                    self.books().drop_grants(user);
                    gone()
                }
                None => error(
                    StatusCode::BAD_REQUEST,
                    "Missing required property: user_id",
                    "invalid_query_string",
                ),
            },
            (&Method::DELETE, "grants", id) => {
                if self.books().drop_grant(id) {
                    return gone();
                }
                error(
                    StatusCode::NOT_FOUND,
                    "The grant does not exist.",
                    "inexistent_grant",
                )
            }
            (&Method::DELETE, "device-credentials", id) => self.unlink(id),
            _ => error(StatusCode::NOT_FOUND, "Not Found", "not_found"),
        }
    }

    fn may(&self, given: &Given, scope: &str) -> Result<(), Box<Response<Body>>> {
        let refuse = |status, message: &str, code| Err(Box::new(error(status, message, code)));
        let Some(token) = given.bearer() else {
            return refuse(
                StatusCode::UNAUTHORIZED,
                "Missing authentication",
                "missing_token",
            );
        };
        let known = self.books().api_tokens.get(token).cloned();
        let Some(known) = known else {
            return refuse(StatusCode::UNAUTHORIZED, "Invalid token", "invalid_token");
        };
        if self.options().clock.now() >= known.expires {
            let message = "Expired token received for JSON Web Token validation";
            return refuse(StatusCode::UNAUTHORIZED, message, "expired_token");
        }
        if !known.scopes.iter().any(|known| known == scope) {
            let message = format!("Insufficient scope, expected any of: {scope}");
            return refuse(StatusCode::FORBIDDEN, &message, "insufficient_scope");
        }
        Ok(())
    }

    fn grants(&self, given: &Given) -> Response<Body> {
        let books = self.books();
        let wanted =
            |name: &str, value: &str| given.query.get(name).is_none_or(|asked| asked == value);
        let found = books.grants.iter().filter(|grant| {
            wanted("user_id", &grant.user)
                && wanted("client_id", &grant.client)
                && wanted("audience", &grant.audience)
        });
        let found = found.map(|grant| {
            json!({ "id": grant.id, "clientID": grant.client, "user_id": grant.user,
                "audience": grant.audience, "scope": grant.scopes })
        });
        let known = ["user_id", "client_id", "audience"];
        paged(&given.query, &known, "grants", found.collect())
    }

    fn devices(&self, given: &Given) -> Response<Body> {
        let books = self.books();
        let wanted =
            |name: &str, value: &str| given.query.get(name).is_none_or(|asked| asked == value);
        let kind = |family: &Family| {
            if family.rotates {
                "rotating_refresh_token"
            } else {
                "refresh_token"
            }
        };
        let asked = given
            .query
            .get("type")
            .map_or("refresh_token", String::as_str);
        let found = books.families.iter().filter(|family| {
            family.is_alive()
                && kind(family) == asked
                && wanted("user_id", &family.user)
                && wanted("client_id", &family.client)
        });
        let found = found.map(|family| {
            json!({ "id": family.id, "device_name": "Tests", "type": kind(family),
                "user_id": family.user, "client_id": family.client })
        });
        let known = ["user_id", "client_id", "type", "fields", "include_fields"];
        paged(&given.query, &known, "device_credentials", found.collect())
    }

    fn unlink(&self, id: &str) -> Response<Body> {
        let mut books = self.books();
        let mut alive = books.families.iter_mut().filter(|family| family.is_alive());
        match alive.find(|family| family.id == id) {
            Some(family) => {
                family.end();
                gone()
            }
            None => error(
                StatusCode::NOT_FOUND,
                "The credential does not exist.",
                "inexistent_credential",
            ),
        }
    }
}

/// One page of a list: 50 entries unless it is said, 100 at most.
fn paged(
    query: &HashMap<String, String>,
    known: &[&str],
    name: &str,
    all: Vec<Value>,
) -> Response<Body> {
    let paging = ["page", "per_page", "include_totals"];
    let strange = query
        .keys()
        .find(|key| !known.contains(&key.as_str()) && !paging.contains(&key.as_str()));
    let number = |name: &str, usual: usize| query.get(name).map_or(Ok(usual), |text| text.parse());
    let (Ok(page), Ok(per_page), None) = (number("page", 0), number("per_page", 50), strange)
    else {
        return error(
            StatusCode::BAD_REQUEST,
            "Query validation error",
            "invalid_query_string",
        );
    };
    if per_page > 100 {
        return error(
            StatusCode::BAD_REQUEST,
            "per_page is over 100",
            "invalid_query_string",
        );
    }
    let (start, total) = (page * per_page, all.len());
    let shown: Vec<_> = all.into_iter().skip(start).take(per_page).collect();
    let totals = query
        .get("include_totals")
        .is_some_and(|text| text == "true");
    let body = if totals {
        json!({ "start": start, "limit": per_page, "total": total, name: shown })
    } else {
        json!(shown)
    };
    web::json(StatusCode::OK, &body)
}

fn gone() -> Response<Body> {
    web::reply(StatusCode::NO_CONTENT, "text/plain", "")
}

fn busy(until: u64) -> Response<Body> {
    let message = "Global limit has been reached";
    let mut answer = error(StatusCode::TOO_MANY_REQUESTS, message, "too_many_requests");
    let headers = answer.headers_mut();
    headers.insert("x-ratelimit-limit", HeaderValue::from_static("10"));
    headers.insert("x-ratelimit-remaining", HeaderValue::from_static("0"));
    headers.insert("x-ratelimit-reset", HeaderValue::from(until));
    answer
}
