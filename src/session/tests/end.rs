//! Ending: final, before everything else, and told to the provider until it confirms.

use std::time::Duration;

use super::house::*;
use super::idp::*;
use crate::issuer::Salvage;
use crate::session::{Activity, EndReason, Error, Revocation, Settings};
use crate::token::RefreshToken;

#[tokio::test]
async fn a_sign_out_revokes_both_tokens_and_says_so() {
    let house = House::new().await;
    let id = house.login().await;
    let ended = house
        .sessions
        .end(&id, EndReason::SignedOut)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(ended.refresh_token, Revocation::Confirmed);
    assert_eq!(ended.access_token, Revocation::Confirmed);
    assert!(ended.id_token.is_some());
    let revoke = |token: &str| Call::Revoke(token.to_owned());
    assert_eq!(
        house.idp.journal(),
        [
            revoke("refresh-token-1-of-1"),
            revoke("access-token-1-of-1")
        ]
    );
    assert_eq!(house.end_of(&id).await, EndReason::SignedOut);
    let again = house.sessions.end(&id, EndReason::SignedOut).await.unwrap();
    assert!(again.is_none());
    assert_eq!(house.store.owed().await, 0);
}

#[tokio::test]
async fn what_the_configuration_does_not_ask_for_is_not_revoked() {
    let house = House::with(Settings {
        revoke_access_token: false,
        ..settings()
    })
    .await;
    let id = house.login().await;
    let ended = house
        .sessions
        .end(&id, EndReason::SignedOut)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(ended.refresh_token, Revocation::Confirmed);
    assert_eq!(ended.access_token, Revocation::NothingToDo);
    assert!(!house.idp.was_revoked("access-token-1-of-1"));
}

#[tokio::test]
async fn nobody_is_served_by_an_id_that_never_was() {
    let house = House::new().await;
    let id = stranger();
    assert!(matches!(house.open(&id).await, Err(Error::Unknown)));
    assert!(
        house
            .sessions
            .end(&id, EndReason::SignedOut)
            .await
            .unwrap()
            .is_none()
    );
}

#[tokio::test]
async fn a_revocation_stays_owed_until_the_provider_confirms() {
    let house = House::new().await;
    let id = house.login().await;
    house.idp.revocations(Some((503, "")));
    let ended = house
        .sessions
        .end(&id, EndReason::SignedOut)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(ended.refresh_token, Revocation::Owed);
    assert_eq!(ended.access_token, Revocation::Owed);
    assert_eq!(
        house.end_of(&id).await,
        EndReason::SignedOut,
        "here it is over at once"
    );
    for _ in 0..4 {
        let before = house.idp.journal().len();
        eventually_async(async || {
            house.clock.advance(SECOND);
            house.sessions.pay_debts();
            house.idp.journal().len() >= before + 2
        })
        .await;
        assert_eq!(house.store.owed().await, 2);
    }
    house.idp.revocations(None);
    house.clock.advance(MINUTE);
    house.pay().await;
    assert!(house.idp.living().is_empty());
    eventually_async(async || house.store.owed().await == 0).await;
}

