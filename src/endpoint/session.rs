//! GET `/session`: how long the session still lasts. It never slides it: a page may ask as often as it likes.

use std::sync::Arc;

use http::Response;
use serde_json::json;

use super::Endpoints;
use super::answer::json;
use super::ask::Ask;
use crate::authorize;
use crate::credential::Credential;
use crate::refusal::Refusal;
use crate::route::Access;
use crate::session::Live;
use crate::token::SessionCookie;

impl Endpoints {
    pub(super) async fn session(&self, ask: &Ask) -> Result<Response<String>, Refusal> {
        let cookie = self.session_cookie(ask)?;
        self.standing(&cookie).await
    }

    /// The session that is asked about. There is no redirect where there is none: the answer is for a program.
    pub(super) fn session_cookie(&self, ask: &Ask) -> Result<SessionCookie, Refusal> {
        match Credential::read(&ask.headers, &self.settings.cookie)? {
            Credential::Session(cookie) => Ok(cookie),
            Credential::Nothing | Credential::Bearer(_) => {
                Err(authorize::Error::NoCredential(Access::Any).into())
            }
        }
    }

    pub(super) async fn standing(
        &self,
        cookie: &SessionCookie,
    ) -> Result<Response<String>, Refusal> {
        let standing = self.sessions.standing(cookie).await?;
        let now = self.clock.now();
        let left = |end: crate::clock::Timestamp| end.since(now).as_secs();
        let live: &Arc<Live> = &standing.live;
        let mut told = json!({
            "user": &*live.subject,
            "idp": &*live.idp,
            "idle_seconds_left": left(standing.idle_deadline),
            "absolute_seconds_left": left(standing.absolute_deadline),
            "access_token_seconds_left": left(live.access_expires),
            "swaps": live.generation,
        });
        // Only while the provider can't be reached, so that a page may say so.
        if let (Some(until), Some(told)) = (live.grace, told.as_object_mut()) {
            told.insert("outage_grace_seconds_left".to_owned(), json!(left(until)));
        }
        Ok(json(&told))
    }
}
