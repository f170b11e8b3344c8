//! Frames without end over a stream that is held open: each kind of flood is closed.

use tokio::io::{DuplexStream, split};

use super::frames::*;
use super::time::connect;
use super::*;
use crate::listener::pulse::Speaks;

/// How many of these frames are taken before the connection is closed.
async fn borne(flood: &[u8]) -> Option<usize> {
    let (stream, _) = connect(Speaks::Http2);
    let mut raw: Raw<DuplexStream> = Raw::open(stream).await;
    raw.send(&request(1, END_STREAM, "GET", "/wait")).await;
    raw.send(&request(3, NONE, "POST", "/wait")).await;
    let (mut read, mut write) = split(raw.0);
    let reading = tokio::spawn(async move {
        let mut answers = Vec::new();
        let _ = read.read_to_end(&mut answers).await;
    });
    let mut sent = None;
    for count in 0..10_000 {
        if write.write_all(flood).await.is_err() {
            sent = Some(count);
            break;
        }
    }
    drop(write);
    if sent.is_some() {
        reading.await.unwrap();
    }
    sent
}

#[tokio::test(start_paused = true)]
async fn each_flood_is_closed() {
    let update = 1_u32.to_be_bytes();
    for (name, flood) in [
        ("PRIORITY", frame(PRIORITY, NONE, 1, &[0, 0, 0, 0, 9])),
        ("WINDOW_UPDATE", frame(WINDOW_UPDATE, NONE, 0, &update)),
        ("its stream's", frame(WINDOW_UPDATE, NONE, 1, &update)),
        ("PING", frame(PING, NONE, 0, &[0; 8])),
        ("PING answers", frame(PING, ACK, 0, &[0; 8])),
        ("SETTINGS", frame(SETTINGS, NONE, 0, &[])),
        (
            "SETTINGS that say",
            frame(SETTINGS, NONE, 0, &[0, 4, 0, 0, 255, 255]),
        ),
        ("unknown", frame(0xbe, NONE, 0, &[0; 100])),
        ("unknown and empty", frame(0xbe, NONE, 1, &[])),
        ("empty DATA", frame(DATA, NONE, 3, &[])),
        ("padded DATA", frame(DATA, PADDED, 3, &[255; 256])),
        ("DATA of a byte", frame(DATA, NONE, 3, b"x")),
        ("RST_STREAM", frame(RST_STREAM, NONE, 1, &[0, 0, 0, 8])),
    ] {
        assert!(borne(&flood).await.is_some(), "{name}");
    }
    let endless = frame(CONTINUATION, NONE, 5, &[]);
    let block = block(&asking("GET", "/", &[]));
    let mut first = frame(HEADERS, NONE, 5, &block);
    first.extend(endless.repeat(10_000));
    assert!(borne(&first).await.is_some(), "CONTINUATION");
}

/// Begun and given up at once, over and over (rapid reset): taken on or not.
#[tokio::test(start_paused = true)]
async fn requests_that_are_given_up_at_once_are_a_flood() {
    let (stream, site) = connect(Speaks::Http2);
    let mut raw = Raw::open(stream).await;
    let mut count = 0;
    for id in (1..100_000).step_by(2) {
        let mut both = request(id, END_STREAM, "GET", "/wait");
        both.extend(frame(RST_STREAM, NONE, id, &[0, 0, 0, 8]));
        if raw.0.write_all(&both).await.is_err() {
            break;
        }
        tokio::task::yield_now().await;
        count += 1;
    }
    assert!(count < 1000, "{count}");
    assert!(site.seen().len() < 1000);
}

#[tokio::test(start_paused = true)]
async fn a_window_for_each_little_that_was_read_is_no_flood() {
    let (stream, _) = connect(Speaks::Http2);
    let mut raw = Raw::open(stream).await;
    raw.send(&request(1, END_STREAM, "GET", "/big")).await;
    let mut read = 0;
    while read < 32 << 20 {
        let frame = raw.next().await.unwrap();
        if frame.kind != DATA {
            continue;
        }
        read += frame.payload.len();
        // Four times as often as any client that is known.
        let piece = u32::try_from(frame.payload.len() / 16).unwrap().max(1);
        for _ in 0..16 {
            for stream in [0, 1] {
                let update =
                    super::frames::frame(WINDOW_UPDATE, NONE, stream, &piece.to_be_bytes());
                raw.send(&update).await;
            }
        }
    }
}

#[tokio::test]
async fn many_requests_are_no_flood() {
    let (stream, site) = connect(Speaks::Http2);
    let mut raw = Raw::open(stream).await;
    let wide = 1_000_000_u32.to_be_bytes();
    raw.send(&frame(WINDOW_UPDATE, NONE, 0, &wide)).await;
    for id in (1..20_000).step_by(2) {
        raw.send(&request(id, END_STREAM, "HEAD", "/")).await;
        raw.until(|frame| frame.stream == id && frame.flags & END_STREAM != 0)
            .await;
    }
    assert_eq!(site.seen().len(), 10_000);
}
