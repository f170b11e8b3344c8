//! What a process leaves to the next: everything that was answered, and nothing that opens by itself.

use std::fs;

use super::house::*;
use super::idp::*;
use crate::session::{EndReason, Error};

#[tokio::test]
async fn sessions_ends_and_debts_survive_a_kill() {
    let (_dir, path) = a_file();
    let house = House::on_disk(&path).await;
    let (kept, ended) = (house.login().await, house.login().await);
    house.clock.advance(TOKEN);
    house.open(&kept).await.unwrap();
    house.idp.revocations(Some((503, "")));
    house
        .sessions
        .end(&ended, EndReason::SignedOut)
        .await
        .unwrap();

    let next = house.restarted(&killed(&path));
    assert_eq!(next.open(&kept).await.unwrap().generation, 1);
    assert_eq!(next.end_of(&ended).await, EndReason::SignedOut);
    house.idp.revocations(None);
    next.sessions.claim_debts().await.unwrap();
    next.pay().await;
    assert!(house.idp.was_revoked("refresh-token-2-of-2"));
    assert_eq!(house.idp.living().len(), 1);
    house.clock.advance(TOKEN);
    assert_eq!(next.open(&kept).await.unwrap().generation, 2);
    assert_eq!(house.idp.reuses(), 0);
}

#[tokio::test]
async fn a_kill_in_a_swap_is_known_and_the_token_is_not_sent_again() {
    let (_dir, path) = a_file();
    let house = House::on_disk(&path).await;
    let id = house.login().await;
    house.idp.next([Script::Hold]);
    house.clock.advance(TOKEN - 10 * SECOND);
    house.open(&id).await.unwrap();
    eventually(|| house.idp.refreshes() == 1).await;

    let next = house.restarted(&killed(&path));
    assert_eq!(
        next.open(&id).await.unwrap().generation,
        0,
        "the old token goes on"
    );
    next.calm().await;
    assert_eq!(house.idp.refreshes(), 1);
    house.clock.advance(10 * SECOND);
    let page = next.navigate(&id).await;
    assert!(matches!(page, Err(Error::InDoubt { .. })), "{page:?}");
    assert_eq!(house.idp.refreshes(), 1);
    let fetch = next.open(&id).await;
    let only_a_page_load_helps = matches!(fetch, Err(Error::InDoubt { retry_after: None }));
    assert!(only_a_page_load_helps, "{fetch:?}");
    assert_eq!((house.idp.refreshes(), house.idp.reuses()), (1, 0));
    house.idp.release(1);
}

#[tokio::test]
async fn a_kill_between_the_save_and_the_check_loses_nothing() {
    let (_dir, path) = a_file();
    let house = House::on_disk(&path).await;
    let id = house.login().await;
    house.idp.keys_are_down(true);
    house
        .idp
        .next([Script::HoldIdToken(serde_json::json!({"sub": "mallory"}))]);
    house.clock.advance(TOKEN - 10 * SECOND);
    house.open(&id).await.unwrap();
    let asked = || house.idp.refreshes() == 1;
    eventually(asked).await;
    let marked = house.store.inner_row(&id).await.unwrap().sealed;
    let saved = async || house.store.inner_row(&id).await.unwrap().sealed != marked;
    house.idp.release(1);
    eventually_async(saved).await;
    let left = killed(&path);

    house.idp.keys_are_down(false);
    let next = house.restarted(&left);
    assert_eq!(
        next.end_of(&id).await,
        EndReason::BadAnswer,
        "what was never checked is not served"
    );
    assert_eq!(house.idp.refreshes(), 1);
}

#[tokio::test]
async fn an_orderly_restart_knows_the_last_activity() {
    let (_dir, path) = a_file();
    let house = House::on_disk(&path).await;
    house.idp.tokens_live(100_000);
    let id = house.login().await;
    house.clock.advance(30 * SECOND);
    house.open(&id).await.unwrap();
    let before = house.sessions.standing(&id).await.unwrap().idle_deadline;
    house.sessions.settle().await;
    let next = house.restarted(&killed(&path));
    let after = next.sessions.standing(&id).await.unwrap().idle_deadline;
    assert_eq!(before, after);
}

