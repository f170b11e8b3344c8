//! Back-channel logout: the provider says that its session is over, and only the provider can.

use std::time::Instant;

use futures_util::future::join_all;
use http::header;
use serde_json::{Value, json};
use tidegate::demo::idp::{Algorithm, Client as Registered, Options, PEOPLE};

use crate::support::client::{Client, request};
use crate::support::forgery::{assemble, hs256, parts};
use crate::support::jar::{Cookie, SameSite};
use crate::support::wire::Reply;
use crate::support::{Browser, Fault, Idp, Kind, MINUTE, Person, SECOND, Scene, Setup, eventually};

const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";
const PATH: &str = "/oauth2/backchannel_logout";

/// Claims of a good logout token for all sessions of a person.
fn claims(scene: &Scene, person: &str) -> Value {
    let now = scene.clock.now().as_secs();
    json!({
        "iss": scene.idp.issuer(),
        "aud": "gateway",
        "sub": Person::named(person).unwrap().subject,
        "iat": now,
        "exp": now + 120,
        "jti": format!("{person}-{}", scene.clock.now().as_millis()),
        "events": { EVENT: {} },
    })
}

/// The same for one session at the provider.
fn claims_of(scene: &Scene, person: &str, sid: &str) -> Value {
    let mut claims = claims(scene, person);
    claims["sid"] = json!(sid);
    claims["jti"] = json!(sid);
    claims
}

fn header_of(typ: &str) -> Value {
    json!({ "alg": "RS256", "typ": typ })
}

fn signed(idp: &Idp, claims: &Value) -> String {
    idp.sign(Algorithm::Rs256, &header_of("logout+jwt"), claims)
        .unwrap()
}

async fn post(client: &Client, form: impl Into<String>) -> Reply {
    let post = request("POST").header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
    client.send_with(PATH, post, form.into()).await
}

async fn send(scene: &Scene, token: &str) -> Reply {
    post(&scene.client(), format!("logout_token={token}")).await
}

/// Signs in, and says by which session at the provider.
async fn sign_in(scene: &Scene, browser: &Browser, person: &str) -> String {
    let mut page = browser.get("/app").await;
    if page.form_with(person).is_some() {
        page = browser.press(&page, person).await;
    }
    assert_eq!((page.status.as_u16(), page.url.path()), (200, "/app"));
    newest_sid(&scene.idp)
}

fn newest_sid(idp: &Idp) -> String {
    let newest = idp.journal().newest(Kind::Access).unwrap().to_owned();
    idp.read(&newest).unwrap()["sid"]
        .as_str()
        .unwrap()
        .to_owned()
}

/// A browser's session at the provider, of someone who has signed in there before.
fn there(idp: &Idp, person: &str) -> Cookie {
    let presence = idp.sign_in_unseen(Person::named(person).unwrap()).unwrap();
    cookie_of(presence.cookie)
}

fn cookie_of(presence: String) -> Cookie {
    Cookie {
        name: "idp_session".to_owned(),
        value: presence,
        host: "localhost".to_owned(),
        path: "/".to_owned(),
        secure: false,
        http_only: true,
        same_site: SameSite::Lax,
        expires: None,
    }
}

async fn status(browser: &Browser) -> u16 {
    browser.fetch("/app").await.status.as_u16()
}

