//! The database file: opened with care, reopened after a fault, set aside when it can't be understood.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};
use std::thread;

use redb::backends::FileBackend;
use redb::{Builder, DatabaseError, ReadableDatabase};

use super::tables;
use crate::clock::Timestamp;
use crate::session::store::{Change, Written};

/// What redb keeps of the file in memory.
const CACHE_BYTES: usize = 64 << 20;

/// Why the file can't be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("can't open {path}")]
    Open { path: PathBuf, source: io::Error },
    #[error("{path} is in use by another process")]
    Locked { path: PathBuf },
    #[error("{path} was written by another version: {source}")]
    Version { path: PathBuf, source: redb::Error },
    #[error("can't set aside {path}, which can't be understood")]
    SetAside { path: PathBuf, source: io::Error },
    #[error("can't use {path}: {source}")]
    Use { path: PathBuf, source: redb::Error },
    #[error("{path} is closed after a fault")]
    Closed { path: PathBuf },
}

/// How the database is built over an open file.
pub(super) type Build = fn(File) -> Result<redb::Database, DatabaseError>;

/// The database, which a fault may close for a while.
#[derive(Debug)]
pub(super) struct Database {
    path: PathBuf,
    build: Build,
    open: RwLock<Option<redb::Database>>,
}

impl Database {
    pub(super) fn open(path: &Path, now: Timestamp) -> Result<Self, Error> {
        Self::open_with(path, now, build)
    }

    pub(super) fn open_with(path: &Path, now: Timestamp, build: Build) -> Result<Self, Error> {
        if let Some(directory) = path.parent().filter(|d| !d.as_os_str().is_empty()) {
            let mut builder = DirBuilder::new();
            let made = builder.recursive(true).mode(0o700).create(directory);
            made.map_err(|source| open_error(path, source))?;
        }
        let database = match attempt(path, build)? {
            Attempt::Open(database) => database,
            Attempt::Corrupt(why) => {
                set_aside(path, now, &why)?;
                match attempt(path, build)? {
                    Attempt::Open(database) => database,
                    Attempt::Corrupt(why) => {
                        return Err(use_error(path, redb::Error::Corrupted(why)));
                    }
                }
            }
        };
        Ok(Self {
            path: path.to_owned(),
            build,
            open: RwLock::new(Some(database)),
        })
    }

    pub(super) fn read<T>(
        &self,
        read: impl FnOnce(&redb::ReadTransaction) -> Result<T, redb::Error>,
    ) -> Result<T, Error> {
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        let database = open.as_ref().ok_or_else(|| Error::Closed {
            path: self.path.clone(),
        })?;
        let transaction = database.begin_read().map_err(redb::Error::from);
        let answer = transaction.and_then(|transaction| read(&transaction));
        answer.map_err(|source| use_error(&self.path, source))
    }

    /// Makes changes durable, all or none.
    pub(super) fn write(&self, changes: &[Change]) -> Result<Vec<Written>, Error> {
        self.reopen()?;
        let written = {
            let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
            let database = open.as_ref().ok_or_else(|| Error::Closed {
                path: self.path.clone(),
            })?;
            tables::write(database, changes)
        };
        written.map_err(|source| {
            self.close();
            use_error(&self.path, source)
        })
    }

    /// Writing panicked.
    pub(super) fn fault(&self) -> Error {
        self.close();
        Error::Closed {
            path: self.path.clone(),
        }
    }

    /// After a fault redb refuses everything until the file is opened anew.
    fn close(&self) {
        *self.open.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn reopen(&self) -> Result<(), Error> {
        let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
        if open.is_some() {
            return Ok(());
        }
        match attempt(&self.path, self.build)? {
            Attempt::Open(database) => {
                *open = Some(database);
                Ok(())
            }
            // Not set aside while we run: memory has what matters, and a person should look.
            Attempt::Corrupt(why) => Err(use_error(&self.path, redb::Error::Corrupted(why))),
        }
    }
}

enum Attempt {
    Open(redb::Database),
    Corrupt(String),
}

fn attempt(path: &Path, build: Build) -> Result<Attempt, Error> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(|source| open_error(path, source))?;
    // It may have been made under another mask, or copied here.
    file.set_permissions(fs::Permissions::from_mode(0o600))
        .map_err(|source| open_error(path, source))?;
    // Damage may make redb panic rather than fail; on a thread of its own that ends nothing else.
    let opening = thread::spawn(move || {
        let database = build(file)?;
        tables::prepare(&database)?;
        Ok(database)
    });
    match opening.join() {
        Ok(Ok(database)) => Ok(Attempt::Open(database)),
        Ok(Err(error)) => judge(path, error),
        Err(_) => Ok(Attempt::Corrupt("opening it panicked".to_owned())),
    }
}

/// What can't be understood is set aside; what may be good tomorrow is an error.
fn judge(path: &Path, error: redb::Error) -> Result<Attempt, Error> {
    let path_of = || path.to_owned();
    if let redb::Error::DatabaseAlreadyOpen | redb::Error::LockProtocolMismatch = error {
        return Err(Error::Locked { path: path_of() });
    }
    if let redb::Error::UpgradeRequired(_) = error {
        let (path, source) = (path_of(), error);
        return Err(Error::Version { path, source });
    }
    if is_nonsense(&error) {
        return Ok(Attempt::Corrupt(error.to_string()));
    }
    if let redb::Error::Io(source) = error {
        return Err(open_error(path, source));
    }
    Err(use_error(path, error))
}

fn is_nonsense(error: &redb::Error) -> bool {
    if let redb::Error::Io(error) = error {
        return matches!(
            error.kind(),
            io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof
        );
    }
    matches!(
        error,
        redb::Error::Corrupted(_)
            | redb::Error::TableTypeMismatch { .. }
            | redb::Error::TypeDefinitionChanged { .. }
    )
}

fn set_aside(path: &Path, now: Timestamp, why: &str) -> Result<(), Error> {
    let mut aside = path.as_os_str().to_owned();
    aside.push(format!(".corrupt-{}", now.as_secs()));
    tracing::error!(file = %path.display(), aside = %Path::new(&aside).display(), why,
        "the session store can't be understood: it is set aside and a new one begun, so everyone signs in anew");
    fs::rename(path, &aside).map_err(|source| Error::SetAside {
        path: path.to_owned(),
        source,
    })
}

pub(super) fn build(file: File) -> Result<redb::Database, DatabaseError> {
    Builder::new()
        .set_cache_size(CACHE_BYTES)
        .create_with_backend(FileBackend::new(file)?)
}

fn open_error(path: &Path, source: io::Error) -> Error {
    Error::Open {
        path: path.to_owned(),
        source,
    }
}

fn use_error(path: &Path, source: redb::Error) -> Error {
    Error::Use {
        path: path.to_owned(),
        source,
    }
}
