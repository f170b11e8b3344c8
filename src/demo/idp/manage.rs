//! What clients ask about tokens and do with them afterwards: userinfo (OpenID Connect Core section 5.3), introspection
//! (RFC 7662) and revocation (RFC 7009).

use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use serde_json::{Map, Value, json};

use super::client::{self, Client};
use super::faults::Fault;
use super::grants::Hit;
use super::journal::{Event, Kind};
use super::token::{TokenError, denied};
use super::{Provider, lock};
use crate::clock::Timestamp;
use crate::demo::http::{Body, Params, json, reply};

impl Provider {
    /// GET or POST `/userinfo`.
    pub(super) fn userinfo(&self, headers: &HeaderMap) -> Response<Body> {
        let bearer = headers
            .get(header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.strip_prefix("Bearer "));
        let Some(claims) = bearer.and_then(|token| self.standing_access(token)) else {
            return challenge(StatusCode::UNAUTHORIZED, "Bearer error=\"invalid_token\"");
        };
        let scope = claims.get("scope").and_then(Value::as_str);
        if !scope.is_some_and(|scope| scope.split(' ').any(|word| word == "openid")) {
            return challenge(StatusCode::FORBIDDEN, "Bearer error=\"insufficient_scope\"");
        }
        let told = ["sub", "name", "preferred_username", "email", "groups"];
        let told: Map<String, Value> = told
            .into_iter()
            .filter_map(|name| Some((name.to_owned(), claims.get(name)?.clone())))
            .collect();
        json(StatusCode::OK, &Value::Object(told))
    }

    /// POST `/introspect`. As at Keycloak, the asking client must be in the token's `aud`.
    pub(super) async fn introspect(&self, request: Request<Incoming>) -> Response<Body> {
        let (client, form) = match self.authenticated(request).await {
            Ok(asked) => asked,
            Err(error) => return denied(error),
        };
        let token = form.find("token").unwrap_or_default();
        let answer = self
            .introspect_access(token, &client)
            .or_else(|| self.introspect_refresh(token, &client));
        json(
            StatusCode::OK,
            &answer.unwrap_or(json!({ "active": false })),
        )
    }

    fn introspect_access(&self, token: &str, client: &Client) -> Option<Value> {
        let mut claims = self.standing_access(token)?;
        let audience = claims.get("aud")?.as_array()?;
        if !audience.iter().any(|aud| aud == client.id.as_str()) {
            return None;
        }
        claims.insert("active".into(), json!(true));
        claims.insert("token_type".into(), json!("Bearer"));
        Some(Value::Object(claims))
    }

    fn introspect_refresh(&self, token: &str, client: &Client) -> Option<Value> {
        let grants = lock(&self.grants);
        let authorized = grants.standing_refresh(token, self.options.clock.now())?;
        (authorized.client == client.id).then(|| {
            json!({
                "active": true,
                "sub": authorized.sso.person.subject,
                "client_id": authorized.client,
                "scope": authorized.scopes.join(" "),
                "sid": authorized.sso.sid,
            })
        })
    }

    /// POST `/revoke`.
    pub(super) async fn revoke(&self, request: Request<Incoming>) -> Response<Body> {
        if self.faults.shows(&Fault::RevocationDown) {
            return reply(StatusCode::SERVICE_UNAVAILABLE, "text/plain", "");
        }
        let (client, form) = match self.authenticated(request).await {
            Ok(asked) => asked,
            Err(error) => return denied(error),
        };
        let Some(token) = form.find("token") else {
            return denied(TokenError::InvalidRequest("Token not provided"));
        };
        let claims = self.read_own(token);
        let claim = |name| claims.as_ref()?.get(name)?.as_str();
        if claim("azp").is_some_and(|owner| owner != client.id) {
            return denied(TokenError::InvalidRequest("Unmatching clients"));
        }
        if self.faults.shows(&Fault::RevocationIgnored) {
            return reply(StatusCode::OK, "text/plain", "");
        }
        let now = self.options.clock.now();
        let forgets = self.faults.peeks(&Fault::SpentIsForgotten);
        let hit = lock(&self.grants).revoke(token, claim("jti"), &client.id, forgets, now);
        match hit {
            Hit::Refresh => self.note(Event::Revoked(Kind::Refresh)),
            Hit::Access => self.note(Event::Revoked(Kind::Access)),
            Hit::Nothing => {}
            Hit::OtherClient => return denied(TokenError::InvalidRequest("Unmatching clients")),
        }
        reply(StatusCode::OK, "text/plain", "")
    }

    /// A client that proved who it is, and its form.
    pub(super) async fn authenticated(
        &self,
        request: Request<Incoming>,
    ) -> Result<(Client, Params), TokenError> {
        let headers = request.headers().clone();
        let form = Params::form(request)
            .await
            .map_err(|_| TokenError::InvalidRequest("not a form, or a parameter twice"))?;
        let clients = self.clients();
        let client = client::authenticate(&clients, &headers, &form);
        Ok((client.ok_or(TokenError::InvalidClient)?.clone(), form))
    }

    /// The claims of an access token that still stands.
    fn standing_access(&self, token: &str) -> Option<Map<String, Value>> {
        let claims = self.read_own(token)?;
        let expires = Timestamp::from_secs(claims.get("exp")?.as_u64()?);
        let jti = claims.get("jti")?.as_str()?;
        let stands = expires > self.options.clock.now() && lock(&self.grants).stands(jti);
        stands.then_some(claims)
    }
}

fn challenge(status: StatusCode, how: &'static str) -> Response<Body> {
    let mut response = reply(status, "text/plain", "");
    let how = HeaderValue::from_static(how);
    response.headers_mut().insert(header::WWW_AUTHENTICATE, how);
    response
}
