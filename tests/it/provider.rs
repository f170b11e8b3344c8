//! The development identity provider itself, which everything else is tested against: as strict as the real ones.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::Full;
use serde_json::{Value, json};
use tidegate::clock::Clock;
use tidegate::demo::idp::{Algorithm, Client, Fault, Idp, Kind, Options, PEOPLE};
use url::Url;

use crate::support::browser::{Browser, Page};
use crate::support::forgery::parts;
use crate::support::wire::{Reply, Speaks, Wire};
use crate::support::{HOUR, MINUTE};

const BACK: &str = "https://localhost:1/oauth2/callback";
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
/// RFC 7636 appendix B.
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

/// A client of the provider that does by hand what the gateway does.
struct Relying {
    idp: Idp,
    clock: Clock,
    wire: Wire,
    browser: Browser,
}

impl Relying {
    async fn start() -> Self {
        Self::with(Options::default()).await
    }

    async fn with(options: Options) -> Self {
        let clock = Clock::shifted();
        let client = Client::new("gateway", "secret").for_gateway("https://localhost:1");
        let options = Options {
            clock: clock.clone(),
            clients: vec![client, Client::new("other", "secret2")],
            ..options
        };
        let idp = Idp::start(options).await.unwrap();
        let base = Url::parse(idp.issuer()).unwrap();
        Self {
            browser: Browser::new(base, clock.clone()),
            wire: Wire::new(Speaks::H1),
            clock,
            idp,
        }
    }

    fn authorize(&self, change: &[(&str, &str)]) -> String {
        let mut params = vec![
            ("response_type", "code"),
            ("client_id", "gateway"),
            ("redirect_uri", BACK),
            ("scope", "openid profile"),
            ("state", "st&te"),
            ("nonce", "n0nce"),
            ("code_challenge", CHALLENGE),
            ("code_challenge_method", "S256"),
        ];
        for (name, value) in change {
            params.retain(|(known, _)| known != name);
            if !value.is_empty() {
                params.push((name, value));
            }
        }
        let mut url = Url::parse(self.idp.issuer())
            .unwrap()
            .join("/authorize")
            .unwrap();
        url.query_pairs_mut().extend_pairs(params);
        url.into()
    }

    /// Picks a person; answers the authorization response's parameters.
    async fn sign_in(&self, person: &str) -> Vec<(String, String)> {
        let page = self.browser.glance(&self.authorize(&[])).await;
        let page = if page.status == StatusCode::OK {
            self.browser.press_once(&page, person).await
        } else {
            page
        };
        response(&page)
    }

    async fn code(&self) -> String {
        find(&self.sign_in("alice").await, "code")
    }

    async fn post(&self, path: &str, form: &[(&str, &str)]) -> Reply {
        self.post_as("Z2F0ZXdheTpzZWNyZXQ=", path, form).await
    }

    async fn post_as(&self, basic: &str, path: &str, form: &[(&str, &str)]) -> Reply {
        let url = Url::parse(self.idp.issuer()).unwrap().join(path).unwrap();
        let mut body = url::form_urlencoded::Serializer::new(String::new());
        body.extend_pairs(form);
        let mut request =
            Request::post("/").header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        if !basic.is_empty() {
            request = request.header(header::AUTHORIZATION, format!("Basic {basic}"));
        }
        let request = request.body(Full::new(Bytes::from(body.finish()))).unwrap();
        self.wire.send(&url, request).await.unwrap()
    }

    async fn exchange(&self, code: &str) -> Reply {
        let form = [
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", BACK),
            ("code_verifier", VERIFIER),
        ];
        self.post("/token", &form).await
    }

    async fn refresh(&self, token: &str) -> Reply {
        let form = [("grant_type", "refresh_token"), ("refresh_token", token)];
        self.post("/token", &form).await
    }

    async fn tokens(&self) -> Value {
        let answer = self.exchange(&self.code().await).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()
    }

    async fn userinfo(&self, token: &str) -> StatusCode {
        let url = Url::parse(self.idp.issuer())
            .unwrap()
            .join("/userinfo")
            .unwrap();
        let request = Request::get("/").header(header::AUTHORIZATION, format!("Bearer {token}"));
        let request = request.body(Full::default()).unwrap();
        self.wire.send(&url, request).await.unwrap().status
    }

