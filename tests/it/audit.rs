//! The audit log of a day: who came in and out, who was turned away and why, and nothing that opens a door.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use http::header;
use serde_json::{Value, json};

use crate::support::client::request;
use crate::support::{Scene, eventually};

struct Audited(Scene);

impl Audited {
    async fn start() -> Self {
        let scene = Scene::with(|setup| {
            setup.replace(
                "access_log = { path = \"off\" }",
                "access_log = { path = \"off\" }\naudit_log = { path = \"$DIR/audit.jsonl\" }",
            );
        });
        Self(scene.await)
    }

    fn text(&self) -> String {
        fs::read_to_string(self.0.file("audit.jsonl")).unwrap()
    }

    fn lines(&self, event: &str) -> Vec<Value> {
        let text = self.text();
        let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
        lines
            .filter(|line: &Value| line["event.name"] == event)
            .collect()
    }

    async fn wait_for(&self, event: &str, count: usize) -> Vec<Value> {
        eventually(&format!("{count} {event}"), || {
            self.lines(event).len() == count
        })
        .await;
        self.lines(event)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_comes_in_and_goes_out_leaves_lines_and_no_secret() {
    let audited = Audited::start().await;
    let browser = audited.0.browser();
    browser.login("alice").await;
    let signed_in = &audited.wait_for("sign_in", 1).await[0];
    assert_eq!(signed_in["enduser.id"], "u-alice");
    assert_eq!(signed_in["idp"], "main");
    assert_eq!(signed_in["client.address"], "127.0.0.1");
    let session = &signed_in["session.id"];
    assert_eq!(session.as_str().unwrap().len(), 12);
    let cookie = browser.session_cookie().unwrap().value;

    let page = browser.get("/oauth2/sign_out").await;
    browser.press(&page, "Sign out").await;
    let signed_out = &audited.wait_for("sign_out", 1).await[0];
    assert_eq!(signed_out["session.id"], *session);
    let ended = &audited.wait_for("session_ended", 1).await[0];
    assert_eq!(
        (
            &ended["session.id"],
            &ended["reason"],
            &ended["ended_by"],
            &ended["enduser.id"]
        ),
        (
            session,
            &json!("signed_out"),
            &json!("user"),
            &json!("u-alice")
        )
    );
    let confirmed = audited.wait_for("revocation_confirmed", 2).await;
    assert!(confirmed.iter().all(|line| line["source"] == "sign_out"));
    let targets: Vec<_> = confirmed.iter().map(|line| &line["target"]).collect();
    assert!(
        targets.contains(&&json!("refresh_token")) && targets.contains(&&json!("access_token"))
    );

    let text = audited.text();
    assert!(!text.contains(&cookie));
    for issued in audited.0.idp.journal().issued {
        assert!(!text.contains(&issued.text), "a {:?}", issued.kind);
    }
    let mode = fs::metadata(audited.0.file("audit.jsonl"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_turned_away_leaves_a_line_unless_nothing_was_shown() {
    let audited = Audited::start().await;
    let scene = &audited.0;
    let stranger = scene.browser();
    stranger.glance("/app").await;
    assert_eq!(scene.client().get("/api/x").await.status, 401);
    assert_eq!(scene.client().get("/nowhere/../x").await.status, 401);

    let browser = scene.browser();
    browser.login("bob").await;
    assert_eq!(browser.fetch("/admin/x").await.status, 403);
    let forged = format!("{}x", scene.bearer("alice"));
    let bearer = request("GET")
        .header(header::AUTHORIZATION, format!("Bearer {forged}"))
        .header(header::USER_AGENT, "curl/8 \"x\"");
    assert_eq!(scene.client().send("/api/x", bearer).await.status, 401);

    let refused = audited.wait_for("refused", 2).await;
    let (by_rule, by_token) = (&refused[0], &refused[1]);
    assert_eq!(
        (
            &by_rule["reason"],
            &by_rule["enduser.id"],
            &by_rule["url.path"]
        ),
        (&json!("forbidden"), &json!("u-bob"), &json!("/admin/x"))
    );
    assert_eq!(by_rule["http.response.status_code"], 403);
    assert!(by_rule["http.route"].as_str().unwrap().contains("/admin/"));
    assert_eq!(
        (
            &by_token["reason"],
            &by_token["enduser.id"],
            &by_token["user_agent.original"]
        ),
        (
            &json!("invalid_token"),
            &Value::Null,
            &json!("curl/8 \"x\"")
        )
    );
    assert!(!audited.text().contains(&forged));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sign_in_that_comes_to_nothing_says_why() {
    let audited = Audited::start().await;
    let browser = audited.0.browser();
    let page = browser.get("/app").await;
    browser.press(&page, "Cancel").await;
    let refused = &audited.wait_for("sign_in_refused", 1).await[0];
    assert_eq!(
        (&refused["idp"], &refused["reason"]),
        (&json!("main"), &json!("declined"))
    );
    assert!(audited.lines("sign_in").is_empty());
}
