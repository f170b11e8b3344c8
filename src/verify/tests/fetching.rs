//! When keys are fetched: seldom, one at a time, in spite of everything that tokens ask for.

use tokio::task::JoinSet;
use tokio::time::timeout;

use super::*;

const UNKNOWN: &str = "signed with an unknown key";
const UNAVAILABLE: &str = "keys unavailable";

impl Scene {
    fn unknown(&self, kid: usize) -> String {
        self.draft()
            .header(json!({ "kid": format!("k{kid}") }))
            .sign()
    }

    async fn at_once(&self, tokens: impl Iterator<Item = String>) -> Vec<String> {
        let mut tasks = JoinSet::new();
        for token in tokens {
            let verifier = Arc::clone(&self.verifier);
            tasks.spawn(async move { reason(verifier.verify(&AccessToken::new(token)).await) });
        }
        tasks.join_all().await
    }
}

#[tokio::test]
async fn a_thousand_first_tokens_cost_one_fetch() {
    let scene = Scene::new().await;
    let token = scene.draft().sign();
    let found = scene.at_once(std::iter::repeat_n(token, 1000)).await;
    assert!(found.iter().all(String::is_empty));
    assert_eq!(scene.fetches(), 1);
    assert_eq!(scene.server.count("/.well-known/openid-configuration"), 1);
}

#[tokio::test]
async fn a_thousand_unknown_keys_cost_one_fetch_in_half_a_minute() {
    let scene = Scene::new().await;
    scene.verify(&scene.draft().sign()).await.unwrap();
    let found = scene.at_once((0..1000).map(|kid| scene.unknown(kid))).await;
    assert!(found.iter().all(|found| found == UNKNOWN));
    assert_eq!(scene.fetches(), 2);
    scene.clock.advance(29 * SECOND);
    assert_eq!(reason(scene.verify(&scene.unknown(0)).await), UNKNOWN);
    assert_eq!(scene.fetches(), 2);
    scene.clock.advance(2 * SECOND);
    assert_eq!(reason(scene.verify(&scene.unknown(0)).await), UNKNOWN);
    assert_eq!(scene.fetches(), 3);
}

#[tokio::test]
async fn a_clock_set_back_stops_no_fetch() {
    let scene = Scene::new().await;
    scene.clock.advance(3600 * SECOND);
    let _ = scene.verify(&scene.unknown(0)).await;
    assert_eq!(scene.fetches(), 2);
    scene.clock_back();
    let _ = scene.verify(&scene.unknown(0)).await;
    assert_eq!(scene.fetches(), 3);
}

#[tokio::test]
async fn a_new_key_is_known_at_its_first_token() {
    let scene = Scene::with(set(&[OTHER_RSA.jwk(json!({ "kid": "old" }))]), settings()).await;
    let old = scene
        .draft()
        .header(json!({ "kid": "old" }))
        .sign_with(&OTHER_RSA, "RS256");
    assert_eq!(reason(scene.verify(&old).await), "");
    scene.publish(set(&[
        RSA.jwk(json!({ "kid": "rsa" })),
        OTHER_RSA.jwk(json!({ "kid": "old" })),
    ]));
    assert_eq!(reason(scene.verify(&scene.draft().sign()).await), "");
    assert_eq!(reason(scene.verify(&old).await), "");
    assert_eq!(scene.fetches(), 2);
}

#[tokio::test]
async fn a_failed_fetch_for_an_unknown_key_is_not_repeated_at_once_either() {
    let scene = Scene::new().await;
    let good = scene.draft().sign();
    scene.verify(&good).await.unwrap();
    scene.fail();
    for kid in 0..100 {
        // Whether such a key exists can't be known now.
        assert_eq!(reason(scene.verify(&scene.unknown(kid)).await), UNAVAILABLE);
    }
    assert_eq!(scene.fetches(), 2);
    // The keys that are known stay in use, for tokens that are new too.
    let another = scene.draft().claims(json!({ "sub": "bob" })).sign();
    assert_eq!(reason(scene.verify(&good).await), "");
    assert_eq!(reason(scene.verify(&another).await), "");
    scene.publish(all_keys());
    scene.clock.advance(31 * SECOND);
    assert_eq!(reason(scene.verify(&scene.unknown(0)).await), UNKNOWN);
    assert_eq!(scene.fetches(), 3);
}

#[tokio::test]
async fn without_any_key_yet_it_is_tried_again_soon_but_not_at_each_token() {
    let scene = Scene::new().await;
    scene.fail();
    let token = scene.draft().sign();
    for _ in 0..100 {
        assert_eq!(reason(scene.verify(&token).await), UNAVAILABLE);
    }
    assert_eq!(scene.fetches(), 1);
    scene.publish(all_keys());
    scene.clock.advance(SECOND);
    assert_eq!(reason(scene.verify(&token).await), "");
    assert_eq!(scene.fetches(), 2);
}

