//! What a session lives through, what it dies of, and what leaves it in doubt.

use std::time::Duration;

use super::house::*;
use super::idp::*;
use crate::session::{EndReason, Error, Settings};

const REFUSED: Script = Script::Say(400, r#"{"error":"invalid_grant"}"#);
const NOT_THIS_CLIENT: Script = Script::Say(401, r#"{"error":"invalid_client"}"#);
const DOWN: Script = Script::Say(503, "");

fn is_not_now<T: std::fmt::Debug>(result: &Result<T, Error>) -> Duration {
    match result {
        Err(Error::NotNow { retry_after }) => *retry_after,
        other => panic!("{other:?}"),
    }
}

/// Answers, and leaves the refresh token as it was.
fn keeps() -> Script {
    Script::Change(serde_json::json!({"refresh_token": null}))
}

fn only_a_page_load_helps<T: std::fmt::Debug>(result: &Result<T, Error>) {
    assert!(
        matches!(result, Err(Error::InDoubt { retry_after: None })),
        "{result:?}"
    );
}

fn is_in_doubt<T: std::fmt::Debug>(result: &Result<T, Error>) {
    assert!(matches!(result, Err(Error::InDoubt { .. })), "{result:?}");
}

#[tokio::test]
async fn a_refused_grant_ends_the_session_for_good() {
    for refusal in [
        REFUSED,
        Script::Say(401, r#"{"error":"invalid_grant"}"#),
        Script::Say(403, r#"{"error":"invalid_grant"}"#),
    ] {
        let house = House::new().await;
        let id = house.login().await;
        house.idp.next([refusal]);
        house.clock.advance(TOKEN);
        assert_eq!(house.end_of(&id).await, EndReason::Refused);
        assert_eq!(house.end_of(&id).await, EndReason::Refused);
        assert_eq!(house.idp.refreshes(), 1);
    }
}

/// Revoking a dead refresh token ends the person's session at Keycloak, and with it the silent sign-in.
#[tokio::test]
async fn a_refused_refresh_token_is_not_revoked() {
    let house = House::new().await;
    let id = house.login().await;
    house.idp.next([REFUSED]);
    house.clock.advance(TOKEN - 10 * SECOND);
    house.open(&id).await.unwrap();
    eventually_async(async || house.open(&id).await.is_err()).await;
    house.pay().await;
    assert!(!house.idp.was_revoked("refresh-token-1-of-1"));
    assert!(house.idp.was_revoked("access-token-1-of-1"));
}

async fn stays_through(trouble: Script) {
    let house = House::new().await;
    let id = house.login().await;
    house.idp.always(trouble.clone());
    house.clock.advance(TOKEN - 10 * SECOND);
    for _ in 0..20 {
        house.open(&id).await.unwrap();
        tokio::task::yield_now().await;
    }
    house.calm().await;
    assert_eq!(
        house.idp.refreshes(),
        1,
        "{trouble:?}: no retry before the pause is over"
    );
    house.clock.advance(11 * SECOND);
    for _ in 0..20 {
        is_not_now(&house.open(&id).await);
    }
    assert_eq!(
        house.idp.refreshes(),
        2,
        "{trouble:?}: one retry after the pause"
    );
    house.idp.always(Script::Answer);
    house.clock.advance(5 * SECOND);
    assert_eq!(house.open(&id).await.unwrap().generation, 1, "{trouble:?}");
    assert_eq!(house.idp.reuses(), 0);
}

#[tokio::test]
async fn a_provider_that_is_down_ends_no_session() {
    stays_through(DOWN).await;
}

#[tokio::test]
async fn a_provider_that_fails_ends_no_session() {
    stays_through(Script::Say(500, "<html>oops</html>")).await;
}

#[tokio::test]
async fn a_provider_that_is_busy_ends_no_session() {
    stays_through(Script::Busy(1)).await;
}

#[tokio::test]
async fn a_wrong_client_secret_ends_no_session() {
    stays_through(NOT_THIS_CLIENT).await;
}

#[tokio::test]
async fn a_client_that_may_not_ends_no_session() {
    stays_through(Script::Say(401, r#"{"error":"unauthorized_client"}"#)).await;
}

#[tokio::test]
async fn retry_after_is_honoured() {
    let house = House::new().await;
    let id = house.login().await;
    house.idp.next([Script::Busy(120)]);
    house.clock.advance(TOKEN);
    let pause = is_not_now(&house.open(&id).await);
    assert!(pause > 119 * SECOND && pause <= 132 * SECOND, "{pause:?}");
    house.clock.advance(110 * SECOND);
    is_not_now(&house.open(&id).await);
    assert_eq!(house.idp.refreshes(), 1);
    house.clock.advance(22 * SECOND);
    house.open(&id).await.unwrap();
}

#[tokio::test]
async fn the_pauses_grow() {
    let house = House::new().await;
    let id = house.login().await;
    house.idp.always(DOWN);
    house.clock.advance(TOKEN);
    let mut pauses = Vec::new();
    for _ in 0..9 {
        let pause = is_not_now(&house.open(&id).await);
        pauses.push(pause);
        house.clock.advance(pause);
    }
    assert_eq!(house.idp.refreshes(), 9);
    assert!(pauses[0] < 2 * SECOND, "{pauses:?}");
    assert!(
        pauses[8] > 40 * SECOND && pauses[8] < 90 * SECOND,
        "{pauses:?}"
    );
}

#[tokio::test]
async fn the_grace_serves_the_last_tokens_while_the_provider_is_down_and_no_longer() {
    let house = House::with(Settings {
        outage_grace: 10 * MINUTE,
        ..settings()
    })
    .await;
    let id = house.login().await;
    house.idp.always(DOWN);
    let ends = house.open(&id).await.unwrap().access_expires;
    assert_eq!(house.open(&id).await.unwrap().grace, None, "not needed");
    for pause in [TOKEN + SECOND, SECOND, 9 * MINUTE] {
        house.clock.advance(pause);
        let standing = house.sessions.standing(&id).await.unwrap();
        for live in [
            house.open(&id).await.unwrap(),
            house.navigate(&id).await.unwrap(),
            house.watch(&id).await.unwrap(),
        ] {
            assert_eq!(live.generation, 0);
            assert_eq!(live.grace, Some(ends + 10 * MINUTE));
        }
        let known = standing.live.grace;
        assert!(known.is_none() || known == Some(ends + 10 * MINUTE));
    }
    house.clock.advance(2 * MINUTE);
    is_not_now(&house.open(&id).await);
    let standing = house.sessions.standing(&id).await.unwrap();
    assert_eq!(standing.live.grace, None);
}

#[tokio::test]
async fn when_the_provider_is_back_the_next_request_has_new_tokens() {
    let house = House::with(Settings {
        outage_grace: 10 * MINUTE,
        ..settings()
    })
    .await;
    let id = house.login().await;
    house.idp.next([DOWN, DOWN]);
    house.clock.advance(TOKEN + SECOND);
    assert!(house.open(&id).await.unwrap().grace.is_some());
    house.clock.advance(MINUTE);
    assert!(house.open(&id).await.unwrap().grace.is_some());
    assert_eq!(house.idp.refreshes(), 2);
    house.clock.advance(MINUTE);
    let live = house.open(&id).await.unwrap();
    assert_eq!((live.generation, live.grace), (1, None));
    assert_eq!((house.idp.refreshes(), house.idp.reuses()), (3, 0));
}

#[tokio::test]
async fn in_the_grace_nobody_waits_long_for_a_provider_that_hangs() {
    let house = House::with(Settings {
        outage_grace: 10 * MINUTE,
        ..settings()
    })
    .await;
    let id = house.login().await;
    house.idp.next([DOWN, Script::Hold]);
    house.clock.advance(TOKEN + SECOND);
    house.open(&id).await.unwrap();
    house.clock.advance(MINUTE);
    let began = std::time::Instant::now();
    assert_eq!(house.open(&id).await.unwrap().generation, 0);
    assert!(began.elapsed() < 5 * SECOND, "{:?}", began.elapsed());
    house.idp.release(1);
    house.calm().await;
    assert_eq!(house.open(&id).await.unwrap().generation, 1);
}

#[tokio::test]
async fn the_grace_ends_where_the_outcome_is_unknown() {
    let house = House::with(Settings {
        outage_grace: 10 * MINUTE,
        ..settings()
    })
    .await;
    let id = house.login().await;
    house.idp.next([DOWN, Script::RotateAndReset, DOWN]);
    house.clock.advance(TOKEN + SECOND);
    assert!(house.open(&id).await.unwrap().grace.is_some());
    house.clock.advance(2 * SECOND);
    is_in_doubt(&house.open(&id).await);
    house.clock.advance(10 * SECOND);
    is_in_doubt(&house.open(&id).await);
    let standing = house.sessions.standing(&id).await.unwrap();
    assert_eq!(standing.live.grace, None);
}

#[tokio::test]
async fn the_grace_never_follows_a_refusal_or_a_logout() {
    let with_grace = || Settings {
        outage_grace: 10 * MINUTE,
        ..settings()
    };
    let house = House::with(with_grace()).await;
    let (one, two, three) = (
        house.login().await,
        house.login().await,
        house.login().await,
    );
    house.idp.next([DOWN, DOWN, NOT_THIS_CLIENT]);
    house.clock.advance(TOKEN + SECOND);
    house.open(&one).await.unwrap();
    house.open(&two).await.unwrap();
    is_not_now(&house.open(&three).await);
    house
        .sessions
        .end(&one, EndReason::SignedOut)
        .await
        .unwrap();
    house.idp.next([REFUSED]);
    house.clock.advance(2 * SECOND);
    assert_eq!(house.end_of(&one).await, EndReason::SignedOut);
    assert_eq!(house.end_of(&two).await, EndReason::Refused);
}

#[tokio::test]
async fn an_unknown_outcome_is_not_retried_while_the_token_lives() {
    for lost in [
        Script::RotateAndReset,
        Script::Say(200, "<html>a page</html>"),
    ] {
        let house = House::new().await;
        let id = house.login().await;
        house.idp.next([lost]);
        house.clock.advance(TOKEN - 50 * SECOND);
        house.open(&id).await.unwrap();
        house.clock.advance(16 * SECOND);
        for _ in 0..30 {
            assert_eq!(house.open(&id).await.unwrap().generation, 0);
            house.calm().await;
            house.clock.advance(SECOND);
        }
        assert_eq!(house.idp.refreshes(), 1);
        is_in_doubt(&house.sessions.swap_now(&id).await);
        assert_eq!(house.idp.refreshes(), 1);
    }
}

#[tokio::test]
async fn lost_in_flight_a_page_load_can_sign_in_and_nothing_is_sent_twice() {
    let house = House::new().await;
    let id = house.login().await;
    house.idp.next([Script::RotateAndReset]);
    house.clock.advance(TOKEN);
    is_in_doubt(&house.navigate(&id).await);
    house.clock.advance(5 * MINUTE);
    for _ in 0..10 {
        is_in_doubt(&house.navigate(&id).await);
        is_in_doubt(&house.watch(&id).await);
    }
    assert_eq!(house.idp.refreshes(), 1);
    assert_eq!(house.idp.reuses(), 0);
}

/// A second use would count as theft, and take the person's other sessions along (Keycloak, oidc-provider).
#[tokio::test]
async fn lost_in_flight_nothing_is_sent_twice_to_a_provider_that_rotates() {
    let house = House::new().await;
    let id = house.login().await;
    house.idp.next([Script::RotateAndReset]);
    house.clock.advance(TOKEN);
    for _ in 0..10 {
        only_a_page_load_helps(&house.open(&id).await);
        only_a_page_load_helps(&house.sessions.swap_now(&id).await);
        house.clock.advance(MINUTE);
    }
    assert_eq!((house.idp.refreshes(), house.idp.reuses()), (1, 0));
    house.sessions.end(&id, EndReason::SignedOut).await.unwrap();
    assert!(house.idp.was_revoked("refresh-token-1-of-1"));
}

#[tokio::test]
async fn one_session_that_was_rotated_speaks_for_its_provider() {
    let house = House::new().await;
    let (kept, rotated) = (house.login().await, house.login().await);
    house.idp.next([keeps()]);
    house.clock.advance(TOKEN);
    house.open(&kept).await.unwrap();
    house.open(&rotated).await.unwrap();
    house.idp.next([Script::Reset]);
    house.clock.advance(TOKEN);
    only_a_page_load_helps(&house.open(&kept).await);
    house.clock.advance(MINUTE);
    only_a_page_load_helps(&house.open(&kept).await);
    assert_eq!(house.idp.refreshes(), 3);
}

#[tokio::test]
async fn a_provider_that_does_not_rotate_is_asked_again() {
    let house = House::new().await;
    let id = house.login().await;
    house
        .idp
        .next([keeps(), Script::Reset, DOWN, keeps(), REFUSED]);
    house.clock.advance(TOKEN);
    house.open(&id).await.unwrap();
    house.clock.advance(TOKEN);
    is_in_doubt(&house.open(&id).await);
    house.clock.advance(5 * SECOND);
    is_in_doubt(&house.open(&id).await);
    house.clock.advance(10 * SECOND);
    assert_eq!(house.open(&id).await.unwrap().generation, 2);
    // The doubt is over: a refusal is a refusal again.
    house.clock.advance(TOKEN);
    assert_eq!(house.end_of(&id).await, EndReason::Refused);
}

#[tokio::test]
async fn where_asking_again_is_refused_the_token_was_lost() {
    let house = House::new().await;
    let id = house.login().await;
    house.idp.next([keeps(), Script::Reset, REFUSED]);
    house.clock.advance(TOKEN);
    house.open(&id).await.unwrap();
    house.clock.advance(TOKEN);
    is_in_doubt(&house.open(&id).await);
    house.clock.advance(5 * SECOND);
    assert_eq!(house.end_of(&id).await, EndReason::LostInFlight);
    house.pay().await;
    assert!(
        !house.idp.was_revoked("refresh-token-1-of-1"),
        "it would end the silent sign-in"
    );
}

const LEEWAY: Duration = Duration::from_secs(10);

#[tokio::test]
async fn within_its_leeway_a_provider_is_asked_once_more_at_once() {
    for lost in [
        Script::RotateAndReset,
        Script::Reset,
        Script::Say(200, "<html>a page</html>"),
    ] {
        let house = House::lenient(LEEWAY).await;
        let id = house.login().await;
        house.idp.next([lost.clone(), Script::Answer, lost]);
        house.clock.advance(TOKEN);
        assert_eq!(house.open(&id).await.unwrap().generation, 1);
        assert_eq!((house.idp.refreshes(), house.idp.reuses()), (2, 0));
        // In the background too.
        house.clock.advance(TOKEN - 10 * SECOND);
        assert_eq!(house.open(&id).await.unwrap().generation, 1);
        house.calm().await;
        assert_eq!(house.open(&id).await.unwrap().generation, 2);
        assert_eq!((house.idp.refreshes(), house.idp.reuses()), (4, 0));
    }
}

#[tokio::test]
async fn a_second_unknown_outcome_is_left_at_that() {
    let house = House::lenient(LEEWAY).await;
    let id = house.login().await;
    house
        .idp
        .next([Script::RotateAndReset, Script::RotateAndReset]);
    house.clock.advance(TOKEN - 40 * SECOND);
    for _ in 0..30 {
        assert_eq!(house.open(&id).await.unwrap().generation, 0);
        house.calm().await;
        house.clock.advance(SECOND);
    }
    assert_eq!(house.idp.refreshes(), 2);
    house.clock.advance(15 * SECOND);
    is_in_doubt(&house.navigate(&id).await);
    only_a_page_load_helps(&house.open(&id).await);
    assert_eq!((house.idp.refreshes(), house.idp.reuses()), (2, 0));
}

#[tokio::test]
async fn a_refused_second_try_means_that_it_was_lost() {
    let house = House::lenient(LEEWAY).await;
    let id = house.login().await;
    house.idp.next([Script::RotateAndReset, REFUSED]);
    house.clock.advance(TOKEN);
    assert_eq!(house.end_of(&id).await, EndReason::LostInFlight);
    assert_eq!(house.idp.refreshes(), 2);
}

/// Whatever came of the second try: the first one's outcome is still unknown.
#[tokio::test]
async fn a_second_try_that_finds_nobody_leaves_the_doubt() {
    for trouble in [DOWN, Script::Busy(1), NOT_THIS_CLIENT] {
        let house = House::lenient(LEEWAY).await;
        let id = house.login().await;
        house.idp.next([Script::RotateAndReset, trouble]);
        house.clock.advance(TOKEN - 30 * SECOND);
        for _ in 0..20 {
            house.open(&id).await.unwrap();
            house.calm().await;
            house.clock.advance(SECOND);
        }
        assert_eq!(house.idp.refreshes(), 2, "no third while the token lives");
        house.clock.advance(20 * SECOND);
        is_in_doubt(&house.navigate(&id).await);
        assert_eq!(house.idp.refreshes(), 2);
    }
}

#[tokio::test]
async fn after_the_leeway_the_ordinary_rule_holds() {
    let house = House::lenient(LEEWAY).await;
    let id = house.login().await;
    house.idp.next([Script::HoldAndReset]);
    house.clock.advance(TOKEN - 30 * SECOND);
    house.open(&id).await.unwrap();
    eventually(|| house.idp.refreshes() == 1).await;
    house.clock.advance(LEEWAY);
    house.idp.release(1);
    house.calm().await;
    house.open(&id).await.unwrap();
    assert_eq!(house.idp.refreshes(), 1);
    house.clock.advance(30 * SECOND);
    is_in_doubt(&house.navigate(&id).await);
    assert_eq!(house.idp.refreshes(), 1);
}

#[tokio::test]
async fn without_a_refresh_token_the_session_ends_with_its_access_token() {
    let house = House::new().await;
    let mut grant = house.idp.login(None);
    grant.refresh_token = None;
    let id = house
        .sessions
        .begin(house.a_login(grant, None, None))
        .await
        .unwrap();
    house.clock.advance(TOKEN - SECOND);
    house.open(&id).await.unwrap();
    assert_eq!(house.sessions.swap_now(&id).await.unwrap().generation, 0);
    house.clock.advance(SECOND);
    assert_eq!(house.end_of(&id).await, EndReason::Expired);
    assert_eq!(house.idp.refreshes(), 0);
}

#[tokio::test]
async fn a_rest_that_the_provider_asks_for_is_given_by_all_sessions() {
    let house = House::new().await;
    let mut ids = Vec::new();
    for n in 0..20 {
        ids.push(house.login_as(Some(&format!("sid-{n}")), None).await);
    }
    house.idp.always(Script::Busy(30));
    house.clock.advance(TOKEN);
    is_not_now(&house.open(&ids[0]).await);
    for id in &ids[1..] {
        assert!(is_not_now(&house.open(id).await) > 20 * SECOND);
    }
    assert_eq!(house.idp.refreshes(), 1);
    house.idp.always(Script::Answer);
    house.clock.advance(40 * SECOND);
    for id in &ids {
        assert_eq!(house.open(id).await.unwrap().generation, 1);
    }
}

/// Each token that is sent to it is in doubt, so that few must be.
#[tokio::test]
async fn a_provider_that_breaks_off_gets_few_tokens() {
    let house = House::new().await;
    let mut ids = Vec::new();
    for n in 0..50 {
        ids.push(house.login_as(Some(&format!("sid-{n}")), None).await);
    }
    house.idp.always(Script::RotateAndReset);
    house.clock.advance(TOKEN);
    for id in &ids {
        house.open(id).await.unwrap_err();
    }
    assert_eq!(house.idp.refreshes(), 5);
    house.idp.always(Script::Answer);
    house.clock.advance(10 * SECOND);
    let mut swapped = 0;
    for id in &ids[5..] {
        swapped += u32::from(house.open(id).await.is_ok());
    }
    assert_eq!(swapped, 45, "all that were not sent");
}

/// While nobody is there to sign in with, being told to sign in would be no help.
#[tokio::test]
async fn in_doubt_and_in_an_outage_it_is_not_now() {
    let house = House::new().await;
    let (id, other) = (house.login().await, house.login().await);
    house.idp.next([Script::RotateAndReset]);
    house.clock.advance(TOKEN);
    only_a_page_load_helps(&house.open(&id).await);
    house.idp.always(DOWN);
    is_not_now(&house.open(&other).await);
    let waits = house.open(&id).await;
    let told = matches!(
        waits,
        Err(Error::InDoubt {
            retry_after: Some(_)
        })
    );
    assert!(told, "{waits:?}");
    house.idp.always(Script::Answer);
    house.clock.advance(5 * SECOND);
    house.open(&other).await.unwrap();
    only_a_page_load_helps(&house.open(&id).await);
    assert_eq!(house.idp.reuses(), 0);
}
