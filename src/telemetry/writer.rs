//! Lines on their way out: gathered in memory, written in batches by a thread of their own, so that no request waits for
//! a pipe or a disk.

use std::fmt;
use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// How much may wait while the reader of our output is stuck; what comes then is dropped and counted.
const MAX_WAITING: usize = 8 * 1024 * 1024;

/// What becomes of lines on their way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Care {
    /// What they are, and what the thread that writes them is called.
    pub(super) what: &'static str,
    /// How long a line may wait for others.
    pub(super) gather: Duration,
    /// How long after a failure the same is tried again. `None`: what the output doesn't take is given up.
    pub(super) retry: Option<Duration>,
    /// The line that stands for so many that were dropped.
    pub(super) gap: Option<fn(u64, &mut Vec<u8>)>,
}

/// The writing end. When the last owner drops it, all that waits is written.
pub(super) struct Writer {
    shared: Arc<Shared>,
}

struct Shared {
    care: Care,
    waiting: Mutex<Waiting>,
    wake: Condvar,
    out: Mutex<Out>,
}

#[derive(Default)]
struct Waiting {
    lines: Vec<u8>,
    /// Being written, and to come back if that fails.
    kept: usize,
    dropped: u64,
    closed: bool,
}

struct Out {
    to: Box<dyn Write + Send>,
    /// Said already, and not over yet.
    failing: bool,
}

impl Writer {
    /// Starts the thread that writes to `out`.
    ///
    /// # Errors
    /// When there can be no more threads.
    pub(super) fn start(care: Care, out: Box<dyn Write + Send>) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            care,
            waiting: Mutex::default(),
            wake: Condvar::new(),
            out: Mutex::new(Out {
                to: out,
                failing: false,
            }),
        });
        let writing = Arc::clone(&shared);
        thread::Builder::new()
            .name(care.what.replace(' ', "-"))
            .spawn(move || writing.write_until_closed())?;
        Ok(Self { shared })
    }

    /// Hands over whole lines.
    pub(super) fn push(&self, lines: &[u8]) {
        let mut waiting = self.shared.waiting();
        if waiting.lines.len() + waiting.kept + lines.len() > MAX_WAITING {
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
        let waiting = self.shared.waiting();
        if !waiting.lines.is_empty() {
            let what = self.shared.care.what;
            let lines = waiting.lines.split(|byte| *byte == b'\n').count() - 1;
            tracing::error!(
                lines,
                "{what}: lines are lost, since they could not be written to the last"
            );
        }
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
            thread::sleep(self.care.gather);
            if !self.flush() {
                self.pause();
            }
        }
    }

    /// Until the output is tried again, or the end.
    fn pause(&self) {
        let time = self.care.retry.unwrap_or_default();
        let paused = self
            .wake
            .wait_timeout_while(self.waiting(), time, |w| !w.closed);
        drop(paused);
    }

    /// Tells whether all is written. The output is locked first, so that batches leave in the order in which they were
    /// taken.
    fn flush(&self) -> bool {
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut lines, dropped) = {
            let mut waiting = self.waiting();
            let room = Vec::with_capacity(waiting.lines.len().min(64 * 1024));
            waiting.kept = self.care.retry.map_or(0, |_| waiting.lines.len());
            (
                std::mem::replace(&mut waiting.lines, room),
                std::mem::take(&mut waiting.dropped),
            )
        };
        if let (Some(gap), true) = (self.care.gap, dropped > 0) {
            gap(dropped, &mut lines);
        }
        let written = out.write(&lines);
        self.say(&mut out, written.1.as_ref());
        let rest = lines.split_off(written.0);
        let whole = rest.is_empty();
        if self.care.retry.is_some() {
            self.waiting().put_back(rest);
        }
        drop(out);
        if dropped > 0 {
            let what = self.care.what;
            tracing::warn!(
                dropped,
                "{what}: lines were dropped, since the output is too slow"
            );
        }
        whole
    }

    /// A failure is said once, and so is that it is over. Of lines that may be lost it is nobody's to tell: the same output
    /// would have to carry the message.
    fn say(&self, out: &mut Out, error: Option<&io::Error>) {
        let what = self.care.what;
        if self.care.retry.is_none() || out.failing == error.is_some() {
            return;
        }
        out.failing = error.is_some();
        if let Some(error) = error {
            tracing::error!(%error, "{what}: lines can't be written; they are kept, and tried again");
        } else {
            tracing::info!("{what}: lines are written again");
        }
    }
}

