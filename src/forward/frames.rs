//! Where WebSocket frames begin and end (RFC 6455 section 5.2), followed over bytes that pass by in any pieces: only between two
//! of them can something be put in.

/// The opcode of a close frame.
const CLOSE: u8 = 8;
/// What the head of a frame takes at most, but for its mask.
const HEAD: usize = 10;
/// The length of a mask.
const MASK: u64 = 4;

/// One direction of a WebSocket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Frames {
    head: [u8; HEAD],
    /// How much of the head has passed.
    known: usize,
    /// What is still to come of the frame after its head; the mask counts.
    left: u64,
    closes: bool,
}

impl Frames {
    /// These bytes have passed.
    pub(super) fn follow(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let taken = self.take(bytes);
            bytes = bytes.get(taken..).unwrap_or_default();
        }
    }

    /// Whether the last frame is over, and no other has begun.
    pub(super) fn is_between(&self) -> bool {
        self.known == 0 && self.left == 0
    }

    /// Whether a close frame has passed, or has begun to: no other comes after it.
    pub(super) fn closes(&self) -> bool {
        self.closes
    }

    /// How many of these bytes belong to the frame that is under way.
    pub(super) fn rest_in(&self, bytes: &[u8]) -> usize {
        let mut ahead = *self;
        if ahead.is_between() {
            0
        } else {
            ahead.take(bytes)
        }
    }

    /// Takes bytes up to the end of one frame at most. At least one, if there is any.
    fn take(&mut self, bytes: &[u8]) -> usize {
        let mut taken = 0;
        if self.left == 0 {
            taken = self.take_head(bytes);
        }
        let rest = u64::try_from(bytes.len() - taken).unwrap_or(u64::MAX);
        let payload = rest.min(self.left);
        self.left -= payload;
        // It is no more than what is there.
        taken + usize::try_from(payload).unwrap_or_default()
    }

    fn take_head(&mut self, bytes: &[u8]) -> usize {
        let mut taken = 0;
        for byte in bytes {
            if let Some(slot) = self.head.get_mut(self.known) {
                *slot = *byte;
            }
            self.known += 1;
            taken += 1;
            if let Some(left) = self.announced() {
                self.closes |= self.head[0] & 0x0f == CLOSE;
                self.known = 0;
                self.left = left;
                break;
            }
        }
        taken
    }

    /// What follows the head, if that is complete.
    fn announced(&self) -> Option<u64> {
        let [_, second, length @ ..] = self.head;
        let [a, b, ..] = length;
        let payload = match (second & 0x7f, self.known) {
            (126, 4) => u64::from(u16::from_be_bytes([a, b])),
            (127, HEAD) => u64::from_be_bytes(length),
            (short @ 0..126, 2) => u64::from(short),
            _ => return None,
        };
        let mask = if second & 0x80 == 0 { 0 } else { MASK };
        Some(payload.saturating_add(mask))
    }
}

/// A close frame (section 5.5.1); a client's frames are masked (section 5.3).
pub(super) fn close(code: u16, reason: &str, mask: Option<[u8; 4]>) -> Vec<u8> {
    let mut payload = code.to_be_bytes().to_vec();
    payload.extend(reason.bytes().take(123));
    // No longer than what fits, by the line above.
    let length = u8::try_from(payload.len()).unwrap_or_default();
    let mut frame = vec![0x80 | CLOSE];
    match mask {
        None => frame.push(length),
        Some(mask) => {
            frame.push(0x80 | length);
            frame.extend(mask);
            let masked = payload.iter_mut().zip(mask.iter().cycle());
            masked.for_each(|(byte, mask)| *byte ^= mask);
        }
    }
    frame.extend(payload);
    frame
}

#[cfg(test)]
mod tests;
