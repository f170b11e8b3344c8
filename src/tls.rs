//! The server's certificates: by name, with ALPN; made on the spot for localhost.

use std::path::Path;
use std::sync::Arc;

/// A certificate chain and its key, checked to belong together.
#[derive(Debug)]
pub struct Certificate {}

/// Why there is no usable certificate.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub struct Error {
    /// Which file, and what is wrong with it.
    pub what: String,
    /// What came back.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Certificate {
    /// From PEM files.
    ///
    /// # Errors
    /// When one can't be read or parsed, or the key is not the certificate's.
    pub fn load(_chain: &Path, _key: &Path) -> Result<Self, Error> {
        todo!()
    }

    /// A certificate for localhost (and 127.0.0.1 and ::1), kept in `state_dir` so that a browser needs to be told once.
    ///
    /// # Errors
    /// When it can't be made or kept.
    pub fn for_localhost(_state_dir: &Path) -> Result<Self, Error> {
        todo!()
    }
}

/// The lowest TLS version accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MinVersion {
    /// TLS 1.2
    Tls12,
    /// TLS 1.3
    Tls13,
}

/// The server side of TLS for the https listeners: certificates by SNI, ALPN h2 and http/1.1, session tickets.
///
/// # Errors
/// When there is no certificate.
pub fn server_config(
    _certificates: Vec<Certificate>,
    _min: MinVersion,
) -> Result<Arc<rustls::ServerConfig>, Error> {
    todo!()
}

/// The client side of TLS: the platform's roots, and those in `ca` where given.
///
/// # Errors
/// When `ca` can't be read or parsed.
pub fn client_config(_ca: Option<&Path>) -> Result<Arc<rustls::ClientConfig>, Error> {
    todo!()
}
