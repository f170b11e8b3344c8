//! Authenticated encryption of what leaves memory: session records in a store, login state in a cookie.

use std::fmt;
use std::io;
use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Prk, Salt};
use aws_lc_rs::rand;
use zeroize::Zeroizing;

#[cfg(test)]
mod tests;

/// The layout of a sealed value: this byte, the key's id, the nonce, the ciphertext with its tag.
const VERSION: u8 = 1;
const KEY_ID_LEN: usize = 4;
const KEY_LEN: usize = 32;
/// Separates these keys from any other use of the same key material.
const SALT: &[u8] = b"tidegate seal v1";

/// What a sealed value is for. Each purpose has keys of its own (HKDF), so that one kind never opens as another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A session record in a store.
    Session,
    /// A session in its cookie, where there is no store.
    Cookie,
    /// A token that is owed to an identity provider's revocation endpoint, in a store.
    Owed,
    /// The login in flight, in its cookie.
    Login,
    /// The `state` parameter of an authorization request.
    State,
    /// What a sign-out achieved, in its cookie.
    SignedOut,
}

impl Purpose {
    /// Part of every key derivation: changing one makes all values of that purpose unreadable.
    const fn label(self) -> &'static [u8] {
        match self {
            Self::Session => b"session",
            Self::Cookie => b"cookie",
            Self::Owed => b"owed",
            Self::Login => b"login",
            Self::State => b"state",
            Self::SignedOut => b"signed out",
        }
    }
}

/// The encryption keys: the first seals, all open.
#[derive(Clone)]
pub struct Keyring {
    keys: Arc<[Key]>,
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keyring({} keys)", self.keys.len())
    }
}

/// The sealed value was not made by us, not for this purpose or not for this context. Says no more on purpose.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("the sealed value does not open")]
pub struct Error;

/// Why there is no [`Keyring`].
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
pub enum KeyError {
    /// No key at all.
    #[error("there is no encryption key")]
    None,
    /// Key material that could be guessed.
    #[error("an encryption key is shorter than 32 bytes")]
    TooShort,
    /// The cryptographic library refused it.
    #[error("an encryption key can't be used")]
    Unusable,
}

/// New key material.
///
/// # Errors
/// When the system has no random numbers.
pub fn fresh_key() -> io::Result<Vec<u8>> {
    let mut key = vec![0; KEY_LEN];
    rand::fill(&mut key).map_err(|_| io::Error::other("no random numbers"))?;
    Ok(key)
}

impl Keyring {
    /// From key material of at least 32 bytes each.
    ///
    /// # Errors
    /// When there is no key or one is too short.
    pub fn new(keys: &[Vec<u8>]) -> Result<Self, KeyError> {
        if keys.is_empty() {
            return Err(KeyError::None);
        }
        let keys = keys
            .iter()
            .map(|material| Key::derive(material))
            .collect::<Result<_, _>>()?;
        Ok(Self { keys })
    }

    /// Seals `plaintext` for `purpose`, bound to `context` (associated data).
    ///
    /// Should the cryptographic library ever fail, the answer is empty: a value that never opens.
    pub fn seal(&self, purpose: Purpose, context: &[u8], plaintext: &[u8]) -> Vec<u8> {
        self.keys
            .first()
            .and_then(|key| key.seal(purpose, context, plaintext))
            .unwrap_or_default()
    }

    /// Whether a value was sealed with the first key, and will open when the others are gone.
    pub fn is_current(&self, sealed: &[u8]) -> bool {
        let sealed = Sealed::split(sealed).map(|sealed| sealed.key_id);
        sealed.is_some() && sealed == self.keys.first().map(|key| key.id)
    }

    /// Opens what [`Keyring::seal`] made with any of the keys.
    ///
    /// # Errors
    /// When it was tampered with, or sealed for another purpose, context or key.
    pub fn open(&self, purpose: Purpose, context: &[u8], sealed: &[u8]) -> Result<Vec<u8>, Error> {
        let sealed = Sealed::split(sealed).ok_or(Error)?;
        self.keys
            .iter()
            .filter(|key| key.id == sealed.key_id)
            .find_map(|key| key.open(purpose, context, &sealed))
            .ok_or(Error)
    }
}

/// A sealed value in its parts.
struct Sealed<'a> {
    key_id: [u8; KEY_ID_LEN],
    nonce: [u8; NONCE_LEN],
    ciphertext: &'a [u8],
}

