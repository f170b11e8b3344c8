//! How long a verified token is remembered, and how many are.

use super::*;
use crate::clock::Timestamp;
use crate::verify::cache::{Cache, Entry, Remembered};
use crate::verify::claims;
use crate::verify::jwk::Key;
use crate::verify::refused::{Cleared, Marks};
use crate::verify::{Held, Refused};

fn graced_until(until: Timestamp) -> Held {
    Held {
        obtained: None,
        grace: Some(until),
    }
}

#[tokio::test]
async fn a_token_is_verified_once() {
    let scene = Scene::new().await;
    let token = scene.draft().sign();
    let first = scene.verify(&token).await.unwrap();
    let again = scene.verify(&token).await.unwrap();
    assert!(Arc::ptr_eq(&first, &again));
}

#[tokio::test]
async fn only_the_very_same_text_is_remembered() {
    let scene = Scene::new().await;
    let token = scene.draft().sign();
    scene.verify(&token).await.unwrap();
    for at in [0, 40, token.len() / 2, token.len() - 2] {
        let mut changed = token.clone().into_bytes();
        changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(changed).unwrap();
        assert_ne!(reason(scene.verify(&changed).await), "", "at {at}");
    }
    assert_ne!(reason(scene.verify(&token[..token.len() - 1]).await), "");
}

#[tokio::test]
async fn it_is_forgotten_at_its_end() {
    let scene = Scene::new().await;
    let token = scene.draft().sign();
    scene.verify(&token).await.unwrap();
    scene.clock.advance(325 * SECOND);
    assert_eq!(reason(scene.verify(&token).await), "");
    scene.clock.advance(10 * SECOND);
    assert_eq!(reason(scene.verify(&token).await), "expired");
}

#[tokio::test]
async fn a_grace_lets_it_be_late_and_is_remembered_by_nobody() {
    let scene = Scene::new().await;
    let token = scene.draft().sign();
    let until = scene.clock.now() + 900 * SECOND;
    let graced = async || {
        let token = AccessToken::new(token.as_str());
        let verified = scene
            .verifier
            .verify_held(&token, graced_until(until))
            .await;
        reason(verified)
    };
    assert_eq!(graced().await, "");
    scene.clock.advance(400 * SECOND);
    for _ in 0..3 {
        assert_eq!(graced().await, "", "remembered or not");
        assert_eq!(reason(scene.verify(&token).await), "expired", "a bearer");
    }
    scene.clock.advance(499 * SECOND);
    assert_eq!(graced().await, "");
    scene.clock.advance(2 * SECOND);
    assert_eq!(graced().await, "expired");
}

#[tokio::test]
async fn a_grace_before_the_end_changes_nothing() {
    let scene = Scene::new().await;
    let token = scene.draft().sign();
    let soon = graced_until(scene.clock.now() + SECOND);
    scene.clock.advance(325 * SECOND);
    let token = AccessToken::new(token);
    let verify = async || reason(scene.verifier.verify_held(&token, soon).await);
    assert_eq!(verify().await, "", "the leeway is still there");
    scene.clock.advance(10 * SECOND);
    assert_eq!(verify().await, "expired");
}

#[tokio::test]
async fn a_grace_is_for_the_end_only() {
    let scene = Scene::new().await;
    let late = graced_until(scene.clock.now() + 3600 * SECOND);
    let verify = async |token: String| {
        let token = AccessToken::new(token);
        reason(scene.verifier.verify_held(&token, late).await)
    };
    let ended = json!(scene.time(-60));
    let draft = || scene.draft().claim("exp", ended.clone());
    assert_eq!(verify(draft().sign()).await, "");
    let soon = json!(scene.time(100));
    let not_yet = draft().claim("nbf", soon.clone()).sign();
    assert_eq!(verify(not_yet).await, "not valid yet");
    let to_come = draft().claim("iat", soon).sign();
    assert_eq!(verify(to_come).await, "not valid yet");
    let elsewhere = draft().claim("aud", json!("elsewhere")).sign();
    assert_eq!(verify(elsewhere).await, "aud does not name us");
    let endless = draft().claim("exp", Value::Null).sign();
    assert_ne!(verify(endless).await, "");
    let forged = draft().sign_with(&OTHER_RSA, "RS256");
    assert_ne!(verify(forged).await, "");
}

#[tokio::test]
async fn a_grace_outlives_no_key() {
    let scene = Scene::new().await;
    let token = AccessToken::new(scene.draft().sign());
    let late = graced_until(scene.clock.now() + 3600 * SECOND);
    scene.clock.advance(400 * SECOND);
    assert_eq!(reason(scene.verifier.verify_held(&token, late).await), "");
    scene.publish(set(&[P256.jwk(json!({ "kid": "ec" }))]));
    let unknown = scene.draft().header(json!({ "kid": "new" })).sign();
    let _ = scene.verify(&unknown).await;
    let refused = scene.verifier.verify_held(&token, late).await;
    assert_eq!(reason(refused), "signed with an unknown key");
}