    async fn signed_in_silently(&self) -> bool {
        let page = self
            .browser
            .glance(&self.authorize(&[("prompt", "none")]))
            .await;
        let response = response(&page);
        let error = response.iter().find(|(name, _)| name == "error");
        assert!(error.is_none_or(|(_, error)| error == "login_required"));
        error.is_none()
    }
}

fn response(page: &Page) -> Vec<(String, String)> {
    assert_eq!(page.status, 303, "{}", page.body);
    let to = Url::parse(page.header("location")).unwrap();
    assert!(to.as_str().starts_with(BACK), "{to}");
    to.query_pairs().into_owned().collect()
}

fn find(pairs: &[(String, String)], name: &str) -> String {
    let found = pairs.iter().find(|(known, _)| known == name);
    found
        .unwrap_or_else(|| panic!("no {name} in {pairs:?}"))
        .1
        .clone()
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name]
        .as_str()
        .unwrap_or_else(|| panic!("no {name} in {value}"))
}

#[tokio::test]
async fn a_code_flow_ends_in_tokens_that_say_who_and_for_whom() {
    let relying = Relying::start().await;
    let response = relying.sign_in("alice").await;
    assert_eq!(find(&response, "state"), "st&te");
    assert_eq!(find(&response, "iss"), relying.idp.issuer());

    let answer = relying.exchange(&find(&response, "code")).await;
    assert_eq!(answer.header("cache-control"), "no-store");
    let tokens = answer.json();
    let (header, access) = parts(text(&tokens, "access_token"));
    assert_eq!(header["typ"], "at+jwt");
    assert_eq!(access["iss"], relying.idp.issuer());
    assert_eq!(access["aud"], json!(["apps"]));
    assert_eq!(access["sub"], "u-alice");
    assert_eq!(access["groups"], json!(["admins", "staff"]));
    let (_, id) = parts(text(&tokens, "id_token"));
    assert_eq!(
        (&id["aud"], &id["nonce"]),
        (&json!("gateway"), &json!("n0nce"))
    );
    assert_eq!(id["sid"], access["sid"]);
    let hash = aws_lc_rs::digest::digest(
        &aws_lc_rs::digest::SHA256,
        text(&tokens, "access_token").as_bytes(),
    );
    assert_eq!(id["at_hash"], URL_SAFE_NO_PAD.encode(&hash.as_ref()[..16]));
}

#[tokio::test]
async fn another_verifier_can_check_both_algorithms_with_the_published_keys() {
    for (algorithm, known) in [
        (Algorithm::Rs256, jsonwebtoken::Algorithm::RS256),
        (Algorithm::Es256, jsonwebtoken::Algorithm::ES256),
    ] {
        let options = Options {
            algorithm,
            ..Options::default()
        };
        let relying = Relying::with(options).await;
        let token = relying
            .idp
            .bearer(&PEOPLE[0], "gateway", &["openid"])
            .unwrap();
        let kid = jsonwebtoken::decode_header(&token).unwrap().kid.unwrap();
        let set: jsonwebtoken::jwk::JwkSet = serde_json::from_value(relying.idp.jwks()).unwrap();
        let key = jsonwebtoken::DecodingKey::from_jwk(set.find(&kid).unwrap()).unwrap();
        let mut checks = jsonwebtoken::Validation::new(known);
        checks.set_audience(&["apps"]);
        let read = jsonwebtoken::decode::<Value>(&token, &key, &checks).unwrap();
        assert_eq!(read.claims["sub"], "u-alice");
    }
}

#[tokio::test]
async fn a_spent_refresh_token_kills_the_newest_too() {
    let relying = Relying::start().await;
    let first = relying.tokens().await;
    let old = text(&first, "refresh_token");
    let second = relying.refresh(old).await.json();
    assert!(second["id_token"].is_string());
    assert!(parts(text(&second, "id_token")).1["nonce"].is_null());
    assert_eq!(relying.userinfo(text(&second, "access_token")).await, 200);

    let replay = relying.refresh(old).await;
    assert_eq!(
        (replay.status, text(&replay.json(), "error")),
        (StatusCode::BAD_REQUEST, "invalid_grant")
    );
    assert_eq!(
        relying.refresh(text(&second, "refresh_token")).await.status,
        400
    );
    assert_eq!(relying.userinfo(text(&second, "access_token")).await, 401);
    assert!(
        relying.signed_in_silently().await,
        "the browser's session goes on"
    );
    let journal = relying.idp.journal();
    assert_eq!((journal.refreshes, journal.reuses), (1, 1));
}

