//! Which keys of a set are used, and for what.

use super::mint::Signer;
use super::*;
use crate::verify::jwk::Key;
use crate::verify::keys::KeySet;

const ALL: [Algorithm; 9] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
];

/// The algorithms that a key may verify, or why it is not used.
fn read(jwk: &Value) -> Result<Vec<Algorithm>, &'static str> {
    let key = Key::read(jwk, &ALL)?;
    Ok(ALL
        .into_iter()
        .filter(|algorithm| key.fits(*algorithm))
        .collect())
}

#[test]
fn good_keys() {
    let rsa = &ALL[..6];
    let java = {
        let mut jwk = RSA.jwk(json!({}));
        let n = decode(jwk["n"].as_str().unwrap());
        jwk["n"] = json!(encode([&[0][..], &n].concat()));
        jwk
    };
    for (name, jwk, algorithms) in [
        ("RSA for any", RSA.jwk(json!({})), rsa),
        (
            "RSA for one",
            RSA.jwk(json!({ "alg": "PS384" })),
            &[Algorithm::PS384][..],
        ),
        (
            "RSA for signatures",
            RSA.jwk(json!({ "use": "sig", "kid": "1" })),
            rsa,
        ),
        (
            "RSA for verifying",
            RSA.jwk(json!({ "key_ops": ["sign", "verify"] })),
            rsa,
        ),
        (
            "RSA with certificates",
            RSA.jwk(json!({ "x5c": ["x"], "x5t": "x" })),
            rsa,
        ),
        ("RSA with Java's leading zero", java, rsa),
        ("P-256", P256.jwk(json!({})), &[Algorithm::ES256]),
        (
            "P-384",
            P384.jwk(json!({ "alg": "ES384" })),
            &[Algorithm::ES384],
        ),
        ("Ed25519", ED.jwk(json!({})), &[Algorithm::EdDSA]),
        (
            "Ed25519 by its new name",
            ED.jwk(json!({ "alg": "Ed25519" })),
            &[Algorithm::EdDSA],
        ),
        (
            "unknown members",
            ED.jwk(json!({ "x-vendor": { "y": [1] } })),
            &[Algorithm::EdDSA],
        ),
    ] {
        assert_eq!(read(&jwk), Ok(algorithms.to_vec()), "{name}");
    }
}

fn decode(text: &str) -> Vec<u8> {
    use base64::Engine;
    base64::engine::general_purpose::URL_SAFE_NO_PAD
        .decode(text)
        .unwrap()
}

