//! Auth0's Management API: whose token is used for how long, what is listed and deleted, and what its answers mean.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use url::Url;

use super::leaving::class;
use super::server::{Reply, Seen, Server, issuer};
use crate::clock::Clock;
use crate::issuer::{EndUser, Issuer, Management};
use crate::token::Secret;

const USER: &str = "auth0|a&b";

struct Tenant {
    server: Server,
    issuer: Issuer,
    clock: Clock,
}

impl Tenant {
    /// Tokens of the API are good for ten minutes; `api` answers what comes with one.
    async fn start(
        end_user: EndUser,
        api: impl Fn(&Seen) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let tokens = AtomicU32::new(0);
        let server = Server::start(move |seen| match &*seen.path {
            "/oauth/token" => {
                let number = tokens.fetch_add(1, Ordering::Relaxed) + 1;
                let token = format!("api-token-{number}");
                Reply::Json(
                    200,
                    json!({ "access_token": token, "expires_in": 600, "token_type": "Bearer" }),
                )
            }
            _ => api(seen),
        })
        .await;
        let url = Url::parse(&format!("{}/api/v2/", server.origin)).unwrap();
        let mut settings = server.settings();
        settings.call_timeout = Duration::from_millis(500);
        settings.management = Some(Management {
            client_id: "m2m".into(),
            client_secret: Secret::new("m2m-secret"),
            end_user,
            url,
        });
        let clock = Clock::shifted();
        let issuer = issuer(settings, clock.clone());
        Self {
            server,
            issuer,
            clock,
        }
    }

    async fn end(&self) -> String {
        class(self.issuer.end_user(USER).await)
    }

    /// Methods and targets of what came for the API.
    fn asked(&self) -> Vec<String> {
        let seen = self.server.seen().into_iter();
        let api = seen.filter(|seen| seen.path.starts_with("/api/"));
        api.map(|seen| format!("{} {}", seen.method, seen.path))
            .collect()
    }
}

fn grant(id: usize, user: &str, client: &str) -> Value {
    json!({ "id": format!("grant{id}"), "user_id": user, "clientID": client, "audience": "https://api", "scope": [] })
}

fn empty() -> Reply {
    Reply::Text(204, String::new(), String::new())
}

fn number(target: &str, name: &str) -> usize {
    let url = Url::parse("http://x").unwrap().join(target).unwrap();
    let mut pairs = url.query_pairs();
    pairs.find(|(n, _)| n == name).unwrap().1.parse().unwrap()
}

#[tokio::test]
async fn every_grant_of_the_user_is_deleted_and_nobody_elses() {
    let tenant = Tenant::start(EndUser::Grants, |seen| match &*seen.method {
        "GET" => Reply::Json(
            200,
            json!({ "start": 0, "limit": 100, "total": 4, "grants": [
                grant(1, USER, "gateway"),
                grant(2, "auth0|other", "gateway"),
                grant(3, USER, "another-client"),
                grant(4, USER, "gateway"),
            ] }),
        ),
        _ => empty(),
    })
    .await;
    assert_eq!(tenant.end().await, "()");
    assert_eq!(
        tenant.asked(),
        [
            "GET /api/v2/grants?user_id=auth0%7Ca%26b&client_id=gateway&page=0&per_page=100&include_totals=true",
            "DELETE /api/v2/grants/grant1",
            "DELETE /api/v2/grants/grant4",
        ]
    );
    let seen = tenant.server.seen();
    let form = |name| seen[0].parameter(name).unwrap();
    assert_eq!((&*seen[0].method, &*seen[0].path), ("POST", "/oauth/token"));
    assert_eq!(form("grant_type"), "client_credentials");
    assert_eq!(form("client_id"), "m2m");
    assert_eq!(form("client_secret"), "m2m-secret");
    assert_eq!(
        form("audience"),
        format!("{}/api/v2/", tenant.server.origin)
    );
    assert!(
        seen[1]
            .head
            .contains("\nauthorization: bearer api-token-1\r")
    );
}

#[tokio::test]
async fn both_kinds_of_refresh_tokens_are_deleted() {
    let tenant = Tenant::start(EndUser::DeviceCredentials, |seen| match &*seen.method {
        "GET" => {
            let kind = if seen.path.contains("type=rotating") {
                "dcr_r"
            } else {
                "dcr_p"
            };
            // As an array, which is what comes without totals.
            Reply::Json(
                200,
                json!([{ "id": kind, "user_id": USER, "client_id": "gateway" }]),
            )
        }
        _ => empty(),
    })
    .await;
    assert_eq!(tenant.end().await, "()");
    let asked = tenant.asked();
    assert!(
        asked[0].ends_with("&type=rotating_refresh_token"),
        "{asked:?}"
    );
    assert_eq!(asked[1], "DELETE /api/v2/device-credentials/dcr_r");
    assert!(asked[2].ends_with("&type=refresh_token"), "{asked:?}");
    assert_eq!(asked[3], "DELETE /api/v2/device-credentials/dcr_p");
}

