//! When a connection has to go: drained, idle, or slower than anyone honest. Nothing here is done for each request; a timer
//! ticks, and signs of life are compared.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Context;
use std::time::Duration;

use pin_project_lite::pin_project;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;
use tokio::time::{Instant, Sleep, sleep};

use super::pulse::{Pulse, Speaks};

/// How long a connection may take for what.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// The TLS handshake.
    pub(super) handshake: Duration,
    /// A request's head, from its first byte; in HTTP/2, the first byte of all.
    pub(super) head: Duration,
    /// Between two looks: what follows is noticed that much later at most.
    pub(super) tick: Duration,
    /// Without a request under way, or without the peer reading anything of a response.
    pub(super) idle: Duration,
    /// From being told to close to being cut off.
    pub(super) goodbye: Duration,
    /// The same while draining, with nothing under way.
    pub(super) parting: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(10),
            head: Duration::from_secs(10),
            tick: Duration::from_secs(25),
            idle: Duration::from_secs(75),
            goodbye: Duration::from_secs(5),
            parting: Duration::from_secs(1),
        }
    }
}

/// Whether a listener is draining. Cheap to look at whenever a connection does anything.
#[derive(Debug, Default)]
pub(super) struct Draining {
    begun: AtomicBool,
    told: Notify,
}

impl Draining {
    pub(super) fn begin(&self) {
        self.begun.store(true, Ordering::SeqCst);
        self.told.notify_waiters();
    }

    /// Waits for it to begin.
    pub(super) async fn begun(&self) {
        let mut told = std::pin::pin!(self.told.notified());
        told.as_mut().enable();
        if !self.has_begun() {
            told.await;
        }
    }

    fn has_begun(&self) -> bool {
        self.begun.load(Ordering::SeqCst)
    }
}

/// What becomes of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It goes on.
    Stay,
    /// It finishes what has begun.
    Close,
    /// It is dropped at once.
    Cut,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Not looked at yet.
    New,
    Serving,
    /// Draining: what is under way is waited for, by whoever drains as long as it likes.
    Draining,
    /// Told to go: the timer runs for its goodbye.
    Leaving,
}

pin_project! {
    /// Watches one connection. The timer and the drain are polled once; later they wake the connection's task, which looks at
    /// two flags.
    pub(super) struct Watch<'a> {
        pulse: &'a Pulse,
        draining: &'a Draining,
        limits: &'a Limits,
        speaks: Speaks,
        stage: Stage,
        // The number of requests that had begun when the head under way did.
        head: Option<u32>,
        period: Duration,
        idle: Span,
        stuck: Span,
        // Draining, and nothing is under way or goes out.
        done: Span,
        #[pin]
        told: Notified<'a>,
        #[pin]
        timer: Sleep,
    }
}

impl<'a> Watch<'a> {
    pub(super) fn new(
        speaks: Speaks,
        pulse: &'a Pulse,
        draining: &'a Draining,
        limits: &'a Limits,
    ) -> Self {
        let period = match speaks {
            Speaks::Http1 => limits.tick,
            Speaks::Http2 => limits.head,
        };
        Self {
            pulse,
            draining,
            limits,
            speaks,
            stage: Stage::New,
            head: None,
            period,
            idle: Span::Since(0, Duration::ZERO),
            stuck: Span::Not,
            done: Span::Not,
            told: draining.told.notified(),
            timer: sleep(period),
        }
    }

