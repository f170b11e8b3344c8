//! Frames of HTTP/2 that keep us busy and bring nothing on: counted where the bytes come in, since h2 answers most of them
//! for ever.

use std::time::Duration;

use tokio::time::Instant;

/// The client's preface (RFC 9113 section 3.4), before the first frame.
const PREFACE: usize = 24;
/// A frame's head (section 4.1).
const HEAD: usize = 9;

/// How many such frames may come at once.
const AT_ONCE: u64 = 2000;
/// After how long one more may.
const ONE_MORE: Duration = Duration::from_millis(10);
/// How much of what we have sent pays for one: clients that read much send many window updates.
const BYTES_FOR_ONE: u64 = 64;

/// The frames of one connection.
#[derive(Debug)]
pub(super) struct Frames {
    reading: Reading,
    left: u64,
    since: Instant,
    sent: u64,
    begun: u32,
}

/// Where in a frame the next byte belongs.
#[derive(Clone, Copy, Debug)]
enum Reading {
    /// So many bytes of no interest.
    Past(usize),
    /// What is there of a head.
    Head([u8; HEAD], usize),
}

impl Frames {
    pub(super) fn new() -> Self {
        Self {
            reading: Reading::Past(PREFACE),
            left: AT_ONCE,
            since: Instant::now(),
            sent: 0,
            begun: 0,
        }
    }

    /// Bytes went out.
    pub(super) fn sent(&mut self, bytes: usize) {
        self.sent += u64::try_from(bytes).unwrap_or(u64::MAX);
        self.left += self.sent / BYTES_FOR_ONE;
        self.sent %= BYTES_FOR_ONE;
        self.left = self.left.min(AT_ONCE);
    }

    /// Bytes came in, on a connection where `begun` requests have begun so far. Whether that is still to be borne.
    pub(super) fn came(&mut self, bytes: &[u8], begun: u32) -> Result<(), Flood> {
        let cost = self.walk(bytes);
        if cost == 0 {
            return Ok(());
        }
        self.earn(begun);
        self.left = self.left.checked_sub(cost).ok_or(Flood)?;
        Ok(())
    }

    /// A request that was taken on has paid for its HEADERS.
    fn earn(&mut self, begun: u32) {
        let requests = begun.wrapping_sub(self.begun);
        self.begun = begun;
        let passed = self.since.elapsed().as_millis() / ONE_MORE.as_millis();
        let passed = u32::try_from(passed).unwrap_or(u32::MAX);
        if passed > 0 {
            self.since = Instant::now();
        }
        self.left = (self.left + u64::from(passed) + u64::from(requests)).min(AT_ONCE);
    }

    /// What these bytes cost: a frame counts when its head is complete.
    fn walk(&mut self, mut bytes: &[u8]) -> u64 {
        let mut cost = 0;
        while !bytes.is_empty() {
            let taken = match &mut self.reading {
                Reading::Past(left) => {
                    let taken = bytes.len().min(*left);
                    *left -= taken;
                    if *left == 0 {
                        self.reading = Reading::Head([0; HEAD], 0);
                    }
                    taken
                }
                Reading::Head(head, have) => {
                    let taken = bytes.len().min(HEAD - *have);
                    for (place, byte) in head.iter_mut().skip(*have).zip(bytes) {
                        *place = *byte;
                    }
                    *have += taken;
                    if *have == HEAD {
                        let (length, price) = price(*head);
                        cost += price;
                        self.reading = match length {
                            0 => Reading::Head([0; HEAD], 0),
                            length => Reading::Past(length),
                        };
                    }
                    taken
                }
            };
            bytes = bytes.get(taken..).unwrap_or_default();
        }
        cost
    }
}

/// The peer sends more of them than anyone honest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a flood of HTTP/2 frames")]
pub(super) struct Flood;

/// The length of a frame's payload, and what it costs.
fn price(head: [u8; HEAD]) -> (usize, u64) {
    const END_STREAM: u8 = 0x1;
    const PADDED: u8 = 0x8;
    const LITTLE: usize = 16;
    const LITTLE_PADDED: usize = LITTLE + 256;
    let [high, middle, low, kind, flags, ..] = head;
    let length = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
    let little = if flags & PADDED == 0 {
        LITTLE
    } else {
        LITTLE_PADDED
    };
    let price = match kind {
        // DATA: whatever carries something, or ends something.
        0 if length >= little || flags & END_STREAM != 0 => 0,
        // RST_STREAM: work that was begun for nothing, perhaps at an upstream too.
        3 => 4,
        // HEADERS are paid back; the rest is PRIORITY, SETTINGS, PING, WINDOW_UPDATE, CONTINUATION and what nobody knows.
        _ => 1,
    };
    (length, price)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn frame(kind: u8, flags: u8, length: u8) -> Vec<u8> {
        let mut frame = vec![0, 0, length, kind, flags, 0, 0, 0, 1];
        frame.resize(HEAD + usize::from(length), 0);
        frame
    }

    fn after_preface() -> Frames {
        let mut frames = Frames::new();
        frames.came(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 0).unwrap();
        frames
    }

    /// After how many of a frame it is too much.
    fn borne(frames: &mut Frames, frame: &[u8]) -> u64 {
        (0..100_000)
            .find(|_| frames.came(frame, 0).is_err())
            .unwrap_or(u64::MAX)
    }

    #[tokio::test(start_paused = true)]
    async fn what_brings_nothing_on_is_borne_for_a_while() {
        for (kind, flags, length, most) in [
            (0, 0, 0, AT_ONCE),
            (0, 0x8, 200, AT_ONCE),
            (1, 0x4, 20, AT_ONCE),
            (2, 0, 5, AT_ONCE),
            (3, 0, 4, AT_ONCE / 4),
            (4, 0, 0, AT_ONCE),
            (6, 0, 8, AT_ONCE),
            (8, 0, 4, AT_ONCE),
            (9, 0, 0, AT_ONCE),
            (0xbe, 0, 100, AT_ONCE),
            (0, 0x1, 0, u64::MAX),
            (0, 0, 100, u64::MAX),
        ] {
            let frame = frame(kind, flags, length);
            assert_eq!(borne(&mut after_preface(), &frame), most, "{kind}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn frames_are_found_however_they_are_cut() {
        let mut stream = Vec::new();
        for _ in 0..1000 {
            stream.extend(frame(6, 0, 8));
            stream.extend(frame(0, 0, 100));
        }
        for size in [1, 2, 7, 9, 10, 16, 17, 1000, usize::MAX] {
            let mut frames = after_preface();
            for piece in stream.chunks(size.min(stream.len())) {
                frames.came(piece, 0).unwrap();
            }
            assert_eq!(frames.left, AT_ONCE - 1000, "{size}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn time_answers_and_requests_pay_for_them() {
        let mut frames = after_preface();
        let ping = frame(6, 0, 8);
        while frames.came(&ping, 0).is_ok() {}
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(borne(&mut frames, &ping), 100);
        for _ in 0..64 {
            frames.sent(100);
        }
        assert_eq!(borne(&mut frames, &ping), 100);
        let headers = frame(1, 0x4, 20);
        assert!((1..100_000).all(|begun| frames.came(&headers, begun).is_ok()));
    }
}