impl<'a> Sealed<'a> {
    fn split(sealed: &'a [u8]) -> Option<Self> {
        let (version, rest) = sealed.split_first()?;
        let (key_id, rest) = rest.split_first_chunk()?;
        let (nonce, ciphertext) = rest.split_first_chunk()?;
        (*version == VERSION).then_some(Self {
            key_id: *key_id,
            nonce: *nonce,
            ciphertext,
        })
    }
}

/// What one piece of key material gives. AES-GCM-SIV (RFC 8452) rather than AES-GCM: nonces are random, and a repeated
/// one must not give anything away, however many values a long-lived key seals.
struct Key {
    id: [u8; KEY_ID_LEN],
    session: RandomizedNonceKey,
    cookie: RandomizedNonceKey,
    owed: RandomizedNonceKey,
    login: RandomizedNonceKey,
    state: RandomizedNonceKey,
    signed_out: RandomizedNonceKey,
}

impl Key {
    fn derive(material: &[u8]) -> Result<Self, KeyError> {
        if material.len() < KEY_LEN {
            return Err(KeyError::TooShort);
        }
        let prk = Salt::new(HKDF_SHA256, SALT).extract(material);
        let purpose = |purpose: Purpose| {
            let key = expand::<KEY_LEN>(&prk, b"key", purpose.label())?;
            RandomizedNonceKey::new(&AES_256_GCM_SIV, &*key).map_err(|_| KeyError::Unusable)
        };
        Ok(Self {
            id: *expand(&prk, b"id", b"")?,
            session: purpose(Purpose::Session)?,
            cookie: purpose(Purpose::Cookie)?,
            owed: purpose(Purpose::Owed)?,
            login: purpose(Purpose::Login)?,
            state: purpose(Purpose::State)?,
            signed_out: purpose(Purpose::SignedOut)?,
        })
    }

    const fn of(&self, purpose: Purpose) -> &RandomizedNonceKey {
        match purpose {
            Purpose::Session => &self.session,
            Purpose::Cookie => &self.cookie,
            Purpose::Owed => &self.owed,
            Purpose::Login => &self.login,
            Purpose::State => &self.state,
            Purpose::SignedOut => &self.signed_out,
        }
    }

    fn seal(&self, purpose: Purpose, context: &[u8], plaintext: &[u8]) -> Option<Vec<u8>> {
        let mut body = Vec::with_capacity(plaintext.len() + AES_256_GCM_SIV.tag_len());
        body.extend_from_slice(plaintext);
        let nonce = self
            .of(purpose)
            .seal_in_place_append_tag(self.associated_data(purpose, context), &mut body)
            .ok()?;
        let mut sealed = Vec::with_capacity(1 + KEY_ID_LEN + NONCE_LEN + body.len());
        sealed.push(VERSION);
        sealed.extend_from_slice(&self.id);
        sealed.extend_from_slice(nonce.as_ref());
        sealed.extend_from_slice(&body);
        Some(sealed)
    }

    fn open(&self, purpose: Purpose, context: &[u8], sealed: &Sealed<'_>) -> Option<Vec<u8>> {
        let mut body = sealed.ciphertext.to_vec();
        let length = self
            .of(purpose)
            .open_in_place(
                Nonce::assume_unique_for_key(sealed.nonce),
                self.associated_data(purpose, context),
                &mut body,
            )
            .ok()?
            .len();
        body.truncate(length);
        Some(body)
    }

    /// Everything that is not secret, each part with its length in front so that none can run into the next.
    fn associated_data(&self, purpose: Purpose, context: &[u8]) -> Aad<Vec<u8>> {
        let label = purpose.label();
        let mut data = Vec::with_capacity(1 + KEY_ID_LEN + 16 + label.len() + context.len());
        data.push(VERSION);
        data.extend_from_slice(&self.id);
        for part in [label, context] {
            data.extend_from_slice(&(part.len() as u64).to_be_bytes());
            data.extend_from_slice(part);
        }
        Aad::from(data)
    }
}

fn expand<const N: usize>(
    prk: &Prk,
    kind: &[u8],
    label: &[u8],
) -> Result<Zeroizing<[u8; N]>, KeyError> {
    let mut out = Zeroizing::new([0; N]);
    prk.expand(&[kind, b":", label], Length(N))
        .and_then(|okm| okm.fill(out.as_mut_slice()))
        .map_err(|_| KeyError::Unusable)?;
    Ok(out)
}

/// A length in bytes, as `hkdf` wants to be told.
struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}
