//! What is sealed comes back only whole, only to its own sign-in, and only in time; and a browser never holds too many.
#![expect(
    clippy::unwrap_used,
    reason = "a test that can't be set up should fail"
)]

use std::time::Duration;

use http::{HeaderMap, HeaderValue};

use super::{Flow, FlowId, LIFETIME, State, make_room};
use crate::clock::Timestamp;
use crate::seal::Keyring;

const SESSION: &str = "__Host-tidegate";
const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

fn keys() -> Keyring {
    Keyring::new(&[vec![7; 32]]).unwrap()
}

fn flow(created: Timestamp, rd: &str) -> Flow {
    Flow {
        idp: "main".to_owned(),
        nonce: "nonce-secret".to_owned(),
        verifier: "verifier-secret".to_owned(),
        rd: rd.to_owned(),
        created,
        attempt: 0,
        signed_in: false,
        silent: false,
    }
}

fn cookies(list: &[(String, String)]) -> HeaderMap {
    let line: Vec<_> = list
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let mut headers = HeaderMap::new();
    headers.insert("cookie", HeaderValue::from_str(&line.join("; ")).unwrap());
    headers
}

fn in_browser(created: Timestamp, rd: &str) -> (FlowId, (String, String)) {
    let id = FlowId::random().unwrap();
    let value = flow(created, rd).seal(&id, &keys());
    let cookie = (id.cookie(SESSION), value);
    (id, cookie)
}

fn found(id: &FlowId, list: &[(String, String)], now: Timestamp) -> Option<String> {
    Flow::of(&cookies(list), id, SESSION, &keys(), now).map(|flow| flow.nonce)
}

#[test]
fn a_sign_in_is_found_by_its_id_for_ten_minutes() {
    let (id, cookie) = in_browser(NOW, "/");
    let list = [cookie];
    assert_eq!(found(&id, &list, NOW).unwrap(), "nonce-secret");
    assert!(found(&id, &list, NOW + LIFETIME).is_some());
    assert!(found(&id, &list, NOW + LIFETIME + Duration::from_millis(1)).is_none());
    assert!(found(&FlowId::random().unwrap(), &list, NOW).is_none());
}

#[test]
fn a_cookie_of_another_sign_in_under_this_name_does_not_open() {
    let (id, (name, _)) = in_browser(NOW, "/");
    let (_, (_, other)) = in_browser(NOW, "/");
    assert!(found(&id, &[(name, other)], NOW).is_none());
}

#[test]
fn no_secret_can_be_read_in_the_browser() {
    let id = FlowId::random().unwrap();
    let flow = flow(NOW, "/secret-place");
    for text in [flow.seal(&id, &keys()), flow.state(&id, &keys())] {
        assert!(!text.contains("secret"));
        assert!(
            text.bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
        );
    }
}

#[test]
fn state_says_where_to_begin_anew_and_is_only_ours() {
    let id = FlowId::random().unwrap();
    let text = flow(NOW, "/app?x=1").state(&id, &keys());
    let (read, state) = State::read(&text, &keys());
    assert_eq!(read.unwrap(), id);
    assert_eq!(state.unwrap().rd, "/app?x=1");
    let (_, sealed) = text.split_once('.').unwrap();
    let other = FlowId::random().unwrap();
    let foreign = Keyring::new(&[vec![8; 32]]).unwrap();
    assert!(State::read(&text, &foreign).1.is_none());
    for forged in [
        format!("{}.{sealed}", other.0),
        format!("{text}A"),
        format!("{}.", id.0),
        id.0.clone(),
        "x.y".to_owned(),
        ".".to_owned(),
        String::new(),
        format!("{};.{sealed}", id.0),
    ] {
        assert!(State::read(&forged, &keys()).1.is_none(), "{forged}");
    }
    // A login cookie is no state.
    let cookie = flow(NOW, "/").seal(&id, &keys());
    assert!(
        State::read(&format!("{}.{cookie}", id.0), &keys())
            .1
            .is_none()
    );
}

#[test]
fn a_long_return_address_stays_out_of_state() {
    let id = FlowId::random().unwrap();
    let text = flow(NOW, &format!("/{}", "a".repeat(2000))).state(&id, &keys());
    assert!(text.len() < 2048, "{}", text.len());
    assert_eq!(State::read(&text, &keys()).1.unwrap().rd, "/");
}

fn cleared(list: &[(String, String)]) -> Vec<String> {
    make_room(&cookies(list), SESSION, &keys(), NOW)
        .into_iter()
        .flatten()
        .map(|value| {
            value
                .to_str()
                .unwrap()
                .split('=')
                .next()
                .unwrap()
                .to_owned()
        })
        .collect()
}

#[test]
fn five_at_most_and_the_oldest_goes_first() {
    let list: Vec<_> = (1..=6)
        .map(|age| in_browser(NOW - Duration::from_secs(age), "/").1)
        .collect();
    let four = list.get(..4).unwrap();
    assert!(cleared(four).is_empty());
    let names: Vec<_> = list.iter().skip(4).map(|(name, _)| name.clone()).collect();
    assert_eq!(cleared(&list), names);
}

#[test]
fn long_ones_are_fewer() {
    let rd = format!("/{}", "a".repeat(2000));
    let list: Vec<_> = (1..=4)
        .map(|age| in_browser(NOW - Duration::from_secs(age), &rd).1)
        .collect();
    assert_eq!(cleared(&list).len(), 2);
}

#[test]
fn what_is_over_or_was_planted_is_cleared_in_bounds() {
    let old = in_browser(NOW - LIFETIME - Duration::from_secs(1), "/").1;
    let (_, live) = in_browser(NOW, "/");
    let session = (SESSION.to_owned(), "x".to_owned());
    let other = (format!("{SESSION}-login-short"), "x".to_owned());
    assert_eq!(cleared(&[old.clone(), live, session, other]), [old.0]);
    let planted: Vec<_> = (0..50)
        .map(|_| (FlowId::random().unwrap().cookie(SESSION), "junk".to_owned()))
        .collect();
    assert_eq!(cleared(&planted).len(), 16);
}
