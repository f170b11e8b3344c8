//! The beginning of a session, and the end of those that it replaces.

use std::sync::Arc;

use super::end::Tokens;
use super::entry::Entry;
use super::record::Record;
use super::revoke::Owed;
use super::store::Change;
use super::{EndReason, Login, Sessions, Unbegun};
use crate::telemetry::metrics::RevocationSource;
use crate::token::{SessionCookie, SessionId};

impl Sessions {
    /// Whether a session could be kept if it began now, as far as is known: to be asked before a code is spent on tokens
    /// that would have to be revoked again.
    pub fn can_begin(&self) -> bool {
        let shared = self.shared.as_ref();
        shared.is_none_or(|shared| shared.news.link_is_up())
    }

    /// A session that is durable, and its predecessor's end.
    pub(super) async fn begin_whole(
        self: &Arc<Self>,
        mut login: Login,
    ) -> Result<SessionCookie, Unbegun> {
        let now = self.clock.now();
        if let Some(provider) = self.idps.get(&login.idp) {
            // It has just given these tokens.
            provider.is_up();
        }
        let replaces = login.replaces.take();
        let (idp, grant) = (Arc::clone(&login.idp), login.grant.clone());
        let (absolute, every) = (self.settings.absolute_timeout, self.settings.refresh_every);
        let record = Record::begin(login, now, absolute, every);
        let (subject, sid) = (Arc::clone(&record.subject), record.sid.clone());
        let id = SessionId::random();
        let hash = id.hash();
        let cookie = match self.settings.cookie_room {
            Some(room) => self.first_cookie(hash, &record, room),
            None => Ok(SessionCookie::Id(id)),
        };
        let row = record.row(&hash, &self.keys, now, self.settings.idle_timeout);
        let edition = self.edition(&hash);
        let created = match cookie {
            Ok(cookie) => {
                let created = self.store.write(Change::Create(hash, row)).await;
                created.map(|_| cookie).map_err(Unbegun::Store)
            }
            Err(error) => Err(error),
        };
        let cookie = created.inspect_err(|_| {
            let term = self.term(RevocationSource::SignIn);
            self.owe(Owed::all_of(&idp, grant, &term));
        })?;
        let entry = Entry::new(
            self.ending(hash),
            Box::new(record),
            false,
            now,
            now,
            &self.settings,
        );
        self.confirmed(&entry, edition, now);
        // Whoever counted this person's sessions at the same moment may have found it in the store.
        let entry = Arc::clone(&self.hot.entry(hash).or_insert_with(|| Arc::new(entry)));
        if let Some(old) = replaces {
            self.replace(&old, &idp, sid.as_deref()).await;
        }
        self.hold_to_limit(&idp, &subject).await;
        self.end_if_refused(&entry).await;
        Ok(cookie)
    }

    /// Ends the session that a login replaces.
    async fn replace(self: &Arc<Self>, old: &SessionCookie, idp: &str, sid: Option<&str>) {
        let Ok(shown) = self.shown(old) else { return };
        let Ok(old) = self.entry(shown).await else {
            return;
        };
        let same_there = old.state().record().is_some_and(|record| {
            sid.is_some() && &*record.idp == idp && record.sid.as_deref() == sid
        });
        let tokens = if same_there {
            Tokens::Spare
        } else {
            Tokens::Revoke
        };
        self.finish(&old, EndReason::Replaced, tokens).await;
    }
}
