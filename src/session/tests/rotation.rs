//! The encryption keys change while sessions live: a new one is put first, and later the old one goes.

use std::slice;
use std::sync::Arc;

use super::house::*;
use crate::seal::{Keyring, Purpose};
use crate::session::store::Store;
use crate::session::store::memory::Memory;
use crate::session::{EndReason, Error};
use crate::token::SessionCookie;

/// The store as the next process finds it.
type Legacy<'a> = &'a mut dyn FnMut() -> Arc<dyn Store>;

#[tokio::test]
async fn in_memory() {
    let memory: Arc<dyn Store> = Arc::new(Memory::default());
    keys_rotate(&mut || Arc::clone(&memory)).await;
}

#[tokio::test]
async fn on_disk() {
    let (_dir, path) = a_file();
    let mut processes = 0;
    keys_rotate(&mut || {
        let latest = path.with_extension(processes.to_string());
        processes += 1;
        let next = path.with_extension(processes.to_string());
        if latest.exists() {
            std::fs::copy(&latest, &next).unwrap();
        }
        disk(&next)
    })
    .await;
}

async fn opens_with(house: &House, id: &SessionCookie, key: &[u8]) -> bool {
    let row = house.store.inner_row(id).await.unwrap();
    let keys = Keyring::new(&[key.to_vec()]).unwrap();
    let opened = keys.open(Purpose::Session, id_hash(id).as_bytes(), &row.sealed);
    opened.is_ok()
}

async fn keys_rotate(store: Legacy<'_>) {
    let (old, new) = (vec![1; 32], vec![2; 32]);
    let before = House::sealing(store(), slice::from_ref(&old)).await;
    let idp = Arc::clone(&before.idp);
    let (busy, quiet, over) = (
        before.login().await,
        before.login().await,
        before.login().await,
    );
    idp.revocations(Some((503, "")));
    let sessions = &before.sessions;
    sessions.end(&over, EndReason::SignedOut).await.unwrap();
    assert_eq!(before.store.owed().await, 2);
    before.sessions.settle().await;

    let both = before.next(store(), &[new.clone(), old.clone()]);
    assert_eq!(both.open(&quiet).await.unwrap().generation, 0);
    assert_eq!(both.end_of(&over).await, EndReason::SignedOut);
    assert!(opens_with(&both, &busy, &old).await);
    both.clock.advance(TOKEN);
    assert_eq!(both.open(&busy).await.unwrap().generation, 1);
    both.calm().await;
    assert!(opens_with(&both, &busy, &new).await, "sealed anew");
    assert!(!opens_with(&both, &busy, &old).await);
    assert!(opens_with(&both, &quiet, &old).await, "not touched yet");
    both.sessions.claim_debts().await.unwrap();
    assert_eq!(both.sessions.debts.len(), 2);
    both.sessions.save_debts().await.unwrap();
    both.sessions.settle().await;

    let after = both.next(store(), &[new]);
    assert_eq!(after.open(&busy).await.unwrap().generation, 1);
    let refused = after.open(&quiet).await;
    assert!(matches!(refused, Err(Error::Unreadable)), "{refused:?}");
    idp.revocations(None);
    after.clock.advance(2 * MINUTE);
    after.sessions.claim_debts().await.unwrap();
    after.pay().await;
    assert!(
        idp.was_revoked("refresh-token-3-of-3"),
        "owed by all of them"
    );

    after.clock.advance(29 * MINUTE);
    after.sessions.sweep().await.unwrap();
    assert!(after.store.inner_row(&quiet).await.is_none(), "swept");
    assert_eq!(after.end_of(&busy).await, EndReason::Idle);
    assert_eq!(idp.reuses(), 0);
}

#[tokio::test]
async fn what_is_owed_under_a_key_that_is_gone_is_dropped_in_its_time() {
    let memory: Arc<dyn Store> = Arc::new(Memory::default());
    let before = House::sealing(Arc::clone(&memory), &[vec![1; 32]]).await;
    let id = before.login().await;
    before.idp.revocations(Some((503, "")));
    let sessions = &before.sessions;
    sessions.end(&id, EndReason::SignedOut).await.unwrap();
    sessions.settle().await;
    let after = before.next(memory, &[vec![2; 32]]);
    after.sessions.claim_debts().await.unwrap();
    assert_eq!(after.sessions.debts.len(), 0);
    assert_eq!(after.store.owed().await, 2, "the key might come back");
    after.clock.advance(11 * MINUTE);
    after.sessions.claim_debts().await.unwrap();
    assert_eq!(after.store.owed().await, 0);
}

/// A gateway in between with the wrong keys costs nothing: what it can't open it leaves as it is.
#[tokio::test]
async fn a_key_that_comes_back_opens_again() {
    let memory: Arc<dyn Store> = Arc::new(Memory::default());
    let (old, other) = (vec![1; 32], vec![3; 32]);
    let before = House::sealing(Arc::clone(&memory), slice::from_ref(&old)).await;
    let id = before.login().await;
    let mistaken = before.next(Arc::clone(&memory), &[other]);
    for _ in 0..3 {
        assert!(matches!(mistaken.open(&id).await, Err(Error::Unreadable)));
        mistaken.sessions.sweep().await.unwrap();
    }
    let after = before.next(memory, &[old]);
    assert_eq!(after.open(&id).await.unwrap().generation, 0);
}
