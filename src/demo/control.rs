//! The buttons of the demo's page `/_demo`: what an administrator, an accident or a thief would do.

use std::time::Duration;

use http::{Request, Response, StatusCode};
use hyper::body::Incoming;

use super::http::{Body, Params, from_own_page, page, see_other};
use super::idp::{Idp, Person};
use crate::clock::Clock;

/// What the buttons act on.
#[derive(Debug)]
pub struct Control {
    idp: Idp,
    clock: Clock,
    access_token_ttl: Duration,
    client: String,
}

/// The page that needs no session.
const PUBLIC: &str = "/public/_demo";

/// What a button did; its name comes back in the address and is put into words here, so that no text of the address is
/// shown.
const WORDS: [(&str, &str); 9] = [
    (
        "ended",
        "Your session at the identity provider is over. It has told the gateway (back-channel logout), which has ended yours here at once: go to / and you are asked to sign in again.",
    ),
    (
        "rotated",
        "New keys sign from now on. The next token's key is unknown to the gateway, which fetches the set.",
    ),
    (
        "down",
        "The identity provider refuses connections. You go on until your access token ends, then get a 503 with Retry-After; nobody is signed out. To bring it back then: /public/_demo.",
    ),
    (
        "up",
        "The identity provider is back. Load any page: the session goes on where it was.",
    ),
    (
        "replayed",
        "A spent refresh token was used again, and the provider ended the whole family. The next swap is refused and you sign in again.",
    ),
    (
        "nothing",
        "There is no spent refresh token yet: let a swap happen first.",
    ),
    (
        "expired",
        "The clock of gateway and provider was moved past the end of your access token. The next request swaps.",
    ),
    (
        "who",
        "That button acts on whoever is signed in: open /_demo instead.",
    ),
    ("unknown", "There is no such button."),
];

impl Control {
    /// Buttons for the people of `idp` that `client` signed in.
    pub fn new(idp: Idp, clock: Clock, access_token_ttl: Duration, client: &str) -> Self {
        Self {
            idp,
            clock,
            access_token_ttl,
            client: client.to_owned(),
        }
    }

    /// What to say of a button that was pressed.
    pub(super) fn word(name: &str) -> Option<&'static str> {
        let word = WORDS.iter().find(|(known, _)| *known == name);
        word.map(|(_, text)| *text)
    }

    /// POST `/_demo` or `/public/_demo`, which needs no session and so works while the provider is down.
    pub(super) async fn press(&self, request: Request<Incoming>) -> Response<Body> {
        if !from_own_page(request.headers()) {
            return page(
                StatusCode::FORBIDDEN,
                "The form came from elsewhere.".to_owned(),
            );
        }
        let mut path = request.uri().path().to_owned();
        let subject = request.headers().get("x-forwarded-user");
        let person = subject.and_then(|subject| Person::of_subject(subject.to_str().ok()?));
        let form = Params::form(request).await.unwrap_or_default();
        let said = self.act(form.find("do").unwrap_or_default(), person).await;
        if said == "ended" {
            // Whoever is signed out can read it there only.
            PUBLIC.clone_into(&mut path);
        }
        see_other(&format!("{path}?said={said}"))
    }

    async fn act(&self, what: &str, person: Option<&Person>) -> &'static str {
        match (what, person) {
            ("end", Some(person)) => {
                self.idp.end_sessions_of(person).await;
                "ended"
            }
            ("rotate", _) => {
                // Without randomness nothing else would work either.
                let _ = self.idp.rotate_keys();
                "rotated"
            }
            ("down", _) => {
                self.idp.go_down();
                "down"
            }
            ("up", _) => {
                self.idp.come_up();
                "up"
            }
            ("replay", Some(person)) => self.replay(person),
            ("end" | "replay", None) => "who",
            ("expire", _) => {
                self.clock.advance(self.access_token_ttl);
                "expired"
            }
            _ => "unknown",
        }
    }

    /// Uses the newest spent refresh token of a person again.
    fn replay(&self, person: &Person) -> &'static str {
        match self.idp.spent_refresh_token(person, &self.client) {
            Some(spent) => {
                // Refused, of course: what it does is to end the family.
                self.idp.replay(&self.client, &spent);
                "replayed"
            }
            None => "nothing",
        }
    }
}
