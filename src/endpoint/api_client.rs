//! How an API client shows who it is (RFC 6749 section 2.3): HTTP Basic, or its id and secret in the body, or its id alone.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use url::form_urlencoded;

use super::parameters::Parameters;
use crate::issuer::{self, ClientAuth, OtherClient, Shows};
use crate::token::Secret;

/// Why nobody is known by what was shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unknown {
    /// More than one way at once, or what can't be read: RFC 6749 section 5.2, `invalid_request`.
    Malformed(&'static str),
    /// Nothing, or in a way that is not known here: `invalid_client`.
    Nobody,
}

/// The client, as it says; nothing is checked.
pub(super) fn read(headers: &HeaderMap, body: &Parameters) -> Result<OtherClient, Unknown> {
    let mut lines = headers.get_all(AUTHORIZATION).iter();
    let (first, more) = (lines.next(), lines.next());
    if more.is_some() {
        return Err(Unknown::Malformed("There are two Authorization headers."));
    }
    if body.value("client_assertion").is_some() {
        return Err(Unknown::Nobody);
    }
    let Some(line) = first else {
        return in_body(body);
    };
    let client = line.to_str().ok().and_then(basic).ok_or(Unknown::Nobody)?;
    let other = body.value("client_id").is_some_and(|id| id != client.id);
    if other || body.value("client_secret").is_some() {
        return Err(Unknown::Malformed("The client authenticates in two ways."));
    }
    Ok(client)
}

fn in_body(body: &Parameters) -> Result<OtherClient, Unknown> {
    let id = body.value("client_id").ok_or(Unknown::Nobody)?.to_owned();
    let shows = match body.value("client_secret") {
        Some(secret) => Shows::Post(Secret::new(secret)),
        None => Shows::Nothing,
    };
    Ok(OtherClient { id, shows })
}

/// Both parts are form-encoded (section 2.3.1).
fn basic(line: &str) -> Option<OtherClient> {
    let (scheme, encoded) = line.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let pair = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (id, secret) = pair.split_once(':')?;
    let (id, secret) = (decoded(id), decoded(secret));
    (!id.is_empty()).then(|| OtherClient {
        id,
        shows: Shows::Basic {
            authorization: Secret::new(line),
            secret: Secret::new(secret),
        },
    })
}

/// `+` and `%xx`; `&` and `=` are themselves.
fn decoded(text: &str) -> String {
    let text = text.replace('&', "%26").replace('=', "%3D");
    let mut pairs = form_urlencoded::parse(text.as_bytes());
    pairs
        .next()
        .map(|(name, _)| name.into_owned())
        .unwrap_or_default()
}

/// Whether it shows the secret of the gateway's own client at this provider. An empty secret is none.
pub(super) fn proves_to_be_own(client: &OtherClient, settings: &issuer::Settings) -> bool {
    let shown = match &client.shows {
        Shows::Basic { secret, .. } | Shows::Post(secret) => secret.expose(),
        Shows::Nothing => "",
    };
    let wanted = match settings.client_auth {
        ClientAuth::None => "",
        ClientAuth::SecretBasic | ClientAuth::SecretPost => {
            let secret = settings.client_secret.as_ref();
            secret.map(Secret::expose).unwrap_or_default()
        }
    };
    verify_slices_are_equal(shown.as_bytes(), wanted.as_bytes()).is_ok()
}

#[cfg(test)]
mod tests {
    //! One way at a time, and every character of a secret arrives.
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn ask(authorization: &[&str], body: &str) -> Result<OtherClient, Unknown> {
        let mut headers = HeaderMap::new();
        for line in authorization {
            headers.append(AUTHORIZATION, line.parse().unwrap());
        }
        read(&headers, &Parameters::parse(body.as_bytes()).unwrap())
    }

    fn line(pair: &str) -> String {
        format!("Basic {}", STANDARD.encode(pair))
    }

    fn secret(client: &OtherClient) -> &str {
        match &client.shows {
            Shows::Basic { secret, .. } | Shows::Post(secret) => secret.expose(),
            Shows::Nothing => "",
        }
    }

    #[test]
    fn three_ways_are_understood() {
        let client = ask(&[&line("a%3Ab:s%2B%25+%C3%BC")], "token=x").unwrap();
        assert_eq!((&*client.id, secret(&client)), ("a:b", "s+% ü"));
        let client = ask(&[&line("app:s=3&4")], "client_id=app").unwrap();
        assert_eq!((&*client.id, secret(&client)), ("app", "s=3&4"));
        let client = ask(&[&line("app:").replace("Basic", "bAsIc")], "").unwrap();
        assert_eq!((&*client.id, secret(&client)), ("app", ""));
        let client = ask(&[], "client_id=app&client_secret=s%26").unwrap();
        assert_eq!((&*client.id, secret(&client)), ("app", "s&"));
        let client = ask(&[], "client_id=app&client_secret=").unwrap();
        assert!(matches!(client.shows, Shows::Nothing));
    }

    #[test]
    fn two_ways_at_once_are_one_too_many() {
        let app = line("app:s");
        for (headers, body) in [
            (vec![&*app], "client_secret=s"),
            (vec![&*app], "client_id=app&client_secret=s"),
            (vec![&*app], "client_id=other"),
            (vec![&*app, &*app], ""),
        ] {
            let refused = ask(&headers, body).unwrap_err();
            assert!(
                matches!(refused, Unknown::Malformed(_)),
                "{headers:?} {body}"
            );
        }
    }

    #[test]
    fn what_shows_nobody_is_nobody() {
        let colon = line("app");
        for (headers, body) in [
            (vec![], ""),
            (vec![], "client_secret=s"),
            (vec!["Bearer app:s"], ""),
            (vec!["Basic"], "client_id=app"),
            (vec!["Basic !"], ""),
            (vec![&*colon], ""),
            (vec!["Basic OnM="], ""),
            (vec![], "client_id=app&client_assertion=a.b.c"),
        ] {
            assert_eq!(
                ask(&headers, body).unwrap_err(),
                Unknown::Nobody,
                "{headers:?} {body}"
            );
        }
    }
}
