//! When to swap and when to try again: pure rules of time.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::token::SessionHash;

#[cfg(test)]
mod tests;

/// A token that has just come is served for this long, whatever it says of its own end: no loop of swaps.
const JUST_CAME: Duration = Duration::from_secs(1);
/// Two swaps are at least this far apart.
const BETWEEN_SWAPS: Duration = Duration::from_millis(500);
/// The first retry comes after this, each further one after twice as long.
const FIRST_RETRY: Duration = Duration::from_secs(1);
/// The longest pause between retries.
const LAST_RETRY: Duration = Duration::from_mins(1);
/// The most that a provider's `Retry-After` is believed.
pub(super) const RETRY_AFTER: Duration = Duration::from_mins(5);

/// A session's own place in an interval, from 0 to 1, so that sessions that began together don't swap together.
/// The hash is as good as random, and the same for the same session.
pub(super) fn share(id: &SessionHash, salt: u64) -> f64 {
    let [a, b, c, d, ..] = *id.as_bytes();
    let mixed = u32::from_be_bytes([a, b, c, d])
        .wrapping_add(u32::try_from(salt & 0xffff_ffff).unwrap_or_default())
        .wrapping_mul(0x9e37_79b1);
    f64::from(mixed) / f64::from(u32::MAX)
}

/// When a token of this age is to be swapped, if there is activity then: `refresh_before` its end, but never in the
/// first two thirds of its life, and later by up to a quarter of the rest.
pub(super) fn swap_at(
    obtained: Timestamp,
    expires: Timestamp,
    refresh_before: Duration,
    share: f64,
) -> Timestamp {
    let lead = refresh_before.min(expires.since(obtained) / 3);
    (expires - lead + (lead / 4).mul_f64(share)).max(obtained + BETWEEN_SWAPS)
}

/// Until when a token is served without question.
pub(super) fn fresh_until(obtained: Timestamp, expires: Timestamp) -> Timestamp {
    expires.max(obtained + JUST_CAME)
}

/// The pause after the `failures`th failure in a row: twice as long each time, give or take a quarter, and no shorter than
/// the provider asks for.
pub(super) fn backoff(failures: u32, asked: Option<Duration>, share: f64) -> Duration {
    let doubled = FIRST_RETRY.saturating_mul(1 << failures.saturating_sub(1).min(16));
    let pause = doubled.min(LAST_RETRY).mul_f64(0.75 + share / 2.0);
    // All are told the same time: not before it, and not all at once either.
    let asked = asked.unwrap_or_default().min(RETRY_AFTER);
    pause.max(asked.mul_f64(1.0 + share / 10.0))
}

/// Whether a refresh token that was sent then, and whose fate is unknown, may be sent once more at once: the provider takes
/// it for a second time within a leeway, and after that for stolen.
pub(super) fn may_reuse(sent: Timestamp, now: Timestamp, leeway: Duration) -> bool {
    sent <= now && now < sent + leeway
}

/// How far apart the writes of "last seen" are.
pub(super) fn seen_step(idle: Duration) -> Duration {
    (idle / 10).min(Duration::from_mins(1))
}
