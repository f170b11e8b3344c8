//! Access tokens, each with the decision that it must meet and the reason for it.

use base64::engine::general_purpose::STANDARD_NO_PAD;

use super::mint::{Signer, signed};
use super::*;
use base64::Engine;

const GOOD: &str = "";
const NOT_JWT: &str = "not a JWT";
const NOT_SIGNED: &str = "not a signed JWT";
const HEADER: &str = "header is not an unambiguous JSON object";
const CLAIMS: &str = "claims are not an unambiguous JSON object";
const SIGNATURE_TEXT: &str = "signature is not base64url";
const SIGNATURE: &str = "the signature is wrong";
const EXTENSION: &str = "header has an extension that changes its meaning";
const HEADER_TYPE: &str = "header has a member of a wrong type";
const ALG: &str = "alg is missing or not an asymmetric signature";
const ALG_LIST: &str = "alg is not allowed";
const ALG_KEY: &str = "alg does not fit its key";
const UNKNOWN: &str = "signed with an unknown key";
const TYP: &str = "typ is not that of an access token";
const ISS: &str = "iss is not a configured provider";
const ISS_TYPE: &str = "iss is missing or not text";
const AUD: &str = "aud does not name us";
const AUD_TYPE: &str = "aud is missing or of a wrong type";
const DATE: &str = "a date is of a wrong type or out of range";
const TEXT: &str = "a claim that must be text is not";

type Row = (&'static str, String, &'static str);