#[tokio::test]
async fn it_goes_with_its_key() {
    let scene = Scene::new().await;
    let (by_rsa, by_ec) = (
        scene.draft().sign(),
        scene
            .draft()
            .header(json!({ "alg": "ES256", "kid": "ec" }))
            .sign_with(&P256, "ES256"),
    );
    scene.verify(&by_rsa).await.unwrap();
    let kept = scene.verify(&by_ec).await.unwrap();
    scene.publish(set(&[
        P256.jwk(json!({ "kid": "ec", "use": "sig", "alg": "ES256" }))
    ]));
    let unknown = scene.draft().header(json!({ "kid": "new" })).sign();
    assert_eq!(
        reason(scene.verify(&unknown).await),
        "signed with an unknown key"
    );
    assert_eq!(
        reason(scene.verify(&by_rsa).await),
        "signed with an unknown key"
    );
    assert!(Arc::ptr_eq(&kept, &scene.verify(&by_ec).await.unwrap()));
}

#[tokio::test]
async fn a_key_that_comes_to_be_for_something_else_takes_its_tokens_along() {
    let scene = Scene::new().await;
    let token = scene.draft().sign();
    scene.verify(&token).await.unwrap();
    scene.publish(set(&[RSA.jwk(json!({ "kid": "rsa", "alg": "PS256" }))]));
    let unknown = scene.draft().header(json!({ "kid": "new" })).sign();
    let _ = scene.verify(&unknown).await;
    assert_eq!(
        reason(scene.verify(&token).await),
        "alg does not fit its key"
    );
}

#[tokio::test]
async fn a_key_under_another_name_takes_its_tokens_along() {
    let scene = Scene::new().await;
    let token = scene.draft().sign();
    scene.verify(&token).await.unwrap();
    scene.publish(set(&[RSA.jwk(json!({ "kid": "renamed", "alg": "RS256" }))]));
    let renamed = scene.draft().header(json!({ "kid": "renamed" })).sign();
    assert_eq!(reason(scene.verify(&renamed).await), "");
    assert_eq!(
        reason(scene.verify(&token).await),
        "signed with an unknown key"
    );
}

#[tokio::test]
async fn a_token_from_a_clock_that_was_wrong_waits_for_its_time() {
    let scene = Scene::new().await;
    scene.clock.advance(3600 * SECOND);
    let token = scene.draft().sign();
    scene.verify(&token).await.unwrap();
    scene.clock_back();
    assert_eq!(reason(scene.verify(&token).await), "not valid yet");
}

/// Two texts may share a hash, so what is found is compared.
#[test]
fn a_hash_decides_nothing() {
    let entry = entry("header.claims.signature", 2);
    assert!(entry.is("header.claims.signature"));
    for other in [
        "header.claims.signaturf",
        "header.claims.signatur",
        "",
        "Header.claims.signature",
    ] {
        assert!(!entry.is(other), "{other}");
    }
}

fn entry(text: &str, until: u64) -> Entry {
    let expires = json!({ "exp": until });
    let (expires, window) = claims::times(
        expires.as_object().unwrap(),
        Duration::ZERO,
        Timestamp::default().into(),
    )
    .unwrap();
    Entry {
        token: AccessToken::new(text),
        verified: Verified::for_tests(text, expires, &[], &[], serde_json::Map::new()),
        window,
        key: Arc::new(Key::read(&ED.jwk(json!({})), &[Algorithm::EdDSA]).unwrap()),
        marks: Marks::of("main", text, text, &serde_json::Map::new(), Duration::ZERO),
        cleared: Cleared::default(),
    }
}

fn find(cache: &Cache, text: &str, now: Timestamp) -> Option<Arc<Verified>> {
    match cache.find(text, now.into(), &Refused::default())? {
        Remembered::Verified(verified) => Some(verified),
        Remembered::Refused(_) => None,
    }
}

#[test]
fn no_more_are_kept_than_the_bound() {
    let now = Timestamp::from_secs(1);
    for (cache, bound) in [
        (Cache::bounded(1280, usize::MAX / 2), 1280),
        (Cache::bounded(usize::MAX / 2, 128 * 10_000), 128 * 20),
    ] {
        for number in 0..10_000 {
            cache.insert(entry(&format!("token {number}"), 2));
        }
        assert!(cache.len() <= bound, "{}", cache.len());
        assert!(find(&cache, "token 9999", now).is_some());
        assert!(find(&cache, "token 0", now).is_none());
    }
}

#[test]
fn what_is_asked_for_stays() {
    let cache = Cache::bounded(1280, usize::MAX / 2);
    cache.insert(entry("favourite", 2));
    for number in 0..10_000 {
        cache.insert(entry(&format!("token {number}"), 2));
        assert!(find(&cache, "favourite", Timestamp::from_secs(1)).is_some());
    }
}

#[test]
fn a_token_put_twice_is_there_once() {
    let cache = Cache::bounded(1280, usize::MAX / 2);
    for _ in 0..100 {
        cache.insert(entry("one", 2));
    }
    assert_eq!(cache.len(), 1);
    let at = Timestamp::from_secs;
    assert_eq!(&*find(&cache, "one", at(1)).unwrap().subject, "one");
    assert!(find(&cache, "one", at(2)).is_none());
}
