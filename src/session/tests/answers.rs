//! What providers leave out of an answer, put into it, or get wrong.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::house::*;
use super::idp::*;
use crate::session::{Activity, EndReason};
use crate::token::AccessToken;

fn jwt(claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!(
        "{}.{}.c2lnbmVk",
        part(&json!({"alg": "none"})),
        part(claims)
    )
}

#[tokio::test]
async fn without_a_new_refresh_token_the_old_one_stays_in_use() {
    let house = House::new().await;
    let id = house.login().await;
    house
        .idp
        .next([Script::Change(json!({"refresh_token": null}))]);
    for generation in 1..=3 {
        house.clock.advance(TOKEN);
        assert_eq!(house.open(&id).await.unwrap().generation, generation);
    }
    let journal = house.idp.journal();
    assert_eq!(
        journal[0], journal[1],
        "the first one was used twice, as it should"
    );
    assert_ne!(journal[1], journal[2]);
    assert_eq!(house.idp.reuses(), 0);
}

#[tokio::test]
async fn without_an_id_token_the_claims_stay() {
    let house = House::new().await;
    let id = house.login().await;
    house.clock.advance(TOKEN);
    let with = house.open(&id).await.unwrap();
    assert!(with.claims.contains_key("generation"));
    house.idp.next([Script::Change(json!({"id_token": null}))]);
    house.clock.advance(TOKEN);
    let without = house.open(&id).await.unwrap();
    assert_eq!((without.generation, &without.claims), (2, &with.claims));
    let ended = house.sessions.end(&id, EndReason::SignedOut).await.unwrap();
    assert!(ended.unwrap().id_token.is_some(), "the hint stays too");
}

#[tokio::test]
async fn without_a_sid_the_known_one_counts() {
    let house = House::new().await;
    let id = house.login().await;
    house.idp.next([
        Script::IdToken(json!({"sid": null})),
        Script::Answer,
        Script::IdToken(json!({"sid": "another"})),
    ]);
    for generation in 1..=2 {
        house.clock.advance(TOKEN);
        assert_eq!(house.open(&id).await.unwrap().generation, generation);
    }
    house.clock.advance(TOKEN);
    assert_eq!(house.end_of(&id).await, EndReason::BadAnswer);
}

#[tokio::test]
async fn a_lifetime_that_is_not_stated_is_the_last_that_was() {
    let house = House::new().await;
    let id = house.login().await;
    house
        .idp
        .always(Script::Change(json!({"expires_in": null})));
    house.clock.advance(TOKEN);
    let live = house.open(&id).await.unwrap();
    let left = live.access_expires.since(house.clock.now());
    assert!(left > TOKEN - SECOND && left <= TOKEN, "{left:?}");
}

#[tokio::test]
async fn a_lifetime_that_was_never_stated_is_the_configured_age() {
    let house = House::new().await;
    let mut grant = house.idp.login(None);
    grant.access_expires = None;
    let login = house.a_login(grant, None, None);
    let id = house.sessions.begin(login).await.unwrap();
    let live = house.open(&id).await.unwrap();
    let left = live.access_expires.since(house.clock.now());
    assert!(
        left > TOKEN - SECOND && left <= settings().refresh_every,
        "{left:?}"
    );
}

#[tokio::test]
async fn the_smaller_of_expires_in_and_exp_counts() {
    let house = House::new().await;
    for (expires_in, exp, smaller) in [(60, 200, 60), (200, 60, 60), (0, 60, 0)] {
        let now = house.clock.now();
        let mut grant = house.idp.login(None);
        grant.access_token = AccessToken::new(jwt(&json!({"exp": now.as_secs() + exp})));
        grant.access_expires = Some(now + Duration::from_secs(expires_in));
        let id = house
            .sessions
            .begin(house.a_login(grant, None, None))
            .await
            .unwrap();
        let live = house.open(&id).await.unwrap();
        let left = live.access_expires.since(now).as_secs_f64();
        let smaller = f64::from(u32::try_from(smaller).unwrap());
        assert!(
            left <= smaller && left > smaller - 1.1,
            "{expires_in} {exp}: {left}"
        );
    }
}

/// Keycloak shortens tokens to a second near the end of its session, and `refresh_before` is a minute.
#[tokio::test]
async fn tokens_that_live_for_a_second_make_no_loop() {
    for lifetime in [0, 1, 20] {
        let house = House::new().await;
        house.idp.tokens_live(lifetime);
        let id = house.login().await;
        for _ in 0..500 {
            house.open(&id).await.unwrap();
            tokio::task::yield_now().await;
        }
        house.calm().await;
        // Real time passes too, though hardly any.
        assert!(
            house.idp.refreshes() <= 2,
            "{lifetime} s: {}",
            house.idp.refreshes()
        );
        let before = house.idp.refreshes();
        house.clock.advance(Duration::from_secs(lifetime.max(1)));
        house.open(&id).await.unwrap();
        assert_eq!(house.idp.refreshes(), before + 1);
    }
}

