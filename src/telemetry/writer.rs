//! Lines on their way out: gathered in memory, written in batches by a thread of their own, so that no request waits for
//! a pipe.

use std::fmt;
use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// How long a line may wait for others.
const GATHER: Duration = Duration::from_millis(50);

/// How much may wait while the reader of our output is stuck; what comes then is dropped and counted.
const MAX_WAITING: usize = 8 * 1024 * 1024;

/// The writing end. When the last owner drops it, all that waits is written.
pub(super) struct Writer {
    shared: Arc<Shared>,
}

struct Shared {
    waiting: Mutex<Waiting>,
    wake: Condvar,
    out: Mutex<Box<dyn Write + Send>>,
}

#[derive(Default)]
struct Waiting {
    lines: Vec<u8>,
    dropped: u64,
    closed: bool,
}

impl Writer {
    /// Starts the thread that writes to `out`.
    ///
    /// # Errors
    /// When there can be no more threads.
    pub(super) fn start(out: Box<dyn Write + Send>) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            waiting: Mutex::default(),
            wake: Condvar::new(),
            out: Mutex::new(out),
        });
        let writing = Arc::clone(&shared);
        thread::Builder::new()
            .name("access-log".to_owned())
            .spawn(move || writing.write_until_closed())?;
        Ok(Self { shared })
    }

    /// Hands over whole lines.
    pub(super) fn push(&self, lines: &[u8]) {
        let mut waiting = self.shared.waiting();
        if waiting.lines.len() + lines.len() > MAX_WAITING {
            waiting.dropped += 1;
            return;
        }
        let was_empty = waiting.lines.is_empty();
        waiting.lines.extend_from_slice(lines);
        drop(waiting);
        if was_empty {
            self.shared.wake.notify_one();
        }
    }

    /// Writes all that waits, now.
    pub(super) fn flush(&self) {
        self.shared.flush();
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.shared.waiting().closed = true;
        self.shared.wake.notify_one();
        self.shared.flush();
    }
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer").finish_non_exhaustive()
    }
}

impl Shared {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_until_closed(&self) {
        loop {
            let waiting = self
                .wake
                .wait_while(self.waiting(), |w| w.lines.is_empty() && !w.closed)
                .unwrap_or_else(PoisonError::into_inner);
            if waiting.closed {
                return;
            }
            drop(waiting);
            thread::sleep(GATHER);
            self.flush();
        }
    }

    /// The output is locked first, so that batches leave in the order in which they were taken.
    fn flush(&self) {
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        let (lines, dropped) = {
            let mut waiting = self.waiting();
            let room = Vec::with_capacity(waiting.lines.len().min(64 * 1024));
            (
                std::mem::replace(&mut waiting.lines, room),
                std::mem::take(&mut waiting.dropped),
            )
        };
        // An output that is gone is nobody's to tell: the same output would have to carry the message.
        let _ = out.write_all(&lines).and_then(|()| out.flush());
        drop(out);
        if dropped > 0 {
            tracing::warn!(
                dropped,
                "access log lines were dropped: the output is too slow"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use std::sync::mpsc;

    use super::*;

    struct Sent(mpsc::Sender<Vec<u8>>);

    impl Write for Sent {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.send(bytes.to_vec()).map_err(io::Error::other)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_come_out_without_being_asked_for() {
        let (sent, seen) = mpsc::channel();
        let writer = Writer::start(Box::new(Sent(sent))).unwrap();
        writer.push(b"one\n");
        assert_eq!(
            seen.recv_timeout(Duration::from_secs(10)).unwrap(),
            b"one\n"
        );
        writer.push(b"two\n");
        assert_eq!(
            seen.recv_timeout(Duration::from_secs(10)).unwrap(),
            b"two\n"
        );
    }

    #[test]
    fn dropping_it_writes_what_waits_and_ends_the_thread() {
        let (sent, seen) = mpsc::channel();
        let writer = Writer::start(Box::new(Sent(sent))).unwrap();
        writer.push(b"one\n");
        writer.push(b"two\n");
        drop(writer);
        // The channel closes when the thread has let go of it.
        let all: Vec<u8> = seen.iter().flatten().collect();
        assert_eq!(all, b"one\ntwo\n");
    }

    #[test]
    fn a_stuck_output_costs_lines_and_not_memory() {
        struct Stuck(mpsc::Receiver<()>, mpsc::Sender<usize>);
        impl Write for Stuck {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                let _ = self.0.recv();
                let _ = self.1.send(bytes.len());
                Ok(bytes.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let ((free, stuck), (count, counted)) = (mpsc::channel::<()>(), mpsc::channel());
        let writer = Writer::start(Box::new(Stuck(stuck, count))).unwrap();
        let line = vec![b'x'; 1024 * 1024];
        for _ in 0..30 {
            writer.push(&line);
        }
        drop(free);
        drop(writer);
        // At most one full batch was under way and another waited.
        let written: usize = counted.iter().sum();
        assert!(
            (MAX_WAITING..=2 * MAX_WAITING).contains(&written),
            "{written}"
        );
    }
}
