//! What `[idp.*]` says of a provider's own ways: `preset`, `revocation` and `management`.

use std::sync::Arc;

use url::Url;

use super::{discovery_url, issuer as issuer_identifier};
use crate::config::reader::{Field, Section};
use crate::config::secret::secret;
use crate::config::value::{shared_text, word};
use crate::issuer::{ClientAuth, EndUser, Management, Preset, RevocationFormat};
use crate::verify;

/// `revocation`
pub(super) struct Revocation {
    pub(super) format: RevocationFormat,
    pub(super) endpoint: Option<Url>,
}

pub(super) fn preset(field: &Field<'_>) -> Option<Preset> {
    word(&[("auth0", Preset::Auth0)], &[])(field)
}

/// Auth0's issuer ends in a slash, and is compared to the letter.
pub(super) fn issuer(section: &mut Section<'_>, preset: Option<Preset>) -> Option<Arc<str>> {
    const EXAMPLE: &str = "issuer = \"https://idp.example.com\"";
    section.required("issuer", EXAMPLE, |field| {
        let issuer = issuer_identifier(field)?;
        if preset == Some(Preset::Auth0) && !issuer.ends_with('/') {
            let title = format!("`{}` lacks the slash at its end", field.path);
            let help = format!("Auth0's has one: \"{issuer}/\"");
            field.wrong(title, "no slash at the end", help);
            return None;
        }
        Some(issuer)
    })
}

/// What a client is registered with unless somebody changes it.
pub(super) fn client_auth(preset: Option<Preset>) -> ClientAuth {
    match preset {
        Some(Preset::Auth0) => ClientAuth::SecretPost,
        None => ClientAuth::SecretBasic,
    }
}

/// Without an audience Auth0 gives out access tokens that nobody but itself can read.
pub(super) fn ask_for_the_audience(
    section: &Section<'_>,
    authorize_params: &mut Vec<(String, String)>,
    access_token: &verify::Settings,
) {
    if authorize_params.iter().any(|(name, _)| name == "audience") {
        return;
    }
    let expected = access_token.audience.as_ref().and_then(|all| all.first());
    match expected {
        Some(audience) => authorize_params.push(("audience".to_owned(), audience.clone())),
        None => section.warn(
            "authorize_params",
            "names no audience: Auth0's access tokens are opaque then, unless the tenant has a default audience",
            "name the API: authorize_params = { audience = \"https://api.example.com\" }",
        ),
    }
}

pub(super) fn revocation(mut section: Section<'_>, preset: Option<Preset>) -> Revocation {
    const FORMATS: &[(&str, RevocationFormat)] = &[
        ("form", RevocationFormat::Form),
        ("json", RevocationFormat::Json),
    ];
    let usual = match preset {
        Some(Preset::Auth0) => RevocationFormat::Json,
        None => RevocationFormat::Form,
    };
    let format = section.or("format", usual, word(FORMATS, &[]));
    let endpoint = section.optional("endpoint", discovery_url);
    section.finish();
    Revocation { format, endpoint }
}

/// `management`, which only Auth0 has.
pub(super) fn management(
    section: &mut Section<'_>,
    preset: Option<Preset>,
    issuer: Option<&str>,
) -> Option<Management> {
    let field = section.field("management")?;
    if preset.is_none() {
        let title = format!("`{}` is for Auth0 only", field.path);
        let help = "add preset = \"auth0\", or take this out";
        field.wrong(title, "Auth0's Management API", help);
        return None;
    }
    let mut section = field.section()?;
    let client_id = section.required("client_id", "client_id = \"…\"", shared_text);
    let example = "client_secret = { env = \"AUTH0_MGMT_SECRET\" }";
    let client_secret = section.required("client_secret", example, secret);
    let example = "end_user = \"grants\", or \"device_credentials\"";
    let end_user = section.required("end_user", example, end_user);
    let url = section.optional("url", api);
    section.finish();
    let documented = || Url::parse(issuer?).ok()?.join("api/v2/").ok();
    Some(Management {
        client_id: client_id?,
        client_secret: client_secret?,
        end_user: end_user?,
        url: url.or_else(documented)?,
    })
}

fn end_user(field: &Field<'_>) -> Option<EndUser> {
    const WAYS: &[(&str, EndUser)] = &[
        ("grants", EndUser::Grants),
        ("device_credentials", EndUser::DeviceCredentials),
    ];
    word(WAYS, &[])(field)
}

/// The API's address is its audience as well, so it is compared to the letter there.
fn api(field: &Field<'_>) -> Option<Url> {
    let url = discovery_url(field)?;
    if url.query().is_none() && url.path().ends_with("/api/v2/") {
        return Some(url);
    }
    let title = format!("`{}` is not the Management API's address", field.path);
    let help =
        "such as \"https://TENANT.eu.auth0.com/api/v2/\", where the issuer is a domain of your own";
    field.wrong(title, "it ends in /api/v2/", help);
    None
}
