//! GET `/sign_out` asks, POST does: the session ends here first and durably, its tokens are revoked, and then the session
//! at the provider is ended from server to server, so that no token passes through the browser.

use std::time::Duration;

use http::header::{HeaderName, RETRY_AFTER};
use http::{HeaderValue, Response, StatusCode};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::Endpoints;
use super::answer::{json, see_other, with_cookies};
use super::ask::Ask;
use super::login_state::random;
use super::meant::Form;
use super::outcome::{AtProvider, LIFETIME_SECS, Outcome};
use super::return_to::ReturnTo;
use crate::credential::cookie;
use crate::issuer::{self, EndSession, Issuer, LogoutHints};
use crate::refusal::Refusal;
use crate::session::{self, EndReason, Ended};
use crate::telemetry::audit::Event;
use crate::token::SessionCookie;

/// How long the person waits for the provider to end its own session.
const PATIENCE: Duration = Duration::from_secs(3);
const CLEAR_SITE_DATA: HeaderName = HeaderName::from_static("clear-site-data");

/// What is left to do at the provider.
enum Next {
    Nothing(AtProvider),
    /// The browser must go there.
    AskPerson(String),
}

impl Endpoints {
    pub(super) async fn ask_to_sign_out(&self, ask: &Ask) -> Result<Response<String>, Refusal> {
        let Some(id) = cookie::session(&ask.headers, &self.settings.cookie) else {
            return Ok(self.was_not_signed_in(ask));
        };
        let label = match self.sessions.standing(&id).await {
            Ok(standing) => self.label(&standing.live.idp),
            // It is there, whatever its tokens may be: it can be ended.
            Err(
                session::Error::NotNow { .. }
                | session::Error::InDoubt { .. }
                | session::Error::Unreadable
                | session::Error::Store(_),
            ) => String::new(),
            Err(session::Error::Unknown | session::Error::Ended(_)) => {
                return Ok(self.was_not_signed_in(ask));
            }
        };
        let site = &self.settings.site;
        let context = json!({
            "provider": label,
            "at_provider": self.settings.rp_initiated,
            "action": site.endpoint(&ask.here, "/sign_out", &[]),
            "rd": ask.query.value("rd").unwrap_or_default(),
            "ui_locales": ui_locales(ask).unwrap_or_default(),
            "form": self.form_token(&id, Form::SignOut),
            "stay": format!("{}/", ask.here),
            "sessions": site.sessions(&ask.here),
        });
        Ok(self.pages.render(StatusCode::OK, "sign_out.html", context))
    }

    pub(super) async fn sign_out(&self, ask: &Ask) -> Result<Response<String>, Refusal> {
        let Some(id) = cookie::session(&ask.headers, &self.settings.cookie) else {
            return Ok(self.was_not_signed_in(ask));
        };
        if !self.is_meant(ask, &id, Form::SignOut) {
            return Err(Refusal::CrossSite);
        }
        self.sign_out_meant(ask, &id).await
    }

    /// The same once it is known to be the person's wish.
    pub(super) async fn sign_out_meant(
        &self,
        ask: &Ask,
        id: &SessionCookie,
    ) -> Result<Response<String>, Refusal> {
        let ended = match self.sessions.end(id, EndReason::SignedOut).await {
            Ok(Some(ended)) => ended,
            Ok(None) => return Ok(self.was_not_signed_in(ask)),
            Err(error) => {
                tracing::error!(%error, "a sign-out could not be saved");
                return Ok(self.not_saved(ask));
            }
        };
        tracing::info!(idp = %ended.idp, refresh_token = ?ended.refresh_token, "signed out");
        self.audit.note(&Event::SignOut {
            idp: &ended.idp,
            session: self.sessions.hash(id).as_ref(),
            caller: ask.caller(),
        });
        let response = self.sign_out_there(ask, &ended).await?;
        let mut response = with_cookies(response, [cookie::clear(&self.settings.cookie)]);
        // Pages that the session showed; their storage is the applications' own.
        response
            .headers_mut()
            .insert(CLEAR_SITE_DATA, HeaderValue::from_static("\"cache\""));
        Ok(response)
    }

