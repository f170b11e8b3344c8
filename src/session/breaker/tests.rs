//! When a provider is left alone, and for how long.

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_secs(1_000 + seconds)
}

#[test]
fn a_few_failures_are_the_sessions_own() {
    let breaker = Breaker::default();
    for _ in 1..FAILURES {
        breaker.failed(at(0), None);
        assert_eq!(breaker.admit(at(0)), Ok(()));
    }
    breaker.failed(at(0), None);
    assert_eq!(breaker.admit(at(0)), Err(SECOND));
}

#[test]
fn when_the_time_has_come_one_call_finds_out() {
    let breaker = Breaker::default();
    (0..FAILURES).for_each(|_| breaker.failed(at(0), None));
    assert_eq!(breaker.admit(at(1)), Ok(()));
    assert_eq!(breaker.admit(at(1)), Err(SECOND));
    breaker.failed(at(1), None);
    assert_eq!(breaker.admit(at(2)), Err(SECOND), "twice as long");
    assert_eq!(breaker.admit(at(3)), Ok(()));
    (0..20).for_each(|_| breaker.failed(at(3), None));
    assert_eq!(breaker.admit(at(3)), Err(LONGEST));
    breaker.answered();
    assert_eq!(breaker.admit(at(3)), Ok(()));
    assert_eq!(breaker.admit(at(3)), Ok(()));
}

#[test]
fn a_pause_that_is_asked_for_holds_for_all() {
    let breaker = Breaker::default();
    breaker.failed(at(0), Some(30 * SECOND));
    assert_eq!(breaker.admit(at(10)), Err(20 * SECOND));
    assert_eq!(breaker.admit(at(30)), Ok(()));
    breaker.failed(at(30), Some(Duration::MAX));
    assert_eq!(
        breaker.admit(at(30)),
        Err(pace::RETRY_AFTER),
        "within bounds"
    );
}
