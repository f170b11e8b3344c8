//! Revocation and logout at the provider.

use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use serde_json::json;

use super::server::{Reply, Server, issuer};
use crate::clock::Clock;
use crate::issuer::{
    EndSession, Error, LogoutHints, OtherClient, Preset, Revocable, RevocationFormat, Shows,
    TokenKind,
};
use crate::token::{AccessToken, IdToken, RefreshToken, Secret};

const BACK: &str = "https://apps.example.com/oauth2/signed_out";
const HINTS: LogoutHints<'_> = LogoutHints {
    sid: Some("sid"),
    login_hint: Some("a&b"),
    ui_locales: Some("de fr"),
};

pub(super) fn class<T: std::fmt::Debug>(result: Result<T, Error>) -> String {
    match result {
        Ok(done) => format!("{done:?}"),
        Err(Error::Refused { .. }) => "refused".to_owned(),
        Err(Error::Client { .. }) => "client".to_owned(),
        Err(Error::Unavailable { retry_after, .. }) => match retry_after {
            Some(wait) => format!("unavailable for {}", wait.as_secs()),
            None => "unavailable".to_owned(),
        },
        Err(Error::NotOffered(_)) => "not offered".to_owned(),
        Err(error @ (Error::Unknown { .. } | Error::Unusable { .. })) => panic!("{error:?}"),
    }
}

async fn server_with(reply: Reply) -> (Server, crate::issuer::Issuer) {
    let server = Server::provider(move |_| reply.clone()).await;
    let mut settings = server.settings();
    settings.call_timeout = Duration::from_millis(300);
    let issuer = issuer(settings, Clock::System);
    (server, issuer)
}

#[tokio::test]
async fn what_is_sent_to_be_revoked() {
    let (server, issuer) = server_with(Reply::Text(200, String::new(), String::new())).await;
    issuer
        .revoke(&Revocable::Refresh(RefreshToken::new("RT")))
        .await
        .unwrap();
    issuer
        .revoke(&Revocable::Access(AccessToken::new("AT")))
        .await
        .unwrap();
    let seen: Vec<_> = server
        .seen()
        .into_iter()
        .filter(|seen| seen.path == "/revoke")
        .collect();
    for (seen, token, hint) in [
        (&seen[0], "RT", "refresh_token"),
        (&seen[1], "AT", "access_token"),
    ] {
        assert_eq!(seen.method, "POST");
        assert_eq!(seen.parameter("token").unwrap(), token);
        assert_eq!(seen.parameter("token_type_hint").unwrap(), hint);
        assert!(seen.head.contains("\nauthorization: basic "));
    }
}

fn other(shows: Shows) -> OtherClient {
    OtherClient {
        id: "other+one".to_owned(),
        shows,
    }
}

#[tokio::test]
async fn another_client_is_passed_on_as_it_shows_itself() {
    let (server, issuer) = server_with(Reply::Text(200, String::new(), String::new())).await;
    let (token, secret) = (Secret::new("to&ken"), Secret::new("s+e"));
    let basic = Shows::Basic {
        authorization: Secret::new("Basic b3RoZXI6cytl"),
        secret: secret.clone(),
    };
    for (shows, kind) in [
        (basic, TokenKind::Unknown),
        (Shows::Post(secret), TokenKind::Hinted("refresh_token")),
        (Shows::Nothing, TokenKind::Access),
    ] {
        issuer.revoke_as(&other(shows), &token, kind).await.unwrap();
    }
    let mut seen = server.seen();
    seen.retain(|seen| seen.path == "/revoke");
    assert!(
        seen.iter()
            .all(|seen| seen.parameter("token").unwrap() == "to&ken")
    );
    let of = |name: &str| -> Vec<_> { seen.iter().map(|seen| seen.parameter(name)).collect() };
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(
        of("client_id"),
        [None, text("other+one"), text("other+one")]
    );
    assert_eq!(of("client_secret"), [None, text("s+e"), None]);
    assert_eq!(
        of("token_type_hint"),
        [None, text("refresh_token"), text("access_token")]
    );
    assert!(seen[0].head.contains("authorization: basic b3rozxi6cytl"));
    assert!(
        seen[1..]
            .iter()
            .all(|seen| !seen.head.contains("authorization"))
    );
}

