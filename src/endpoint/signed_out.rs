//! GET `/signed_out`: says what a sign-out achieved, in words, once.

use http::{Response, StatusCode};
use serde_json::{Value, json};

use super::Endpoints;
use super::answer::{see_other, with_cookies};
use super::ask::Ask;
use super::outcome::{AtProvider, Outcome};
use crate::credential::cookie;
use crate::refusal::Refusal;
use crate::session::Revocation;

impl Endpoints {
    pub(super) async fn signed_out(&self, ask: &Ask) -> Result<Response<String>, Refusal> {
        let name = Outcome::cookie(&self.settings.cookie);
        let outcome = cookie::value(&ask.headers, &name)
            .and_then(|sealed| Outcome::open(sealed, &self.keys, self.clock.now()));
        // The provider hands `state` back to the browser that it had asked. Another one is of another sign-out, or of somebody
        // else's making: it neither says anything nor uses up what there is to say.
        let state = ask.query.value("state");
        let ours = |outcome: &Outcome| state.is_none_or(|state| state == outcome.state);
        let Some(mut outcome) = outcome.filter(ours) else {
            return Ok(self.no_outcome(ask).await);
        };
        let asked = state.is_some();
        if asked && outcome.provider == AtProvider::Unknown {
            outcome.provider = AtProvider::Asked;
        }
        let response = match &outcome.onward {
            Some(onward) if asked => see_other(onward),
            Some(_) | None => self.tell(ask, &outcome),
        };
        Ok(with_cookies(response, [cookie::clear(&name)]))
    }

    fn tell(&self, ask: &Ask, outcome: &Outcome) -> Response<String> {
        let context = json!({
            "title": "You are signed out",
            "facts": facts(outcome),
            "onward": outcome.onward,
            "sign_in": self.sign_in_again(ask),
        });
        self.pages
            .render(StatusCode::OK, "signed_out.html", context)
    }

    async fn no_outcome(&self, ask: &Ask) -> Response<String> {
        if self.is_signed_in(ask).await {
            return see_other(&self.settings.site.endpoint(&ask.here, "/sign_out", &[]));
        }
        self.nothing_to_end(
            ask,
            "You are signed out",
            "There is no session in this browser.",
        )
    }

    pub(super) fn nothing_to_end(&self, ask: &Ask, title: &str, text: &str) -> Response<String> {
        let context = json!({ "title": title, "text": text, "sign_in": self.sign_in_again(ask) });
        self.pages
            .render(StatusCode::OK, "signed_out.html", context)
    }

    fn sign_in_again(&self, ask: &Ask) -> String {
        let site = &self.settings.site;
        site.endpoint(&ask.here, "/sign_in", &[("rd", "/")])
    }
}

fn facts(outcome: &Outcome) -> Vec<Value> {
    let label = if outcome.label.is_empty() {
        "the sign-in service"
    } else {
        &outcome.label
    };
    let there = match outcome.provider {
        AtProvider::Ended => "Your session there has ended too.",
        AtProvider::Asked => "You were taken there to sign out.",
        AtProvider::Unknown => {
            "It could not be learnt whether your session there has ended. You may still be signed in there."
        }
        AtProvider::Refused => {
            "It did not accept that your session there be ended. You may still be signed in there."
        }
        AtProvider::Untouched => "You may still be signed in there.",
    };
    let mut facts = vec![
        json!({ "what": "Here", "how": "Your session has ended." }),
        json!({ "what": format!("At {label}"), "how": there }),
    ];
    let tokens = [
        ("Renewal of access", outcome.refresh_token),
        ("Access already given", outcome.access_token),
    ];
    facts.extend(tokens.into_iter().filter_map(|(what, revocation)| {
        let how = how(revocation, label)?;
        Some(json!({ "what": what, "how": how }))
    }));
    facts
}

/// What the provider said of a token, where there is something to say.
pub(super) fn how(revocation: Revocation, label: &str) -> Option<String> {
    match revocation {
        Revocation::Confirmed => Some(format!("Revoked, and confirmed by {label}.")),
        Revocation::Owed => Some(format!(
            "Not usable here any more. Its revocation is queued, and repeated for a while, until {label} confirms it."
        )),
        Revocation::NotOffered => Some(format!(
            "Not usable here any more. {label} offers no revocation, so it ends there by itself."
        )),
        Revocation::NothingToDo => None,
    }
}
