//! The token endpoint: what is sent, and every class of answer.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::server::{Reply, Server, issuer};
use crate::clock::Clock;
use crate::issuer::{ClientAuth, Error};
use crate::token::{AccessToken, Grant, RefreshToken, Secret};

const SECRET: &str = "the-refresh-token";

async fn refresh(reply: Reply) -> Result<Grant, Error> {
    let server = Server::provider(move |_| reply.clone()).await;
    let mut settings = server.settings();
    settings.call_timeout = Duration::from_millis(500);
    let issuer = issuer(settings, Clock::System);
    let result = issuer.refresh(&RefreshToken::new(SECRET)).await;
    assert_eq!(server.count("/token"), 1, "a refresh token is sent once");
    result
}

async fn granted(answer: Value) -> Result<Grant, Error> {
    refresh(Reply::Json(200, answer)).await
}

/// The class of a refusal, and what it says.
fn class(result: Result<Grant, Error>) -> (&'static str, String) {
    let error = result.unwrap_err();
    let text = format!("{error} {error:?}");
    assert!(
        !text.contains(SECRET) && !text.contains("test-secret"),
        "{text}"
    );
    match error {
        Error::Refused { error } => ("refused", error),
        Error::Client { error } => ("client", error),
        Error::Unavailable { reason, .. } => ("unavailable", reason),
        Error::Unknown { reason } => ("unknown", reason),
        Error::Unusable { reason, .. } => ("unusable", reason),
        Error::NotOffered(what) => ("not offered", what.to_owned()),
    }
}

