//! ID tokens, under the names that the OpenID Foundation's relying party tests have for them, and more.

use aws_lc_rs::digest::{SHA256, SHA384, SHA512, digest};

use super::mint::Signer;
use super::*;

const TOKEN: &str = "the-access-token";

/// What Keycloak gives at a login.
fn draft(scene: &Scene) -> Draft {
    scene
        .draft()
        .claims(json!({ "aud": "gateway", "nonce": "n-0S6", "typ": "ID", "sid": "s1" }))
}

fn login(access_token: &AccessToken) -> Expected<'_> {
    Expected {
        idp: "main",
        nonce: Some("n-0S6"),
        subject: None,
        access_token,
    }
}

fn refresh(access_token: &AccessToken) -> Expected<'_> {
    Expected {
        idp: "main",
        nonce: None,
        subject: Some("ana"),
        access_token,
    }
}

async fn decide(rows: Vec<(&str, String, &str)>, scene: &Scene, expected: &Expected<'_>) {
    let mut wrong = Vec::new();
    for (name, token, verdict) in rows {
        let found = reason(scene.verify_id(&token, expected).await);
        if found != verdict {
            wrong.push(format!("{name}: {found:?} in place of {verdict:?}"));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

fn half(algorithm: &'static aws_lc_rs::digest::Algorithm) -> String {
    let hash = digest(algorithm, TOKEN.as_bytes());
    encode(&hash.as_ref()[..hash.as_ref().len() / 2])
}

#[tokio::test]
async fn at_a_login() {
    let scene = Scene::new().await;
    let with = |more: Value| draft(&scene).claims(more).sign();
    let null = |name: &str| draft(&scene).claim(name, Value::Null).sign();
    let header = |more: Value| draft(&scene).header(more).sign();
    let unsigned = {
        let draft = draft(&scene).header(json!({ "alg": "none" }));
        format!(
            "{}.{}.",
            encode(draft.header.to_string()),
            encode(draft.claims.to_string())
        )
    };
    let (aud, azp, nonce) = (
        "aud does not name this client",
        "azp is another client",
        "nonce is not that of this login",
    );
    let date = "a date is of a wrong type or out of range";
    let rows = vec![
        ("idtoken-sig-rs256", with(json!({})), ""),
        (
            "idtoken-sig-none",
            unsigned,
            "alg is missing or not an asymmetric signature",
        ),
        (
            "invalid-sig-rs256",
            draft(&scene).sign_with(&OTHER_RSA, "RS256"),
            "the signature is wrong",
        ),
        (
            "invalid-sig-es256",
            draft(&scene)
                .header(json!({ "alg": "ES256", "kid": "ec" }))
                .sign_with(&Signer::p256(), "ES256"),
            "the signature is wrong",
        ),
        (
            "idtoken-sig-es256",
            draft(&scene)
                .header(json!({ "alg": "ES256", "kid": "ec" }))
                .sign_with(&P256, "ES256"),
            "",
        ),
        (
            "kid-absent-single-jwks",
            draft(&scene)
                .header(json!({ "alg": "EdDSA", "kid": null }))
                .sign_with(&ED, "EdDSA"),
            "",
        ),
        (
            "kid-absent-multiple-jwks",
            header(json!({ "kid": null })),
            "kid is missing and several keys fit",
        ),
        (
            "invalid-iss",
            with(json!({ "iss": "https://evil.example" })),
            "iss is not a configured provider",
        ),
        (
            "missing-iss",
            with(json!({ "iss": null })),
            "iss is missing or not text",
        ),
        (
            "missing-sub",
            with(json!({ "sub": null })),
            "sub is missing",
        ),
        (
            "empty sub",
            with(json!({ "sub": "" })),
            "a claim that must be text is not",
        ),
        ("invalid-aud", with(json!({ "aud": "another-client" })), aud),
        (
            "missing-aud",
            with(json!({ "aud": null })),
            "aud is missing or of a wrong type",
        ),
        ("aud of the API", with(json!({ "aud": ["apps"] })), aud),
        ("aud longer", with(json!({ "aud": "gateway2" })), aud),
        ("aud a list of one", with(json!({ "aud": ["gateway"] })), ""),
        (
            "several aud, azp us",
            with(json!({ "aud": ["gateway", "apps"] })),
            "",
        ),
        (
            "several aud, no azp",
            with(json!({ "aud": ["gateway", "apps"], "azp": null })),
            "several aud and no azp",
        ),
        ("azp another", with(json!({ "azp": "another-client" })), azp),
        ("azp null", null("azp"), azp),
        ("azp a list", with(json!({ "azp": ["gateway"] })), azp),
        (
            "missing-iat",
            with(json!({ "iat": null })),
            "iat is missing",
        ),
        (
            "iat to come",
            with(json!({ "iat": scene.time(60) })),
            "not valid yet",
        ),
        ("iat text", with(json!({ "iat": "1" })), date),
        (
            "missing exp",
            with(json!({ "exp": null })),
            "exp is missing",
        ),
        (
            "expired",
            with(json!({ "exp": scene.time(-31) })),
            "expired",
        ),
        ("nonce-invalid", with(json!({ "nonce": "another" })), nonce),
        ("nonce missing", with(json!({ "nonce": null })), nonce),
        ("nonce null", null("nonce"), nonce),
        ("nonce a list", with(json!({ "nonce": ["n-0S6"] })), nonce),
        (
            "nonce in upper case",
            with(json!({ "nonce": "N-0S6" })),
            nonce,
        ),
        (
            "at_hash right",
            with(json!({ "at_hash": half(&SHA256) })),
            "",
        ),
        (
            "at_hash of another",
            with(json!({ "at_hash": encode([1; 16]) })),
            "at_hash is of another access token",
        ),
        (
            "at_hash whole",
            with(json!({ "at_hash": encode(digest(&SHA256, TOKEN.as_bytes())) })),
            "at_hash is of another access token",
        ),
        (
            "at_hash by another hash",
            with(json!({ "at_hash": half(&SHA512) })),
            "at_hash is of another access token",
        ),
        (
            "at_hash null",
            null("at_hash"),
            "at_hash is of another access token",
        ),
        (
            "at_hash empty",
            with(json!({ "at_hash": "" })),
            "at_hash is of another access token",
        ),
        ("no typ", header(json!({ "typ": null })), ""),
        (
            "an access token",
            header(json!({ "typ": "at+jwt" })),
            "typ is not that of an ID token",
        ),
        (
            "a logout token",
            header(json!({ "typ": "logout+jwt" })),
            "typ is not that of an ID token",
        ),
        (
            "Keycloak's access token",
            with(json!({ "typ": "Bearer" })),
            "typ claim is not ID",
        ),
        (
            "Keycloak's refresh token",
            with(json!({ "typ": "Refresh" })),
            "typ claim is not ID",
        ),
        (
            "a logout token by its events",
            with(json!({ "events": {} })),
            "a logout or security event token",
        ),
        (
            "an extension",
            header(json!({ "crit": ["x"], "x": 1 })),
            "header has an extension that changes its meaning",
        ),
        (
            "sid a number",
            with(json!({ "sid": 1 })),
            "a claim that must be text is not",
        ),
        ("auth_time text", with(json!({ "auth_time": "1" })), date),
        (
            "alg not allowed",
            draft(&scene)
                .header(json!({ "alg": "RS512", "kid": "rsa-any" }))
                .sign_with(&OTHER_RSA, "RS512"),
            "alg is not allowed",
        ),
        (
            "HS256 with the client's secret",
            draft(&scene).header(json!({ "alg": "HS256" })).sign(),
            "alg is missing or not an asymmetric signature",
        ),
    ];
    let token = AccessToken::new(TOKEN);
    decide(rows, &scene, &login(&token)).await;
}

#[tokio::test]
async fn at_a_refresh() {
    let scene = Scene::new().await;
    let with = |more: Value| draft(&scene).claims(more).sign();
    let rows = vec![
        ("refresh-token", with(json!({})), ""),
        (
            "without nonce, as Keycloak does",
            with(json!({ "nonce": null })),
            "",
        ),
        (
            "refresh-token-invalid-sub",
            with(json!({ "sub": "bob" })),
            "sub is another person's",
        ),
        (
            "refresh-token-invalid-issuer",
            with(json!({ "iss": "https://evil.example" })),
            "iss is not a configured provider",
        ),
        (
            "invalid aud",
            with(json!({ "aud": "x" })),
            "aud does not name this client",
        ),
        ("expired", with(json!({ "exp": 1 })), "expired"),
    ];
    let token = AccessToken::new(TOKEN);
    decide(rows, &scene, &refresh(&token)).await;
}

#[tokio::test]
async fn at_hash_goes_by_the_signature_s_hash() {
    let scene = Scene::new().await;
    let token = AccessToken::new(TOKEN);
    let es384 = json!({ "alg": "ES384", "kid": "ec384" });
    let eddsa = json!({ "alg": "EdDSA", "kid": "ed" });
    let made = |header: &Value, hash: String, signer: &Signer| {
        draft(&scene)
            .header(header.clone())
            .claims(json!({ "at_hash": hash }))
            .sign_with(signer, "")
    };
    let wrong = "at_hash is of another access token";
    let rows = vec![
        ("ES384", made(&es384, half(&SHA384), &P384), ""),
        (
            "ES384 with SHA-256",
            made(&es384, half(&SHA256), &P384),
            wrong,
        ),
        ("EdDSA", made(&eddsa, half(&SHA512), &ED), ""),
        (
            "EdDSA with SHA-256",
            made(&eddsa, half(&SHA256), &ED),
            wrong,
        ),
    ];
    decide(rows, &scene, &login(&token)).await;
}

#[tokio::test]
async fn another_provider_s_id_token_is_not_this_one_s() {
    let scene = Scene::new().await;
    let token = AccessToken::new(TOKEN);
    let expected = Expected {
        idp: "second",
        ..login(&token)
    };
    let found = scene.verify_id(&draft(&scene).sign(), &expected).await;
    assert_eq!(reason(found), "iss is another provider");
}

#[tokio::test]
async fn what_is_read_from_a_good_one() {
    let scene = Scene::new().await;
    let token = AccessToken::new(TOKEN);
    let made =
        draft(&scene).claims(json!({ "auth_time": 1_700_000_000, "email": "ana@example.com" }));
    let claims = scene.verify_id(&made.sign(), &login(&token)).await.unwrap();
    assert_eq!(
        (&*claims.subject, claims.sid.as_deref()),
        ("ana", Some("s1"))
    );
    assert_eq!(claims.auth_time.unwrap().as_secs(), 1_700_000_000);
    assert_eq!(claims.claims["email"], "ana@example.com");
    // An ID token never passes where an access token is asked for.
    assert_ne!(reason(scene.verify(&made_again(&scene)).await), "");
}

fn made_again(scene: &Scene) -> String {
    draft(scene)
        .claims(json!({ "aud": ["gateway", "apps"] }))
        .sign()
}
