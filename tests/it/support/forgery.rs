//! Tokens that must be refused though they look good.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use tidegate::demo::idp::{Idp, PEOPLE};

/// The header and the claims of a token, unverified.
pub fn parts(token: &str) -> (Value, Value) {
    let mut parts = token.split('.').map(|part| {
        let bytes = URL_SAFE_NO_PAD.decode(part).unwrap_or_default();
        serde_json::from_slice(&bytes).unwrap_or(Value::Null)
    });
    (
        parts.next().unwrap_or(Value::Null),
        parts.next().unwrap_or(Value::Null),
    )
}

/// A token with this header and these claims, and this as its signature.
pub fn assemble(header: &Value, claims: &Value, signature: &[u8]) -> String {
    let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signature = URL_SAFE_NO_PAD.encode(signature);
    format!("{}.{}.{signature}", encode(header), encode(claims))
}

/// An HS256 token under `secret`.
pub fn hs256(header: &Value, claims: &Value, secret: &[u8]) -> String {
    let unsigned = assemble(header, claims, b"");
    let input = unsigned.trim_end_matches('.');
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), input.as_bytes());
    assemble(header, claims, tag.as_ref())
}

/// Every kind of bad bearer token for a client `gateway` of `idp`, each with a name for the failure message.
pub fn bad_bearers(idp: &Idp, stranger: &Idp) -> Vec<(&'static str, String)> {
    let mut bad = unsigned_and_confused(idp);
    bad.extend(wrong_claims(idp));
    bad.extend(wrong_headers(idp));
    let alice = &PEOPLE[0];
    bad.push((
        "another issuer's",
        stranger.bearer(alice, "gateway", &["openid"]).unwrap(),
    ));
    let iss = json!(idp.issuer());
    let forged = stranger.forge(alice, "gateway", |_, claims| {
        claims.insert("iss".into(), iss);
    });
    bad.push(("another issuer's key under our name", forged.unwrap()));
    bad
}

fn unsigned_and_confused(idp: &Idp) -> Vec<(&'static str, String)> {
    let good = idp.bearer(&PEOPLE[0], "gateway", &["openid"]).unwrap();
    let (header, claims) = parts(&good);
    let (body, signature) = good.rsplit_once('.').unwrap();
    let mut none = header.clone();
    none["alg"] = json!("none");
    let mut hs = header.clone();
    hs["alg"] = json!("HS256");
    let jwks = idp.jwks();
    let key = jwks["keys"]
        .as_array()
        .unwrap()
        .iter()
        .find(|k| k["kty"] == "RSA")
        .unwrap();
    let modulus = URL_SAFE_NO_PAD.decode(key["n"].as_str().unwrap()).unwrap();
    let mut other = claims.clone();
    other["sub"] = json!("u-mallory");
    let flipped = if signature.starts_with('A') { "B" } else { "A" };
    vec![
        ("alg none", assemble(&none, &claims, b"")),
        ("alg none with the old signature", {
            let unsigned = assemble(&none, &claims, b"");
            format!("{unsigned}{signature}")
        }),
        (
            "HS256 under the public modulus",
            hs256(&hs, &claims, &modulus),
        ),
        (
            "HS256 under the published key",
            hs256(&hs, &claims, key.to_string().as_bytes()),
        ),
        ("HS256 under nothing", hs256(&hs, &claims, b"")),
        ("other claims under the old signature", {
            let unsigned = assemble(&header, &other, b"");
            format!("{unsigned}{signature}")
        }),
        (
            "a flipped signature",
            format!("{body}.{flipped}{}", &signature[1..]),
        ),
        ("no signature", format!("{body}.")),
        ("two parts", body.to_owned()),
        ("four parts", format!("{good}.{signature}")),
        ("nonsense", "nonsense".to_owned()),
    ]
}

fn wrong_claims(idp: &Idp) -> Vec<(&'static str, String)> {
    let forge = |name: &'static str, claim: &str, value: Value| {
        let forged = idp.forge(&PEOPLE[0], "gateway", |_, claims| {
            if value.is_null() {
                claims.remove(claim);
            } else {
                claims.insert(claim.to_owned(), value);
            }
        });
        (name, forged.unwrap())
    };
    let issuer = idp.issuer();
    let far = 60 * 60 * 24;
    let now = parts(&idp.bearer(&PEOPLE[0], "gateway", &[]).unwrap()).1["iat"]
        .as_u64()
        .unwrap();
    vec![
        forge("expired", "exp", json!(now - far)),
        forge("without exp", "exp", Value::Null),
        forge("exp as text", "exp", json!("9999999999")),
        forge("exp beyond all numbers", "exp", json!(1e300)),
        forge("not yet valid", "nbf", json!(now + far)),
        forge("issued in the future", "iat", json!(now + far)),
        forge("for another audience", "aud", json!(["other"])),
        forge("for no audience", "aud", Value::Null),
        forge("for an audience that begins so", "aud", json!("apps2")),
        forge("of another issuer", "iss", json!("https://other.example")),
        forge(
            "of the issuer with a slash",
            "iss",
            json!(format!("{issuer}/")),
        ),
        forge("of a list of issuers", "iss", json!([issuer])),
        forge("of no issuer", "iss", Value::Null),
        forge("without a subject", "sub", Value::Null),
    ]
}

fn wrong_headers(idp: &Idp) -> Vec<(&'static str, String)> {
    let forge = |name: &'static str, field: &str, value: Value| {
        let forged = idp.forge(&PEOPLE[0], "gateway", |header, _| {
            if field == "crit" {
                header.insert("exotic".into(), json!(true));
            }
            header.insert(field.to_owned(), value);
        });
        (name, forged.unwrap())
    };
    vec![
        forge("an unknown crit", "crit", json!(["exotic"])),
        forge("an empty crit", "crit", json!([])),
        forge("typ of a logout token", "typ", json!("logout+jwt")),
        forge("typ of something else", "typ", json!("dpop+jwt")),
        forge("an unknown kid", "kid", json!("no-such-key")),
        forge("alg of another family", "alg", json!("ES256")),
        forge("alg that nobody knows", "alg", json!("RS257")),
    ]
}
