//! "My sessions": GET `/sessions` lists where the person is signed in; POST ends one of those, or all but this one. Looking
//! never slides anything.

use http::{Response, StatusCode};
use serde_json::{Value, json};

use super::Endpoints;
use super::answer::{json, see_other, with_cookies};
use super::ask::Ask;
use super::meant::Form;
use super::note::{LIFETIME_SECS, Note};
use crate::authorize;
use crate::credential::{Credential, cookie};
use crate::pages::device::{device, device_within};
use crate::pages::moment::{Moment, stamp};
use crate::refusal::Refusal;
use crate::route::Access;
use crate::session::{self, Dismissed, Fate, Summary};
use crate::token::{SessionCookie, SessionHash};

/// The session that `/sessions/{id}/end` names, as it is written.
pub(super) fn to_end(path: &str) -> Option<&str> {
    let id = path.strip_prefix("/sessions/")?.strip_suffix("/end")?;
    (!id.is_empty() && !id.contains('/')).then_some(id)
}

impl Endpoints {
    pub(super) async fn list_sessions(&self, ask: &Ask) -> Result<Response<String>, Refusal> {
        let asking = self.asking(ask)?;
        let mut own = self.sessions.own(&asking.cookie).await?;
        own.sort_by_key(|session| session.id != asking.id);
        if ask.html {
            return Ok(self.session_page(ask, &asking, &own));
        }
        let sessions: Vec<_> = own.iter().map(|one| self.listed(one, &asking)).collect();
        Ok(json(&json!({ "sessions": sessions })))
    }

    /// The one of that id. Whether anybody else has one of that id is told to nobody.
    pub(super) async fn end_session(
        &self,
        ask: &Ask,
        id: &str,
    ) -> Result<Response<String>, Refusal> {
        let asking = self.meaning(ask)?;
        let id = SessionHash::parse(id);
        if id == Some(asking.id) {
            return self.sign_out_meant(ask, &asking.cookie).await;
        }
        let ended = match id {
            Some(id) => self.sessions.dismiss(&asking.cookie, id).await,
            None => self.sessions.standing(&asking.cookie).await.map(|_| None),
        };
        match ended.map_err(not_ended)? {
            Some(ended) => Ok(self.ended(ask, &asking, &[ended])),
            None if ask.html => Ok(self.no_such_session(ask)),
            None => Err(Refusal::NoSuchSession),
        }
    }

    pub(super) async fn end_other_sessions(&self, ask: &Ask) -> Result<Response<String>, Refusal> {
        let asking = self.meaning(ask)?;
        let ended = self.sessions.dismiss_others(&asking.cookie).await;
        let ended = ended.map_err(not_ended)?;
        Ok(self.ended(ask, &asking, &ended))
    }

    /// The session that asks.
    fn asking(&self, ask: &Ask) -> Result<Asking, Refusal> {
        if self.settings.site.sessions(&ask.here).is_none() {
            return Err(Refusal::SessionsNotListed);
        }
        let Credential::Session(cookie) = Credential::read(&ask.headers, &self.settings.cookie)?
        else {
            return Err(authorize::Error::NoCredential(Access::Session).into());
        };
        let id = self.sessions.hash(&cookie).ok_or(session::Error::Unknown)?;
        Ok(Asking { cookie, id })
    }

    /// The same, of who means it.
    fn meaning(&self, ask: &Ask) -> Result<Asking, Refusal> {
        let asking = self.asking(ask)?;
        if !self.is_meant(ask, &asking.cookie, Form::Sessions) {
            return Err(Refusal::CrossSite);
        }
        Ok(asking)
    }

    fn session_page(&self, ask: &Ask, asking: &Asking, own: &[Summary]) -> Response<String> {
        let site = &self.settings.site;
        let label = own.first().map(|session| self.label(&session.idp));
        let label = label.unwrap_or_default();
        let name = Note::cookie(&self.settings.cookie);
        let sealed = cookie::value(&ask.headers, &name);
        let note = sealed.and_then(|s| Note::open(s, &asking.id, &self.keys, self.clock.now()));
        let others = own.iter().any(|session| session.id != asking.id);
        let end_others = || site.endpoint(&ask.here, "/sessions/end_others", &[]);
        let sessions = own.iter().map(|session| self.shown(ask, asking, session));
        let context = json!({
            "note": note.map(|note| note.told(&label)),
            "provider": label,
            "sessions": sessions.collect::<Vec<_>>(),
            "form": self.form_token(&asking.cookie, Form::Sessions),
            "end_others": others.then(end_others),
            "sign_out": site.endpoint(&ask.here, "/sign_out", &[]),
            "home": format!("{}/", ask.here),
        });
        let page = self.pages.render(StatusCode::OK, "sessions.html", context);
        with_cookies(page, [sealed.and_then(|_| cookie::clear(&name))])
    }

