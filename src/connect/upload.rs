//! A request's body on its way out, which leaves a mark each time that the peer took more of it.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::Instant;

use super::Outgoing;

/// When a request's body last moved.
#[derive(Debug)]
pub(super) struct Progress {
    began: Instant,
    /// Milliseconds after `began`.
    moved: AtomicU64,
}

impl Progress {
    fn new() -> Self {
        Self {
            began: Instant::now(),
            moved: AtomicU64::new(0),
        }
    }

    fn mark(&self) {
        let millis = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.moved.store(millis, Ordering::Relaxed);
    }

    pub(super) fn last(&self) -> Instant {
        self.began + Duration::from_millis(self.moved.load(Ordering::Relaxed))
    }
}

/// A body that marks its progress; one that is empty has none to mark.
pub(super) struct Tracked<B> {
    body: B,
    progress: Option<Arc<Progress>>,
}

impl<B: Outgoing> Tracked<B> {
    pub(super) fn new(body: B) -> Self {
        let progress = (!body.is_end_stream()).then(|| Arc::new(Progress::new()));
        Self { body, progress }
    }

    pub(super) fn progress(&self) -> Option<Arc<Progress>> {
        self.progress.clone()
    }

    pub(super) fn into_inner(self) -> B {
        self.body
    }
}

impl<B: Outgoing> Body for Tracked<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if let Some(progress) = &self.progress {
            progress.mark();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
