//! `[idp.*]`: identity providers, and what makes their access tokens acceptable.

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use jsonwebtoken::Algorithm;
use url::Url;

use super::Idp;
use super::reader::{Field, Section};
use super::secret::secret;
use super::tree::Value;
use super::value::{duration, is_loopback, list, needed_list, shared_text, text, url, word};
use crate::issuer::{self, ClientAuth, Preset};
use crate::token::Secret;
use crate::verify;

mod dialect;

/// The most that one of a provider's answers may hold.
const MAX_ANSWER: usize = 1024 * 1024;

/// How long one call to a provider may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// More leeway than this would keep ended tokens alive.
const MAX_SKEW: Duration = Duration::from_mins(5);

/// No provider takes a refresh token twice for longer.
const MAX_LEEWAY: Duration = Duration::from_mins(2);

/// Reads all of `[idp]`.
pub(super) fn idps(section: &Section<'_>) -> Vec<Idp> {
    let idps = section.entries();
    idps.into_iter()
        .filter_map(|(entry, field)| {
            let name = name(&field, &entry.key);
            let idp = idp(field.section()?, &entry.key);
            name.and(idp)
        })
        .collect()
}

/// The name stands in URLs (`?idp=`) and in logs.
fn name(field: &Field<'_>, name: &str) -> Option<()> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    if !name.is_empty() && name.bytes().all(plain) {
        return Some(());
    }
    let title = format!("`{}` can't be an identity provider's name", field.path);
    field.wrong(title, "named here", "use letters, digits, - and _");
    None
}

fn idp(mut section: Section<'_>, name: &str) -> Option<Idp> {
    let name: Arc<str> = Arc::from(name);
    let label = section.or("label", Arc::clone(&name), shared_text);
    let preset = section.optional("preset", dialect::preset);
    let issuer = dialect::issuer(&mut section, preset);
    let discovery_url = section.optional("discovery_url", discovery_url);
    let client_id = section.required("client_id", "client_id = \"…\"", shared_text);
    let (client_auth, client_secret) = client(&mut section, preset);
    let scopes = section.or("scopes", default_scopes(preset), scopes);
    section.optional(
        "login",
        list("[\"code\"]", word(&[("code", ())], &["password", "device"])),
    );
    let mut authorize_params = section.or("authorize_params", Vec::new(), authorize_params);
    let access_token = access_token(section.section("access_token"));
    let revocation = dialect::revocation(
        section.section_like("revocation", "revocation = { format = \"form\" }"),
        preset,
    );
    let management = dialect::management(&mut section, preset, issuer.as_deref());
    section.optional("kind", word(&[("oidc", ())], &["oauth2", "token_api"]));
    section.optional("par", word(&[("off", ())], &["auto", "required"]));
    section.optional("dpop", word(&[("off", ())], &["auto", "required"]));
    section.later(&["token_endpoint", "token_api"]);
    let reuse_leeway = section.or("reuse_leeway", Duration::ZERO, reuse_leeway);
    if let (Some(Preset::Auth0), Some(access_token)) = (preset, &access_token) {
        dialect::ask_for_the_audience(&section, &mut authorize_params, access_token);
    }
    section.finish();
    Some(Idp {
        issuer: issuer::Settings {
            name,
            label,
            issuer: issuer?,
            discovery_url,
            client_id: client_id?,
            client_secret,
            client_auth,
            scopes,
            authorize_params,
            max_answer_bytes: MAX_ANSWER,
            call_timeout: CALL_TIMEOUT,
            reuse_leeway,
            preset,
            revocation: revocation.format,
            revocation_endpoint: revocation.endpoint,
            management,
        },
        access_token: access_token?,
    })
}

/// The issuer identifier is compared character by character, so it stays as written.
fn issuer(field: &Field<'_>) -> Option<Arc<str>> {
    let parsed = url(field)?;
    if parsed.query().is_some() {
        let title = format!("`{}` can't be used: it must have no query", field.path);
        field.wrong(
            title,
            "an issuer identifier",
            "copy `issuer` from the provider's discovery document",
        );
        return None;
    }
    warn_of_http(field, &parsed);
    shared_text(field)
}

