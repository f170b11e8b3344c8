//! A request's body on its way upstream: streamed as it comes, its trailers held to the same rules as its headers.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};

use super::guard::Guard;
use crate::inbound::{self, Inbound};

/// A client's body.
#[derive(Debug)]
pub struct Upload {
    incoming: Inbound,
    guard: Arc<Guard>,
}

impl Upload {
    pub(super) fn new(incoming: Inbound, guard: Arc<Guard>) -> Self {
        Self { incoming, guard }
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
    type Error = inbound::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, inbound::Error>>> {
        let frame = match ready!(Pin::new(&mut self.incoming).poll_frame(cx)) {
            Some(Ok(frame)) => frame,
            other => return Poll::Ready(other),
        };
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
