//! The audit log: one JSON line for each decision about who may get in, under OpenTelemetry's names where it has them.
//!
//! Whoever decides says so with [`Audit::note`]: `audit.note(&Event::SignOut { .. })`. It borrows what it is told, waits for
//! nothing, and where no audit log is configured it costs a comparison. A line says what was decided, once that is so: a
//! session's end when it has ended, not when somebody asks for it. The events, and who notes them:
//!
//! - [`Event::SignIn`]: a session has begun (sign-in).
//! - [`Event::SignInRefused`]: a sign-in came to nothing, and why (sign-in).
//! - [`Event::SignOut`]: a person asked for their session's end, and it has ended (sign-out).
//! - [`Event::SessionEnded`]: a session ended, for whatever reason; the one line that every end leaves (sessions).
//! - [`Event::TokenRevoked`]: a client had a token refused here (revocation endpoint).
//! - [`Event::TokenRevocationRefused`]: a client wanted to, and is not who it says, or the token is not its own (the same).
//! - [`Event::Revocation`]: what a provider said of what it is owed: the first failure, then the outcome (sessions).
//! - [`Event::BackchannelLogout`]: a provider's logout token was accepted, and how many sessions ended.
//! - [`Event::BackchannelLogoutRefused`]: one was not, and why.
//! - [`Event::Administrator`]: what an administrator asked for, and how many sessions ended by it.
//! - [`Event::AdministratorRefused`]: somebody showed a wrong admin token.
//! - [`Event::Refused`]: a request was refused by a rule or for what it showed, 401 or 403; noted by the request's
//!   [`Access`](super::Access), and never for somebody who showed nothing.
//!
//! No event has a place for a token, a cookie, a code or a password. A session is named by [`SessionHash`], of which the
//! line has the first 12 hex letters, as the log has.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::AuditSettings;
use super::line::{cut, write_time};
use super::metrics::{RevocationOutcome, RevocationSource, RevocationTarget};
use super::writer::{Care, Writer};
use crate::clock::Clock;
use crate::token::SessionHash;

mod event;
#[cfg(test)]
mod tests;

/// How much of `User-Agent`, or of any other text that a stranger chose, is kept.
const LONGEST: usize = 256;

/// Each decision is on its way at once, and none is given up while memory can hold it.
const CARE: Care = Care {
    what: "audit log",
    gather: Duration::ZERO,
    retry: Some(Duration::from_secs(1)),
    gap: Some(event::gap),
};

/// Where decisions are noted. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Audit(Option<Arc<Writer>>);

/// Who asked for what was decided.
#[derive(Clone, Copy, Debug)]
pub struct Caller<'a> {
    /// Where from.
    pub address: IpAddr,
    /// `User-Agent`, or nothing.
    pub user_agent: &'a str,
}

/// By whom a session was ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndedBy {
    /// The person.
    User,
    /// An administrator of the gateway.
    Administrator,
    /// The identity provider.
    Provider,
    /// The gateway: a deadline or a limit.
    Gateway,
}