#[tokio::test]
async fn of_two_refreshes_at_once_one_wins_and_its_tokens_are_dead() {
    let relying = Relying::start().await;
    let tokens = relying.tokens().await;
    let token = text(&tokens, "refresh_token");
    let (a, b) = tokio::join!(relying.refresh(token), relying.refresh(token));
    let won = if a.status == 200 { &a } else { &b };
    assert_eq!(
        [a.status.as_u16(), b.status.as_u16()].iter().sum::<u16>(),
        600
    );
    assert_eq!(
        relying
            .refresh(text(&won.json(), "refresh_token"))
            .await
            .status,
        400
    );
}

#[tokio::test]
async fn a_code_is_good_once_for_a_minute_for_its_client_address_and_verifier() {
    let relying = Relying::start().await;
    let code = relying.code().await;
    let tokens = relying.exchange(&code).await.json();
    assert_eq!(relying.exchange(&code).await.status, 400);
    assert_eq!(
        relying.refresh(text(&tokens, "refresh_token")).await.status,
        400,
        "a replay kills"
    );

    let code = relying.code().await;
    relying.clock.advance(Duration::from_secs(61));
    assert_eq!(relying.exchange(&code).await.status, 400, "too late");

    for (name, wrong) in [
        ("code_verifier", "wrong"),
        ("redirect_uri", "https://localhost:1/"),
    ] {
        let code = relying.code().await;
        let mut form = vec![
            ("grant_type", "authorization_code"),
            ("code", code.as_str()),
            ("redirect_uri", BACK),
            ("code_verifier", VERIFIER),
        ];
        form.retain(|(known, _)| *known != name);
        form.push((name, wrong));
        assert_eq!(relying.post("/token", &form).await.status, 400, "{name}");
        assert_eq!(
            relying.exchange(&code).await.status,
            400,
            "a wrong {name} burns it"
        );
    }

    let code = relying.code().await;
    let form = [("grant_type", "authorization_code"), ("code", &code)];
    let wrong = relying
        .post_as("Z2F0ZXdheTp3cm9uZw==", "/token", &form)
        .await;
    assert_eq!(
        (wrong.status.as_u16(), text(&wrong.json(), "error")),
        (401, "invalid_client")
    );
    assert_eq!(
        relying.exchange(&code).await.status,
        200,
        "a wrong secret burns nothing"
    );
}

#[tokio::test]
async fn requests_that_a_real_provider_refuses_are_refused() {
    let relying = Relying::start().await;
    let page =
        async |change: &[(&str, &str)]| relying.browser.glance(&relying.authorize(change)).await;
    for change in [
        [("redirect_uri", "https://localhost:1/oauth2/callback/")],
        [("redirect_uri", "https://evil.example/oauth2/callback")],
        [("client_id", "nobody")],
    ] {
        assert_eq!(
            page(&change).await.status,
            400,
            "{change:?}: a page, never a redirect"
        );
    }
    for (change, error) in [
        (("code_challenge", ""), "invalid_request"),
        (("code_challenge_method", "plain"), "invalid_request"),
        (("response_type", "token"), "unsupported_response_type"),
        (("scope", "openid everything"), "invalid_scope"),
        (("prompt", "none login"), "invalid_request"),
        (("prompt", "none"), "login_required"),
    ] {
        let response = response(&page(&[change]).await);
        assert_eq!(find(&response, "error"), error, "{change:?}");
        assert_eq!(find(&response, "iss"), relying.idp.issuer());
    }
    let twice = format!("{}&state=again", relying.authorize(&[]));
    assert_eq!(relying.browser.glance(&twice).await.status, 400);
    let both = [
        ("grant_type", "refresh_token"),
        ("client_id", "gateway"),
        ("client_secret", "secret"),
    ];
    assert_eq!(
        relying.post("/token", &both).await.status,
        401,
        "one way at a time"
    );
}

