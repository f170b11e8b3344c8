//! The sign-in page of the development identity provider, the step-up page, and what a person presses there.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use hyper::body::Incoming;

use super::authorize::{broken, message};
use super::device::show_approval;
use super::grants::{Asked, Interaction, Purpose, Sso};
use super::journal::Event;
use super::keys::random_text;
use super::people::{PEOPLE, Person};
use super::{COOKIE, Provider, lock};
use crate::demo::http::{Body, Params, cookie, escape, fill, from_own_page, page};

impl Provider {
    /// The page to pick a person.
    pub(super) fn show_login(
        &self,
        purpose: Purpose,
        client: &str,
        hint: Option<String>,
    ) -> Response<Body> {
        let Some(interaction) = self.interact(purpose, client) else {
            return broken();
        };
        self.note(Event::LoginAsked);
        let hint = hint.unwrap_or_default();
        let people = PEOPLE.map(|person| button(&person, &hint)).concat();
        let values = [
            ("client", client),
            ("interaction", interaction.as_str()),
            ("people_html", people.as_str()),
        ];
        let template = include_str!("../pages/login.html");
        page(StatusCode::OK, fill(template, &values))
    }

    pub(super) fn show_step_up(&self, asked: Asked, person: &Person) -> Response<Body> {
        let client = asked.client.clone();
        let Some(interaction) = self.interact(Purpose::Code(asked), &client) else {
            return broken();
        };
        let values = [
            ("client", client.as_str()),
            ("interaction", interaction.as_str()),
            ("person", person.name),
        ];
        let template = include_str!("../pages/step_up.html");
        page(StatusCode::OK, fill(template, &values))
    }

    fn interact(&self, purpose: Purpose, client: &str) -> Option<String> {
        let id = random_text(24).ok()?;
        let client = client.to_owned();
        let interaction = Interaction { purpose, client };
        lock(&self.grants)
            .interactions
            .insert(id.clone(), interaction);
        Some(id)
    }

    /// POST `/login`, `/step_up` or `/cancel`: what the person pressed.
    pub(super) async fn pressed(&self, request: Request<Incoming>) -> Response<Body> {
        if !from_own_page(request.headers()) {
            return message(
                StatusCode::FORBIDDEN,
                "Not from here",
                "The form came from elsewhere.",
            );
        }
        let path = request.uri().path().to_owned();
        let headers = request.headers().clone();
        let Ok(form) = Params::form(request).await else {
            return message(
                StatusCode::BAD_REQUEST,
                "Invalid request",
                "The form can't be read.",
            );
        };
        let id = form.find("interaction").unwrap_or_default();
        let interaction = lock(&self.grants).interactions.remove(id);
        let Some(interaction) = interaction else {
            return message(
                StatusCode::BAD_REQUEST,
                "Too late",
                "This sign-in was used already.",
            );
        };
        match (path.as_str(), form.find("person").and_then(Person::named)) {
            ("/login", Some(person)) => self.signed_in(interaction, person),
            ("/step_up", Some(person)) => self.stepped_up(interaction, person, &headers),
            _ => self.cancelled(interaction),
        }
    }

    fn signed_in(&self, interaction: Interaction, person: &'static Person) -> Response<Body> {
        let (Ok(cookie), Ok(sid)) = (random_text(32), random_text(16)) else {
            return broken();
        };
        let sso = Sso {
            sid,
            person,
            authenticated: self.options.clock.now(),
            acr: if person.needs_step_up {
                "bronze"
            } else {
                "silver"
            },
        };
        lock(&self.grants).sso.insert(cookie.clone(), sso.clone());
        self.note(Event::LoggedIn(person.name));
        let mut response = match interaction.purpose {
            Purpose::Code(asked) if asked.step_up => self.show_step_up(asked, person),
            Purpose::Code(asked) => {
                self.note(Event::Code {
                    person: person.name,
                    silent: false,
                });
                self.give_code(&asked, &sso)
            }
            Purpose::Device(user_code) => show_approval(&user_code, &interaction.client),
        };
        set_cookie(&mut response, &cookie);
        response
    }

    fn stepped_up(
        &self,
        interaction: Interaction,
        person: &Person,
        headers: &HeaderMap,
    ) -> Response<Body> {
        let Purpose::Code(asked) = interaction.purpose else {
            return broken();
        };
        let now = self.options.clock.now();
        let raised = cookie(headers, COOKIE).and_then(|cookie| {
            let mut grants = lock(&self.grants);
            let sso = grants.sso.get_mut(&cookie)?;
            sso.acr = "gold";
            sso.authenticated = now;
            (sso.person.name == person.name).then(|| sso.clone())
        });
        let Some(sso) = raised else {
            return self.refuse(&asked, "login_required", "nobody is signed in");
        };
        self.note(Event::Code {
            person: sso.person.name,
            silent: false,
        });
        self.give_code(&asked, &sso)
    }

    fn cancelled(&self, interaction: Interaction) -> Response<Body> {
        match interaction.purpose {
            Purpose::Code(asked) => self.refuse(&asked, "access_denied", "the person said no"),
            Purpose::Device(user_code) => self.refuse_device(&user_code),
        }
    }
}

fn button(person: &Person, hint: &str) -> String {
    let hinted = hint == person.name || hint == person.email() || hint == person.subject;
    format!(
        "<button class=\"button person{}\" name=\"person\" value=\"{}\"><strong>{}</strong><small>{}</small></button>\n",
        if hinted { " hinted" } else { "" },
        person.name,
        escape(person.full_name),
        escape(person.about),
    )
}

/// Plain http on loopback, so without `Secure`.
fn set_cookie(response: &mut Response<Body>, value: &str) {
    let line = format!("{COOKIE}={value}; Path=/; HttpOnly; SameSite=Lax");
    if let Ok(line) = HeaderValue::from_maybe_shared(Bytes::from(line)) {
        response.headers_mut().append(header::SET_COOKIE, line);
    }
}
