//! How each decision is written.

use super::{Caller, EndedBy, Event, LONGEST, Refused, cut, write_time};
use crate::clock::{Clock, Timestamp};
use crate::telemetry::line::{bytes, name, number, plain, text};
use crate::telemetry::metrics::RevocationOutcome;
use crate::token::SessionHash;

impl Event<'_> {
    /// Appends a line.
    pub(super) fn write(&self, now: Timestamp, line: &mut Vec<u8>) {
        begin(now, line);
        self.name(line);
        self.members(line);
        line.extend_from_slice(b"}\n");
    }

    fn name(&self, line: &mut Vec<u8>) {
        const EVENT: &str = "event.name";
        let word = match self {
            Self::SignIn { .. } => "sign_in",
            Self::SignInRefused { .. } => "sign_in_refused",
            Self::SignOut { .. } => "sign_out",
            Self::SessionEnded { .. } => "session_ended",
            Self::TokenRevoked { .. } => "token_revoked",
            Self::TokenRevocationRefused { .. } => "token_revocation_refused",
            Self::Revocation { outcome, .. } => match outcome {
                RevocationOutcome::Confirmed => "revocation_confirmed",
                RevocationOutcome::Failed => "revocation_owed",
                RevocationOutcome::NotOffered => "revocation_not_offered",
                RevocationOutcome::Dropped => "revocation_dropped",
            },
            Self::BackchannelLogout { .. } => "backchannel_logout_accepted",
            Self::BackchannelLogoutRefused { .. } => "backchannel_logout_refused",
            Self::Administrator { asked, .. } => {
                return text(line, EVENT, &format!("administrator_{asked}"));
            }
            Self::AdministratorRefused { .. } => "administrator_refused",
            Self::Refused(_) => "refused",
        };
        text(line, EVENT, word);
    }

    fn members(&self, line: &mut Vec<u8>) {
        match *self {
            Self::SignIn {
                idp,
                user,
                session,
                caller,
            } => {
                whose(line, idp, Some(user), session);
                caller.write(line);
            }
            Self::SignInRefused { idp, why, caller } => {
                whose(line, idp, None, None);
                refused_for(line, why, caller);
            }
            Self::SignOut {
                idp,
                session,
                caller,
            } => {
                whose(line, idp, None, session);
                caller.write(line);
            }
            Self::SessionEnded {
                idp,
                user,
                session,
                reason,
                by,
            } => {
                whose(line, idp, Some(user), Some(session));
                text(line, "reason", reason);
                text(line, "ended_by", by.word());
            }
            Self::TokenRevoked {
                idp,
                client,
                kind,
                user,
                caller,
            } => {
                whose(line, idp, user, None);
                chosen(line, "client_id", client);
                text(line, "target", kind.word());
                caller.write(line);
            }
            Self::TokenRevocationRefused {
                idp,
                client,
                why,
                caller,
            } => {
                whose(line, idp, None, None);
                chosen(line, "client_id", client);
                refused_for(line, why, caller);
            }
            Self::Revocation {
                idp,
                target,
                source,
                outcome: _,
                tries,
            } => {
                whose(line, idp, None, None);
                text(line, "target", target.word());
                text(line, "source", source.word());
                count(line, "tries", u64::from(tries));
            }
            Self::BackchannelLogout {
                idp,
                user,
                session_there,
                ended,
            } => {
                whose(line, idp, user, None);
                if let Some(sid) = session_there {
                    chosen(line, "sid", sid);
                }
                sessions_ended(line, ended);
            }
            Self::BackchannelLogoutRefused { why, caller } => refused_for(line, why, caller),
            Self::Administrator {
                asked: _,
                session,
                idp,
                user,
                ended,
            } => {
                if let Some(idp) = idp {
                    text(line, "idp", idp);
                }
                person(line, user, session);
                sessions_ended(line, ended);
            }
            Self::AdministratorRefused { path, caller } => {
                chosen(line, "url.path", path);
                caller.write(line);
            }
            Self::Refused(refused) => refused.write(line),
        }
    }
}

impl Refused<'_> {
    fn write(&self, line: &mut Vec<u8>) {
        text(line, "reason", self.reason);
        count(line, "http.response.status_code", u64::from(self.status));
        if let Some(route) = self.route {
            text(line, "http.route", route);
        }
        person(line, self.user, None);
        text(line, "http.request.method", self.method);
        chosen(line, "url.path", self.path);
        text(line, "request_id", self.request_id);
        self.caller.write(line);
    }
}

impl Caller<'_> {
    fn write(&self, line: &mut Vec<u8>) {
        name(line, "client.address");
        plain(line, format_args!("\"{}\"", self.address.to_canonical()));
        if !self.user_agent.is_empty() {
            chosen(line, "user_agent.original", self.user_agent);
        }
    }
}

impl EndedBy {
    fn word(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Administrator => "administrator",
            Self::Provider => "provider",
            Self::Gateway => "gateway",
        }
    }
}

/// The line that stands for those that are missing.
pub(super) fn gap(lost: u64, line: &mut Vec<u8>) {
    begin(Clock::System.now(), line);
    text(line, "event.name", "audit_lost");
    count(line, "lost", lost);
    line.extend_from_slice(b"}\n");
}

fn begin(now: Timestamp, line: &mut Vec<u8>) {
    line.extend_from_slice(b"{\"timestamp\":\"");
    write_time(line, now);
    line.extend_from_slice(b"\",\"target\":\"tidegate::audit\"");
}

fn whose(line: &mut Vec<u8>, idp: &str, user: Option<&str>, session: Option<&SessionHash>) {
    text(line, "idp", idp);
    person(line, user, session);
}

fn person(line: &mut Vec<u8>, user: Option<&str>, session: Option<&SessionHash>) {
    if let Some(user) = user {
        chosen(line, "enduser.id", user);
    }
    if let Some(session) = session {
        text(line, "session.id", &session.name().to_string());
    }
}

fn refused_for(line: &mut Vec<u8>, why: &str, caller: Caller<'_>) {
    text(line, "reason", why);
    caller.write(line);
}

/// Text that somebody else chose.
fn chosen(line: &mut Vec<u8>, key: &str, value: &str) {
    bytes(line, key, cut(value.as_bytes(), LONGEST));
}

fn count(line: &mut Vec<u8>, key: &str, value: u64) {
    name(line, key);
    number(line, value);
}

fn sessions_ended(line: &mut Vec<u8>, ended: usize) {
    count(
        line,
        "sessions_ended",
        u64::try_from(ended).unwrap_or(u64::MAX),
    );
}
