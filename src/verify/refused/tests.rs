//! What is refused is refused from then on until it is over, and nothing else is.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::{Cleared, Criterion, Finding, MOST, Marks, Refusal, Refused, Watch};
use crate::clock::{Clock, Timestamp};
use crate::ending::Cause;

const IDP: &str = "main";
const SECOND: Duration = Duration::from_secs(1);

fn at(secs: u64) -> Timestamp {
    Timestamp::from_secs(secs)
}

fn claims(claims: &Value) -> Map<String, Value> {
    claims.as_object().cloned().unwrap_or_default()
}

fn alices() -> Marks {
    alices_with(Duration::ZERO)
}

fn alices_with(leeway: Duration) -> Marks {
    let claims = claims(&json!({ "sid": "s1", "iat": 100 }));
    Marks::of(IDP, "head.alice.signature", "alice", &claims, leeway)
}

fn refusing(criterion: Criterion, issued_by: Timestamp, until: Timestamp) -> Refused {
    let refused = Refused::default();
    let refusal = Refusal {
        criterion,
        issued_by,
        until,
    };
    assert!(refused.add(&[refusal], at(100)).is_ok());
    refused
}

fn finding(refused: &Refused, now: u64) -> Finding {
    refused.look_up(&alices(), None, at(now))
}

#[test]
fn a_token_is_refused_however_its_signature_is_written() {
    let refused = refusing(
        Criterion::token("head.alice.another"),
        Timestamp::MAX,
        at(200),
    );
    assert_eq!(finding(&refused, 199), Finding::Refused);
    assert_eq!(finding(&refused, 200), Finding::Clear, "it is over");
    let other = Marks::of(
        IDP,
        "head.alicf.signature",
        "alice",
        &Map::new(),
        Duration::ZERO,
    );
    assert_eq!(refused.look_up(&other, None, at(150)), Finding::Clear);
}

#[test]
fn a_users_tokens_are_refused_if_they_were_issued_by_then() {
    let alice = Criterion::subject(IDP, "alice");
    for (issued_by, expected) in [
        (at(99), Finding::Clear),
        (at(100), Finding::Refused),
        (at(101), Finding::Refused),
    ] {
        let refused = refusing(alice, issued_by, at(200));
        assert_eq!(finding(&refused, 150), expected, "{issued_by:?}");
    }
    let elsewhere = refusing(Criterion::subject("other", "alice"), at(150), at(200));
    assert_eq!(finding(&elsewhere, 150), Finding::Clear);
    let bob = refusing(Criterion::subject(IDP, "bob"), at(150), at(200));
    assert_eq!(finding(&bob, 150), Finding::Clear);
}

#[test]
fn a_token_that_does_not_say_when_it_was_issued_is_old() {
    let refused = refusing(Criterion::subject(IDP, "alice"), at(1), at(200));
    let marks = Marks::of(IDP, "h.x.s", "alice", &Map::new(), Duration::ZERO);
    assert_eq!(refused.look_up(&marks, None, at(150)), Finding::Refused);
    for odd in [json!("100"), json!(-1), json!(1e300), json!(null)] {
        let marks = Marks::of(
            IDP,
            "h.x.s",
            "alice",
            &claims(&json!({ "iat": odd })),
            Duration::ZERO,
        );
        assert_eq!(refused.look_up(&marks, None, at(150)), Finding::Refused);
    }
}

#[test]
fn a_provider_sessions_tokens_are_refused() {
    let refused = refusing(Criterion::sid(IDP, "s1"), at(105), at(200));
    assert_eq!(finding(&refused, 150), Finding::Refused);
    let refused = refusing(Criterion::sid(IDP, "s2"), at(105), at(200));
    assert_eq!(finding(&refused, 150), Finding::Clear);
    let subject = refusing(Criterion::subject(IDP, "s1"), at(105), at(200));
    assert_eq!(finding(&subject, 150), Finding::Clear, "another kind");
}

#[test]
fn a_session_that_came_after_it_is_not_meant() {
    let by = at(100) + Duration::from_millis(500);
    let refused = refusing(Criterion::subject(IDP, "alice"), by, at(200));
    let of_session = |obtained| refused.look_up(&alices(), Some(obtained), at(150));
    assert_eq!(of_session(by), Finding::Refused);
    let after = by + Duration::from_millis(1);
    assert_eq!(of_session(after), Finding::ClearForSession);
    assert_eq!(finding(&refused, 150), Finding::Refused, "a bearer");
    let one = refusing(
        Criterion::token("head.alice.signature"),
        Timestamp::MAX,
        at(200),
    );
    let found = one.look_up(&alices(), Some(at(190)), at(191));
    assert_eq!(found, Finding::Refused, "the token itself");
}

#[test]
fn what_was_cleared_is_looked_up_again_after_each_refusal() {
    let refused = Refused::default();
    let cleared = Cleared::default();
    assert!(
        !cleared.holds(refused.edition()),
        "nothing is clear at first"
    );
    cleared.under(refused.edition());
    assert!(cleared.holds(refused.edition()));
    let refusal = Refusal {
        criterion: Criterion::sid(IDP, "x"),
        issued_by: at(1),
        until: at(200),
    };
    assert!(refused.add(&[refusal], at(100)).is_ok());
    assert!(!cleared.holds(refused.edition()));
    cleared.under(refused.edition());
    refused.hears(false);
    assert!(!cleared.holds(refused.edition()));
    assert_eq!(finding(&refused, 100), Finding::Unknown);
    refused.hears(true);
    assert_eq!(finding(&refused, 100), Finding::Clear);
}

