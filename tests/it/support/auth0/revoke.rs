//! POST `/oauth/revoke`: JSON, refresh tokens only, and 200 for whatever is not known.

use http::{Response, StatusCode};
use tidegate::demo::http::{self as web, Body};

use super::given::Given;
use super::rotation::Family;
use super::{Tenant, oauth_error};

impl Tenant {
    pub(super) fn revoke(&self, given: &Given) -> Response<Body> {
        if given.media_type != "application/json" {
            return oauth_error(400, "invalid_request", "JSON is what is documented");
        }
        let client = given.find("client_id").and_then(|id| self.application(id));
        let secret = given.find("client_secret").unwrap_or_default();
        let Some(client) = client.filter(|client| client.client_secret == secret) else {
            return oauth_error(
                401,
                "invalid_client",
                "Request did not pass client authentication",
            );
        };
        let Some(token) = given.find("token") else {
            return oauth_error(400, "invalid_request", "Missing token");
        };
        let deletes_grant = self.options().revocation_deletes_grant;
        let mut books = self.books();
        let theirs = |family: &&mut Family| family.client == client.client_id && family.has(token);
        let family = books.families.iter_mut().find(theirs).map(|family| {
            family.end();
            family.clone()
        });
        if let (Some(family), true) = (family, deletes_grant) {
            let grant = books.grants.iter().find(|grant| {
                (&grant.user, &grant.client, &grant.audience)
                    == (&family.user, &family.client, &family.audience)
            });
            if let Some(id) = grant.map(|grant| grant.id.clone()) {
                books.drop_grant(&id);
            }
        }
        web::reply(StatusCode::OK, "text/plain", "")
    }
}