#[tokio::test]
async fn a_revocation_is_dropped_when_it_was_retried_for_long_enough() {
    let house = House::new().await;
    let id = house.login().await;
    house.idp.revocations(Some((503, "")));
    house.sessions.end(&id, EndReason::SignedOut).await.unwrap();
    // The access token lives for five minutes, the refresh token is retried for ten.
    house.clock.advance(6 * MINUTE);
    eventually_async(async || {
        house.sessions.pay_debts();
        house.sessions.debts.len() == 1
    })
    .await;
    house.clock.advance(5 * MINUTE);
    house.pay().await;
    eventually_async(async || house.store.owed().await == 0).await;
    assert!(
        !house.idp.living().is_empty(),
        "the provider never confirmed"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_sign_out_that_races_a_swap_wins_every_time() {
    let house = House::new().await;
    for round in 0..150_u64 {
        let sid = format!("sid-{round}");
        let id = house.login_as(Some(&sid), None).await;
        house.clock.advance(TOKEN);
        let pause = Duration::from_micros(round * 40);
        let opening = async {
            let (sessions, id) = (house.sessions.clone(), id.clone());
            let opening = async move { sessions.open(&id, Activity::Slides).await };
            tokio::spawn(opening).await.unwrap()
        };
        let ending = async {
            let (sessions, id) = (house.sessions.clone(), id.clone());
            let ending = async move {
                tokio::time::sleep(pause).await;
                sessions.end(&id, EndReason::SignedOut).await
            };
            tokio::spawn(ending).await.unwrap()
        };
        let (opened, ended) = tokio::join!(opening, ending);
        if let Err(error) = opened {
            assert!(
                matches!(error, Error::Ended(EndReason::SignedOut)),
                "{error:?}"
            );
        }
        assert!(ended.unwrap().is_some());
        assert_eq!(house.end_of(&id).await, EndReason::SignedOut);
        let kept = house.store.inner_row(&id).await.unwrap();
        assert!(kept.ended, "the store agrees");
        house.calm().await;
        assert_eq!(house.end_of(&id).await, EndReason::SignedOut);
        assert!(house.store.inner_row(&id).await.unwrap().ended);
    }
    house.pay().await;
    assert!(house.idp.living().is_empty(), "{:?}", house.idp.living());
}

/// The provider answers both: the swap's tokens come after the sign-out was confirmed.
#[tokio::test]
async fn tokens_that_come_after_the_sign_out_are_given_back() {
    let house = House::new().await;
    let id = house.login().await;
    house.idp.next([Script::Hold]);
    house.clock.advance(TOKEN - 10 * SECOND);
    house.open(&id).await.unwrap();
    eventually(|| house.idp.refreshes() == 1).await;
    house.sessions.end(&id, EndReason::SignedOut).await.unwrap();
    house.idp.release(1);
    house.calm().await;
    house.pay().await;
    assert!(house.idp.was_revoked("refresh-token-2-of-1"));
    assert!(house.idp.was_revoked("access-token-2-of-1"));
    assert_eq!(house.end_of(&id).await, EndReason::SignedOut);
    assert!(house.store.inner_row(&id).await.unwrap().ended);
}

#[tokio::test]
async fn tokens_that_come_after_a_deadline_are_given_back() {
    let house = House::new().await;
    let id = house.login().await;
    house.idp.next([Script::Hold]);
    house.clock.advance(TOKEN - 10 * SECOND);
    house.open(&id).await.unwrap();
    eventually(|| house.idp.refreshes() == 1).await;
    house.clock.advance(31 * MINUTE);
    assert_eq!(house.end_of(&id).await, EndReason::Idle);
    house.idp.release(1);
    house.calm().await;
    house.pay().await;
    assert!(house.idp.was_revoked("refresh-token-2-of-1"));
    assert_eq!(house.end_of(&id).await, EndReason::Idle);
}

#[tokio::test]
async fn a_login_ends_the_session_that_the_browser_held() {
    let house = House::new().await;
    let old = house.login_as(Some("sid-1"), None).await;
    let new = house.login_as(Some("sid-2"), Some(old.clone())).await;
    assert_eq!(house.end_of(&old).await, EndReason::Replaced);
    house.open(&new).await.unwrap();
    house.pay().await;
    assert!(house.idp.was_revoked("refresh-token-1-of-1"));
    assert!(!house.idp.was_revoked("refresh-token-2-of-2"));
}

/// At Keycloak, revoking one token of a session ends all of that session.
#[tokio::test]
async fn a_silent_sign_in_does_not_end_itself_by_revoking_its_predecessor() {
    let house = House::new().await;
    let old = house.login_as(Some("sid-1"), None).await;
    let new = house.login_as(Some("sid-1"), Some(old.clone())).await;
    assert_eq!(house.end_of(&old).await, EndReason::Replaced);
    house.pay().await;
    assert!(house.idp.journal().is_empty(), "{:?}", house.idp.journal());
    house
        .sessions
        .end(&new, EndReason::SignedOut)
        .await
        .unwrap();
    assert!(house.idp.was_revoked("refresh-token-2-of-2"));
}

#[tokio::test]
async fn tokens_of_a_login_that_came_to_nothing_are_given_back() {
    let house = House::new().await;
    let salvage = Salvage {
        access_token: None,
        refresh_token: Some(RefreshToken::new("an orphan")),
    };
    house.sessions.discard(&"main".into(), &salvage);
    house.calm().await;
    house.pay().await;
    assert!(house.idp.was_revoked("an orphan"));
}

#[tokio::test]
async fn the_housekeeper_pays_what_is_owed() {
    let house = House::new().await;
    let keeping = tokio::spawn(house.sessions.clone().keep_house());
    let id = house.login().await;
    house.idp.revocations(Some((503, "")));
    house.sessions.end(&id, EndReason::SignedOut).await.unwrap();
    house.idp.revocations(None);
    house.clock.advance(30 * SECOND);
    eventually(|| house.sessions.debts.len() == 0).await;
    assert!(house.idp.living().is_empty());
    keeping.abort();
}
