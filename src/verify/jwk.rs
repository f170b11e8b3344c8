//! One key of a key set (RFC 7517, 7518 section 6, 8037), parsed once, bound to the algorithms that it may verify.

use std::sync::atomic::{AtomicBool, Ordering};

use aws_lc_rs::signature::{
    self, EcdsaVerificationAlgorithm, ParsedPublicKey, RsaParameters, RsaPublicKeyComponents,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::Algorithm;
use serde_json::{Map, Value};

use super::header;

/// RFC 8725 section 3.5 below, and what the cryptographic library verifies with above.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;
static RSA: [(Algorithm, &RsaParameters); 6] = [
    (Algorithm::RS256, &signature::RSA_PKCS1_2048_8192_SHA256),
    (Algorithm::RS384, &signature::RSA_PKCS1_2048_8192_SHA384),
    (Algorithm::RS512, &signature::RSA_PKCS1_2048_8192_SHA512),
    (Algorithm::PS256, &signature::RSA_PSS_2048_8192_SHA256),
    (Algorithm::PS384, &signature::RSA_PSS_2048_8192_SHA384),
    (Algorithm::PS512, &signature::RSA_PSS_2048_8192_SHA512),
];
/// Members that only a private or a symmetric key has.
const SECRET: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

/// A public key that signatures are verified with.
#[derive(Debug)]
pub(super) struct Key {
    kid: Option<Box<str>>,
    /// The public numbers, to know the key again in the next key set.
    material: Vec<u8>,
    verifiers: Vec<(Algorithm, ParsedPublicKey)>,
    retired: AtomicBool,
}

impl Key {
    /// Reads one member of a key set. A key that we can't or must not use is not an error of the set
    /// (RFC 7517 section 5); the text says why.
    pub(super) fn read(jwk: &Value, allowed: &[Algorithm]) -> Result<Self, &'static str> {
        let jwk = jwk.as_object().ok_or("not an object")?;
        purpose(jwk)?;
        let kid = match jwk.get("kid") {
            None => None,
            Some(kid) => Some(kid.as_str().ok_or("kid is not text")?.into()),
        };
        let public = Public::read(jwk)?;
        let named = named_algorithm(jwk)?;
        let algorithms = public.algorithms().iter().filter(|algorithm| {
            allowed.contains(algorithm) && named.is_none_or(|named| named == **algorithm)
        });
        let verifiers: Vec<_> = algorithms
            .map(|algorithm| Some((*algorithm, public.parse(*algorithm)?)))
            .collect::<Option<_>>()
            .ok_or("not a valid public key")?;
        if verifiers.is_empty() {
            return Err("for no allowed algorithm");
        }
        Ok(Self {
            kid,
            material: public.material(),
            verifiers,
            retired: AtomicBool::new(false),
        })
    }

    pub(super) fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    /// Whether the key may verify signatures of this algorithm.
    pub(super) fn fits(&self, algorithm: Algorithm) -> bool {
        self.verifier(algorithm).is_some()
    }

    pub(super) fn verifies(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        self.verifier(algorithm)
            .is_some_and(|key| key.verify_sig(message, signature).is_ok())
    }

    /// Whether this is the same key for the same use.
    pub(super) fn same(&self, other: &Self) -> bool {
        let algorithms = |key: &Self| {
            key.verifiers
                .iter()
                .map(|(algorithm, _)| *algorithm)
                .collect::<Vec<_>>()
        };
        self.kid == other.kid
            && self.material == other.material
            && algorithms(self) == algorithms(other)
    }

    /// The provider no longer lists it: what it signed is not good any more.
    pub(super) fn retire(&self) {
        self.retired.store(true, Ordering::Release);
    }

    pub(super) fn is_retired(&self) -> bool {
        self.retired.load(Ordering::Acquire)
    }

    fn verifier(&self, algorithm: Algorithm) -> Option<&ParsedPublicKey> {
        self.verifiers
            .iter()
            .find(|(of, _)| *of == algorithm)
            .map(|(_, key)| key)
    }
}

/// `use`, `key_ops` (RFC 7517 sections 4.2 and 4.3) and what must not be there.
fn purpose(jwk: &Map<String, Value>) -> Result<(), &'static str> {
    if SECRET.iter().any(|name| jwk.contains_key(*name)) {
        return Err("a private or symmetric key");
    }
    if jwk.get("use").is_some_and(|use_| use_ != "sig") {
        return Err("not for signatures");
    }
    let verifies = |ops: &Value| {
        ops.as_array()
            .is_some_and(|ops| ops.iter().any(|op| op == "verify"))
    };
    if jwk.get("key_ops").is_some_and(|ops| !verifies(ops)) {
        return Err("not for verifying");
    }
    Ok(())
}

/// `alg` (RFC 7517 section 4.4) binds the key to one algorithm.
fn named_algorithm(jwk: &Map<String, Value>) -> Result<Option<Algorithm>, &'static str> {
    let Some(name) = jwk.get("alg") else {
        return Ok(None);
    };
    match name.as_str() {
        // The name that RFC 9864 gives to EdDSA with this curve.
        Some("Ed25519") => Ok(Some(Algorithm::EdDSA)),
        Some(name) => header::algorithm(name)
            .map(Some)
            .ok_or("for another algorithm"),
        None => Err("alg is not text"),
    }
}

