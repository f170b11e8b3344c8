//! `tidegate key`: makes key material that nobody can guess.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use zeroize::Zeroizing;

use super::arguments::{Key, KeyKind, NewKey};
use super::{Exit, Terminal};
use crate::seal::fresh_key;

/// Why there is no new key.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("no key can be made")]
    Random(#[source] io::Error),
    #[error("the key can't be written to {file}")]
    Write {
        file: String,
        #[source]
        source: io::Error,
    },
}

pub(super) fn key(options: &Key, terminal: &mut Terminal<'_>) -> Exit {
    let Key::New(NewKey { kind, output }) = options;
    match kind {
        KeyKind::Session => {}
    }
    match new_key(output.as_deref(), terminal) {
        Ok(()) => Exit::Success,
        Err(error) => {
            terminal.fail(&error);
            Exit::of_any(&error)
        }
    }
}

fn new_key(output: Option<&Path>, terminal: &mut Terminal<'_>) -> Result<(), Error> {
    let key = fresh_key().map(Zeroizing::new).map_err(Error::Random)?;
    let mut text = Zeroizing::new(BASE64_STANDARD.encode(&*key));
    text.push('\n');
    let Some(path) = output else {
        terminal.say(&*text);
        return Ok(());
    };
    write(path, text.as_bytes()).map_err(|source| Error::Write {
        file: path.display().to_string(),
        source,
    })
}

/// What is there already stays: it may be the only key that opens the sessions.
fn write(path: &Path, text: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(text)?;
    file.sync_all()
}
