//! HTTP/2 by hand: frames as bytes, well-formed or not.

use tokio::io::{AsyncRead, AsyncWrite};

use super::*;

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const PRIORITY: u8 = 2;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PING: u8 = 6;
pub(super) const GOAWAY: u8 = 7;
pub(super) const WINDOW_UPDATE: u8 = 8;
pub(super) const CONTINUATION: u8 = 9;

pub(super) const NONE: u8 = 0;
pub(super) const END_STREAM: u8 = 0x1;
pub(super) const ACK: u8 = 0x1;
pub(super) const END_HEADERS: u8 = 0x4;
pub(super) const PADDED: u8 = 0x8;

pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A frame as it is sent.
pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = length[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A header block without compression (RFC 7541 section 6.2.2).
pub(super) fn block(headers: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in headers {
        bytes.push(0);
        for text in [name, value] {
            bytes.push(u8::try_from(text.len()).unwrap());
            assert!(text.len() < 127);
            bytes.extend(text.as_bytes());
        }
    }
    bytes
}

/// The headers of a request, and some more.
pub(super) fn asking<'a>(
    method: &'a str,
    path: &'a str,
    more: &[(&'a str, &'a str)],
) -> Vec<(&'a str, &'a str)> {
    let mut headers = vec![
        (":method", method),
        (":scheme", "https"),
        (":authority", "localhost"),
        (":path", path),
    ];
    headers.extend(more);
    headers
}

pub(super) fn request(stream: u32, flags: u8, method: &str, path: &str) -> Vec<u8> {
    let block = block(&asking(method, path, &[]));
    frame(HEADERS, END_HEADERS | flags, stream, &block)
}

/// A frame as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
    pub(super) payload: Vec<u8>,
}

/// A client that says what it is told to.
pub(super) struct Raw<S>(pub(super) S);

impl<S: AsyncRead + AsyncWrite + Unpin> Raw<S> {
    /// Preface and SETTINGS are exchanged.
    pub(super) async fn open(stream: S) -> Self {
        let mut raw = Self(stream);
        raw.send(PREFACE).await;
        raw.send(&frame(SETTINGS, NONE, 0, &[])).await;
        raw.until(|frame| frame.kind == SETTINGS && frame.flags == ACK)
            .await;
        raw.send(&frame(SETTINGS, ACK, 0, &[])).await;
        raw
    }

    pub(super) async fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).await.unwrap();
        self.0.flush().await.unwrap();
    }

    /// The next frame, or nothing once the connection is over.
    pub(super) async fn next(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        self.0.read_exact(&mut head).await.ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        self.0.read_exact(&mut payload).await.ok()?;
        Some(Frame {
            kind: head[3],
            flags: head[4],
            stream: u32::from_be_bytes([head[5], head[6], head[7], head[8]]),
            payload,
        })
    }

    /// All frames up to and including the one that is looked for.
    pub(super) async fn until(&mut self, wanted: impl Fn(&Frame) -> bool) -> Vec<Frame> {
        let mut frames = Vec::new();
        loop {
            let next = self.next().await;
            let next = next.unwrap_or_else(|| panic!("closed after {frames:?}"));
            frames.push(next.clone());
            if wanted(&next) {
                return frames;
            }
        }
    }
}
