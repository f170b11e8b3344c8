//! Real keys and tokens, good and bad.

use std::sync::LazyLock;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{self, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RsaEncoding, RsaKeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};

/// A private key.
pub(super) enum Signer {
    Rsa(RsaKeyPair),
    P256(EcdsaKeyPair),
    P384(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

pub(super) static RSA: LazyLock<Signer> = LazyLock::new(Signer::rsa);
pub(super) static OTHER_RSA: LazyLock<Signer> = LazyLock::new(Signer::rsa);
pub(super) static P256: LazyLock<Signer> = LazyLock::new(Signer::p256);
pub(super) static P384: LazyLock<Signer> = LazyLock::new(|| {
    Signer::P384(EcdsaKeyPair::generate(&signature::ECDSA_P384_SHA384_FIXED_SIGNING).unwrap())
});
pub(super) static ED: LazyLock<Signer> =
    LazyLock::new(|| Signer::Ed25519(Ed25519KeyPair::generate().unwrap()));

impl Signer {
    pub(super) fn rsa() -> Self {
        Self::Rsa(RsaKeyPair::generate(KeySize::Rsa2048).unwrap())
    }

    pub(super) fn p256() -> Self {
        Self::P256(EcdsaKeyPair::generate(&signature::ECDSA_P256_SHA256_FIXED_SIGNING).unwrap())
    }

    pub(super) fn sign(&self, alg: &str, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match self {
            Self::Rsa(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(padding(alg), &random, message, &mut signature)
                    .unwrap();
                signature
            }
            Self::P256(key) | Self::P384(key) => {
                key.sign(&random, message).unwrap().as_ref().to_vec()
            }
            Self::Ed25519(key) => key.sign(message).as_ref().to_vec(),
        }
    }

    /// Its public half as a member of a key set.
    pub(super) fn jwk(&self, more: Value) -> Value {
        let public = match self {
            Self::Rsa(key) => {
                let (n, e) = rsa_numbers(key);
                json!({ "kty": "RSA", "n": encode(n), "e": encode(e) })
            }
            Self::P256(key) => point("P-256", key.public_key().as_ref()),
            Self::P384(key) => point("P-384", key.public_key().as_ref()),
            Self::Ed25519(key) => {
                json!({ "kty": "OKP", "crv": "Ed25519", "x": encode(key.public_key().as_ref()) })
            }
        };
        merged(public, more)
    }

    /// The public key's bytes, as someone would use them for an HMAC secret.
    pub(super) fn public_bytes(&self) -> Vec<u8> {
        match self {
            Self::Rsa(key) => key.public_key().as_ref().to_vec(),
            Self::P256(key) | Self::P384(key) => key.public_key().as_ref().to_vec(),
            Self::Ed25519(key) => key.public_key().as_ref().to_vec(),
        }
    }
}

fn padding(alg: &str) -> &'static dyn RsaEncoding {
    match alg {
        "RS384" => &signature::RSA_PKCS1_SHA384,
        "RS512" => &signature::RSA_PKCS1_SHA512,
        "PS256" => &signature::RSA_PSS_SHA256,
        "PS384" => &signature::RSA_PSS_SHA384,
        "PS512" => &signature::RSA_PSS_SHA512,
        _ => &signature::RSA_PKCS1_SHA256,
    }
}

/// n and e out of RFC 8017's `RSAPublicKey`, whose lengths are known for 2048 bits.
fn rsa_numbers(key: &RsaKeyPair) -> (Vec<u8>, Vec<u8>) {
    let der = key.public_key().as_ref();
    // SEQUENCE (4 bytes), INTEGER (4 bytes), a zero, the modulus; INTEGER (2 bytes), the exponent.
    (der[9..265].to_vec(), der[267..].to_vec())
}

fn point(crv: &str, point: &[u8]) -> Value {
    let (x, y) = point[1..].split_at((point.len() - 1) / 2);
    json!({ "kty": "EC", "crv": crv, "x": encode(x), "y": encode(y) })
}

pub(super) fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// `base` with the members of `more` in place of its own; null takes a member away.
pub(super) fn merged(base: Value, more: Value) -> Value {
    let (Value::Object(mut base), Value::Object(more)) = (base, more) else {
        panic!("only objects merge");
    };
    for (name, value) in more {
        if value.is_null() {
            base.remove(&name);
        } else {
            base.insert(name, value);
        }
    }
    Value::Object(base)
}

/// A signed token of this very text.
pub(super) fn signed(signer: &Signer, alg: &str, header: &str, claims: &str) -> String {
    let message = format!("{}.{}", encode(header), encode(claims));
    let signature = encode(signer.sign(alg, message.as_bytes()));
    format!("{message}.{signature}")
}

/// A token to be changed before it is signed.
pub(super) struct Draft {
    pub(super) header: Value,
    pub(super) claims: Value,
}

impl Draft {
    /// Adds, replaces or (null) takes away members of the header.
    pub(super) fn header(mut self, more: Value) -> Self {
        self.header = merged(self.header, more);
        self
    }

    /// Adds, replaces or (null) takes away claims.
    pub(super) fn claims(mut self, more: Value) -> Self {
        self.claims = merged(self.claims, more);
        self
    }

    /// Sets one claim, to null too.
    pub(super) fn claim(mut self, name: &str, value: Value) -> Self {
        let claims: &mut Map<String, Value> = self.claims.as_object_mut().unwrap();
        claims.insert(name.to_owned(), value);
        self
    }

    /// Signed with the key that the tests' key set has under its `kid`.
    pub(super) fn sign(self) -> String {
        self.sign_with(&RSA, "RS256")
    }

    pub(super) fn sign_with(self, signer: &Signer, alg: &str) -> String {
        signed(
            signer,
            alg,
            &self.header.to_string(),
            &self.claims.to_string(),
        )
    }
}