impl Waiting {
    /// What was not written goes before what has come since.
    fn put_back(&mut self, rest: Vec<u8>) {
        self.kept = 0;
        if !rest.is_empty() {
            let later = std::mem::replace(&mut self.lines, rest);
            self.lines.extend_from_slice(&later);
        }
    }
}

impl Out {
    /// How much was written, and why no more.
    fn write(&mut self, lines: &[u8]) -> (usize, Option<io::Error>) {
        let mut done = 0;
        while let Some(rest) = lines.get(done..).filter(|rest| !rest.is_empty()) {
            match self.to.write(rest) {
                Ok(0) => return (done, Some(io::ErrorKind::WriteZero.into())),
                Ok(some) => done += some,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return (done, Some(error)),
            }
        }
        (done, self.to.flush().err())
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

    use std::sync::mpsc;

    use super::*;

    const CARE: Care = Care {
        what: "test log",
        gather: Duration::from_millis(50),
        retry: None,
        gap: None,
    };

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
        let writer = Writer::start(CARE, Box::new(Sent(sent))).unwrap();
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
        let writer = Writer::start(CARE, Box::new(Sent(sent))).unwrap();
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
        let writer = Writer::start(CARE, Box::new(Stuck(stuck, count))).unwrap();
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

    /// Takes some bytes, then fails until it is mended.
    struct Full {
        room: Arc<Mutex<usize>>,
        taken: Arc<Mutex<Vec<u8>>>,
    }

    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut room = self.room.lock().unwrap();
            let fits = bytes.len().min(*room);
            if fits == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            *room -= fits;
            self.taken.lock().unwrap().extend_from_slice(&bytes[..fits]);
            Ok(fits)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_must_not_be_lost_is_kept_while_the_output_fails_and_comes_out_once_and_in_order() {
        let (room, taken) = (Arc::new(Mutex::new(6)), Arc::default());
        let out = Full {
            room: Arc::clone(&room),
            taken: Arc::clone(&taken),
        };
        let care = Care {
            retry: Some(Duration::from_millis(10)),
            ..CARE
        };
        let writer = Writer::start(care, Box::new(out)).unwrap();
        writer.push(b"one\ntwo\n");
        writer.flush();
        writer.push(b"three\n");
        writer.flush();
        assert_eq!(*taken.lock().unwrap(), b"one\ntw");
        *room.lock().unwrap() = 100;
        drop(writer);
        assert_eq!(*taken.lock().unwrap(), b"one\ntwo\nthree\n");
    }

    #[test]
    fn lines_that_were_dropped_leave_one_that_says_so() {
        let (room, taken) = (Arc::new(Mutex::new(0)), Arc::default());
        let out = Full {
            room: Arc::clone(&room),
            taken: Arc::clone(&taken),
        };
        let care = Care {
            retry: Some(Duration::from_mins(1)),
            gap: Some(|lost, line| line.extend_from_slice(format!("{lost} lost\n").as_bytes())),
            ..CARE
        };
        let writer = Writer::start(care, Box::new(out)).unwrap();
        let line = vec![b'x'; 1024 * 1024];
        for _ in 0..10 {
            writer.push(&line);
        }
        *room.lock().unwrap() = usize::MAX;
        drop(writer);
        let taken = taken.lock().unwrap();
        assert_eq!(taken[taken.len() - 7..], *b"2 lost\n");
    }
}
