//! The session in the browser's cookie: memory goes first, a restart loses nothing, and the cookie tells nobody anything.

use std::pin::pin;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::FutureExt;
use serde_json::json;
use tokio::task::JoinSet;

use super::house::*;
use super::idp::*;
use crate::session::{Activity, EndReason, Error, Settings, Unbegun};
use crate::token::SessionCookie;

const KEY: u8 = 1;

fn keys(of: &[u8]) -> Vec<Vec<u8>> {
    of.iter().map(|byte| vec![*byte; 32]).collect()
}

/// What the browser holds after a response.
fn answered(house: &House, shown: SessionCookie) -> SessionCookie {
    let newer = house.sessions.newer_cookie(&shown);
    newer.unwrap_or(shown)
}

#[tokio::test]
async fn a_newer_cookie_goes_out_until_the_browser_shows_it() {
    let house = House::in_cookie().await;
    let first = house.login().await;
    assert!(house.sessions.newer_cookie(&first).is_none());
    house.clock.advance(TOKEN);
    house.open(&first).await.unwrap();
    // Responses that were lost on the way.
    for _ in 0..3 {
        assert!(house.sessions.newer_cookie(&first).is_some());
    }
    let second = house.sessions.newer_cookie(&first).unwrap();
    assert_ne!(first, second);
    assert!(house.sessions.newer_cookie(&second).is_none());
    assert_eq!(house.open(&second).await.unwrap().generation, 1);
}

#[tokio::test]
async fn a_cookie_is_set_anew_by_activity_only_now_and_then() {
    let house = House::in_cookie().await;
    house.idp.tokens_live(100_000);
    let first = house.login().await;
    house.clock.advance(59 * SECOND);
    house.open(&first).await.unwrap();
    assert!(house.sessions.newer_cookie(&first).is_none());
    house.clock.advance(2 * SECOND);
    house.watch(&first).await.unwrap();
    assert!(house.sessions.newer_cookie(&first).is_none(), "no activity");
    house.open(&first).await.unwrap();
    let second = house.sessions.newer_cookie(&first).unwrap();
    house.open(&second).await.unwrap();
    assert!(house.sessions.newer_cookie(&second).is_none());
    assert_eq!(house.idp.refreshes(), 0);
}

#[tokio::test]
async fn requests_under_way_with_an_older_cookie_are_served_and_replay_nothing() {
    let house = House::in_cookie().await;
    let first = house.login().await;
    for generation in 1..=5 {
        house.clock.advance(TOKEN);
        assert_eq!(house.open(&first).await.unwrap().generation, generation);
    }
    assert_eq!(house.idp.refreshes(), 5);
    assert_eq!(house.idp.reuses(), 0);
}

