//! What things are called in Redis. What one script touches shares a hash tag, so that in a cluster it is in one place.

use std::fmt::Write;

use crate::session::store::{DebtId, Index};
use crate::token::SessionHash;

/// So many tags: sessions spread over the shards of a cluster by them, and each has its own set of deadlines.
pub(super) const TAGS: u16 = 256;

/// See the file's first line. All begin with a prefix, so that others may use the same database.
#[derive(Clone, Debug)]
pub(super) struct Names {
    prefix: String,
}

impl Names {
    pub(super) fn new(prefix: &str) -> Self {
        Self {
            prefix: prefix.to_owned(),
        }
    }

    /// The hash that is a session's row.
    pub(super) fn row(&self, id: &SessionHash) -> String {
        self.of_session(id, "s")
    }

    /// The lease of its swap.
    pub(super) fn lease(&self, id: &SessionHash) -> String {
        self.of_session(id, "l")
    }

    /// The living sessions of its tag, by deadline.
    pub(super) fn due_of(&self, id: &SessionHash) -> String {
        self.due(tag(id))
    }

    pub(super) fn due(&self, tag: u8) -> String {
        format!("{}{{{tag:02x}}}:due", self.prefix)
    }

    pub(super) fn index(&self, index: &Index) -> String {
        let mut name = format!("{}i:", self.prefix);
        push_hex(&mut name, index.as_bytes());
        name
    }

    pub(super) fn debt(&self, id: &DebtId) -> String {
        let mut name = self.debts();
        push_hex(&mut name, &id.0);
        name
    }

    /// What the names of debts begin with.
    pub(super) fn debts(&self) -> String {
        format!("{}{{owed}}:d:", self.prefix)
    }

    /// All debts, by when they come free.
    pub(super) fn held(&self) -> String {
        format!("{}{{owed}}:held", self.prefix)
    }

    pub(super) fn house(&self) -> String {
        format!("{}house", self.prefix)
    }

    /// What is refused, by when that is over.
    pub(super) fn refusals(&self) -> String {
        format!("{}refused", self.prefix)
    }

    /// Where refusals are told.
    pub(super) fn refusal_news(&self) -> String {
        format!("{}refusals", self.prefix)
    }

    /// Where changes are told.
    pub(super) fn news(&self) -> String {
        format!("{}news", self.prefix)
    }

    /// Where a process hears itself.
    pub(super) fn beat(&self, owner: [u8; 8]) -> String {
        let mut name = format!("{}beat:", self.prefix);
        push_hex(&mut name, &owner);
        name
    }

    fn of_session(&self, id: &SessionHash, kind: &str) -> String {
        let mut name = format!("{}{{{:02x}}}:{kind}:", self.prefix, tag(id));
        push_hex(&mut name, id.as_bytes());
        name
    }
}

/// The slot of a cluster in which a session is (Redis cluster specification: CRC16 of the tag, modulo 16384).
pub(super) fn slot(id: &SessionHash) -> u16 {
    crc16(format!("{:02x}", tag(id)).as_bytes()) % 16384
}

/// CRC-16/XMODEM.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| {
        (0..8).fold(crc ^ (u16::from(*byte) << 8), |crc, _| {
            let shifted = crc << 1;
            if crc & 0x8000 == 0 {
                shifted
            } else {
                shifted ^ 0x1021
            }
        })
    })
}

fn tag(id: &SessionHash) -> u8 {
    let [first, ..] = *id.as_bytes();
    first
}

fn push_hex(text: &mut String, bytes: &[u8]) {
    for byte in bytes {
        // A string takes whatever is written to it.
        let _ = write!(text, "{byte:02x}");
    }
}

#[cfg(test)]
mod tests {
    //! Names are where the specification says.

    use super::*;

    #[test]
    fn a_slot_is_what_the_specification_says() {
        assert_eq!(crc16(b"123456789"), 0x31C3);
        // CLUSTER KEYSLOT x{7f}y
        assert_eq!(slot(&SessionHash::from_bytes([0x7f; 32])), KEYSLOT);
    }

    const KEYSLOT: u16 = 4194;
}