#[tokio::test]
async fn what_a_refusal_means() {
    let error = |status: u16, code: &str| Reply::Json(status, json!({ "error": code }));
    let described = |status: u16, code: &str, text: &str| {
        Reply::Json(status, json!({ "error": code, "error_description": text }))
    };
    let text = |status: u16, body: &str| Reply::Text(status, String::new(), body.to_owned());
    let dex = "Refresh token is invalid or has already been claimed by another client.";
    for (name, reply, expected) in [
        (
            "Keycloak, oidc-provider",
            error(400, "invalid_grant"),
            "refused",
        ),
        ("Keycloak 26.4", error(401, "invalid_grant"), "refused"),
        (
            "Auth0",
            described(403, "invalid_grant", "Unknown or invalid refresh token."),
            "refused",
        ),
        (
            "flask-jwt-extended",
            Reply::Json(401, json!({ "msg": "Token has been revoked" })),
            "refused",
        ),
        ("Dex", described(400, "invalid_request", dex), "refused"),
        ("Entra", error(400, "interaction_required"), "refused"),
        ("with a 200", error(200, "invalid_grant"), "refused"),
        ("wrong secret", error(401, "invalid_client"), "client"),
        (
            "wrong secret at Keycloak",
            error(401, "unauthorized_client"),
            "client",
        ),
        (
            "wrong secret at node-oauth2-server",
            error(400, "invalid_client"),
            "client",
        ),
        (
            "wrong secret at Auth0",
            error(401, "access_denied"),
            "client",
        ),
        ("bad scope", error(400, "invalid_scope"), "client"),
        (
            "malformed",
            described(400, "invalid_request", "Missing form parameter: grant_type"),
            "client",
        ),
        ("unknown code", error(400, "vendor_error"), "client"),
        ("too many", error(429, "slow_down"), "unavailable"),
        (
            "too many, and it says so of the grant",
            error(429, "invalid_grant"),
            "unavailable",
        ),
        ("broken inside", text(500, "<html>"), "unavailable"),
        (
            "broken inside, and it says so of the grant",
            error(500, "invalid_grant"),
            "unavailable",
        ),
        ("bad gateway", text(502, ""), "unavailable"),
        ("down", error(503, "temporarily_unavailable"), "unavailable"),
        (
            "busy with a 400",
            error(400, "temporarily_unavailable"),
            "unavailable",
        ),
        (
            "a page",
            text(400, "<html>Bad Request</html>"),
            "unavailable",
        ),
        (
            "a firewall",
            text(403, "<html>Forbidden</html>"),
            "unavailable",
        ),
        ("not found", text(404, ""), "unavailable"),
        (
            "a redirect",
            Reply::Text(302, "location: /login\r\n".to_owned(), String::new()),
            "unavailable",
        ),
        (
            "an error of a wrong type",
            Reply::Json(400, json!({ "error": 7 })),
            "unavailable",
        ),
        (
            "a list",
            Reply::Json(400, json!(["invalid_grant"])),
            "unavailable",
        ),
        (
            "JSON twice",
            text(400, r#"{"error":"invalid_grant"}{}"#),
            "unavailable",
        ),
        ("reset", Reply::Reset, "unknown"),
        (
            "garbage",
            Reply::Raw(b"nonsense\r\n\r\n".to_vec()),
            "unknown",
        ),
        ("silence", Reply::Hang, "unknown"),
        (
            "half a head",
            Reply::Stall(b"HTTP/1.1 200 OK\r\n".to_vec()),
            "unknown",
        ),
        (
            "half a body",
            Reply::Raw(b"HTTP/1.1 200 OK\r\ncontent-length: 90\r\n\r\n{".to_vec()),
            "unknown",
        ),
        (
            "a body that stalls",
            Reply::Stall(b"HTTP/1.1 200 OK\r\ncontent-length: 90\r\n\r\n{".to_vec()),
            "unknown",
        ),
        ("HTML", text(200, "<html>"), "unusable"),
        ("nothing", text(200, ""), "unusable"),
        ("no content", text(204, ""), "unusable"),
        ("not an object", Reply::Json(200, json!([])), "unusable"),
        (
            "a message",
            Reply::Json(200, json!({ "message": "Something went wrong" })),
            "unusable",
        ),
    ] {
        assert_eq!(class(refresh(reply).await).0, expected, "{name}");
    }
}

#[tokio::test]
async fn an_endless_answer_is_cut_off() {
    let server = Server::provider(|_| Reply::Endless).await;
    let result = server.issuer().refresh(&RefreshToken::new(SECRET)).await;
    assert_eq!(
        class(result),
        ("unusable", "the answer is too large".to_owned())
    );
}

#[tokio::test]
async fn what_was_not_sent_may_be_sent_again() {
    let server = Server::provider(|_| Reply::Hang).await;
    let issuer = server.issuer();
    issuer.metadata().await.unwrap();
    let origin = server.origin.clone();
    drop(server);
    while tokio::net::TcpStream::connect(origin.strip_prefix("http://").unwrap())
        .await
        .is_ok()
    {
        tokio::task::yield_now().await;
    }
    let result = issuer.refresh(&RefreshToken::new(SECRET)).await;
    assert_eq!(class(result).0, "unavailable");
}

#[tokio::test]
async fn without_discovery_nothing_is_sent() {
    let server = Server::start(|_| Reply::Text(503, String::new(), String::new())).await;
    let result = server.issuer().refresh(&RefreshToken::new(SECRET)).await;
    assert_eq!(class(result).0, "unavailable");
    assert_eq!(server.count("/token"), 0);
}

#[tokio::test]
async fn how_long_to_wait() {
    let asked = async |value: &str| {
        let header = format!("retry-after: {value}\r\n");
        let result = refresh(Reply::Text(503, header, String::new())).await;
        let Err(Error::Unavailable { retry_after, .. }) = result else {
            panic!("{result:?}");
        };
        retry_after
    };
    assert_eq!(asked("7").await, Some(Duration::from_secs(7)));
    assert_eq!(asked("0").await, Some(Duration::ZERO));
    assert_eq!(asked("999999999").await, Some(Duration::from_hours(1)));
    assert_eq!(
        asked("Tue, 31 Dec 2199 23:59:59 GMT").await,
        Some(Duration::from_hours(1))
    );
    assert_eq!(
        asked("Sun, 06 Nov 1994 08:49:37 GMT").await,
        Some(Duration::ZERO)
    );
    for nonsense in ["-1", "soon", "1.5", ""] {
        assert_eq!(asked(nonsense).await, None, "{nonsense}");
    }
}

#[tokio::test]
async fn an_error_code_can_be_logged() {
    let error = |code: &str| Reply::Json(400, json!({ "error": code }));
    let long = "x".repeat(500);
    for (code, expected) in [
        ("custom_error", "custom_error"),
        ("a\r\nb\u{1b}[2J\"\\c", "ab[2Jc"),
        ("erreur_é", "erreur_"),
        (&long, &long[..64]),
    ] {
        assert_eq!(
            class(refresh(error(code)).await),
            ("client", expected.to_owned())
        );
    }
    assert_eq!(class(refresh(error("\n")).await).0, "unavailable");
}

#[tokio::test]
async fn what_a_grant_says() {
    let before = Clock::System.now();
    let grant = granted(json!({
        "access_token": "AT", "token_type": "Bearer", "expires_in": 60, "refresh_token": "RT",
        "refresh_expires_in": 1800, "id_token": "a.b.c", "session_state": "x", "scope": "openid",
    }))
    .await
    .unwrap();
    let after = Clock::System.now();
    assert_eq!(grant.access_token.expose(), "AT");
    assert_eq!(grant.refresh_token.unwrap().expose(), "RT");
    assert_eq!(grant.id_token.unwrap().expose(), "a.b.c");
    let (minute, half_hour) = (Duration::from_mins(1), Duration::from_mins(30));
    assert!((before + minute..=after + minute).contains(&grant.access_expires.unwrap()));
    assert!((before + half_hour..=after + half_hour).contains(&grant.refresh_expires.unwrap()));
}

#[tokio::test]
async fn what_a_grant_may_leave_out_or_spell_its_own_way() {
    let grant = granted(json!({ "access_token": "AT" })).await.unwrap();
    assert!(grant.access_expires.is_none() && grant.refresh_expires.is_none());
    assert!(grant.refresh_token.is_none() && grant.id_token.is_none());
    let grant = granted(json!({
        "access_token": "AT", "token_type": "bEARER", "refresh_token": "", "id_token": null, "refresh_expires_in": 0,
    }))
    .await
    .unwrap();
    assert!(grant.refresh_token.is_none() && grant.refresh_expires.is_none());
    for (expires_in, said) in [
        (json!(1), true),
        (json!("60"), true),
        (json!(" 60 "), true),
        (json!(59.5), true),
        (json!(1e15), true),
        (json!(0), false),
        (json!("0"), false),
        (json!(-60), false),
        (json!("-60"), false),
        (json!("soon"), false),
        (json!("NaN"), false),
        (json!("inf"), false),
        (json!(1e300), false),
        (json!(null), false),
        (json!(true), false),
        (json!({}), false),
    ] {
        let grant = granted(json!({ "access_token": "AT", "expires_in": expires_in }))
            .await
            .unwrap();
        assert_eq!(grant.access_expires.is_some(), said, "{expires_in}");
    }
}

#[tokio::test]
async fn what_can_t_be_used_is_saved_for_revocation() {
    for (answer, access, refresh) in [
        (
            json!({ "access_token": "AT", "token_type": "DPoP", "refresh_token": "RT" }),
            Some("AT"),
            Some("RT"),
        ),
        (
            json!({ "access_token": "AT", "token_type": 7 }),
            Some("AT"),
            None,
        ),
        (json!({ "refresh_token": "RT" }), None, Some("RT")),
        (
            json!({ "access_token": "", "refresh_token": "RT" }),
            None,
            Some("RT"),
        ),
        (
            json!({ "access_token": null, "refresh_token": "RT" }),
            None,
            Some("RT"),
        ),
        (
            json!({ "access_token": ["AT"], "refresh_token": "RT" }),
            None,
            Some("RT"),
        ),
        (
            json!({ "access_token": "A T", "refresh_token": "RT" }),
            None,
            Some("RT"),
        ),
        (
            json!({ "access_token": "A\r\nT", "refresh_token": "RT" }),
            None,
            Some("RT"),
        ),
        (
            json!({ "access_token": "AT", "refresh_token": 7 }),
            Some("AT"),
            None,
        ),
        (
            json!({ "access_token": "AT", "refresh_token": "R\nT" }),
            Some("AT"),
            None,
        ),
        (
            json!({ "access_token": "AT", "id_token": {}, "refresh_token": "RT" }),
            Some("AT"),
            Some("RT"),
        ),
    ] {
        let result = granted(answer.clone()).await;
        let Err(Error::Unusable { salvage, .. }) = result else {
            panic!("{answer}: {result:?}");
        };
        assert_eq!(
            salvage.access_token.as_ref().map(AccessToken::expose),
            access,
            "{answer}"
        );
        assert_eq!(
            salvage.refresh_token.as_ref().map(RefreshToken::expose),
            refresh,
            "{answer}"
        );
    }
}

#[tokio::test]
async fn what_is_sent() {
    let answer = json!({ "access_token": "AT" });
    let server = Server::provider(move |_| Reply::Json(200, answer.clone())).await;
    let issuer = server.issuer();
    issuer.refresh(&RefreshToken::new("R+T&=")).await.unwrap();
    issuer
        .exchange("co de", "verifier", "https://apps.example.com/cb?x=1")
        .await
        .unwrap();
    let seen: Vec<_> = server
        .seen()
        .into_iter()
        .filter(|seen| seen.path == "/token")
        .collect();
    let sent = |at: usize, name: &str| seen[at].parameter(name);
    assert_eq!(seen[0].method, "POST");
    assert!(seen[0].head.contains("\naccept: application/json\r\n"));
    assert!(
        seen[0]
            .head
            .contains("\ncontent-type: application/x-www-form-urlencoded\r\n")
    );
    assert_eq!(sent(0, "grant_type").unwrap(), "refresh_token");
    assert_eq!(sent(0, "refresh_token").unwrap(), "R+T&=");
    assert_eq!(sent(0, "client_id"), None);
    assert_eq!(sent(1, "grant_type").unwrap(), "authorization_code");
    assert_eq!(sent(1, "code").unwrap(), "co de");
    assert_eq!(sent(1, "code_verifier").unwrap(), "verifier");
    assert_eq!(
        sent(1, "redirect_uri").unwrap(),
        "https://apps.example.com/cb?x=1"
    );
}

#[tokio::test]
async fn how_the_client_authenticates() {
    let sent = async |auth: ClientAuth, secret: Option<&str>| {
        let answer = json!({ "access_token": "AT" });
        let server = Server::provider(move |_| Reply::Json(200, answer.clone())).await;
        let mut settings = server.settings();
        settings.client_id = "gate way".into();
        settings.client_auth = auth;
        settings.client_secret = secret.map(Secret::new);
        issuer(settings, Clock::System)
            .refresh(&RefreshToken::new("RT"))
            .await
            .unwrap();
        server
            .seen()
            .into_iter()
            .find(|seen| seen.path == "/token")
            .unwrap()
    };
    let basic = sent(ClientAuth::SecretBasic, Some("s:e%c+ret é")).await;
    // As RFC 6749 section 2.3.1 asks: each part form-encoded.
    let expected = STANDARD
        .encode("gate+way:s%3Ae%25c%2Bret+%C3%A9")
        .to_lowercase();
    assert!(
        basic
            .head
            .contains(&format!("\nauthorization: basic {expected}\r\n")),
        "{}",
        basic.head
    );
    assert_eq!(basic.parameter("client_id"), None);
    assert_eq!(basic.parameter("client_secret"), None);
    let post = sent(ClientAuth::SecretPost, Some("s:e%c+ret é")).await;
    assert!(!post.head.contains("\nauthorization:"));
    assert_eq!(post.parameter("client_id").unwrap(), "gate way");
    assert_eq!(post.parameter("client_secret").unwrap(), "s:e%c+ret é");
    for public in [
        sent(ClientAuth::None, None).await,
        sent(ClientAuth::SecretBasic, None).await,
    ] {
        assert!(!public.head.contains("\nauthorization:"));
        assert_eq!(public.parameter("client_id").unwrap(), "gate way");
        assert_eq!(public.parameter("client_secret"), None);
    }
}
