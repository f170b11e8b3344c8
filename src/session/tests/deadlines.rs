//! Idle and absolute: what moves them, what does not, and what happens when they pass.

use super::house::*;
use super::idp::*;
use crate::session::{EndReason, Error};

#[tokio::test]
async fn activity_moves_the_idle_deadline_and_nothing_moves_the_absolute_one() {
    let house = House::new().await;
    let id = house.login().await;
    let begun = house.sessions.standing(&id).await.unwrap();
    for _ in 0..35 {
        house.clock.advance(20 * MINUTE);
        house.open(&id).await.unwrap();
        let standing = house.sessions.standing(&id).await.unwrap();
        assert_eq!(standing.absolute_deadline, begun.absolute_deadline);
        let idle = standing.idle_deadline.since(house.clock.now());
        assert!(idle > 29 * MINUTE, "{idle:?}");
    }
    house.clock.advance(19 * MINUTE);
    house.open(&id).await.unwrap();
    house.clock.advance(MINUTE);
    assert_eq!(house.end_of(&id).await, EndReason::Absolute);
}

#[tokio::test]
async fn what_only_watches_moves_nothing() {
    let house = House::new().await;
    house.idp.tokens_live(3600);
    let id = house.login().await;
    for _ in 0..29 {
        house.clock.advance(MINUTE);
        house.watch(&id).await.unwrap();
        house.sessions.standing(&id).await.unwrap();
    }
    house.clock.advance(MINUTE);
    assert!(matches!(
        house.watch(&id).await,
        Err(Error::Ended(EndReason::Idle))
    ));
}

#[tokio::test]
async fn a_swap_is_no_activity() {
    let house = House::new().await;
    let id = house.login().await;
    house.idp.next([Script::Hold]);
    house.clock.advance(TOKEN - 10 * SECOND);
    house.open(&id).await.unwrap();
    let before = house.sessions.standing(&id).await.unwrap().idle_deadline;
    eventually(|| house.idp.refreshes() == 1).await;
    house.clock.advance(4 * MINUTE);
    house.idp.release(1);
    house.calm().await;
    let after = house.sessions.standing(&id).await.unwrap();
    assert_eq!((after.live.generation, after.idle_deadline), (1, before));
}

#[tokio::test]
async fn what_an_expired_session_held_is_revoked() {
    let house = House::new().await;
    let id = house.login().await;
    house.clock.advance(30 * MINUTE);
    assert_eq!(house.end_of(&id).await, EndReason::Idle);
    house.calm().await;
    house.pay().await;
    assert!(house.idp.was_revoked("refresh-token-1-of-1"));
    assert!(
        !house.idp.was_revoked("access-token-1-of-1"),
        "it had expired itself"
    );
}

#[tokio::test]
async fn the_sweep_ends_what_nobody_asks_for() {
    let house = House::new().await;
    let mut ids = Vec::new();
    for _ in 0..300 {
        ids.push(house.login().await);
    }
    house.clock.advance(29 * MINUTE);
    house.open(&ids[0]).await.unwrap();
    house.calm().await;
    house.clock.advance(MINUTE);
    house.sweep().await;
    house.pay().await;
    assert_eq!(house.idp.living().len(), 1);
    assert_eq!(house.end_of(&ids[1]).await, EndReason::Idle);
    house.open(&ids[0]).await.unwrap();
}

#[tokio::test]
async fn the_sweep_believes_memory_rather_than_the_store() {
    let house = House::new().await;
    house.idp.tokens_live(100_000);
    let id = house.login().await;
    house.store.fails(Fault::All);
    house.clock.advance(29 * MINUTE);
    house.open(&id).await.unwrap();
    tokio::task::yield_now().await;
    house.store.fails(Fault::None);
    house.clock.advance(2 * MINUTE);
    house.sweep().await;
    house.open(&id).await.unwrap();
}

#[tokio::test]
async fn a_tombstone_stays_until_the_absolute_deadline_and_is_then_forgotten() {
    let house = House::new().await;
    let id = house.login().await;
    house.sessions.end(&id, EndReason::SignedOut).await.unwrap();
    house.clock.advance(12 * 60 * MINUTE - SECOND);
    house.sweep().await;
    assert!(house.store.inner_row(&id).await.unwrap().ended);
    assert_eq!(house.end_of(&id).await, EndReason::SignedOut);
    house.clock.advance(6 * MINUTE);
    house.sweep().await;
    assert!(house.store.inner_row(&id).await.is_none());
    assert!(matches!(house.open(&id).await, Err(Error::Unknown)));
}

#[tokio::test]
async fn last_seen_is_written_once_in_a_while() {
    let house = House::new().await;
    house.idp.tokens_live(100_000);
    let id = house.login().await;
    for _ in 0..100 {
        house.clock.advance(SECOND);
        for _ in 0..10 {
            house.open(&id).await.unwrap();
        }
    }
    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    assert_eq!(house.store.touches(), 1, "100 s, 1000 requests");
}

#[tokio::test]
async fn memory_lets_go_of_what_is_quiet_and_finds_it_again() {
    let house = House::new().await;
    house.idp.tokens_live(100_000);
    let id = house.login().await;
    house.clock.advance(MINUTE / 2);
    house.open(&id).await.unwrap();
    house.clock.advance(11 * MINUTE);
    house.sweep().await;
    assert_eq!(house.sessions.hot.len(), 0);
    let idle = house.sessions.standing(&id).await.unwrap().idle_deadline;
    let left = idle.since(house.clock.now());
    assert!(
        left > 18 * MINUTE && left <= 19 * MINUTE,
        "its activity was not forgotten: {left:?}"
    );
    house.open(&id).await.unwrap();
}

#[tokio::test]
async fn activity_that_could_not_be_saved_is_not_forgotten_by_memory() {
    let house = House::new().await;
    house.idp.tokens_live(100_000);
    let id = house.login().await;
    house.clock.advance(25 * MINUTE);
    house.store.fails(Fault::All);
    house.open(&id).await.unwrap();
    eventually(|| house.store.touches() > 0).await;
    house.clock.advance(15 * MINUTE);
    house.sweep().await;
    house.store.fails(Fault::None);
    house.open(&id).await.unwrap();
    house.clock.advance(15 * MINUTE);
    house.sweep().await;
    assert_eq!(house.sessions.hot.len(), 0, "now the store knows");
    house.open(&id).await.unwrap();
}
