//! What a decision leaves behind, and what it never does.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};

use super::*;

fn written(event: &Event<'_>) -> Value {
    let mut line = Vec::new();
    event.write(Clock::System.now(), &mut line);
    assert_eq!(line.split(|byte| *byte == b'\n').count(), 2);
    serde_json::from_slice(&line).unwrap()
}

fn caller() -> Caller<'static> {
    Caller {
        address: "::ffff:192.0.2.7".parse().unwrap(),
        user_agent: "curl/8\r\n\"x\"",
    }
}

#[test]
fn a_line_has_the_standard_names_and_the_sessions_short_one() {
    let session = SessionHash::from_bytes([0xab; 32]);
    let mut line = written(&Event::SignIn {
        idp: "main",
        user: "alice",
        session: Some(&session),
        caller: caller(),
    });
    let time = line["timestamp"].take();
    assert!(time.as_str().unwrap().ends_with('Z'), "{time}");
    assert_eq!(
        line,
        json!({
            "timestamp": null, "target": "tidegate::audit", "event.name": "sign_in", "idp": "main",
            "enduser.id": "alice", "session.id": "abababababab", "client.address": "192.0.2.7",
            "user_agent.original": "curl/8\r\n\"x\"",
        })
    );
}

#[test]
#[expect(clippy::too_many_lines, reason = "a list")]
fn every_event_is_one_object_with_its_name() {
    let session = SessionHash::from_bytes([1; 32]);
    let events = [
        (
            Event::SignInRefused {
                idp: "main",
                why: "bad_id_token",
                caller: caller(),
            },
            "sign_in_refused",
        ),
        (
            Event::SignOut {
                idp: "main",
                session: None,
                caller: caller(),
            },
            "sign_out",
        ),
        (
            Event::SessionEnded {
                idp: "main",
                user: "alice",
                session: &session,
                reason: "idle",
                by: EndedBy::Gateway,
            },
            "session_ended",
        ),
        (
            Event::TokenRevoked {
                idp: "main",
                client: "app\n",
                kind: RevocationTarget::AccessToken,
                user: Some("alice"),
                caller: caller(),
            },
            "token_revoked",
        ),
        (
            Event::TokenRevocationRefused {
                idp: "main",
                client: "app",
                why: "invalid_client",
                caller: caller(),
            },
            "token_revocation_refused",
        ),
        (
            Event::Revocation {
                idp: "main",
                target: RevocationTarget::RefreshToken,
                source: RevocationSource::SignOut,
                outcome: RevocationOutcome::Failed,
                tries: 1,
            },
            "revocation_owed",
        ),
        (
            Event::BackchannelLogout {
                idp: "main",
                user: None,
                session_there: Some("s-1"),
                ended: 2,
            },
            "backchannel_logout_accepted",
        ),
        (
            Event::BackchannelLogoutRefused {
                why: "expired",
                caller: caller(),
            },
            "backchannel_logout_refused",
        ),
        (
            Event::Administrator {
                asked: "end_user",
                session: None,
                idp: Some("main"),
                user: Some("alice"),
                ended: 3,
            },
            "administrator_end_user",
        ),
        (
            Event::Refused(Refused {
                reason: "forbidden",
                status: 403,
                route: Some("/admin"),
                user: Some("bob"),
                method: "GET",
                path: "/admin/",
                request_id: "r",
                caller: caller(),
            }),
            "refused",
        ),
    ];
    let refused = Event::AdministratorRefused {
        path: "/metrics",
        caller: caller(),
    };
    let line = written(&refused);
    assert_eq!(line["event.name"], "administrator_refused");
    assert_eq!(
        (&line["url.path"], &line["client.address"]),
        (&json!("/metrics"), &json!("192.0.2.7"))
    );
    for (event, name) in events {
        assert_eq!(written(&event)["event.name"], name);
    }
    let mut line = Vec::new();
    event::gap(7, &mut line);
    let line: Value = serde_json::from_slice(&line).unwrap();
    assert_eq!(
        (&line["event.name"], &line["lost"]),
        (&json!("audit_lost"), &json!(7))
    );
}

fn note(audit: &Audit, why: &str) {
    audit.note(&Event::SignInRefused {
        idp: "main",
        why,
        caller: caller(),
    });
    audit.flush();
}

#[test]
fn the_file_is_its_owners_only_grows_and_is_made_anew_when_it_was_moved_away() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.jsonl");
    fs::write(&path, "before\n").unwrap();
    let settings = AuditSettings::File(path.clone());
    let audit = Audit::open(Some(&settings)).unwrap();
    note(&audit, "one");
    let moved = dir.path().join("audit.jsonl.1");
    fs::rename(&path, &moved).unwrap();
    note(&audit, "two");
    let (old, new) = (
        fs::read_to_string(moved).unwrap(),
        fs::read_to_string(&path).unwrap(),
    );
    assert!(
        old.starts_with("before\n") && old.contains("one") && !old.contains("two"),
        "{old}"
    );
    assert!(new.contains("two") && new.lines().count() == 1, "{new}");
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn nothing_is_written_where_none_is_configured() {
    let audit = Audit::open(None).unwrap();
    assert!(!audit.is_on());
    note(&audit, "one");
}

#[test]
fn a_file_that_can_not_be_written_is_an_error_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let settings = AuditSettings::File(dir.path().join("none/audit.jsonl"));
    assert!(Audit::open(Some(&settings)).is_err());
}
