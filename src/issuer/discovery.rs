//! OpenID Connect Discovery: the provider's own description, believed only as far as it names the configured issuer.

use serde_json::Value;
use url::Url;

use super::client::origin;
use super::{Error, Metadata, Settings, auth0};

const WELL_KNOWN: &str = "/.well-known/openid-configuration";

/// Where the description is (section 4): under the issuer, or under what the configuration names instead.
pub(super) fn location(settings: &Settings) -> Result<Url, Error> {
    let base = settings
        .discovery_url
        .as_ref()
        .map_or(&*settings.issuer, Url::as_str);
    let base = base.strip_suffix('/').unwrap_or(base);
    let location = match base.strip_suffix(WELL_KNOWN) {
        Some(_) => base.to_owned(),
        None => format!("{base}{WELL_KNOWN}"),
    };
    Url::parse(&location).map_err(|_| unusable("the issuer is not a URL"))
}

/// Reads the description (section 3), and compares its issuer exactly (section 4.3): another issuer's keys and endpoints
/// are never used.
pub(super) fn read(document: &Value, settings: &Settings) -> Result<Metadata, Error> {
    if document.get("issuer").and_then(Value::as_str) != Some(&*settings.issuer) {
        return Err(unusable("the discovery document is of another issuer"));
    }
    let reader = Reader { document, settings };
    let end_session = reader.front("end_session_endpoint")?;
    let revocation = reader.back("revocation_endpoint")?;
    let documented = || auth0::revocation_endpoint(settings).map(|url| reached(settings, url));
    Ok(Metadata {
        authorization_endpoint: required(reader.front("authorization_endpoint")?)?,
        token_endpoint: required(reader.back("token_endpoint")?)?,
        jwks_uri: required(reader.back("jwks_uri")?)?,
        userinfo_endpoint: reader.back("userinfo_endpoint")?,
        revocation_endpoint: settings
            .revocation_endpoint
            .clone()
            .or(revocation)
            .or_else(documented),
        end_session_here: end_session.clone().map(|url| reached(settings, url)),
        browser_logout: match &end_session {
            Some(_) => None,
            None => auth0::browser_logout(settings),
        },
        end_session_endpoint: end_session,
        response_iss: document
            .get("authorization_response_iss_parameter_supported")
            .is_some_and(|supported| *supported == true),
    })
}

struct Reader<'a> {
    document: &'a Value,
    settings: &'a Settings,
}

impl Reader<'_> {
    /// An endpoint that the gateway calls.
    fn back(&self, name: &str) -> Result<Option<Url>, Error> {
        let Some(url) = self.endpoint(name)? else {
            return Ok(None);
        };
        let internal = self.settings.discovery_url.as_ref();
        // The configuration itself says that this place is reached without TLS.
        let said = internal.is_some_and(|internal| origin(internal) == origin(&url));
        if !said {
            self.no_downgrade(&url)?;
        }
        Ok(Some(reached(self.settings, url)))
    }

    /// An endpoint that browsers are sent to.
    fn front(&self, name: &str) -> Result<Option<Url>, Error> {
        let url = self.endpoint(name)?;
        if let Some(url) = &url {
            self.no_downgrade(url)?;
        }
        Ok(url)
    }

    fn endpoint(&self, name: &str) -> Result<Option<Url>, Error> {
        let url = match self.document.get(name) {
            None | Some(Value::Null) => return Ok(None),
            Some(value) => value.as_str().and_then(|text| Url::parse(text).ok()),
        };
        let plain = |url: &Url| {
            url.username().is_empty() && url.password().is_none() && url.fragment().is_none()
        };
        url.filter(|url| origin(url).is_some() && plain(url))
            .map(Some)
            .ok_or_else(|| {
                unusable("the discovery document has an endpoint that is not an http URL")
            })
    }

    /// What an https issuer says must not lead out of TLS.
    fn no_downgrade(&self, url: &Url) -> Result<(), Error> {
        if self.settings.issuer.starts_with("https:") && url.scheme() != "https" {
            return Err(unusable("an https issuer names an http endpoint"));
        }
        Ok(())
    }
}

/// The same place as the gateway reaches it: an endpoint under the issuer's origin is called at that of the configured
/// discovery URL.
pub(super) fn reached(settings: &Settings, mut url: Url) -> Url {
    let Some(internal) = &settings.discovery_url else {
        return url;
    };
    let issuer = Url::parse(&settings.issuer).ok();
    if issuer.is_none_or(|issuer| origin(&issuer) != origin(&url)) {
        return url;
    }
    // Between http and https none of these can fail.
    let _ = url.set_scheme(internal.scheme());
    let _ = url.set_host(internal.host_str());
    let _ = url.set_port(internal.port());
    url
}

fn required(url: Option<Url>) -> Result<Url, Error> {
    url.ok_or_else(|| unusable("the discovery document lacks a required endpoint"))
}

fn unusable(reason: &str) -> Error {
    Error::unusable(reason)
}