    async fn sign_out_there(&self, ask: &Ask, ended: &Ended) -> Result<Response<String>, Refusal> {
        let state = random::<16>()?;
        let next = self.end_there(ask, ended, &state).await;
        let outcome = Outcome {
            state,
            at: self.clock.now(),
            label: self.label(&ended.idp),
            refresh_token: ended.refresh_token,
            access_token: ended.access_token,
            provider: match next {
                Next::Nothing(at_provider) => at_provider,
                Next::AskPerson(_) => AtProvider::Unknown,
            },
            onward: self.onward(ask),
        };
        if !ask.html {
            return Ok(said(&outcome, &next));
        }
        let page = self.settings.site.endpoint(&ask.here, "/signed_out", &[]);
        let to = match (&next, &outcome.onward) {
            (Next::AskPerson(url), _) => url.clone(),
            (Next::Nothing(_), Some(onward)) => onward.clone(),
            (Next::Nothing(_), None) => page,
        };
        let name = Outcome::cookie(&self.settings.cookie);
        let carried = cookie::set_for(&name, &outcome.seal(&self.keys), LIFETIME_SECS);
        Ok(with_cookies(see_other(&to), [carried]))
    }

    /// OpenID Connect RP-Initiated Logout section 2.
    async fn end_there(&self, ask: &Ask, ended: &Ended, state: &str) -> Next {
        let idp = self.idp(&ended.idp).filter(|_| self.settings.rp_initiated);
        let Some(idp) = idp else {
            return Next::Nothing(AtProvider::Untouched);
        };
        let back_to = self.settings.site.endpoint(&ask.here, "/signed_out", &[]);
        let asking = ask_person(idp, &back_to, state, hints(ask, ended));
        let Some(hint) = &ended.id_token else {
            return asking.await;
        };
        let ending = timeout(PATIENCE, idp.end_session(hint, &back_to, state));
        let late = |_| {
            Err(issuer::Error::Unknown {
                reason: "no answer in time".to_owned(),
            })
        };
        match ending.await.unwrap_or_else(late) {
            Ok(EndSession::Ended) => Next::Nothing(AtProvider::Ended),
            Ok(EndSession::AskPerson) => asking.await,
            Err(issuer::Error::NotOffered(_)) => Next::Nothing(AtProvider::Untouched),
            Err(error) => {
                tracing::warn!(idp = %ended.idp, %error, "the session at the identity provider may go on");
                let refused = matches!(error, issuer::Error::Refused { .. });
                Next::Nothing(if refused {
                    AtProvider::Refused
                } else {
                    AtProvider::Unknown
                })
            }
        }
    }

    /// `rd`, if it is one of the configured URLs, or a place of our own.
    fn onward(&self, ask: &Ask) -> Option<String> {
        let rd = ask.form.value("rd").or_else(|| ask.query.value("rd"))?;
        if self
            .settings
            .post_logout_redirects
            .iter()
            .any(|url| url == rd)
        {
            return Some(rd.to_owned());
        }
        ReturnTo::parse(rd, &self.settings.site, &ask.here).map(|rd| rd.location())
    }

    /// What people call the provider.
    pub(super) fn label(&self, idp: &str) -> String {
        let idp = self.idp(idp).map(|idp| idp.settings());
        idp.map(|idp| idp.label.to_string()).unwrap_or_default()
    }

    /// Nothing to end is as good as ended, and safe to say: whoever could read this could read that there is no session.
    fn was_not_signed_in(&self, ask: &Ask) -> Response<String> {
        let response = if ask.html {
            self.nothing_to_end(
                ask,
                "You are not signed in",
                "There is no session in this browser.",
            )
        } else {
            json(&json!({ "signed_out": false, "detail": "There was no session." }))
        };
        // Another site's form comes without our cookie, and must not make the browser drop it.
        let name = &self.settings.cookie;
        let came = cookie::all(&ask.headers).any(|(found, _)| found == name.as_bytes());
        with_cookies(response, [came.then(|| cookie::clear(name)).flatten()])
    }