#[tokio::test]
async fn a_flood_for_other_clients_makes_so_many_calls_and_no_more() {
    let server = Server::provider(|_| Reply::Hang).await;
    let mut settings = server.settings();
    settings.call_timeout = Duration::from_secs(3);
    let issuer = issuer(settings, Clock::System);
    issuer.metadata().await.unwrap();
    let token = Secret::new("t");
    let client = other(Shows::Nothing);
    let calls = (0..100).map(|_| issuer.revoke_as(&client, &token, TokenKind::Unknown));
    let mut calls = calls.collect::<FuturesUnordered<_>>();
    // The first to give up are those that never had their turn.
    for _ in 0..84 {
        let said = calls.next().await.unwrap();
        assert_eq!(class(said), "unavailable for 1");
    }
    assert_eq!(server.count("/revoke"), 16);
}

#[tokio::test]
async fn what_a_revocation_s_answer_means() {
    let error = |status: u16, code: &str| Reply::Json(status, json!({ "error": code }));
    let text = |status: u16, headers: &str| Reply::Text(status, headers.to_owned(), String::new());
    for (name, reply, expected) in [
        ("done", text(200, ""), "()"),
        ("done without content", text(204, ""), "()"),
        (
            "Keycloak, not knowing it",
            error(200, "invalid_token"),
            "()",
        ),
        ("dead already", error(400, "invalid_token"), "()"),
        (
            "oidc-provider and JWTs",
            error(400, "unsupported_token_type"),
            "not offered",
        ),
        ("another client's", error(400, "invalid_request"), "refused"),
        ("wrong secret", error(401, "invalid_client"), "client"),
        (
            "wrong secret at Keycloak",
            error(401, "unauthorized_client"),
            "client",
        ),
        (
            "wrong secret at some other",
            error(401, "invalid_request"),
            "client",
        ),
        ("down", text(503, "retry-after: 7\r\n"), "unavailable for 7"),
        ("too many", text(429, ""), "unavailable"),
        (
            "too many until a time that has passed",
            text(429, "x-ratelimit-reset: 1700000000\r\n"),
            "unavailable for 0",
        ),
        (
            "too many until the end of time",
            text(429, "x-ratelimit-reset: 99999999999\r\n"),
            "unavailable for 3600",
        ),
        ("a page", text(400, ""), "unavailable"),
        ("a redirect", text(302, "location: /\r\n"), "unavailable"),
        ("reset", Reply::Reset, "unavailable"),
        ("silence", Reply::Hang, "unavailable"),
    ] {
        let (_server, issuer) = server_with(reply).await;
        let token = Revocable::Refresh(RefreshToken::new("RT"));
        assert_eq!(class(issuer.revoke(&token).await), expected, "{name}");
    }
}

#[tokio::test]
async fn auth0_is_told_in_json_and_asked_for_what_it_can_do_only() {
    let server = Server::provider(|_| Reply::Text(200, String::new(), String::new())).await;
    let mut settings = server.settings();
    settings.revocation = RevocationFormat::Json;
    let issuer = issuer(settings.clone(), Clock::System);
    let refresh = Revocable::Refresh(RefreshToken::new("RT"));
    issuer.revoke(&refresh).await.unwrap();
    let access = Revocable::Access(AccessToken::new("AT"));
    assert_eq!(class(issuer.revoke(&access).await), "not offered");
    let seen = server.seen().pop().unwrap();
    assert_eq!((&*seen.method, &*seen.path), ("POST", "/revoke"));
    assert!(seen.head.contains("\ncontent-type: application/json\r"));
    assert!(!seen.head.contains("authorization:"));
    let body: serde_json::Value = serde_json::from_str(&seen.body).unwrap();
    assert_eq!(
        body,
        json!({ "client_id": "gateway", "client_secret": "test-secret", "token": "RT" })
    );
    assert_eq!(server.count("/revoke"), 1, "no access token was sent");

    // A public client has no secret to show.
    settings.client_secret = None;
    let issuer = super::server::issuer(settings, Clock::System);
    issuer.revoke(&refresh).await.unwrap();
    let body = server.seen().pop().unwrap().body;
    assert!(!body.contains("client_secret"), "{body}");
}