fn assert_refused(reply: &Reply, what: &str) {
    assert_eq!(reply.status, 400, "{what}: {}", reply.text());
    assert_eq!(reply.header("cache-control"), "no-store", "{what}");
    assert_eq!(reply.json()["error"], "invalid_request", "{what}");
    assert!(reply.json()["error_description"].is_string(), "{what}");
    assert_eq!(reply.header("set-cookie"), "", "{what}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_provider_ends_a_session_here_and_its_tokens_are_worth_nothing() {
    let scene = Scene::start().await;
    let browser = scene.browser();
    let sid = sign_in(&scene, &browser, "alice").await;
    assert_eq!(status(&browser).await, 200);
    let held = scene.idp.journal().newest(Kind::Access).unwrap().to_owned();
    assert_eq!(scene.client().get_as(&held, "/api/x").await.status, 200);

    scene.idp.end_sessions_of(&PEOPLE[0]).await;
    assert_eq!(scene.idp.journal().backchannel_logouts, 1);
    let page = browser.fetch("/app").await;
    assert_eq!(page.status, 401);
    assert_eq!(page.json()["code"], "signed_out_at_provider");
    let reply = scene.client().get_as(&held, "/api/x").await;
    assert_eq!(
        (reply.status.as_u16(), &reply.json()["code"]),
        (401, &json!("token_revoked"))
    );
    // Another token of that session, which no session here ever held.
    let another = scene.idp.forge(&PEOPLE[0], "gateway", |_, claims| {
        claims.insert("sid".into(), json!(sid));
    });
    let reply = scene.client().get_as(&another.unwrap(), "/api/x").await;
    assert_eq!(reply.status, 401, "{}", reply.text());
    let other = scene.bearer("alice");
    assert_eq!(scene.client().get_as(&other, "/api/x").await.status, 200);
    eventually("what the session held is given back", || {
        scene.idp.journal().requests_to("/revoke") >= 1
    })
    .await;
    assert_eq!(
        browser.login("alice").await.status,
        200,
        "at once, if they like"
    );
    assert_eq!(status(&browser).await, 200);
    scene.assert_no_token_leaked(&browser);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_forged_or_forbidden_ends_anything() {
    let scene = Scene::start().await;
    let stranger = Idp::start(Options::default()).await.unwrap();
    let browser = scene.browser();
    let sid = sign_in(&scene, &browser, "alice").await;
    let mut bad = wrong_claims(&scene, &sid);
    bad.extend(wrong_headers(&scene, &sid));
    bad.extend(wrong_signatures(&scene, &stranger, &sid));
    bad.extend(other_tokens(&scene));
    assert!(bad.len() >= 50, "{}", bad.len());
    for (what, token) in &bad {
        let reply = send(&scene, token).await;
        assert_refused(&reply, what);
        assert!(!reply.text().contains(&sid), "{what}: {}", reply.text());
        assert_eq!(status(&browser).await, 200, "{what}");
    }
    let bearer = scene.bearer("alice");
    assert_eq!(scene.client().get_as(&bearer, "/api/x").await.status, 200);
    // What all of them are variations of.
    let good = signed(&scene.idp, &claims_of(&scene, "alice", &sid));
    let reply = send(&scene, &good).await;
    assert_eq!(
        (reply.status.as_u16(), reply.header("cache-control")),
        (200, "no-store")
    );
    assert_eq!(status(&browser).await, 401);
}

type Bad = Vec<(&'static str, String)>;

fn wrong_claims(scene: &Scene, sid: &str) -> Bad {
    let good = claims_of(scene, "alice", sid);
    let now = scene.clock.now().as_secs();
    let changed = |changes: &[(&str, Value)]| {
        let mut claims = good.clone();
        for (name, value) in changes {
            if value.is_null() {
                claims.as_object_mut().unwrap().remove(*name);
            } else {
                claims[*name] = value.clone();
            }
        }
        signed(&scene.idp, &claims)
    };
    let one = |name, value| changed(&[(name, value)]);
    let issuer = scene.idp.issuer();
    let set = "https://schemas.openid.net/event/backchannel-logout";
    vec![
        ("no iss", one("iss", Value::Null)),
        ("another iss", one("iss", json!("https://other.example"))),
        ("iss with a slash", one("iss", json!(format!("{issuer}/")))),
        ("a list as iss", one("iss", json!([issuer]))),
        ("no aud", one("aud", Value::Null)),
        ("an empty aud", one("aud", json!([]))),
        ("another client's", one("aud", json!("other"))),
        ("other clients'", one("aud", json!(["other", "apps"]))),
        ("the API's, not the client's", one("aud", json!("apps"))),
        (
            "aud of a wrong type",
            one("aud", json!({ "gateway": true })),
        ),
        ("no exp", one("exp", Value::Null)),
        ("over", one("exp", json!(now - 60))),
        ("exp as text", one("exp", json!("9999999999"))),
        ("exp beyond all numbers", one("exp", json!(1e300))),
        ("no iat", one("iat", Value::Null)),
        ("of the future", one("iat", json!(now + 120))),
        (
            "old",
            changed(&[("iat", json!(now - 400)), ("exp", json!(now + 600))]),
        ),
        (
            "old, for ever good",
            changed(&[("iat", json!(1)), ("exp", json!(now + 600_000))]),
        ),
        ("not valid yet", one("nbf", json!(now + 120))),
        ("no jti", one("jti", Value::Null)),
        ("an empty jti", one("jti", json!(""))),
        ("a number as jti", one("jti", json!(1))),
        ("no events", one("events", Value::Null)),
        ("no event", one("events", json!({}))),
        ("another event", one("events", json!({ set: {} }))),
        ("a list of events", one("events", json!([EVENT]))),
        ("an event that is text", one("events", json!({ EVENT: "" }))),
        (
            "an event that is true",
            one("events", json!({ EVENT: true })),
        ),
        (
            "an event that is nothing",
            one("events", json!({ EVENT: null })),
        ),
        (
            "an event that is a list",
            one("events", json!({ EVENT: [] })),
        ),
        ("events as text", one("events", json!(EVENT))),
        ("a nonce", one("nonce", json!("n"))),
        ("a nonce that is nothing", {
            let mut claims = good.clone();
            claims["nonce"] = Value::Null;
            signed(&scene.idp, &claims)
        }),
        (
            "nobody's",
            changed(&[("sub", Value::Null), ("sid", Value::Null)]),
        ),
        ("an empty sid", one("sid", json!(""))),
        ("a number as sid", one("sid", json!(7))),
        ("a sid that is nothing", {
            let mut claims = good.clone();
            claims["sid"] = Value::Null;
            signed(&scene.idp, &claims)
        }),
        ("an empty sub", one("sub", json!(""))),
        ("a list as sub", one("sub", json!(["u-alice"]))),
        ("an ID token by its typ claim", one("typ", json!("ID"))),
        (
            "an access token by its typ claim",
            one("typ", json!("Bearer")),
        ),
    ]
}

fn wrong_headers(scene: &Scene, sid: &str) -> Bad {
    let claims = claims_of(scene, "alice", sid);
    let with = |header: Value| scene.idp.sign(Algorithm::Rs256, &header, &claims).unwrap();
    let typ = |typ: &str| with(header_of(typ));
    let untyped = |claim: &str| {
        let mut claims = claims.clone();
        claims[claim] = json!("x");
        let header = json!({ "alg": "RS256" });
        scene.idp.sign(Algorithm::Rs256, &header, &claims).unwrap()
    };
    vec![
        ("an access token's typ", typ("at+jwt")),
        ("the same in full", typ("application/at+jwt")),
        ("a security event's typ", typ("secevent+jwt")),
        ("a DPoP proof's typ", typ("dpop+jwt")),
        ("an assertion's typ", typ("client-authentication+jwt")),
        ("an empty typ", typ("")),
        (
            "typ of a wrong type",
            with(json!({ "alg": "RS256", "typ": 1 })),
        ),
        ("no alg", with(json!({ "typ": "logout+jwt" }))),
        (
            "alg of another family",
            with(json!({ "alg": "ES256", "typ": "logout+jwt" })),
        ),
        (
            "an alg that nobody knows",
            with(json!({ "alg": "RS257", "typ": "logout+jwt" })),
        ),
        (
            "an alg that is not allowed",
            with(json!({ "alg": "RS512", "typ": "logout+jwt" })),
        ),
        (
            "an extension that must be understood",
            with(json!({ "alg": "RS256", "typ": "logout+jwt", "crit": ["x"], "x": 1 })),
        ),
        (
            "an unknown key",
            with(json!({ "alg": "RS256", "typ": "logout+jwt", "kid": "no" })),
        ),
        ("untyped, with at_hash", untyped("at_hash")),
        ("untyped, with a scope", untyped("scope")),
    ]
}

fn wrong_signatures(scene: &Scene, stranger: &Idp, sid: &str) -> Bad {
    let claims = claims_of(scene, "alice", sid);
    let good = signed(&scene.idp, &claims);
    let (header, _) = parts(&good);
    let (body, signature) = good.rsplit_once('.').unwrap();
    let mut none = header.clone();
    none["alg"] = json!("none");
    let mut hs = header.clone();
    hs["alg"] = json!("HS256");
    let mut other = claims.clone();
    other["sub"] = json!("u-bob");
    let flipped = if signature.starts_with('A') { "B" } else { "A" };
    let jwks = scene.idp.jwks()["keys"].to_string();
    vec![
        ("alg none", assemble(&none, &claims, b"")),
        ("alg None", {
            none["alg"] = json!("None");
            assemble(&none, &claims, b"")
        }),
        (
            "HS256 under the published keys",
            hs256(&hs, &claims, jwks.as_bytes()),
        ),
        ("HS256 under the client's secret", {
            hs256(
                &hs,
                &claims,
                crate::support::scene::CLIENT_SECRET.as_bytes(),
            )
        }),
        ("other claims under the signature", {
            format!("{}{signature}", assemble(&header, &other, b""))
        }),
        (
            "a flipped signature",
            format!("{body}.{flipped}{}", &signature[1..]),
        ),
        ("no signature", format!("{body}.")),
        ("two parts", body.to_owned()),
        ("five parts, encrypted perhaps", format!("{good}.a.b")),
        ("nonsense", "nonsense".to_owned()),
        ("very long", format!("{good}{}", "A".repeat(20_000))),
        ("another provider's key", signed(stranger, &claims)),
        ("another provider's own", {
            let mut claims = claims.clone();
            claims["iss"] = json!(stranger.issuer());
            signed(stranger, &claims)
        }),
        ("a member twice", {
            let text = claims.to_string().replacen('{', "{\"sub\":\"u-bob\",", 1);
            twice(&scene.idp, &header, &text)
        }),
    ]
}

/// A signature over something else, which is of no matter: the claims can't be read in one way.
fn twice(idp: &Idp, header: &Value, claims: &str) -> String {
    use base64::Engine as _;
    let part = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(claims);
    let signed = signed(idp, &json!({}));
    let signature = signed.rsplit_once('.').unwrap().1;
    let head = assemble(header, &json!({}), b"");
    format!("{}.{part}.{signature}", head.split_once('.').unwrap().0)
}

/// What the provider signs for other ends.
fn other_tokens(scene: &Scene) -> Bad {
    let newest = |kind| scene.idp.journal().newest(kind).unwrap().to_owned();
    vec![
        ("an ID token", newest(Kind::Id)),
        ("an access token", newest(Kind::Access)),
        ("a refresh token", newest(Kind::Refresh)),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_not_one_is_refused() {
    let scene = Scene::start().await;
    let browser = scene.browser();
    let sid = sign_in(&scene, &browser, "alice").await;
    let good = signed(&scene.idp, &claims_of(&scene, "alice", &sid));
    let client = scene.client();
    for (what, form) in [
        ("nothing", String::new()),
        ("an empty one", "logout_token=".to_owned()),
        ("two", format!("logout_token={good}&logout_token={good}")),
        (
            "one and an empty one",
            format!("logout_token={good}&logout_token="),
        ),
        ("another name", format!("token={good}")),
        (
            "far too much",
            format!("logout_token={}", "A".repeat(70_000)),
        ),
    ] {
        assert_refused(&post(&client, form).await, what);
    }
    let as_json = request("POST").header(header::CONTENT_TYPE, "application/json");
    let body = json!({ "logout_token": good }).to_string();
    assert_refused(&client.send_with(PATH, as_json, body).await, "JSON");
    let in_query = format!("{PATH}?logout_token={good}");
    assert_refused(
        &client.send(&in_query, request("POST")).await,
        "in the query",
    );
    let reply = client.send(&in_query, request("GET")).await;
    assert_eq!(
        (reply.status.as_u16(), reply.header("allow")),
        (405, "POST")
    );
    assert_eq!(status(&browser).await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_token_is_good_once() {
    let scene = Scene::start().await;
    let browser = scene.browser();
    sign_in(&scene, &browser, "alice").await;
    let mut said = claims(&scene, "alice");
    let token = signed(&scene.idp, &said);
    let replies = join_all((0..8).map(|_| send(&scene, &token))).await;
    let heeded = replies.iter().filter(|reply| reply.status == 200).count();
    assert_eq!(heeded, 1, "of eight at once");
    assert_eq!(status(&browser).await, 401);

    scene.clock.advance(SECOND);
    sign_in(&scene, &browser, "alice").await;
    assert_refused(&send(&scene, &token).await, "again");
    said["iat"] = json!(scene.clock.now().as_secs());
    said["exp"] = json!(scene.clock.now().as_secs() + 120);
    assert_refused(
        &send(&scene, &signed(&scene.idp, &said)).await,
        "its jti in another",
    );
    scene.clock.advance(MINUTE);
    assert_refused(&send(&scene, &token).await, "later");
    assert_eq!(status(&browser).await, 200);
    said["jti"] = json!("new");
    said["iat"] = json!(scene.clock.now().as_secs());
    said["exp"] = json!(scene.clock.now().as_secs() + 120);
    assert_eq!(send(&scene, &signed(&scene.idp, &said)).await.status, 200);
    assert_eq!(status(&browser).await, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_specification_leaves_open_is_taken() {
    let scene = Scene::start().await;
    for (what, header) in [
        ("typ in full", header_of("application/logout+jwt")),
        ("typ in capitals", header_of("LOGOUT+JWT")),
        ("a plain JWT", header_of("JWT")),
        ("no typ", json!({ "alg": "RS256" })),
    ] {
        let browser = scene.browser();
        let sid = sign_in(&scene, &browser, "alice").await;
        let mut claims = claims_of(&scene, "alice", &sid);
        claims["aud"] = json!(["other", "gateway"]);
        claims["typ"] = json!("Logout");
        claims["events"] = json!({ EVENT: { "x": 1 }, "https://other.example/event": {} });
        // What Keycloak says of a user whom clients know by another name.
        claims["sub"] = json!("internal-7");
        let token = scene.idp.sign(Algorithm::Rs256, &header, &claims).unwrap();
        let reply = send(&scene, &token).await;
        assert_eq!(reply.status, 200, "{what}: {}", reply.text());
        assert_eq!(reply.text(), "", "{what}");
        assert_eq!(status(&browser).await, 401, "{what}");
    }
    let unknown = signed(&scene.idp, &claims_of(&scene, "carol", "no-such-session"));
    assert_eq!(
        send(&scene, &unknown).await.status,
        200,
        "nothing to end is as good"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_there_may_be_several_here_and_a_user_more() {
    let scene = Scene::start().await;
    let (one, same, other, bob) = (
        scene.browser(),
        scene.browser(),
        scene.browser(),
        scene.browser(),
    );
    let sid = sign_in(&scene, &one, "alice").await;
    // The same session at the provider, in a browser that has forgotten ours.
    let there = one.cookie("idp_session").expect("signed in there");
    same.put_cookie(there);
    assert_eq!(same.get("/app").await.status, 200);
    assert_eq!(newest_sid(&scene.idp), sid, "unseen");
    assert_ne!(sign_in(&scene, &other, "alice").await, sid);
    sign_in(&scene, &bob, "bob").await;

    let token = signed(&scene.idp, &claims_of(&scene, "alice", &sid));
    assert_eq!(send(&scene, &token).await.status, 200);
    assert_eq!((status(&one).await, status(&same).await), (401, 401));
    assert_eq!((status(&other).await, status(&bob).await), (200, 200));

    sign_in(&scene, &one, "alice").await;
    // One of them has ended already: the other must end all the same.
    let page = one.get("/oauth2/sign_out").await;
    one.press(&page, "Sign out").await;
    assert_eq!(
        send(&scene, &signed(&scene.idp, &claims(&scene, "alice")))
            .await
            .status,
        200
    );
    assert_eq!((status(&other).await, status(&bob).await), (401, 200));
    let bearer = scene.bearer("bob");
    assert_eq!(scene.client().get_as(&bearer, "/api/x").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn all_tokens_of_a_user_who_is_signed_out_everywhere_are_refused() {
    let scene = Scene::start().await;
    let (alice, bob) = (scene.bearer("alice"), scene.bearer("bob"));
    let client = scene.client();
    assert_eq!(client.get_as(&alice, "/api/x").await.status, 200);
    assert_eq!(
        send(&scene, &signed(&scene.idp, &claims(&scene, "alice")))
            .await
            .status,
        200
    );
    assert_eq!(client.get_as(&alice, "/api/x").await.status, 401);
    assert_eq!(client.get_as(&bob, "/api/x").await.status, 200);
    // Its clock may be ahead of ours by the leeway.
    scene.clock.advance(MINUTE);
    let later = scene.bearer("alice");
    assert_eq!(client.get_as(&later, "/api/x").await.status, 200);
}

/// `[idp.other]` beside `[idp.main]`, at `second`.
fn with_another(second: &Idp) -> impl FnOnce(&mut Setup) + use<> {
    let other = format!(
        "[idp.other]\nlabel = \"Other\"\nissuer = \"{}\"\nclient_id = \"gateway\"\n\
         client_secret = \"other-secret\"\nscopes = [\"openid\"]\n[idp.other.access_token]\naudience = [\"apps\"]\n[session]",
        second.issuer()
    );
    move |setup| {
        setup.replace("[session]", &other);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_provider_says_ends_nothing_of_anothers() {
    let second = Options {
        clients: vec![Registered::new("gateway", "other-secret")],
        ..Options::default()
    };
    let second = Idp::start(second).await.unwrap();
    let scene = Scene::with(with_another(&second)).await;
    let bearer = |idp: &Idp, sid: &str| {
        let forged = idp.forge(&PEOPLE[0], "gateway", |_, claims| {
            claims.insert("sid".into(), json!(sid));
        });
        forged.unwrap()
    };
    let (here, there) = (bearer(&scene.idp, "same"), bearer(&second, "same"));
    let client = scene.client();
    let both = async || {
        let here = client.get_as(&here, "/api/x").await.status.as_u16();
        (here, client.get_as(&there, "/api/x").await.status.as_u16())
    };
    assert_eq!(both().await, (200, 200));
    let mut claims = claims_of(&scene, "alice", "same");
    claims["iss"] = json!(second.issuer());
    assert_refused(
        &send(&scene, &signed(&scene.idp, &claims)).await,
        "in another's name",
    );
    assert_eq!(both().await, (200, 200));
    assert_eq!(send(&scene, &signed(&second, &claims)).await.status, 200);
    assert_eq!(both().await, (200, 401));
    claims["iss"] = json!(scene.idp.issuer());
    let reply = send(&scene, &signed(&scene.idp, &claims)).await;
    assert_eq!(
        reply.status,
        200,
        "a jti is its provider's own: {}",
        reply.text()
    );
    assert_eq!(both().await, (401, 401));
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_not_there_where_it_is_off_or_nobody_could_tell_which_sessions_are_meant() {
    for (from, to) in [
        (
            "[upstreams.app]",
            "[logout]\nbackchannel = false\nfrontchannel = false\n[upstreams.app]",
        ),
        ("\"memory\"", "\"cookie\""),
    ] {
        let scene = Scene::with(|setup| {
            setup.replace(from, to);
        })
        .await;
        let token = signed(&scene.idp, &claims(&scene, "alice"));
        assert_eq!(send(&scene, &token).await.status, 404, "{to}");
        let issuer = scene.idp.issuer();
        let front = format!("/oauth2/frontchannel_logout?iss={issuer}&sid=x");
        assert_eq!(scene.client().get(&front).await.status, 404, "{to}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_keys_can_not_be_had_the_provider_is_asked_to_come_again() {
    let mut scene = Scene::without_gateway(|_| {}).await;
    scene.idp.faults().set(Fault::KeysError);
    scene.start_gateway();
    let token = signed(&scene.idp, &claims(&scene, "alice"));
    let reply = send(&scene, &token).await;
    assert_eq!(reply.status, 503, "{}", reply.text());
    assert!(!reply.header("retry-after").is_empty());
    assert_eq!(reply.header("cache-control"), "no-store");
    scene.idp.faults().clear();
    let mut reply = send(&scene, &token).await;
    for _ in 0..500 {
        if reply.status == 200 {
            break;
        }
        tokio::time::sleep(SECOND / 100).await;
        reply = send(&scene, &token).await;
    }
    assert_eq!(reply.status, 200, "not used up: {}", reply.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn it_holds_over_a_restart() {
    let mut scene = Scene::with(|setup| {
        setup.on_disk();
    })
    .await;
    let (gone, stays) = (scene.browser(), scene.browser());
    let sid = sign_in(&scene, &gone, "alice").await;
    let held = scene.idp.journal().newest(Kind::Access).unwrap().to_owned();
    sign_in(&scene, &stays, "bob").await;
    let token = signed(&scene.idp, &claims_of(&scene, "alice", &sid));
    assert_eq!(send(&scene, &token).await.status, 200);
    scene.stop_gateway().await;
    scene.start_gateway();
    assert_eq!((status(&gone).await, status(&stays).await), (401, 200));
    assert_eq!(scene.client().get_as(&held, "/api/x").await.status, 401);
    assert_refused(&send(&scene, &token).await, "again, after a restart");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_swap_that_is_under_way_brings_nothing_back() {
    let scene = Scene::start().await;
    let browser = scene.browser();
    let sid = sign_in(&scene, &browser, "alice").await;
    scene.clock.advance(6 * MINUTE);
    scene.idp.faults().once(Fault::SlowAnswer(SECOND));
    let asking = browser.clone();
    let asking = tokio::spawn(async move { status(&asking).await });
    eventually("the provider has the refresh token", || {
        scene.idp.journal().refreshes == 1
    })
    .await;
    let token = signed(&scene.idp, &claims_of(&scene, "alice", &sid));
    let client = scene.client_h1();
    let reply = post(&client, format!("logout_token={token}")).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(asking.await.unwrap(), 401);
    let late = scene.idp.journal().newest(Kind::Access).unwrap().to_owned();
    assert_eq!(client.get_as(&late, "/api/x").await.status, 401);
    let refresh = scene
        .idp
        .journal()
        .newest(Kind::Refresh)
        .unwrap()
        .to_owned();
    eventually("what came late is given back", || {
        !scene.idp.replay("gateway", &refresh)
    })
    .await;
    assert_eq!(status(&browser).await, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sign_in_that_is_under_way_does_not_outlive_its_session_there() {
    let scene = Scene::start().await;
    let browser = scene.browser();
    let presence = scene.idp.sign_in_unseen(&PEOPLE[0]).unwrap();
    browser.put_cookie(cookie_of(presence.cookie));
    scene.idp.faults().once(Fault::SlowAnswer(SECOND));
    let signing_in = browser.clone();
    let signing_in =
        tokio::spawn(async move { signing_in.get("/oauth2/start?rd=/public/").await.status });
    eventually("the provider has the code", || {
        scene.idp.journal().exchanges == 1
    })
    .await;
    let token = signed(&scene.idp, &claims_of(&scene, "alice", &presence.sid));
    assert_eq!(send(&scene, &token).await.status, 200);
    assert_eq!(signing_in.await.unwrap(), 403, "to be tried again");
    assert!(browser.session_cookie().is_none());
    let held = scene.idp.journal().newest(Kind::Access).unwrap().to_owned();
    assert_eq!(scene.client().get_as(&held, "/api/x").await.status, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_burst_of_logouts_holds_up_nobody() {
    let scene = Scene::with(|setup| {
        setup.on_disk();
    })
    .await;
    let browser = scene.browser();
    let mut sessions = Vec::new();
    for _ in 0..40 {
        browser.forget();
        browser.put_cookie(there(&scene.idp, "alice"));
        assert_eq!(browser.get("/app").await.status, 200);
        sessions.push((browser.session_cookie().unwrap(), newest_sid(&scene.idp)));
    }
    // One after another, as Keycloak sends those of one user, with somebody at work meanwhile.
    let begun = Instant::now();
    for (cookie, sid) in &sessions {
        browser.forget();
        browser.put_cookie(cookie.clone());
        assert_eq!(status(&browser).await, 200);
        let token = signed(&scene.idp, &claims_of(&scene, "alice", sid));
        let sent = Instant::now();
        assert_eq!(send(&scene, &token).await.status, 200);
        assert!(sent.elapsed() < SECOND, "{:?}", sent.elapsed());
        assert_eq!(status(&browser).await, 401);
    }
    assert!(begun.elapsed() < 20 * SECOND, "{:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_with_hundreds_of_sessions_is_out_of_all_when_it_is_answered() {
    let scene = Scene::with(|setup| {
        setup.on_disk();
    })
    .await;
    let signing_in = (0..8).map(|_| async {
        let browser = scene.browser();
        let mut sessions = Vec::new();
        for _ in 0..40 {
            browser.forget();
            browser.put_cookie(there(&scene.idp, "alice"));
            let page = browser.get("/oauth2/start?rd=/public/").await;
            assert_eq!(page.status, 200, "{}", page.body);
            sessions.push(browser.session_cookie().expect("signed in, unseen"));
        }
        (browser, sessions)
    });
    let everywhere = join_all(signing_in).await;
    let bob = scene.browser();
    sign_in(&scene, &bob, "bob").await;
    let token = signed(&scene.idp, &claims(&scene, "alice"));
    let reply = send(&scene, &token).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    for (browser, sessions) in everywhere {
        for cookie in sessions {
            browser.forget();
            browser.put_cookie(cookie);
            assert_eq!(status(&browser).await, 401);
        }
    }
    assert_eq!(status(&bob).await, 200);
}