    /// It has ended already where memory knows it, and the store is told as soon as it can be; elsewhere perhaps not. The
    /// cookie stays, so that the person can try again.
    fn not_saved(&self, ask: &Ask) -> Response<String> {
        let status = StatusCode::SERVICE_UNAVAILABLE;
        let context = json!({
            "title": "Perhaps not signed out yet",
            "text": "Your sign-out can't be confirmed now. It may be in force already, and what has begun goes on being tried by itself. To be sure, try again in a moment.",
            "action": { "url": "", "label": "Try again" },
        });
        let mut response = if ask.html {
            self.pages.render(status, "problem.html", context)
        } else {
            let detail = "It can't be confirmed now. It may be in force already, and what has begun goes on being tried by itself. Ask again to be sure.";
            json(&json!({ "signed_out": false, "detail": detail }))
        };
        *response.status_mut() = status;
        response
            .headers_mut()
            .insert(RETRY_AFTER, HeaderValue::from_static("2"));
        response
    }
}

async fn ask_person(idp: &Issuer, back_to: &str, state: &str, hints: LogoutHints<'_>) -> Next {
    match idp.end_session_url(back_to, state, hints).await {
        Ok(url) => Next::AskPerson(url.into()),
        Err(issuer::Error::NotOffered(_)) => Next::Nothing(AtProvider::Untouched),
        Err(_) => Next::Nothing(AtProvider::Unknown),
    }
}

fn hints<'a>(ask: &'a Ask, ended: &'a Ended) -> LogoutHints<'a> {
    LogoutHints {
        sid: ended.sid.as_deref(),
        login_hint: ended.claims.get("login_hint").and_then(Value::as_str),
        ui_locales: ui_locales(ask),
    }
}

/// The languages that the provider's page may be in.
fn ui_locales(ask: &Ask) -> Option<&str> {
    let wanted = ask.form.value("ui_locales");
    let wanted = wanted.or_else(|| ask.query.value("ui_locales"))?;
    are_languages(wanted).then_some(wanted)
}

/// Language tags (RFC 5646 section 2.1), the best first, with spaces between them.
fn are_languages(text: &str) -> bool {
    let part = |part: &str| {
        (1..=8).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_alphanumeric())
    };
    let tag =
        |tag: &str| tag.starts_with(|c: char| c.is_ascii_alphabetic()) && tag.split('-').all(part);
    text.len() <= 128 && text.split(' ').all(tag)
}

/// For programs.
fn said(outcome: &Outcome, next: &Next) -> Response<String> {
    let mut body = json!({
        "signed_out": true,
        "refresh_token": outcome.refresh_token,
        "access_token": outcome.access_token,
        "provider_session": outcome.provider,
    });
    if let (Next::AskPerson(url), Some(body)) = (next, body.as_object_mut()) {
        body.insert("provider_session".to_owned(), json!("ask_person"));
        body.insert("provider_logout_url".to_owned(), json!(url));
    }
    json(&body)
}

#[cfg(test)]
mod tests {
    //! What may be said of languages.

    use super::are_languages;

    #[test]
    fn languages_are_tags_and_nothing_else() {
        for good in ["de", "en-GB fr", "zh-Hant-TW", "sl-rozaj-1994"] {
            assert!(are_languages(good), "{good}");
        }
        let long = ["de"; 50].join(" ");
        for bad in [
            "",
            " ",
            "de ",
            "de  en",
            "1de",
            "-de",
            "de-",
            "de_DE",
            "de&x=y",
            "d\u{e9}",
            "languages1",
            "de\n",
            &long,
        ] {
            assert!(!are_languages(bad), "{bad:?}");
        }
    }
}
