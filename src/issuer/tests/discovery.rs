//! Discovery: whose description is believed, and where its endpoints are called.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use super::server::{Reply, Server, document, issuer, settings, url};
use crate::clock::Clock;
use crate::issuer::discovery::{location, read};
use crate::issuer::{AuthorizationRequest, Error, Settings};

const WELL_KNOWN: &str = "/.well-known/openid-configuration";

fn https() -> Settings {
    settings("https://idp.example.com/realms/main")
}

/// What an issuer of this name would say.
fn said(settings: &Settings) -> Value {
    let mut said = document("https://idp.example.com");
    said["issuer"] = json!(&*settings.issuer);
    said
}

fn reason(result: Result<crate::issuer::Metadata, Error>) -> String {
    match result.unwrap_err() {
        Error::Unusable { reason, .. } => reason,
        other => panic!("{other:?}"),
    }
}

#[test]
fn where_it_is() {
    for (issuer, internal, expected) in [
        (
            "https://a.example",
            None,
            "https://a.example/.well-known/openid-configuration",
        ),
        (
            "https://a.example/",
            None,
            "https://a.example/.well-known/openid-configuration",
        ),
        (
            "https://a.example/r/m",
            None,
            "https://a.example/r/m/.well-known/openid-configuration",
        ),
        (
            "https://a.example/r",
            Some("http://kc:8080/r"),
            "http://kc:8080/r/.well-known/openid-configuration",
        ),
        (
            "https://a.example/r",
            Some("http://kc:8080"),
            "http://kc:8080/.well-known/openid-configuration",
        ),
        (
            "https://a.example/r",
            Some("http://kc:8080/x/.well-known/openid-configuration"),
            "http://kc:8080/x/.well-known/openid-configuration",
        ),
    ] {
        let mut settings = settings(issuer);
        settings.discovery_url = internal.map(url);
        assert_eq!(location(&settings).unwrap().as_str(), expected);
    }
}

#[test]
fn another_issuer_is_not_believed() {
    for issuer in [
        json!("https://idp.example.com/realms/main/"),
        json!("https://idp.example.com/realms/other"),
        json!("https://IDP.example.com/realms/main"),
        json!("http://idp.example.com/realms/main"),
        json!(["https://idp.example.com/realms/main"]),
        json!(null),
    ] {
        let mut said = said(&https());
        said["issuer"] = issuer;
        assert_eq!(
            reason(read(&said, &https())),
            "the discovery document is of another issuer"
        );
    }
    assert_eq!(
        reason(read(&json!([]), &https())),
        "the discovery document is of another issuer"
    );
}

#[test]
fn endpoints_that_are_refused() {
    let (missing, no_url, downgrade) = (
        "the discovery document lacks a required endpoint",
        "the discovery document has an endpoint that is not an http URL",
        "an https issuer names an http endpoint",
    );
    for name in ["authorization_endpoint", "token_endpoint", "jwks_uri"] {
        let mut said = said(&https());
        said.as_object_mut().unwrap().remove(name);
        assert_eq!(reason(read(&said, &https())), missing, "{name}");
    }
    for name in [
        "authorization_endpoint",
        "token_endpoint",
        "jwks_uri",
        "userinfo_endpoint",
        "revocation_endpoint",
        "end_session_endpoint",
    ] {
        for (value, expected) in [
            (json!("http://idp.example.com/x"), downgrade),
            (json!("http://127.0.0.1/x"), downgrade),
            (json!("ftp://idp.example.com/x"), no_url),
            (json!("file:///etc/passwd"), no_url),
            (json!("javascript:alert(1)"), no_url),
            (json!("/relative"), no_url),
            (json!(""), no_url),
            (json!(7), no_url),
            (json!(["https://idp.example.com/x"]), no_url),
            (json!("https://user:password@idp.example.com/x"), no_url),
            (json!("https://user@idp.example.com/x"), no_url),
            (json!("https://:password@idp.example.com/x"), no_url),
            (json!("https://idp.example.com/x#fragment"), no_url),
        ] {
            let mut said = said(&https());
            said[name] = value.clone();
            assert_eq!(reason(read(&said, &https())), expected, "{name} {value}");
        }
    }
}