#[tokio::test]
async fn where_revocations_go_is_configured_or_discovered_or_documented() {
    let at = async |configured: bool, discovered: bool, preset: Option<Preset>| {
        let server = Server::start(|_| Reply::Hang).await;
        let issuer_url = format!("{}/", server.origin);
        let mut settings = server.settings();
        settings.issuer = issuer_url.as_str().into();
        settings.preset = preset;
        let chosen = super::server::url(&format!("{issuer_url}chosen"));
        settings.revocation_endpoint = configured.then_some(chosen);
        let origin = server.origin.clone();
        server.answer(move |seen| {
            if seen.method == "POST" {
                return Reply::Text(200, String::new(), String::new());
            }
            let mut document = super::server::document(&origin);
            document["issuer"] = json!(issuer_url);
            if !discovered {
                document["revocation_endpoint"] = json!(null);
            }
            Reply::Json(200, document)
        });
        let issuer = issuer(settings, Clock::System);
        let token = Revocable::Refresh(RefreshToken::new("RT"));
        let said = class(issuer.revoke(&token).await);
        let path = server.seen().pop().unwrap().path;
        if said == "()" { path } else { said }
    };
    let auth0 = Some(Preset::Auth0);
    assert_eq!(at(true, true, auth0).await, "/chosen");
    assert_eq!(at(true, false, None).await, "/chosen");
    assert_eq!(at(false, true, auth0).await, "/revoke");
    assert_eq!(at(false, false, auth0).await, "/oauth/revoke");
    assert_eq!(at(false, false, None).await, "not offered");
}

#[tokio::test]
async fn auth0_without_rp_initiated_logout_wants_the_browser() {
    let server = Server::start(|_| Reply::Hang).await;
    let issuer_url = format!("{}/", server.origin);
    let mut settings = server.settings();
    settings.issuer = issuer_url.as_str().into();
    settings.preset = Some(Preset::Auth0);
    let origin = server.origin.clone();
    server.answer(move |_| {
        let mut document = super::server::document(&origin);
        document["issuer"] = json!(issuer_url);
        document["end_session_endpoint"] = json!(null);
        Reply::Json(200, document)
    });
    let issuer = issuer(settings, Clock::System);
    let hint = IdToken::new("a.b.c");
    assert_eq!(
        issuer.end_session(&hint, BACK, "st&ate").await.unwrap(),
        EndSession::AskPerson
    );
    let url = issuer.end_session_url(BACK, "st&ate", HINTS).await.unwrap();
    assert_eq!(url.path(), "/v2/logout");
    let pairs: Vec<_> = url.query_pairs().into_owned().collect();
    let back = format!("{BACK}?state=st%26ate");
    assert_eq!(
        pairs,
        [("client_id", "gateway"), ("returnTo", &back)]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
    );
}

