//! One swap at a time, that nobody can cancel, and nobody waits for without need.

use std::collections::HashSet;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::task::JoinSet;

use super::house::*;
use super::idp::*;
use crate::session::Error;

async fn all_get_the_same_new_token(requests: usize) {
    let house = House::new().await;
    let id = house.login().await;
    let old = house.open(&id).await.unwrap();
    house.idp.next([Script::Delay(Duration::from_millis(100))]);
    house.clock.advance(TOKEN);
    let mut opening = JoinSet::new();
    for _ in 0..requests {
        let (sessions, id) = (house.sessions.clone(), id.clone());
        opening.spawn(async move { sessions.open(&id, crate::session::Activity::Slides).await });
    }
    let lives = opening.join_all().await;
    let tokens: HashSet<_> = lives
        .into_iter()
        .map(|live| live.unwrap().access_token.clone())
        .collect();
    assert_eq!(tokens.len(), 1);
    assert!(!tokens.contains(&old.access_token));
    assert_eq!(house.idp.refreshes(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_hundred_requests_on_an_ended_token_are_one_swap() {
    all_get_the_same_new_token(200).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_thousand_requests_on_an_ended_token_are_one_swap() {
    all_get_the_same_new_token(1000).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_rounds_of_parallel_requests_never_use_a_token_twice() {
    let house = House::new().await;
    let id = house.login().await;
    for round in 1..=20 {
        house.clock.advance(TOKEN);
        let mut opening = JoinSet::new();
        for _ in 0..20 {
            let (sessions, id) = (house.sessions.clone(), id.clone());
            opening
                .spawn(async move { sessions.open(&id, crate::session::Activity::Slides).await });
        }
        for live in opening.join_all().await {
            assert_eq!(live.unwrap().generation, round);
        }
    }
    assert_eq!(house.idp.refreshes(), 20);
    assert_eq!(house.idp.reuses(), 0);
}

#[tokio::test]
async fn clients_that_hang_up_cancel_nothing() {
    let house = House::new().await;
    let id = house.login().await;
    house.clock.advance(TOKEN);
    house.idp.next([Script::Hold]);
    for _ in 0..50 {
        // Asked once, then dropped.
        assert!(house.open(&id).now_or_never().is_none());
    }
    eventually(|| house.idp.refreshes() == 1).await;
    house.idp.release(1);
    house.calm().await;
    let live = house.open(&id).now_or_never().unwrap().unwrap();
    assert_eq!(live.generation, 1);
    assert_eq!(house.idp.refreshes(), 1);
    assert_eq!(house.idp.reuses(), 0);
}

#[tokio::test]
async fn while_the_token_lives_nobody_waits_for_its_swap() {
    let house = House::new().await;
    let id = house.login().await;
    house.idp.next([Script::Hold]);
    house.clock.advance(TOKEN - 10 * SECOND);
    for _ in 0..100 {
        let live = house.open(&id).now_or_never().unwrap().unwrap();
        assert_eq!(live.generation, 0);
        tokio::task::yield_now().await;
    }
    eventually(|| house.idp.refreshes() == 1).await;
    house.idp.release(1);
    house.calm().await;
    let live = house.open(&id).now_or_never().unwrap().unwrap();
    assert_eq!(live.generation, 1);
    assert_eq!(house.idp.refreshes(), 1);
}

#[tokio::test]
async fn a_swap_comes_before_the_end_and_not_long_before() {
    let house = House::new().await;
    let id = house.login().await;
    house.clock.advance(TOKEN - 61 * SECOND);
    house.open(&id).await.unwrap();
    house.calm().await;
    assert_eq!(house.idp.refreshes(), 0);
    // The jitter takes a quarter of the minute at most.
    house.clock.advance(17 * SECOND);
    house.open(&id).await.unwrap();
    house.calm().await;
    assert_eq!(house.idp.refreshes(), 1);
}

/// `refresh_before` longer than any token lives: each is used for two thirds of its life all the same.
#[tokio::test]
async fn a_swap_long_before_the_end_is_no_loop() {
    let house = House::with(crate::session::Settings {
        refresh_before: 60 * MINUTE,
        ..settings()
    })
    .await;
    let id = house.login().await;
    for swaps in 0..4 {
        for _ in 0..40 {
            house.open(&id).await.unwrap();
            house.calm().await;
            house.clock.advance(5 * SECOND);
        }
        assert_eq!(house.idp.refreshes(), swaps, "200 of 300 s");
        house.clock.advance(30 * SECOND);
        house.open(&id).await.unwrap();
        house.calm().await;
        assert_eq!(house.idp.refreshes(), swaps + 1);
    }
}

#[tokio::test]
async fn what_is_swapped_in_the_background_goes_idle_all_the_same() {
    let house = House::new().await;
    let id = house.login().await;
    house.clock.advance(TOKEN - 10 * SECOND);
    house.open(&id).await.unwrap();
    house.calm().await;
    assert_eq!(house.idp.refreshes(), 1);
    for _ in 0..29 {
        house.clock.advance(MINUTE);
        house.sessions.sweep().await.unwrap();
        house.calm().await;
    }
    assert_eq!(house.idp.refreshes(), 1, "nobody is there");
    house.clock.advance(MINUTE);
    house.sessions.sweep().await.unwrap();
    assert_eq!(house.end_of(&id).await, crate::session::EndReason::Idle);
}

#[tokio::test]
async fn what_only_watches_swaps_only_what_has_ended_and_keeps_nothing_alive() {
    let house = House::new().await;
    let id = house.login().await;
    let idle = house.sessions.standing(&id).await.unwrap().idle_deadline;
    house.clock.advance(TOKEN - 10 * SECOND);
    house.watch(&id).await.unwrap();
    house.clock.advance(20 * SECOND);
    house.sessions.standing(&id).await.unwrap();
    house.calm().await;
    assert_eq!(house.idp.refreshes(), 0);
    house.watch(&id).await.unwrap();
    assert_eq!(house.idp.refreshes(), 1);
    let standing = house.sessions.standing(&id).await.unwrap();
    assert_eq!(standing.idle_deadline, idle);
}

#[tokio::test]
async fn what_only_watches_waits_for_a_swap_that_others_need() {
    let house = House::new().await;
    let id = house.login().await;
    house.idp.next([Script::Hold]);
    house.clock.advance(TOKEN);
    let (one, two) = tokio::join!(house.open(&id), async {
        eventually(|| house.idp.refreshes() == 1).await;
        let watching = house.watch(&id);
        house.idp.release(1);
        watching.await
    });
    assert_eq!(one.unwrap().generation, 1);
    assert_eq!(two.unwrap().generation, 1);
}

#[tokio::test]
async fn waiting_for_a_swap_is_bounded() {
    let house = House::with(crate::session::Settings {
        swap_wait: Duration::from_millis(50),
        ..settings()
    })
    .await;
    let id = house.login().await;
    house.idp.next([Script::Hold]);
    house.clock.advance(TOKEN);
    let refused = house.open(&id).await;
    assert!(matches!(refused, Err(Error::NotNow { .. })), "{refused:?}");
    house.idp.release(1);
    house.calm().await;
    assert_eq!(house.open(&id).await.unwrap().generation, 1);
    assert_eq!(house.idp.refreshes(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn ten_thousand_sessions_that_end_at_once_come_a_few_at_a_time() {
    const SESSIONS: usize = 10_000;
    let house = House::with(crate::session::Settings {
        swap_wait: 5 * MINUTE,
        ..settings()
    })
    .await;
    let mut ids = Vec::new();
    for _ in 0..SESSIONS {
        ids.push(house.login().await);
    }
    house.clock.advance(TOKEN);
    let mut opening = JoinSet::new();
    for id in ids {
        let sessions = house.sessions.clone();
        opening.spawn(async move { sessions.open(&id, crate::session::Activity::Slides).await });
    }
    for live in opening.join_all().await {
        assert_eq!(live.unwrap().generation, 1);
    }
    assert_eq!(house.idp.refreshes(), SESSIONS);
    assert!(house.idp.peak() <= 64, "{} at once", house.idp.peak());
    assert_eq!(house.idp.reuses(), 0);
}

#[tokio::test]
async fn a_swap_can_be_asked_for() {
    let house = House::new().await;
    let id = house.login().await;
    house.clock.advance(2 * SECOND);
    assert_eq!(house.sessions.swap_now(&id).await.unwrap().generation, 1);
    // What has just come is as new as can be.
    assert_eq!(house.sessions.swap_now(&id).await.unwrap().generation, 1);
    house.clock.advance(2 * SECOND);
    assert_eq!(house.sessions.swap_now(&id).await.unwrap().generation, 2);
    assert_eq!(house.idp.refreshes(), 2);
}
