//! A response body that tells its access line how much went out and how it ended.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Buf;
use http::{Method, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};

use super::access::{Access, Ending};

pin_project_lite::pin_project! {
    /// A response body that writes its request's access line when it is over, or dropped.
    #[derive(Debug)]
    pub struct Observed<B> {
        #[pin]
        inner: B,
        access: Option<Box<Access>>,
    }
}

impl<B: Body> Observed<B> {
    /// Watches `response` for `access`.
    pub fn watch(response: Response<B>, access: Option<Box<Access>>) -> Response<Self> {
        let (head, inner) = response.into_parts();
        let access = access.map(|mut access| {
            let expected = if sends_no_body(access.method(), head.status) {
                Some(0)
            } else {
                inner.size_hint().exact()
            };
            access.responded(head.status, expected);
            access
        });
        Response::from_parts(head, Self { inner, access })
    }
}

/// RFC 9112 section 6.3: such a response's body is never sent, whatever it announces.
fn sends_no_body(method: &Method, status: StatusCode) -> bool {
    method == Method::HEAD
        || status.is_informational()
        || status == StatusCode::NO_CONTENT
        || status == StatusCode::NOT_MODIFIED
}

impl<B: Body> Body for Observed<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let this = self.project();
        let polled = this.inner.poll_frame(cx);
        let (Poll::Ready(frame), Some(access)) = (&polled, this.access.as_mut()) else {
            return polled;
        };
        match frame {
            Some(Ok(frame)) => access.sent(frame.data_ref().map_or(0, Buf::remaining)),
            Some(Err(_)) => access.ended(Ending::Broken),
            None => {
                access.ended(Ending::Whole);
                *this.access = None;
            }
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
