//! RP-Initiated Logout and the sending side of Back-Channel Logout (OpenID Connect).

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use url::Url;

use super::authorize::{broken, hidden, message, show};
use super::faults::Fault;
use super::grants::Sso;
use super::journal::Event;
use super::{Provider, lock};
use crate::connect::{Origin, Pool, Scheme, Settings};
use crate::demo::http::{Body, Params, from_own_page, see_other};
use crate::tls;

/// How long a client may take to answer a logout token, as at oidc-provider.
const PATIENCE: Duration = Duration::from_millis(2500);

impl Provider {
    /// GET or POST `/end_session`.
    pub(super) async fn end_session(
        self: &Arc<Self>,
        request: Request<Incoming>,
    ) -> Response<Body> {
        if self.faults.shows(&Fault::EndSessionDown) {
            return message(
                StatusCode::SERVICE_UNAVAILABLE,
                "Not now",
                "Try again later.",
            );
        }
        let headers = request.headers().clone();
        let params = if request.method() == Method::POST {
            Params::form(request).await
        } else {
            Params::query(request.uri())
        };
        let Ok(params) = params else {
            return message(
                StatusCode::BAD_REQUEST,
                "Invalid request",
                "A parameter came twice.",
            );
        };
        match params.find("id_token_hint") {
            Some(hint) if !self.faults.peeks(&Fault::EndSessionAsks) => {
                self.end_by_hint(hint, &params).await
            }
            Some(_) | None => self.ask_to_end(&params, &headers),
        }
    }

    /// From server to server, too: the hint says which session, however old it is.
    async fn end_by_hint(self: &Arc<Self>, hint: &str, params: &Params) -> Response<Body> {
        let Some(claims) = self.read_own(hint) else {
            return message(
                StatusCode::BAD_REQUEST,
                "Invalid request",
                "The hint is not ours.",
            );
        };
        let claim = |name| claims.get(name).and_then(serde_json::Value::as_str);
        let client = claim("aud").unwrap_or_default();
        if params.find("client_id").is_some_and(|id| id != client) {
            return message(
                StatusCode::BAD_REQUEST,
                "Invalid request",
                "The hint is another client's.",
            );
        }
        let Ok(back) = self.way_back(client, params) else {
            return message(
                StatusCode::BAD_REQUEST,
                "Invalid request",
                "Invalid redirect uri",
            );
        };
        self.end(claim("sid").unwrap_or_default()).await;
        back.map_or_else(signed_out, |url| see_other(url.as_str()))
    }

    fn ask_to_end(&self, params: &Params, headers: &HeaderMap) -> Response<Body> {
        let client = params.find("client_id").unwrap_or_default();
        let Ok(back) = self.way_back(client, params) else {
            return message(
                StatusCode::BAD_REQUEST,
                "Invalid request",
                "Invalid redirect uri",
            );
        };
        let asks = self.faults.peeks(&Fault::EndSessionAsks);
        if self.sso(headers).is_none() && !asks {
            return back.map_or_else(signed_out, |url| see_other(url.as_str()));
        }
        let names = ["client_id", "post_logout_redirect_uri", "state"].into_iter();
        let inputs = hidden(names.filter_map(|name| Some((name, params.find(name)?))));
        let form = format!(
            "<form method=\"post\" action=\"/end_session/confirm\">{inputs}\
             <button class=\"button\">Sign out</button></form>"
        );
        show(
            "Sign out?",
            "You are signed in at the development identity provider.",
            &form,
        )
    }

    /// POST `/end_session/confirm`.
    pub(super) async fn confirm_end(
        self: &Arc<Self>,
        request: Request<Incoming>,
    ) -> Response<Body> {
        if !from_own_page(request.headers()) {
            return message(
                StatusCode::FORBIDDEN,
                "Not from here",
                "The form came from elsewhere.",
            );
        }
        let sso = self.sso(request.headers());
        let Ok(params) = Params::form(request).await else {
            return broken();
        };
        let client = params.find("client_id").unwrap_or_default().to_owned();
        let Ok(back) = self.way_back(&client, &params) else {
            return message(
                StatusCode::BAD_REQUEST,
                "Invalid request",
                "Invalid redirect uri",
            );
        };
        if let Some(sso) = sso {
            self.end(&sso.sid).await;
        }
        back.map_or_else(signed_out, |url| see_other(url.as_str()))
    }

    /// Where to go afterwards: exactly what the client registered, or nowhere.
    fn way_back(&self, client: &str, params: &Params) -> Result<Option<Url>, ()> {
        let Some(uri) = params.find("post_logout_redirect_uri") else {
            return Ok(None);
        };
        let client = self.client(client).ok_or(())?;
        if !client
            .post_logout_redirect_uris
            .iter()
            .any(|known| known == uri)
        {
            return Err(());
        }
        let mut url = Url::parse(uri).map_err(|_| ())?;
        if let Some(state) = params.find("state") {
            url.query_pairs_mut().append_pair("state", state);
        }
        Ok(Some(url))
    }

    /// Ends a session and tells the clients that took part.
    pub(super) async fn end(self: &Arc<Self>, sid: &str) {
        let ended = lock(&self.grants).end(sid);
        if let Some((sso, clients)) = ended {
            self.note(Event::SessionEnded(sso.person.name));
            self.tell(&sso, &clients).await;
        }
    }

    /// One attempt for each client, as real providers make.
    async fn tell(&self, sso: &Sso, clients: &HashSet<String>) {
        for id in clients {
            let uri = self
                .client(id)
                .and_then(|client| client.backchannel_logout_uri);
            let Some(uri) = uri.and_then(|uri| Url::parse(&uri).ok()) else {
                continue;
            };
            let Ok(logout_token) = self.logout_token(id, sso.person.subject, &sso.sid) else {
                continue;
            };
            let sent = send_logout_token(&uri, &logout_token, self.options.trust.as_ref());
            let taken = tokio::time::timeout(PATIENCE, sent).await == Ok(Some(StatusCode::OK));
            self.note(Event::BackchannelLogout { taken });
        }
    }
}

fn signed_out() -> Response<Body> {
    show(
        "You are signed out",
        "The session at the development identity provider is over.",
        "",
    )
}

/// Posts a logout token and answers the status, if any came.
async fn send_logout_token(uri: &Url, token: &str, trust: Option<&PathBuf>) -> Option<StatusCode> {
    let scheme = match uri.scheme() {
        "https" => Scheme::Https,
        _ => Scheme::Http,
    };
    let host = uri.host_str()?;
    let port = uri.port_or_known_default()?;
    let origin = Origin {
        scheme,
        host: host.into(),
        port,
    };
    let settings = Settings {
        connect_timeout: PATIENCE,
        response_timeout: PATIENCE,
        idle_timeout: PATIENCE,
        tls: tls::client_config(trust.map(PathBuf::as_path)).ok()?,
        server_name: None,
    };
    let form = url::form_urlencoded::Serializer::new(String::new())
        .append_pair("logout_token", token)
        .finish();
    let request = Request::post(uri.path())
        .header(header::HOST, format!("{host}:{port}"))
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(Full::new(Bytes::from(form)))
        .ok()?;
    let response = Pool::new(origin, settings).send(request).await.ok()?;
    Some(response.status())
}
