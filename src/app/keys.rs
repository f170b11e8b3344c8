//! The keys that session records are sealed with: as configured, or made at the first start and kept.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use crate::app::Error;
use crate::config::{EncryptionKeys, key_material};
use crate::seal::{Keyring, fresh_key};

const KEY_BYTES: usize = 32;

/// Opens the keyring.
///
/// # Errors
/// [`Error::EncryptionKey`].
pub(super) fn open(keys: &EncryptionKeys) -> Result<Keyring, Error> {
    let keys = match keys {
        EncryptionKeys::Given(keys) => keys.clone(),
        EncryptionKeys::OfThisRun => vec![fresh_key().map_err(|source| Error::EncryptionKey {
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
        // As one that is named in the configuration is read, so that the same file is the same key there.
        read => read.map(key_material),
    }
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
    let key = fresh_key()?;
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
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => fs::read(path).map(key_material),
        linked => linked.map(|()| key),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn a_kept_key_is_the_same_when_it_is_named_in_the_configuration() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state/session.key");
        let made = read_or_make(&path).unwrap();
        assert_eq!(made.len(), KEY_BYTES);
        assert_eq!(read_or_make(&path).unwrap(), made);
        assert_eq!(key_material(fs::read(&path).unwrap()), made);
        fs::write(&path, "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n").unwrap();
        let written = read_or_make(&path).unwrap();
        assert_eq!(written, (0..32).collect::<Vec<u8>>());
    }
}
