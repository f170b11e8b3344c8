//! What is saved before what, and what happens when it can't be.

use std::time::Duration;

use super::house::*;
use super::idp::*;
use crate::session::{EndReason, Error};

#[tokio::test]
async fn the_mark_comes_before_the_call_and_the_answer_before_its_use() {
    let house = House::new().await;
    let id = house.login().await;
    house.idp.next([Script::Hold]);
    house.clock.advance(TOKEN - 10 * SECOND);
    house.open(&id).await.unwrap();
    eventually(|| house.idp.refreshes() == 1).await;
    let row = house.store.inner_row(&id).await.unwrap();
    assert_eq!(
        row.fence, 1,
        "the mark is in the store while the provider is asked"
    );
    // The keys can't be had, so the answer can't be checked: saved it is all the same.
    house.idp.keys_are_down(true);
    house.idp.release(1);
    let marked = row.sealed;
    eventually_async(async || house.store.inner_row(&id).await.unwrap().sealed != marked).await;
    assert_eq!(house.open(&id).await.unwrap().generation, 0);
}

#[tokio::test]
async fn an_answer_that_can_not_be_saved_is_served_from_memory_and_saved_later() {
    let (_dir, path) = a_file();
    let house = House::on_disk(&path).await;
    let id = house.login().await;
    house.store.fails(Fault::Saves);
    house.clock.advance(TOKEN);
    let live = house.open(&id).await.unwrap();
    assert_eq!(live.generation, 1);
    assert!(!house.sessions.work.is_empty(), "saving is retried");
    let settling = house.sessions.settle();
    tokio::pin!(settling);
    let early = tokio::time::timeout(Duration::from_millis(300), &mut settling).await;
    assert!(early.is_err(), "shutdown waits for it");
    house.store.fails(Fault::None);
    settling.await;
    let token = live.access_token.clone();
    let next = house.restarted(&killed(&path));
    let live = next.open(&id).await.unwrap();
    assert_eq!((live.generation, &live.access_token), (1, &token));
}

#[tokio::test]
async fn a_further_swap_does_not_wait_for_the_save_of_the_last() {
    let house = House::new().await;
    let id = house.login().await;
    house.store.fails(Fault::Saves);
    for generation in 1..=3 {
        house.clock.advance(TOKEN);
        assert_eq!(house.open(&id).await.unwrap().generation, generation);
    }
    house.store.fails(Fault::None);
    house.calm().await;
    assert_eq!(house.store.inner_row(&id).await.unwrap().fence, 3);
    assert_eq!(house.idp.reuses(), 0);
}

#[tokio::test]
async fn a_swap_waits_for_its_mark_while_the_token_lives() {
    let house = House::new().await;
    let id = house.login().await;
    house.store.fails(Fault::Marks);
    house.clock.advance(TOKEN - 10 * SECOND);
    house.open(&id).await.unwrap();
    house.calm().await;
    assert_eq!(house.idp.refreshes(), 0);
    house.store.fails(Fault::None);
    house.clock.advance(3 * SECOND);
    house.open(&id).await.unwrap();
    house.calm().await;
    assert_eq!(house.idp.refreshes(), 1);
}

#[tokio::test]
async fn with_a_full_disk_running_sessions_go_on() {
    let house = House::new().await;
    let id = house.login().await;
    house.store.fails(Fault::All);
    for generation in 1..=3 {
        house.clock.advance(TOKEN);
        assert_eq!(house.open(&id).await.unwrap().generation, generation);
    }
    house.store.fails(Fault::None);
    house.calm().await;
    assert_eq!(house.store.inner_row(&id).await.unwrap().fence, 3);
}

#[tokio::test]
async fn a_login_that_can_not_be_saved_fails_and_its_tokens_are_given_back() {
    let house = House::new().await;
    house.store.fails(Fault::Creates);
    let login = house.a_login(house.idp.login(None), None, None);
    let error = house.sessions.begin(login).await.unwrap_err();
    assert!(error.to_string().contains("full"), "{error}");
    house.calm().await;
    house.pay().await;
    assert!(house.idp.living().is_empty());
    assert_eq!(house.sessions.hot.len(), 0);
}

#[tokio::test]
async fn a_sign_out_that_can_not_be_saved_is_one_all_the_same() {
    let house = House::new().await;
    let id = house.login().await;
    house.store.fails(Fault::Ends);
    assert!(house.sessions.end(&id, EndReason::SignedOut).await.is_err());
    assert!(matches!(
        house.open(&id).await,
        Err(Error::Ended(EndReason::SignedOut))
    ));
    assert!(house.idp.living().is_empty(), "the provider was told");
    house.store.fails(Fault::None);
    house.calm().await;
    assert!(house.store.inner_row(&id).await.unwrap().ended);
}
