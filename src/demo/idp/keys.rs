//! The development identity provider's signing keys: real RS256 and ES256 pairs, made at the start (RFC 7517, 7518).

use std::sync::Arc;

use aws_lc_rs::error::Unspecified;
use aws_lc_rs::rand::{self, SystemRandom};
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

/// A signature algorithm of RFC 7518.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Algorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    #[default]
    Rs256,
    /// ECDSA on P-256 with SHA-256.
    Es256,
}

impl Algorithm {
    /// As `alg` has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Es256 => "ES256",
        }
    }
}

/// One generation of keys.
pub(super) struct Pair {
    rsa_kid: String,
    rsa: RsaKeyPair,
    ec_kid: String,
    ec: EcdsaKeyPair,
}

/// The key set: the newest signs, all that are published verify.
pub(super) struct Keys {
    pairs: Vec<Arc<Pair>>,
    odd: bool,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Keys({} published)", self.pairs.len())
    }
}

impl Keys {
    pub(super) fn new() -> Result<Self, Unspecified> {
        Ok(Self {
            pairs: vec![Arc::new(Pair::new()?)],
            odd: false,
        })
    }

    /// A new pair signs from this moment on, as at Keycloak: there is no time in which it is only published.
    pub(super) fn rotate(&mut self) -> Result<(), Unspecified> {
        self.pairs.push(Arc::new(Pair::new()?));
        Ok(())
    }

    /// Only the newest pair stays published.
    pub(super) fn drop_old(&mut self) {
        let old = self.pairs.len().saturating_sub(1);
        self.pairs.drain(..old);
    }

    /// Publishes keys that no verifier can use, which must not spoil the others (RFC 7517 section 5).
    pub(super) fn publish_odd(&mut self) {
        self.odd = true;
    }

    pub(super) fn active(&self) -> Option<Arc<Pair>> {
        self.pairs.last().cloned()
    }

    /// The key set (RFC 7517 section 5).
    pub(super) fn jwks(&self) -> Value {
        let odd = if self.odd { odd_keys() } else { Vec::new() };
        let keys: Vec<Value> = odd
            .into_iter()
            .chain(self.pairs.iter().flat_map(|pair| pair.jwks()))
            .collect();
        json!({ "keys": keys })
    }

    /// Whether one of the published keys signed this.
    pub(super) fn signed(&self, signing_input: &str, signature: &[u8]) -> bool {
        self.pairs.iter().any(|pair| {
            let verified = |algorithm, key: &[u8]| {
                aws_lc_rs::signature::UnparsedPublicKey::new(algorithm, key)
                    .verify(signing_input.as_bytes(), signature)
                    .is_ok()
            };
            let rsa: &dyn aws_lc_rs::signature::VerificationAlgorithm =
                &aws_lc_rs::signature::RSA_PKCS1_2048_8192_SHA256;
            let ec: &dyn aws_lc_rs::signature::VerificationAlgorithm =
                &aws_lc_rs::signature::ECDSA_P256_SHA256_FIXED;
            verified(rsa, pair.rsa.public_key().as_ref())
                || verified(ec, pair.ec.public_key().as_ref())
        })
    }
}

impl Pair {
    fn new() -> Result<Self, Unspecified> {
        Ok(Self {
            rsa_kid: format!("rsa-{}", random_text(8)?),
            rsa: RsaKeyPair::generate(KeySize::Rsa2048)?,
            ec_kid: format!("ec-{}", random_text(8)?),
            ec: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)?,
        })
    }

    pub(super) fn kid(&self, algorithm: Algorithm) -> &str {
        match algorithm {
            Algorithm::Rs256 => &self.rsa_kid,
            Algorithm::Es256 => &self.ec_kid,
        }
    }

    pub(super) fn sign(
        &self,
        algorithm: Algorithm,
        message: &[u8],
    ) -> Result<Vec<u8>, Unspecified> {
        let random = SystemRandom::new();
        match algorithm {
            Algorithm::Rs256 => {
                let mut signature = vec![0; self.rsa.public_modulus_len()];
                self.rsa
                    .sign(&RSA_PKCS1_SHA256, &random, message, &mut signature)?;
                Ok(signature)
            }
            Algorithm::Es256 => Ok(self.ec.sign(&random, message)?.as_ref().to_vec()),
        }
    }

    fn jwks(&self) -> [Value; 2] {
        let point = self.ec.public_key().as_ref();
        // An uncompressed point: 4, then 32 bytes each.
        let x = point.get(1..33).unwrap_or_default();
        let y = point.get(33..65).unwrap_or_default();
        let rsa = self.rsa.public_key().as_ref();
        // The DER of a 2048-bit RSAPublicKey (RFC 8017 A.1.1): 9 bytes of headers, the modulus, then the exponent 65537.
        let n = rsa.get(9..265).unwrap_or_default();
        [
            json!({ "kty": "RSA", "use": "sig", "alg": "RS256", "kid": self.rsa_kid,
                "n": URL_SAFE_NO_PAD.encode(n), "e": "AQAB" }),
            json!({ "kty": "EC", "use": "sig", "alg": "ES256", "kid": self.ec_kid, "crv": "P-256",
                "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y) }),
        ]
    }
}

/// What real key sets hold besides usable keys: an encryption key, a curve nobody has, a type of the future, a broken one.
fn odd_keys() -> Vec<Value> {
    vec![
        json!({ "kty": "RSA", "use": "enc", "alg": "RSA-OAEP", "kid": "enc-1", "n": "sXch", "e": "AQAB" }),
        json!({ "kty": "EC", "use": "sig", "crv": "P-999", "kid": "odd-curve", "x": "AA", "y": "AA" }),
        json!({ "kty": "LATTICE", "kid": "odd-type", "pub": "AA" }),
        json!({ "kty": "RSA", "use": "sig", "kid": "odd-broken", "n": 7 }),
        json!("not even an object"),
    ]
}

/// `bytes` random bytes as base64url.
pub(super) fn random_text(bytes: usize) -> Result<String, Unspecified> {
    let mut random = vec![0; bytes];
    rand::fill(&mut random)?;
    Ok(URL_SAFE_NO_PAD.encode(random))
}
