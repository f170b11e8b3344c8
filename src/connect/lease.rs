//! One upstream connection, driven by whoever uses it: no task of its own and no task switch.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, Wake, Waker, ready};
use std::time::Duration;

use futures_util::task::AtomicWaker;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::client::conn::http1::{Builder, Connection, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::time::{Instant, Sleep};

use super::dial::Stream;
use super::upload::{Progress, Tracked};
use super::{Error, Failed, Outgoing};

/// Response heads above this are refused.
const MAX_HEAD: usize = 64 * 1024;

/// The longest that a timer is asked for, in place of an instant that can't be represented.
const FAR: Duration = Duration::from_hours(24 * 365 * 30);

/// A connection and the handle to send on it.
pub(super) struct Lease<B: Outgoing> {
    sender: SendRequest<Tracked<B>>,
    connection: Connection<TokioIo<Stream>, Tracked<B>>,
    relay: Arc<Relay>,
    waker: Waker,
    /// Kept over requests: moving a timer forward is cheap, setting one up is not.
    timer: Option<Pin<Box<Sleep>>>,
}

/// A response, and its connection unless that is over.
pub(super) struct Exchanged<B: Outgoing> {
    pub(super) response: Response<Incoming>,
    pub(super) lease: Option<Box<Lease<B>>>,
}

impl<B: Outgoing> Lease<B> {
    pub(super) async fn over(stream: Stream) -> hyper::Result<Box<Self>> {
        let (sender, connection) = Builder::new()
            .max_header_size(MAX_HEAD)
            .handshake(TokioIo::new(stream))
            .await?;
        let relay = Arc::new(Relay::default());
        let waker = Waker::from(Arc::clone(&relay));
        Ok(Box::new(Self {
            sender,
            connection,
            relay,
            waker,
            timer: None,
        }))
    }

    /// Moves the connection on: reads, writes, takes from the request's body. Ready when it is over.
    pub(super) fn poll_drive(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.relay.follow(cx.waker());
        Pin::new(&mut self.connection)
            .poll(&mut Context::from_waker(&self.waker))
            .map(drop)
    }

    /// Runs `take`, which takes from the connection on this very task, without being woken by that.
    pub(super) fn hushed<T>(&self, take: impl FnOnce() -> Poll<T>) -> Poll<T> {
        self.relay.hush();
        let taken = take();
        self.relay.unhush(taken.is_pending());
        taken
    }

    /// Whether the last exchange is over and the next may begin.
    pub(super) fn is_idle(&self) -> bool {
        self.sender.is_ready()
    }

    /// Nobody waits for this connection any more, so nothing that happens to it wakes anyone.
    pub(super) fn park(&self) {
        self.relay.park();
    }

    /// Whether the peer has closed it, or said something unasked, since it was parked.
    pub(super) fn is_dead(&mut self) -> bool {
        Pin::new(&mut self.connection)
            .poll(&mut Context::from_waker(&self.waker))
            .is_ready()
            || !self.sender.is_ready()
    }

    /// Sends a request and drives the connection until the response's head is there.
    pub(super) fn exchange(
        mut self: Box<Self>,
        request: Request<B>,
        limit: Duration,
    ) -> impl Future<Output = Result<Exchanged<B>, Failed<B>>> + Send {
        let request = request.map(Tracked::new);
        let progress = request.body().progress();
        let response = self.sender.try_send_request(request);
        self.set_timer(Instant::now(), limit);
        Self::answered(self, response, progress, limit)
    }

    async fn answered(
        lease: Box<Self>,
        response: impl Future<Output = Result<Response<Incoming>, TrySendError<Request<Tracked<B>>>>>,
        progress: Option<Arc<Progress>>,
        limit: Duration,
    ) -> Result<Exchanged<B>, Failed<B>> {
        let mut response = pin!(response);
        let mut lease = Some(lease);
        let response = poll_fn(|cx| {
            // Dropping a connection that is over settles what still waits for a response on it.
            lease.take_if(|lease| lease.poll_drive(cx).is_ready());
            // Only `poll_drive` can have moved the response on, so nobody needs to be woken for it.
            let quiet = &mut Context::from_waker(Waker::noop());
            if let Poll::Ready(outcome) = response.as_mut().poll(quiet) {
                return Poll::Ready(outcome.map_err(failed));
            }
            let late = lease.as_mut().map_or(Poll::Pending, |lease| {
                lease.poll_late(progress.as_deref(), limit)
            });
            late.map(|()| Err(timed_out()))
        })
        .await?;
        Ok(Exchanged { response, lease })
    }

    fn set_timer(&mut self, since: Instant, limit: Duration) {
        let due = due(since, limit);
        match &mut self.timer {
            Some(timer) => timer.as_mut().reset(due),
            None => self.timer = Some(Box::pin(tokio::time::sleep_until(due))),
        }
    }

    /// Ready when `limit` has passed since the request was begun, or since its body last moved.
    fn poll_late(&mut self, progress: Option<&Progress>, limit: Duration) -> Poll<()> {
        loop {
            let Some(timer) = &mut self.timer else {
                return Poll::Pending;
            };
            ready!(timer.as_mut().poll(&mut Context::from_waker(&self.waker)));
            match progress.map(Progress::last) {
                Some(moved) if due(moved, limit) > Instant::now() => self.set_timer(moved, limit),
                _ => return Poll::Ready(()),
            }
        }
    }

    /// The same for a request that may turn the connection into a tunnel: it gets a task of its own and is never used again.
    pub(super) async fn exchange_for_upgrade(
        self: Box<Self>,
        request: Request<B>,
        limit: Duration,
    ) -> Result<Exchanged<B>, Failed<B>> {
        let Self {
            mut sender,
            connection,
            ..
        } = *self;
        tokio::spawn(connection.with_upgrades());
        let response = sender.try_send_request(request.map(Tracked::new));
        match tokio::time::timeout(limit, response).await {
            Ok(Ok(response)) => Ok(Exchanged {
                response,
                lease: None,
            }),
            Ok(Err(error)) => Err(failed(error)),
            Err(_) => Err(timed_out()),
        }
    }
}

fn due(since: Instant, limit: Duration) -> Instant {
    since.checked_add(limit).unwrap_or_else(|| since + FAR)
}

fn timed_out<B>() -> Failed<B> {
    Failed {
        error: Error::ResponseTimeout,
        request: None,
    }
}

/// hyper gives a request back only if it never took it from its queue: then nothing of it was written, nor its body polled.
fn failed<B: Outgoing>(mut error: TrySendError<Request<Tracked<B>>>) -> Failed<B> {
    match error.take_message() {
        Some(request) => Failed {
            error: Error::NotSent(error.into_error()),
            request: Some(Box::new(request.map(Tracked::into_inner))),
        },
        None => Failed {
            error: Error::Broken(error.into_error()),
            request: None,
        },
    }
}

/// Passes wake-ups on to the task that drives the connection now. hyper wakes whoever drove it last each time that something
/// is put into or taken out of its queues; done on the same task, that would poll everything a second time for nothing.
#[derive(Default)]
struct Relay {
    state: AtomicU8,
    task: AtomicWaker,
}

impl Relay {
    /// Nobody is to be woken.
    const PARKED: u8 = 0;
    /// The task is to be woken.
    const LIVE: u8 = 1;
    /// The task is taking something out itself.
    const HUSHED: u8 = 2;
    /// A wake-up came while hushed.
    const MISSED: u8 = 3;

    fn follow(&self, task: &Waker) {
        self.task.register(task);
        self.state.store(Self::LIVE, Ordering::Release);
    }

    fn park(&self) {
        self.state.store(Self::PARKED, Ordering::Release);
        // A waker keeps the whole memory of its task, which may have ended.
        drop(self.task.take());
    }

    fn hush(&self) {
        self.state.store(Self::HUSHED, Ordering::Release);
    }

    fn unhush(&self, wanted: bool) {
        let before = self.state.swap(Self::LIVE, Ordering::AcqRel);
        if before == Self::MISSED && wanted {
            self.task.wake();
        }
    }
}

impl Wake for Relay {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let seen = self.state.compare_exchange(
            Self::HUSHED,
            Self::MISSED,
            Ordering::AcqRel,
            Ordering::Acquire,
        );
        if seen == Err(Self::LIVE) {
            self.task.wake();
        }
    }
}
