//! `/v2/logout` ends the browser's session at once; `/oidc/logout` asks the person unless a hint is of that very
//! session.
//! Refresh tokens outlive both.

use http::{Request, Response, StatusCode, header};
use http_body_util::Full;
use serde_json::{Value, json};
use tidegate::demo::http::{Body, escape};
use url::Url;

use super::authorize::COOKIE;
use super::books::Sso;
use super::given::Given;
use super::{Tenant, found, mint, page};
use crate::support::wire::{Speaks, Wire};

impl Tenant {
    /// GET `/v2/logout?client_id=&returnTo=`: `returnTo` is compared without its query.
    pub(super) fn v2_logout(&self, given: &Given) -> Response<Body> {
        let to = given.find("returnTo").unwrap_or_default();
        let plain = to.split(['?', '#']).next().unwrap_or_default();
        let client = given.find("client_id").and_then(|id| self.application(id));
        if client.is_none_or(|client| !client.logout_urls.iter().any(|url| url == plain)) {
            let why = "The \"returnTo\" querystring parameter is not a valid URL";
            return page(StatusCode::BAD_REQUEST, why);
        }
        self.end_sso(given);
        found(to)
    }

    /// GET or POST `/oidc/logout` (OpenID Connect RP-Initiated Logout). A hint that is no ID token of ours is an error.
    pub(super) fn oidc_logout(&self, given: &Given) -> Response<Body> {
        let shown = given.find("id_token_hint");
        let hint = shown.and_then(mint::read);
        let to = self.logout_target(given, hint.as_ref());
        let Some(to) = to.filter(|_| shown.is_some() == hint.is_some()) else {
            return page(StatusCode::BAD_REQUEST, "Invalid logout request");
        };
        let sid = hint.and_then(|claims| Some(claims.get("sid")?.as_str()?.to_owned()));
        let sid = sid.or_else(|| given.find("logout_hint").map(str::to_owned));
        let sso = self.sso(given);
        if sid.is_some() && sso.map(|sso| sso.sid) == sid {
            self.end_sso(given);
            return found(&to);
        }
        let html = format!(
            "<h1>Log out?</h1><form method=\"post\" action=\"/oidc/logout/confirm\">\
             <input type=\"hidden\" name=\"to\" value=\"{}\"><button>Log out</button></form>",
            escape(&to)
        );
        page(StatusCode::OK, &html)
    }

    pub(super) fn confirmed_logout(&self, given: &Given) -> Response<Body> {
        self.end_sso(given);
        found(given.find("to").unwrap_or_default())
    }

    /// Where it leads back to, if the application may send people there. The hint's application is the one that asks.
    fn logout_target(&self, given: &Given, hint: Option<&Value>) -> Option<String> {
        let client = given.find("client_id");
        let client = match hint {
            None => client?,
            Some(claims) => {
                let audience = claims.get("aud")?.as_str()?;
                client
                    .is_none_or(|client| client == audience)
                    .then_some(audience)?
            }
        };
        let to = given.find("post_logout_redirect_uri")?;
        let application = self.application(client)?;
        if !application.logout_urls.iter().any(|url| url == to) {
            return None;
        }
        let mut url = Url::parse(to).ok()?;
        if let Some(state) = given.find("state") {
            url.query_pairs_mut().append_pair("state", state);
        }
        Some(url.into())
    }

    fn end_sso(&self, given: &Given) {
        let cookie = given.cookie(COOKIE);
        let ended = cookie.and_then(|cookie| self.books().sso.remove(&cookie));
        let Some(ended) = ended else {
            return;
        };
        for client in &ended.clients {
            let application = self.application(client);
            if let Some(to) = application.and_then(|application| application.backchannel_logout) {
                tokio::spawn(tell(to, self.logout_token(client, &ended)));
            }
        }
    }

    fn logout_token(&self, client: &str, ended: &Sso) -> String {
        let now = self.options().clock.now().as_secs();
        let claims = json!({
            "iss": self.issuer, "sub": ended.user, "aud": client, "iat": now, "exp": now + 120,
            "jti": mint::random(16), "sid": ended.sid,
            "events": { "http://schemas.openid.net/event/backchannel-logout": {} },
        });
        mint::sign_as("logout+jwt", &claims)
    }
}

/// Once: who is not there to hear it does not hear it.
async fn tell(to: String, logout_token: String) {
    let url = Url::parse(&to).unwrap();
    let request = Request::post("/")
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(Full::from(format!("logout_token={logout_token}")));
    let _ = Wire::new(Speaks::H1).send(&url, request.unwrap()).await;
}
