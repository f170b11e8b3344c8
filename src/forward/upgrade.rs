//! WebSocket (RFC 6455) through the gateway: the handshake is an ordinary request, after which bytes are copied both ways.

use http::header::{CONNECTION, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE};
use http::{HeaderMap, HeaderValue, Method, Request, Response, Version};
use http_body::Body as _;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;

use super::Error;
use super::bound::{Over, Tie};
use super::tunnel::Tunnel;
use crate::inbound::Inbound;

/// The client's half of a tunnel that the upstream has not agreed to yet.
#[derive(Debug)]
pub(super) struct Asked(OnUpgrade);

/// Whether the request asks for a WebSocket. A request for any other upgrade is an ordinary one: a server may ignore it
/// (RFC 9110 section 7.8), and `Upgrade: h2c` is only there to smuggle.
///
/// # Errors
/// When it asks for one in a way that is no handshake (RFC 6455 section 4.1): what the upstream made of it would be unclear.
pub(super) fn asked(request: &mut Request<Inbound>) -> Result<Option<Asked>, Error> {
    if !names(request.headers(), &UPGRADE, "websocket")
        || !names(request.headers(), &CONNECTION, "upgrade")
    {
        return Ok(None);
    }
    let headers = request.headers();
    let handshake = request.method() == Method::GET
        && request.version() == Version::HTTP_11
        && request.body().is_end_stream()
        && headers.get_all(UPGRADE).iter().count() == 1
        && headers
            .get(UPGRADE)
            .is_some_and(|v| v.as_bytes().eq_ignore_ascii_case(b"websocket"))
        && headers.get_all(SEC_WEBSOCKET_KEY).iter().count() == 1
        && headers
            .get(SEC_WEBSOCKET_VERSION)
            .is_some_and(|v| v == "13");
    if !handshake {
        return Err(Error::Upgrade);
    }
    Ok(Some(Asked(hyper::upgrade::on(request))))
}

/// Sets what makes a request or its answer a handshake.
pub(super) fn announce(headers: &mut HeaderMap) {
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
}

/// Whether the upstream agreed to a WebSocket.
pub(super) fn agreed(headers: &HeaderMap) -> bool {
    names(headers, &UPGRADE, "websocket")
}

impl Asked {
    /// Joins both sides. The tunnel lives in a task of its own until either side is done, or gone, or the tie is over.
    pub(super) fn join<B>(self, response: &mut Response<B>, tie: Option<Tie>) {
        let upstream = hyper::upgrade::on(response);
        tokio::spawn(tunnel(self.0, upstream, tie));
    }
}

async fn tunnel(client: OnUpgrade, upstream: OnUpgrade, tie: Option<Tie>) {
    let mut over = Over(tie);
    let joined = tokio::select! {
        joined = async { tokio::try_join!(client, upstream) } => joined,
        // Nothing has been said yet that could be left half said.
        _ = &mut over => return,
    };
    let (client, upstream) = match joined {
        Ok((client, upstream)) => (TokioIo::new(client), TokioIo::new(upstream)),
        Err(error) => return tracing::debug!(%error, "a WebSocket did not begin"),
    };
    // How a tunnel ends is between its two ends.
    if let Err(error) = Tunnel::between(client, upstream).run(over).await {
        tracing::debug!(%error, "a WebSocket broke off");
    }
}

/// Whether a comma-separated header has this element, in any case.
fn names(headers: &HeaderMap, header: &http::HeaderName, element: &str) -> bool {
    headers
        .get_all(header)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .any(|found| found.trim_ascii().eq_ignore_ascii_case(element.as_bytes()))
}
