//! A response that is bound to the session or token by which it was let through: when that ends, so does what of it is
//! still to come. What has come whole with its head pays nothing for it.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use http_body::{Body, Frame, SizeHint};

use super::upload::Upload;
use crate::authorize::Permit;
use crate::connect;
use crate::ending::{Cause, Ending};
use crate::route::OnSessionEnd;
use crate::session::Live;
use crate::telemetry::Metrics;
use crate::telemetry::metrics::{StreamEnding, StreamKind};
use crate::verify::Verified;

/// What a request may not outlive, and by how much.
#[derive(Debug)]
pub(super) struct Leash {
    held_by: Holder,
    grace: Duration,
}

/// What it was let through by.
#[derive(Debug)]
enum Holder {
    Session(Arc<Live>),
    Token(Arc<Verified>),
}

impl Leash {
    /// None for what may go on whatever ends.
    pub(super) fn of(permit: Permit, drain: Duration) -> Option<Self> {
        let grace = match permit.route().on_session_end {
            OnSessionEnd::Close => Duration::ZERO,
            OnSessionEnd::Drain => drain,
            OnSessionEnd::Ignore => return None,
        };
        let identity = permit.into_identity()?;
        let held_by = match identity.session {
            Some(live) => Holder::Session(live),
            None => Holder::Token(identity.verified),
        };
        Some(Self { held_by, grace })
    }

    /// The end to come of what is tied here.
    pub(super) fn ending(&self) -> Option<Arc<Ending>> {
        match &self.held_by {
            Holder::Session(live) => Some(Arc::clone(&live.ending)),
            Holder::Token(verified) => verified.ending(),
        }
    }

    pub(super) fn grace(&self) -> Duration {
        self.grace
    }

    /// What has ended, if nothing may go on.
    pub(super) fn over(&self) -> Option<Cause> {
        match &self.held_by {
            Holder::Session(live) => live.ending.came(self.grace),
            // Where there is a grace, it begins with what is tied.
            Holder::Token(verified) => {
                (self.grace.is_zero() && verified.is_refused()).then_some(Cause::Token)
            }
        }
    }
}

/// What ties a response that is still under way.
pub(super) struct Tie {
    ending: Arc<Ending>,
    grace: Duration,
    form: Form,
    metrics: Arc<Metrics>,
    /// From the first time that it had to be waited for.
    waiting: Option<BoxFuture<'static, Cause>>,
}

impl Tie {
    pub(super) fn new(leash: &Leash, form: Form, metrics: &Arc<Metrics>) -> Option<Self> {
        Some(Self {
            ending: leash.ending()?,
            grace: leash.grace,
            form,
            metrics: Arc::clone(metrics),
            waiting: None,
        })
    }

    fn over(&self) -> Option<Cause> {
        self.ending.came(self.grace)
    }

    /// Waits for the end, and for the grace after it.
    pub(super) fn poll_over(&mut self, cx: &mut Context<'_>) -> Poll<Cause> {
        let Self { ending, grace, .. } = self;
        let waiting = || Arc::clone(ending).over(*grace).boxed();
        self.waiting.get_or_insert_with(waiting).as_mut().poll(cx)
    }

    /// It is ended for this cause.
    pub(super) fn ends(&self, cause: Cause) {
        count(&self.metrics, self.form.kind(), cause);
        tracing::debug!(form = ?self.form, ?cause, "a stream ends");
    }
}

impl fmt::Debug for Tie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tie")
            .field("form", &self.form)
            .field("ending", &self.ending)
            .finish_non_exhaustive()
    }
}

/// Resolves when a tie is over; never without one.
pub(super) struct Over(pub(super) Option<Tie>);

impl Future for Over {
    type Output = Cause;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Cause> {
        let Some(tie) = &mut self.0 else {
            return Poll::Pending;
        };
        let cause = ready!(tie.poll_over(cx));
        tie.ends(cause);
        Poll::Ready(cause)
    }
}