    fn shown(&self, ask: &Ask, asking: &Asking, session: &Summary) -> Value {
        let now = self.clock.now();
        let current = session.id == asking.id;
        // Looking at this page is no activity; whoever looks is here all the same.
        let seen = if current { now } else { session.seen };
        let end = format!("/sessions/{}/end", session.id);
        let expires = session.idle_deadline.min(session.absolute_deadline);
        json!({
            "current": current,
            "device": device(&session.user_agent),
            "device_within": device_within(&session.user_agent),
            "address": session.address,
            "signed_in": Moment::of(session.created, now),
            "last_seen": Moment::of(seen, now),
            "expires": Moment::of(expires, now),
            "idle": session.idle_deadline < session.absolute_deadline,
            "latest": Moment::of(session.absolute_deadline, now),
            "end": self.settings.site.endpoint(&ask.here, &end, &[]),
        })
    }

    /// For programs.
    fn listed(&self, session: &Summary, asking: &Asking) -> Value {
        json!({
            "id": session.id.to_string(),
            "current": session.id == asking.id,
            "device": device(&session.user_agent),
            "address": session.address,
            "idp": &*session.idp,
            "provider": self.label(&session.idp),
            "signed_in_at": stamp(session.created),
            "last_seen_at": stamp(session.seen),
            "idle_expires_at": stamp(session.idle_deadline.min(session.absolute_deadline)),
            "expires_at": stamp(session.absolute_deadline),
        })
    }

    fn ended(&self, ask: &Ask, asking: &Asking, ended: &[Dismissed]) -> Response<String> {
        for one in ended {
            let (session, idp) = (one.session.id.name(), &*one.session.idp);
            tracing::info!(%session, idp, by = %asking.id.name(), "ended from another session of the same person");
        }
        if !ask.html {
            let sessions: Vec<_> = ended.iter().map(said).collect();
            return json(&json!({ "ended": ended.len(), "sessions": sessions }));
        }
        let note = Note::of(ended, self.clock.now()).seal(&asking.id, &self.keys);
        let name = Note::cookie(&self.settings.cookie);
        let list = self.settings.site.endpoint(&ask.here, "/sessions", &[]);
        with_cookies(
            see_other(&list),
            [cookie::set_for(&name, &note, LIFETIME_SECS)],
        )
    }

    /// Most likely it was there when the page was made: a button pressed twice, or pressed elsewhere too.
    fn no_such_session(&self, ask: &Ask) -> Response<String> {
        let list = self.settings.site.endpoint(&ask.here, "/sessions", &[]);
        let context = json!({
            "title": "No such session",
            "text": "There is no such session of yours. It may have ended already.",
            "action": { "url": list, "label": "Your sessions" },
        });
        self.pages
            .render(StatusCode::NOT_FOUND, "problem.html", context)
    }
}

/// The session that asks, by its cookie and by the name that it has in the list.
struct Asking {
    cookie: SessionCookie,
    id: SessionHash,
}

/// What could not be written is told apart from what could not be read.
fn not_ended(error: session::Error) -> Refusal {
    match error {
        session::Error::Store(error) => Refusal::NotEnded(error),
        other @ (session::Error::Unknown
        | session::Error::Unreadable
        | session::Error::Ended(_)
        | session::Error::NotNow { .. }
        | session::Error::InDoubt { .. }) => other.into(),
    }
}

/// For programs.
fn said(ended: &Dismissed) -> Value {
    let (refresh_token, access_token) = match &ended.tokens {
        Fate::Revoked(ended) => (json!(ended.refresh_token), json!(ended.access_token)),
        Fate::Spared => (json!("spared"), json!("spared")),
    };
    json!({
        "id": ended.session.id.to_string(),
        "device": device(&ended.session.user_agent),
        "refresh_token": refresh_token,
        "access_token": access_token,
    })
}
