//! Sealed values open only as what they were sealed as.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may fail by panicking"
)]

use super::*;

const PURPOSES: [Purpose; 5] = [
    Purpose::Session,
    Purpose::Owed,
    Purpose::Login,
    Purpose::State,
    Purpose::SignedOut,
];

fn ring(seeds: &[u8]) -> Keyring {
    let keys: Vec<_> = seeds.iter().map(|seed| vec![*seed; 32]).collect();
    Keyring::new(&keys).unwrap()
}

#[test]
fn opens_what_it_sealed() {
    let ring = ring(&[1]);
    for purpose in PURPOSES {
        for text in [&b""[..], b"x", &[7; 5000]] {
            let sealed = ring.seal(purpose, b"context", text);
            assert_eq!(ring.open(purpose, b"context", &sealed).unwrap(), text);
        }
    }
}

#[test]
fn no_two_sealings_are_alike() {
    let ring = ring(&[1]);
    let one = ring.seal(Purpose::Login, b"", b"same");
    assert_ne!(one, ring.seal(Purpose::Login, b"", b"same"));
    assert!(!one.windows(4).any(|window| window == b"same"));
}

#[test]
fn every_changed_bit_is_noticed() {
    let ring = ring(&[1]);
    let sealed = ring.seal(Purpose::Session, b"context", b"the record");
    for at in 0..sealed.len() {
        for bit in 0..8 {
            let mut changed = sealed.clone();
            changed[at] ^= 1 << bit;
            let opened = ring.open(Purpose::Session, b"context", &changed);
            assert_eq!(opened, Err(Error), "byte {at} bit {bit}");
        }
    }
}

#[test]
fn every_other_length_is_noticed() {
    let ring = ring(&[1]);
    let mut sealed = ring.seal(Purpose::Session, b"context", b"the record");
    for length in 0..sealed.len() {
        let cut = ring.open(Purpose::Session, b"context", &sealed[..length]);
        assert_eq!(cut, Err(Error), "{length} bytes");
    }
    sealed.push(0);
    assert_eq!(ring.open(Purpose::Session, b"context", &sealed), Err(Error));
}

#[test]
fn no_purpose_opens_as_another() {
    let ring = ring(&[1]);
    for made in PURPOSES {
        let sealed = ring.seal(made, b"context", b"x");
        for asked in PURPOSES {
            let opened = ring.open(asked, b"context", &sealed).is_ok();
            assert_eq!(opened, made == asked, "{made:?} as {asked:?}");
        }
    }
}

#[test]
fn the_context_is_bound() {
    let ring = ring(&[1]);
    let sealed = ring.seal(Purpose::Session, b"one", b"x");
    for context in [&b""[..], b"on", b"one ", b"two", b"session"] {
        assert_eq!(ring.open(Purpose::Session, context, &sealed), Err(Error));
    }
}

#[test]
fn keys_rotate_without_losing_what_is_sealed() {
    let old = ring(&[1]);
    let both = ring(&[2, 1]);
    let new = ring(&[2]);
    let before = old.seal(Purpose::Session, b"", b"before");
    assert_eq!(
        both.open(Purpose::Session, b"", &before).unwrap(),
        b"before"
    );
    let after = both.seal(Purpose::Session, b"", b"after");
    assert_eq!(new.open(Purpose::Session, b"", &after).unwrap(), b"after");
    assert_eq!(old.open(Purpose::Session, b"", &after), Err(Error));
    assert_eq!(new.open(Purpose::Session, b"", &before), Err(Error));
}

#[test]
fn another_keys_id_on_a_value_does_not_open_it() {
    let both = ring(&[1, 2]);
    let mut sealed = ring(&[1]).seal(Purpose::Session, b"", b"x");
    let other = ring(&[2]).seal(Purpose::Session, b"", b"x");
    sealed[1..5].copy_from_slice(&other[1..5]);
    assert_eq!(both.open(Purpose::Session, b"", &sealed), Err(Error));
}

#[test]
fn weak_keys_are_refused() {
    assert_eq!(Keyring::new(&[]).unwrap_err(), KeyError::None);
    for keys in [vec![vec![1; 31]], vec![vec![1; 32], vec![]]] {
        assert_eq!(Keyring::new(&keys).unwrap_err(), KeyError::TooShort);
    }
}

#[test]
fn all_of_the_key_material_counts() {
    let long = Keyring::new(&[[vec![1; 63], vec![2]].concat()]).unwrap();
    let other = Keyring::new(&[[vec![1; 63], vec![3]].concat()]).unwrap();
    let sealed = long.seal(Purpose::State, b"", b"x");
    assert_eq!(other.open(Purpose::State, b"", &sealed), Err(Error));
}

#[test]
fn nothing_is_printed() {
    assert_eq!(format!("{:?}", ring(&[65, 66])), "Keyring(2 keys)");
}
