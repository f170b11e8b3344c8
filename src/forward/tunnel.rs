//! Bytes both ways between the two ends of a WebSocket, and an end to that which both can understand.

use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::timeout;

use super::frames::{Frames, close};
use crate::ending::Cause;

/// What is read at a time.
const BUFFER: usize = 8 * 1024;
/// How long a frame that has begun may take to its end.
const LAST_FRAME: Duration = Duration::from_secs(2);
/// How long the ends are heard out, so that what was said last to them is not lost with their connections.
const GOODBYE: Duration = Duration::from_secs(1);

/// "Policy violation" (RFC 6455 section 7.4.1): the client may not go on.
const POLICY: u16 = 1008;
/// "Going away": to the upstream the client is gone.
const GOING_AWAY: u16 = 1001;

/// Both ends.
pub(super) struct Tunnel<C, U> {
    client: C,
    upstream: U,
    /// From the upstream to the client.
    down: Flow,
    /// From the client to the upstream.
    up: Flow,
}

impl<C, U> Tunnel<C, U>
where
    C: AsyncRead + AsyncWrite + Unpin,
    U: AsyncRead + AsyncWrite + Unpin,
{
    pub(super) fn between(client: C, upstream: U) -> Self {
        Self {
            client,
            upstream,
            down: Flow::new(),
            up: Flow::new(),
        }
    }

    /// Copies until both ends have ended, or one of them after both have said so, or until it is `over`; what ended it in that case.
    ///
    /// # Errors
    /// When either breaks off.
    pub(super) async fn run(
        mut self,
        over: impl Future<Output = Cause>,
    ) -> io::Result<Option<Cause>> {
        let mut over = std::pin::pin!(over);
        let cause = poll_fn(|cx| {
            // First, so that a flood does not outrun it.
            if let Poll::Ready(cause) = over.as_mut().poll(cx) {
                return Poll::Ready(Ok(Some(cause)));
            }
            self.poll_copy(cx).map_ok(|()| None)
        });
        let cause = cause.await?;
        if let Some(cause) = cause {
            self.end(cause).await;
        }
        Ok(cause)
    }

    fn poll_copy(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self {
            client,
            upstream,
            down,
            up,
        } = self;
        let over = (
            down.poll_copy(cx, upstream, client)?.is_ready(),
            up.poll_copy(cx, client, upstream)?.is_ready(),
        );
        // Whoever closes its side after both have said their last word is not waited for by the other.
        let said = down.frames.closes() && up.frames.closes();
        match over {
            (true, true) => Poll::Ready(Ok(())),
            (true, false) | (false, true) if said => Poll::Ready(Ok(())),
            _ => Poll::Pending,
        }
    }

    /// Nothing more of the client's is read. What the upstream is in the middle of saying is said to its end, then both are
    /// told that this is the end.
    async fn end(mut self, cause: Cause) {
        let reason = match cause {
            Cause::Session(_) => "session ended",
            Cause::Token => "token refused",
        };
        let last = async {
            self.down
                .finish(Some(&mut self.upstream), &mut self.client)
                .await?;
            self.down
                .close(close(POLICY, reason, None), &mut self.client)
                .await
        };
        // Whoever does not take it, or does not come to an end, is cut off.
        let Ok(Ok(())) = timeout(LAST_FRAME, last).await else {
            return;
        };
        let last = async {
            self.up.finish(None::<&mut C>, &mut self.upstream).await?;
            self.up
                .close(close(GOING_AWAY, reason, Some(mask())), &mut self.upstream)
                .await
        };
        // What the client left half said is cut off.
        let _ = timeout(GOODBYE, last).await;
        let heard = async {
            tokio::join!(
                self.up.hear_out(&mut self.client),
                self.down.hear_out(&mut self.upstream)
            );
            tokio::join!(self.client.shutdown(), self.upstream.shutdown())
        };
        // Both connections are closed in any case.
        let _ = timeout(GOODBYE, heard).await;
    }
}