    /// To be asked after the connection was polled, each time.
    pub(super) fn look(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Verdict {
        if self.stage == Stage::New {
            let mut this = self.as_mut().project();
            *this.stage = Stage::Serving;
            let _ = this.told.as_mut().poll(cx);
            let _ = this.timer.as_mut().poll(cx);
        }
        let draining = self.draining.has_begun();
        if self.stage != Stage::Leaving && self.pulse.is_lingering() {
            *self.as_mut().project().stage = Stage::Leaving;
            let goodbye = self.limits.goodbye;
            self.as_mut().wake_in(goodbye, cx);
        }
        match self.stage {
            Stage::Serving if draining => return self.drain(cx),
            Stage::Draining => return self.finish(cx),
            Stage::Leaving => {
                if draining && self.period > self.limits.parting {
                    let parting = self.limits.parting;
                    self.as_mut().wake_in(parting, cx);
                }
                return self.leave();
            }
            Stage::New | Stage::Serving => {}
        }
        let head = self.speaks == Speaks::Http1 && self.pulse.is_partial();
        if head && self.head != Some(self.pulse.begun()) {
            let head = self.limits.head;
            *self.as_mut().project().head = Some(self.pulse.begun());
            self.as_mut().wake_in(head, cx);
        }
        if !self.timer.is_elapsed() {
            return Verdict::Stay;
        }
        let verdict = self.as_mut().judge();
        let next = match verdict {
            Verdict::Close => self.limits.goodbye,
            Verdict::Stay | Verdict::Cut => self.limits.tick,
        };
        self.wake_in(next, cx);
        verdict
    }

    /// The drain begins. Half a head is no request yet: nobody waits for its other half.
    fn drain(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Verdict {
        let pulse = self.pulse;
        if self.speaks == Speaks::Http1 && pulse.is_partial() && pulse.is_idle() {
            return Verdict::Cut;
        }
        let parting = self.limits.parting;
        self.as_mut().wake_in(parting, cx);
        let this = self.project();
        *this.stage = Stage::Draining;
        this.done
            .look(pulse.is_idle().then(|| pulse.sent()), parting);
        Verdict::Close
    }

    /// Draining: a peer with nothing under way that doesn't take its leave is not waited for.
    fn finish(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Verdict {
        if !self.timer.is_elapsed() {
            return Verdict::Stay;
        }
        let (pulse, parting) = (self.pulse, self.limits.parting);
        let this = self.as_mut().project();
        this.done
            .look(pulse.is_idle().then(|| pulse.sent()), parting);
        if this.done.is_over(parting) {
            return Verdict::Cut;
        }
        self.wake_in(parting, cx);
        Verdict::Stay
    }

    fn leave(&self) -> Verdict {
        if self.timer.is_elapsed() {
            Verdict::Cut
        } else {
            Verdict::Stay
        }
    }

    fn wake_in(self: Pin<&mut Self>, time: Duration, cx: &mut Context<'_>) {
        let mut this = self.project();
        *this.period = time;
        this.timer.as_mut().reset(Instant::now() + time);
        let _ = this.timer.poll(cx);
    }

    /// The timer has run out.
    fn judge(self: Pin<&mut Self>) -> Verdict {
        let this = self.project();
        let pulse = *this.pulse;
        let late = match this.speaks {
            Speaks::Http1 => pulse.is_partial() && *this.head == Some(pulse.begun()),
            Speaks::Http2 => !pulse.spoke(),
        };
        let (period, most) = (*this.period, this.limits.idle);
        let idle = pulse.is_idle().then(|| pulse.begun());
        let stuck = pulse.is_stuck().then(|| pulse.written());
        this.idle.look(idle, period);
        this.stuck.look(stuck, period);
        if late || this.stuck.is_over(most) {
            return Verdict::Cut;
        }
        if this.idle.is_over(most) {
            *this.stage = Stage::Leaving;
            return Verdict::Close;
        }
        Verdict::Stay
    }
}

/// How long something is known to have gone on, from look to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Span {
    Not,
    /// As long as the mark stays the same.
    Since(u32, Duration),
}

impl Span {
    /// What is seen now, `period` after the last look: a mark if it goes on.
    fn look(&mut self, mark: Option<u32>, period: Duration) {
        *self = match (*self, mark) {
            (_, None) => Self::Not,
            (Self::Since(before, so_far), Some(mark)) if before == mark => {
                Self::Since(mark, so_far + period)
            }
            (_, Some(mark)) => Self::Since(mark, Duration::ZERO),
        };
    }

    fn is_over(self, most: Duration) -> bool {
        matches!(self, Self::Since(_, so_far) if so_far >= most)
    }
}
