//! Access tokens that are refused before their end, and sessions that end together.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::house::*;
use super::idp::*;
use crate::clock::Timestamp;
use crate::session::store::memory::Memory;
use crate::session::{EndReason, Error, Login, Revocation, Settings, Whose};
use crate::token::{AccessToken, SessionCookie};
use crate::verify::Criterion;

/// Whether this process refuses a token, whoever shows it.
fn refuses(house: &House, token: &str) -> bool {
    let register = house.sessions.verifier.refused();
    let now = house.clock.now();
    register.refuses(&Criterion::token(token), Timestamp::default(), now)
}

/// Whether it refuses what alice was given then.
fn refuses_what_alice_got(house: &House, at: Timestamp) -> bool {
    let register = house.sessions.verifier.refused();
    let alice = Criterion::subject("main", "alice");
    register.refuses(&alice, at, house.clock.now())
}

fn alice() -> Whose {
    Whose::User {
        idp: "main".into(),
        subject: "alice".into(),
    }
}

fn at_the_provider(sid: &str) -> Whose {
    Whose::ProviderSession {
        idp: "main".into(),
        sid: sid.into(),
        subject: Some("alice".into()),
    }
}

async fn bobs(house: &House) -> SessionCookie {
    let mut login = house.a_login(house.idp.login(Some("sid-b")), Some("sid-b"), None);
    login.id_claims.subject = "bob".into();
    house.sessions.begin(login).await.unwrap()
}

async fn is_over(house: &House, id: &SessionCookie) -> bool {
    house.store.inner_row(id).await.unwrap().ended
}

#[tokio::test]
async fn a_sign_out_refuses_the_access_token_and_the_earlier_ones_that_live() {
    let house = House::new().await;
    let id = house.login().await;
    house.clock.advance(TOKEN - 30 * SECOND);
    house.open(&id).await.unwrap();
    house.calm().await;
    assert_eq!(house.open(&id).await.unwrap().generation, 1);
    let both = ["access-token-1-of-1", "access-token-2-of-1"];
    assert!(!both.iter().any(|token| refuses(&house, token)));
    house.sessions.end(&id, EndReason::SignedOut).await.unwrap();
    assert!(both.iter().all(|token| refuses(&house, token)));
    assert!(house.store.writes().contains(&"refuse"));
    // As long as the greatest leeway could let it pass, and not for ever.
    house.clock.advance(30 * SECOND + 5 * MINUTE);
    assert!(both.iter().all(|token| refuses(&house, token)));
    house.clock.advance(2 * TOKEN);
    assert!(!both.iter().any(|token| refuses(&house, token)));
}

/// Within `clock_skew` a token passes after its end.
#[tokio::test]
async fn a_token_that_has_just_ended_is_refused_too() {
    let house = House::new().await;
    let id = house.login().await;
    house.clock.advance(TOKEN + SECOND);
    house.open(&id).await.unwrap();
    house.clock.advance(TOKEN + SECOND);
    house.sessions.end(&id, EndReason::SignedOut).await.unwrap();
    assert!(refuses(&house, "access-token-1-of-1"));
    assert!(refuses(&house, "access-token-2-of-1"));
}