#[tokio::test]
async fn after_a_kill_idle_comes_early_rather_than_late() {
    let (_dir, path) = a_file();
    let house = House::on_disk(&path).await;
    house.idp.tokens_live(100_000);
    let id = house.login().await;
    house.clock.advance(30 * SECOND);
    house.open(&id).await.unwrap();
    let before = house.sessions.standing(&id).await.unwrap().idle_deadline;
    let next = house.restarted(&killed(&path));
    let after = next.sessions.standing(&id).await.unwrap().idle_deadline;
    assert!(after <= before && before.since(after) <= MINUTE);
}

#[tokio::test]
async fn a_session_that_idled_out_while_nothing_ran_has_ended() {
    let (_dir, path) = a_file();
    let house = House::on_disk(&path).await;
    let (one, two) = (house.login().await, house.login().await);
    let next = house.restarted(&killed(&path));
    house.clock.advance(30 * MINUTE);
    assert_eq!(next.end_of(&one).await, EndReason::Idle);
    next.sweep().await;
    assert_eq!(next.end_of(&two).await, EndReason::Idle);
    next.pay().await;
    assert!(house.idp.living().is_empty());
}

#[tokio::test]
async fn the_file_holds_no_token_and_no_cookie() {
    let (_dir, path) = a_file();
    let house = House::on_disk(&path).await;
    house.idp.revocations(Some((503, "")));
    let mut secrets = Vec::new();
    for _ in 0..20 {
        let id = house.login().await;
        secrets.push(id.encode().into_bytes());
        let raw = base64_of(&id);
        secrets.push(raw);
        house.clock.advance(TOKEN);
        let live = house.open(&id).await.unwrap();
        secrets.push(live.access_token.expose().as_bytes().to_vec());
        house
            .sessions
            .end(&house.login().await, EndReason::SignedOut)
            .await
            .unwrap();
    }
    house.calm().await;
    for word in [
        "refresh-token-",
        "access-token-",
        "alice",
        "sid-1",
        "eyJ",
        "a browser",
    ] {
        secrets.push(word.as_bytes().to_vec());
    }
    let file = fs::read(&path).unwrap();
    assert!(file.len() > 20_000);
    for secret in secrets {
        let found = file.windows(secret.len()).any(|bytes| bytes == secret);
        assert!(!found, "{:?}", String::from_utf8_lossy(&secret));
    }
}

fn base64_of(id: &crate::token::SessionCookie) -> Vec<u8> {
    use base64::Engine;
    let engine = base64::engine::general_purpose::URL_SAFE_NO_PAD;
    engine.decode(id.encode()).unwrap()
}

#[tokio::test]
async fn an_old_key_still_opens_and_a_lost_one_opens_nothing() {
    let (_dir, path) = a_file();
    let house = House::on_disk(&path).await;
    let id = house.login().await;
    let left = killed(&path);
    let rotated = house.restarted_with(&left, &[vec![2; 32], vec![1; 32]]);
    rotated.open(&id).await.unwrap();
    drop(rotated);
    let other = path.with_extension("other");
    fs::copy(&path, &other).unwrap();
    let lost = house.restarted_with(&other, &[vec![3; 32]]);
    assert!(matches!(lost.open(&id).await, Err(Error::Unreadable)));
}

#[tokio::test]
async fn a_record_put_under_another_key_does_not_open() {
    let house = House::new().await;
    let (mine, theirs) = (house.login().await, stranger());
    let row = house.store.inner_row(&mine).await.unwrap();
    house.store.put(&theirs, row).await;
    assert!(matches!(house.open(&theirs).await, Err(Error::Unreadable)));
}
