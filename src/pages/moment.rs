//! Points in time as people say them, and as programs read them.

use std::time::Duration;

use serde::Serialize;

use crate::clock::Timestamp;

/// A point in time on a page: `<time datetime="{stamp}">{words}</time>`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Moment {
    /// RFC 3339, in UTC.
    pub stamp: String,
    /// "5 minutes ago", "in 3 hours".
    pub words: String,
}

impl Moment {
    /// As it is from `now`.
    pub fn of(at: Timestamp, now: Timestamp) -> Self {
        let words = if at > now {
            format!("in {}", span(at.since(now)))
        } else {
            format!("{} ago", span(now.since(at)))
        };
        let stamp = stamp(at);
        Self { stamp, words }
    }
}

/// RFC 3339, in UTC, to the second.
pub fn stamp(at: Timestamp) -> String {
    let second = i64::try_from(at.as_secs()).ok();
    let time = second.and_then(|second| jiff::Timestamp::from_second(second).ok());
    time.unwrap_or(jiff::Timestamp::MAX).to_string()
}

/// In the largest unit that there is one of, rounded down: nobody is promised time that there is not.
fn span(time: Duration) -> String {
    const UNITS: [(u64, &str); 3] = [(24 * 60 * 60, "day"), (60 * 60, "hour"), (60, "minute")];
    let seconds = time.as_secs();
    let unit = UNITS.iter().find(|(length, _)| seconds >= *length);
    let Some((length, name)) = unit else {
        return "less than a minute".to_owned();
    };
    match seconds / length {
        1 => format!("1 {name}"),
        several => format!("{several} {name}s"),
    }
}

#[cfg(test)]
mod tests {
    //! Words for both directions.

    use super::*;

    #[test]
    fn a_moment_has_words_and_a_stamp() {
        let now = Timestamp::from_secs(1_800_000_000);
        for (seconds, words) in [
            (0, "less than a minute"),
            (59, "less than a minute"),
            (60, "1 minute"),
            (119, "1 minute"),
            (120, "2 minutes"),
            (3599, "59 minutes"),
            (3600, "1 hour"),
            (7200, "2 hours"),
            (86_399, "23 hours"),
            (86_400, "1 day"),
            (1_000_000, "11 days"),
        ] {
            let time = Duration::from_secs(seconds);
            assert_eq!(Moment::of(now - time, now).words, format!("{words} ago"));
            if seconds > 0 {
                assert_eq!(Moment::of(now + time, now).words, format!("in {words}"));
            }
        }
        assert_eq!(Moment::of(now, now).stamp, "2027-01-15T08:00:00Z");
        assert!(stamp(Timestamp::MAX).starts_with("9999-"));
    }
}
