//! A certificate chain and its key, from PEM files.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::sign::CertifiedKey;
use rustls::{Error as TlsError, InconsistentKeys};
use rustls_pki_types::pem::{Error as PemError, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use webpki::{EndEntityCert, KeyUsage};
use zeroize::Zeroizing;

use super::{Error, localhost, provider};
use crate::clock::{Clock, Timestamp};

/// A certificate chain and its key, checked to belong together.
#[derive(Debug)]
pub struct Certificate {
    pub(super) key: Arc<CertifiedKey>,
    /// The DNS names that it is good for, in lower case, some perhaps `*.example.com`.
    pub(super) names: Vec<Box<str>>,
    ends: Option<Timestamp>,
}

impl Certificate {
    /// From PEM files.
    ///
    /// # Errors
    /// When one can't be read or parsed, or the key is not the certificate's.
    pub fn load(chain: &Path, key: &Path) -> Result<Self, Error> {
        Self::of(Chain::read(chain)?, PrivateKey::read(key)?)
    }

    /// From what was read before.
    ///
    /// # Errors
    /// When the key can't be used, or is not the certificate's.
    pub fn of(chain: Chain, key: PrivateKey) -> Result<Self, Error> {
        let ends = ends(&chain.certificates);
        let certified = CertifiedKey::from_der(chain.certificates, key.der, &provider())
            .map_err(|source| unusable(&chain.path, &key.path, source))?;
        Ok(Self {
            key: Arc::new(certified),
            ends,
            names: chain.names,
        })
    }

    /// The DNS names that it is good for, and until when.
    pub fn validity(&self) -> impl Iterator<Item = (&str, Timestamp)> {
        let names = self.names.iter();
        names.filter_map(|name| Some((&**name, self.ends?)))
    }

    /// A certificate for localhost (and `127.0.0.1` and `::1`), kept in `state_dir` so that a browser needs to be told once.
    ///
    /// # Errors
    /// When it can't be made or kept.
    pub fn for_localhost(state_dir: &Path) -> Result<Self, Error> {
        localhost::certificate(state_dir, Clock::System.now())
    }
}

/// A certificate chain, read from a PEM file.
#[derive(Debug)]
pub struct Chain {
    path: PathBuf,
    certificates: Vec<CertificateDer<'static>>,
    names: Vec<Box<str>>,
}

impl Chain {
    /// From a PEM file.
    ///
    /// # Errors
    /// When it can't be read or parsed, or holds none.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let certificates = read_chain(path)?;
        let names = names(&certificates).map_err(|source| {
            let what = format!("the first certificate of {} is malformed", path.display());
            Error::new(what, source)
        })?;
        Ok(Self {
            path: path.to_owned(),
            certificates,
            names,
        })
    }
}

/// A private key, read from a PEM file.
#[derive(Debug)]
pub struct PrivateKey {
    path: PathBuf,
    der: PrivateKeyDer<'static>,
}

impl PrivateKey {
    /// The first key of a PEM file: PKCS #8, PKCS #1 or SEC 1.
    ///
    /// # Errors
    /// When it can't be read or parsed, or holds none.
    pub fn read(path: &Path) -> Result<Self, Error> {
        Ok(Self {
            path: path.to_owned(),
            der: read_key(path)?,
        })
    }
}

fn unusable(chain: &Path, key: &Path, source: TlsError) -> Error {
    let (chain, key) = (chain.display(), key.display());
    if source == TlsError::InconsistentKeys(InconsistentKeys::KeyMismatch) {
        return Error::bare(format!(
            "the key in {key} is not the key of the first certificate in {chain}"
        ));
    }
    Error::new(format!("the key in {key} can't be used"), source)
}

fn names(chain: &[CertificateDer<'static>]) -> Result<Vec<Box<str>>, webpki::Error> {
    let Some(first) = chain.first() else {
        return Ok(Vec::new());
    };
    let leaf = EndEntityCert::try_from(first)?;
    Ok(leaf
        .valid_dns_names()
        .map(|name| name.to_ascii_lowercase().into())
        .collect())
}

/// webpki says when a certificate ends of those only that have ended. At the end of time all have.
fn ends(chain: &[CertificateDer<'static>]) -> Option<Timestamp> {
    let leaf = EndEntityCert::try_from(chain.first()?).ok()?;
    let then = UnixTime::since_unix_epoch(Duration::from_secs(u64::MAX));
    let usage = KeyUsage::server_auth();
    let verified = leaf.verify_for_usage(&[], &[], &[], then, usage, None, None);
    if let Err(webpki::Error::CertExpired { not_after, .. }) = verified {
        return Some(Timestamp::from_secs(not_after.as_secs()));
    }
    None
}

/// All certificates of a PEM file; at least one.
pub(super) fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let text = fs::read(path)
        .map_err(|source| Error::new(format!("can't read {}", path.display()), source))?;
    let chain = CertificateDer::pem_slice_iter(&text)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|source| Error::new(format!("{} is not PEM", path.display()), source))?;
    if chain.is_empty() {
        return Err(Error::bare(format!(
            "there is no certificate in {}",
            path.display()
        )));
    }
    Ok(chain)
}

fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, Error> {
    let text = fs::read(path)
        .map(Zeroizing::new)
        .map_err(|source| Error::new(format!("can't read {}", path.display()), source))?;
    PrivateKeyDer::from_pem_slice(&text).map_err(|source| {
        let path = path.display();
        if matches!(source, PemError::NoItemsFound) {
            return Error::bare(format!(
                "there is no private key in {path} (one with a passphrase can't be used)"
            ));
        }
        Error::new(format!("{path} is not PEM"), source)
    })
}