#[tokio::test]
async fn however_long_the_provider_was_down_a_token_waits_seconds_for_it() {
    let scene = Scene::new().await;
    scene.fail();
    let token = scene.draft().sign();
    for _ in 0..20 {
        assert_eq!(reason(scene.verify(&token).await), UNAVAILABLE);
        scene.clock.advance(4 * SECOND);
    }
    assert_eq!(scene.fetches(), 20);
    scene.publish(all_keys());
    assert_eq!(reason(scene.verify(&token).await), "");
}

#[tokio::test]
async fn nobody_at_the_provider_s_address() {
    let settings_ = issuer::tests::server::settings("http://127.0.0.1:1");
    let issuer = Arc::new(issuer::tests::server::issuer(settings_, Clock::System));
    let here = tokio::runtime::Handle::current();
    let verifier = Verifier::new(
        vec![(issuer, settings())],
        Clock::System,
        here,
        &Metrics::new([]),
    );
    let scene = Scene::new().await;
    let token = scene
        .draft()
        .claims(json!({ "iss": "http://127.0.0.1:1" }))
        .sign();
    let found = verifier.verify(&AccessToken::new(token)).await;
    let Err(Error::KeysUnavailable(error)) = found else {
        panic!("{found:?}");
    };
    assert!(
        matches!(*error, issuer::Error::Unavailable { .. }),
        "{error}"
    );
}

#[tokio::test]
async fn a_caller_that_hangs_up_stops_no_fetch() {
    let scene = Scene::new().await;
    let token = AccessToken::new(scene.draft().sign());
    let verifier = Arc::clone(&scene.verifier);
    let first = {
        let token = token.clone();
        tokio::spawn(async move { verifier.verify(&token).await.map(|_| ()) })
    };
    while scene.server.count("/.well-known/openid-configuration") == 0 {
        tokio::task::yield_now().await;
    }
    first.abort();
    scene.verifier.verify(&token).await.unwrap();
    assert_eq!(scene.server.count("/.well-known/openid-configuration"), 1);
    assert_eq!(scene.fetches(), 1);
}

#[tokio::test]
async fn a_provider_that_hangs_is_not_waited_for_long() {
    let scene = Scene::new().await;
    let token = scene.draft().sign();
    scene.server.answer(|_| Reply::Hang);
    let mut settings_ = scene.server.settings();
    settings_.call_timeout = Duration::from_millis(100);
    let issuer = Arc::new(issuer::tests::server::issuer(settings_, Clock::System));
    let here = tokio::runtime::Handle::current();
    let verifier = Verifier::new(
        vec![(issuer, settings())],
        Clock::System,
        here,
        &Metrics::new([]),
    );
    let token = AccessToken::new(token);
    let found = timeout(2 * SECOND, verifier.verify(&token)).await.unwrap();
    assert_eq!(reason(found), UNAVAILABLE);
}

#[tokio::test]
async fn a_set_that_can_t_be_read_changes_nothing() {
    for lie in [
        Reply::Text(
            200,
            "content-type: text/html\r\n".to_owned(),
            "<html>".to_owned(),
        ),
        Reply::Json(200, json!({ "error": "x" })),
        Reply::Json(200, json!([])),
        Reply::Json(204, json!({})),
        Reply::Text(302, "location: /other\r\n".to_owned(), String::new()),
        Reply::Reset,
        Reply::Endless,
    ] {
        let scene = Scene::new().await;
        let token = scene.draft().sign();
        scene.verify(&token).await.unwrap();
        let origin = scene.server.origin.clone();
        let answer = lie.clone();
        scene.server.answer(move |_| answer.clone());
        assert_eq!(
            reason(scene.verify(&scene.unknown(0)).await),
            UNAVAILABLE,
            "{lie:?}"
        );
        let another = scene
            .draft()
            .claims(json!({ "sub": "bob", "iss": origin }))
            .sign();
        assert_eq!(reason(scene.verify(&token).await), "", "{lie:?}");
        assert_eq!(reason(scene.verify(&another).await), "", "{lie:?}");
    }
}

#[tokio::test]
async fn an_empty_set_takes_all_tokens_away() {
    let scene = Scene::new().await;
    let token = scene.draft().sign();
    scene.verify(&token).await.unwrap();
    scene.publish(set(&[]));
    assert_eq!(reason(scene.verify(&scene.unknown(0)).await), UNKNOWN);
    assert_eq!(reason(scene.verify(&token).await), UNKNOWN);
}

#[tokio::test]
async fn keys_are_there_before_the_first_token_and_come_back_by_themselves() {
    let scene = Scene::new().await;
    scene.fail();
    let fresh = tokio::spawn(Arc::clone(&scene.verifier).keep_fresh());
    let fetched = async |at_least: usize| {
        let enough = async {
            while scene.fetches() < at_least {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(5 * SECOND, enough).await.unwrap();
    };
    fetched(1).await;
    scene.publish(all_keys());
    fetched(2).await;
    assert_eq!(reason(scene.verify(&scene.draft().sign()).await), "");
    fresh.abort();
}