#[tokio::test]
async fn the_browsers_session_answers_prompt_and_max_age() {
    let relying = Relying::start().await;
    relying.sign_in("bob").await;
    assert!(relying.signed_in_silently().await);
    let asked = async |change: &[(&str, &str)]| {
        let page = relying.browser.glance(&relying.authorize(change)).await;
        page.status == StatusCode::OK
    };
    assert!(asked(&[("prompt", "login")]).await);
    assert!(!asked(&[("max_age", "60")]).await);
    relying.clock.advance(2 * MINUTE);
    assert!(asked(&[("max_age", "60")]).await);
    assert_eq!(relying.idp.journal().logins, 1);
}

#[tokio::test]
async fn a_step_up_is_asked_for_and_shows_in_acr() {
    let relying = Relying::start().await;
    let tokens = relying
        .exchange(&find(&relying.sign_in("dave").await, "code"))
        .await
        .json();
    assert_eq!(parts(text(&tokens, "id_token")).1["acr"], "bronze");

    let page = relying
        .browser
        .glance(&relying.authorize(&[("acr_values", "gold")]))
        .await;
    assert!(
        page.body.contains("Confirm that it is you"),
        "{}",
        page.body
    );
    let page = relying.browser.press_once(&page, "dave").await;
    let tokens = relying
        .exchange(&find(&response(&page), "code"))
        .await
        .json();
    assert_eq!(parts(text(&tokens, "id_token")).1["acr"], "gold");
}

#[tokio::test]
async fn revoking_a_spent_refresh_token_ends_the_family_and_the_browsers_session() {
    let relying = Relying::start().await;
    let first = relying.tokens().await;
    let old = text(&first, "refresh_token");
    let second = relying.refresh(old).await.json();
    let foreign = relying
        .post_as("b3RoZXI6c2VjcmV0Mg==", "/revoke", &[("token", old)])
        .await;
    assert_eq!(foreign.status, 400);
    assert_eq!(relying.userinfo(text(&second, "access_token")).await, 200);

    assert_eq!(relying.post("/revoke", &[("token", old)]).await.status, 200);
    assert_eq!(relying.userinfo(text(&second, "access_token")).await, 401);
    assert_eq!(
        relying.refresh(text(&second, "refresh_token")).await.status,
        400
    );
    assert!(!relying.signed_in_silently().await);
    assert_eq!(
        relying
            .post("/revoke", &[("token", "garbage")])
            .await
            .status,
        200
    );
    assert_eq!(relying.idp.journal().refresh_revocations, 1);
}

#[tokio::test]
async fn end_session_with_a_hint_works_from_server_to_server_and_asks_without_one() {
    let relying = Relying::start().await;
    let tokens = relying.tokens().await;
    relying.clock.advance(HOUR);
    let back = "https://localhost:1/oauth2/signed_out";
    let hint = text(&tokens, "id_token");
    let bad = [
        ("id_token_hint", hint),
        ("post_logout_redirect_uri", "https://evil.example/"),
    ];
    assert_eq!(relying.post_as("", "/end_session", &bad).await.status, 400);
    assert!(
        relying.signed_in_silently().await,
        "a bad address ends nothing"
    );

    let good = [
        ("id_token_hint", hint),
        ("post_logout_redirect_uri", back),
        ("state", "s 1"),
    ];
    let answer = relying.post_as("", "/end_session", &good).await;
    assert_eq!(answer.status, 303);
    assert_eq!(answer.header("location"), format!("{back}?state=s+1"));
    assert!(!relying.signed_in_silently().await);
    assert_eq!(
        relying.refresh(text(&tokens, "refresh_token")).await.status,
        400
    );

    relying.sign_in("alice").await;
    let page = relying.browser.get("/end_session").await;
    assert!(relying.signed_in_silently().await, "it asks first");
    relying.browser.press(&page, "Sign out").await;
    assert!(!relying.signed_in_silently().await);
}

