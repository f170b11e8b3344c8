//! The rules of time, at their edges.

use proptest::prelude::*;

use super::*;

fn at(millis: u64) -> Timestamp {
    Timestamp::from_millis(millis)
}

const MINUTE: Duration = Duration::from_mins(1);

#[test]
fn a_long_token_is_swapped_in_its_last_minute() {
    assert_eq!(swap_at(at(0), at(300_000), MINUTE, 0.0), at(240_000));
    assert_eq!(swap_at(at(0), at(300_000), MINUTE, 1.0), at(255_000));
}

#[test]
fn a_short_token_is_swapped_in_its_last_third() {
    assert_eq!(swap_at(at(0), at(21_000), MINUTE, 0.0), at(14_000));
    assert_eq!(swap_at(at(0), at(1_200), MINUTE, 0.0), at(800));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_swap_is_due_once_in_a_life_and_before_its_end(
        life in 0..100_000_000_u64, before in 0..10_000_000_u64, share in 0.0..1.0,
    ) {
        let due = swap_at(at(1000), at(1000 + life), Duration::from_millis(before), share);
        prop_assert!(due >= at(1000) + BETWEEN_SWAPS);
        let fresh = fresh_until(at(1000), at(1000 + life));
        prop_assert!(due <= fresh);
        prop_assert!(due.since(at(1000)).as_millis() + 1 >= u128::from(life * 2 / 3) || due == fresh);
    }

    #[test]
    fn pauses_grow_within_bounds(failures in 0..200_u32, share in 0.0..1.0, asked in 0..10_000_u64) {
        let pause = backoff(failures, None, share);
        prop_assert!(pause >= FIRST_RETRY.mul_f64(0.75) && pause <= LAST_RETRY.mul_f64(1.25));
        let asked = Duration::from_secs(asked);
        let told = backoff(failures, Some(asked), share);
        prop_assert!(told >= pause && (told >= asked || told >= RETRY_AFTER));
        prop_assert!(told <= asked.min(RETRY_AFTER).mul_f64(1.1).max(pause));
    }

    #[test]
    fn shares_are_shares(bytes: [u8; 32], salt: u64) {
        let share = share(&SessionHash::from_bytes(bytes), salt);
        prop_assert!((0.0..=1.0).contains(&share));
    }
}

#[test]
fn a_token_is_sent_twice_within_the_leeway_only() {
    let leeway = Duration::from_secs(10);
    assert!(may_reuse(at(1000), at(1000), leeway));
    assert!(may_reuse(at(1000), at(10_999), leeway));
    assert!(!may_reuse(at(1000), at(11_000), leeway));
    assert!(
        !may_reuse(at(1000), at(1000), Duration::ZERO),
        "the default"
    );
    assert!(
        !may_reuse(at(1000), at(999), leeway),
        "a clock that was set back says nothing"
    );
}

#[test]
fn those_who_are_told_to_come_back_do_not_come_all_at_once() {
    let asked = Some(MINUTE);
    let pauses = [0.0, 0.5, 1.0].map(|share| backoff(1, asked, share));
    assert_eq!(pauses, [60, 63, 66].map(Duration::from_secs));
}

#[test]
fn shares_spread() {
    let mut tenths = [0; 10];
    for n in 0..10_000_u32 {
        let mut bytes = [0; 32];
        bytes[..4].copy_from_slice(&n.wrapping_mul(0x0101_6b2f).to_be_bytes());
        let share = share(&SessionHash::from_bytes(bytes), 7);
        for (tenth, count) in (0_u8..).zip(&mut tenths) {
            let from = f64::from(tenth) / 10.0;
            *count += i32::from(share >= from && share < from + 0.1);
        }
    }
    assert!(tenths.iter().all(|n| (700..1300).contains(n)), "{tenths:?}");
}

#[test]
fn last_seen_is_written_every_tenth_of_idle_and_every_minute_at_least() {
    assert_eq!(seen_step(5 * MINUTE), MINUTE / 2);
    assert_eq!(seen_step(24 * 60 * MINUTE), MINUTE);
}
