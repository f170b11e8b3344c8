//! A certificate authority of the tests' own, and what it issued.

use std::fs;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

/// A root and one server certificate under it, as PEM.
pub struct Pki {
    pub root: String,
    pub chain: String,
    pub key: String,
}

/// The process's own, for `localhost`, `*.localhost`, `*.test` and the loopback addresses.
pub fn pki() -> &'static Pki {
    static PKI: OnceLock<Pki> = OnceLock::new();
    PKI.get_or_init(Pki::new)
}

impl Pki {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let names = ["localhost", "*.localhost", "*.test", "127.0.0.1", "::1"];
        let mut params = CertificateParams::new(names.map(str::to_owned).to_vec()).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let key = KeyPair::generate().unwrap();
        let leaf = params.signed_by(&key, &root).unwrap();
        Self {
            root: root.pem(),
            chain: leaf.pem(),
            key: key.serialize_pem(),
        }
    }

    /// Writes `root.pem`, `tls.crt` and `tls.key`.
    pub fn write_to(&self, dir: &Path) {
        fs::write(dir.join("root.pem"), &self.root).unwrap();
        fs::write(dir.join("tls.crt"), &self.chain).unwrap();
        fs::write(dir.join("tls.key"), &self.key).unwrap();
    }
}

/// The client's side of TLS: trusts this root, and offers these protocols.
pub fn client_tls(root_pem: &str, alpn: &[&[u8]]) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    let root = CertificateDer::from_pem_slice(root_pem.as_bytes()).unwrap();
    roots.add(root).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    Arc::new(config)
}
