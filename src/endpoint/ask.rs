//! One request to an endpoint, read: where it came to, what it says, and who sent it.

use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, ORIGIN, USER_AGENT};
use http::{HeaderMap, Method, Request};
use http_body_util::{BodyExt, Limited};

use super::parameters::Parameters;
use crate::inbound::Inbound;
use crate::peer::Peer;
use crate::refusal::{Refusal, Site, understands_pages};
use crate::target::Target;
use crate::telemetry::audit::Caller;

/// The media type of forms.
pub(super) const FORM: &str = "application/x-www-form-urlencoded";
/// The largest form that is read.
const LARGEST: usize = 64 * 1024;
/// How long a form may take to arrive.
const SLOWEST: Duration = Duration::from_secs(10);
/// How much of a `User-Agent` is kept.
const USER_AGENT_LEN: usize = 256;

/// A request, read whole.
#[derive(Debug)]
pub(super) struct Ask {
    pub(super) method: Method,
    pub(super) headers: HeaderMap,
    /// The origin of ours that it came to; the external one where the host is none of ours.
    pub(super) here: String,
    /// Whether the host is none of ours: no sign-in starts there.
    pub(super) astray: bool,
    pub(super) query: Parameters,
    pub(super) form: Parameters,
    pub(super) address: IpAddr,
    /// Whether it can make use of a page.
    pub(super) html: bool,
}

/// What the browser says about where a request came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sender {
    /// A page of this origin, or the person's own hand.
    Own,
    /// Another site, a sibling of ours among them.
    Foreign,
    /// Nothing was said.
    Unknown,
}

impl Ask {
    pub(super) async fn read(
        site: &Site,
        target: &Target,
        peer: &Peer,
        request: Request<Inbound>,
    ) -> Result<Self, Refusal> {
        let (head, body) = request.into_parts();
        let html = understands_pages(&head);
        let query = Parameters::parse(target.query.as_deref().unwrap_or_default().as_bytes())?;
        let form = if head.method == Method::POST {
            form(&head.headers, body).await?
        } else {
            Parameters::default()
        };
        let here = site.origin(&target.host);
        Ok(Self {
            method: head.method,
            headers: head.headers,
            astray: here.is_none(),
            here: here.unwrap_or_else(|| site.external().to_owned()),
            query,
            form,
            address: peer.addr.ip(),
            html,
        })
    }

    /// Fetch Metadata where there is any; else `Origin` (RFC 6454 section 7). An `Origin: null` says nothing: browsers send
    /// it with our own forms too, since our pages have no referrer.
    pub(super) fn sender(&self) -> Sender {
        if let Some(site) = self.headers.get("sec-fetch-site") {
            return if site == "same-origin" || site == "none" {
                Sender::Own
            } else {
                Sender::Foreign
            };
        }
        match self.headers.get(ORIGIN) {
            None => Sender::Unknown,
            Some(origin) if origin == "null" => Sender::Unknown,
            Some(origin) if origin == self.here.as_str() => Sender::Own,
            Some(_) => Sender::Foreign,
        }
    }

    /// `X-CSRF: 1` can't be sent from another site without our leave, which is never given (CORS preflight).
    pub(super) fn has_csrf_header(&self) -> bool {
        self.headers.get("x-csrf").is_some_and(|value| value == "1")
    }

    /// For the audit log.
    pub(super) fn caller(&self) -> Caller<'_> {
        let agent = self.headers.get(USER_AGENT);
        Caller {
            address: self.address,
            user_agent: agent.and_then(|a| a.to_str().ok()).unwrap_or_default(),
        }
    }

    pub(super) fn user_agent(&self) -> String {
        let text = self.headers.get(USER_AGENT);
        let text = text.and_then(|text| text.to_str().ok()).unwrap_or_default();
        text.chars().take(USER_AGENT_LEN).collect()
    }
}

/// An empty body is an empty form, whatever its type.
async fn form(headers: &HeaderMap, body: Inbound) -> Result<Parameters, Refusal> {
    let bytes = whole(body).await?;
    if bytes.is_empty() {
        return Ok(Parameters::default());
    }
    if !media_type(headers).eq_ignore_ascii_case(FORM) {
        return Err(Refusal::Malformed("Only a form can be sent here."));
    }
    Parameters::parse(&bytes)
}

/// A body, bounded in length and time.
pub(super) async fn whole(body: Inbound) -> Result<Bytes, Refusal> {
    let collecting = Limited::new(body, LARGEST).collect();
    let Ok(collected) = tokio::time::timeout(SLOWEST, collecting).await else {
        return Err(Refusal::Malformed("The form took too long to arrive."));
    };
    Ok(collected.map_err(|error| broken(&*error))?.to_bytes())
}

/// What `Content-Type` says, without parameters.
pub(super) fn media_type(headers: &HeaderMap) -> &str {
    let kind = headers.get(CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    kind.split(';').next().unwrap_or_default().trim()
}

fn broken(error: &(dyn std::error::Error + Send + Sync + 'static)) -> Refusal {
    if error.is::<http_body_util::LengthLimitError>() {
        return Refusal::TooLarge;
    }
    Refusal::Malformed("The form broke off.")
}
