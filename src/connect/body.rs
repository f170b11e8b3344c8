//! A response's body: keeps its connection moving, and gives it back to the pool at its end.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use http_body_util::Full;
use hyper::body::Incoming;

use super::lease::Lease;
use super::{Inner, Outgoing};

/// A response body that keeps its connection moving and gives it back to the pool at its end. Dropped before, it closes the
/// connection.
pub struct Body<B: Outgoing = Full<Bytes>> {
    incoming: Incoming,
    lease: Option<Box<Lease<B>>>,
    /// Where the connection goes afterwards; nowhere if it can't be used again.
    home: Option<Arc<Inner<B>>>,
}

impl<B: Outgoing> Body<B> {
    /// Without a lease the connection is over, or driven by a task of its own.
    pub(super) fn new(
        incoming: Incoming,
        lease: Option<Box<Lease<B>>>,
        home: Option<Arc<Inner<B>>>,
    ) -> Self {
        let mut body = Self {
            incoming,
            lease,
            home,
        };
        // A short response has come as a whole together with its head.
        body.settle();
        body
    }

    /// Whether all of it was here together with its head: nothing more is to come over its connection.
    pub fn came_whole(&self) -> bool {
        self.lease.is_none()
    }

    /// Gives the connection back if nothing more of this exchange is to come.
    fn settle(&mut self) {
        if let Some(lease) = self.lease.take_if(|lease| lease.is_idle())
            && let Some(home) = self.home.take()
        {
            lease.park();
            Inner::put(&home, lease);
        }
    }
}

impl<B: Outgoing> http_body::Body for Body<B> {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = self.get_mut();
        this.lease.take_if(|lease| lease.poll_drive(cx).is_ready());
        let incoming = Pin::new(&mut this.incoming);
        let frame = ready!(match &this.lease {
            Some(lease) => {
                lease.hushed(|| incoming.poll_frame(&mut Context::from_waker(Waker::noop())))
            }
            None => incoming.poll_frame(cx),
        });
        let last = match &frame {
            // Whoever knows that this was all does not ask again.
            Some(Ok(frame)) => frame.is_trailers() || this.incoming.is_end_stream(),
            Some(Err(_)) => false,
            None => true,
        };
        if last {
            this.settle();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

impl<B: Outgoing> fmt::Debug for Body<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Body")
            .field("incoming", &self.incoming)
            .field("connected", &self.lease.is_some())
            .finish_non_exhaustive()
    }
}
