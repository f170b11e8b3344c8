//! The device flow (RFC 8628): a device shows a code, the person enters it here.

use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use serde_json::{Value, json};

use super::Provider;
use super::authorize::{message, show};
use super::client::Client;
use super::grants::{
    Authorized, DEVICE_INTERVAL, DEVICE_LIFETIME, Device, FamilyId, Purpose, Verdict,
};
use super::keys::random_text;
use super::lock;
use super::mint::Occasion;
use super::token::{TokenError, denied};
use crate::demo::http::{Body, Params, escape, from_own_page, json};

impl Provider {
    /// POST `/device_authorization`.
    pub(super) async fn device_authorization(&self, request: Request<Incoming>) -> Response<Body> {
        let (client, form) = match self.authenticated(request).await {
            Ok(asked) => asked,
            Err(error) => return denied(error),
        };
        let (Ok(device_code), Some(user_code)) = (random_text(32), user_code()) else {
            return denied(TokenError::Server);
        };
        let device = Device {
            user_code: user_code.clone(),
            client: client.id,
            scopes: form.words("scope"),
            expires: self.options.clock.now() + DEVICE_LIFETIME,
            polled: None,
            verdict: Verdict::Pending,
        };
        lock(&self.grants)
            .devices
            .insert(device_code.clone(), device);
        let page = format!("{}/device", self.issuer);
        let answer = json!({
            "device_code": device_code,
            "user_code": user_code,
            "verification_uri": page,
            "verification_uri_complete": format!("{page}?user_code={user_code}"),
            "expires_in": DEVICE_LIFETIME.as_secs(),
            "interval": DEVICE_INTERVAL.as_secs(),
        });
        json(StatusCode::OK, &answer)
    }

    /// GET `/device`: asks for the code. POST: goes on to sign in, or to say yes.
    pub(super) async fn device(&self, request: Request<Incoming>) -> Response<Body> {
        if request.method() == http::Method::GET {
            let params = Params::query(request.uri()).unwrap_or_default();
            return ask_for_code(params.find("user_code").unwrap_or_default());
        }
        if !from_own_page(request.headers()) {
            return message(
                StatusCode::FORBIDDEN,
                "Not from here",
                "The form came from elsewhere.",
            );
        }
        let sso = self.sso(request.headers());
        let form = Params::form(request).await.unwrap_or_default();
        let user_code = form
            .find("user_code")
            .unwrap_or_default()
            .to_ascii_uppercase();
        let Some(client) = self.waiting_client(&user_code) else {
            return message(
                StatusCode::NOT_FOUND,
                "No such code",
                "No device waits with this code.",
            );
        };
        match (sso, form.find("decision")) {
            (None, _) => self.show_login(Purpose::Device(user_code), &client, None),
            (Some(_), None) => show_approval(&user_code, &client),
            (Some(sso), Some("yes")) => {
                self.judge(&user_code, Verdict::Approved(sso));
                show("Done", "You can go back to your device.", "")
            }
            (Some(_), Some(_)) => self.refuse_device(&user_code),
        }
    }

    fn waiting_client(&self, user_code: &str) -> Option<String> {
        let grants = lock(&self.grants);
        let mut devices = grants.devices.values();
        let now = self.options.clock.now();
        let device = devices.find(|d| d.user_code == user_code && d.expires > now)?;
        Some(device.client.clone())
    }

    pub(super) fn refuse_device(&self, user_code: &str) -> Response<Body> {
        self.judge(user_code, Verdict::Refused);
        show("Refused", "The device was not signed in.", "")
    }

    fn judge(&self, user_code: &str, verdict: Verdict) {
        let mut grants = lock(&self.grants);
        let mut devices = grants.devices.values_mut();
        if let Some(device) = devices.find(|device| device.user_code == user_code) {
            device.verdict = verdict;
        }
    }

    /// The token endpoint's side (RFC 8628 section 3.5).
    pub(super) fn poll(
        &self,
        client: &Client,
        form: &Params,
    ) -> Result<(FamilyId, Value), TokenError> {
        let code = form
            .find("device_code")
            .ok_or(TokenError::InvalidRequest("device_code"))?;
        let authorized = self.approved(client, code)?;
        let now = self.options.clock.now();
        let family = lock(&self.grants).found(authorized.clone(), now);
        let tokens = self.tokens(family, &authorized, Occasion::Login)?;
        Ok((family, tokens))
    }

    fn approved(&self, client: &Client, code: &str) -> Result<Authorized, TokenError> {
        let now = self.options.clock.now();
        let mut grants = lock(&self.grants);
        let device = grants.devices.get_mut(code);
        let device = device
            .filter(|device| device.client == client.id)
            .ok_or(TokenError::InvalidGrant("Device code not valid"))?;
        if device.expires <= now {
            return Err(TokenError::Device("expired_token"));
        }
        let too_soon = |last| now.since(last) < DEVICE_INTERVAL;
        if device.polled.replace(now).is_some_and(too_soon) {
            return Err(TokenError::Device("slow_down"));
        }
        let authorized = match &device.verdict {
            Verdict::Pending => return Err(TokenError::Device("authorization_pending")),
            Verdict::Refused => return Err(TokenError::Device("access_denied")),
            Verdict::Approved(sso) => Authorized {
                client: device.client.clone(),
                scopes: device.scopes.clone(),
                nonce: None,
                sso: sso.clone(),
            },
        };
        grants.devices.remove(code);
        Ok(authorized)
    }
}

/// The page that asks whether a device may act for the person.
pub(super) fn show_approval(user_code: &str, client: &str) -> Response<Body> {
    let form = format!(
        "<form method=\"post\" action=\"/device\"><input type=\"hidden\" name=\"user_code\" value=\"{}\">\
         <button class=\"button\" name=\"decision\" value=\"yes\">Yes, sign it in</button> \
         <button class=\"button plain\" name=\"decision\" value=\"no\">No</button></form>",
        escape(user_code)
    );
    let text = format!("{client} on a device that shows {user_code} wants to act for you.");
    show("Sign a device in?", &text, &form)
}

fn ask_for_code(user_code: &str) -> Response<Body> {
    let form = format!(
        "<form method=\"post\" action=\"/device\">\
         <input type=\"text\" name=\"user_code\" aria-label=\"Code\" autocomplete=\"off\" required value=\"{}\">\
         <button class=\"button\">Go on</button></form>",
        escape(user_code)
    );
    show(
        "Sign a device in",
        "Enter the code that your device shows.",
        &form,
    )
}

/// Eight letters that can't be mistaken for one another nor make words (RFC 8628 section 6.1).
fn user_code() -> Option<String> {
    const LETTERS: &[u8; 20] = b"BCDFGHJKLMNPQRSTVWXZ";
    let mut random = [0; 8];
    aws_lc_rs::rand::fill(&mut random).ok()?;
    let letters = random
        .iter()
        .filter_map(|byte| LETTERS.get(usize::from(byte % 20)));
    let code: String = letters.map(|letter| char::from(*letter)).collect();
    let (left, right) = code.split_at_checked(4)?;
    Some(format!("{left}-{right}"))
}
