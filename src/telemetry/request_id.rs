//! A request's id and the `traceparent` that carries it on (W3C Trace Context).

use std::cell::Cell;
use std::fmt;
use std::hash::{BuildHasher, Hasher, RandomState};

use http::{HeaderMap, HeaderValue};

/// The bit of `trace-flags` that says that the caller may have recorded the trace.
const SAMPLED: u8 = 1;

const HEX: &[u8; 16] = b"0123456789abcdef";

/// A request's id: the trace id of its `traceparent` (W3C Trace Context) where a trusted proxy sent it, or a fresh one. 32
/// lower-case hex digits.
#[derive(Clone, PartialEq, Eq)]
pub struct RequestId {
    digits: [u8; 32],
    /// The trace that goes on upstream.
    trace: [u8; 32],
    flags: u8,
}

impl RequestId {
    /// Of a request with these headers, sent by a proxy that is trusted.
    pub fn of(headers: &HeaderMap) -> Self {
        Self::received(headers).unwrap_or_else(Self::fresh)
    }

    /// Of a request with these headers, sent by anybody: its trace goes on, but the id is ours. Otherwise a client could give
    /// its requests the id of another's, or all of them one.
    pub fn of_stranger(headers: &HeaderMap) -> Self {
        match Self::received(headers) {
            None => Self::fresh(),
            Some(received) => Self {
                digits: Self::fresh().digits,
                ..received
            },
        }
    }

    /// The 32 digits.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.digits).unwrap_or_default()
    }

    /// The `traceparent` to send upstream: this trace, a fresh span.
    pub fn traceparent(&self) -> HeaderValue {
        let span = hex(nonzero_random());
        let flags = hex(u64::from(self.flags));
        let mut text = [b'-'; 55];
        let parts: [(usize, &[u8]); 4] = [
            (0, b"00"),
            (3, &self.trace),
            (36, &span),
            (53, flags.get(14..).unwrap_or(b"00")),
        ];
        for (at, part) in parts {
            if let Some(place) = text.get_mut(at..at + part.len()) {
                place.copy_from_slice(part);
            }
        }
        HeaderValue::from_bytes(&text).unwrap_or_else(|_| HeaderValue::from_static(""))
    }

    /// A fresh trace counts as sampled: an upstream that decides by its parent would otherwise record nothing.
    fn fresh() -> Self {
        let digits = joined(hex(prefix()), hex(nonzero_random()));
        Self {
            digits,
            trace: digits,
            flags: SAMPLED,
        }
    }

    /// Section 3.2 of Trace Context: a malformed or doubled header counts as none.
    fn received(headers: &HeaderMap) -> Option<Self> {
        let mut values = headers.get_all("traceparent").iter();
        let (value, None) = (values.next()?.as_bytes(), values.next()) else {
            return None;
        };
        let (version, rest) = value.split_first_chunk::<2>()?;
        let (trace, rest) = rest.strip_prefix(b"-")?.split_first_chunk::<32>()?;
        let (parent, rest) = rest.strip_prefix(b"-")?.split_first_chunk::<16>()?;
        let (flags, rest) = rest.strip_prefix(b"-")?.split_first_chunk::<2>()?;
        let version_known = version == b"00" && rest.is_empty();
        let version_later =
            version != b"00" && version != b"ff" && (rest.is_empty() || rest.starts_with(b"-"));
        let well_formed = (version_known || version_later)
            && [&version[..], trace, parent, flags]
                .iter()
                .all(|part| part.iter().copied().all(is_lower_hex))
            && trace.iter().any(|digit| *digit != b'0')
            && parent.iter().any(|digit| *digit != b'0');
        well_formed.then(|| Self {
            digits: *trace,
            trace: *trace,
            flags: u8::from(matches!(
                flags[1],
                b'1' | b'3' | b'5' | b'7' | b'9' | b'b' | b'd' | b'f'
            )),
        })
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RequestId({self})")
    }
}

fn is_lower_hex(digit: u8) -> bool {
    matches!(digit, b'0'..=b'9' | b'a'..=b'f')
}

fn hex(number: u64) -> [u8; 16] {
    let mut digits = [b'0'; 16];
    for (at, digit) in digits.iter_mut().enumerate() {
        let nibble = (number >> (60 - 4 * at)) & 0xf;
        *digit = HEX
            .get(usize::try_from(nibble).unwrap_or_default())
            .copied()
            .unwrap_or(b'0');
    }
    digits
}

