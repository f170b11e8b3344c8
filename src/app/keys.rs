//! The keys that session records are sealed with: as configured, or made at the first start and kept.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use aws_lc_rs::rand;

use crate::app::Error;
use crate::config::EncryptionKeys;
use crate::seal::Keyring;

const KEY_BYTES: usize = 32;

/// Opens the keyring.
///
/// # Errors
/// [`Error::EncryptionKey`].
pub(super) fn open(keys: &EncryptionKeys) -> Result<Keyring, Error> {
    let keys = match keys {
        EncryptionKeys::Given(keys) => keys.clone(),
        EncryptionKeys::OfThisRun => vec![random().map_err(|source| Error::EncryptionKey {
            what: "none can be made".to_owned(),
            source: Some(source),
        })?],
        EncryptionKeys::KeptIn(path) => vec![read_or_make(path).map_err(|source| {
            let what = path.display().to_string();
            let source = Some(source);
            Error::EncryptionKey { what, source }
        })?],
    };
    Keyring::new(&keys).map_err(|_| Error::EncryptionKey {
        what: format!("it must have at least {KEY_BYTES} bytes"),
        source: None,
    })
}

fn read_or_make(path: &Path) -> io::Result<Vec<u8>> {
    match fs::read(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => make(path),
        read => read,
    }
}

fn random() -> io::Result<Vec<u8>> {
    let mut key = vec![0; KEY_BYTES];
    rand::fill(&mut key).map_err(|_| io::Error::other("no random numbers"))?;
    Ok(key)
}

/// Written whole under another name and linked into place, so that a crash can't leave half a key and of two gateways
/// that start at once both take the same one.
fn make(path: &Path) -> io::Result<Vec<u8>> {
    if let Some(dir) = path.parent() {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)?;
    }
    let key = random()?;
    let draft = path.with_extension(format!("{}.tmp", std::process::id()));
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&draft)?;
    file.write_all(&key)?;
    file.sync_all()?;
    let linked = fs::hard_link(&draft, path);
    fs::remove_file(&draft)?;
    match linked {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => fs::read(path),
        linked => linked.map(|()| key),
    }
}