#[tokio::test]
async fn a_pushed_request_is_good_once() {
    let relying = Relying::start().await;
    let url = Url::parse(&relying.authorize(&[])).unwrap();
    let form: Vec<(String, String)> = url.query_pairs().into_owned().collect();
    let form: Vec<(&str, &str)> = form.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    let pushed = relying.post("/par", &form).await;
    assert_eq!(pushed.status, 201, "{}", pushed.text());
    let pushed = pushed.json();
    let short = Url::parse_with_params(
        &format!("{}/authorize", relying.idp.issuer()),
        [
            ("client_id", "gateway"),
            ("request_uri", text(&pushed, "request_uri")),
        ],
    );
    let short = String::from(short.unwrap());
    assert_eq!(relying.browser.glance(&short).await.status, 200);
    assert_eq!(relying.browser.glance(&short).await.status, 400);
}

#[tokio::test]
async fn a_device_waits_until_its_code_was_entered() {
    let relying = Relying::start().await;
    let asked = relying
        .post("/device_authorization", &[("scope", "openid")])
        .await
        .json();
    let form = [
        ("grant_type", "urn:ietf:params:oauth:grant-type:device_code"),
        ("device_code", text(&asked, "device_code")),
    ];
    let poll = async || {
        let answer = relying.post("/token", &form).await.json();
        answer["error"].as_str().map(str::to_owned)
    };
    assert_eq!(poll().await.as_deref(), Some("authorization_pending"));
    assert_eq!(poll().await.as_deref(), Some("slow_down"));

    let page = relying
        .browser
        .get(text(&asked, "verification_uri_complete"))
        .await;
    let code = [("user_code", text(&asked, "user_code"))];
    assert!(page.body.contains(code[0].1));
    let page = relying.browser.post("/device", &code).await;
    let page = relying.browser.press(&page, "carol").await;
    relying.browser.press(&page, "yes").await;
    relying.clock.advance(Duration::from_secs(6));
    assert_eq!(poll().await, None, "tokens now");
    relying.clock.advance(Duration::from_secs(6));
    assert_eq!(
        poll().await.as_deref(),
        Some("invalid_grant"),
        "and not again"
    );
}

#[tokio::test]
async fn faults_do_what_they_say() {
    let relying = Relying::start().await;
    let tokens = relying.tokens().await;
    let token = text(&tokens, "refresh_token");
    relying.idp.faults().once(Fault::TokenError);
    assert_eq!(relying.refresh(token).await.status, 500);
    relying
        .idp
        .faults()
        .once(Fault::TooMany(Duration::from_secs(7)));
    let busy = relying.refresh(token).await;
    assert_eq!(
        (busy.status.as_u16(), busy.header("retry-after")),
        (429, "7")
    );
    relying.idp.faults().once(Fault::NoRefreshToken);
    assert!(relying.refresh(token).await.json()["refresh_token"].is_null());
    let next = relying.refresh(token).await.json();

    let post = |token: &str| {
        let url = Url::parse(relying.idp.issuer())
            .unwrap()
            .join("/token")
            .unwrap();
        let body = format!("grant_type=refresh_token&refresh_token={token}");
        let request = Request::post("/")
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(header::AUTHORIZATION, "Basic Z2F0ZXdheTpzZWNyZXQ=")
            .body(Full::new(Bytes::from(body)))
            .unwrap();
        (url, request)
    };
    relying.idp.faults().once(Fault::Reset);
    let (url, request) = post(text(&next, "refresh_token"));
    assert!(relying.wire.send(&url, request).await.is_err());
    assert_eq!(
        relying.idp.journal().refreshes,
        2,
        "a reset request did nothing"
    );
    relying.idp.faults().once(Fault::LostAnswer);
    let (url, request) = post(text(&next, "refresh_token"));
    assert!(relying.wire.send(&url, request).await.is_err());
    assert_eq!(relying.idp.journal().refreshes, 3, "a lost answer rotated");

    relying.idp.go_down();
    let (url, request) = post("x");
    assert!(relying.wire.send(&url, request).await.is_err(), "refused");
    relying.idp.come_up();
    assert_eq!(relying.refresh("x").await.status, 400);
    assert_eq!(relying.idp.journal().all(Kind::Refresh).count(), 3);
}
