//! Tunnels over pipes in memory, with a clock that stands still: whatever the pieces and whenever the end comes, what both ends
//! got before their last word is whole.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use std::future::pending;

use proptest::prelude::*;
use tokio::io::{AsyncReadExt, DuplexStream, duplex};
use tokio::task::yield_now;
use tokio::time::{Instant, sleep};

use super::*;
use crate::ending::EndReason;

const GONE: Cause = Cause::Session(EndReason::SignedOut);

/// A frame of this length; a client's has a mask.
fn frame(length: usize, mask: bool) -> Vec<u8> {
    let (mut frame, masked) = (vec![0x82], if mask { 0x80 } else { 0 });
    match u8::try_from(length) {
        Ok(short) if short < 126 => frame.push(masked + short),
        _ => {
            frame.push(masked + 126);
            frame.extend(u16::try_from(length).unwrap().to_be_bytes());
        }
    }
    if mask {
        frame.extend(*b"mask");
    }
    // What looks like heads must not be taken for any.
    frame.extend((0..length).map(|n| [0x88, 0x00, 0x81, 0xff][n % 4]));
    frame
}

/// Writes in pieces until nobody takes any more.
async fn say(stream: &mut (impl AsyncWrite + Unpin), bytes: &[u8], piece: usize) {
    for piece in bytes.chunks(piece) {
        if stream.write_all(piece).await.is_err() {
            return;
        }
        yield_now().await;
    }
}

async fn hear(stream: &mut (impl AsyncRead + Unpin)) -> Vec<u8> {
    let mut heard = Vec::new();
    // However it ended.
    let _ = stream.read_to_end(&mut heard).await;
    heard
}

/// The client's end, the upstream's, and the tunnel between them.
fn ends(
    room: usize,
) -> (
    DuplexStream,
    DuplexStream,
    Tunnel<DuplexStream, DuplexStream>,
) {
    let (client, near) = duplex(room);
    let (upstream, far) = duplex(room);
    (client, upstream, Tunnel::between(near, far))
}

async fn after(turns: usize) -> Cause {
    for _ in 0..turns {
        yield_now().await;
    }
    GONE
}

/// What is left of these bytes when all whole frames at their beginning are taken away.
fn behind_whole<'a>(mut heard: &'a [u8], frames: &[Vec<u8>]) -> &'a [u8] {
    for frame in frames {
        match heard.strip_prefix(&**frame) {
            Some(rest) => heard = rest,
            None => break,
        }
    }
    heard
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn what_comes_before_the_last_word_is_whole(
        down in prop::collection::vec(prop_oneof![0..200_usize, 0..40_000_usize], 1..20),
        up in prop::collection::vec(prop_oneof![0..200_usize, 0..40_000_usize], 1..20),
        (down_piece, up_piece) in (1..9000_usize, 1..9000_usize),
        room in 1..20_000_usize,
        turns in 0..200_usize,
    ) {
        let down: Vec<_> = down.into_iter().map(|length| frame(length, false)).collect();
        let up: Vec<_> = up.into_iter().map(|length| frame(length, true)).collect();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let (to_client, to_upstream, outcome) = runtime.block_on(async {
            let (client, upstream, tunnel) = ends(room);
            let (mut from_client, mut client) = tokio::io::split(client);
            let (mut from_upstream, mut upstream) = tokio::io::split(upstream);
            let (down, up) = (down.concat(), up.concat());
            tokio::join!(
                async {
                    let (heard, ()) = tokio::join!(hear(&mut from_client), say(&mut client, &up, up_piece));
                    heard
                },
                async {
                    let (heard, ()) = tokio::join!(hear(&mut from_upstream), say(&mut upstream, &down, down_piece));
                    heard
                },
                tunnel.run(after(turns)),
            )
        });
        prop_assert_eq!(outcome.unwrap(), Some(GONE));
        let close = close(POLICY, "session ended", None);
        prop_assert_eq!(behind_whole(&to_client, &down), &*close, "to the client");
        let rest = behind_whole(&to_upstream, &up);
        // What the client has half said when it ends stays half said, without a word in the middle of it.
        let cut = up.iter().any(|frame| frame.starts_with(rest));
        let closed = rest.len() == close.len() + 4 && rest.starts_with(&[0x88, 0x80 + 15]);
        prop_assert!(cut || closed, "to the upstream: {:?}", rest);
    }
}