fn discovery_url(field: &Field<'_>) -> Option<Url> {
    let parsed = url(field)?;
    warn_of_http(field, &parsed);
    Some(parsed)
}

fn warn_of_http(field: &Field<'_>, url: &Url) {
    if url.scheme() == "http" && !is_loopback(url) {
        field.warn(
            format!(
                "`{}` is http: whoever is on the way can read every token and forge every key",
                field.path
            ),
            "use https, or be sure that the way is a private network",
        );
    }
}

fn client(section: &mut Section<'_>, preset: Option<Preset>) -> (ClientAuth, Option<Secret>) {
    const METHODS: &[(&str, ClientAuth)] = &[
        ("client_secret_basic", ClientAuth::SecretBasic),
        ("client_secret_post", ClientAuth::SecretPost),
        ("none", ClientAuth::None),
    ];
    let later = &[
        "private_key_jwt",
        "tls_client_auth",
        "client_secret_jwt",
        "self_signed_tls_client_auth",
    ];
    let field = section.field("client_auth");
    let method = match &field {
        Some(field) => word(METHODS, later)(field),
        None => Some(dialect::client_auth(preset)),
    };
    let field = section.field("client_secret");
    let secret = field.as_ref().and_then(secret);
    match (method, &field) {
        (Some(ClientAuth::None), Some(field)) => {
            let title = format!("`{}` is never used: client_auth is \"none\"", field.path);
            field.wrong(
                title,
                "not needed",
                "take it out, or choose client_secret_basic",
            );
        }
        (Some(ClientAuth::SecretBasic | ClientAuth::SecretPost), None) => {
            let example = "client_secret = { file = \"client_secret\" }, or client_auth = \"none\" for a public client";
            section.missing("client_secret", example);
        }
        (Some(_) | None, _) => {}
    }
    (method.unwrap_or(ClientAuth::SecretBasic), secret)
}

/// No `offline_access`: where a provider gives refresh tokens without it, they end with its session (Keycloak's offline
/// tokens outlive a sign-out there). Auth0 gives none without it.
fn default_scopes(preset: Option<Preset>) -> Vec<String> {
    let mut scopes = vec!["openid", "profile", "email"];
    match preset {
        Some(Preset::Auth0) => scopes.push("offline_access"),
        None => {}
    }
    scopes.into_iter().map(str::to_owned).collect()
}

fn scopes(field: &Field<'_>) -> Option<Vec<String>> {
    let scopes = list("[\"openid\", \"profile\", \"email\"]", scope)(field)?;
    if !scopes.iter().any(|scope| scope == "openid") {
        let title = format!("`{}` lacks \"openid\"", field.path);
        field.wrong(
            title,
            "no \"openid\" here",
            "add it: without it the provider sends no ID token",
        );
        return None;
    }
    Some(scopes)
}

/// RFC 6749 section 3.3: printable, no space, no quote, no backslash.
fn scope(field: &Field<'_>) -> Option<String> {
    let scope = text(field)?;
    if scope
        .bytes()
        .all(|b| matches!(b, b'!'..=b'~') && b != b'"' && b != b'\\')
    {
        return Some(scope);
    }
    let title = format!("`{}` is not a scope", field.path);
    field.wrong(
        title,
        "expected one scope",
        "one scope an element, without spaces",
    );
    None
}

/// Parameters that the gateway sets itself: another value would break what they protect.
const OWN_PARAMS: &[&str] = &[
    "response_type",
    "response_mode",
    "client_id",
    "redirect_uri",
    "scope",
    "state",
    "nonce",
    "code_challenge",
    "code_challenge_method",
    "request",
    "request_uri",
];

fn authorize_params(field: &Field<'_>) -> Option<Vec<(String, String)>> {
    let entries = field.section()?.entries();
    let read = entries.into_iter().map(|(entry, value)| {
        if OWN_PARAMS.contains(&entry.key.as_str()) {
            let title = format!("`{}` can't be set: the gateway sets it", value.path);
            value.wrong(title, "not this one", "take it out");
            return None;
        }
        Some((entry.key.clone(), text(&value)?))
    });
    let read: Vec<_> = read.collect();
    read.into_iter().collect()
}

