//! `/oauth/token` and `/userinfo`. Errors of grants are 403, a wrong secret is 401 `access_denied`.

use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{Response, StatusCode};
use serde_json::{Value, json};
use tidegate::clock::Timestamp;
use tidegate::demo::http::{self as web, Body};

use super::books::{Access, ApiToken, Code};
use super::given::Given;
use super::mint::{random, sign};
use super::rotation::{Family, Limits, Origin};
use super::{Application, HOUR, Tenant, oauth_error};

type Refused = Box<Response<Body>>;

/// What an answer is made of.
struct Issue<'a> {
    user: &'a str,
    client: &'a str,
    audience: Option<&'a str>,
    scopes: &'a [String],
    refresh_token: Option<String>,
}

fn refuse<T>(status: u16, error: &str, why: &str) -> Result<T, Refused> {
    Err(Box::new(oauth_error(status, error, why)))
}

impl Tenant {
    /// POST `/oauth/token`, as a form or as JSON.
    pub(super) fn token(&self, given: &Given, basic: Option<&(String, String)>) -> Response<Body> {
        let answer = self.application_of(given, basic).and_then(|application| {
            match given.find("grant_type") {
                Some("authorization_code") => self.redeem(given, &application),
                Some("refresh_token") => self.renew(given, &application),
                Some("client_credentials") => self.client_credentials(given, &application),
                Some(other) => {
                    let why = format!("Grant type '{other}' not allowed for the client.");
                    refuse(403, "unauthorized_client", &why)
                }
                None => refuse(
                    403,
                    "unsupported_grant_type",
                    "Unsupported grant type: undefined",
                ),
            }
        });
        match answer {
            Ok(body) => web::json(StatusCode::OK, &body),
            Err(refused) => *refused,
        }
    }

    /// Every application here is registered to show its secret in the body: HTTP Basic is not its way.
    fn application_of(
        &self,
        given: &Given,
        basic: Option<&(String, String)>,
    ) -> Result<Application, Refused> {
        let client = given.find("client_id").and_then(|id| self.application(id));
        let secret = given.find("client_secret");
        let proven = client.filter(|client| {
            basic.is_none() && secret.is_some_and(|secret| secret == client.client_secret)
        });
        proven.map_or_else(|| refuse(401, "access_denied", "Unauthorized"), Ok)
    }

    fn redeem(&self, given: &Given, application: &Application) -> Result<Value, Refused> {
        let now = self.options().clock.now();
        let code = given.find("code").unwrap_or_default();
        let entry = self.books().codes.remove(code);
        let known =
            |code: &Code| code.request.client == application.client_id && now < code.expires;
        let Some(Code { request, sso, .. }) = entry.filter(known) else {
            return refuse(403, "invalid_grant", "Invalid authorization code");
        };
        let verifier = given.find("code_verifier").unwrap_or_default();
        let challenge = URL_SAFE_NO_PAD.encode(digest(&SHA256, verifier.as_bytes()));
        if request
            .challenge
            .is_some_and(|expected| expected != challenge)
        {
            return refuse(403, "invalid_grant", "Failed to verify code verifier");
        }
        if given.find("redirect_uri") != Some(&*request.redirect_uri) {
            return refuse(403, "unauthorized_client", "The redirect URI is wrong.");
        }
        let audience = request
            .audience
            .clone()
            .unwrap_or_else(|| self.at("userinfo"));
        let origin = Origin {
            user: &sso.user,
            client: &request.client,
            audience: &audience,
            scopes: &request.scopes,
            rotates: self.options().rotation.is_some(),
        };
        let refresh_token = self.begin_family(&origin, now);
        let mut body = self.issue(&Issue {
            user: &sso.user,
            client: &request.client,
            audience: request.audience.as_deref(),
            scopes: &request.scopes,
            refresh_token,
        });
        if request.scopes.iter().any(|scope| scope == "openid") {
            let mut claims = self.id_claims(&sso.user, &request.client, now);
            claims["sid"] = json!(sso.sid);
            claims["auth_time"] = json!(sso.authenticated.as_secs());
            if let Some(nonce) = &request.nonce {
                claims["nonce"] = json!(nonce);
            }
            body["id_token"] = json!(self.signed(&claims));
        }
        Ok(body)
    }

    /// The grant, and a refresh token where `offline_access` is asked for.
    pub(super) fn begin_family(&self, origin: &Origin<'_>, now: Timestamp) -> Option<String> {
        let most = self.options().most_tokens;
        let mut books = self.books();
        books.grant(origin.user, origin.client, origin.audience, origin.scopes);
        if !origin.scopes.iter().any(|scope| scope == "offline_access") {
            return None;
        }
        let mut family = Family::begin(origin, now);
        let token = family.add(0);
        books.families.push(family);
        let theirs = books.families.iter_mut().filter(|family| {
            family.is_alive() && family.user == origin.user && family.client == origin.client
        });
        let theirs: Vec<_> = theirs.collect();
        let surplus = theirs.len().saturating_sub(most);
        theirs.into_iter().take(surplus).for_each(Family::end);
        Some(token)
    }

