//! Any frames in any pieces: the boundaries are found, and only they.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use proptest::prelude::*;

use super::*;

/// One frame as a peer may write it.
fn frame(opcode: u8, fin: bool, length: usize, mask: Option<[u8; 4]>) -> Vec<u8> {
    let masked = if mask.is_some() { 0x80 } else { 0 };
    let mut frame = vec![if fin { 0x80 | opcode } else { opcode }];
    match length {
        0..126 => frame.push(masked | u8::try_from(length).unwrap()),
        126..65_536 => {
            frame.push(masked + 126);
            frame.extend(u16::try_from(length).unwrap().to_be_bytes());
        }
        _ => {
            frame.push(masked + 127);
            frame.extend(u64::try_from(length).unwrap().to_be_bytes());
        }
    }
    frame.extend(mask.into_iter().flatten());
    // What looks like heads must not be taken for any.
    frame.extend((0..length).map(|n| [0x88, 0x00, 0x81, 0xff][n % 4]));
    frame
}

fn frames() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let opcode = prop::sample::select(vec![0_u8, 1, 2, 9, 10]);
    let length = prop_oneof![
        0..4_usize,
        120..130_usize,
        Just(65_535),
        Just(65_536),
        200..70_000_usize
    ];
    let one = (opcode, any::<bool>(), length, any::<Option<[u8; 4]>>());
    let one = one.prop_map(|(opcode, fin, length, mask)| frame(opcode, fin, length, mask));
    prop::collection::vec(one, 1..6)
}

/// Cuts bytes at these places, each taken round and round.
fn cut<'a>(bytes: &'a [u8], sizes: &'a [usize]) -> impl Iterator<Item = &'a [u8]> {
    let (mut rest, mut sizes) = (bytes, sizes.iter().cycle());
    std::iter::from_fn(move || {
        let (piece, after) = rest.split_at((*sizes.next()?).min(rest.len()));
        rest = after;
        (!piece.is_empty()).then_some(piece)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn boundaries_are_where_frames_end(
        frames in frames(),
        sizes in prop::collection::vec(1..5000_usize, 1..8),
    ) {
        let all = frames.concat();
        let mut ends: Vec<usize> = Vec::new();
        for frame in &frames {
            ends.push(ends.last().unwrap_or(&0) + frame.len());
        }
        let (mut follower, mut passed) = (Frames::default(), 0);
        for piece in cut(&all, &sizes) {
            // The rest of a frame reaches to its end, or is all that is there.
            let next = ends.iter().find(|end| **end >= passed).unwrap();
            let expected = if follower.is_between() { 0 } else { (next - passed).min(piece.len()) };
            prop_assert_eq!(follower.rest_in(piece), expected);
            follower.follow(piece);
            passed += piece.len();
            prop_assert_eq!(follower.is_between(), ends.contains(&passed), "after {}", passed);
            prop_assert!(!follower.closes());
        }
        follower.follow(&close(1000, "", None));
        prop_assert!(follower.closes() && follower.is_between());
    }

    #[test]
    fn any_bytes_are_followed(bytes in prop::collection::vec(any::<u8>(), 0..2000), size in 1..50_usize) {
        let (mut whole, mut pieces) = (Frames::default(), Frames::default());
        whole.follow(&bytes);
        cut(&bytes, &[size]).for_each(|piece| pieces.follow(piece));
        prop_assert_eq!((whole.known, whole.left, whole.closes), (pieces.known, pieces.left, pieces.closes));
    }
}

#[test]
fn a_close_frame_says_code_and_reason() {
    assert_eq!(close(1008, "bye", None), b"\x88\x05\x03\xf0bye");
    let masked = close(1001, "bye", Some([1, 2, 3, 4]));
    assert_eq!(masked[..6], [0x88, 0x85, 1, 2, 3, 4]);
    let payload = masked[6..].iter().zip([1, 2, 3, 4, 1]);
    let payload: Vec<u8> = payload.map(|(byte, mask)| byte ^ mask).collect();
    assert_eq!(payload, b"\x03\xe9bye");
    let longest = close(1008, &"x".repeat(200), None);
    assert_eq!((longest.len(), longest[1]), (127, 125));
}

#[test]
fn a_length_beyond_reason_is_no_end() {
    let mut follower = Frames::default();
    follower.follow(&[0x82, 0xff]);
    follower.follow(&[0xff; 8]);
    follower.follow(&[0; 1000]);
    assert!(!follower.is_between());
    assert_eq!(follower.rest_in(&[0; 10]), 10);
}
