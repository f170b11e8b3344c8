//! Signs of life of one connection, counted on the way: what [`super::watch`] looks at now and then.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::task::{Context, Poll, ready};

use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::flood::Frames;
use crate::inbound::Hearing;

/// What a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Speaks {
    /// Bytes while nothing is under way are a request's head.
    Http1,
    /// The first bytes are the client's preface (RFC 9113 section 3.4), due at once; later ones can be anything.
    Http2,
}

/// All of it is written and read on one thread; atomics only because tasks are `Send`.
#[derive(Debug, Default)]
pub(super) struct Pulse {
    /// Requests begun so far.
    begun: AtomicU32,
    /// Requests whose response is not over.
    under_way: AtomicU32,
    /// Whether anything was ever read.
    spoke: AtomicBool,
    /// Whether something was read that is not yet a request.
    partial: AtomicBool,
    /// Whether nobody knows what is behind the last request's head.
    distrusted: AtomicBool,
    /// Whether it is a tunnel by now: whoever shuts one side may go on reading the other.
    tunnel: AtomicBool,
    /// Whether nothing more is answered here, and what still comes is thrown away.
    lingering: AtomicBool,
    /// Whether the last write had to wait for the peer.
    stuck: AtomicBool,
    /// Writes that did not have to wait.
    written: AtomicU32,
    /// Bytes that went out, round and round.
    sent: AtomicU32,
    /// Bodies that nobody wanted, and that are read for a moment all the same.
    hearing: Hearing,
}

impl Pulse {
    pub(super) fn begun(&self) -> u32 {
        self.begun.load(Ordering::Relaxed)
    }

    /// Nothing is asked for, and nothing is left to be written.
    pub(super) fn is_idle(&self) -> bool {
        self.under_way.load(Ordering::Relaxed) == 0 && !self.hearing.goes_on() && !self.is_stuck()
    }

    pub(super) fn hearing(&self) -> &Hearing {
        &self.hearing
    }

    pub(super) fn spoke(&self) -> bool {
        self.spoke.load(Ordering::Relaxed)
    }

    pub(super) fn is_partial(&self) -> bool {
        self.partial.load(Ordering::Relaxed)
    }

    pub(super) fn is_stuck(&self) -> bool {
        self.stuck.load(Ordering::Relaxed)
    }

    pub(super) fn written(&self) -> u32 {
        self.written.load(Ordering::Relaxed)
    }

    pub(super) fn sent(&self) -> u32 {
        self.sent.load(Ordering::Relaxed)
    }

    fn read(&self) {
        self.spoke.store(true, Ordering::Relaxed);
        if self.is_idle() {
            self.partial.store(true, Ordering::Relaxed);
        }
    }

    fn wrote(&self, stuck: bool) {
        self.stuck.store(stuck, Ordering::Relaxed);
        if !stuck {
            self.written.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn went_out(&self, bytes: usize) {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        self.sent.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn is_lingering(&self) -> bool {
        self.lingering.load(Ordering::Relaxed)
    }

    /// The peer may be in the middle of something that nobody reads: a head that was refused, or a body.
    fn leaves_unread(&self) -> bool {
        let tunnel = self.tunnel.load(Ordering::Relaxed);
        !tunnel
            && (self.is_partial()
                || self.distrusted.load(Ordering::Relaxed)
                || self.hearing.leaves_unread())
    }

    /// The last request's head was refused: nobody knows what is behind it.
    pub(super) fn distrust(&self) {
        self.distrusted.store(true, Ordering::Relaxed);
    }

    /// The last request was answered with another protocol.
    pub(super) fn becomes_tunnel(&self) {
        self.tunnel.store(true, Ordering::Relaxed);
    }

    /// A request's head has come.
    pub(super) fn begin(self: &Arc<Self>) -> UnderWay {
        self.partial.store(false, Ordering::Relaxed);
        self.begun.fetch_add(1, Ordering::Relaxed);
        self.under_way.fetch_add(1, Ordering::Relaxed);
        UnderWay(Arc::clone(self))
    }
}

/// A request under way, until it is dropped.
#[derive(Debug)]
pub(super) struct UnderWay(Arc<Pulse>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

pin_project! {
    /// A response's body: its request is under way until it is dropped.
    #[derive(Debug)]
    pub(super) struct Counted<B> {
        #[pin]
        pub(super) body: B,
        pub(super) under_way: UnderWay,
    }
}

impl<B: Body> Body for Counted<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        self.project().body.poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

pin_project! {
    /// A connection's bytes.
    #[derive(Debug)]
    pub(super) struct Wire<S> {
        #[pin]
        stream: S,
        // Those of HTTP/2, if it is spoken.
        frames: Option<Frames>,
        pulse: Arc<Pulse>,
    }
}

impl<S> Wire<S> {
    pub(super) fn new(stream: S, speaks: Speaks, pulse: &Arc<Pulse>) -> Self {
        Self {
            stream,
            frames: match speaks {
                Speaks::Http1 => None,
                Speaks::Http2 => Some(Frames::new()),
            },
            pulse: Arc::clone(pulse),
        }
    }
}

impl<S: AsyncRead> AsyncRead for Wire<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.project();
        let before = buf.filled().len();
        ready!(this.stream.poll_read(cx, buf))?;
        let read = buf.filled().get(before..).unwrap_or_default();
        if !read.is_empty() {
            this.pulse.read();
        }
        if let Some(frames) = this.frames {
            frames
                .came(read, this.pulse.begun())
                .map_err(io::Error::other)?;
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite> AsyncWrite for Wire<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.project();
        let polled = this.stream.poll_write(cx, buf);
        this.pulse.wrote(polled.is_pending());
        if let Poll::Ready(Ok(sent)) = polled {
            this.pulse.went_out(sent);
            this.frames.iter_mut().for_each(|frames| frames.sent(sent));
        }
        polled
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.project();
        let polled = this.stream.poll_write_vectored(cx, bufs);
        this.pulse.wrote(polled.is_pending());
        if let Poll::Ready(Ok(sent)) = polled {
            this.pulse.went_out(sent);
            this.frames.iter_mut().for_each(|frames| frames.sent(sent));
        }
        polled
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.project();
        let polled = this.stream.poll_flush(cx);
        this.pulse.wrote(polled.is_pending());
        polled
    }

    /// A socket that is closed with something unread is reset, and what was just answered may be lost with it (RFC 9112
    /// section 9.6): so the peer is told that this is the end, and heard out. [`super::watch`] bounds how long.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut this = self.project();
        if !this.pulse.is_lingering() {
            ready!(this.stream.as_mut().poll_shutdown(cx))?;
            if this.frames.is_some() || !this.pulse.leaves_unread() {
                return Poll::Ready(Ok(()));
            }
            this.pulse.lingering.store(true, Ordering::Relaxed);
        }
        loop {
            let mut unread = [MaybeUninit::uninit(); 8 * 1024];
            let mut unread = ReadBuf::uninit(&mut unread);
            let read = ready!(this.stream.as_mut().poll_read(cx, &mut unread));
            if read.is_err() || unread.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
        }
    }
}