/// Every row is decided by one verifier, in order, so that no decision hangs on what was decided before.
async fn decide(scene: &Scene, rows: Vec<Row>) {
    let mut wrong = Vec::new();
    for (name, token, expected) in rows {
        for _ in 0..2 {
            let found = reason(scene.verify(&token).await);
            if found != expected {
                wrong.push(format!("{name}: {found:?} in place of {expected:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    assert!(scene.fetches() <= 2, "{} fetches", scene.fetches());
}

#[tokio::test]
async fn the_shape() {
    let scene = Scene::new().await;
    let good = scene.draft().sign();
    let parts: Vec<&str> = good.split('.').collect();
    let (header, claims, signature) = (parts[0], parts[1], parts[2]);
    let standard = |text: &str| STANDARD_NO_PAD.encode(text);
    let json = json!({ "protected": header, "payload": claims, "signature": signature });
    decide(
        &scene,
        vec![
            ("good", good.clone(), GOOD),
            ("empty", String::new(), NOT_JWT),
            ("one part", header.to_owned(), NOT_JWT),
            ("two parts", format!("{header}.{claims}"), NOT_SIGNED),
            ("one dot", ".".to_owned(), NOT_SIGNED),
            ("two dots", "..".to_owned(), HEADER),
            ("16k dots", ".".repeat(16 * 1024), NOT_SIGNED),
            ("four parts", format!("{good}.{signature}"), NOT_SIGNED),
            ("five parts, as JWE", format!("{good}.a.b"), NOT_SIGNED),
            ("a dot behind", format!("{good}."), NOT_SIGNED),
            ("a dot in front", format!(".{good}"), NOT_SIGNED),
            ("a space in front", format!(" {good}"), HEADER),
            ("a space behind", format!("{good} "), SIGNATURE_TEXT),
            ("a newline behind", format!("{good}\n"), SIGNATURE_TEXT),
            ("a NUL behind", format!("{good}\0"), SIGNATURE_TEXT),
            (
                "a tab inside",
                format!("{header}.\t{claims}.{signature}"),
                CLAIMS,
            ),
            (
                "a line break inside",
                format!("{header}.{claims}.\r\n{signature}"),
                SIGNATURE_TEXT,
            ),
            (
                "not ASCII",
                format!("{header}.{claims}é.{signature}"),
                CLAIMS,
            ),
            (
                "padded header",
                format!("{header}=.{claims}.{signature}"),
                HEADER,
            ),
            (
                "padded claims",
                format!("{header}.{claims}==.{signature}"),
                CLAIMS,
            ),
            ("padded signature", format!("{good}=="), SIGNATURE_TEXT),
            ("percent-encoded", good.replace('.', "%2E"), NOT_JWT),
            ("with its scheme", format!("Bearer {good}"), HEADER),
            ("in quotes", format!("\"{good}\""), HEADER),
            (
                "another alphabet",
                format!("{header}.{}.{signature}", standard("{\"a\":\"??>>\"}")),
                CLAIMS,
            ),
            ("left-over bits", last_bits(&good), SIGNATURE_TEXT),
            (
                "one character short",
                good[..good.len() - 1].to_owned(),
                SIGNATURE_TEXT,
            ),
            ("no signature", format!("{header}.{claims}."), SIGNATURE),
            (
                "half a signature",
                format!("{header}.{claims}.{}", &signature[..168]),
                SIGNATURE,
            ),
            ("two signatures", format!("{good}{signature}"), SIGNATURE),
            ("JSON serialisation", json.to_string(), NOT_JWT),
            ("polyglot", format!("{{\"x\":\"{good}\"}}"), HEADER),
            (
                "parts swapped",
                format!("{claims}.{header}.{signature}"),
                ALG,
            ),
            ("almost too large", sized(&scene, 15_000), GOOD),
            ("too large", sized(&scene, 16_385), "too large"),
            ("a mebibyte", "a".repeat(1024 * 1024), "too large"),
            ("a mebibyte of dots", ".".repeat(1024 * 1024), "too large"),
        ],
    )
    .await;
}

/// The last character of a 256-byte signature carries four bits that must be zero.
fn last_bits(token: &str) -> String {
    let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let last = alphabet.find(token.chars().last().unwrap()).unwrap();
    format!(
        "{}{}",
        &token[..token.len() - 1],
        &alphabet[last + 1..last + 2]
    )
}

/// A good token of about this many bytes.
fn sized(scene: &Scene, bytes: usize) -> String {
    let filler = "x".repeat((bytes - 600) / 4 * 3 - 100);
    let token = scene.draft().claims(json!({ "filler": filler })).sign();
    if bytes < 16_000 {
        return token;
    }
    let more = "x".repeat((bytes - token.len()).div_ceil(4) * 3);
    scene
        .draft()
        .claims(json!({ "filler": filler + &more }))
        .sign()
}

#[tokio::test]
async fn the_json() {
    let scene = Scene::new().await;
    let draft = scene.draft();
    let (header, claims) = (draft.header.to_string(), draft.claims.to_string());
    let inside = |more: &str| format!("{},{more}}}", claims.strip_suffix('}').unwrap());
    let sign = |header: &str, claims: &str| signed(&RSA, "RS256", header, claims);
    let both = |text: &str| (sign(text, &claims), sign(&header, text));
    let mut rows: Vec<Row> = Vec::new();
    for (name, text) in [
        ("nothing", String::new()),
        ("no JSON", "rsa".to_owned()),
        ("null", "null".to_owned()),
        ("a number", "1".to_owned()),
        ("text", "\"x\"".to_owned()),
        ("a list", format!("[{claims}]")),
        ("cut off", "{\"alg\":\"RS256\"".to_owned()),
        ("a byte order mark", format!("\u{feff}{claims}")),
        ("something behind", format!("{claims}x")),
        ("twice", format!("{claims}{claims}")),
        ("a NUL behind", format!("{claims}\0")),
        ("single quotes", claims.replace('"', "'")),
        ("a comma behind", inside("")),
        ("a comment", format!("/**/{claims}")),
        ("a bare name", inside("x:1")),
        ("NaN", inside("\"x\":NaN")),
        ("infinity", inside("\"x\":Infinity")),
        ("beyond all numbers", inside("\"x\":1e400")),
        ("a leading zero", inside("\"x\":01")),
        ("half a surrogate", inside(r#""x":"\ud800""#)),
        ("a raw control character", inside("\"x\":\"\u{1}\"")),
        (
            "deep lists",
            inside(&format!("\"x\":{}{}", "[".repeat(20), "]".repeat(20))),
        ),
        (
            "deep objects",
            inside(&format!(
                "\"x\":{}1{}",
                "{\"x\":".repeat(20),
                "}".repeat(20)
            )),
        ),
        ("very deep", inside(&format!("\"x\":{}", "[".repeat(6000)))),
        ("a member twice", inside("\"x\":1,\"x\":1")),
        ("a member twice inside", inside("\"x\":{\"y\":1,\"y\":2}")),
        (
            "a member twice in a list",
            inside("\"x\":[{\"y\":1,\"y\":2}]"),
        ),
        (
            "a member twice, spelt differently",
            inside(r#""x":1,"\u0078":2"#),
        ),
    ] {
        let (as_header, as_claims) = both(&text);
        rows.push((name, as_header, HEADER));
        rows.push((name, as_claims, CLAIMS));
    }
    let header_twice = |more: &str| {
        sign(
            &format!("{},{more}}}", header.strip_suffix('}').unwrap()),
            &claims,
        )
    };
    rows.extend([
        ("alg twice", header_twice("\"alg\":\"none\""), HEADER),
        ("kid twice", header_twice("\"kid\":\"ec\""), HEADER),
        ("typ twice", header_twice("\"typ\":\"JWT\""), HEADER),
        (
            "iss twice",
            sign(&header, &inside("\"iss\":\"https://evil.example\"")),
            CLAIMS,
        ),
        (
            "sub twice",
            sign(&header, &inside("\"sub\":\"admin\"")),
            CLAIMS,
        ),
        (
            "aud twice",
            sign(&header, &inside("\"aud\":\"apps\"")),
            CLAIMS,
        ),
        (
            "exp twice",
            sign(&header, &inside("\"exp\":9999999999")),
            CLAIMS,
        ),
        (
            "a few levels",
            sign(&header, &inside("\"x\":[[[[{\"y\":{\"z\":[1]}}]]]]")),
            GOOD,
        ),
        (
            "white space",
            sign(&format!(" {header}\n"), &format!("\t{claims} ")),
            GOOD,
        ),
    ]);
    let not_utf8 = [claims.as_bytes(), b"\xff"].concat();
    let message = format!("{}.{}", encode(&header), encode(not_utf8));
    let signature = encode(RSA.sign("RS256", message.as_bytes()));
    rows.push(("not UTF-8", format!("{message}.{signature}"), CLAIMS));
    decide(&scene, rows).await;
}

#[tokio::test]
async fn the_header() {
    let scene = Scene::new().await;
    let with = |more: Value| scene.draft().header(more).sign();
    let attacker = Signer::rsa();
    let forged = |more: Value| scene.draft().header(more).sign_with(&attacker, "RS256");
    let mut rows: Vec<Row> = vec![
        (
            "kid missing, several keys fit",
            with(json!({ "kid": null })),
            "kid is missing and several keys fit",
        ),
        ("kid a number", with(json!({ "kid": 1 })), HEADER_TYPE),
        ("kid a list", with(json!({ "kid": ["rsa"] })), HEADER_TYPE),
        ("kid empty", with(json!({ "kid": "" })), UNKNOWN),
        ("kid in upper case", with(json!({ "kid": "RSA" })), UNKNOWN),
        (
            "kid a path",
            with(json!({ "kid": "../../dev/null" })),
            UNKNOWN,
        ),
        (
            "kid a URL",
            with(json!({ "kid": "https://evil.example/jwks" })),
            UNKNOWN,
        ),
        ("kid SQL", with(json!({ "kid": "' OR 1=1 --" })), UNKNOWN),
        ("kid with a NUL", with(json!({ "kid": "rsa\0" })), UNKNOWN),
        (
            "kid long",
            with(json!({ "kid": "k".repeat(8000) })),
            UNKNOWN,
        ),
        ("an encryption key", with(json!({ "kid": "enc" })), UNKNOWN),
        ("a small key", with(json!({ "kid": "small" })), UNKNOWN),
        (
            "a key whose private half is public",
            with(json!({ "kid": "leaked" })),
            UNKNOWN,
        ),
        (
            "a key of an unknown type",
            with(json!({ "kid": "unheard-of" })),
            UNKNOWN,
        ),
        (
            "a key on an unknown curve",
            with(json!({ "kid": "k1" })),
            UNKNOWN,
        ),
        ("a symmetric key", with(json!({ "kid": "oct" })), UNKNOWN),
        (
            "another key's kid",
            with(json!({ "kid": "rsa-any" })),
            SIGNATURE,
        ),
        ("a curve's kid", with(json!({ "kid": "ec" })), ALG_KEY),
        ("forged", forged(json!({})), SIGNATURE),
        (
            "forged with jku",
            forged(json!({ "jku": "http://127.0.0.1:1/jwks" })),
            SIGNATURE,
        ),
        (
            "forged with jku and kid",
            forged(json!({ "jku": "http://127.0.0.1:1/jwks", "kid": "mine" })),
            UNKNOWN,
        ),
        (
            "forged with x5u",
            forged(json!({ "x5u": "http://127.0.0.1:1/cert" })),
            SIGNATURE,
        ),
        (
            "forged with x5c",
            forged(json!({ "x5c": ["MIIB"], "kid": "mine" })),
            UNKNOWN,
        ),
        (
            "forged with jwk",
            forged(json!({ "jwk": attacker.jwk(json!({})) })),
            SIGNATURE,
        ),
        (
            "forged with jwk and kid",
            forged(json!({ "jwk": attacker.jwk(json!({ "kid": "mine" })), "kid": "mine" })),
            UNKNOWN,
        ),
        (
            "forged with jwk, no kid",
            forged(json!({ "jwk": attacker.jwk(json!({})), "kid": null })),
            "kid is missing and several keys fit",
        ),
        (
            "good with a jku that is ignored",
            with(json!({ "jku": "http://127.0.0.1:1/jwks" })),
            GOOD,
        ),
        (
            "good with an x5t that is ignored",
            with(json!({ "x5t": "AAAA", "x5t#S256": "AAAA" })),
            GOOD,
        ),
        (
            "crit unknown",
            with(json!({ "crit": ["b64x"], "b64x": true })),
            EXTENSION,
        ),
        ("crit empty", with(json!({ "crit": [] })), EXTENSION),
        (
            "crit names exp",
            with(json!({ "crit": ["exp"], "exp": 1 })),
            EXTENSION,
        ),
        ("crit is text", with(json!({ "crit": "exp" })), EXTENSION),
        ("b64 false", with(json!({ "b64": false })), EXTENSION),
        ("b64 true", with(json!({ "b64": true })), EXTENSION),
        ("compressed", with(json!({ "zip": "DEF" })), EXTENSION),
        ("encrypted", with(json!({ "enc": "A256GCM" })), EXTENSION),
        (
            "PBES2 with a huge count",
            with(json!({ "alg": "PBES2-HS256+A128KW", "enc": "A128GCM", "p2c": 2_147_483_647 })),
            EXTENSION,
        ),
        ("nested", with(json!({ "cty": "JWT" })), "nested JWT"),
        (
            "nested, spelt out",
            with(json!({ "cty": "application/jwt" })),
            "nested JWT",
        ),
        (
            "cty of a wrong type",
            with(json!({ "cty": 1 })),
            HEADER_TYPE,
        ),
        (
            "an extension that may be ignored",
            with(json!({ "vnd": { "x": [1] } })),
            GOOD,
        ),
    ];
    let null = |name: &str| {
        let mut draft = scene.draft();
        draft.header[name] = Value::Null;
        draft.sign()
    };
    rows.extend([
        ("alg null", null("alg"), HEADER_TYPE),
        ("kid null", null("kid"), HEADER_TYPE),
        ("typ null", null("typ"), HEADER_TYPE),
        ("crit null", null("crit"), EXTENSION),
    ]);
    for (name, typ, expected) in [
        ("typ missing", Value::Null, TYP),
        ("typ at+jwt", json!("at+jwt"), GOOD),
        ("typ AT+JWT", json!("AT+JWT"), GOOD),
        ("typ application/at+jwt", json!("application/at+jwt"), GOOD),
        ("typ Application/JWT", json!("Application/JWT"), GOOD),
        ("typ jwt", json!("jwt"), GOOD),
        ("typ empty", json!(""), TYP),
        ("typ logout+jwt", json!("logout+jwt"), TYP),
        ("typ dpop+jwt", json!("dpop+jwt"), TYP),
        ("typ secevent+jwt", json!("secevent+jwt"), TYP),
        (
            "typ token-introspection+jwt",
            json!("token-introspection+jwt"),
            TYP,
        ),
        ("typ JOSE", json!("JOSE"), TYP),
        ("typ with a space", json!("JWT "), TYP),
        (
            "typ with two types",
            json!("application/application/jwt"),
            TYP,
        ),
        ("typ a list", json!(["JWT"]), HEADER_TYPE),
        ("typ a number", json!(1), HEADER_TYPE),
    ] {
        rows.push((name, with(json!({ "typ": typ })), expected));
    }
    decide(&scene, rows).await;
}

#[tokio::test]
async fn the_algorithm() {
    let scene = Scene::new().await;
    let draft = |alg: &str, kid: &str| scene.draft().header(json!({ "alg": alg, "kid": kid }));
    let mut rows: Vec<Row> = vec![
        (
            "RS256",
            draft("RS256", "rsa").sign_with(&RSA, "RS256"),
            GOOD,
        ),
        (
            "RS256 with a key for any",
            draft("RS256", "rsa-any").sign_with(&OTHER_RSA, "RS256"),
            GOOD,
        ),
        (
            "PS256 with a key for any",
            draft("PS256", "rsa-any").sign_with(&OTHER_RSA, "PS256"),
            GOOD,
        ),
        (
            "ES256",
            draft("ES256", "ec").sign_with(&P256, "ES256"),
            GOOD,
        ),
        (
            "ES384",
            draft("ES384", "ec384").sign_with(&P384, "ES384"),
            GOOD,
        ),
        ("EdDSA", draft("EdDSA", "ed").sign_with(&ED, "EdDSA"), GOOD),
        (
            "kid missing, one key fits",
            draft("EdDSA", "")
                .header(json!({ "kid": null }))
                .sign_with(&ED, "EdDSA"),
            GOOD,
        ),
        (
            "PS256 with a key for RS256",
            draft("PS256", "rsa").sign_with(&RSA, "PS256"),
            ALG_KEY,
        ),
        (
            "RS512 is not in the list",
            draft("RS512", "rsa-any").sign_with(&OTHER_RSA, "RS512"),
            ALG_LIST,
        ),
        (
            "PS384 is not in the list",
            draft("PS384", "rsa-any").sign_with(&OTHER_RSA, "PS384"),
            ALG_LIST,
        ),
        (
            "RS256 said, PS256 made",
            draft("RS256", "rsa").sign_with(&RSA, "PS256"),
            SIGNATURE,
        ),
        (
            "RS256 said, RS512 made",
            draft("RS256", "rsa").sign_with(&RSA, "RS512"),
            SIGNATURE,
        ),
        (
            "PS256 said, RS256 made",
            draft("PS256", "rsa-any").sign_with(&OTHER_RSA, "RS256"),
            SIGNATURE,
        ),
        (
            "PS256 said, PS512 made",
            draft("PS256", "rsa-any").sign_with(&OTHER_RSA, "PS512"),
            SIGNATURE,
        ),
        (
            "ES256 on the other curve's key",
            draft("ES256", "ec384").sign_with(&P384, "ES384"),
            ALG_KEY,
        ),
        (
            "ES384 on the other curve's key",
            draft("ES384", "ec").sign_with(&P256, "ES256"),
            ALG_KEY,
        ),
        (
            "ES256 said on an RSA key",
            draft("ES256", "rsa").sign_with(&RSA, "RS256"),
            ALG_KEY,
        ),
        (
            "RS256 said on a curve's key",
            draft("RS256", "ec").sign_with(&P256, "ES256"),
            ALG_KEY,
        ),
        (
            "EdDSA said on a curve's key",
            draft("EdDSA", "ec").sign_with(&P256, "ES256"),
            ALG_KEY,
        ),
        (
            "alg missing",
            scene.draft().header(json!({ "alg": null })).sign(),
            ALG,
        ),
        (
            "alg a number",
            scene.draft().header(json!({ "alg": 256 })).sign(),
            HEADER_TYPE,
        ),
        (
            "alg a list",
            scene.draft().header(json!({ "alg": ["RS256"] })).sign(),
            HEADER_TYPE,
        ),
    ];
    for name in [
        "none",
        "None",
        "NONE",
        "nOnE",
        "",
        "rs256",
        "RS256 ",
        " RS256",
        "RS256\0",
        "RS1",
        "RS224",
        "HS256",
        "HS384",
        "HS512",
        "ES512",
        "ES256K",
        "ED25519",
        "Ed448",
        "RSA-OAEP",
        "RSA1_5",
        "dir",
        "A256GCMKW",
        "PBES2-HS256+A128KW",
        "ECDH-ES",
        "ML-DSA-44",
        "SHA256",
    ] {
        rows.push((
            name,
            scene.draft().header(json!({ "alg": name })).sign(),
            ALG,
        ));
    }
    for alg in ["none", "None", "NONE", "nOnE"] {
        let draft = scene.draft().header(json!({ "alg": alg }));
        let (header, claims) = (
            encode(draft.header.to_string()),
            encode(draft.claims.to_string()),
        );
        rows.push(("unsigned", format!("{header}.{claims}."), ALG));
    }
    for (name, secret) in [
        ("HS256 with the public key", RSA.public_bytes()),
        (
            "HS256 with the public key as text",
            encode(RSA.public_bytes()).into_bytes(),
        ),
        (
            "HS256 with the JWK",
            RSA.jwk(json!({})).to_string().into_bytes(),
        ),
        ("HS256 with nothing", Vec::new()),
        ("HS256 with the curve's point", P256.public_bytes()),
    ] {
        rows.push((name, hmac(scene.draft(), "HS256", &secret), ALG));
    }
    for (name, alg) in [("a MAC as RS256", "RS256"), ("a MAC as PS256", "PS256")] {
        let kid = if alg == "RS256" { "rsa" } else { "rsa-any" };
        let draft = scene.draft().header(json!({ "kid": kid }));
        rows.push((name, hmac(draft, alg, &RSA.public_bytes()), SIGNATURE));
    }
    decide(&scene, rows).await;
}

fn hmac(draft: Draft, alg: &str, secret: &[u8]) -> String {
    use aws_lc_rs::hmac;
    let draft = draft.header(json!({ "alg": alg }));
    let message = format!(
        "{}.{}",
        encode(draft.header.to_string()),
        encode(draft.claims.to_string())
    );
    let tag = hmac::sign(
        &hmac::Key::new(hmac::HMAC_SHA256, secret),
        message.as_bytes(),
    );
    format!("{message}.{}", encode(tag))
}

#[tokio::test]
async fn the_signature() {
    let scene = Scene::new().await;
    let es256 = scene
        .draft()
        .header(json!({ "alg": "ES256", "kid": "ec" }))
        .sign_with(&P256, "ES256");
    let eddsa = scene
        .draft()
        .header(json!({ "alg": "EdDSA", "kid": "ed" }))
        .sign_with(&ED, "EdDSA");
    let rs256 = scene.draft().sign();
    let message = |token: &str| token.rsplit_once('.').unwrap().0.to_owned();
    let signature = |token: &str| {
        use base64::engine::general_purpose::URL_SAFE_NO_PAD;
        URL_SAFE_NO_PAD
            .decode(token.rsplit_once('.').unwrap().1)
            .unwrap()
    };
    let resigned = |token: &str, bytes: &[u8]| format!("{}.{}", message(token), encode(bytes));
    // The order of P-256's group, and half of a signature that is none.
    let order: Vec<u8> = hex("ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551");
    let (zero, one) = (vec![0; 32], [vec![0; 31], vec![1]].concat());
    let ec = |r: &[u8], s: &[u8]| resigned(&es256, &[r, s].concat());
    let (r, s) = (
        signature(&es256)[..32].to_vec(),
        signature(&es256)[32..].to_vec(),
    );
    let der = [&[0x30, 68, 2, 32][..], &r, &[2, 32], &s].concat();
    let mut flipped = signature(&rs256);
    flipped[100] ^= 1;
    let changed = |token: &str, at: usize, part: &str| {
        let mut parts: Vec<&str> = token.split('.').collect();
        parts[at] = part;
        parts.join(".")
    };
    let other = scene.draft().claims(json!({ "sub": "admin" }));
    let other_header = scene.draft().header(json!({ "typ": "at+jwt" }));
    decide(
        &scene,
        vec![
            ("ES256", es256.clone(), GOOD),
            ("EdDSA", eddsa.clone(), GOOD),
            ("psychic: r and s zero", ec(&zero, &zero), SIGNATURE),
            ("r zero", ec(&zero, &s), SIGNATURE),
            ("s zero", ec(&r, &zero), SIGNATURE),
            ("r and s one", ec(&one, &one), SIGNATURE),
            ("r and s the order", ec(&order, &order), SIGNATURE),
            ("r the order", ec(&order, &s), SIGNATURE),
            ("s the order", ec(&r, &order), SIGNATURE),
            ("r and s all ones", ec(&[255; 32], &[255; 32]), SIGNATURE),
            ("r and s swapped", ec(&s, &r), SIGNATURE),
            ("DER", resigned(&es256, &der), SIGNATURE),
            (
                "a byte short",
                resigned(&es256, &signature(&es256)[..63]),
                SIGNATURE,
            ),
            (
                "a byte long",
                resigned(&es256, &[&signature(&es256)[..], &[0]].concat()),
                SIGNATURE,
            ),
            (
                "a zero before r and s",
                resigned(&es256, &[&[0][..], &r, &[0], &s].concat()),
                SIGNATURE,
            ),
            (
                "as wide as P-521's",
                resigned(&es256, &[&[0; 34][..], &r, &[0; 34], &s].concat()),
                SIGNATURE,
            ),
            ("EdDSA zero", resigned(&eddsa, &[0; 64]), SIGNATURE),
            (
                "EdDSA a byte short",
                resigned(&eddsa, &signature(&eddsa)[..63]),
                SIGNATURE,
            ),
            (
                "EdDSA twice",
                resigned(&eddsa, &signature(&eddsa).repeat(2)),
                SIGNATURE,
            ),
            (
                "EdDSA of another's",
                resigned(&eddsa, &signature(&es256)),
                SIGNATURE,
            ),
            ("RSA zero", resigned(&rs256, &[0; 256]), SIGNATURE),
            (
                "RSA one",
                resigned(&rs256, &[&[0; 255][..], &[1]].concat()),
                SIGNATURE,
            ),
            ("RSA all ones", resigned(&rs256, &[255; 256]), SIGNATURE),
            (
                "RSA a zero in front",
                resigned(&rs256, &[&[0][..], &signature(&rs256)].concat()),
                SIGNATURE,
            ),
            (
                "RSA a zero behind",
                resigned(&rs256, &[&signature(&rs256)[..], &[0]].concat()),
                SIGNATURE,
            ),
            ("RSA a bit flipped", resigned(&rs256, &flipped), SIGNATURE),
            (
                "RSA of a curve's",
                resigned(&rs256, &signature(&es256)),
                SIGNATURE,
            ),
            (
                "other claims",
                changed(&rs256, 1, &encode(other.claims.to_string())),
                SIGNATURE,
            ),
            (
                "another header",
                changed(&rs256, 0, &encode(other_header.header.to_string())),
                SIGNATURE,
            ),
            (
                "another token's",
                changed(&rs256, 2, &encode(RSA.sign("RS256", b"x"))),
                SIGNATURE,
            ),
        ],
    )
    .await;
}

fn hex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}

#[tokio::test]
async fn who_and_for_whom() {
    let scene = Scene::new().await;
    let origin = scene.server.origin.clone();
    let claim = |name: &str, value: Value| scene.draft().claim(name, value).sign();
    let gone = |name: &str| scene.draft().claims(json!({ name: null })).sign();
    decide(
        &scene,
        vec![
            ("iss missing", gone("iss"), ISS_TYPE),
            ("iss null", claim("iss", Value::Null), ISS_TYPE),
            ("iss a number", claim("iss", json!(1)), ISS_TYPE),
            ("iss a list", claim("iss", json!([origin])), ISS_TYPE),
            ("iss empty", claim("iss", json!("")), ISS),
            (
                "iss with a slash",
                claim("iss", json!(format!("{origin}/"))),
                ISS,
            ),
            (
                "iss with a path",
                claim("iss", json!(format!("{origin}/x"))),
                ISS,
            ),
            (
                "iss with a space",
                claim("iss", json!(format!("{origin} "))),
                ISS,
            ),
            (
                "iss cut",
                claim("iss", json!(origin[..origin.len() - 1])),
                ISS,
            ),
            (
                "iss in upper case",
                claim("iss", json!(origin.to_uppercase())),
                ISS,
            ),
            (
                "iss another",
                claim("iss", json!("https://evil.example")),
                ISS,
            ),
            ("aud text", claim("aud", json!("apps")), GOOD),
            (
                "aud the second of a list",
                claim("aud", json!(["x", "apps"])),
                GOOD,
            ),
            ("aud our second", claim("aud", json!("other")), GOOD),
            ("aud missing", gone("aud"), AUD_TYPE),
            ("aud null", claim("aud", Value::Null), AUD_TYPE),
            ("aud a number", claim("aud", json!(1)), AUD_TYPE),
            (
                "aud an object",
                claim("aud", json!({ "apps": true })),
                AUD_TYPE,
            ),
            ("aud an empty list", claim("aud", json!([])), AUD_TYPE),
            ("aud empty", claim("aud", json!("")), AUD),
            (
                "aud a list of numbers",
                claim("aud", json!([1])),
                "aud is of a wrong type",
            ),
            (
                "aud a list with a number",
                claim("aud", json!(["apps", 1])),
                "aud is of a wrong type",
            ),
            (
                "aud a list with null",
                claim("aud", json!(["apps", null])),
                "aud is of a wrong type",
            ),
            (
                "aud a list of lists",
                claim("aud", json!([["apps"]])),
                "aud is of a wrong type",
            ),
            ("aud longer", claim("aud", json!("apps2")), AUD),
            ("aud shorter", claim("aud", json!("app")), AUD),
            ("aud in upper case", claim("aud", json!("APPS")), AUD),
            ("aud joined", claim("aud", json!("apps other")), AUD),
            ("aud another", claim("aud", json!(["account"])), AUD),
            ("sub missing", gone("sub"), "sub is missing"),
            ("sub null", claim("sub", Value::Null), TEXT),
            ("sub empty", claim("sub", json!("")), TEXT),
            ("sub a number", claim("sub", json!(7)), TEXT),
            ("sub a list", claim("sub", json!(["ana"])), TEXT),
            (
                "sub with a line break",
                claim("sub", json!("ana\r\nx: y")),
                TEXT,
            ),
            ("sub with a NUL", claim("sub", json!("ana\0")), TEXT),
            (
                "sub with an escape",
                claim("sub", json!("\u{1b}[2Jana")),
                TEXT,
            ),
            ("sub in other letters", claim("sub", json!("Αννα|ü")), GOOD),
        ],
    )
    .await;
}

#[tokio::test]
async fn when() {
    let scene = Scene::new().await;
    let claim = |name: &str, value: Value| scene.draft().claim(name, value).sign();
    let at = |offset: i64| scene.time(offset);
    let text = |claims: Value, from: &str, to: &str| {
        let draft = scene.draft();
        let claims = mint::merged(draft.claims, claims)
            .to_string()
            .replace(from, to);
        signed(&RSA, "RS256", &draft.header.to_string(), &claims)
    };
    let mut rows: Vec<Row> = vec![
        (
            "exp missing",
            scene.draft().claims(json!({ "exp": null })).sign(),
            "exp is missing",
        ),
        ("exp now", claim("exp", json!(at(0))), GOOD),
        ("exp within the leeway", claim("exp", json!(at(-20))), GOOD),
        (
            "exp past the leeway",
            claim("exp", json!(at(-31))),
            "expired",
        ),
        ("exp long ago", claim("exp", json!(1)), "expired"),
        ("exp zero", claim("exp", json!(0)), "expired"),
        ("exp with a fraction", claim("exp", json!(1.5)), "expired"),
        (
            "exp with a fraction, to come",
            text(
                json!({ "exp": 4_000_000_000_u64 }),
                "4000000000",
                "4000000000.25",
            ),
            GOOD,
        ),
        (
            "exp with an exponent",
            text(json!({ "exp": 4_000_000_000_u64 }), "4000000000", "4e9"),
            GOOD,
        ),
        ("nbf past", claim("nbf", json!(at(-5))), GOOD),
        ("nbf within the leeway", claim("nbf", json!(at(20))), GOOD),
        ("nbf to come", claim("nbf", json!(at(40))), "not valid yet"),
        (
            "nbf with a fraction",
            text(json!({ "nbf": 1 }), "\"nbf\":1", "\"nbf\":1.5"),
            GOOD,
        ),
        ("iat within the leeway", claim("iat", json!(at(20))), GOOD),
        ("iat to come", claim("iat", json!(at(40))), "not valid yet"),
        (
            "iat missing",
            scene.draft().claims(json!({ "iat": null })).sign(),
            GOOD,
        ),
    ];
    for name in ["exp", "nbf", "iat"] {
        for value in [
            Value::Null,
            json!(true),
            json!(""),
            json!("9999999999"),
            json!([9_999_999_999_u64]),
            json!({}),
            json!(-1),
            json!(-1.5),
            json!(1e300),
            json!(1e18),
            json!(u64::MAX),
            json!(i64::MIN),
            // Milliseconds.
            json!(1_795_000_000_000_u64),
            json!(253_402_300_800_u64),
        ] {
            rows.push((name, claim(name, value), DATE));
        }
        let beyond = text(json!({ name: 77 }), ":77", ":1e400");
        rows.push((name, beyond, CLAIMS));
    }
    decide(&scene, rows).await;
}

#[tokio::test]
async fn other_kinds_of_token() {
    let scene = Scene::new().await;
    let claim = |name: &str, value: Value| scene.draft().claim(name, value).sign();
    let at_jwt = || scene.draft().header(json!({ "typ": "at+jwt" }));
    let logout = json!({ "http://schemas.openid.net/event/backchannel-logout": {} });
    let kind = "typ claim is not Bearer";
    decide(
        &scene,
        vec![
            (
                "Keycloak's access token",
                claim("typ", json!("Bearer")),
                GOOD,
            ),
            ("in lower case", claim("typ", json!("bearer")), GOOD),
            ("Keycloak's ID token", claim("typ", json!("ID")), kind),
            (
                "Keycloak's refresh token",
                claim("typ", json!("Refresh")),
                kind,
            ),
            (
                "Keycloak's offline token",
                claim("typ", json!("Offline")),
                kind,
            ),
            (
                "Keycloak's logout token",
                claim("typ", json!("Logout")),
                kind,
            ),
            ("Keycloak's DPoP token", claim("typ", json!("DPoP")), kind),
            ("typ claim null", claim("typ", Value::Null), kind),
            ("typ claim a list", claim("typ", json!(["Bearer"])), kind),
            (
                "Cognito's access token",
                claim("token_use", json!("access")),
                GOOD,
            ),
            (
                "Cognito's ID token",
                claim("token_use", json!("id")),
                "token_use is not access",
            ),
            (
                "token_use null",
                claim("token_use", Value::Null),
                "token_use is not access",
            ),
            (
                "logout token",
                claim("events", logout.clone()),
                "a logout or security event token",
            ),
            (
                "logout token that says at+jwt",
                at_jwt().claim("events", logout).sign(),
                "a logout or security event token",
            ),
            (
                "ID token by nonce",
                claim("nonce", json!("n")),
                "an ID token",
            ),
            (
                "ID token by at_hash",
                claim("at_hash", json!("x")),
                "an ID token",
            ),
            (
                "ID token by c_hash",
                claim("c_hash", json!("x")),
                "an ID token",
            ),
            (
                "at_hash in what says at+jwt",
                at_jwt().claim("at_hash", json!("x")).sign(),
                "an ID token",
            ),
            (
                "nonce in what says at+jwt",
                at_jwt().claim("nonce", json!("n")).sign(),
                GOOD,
            ),
            (
                "nonce in what says Bearer",
                scene
                    .draft()
                    .claim("typ", json!("Bearer"))
                    .claim("nonce", json!("n"))
                    .sign(),
                GOOD,
            ),
            (
                "bound by DPoP",
                claim("cnf", json!({ "jkt": "x" })),
                "bound to a key, shown without proof",
            ),
            (
                "bound by a certificate",
                claim("cnf", json!({ "x5t#S256": "x" })),
                "bound to a key, shown without proof",
            ),
            (
                "bound to nothing",
                claim("cnf", json!({})),
                "bound to a key, shown without proof",
            ),
        ],
    )
    .await;
}

#[tokio::test]
async fn what_is_read_from_a_good_one() {
    let scene = Scene::new().await;
    let expires = scene.time(300);
    let token = scene.draft().claims(json!({
        "scope": "openid  api.read api.write", "scp": ["ignored"],
        "groups": ["admins", 7, "", "a,b", null, "staff"], "email": "ana@example.com",
    }));
    let verified = scene.verify(&token.sign()).await.unwrap();
    assert_eq!((&*verified.idp, &*verified.subject), ("main", "ana"));
    assert_eq!(verified.expires.as_secs(), u64::try_from(expires).unwrap());
    let texts = |texts: &[Arc<str>]| texts.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(texts(&verified.scopes), ["openid", "api.read", "api.write"]);
    assert_eq!(texts(&verified.groups), ["admins", "a,b", "staff"]);
    assert_eq!(verified.claims["email"], "ana@example.com");
}

#[tokio::test]
async fn where_scopes_and_groups_are() {
    for (path, claims, scopes, groups) in [
        (
            "groups",
            json!({ "scp": ["a", "b c"] }),
            vec!["a", "b", "c"],
            vec![],
        ),
        (
            "groups",
            json!({ "scp": "a b", "groups": "one group" }),
            vec!["a", "b"],
            vec!["one group"],
        ),
        (
            "groups",
            json!({ "scope": 7, "groups": { "admins": true } }),
            vec![],
            vec![],
        ),
        (
            "groups",
            json!({ "scope": null, "groups": [["admins"]] }),
            vec![],
            vec![],
        ),
        (
            "realm_access.roles",
            json!({ "realm_access": { "roles": ["r"] } }),
            vec![],
            vec!["r"],
        ),
        (
            "realm_access.roles",
            json!({ "realm_access.roles": ["literal"], "realm_access": { "roles": ["r"] } }),
            vec![],
            vec!["literal"],
        ),
        (
            "realm_access.roles",
            json!({ "realm_access": "roles" }),
            vec![],
            vec![],
        ),
        (
            "resource_access.my.client.roles",
            json!({ "resource_access": { "my.client.roles": ["dotted"] } }),
            vec![],
            vec!["dotted"],
        ),
        (
            "https://example.com/groups",
            json!({ "https://example.com/groups": ["url"] }),
            vec![],
            vec!["url"],
        ),
        (".", json!({ "": { "": ["x"] } }), vec![], vec!["x"]),
    ] {
        let settings = Settings {
            groups_claim: path.to_owned(),
            ..settings()
        };
        let scene = Scene::with(all_keys(), settings).await;
        let verified = scene
            .verify(&scene.draft().claims(claims).sign())
            .await
            .unwrap();
        let texts = |texts: &[Arc<str>]| texts.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(texts(&verified.scopes), scopes, "{path}");
        assert_eq!(texts(&verified.groups), groups, "{path}");
    }
}

#[tokio::test]
async fn a_configuration_may_ask_for_less() {
    let lenient = Settings {
        audience: None,
        typ: vec!["jwt".to_owned(), String::new()],
        ..settings()
    };
    let scene = Scene::with(all_keys(), lenient).await;
    let bare = scene
        .draft()
        .claims(json!({ "aud": null }))
        .header(json!({ "typ": null }));
    assert_eq!(reason(scene.verify(&bare.sign()).await), GOOD);
    let at_jwt = scene.draft().header(json!({ "typ": "at+jwt" }));
    assert_eq!(reason(scene.verify(&at_jwt.sign()).await), TYP);
}

#[tokio::test]
async fn a_provider_s_tokens_pass_under_its_own_keys_only() {
    let (one, two) = (
        Scene::new().await,
        Scene::with(set(&[OTHER_RSA.jwk(json!({ "kid": "rsa" }))]), settings()).await,
    );
    let idp = |scene: &Scene| {
        let mut settings = scene.server.settings();
        settings.name = scene.server.origin.as_str().into();
        Arc::new(issuer::tests::server::issuer(settings, Clock::System))
    };
    let here = tokio::runtime::Handle::current();
    let idps = vec![(idp(&one), settings()), (idp(&two), settings())];
    let both = Verifier::new(idps, Clock::System, here, &Metrics::new([]));
    let verify = async |token: String| both.verify(&AccessToken::new(token)).await;
    assert_eq!(
        &*verify(one.draft().sign()).await.unwrap().idp,
        one.server.origin
    );
    let good = two.draft().sign_with(&OTHER_RSA, "RS256");
    assert_eq!(&*verify(good).await.unwrap().idp, two.server.origin);
    assert_eq!(reason(verify(two.draft().sign()).await), SIGNATURE);
    let crossed = one.draft().sign_with(&OTHER_RSA, "RS256");
    assert_eq!(reason(verify(crossed).await), SIGNATURE);
}
