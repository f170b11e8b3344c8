//! POST `/oauth2/revoke` (RFC 7009): an API client gives a token back, and it is worth nothing any more: here at once, on
//! other nodes, after a restart, and at the provider.

use std::fs;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header;
use serde_json::{Value, json};
use tidegate::demo::idp::Client as Registered;
use url::{Url, form_urlencoded};

use crate::support::auth0::{self, Auth0};
use crate::support::client::{Client, request};
use crate::support::forgery::parts;
use crate::support::redis::{RedisServer, free_port};
use crate::support::scene::CLIENT_SECRET;
use crate::support::wire::{Reply, Speaks};
use crate::support::{
    Fault, Gateway, HOUR, Kind, MINUTE, Person, SECOND, Scene, Setup, eventually,
};

/// A client that is not the gateway's.
const CLI: &str = "cli+tool";
const CLI_SECRET: &str = "an:other s&cret=é";

fn with_others(setup: &mut Setup) {
    setup.idp.clients.push(Registered::new(CLI, CLI_SECRET));
    setup.idp.clients.push(Registered::public("app"));
}

async fn scene() -> Scene {
    Scene::with(with_others).await
}

fn form(pairs: &[(&str, &str)]) -> String {
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.extend_pairs(pairs).finish()
}

/// RFC 6749 section 2.3.1.
fn basic(id: &str, secret: &str) -> String {
    let part = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    let pair = STANDARD.encode(format!("{}:{}", part(id), part(secret)));
    format!("Basic {pair}")
}

async fn ask(client: &Client, authorization: Option<&str>, body: &[(&str, &str)]) -> Reply {
    let mut post =
        request("POST").header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
    if let Some(line) = authorization {
        post = post.header(header::AUTHORIZATION, line);
    }
    client.send_with("/oauth2/revoke", post, form(body)).await
}

/// As the gateway's own client.
async fn revoke(scene: &Scene, token: &str) -> Reply {
    let own = basic("gateway", CLIENT_SECRET);
    ask(&scene.client(), Some(&own), &[("token", token)]).await
}

fn cli_token(scene: &Scene, person: &str) -> String {
    let person = Person::named(person).unwrap();
    scene.idp.bearer(person, CLI, &["openid"]).unwrap()
}

async fn works(scene: &Scene, token: &str) -> bool {
    let reply = scene.client().get_as(token, "/api/x").await;
    match reply.status.as_u16() {
        200 => true,
        401 => {
            assert_eq!(reply.json()["code"], "token_revoked");
            let challenge = reply.header("www-authenticate");
            assert!(
                challenge.starts_with("Bearer ") && challenge.contains("error=\"invalid_token\""),
                "{challenge}"
            );
            false
        }
        other => panic!("{other}: {}", reply.text()),
    }
}

