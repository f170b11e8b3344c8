//! POST `/refresh`: swaps the session's tokens now (RFC 6749 section 6), whatever the access token's age.

use http::Response;

use super::Endpoints;
use super::ask::{Ask, Sender};
use crate::refusal::Refusal;

impl Endpoints {
    pub(super) async fn refresh(&self, ask: &Ask) -> Result<Response<String>, Refusal> {
        if !ask.has_csrf_header() {
            return Err(Refusal::NoCsrfHeader);
        }
        if ask.sender() == Sender::Foreign {
            return Err(Refusal::CrossSite);
        }
        let cookie = self.session_cookie(ask)?;
        self.sessions.swap_now(&cookie).await?;
        self.standing(&cookie).await
    }
}
