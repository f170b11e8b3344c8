//! Authenticated encryption of what leaves memory: session records in a store, login state in a cookie.

/// What a sealed value is for. Each purpose has keys of its own (HKDF), so that one kind never opens as another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A session record in a store.
    Session,
    /// A token that is owed to an identity provider's revocation endpoint, in a store.
    Owed,
    /// The login in flight, in its cookie.
    Login,
    /// The `state` parameter of an authorization request.
    State,
    /// What a sign-out achieved, in its cookie.
    SignedOut,
}

/// The encryption keys: the first seals, all open.
#[derive(Clone, Debug)]
pub struct Keyring {}

/// The sealed value was not made by us, not for this purpose or not for this context. Says no more on purpose.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("the sealed value does not open")]
pub struct Error;

impl Keyring {
    /// From key material of at least 32 bytes each.
    ///
    /// # Errors
    /// When there is no key or one is too short.
    pub fn new(_keys: &[Vec<u8>]) -> Result<Self, Error> {
        todo!()
    }

    /// Seals `plaintext` for `purpose`, bound to `context` (associated data).
    pub fn seal(&self, _purpose: Purpose, _context: &[u8], _plaintext: &[u8]) -> Vec<u8> {
        todo!()
    }

    /// Opens what [`Keyring::seal`] made with any of the keys.
    ///
    /// # Errors
    /// When it was tampered with, or sealed for another purpose, context or key.
    pub fn open(
        &self,
        _purpose: Purpose,
        _context: &[u8],
        _sealed: &[u8],
    ) -> Result<Vec<u8>, Error> {
        todo!()
    }
}
