//! What a provider's own ways come to: `preset`, `revocation`, `management`.

use super::*;
use crate::issuer::{ClientAuth, EndUser, Preset, RevocationFormat, Settings};

/// As short as it gets for Auth0.
const AUTH0: &str = r#"
[idp.auth0]
preset        = "auth0"
issuer        = "https://tenant.eu.auth0.com/"
client_id     = "8XVC"
client_secret = { env = "SECRET" }
access_token  = { audience = ["https://api.example.com"] }
"#;

fn check(text: &str) -> Result<Checked, Problems> {
    let variables = [
        ("SECRET", "hush"),
        ("OTHER", "hush too"),
        ("AUTH0_CLIENT_SECRET", "hush"),
        ("AUTH0_MGMT_SECRET", "hush too"),
    ];
    Config::parse(text, Path::new("gateway.toml"), &overlay(&variables, &[]))
}

fn auth0(more: &str) -> String {
    format!("{SMALL}{AUTH0}{more}\n")
}

#[track_caller]
fn settings(text: &str) -> Settings {
    let checked = check(text).unwrap_or_else(|problems| panic!("{problems}"));
    assert!(checked.warnings.is_empty(), "{}", checked.warnings);
    let mut idps = checked.config.idps.into_iter();
    idps.find(|idp| &*idp.issuer.name == "auth0")
        .unwrap()
        .issuer
}

/// The one thing that is wrong with it, and what to do.
#[track_caller]
fn refused(text: &str) -> (String, String) {
    let problems = check(text).unwrap_err();
    let mut told: Vec<_> = problems.entries().collect();
    assert_eq!(told.len(), 1, "{problems}");
    let told = told.remove(0);
    (told.message, told.help.unwrap_or_default())
}

#[test]
fn auth0_needs_little_to_be_said() {
    let settings = settings(&auth0(""));
    assert_eq!(settings.preset, Some(Preset::Auth0));
    assert_eq!(settings.revocation, RevocationFormat::Json);
    assert_eq!(settings.client_auth, ClientAuth::SecretPost);
    assert!(
        settings
            .scopes
            .iter()
            .any(|scope| scope == "offline_access")
    );
    let audience = ("audience".to_owned(), "https://api.example.com".to_owned());
    assert_eq!(settings.authorize_params, [audience]);
    assert!(settings.management.is_none() && settings.revocation_endpoint.is_none());
}

/// As it is promised, to the letter.
const PROMISED: &str = r#"
[idp.auth0]
preset        = "auth0"                         # fills in what follows from Auth0's documentation
issuer        = "https://TENANT.eu.auth0.com/"
client_id     = "8XVC"
client_secret = { env = "AUTH0_CLIENT_SECRET" }
authorize_params = { audience = "https://api.example.com" }
scopes        = ["openid", "profile", "email", "offline_access"]
access_token  = { audience = ["https://api.example.com"] }
revocation    = { format = "json" }             # form (RFC 7009) | json (Auth0 /oauth/revoke)
management    = { client_id = "m2m", client_secret = { env = "AUTH0_MGMT_SECRET" }, end_user = "grants" }   # grants | device_credentials
"#;

#[test]
fn the_promised_section_loads() {
    let settings = settings(&format!("{SMALL}{PROMISED}"));
    assert_eq!(&*settings.issuer, "https://TENANT.eu.auth0.com/");
    let management = settings.management.unwrap();
    // Hosts are the same in any case; Auth0's are in lower case.
    assert_eq!(
        management.url.as_str(),
        "https://tenant.eu.auth0.com/api/v2/"
    );
    assert_eq!(management.end_user, EndUser::Grants);
}

#[test]
fn what_is_said_goes_before_the_preset() {
    let settings = settings(&auth0(
        r#"client_auth = "client_secret_basic"
scopes = ["openid"]
authorize_params = { audience = "https://other.example.com" }
revocation = { format = "form", endpoint = "https://tenant.eu.auth0.com/revoke" }"#,
    ));
    assert_eq!(settings.revocation, RevocationFormat::Form);
    let endpoint = settings.revocation_endpoint.unwrap();
    assert_eq!(endpoint.as_str(), "https://tenant.eu.auth0.com/revoke");
    assert_eq!(settings.client_auth, ClientAuth::SecretBasic);
    assert_eq!(settings.scopes, ["openid"]);
    assert_eq!(settings.authorize_params[0].1, "https://other.example.com");
    assert_eq!(settings.authorize_params.len(), 1);
}