fn access_token(mut section: Section<'_>) -> Option<verify::Settings> {
    let audience = section.required(
        "audience",
        "audience = [\"…\"]: what `aud` must contain",
        audience,
    );
    let algorithms = section.or(
        "algorithms",
        vec![
            Algorithm::RS256,
            Algorithm::PS256,
            Algorithm::ES256,
            Algorithm::EdDSA,
        ],
        list("[\"RS256\", \"ES256\"]", algorithm),
    );
    let typ = section.or(
        "typ",
        vec!["at+jwt".to_owned(), "jwt".to_owned()],
        list("[\"at+jwt\"]", typ),
    );
    let clock_skew = section.or("clock_skew", Duration::from_secs(30), clock_skew);
    let groups_claim = section.or("groups_claim", "groups".to_owned(), text);
    section.later(&["introspection", "secret", "issuer", "subject_claim"]);
    section.finish();
    Some(verify::Settings {
        audience: match audience? {
            Audience::OneOf(names) => Some(names),
            Audience::Unchecked => None,
        },
        algorithms,
        typ,
        clock_skew,
        groups_claim,
    })
}

/// What `aud` must contain.
enum Audience {
    OneOf(Vec<String>),
    Unchecked,
}

/// A list, or the word "unchecked": a token meant for someone else is never accepted by accident (RFC 9068 section 4).
fn audience(field: &Field<'_>) -> Option<Audience> {
    const EXAMPLE: &str = "[\"apps\"]";
    if let Value::Text(word) = &field.node.value {
        if word == "unchecked" {
            field.warn(
                format!("`{}` is unchecked: every token of this provider is accepted, whoever it is for", field.path),
                "name the audience: audience = [\"…\"]",
            );
            return Some(Audience::Unchecked);
        }
        let title = format!("`{}` must be a list, or the word \"unchecked\"", field.path);
        field.wrong(title, "expected a list", format!("write [\"{word}\"]"));
        return None;
    }
    needed_list(EXAMPLE, text)(field).map(Audience::OneOf)
}

fn algorithm(field: &Field<'_>) -> Option<Algorithm> {
    const NAMES: &[(&str, &str)] = &[
        ("RS256", "RS256"),
        ("RS384", "RS384"),
        ("RS512", "RS512"),
        ("PS256", "PS256"),
        ("PS384", "PS384"),
        ("PS512", "PS512"),
        ("ES256", "ES256"),
        ("ES384", "ES384"),
        ("EdDSA", "EdDSA"),
    ];
    if field
        .as_text()
        .is_some_and(|name| name.eq_ignore_ascii_case("none"))
    {
        let title = format!("`{}` can't be \"none\": that is no signature", field.path);
        field.wrong(title, "never", "take it out");
        return None;
    }
    let name = word(NAMES, &["HS256", "HS384", "HS512", "ES512", "ES256K"])(field)?;
    Algorithm::from_str(name).ok()
}

/// RFC 8725 section 3.11, compared as RFC 7515 section 4.1.9 says.
fn typ(field: &Field<'_>) -> Option<String> {
    let typ = text(field)?.to_ascii_lowercase();
    Some(typ.strip_prefix("application/").unwrap_or(&typ).to_owned())
}

fn reuse_leeway(field: &Field<'_>) -> Option<Duration> {
    let leeway = duration(field)?;
    if leeway > MAX_LEEWAY {
        let title = format!("`{}` is more than 2m", field.path);
        let help =
            "it is what the provider calls its reuse interval, overlap or leeway: some seconds";
        field.wrong(title, "too much", help);
        return None;
    }
    Some(leeway)
}

fn clock_skew(field: &Field<'_>) -> Option<Duration> {
    let skew = duration(field)?;
    if skew > MAX_SKEW {
        let title = format!("`{}` is more than 5m", field.path);
        field.wrong(
            title,
            "too much",
            "tokens would go on long after their end; mend the clocks instead",
        );
        return None;
    }
    Some(skew)
}
