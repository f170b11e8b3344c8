//! Whether requests can be served: what is looked at, and what was found.

use std::fmt::{self, Display, Formatter};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio_util::sync::CancellationToken;

use crate::session::Sessions;
use crate::verify::Verifier;

/// What readiness depends on.
#[derive(Debug)]
pub struct Readiness {
    /// They accept connections.
    pub workers: Arc<Workers>,
    /// They can be looked up, and their providers asked.
    pub sessions: Arc<Sessions>,
    /// It has the providers' keys.
    pub verifier: Arc<Verifier>,
    /// Cancelled when no new connections are taken.
    pub drain: CancellationToken,
}

/// How many workers there are to be, and how many are at work.
#[derive(Debug)]
pub struct Workers {
    wanted: usize,
    at_work: AtomicUsize,
}

/// A worker at work, until this is dropped.
#[derive(Debug)]
pub struct AtWork(Arc<Workers>);

impl Workers {
    /// None of them is at work yet.
    pub fn wanted(wanted: usize) -> Arc<Self> {
        let at_work = AtomicUsize::new(0);
        Arc::new(Self { wanted, at_work })
    }

    /// One is at work from now on.
    pub fn begin(self: &Arc<Self>) -> AtWork {
        self.at_work.fetch_add(1, Ordering::Relaxed);
        AtWork(Arc::clone(self))
    }
}

impl Drop for AtWork {
    fn drop(&mut self) {
        self.0.at_work.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What was found.
#[derive(Debug)]
pub struct Report(Vec<(String, State)>);

/// What became of one check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Fine,
    /// Not as it should be, yet requests are served.
    Degraded(&'static str),
    Failed(&'static str),
}

impl Readiness {
    /// Looks at everything; bounded in time.
    pub async fn report(&self) -> Report {
        let workers = match self.workers.at_work.load(Ordering::Relaxed) {
            n if n == self.workers.wanted => State::Fine,
            _ => State::Failed("not all of them accept connections"),
        };
        let store = match self.sessions.ready().await {
            Ok(()) => State::Fine,
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "not ready");
                State::Failed("it does not answer")
            }
        };
        let serving = if self.drain.is_cancelled() {
            State::Failed("draining")
        } else {
            State::Fine
        };
        let mut checks = vec![
            ("workers".to_owned(), workers),
            ("session_store".to_owned(), store),
            ("serving".to_owned(), serving),
        ];
        checks.extend(self.providers());
        Report(checks)
    }

    /// A provider that is down keeps nobody out who is signed in.
    fn providers(&self) -> impl Iterator<Item = (String, State)> {
        let without_keys = self.verifier.without_fresh_keys();
        self.sessions.providers().map(move |(name, up)| {
            let state = match (up, without_keys.contains(&name)) {
                (true, false) => State::Fine,
                (false, _) => State::Degraded("it does not renew tokens: sessions go on"),
                (true, true) => State::Degraded("its signing keys can't be fetched"),
            };
            (format!("idp {name}"), state)
        })
    }
}

impl Report {
    /// Whether nothing has failed.
    pub fn is_ready(&self) -> bool {
        !self
            .0
            .iter()
            .any(|(_, state)| matches!(state, State::Failed(_)))
    }

    /// The whole of it in one line.
    pub fn in_a_word(&self) -> &'static str {
        if self.is_ready() {
            "ready\n"
        } else {
            "not ready\n"
        }
    }
}

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (check, state) in &self.0 {
            match state {
                State::Fine => writeln!(f, "[+] {check}: ok")?,
                State::Degraded(how) => writeln!(f, "[~] {check}: degraded: {how}")?,
                State::Failed(how) => writeln!(f, "[-] {check}: failed: {how}")?,
            }
        }
        f.write_str(self.in_a_word())
    }
}
