//! The store in one file that survives kill -9 and power cuts (redb). One thread writes: it collects the changes that
//! wait, makes them durable in one transaction, and then answers them all.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{self, JoinHandle};

use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::{Answer, Census, Change, Debt, Due, Found, Index, Store, Written, failed};
use crate::clock::{Clock, Timestamp};
use crate::session::StoreError;
use crate::token::SessionHash;
use crate::verify::Refused;

mod file;
mod tables;

use file::Database;

#[cfg(test)]
mod tests;

/// How many changes are made durable together.
const BATCH: usize = 1024;

/// See the file's first line.
#[derive(Debug)]
pub(in crate::session) struct Disk {
    database: Arc<Database>,
    background: Handle,
    /// `None` only while it is dropped.
    writer: Option<Writer>,
}

#[derive(Debug)]
struct Writer {
    jobs: Sender<Job>,
    thread: JoinHandle<()>,
}

struct Job {
    change: Change,
    answer: oneshot::Sender<Result<Written, StoreError>>,
}

impl Disk {
    /// Opens the file, or begins it. One that can't be understood is set aside, and a new one begun. What is refused is in
    /// the register when this returns.
    ///
    /// # Errors
    /// When it can't be read, written or locked.
    pub(in crate::session) fn open(
        path: &Path,
        background: Handle,
        clock: &Clock,
        refused: &Refused,
    ) -> Result<Self, StoreError> {
        let unopened = |source| failed("the session store can't be opened", source);
        let database = Database::open(path, clock.now()).map_err(unopened)?;
        let refusals = database.read(tables::refusals).map_err(unopened)?;
        let taken = refused.add(&refusals, clock.now());
        taken.map_err(|source| failed("what is refused can't be held", source))?;
        Self::over(database, background).map_err(|source| StoreError {
            what: "the session store's writer can't be started",
            source: Some(Box::new(source)),
        })
    }

    fn over(database: Database, background: Handle) -> std::io::Result<Self> {
        let database = Arc::new(database);
        let (jobs, waiting) = mpsc::channel();
        let shared = Arc::clone(&database);
        let thread = thread::Builder::new()
            .name("session-store".to_owned())
            .spawn(move || write(&shared, &waiting))?;
        Ok(Self {
            database,
            background,
            writer: Some(Writer { jobs, thread }),
        })
    }

    fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&redb::ReadTransaction) -> Result<T, redb::Error> + Send + 'static,
    ) -> Answer<T> {
        let database = Arc::clone(&self.database);
        let reading = self
            .background
            .spawn_blocking(move || database.read(read).map_err(|source| failed(READ, source)));
        Box::pin(async move {
            let answer = reading.await;
            answer.map_err(|source| failed(READ, source))?
        })
    }
}

const READ: &str = "the session store can't be read";
const WRITE: &str = "the session store can't be written";

/// Runs until nobody can send any more.
fn write(database: &Database, waiting: &Receiver<Job>) {
    while let Ok(first) = waiting.recv() {
        let batch = [first].into_iter().chain(waiting.try_iter()).take(BATCH);
        let (changes, answers): (Vec<_>, Vec<_>) =
            batch.map(|job| (job.change, job.answer)).unzip();
        // A file that is damaged may make redb panic: one batch then fails, and the writer lives.
        let written = catch_unwind(AssertUnwindSafe(|| database.write(&changes)));
        answer(answers, written.unwrap_or_else(|_| Err(database.fault())));
    }
}

/// A receiver may be gone: its change was made all the same.
fn answer(answers: Vec<oneshot::Sender<Result<Written, StoreError>>>, written: WrittenAll) {
    match written {
        Ok(written) => {
            for (answer, written) in answers.into_iter().zip(written) {
                let _ = answer.send(Ok(written));
            }
        }
        Err(source) => {
            let source = Arc::new(source);
            for answer in answers {
                let _ = answer.send(Err(failed(WRITE, Arc::clone(&source))));
            }
        }
    }
}

type WrittenAll = Result<Vec<Written>, file::Error>;

impl Store for Disk {
    fn load(&self, id: SessionHash) -> Answer<Option<Found>> {
        self.read(move |transaction| {
            let row = tables::load(transaction, id)?;
            Ok(row.map(|row| Found { row, held: false }))
        })
    }

    fn write(&self, change: Change) -> Answer<Written> {
        let (answer, written) = oneshot::channel();
        // Where the writer is gone, so is the other end of the answer.
        if let Some(writer) = &self.writer {
            let _ = writer.jobs.send(Job { change, answer });
        }
        Box::pin(async move { written.await.map_err(|source| failed(WRITE, source))? })
    }

    fn due(&self, now: Timestamp, limit: usize) -> Answer<Vec<Due>> {
        self.read(move |transaction| tables::due(transaction, now, limit))
    }

    fn find(&self, index: Index) -> Answer<Vec<SessionHash>> {
        self.read(move |transaction| tables::find(transaction, index))
    }

    fn list(&self, from: SessionHash, limit: usize) -> Answer<Vec<SessionHash>> {
        self.read(move |transaction| tables::list(transaction, from, limit))
    }

    fn claim_debts(&self, now: Timestamp, until: Timestamp, limit: usize) -> Answer<Vec<Debt>> {
        let free = self.read(move |transaction| tables::free_debts(transaction, now, limit));
        let jobs = self.writer.as_ref().map(|writer| writer.jobs.clone());
        Box::pin(async move {
            let mut debts = free.await?;
            if debts.is_empty() {
                return Ok(debts);
            }
            let (answer, written) = oneshot::channel();
            let change = Change::Hold(debts.iter().map(|debt| debt.id).collect(), until);
            if let Some(jobs) = jobs {
                let _ = jobs.send(Job { change, answer });
            }
            written.await.map_err(|source| failed(WRITE, source))??;
            for debt in &mut debts {
                debt.held_until = until;
            }
            Ok(debts)
        })
    }

    fn debts(&self, limit: usize) -> Answer<Vec<Debt>> {
        self.read(move |transaction| tables::debts(transaction, limit))
    }

    fn census(&self) -> Answer<Census> {
        self.read(tables::census)
    }
}

impl Drop for Disk {
    /// What was asked for is made durable, and the file's lock given back, before this returns.
    fn drop(&mut self) {
        if let Some(Writer { jobs, thread }) = self.writer.take() {
            drop(jobs);
            // A writer that panicked has said so.
            let _ = thread.join();
        }
    }
}