#[tokio::test]
async fn a_provider_without_these_endpoints() {
    let server = Server::start(|_| Reply::Hang).await;
    let origin = server.origin.clone();
    server.answer(move |_| {
        let mut document = super::server::document(&origin);
        document["revocation_endpoint"] = json!(null);
        document["end_session_endpoint"] = json!(null);
        Reply::Json(200, document)
    });
    let issuer = server.issuer();
    let token = Revocable::Refresh(RefreshToken::new("RT"));
    assert_eq!(class(issuer.revoke(&token).await), "not offered");
    let hint = IdToken::new("a.b.c");
    assert_eq!(
        class(issuer.end_session(&hint, BACK, "s").await),
        "not offered"
    );
    assert_eq!(
        class(issuer.end_session_url(BACK, "s", HINTS).await),
        "not offered"
    );
}

#[tokio::test]
async fn what_a_logout_s_answer_means() {
    let text = |status: u16, headers: &str| Reply::Text(status, headers.to_owned(), String::new());
    let to = |status: u16, location: &str| text(status, &format!("location: {location}\r\n"));
    for (name, reply, expected) in [
        (
            "back, with state",
            to(302, &format!("{BACK}?state=st%26ate")),
            "Ended",
        ),
        (
            "back by 303",
            to(303, &format!("{BACK}?state=st%26ate")),
            "Ended",
        ),
        ("back, without state", to(302, BACK), "Ended"),
        (
            "back, with another state",
            to(302, &format!("{BACK}?state=other")),
            "AskPerson",
        ),
        (
            "back, and more",
            to(302, &format!("{BACK}/more")),
            "AskPerson",
        ),
        (
            "to another host",
            to(302, "https://evil.example/oauth2/signed_out?state=st%26ate"),
            "AskPerson",
        ),
        ("to its own page", to(302, "/confirm"), "AskPerson"),
        ("to nowhere", text(302, ""), "AskPerson"),
        ("to no address", to(302, "http://["), "AskPerson"),
        ("a page", text(200, ""), "AskPerson"),
        ("no POST", text(405, ""), "AskPerson"),
        ("down", text(503, ""), "unavailable"),
        ("a bad hint", text(400, ""), "refused"),
        ("reset", Reply::Reset, "unavailable"),
        ("silence", Reply::Hang, "unavailable"),
    ] {
        let (_server, issuer) = server_with(reply).await;
        let hint = IdToken::new("a.b.c");
        assert_eq!(
            class(issuer.end_session(&hint, BACK, "st&ate").await),
            expected,
            "{name}"
        );
    }
}

#[tokio::test]
async fn a_way_back_that_is_none_is_never_reached() {
    let (_server, issuer) = server_with(Reply::Text(302, String::new(), String::new())).await;
    let hint = IdToken::new("a.b.c");
    let ended = issuer.end_session(&hint, "not a URL", "s").await;
    assert_eq!(ended.unwrap(), EndSession::AskPerson);
}

#[tokio::test]
async fn no_token_is_in_a_url() {
    let (server, issuer) = server_with(Reply::Text(200, String::new(), String::new())).await;
    let hint = IdToken::new("a.b.c");
    assert_eq!(
        issuer.end_session(&hint, BACK, "s").await.unwrap(),
        EndSession::AskPerson
    );
    let seen = server.seen().pop().unwrap();
    assert_eq!((&*seen.method, &*seen.path), ("POST", "/logout"));
    assert_eq!(seen.parameter("id_token_hint").unwrap(), "a.b.c");
    assert_eq!(seen.parameter("client_id").unwrap(), "gateway");
    assert_eq!(seen.parameter("post_logout_redirect_uri").unwrap(), BACK);
    assert_eq!(seen.parameter("state").unwrap(), "s");
    let url = issuer.end_session_url(BACK, "s", HINTS).await.unwrap();
    let hints = "&logout_hint=a%26b&ui_locales=de+fr";
    assert!(url.query().unwrap().ends_with(hints));
    let names: Vec<_> = url
        .query_pairs()
        .map(|(name, _)| name.into_owned())
        .collect();
    assert_eq!(
        names,
        [
            "client_id",
            "post_logout_redirect_uri",
            "state",
            "logout_hint",
            "ui_locales"
        ]
    );
}