#[tokio::test]
async fn a_restart_with_the_same_key_keeps_the_session_by_a_swap() {
    let house = House::in_cookie().await;
    let cookie = house.login().await;
    house.clock.advance(TOKEN);
    house.open(&cookie).await.unwrap();
    let cookie = answered(&house, cookie);
    let before = house.sessions.standing(&cookie).await.unwrap();

    let next = house.forgetful(&keys(&[KEY]));
    let after = next.sessions.standing(&cookie).await.unwrap();
    assert_eq!(after.absolute_deadline, before.absolute_deadline);
    assert_eq!(after.idle_deadline, before.idle_deadline);
    assert_eq!(house.idp.refreshes(), 1, "looking at it swaps nothing");
    let live = next.open(&cookie).await.unwrap();
    assert_eq!((live.generation, &*live.subject), (2, "alice"));
    assert_eq!(live.claims["sid"], "sid-1");
    assert_eq!(live.claims["generation"], 3, "of the new ID token");
    let cookie = answered(&next, cookie);
    house.clock.advance(TOKEN);
    assert_eq!(next.open(&cookie).await.unwrap().generation, 3);
    assert_eq!((house.idp.refreshes(), house.idp.reuses()), (3, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_hundred_requests_after_a_restart_are_one_swap() {
    let house = House::in_cookie().await;
    let older = house.login().await;
    house.clock.advance(2 * MINUTE);
    house.open(&older).await.unwrap();
    let cookie = answered(&house, older.clone());
    assert_ne!(older, cookie);
    let next = house.forgetful(&keys(&[KEY]));
    let mut opening = JoinSet::new();
    for n in 0..200 {
        let sessions = next.sessions.clone();
        let cookie = if n % 2 == 0 { &older } else { &cookie };
        let cookie = cookie.clone();
        opening.spawn(async move { sessions.open(&cookie, Activity::Slides).await });
    }
    for live in opening.join_all().await {
        assert_eq!(live.unwrap().generation, 1);
    }
    assert_eq!((house.idp.refreshes(), house.idp.reuses()), (1, 0));
}

#[tokio::test]
async fn deadlines_hold_over_a_restart() {
    let house = House::in_cookie().await;
    let cookie = house.login().await;
    house.clock.advance(30 * MINUTE);
    let next = house.forgetful(&keys(&[KEY]));
    assert_eq!(next.end_of(&cookie).await, EndReason::Idle);
    next.pay().await;
    assert!(house.idp.living().is_empty(), "revoked all the same");
    assert_eq!(house.idp.refreshes(), 0);
}

#[tokio::test]
async fn a_spent_token_out_of_a_cookie_is_lost_in_flight() {
    let house = House::in_cookie().await;
    let cookie = house.login().await;
    house.clock.advance(TOKEN);
    // Swapped, and no response that said so ever came.
    house.open(&cookie).await.unwrap();
    let next = house.forgetful(&keys(&[KEY]));
    assert_eq!(next.end_of(&cookie).await, EndReason::LostInFlight);
    assert_eq!(next.end_of(&cookie).await, EndReason::LostInFlight);
    assert_eq!(house.idp.refreshes(), 2);
}

#[tokio::test]
async fn a_provider_that_is_down_at_a_restart_ends_nothing() {
    let house = House::in_cookie().await;
    let cookie = house.login().await;
    let next = house.forgetful(&keys(&[KEY]));
    house.idp.next([Script::Say(503, "{}")]);
    let refused = next.open(&cookie).await;
    assert!(matches!(refused, Err(Error::NotNow { .. })), "{refused:?}");
    house.clock.advance(5 * SECOND);
    assert_eq!(next.open(&cookie).await.unwrap().generation, 1);
    assert_eq!(house.idp.reuses(), 0);
}

#[tokio::test]
async fn a_sign_out_is_one_for_every_cookie_of_the_session() {
    let house = House::in_cookie().await;
    let first = house.login().await;
    house.clock.advance(TOKEN);
    house.open(&first).await.unwrap();
    let second = answered(&house, first.clone());
    let signed_out = EndReason::SignedOut;
    assert!(
        house
            .sessions
            .end(&second, signed_out)
            .await
            .unwrap()
            .is_some()
    );
    for cookie in [&first, &second] {
        assert_eq!(house.end_of(cookie).await, EndReason::SignedOut);
        assert!(house.sessions.newer_cookie(cookie).is_none());
    }
    assert!(house.idp.living().is_empty());
    // A restart forgets the end; what was stolen is worth what the provider gives for it.
    let next = house.forgetful(&keys(&[KEY]));
    assert_eq!(next.end_of(&second).await, EndReason::LostInFlight);
    assert!(house.idp.living().is_empty());
}

#[tokio::test]
async fn a_sign_out_needs_nothing_but_the_cookie() {
    let house = House::in_cookie().await;
    let cookie = house.login().await;
    let next = house.forgetful(&keys(&[KEY]));
    let ended = next.sessions.end(&cookie, EndReason::SignedOut).await;
    assert!(ended.unwrap().is_some());
    assert!(house.idp.was_revoked("refresh-token-1-of-1"));
    assert!(house.idp.living().is_empty());
    assert_eq!(next.end_of(&cookie).await, EndReason::SignedOut);
}

#[tokio::test]
async fn a_login_ends_the_session_whose_cookie_it_replaces() {
    let house = House::in_cookie().await;
    let old = house.login_as(Some("sid-1"), None).await;
    let next = house.forgetful(&keys(&[KEY]));
    let new = next.login_as(Some("sid-2"), Some(old.clone())).await;
    assert_eq!(next.end_of(&old).await, EndReason::Replaced);
    next.pay().await;
    assert!(house.idp.was_revoked("refresh-token-1-of-1"));
    assert_eq!(next.open(&new).await.unwrap().generation, 0);
}

#[tokio::test]
async fn what_is_tampered_with_cut_or_foreign_is_no_session() {
    let house = House::in_cookie().await;
    let cookie = house.login().await;
    let next = house.forgetful(&keys(&[KEY]));
    let text = cookie.encode();
    let mut wrong = Vec::new();
    for at in (2..text.len()).step_by(7) {
        let other = if text.as_bytes()[at] == b'A' {
            "B"
        } else {
            "A"
        };
        wrong.push(format!("{}{other}{}", &text[..at], &text[at + 1..]));
        wrong.push(text[..at].to_owned());
    }
    wrong.push(format!("{text}AAAA"));
    wrong.push("s.".to_owned());
    wrong.push(text[2..].to_owned());
    let foreign = house.forgetful(&keys(&[9]));
    wrong.push(foreign.login().await.encode());
    wrong.push(stranger().encode());
    // Sealed by us, for something else.
    let other = crate::seal::Keyring::new(&keys(&[KEY])).unwrap();
    let other = other.seal(crate::seal::Purpose::Session, b"", b"{}");
    wrong.push(format!("s.{}", URL_SAFE_NO_PAD.encode(other)));
    for text in wrong {
        let Some(cookie) = SessionCookie::parse(&text) else {
            continue;
        };
        let refused = next.open(&cookie).await;
        assert!(
            matches!(refused, Err(Error::Unknown)),
            "{text}: {refused:?}"
        );
        assert!(next.sessions.newer_cookie(&cookie).is_none());
        assert!(next.sessions.hash(&cookie).is_none());
    }
    assert!(house.idp.journal().is_empty());
    assert_eq!(next.open(&cookie).await.unwrap().generation, 1);
}

#[tokio::test]
async fn each_store_takes_its_own_kind_of_cookie_only() {
    let in_cookie = House::in_cookie().await;
    let in_memory = House::new().await;
    let (sealed, id) = (in_cookie.login().await, in_memory.login().await);
    assert!(matches!(sealed, SessionCookie::Sealed(_)));
    assert!(matches!(in_cookie.open(&id).await, Err(Error::Unknown)));
    assert!(matches!(in_memory.open(&sealed).await, Err(Error::Unknown)));
    assert!(in_memory.sessions.newer_cookie(&id).is_none());
}

#[tokio::test]
async fn keys_rotate() {
    let house = House::in_cookie().await;
    let cookie = house.login().await;
    let rotated = house.forgetful(&keys(&[2, KEY]));
    rotated.open(&cookie).await.unwrap();
    let cookie = answered(&rotated, cookie);
    let later = house.forgetful(&keys(&[2]));
    assert_eq!(later.open(&cookie).await.unwrap().generation, 2);
    assert_eq!(house.idp.reuses(), 0);
}

#[tokio::test]
async fn nothing_in_the_cookie_can_be_read() {
    let house = House::in_cookie().await;
    let mut cookie = house.login().await;
    for _ in 0..20 {
        house.clock.advance(TOKEN);
        house.open(&cookie).await.unwrap();
        cookie = answered(&house, cookie);
        let text = cookie.encode();
        assert!(text.len() < 3000);
        let bytes = URL_SAFE_NO_PAD.decode(&text[2..]).unwrap();
        for word in [
            "refresh-token",
            "access-token",
            "alice",
            "sid-1",
            "main",
            "eyJhbGci",
        ] {
            assert!(!text.contains(word), "{word}");
            let found = bytes.windows(word.len()).any(|w| w == word.as_bytes());
            assert!(!found, "{word}");
        }
        assert_eq!(format!("{cookie:?}"), "SessionCookie(..)");
    }
}

#[tokio::test]
async fn a_session_too_long_for_its_cookie_does_not_begin_and_its_tokens_are_given_back() {
    let house = House::with(Settings {
        cookie_room: Some(200),
        ..settings()
    })
    .await;
    let login = house.a_login(house.idp.login(None), None, None);
    let refused = house.sessions.begin(login).await;
    assert!(
        matches!(refused, Err(Unbegun::TooLong { room: 200, .. })),
        "{refused:?}"
    );
    house.pay().await;
    assert!(house.idp.was_revoked("refresh-token-1-of-1"));
    assert!(house.idp.living().is_empty());
}

#[tokio::test]
async fn a_swap_that_makes_it_too_long_loses_nothing_here() {
    let house = House::in_cookie().await;
    let cookie = house.login().await;
    let long = json!({"refresh_token": "x".repeat(4000)});
    house.idp.next([Script::Change(long)]);
    house.clock.advance(TOKEN);
    assert_eq!(house.open(&cookie).await.unwrap().generation, 1);
    assert!(house.sessions.newer_cookie(&cookie).is_none());
    assert_eq!(house.open(&cookie).await.unwrap().generation, 1);
}

#[tokio::test]
async fn a_node_that_the_browser_comes_back_to_does_not_use_its_spent_token() {
    let here = House::in_cookie().await;
    let cookie = here.login().await;
    here.open(&cookie).await.unwrap();
    let there = here.forgetful(&keys(&[KEY]));
    assert_eq!(there.open(&cookie).await.unwrap().generation, 1);
    let cookie = answered(&there, cookie);
    here.clock.advance(TOKEN);
    assert_eq!(there.open(&cookie).await.unwrap().generation, 2);
    let cookie = answered(&there, cookie);
    assert_eq!(here.open(&cookie).await.unwrap().generation, 3);
    let cookie = answered(&here, cookie);
    here.clock.advance(TOKEN);
    assert_eq!(here.open(&cookie).await.unwrap().generation, 4);
    assert_eq!((here.idp.refreshes(), here.idp.reuses()), (4, 0));
}

#[tokio::test]
async fn an_answer_that_is_not_checked_yet_is_in_the_cookie_already() {
    let house = House::in_cookie().await;
    let cookie = house.login().await;
    house.idp.keys_are_down(true);
    house.idp.next([Script::Delay(100 * SECOND / 1000)]);
    house.clock.advance(TOKEN - 10 * SECOND);
    house.open(&cookie).await.unwrap();
    // What activity alone brings comes first.
    let cookie = answered(&house, cookie);
    eventually(|| house.sessions.newer_cookie(&cookie).is_some()).await;
    let newer = answered(&house, cookie);
    house.idp.keys_are_down(false);
    let next = house.forgetful(&keys(&[KEY]));
    assert_eq!(next.open(&newer).await.unwrap().generation, 2);
    assert_eq!(house.idp.reuses(), 0);
    house.calm().await;
}

#[tokio::test]
async fn a_node_that_is_behind_does_not_swap_in_the_background_either() {
    let here = House::in_cookie().await;
    let cookie = here.login().await;
    let there = here.forgetful(&keys(&[KEY]));
    there.open(&cookie).await.unwrap();
    let cookie = answered(&there, cookie);
    // The access token here is good for ten seconds more.
    here.clock.advance(TOKEN - 10 * SECOND);
    assert_eq!(here.open(&cookie).await.unwrap().generation, 2);
    here.calm().await;
    assert_eq!((here.idp.refreshes(), here.idp.reuses()), (2, 0));
}

#[tokio::test]
async fn a_session_that_has_run_out_gets_no_newer_cookie() {
    let house = House::in_cookie().await;
    let cookie = house.login().await;
    house.clock.advance(2 * MINUTE);
    house.open(&cookie).await.unwrap();
    assert!(house.sessions.newer_cookie(&cookie).is_some());
    house.clock.advance(30 * MINUTE);
    assert!(house.sessions.newer_cookie(&cookie).is_none());
}

#[tokio::test]
async fn a_request_that_races_a_sign_out_after_a_restart_brings_nothing_back() {
    let house = House::in_cookie().await;
    let cookie = house.login().await;
    let next = house.forgetful(&keys(&[KEY]));
    let one_at_a_time = next.sessions.winning_back.lock().await;
    let mut ending = pin!(next.sessions.end(&cookie, EndReason::SignedOut));
    assert!(ending.as_mut().now_or_never().is_none());
    let mut opening = pin!(next.open(&cookie));
    assert!(opening.as_mut().now_or_never().is_none());
    drop(one_at_a_time);
    assert!(ending.await.unwrap().is_some());
    let refused = opening.await;
    assert!(
        matches!(refused, Err(Error::Ended(EndReason::SignedOut))),
        "{refused:?}"
    );
    assert!(next.store.inner_row(&cookie).await.unwrap().ended);
    assert!(house.idp.living().is_empty());
}