/// The public numbers of a key, of the right size.
enum Public {
    Rsa { n: Vec<u8>, e: Vec<u8> },
    P256(Vec<u8>),
    P384(Vec<u8>),
    Ed25519(Vec<u8>),
}

impl Public {
    fn read(jwk: &Map<String, Value>) -> Result<Self, &'static str> {
        let name = |member: &str| jwk.get(member).and_then(Value::as_str);
        match (name("kty"), name("crv")) {
            (Some("RSA"), _) => Self::rsa(jwk),
            (Some("EC"), Some("P-256")) => Ok(Self::P256(point(jwk, 32)?)),
            (Some("EC"), Some("P-384")) => Ok(Self::P384(point(jwk, 48)?)),
            (Some("OKP"), Some("Ed25519")) => Ok(Self::Ed25519(number(jwk, "x", 32)?)),
            _ => Err("of an unknown type or curve"),
        }
    }

    fn rsa(jwk: &Map<String, Value>) -> Result<Self, &'static str> {
        let (n, e) = (positive(jwk, "n")?, positive(jwk, "e")?);
        if !RSA_BITS.contains(&bits(&n)) {
            return Err("an RSA key of a wrong size");
        }
        // An even modulus or exponent is no key, and an exponent of 1 verifies anything.
        let odd = |number: &[u8]| number.last().is_some_and(|last| last % 2 == 1);
        if !odd(&n) || !odd(&e) || !(2..=33).contains(&bits(&e)) {
            return Err("not a valid RSA key");
        }
        Ok(Self::Rsa { n, e })
    }

    const fn algorithms(&self) -> &'static [Algorithm] {
        match self {
            Self::Rsa { .. } => &[
                Algorithm::RS256,
                Algorithm::RS384,
                Algorithm::RS512,
                Algorithm::PS256,
                Algorithm::PS384,
                Algorithm::PS512,
            ],
            Self::P256(_) => &[Algorithm::ES256],
            Self::P384(_) => &[Algorithm::ES384],
            Self::Ed25519(_) => &[Algorithm::EdDSA],
        }
    }

    /// The library checks the rest: that a point is on its curve, that numbers make a key.
    fn parse(&self, algorithm: Algorithm) -> Option<ParsedPublicKey> {
        let ec = |curve: &'static EcdsaVerificationAlgorithm, point: &[u8]| {
            ParsedPublicKey::new(curve, point).ok()
        };
        match self {
            Self::Rsa { n, e } => {
                let (_, parameters) = RSA.iter().find(|(of, _)| *of == algorithm)?;
                let key = RsaPublicKeyComponents { n, e };
                key.to_parsed_public_key(parameters).ok()
            }
            Self::P256(point) => ec(&signature::ECDSA_P256_SHA256_FIXED, point),
            Self::P384(point) => ec(&signature::ECDSA_P384_SHA384_FIXED, point),
            Self::Ed25519(x) => ParsedPublicKey::new(&signature::ED25519, x).ok(),
        }
    }

    /// The numbers in one piece, unlike those of any other key.
    fn material(self) -> Vec<u8> {
        match self {
            Self::Rsa { n, e } => [&n.len().to_be_bytes()[..], &n, &e].concat(),
            Self::P256(point) | Self::P384(point) | Self::Ed25519(point) => point,
        }
    }
}

/// An uncompressed point (SEC 1 section 2.3.3).
fn point(jwk: &Map<String, Value>, size: usize) -> Result<Vec<u8>, &'static str> {
    let (x, y) = (number(jwk, "x", size)?, number(jwk, "y", size)?);
    Ok([&[4][..], &x, &y].concat())
}

/// A number of exactly this many bytes (RFC 7518 section 6.2.1.2).
fn number(jwk: &Map<String, Value>, name: &str, size: usize) -> Result<Vec<u8>, &'static str> {
    let bytes = bytes(jwk, name)?;
    if bytes.len() != size {
        return Err("a coordinate of a wrong size");
    }
    Ok(bytes)
}

/// A positive number without leading zeros; some providers send Java's, which have one.
fn positive(jwk: &Map<String, Value>, name: &str) -> Result<Vec<u8>, &'static str> {
    let mut bytes = bytes(jwk, name)?;
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    Ok(bytes.split_off(zeros))
}

fn bytes(jwk: &Map<String, Value>, name: &str) -> Result<Vec<u8>, &'static str> {
    jwk.get(name)
        .and_then(Value::as_str)
        .and_then(|text| URL_SAFE_NO_PAD.decode(text).ok())
        .ok_or("a number is missing or not base64url")
}

/// How many bits a number without leading zeros has.
fn bits(number: &[u8]) -> usize {
    number
        .first()
        .map_or(0, |first| number.len() * 8 - first.leading_zeros() as usize)
}