#[tokio::test(start_paused = true)]
async fn without_an_end_both_directions_end_by_themselves() {
    let (mut client, mut upstream, tunnel) = ends(64);
    let client = async {
        client.write_all(b"up").await.unwrap();
        client.shutdown().await.unwrap();
        hear(&mut client).await
    };
    let upstream = async {
        let heard = hear(&mut upstream).await;
        // One that still has something to say when the other has not.
        sleep(Duration::from_hours(1)).await;
        upstream.write_all(b"down").await.unwrap();
        upstream.shutdown().await.unwrap();
        heard
    };
    let (down, up, outcome) = tokio::join!(client, upstream, tunnel.run(pending()));
    assert_eq!(
        (&*down, &*up, outcome.unwrap()),
        (&b"down"[..], &b"up"[..], None)
    );
}

#[tokio::test(start_paused = true)]
async fn after_both_have_said_their_last_word_neither_is_waited_for() {
    let (mut client, mut upstream, tunnel) = ends(64);
    client.write_all(b"\x88\x80mask").await.unwrap();
    upstream.write_all(b"\x88\x00").await.unwrap();
    upstream.shutdown().await.unwrap();
    assert_eq!(tunnel.run(pending()).await.unwrap(), None);
    assert_eq!(hear(&mut client).await, b"\x88\x00");
    assert_eq!(hear(&mut upstream).await, b"\x88\x80mask");
}

#[tokio::test(start_paused = true)]
async fn who_was_told_that_it_is_over_is_not_told_twice() {
    let (mut client, mut upstream, tunnel) = ends(64);
    upstream.write_all(b"\x88\x00").await.unwrap();
    tunnel.run(after(10)).await.unwrap();
    assert_eq!(hear(&mut client).await, b"\x88\x00");
    assert_eq!(hear(&mut upstream).await[..2], [0x88, 0x80 + 15]);
}

/// Ends that answer the last word are not kept waiting; ends that do not, or take nothing, are not waited for.
#[tokio::test(start_paused = true)]
async fn an_end_takes_as_long_as_it_must_and_no_longer() {
    let begun = Instant::now();
    let (mut client, mut upstream, tunnel) = ends(64);
    client.write_all(b"\x88\x80mask").await.unwrap();
    upstream.write_all(b"\x88\x00").await.unwrap();
    tunnel.run(after(0)).await.unwrap();
    assert_eq!(begun.elapsed(), Duration::ZERO);

    let (_client, _upstream, tunnel) = ends(64);
    tunnel.run(after(0)).await.unwrap();
    assert!(begun.elapsed() <= GOODBYE, "{:?}", begun.elapsed());

    for half in [&b"\x82\x7d"[..], &b"\x82\x7d half of a frame"[..]] {
        let begun = Instant::now();
        let (mut client, mut upstream, tunnel) = ends(64);
        upstream.write_all(half).await.unwrap();
        tunnel.run(after(10)).await.unwrap();
        assert_eq!(hear(&mut client).await, half);
        assert_eq!(hear(&mut upstream).await, b"");
        assert!(begun.elapsed() >= LAST_FRAME && begun.elapsed() < 2 * LAST_FRAME);
    }

    // A client that takes nothing.
    let begun = Instant::now();
    let (client, mut upstream, tunnel) = ends(64);
    let flood = async {
        let flood = frame(60_000, false);
        while upstream.write_all(&flood).await.is_ok() {}
    };
    tokio::join!(flood, tunnel.run(after(10))).1.unwrap();
    assert!(begun.elapsed() < 2 * LAST_FRAME);
    drop(client);
}
