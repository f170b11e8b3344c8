//! GET `/frontchannel_logout?iss=&sid=`: a page of the provider, in the browser, says that its session is over (OpenID Connect
//! Front-Channel Logout). Nobody has proven that, so sessions end here, and nothing is revoked or refused.

use std::sync::Arc;

use http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use http::{HeaderValue, Response};
use url::Url;

use super::Endpoints;
use super::answer::with_cookies;
use super::ask::Ask;
use crate::credential::cookie;
use crate::issuer::Issuer;
use crate::refusal::Refusal;
use crate::session::{self, Whose};

/// Nobody sees it: providers load it in a hidden frame.
const PAGE: &str = "<!doctype html><html lang=\"en\"><title>Signed out</title><p>Signed out.";

impl Endpoints {
    pub(super) async fn frontchannel_logout(&self, ask: &Ask) -> Result<Response<String>, Refusal> {
        let (Some(issuer), Some(sid)) = (ask.query.value("iss"), ask.query.value("sid")) else {
            return Err(Refusal::Malformed("It must say iss and sid."));
        };
        let mut idps = self.idps.iter();
        let idp = idps.find(|idp| *idp.settings().issuer == *issuer);
        let idp = idp.ok_or(Refusal::Malformed("There is no such issuer here."))?;
        let whose = Whose::ProviderSession {
            idp: Arc::clone(&idp.settings().name),
            sid: sid.into(),
            subject: None,
        };
        let ended = self.sessions.end_unproven(whose).await;
        let ended = ended.map_err(session::Error::Store)?;
        if ended > 0 {
            let idp = &idp.settings().name;
            tracing::info!(%idp, sessions = ended, "a page of the identity provider has signed somebody out");
        }
        let cleared = self.cookie_of_what_is_over(ask).await;
        Ok(with_cookies(framed_by(idp), [cleared]))
    }

    /// A browser leaves the cookie out where another site frames us. Where it comes, it stays unless its session is over:
    /// it may be another one.
    async fn cookie_of_what_is_over(&self, ask: &Ask) -> Option<HeaderValue> {
        let name = &self.settings.cookie;
        let shown = cookie::session(&ask.headers, name)?;
        match self.sessions.standing(&shown).await {
            Err(session::Error::Ended(_) | session::Error::Unknown) => cookie::clear(name),
            Ok(_)
            | Err(
                session::Error::Unreadable
                | session::Error::NotNow { .. }
                | session::Error::InDoubt { .. }
                | session::Error::Store(_),
            ) => None,
        }
    }
}

/// The one answer of ours that may be in a frame: the provider's.
fn framed_by(idp: &Issuer) -> Response<String> {
    let issuer = Url::parse(&idp.settings().issuer).ok();
    let origin = issuer.map_or("'none'".to_owned(), |url| {
        url.origin().ascii_serialization()
    });
    let policy = format!("default-src 'none'; frame-ancestors {origin}");
    let mut response = Response::new(PAGE.to_owned());
    let headers = response.headers_mut();
    headers.extend(
        HeaderValue::try_from(policy)
            .ok()
            .map(|policy| (CONTENT_SECURITY_POLICY, policy)),
    );
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/html; charset=utf-8"),
    );
    response
}