#[test]
fn what_may_be_missing() {
    let said = json!({
        "issuer": "https://idp.example.com/realms/main",
        "authorization_endpoint": "https://idp.example.com/authorize",
        "token_endpoint": "https://tokens.example.com/token",
        "jwks_uri": "https://idp.example.com/jwks",
        "userinfo_endpoint": null,
    });
    let metadata = read(&said, &https()).unwrap();
    assert!(metadata.userinfo_endpoint.is_none());
    assert!(metadata.revocation_endpoint.is_none());
    assert!(metadata.end_session_endpoint.is_none());
    assert!(!metadata.response_iss);
    assert_eq!(
        metadata.token_endpoint.as_str(),
        "https://tokens.example.com/token"
    );
}

#[test]
fn the_gateway_s_own_way_to_the_provider() {
    let mut settings = https();
    settings.discovery_url = Some(url("http://keycloak:8080/realms/main"));
    let mut said = said(&settings);
    said["revocation_endpoint"] = json!("https://elsewhere.example.com/revoke");
    // Keycloak with a dynamic back channel names this itself.
    said["userinfo_endpoint"] = json!("http://keycloak:8080/userinfo");
    let metadata = read(&said, &settings).unwrap();
    let text = |url: &Option<url::Url>| url.as_ref().unwrap().to_string();
    assert_eq!(
        metadata.token_endpoint.as_str(),
        "http://keycloak:8080/token"
    );
    assert_eq!(metadata.jwks_uri.as_str(), "http://keycloak:8080/jwks");
    assert_eq!(
        text(&metadata.userinfo_endpoint),
        "http://keycloak:8080/userinfo"
    );
    assert_eq!(
        text(&metadata.revocation_endpoint),
        "https://elsewhere.example.com/revoke"
    );
    assert_eq!(
        metadata.authorization_endpoint.as_str(),
        "https://idp.example.com/authorize"
    );
    assert_eq!(
        text(&metadata.end_session_endpoint),
        "https://idp.example.com/logout"
    );
    assert_eq!(
        text(&metadata.end_session_here),
        "http://keycloak:8080/logout"
    );
    said["jwks_uri"] = json!("http://another:8080/jwks");
    assert_eq!(
        reason(read(&said, &settings)),
        "an https issuer names an http endpoint"
    );
}

#[tokio::test]
async fn it_is_asked_for_once_and_kept() {
    let server = Server::provider(|_| Reply::Hang).await;
    let issuer = Arc::new(server.issuer());
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let issuer = Arc::clone(&issuer);
        tasks.spawn(async move { issuer.metadata().await.unwrap() });
    }
    tasks.join_all().await;
    assert_eq!(server.count(WELL_KNOWN), 1);
    let seen = &server.seen()[0];
    assert!(
        seen.head.contains("\naccept: application/json\r\n"),
        "{}",
        seen.head
    );
    let authority = server.origin.strip_prefix("http://").unwrap();
    assert!(
        seen.head.contains(&format!("\nhost: {authority}\r\n")),
        "{}",
        seen.head
    );
}

#[tokio::test]
async fn a_failure_is_not_repeated_at_once_and_heals() {
    let server = Server::start(|_| Reply::Text(503, String::new(), String::new())).await;
    let clock = Clock::shifted();
    let issuer = Arc::new(issuer(server.settings(), clock.clone()));
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let issuer = Arc::clone(&issuer);
        tasks.spawn(async move { issuer.metadata().await });
    }
    for result in tasks.join_all().await {
        assert!(matches!(result, Err(Error::Unavailable { .. })));
    }
    assert_eq!(server.count(WELL_KNOWN), 1);
    let origin = server.origin.clone();
    server.answer(move |_| Reply::Json(200, document(&origin)));
    clock.advance(Duration::from_secs(1));
    issuer.metadata().await.unwrap();
    assert_eq!(server.count(WELL_KNOWN), 2);
}

#[tokio::test]
async fn a_clock_set_back_lengthens_no_cool_down() {
    let server = Server::start(|_| Reply::Text(503, String::new(), String::new())).await;
    let shift = Arc::new(AtomicU64::new(3_600_000));
    let issuer = issuer(server.settings(), Clock::Shifted(Arc::clone(&shift)));
    assert!(issuer.metadata().await.is_err());
    shift.store(0, Ordering::Relaxed);
    assert!(issuer.metadata().await.is_err());
    assert_eq!(server.count(WELL_KNOWN), 2);
}

