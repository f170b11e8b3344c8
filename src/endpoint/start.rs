//! GET `/start`: begins the code flow with PKCE, state and nonce (RFC 6749, RFC 7636, OpenID Connect Core section 3.1.2.1).
//! Nothing is stored here before a sign-in succeeds, so beginning one costs us nothing, whoever makes a browser do it.

use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::Response;

use super::Endpoints;
use super::answer::{see_other, with_cookies};
use super::ask::Ask;
use super::login_state::{Flow, FlowId, LIFETIME, make_room, random};
use super::parameters::Parameters;
use super::return_to::ReturnTo;
use crate::credential::cookie;
use crate::issuer::{AuthorizationRequest, Issuer};
use crate::refusal::Refusal;

/// The parameters of ours that go on to the provider.
const WISHES: [&str; 4] = ["prompt", "acr_values", "max_age", "login_hint"];

/// Says that a sign-in was sent to another host already.
const MOVED: &str = "moved";

/// A sign-in that is to begin.
pub(super) struct Plan<'a> {
    pub(super) idp: &'a Arc<Issuer>,
    pub(super) rd: &'a ReturnTo,
    /// See [`Flow::attempt`].
    pub(super) attempt: u8,
    /// Parameters for the provider, checked.
    pub(super) wishes: Vec<(&'static str, String)>,
}

impl Endpoints {
    pub(super) async fn start(&self, ask: &Ask) -> Result<Response<String>, Refusal> {
        let site = &self.settings.site;
        let named = self.named(&ask.query)?;
        let rd = ReturnTo::read(ask.query.value("rd"), site, &ask.here);
        // The session's cookie belongs to one host, so a sign-in begins on the one that it is for. Once is enough: a proxy in
        // front that gives us another host than browsers use would make this go round for ever.
        let moved = ask.query.value(MOVED).is_some();
        if !moved && (ask.astray || ask.here != rd.origin()) {
            return Ok(see_other(&self.same_elsewhere(&rd, &ask.query)));
        }
        let choice = match named {
            Some(idp) => Some(idp),
            None => self.choice(ask).await,
        };
        let Some(idp) = choice else {
            let query = [("rd", rd.path())];
            return match self.idps.len() {
                0 => Err(Refusal::NoEndpoint),
                _ => Ok(see_other(&site.endpoint(rd.origin(), "/sign_in", &query))),
            };
        };
        let plan = Plan {
            idp,
            rd: &rd,
            attempt: 0,
            wishes: wishes(&ask.query),
        };
        self.begin(ask, &plan).await
    }

    /// Sends the browser to the provider, with a cookie that only this browser has and a `state` that only it can use.
    pub(super) async fn begin(
        &self,
        ask: &Ask,
        plan: &Plan<'_>,
    ) -> Result<Response<String>, Refusal> {
        let now = self.clock.now();
        let id = FlowId::random()?;
        let flow = Flow {
            idp: plan.idp.settings().name.to_string(),
            nonce: random::<32>()?,
            verifier: random::<32>()?,
            rd: plan.rd.path().to_owned(),
            created: now,
            attempt: plan.attempt,
            signed_in: self.is_signed_in(ask).await,
            silent: plan
                .wishes
                .iter()
                .any(|(name, value)| *name == "prompt" && value == "none"),
        };
        let challenge = digest(&SHA256, flow.verifier.as_bytes());
        let extra: Vec<_> = plan.wishes.iter().map(|(n, v)| (*n, v.as_str())).collect();
        let request = AuthorizationRequest {
            redirect_uri: &self.redirect_uri(plan.rd.origin()),
            state: &flow.state(&id, &self.keys),
            nonce: &flow.nonce,
            code_challenge: &URL_SAFE_NO_PAD.encode(challenge),
            extra: &extra,
        };
        let url = plan.idp.authorization_url(&request).await;
        let url = url.map_err(Refusal::Provider)?;
        let mut cookies = make_room(&ask.headers, &self.settings.cookie, &self.keys, now);
        cookies.push(cookie::set_for(
            &id.cookie(&self.settings.cookie),
            &flow.seal(&id, &self.keys),
            LIFETIME.as_secs(),
        ));
        Ok(with_cookies(see_other(url.as_str()), cookies))
    }

    /// Where a provider's answer comes back to: on the origin that the sign-in began on.
    pub(super) fn redirect_uri(&self, origin: &str) -> String {
        self.settings.site.endpoint(origin, "/callback", &[])
    }

    /// Whether the browser has a live session.
    pub(super) async fn is_signed_in(&self, ask: &Ask) -> bool {
        match cookie::session(&ask.headers, &self.settings.cookie) {
            Some(id) => self.sessions.standing(&id).await.is_ok(),
            None => false,
        }
    }

    /// The provider that was asked for. Another in its place would be a sign-in that nobody wanted.
    fn named(&self, query: &Parameters) -> Result<Option<&Arc<Issuer>>, Refusal> {
        match query.value("idp") {
            None | Some("") => Ok(None),
            Some(name) => self.idp(name).map(Some).ok_or(Refusal::NoSuchProvider),
        }
    }

    /// Where none was asked for: the only one, or the one of the session that is to be renewed unseen.
    async fn choice(&self, ask: &Ask) -> Option<&Arc<Issuer>> {
        if let [only] = self.idps.as_slice() {
            return Some(only);
        }
        if ask.query.value("prompt") != Some("none") {
            return None;
        }
        let id = cookie::session(&ask.headers, &self.settings.cookie)?;
        let standing = self.sessions.standing(&id).await.ok()?;
        self.idp(&standing.live.idp)
    }

    fn same_elsewhere(&self, rd: &ReturnTo, query: &Parameters) -> String {
        let mut kept = vec![("rd", rd.path()), (MOVED, "1")];
        for name in ["idp"].into_iter().chain(WISHES) {
            kept.extend(query.value(name).map(|value| (name, value)));
        }
        self.settings.site.endpoint(rd.origin(), "/start", &kept)
    }
}

/// What the provider is to be told besides, as far as it makes sense there.
fn wishes(query: &Parameters) -> Vec<(&'static str, String)> {
    WISHES
        .into_iter()
        .filter_map(|name| Some((name, query.value(name)?)))
        .filter(|(name, value)| is_sensible(name, value))
        .map(|(name, value)| (name, value.to_owned()))
        .collect()
}

/// OpenID Connect Core section 3.1.2.1.
fn is_sensible(name: &str, value: &str) -> bool {
    match name {
        "prompt" => value
            .split(' ')
            .all(|prompt| matches!(prompt, "none" | "login" | "consent" | "select_account")),
        "max_age" => value.len() <= 9 && value.bytes().all(|byte| byte.is_ascii_digit()),
        _ => value.len() <= 256 && !value.chars().any(char::is_control),
    }
}
