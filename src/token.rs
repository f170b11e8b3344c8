//! Tokens and secrets as types that never print and never compare in variable time.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;

macro_rules! secret_text {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Takes the text as it came.
            pub fn new(text: impl Into<Arc<str>>) -> Self {
                Self(text.into())
            }

            /// The text itself: only to be sent to the one party that it is meant for.
            pub fn expose(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "(..)"))
            }
        }
    };
}

secret_text!(
    /// An access token (RFC 6749 section 1.4).
    AccessToken
);
secret_text!(
    /// A refresh token (RFC 6749 section 1.5).
    RefreshToken
);
secret_text!(
    /// An ID token (OpenID Connect Core section 2).
    IdToken
);
secret_text!(
    /// A secret of the gateway's own: a client secret, a password of a store.
    Secret
);

/// What a token endpoint answered (RFC 6749 section 5.1), unverified.
#[derive(Clone, Debug)]
pub struct Grant {
    /// The access token.
    pub access_token: AccessToken,
    /// When it ends by `expires_in`, where the answer has one.
    pub access_expires: Option<Timestamp>,
    /// A new refresh token; without one the old stays in use (RFC 6749 section 6).
    pub refresh_token: Option<RefreshToken>,
    /// When the refresh token ends, where the answer says so (Keycloak's `refresh_expires_in`; 0 there means never).
    pub refresh_expires: Option<Timestamp>,
    /// The ID token, where the answer has one.
    pub id_token: Option<IdToken>,
}

/// The cookie's value: 256 random bits. Never stored; the store's key is its [`SessionHash`].
#[derive(Clone, PartialEq, Eq)]
pub struct SessionId([u8; 32]);

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionId(..)")
    }
}

impl SessionId {
    /// A fresh random id.
    pub fn random() -> Self {
        let mut bytes = [0; 32];
        // aws-lc ends the process rather than hand out bytes that can be guessed; should that ever change, so do we.
        if aws_lc_rs::rand::fill(&mut bytes).is_err() {
            std::process::abort();
        }
        Self(bytes)
    }

    /// From a cookie's value: exactly the 43 characters of unpadded canonical base64url, or nothing.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() != 43 {
            return None;
        }
        // base64 wants room for the three bytes that a whole last group would have.
        let mut bytes = [0; 33];
        URL_SAFE_NO_PAD.decode_slice(text, &mut bytes).ok()?;
        bytes.first_chunk().copied().map(Self)
    }

    /// The cookie's value.
    pub fn encode(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
    }

    /// What the session is known by outside of its cookie.
    pub fn hash(&self) -> SessionHash {
        let digest = digest(&SHA256, &self.0);
        let mut hash = [0; 32];
        hash.copy_from_slice(digest.as_ref());
        SessionHash(hash)
    }
}

/// What the session cookie's value is. In the browser's hands either is just text.
#[derive(Clone, PartialEq, Eq)]
pub enum SessionCookie {
    /// What names the session in a store.
    Id(SessionId),
    /// The session itself, sealed (`session.store = "cookie"`): the text behind [`SessionCookie::SEALED`].
    Sealed(Arc<str>),
}

impl fmt::Debug for SessionCookie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionCookie(..)")
    }
}

impl SessionCookie {
    /// What tells a sealed session from an id.
    const SEALED: &str = "s.";

    /// The longest value that a browser may show: what it keeps of one cookie, its name included.
    pub const LONGEST: usize = 4096;

    /// From a cookie's value; whether a sealed one opens is another question.
    pub fn parse(text: &str) -> Option<Self> {
        let Some(sealed) = text.strip_prefix(Self::SEALED) else {
            return SessionId::parse(text).map(Self::Id);
        };
        let letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        let fits = text.len() <= Self::LONGEST && sealed.bytes().all(letter);
        fits.then(|| Self::Sealed(sealed.into()))
    }

    /// The cookie's value.
    pub fn encode(&self) -> String {
        match self {
            Self::Id(id) => id.encode(),
            Self::Sealed(text) => format!("{}{text}", Self::SEALED),
        }
    }
}

/// SHA-256 of a [`SessionId`]: the store's key. It does not lead back to the cookie, so it may be stored and shown.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct SessionHash([u8; 32]);

impl SessionHash {
    /// How many letters it is written with.
    pub const LETTERS: usize = 64;

    /// From a key of the store.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The store's key.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The session's name in the log: enough to find its lines, and no way to its cookie.
    pub fn name(&self) -> impl fmt::Display {
        SessionName(*self)
    }

