//! Tokens and secrets as types that never print and never compare in variable time.

use std::fmt;
use std::sync::Arc;

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

/// The cookie's value: 256 random bits. Never stored; the store's key is its SHA-256.
#[derive(Clone, PartialEq, Eq)]
pub struct SessionId([u8; 32]);

impl std::fmt::Debug for SessionId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SessionId(..)")
    }
}

impl SessionId {
    /// A fresh random id.
    pub fn random() -> Self {
        todo!()
    }

    /// From a cookie's value: exactly the 43 characters of unpadded canonical base64url, or nothing.
    pub fn parse(_text: &str) -> Option<Self> {
        todo!()
    }

    /// The cookie's value.
    pub fn encode(&self) -> String {
        todo!()
    }
}
