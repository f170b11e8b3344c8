//! A token's header (RFC 7515 section 4): what the key is chosen by. Nothing in it is ever fetched or used as a key.

use jsonwebtoken::Algorithm;
use serde_json::{Map, Value};

use super::Error;

/// Members that change what the rest of the token means. We understand none of them, so their presence refuses the token:
/// `crit` (RFC 7515 section 4.1.11), `b64` (RFC 7797), `zip` and `enc` (RFC 7516: encrypted, not signed).
const NOT_UNDERSTOOD: [&str; 4] = ["crit", "b64", "zip", "enc"];

/// What is used of the header. `jku`, `x5u`, `x5c`, `jwk` and the rest are ignored (RFC 8725 section 3.10).
#[derive(Debug)]
pub(super) struct Header {
    pub(super) algorithm: Algorithm,
    pub(super) kid: Option<Box<str>>,
    /// In lower case, without `application/` (RFC 7515 section 4.1.9).
    pub(super) typ: Option<Box<str>>,
}

impl Header {
    pub(super) fn read(members: &Map<String, Value>) -> Result<Self, Error> {
        if NOT_UNDERSTOOD
            .iter()
            .any(|name| members.contains_key(*name))
        {
            return Err(Error::Invalid(
                "header has an extension that changes its meaning",
            ));
        }
        let cty = text(members, "cty")?;
        if cty.is_some_and(|cty| media_type(cty).as_ref() == "jwt") {
            return Err(Error::Invalid("nested JWT"));
        }
        let algorithm = text(members, "alg")?
            .and_then(algorithm)
            .ok_or(Error::Invalid(
                "alg is missing or not an asymmetric signature",
            ))?;
        Ok(Self {
            algorithm,
            kid: text(members, "kid")?.map(Box::from),
            typ: text(members, "typ")?.map(media_type),
        })
    }
}

/// The signature algorithms that providers use, by their exact names (RFC 7518 section 3.1, RFC 8037 section 3.1).
/// `none` and everything symmetric are not among them.
pub(super) fn algorithm(name: &str) -> Option<Algorithm> {
    Some(match name {
        "RS256" => Algorithm::RS256,
        "RS384" => Algorithm::RS384,
        "RS512" => Algorithm::RS512,
        "PS256" => Algorithm::PS256,
        "PS384" => Algorithm::PS384,
        "PS512" => Algorithm::PS512,
        "ES256" => Algorithm::ES256,
        "ES384" => Algorithm::ES384,
        "EdDSA" => Algorithm::EdDSA,
        _ => return None,
    })
}

fn media_type(text: &str) -> Box<str> {
    let text = text.to_ascii_lowercase();
    text.strip_prefix("application/").unwrap_or(&text).into()
}

fn text<'a>(members: &'a Map<String, Value>, name: &str) -> Result<Option<&'a str>, Error> {
    members
        .get(name)
        .map(|value| {
            value
                .as_str()
                .ok_or(Error::Invalid("header has a member of a wrong type"))
        })
        .transpose()
}