/// Counts something that was ended.
pub(super) fn count(metrics: &Metrics, kind: StreamKind, cause: Cause) {
    let ending = match cause {
        Cause::Session(reason) => StreamEnding::Session(reason.ending()),
        Cause::Token => StreamEnding::Token,
    };
    metrics.streams_ended.count((kind, ending));
}

/// What is on its way to the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Bytes in both directions.
    WebSocket,
    /// A row of events without an end of its own: a reader drops the last one if it is not whole.
    Events,
    /// Records, each on a line: nobody can tell half of one from a whole one.
    Lines,
    /// Anything else: a part could be taken for the whole.
    Other,
}

impl Form {
    /// Of a response with these headers.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let media_type = headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok());
        let essence = media_type.and_then(|text| text.split(';').next());
        if essence.is_none() || headers.contains_key(CONTENT_LENGTH) {
            return Self::Other;
        }
        match essence
            .unwrap_or_default()
            .trim()
            .to_ascii_lowercase()
            .as_str()
        {
            "text/event-stream" | "multipart/x-mixed-replace" | "application/json-seq" => {
                Self::Events
            }
            "application/x-ndjson" | "application/ndjson" | "application/jsonl"
                if !headers.contains_key(CONTENT_ENCODING) =>
            {
                Self::Lines
            }
            _ => Self::Other,
        }
    }

    fn kind(self) -> StreamKind {
        match self {
            Self::WebSocket => StreamKind::WebSocket,
            Self::Events | Self::Lines => StreamKind::Events,
            Self::Other => StreamKind::Response,
        }
    }
}

/// Why a body does not go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The upstream broke off.
    #[error(transparent)]
    Upstream(#[from] hyper::Error),
    /// What it was let through by has ended. HTTP/1 closes its connection, HTTP/2 resets this one stream.
    #[error("what the response was let through by has ended: {0:?}")]
    Ended(Cause),
}

/// A response's body, and what it may not outlive.
#[derive(Debug)]
pub struct Bound {
    /// Gone when it was ended: that closes the upstream's connection.
    body: Option<connect::Body<Upload>>,
    tie: Option<Box<Tie>>,
    /// Whether a record has begun that is not over.
    in_line: bool,
}

impl Bound {
    pub(super) fn new(body: connect::Body<Upload>, tie: Option<Tie>) -> Self {
        Self {
            body: Some(body),
            tie: tie.map(Box::new),
            in_line: false,
        }
    }

    fn end(&mut self, cause: Cause) -> Option<Result<Frame<Bytes>, Error>> {
        self.body = None;
        let tie = self.tie.take()?;
        tie.ends(cause);
        let clean = match tie.form {
            Form::Events => true,
            Form::Lines => !self.in_line,
            Form::WebSocket | Form::Other => false,
        };
        (!clean).then_some(Err(Error::Ended(cause)))
    }
}

impl Body for Bound {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = self.get_mut();
        if let Some(cause) = this.tie.as_ref().and_then(|tie| tie.over()) {
            return Poll::Ready(this.end(cause));
        }
        let Some(body) = &mut this.body else {
            return Poll::Ready(None);
        };
        let Poll::Ready(frame) = Pin::new(body).poll_frame(cx) else {
            let Some(tie) = &mut this.tie else {
                return Poll::Pending;
            };
            let cause = ready!(tie.poll_over(cx));
            return Poll::Ready(this.end(cause));
        };
        match &frame {
            Some(Ok(frame)) => {
                let last = frame.data_ref().and_then(|data| data.last());
                this.in_line = last.map_or(this.in_line, |byte| *byte != b'\n');
            }
            Some(Err(_)) | None => this.tie = None,
        }
        Poll::Ready(frame.map(|frame| frame.map_err(Error::Upstream)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let gone = || SizeHint::with_exact(0);
        self.body.as_ref().map_or_else(gone, Body::size_hint)
    }
}