#[test]
fn the_management_api_is_the_tenants_unless_it_is_said_to_be_elsewhere() {
    for (more, end_user, url) in [
        (
            "end_user = \"grants\"",
            EndUser::Grants,
            "https://tenant.eu.auth0.com/api/v2/",
        ),
        (
            "end_user = \"device_credentials\", url = \"https://t.auth0.com/api/v2/\"",
            EndUser::DeviceCredentials,
            "https://t.auth0.com/api/v2/",
        ),
    ] {
        let management = format!(
            "management = {{ client_id = \"m2m\", client_secret = {{ env = \"OTHER\" }}, {more} }}"
        );
        let management = settings(&auth0(&management)).management.unwrap();
        assert_eq!(&*management.client_id, "m2m");
        assert_eq!(management.client_secret.expose(), "hush too");
        assert_eq!(management.end_user, end_user);
        assert_eq!(management.url.as_str(), url);
    }
}

#[test]
fn what_can_not_be_meant_is_told_with_what_to_do() {
    let secret = "client_secret = { env = \"OTHER\" }";
    for (text, message, help) in [
        (
            auth0("").replace("auth0.com/", "auth0.com"),
            "`idp.auth0.issuer` lacks the slash at its end",
            "Auth0's has one: \"https://tenant.eu.auth0.com/\"",
        ),
        (
            auth0("").replace("\"auth0\"", "\"auth\""),
            "`idp.auth0.preset` can't be \"auth\"",
            "did you mean \"auth0\"?",
        ),
        (
            auth0("revocation = { format = \"jsn\" }"),
            "`idp.auth0.revocation.format` can't be \"jsn\"",
            "did you mean \"json\"?",
        ),
        (
            auth0("revocation = { endpoint = \"/oauth/revoke\" }"),
            "`idp.auth0.revocation.endpoint` is not a URL",
            "such as",
        ),
        (
            auth0("revocation = \"json\""),
            "`idp.auth0.revocation` must be a table",
            "such as revocation = { format = \"form\" }",
        ),
        (
            auth0(&format!("management = {{ client_id = \"m\", {secret} }}")),
            "`idp.auth0.management.end_user` is missing",
            "device_credentials",
        ),
        (
            auth0("management = { client_id = \"m\", end_user = \"grants\" }"),
            "`idp.auth0.management.client_secret` is missing",
            "AUTH0_MGMT_SECRET",
        ),
        (
            auth0(&format!(
                "management = {{ client_id = \"m\", {secret}, end_user = \"devices\" }}"
            )),
            "`idp.auth0.management.end_user` can't be \"devices\"",
            "\"device_credentials\"",
        ),
        (
            auth0(&format!(
                "management = {{ client_id = \"m\", {secret}, end_user = \"grants\", url = \"https://t.auth0.com\" }}"
            )),
            "is not the Management API's address",
            "/api/v2/",
        ),
        (
            format!(
                "{SMALL}[idp.other]\nissuer = \"https://i.example\"\nclient_id = \"x\"\nclient_auth = \"none\"\naccess_token = {{ audience = [\"a\"] }}\nmanagement = {{ client_id = \"m\", {secret}, end_user = \"grants\" }}\n"
            ),
            "`idp.other.management` is for Auth0 only",
            "preset = \"auth0\"",
        ),
    ] {
        let told = refused(&text);
        assert!(told.0.contains(message), "{told:?}, not {message}");
        assert!(told.1.contains(help), "{told:?}, not {help}");
    }
}

#[test]
fn an_audience_that_nobody_named_is_warned_of() {
    let text = auth0("").replace("[\"https://api.example.com\"]", "\"unchecked\"");
    let warnings = check(&text).unwrap().warnings;
    assert!(
        messages(&warnings)
            .iter()
            .any(|told| told.contains("names no audience")),
        "{warnings}"
    );
}