/// A decision.
#[derive(Clone, Copy, Debug)]
#[expect(
    missing_docs,
    reason = "idp: `[idp.NAME]`; user: `sub`; session: see the room's first lines"
)]
pub enum Event<'a> {
    /// A session has begun.
    SignIn {
        idp: &'a str,
        user: &'a str,
        session: Option<&'a SessionHash>,
        caller: Caller<'a>,
    },
    /// A sign-in came to nothing. `why`: one word of our own.
    SignInRefused {
        idp: &'a str,
        why: &'a str,
        caller: Caller<'a>,
    },
    /// A person asked for the end of their session, and it has ended.
    SignOut {
        idp: &'a str,
        session: Option<&'a SessionHash>,
        caller: Caller<'a>,
    },
    /// A session has ended. `reason`: one word of our own.
    SessionEnded {
        idp: &'a str,
        user: &'a str,
        session: &'a SessionHash,
        reason: &'a str,
        by: EndedBy,
    },
    /// A client had a token revoked: an access token is refused here from now on. `user`: whose it was, where that is known.
    TokenRevoked {
        idp: &'a str,
        client: &'a str,
        kind: RevocationTarget,
        user: Option<&'a str>,
        caller: Caller<'a>,
    },
    /// A client wanted to have a token revoked, and may not. `why`: one word of our own.
    TokenRevocationRefused {
        idp: &'a str,
        client: &'a str,
        why: &'a str,
        caller: Caller<'a>,
    },
    /// What a provider said of a revocation, at the `tries`th try.
    Revocation {
        idp: &'a str,
        target: RevocationTarget,
        source: RevocationSource,
        outcome: RevocationOutcome,
        tries: u32,
    },
    /// A provider's logout token was accepted. `user` and `session_there` (its `sid`): whichever it named.
    BackchannelLogout {
        idp: &'a str,
        user: Option<&'a str>,
        session_there: Option<&'a str>,
        ended: usize,
    },
    /// A logout token was refused. `why`: one word or sentence of our own.
    BackchannelLogoutRefused { why: &'a str, caller: Caller<'a> },
    /// An administrator asked for something, and it is done. `asked`: such as `end_session`, which is noted as
    /// `administrator_end_session`.
    Administrator {
        asked: &'static str,
        session: Option<&'a SessionHash>,
        idp: Option<&'a str>,
        user: Option<&'a str>,
        ended: usize,
    },
    /// A wrong admin token was shown.
    AdministratorRefused { path: &'a str, caller: Caller<'a> },
    /// A request was refused by a rule, or for what it showed.
    Refused(Refused<'a>),
}

/// See [`Event::Refused`].
#[derive(Clone, Copy, Debug)]
#[expect(missing_docs, reason = "they are what their names say")]
pub struct Refused<'a> {
    /// The refusal's code.
    pub reason: &'a str,
    pub status: u16,
    pub route: Option<&'a str>,
    pub user: Option<&'a str>,
    pub method: &'a str,
    pub path: &'a str,
    pub request_id: &'a str,
    pub caller: Caller<'a>,
}

impl Audit {
    /// As the settings say, or nowhere.
    ///
    /// # Errors
    /// When the file can't be opened, or the thread that writes can't be started.
    pub fn open(settings: Option<&AuditSettings>) -> io::Result<Self> {
        match settings {
            None => Ok(Self::off()),
            Some(AuditSettings::Stdout) => Self::to(Box::new(Stdout)),
            Some(AuditSettings::File(path)) => Self::to(Box::new(LogFile::open(path)?)),
        }
    }

    /// No lines.
    pub const fn off() -> Self {
        Self(None)
    }

    /// To `out`.
    ///
    /// # Errors
    /// When the thread that writes can't be started.
    pub fn to(out: Box<dyn Write + Send>) -> io::Result<Self> {
        Writer::start(CARE, out).map(|writer| Self(Some(Arc::new(writer))))
    }

    /// Whether anything is written at all.
    pub const fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Notes a decision.
    pub fn note(&self, event: &Event<'_>) {
        let Some(writer) = &self.0 else { return };
        let mut line = Vec::with_capacity(512);
        event.write(Clock::System.now(), &mut line);
        writer.push(&line);
    }

    /// Writes what waits, now.
    pub fn flush(&self) {
        if let Some(writer) = &self.0 {
            writer.flush();
        }
    }
}

/// Standard output, to which others write too: a batch at a time, so that no line is torn.
struct Stdout;

impl Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        io::stdout().write_all(bytes).map(|()| bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stdout().flush()
    }
}

/// A file that is only ever appended to. When its name leads elsewhere (it was moved away, as logrotate does), the next
/// batch goes to a new one: no signal is needed.
struct LogFile {
    path: PathBuf,
    file: File,
    /// Whether all lines so far are whole.
    between: bool,
}

impl LogFile {
    fn open(path: &Path) -> io::Result<Self> {
        Ok(Self {
            path: path.to_owned(),
            file: append_to(path)?,
            between: true,
        })
    }

    fn follow_name(&mut self) -> io::Result<()> {
        let here = self.file.metadata()?;
        let there = fs::metadata(&self.path);
        if !there.is_ok_and(|there| (there.dev(), there.ino()) == (here.dev(), here.ino())) {
            self.file = append_to(&self.path)?;
        }
        Ok(())
    }
}

impl Write for LogFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.between {
            self.follow_name()?;
        }
        let written = self.file.write(bytes)?;
        self.between = written == bytes.len();
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn append_to(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)
}
