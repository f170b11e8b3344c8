//! A WebSocket echo (RFC 6455), as small as it can be: what comes in one frame goes back in one frame.

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderValue, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::plain;
use crate::demo::http::{Body, full};

/// RFC 6455 section 1.3.
const MAGIC: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// The longest frame that is echoed.
const MOST: u64 = 16 * 1024 * 1024;

const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// Upgrades and echoes.
pub(super) fn echo(request: Request<Incoming>) -> Response<Body> {
    let upgrade = request.headers().get(header::UPGRADE);
    let asked = upgrade.is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"));
    let key = request.headers().get(header::SEC_WEBSOCKET_KEY).cloned();
    let (true, Some(key)) = (asked, key) else {
        return plain(StatusCode::UPGRADE_REQUIRED, "open this as a WebSocket\n");
    };
    tokio::spawn(async move {
        if let Ok(upgraded) = hyper::upgrade::on(request).await {
            // The other side may go whenever it likes.
            let _ = converse(TokioIo::new(upgraded)).await;
        }
    });
    switching(&key).unwrap_or_else(|| plain(StatusCode::BAD_REQUEST, "a bad key\n"))
}

fn switching(key: &HeaderValue) -> Option<Response<Body>> {
    let text = format!("{}{MAGIC}", key.to_str().ok()?);
    let accept = STANDARD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes()));
    Response::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header(header::CONNECTION, "upgrade")
        .header(header::UPGRADE, "websocket")
        .header(header::SEC_WEBSOCKET_ACCEPT, accept)
        .body(full(""))
        .ok()
}

async fn converse(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> std::io::Result<()> {
    loop {
        let [first, second] = [stream.read_u8().await?, stream.read_u8().await?];
        let length = match second & 0x7f {
            126 => u64::from(stream.read_u16().await?),
            127 => stream.read_u64().await?,
            short => u64::from(short),
        };
        // A client's frames are masked (RFC 6455 section 5.1).
        if second & 0x80 == 0 || length > MOST {
            return Ok(());
        }
        let mut mask = [0; 4];
        stream.read_exact(&mut mask).await?;
        let mut payload = vec![0; usize::try_from(length).unwrap_or_default()];
        stream.read_exact(&mut payload).await?;
        for (byte, mask) in payload.iter_mut().zip(mask.iter().cycle()) {
            *byte ^= mask;
        }
        let opcode = first & 0x0f;
        let back = if opcode == PING {
            (first & 0xf0) | PONG
        } else {
            first
        };
        if opcode != PONG {
            stream.write_all(&head(back, length)).await?;
            stream.write_all(&payload).await?;
            stream.flush().await?;
        }
        if opcode == CLOSE {
            return stream.shutdown().await;
        }
    }
}

/// A frame's head (RFC 6455 section 5.2).
fn head(first: u8, length: u64) -> Vec<u8> {
    let mut head = vec![first];
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(short @ 0..126), _) => head.push(short),
        (_, Ok(middle)) => {
            head.push(126);
            head.extend(middle.to_be_bytes());
        }
        (_, Err(_)) => {
            head.push(127);
            head.extend(length.to_be_bytes());
        }
    }
    head
}
