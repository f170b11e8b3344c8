//! The files with certificates and keys that a configuration names: read together, so that every one that can't be used is
//! said at once, by its key.

use std::fmt;
use std::io;

use super::Config;
use crate::tls::{self, Certificate, Chain, PrivateKey};

/// Files that can't be used: each with the key that names it.
#[derive(Debug)]
pub struct Unusable(Vec<(String, tls::Error)>);

impl Unusable {
    /// One line each: the key, what is wrong, and what the system said.
    pub fn lines(&self) -> impl Iterator<Item = String> {
        self.0.iter().map(|(key, error)| line(key, error))
    }

    /// Whether all that is wrong is that they may not be read.
    pub fn are_permissions(&self) -> bool {
        self.0.iter().all(|(_, error)| {
            let source = error.source.as_deref();
            source
                .and_then(|source| source.downcast_ref::<io::Error>())
                .is_some_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
        })
    }
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("certificates or keys can't be used")?;
        self.lines().try_for_each(|line| write!(f, "\n  {line}"))
    }
}

impl std::error::Error for Unusable {}

fn line(key: &str, error: &tls::Error) -> String {
    let mut text = format!("`{key}`: {error}");
    let mut next = std::error::Error::source(error);
    while let Some(cause) = next {
        text.extend([": ", &cause.to_string()]);
        next = cause.source();
    }
    text
}

impl Config {
    /// Reads what `tls.certificates` names, and tries what the upstreams name.
    ///
    /// # Errors
    /// With everything that can't be used.
    pub fn certificates(&self) -> Result<Vec<Certificate>, Unusable> {
        let mut faults = Vec::new();
        let mut certificates = Vec::new();
        for (index, (chain, key)) in self.tls.certificates.iter().enumerate() {
            let name = format!("tls.certificates[{index}]");
            let chain = told(&mut faults, format!("{name}.cert"), Chain::read(chain));
            let key_name = format!("{name}.key");
            let key = told(&mut faults, key_name.clone(), PrivateKey::read(key));
            if let (Some(chain), Some(key)) = (chain, key) {
                let both = Certificate::of(chain, key);
                certificates.extend(told(&mut faults, key_name, both));
            }
        }
        for upstream in &self.upstreams {
            if let Some(ca) = &upstream.ca {
                let name = format!("upstreams.{}.tls.ca", upstream.name);
                told(&mut faults, name, tls::client_config(Some(ca)));
            }
        }
        if faults.is_empty() {
            Ok(certificates)
        } else {
            Err(Unusable(faults))
        }
    }
}

fn told<T>(
    faults: &mut Vec<(String, tls::Error)>,
    key: String,
    outcome: Result<T, tls::Error>,
) -> Option<T> {
    outcome.map_err(|error| faults.push((key, error))).ok()
}
