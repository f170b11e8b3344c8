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

use super::pulse::Pulse;

/// How long a connection may take for what.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// The TLS handshake.
    pub(super) handshake: Duration,
    /// A request's head, from its first byte; in HTTP/2, the first byte of all.
    pub(super) head: Duration,
    /// Between two looks.
    pub(super) tick: Duration,
    /// Looks at which nothing was under way, or nothing of a response could be written, until it is closed.
    pub(super) looks: u8,
    /// From being told to close to being cut off.
    pub(super) goodbye: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(10),
            head: Duration::from_secs(10),
            tick: Duration::from_secs(25),
            looks: 3,
            goodbye: Duration::from_secs(5),
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

    fn has_begun(&self) -> bool {
        self.begun.load(Ordering::SeqCst)
    }
}

/// What a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Speaks {
    /// Bytes while nothing is under way are a request's head.
    Http1,
    /// The first bytes are the client's preface (RFC 9113 section 3.4), due at once; later ones can be anything.
    Http2,
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
    /// Draining: whoever drains waits as long as it likes.
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
        begun: u32,
        written: u32,
        idle_looks: u8,
        stuck_looks: u8,
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
        Self {
            pulse,
            draining,
            limits,
            speaks,
            stage: Stage::New,
            head: None,
            begun: 0,
            written: 0,
            idle_looks: 0,
            stuck_looks: 0,
            told: draining.told.notified(),
            timer: sleep(match speaks {
                Speaks::Http1 => limits.tick,
                Speaks::Http2 => limits.head,
            }),
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
        if self.stage == Stage::Serving && self.draining.has_begun() {
            *self.project().stage = Stage::Draining;
            return Verdict::Close;
        }
        if self.stage != Stage::Serving {
            return self.leave();
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

    fn leave(&self) -> Verdict {
        if self.stage == Stage::Leaving && self.timer.is_elapsed() {
            Verdict::Cut
        } else {
            Verdict::Stay
        }
    }

    fn wake_in(self: Pin<&mut Self>, time: Duration, cx: &mut Context<'_>) {
        let mut this = self.project();
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
        *this.idle_looks = count(
            *this.idle_looks,
            pulse.is_idle() && pulse.begun() == *this.begun,
        );
        *this.stuck_looks = count(
            *this.stuck_looks,
            pulse.is_stuck() && pulse.written() == *this.written,
        );
        *this.begun = pulse.begun();
        *this.written = pulse.written();
        if *this.stuck_looks >= this.limits.looks {
            return Verdict::Cut;
        }
        if late || *this.idle_looks >= this.limits.looks {
            *this.stage = Stage::Leaving;
            return Verdict::Close;
        }
        Verdict::Stay
    }
}

fn count(so_far: u8, again: bool) -> u8 {
    if again { so_far.saturating_add(1) } else { 0 }
}
