//! The record's encoding: what another version may do to it.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test may fail by panicking"
)]

use serde_json::json;

use super::*;

fn record() -> serde_json::Value {
    json!({
        "idp": "main", "subject": "alice", "sid": null, "claims": {"a": 1},
        "access_token": "at", "access_expires": 5, "obtained": 1, "life": null,
        "refresh_token": "rt", "refresh_expires": null, "id_token": null, "unchecked": null,
        "created": 1, "authenticated": null, "absolute_deadline": 9, "user_agent": "ua",
        "address": "::1", "generation": 2, "fence": 3,
        "phase": {"Swapping": {"owner": 7, "since": 2}},
        "trouble": "None",
        "retry_at": 0,
        "kept_token": false,
        "from_the_future": {"b": [2]},
    })
}

fn keys() -> Keyring {
    Keyring::new(&[vec![9; 32]]).unwrap()
}

fn open(version: u8, body: &serde_json::Value) -> Option<Kept> {
    let id = SessionHash::from_bytes([1; 32]);
    let mut plain = vec![version];
    plain.extend_from_slice(body.to_string().as_bytes());
    let row = Row {
        fence: 3,
        generation: 0,
        ended: false,
        expires: Timestamp::default(),
        seen: Timestamp::default(),
        deadline: Timestamp::default(),
        subject: None,
        sid: None,
        sealed: keys().seal(Purpose::Session, id.as_bytes(), &plain),
    };
    Kept::open(&row, &id, &keys())
}

#[test]
fn what_a_newer_version_wrote_is_read_and_handed_back() {
    let Some(Kept::Alive(record)) = open(ENCODING, &record()) else {
        panic!("it does not open");
    };
    assert_eq!((record.generation, record.fence), (2, 3));
    let again = serde_json::to_value(&record).unwrap();
    assert_eq!(again, self::record());
}

#[test]
fn an_encoding_that_is_not_known_is_not_guessed_at() {
    assert!(open(ENCODING + 1, &record()).is_none());
    assert!(open(ENCODING, &json!({"idp": "main"})).is_none());
}

#[test]
fn an_opaque_token_tells_nothing() {
    for token in [
        "",
        "opaque",
        "a.b",
        "a.b.c",
        "..",
        "e30.e30",
        "e30.W10.",
        "e30.bnVsbA.x",
    ] {
        let peek = Peek::at(&AccessToken::new(token));
        assert!(peek.expires.is_none() && peek.subject.is_none(), "{token}");
    }
}

#[test]
fn a_numeric_date_may_have_a_fraction_and_nothing_else() {
    assert_eq!(numeric_date(&json!(12)), Some(Timestamp::from_secs(12)));
    assert_eq!(numeric_date(&json!(12.9)), Some(Timestamp::from_secs(12)));
    for odd in [json!("12"), json!(-1), json!(1e300), json!(null)] {
        assert_eq!(numeric_date(&odd), None, "{odd}");
    }
}

#[test]
fn the_session_at_the_provider_may_be_named_in_the_access_token_only() {
    let begun = |claims: serde_json::Value, sid: Option<&str>| {
        let part = |json: &serde_json::Value| URL_SAFE_NO_PAD.encode(json.to_string());
        let token = format!("{}.{}.c2ln", part(&json!({"alg": "RS256"})), part(&claims));
        let login = Login {
            idp: "main".into(),
            grant: Grant {
                access_token: AccessToken::new(token),
                access_expires: None,
                refresh_token: None,
                refresh_expires: None,
                id_token: None,
            },
            id_claims: IdClaims {
                subject: "alice".into(),
                sid: sid.map(Arc::from),
                auth_time: None,
                claims: Map::new(),
            },
            user_agent: String::new(),
            address: IpAddr::V4(Ipv4Addr::LOCALHOST),
            requested: Timestamp::default(),
            replaces: None,
        };
        let day = Duration::from_hours(24);
        Record::begin(login, Timestamp::default(), day, day).sid
    };
    assert_eq!(begun(json!({"sid": "a"}), None).as_deref(), Some("a"));
    assert_eq!(begun(json!({"sid": "a"}), Some("i")).as_deref(), Some("i"));
    assert_eq!(begun(json!({}), None), None);
}