#[test]
fn the_longer_of_two_refusals_counts() {
    let refused = refusing(Criterion::subject(IDP, "alice"), at(110), at(200));
    let shorter = Refusal {
        criterion: Criterion::subject(IDP, "alice"),
        issued_by: at(50),
        until: at(120),
    };
    assert!(refused.add(&[shorter], at(100)).is_ok());
    assert_eq!(finding(&refused, 199), Finding::Refused);
}

#[test]
fn what_is_over_makes_room() {
    let refused = Refused::default();
    for round in 0..20 {
        let now = at(1000) + SECOND * round;
        let refusals: Vec<_> = (0..1000)
            .map(|n| Refusal {
                criterion: Criterion::token(&format!("{round}.{n}.x")),
                issued_by: Timestamp::MAX,
                until: now + SECOND,
            })
            .collect();
        assert!(refused.add(&refusals, now).is_ok());
    }
    assert!(refused.len() <= 3000, "{}", refused.len());
    assert!(!refused.is_empty());
}

/// The provider's clock may be ahead of this one: a token may be older than it says, by the leeway and five seconds at most.
#[test]
fn a_token_may_be_older_than_it_says() {
    for (leeway, issued_by, expected) in [
        (3 * SECOND, at(96), Finding::Clear),
        (3 * SECOND, at(97), Finding::Refused),
        (30 * SECOND, at(94), Finding::Clear),
        (30 * SECOND, at(95), Finding::Refused),
        (30 * SECOND, at(100), Finding::Refused),
    ] {
        let marks = alices_with(leeway);
        let refused = refusing(Criterion::subject(IDP, "alice"), issued_by, at(200));
        assert_eq!(refused.look_up(&marks, None, at(150)), expected);
        // When a session's own came this gateway knows by itself.
        let after = issued_by + Duration::from_millis(1);
        let own = refused.look_up(&marks, Some(after), at(150));
        assert_ne!(own, Finding::Refused, "{issued_by:?}");
    }
}

#[test]
fn a_full_register_goes_on_and_makes_room_when_there_is_some() {
    let refused = Refused::default();
    let numbered = |number: usize, until| {
        let mut digest = [0; 32];
        digest[..8].copy_from_slice(&number.to_be_bytes());
        Refusal {
            criterion: Criterion::from_bytes(digest),
            issued_by: Timestamp::MAX,
            until,
        }
    };
    let many: Vec<_> = (0..MOST).map(|n| numbered(n, at(200))).collect();
    assert!(refused.add(&many, at(100)).is_ok());
    let known = numbered(7, at(300));
    let added = refused.add(&[numbered(MOST, at(300)), known], at(100));
    assert!(added.is_err());
    let is = |n, now| refused.refuses(&numbered(n, at(0)).criterion, at(1), at(now));
    assert!(!is(MOST, 150) && is(6, 199) && !is(6, 200));
    assert!(is(7, 299), "what there is room for is taken all the same");
    assert!(refused.add(&[numbered(MOST, at(300))], at(201)).is_ok());
    assert_eq!((refused.len(), is(MOST, 250)), (2, true));
}

fn watched(refused: &Arc<Refused>, marks: Marks) -> Watch {
    Watch::over(marks, refused, &Clock::System)
}

fn add(refused: &Refused, criterion: Criterion, issued_by: u64) {
    let refusal = Refusal {
        criterion,
        issued_by: at(issued_by),
        until: Timestamp::MAX,
    };
    assert!(refused.add(&[refusal], at(100)).is_ok());
}

/// What is open under a token ends with it, whatever it is refused by, and what was refused a moment before too.
#[test]
fn what_is_open_ends_with_its_token_and_nothing_else_does() {
    let others = claims(&json!({ "sid": "s2", "iat": 100 }));
    let others = || Marks::of(IDP, "head.bob.signature", "bob", &others, Duration::ZERO);
    for criterion in [
        Criterion::token("head.alice.signature"),
        Criterion::sid(IDP, "s1"),
        Criterion::subject(IDP, "alice"),
    ] {
        let refused = Arc::new(Refused::default());
        let (hers, his) = (watched(&refused, alices()), watched(&refused, others()));
        let (her_end, his_end) = (hers.ending(), his.ending());
        add(&refused, criterion, 99);
        assert!(!her_end.has_come() && !hers.finds_refusal(), "issued later");
        add(&refused, criterion, 100);
        assert_eq!(her_end.came(Duration::ZERO), Some(Cause::Token));
        assert!(hers.finds_refusal() && hers.ending().has_come());
        assert!(!his_end.has_come() && !his.finds_refusal());
    }
}

#[test]
fn what_is_no_longer_open_is_forgotten() {
    let refused = Arc::new(Refused::default());
    let watch = watched(&refused, alices());
    let kept = watch.ending();
    for _ in 0..100_000 {
        watch.ending();
    }
    assert!(refused.open_ones() < 4096, "{}", refused.open_ones());
    add(&refused, Criterion::subject(IDP, "alice"), 100);
    assert!(kept.has_come());
}