#[test]
fn keys_that_are_not_used() {
    let number = "a number is missing or not base64url";
    let modulus = |bytes: &[u8]| RSA.jwk(json!({ "n": encode(bytes) }));
    let exponent = |bytes: &[u8]| RSA.jwk(json!({ "e": encode(bytes) }));
    let off_curve = {
        let mut jwk = P256.jwk(json!({}));
        let mut y = decode(jwk["y"].as_str().unwrap());
        y[31] ^= 1;
        jwk["y"] = json!(encode(y));
        jwk
    };
    let n = decode(RSA.jwk(json!({}))["n"].as_str().unwrap());
    let even = [&n[..255], &[n[255] & 0xfe]].concat();
    let (algorithm, size, rsa, curve) = (
        "for another algorithm",
        "a coordinate of a wrong size",
        "not a valid RSA key",
        "of an unknown type or curve",
    );
    let mut rows = vec![
        ("not an object", json!("x"), "not an object"),
        ("null", Value::Null, "not an object"),
        ("a list", json!([]), "not an object"),
        ("empty", json!({}), curve),
        (
            "kty unknown",
            json!({ "kty": "AKP", "alg": "ML-DSA-44", "pub": "AA" }),
            curve,
        ),
        ("kty a number", RSA.jwk(json!({ "kty": 1 })), curve),
        ("kty in lower case", RSA.jwk(json!({ "kty": "rsa" })), curve),
        (
            "symmetric",
            json!({ "kty": "oct", "k": "AA" }),
            "a private or symmetric key",
        ),
        (
            "for encryption",
            RSA.jwk(json!({ "use": "enc" })),
            "not for signatures",
        ),
        (
            "use unknown",
            RSA.jwk(json!({ "use": "x" })),
            "not for signatures",
        ),
        (
            "use a list",
            RSA.jwk(json!({ "use": ["sig"] })),
            "not for signatures",
        ),
        (
            "key_ops to encrypt",
            RSA.jwk(json!({ "key_ops": ["encrypt"] })),
            "not for verifying",
        ),
        (
            "key_ops empty",
            RSA.jwk(json!({ "key_ops": [] })),
            "not for verifying",
        ),
        (
            "key_ops text",
            RSA.jwk(json!({ "key_ops": "verify" })),
            "not for verifying",
        ),
        (
            "key_ops against use",
            RSA.jwk(json!({ "use": "sig", "key_ops": ["wrapKey"] })),
            "not for verifying",
        ),
        (
            "alg of encryption",
            RSA.jwk(json!({ "alg": "RSA-OAEP" })),
            algorithm,
        ),
        (
            "alg of another family",
            RSA.jwk(json!({ "alg": "ES256" })),
            "for no allowed algorithm",
        ),
        (
            "alg of another curve",
            P256.jwk(json!({ "alg": "ES384" })),
            "for no allowed algorithm",
        ),
        (
            "alg symmetric",
            RSA.jwk(json!({ "alg": "HS256" })),
            algorithm,
        ),
        ("alg none", RSA.jwk(json!({ "alg": "none" })), algorithm),
        ("alg SHA-1", RSA.jwk(json!({ "alg": "RS1" })), algorithm),
        (
            "alg a number",
            RSA.jwk(json!({ "alg": 1 })),
            "alg is not text",
        ),
        (
            "kid a number",
            RSA.jwk(json!({ "kid": 1 })),
            "kid is not text",
        ),
        ("n missing", RSA.jwk(json!({ "n": null })), number),
        ("n a number", RSA.jwk(json!({ "n": 5 })), number),
        ("n not base64", RSA.jwk(json!({ "n": "!!" })), number),
        ("n padded", RSA.jwk(json!({ "n": "AQ==" })), number),
        ("e missing", RSA.jwk(json!({ "e": null })), number),
        ("n empty", modulus(&[]), "an RSA key of a wrong size"),
        ("n zero", modulus(&[0; 256]), "an RSA key of a wrong size"),
        (
            "n 1024 bits",
            modulus(&[0xff; 128]),
            "an RSA key of a wrong size",
        ),
        (
            "n 2047 bits",
            modulus(&[0x7f; 256]),
            "an RSA key of a wrong size",
        ),
        (
            "n 1024 bits behind zeros",
            modulus(&[vec![0; 128], vec![0xff; 128]].concat()),
            "an RSA key of a wrong size",
        ),
        (
            "n 16384 bits",
            modulus(&[0xff; 2048]),
            "an RSA key of a wrong size",
        ),
        ("n even", modulus(&even), rsa),
        ("e zero", exponent(&[0]), rsa),
        ("e one", exponent(&[1]), rsa),
        ("e even", exponent(&[2]), rsa),
        ("e even and large", exponent(&[1, 0, 0]), rsa),
        ("e huge", exponent(&[0xff; 16]), rsa),
        (
            "a curve of Bitcoin's",
            P256.jwk(json!({ "crv": "secp256k1" })),
            curve,
        ),
        ("P-521", P256.jwk(json!({ "crv": "P-521" })), curve),
        ("crv missing", P256.jwk(json!({ "crv": null })), curve),
        (
            "crv of another kind",
            P256.jwk(json!({ "crv": "Ed25519" })),
            curve,
        ),
        (
            "another curve's numbers",
            P256.jwk(json!({ "crv": "P-384" })),
            size,
        ),
        ("x short", P256.jwk(json!({ "x": encode([1; 31]) })), size),
        ("x long", P256.jwk(json!({ "x": encode([0; 33]) })), size),
        ("y missing", P256.jwk(json!({ "y": null })), number),
        ("off the curve", off_curve, "not a valid public key"),
        (
            "the point zero",
            P256.jwk(json!({ "x": encode([0; 32]), "y": encode([0; 32]) })),
            "not a valid public key",
        ),
        (
            "Ed25519 short",
            ED.jwk(json!({ "x": encode([1; 31]) })),
            size,
        ),
        ("Ed448", ED.jwk(json!({ "crv": "Ed448" })), curve),
        ("X25519", ED.jwk(json!({ "crv": "X25519" })), curve),
    ];
    for name in ["d", "p", "q", "dp", "dq", "qi", "oth", "k"] {
        rows.push((
            name,
            RSA.jwk(json!({ name: "AA" })),
            "a private or symmetric key",
        ));
    }
    for (name, jwk, why) in rows {
        assert_eq!(read(&jwk), Err(why), "{name}");
    }
}