#[tokio::test]
async fn a_failed_rediscovery_keeps_what_is_known() {
    let server = Server::provider(|_| Reply::Hang).await;
    let issuer = server.issuer();
    issuer.metadata().await.unwrap();
    server.answer(|_| Reply::Json(200, json!({ "issuer": "https://evil.example" })));
    assert!(issuer.rediscover().await.is_err());
    assert_eq!(
        issuer.metadata().await.unwrap().token_endpoint.path(),
        "/token"
    );
}

#[tokio::test]
async fn lies_and_silence() {
    let html = || {
        Reply::Text(
            200,
            "content-type: text/html\r\n".to_owned(),
            "<html>".to_owned(),
        )
    };
    for (name, reply, usable) in [
        ("HTML", html(), true),
        (
            "HTML said to be JSON",
            Reply::Text(
                200,
                "content-type: application/json\r\n".to_owned(),
                "<html>".to_owned(),
            ),
            true,
        ),
        (
            "JSON said to be HTML",
            Reply::Text(
                200,
                "content-type: text/html\r\n".to_owned(),
                "{}".to_owned(),
            ),
            true,
        ),
        (
            "a redirect",
            Reply::Text(
                301,
                "location: https://evil.example/\r\n".to_owned(),
                String::new(),
            ),
            true,
        ),
        (
            "nothing",
            Reply::Text(200, String::new(), String::new()),
            true,
        ),
        (
            "not found",
            Reply::Text(404, String::new(), String::new()),
            false,
        ),
        (
            "garbage",
            Reply::Raw(b"\x00\x01\x02\r\n\r\n".to_vec()),
            false,
        ),
        ("a reset", Reply::Reset, false),
        (
            "cut off",
            Reply::Raw(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{".to_vec()),
            false,
        ),
        ("an endless body", Reply::Endless, false),
        (
            "a body that stalls",
            Reply::Stall(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{".to_vec()),
            false,
        ),
        (
            "a head that stalls",
            Reply::Stall(b"HTTP/1.1 200 OK\r\n".to_vec()),
            false,
        ),
        ("nothing at all", Reply::Hang, false),
    ] {
        let server = Server::start(move |_| reply.clone()).await;
        let mut settings = server.settings();
        settings.call_timeout = Duration::from_millis(300);
        let issuer = issuer(settings, Clock::System);
        let result = tokio::time::timeout(Duration::from_secs(5), issuer.metadata()).await;
        match result.unwrap().unwrap_err() {
            Error::Unusable { .. } => assert!(usable, "{name}"),
            Error::Unavailable { .. } => assert!(!usable, "{name}"),
            other => panic!("{name}: {other:?}"),
        }
        assert_eq!(server.seen().len(), 1, "{name}");
    }
}

#[tokio::test]
async fn the_authorization_request() {
    let server = Server::provider(|_| Reply::Hang).await;
    let mut settings = server.settings();
    settings.authorize_params = vec![
        ("audience".to_owned(), "apps".to_owned()),
        ("prompt".to_owned(), "consent".to_owned()),
        ("state".to_owned(), "fixed".to_owned()),
        ("code_challenge_method".to_owned(), "plain".to_owned()),
    ];
    let issuer = issuer(settings, Clock::System);
    let request = AuthorizationRequest {
        redirect_uri: "https://apps.example.com/oauth2/callback",
        state: "st&ate",
        nonce: "nonce",
        code_challenge: "challenge",
        extra: &[("prompt", "none"), ("login_hint", "ana+x@example.com")],
    };
    let url = issuer.authorization_url(&request).await.unwrap();
    let parameters: Vec<(String, String)> = url.query_pairs().into_owned().collect();
    let expected = [
        ("response_type", "code"),
        ("client_id", "gateway"),
        ("redirect_uri", "https://apps.example.com/oauth2/callback"),
        ("scope", "openid profile"),
        ("state", "st&ate"),
        ("nonce", "nonce"),
        ("code_challenge", "challenge"),
        ("code_challenge_method", "S256"),
        ("prompt", "none"),
        ("login_hint", "ana+x@example.com"),
        ("audience", "apps"),
    ];
    assert_eq!(
        parameters,
        expected.map(|(name, value)| (name.to_owned(), value.to_owned()))
    );
}
