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

/// How it goes with a provider.
#[derive(Clone, Copy, Debug)]
pub(super) struct Provider {
    /// It renewed tokens when it was asked last.
    pub(super) reachable: bool,
    /// Its signing keys are here, and could be fetched when that was due.
    pub(super) has_keys: bool,
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

    /// What is known of a provider.
    pub(super) fn provider(&self, name: &str) -> Provider {
        let mut providers = self.sessions.providers();
        let up = providers.any(|(found, up)| *found == *name && up);
        let mut without_keys = self.verifier.without_fresh_keys().into_iter();
        Provider {
            reachable: up,
            has_keys: !without_keys.any(|found| *found == *name),
        }
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

    /// Each check: what, in a word how it went, and more words where there are some.
    pub(super) fn checks(&self) -> impl Iterator<Item = (&str, &'static str, &'static str)> {
        self.0.iter().map(|(check, state)| match state {
            State::Fine => (&**check, "ok", ""),
            State::Degraded(how) => (&**check, "degraded", *how),
            State::Failed(how) => (&**check, "failed", *how),
        })
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
