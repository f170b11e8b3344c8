//! The authorization endpoint (RFC 6749 section 4.1.1, OpenID Connect Core section 3.1.2) and pushed authorization
//! requests (RFC 9126).

use http::{HeaderMap, Request, Response, StatusCode};
use hyper::body::Incoming;
use serde_json::json;
use url::Url;

use super::client::{self, Client};
use super::faults::Fault;
use super::grants::{Asked, Authorized, PUSHED_LIFETIME, Purpose, Sso};
use super::journal::{Event, Kind};
use super::keys::random_text;
use super::token::{TokenError, denied};
use super::{COOKIE, Provider, lock};
use crate::demo::http::{Body, Params, cookie, escape, fill, json, page, see_other};

/// What a request to the authorization endpoint came to.
enum Way {
    /// Nobody can be told but the person: the client or its address is not to be trusted.
    Page(&'static str),
    /// The client is told.
    Error(Asked, &'static str, &'static str),
    /// It is in order.
    Ask(Box<Demand>),
}

/// An authorization request with what it demands of the sign-in.
struct Demand {
    asked: Asked,
    prompt: Vec<String>,
    max_age: Option<u64>,
    login_hint: Option<String>,
}

impl Provider {
    /// GET or POST `/authorize`.
    pub(super) async fn authorize(&self, request: Request<Incoming>) -> Response<Body> {
        let headers = request.headers().clone();
        let params = if request.method() == http::Method::POST {
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
        match self.read_authorization(&params) {
            Way::Page(why) => message(StatusCode::BAD_REQUEST, "Invalid request", why),
            Way::Error(asked, error, why) => self.refuse(&asked, error, why),
            Way::Ask(demand) => self.decide(*demand, &headers),
        }
    }

    /// POST `/par` (RFC 9126 section 2).
    pub(super) async fn push(&self, request: Request<Incoming>) -> Response<Body> {
        let headers = request.headers().clone();
        let Ok(form) = Params::form(request).await else {
            return denied(TokenError::InvalidRequest(
                "not a form, or a parameter twice",
            ));
        };
        let clients = self.clients();
        let Some(client) = client::authenticate(&clients, &headers, &form) else {
            return denied(TokenError::InvalidClient);
        };
        if form.find("request_uri").is_some() {
            return denied(TokenError::InvalidRequest("request_uri"));
        }
        match check_authorization(client, &form) {
            Way::Page(why) | Way::Error(_, _, why) => denied(TokenError::InvalidRequest(why)),
            Way::Ask(_) => {
                let Ok(random) = random_text(24) else {
                    return denied(TokenError::Server);
                };
                let uri = format!("urn:ietf:params:oauth:request_uri:{random}");
                let expires = self.options.clock.now() + PUSHED_LIFETIME;
                let pushed = (client.id.clone(), form, expires);
                lock(&self.grants).pushed.insert(uri.clone(), pushed);
                json(
                    StatusCode::CREATED,
                    &json!({ "request_uri": uri, "expires_in": PUSHED_LIFETIME.as_secs() }),
                )
            }
        }
    }

    fn read_authorization(&self, params: &Params) -> Way {
        let clients = self.clients();
        let named = params.find("client_id");
        let Some(client) = clients.iter().find(|c| Some(c.id.as_str()) == named) else {
            return Way::Page("There is no such client.");
        };
        let Some(uri) = params.find("request_uri") else {
            return check_authorization(client, params);
        };
        // Once only, and only for the client that pushed it (RFC 9126 section 4).
        let pushed = lock(&self.grants).pushed.remove(uri);
        match pushed {
            Some((owner, pushed, expires))
                if owner == client.id && expires > self.options.clock.now() =>
            {
                check_authorization(client, &pushed)
            }
            _ => Way::Page("The request_uri is not known, was used, or has expired."),
        }
    }

    /// Whether the person must see a page.
    fn decide(&self, demand: Demand, headers: &HeaderMap) -> Response<Body> {
        let silent = demand.prompt.iter().any(|word| word == "none");
        let Some(sso) = self.usable_sso(&demand, headers) else {
            if silent {
                return self.refuse(&demand.asked, "login_required", "nobody is signed in");
            }
            let client = demand.asked.client.clone();
            return self.show_login(Purpose::Code(demand.asked), &client, demand.login_hint);
        };
        if demand.asked.step_up && sso.acr != "gold" {
            if silent {
                return self.refuse(&demand.asked, "interaction_required", "acr");
            }
            return self.show_step_up(demand.asked, sso.person);
        }
        self.note(Event::Code {
            person: sso.person.name,
            silent: true,
        });
        self.give_code(&demand.asked, &sso)
    }

    /// The browser's session, where the request does not ask for a new sign-in.
    fn usable_sso(&self, demand: &Demand, headers: &HeaderMap) -> Option<Sso> {
        let anew = |word: &String| word == "login" || word == "select_account";
        if demand.prompt.iter().any(anew) {
            return None;
        }
        let sso = self.sso(headers)?;
        let age = self.options.clock.now().since(sso.authenticated).as_secs();
        demand.max_age.is_none_or(|most| age <= most).then_some(sso)
    }

    /// The browser's session.
    pub(super) fn sso(&self, headers: &HeaderMap) -> Option<Sso> {
        let cookie = cookie(headers, COOKIE)?;
        lock(&self.grants).sso.get(&cookie).cloned()
    }

    pub(super) fn give_code(&self, asked: &Asked, sso: &Sso) -> Response<Body> {
        let Ok(code) = random_text(32) else {
            return self.refuse(asked, "server_error", "no randomness");
        };
        let authorized = Authorized {
            client: asked.client.clone(),
            scopes: asked.scopes.clone(),
            nonce: asked.nonce.clone(),
            sso: sso.clone(),
        };
        let now = self.options.clock.now();
        lock(&self.grants).add_code(code.clone(), asked, authorized, now);
        self.issue(Kind::Code, &code);
        self.respond(asked, &[("code", &code), ("session_state", &sso.sid)])
    }

    pub(super) fn refuse(&self, asked: &Asked, error: &str, why: &str) -> Response<Body> {
        self.respond(asked, &[("error", error), ("error_description", why)])
    }

    /// An authorization response, with `state` and `iss` (RFC 9207).
    fn respond(&self, asked: &Asked, params: &[(&str, &str)]) -> Response<Body> {
        let wrong = self.faults.shows(&Fault::WrongResponseIssuer);
        let iss = if wrong {
            "https://other.example"
        } else {
            &self.issuer
        };
        let state = asked.state.as_deref().map(|state| ("state", state));
        let params = params.iter().copied().chain(state).chain([("iss", iss)]);
        if asked.form_post {
            return form_post(&asked.redirect_uri, params);
        }
        let Ok(mut to) = Url::parse(&asked.redirect_uri) else {
            return broken();
        };
        to.query_pairs_mut().extend_pairs(params);
        see_other(to.as_str())
    }
}

/// Checks an authorization request of `client`.
fn check_authorization(client: &Client, params: &Params) -> Way {
    let redirect_uri = params.find("redirect_uri").unwrap_or_default();
    if !client
        .redirect_uris
        .iter()
        .any(|known| known == redirect_uri)
    {
        return Way::Page("The redirect_uri is not one of this client's.");
    }
    let acr = params.words("acr_values");
    let asked = Asked {
        client: client.id.clone(),
        redirect_uri: redirect_uri.to_owned(),
        state: params.find("state").map(str::to_owned),
        nonce: params.find("nonce").map(str::to_owned),
        challenge: params.find("code_challenge").unwrap_or_default().to_owned(),
        scopes: params.words("scope"),
        form_post: params.find("response_mode") == Some("form_post"),
        step_up: acr.iter().any(|value| value == "gold"),
    };
    if let Some((error, why)) = objection(params) {
        return Way::Error(asked, error, why);
    }
    Way::Ask(Box::new(Demand {
        asked,
        prompt: params.words("prompt"),
        max_age: params.find("max_age").and_then(|age| age.parse().ok()),
        login_hint: params.find("login_hint").map(str::to_owned),
    }))
}

/// What is wrong with an authorization request whose client may be told.
fn objection(params: &Params) -> Option<(&'static str, &'static str)> {
    if params.find("response_type") != Some("code") {
        return Some(("unsupported_response_type", "only code"));
    }
    if params.find("request").is_some() {
        return Some(("request_not_supported", "request"));
    }
    if params.find("code_challenge_method") != Some("S256") {
        return Some((
            "invalid_request",
            "Missing parameter: code_challenge_method",
        ));
    }
    // RFC 7636 section 4.2: base64url of a SHA-256.
    if params.find("code_challenge").is_none_or(|c| c.len() != 43) {
        return Some(("invalid_request", "Invalid parameter: code_challenge"));
    }
    let prompt = params.words("prompt");
    if prompt.len() > 1 && prompt.iter().any(|word| word == "none") {
        return Some(("invalid_request", "prompt=none goes with nothing else"));
    }
    if !matches!(
        params.find("response_mode"),
        None | Some("query" | "form_post")
    ) {
        return Some(("invalid_request", "response_mode"));
    }
    let known = |scope: &String| super::SCOPES.contains(&scope.as_str());
    if !params.words("scope").iter().all(known) {
        return Some(("invalid_scope", "a scope is not known"));
    }
    None
}

/// OAuth 2.0 Form Post Response Mode, without a script: the person presses the button.
fn form_post<'a>(to: &str, params: impl Iterator<Item = (&'a str, &'a str)>) -> Response<Body> {
    let inputs = hidden(params);
    let form = format!(
        "<form method=\"post\" action=\"{}\">{inputs}<button class=\"button\">Continue</button></form>",
        escape(to)
    );
    show("You are signed in", "Go on to where you came from.", &form)
}

/// Hidden inputs of a form.
pub(super) fn hidden<'a>(params: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let inputs: Vec<String> = params
        .map(|(name, value)| {
            let value = escape(value);
            format!("<input type=\"hidden\" name=\"{name}\" value=\"{value}\">")
        })
        .collect();
    inputs.concat()
}

/// A page with a message and a form.
pub(super) fn show(title: &str, text: &str, form: &str) -> Response<Body> {
    let values = [("title", title), ("text", text), ("form_html", form)];
    let template = include_str!("../pages/message.html");
    page(StatusCode::OK, fill(template, &values))
}

/// A page with a message.
pub(super) fn message(status: StatusCode, title: &str, text: &str) -> Response<Body> {
    let mut response = show(title, text, "");
    *response.status_mut() = status;
    response
}

/// A page for what can't happen.
pub(super) fn broken() -> Response<Body> {
    message(
        StatusCode::INTERNAL_SERVER_ERROR,
        "Sorry",
        "Something is broken here.",
    )
}