#[tokio::test]
async fn all_pages_are_read_before_anything_is_deleted() {
    let tenant = Tenant::start(EndUser::Grants, |seen| {
        if seen.method == "DELETE" {
            return empty();
        }
        let (page, size) = (number(&seen.path, "page"), number(&seen.path, "per_page"));
        let grants: Vec<_> = (page * size..((page + 1) * size).min(250))
            .map(|id| grant(id, USER, "gateway"))
            .collect();
        Reply::Json(200, json!({ "grants": grants, "total": 250 }))
    })
    .await;
    assert_eq!(tenant.end().await, "()");
    let asked = tenant.asked();
    assert!(asked[..3].iter().all(|asked| asked.starts_with("GET ")));
    assert_eq!(asked.len(), 3 + 250);
}

#[tokio::test]
async fn what_is_gone_already_is_done() {
    let tenant = Tenant::start(EndUser::Grants, |seen| match &*seen.method {
        "GET" => Reply::Json(200, json!({ "grants": [grant(1, USER, "gateway")] })),
        _ => Reply::Json(
            404,
            json!({ "statusCode": 404, "error": "Not Found", "message": "x" }),
        ),
    })
    .await;
    assert_eq!(tenant.end().await, "()");
}

#[tokio::test]
async fn the_apis_token_is_kept_until_just_before_its_end() {
    let tenant = Tenant::start(EndUser::Grants, |_| Reply::Json(200, json!([]))).await;
    for (minutes, tokens) in [(0, 1), (8, 1), (2, 2), (8, 2)] {
        tenant.clock.advance(Duration::from_mins(minutes));
        assert_eq!(tenant.end().await, "()");
        assert_eq!(tenant.server.count("/oauth/token"), tokens);
    }
}

#[tokio::test]
async fn a_token_that_the_api_does_not_know_is_renewed_once() {
    let good = Arc::new(AtomicU32::new(2));
    let known = Arc::clone(&good);
    let tenant = Tenant::start(EndUser::Grants, move |seen| {
        let token = format!("api-token-{}\r", known.load(Ordering::Relaxed));
        if seen.head.contains(&token) {
            return Reply::Json(200, json!([]));
        }
        Reply::Json(
            401,
            json!({ "statusCode": 401, "error": "Unauthorized", "message": "Invalid token" }),
        )
    })
    .await;
    assert_eq!(tenant.end().await, "()");
    assert_eq!(tenant.server.count("/oauth/token"), 2);
    good.store(99, Ordering::Relaxed);
    assert_eq!(tenant.end().await, "client", "once, not for ever");
    assert_eq!(tenant.server.count("/oauth/token"), 3);
}

#[tokio::test]
async fn what_the_apis_answers_mean() {
    let said = |status: u16, error: &str, message: &str| {
        Reply::Json(
            status,
            json!({ "statusCode": status, "error": error, "message": message }),
        )
    };
    let text = |status: u16, headers: &str| Reply::Text(status, headers.to_owned(), String::new());
    for (name, reply, expected) in [
        (
            "a scope is missing",
            said(
                403,
                "Forbidden",
                "Insufficient scope, expected any of: read:grants",
            ),
            "client",
        ),
        (
            "no such user id",
            said(400, "Bad Request", "Payload validation error"),
            "refused",
        ),
        (
            "too many",
            text(429, "retry-after: 7\r\n"),
            "unavailable for 7",
        ),
        ("down", text(503, ""), "unavailable"),
        ("reset", Reply::Reset, "unavailable"),
        ("silence", Reply::Hang, "unavailable"),
    ] {
        let tenant = Tenant::start(EndUser::Grants, move |_| reply.clone()).await;
        assert_eq!(tenant.end().await, expected, "{name}");
    }
    let tenant = Tenant::start(EndUser::Grants, |_| {
        Reply::Json(403, json!({ "error": "Forbidden", "message": "Insufficient scope, expected any of: read:grants" }))
    })
    .await;
    let error = tenant.issuer.end_user(USER).await.unwrap_err().to_string();
    assert!(error.contains("expected any of: read:grants"), "{error}");
}

#[tokio::test]
async fn a_list_that_is_none_deletes_nothing() {
    for body in ["{}", "7", "<html>", "", r#"{"grants":7}"#] {
        let reply = Reply::Text(200, String::new(), body.to_owned());
        let tenant = Tenant::start(EndUser::Grants, move |_| reply.clone()).await;
        let error = tenant.issuer.end_user(USER).await.unwrap_err();
        assert!(error.to_string().contains("not a list"), "{error}");
        assert_eq!(tenant.asked().len(), 1);
    }
    for id in [json!(""), json!(".."), json!(7), json!(null)] {
        let list = json!([{ "id": id }]);
        let tenant = Tenant::start(EndUser::Grants, move |_| Reply::Json(200, list.clone())).await;
        assert!(
            tenant.issuer.end_user(USER).await.is_err(),
            "nothing is done"
        );
        assert_eq!(tenant.asked().len(), 1, "{id}");
    }
    let tenant = Tenant::start(EndUser::Grants, |seen| match &*seen.method {
        "GET" => Reply::Json(200, json!([{ "id": "../users/a?b#c" }])),
        _ => empty(),
    })
    .await;
    assert_eq!(tenant.end().await, "()");
    assert_eq!(
        tenant.asked()[1],
        "DELETE /api/v2/grants/..%2Fusers%2Fa%3Fb%23c"
    );
}

#[tokio::test]
async fn without_a_management_api_it_is_not_offered() {
    let server = Server::start(|_| Reply::Hang).await;
    assert_eq!(class(server.issuer().end_user(USER).await), "not offered");
}
