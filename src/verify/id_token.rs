//! ID tokens: OpenID Connect Core sections 3.1.3.7 and 12.2 as pure functions.

use std::time::Duration;

use aws_lc_rs::digest::{self, digest};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::Algorithm;
use serde_json::{Map, Value};

use super::header::Header;
use super::{Error, Expected, IdClaims, claims};
use crate::clock::Timestamp;

/// Everything about an ID token that is neither its signature nor its issuer, which chose the key.
pub(super) fn check(
    header: &Header,
    claims: Map<String, Value>,
    client_id: &str,
    expected: &Expected<'_>,
    skew: Duration,
    now: Timestamp,
) -> Result<IdClaims, Error> {
    kind(header, &claims)?;
    audience(&claims, client_id)?;
    claims::times(&claims, skew, now.into())?;
    if !claims.contains_key("iat") {
        return Err(Error::Invalid("iat is missing"));
    }
    nonce(&claims, expected.nonce)?;
    at_hash(&claims, header.algorithm, expected.access_token.expose())?;
    let subject = claims::subject(&claims)?;
    if expected.subject.is_some_and(|sub| sub != &*subject) {
        return Err(Error::Invalid("sub is another person's"));
    }
    Ok(IdClaims {
        subject,
        sid: claims::text(&claims, "sid")?,
        auth_time: claims::date(&claims, "auth_time")?,
        claims,
    })
}

/// No other kind of token passes as an ID token (RFC 8725 section 3.12).
fn kind(header: &Header, claims: &Map<String, Value>) -> Result<(), Error> {
    if header.typ.as_deref().is_some_and(|typ| typ != "jwt") {
        return Err(Error::Invalid("typ is not that of an ID token"));
    }
    // Keycloak's name for the kind.
    if claims.get("typ").is_some_and(|kind| kind != "ID") {
        return Err(Error::Invalid("typ claim is not ID"));
    }
    if claims.contains_key("events") {
        return Err(Error::Invalid("a logout or security event token"));
    }
    Ok(())
}

/// Rules 3 to 5 of section 3.1.3.7.
fn audience(claims: &Map<String, Value>, client_id: &str) -> Result<(), Error> {
    let audience = claims::audience(claims)?;
    if !audience.contains(&client_id) {
        return Err(Error::Invalid("aud does not name this client"));
    }
    match claims.get("azp") {
        None if audience.len() > 1 => Err(Error::Invalid("several aud and no azp")),
        Some(azp) if azp != client_id => Err(Error::Invalid("azp is another client")),
        None | Some(_) => Ok(()),
    }
}

/// Rule 11: a login's token names it. One out of a refresh need not (section 12.2).
fn nonce(claims: &Map<String, Value>, expected: Option<&str>) -> Result<(), Error> {
    match expected {
        Some(nonce) if claims.get("nonce").is_none_or(|claim| claim != nonce) => {
            Err(Error::Invalid("nonce is not that of this login"))
        }
        Some(_) | None => Ok(()),
    }
}

/// Section 3.1.3.6: the left half of the access token's hash, by the hash function of the token's own signature.
fn at_hash(claims: &Map<String, Value>, by: Algorithm, access_token: &str) -> Result<(), Error> {
    let Some(claim) = claims.get("at_hash") else {
        return Ok(());
    };
    let hash = digest(hash_function(by), access_token.as_bytes());
    let (left, _) = hash.as_ref().split_at(hash.as_ref().len() / 2);
    if *claim != URL_SAFE_NO_PAD.encode(left) {
        return Err(Error::Invalid("at_hash is of another access token"));
    }
    Ok(())
}

fn hash_function(by: Algorithm) -> &'static digest::Algorithm {
    use Algorithm::{ES256, ES384, PS256, PS384, RS256, RS384};
    if [RS256, PS256, ES256].contains(&by) {
        return &digest::SHA256;
    }
    if [RS384, PS384, ES384].contains(&by) {
        return &digest::SHA384;
    }
    // RS512, PS512, and EdDSA, whose Ed25519 hashes with SHA-512 inside.
    &digest::SHA512
}