#[tokio::test]
async fn a_token_that_outlives_what_the_provider_stated_is_refused_until_its_own_end() {
    let house = House::new().await;
    let exp = (house.clock.now() + 60 * MINUTE).as_secs();
    let claims = URL_SAFE_NO_PAD.encode(format!(r#"{{"sub":"alice","exp":{exp}}}"#));
    let token = format!("header.{claims}.signature");
    let mut grant = house.idp.login(None);
    grant.access_token = AccessToken::new(token.clone());
    let login: Login = house.a_login(grant, None, None);
    let id = house.sessions.begin(login).await.unwrap();
    house.open(&id).await.unwrap();
    // It is one of the earlier ones by then.
    house.clock.advance(TOKEN);
    assert_eq!(house.open(&id).await.unwrap().generation, 1);
    house.sessions.end(&id, EndReason::SignedOut).await.unwrap();
    house.clock.advance(54 * MINUTE);
    assert!(refuses(&house, &token));
}

#[tokio::test]
async fn what_a_successor_may_use_is_not_refused() {
    let house = House::new().await;
    let id = house.login().await;
    house.login_as(Some("sid-1"), Some(id.clone())).await;
    assert_eq!(house.end_of(&id).await, EndReason::Replaced);
    assert!(!refuses(&house, "access-token-1-of-1"));
    let other = house.login_as(Some("sid-2"), None).await;
    house.login_as(Some("sid-3"), Some(other)).await;
    assert!(refuses(&house, "access-token-3-of-3"));
}

#[tokio::test]
async fn all_of_a_user_end_and_nobody_elses() {
    let house = House::new().await;
    let theirs = [
        house.login().await,
        house.login_as(Some("sid-2"), None).await,
    ];
    let bob = bobs(&house).await;
    let before = house.clock.now();
    let (whose, reason) = (alice(), EndReason::Administrator);
    let ended = house.sessions.end_all(whose, reason, before).await;
    assert_eq!(ended.unwrap(), 2);
    for id in &theirs {
        assert!(is_over(&house, id).await, "durable when it returns");
        assert_eq!(house.end_of(id).await, EndReason::Administrator);
    }
    house.open(&bob).await.unwrap();
    assert!(refuses_what_alice_got(&house, before));
    assert!(!refuses_what_alice_got(&house, before + SECOND));
    house.pay().await;
    assert!(house.idp.was_revoked("refresh-token-1-of-1"));
    assert!(house.idp.was_revoked("refresh-token-2-of-2"));
    // Whoever signs in afterwards is not meant.
    house.clock.advance(SECOND);
    let anew = house.login().await;
    house.clock.advance(TOKEN);
    house.open(&anew).await.unwrap();
    house.clock.advance(settings().refuse_for);
    assert!(!refuses_what_alice_got(&house, before));
}

#[tokio::test]
async fn all_of_a_session_at_the_provider_end_and_no_other_of_that_user() {
    let house = House::new().await;
    let one = house.login().await;
    let two = house.login_as(Some("sid-2"), None).await;
    let now = house.clock.now();
    let (whose, reason) = (at_the_provider("sid-1"), EndReason::BackChannel);
    assert_eq!(house.sessions.end_all(whose, reason, now).await.unwrap(), 1);
    assert_eq!(house.end_of(&one).await, EndReason::BackChannel);
    house.open(&two).await.unwrap();
    assert!(!refuses_what_alice_got(&house, now));
}

#[tokio::test]
async fn a_session_of_which_nobody_said_whose_it_is_there_ends_with_any_of_its_user() {
    let house = House::new().await;
    let unknown = house.login_as(None, None).await;
    let other = house.login_as(Some("sid-2"), None).await;
    let bob = bobs(&house).await;
    let now = house.clock.now();
    let (whose, reason) = (at_the_provider("sid-1"), EndReason::BackChannel);
    assert_eq!(house.sessions.end_all(whose, reason, now).await.unwrap(), 1);
    assert_eq!(house.end_of(&unknown).await, EndReason::BackChannel);
    house.open(&other).await.unwrap();
    house.open(&bob).await.unwrap();
}

#[tokio::test]
async fn what_was_asked_for_before_an_end_of_all_and_came_after_it_ends_too() {
    let house = House::new().await;
    let in_flight = || house.a_login(house.idp.login(Some("sid-1")), Some("sid-1"), None);
    for everything in [false, true] {
        let login = in_flight();
        house.clock.advance(SECOND);
        let now = house.clock.now();
        if everything {
            let ended = house.sessions.end_everything(EndReason::Administrator);
            assert_eq!(ended.await.unwrap().ended, 0);
        } else {
            let ended = house
                .sessions
                .end_all(alice(), EndReason::Administrator, now);
            assert_eq!(ended.await.unwrap(), 0);
        }
        house.clock.advance(SECOND);
        let id = house.sessions.begin(login).await.unwrap();
        assert_eq!(house.end_of(&id).await, EndReason::Administrator);
        let after = house.sessions.begin(in_flight()).await.unwrap();
        house.open(&after).await.unwrap();
        house
            .sessions
            .end(&after, EndReason::SignedOut)
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn with_no_time_to_try_again_a_revocation_is_tried_once_all_the_same() {
    let house = House::with(Settings {
        revoke_retry_for: Duration::ZERO,
        ..settings()
    })
    .await;
    let id = house.login().await;
    let ended = house.sessions.end(&id, EndReason::SignedOut).await.unwrap();
    assert_eq!(ended.unwrap().refresh_token, Revocation::Confirmed);
    assert!(house.idp.was_revoked("refresh-token-1-of-1"));
}

#[tokio::test]
async fn what_a_browser_says_of_the_provider_refuses_and_revokes_nothing() {
    let house = House::new().await;
    let id = house.login().await;
    let whose = at_the_provider("sid-1");
    assert_eq!(house.sessions.end_unproven(whose).await.unwrap(), 1);
    assert_eq!(house.end_of(&id).await, EndReason::FrontChannel);
    assert!(house.sessions.verifier.refused().is_empty());
    house.pay().await;
    assert!(house.idp.journal().is_empty());
}

/// One that began before, and was not in the store yet when the others were looked for.
#[tokio::test]
async fn a_login_that_races_it_is_ended() {
    let house = House::new().await;
    let (whose, until) = (alice(), house.clock.now() + SECOND);
    let reason = EndReason::Administrator;
    house.sessions.end_all(whose, reason, until).await.unwrap();
    let id = house.login().await;
    assert!(is_over(&house, &id).await);
    house.pay().await;
    assert!(house.idp.was_revoked("refresh-token-1-of-1"));
    house.clock.advance(2 * SECOND);
    let later = house.login().await;
    house.open(&later).await.unwrap();
}

/// Two processes over one store that tell each other nothing: one ends all, and the other learns of it when a session of
/// that time is shown to it, or has been swapped.
#[tokio::test]
async fn a_session_that_was_missed_ends_when_it_is_shown_or_swapped() {
    let store = Arc::new(Memory::default());
    let house = House::over(settings(), store).await;
    let (shown, swapped) = (house.login().await, house.login().await);
    let register = house.sessions.verifier.refused();
    house.open(&swapped).await.unwrap();
    house.clock.advance(TOKEN - 10 * SECOND);
    house.idp.next([Script::Hold]);
    house.open(&swapped).await.unwrap();
    eventually(|| house.idp.refreshes() == 1).await;
    let now = house.clock.now();
    let refusal = crate::verify::Refusal {
        criterion: Criterion::subject("main", "alice"),
        issued_by: now,
        until: now + 60 * MINUTE,
    };
    register.add(&[refusal], now).unwrap();
    house.clock.advance(SECOND);
    house.idp.release(1);
    house.calm().await;
    assert!(is_over(&house, &swapped).await, "its new token came later");
    assert!(refuses(&house, "access-token-3-of-2"));
    house.clock.advance(TOKEN);
    let ended = house.open(&shown).await;
    assert!(matches!(ended, Err(Error::Ended(EndReason::Administrator))));
    assert!(is_over(&house, &shown).await);
}

#[tokio::test]
async fn a_cookie_of_before_does_not_win_back_what_was_ended() {
    let house = House::in_cookie().await;
    let id = house.login().await;
    let next = house.forgetful(&[vec![1; 32]]);
    let now = house.clock.now();
    let whose = at_the_provider("sid-1");
    let ended = next.sessions.end_all(whose, EndReason::BackChannel, now);
    assert_eq!(ended.await.unwrap(), 0, "it has been forgotten");
    assert_eq!(next.end_of(&id).await, EndReason::BackChannel);
    assert_eq!(next.idp.refreshes(), 0);
    next.pay().await;
    assert!(next.idp.was_revoked("refresh-token-1-of-1"));
}

/// What is in memory ends at once, and the rest when the store is back; whoever signs in meanwhile is not meant.
#[tokio::test]
async fn without_the_store_it_is_done_as_far_as_can_be_and_then_wholly() {
    let store = Arc::new(Memory::default());
    let elsewhere = House::over(settings(), Arc::clone(&store) as Arc<_>).await;
    let (known, unknown) = (elsewhere.login().await, elsewhere.login().await);
    let house = elsewhere.next(store, &[vec![1; 32]]);
    house.open(&known).await.unwrap();
    house.store.fails(Fault::Away);
    let (now, reason) = (house.clock.now(), EndReason::Administrator);
    let ended = house.sessions.end_all(alice(), reason, now).await;
    assert!(ended.is_err());
    assert_eq!(house.end_of(&known).await, EndReason::Administrator);
    assert!(refuses_what_alice_got(&house, now), "a bearer of theirs");
    assert!(refuses(&house, "access-token-1-of-1"));
    assert!(!is_over(&elsewhere, &known).await && !is_over(&elsewhere, &unknown).await);
    house.clock.advance(10 * SECOND);
    let meanwhile = elsewhere.login().await;
    house.store.fails(Fault::None);
    eventually_async(async || {
        is_over(&elsewhere, &known).await && is_over(&elsewhere, &unknown).await
    })
    .await;
    house.calm().await;
    assert!(!is_over(&elsewhere, &meanwhile).await);
    let refused = house
        .store
        .writes()
        .iter()
        .filter(|w| **w == "refuse")
        .count();
    assert!(refused >= 3, "what could not be saved was tried again");
}

#[tokio::test]
async fn one_that_is_in_memory_ends_though_the_store_is_away() {
    let house = House::new().await;
    let id = house.login().await;
    house.store.fails(Fault::Away);
    let (hash, reason) = (id_hash(&id), EndReason::Dismissed);
    assert!(house.sessions.end_one(hash, reason).await.is_err());
    assert_eq!(house.end_of(&id).await, EndReason::Dismissed);
    assert!(
        house.sessions.end_one(hash, reason).await.is_err(),
        "nor now"
    );
    house.store.fails(Fault::None);
    assert!(
        house
            .sessions
            .end_one(hash, reason)
            .await
            .unwrap()
            .is_none()
    );
    assert!(
        is_over(&house, &id).await,
        "who is answered knows that it is"
    );
}

/// A tombstone that could not be saved is no end for the other nodes.
#[tokio::test]
async fn it_says_so_where_an_end_could_not_be_saved() {
    let house = House::new().await;
    let id = house.login().await;
    house.store.fails(Fault::Ends);
    let (now, reason) = (house.clock.now(), EndReason::Administrator);
    assert!(house.sessions.end_all(alice(), reason, now).await.is_err());
    assert_eq!(house.end_of(&id).await, EndReason::Administrator);
    house.store.fails(Fault::None);
    eventually_async(async || is_over(&house, &id).await).await;
}

#[tokio::test]
async fn a_session_under_another_key_holds_up_nobody() {
    let store = Arc::new(Memory::default());
    let ours = House::over(settings(), Arc::clone(&store) as Arc<_>).await;
    let theirs = ours.next(Arc::clone(&store) as Arc<_>, &[vec![2; 32], vec![1; 32]]);
    let (readable, unreadable) = (ours.login().await, theirs.login().await);
    let (now, reason) = (ours.clock.now(), EndReason::Administrator);
    let ended = ours.sessions.end_all(alice(), reason, now).await;
    assert_eq!(ended.unwrap(), 1);
    assert!(is_over(&ours, &readable).await);
    assert!(!is_over(&ours, &unreadable).await);
    // The node that has the key hears of it.
    let refusals = ours.sessions.verifier.refused().all(now);
    theirs
        .sessions
        .verifier
        .refused()
        .add(&refusals, now)
        .unwrap();
    theirs.clock.advance(TOKEN);
    assert_eq!(theirs.end_of(&unreadable).await, EndReason::Administrator);
}

/// What is owed and refused at each end, while the access token lives.
struct Row {
    reason: EndReason,
    refresh_token: bool,
    access_token: bool,
}

const fn row(reason: EndReason, refresh_token: bool, access_token: bool) -> Row {
    Row {
        reason,
        refresh_token,
        access_token,
    }
}

const TABLE: [Row; 14] = [
    row(EndReason::SignedOut, true, true),
    row(EndReason::Replaced, true, true),
    row(EndReason::Displaced, true, true),
    row(EndReason::Dismissed, true, true),
    row(EndReason::Administrator, true, true),
    row(EndReason::BackChannel, true, true),
    // Anybody can say that.
    row(EndReason::FrontChannel, false, false),
    row(EndReason::Idle, true, true),
    row(EndReason::Absolute, true, true),
    // The provider knows already.
    row(EndReason::Refused, false, true),
    row(EndReason::LostInFlight, false, true),
    row(EndReason::BadAnswer, true, true),
    // There is none any more.
    row(EndReason::Expired, false, true),
    row(EndReason::Forgotten, true, true),
];

fn short(idle: Duration, absolute: Duration) -> Settings {
    Settings {
        idle_timeout: idle,
        absolute_timeout: absolute,
        ..settings()
    }
}

#[tokio::test]
async fn every_end_revokes_what_may_still_be_good_and_refuses_the_access_token() {
    for Row {
        reason,
        refresh_token,
        access_token,
    } in TABLE
    {
        let house = House::new().await;
        let id = house.login().await;
        house.open(&id).await.unwrap();
        let shown = house.sessions.shown(&id).unwrap();
        let entry = house.sessions.entry(shown).await.unwrap();
        let ended = house.sessions.end_durably(&entry, reason).await;
        assert!(ended.unwrap(), "{reason:?}");
        assert_eq!(
            refuses(&house, "access-token-1-of-1"),
            access_token,
            "{reason:?}"
        );
        house.pay().await;
        let revoked = ["refresh-token-1-of-1", "access-token-1-of-1"]
            .map(|token| house.idp.was_revoked(token));
        assert_eq!(revoked, [refresh_token, access_token], "{reason:?}");
        assert_eq!(house.idp.living().is_empty(), refresh_token, "{reason:?}");
    }
}

/// Nobody asks for it any more: the sweep finds it, also on a process that has never seen it.
#[tokio::test]
async fn the_sweep_revokes_and_refuses_what_nobody_asks_for() {
    for (settings, later, reason) in [
        (
            short(30 * MINUTE, 90 * MINUTE),
            31 * MINUTE,
            EndReason::Idle,
        ),
        (
            short(30 * MINUTE, 20 * MINUTE),
            21 * MINUTE,
            EndReason::Absolute,
        ),
    ] {
        for seen in [true, false] {
            let store = Arc::new(Memory::default());
            let house = House::over(settings.clone(), Arc::clone(&store) as Arc<_>).await;
            house.idp.tokens_live(7200);
            let id = house.login().await;
            let sweeper = if seen {
                &house
            } else {
                &house.next(store, &[vec![1; 32]])
            };
            house.clock.advance(later);
            sweeper.sweep().await;
            assert!(is_over(sweeper, &id).await);
            assert!(refuses(sweeper, "access-token-1-of-1"), "{reason:?}");
            sweeper.pay().await;
            assert!(house.idp.was_revoked("refresh-token-1-of-1"), "{reason:?}");
            assert!(house.idp.was_revoked("access-token-1-of-1"), "{reason:?}");
            assert!(house.idp.living().is_empty());
            if seen {
                assert_eq!(house.end_of(&id).await, reason);
            }
        }
    }
}

/// A swap that comes to nothing ends the session: its tokens do not live on.
#[tokio::test]
async fn a_failed_swap_leaves_nothing_behind() {
    for (script, reason, refresh_token) in [
        (
            Script::Say(400, r#"{"error":"invalid_grant"}"#),
            EndReason::Refused,
            false,
        ),
        (Script::ForgedIdToken, EndReason::BadAnswer, true),
        (
            Script::IdToken(serde_json::json!({"sub": "mallory"})),
            EndReason::BadAnswer,
            true,
        ),
    ] {
        let house = House::new().await;
        let id = house.login().await;
        house.idp.next([script]);
        house.clock.advance(TOKEN - 30 * SECOND);
        house.open(&id).await.unwrap();
        house.calm().await;
        assert_eq!(house.end_of(&id).await, reason);
        assert!(refuses(&house, "access-token-1-of-1"), "{reason:?}");
        house.pay().await;
        assert!(house.idp.was_revoked("access-token-1-of-1"), "{reason:?}");
        if refresh_token {
            assert!(refuses(&house, "access-token-2-of-1"), "{reason:?}");
            assert!(house.idp.was_revoked("refresh-token-2-of-1"));
            assert!(house.idp.was_revoked("access-token-2-of-1"));
            assert!(house.idp.living().is_empty());
        }
    }
}