fn joined(high: [u8; 16], low: [u8; 16]) -> [u8; 32] {
    let mut digits = [b'0'; 32];
    for (place, digit) in digits.iter_mut().zip(high.into_iter().chain(low)) {
        *place = digit;
    }
    digits
}

thread_local! {
    /// A thread's own half of its ids, and where its sequence stands: no word is shared between cores.
    static SEQUENCE: (u64, Cell<u64>) = (seed(), Cell::new(seed()));
}

fn prefix() -> u64 {
    SEQUENCE.with(|(prefix, _)| *prefix)
}

/// The next of a thread's sequence (SplitMix64): unique within 2^64, unpredictable enough for an id that guards nothing.
fn nonzero_random() -> u64 {
    SEQUENCE.with(|(_, state)| {
        let next = state.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        state.set(next);
        let mixed = (next ^ (next >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)).max(1)
    })
}

/// The standard library keys its hashers with the system's randomness.
fn seed() -> u64 {
    RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

    fn of(values: &[&str]) -> RequestId {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append("traceparent", value.parse().unwrap());
        }
        RequestId::of(&headers)
    }

    #[test]
    fn the_trace_goes_on_under_a_fresh_span() {
        let id = of(&["00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"]);
        assert_eq!(id.as_str(), TRACE);
        let (first, second) = (id.traceparent(), id.traceparent());
        let text = first.to_str().unwrap();
        assert_eq!(text.len(), 55);
        assert!(text.starts_with(&format!("00-{TRACE}-")) && text.ends_with("-01"));
        assert_ne!(first, second);
        assert!(!text.contains("00f067aa0ba902b7"));
        assert_eq!(of(&[text]).as_str(), TRACE);
    }

    #[test]
    fn a_strangers_trace_goes_on_under_an_id_of_ours() {
        let mut headers = HeaderMap::new();
        let sent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";
        headers.append("traceparent", sent.parse().unwrap());
        let (first, second) = (
            RequestId::of_stranger(&headers),
            RequestId::of_stranger(&headers),
        );
        assert_ne!(first.as_str(), TRACE);
        assert_ne!(first.as_str(), second.as_str());
        let onward = first.traceparent();
        let text = onward.to_str().unwrap();
        assert!(text.starts_with(&format!("00-{TRACE}-")) && text.ends_with("-00"));
    }

    #[test]
    fn the_sampling_decision_is_kept() {
        let not_sampled = of(&["00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"]);
        assert!(not_sampled.traceparent().to_str().unwrap().ends_with("-00"));
        for flags in ["01", "03", "09", "0b", "ff"] {
            let text = format!("00-{TRACE}-00f067aa0ba902b7-{flags}");
            assert!(
                of(&[&text])
                    .traceparent()
                    .to_str()
                    .unwrap()
                    .ends_with("-01"),
                "{flags}"
            );
        }
    }

    #[test]
    fn later_versions_are_read_by_their_first_four_fields() {
        for rest in ["", "-what-comes-later"] {
            let text = format!("cc-{TRACE}-00f067aa0ba902b7-01{rest}");
            assert_eq!(of(&[&text]).as_str(), TRACE);
        }
    }

    #[test]
    fn what_is_malformed_is_replaced() {
        let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        for bad in [
            "",
            "00",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01more",
            "00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01",
            "00_4bf92f3577b34da6a3ce929d0e0e4736_00f067aa0ba902b7_01",
        ] {
            let id = of(&[bad]);
            assert_ne!(id.as_str(), TRACE, "{bad}");
            assert_eq!(id.as_str().len(), 32);
            assert!(id.as_str().bytes().all(is_lower_hex));
        }
        assert_ne!(of(&[good, good]).as_str(), TRACE);
    }

    #[test]
    fn fresh_ids_differ_within_and_between_threads() {
        let here: Vec<_> = (0..1000).map(|_| of(&[]).as_str().to_owned()).collect();
        let there = std::thread::spawn(|| {
            (0..1000)
                .map(|_| of(&[]).as_str().to_owned())
                .collect::<Vec<_>>()
        })
        .join()
        .unwrap();
        let all: std::collections::HashSet<_> = here.iter().chain(&there).collect();
        assert_eq!(all.len(), 2000);
    }
}