    fn renew(&self, given: &Given, application: &Application) -> Result<Value, Refused> {
        let options = self.options();
        let now = options.clock.now();
        let limits = Limits {
            leeway: options.rotation.unwrap_or_default(),
            absolute: options.absolute_lifetime,
            idle: options.idle_lifetime,
        };
        let token = given.find("refresh_token").unwrap_or_default();
        let mut books = self.books();
        let ours =
            |family: &&mut Family| family.client == application.client_id && family.has(token);
        let swapped = books.families.iter_mut().find(ours).and_then(|family| {
            let refresh_token = family.swap(token, limits, now).ok()?;
            Some((family.clone(), refresh_token))
        });
        drop(books);
        let Some((family, refresh_token)) = swapped else {
            return refuse(403, "invalid_grant", "Unknown or invalid refresh token.");
        };
        let userinfo = self.at("userinfo");
        let mut body = self.issue(&Issue {
            user: &family.user,
            client: &family.client,
            audience: Some(&*family.audience).filter(|audience| *audience != userinfo),
            scopes: &family.scopes,
            refresh_token,
        });
        if family.scopes.iter().any(|scope| scope == "openid") {
            // Neither `sid` nor `nonce` nor `auth_time`: those are of a sign-in.
            let claims = self.id_claims(&family.user, &family.client, now);
            body["id_token"] = json!(self.signed(&claims));
        }
        Ok(body)
    }

    fn client_credentials(&self, given: &Given, client: &Application) -> Result<Value, Refused> {
        let audience = self.at("api/v2/");
        let asked = given.find("audience").unwrap_or_default();
        if asked != audience {
            return refuse(
                403,
                "access_denied",
                &format!("Service not enabled within domain: {asked}"),
            );
        }
        if client.api_scopes.is_empty() {
            let why = format!("Client is not authorized to access \"{asked}\".");
            return refuse(403, "access_denied", &why);
        }
        let now = self.options().clock.now();
        let life = 24 * HOUR;
        let token = self.signed(&json!({
            "iss": self.issuer, "sub": format!("{}@clients", client.client_id), "aud": audience,
            "iat": now.as_secs(), "exp": (now + life).as_secs(), "scope": client.api_scopes.join(" "),
            "gty": "client-credentials", "azp": client.client_id, "jti": random(8),
        }));
        let entry = ApiToken {
            scopes: client.api_scopes.clone(),
            expires: now + life,
        };
        self.books().api_tokens.insert(token.clone(), entry);
        Ok(
            json!({ "access_token": token, "scope": client.api_scopes.join(" "),
            "expires_in": life.as_secs(), "token_type": "Bearer" }),
        )
    }

    fn issue(&self, issue: &Issue<'_>) -> Value {
        let options = self.options();
        let now = options.clock.now();
        let userinfo = self.at("userinfo");
        let (life, token) = match issue.audience {
            Some(audience) => {
                let life = options.token_lifetime;
                let claims = json!({
                    "iss": self.issuer, "sub": issue.user, "aud": [audience, userinfo],
                    "iat": now.as_secs(), "exp": (now + life).as_secs(),
                    "scope": issue.scopes.join(" "), "azp": issue.client, "jti": random(8),
                });
                (life, self.signed(&claims))
            }
            // For nobody but the tenant itself.
            None => (24 * HOUR, random(24)),
        };
        self.note(issue, &token, now, life);
        let mut body = json!({ "access_token": token, "scope": issue.scopes.join(" "),
            "expires_in": life.as_secs(), "token_type": "Bearer" });
        if let Some(refresh_token) = &issue.refresh_token {
            body["refresh_token"] = json!(refresh_token);
        }
        body
    }

    fn note(&self, issue: &Issue<'_>, token: &str, now: Timestamp, life: Duration) {
        let mut books = self.books();
        let access = Access {
            user: issue.user.to_owned(),
            expires: now + life,
        };
        books.access.insert(token.to_owned(), access);
        books.issued.push(token.to_owned());
        if let Some(refresh_token) = &issue.refresh_token {
            books.issued.push(refresh_token.clone());
            books.newest_refresh_token = Some(refresh_token.clone());
        }
    }

    fn signed(&self, claims: &Value) -> String {
        let token = sign(claims);
        self.books().issued.push(token.clone());
        token
    }

    fn id_claims(&self, user: &str, client: &str, now: Timestamp) -> Value {
        let name = user.trim_start_matches("auth0|");
        json!({
            "iss": self.issuer, "aud": client, "sub": user,
            "iat": now.as_secs(), "exp": (now + 10 * HOUR).as_secs(),
            "nickname": name, "name": name, "email": format!("{name}@example.com"), "email_verified": true,
        })
    }

    /// GET `/userinfo`
    pub(super) fn userinfo(&self, given: &Given) -> Response<Body> {
        let now = self.options().clock.now();
        let access = given
            .bearer()
            .and_then(|token| self.books().access.get(token).cloned());
        match access.filter(|access| now < access.expires) {
            Some(access) => web::json(StatusCode::OK, &json!({ "sub": access.user })),
            None => web::reply(StatusCode::UNAUTHORIZED, "text/plain", "Unauthorized"),
        }
    }
}
