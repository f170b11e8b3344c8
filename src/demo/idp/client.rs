//! Registered clients, and how they show who they are (RFC 6749 section 2.3).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, header};

use crate::demo::http::Params;

/// A registered client.
#[derive(Clone)]
pub struct Client {
    /// `client_id`
    pub id: String,
    /// The secret; none for a public client.
    pub secret: Option<String>,
    /// Compared exactly.
    pub redirect_uris: Vec<String>,
    /// Compared exactly.
    pub post_logout_redirect_uris: Vec<String>,
    /// `aud` of its access tokens.
    pub audience: Vec<String>,
    /// OpenID Connect Back-Channel Logout.
    pub backchannel_logout_uri: Option<String>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Client({})", self.id)
    }
}

impl Client {
    /// A confidential client, for whom access tokens say `aud: ["apps"]`.
    pub fn new(id: &str, secret: &str) -> Self {
        Self {
            id: id.to_owned(),
            secret: Some(secret.to_owned()),
            redirect_uris: Vec::new(),
            post_logout_redirect_uris: Vec::new(),
            audience: vec!["apps".to_owned()],
            backchannel_logout_uri: None,
        }
    }

    /// A public client.
    pub fn public(id: &str) -> Self {
        Self {
            secret: None,
            ..Self::new(id, "")
        }
    }

    /// With the addresses of a gateway at `origin` (such as `https://localhost:8443`) under its default prefix.
    #[must_use]
    pub fn for_gateway(mut self, origin: &str) -> Self {
        self.redirect_uris.push(format!("{origin}/oauth2/callback"));
        self.post_logout_redirect_uris
            .push(format!("{origin}/oauth2/signed_out"));
        self.backchannel_logout_uri = Some(format!("{origin}/oauth2/backchannel_logout"));
        self
    }
}

/// What a request shows of its client.
struct Shown {
    id: String,
    secret: Option<String>,
}

/// The client that a request comes from, if it proves it.
pub(super) fn authenticate<'a>(
    clients: &'a [Client],
    headers: &HeaderMap,
    form: &Params,
) -> Option<&'a Client> {
    let shown = shown(headers, form)?;
    let client = clients.iter().find(|client| client.id == shown.id)?;
    (client.secret == shown.secret).then_some(client)
}

/// Two ways at once are refused (RFC 6749 section 2.3).
fn shown(headers: &HeaderMap, form: &Params) -> Option<Shown> {
    let basic = match headers.get(header::AUTHORIZATION) {
        Some(value) => Some(basic(value.to_str().ok()?)?),
        None => None,
    };
    let id = form.find("client_id");
    let secret = form.find("client_secret");
    match basic {
        Some(shown) => {
            let same = id.is_none_or(|id| id == shown.id) && secret.is_none();
            same.then_some(shown)
        }
        None => Some(Shown {
            id: id?.to_owned(),
            secret: secret.map(str::to_owned),
        }),
    }
}

/// Both parts are form-encoded (RFC 6749 section 2.3.1).
fn basic(value: &str) -> Option<Shown> {
    let (scheme, encoded) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (id, secret) = decoded.split_once(':')?;
    Some(Shown {
        id: form_decode(id),
        secret: Some(form_decode(secret)),
    })
}

fn form_decode(text: &str) -> String {
    // A bare value parses as a name without a value.
    let parsed = url::form_urlencoded::parse(text.as_bytes()).next();
    parsed
        .map(|(name, _)| name.into_owned())
        .unwrap_or_default()
}
