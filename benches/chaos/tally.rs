//! What is counted while a scenario runs.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Why a session was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// The provider's answer to a refresh never left it, or was cut on its way.
    AnswerLost,
    /// A gateway was killed between the provider's rotation and the save.
    Killed,
    /// The provider did not answer, so that nobody can know: a page load signs in unseen to be sure.
    Doubt,
    /// A spent refresh token was sent again, though the next one had arrived.
    Replay,
    /// Nothing that the harness did explains it.
    Unexplained,
}

impl Cause {
    /// Whether nobody could have prevented it.
    pub fn is_nobodys_fault(self) -> bool {
        matches!(self, Self::AnswerLost | Self::Killed | Self::Doubt)
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AnswerLost => "answer",
            Self::Killed => "kill",
            Self::Doubt => "doubt",
            Self::Replay => "REPLAY",
            Self::Unexplained => "UNEXPLAINED",
        })
    }
}

#[derive(Debug, Default)]
pub struct Tally {
    pub requests: AtomicUsize,
    pub ok: AtomicUsize,
    pub unavailable: AtomicUsize,
    pub other: AtomicUsize,
    pub healed: AtomicUsize,
    pub unauthorised: AtomicUsize,
    pub lost: Mutex<BTreeMap<Cause, usize>>,
    /// Other answers: how often, by kind.
    pub kinds: Mutex<BTreeMap<String, usize>>,
    /// What must not be.
    pub problems: Mutex<Vec<String>>,
}

pub fn up(counter: &AtomicUsize) {
    counter.fetch_add(1, Ordering::Relaxed);
}

pub fn read(counter: &AtomicUsize) -> usize {
    counter.load(Ordering::Relaxed)
}

impl Tally {
    pub fn other(&self, kind: String) {
        up(&self.other);
        *self.kinds.lock().unwrap().entry(kind).or_default() += 1;
    }

    pub fn lost(&self, cause: Cause) {
        *self.lost.lock().unwrap().entry(cause).or_default() += 1;
    }

    pub fn problem(&self, text: String) {
        self.problems.lock().unwrap().push(text);
    }
}

/// Sorted durations in milliseconds, for percentiles.
#[derive(Debug, Default)]
pub struct Spread(Vec<f64>);

impl Spread {
    pub fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        Self(values)
    }

    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share of a small count"
    )]
    pub fn at(&self, share: f64) -> f64 {
        let last = self.0.len().saturating_sub(1);
        self.0
            .get((last as f64 * share).ceil() as usize)
            .copied()
            .unwrap_or_default()
    }

    pub fn say(&self) -> String {
        format!(
            "p50 {:.1} ms, p99 {:.1} ms, max {:.1} ms of {}",
            self.at(0.5),
            self.at(0.99),
            self.at(1.0),
            self.0.len()
        )
    }
}
