//! Wrong tokens: each leaves a line in the audit log, and of many at a time the log tells in one line.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::header::USER_AGENT;
use http::request::Parts;

use crate::peer::Peer;
use crate::telemetry::audit::{Audit, Caller, Event};

/// How far apart the log's lines are, at least.
const PAUSE: Duration = Duration::from_secs(10);

/// See the file's first line.
#[derive(Debug, Default)]
pub(super) struct Alarm(Mutex<Tally>);

#[derive(Debug, Default)]
struct Tally {
    /// How many the log has not been told of.
    untold: u64,
    told: Option<Instant>,
}

impl Alarm {
    /// A wrong token was shown.
    pub(super) fn raise(&self, audit: &Audit, peer: &Peer, head: &Parts) {
        let (address, path) = (peer.addr.ip().to_canonical(), head.uri.path());
        let agent = head.headers.get(USER_AGENT);
        audit.note(&Event::AdministratorRefused {
            path,
            caller: Caller {
                address,
                user_agent: agent.and_then(|a| a.to_str().ok()).unwrap_or_default(),
            },
        });
        let tally = self.0.lock();
        let told = tally
            .unwrap_or_else(PoisonError::into_inner)
            .count(Instant::now());
        if let Some(count) = told {
            tracing::warn!(count, client = %address, "wrong admin tokens were shown, the last one by this client");
        }
    }
}

impl Tally {
    /// Counts one, and tells how many there were since the last time that it told.
    fn count(&mut self, now: Instant) -> Option<u64> {
        self.untold = self.untold.saturating_add(1);
        if self.told.is_some_and(|told| now < told + PAUSE) {
            return None;
        }
        self.told = Some(now);
        Some(std::mem::take(&mut self.untold))
    }
}

#[cfg(test)]
mod tests {
    //! When the log is told.

    use super::*;

    #[test]
    fn many_at_a_time_are_told_in_one_line_and_none_is_left_out() {
        let (mut tally, start) = (Tally::default(), Instant::now());
        assert_eq!(tally.count(start), Some(1));
        for _ in 0..1000 {
            assert_eq!(tally.count(start + PAUSE / 2), None);
        }
        assert_eq!(tally.count(start + PAUSE), Some(1001));
        assert_eq!(tally.count(start + PAUSE), None);
    }
}
