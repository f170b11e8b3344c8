//! How slowly a body may come. Only time in which it is waited for counts: an upstream that reads slowly is not its client's
//! fault.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

/// How long nothing at all may come.
pub(super) const SILENCE: Duration = Duration::from_secs(30);
/// The stretch over which the pace is taken.
pub(super) const STRETCH: Duration = Duration::from_mins(1);
/// What has to come in each stretch: 240 bytes a second, a tenth of what the slowest mobile networks manage.
pub(super) const LEAST: usize = 240 * 60;

/// One body's pace.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// Since when it is waited for, if it is.
    waiting: Option<Instant>,
    /// How long it was waited for in this stretch, before that.
    waited: Duration,
    /// What came in this stretch.
    came: usize,
    /// Made when there is something to wait for; moved on only when it has run out.
    timer: Option<Pin<Box<Sleep>>>,
}

impl Pace {
    /// Something came.
    pub(super) fn moved(&mut self, bytes: usize) {
        self.came = self.came.saturating_add(bytes);
        if let Some(since) = self.waiting.take() {
            self.waited += since.elapsed();
        }
        if self.came >= LEAST && self.waited >= STRETCH {
            self.waited = Duration::ZERO;
            self.came = 0;
        }
    }

    /// Nothing is there. Ready when that went on for too long.
    pub(super) fn poll_late(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let now = Instant::now();
        let since = *self.waiting.get_or_insert(now);
        loop {
            let due = self.due(since);
            if due <= now {
                return Poll::Ready(());
            }
            let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(due)));
            ready!(timer.as_mut().poll(cx));
            timer.as_mut().reset(due);
        }
    }

    /// When it will have been too long. A stretch that has brought enough already has no end before something more comes.
    fn due(&self, since: Instant) -> Instant {
        let silent = since + SILENCE;
        if self.came >= LEAST {
            return silent;
        }
        silent.min(since + STRETCH.saturating_sub(self.waited))
    }
}