async fn ends_for(script: Script) {
    let house = House::new().await;
    let id = house.login().await;
    let old = house.open(&id).await.unwrap();
    house.idp.next([script.clone()]);
    house.clock.advance(TOKEN - 10 * SECOND);
    // Even while the old token lives: somebody else's answer is no reason to go on.
    house.open(&id).await.unwrap();
    eventually_async(async || house.open(&id).await.is_err()).await;
    assert_eq!(house.end_of(&id).await, EndReason::BadAnswer, "{script:?}");
    house.pay().await;
    house.calm().await;
    assert_eq!(house.idp.living().len(), 0, "{script:?}");
    let revoked = house.idp.journal();
    for token in [
        "access-token-2-of-1",
        "refresh-token-2-of-1",
        old.access_token.expose(),
    ] {
        let call = Call::Revoke(token.to_owned());
        assert!(
            revoked.contains(&call),
            "{script:?}: {token} in {revoked:?}"
        );
    }
}

#[tokio::test]
async fn an_answer_for_somebody_else_ends_the_session_and_is_given_back() {
    ends_for(Script::IdToken(json!({"sub": "mallory"}))).await;
}

#[tokio::test]
async fn an_answer_of_another_session_ends_the_session_and_is_given_back() {
    ends_for(Script::IdToken(json!({"sid": "another"}))).await;
}

#[tokio::test]
async fn a_forged_id_token_ends_the_session_and_is_given_back() {
    ends_for(Script::ForgedIdToken).await;
}

#[tokio::test]
async fn an_id_token_for_another_client_ends_the_session_and_is_given_back() {
    ends_for(Script::IdToken(json!({"aud": "another"}))).await;
}

#[tokio::test]
async fn an_answer_of_the_wrong_type_ends_the_session_and_is_given_back() {
    ends_for(Script::Change(json!({"token_type": "DPoP"}))).await;
}

#[tokio::test]
async fn an_access_token_of_somebody_else_ends_the_session() {
    let house = House::new().await;
    let now = house.clock.now().as_secs();
    let mut grant = house.idp.login(None);
    let claims = json!({"sub": "alice", "exp": now + 300});
    grant.access_token = AccessToken::new(jwt(&claims));
    let id = house
        .sessions
        .begin(house.a_login(grant, None, None))
        .await
        .unwrap();
    let other = jwt(&json!({"sub": "mallory", "exp": now + 900}));
    let answer = json!({"access_token": other, "id_token": null});
    house.idp.next([Script::Change(answer)]);
    house.clock.advance(TOKEN);
    assert_eq!(house.end_of(&id).await, EndReason::BadAnswer);
    house.pay().await;
    assert!(house.idp.was_revoked(&other));
}

#[tokio::test]
async fn an_answer_that_nobody_can_check_yet_is_kept_but_not_served() {
    let house = House::new().await;
    let id = house.login().await;
    house.idp.keys_are_down(true);
    house.clock.advance(TOKEN);
    assert!(house.open(&id).now_or_never_is_none().await);
    eventually(|| house.store.writes().contains(&"save")).await;
    assert_eq!(
        house.sessions.standing(&id).await.unwrap().live.generation,
        0
    );
    house.idp.keys_are_down(false);
    house.clock.advance(2 * MINUTE);
    let live = house.sessions.open(&id, Activity::Slides).await.unwrap();
    assert_eq!(live.generation, 1);
    assert_eq!(house.idp.refreshes(), 1);
}

#[tokio::test]
async fn an_answer_whose_id_token_ended_before_it_could_be_checked_is_served() {
    for (claims, ends) in [(json!({}), false), (json!({"sub": "mallory"}), true)] {
        let house = House::new().await;
        let id = house.login().await;
        house.idp.keys_are_down(true);
        house.idp.next([Script::IdToken(claims)]);
        house.clock.advance(TOKEN);
        assert!(house.open(&id).now_or_never_is_none().await);
        eventually(|| house.store.writes().contains(&"save")).await;
        house.idp.keys_are_down(false);
        house.clock.advance(10 * MINUTE);
        house.calm().await;
        if ends {
            assert_eq!(house.end_of(&id).await, EndReason::BadAnswer);
        } else {
            assert_eq!(house.open(&id).await.unwrap().generation, 2);
        }
    }
}

/// Starts what it is asked of, and goes away.
trait Glimpse {
    async fn now_or_never_is_none(self) -> bool;
}

impl<F: Future> Glimpse for F {
    async fn now_or_never_is_none(self) -> bool {
        use futures_util::FutureExt;
        self.now_or_never().is_none()
    }
}
