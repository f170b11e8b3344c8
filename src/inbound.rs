//! A client's request body as it comes in: held to a pace while somebody waits for it, and heard out for a moment when
//! nobody wants the rest.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::EXPECT;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::runtime::Handle;
use tokio::time::{sleep, timeout};

mod pace;

use pace::Pace;

/// How much of a body that nobody wants is read all the same.
const HEARD_OUT: u64 = 256 * 1024;
/// How long it may go on.
const HEARING: Duration = Duration::from_secs(1);

/// Why a body broke off.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is malformed, or its connection is gone.
    #[error("the body is malformed or broke off")]
    Broken(#[source] hyper::Error),
    /// Nothing came, or hardly anything, while it was waited for.
    #[error("the body came too slowly")]
    TooSlow,
}

/// A request's body.
#[derive(Debug)]
pub struct Inbound {
    /// Gone once it is handed on to be heard out.
    incoming: Option<Incoming>,
    /// None for an empty one, as nearly all are.
    watch: Option<Box<Watch>>,
}

#[derive(Debug)]
struct Watch {
    pace: Pace,
    /// A chunked body is not known to have ended by itself.
    ended: bool,
    asked: Asked,
    answered: Arc<AtomicBool>,
    hearing: Hearing,
}

/// What becomes of the bodies of one connection.
#[derive(Clone, Debug, Default)]
pub struct Hearing(Arc<State>);

#[derive(Debug, Default)]
struct State {
    heard_out: AtomicU32,
    unread: AtomicBool,
}

impl Hearing {
    /// Whether a body that nobody wants is heard out just now.
    pub fn goes_on(&self) -> bool {
        self.0.heard_out.load(Ordering::Relaxed) > 0
    }

    /// Whether the end of the last body has not come.
    pub fn leaves_unread(&self) -> bool {
        self.0.unread.load(Ordering::Relaxed)
    }

    fn expect(&self) {
        self.0.unread.store(true, Ordering::Relaxed);
    }

    fn ended(&self) {
        self.0.unread.store(false, Ordering::Relaxed);
    }

    fn begin(&self) -> Heard {
        self.0.heard_out.fetch_add(1, Ordering::Relaxed);
        Heard(self.clone())
    }
}

struct Heard(Hearing);

impl Drop for Heard {
    fn drop(&mut self) {
        self.0.0.heard_out.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Tells a body that its request has been answered: from then on it may come as slowly as it likes, since whoever goes on
/// reading it has chosen to talk in both directions.
#[derive(Debug)]
pub struct Answered(Option<Arc<AtomicBool>>);

impl Answered {
    /// The response's head is there.
    pub fn tell<B>(&self, _: &Response<B>) {
        if let Some(answered) = &self.0 {
            answered.store(true, Ordering::Relaxed);
        }
    }
}

/// Whether the client waits to be asked for its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Not,
    /// `Expect: 100-continue` (RFC 9110 section 10.1.1): who is refused sends nothing, so there is nothing to hear out.
    First,
}

impl Inbound {
    /// The body of `request`, which came by the connection that `hearing` is of.
    pub fn of(request: Request<Incoming>, hearing: &Hearing) -> (Request<Self>, Answered) {
        let (head, incoming) = request.into_parts();
        let comes = !incoming.is_end_stream();
        if comes {
            hearing.expect();
        } else {
            hearing.ended();
        }
        let watch = comes.then(|| Watch {
            pace: Pace::default(),
            ended: false,
            asked: if head.headers.contains_key(EXPECT) {
                Asked::First
            } else {
                Asked::Not
            },
            answered: Arc::default(),
            hearing: hearing.clone(),
        });
        let answered = Answered(watch.as_ref().map(|watch| Arc::clone(&watch.answered)));
        let body = Self {
            incoming: Some(incoming),
            watch: watch.map(Box::new),
        };
        (Request::from_parts(head, body), answered)
    }
}

impl Watch {
    fn end(&mut self) {
        self.ended = true;
        self.hearing.ended();
    }

    fn poll_late(&mut self, cx: &mut Context<'_>) -> Poll<Error> {
        if self.answered.load(Ordering::Relaxed) {
            return Poll::Pending;
        }
        self.pace.poll_late(cx).map(|()| Error::TooSlow)
    }
}

impl Body for Inbound {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let Self { incoming, watch } = &mut *self;
        let (Some(incoming), Some(watch)) = (incoming, watch) else {
            return Poll::Ready(None);
        };
        match Pin::new(&mut *incoming).poll_frame(cx) {
            Poll::Pending => watch.poll_late(cx).map(|late| Some(Err(late))),
            Poll::Ready(Some(Ok(frame))) => {
                watch.pace.moved(frame.data_ref().map_or(0, Bytes::len));
                if incoming.is_end_stream() {
                    watch.end();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(Error::Broken(error)))),
            Poll::Ready(None) => {
                watch.end();
                Poll::Ready(None)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming
            .as_ref()
            .map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

/// A body that is dropped half-read closes its stream (HTTP/2) or its connection (HTTP/1), and clients that are still sending
/// may take that for an error and never look at the answer. So they are given the time to read it.
impl Drop for Inbound {
    fn drop(&mut self) {
        let (Some(incoming), Some(watch)) = (self.incoming.take(), &self.watch) else {
            return;
        };
        if watch.ended || watch.asked == Asked::First {
            return;
        }
        if let Ok(runtime) = Handle::try_current() {
            let heard = watch.hearing.begin();
            runtime.spawn(async move {
                let _ = timeout(HEARING, hear_out(incoming)).await;
                drop(heard);
            });
        }
    }
}

/// Reads until the end, or until it was enough; then the client has the rest of the time to give up by itself.
async fn hear_out(mut incoming: Incoming) {
    let mut left = HEARD_OUT;
    while left > 0 {
        let frame = std::future::poll_fn(|cx| Pin::new(&mut incoming).poll_frame(cx)).await;
        let Some(Ok(frame)) = frame else { return };
        let length = frame.data_ref().map_or(0, Bytes::len);
        left = left.saturating_sub(u64::try_from(length).unwrap_or(u64::MAX));
    }
    sleep(HEARING).await;
}
