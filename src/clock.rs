//! The only reader of the time: everything else is handed a [`Timestamp`] or a [`Clock`].

use std::ops::{Add, Sub};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// A point in time, in milliseconds since the Unix epoch.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The end of time: a clock that can't be read answers this, so that everything is expired rather than valid.
    pub const MAX: Self = Self(u64::MAX);

    /// From milliseconds since the Unix epoch.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// From seconds since the Unix epoch (a `NumericDate` of RFC 7519 section 2).
    pub const fn from_secs(secs: u64) -> Self {
        Self(secs.saturating_mul(1000))
    }

    /// Milliseconds since the Unix epoch.
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// Whole seconds since the Unix epoch.
    pub const fn as_secs(self) -> u64 {
        self.0 / 1000
    }

    /// How long after `earlier` this is; zero if it is not after it.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;

    fn add(self, rhs: Duration) -> Self {
        Self(
            self.0
                .saturating_add(u64::try_from(rhs.as_millis()).unwrap_or(u64::MAX)),
        )
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Self;

    fn sub(self, rhs: Duration) -> Self {
        Self(
            self.0
                .saturating_sub(u64::try_from(rhs.as_millis()).unwrap_or(u64::MAX)),
        )
    }
}

/// A stretch of time, as exactly as people say it.
pub fn in_words(time: Duration) -> String {
    let seconds = time.as_secs();
    let (number, unit) = match seconds {
        0..60 => (seconds, "s"),
        60..7200 => (seconds / 60, "min"),
        7200..172_800 => (seconds / 3600, "h"),
        _ => (seconds / 86_400, "days"),
    };
    format!("{number} {unit}")
}

/// Where the time comes from.
#[derive(Clone, Debug, Default)]
pub enum Clock {
    /// The machine's wall clock.
    #[default]
    System,
    /// The machine's wall clock plus a shift in milliseconds that the demo and the tests move forward.
    Shifted(Arc<AtomicU64>),
    /// The runtime's time, which tests pause and move.
    #[cfg(test)]
    Paused(tokio::time::Instant),
}

/// When the time of [`Clock::Paused`] begins, in seconds.
#[cfg(test)]
const BEGINNING: u64 = 4_000_000_000;

impl Clock {
    /// A clock that can be moved forward, starting at the machine's time.
    pub fn shifted() -> Self {
        Self::Shifted(Arc::default())
    }

    /// The time of a runtime whose time is paused, from a fixed beginning: the same in every run.
    #[cfg(test)]
    pub(crate) fn paused() -> Self {
        Self::Paused(tokio::time::Instant::now())
    }

    /// The time now.
    pub fn now(&self) -> Timestamp {
        match self {
            Self::System => wall(),
            Self::Shifted(shift) => wall() + Duration::from_millis(shift.load(Ordering::Relaxed)),
            #[cfg(test)]
            Self::Paused(beginning) => Timestamp::from_secs(BEGINNING) + beginning.elapsed(),
        }
    }

    /// Moves a shifted clock forward for everyone who holds it; a system clock can't be moved, so this does nothing.
    pub fn advance(&self, by: Duration) {
        if let Self::Shifted(shift) = self {
            shift.fetch_add(
                u64::try_from(by.as_millis()).unwrap_or(u64::MAX),
                Ordering::Relaxed,
            );
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "this is the one place that reads the clock"
)]
fn wall() -> Timestamp {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(Timestamp::MAX, |d| {
            Timestamp(u64::try_from(d.as_millis()).unwrap_or(u64::MAX))
        })
}
