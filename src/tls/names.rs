//! Which certificate a client is shown: that of its name, else that of the wildcard one level up, else the first.

use std::collections::HashMap;
use std::sync::Arc;

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::{Certificate, Error};

#[derive(Debug)]
pub(super) struct ByName {
    /// A wildcard is under its name without the asterisk: `.example.com`.
    names: HashMap<Box<str>, Arc<CertifiedKey>>,
    first: Arc<CertifiedKey>,
}

impl ByName {
    /// Of two certificates for one name the earlier is shown.
    pub(super) fn new(certificates: Vec<Certificate>) -> Result<Self, Error> {
        let first = certificates
            .first()
            .map(|certificate| Arc::clone(&certificate.key))
            .ok_or_else(|| Error::bare("an https listener needs a certificate"))?;
        let mut names = HashMap::new();
        for Certificate {
            key, names: own, ..
        } in certificates
        {
            for name in own {
                let name = name.strip_prefix('*').map_or(name.clone(), Box::from);
                names.entry(name).or_insert_with(|| Arc::clone(&key));
            }
        }
        Ok(Self { names, first })
    }

    fn of(&self, name: &str) -> &Arc<CertifiedKey> {
        let name = name.to_ascii_lowercase();
        let wildcard = || {
            let (_, above) = name.split_at_checked(name.find('.')?)?;
            self.names.get(above)
        };
        self.names
            .get(&*name)
            .or_else(wildcard)
            .unwrap_or(&self.first)
    }
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let key = hello
            .server_name()
            .map_or(&self.first, |name| self.of(name));
        Some(Arc::clone(key))
    }
}
