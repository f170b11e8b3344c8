//! What an administrator does: it goes on though whoever asked hangs up, and each leaves a line.

use std::sync::Arc;

use serde_json::{Value, json};
use tokio::runtime::Handle;

use super::problem::Problem;
use crate::clock::Clock;
use crate::issuer::Issuer;
use crate::session::{EndReason, Everything, Named, Prefix, Revocation, Sessions, Summary, Whose};
use crate::telemetry::audit::{Audit, Event};

/// See the file's first line.
#[derive(Clone, Debug)]
pub(super) struct Actions {
    pub(super) sessions: Arc<Sessions>,
    pub(super) idps: Arc<[Arc<Issuer>]>,
    pub(super) audit: Audit,
    pub(super) clock: Clock,
    pub(super) background: Handle,
}

/// What an end brought.
#[derive(Clone, Debug)]
pub(super) struct Done {
    /// How many sessions have ended.
    pub(super) ended: usize,
    /// What became of their refresh tokens, the worst of it.
    pub(super) refresh_token: Revocation,
    /// Of their access tokens.
    pub(super) access_token: Revocation,
    /// Whether the user's bearer tokens are refused that no session here holds.
    pub(super) bearers: bool,
    /// How many live on where their encryption key is.
    pub(super) unreadable: usize,
}

impl Done {
    pub(super) fn json(&self) -> Value {
        json!({
            "ended": self.ended,
            "refresh_token": word(self.refresh_token),
            "access_token": word(self.access_token),
            "bearer_tokens_refused": self.bearers,
        })
    }
}

/// As it is written in answers.
pub(super) const fn word(revocation: Revocation) -> &'static str {
    match revocation {
        Revocation::Confirmed => "confirmed",
        Revocation::Owed => "owed",
        Revocation::NotOffered => "not_offered",
        Revocation::NothingToDo => "nothing_to_do",
    }
}

impl Actions {
    /// The session that an id or the beginning of one names.
    pub(super) async fn session(&self, id: &str) -> Result<Summary, Problem> {
        let prefix: Prefix = id.parse()?;
        match self.sessions.named(&prefix).await? {
            Named::One(summary) => Ok(*summary),
            Named::Nobody => Err(Problem::NoSession),
            Named::Several => Err(Problem::Ambiguous),
        }
    }

    /// The providers' names.
    pub(super) fn provider_names(&self) -> impl Iterator<Item = Arc<str>> {
        let names = self.idps.iter().map(|idp| &idp.settings().name);
        names.map(Arc::clone)
    }

    /// Of whom a user is one: the only provider, or the one that is named.
    pub(super) fn provider(&self, named: Option<&str>) -> Result<Arc<str>, Problem> {
        match (named, &*self.idps) {
            (Some(named), _) => {
                let found = self.provider_names().find(|name| **name == *named);
                found.ok_or_else(|| Problem::NoProvider(named.to_owned()))
            }
            (None, [only]) => Ok(Arc::clone(&only.settings().name)),
            (None, _) => Err(Problem::WhichProvider),
        }
    }

    /// A user's subject, as it was written. None is blank: it is left out by mistake.
    pub(super) fn subject(written: &str) -> Result<Arc<str>, Problem> {
        if written.trim().is_empty() {
            return Err(Problem::Malformed("the subject is empty".to_owned()));
        }
        Ok(written.into())
    }

    /// Ends one session.
    pub(super) async fn end_one(&self, session: Summary) -> Result<Done, Problem> {
        let this = self.clone();
        self.whole(async move {
            let reason = EndReason::Administrator;
            let ended = this.sessions.end_one(session.id, reason).await;
            let ended = ended.map_err(Problem::Unsure)?;
            let ended = ended.ok_or(Problem::NoSession)?;
            this.audit.note(&Event::Administrator {
                asked: "end_session",
                session: Some(&session.id),
                idp: Some(&session.idp),
                user: Some(&session.subject),
                ended: 1,
            });
            Ok(Done {
                ended: 1,
                refresh_token: ended.refresh_token,
                access_token: ended.access_token,
                bearers: false,
                unreadable: 0,
            })
        })
        .await
    }

    /// Ends all sessions of a user, and refuses the tokens that were issued to them until now.
    pub(super) async fn end_user(&self, idp: Arc<str>, subject: Arc<str>) -> Result<Done, Problem> {
        let this = self.clone();
        self.whole(async move {
            let whose = Whose::User {
                idp: Arc::clone(&idp),
                subject: Arc::clone(&subject),
            };
            let (reason, now) = (EndReason::Administrator, this.clock.now());
            let ended = this.sessions.end_all(whose, reason, now).await;
            let ended = ended.map_err(Problem::Unsure)?;
            this.audit.note(&Event::Administrator {
                asked: "end_user_sessions",
                session: None,
                idp: Some(&idp),
                user: Some(&subject),
                ended,
            });
            Ok(this.many(ended, true))
        })
        .await
    }

    /// Ends all sessions there are.
    pub(super) async fn end_everything(&self) -> Result<Done, Problem> {
        let this = self.clone();
        self.whole(async move {
            let reason = EndReason::Administrator;
            let done = this.sessions.end_everything(reason).await;
            let Everything { ended, unreadable } = done.map_err(Problem::Unsure)?;
            this.audit.note(&Event::Administrator {
                asked: "end_all_sessions",
                session: None,
                idp: None,
                user: None,
                ended,
            });
            let done = this.many(ended, false);
            Ok(Done { unreadable, ..done })
        })
        .await
    }

    fn many(&self, ended: usize, bearers: bool) -> Done {
        let (refresh_token, access_token) = self.sessions.promises(ended);
        Done {
            ended,
            refresh_token,
            access_token,
            bearers,
            unreadable: 0,
        }
    }

    async fn whole<T: Send + 'static>(
        &self,
        action: impl Future<Output = Result<T, Problem>> + Send + 'static,
    ) -> Result<T, Problem> {
        let done = self.background.spawn(action).await;
        done.unwrap_or(Err(Problem::Interrupted))
    }
}
