//! TLS on both sides: the server's certificates by name, with ALPN, made on the spot for localhost; the client's roots.

use std::path::Path;
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::NoServerSessionStorage;
use rustls::{ClientConfig, RootCertStore, ServerConfig, version};
use rustls_platform_verifier::Verifier;

mod certificate;
mod localhost;
mod names;

pub use certificate::{Certificate, Chain, PrivateKey};

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

impl Error {
    fn new(
        what: impl Into<String>,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self {
            what: what.into(),
            source: Some(source.into()),
        }
    }

    fn bare(what: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            source: None,
        }
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
/// The first certificate is shown where no other has the name that the client asks for.
///
/// # Errors
/// When there is no certificate.
pub fn server_config(
    certificates: Vec<Certificate>,
    min: MinVersion,
) -> Result<Arc<ServerConfig>, Error> {
    let versions: &[_] = match min {
        MinVersion::Tls12 => &[&version::TLS13, &version::TLS12],
        MinVersion::Tls13 => &[&version::TLS13],
    };
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(versions)
        .map_err(|source| Error::new("TLS can't be set up", source))?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(names::ByName::new(certificates)?));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config.ticketer = aws_lc_rs::Ticketer::new()
        .map_err(|source| Error::new("TLS session tickets can't be set up", source))?;
    // Tickets are enough to resume; nothing is kept here for each client.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(Arc::new(config))
}

/// The client side of TLS: a peer with a `ca` of its own is verified by that one alone, all others by the platform's roots.
///
/// Where the platform has no roots every such peer is refused when it is met, since a gateway may need none of them.
///
/// # Errors
/// When `ca` can't be read or parsed.
pub fn client_config(ca: Option<&Path>) -> Result<Arc<ClientConfig>, Error> {
    let provider = provider();
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|source| Error::new("TLS can't be set up", source))?;
    let config = match ca {
        Some(ca) => builder
            .with_root_certificates(roots(ca)?)
            .with_no_client_auth(),
        None => match Verifier::new(provider) {
            Ok(verifier) => builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(verifier))
                .with_no_client_auth(),
            Err(error) => {
                tracing::warn!(%error, "no root certificates on this system: https peers without a `ca` are refused");
                builder
                    .with_root_certificates(RootCertStore::empty())
                    .with_no_client_auth()
            }
        },
    };
    Ok(Arc::new(config))
}

fn roots(ca: &Path) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    for root in certificate::read_chain(ca)? {
        roots.add(root).map_err(|source| {
            let what = format!("{} has a certificate that can't be a root", ca.display());
            Error::new(what, source)
        })?;
    }
    Ok(roots)
}

/// Always this one, whatever the process's default is.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

#[cfg(test)]
mod tests;
