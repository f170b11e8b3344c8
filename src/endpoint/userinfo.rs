//! GET `/userinfo`: who the caller is, as JSON. Claims, never a token.

use http::Response;
use serde_json::{Map, Value, json};

use super::Endpoints;
use super::answer::json;
use super::ask::Ask;
use crate::authorize;
use crate::credential::Credential;
use crate::refusal::Refusal;
use crate::route::Access;
use crate::session::Activity;
use crate::verify::Verified;

/// Claims that bind a token to its transport: of no use to a page.
const PROTOCOL: [&str; 5] = ["nonce", "at_hash", "c_hash", "s_hash", "jti"];

impl Endpoints {
    pub(super) async fn userinfo(&self, ask: &Ask) -> Result<Response<String>, Refusal> {
        match Credential::read(&ask.headers, &self.settings.cookie)? {
            Credential::Nothing => Err(authorize::Error::NoCredential(Access::Any).into()),
            Credential::Bearer(token) => {
                let verified = self.verifier.verify(&token).await?;
                Ok(json(&told(&verified.claims, &verified)))
            }
            Credential::Session(cookie) => {
                let live = self.sessions.open(&cookie, Activity::Slides).await?;
                let token = &live.access_token;
                let verified = self.verifier.verify_held(token, live.held()).await;
                let verified = verified.map_err(Refusal::SessionToken)?;
                Ok(json(&told(&live.claims, &verified)))
            }
        }
    }
}

/// The claims, and the four names that oauth2-proxy uses.
fn told(claims: &Map<String, Value>, verified: &Verified) -> Value {
    let mut told = claims.clone();
    told.retain(|name, _| !PROTOCOL.contains(&name.as_str()));
    told.insert("user".to_owned(), json!(&*verified.subject));
    let groups: Vec<_> = verified.groups.iter().map(|group| &**group).collect();
    told.insert("groups".to_owned(), json!(groups));
    if let Some(name) = claims.get("preferred_username") {
        told.insert("preferredUsername".to_owned(), name.clone());
    }
    Value::Object(told)
}
