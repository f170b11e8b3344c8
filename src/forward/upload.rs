//! A request's body on its way upstream: streamed as it comes, its trailers held to the same rules as its headers.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};

use super::bound::Leash;
use super::guard::Guard;
use crate::ending::{Cause, Ending};
use crate::inbound::{self, Inbound};

/// Why a client's body does not go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is the client's fault.
    #[error(transparent)]
    Client(#[from] inbound::Error),
    /// What it was let through by has ended.
    #[error("what the request was let through by has ended: {0:?}")]
    Ended(Cause),
}

/// A client's body.
#[derive(Debug)]
pub struct Upload {
    incoming: Inbound,
    guard: Arc<Guard>,
    end: Option<(Arc<Ending>, Duration)>,
}

impl Upload {
    pub(super) fn new(incoming: Inbound, guard: Arc<Guard>) -> Self {
        Self {
            incoming,
            guard,
            end: None,
        }
    }

    /// From now on no more of it is passed on than may be.
    pub(super) fn bind(&mut self, leash: &Leash) {
        if !self.incoming.is_end_stream() {
            self.end = leash.ending().map(|ending| (ending, leash.grace()));
        }
    }

    fn judge(&self, trailers: HeaderMap) -> HeaderMap {
        let mut last = None;
        let mut kept = HeaderMap::new();
        for (name, value) in trailers {
            // An entry without a name is one more value of the name before it.
            last = name.or(last);
            if let Some(name) = &last
                && self.guard.passes_trailer(name)
            {
                kept.append(name, value);
            }
        }
        kept
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let frame = match ready!(Pin::new(&mut self.incoming).poll_frame(cx)) {
            Some(Ok(frame)) => frame,
            Some(Err(error)) => return Poll::Ready(Some(Err(error.into()))),
            None => return Poll::Ready(None),
        };
        let end = self.end.as_ref();
        if let Some(cause) = end.and_then(|(ending, grace)| ending.came(*grace)) {
            return Poll::Ready(Some(Err(Error::Ended(cause))));
        }
        Poll::Ready(Some(Ok(match frame.into_trailers() {
            Ok(trailers) => Frame::trailers(self.judge(trailers)),
            Err(frame) => frame,
        })))
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
