//! So many sessions a person: the oldest ends, never the newest, and never more than need be.

use std::num::NonZeroUsize;

use tokio::task::JoinSet;

use super::house::*;
use crate::session::{EndReason, Error, Settings};
use crate::token::SessionCookie;

fn at_most(sessions: usize) -> Settings {
    Settings {
        max_per_user: NonZeroUsize::new(sessions),
        ..settings()
    }
}

/// Logs in at a time of its own.
async fn login(house: &House, sid: &str) -> SessionCookie {
    house.clock.advance(SECOND);
    house.login_as(Some(sid), None).await
}

#[tokio::test]
async fn the_oldest_ends_and_its_tokens_are_revoked() {
    let house = House::with(at_most(2)).await;
    let (one, two) = (login(&house, "a").await, login(&house, "b").await);
    house.open(&one).await.unwrap();
    let three = login(&house, "c").await;
    assert_eq!(
        house.end_of(&one).await,
        EndReason::Displaced,
        "used or not"
    );
    assert!(house.store.inner_row(&one).await.unwrap().ended, "for good");
    house.open(&two).await.unwrap();
    house.open(&three).await.unwrap();
    house.pay().await;
    assert!(house.idp.was_revoked("refresh-token-1-of-1"));
    assert!(house.idp.was_revoked("access-token-1-of-1"));
    assert_eq!(house.idp.living().len(), 2);
}

#[tokio::test]
async fn without_a_limit_nobody_is_displaced() {
    let house = House::new().await;
    let mut ids = Vec::new();
    for _ in 0..50 {
        ids.push(house.login().await);
    }
    for id in ids {
        house.open(&id).await.unwrap();
    }
}

/// At Keycloak, revoking one token of a session ends all of that session.
#[tokio::test]
async fn tokens_of_a_providers_session_that_goes_on_are_spared() {
    let house = House::with(at_most(2)).await;
    let (one, two) = (login(&house, "same").await, login(&house, "same").await);
    let three = login(&house, "other").await;
    assert_eq!(house.end_of(&one).await, EndReason::Displaced);
    house.pay().await;
    assert!(house.idp.journal().is_empty(), "{:?}", house.idp.journal());
    house.open(&two).await.unwrap();
    house.open(&three).await.unwrap();
    let four = login(&house, "third").await;
    assert_eq!(house.end_of(&two).await, EndReason::Displaced);
    house.pay().await;
    assert!(
        house.idp.was_revoked("refresh-token-2-of-2"),
        "now nobody's"
    );
    house.open(&four).await.unwrap();
}

#[tokio::test]
async fn what_is_over_takes_nobodys_place() {
    let house = House::with(at_most(2)).await;
    let idle = login(&house, "a").await;
    house.clock.advance(29 * MINUTE);
    let one = login(&house, "b").await;
    house.clock.advance(2 * MINUTE);
    let two = login(&house, "c").await;
    assert_eq!(house.end_of(&idle).await, EndReason::Idle);
    house.open(&one).await.unwrap();
    let again = house.login_as(Some("d"), Some(two.clone())).await;
    assert_eq!(house.end_of(&two).await, EndReason::Replaced);
    house.open(&one).await.unwrap();
    house
        .sessions
        .end(&one, EndReason::SignedOut)
        .await
        .unwrap();
    let last = login(&house, "e").await;
    house.open(&again).await.unwrap();
    house.open(&last).await.unwrap();
}

#[tokio::test]
async fn everyone_has_their_own() {
    let house = House::with(at_most(1)).await;
    let alice = login(&house, "a").await;
    let mut login = house.a_login(house.idp.login(Some("b")), Some("b"), None);
    login.id_claims.subject = "bob".into();
    let bob = house.sessions.begin(login).await.unwrap();
    house.open(&alice).await.unwrap();
    house.open(&bob).await.unwrap();
}

#[tokio::test]
async fn sessions_that_only_the_store_knows_count_too() {
    let (_dir, path) = a_file();
    let house = House::on_disk(&path).await;
    let (one, two) = (login(&house, "a").await, login(&house, "b").await);
    let next = house.restarted_as(&killed(&path), at_most(2));
    let three = login(&next, "c").await;
    assert_eq!(next.end_of(&one).await, EndReason::Displaced);
    next.open(&two).await.unwrap();
    next.open(&three).await.unwrap();
    next.pay().await;
    assert!(house.idp.was_revoked("refresh-token-1-of-1"));
}

async fn alive(house: &House, ids: &[SessionCookie]) -> usize {
    let mut alive = 0;
    for id in ids {
        match house.open(id).await {
            Ok(_) => alive += 1,
            Err(Error::Ended(EndReason::Displaced)) => {}
            Err(other) => panic!("{other:?}"),
        }
    }
    alive
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn logins_at_once_end_no_more_than_need_be() {
    for (limit, logins) in [(1, 2), (1, 8), (3, 12), (5, 6)] {
        for _ in 0..15 {
            let house = House::with(at_most(limit)).await;
            let mut beginning = JoinSet::new();
            for _ in 0..logins {
                let login = house.a_login(house.idp.login(None), None, None);
                let sessions = house.sessions.clone();
                beginning.spawn(async move { sessions.begin(login).await.unwrap() });
            }
            let ids = beginning.join_all().await;
            assert_eq!(alive(&house, &ids).await, limit, "of {logins}");
            let newest = login(&house, "newest").await;
            house.open(&newest).await.unwrap();
            assert_eq!(alive(&house, &ids).await, limit - 1);
        }
    }
}
