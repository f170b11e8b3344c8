//! The compact serialisation of a signed token (RFC 7515 section 7.1), taken apart and nothing more.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use super::header::Header;
use super::{Error, json};

/// No token in the field comes near; larger ones are refused before anything is decoded.
const MAX_BYTES: usize = 16 * 1024;

/// A token in its parts, all of them still unverified.
#[derive(Debug)]
pub(super) struct Compact<'a> {
    pub(super) header: Header,
    pub(super) claims: Map<String, Value>,
    /// What the signature is over.
    pub(super) message: &'a [u8],
    pub(super) signature: Vec<u8>,
}

impl<'a> Compact<'a> {
    /// Three parts of canonical unpadded base64url, of which two are JSON objects that can be read in one way only.
    pub(super) fn read(token: &'a str) -> Result<Self, Error> {
        if token.len() > MAX_BYTES {
            return Err(Error::Invalid("too large"));
        }
        let (message, signature) = token.rsplit_once('.').ok_or(Error::Invalid("not a JWT"))?;
        let (header, claims) = message
            .split_once('.')
            .filter(|(_, claims)| !claims.contains('.'))
            .ok_or(Error::Invalid("not a signed JWT"))?;
        let header = decode(header)
            .and_then(|bytes| json::object(&bytes))
            .ok_or(Error::Invalid("header is not an unambiguous JSON object"))?;
        let header = Header::read(&header)?;
        let claims = decode(claims)
            .and_then(|bytes| json::object(&bytes))
            .ok_or(Error::Invalid("claims are not an unambiguous JSON object"))?;
        let signature = decode(signature).ok_or(Error::Invalid("signature is not base64url"))?;
        Ok(Self {
            header,
            claims,
            message: message.as_bytes(),
            signature,
        })
    }
}

/// The claims of what looks like a JWT, whatever it is signed with: to be believed in nothing.
pub(super) fn unchecked_claims(token: &str) -> Option<Map<String, Value>> {
    if token.len() > MAX_BYTES {
        return None;
    }
    let mut parts = token.split('.');
    let (_, claims, _) = (parts.next()?, parts.next()?, parts.next()?);
    json::object(&decode(claims).filter(|_| parts.next().is_none())?)
}

/// The engine refuses padding, other alphabets, whitespace and left-over bits that are not zero.
fn decode(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}