/// It hides from intermediaries what a browser is made to say (RFC 6455 section 10.3); nothing of this is anybody's choice.
fn mask() -> [u8; 4] {
    let mut mask = [0; 4];
    // Any four bytes will do.
    let _ = aws_lc_rs::rand::fill(&mut mask);
    mask
}

/// One direction.
struct Flow {
    buffer: Box<[u8]>,
    /// What of the buffer was read and not written yet.
    start: usize,
    end: usize,
    /// What was written.
    frames: Frames,
    unflushed: bool,
    read_all: bool,
    over: bool,
}

impl Flow {
    fn new() -> Self {
        Self {
            buffer: vec![0; BUFFER].into(),
            start: 0,
            end: 0,
            frames: Frames::default(),
            unflushed: false,
            read_all: false,
            over: false,
        }
    }

    fn unwritten(&self) -> &[u8] {
        self.buffer.get(self.start..self.end).unwrap_or_default()
    }

    /// So much of the buffer was written.
    fn wrote(&mut self, count: usize) -> io::Result<()> {
        if count == 0 {
            return Err(ErrorKind::WriteZero.into());
        }
        let written = self.buffer.get(self.start..self.start + count);
        self.frames.follow(written.unwrap_or_default());
        self.start += count;
        self.unflushed = true;
        Ok(())
    }

    /// As [`tokio::io::copy`]: ready when the one has ended and the other was told.
    fn poll_copy<R, W>(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut R,
        to: &mut W,
    ) -> Poll<io::Result<()>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        while !self.over {
            while !self.unwritten().is_empty() {
                let count = ready!(Pin::new(&mut *to).poll_write(cx, self.unwritten()))?;
                self.wrote(count)?;
            }
            if self.read_all {
                ready!(Pin::new(&mut *to).poll_shutdown(cx))?;
                self.over = true;
            } else if self.poll_fill(cx, from)?.is_pending() {
                if self.unflushed {
                    ready!(Pin::new(&mut *to).poll_flush(cx))?;
                    self.unflushed = false;
                }
                return Poll::Pending;
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_fill<R: AsyncRead + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut R,
    ) -> Poll<io::Result<()>> {
        let mut buffer = ReadBuf::new(&mut self.buffer);
        ready!(Pin::new(from).poll_read(cx, &mut buffer))?;
        let read = buffer.filled().len();
        (self.start, self.end) = (0, read);
        self.read_all = read == 0;
        Poll::Ready(Ok(()))
    }

    /// Passes on what belongs to the frame that has begun, and no more; without `from` what was read of it only.
    async fn finish<R, W>(&mut self, mut from: Option<&mut R>, to: &mut W) -> io::Result<()>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        while !self.frames.is_between() {
            if self.unwritten().is_empty() {
                let from = from.as_mut().filter(|_| !self.read_all);
                let from = from.ok_or(ErrorKind::UnexpectedEof)?;
                poll_fn(|cx| self.poll_fill(cx, from)).await?;
                continue;
            }
            let rest = self.frames.rest_in(self.unwritten());
            let rest = self.unwritten().get(..rest).unwrap_or_default();
            let count = to.write(rest).await?;
            self.wrote(count)?;
        }
        Ok(())
    }

    /// Says the last word, unless that was said.
    async fn close<W: AsyncWrite + Unpin>(&mut self, frame: Vec<u8>, to: &mut W) -> io::Result<()> {
        if !self.frames.closes() && !self.over {
            to.write_all(&frame).await?;
        }
        to.flush().await
    }

    /// Reads until the other end has said its last word, and passes nothing on.
    async fn hear_out<R: AsyncRead + Unpin>(&mut self, from: &mut R) {
        loop {
            let unread = self.buffer.get(self.start..self.end).unwrap_or_default();
            self.frames.follow(unread);
            self.start = self.end;
            if self.read_all || self.frames.closes() && self.frames.is_between() {
                return;
            }
            if poll_fn(|cx| self.poll_fill(cx, from)).await.is_err() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests;