    /// From what `Display` writes: exactly 64 hexadecimal digits in lower case, or nothing.
    pub fn parse(text: &str) -> Option<Self> {
        let (pairs, rest) = text.as_bytes().as_chunks::<2>();
        let mut hash = [0; 32];
        if pairs.len() != hash.len() || !rest.is_empty() {
            return None;
        }
        for (byte, [high, low]) in hash.iter_mut().zip(pairs) {
            *byte = hex_digit(*high)? << 4 | hex_digit(*low)?;
        }
        Some(Self(hash))
    }
}

/// 64 hexadecimal digits: how people, addresses and the administrator's tools name a session.
impl fmt::Display for SessionHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

const fn hex_digit(letter: u8) -> Option<u8> {
    match letter {
        b'0'..=b'9' => Some(letter - b'0'),
        b'a'..=b'f' => Some(letter - b'a' + 10),
        _ => None,
    }
}

struct SessionName(SessionHash);

impl fmt::Display for SessionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = self.0.0.iter().take(6);
        bytes.try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    //! A session id has exactly one spelling.

    #![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

    use super::*;

    #[test]
    fn an_id_survives_its_cookie() {
        let id = SessionId::random();
        let text = id.encode();
        assert_eq!(text.len(), 43);
        assert_eq!(SessionId::parse(&text).unwrap(), id);
        assert_ne!(SessionId::random(), id);
    }

    #[test]
    fn only_the_one_spelling_is_an_id() {
        let zero = "A".repeat(43);
        assert!(SessionId::parse(&zero).is_some());
        let wrong = [
            String::new(),
            "A".repeat(42),
            "A".repeat(44),
            "A".repeat(43 * 3),
            "A".repeat(100_000),
            format!("{zero}="),
            format!(" {}", "A".repeat(42)),
            format!("{}\n", "A".repeat(42)),
            format!("{}+", "A".repeat(42)),
            format!("{}/", "A".repeat(42)),
            format!("{}%", "A".repeat(42)),
            format!("{}é", "A".repeat(41)),
            // The same 256 bits, with the two bits that base64 leaves over set.
            format!("{}B", "A".repeat(42)),
            format!("{}C", "A".repeat(42)),
            format!("{}D", "A".repeat(42)),
        ];
        for text in wrong {
            assert!(SessionId::parse(&text).is_none(), "{text:?}");
        }
    }

    #[test]
    fn a_cookie_is_an_id_or_sealed_and_never_longer_than_browsers_keep() {
        let id = SessionId::random().encode();
        for text in [
            id.as_str(),
            "s.",
            "s.QUJD-_",
            &format!("s.{}", "A".repeat(4094)),
        ] {
            assert_eq!(SessionCookie::parse(text).unwrap().encode(), text);
        }
        for text in [
            "",
            "s",
            "S.QUJD",
            "QUJD",
            "s.QUJD=",
            "s.QU JD",
            "s.QU.JD",
            "s.QU+JD",
            &format!("s.{}", "A".repeat(4095)),
        ] {
            assert!(SessionCookie::parse(text).is_none(), "{text:?}");
        }
        let sealed = SessionCookie::parse("s.QUJD").unwrap();
        assert_eq!(format!("{sealed:?}"), "SessionCookie(..)");
    }

    #[test]
    fn the_hash_is_sha_256_of_the_bytes() {
        let hash = SessionId::parse(&"A".repeat(43)).unwrap().hash();
        // SHA-256 of 32 zero bytes.
        assert!(
            hash.as_bytes()
                .starts_with(&[0x66, 0x68, 0x7a, 0xad, 0xf8, 0x62])
        );
        assert_eq!(SessionHash::from_bytes(*hash.as_bytes()), hash);
    }

    #[test]
    fn a_hash_has_one_spelling_too() {
        let hash = SessionId::random().hash();
        let text = hash.to_string();
        assert_eq!(text.len(), 64);
        assert_eq!(SessionHash::parse(&text), Some(hash));
        let zero = "0".repeat(64);
        assert_eq!(
            SessionHash::parse(&zero),
            Some(SessionHash::from_bytes([0; 32]))
        );
        for wrong in [
            String::new(),
            "0".repeat(63),
            "0".repeat(65),
            "0".repeat(128),
            "A".repeat(64),
            format!("{}g", "0".repeat(63)),
            format!("{} ", "0".repeat(63)),
            format!("{}é", "0".repeat(62)),
        ] {
            assert_eq!(SessionHash::parse(&wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn nothing_is_printed() {
        assert_eq!(format!("{:?}", SessionId::random()), "SessionId(..)");
        assert_eq!(
            format!("{:?}", AccessToken::new("secret")),
            "AccessToken(..)"
        );
    }
}
