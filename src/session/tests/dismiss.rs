//! Sessions that a person ends from another one: theirs only, for good, and not that other one along with them.

use std::sync::Arc;

use super::house::*;
use super::idp::*;
use crate::session::store::memory::Memory;
use crate::session::{EndReason, Error, Fate, Revocation};
use crate::token::SessionCookie;

/// Logs in at a time of its own.
async fn login(house: &House, sid: Option<&str>) -> SessionCookie {
    house.clock.advance(SECOND);
    house.login_as(sid, None).await
}

#[tokio::test]
async fn one_ends_with_its_tokens_and_the_others_go_on() {
    let house = House::new().await;
    let (one, two) = (login(&house, Some("a")).await, login(&house, None).await);
    let this = login(&house, Some("c")).await;
    let ended = house.sessions.dismiss(&this, id_hash(&one)).await.unwrap();
    let ended = ended.unwrap();
    assert_eq!(ended.session.id, id_hash(&one));
    let Fate::Revoked(tokens) = ended.tokens else {
        panic!("{ended:?}");
    };
    assert_eq!(tokens.refresh_token, Revocation::Confirmed);
    assert_eq!(house.end_of(&one).await, EndReason::Dismissed);
    house.open(&two).await.unwrap();
    house.open(&this).await.unwrap();
    let again = house.sessions.dismiss(&this, id_hash(&one)).await.unwrap();
    assert!(again.is_none());
    let nobodys = house.sessions.dismiss(&this, id_hash(&stranger())).await;
    assert!(nobodys.unwrap().is_none());
    let by_nobody = house.sessions.dismiss(&one, id_hash(&two)).await;
    assert!(matches!(by_nobody, Err(Error::Ended(_))), "{by_nobody:?}");
    house.open(&two).await.unwrap();
}

/// At Keycloak, revoking one token of a session ends all of that session.
#[tokio::test]
async fn tokens_are_spared_only_for_one_that_goes_on() {
    let house = House::new().await;
    let this = login(&house, Some("mine")).await;
    let twin = login(&house, Some("mine")).await;
    let (one, two) = (
        login(&house, Some("theirs")).await,
        login(&house, Some("theirs")).await,
    );
    let first = house.sessions.dismiss(&this, id_hash(&one)).await.unwrap();
    assert!(
        matches!(first.unwrap().tokens, Fate::Spared),
        "the other goes on"
    );
    let rest = house.sessions.dismiss_others(&this).await.unwrap();
    let spared: Vec<_> = rest
        .iter()
        .map(|one| (one.session.id, matches!(one.tokens, Fate::Spared)))
        .collect();
    assert_eq!(spared, [(id_hash(&two), false), (id_hash(&twin), true)]);
    house.pay().await;
    assert!(
        house.idp.was_revoked("refresh-token-4-of-4"),
        "{:?}",
        house.idp.journal()
    );
    assert!(!house.idp.was_revoked("refresh-token-2-of-2"));
    house.clock.advance(TOKEN);
    house.open(&this).await.unwrap();
    for over in [one, two, twin] {
        assert_eq!(house.end_of(&over).await, EndReason::Dismissed);
    }
}

#[tokio::test]
async fn an_end_that_can_not_be_saved_is_not_said_to_be_one_and_is_saved_later() {
    let house = House::new().await;
    let (one, two) = (
        login(&house, Some("a")).await,
        login(&house, Some("b")).await,
    );
    let this = login(&house, Some("c")).await;
    house.store.fails(Fault::Ends);
    let said = house.sessions.dismiss_others(&this).await;
    assert!(matches!(said, Err(Error::Store(_))), "{said:?}");
    for over in [&one, &two] {
        assert_eq!(house.end_of(over).await, EndReason::Dismissed, "here");
    }
    house.store.fails(Fault::None);
    for over in [&one, &two] {
        eventually_async(async || house.store.inner_row(over).await.unwrap().ended).await;
    }
    house.open(&this).await.unwrap();
}

#[tokio::test]
async fn without_the_store_nothing_is_said_of_anybody() {
    let house = House::new().await;
    let one = login(&house, Some("a")).await;
    let this = login(&house, Some("b")).await;
    house.store.fails(Fault::Away);
    let said = house.sessions.dismiss(&this, id_hash(&one)).await;
    assert!(matches!(said, Err(Error::Store(_))), "{said:?}");
    let said = house.sessions.dismiss_others(&this).await;
    assert!(matches!(said, Err(Error::Store(_))), "{said:?}");
    let said = house.sessions.own(&this).await;
    assert!(matches!(said, Err(Error::Store(_))), "{said:?}");
}

#[tokio::test]
async fn others_that_can_not_be_read_here_are_not_passed_over() {
    let store = Arc::new(Memory::default());
    let elsewhere = House::sealing(store.clone(), &[vec![1; 32]]).await;
    let there = login(&elsewhere, Some("a")).await;
    let here = elsewhere.next(store, &[vec![2; 32]]);
    let (one, this) = (login(&here, Some("b")).await, login(&here, Some("c")).await);
    let said = here.sessions.dismiss_others(&this).await;
    assert!(matches!(said, Err(Error::Store(_))), "{said:?}");
    assert_eq!(here.end_of(&one).await, EndReason::Dismissed);
    elsewhere.open(&there).await.unwrap();
    here.open(&this).await.unwrap();
}

#[tokio::test]
async fn a_swap_that_is_under_way_brings_nothing_back() {
    let house = House::new().await;
    let one = login(&house, Some("a")).await;
    let this = login(&house, Some("b")).await;
    house.idp.next([Script::Hold]);
    house.clock.advance(TOKEN - 10 * SECOND);
    house.open(&one).await.unwrap();
    eventually(|| house.idp.refreshes() == 1).await;
    let ended = house.sessions.dismiss(&this, id_hash(&one)).await;
    assert!(ended.unwrap().is_some());
    house.idp.release(1);
    house.calm().await;
    house.pay().await;
    assert_eq!(house.end_of(&one).await, EndReason::Dismissed);
    assert!(
        house.idp.was_revoked("refresh-token-3-of-1"),
        "{:?}",
        house.idp.journal()
    );
    house.open(&this).await.unwrap();
}
