//! Where Auth0's endpoints are by its documentation: a tenant's discovery leaves out some of them.

use url::Url;

use super::{Preset, Settings};

/// POST, JSON: refresh tokens only.
pub(super) fn revocation_endpoint(settings: &Settings) -> Option<Url> {
    at(settings, "oauth/revoke")
}

/// GET by the browser, with `client_id` and `returnTo`: for tenants that don't publish `/oidc/logout`.
pub(super) fn browser_logout(settings: &Settings) -> Option<Url> {
    at(settings, "v2/logout")
}

/// The issuer ends in a slash.
fn at(settings: &Settings, path: &str) -> Option<Url> {
    match settings.preset {
        Some(Preset::Auth0) => Url::parse(&settings.issuer).ok()?.join(path).ok(),
        None => None,
    }
}