#[track_caller]
fn assert_error(reply: &Reply, status: u16, error: &str) {
    assert_eq!(reply.status, status, "{}", reply.text());
    assert_eq!(reply.json()["error"], error, "{}", reply.text());
    assert_eq!(reply.header("cache-control"), "no-store");
    assert_eq!(reply.header("content-type"), "application/json");
    assert_eq!(reply.header("access-control-allow-origin"), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_was_given_back_is_refused_at_once_and_the_provider_is_told() {
    let scene = scene().await;
    let (token, other) = (scene.bearer("alice"), scene.bearer("alice"));
    assert!(works(&scene, &token).await && works(&scene, &other).await);
    let reply = revoke(&scene, &token).await;
    assert_eq!((reply.status.as_u16(), reply.text().as_str()), (200, ""));
    assert_eq!(reply.header("cache-control"), "no-store");
    assert!(!works(&scene, &token).await);
    assert!(
        works(&scene, &other).await,
        "another token of the same user goes on"
    );
    assert_eq!(scene.idp.journal().access_revocations, 1);

    assert_eq!(revoke(&scene, &token).await.status, 200, "once more");
    assert!(!works(&scene, &token).await);
    scene.clock.advance(HOUR);
    assert_eq!(revoke(&scene, &other).await.status, 200, "an expired one");
    for garbage in ["x", "a.b.c", "a.b.c.d.e", "ÿ\u{0}\r\n", &"x".repeat(20_000)] {
        assert_eq!(revoke(&scene, garbage).await.status, 200, "{garbage:.9}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_client_shows_who_it_is_in_one_way() {
    let scene = scene().await;
    let token = scene.bearer("alice");
    let own = basic("gateway", CLIENT_SECRET);
    let client = scene.client();
    let token_only = [("token", &*token)];
    for (authorization, more) in [
        (None, vec![]),
        (Some(basic("gateway", "wrong")), vec![]),
        (Some(basic("gateway", "")), vec![]),
        (Some(format!("Bearer {token}")), vec![]),
        (Some("Basic !".to_owned()), vec![]),
        (None, vec![("client_id", "gateway")]),
        (
            None,
            vec![("client_id", "gateway"), ("client_secret", "wrong")],
        ),
        (
            None,
            vec![("client_id", "nobody"), ("client_secret", CLIENT_SECRET)],
        ),
        (Some(basic(CLI, "wrong")), vec![]),
        (None, vec![("client_id", CLI)]),
        (None, vec![("client_id", "app"), ("client_secret", "x")]),
    ] {
        let body = [&token_only[..], &more].concat();
        let reply = ask(&client, authorization.as_deref(), &body).await;
        assert_error(&reply, 401, "invalid_client");
        assert!(reply.header("www-authenticate").starts_with("Basic realm="));
    }
    for (authorization, body) in [
        (
            Some(&own),
            vec![("token", &*token), ("client_secret", CLIENT_SECRET)],
        ),
        (Some(&own), vec![("token", &*token), ("client_id", "other")]),
        (Some(&own), vec![("token", &*token), ("token", &*token)]),
        (Some(&own), vec![]),
        (Some(&own), vec![("token", "")]),
        (
            None,
            vec![
                ("token", &*token),
                ("client_id", "gateway"),
                ("client_id", "gateway"),
            ],
        ),
    ] {
        let reply = ask(&client, authorization.map(String::as_str), &body).await;
        assert_error(&reply, 400, "invalid_request");
    }
    assert!(works(&scene, &token).await, "none of this has ended it");
    assert_eq!(scene.idp.journal().access_revocations, 0);

    let body = [
        ("client_id", "gateway"),
        ("client_secret", CLIENT_SECRET),
        ("token", &token),
        ("token_type_hint", "nonsense"),
    ];
    assert_eq!(
        ask(&client, None, &body).await.status,
        200,
        "in the body, with a hint of no sense"
    );
    assert!(!works(&scene, &token).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_form_is_read_and_only_by_post() {
    let scene = scene().await;
    let client = scene.client();
    let token = scene.bearer("alice");
    let own = basic("gateway", CLIENT_SECRET);
    for method in ["GET", "HEAD", "PUT", "OPTIONS", "DELETE"] {
        let reply = client.send("/oauth2/revoke", request(method)).await;
        assert_eq!(
            (reply.status.as_u16(), reply.header("allow")),
            (405, "POST"),
            "{method}"
        );
        assert_eq!(reply.header("access-control-allow-origin"), "");
    }
    let post = |kind: &str| {
        let post = request("POST").header(header::AUTHORIZATION, &own);
        post.header(header::CONTENT_TYPE, kind)
    };
    let body = json!({ "token": token }).to_string();
    let reply = client
        .send_with("/oauth2/revoke", post("application/json"), body)
        .await;
    assert_error(&reply, 400, "invalid_request");
    let in_url = format!("/oauth2/revoke?token={token}");
    let reply = client
        .send_with(&in_url, post("application/x-www-form-urlencoded"), "")
        .await;
    assert_error(&reply, 400, "invalid_request");
    let huge = format!("token={}", "x".repeat(70_000));
    let reply = client
        .send_with(
            "/oauth2/revoke",
            post("application/x-www-form-urlencoded"),
            huge,
        )
        .await;
    assert_error(&reply, 413, "invalid_request");
    assert!(works(&scene, &token).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_client_is_judged_by_the_provider_and_ends_its_own_tokens_only() {
    let scene = scene().await;
    let client = scene.client();
    let (its, ours) = (cli_token(&scene, "bob"), scene.bearer("bob"));
    let cli = basic(CLI, CLI_SECRET);

    let reply = ask(&client, Some(&basic(CLI, "wrong")), &[("token", &its)]).await;
    assert_error(&reply, 401, "invalid_client");
    assert!(works(&scene, &its).await);
    let reply = ask(&client, Some(&cli), &[("token", &ours)]).await;
    assert_error(&reply, 400, "invalid_request");
    assert_error(&revoke(&scene, &its).await, 400, "invalid_request");
    assert!(works(&scene, &its).await && works(&scene, &ours).await);

    let reply = ask(&client, Some(&cli), &[("token", &its), ("client_id", CLI)]).await;
    assert_eq!((reply.status.as_u16(), reply.text().as_str()), (200, ""));
    assert!(!works(&scene, &its).await);
    assert!(works(&scene, &ours).await);
    assert_eq!(scene.idp.journal().access_revocations, 1);

    let its = cli_token(&scene, "bob");
    let body = [
        ("token", &*its),
        ("client_id", CLI),
        ("client_secret", CLI_SECRET),
    ];
    assert_eq!(ask(&client, None, &body).await.status, 200);
    assert!(!works(&scene, &its).await);
    let public = scene
        .idp
        .bearer(Person::named("bob").unwrap(), "app", &["openid"])
        .unwrap();
    let body = [("token", &*public), ("client_id", "app")];
    assert_eq!(ask(&client, None, &body).await.status, 200);
    assert!(!works(&scene, &public).await);
    assert_eq!(scene.idp.journal().access_revocations, 3);
    assert_eq!(
        ask(&client, Some(&cli), &[("token", "unknown")])
            .await
            .status,
        200
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_provider_is_down_the_token_is_refused_here_and_the_provider_hears_of_it_later() {
    let scene = scene().await;
    let (ours, its) = (scene.bearer("alice"), cli_token(&scene, "alice"));
    assert!(works(&scene, &ours).await && works(&scene, &its).await);
    scene.idp.faults().set(Fault::RevocationDown);
    assert_eq!(revoke(&scene, &ours).await.status, 200);
    assert!(!works(&scene, &ours).await);

    let cli = basic(CLI, CLI_SECRET);
    let client = scene.client();
    let reply = ask(&client, Some(&cli), &[("token", &its)]).await;
    assert_error(&reply, 503, "temporarily_unavailable");
    assert!(reply.header("retry-after").parse::<u64>().unwrap() > 0);
    assert!(!works(&scene, &its).await, "refused all the same");
    let others = scene.bearer("bob");
    let reply = ask(&client, Some(&cli), &[("token", &others)]).await;
    assert_error(&reply, 503, "temporarily_unavailable");
    assert!(
        works(&scene, &others).await,
        "nobody was asked whether it may"
    );
    assert_eq!(scene.idp.journal().access_revocations, 0);

    scene.idp.faults().clear();
    assert_eq!(
        ask(&client, Some(&cli), &[("token", &its)]).await.status,
        200
    );
    for _ in 0..100 {
        if scene.idp.journal().access_revocations == 2 {
            break;
        }
        scene.clock.advance(2 * SECOND);
        tokio::time::sleep(SECOND / 20).await;
    }
    assert_eq!(
        scene.idp.journal().access_revocations,
        2,
        "what was owed is paid"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_without_revocation_is_no_reason_to_let_a_token_in() {
    let scene = Scene::without_gateway(with_others).await;
    scene.idp.faults().set(Fault::NoRevocation);
    let mut scene = scene;
    scene.start_gateway();
    let (ours, its) = (scene.bearer("alice"), cli_token(&scene, "alice"));
    assert_eq!(revoke(&scene, &ours).await.status, 200);
    assert!(!works(&scene, &ours).await);
    let client = scene.client();
    let cli = basic(CLI, CLI_SECRET);
    let others = scene.bearer("bob");
    let reply = ask(&client, Some(&cli), &[("token", &others)]).await;
    assert_error(&reply, 400, "unsupported_token_type");
    assert!(works(&scene, &others).await, "it is not this client's");
    assert_eq!(
        ask(&client, Some(&cli), &[("token", &its)]).await.status,
        200
    );
    assert!(!works(&scene, &its).await);
    assert_error(
        &revoke(&scene, "a refresh token").await,
        400,
        "unsupported_token_type",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn it_stays_refused_after_a_restart() {
    let mut scene = Scene::with(|setup| {
        setup.on_disk();
    })
    .await;
    let (token, other) = (scene.bearer("alice"), scene.bearer("alice"));
    assert_eq!(revoke(&scene, &token).await.status, 200);
    scene.stop_gateway().await;
    scene.start_gateway();
    assert!(!works(&scene, &token).await);
    assert!(works(&scene, &other).await);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server"]
async fn the_other_node_refuses_it_within_a_tenth_of_a_second() {
    let redis = RedisServer::start();
    let url = redis.url();
    let scene = Scene::with(|setup| {
        with_others(setup);
        setup.replace("\"memory\"", "\"redis\"");
        let store = format!("[store.redis]\nurl = \"{url}\"\n");
        setup.toml.push_str(&store);
    })
    .await;
    let mut there = scene.url().clone();
    let (first, port) = (there.port().unwrap().to_string(), free_port());
    there.set_port(Some(port)).unwrap();
    let toml = scene.toml().replace(&first, &port.to_string());
    let node = Gateway::start(&toml, &scene.clock);
    let there = Client::new(there, Speaks::H2);
    let cli = basic(CLI, CLI_SECRET);
    for round in 0..20 {
        let (token, by) = match round % 2 {
            0 => (scene.bearer("alice"), basic("gateway", CLIENT_SECRET)),
            _ => (cli_token(&scene, "alice"), cli.clone()),
        };
        let mut served = there.get_as(&token, "/api/x").await;
        for _ in 0..500 {
            if served.status == 200 {
                break;
            }
            tokio::time::sleep(SECOND / 100).await;
            served = there.get_as(&token, "/api/x").await;
        }
        assert_eq!(served.status, 200, "{}", served.text());
        let reply = ask(&scene.client(), Some(&by), &[("token", &token)]).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        let answered = Instant::now();
        while there.get_as(&token, "/api/x").await.status != 401 {
            assert!(
                answered.elapsed() < Duration::from_millis(100),
                "round {round}"
            );
        }
        assert!(!works(&scene, &token).await);
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_several_providers_the_right_one_is_told() {
    let scene = Scene::with(|setup| {
        with_others(setup);
        let second = "[idp.second]\nissuer = \"http://localhost:9\"\nclient_id = \"gateway-2\"\nclient_secret = \"hush\"\n[idp.second.access_token]\naudience = [\"apps\"]\n[session]";
        setup.replace("[session]", second);
    })
    .await;
    let client = scene.client();
    let token = cli_token(&scene, "alice");
    let cli = basic(CLI, CLI_SECRET);
    assert_eq!(
        ask(&client, Some(&cli), &[("token", &token)]).await.status,
        200,
        "by its iss"
    );
    assert!(!works(&scene, &token).await);
    assert_eq!(revoke(&scene, "opaque").await.status, 200, "by its client");
    let reply = ask(&client, Some(&cli), &[("token", "opaque")]).await;
    assert_error(&reply, 400, "invalid_request");
    assert!(reply.text().contains("idp"));
    let named = [("token", "opaque"), ("idp", "main")];
    assert_eq!(ask(&client, Some(&cli), &named).await.status, 200);
    let named = [("token", "opaque"), ("idp", "third")];
    assert_error(
        &ask(&client, Some(&cli), &named).await,
        400,
        "invalid_request",
    );
    assert_eq!(scene.idp.journal().requests_to("/revoke"), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_token_is_passed_on() {
    let scene = scene().await;
    let browser = scene.browser();
    browser.login("alice").await;
    let journal = scene.idp.journal();
    let refresh = journal.newest(Kind::Refresh).unwrap().to_owned();
    let reply = ask(
        &scene.client(),
        Some(&basic(CLI, CLI_SECRET)),
        &[("token", &refresh)],
    )
    .await;
    assert_error(&reply, 400, "invalid_request");
    assert_eq!(scene.idp.journal().refresh_revocations, 0);
    let body = [("token", &*refresh), ("token_type_hint", "access_token")];
    let own = basic("gateway", CLIENT_SECRET);
    assert_eq!(ask(&scene.client(), Some(&own), &body).await.status, 200);
    assert_eq!(scene.idp.journal().refresh_revocations, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_given_back_is_in_the_audit_log_and_no_token_is() {
    let scene = Scene::with(|setup| {
        with_others(setup);
        let audit = "[telemetry]\naudit_log = { path = \"$DIR/audit.jsonl\" }";
        setup.replace("[telemetry]", audit);
    })
    .await;
    let token = cli_token(&scene, "alice");
    let (jti, cli) = (parts(&token).1, basic(CLI, CLI_SECRET));
    assert_eq!(
        ask(&scene.client(), Some(&cli), &[("token", &token)])
            .await
            .status,
        200
    );
    let text = || fs::read_to_string(scene.file("audit.jsonl")).unwrap();
    eventually("a line", || text().contains("token_revoked")).await;
    let lines = text();
    let mut lines = lines
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    let line = lines
        .find(|line| line["event.name"] == "token_revoked")
        .unwrap();
    assert_eq!(
        (
            &line["client_id"],
            &line["enduser.id"],
            &line["target"],
            &line["idp"]
        ),
        (
            &json!(CLI),
            &json!("u-alice"),
            &json!("access_token"),
            &json!("main")
        )
    );
    let wrong = basic(CLI, "wrong");
    let ours = scene.bearer("bob");
    for (by, token, error) in [(&wrong, &token, 401), (&cli, &ours, 400)] {
        let reply = ask(&scene.client(), Some(by), &[("token", token)]).await;
        assert_eq!(reply.status, error);
    }
    eventually("two lines", || {
        text().matches("token_revocation_refused").count() == 2
    })
    .await;
    assert!(text().contains("\"reason\":\"invalid_client\""));
    assert!(text().contains("\"reason\":\"refused_by_provider\""));
    let text = text();
    assert!(!text.contains(&ours));
    assert!(
        !text.contains(&token)
            && !text.contains(CLI_SECRET)
            && !text.contains(jti["jti"].as_str().unwrap())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn auth0s_json_is_understood_where_auth0_is_the_provider() {
    let (scene, auth0) = Auth0::scene("", |_, _| {}).await;
    scene.browser().login("alice").await;
    let issued = auth0.issued();
    let access = issued
        .iter()
        .rev()
        .find(|token| parts(token).1["aud"].is_array())
        .unwrap();
    assert!(works(&scene, access).await);
    let revoke = |token: &str, secret: &str| {
        let body =
            json!({ "client_id": auth0::CLIENT_ID, "client_secret": secret, "token": token });
        let post = request("POST").header(header::CONTENT_TYPE, "application/json; charset=utf-8");
        let client = scene.client();
        async move {
            client
                .send_with("/oauth2/revoke", post, body.to_string())
                .await
        }
    };
    assert_error(&revoke(access, "wrong").await, 401, "invalid_client");
    assert!(works(&scene, access).await);
    let before = auth0.asked_at("/oauth/revoke").len();
    assert_eq!(revoke(access, auth0::CLIENT_SECRET).await.status, 200);
    assert!(!works(&scene, access).await);
    assert_eq!(
        auth0.asked_at("/oauth/revoke").len(),
        before,
        "Auth0 can't revoke access tokens"
    );
    assert_eq!(revoke("v1.unknown", auth0::CLIENT_SECRET).await.status, 200);
    assert_eq!(auth0.asked_at("/oauth/revoke").len(), before + 1);
    let twice = r#"{"client_id": "a", "client_id": "a", "token": "t"}"#;
    let post = request("POST").header(header::CONTENT_TYPE, "application/json");
    let reply = scene
        .client()
        .send_with("/oauth2/revoke", post, twice)
        .await;
    assert_error(&reply, 400, "invalid_request");
}