#[test]
fn a_key_is_for_allowed_algorithms_only() {
    let key = Key::read(&RSA.jwk(json!({})), &[Algorithm::PS256]).unwrap();
    assert!(key.fits(Algorithm::PS256));
    assert!(!key.fits(Algorithm::RS256));
    assert!(Key::read(&P256.jwk(json!({})), &[Algorithm::PS256]).is_err());
}

#[test]
fn what_is_no_key_set() {
    for text in [
        "null",
        "[]",
        "1",
        "\"x\"",
        "{}",
        r#"{"keys":null}"#,
        r#"{"keys":{}}"#,
        r#"{"Keys":[]}"#,
    ] {
        let value: Value = serde_json::from_str(text).unwrap();
        let read = KeySet::read(&value, &ALL, None);
        assert!(
            matches!(read, Err(issuer::Error::Unusable { .. })),
            "{text}"
        );
    }
}

#[tokio::test]
async fn one_kid_for_two_keys_of_one_type() {
    let keys = set(&[
        RSA.jwk(json!({ "kid": "rsa" })),
        OTHER_RSA.jwk(json!({ "kid": "rsa" })),
    ]);
    let scene = Scene::with(keys, settings()).await;
    assert_eq!(reason(scene.verify(&scene.draft().sign()).await), "");
    let second = scene.draft().sign_with(&OTHER_RSA, "RS256");
    assert_eq!(reason(scene.verify(&second).await), "");
    let forged = scene.draft().sign_with(&Signer::rsa(), "RS256");
    assert_eq!(
        reason(scene.verify(&forged).await),
        "the signature is wrong"
    );
}

#[tokio::test]
async fn one_kid_for_keys_of_different_types() {
    let keys = set(&[
        P256.jwk(json!({ "kid": "rsa" })),
        RSA.jwk(json!({ "kid": "rsa", "use": "enc" })),
        RSA.jwk(json!({ "kid": "rsa" })),
    ]);
    let scene = Scene::with(keys, settings()).await;
    assert_eq!(reason(scene.verify(&scene.draft().sign()).await), "");
    let es256 = scene.draft().header(json!({ "alg": "ES256" }));
    assert_eq!(
        reason(scene.verify(&es256.sign_with(&P256, "ES256")).await),
        ""
    );
}

#[tokio::test]
async fn a_set_without_kids() {
    let scene = Scene::with(set(&[RSA.jwk(json!({}))]), settings()).await;
    let without = scene.draft().header(json!({ "kid": null }));
    assert_eq!(reason(scene.verify(&without.sign()).await), "");
    assert_eq!(
        reason(scene.verify(&scene.draft().sign()).await),
        "signed with an unknown key"
    );
}

#[tokio::test]
async fn keys_behind_the_hundredth_are_not_looked_at() {
    let mut keys = vec![json!({}); 100];
    keys.push(RSA.jwk(json!({ "kid": "rsa" })));
    let scene = Scene::with(set(&keys), settings()).await;
    assert_eq!(
        reason(scene.verify(&scene.draft().sign()).await),
        "signed with an unknown key"
    );
    let scene = Scene::with(set(&keys[1..]), settings()).await;
    assert_eq!(reason(scene.verify(&scene.draft().sign()).await), "");
}
