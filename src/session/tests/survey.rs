//! An administrator looks through all sessions, and ends them: nothing is taken up by looking, and nothing passed over.

use std::sync::Arc;

use super::house::{Fault, House, MINUTE, SECOND, a_file, id_hash, killed};
use crate::session::record::Kept;
use crate::session::store::memory::Memory;
use crate::session::store::{Change, Store};
use crate::session::{EndReason, Everything, Named, NoPrefix, Prefix, Search};
use crate::token::SessionHash;

fn everybody() -> Search {
    Search::default()
}

const START: SessionHash = SessionHash::from_bytes([0; 32]);

fn prefix(text: &str) -> Prefix {
    text.parse().unwrap()
}

#[test]
fn a_prefix_is_enough_of_an_id() {
    let whole = "0123456789abcdef".repeat(4);
    for good in [&whole, &whole[..8], &whole[..13], "ABCDEF12"] {
        assert_eq!(prefix(good).to_string(), good.to_lowercase());
    }
    let longer = format!("{whole}0");
    for wrong in ["", "0123456", "0123456g", "01234567 ", "é1234567", &longer] {
        assert_eq!(wrong.parse::<Prefix>(), Err(NoPrefix), "{wrong:?}");
    }
}

#[tokio::test]
async fn looking_brings_nothing_into_memory() {
    let (_dir, path) = a_file();
    let house = House::on_disk(&path).await;
    let cookie = house.login().await;
    let next = house.restarted(&killed(&path));
    let page = next.sessions.page(&everybody(), START, 10).await.unwrap();
    assert_eq!(page.sessions.len(), 1);
    assert_eq!(page.next, None);
    let id = id_hash(&cookie);
    assert_eq!(page.sessions[0].id, id);
    let named = next.sessions.named(&prefix(&id.to_string()[..8])).await;
    assert!(matches!(named.unwrap(), Named::One(one) if one.id == id));
    assert!(next.sessions.hot.is_empty());
    next.clock.advance(31 * MINUTE);
    let page = next.sessions.page(&everybody(), START, 10).await.unwrap();
    assert!(page.sessions.is_empty(), "idle for too long");
}

#[tokio::test]
async fn two_ids_that_begin_alike_are_told_apart_by_more_letters() {
    let house = House::new().await;
    let id = id_hash(&house.login().await);
    let mut bytes = *id.as_bytes();
    bytes[4] ^= 1;
    let twin = SessionHash::from_bytes(bytes);
    let found = house.store.load(id).await.unwrap().unwrap();
    let kept = Kept::open(&found.row, &id, &house.sessions.keys);
    let Some(Kept::Alive(record)) = kept else {
        panic!("it can't be read");
    };
    let row = record.row(&twin, &house.sessions.keys, found.row.seen, 30 * MINUTE);
    house.store.write(Change::Create(twin, row)).await.unwrap();
    let named = async |letters: usize| {
        let prefix = prefix(&id.to_string()[..letters]);
        house.sessions.named(&prefix).await.unwrap()
    };
    assert!(matches!(named(8).await, Named::Several));
    assert!(matches!(named(9).await, Named::Several));
    assert!(matches!(named(10).await, Named::One(one) if one.id == id));
    assert!(matches!(named(64).await, Named::One(one) if one.id == id));
    let ended = house
        .sessions
        .end_one(id, EndReason::Administrator)
        .await
        .unwrap();
    assert!(ended.is_some());
    assert!(matches!(named(8).await, Named::One(one) if one.id == twin));
    assert!(matches!(named(64).await, Named::Nobody));
}

#[tokio::test]
async fn what_another_key_has_sealed_is_counted_as_left() {
    let store: Arc<dyn Store> = Arc::new(Memory::default());
    let ours = House::sealing(Arc::clone(&store), &[vec![1; 32]]).await;
    let theirs = ours.next(store, &[vec![2; 32]]);
    let (readable, unreadable) = (ours.login().await, theirs.login().await);
    let all = ours.sessions.end_everything(EndReason::Administrator).await;
    let said = Everything {
        ended: 1,
        unreadable: 1,
    };
    assert_eq!(all.unwrap(), said);
    assert_eq!(ours.end_of(&readable).await, EndReason::Administrator);
    theirs.open(&unreadable).await.unwrap();
    let page = ours.sessions.page(&everybody(), START, 10).await.unwrap();
    assert!(page.sessions.is_empty());
}

#[tokio::test]
async fn a_store_that_is_away_keeps_nobody_in_who_is_in_memory() {
    let house = House::new().await;
    let cookies = [
        house.login().await,
        house.login_as(Some("sid-2"), None).await,
    ];
    house.store.fails(Fault::Away);
    let all = house.sessions.end_everything(EndReason::Administrator);
    all.await.unwrap_err();
    for cookie in &cookies {
        assert_eq!(house.end_of(cookie).await, EndReason::Administrator);
    }
    house.store.fails(Fault::None);
}

#[tokio::test]
async fn who_signs_in_after_that_was_asked_stays() {
    let house = House::new().await;
    let before = house.login().await;
    house.clock.advance(SECOND);
    let all = house.sessions.end_everything(EndReason::Administrator);
    assert_eq!(all.await.unwrap().ended, 1);
    house.clock.advance(SECOND);
    let after = house.login().await;
    assert_eq!(house.end_of(&before).await, EndReason::Administrator);
    house.open(&after).await.unwrap();
}

#[tokio::test]
async fn what_is_owed_is_told_by_all_nodes_and_tries_by_the_one_at_work() {
    let store: Arc<dyn Store> = Arc::new(Memory::default());
    let ours = House::sealing(Arc::clone(&store), &[vec![1; 32]]).await;
    let same = ours.next(Arc::clone(&store), &[vec![1; 32]]);
    let strange = ours.next(store, &[vec![2; 32]]);
    let cookie = ours.login().await;
    ours.idp.revocations(Some((503, "{}")));
    ours.sessions
        .end(&cookie, EndReason::SignedOut)
        .await
        .unwrap();
    let here = ours.sessions.owed(10).await.unwrap();
    assert_eq!((here.awaited.len(), here.unreadable), (2, 0));
    for one in &here.awaited {
        let tries = one.tries.as_ref().unwrap();
        assert!(tries.count >= 1, "{one:?}");
        assert!(tries.trouble.is_some(), "{one:?}");
    }
    assert_eq!(ours.sessions.owed(1).await.unwrap().awaited.len(), 1);
    let there = same.sessions.owed(10).await.unwrap();
    assert_eq!((there.awaited.len(), there.unreadable), (2, 0));
    assert!(there.awaited.iter().all(|one| one.tries.is_none()));
    let there = strange.sessions.owed(10).await.unwrap();
    assert_eq!((there.awaited.len(), there.unreadable), (0, 2));
}
