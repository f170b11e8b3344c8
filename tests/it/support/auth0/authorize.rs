//! `/authorize` and the login page. There is no `iss` in the answer, and no consent is asked of an application of the
//! tenant's own.

use std::collections::BTreeSet;

use http::{HeaderValue, Response, StatusCode, header};
use tidegate::demo::http::{Body, escape};
use url::Url;

use super::books::{Code, Request, Sso};
use super::given::Given;
use super::mint::random;
use super::{MINUTE, PEOPLE, Tenant, found, page, user_id};

/// The browser's session.
pub(super) const COOKIE: &str = "auth0";

impl Tenant {
    pub(super) fn authorize(&self, given: &Given) -> Response<Body> {
        let request = match self.read(given) {
            Ok(request) => request,
            Err(answer) => return *answer,
        };
        let prompt = given.words("prompt");
        let silent = prompt.iter().any(|word| word == "none");
        let anew = prompt.iter().any(|word| word == "login");
        let sso = self
            .sso(given)
            .filter(|sso| !anew && self.is_young(sso, &request));
        match sso {
            Some(sso) => self.give_code(&request, &sso),
            None if silent => refused(&request, "login_required", "Login required"),
            None => {
                let login = random(16);
                let to = self.at(&format!("u/login?state={login}"));
                self.books().logins.insert(login, request);
                found(&to)
            }
        }
    }

    fn is_young(&self, sso: &Sso, request: &Request) -> bool {
        let age = self
            .options()
            .clock
            .now()
            .since(sso.authenticated)
            .as_secs();
        request.max_age.is_none_or(|most| age <= most)
    }

    /// The browser's session.
    pub(super) fn sso(&self, given: &Given) -> Option<Sso> {
        let cookie = given.cookie(COOKIE)?;
        self.books().sso.get(&cookie).cloned()
    }

    fn read(&self, given: &Given) -> Result<Request, Box<Response<Body>>> {
        let wrong = |why: &str| Box::new(page(StatusCode::FORBIDDEN, why));
        let client = given.find("client_id").unwrap_or_default();
        let application = self.application(client);
        let application = application.ok_or_else(|| wrong("Unknown client"))?;
        let redirect_uri = given.find("redirect_uri").unwrap_or_default();
        if !application
            .callbacks
            .iter()
            .any(|known| known == redirect_uri)
        {
            return Err(wrong("Callback URL mismatch."));
        }
        let own = |name: &str| given.find(name).map(str::to_owned);
        let request = Request {
            client: client.to_owned(),
            redirect_uri: redirect_uri.to_owned(),
            state: own("state"),
            nonce: own("nonce"),
            scopes: given.words("scope"),
            audience: own("audience"),
            challenge: own("code_challenge"),
            max_age: given.find("max_age").and_then(|age| age.parse().ok()),
        };
        let refuse = |error: &str, why: &str| Err(Box::new(refused(&request, error, why)));
        if given.find("response_type") != Some("code") {
            return refuse("unsupported_response_type", "Unsupported response type");
        }
        if request.challenge.is_some() && given.find("code_challenge_method") != Some("S256") {
            return refuse("invalid_request", "code_challenge_method");
        }
        match &request.audience {
            Some(audience) if !self.options().apis.contains(audience) => {
                refuse("access_denied", &format!("Service not found: {audience}"))
            }
            _ => Ok(request),
        }
    }

    /// A page with a button for each person.
    pub(super) fn login_page(&self, given: &Given) -> Response<Body> {
        let login = given.query.get("state").cloned().unwrap_or_default();
        if !self.books().logins.contains_key(&login) {
            return page(StatusCode::BAD_REQUEST, "Invalid state");
        }
        let button =
            |person| format!("<button name=\"username\" value=\"{person}\">{person}</button>");
        let buttons: String = PEOPLE.into_iter().map(button).collect();
        let html = format!(
            "<h1>Log in to the tenant</h1><form method=\"post\" action=\"/u/login\">\
             <input type=\"hidden\" name=\"state\" value=\"{}\">{buttons}</form>",
            escape(&login)
        );
        page(StatusCode::OK, &html)
    }

    pub(super) fn log_in(&self, given: &Given) -> Response<Body> {
        let login = given.find("state").unwrap_or_default();
        let Some(request) = self.books().logins.remove(login) else {
            return page(StatusCode::BAD_REQUEST, "Invalid state");
        };
        let person = given.find("username").unwrap_or_default();
        if !PEOPLE.contains(&person) {
            return page(StatusCode::BAD_REQUEST, "Wrong email or password.");
        }
        let sso = Sso {
            sid: random(24),
            user: user_id(person),
            authenticated: self.options().clock.now(),
            clients: BTreeSet::new(),
        };
        let cookie = random(24);
        self.books().sso.insert(cookie.clone(), sso.clone());
        let mut answer = self.give_code(&request, &sso);
        let line = format!("{COOKIE}={cookie}; Path=/; HttpOnly; SameSite=Lax");
        answer
            .headers_mut()
            .insert(header::SET_COOKIE, HeaderValue::from_str(&line).unwrap());
        answer
    }

    fn give_code(&self, request: &Request, sso: &Sso) -> Response<Body> {
        let code = random(32);
        let entry = Code {
            request: request.clone(),
            sso: sso.clone(),
            expires: self.options().clock.now() + MINUTE,
        };
        let mut books = self.books();
        books.issued.push(code.clone());
        books.codes.insert(code.clone(), entry);
        let mut sessions = books.sso.values_mut();
        if let Some(session) = sessions.find(|session| session.sid == sso.sid) {
            session.clients.insert(request.client.clone());
        }
        respond(request, &[("code", &code)])
    }
}

fn refused(request: &Request, error: &str, why: &str) -> Response<Body> {
    respond(request, &[("error", error), ("error_description", why)])
}

fn respond(request: &Request, parameters: &[(&str, &str)]) -> Response<Body> {
    let mut to = Url::parse(&request.redirect_uri).unwrap();
    to.query_pairs_mut().extend_pairs(parameters);
    if let Some(state) = &request.state {
        to.query_pairs_mut().append_pair("state", state);
    }
    found(to.as_str())
}
