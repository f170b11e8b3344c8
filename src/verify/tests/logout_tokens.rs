//! Logout tokens: at which second one stops being good, and whose sessions it names.

use super::*;
use crate::verify::{Criterion, LoggedOut, LogoutToken};

/// What Keycloak sends.
fn draft(scene: &Scene) -> Draft {
    scene
        .draft()
        .header(json!({ "typ": "logout+jwt" }))
        .claims(json!({
            "aud": "gateway",
            "iat": scene.time(0),
            "exp": scene.time(120),
            "jti": "j1",
            "sid": "s1",
            "typ": "Logout",
            "events": { "http://schemas.openid.net/event/backchannel-logout": {} },
        }))
}

async fn verify(scene: &Scene, draft: Draft) -> Result<LogoutToken, Error> {
    scene.verifier.verify_logout_token(&draft.sign()).await
}

#[tokio::test]
async fn whose_sessions_are_meant() {
    let scene = Scene::new().await;
    let session = |subject: Option<&str>| LoggedOut::Session {
        sid: "s1".into(),
        subject: subject.map(Into::into),
    };
    let user = LoggedOut::User("ana".into());
    for (draft, of) in [
        (draft(&scene), session(Some("ana"))),
        (draft(&scene).claims(json!({ "sub": null })), session(None)),
        (draft(&scene).claims(json!({ "sid": null })), user),
    ] {
        let token = verify(&scene, draft).await.unwrap();
        assert_eq!((&*token.idp, &token.of), ("main", &of));
        assert_eq!(token.id, Criterion::logout_token("main", "j1"));
    }
}

#[tokio::test]
async fn every_limit_of_time_has_the_leeway_and_no_more() {
    let scene = Scene::new().await;
    // The clock goes on while this runs, by less than these seconds.
    for (claims, verdict) in [
        (json!({ "exp": scene.time(-25) }), ""),
        (json!({ "exp": scene.time(-30) }), "expired"),
        (json!({ "iat": scene.time(30) }), ""),
        (json!({ "iat": scene.time(35) }), "not valid yet"),
        (json!({ "iat": scene.time(-325) }), ""),
        (json!({ "iat": scene.time(-330) }), "iat is too long ago"),
        (json!({ "nbf": scene.time(35) }), "not valid yet"),
    ] {
        let text = claims.to_string();
        let found = verify(&scene, draft(&scene).claims(claims)).await;
        assert_eq!(reason(found), verdict, "{text}");
    }
}

#[tokio::test]
async fn it_is_remembered_for_as_long_as_it_could_come_again() {
    let scene = Scene::new().await;
    for (claims, until) in [
        (json!({}), scene.time(120 + 30)),
        (json!({ "exp": scene.time(5) }), scene.time(5 + 30)),
        (
            json!({ "exp": scene.time(1_000_000) }),
            scene.time(300 + 30),
        ),
    ] {
        let text = claims.to_string();
        let token = verify(&scene, draft(&scene).claims(claims)).await.unwrap();
        assert_eq!(
            token.until.as_secs(),
            u64::try_from(until).unwrap(),
            "{text}"
        );
        // And not a moment longer is it good.
        let late = token.until.since(scene.clock.now());
        assert!(late <= 331 * SECOND, "{late:?}");
    }
    let token = draft(&scene).claims(json!({ "exp": scene.time(1_000_000) }));
    let token = token.sign();
    scene.clock.advance(331 * SECOND);
    let late = scene.verifier.verify_logout_token(&token).await;
    assert_eq!(reason(late), "iat is too long ago");
}
