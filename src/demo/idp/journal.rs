//! What happened at the development identity provider, for tests to assert on and for the demo to show.

use std::collections::BTreeMap;

/// Something happened. Never holds a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A sign-in page was shown.
    LoginAsked,
    /// Someone signed in.
    LoggedIn(&'static str),
    /// A code was given out for someone; `silent` where no page was shown.
    Code {
        /// Whose.
        person: &'static str,
        /// Whether the person saw no page.
        silent: bool,
    },
    /// A code was exchanged.
    Exchanged(&'static str),
    /// A spent code came again: its tokens are dead.
    CodeReplayed,
    /// A refresh token was swapped.
    Refreshed {
        /// Whose.
        person: &'static str,
        /// The how manieth of its family.
        count: usize,
    },
    /// A refresh was refused, and why.
    RefreshRefused(&'static str),
    /// A spent refresh token came again: its family is dead.
    Reused(&'static str),
    /// A token was revoked (RFC 7009).
    Revoked(Kind),
    /// A session ended here.
    SessionEnded(&'static str),
    /// A logout token was sent, and whether the client took it.
    BackchannelLogout {
        /// Whether it answered 200.
        taken: bool,
    },
    /// New keys sign.
    KeysRotated,
    /// Went down or came up.
    Reachable(bool),
}

/// A kind of token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An authorization code.
    Code,
    /// An access token.
    Access,
    /// A refresh token.
    Refresh,
    /// An ID token.
    Id,
}

/// A token or code that was given out.
#[derive(Clone)]
pub struct Issued {
    /// Its kind.
    pub kind: Kind,
    /// Itself.
    pub text: String,
}

impl std::fmt::Debug for Issued {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Issued({:?})", self.kind)
    }
}

/// Everything so far.
#[derive(Clone, Debug, Default)]
pub struct Journal {
    /// People who signed in on the page.
    pub logins: usize,
    /// Codes given out.
    pub codes: usize,
    /// Codes exchanged.
    pub exchanges: usize,
    /// Spent codes that came again.
    pub code_replays: usize,
    /// Refresh tokens swapped.
    pub refreshes: usize,
    /// Refreshes refused.
    pub refused_refreshes: usize,
    /// Spent refresh tokens that came again.
    pub reuses: usize,
    /// Revocations of refresh tokens that were known.
    pub refresh_revocations: usize,
    /// Revocations of access tokens that were known.
    pub access_revocations: usize,
    /// Sessions ended.
    pub ended_sessions: usize,
    /// Logout tokens sent.
    pub backchannel_logouts: usize,
    /// Requests by path, those that faults kept from an answer included.
    pub requests: BTreeMap<String, usize>,
    /// Every token and code ever given out.
    pub issued: Vec<Issued>,
    /// All events, in order.
    pub events: Vec<Event>,
}

impl Journal {
    pub(super) fn note(&mut self, event: Event) {
        let counter = match &event {
            Event::LoggedIn(_) => Some(&mut self.logins),
            Event::Code { .. } => Some(&mut self.codes),
            Event::Exchanged(_) => Some(&mut self.exchanges),
            Event::CodeReplayed => Some(&mut self.code_replays),
            Event::Refreshed { .. } => Some(&mut self.refreshes),
            Event::RefreshRefused(_) => Some(&mut self.refused_refreshes),
            Event::Reused(_) => Some(&mut self.reuses),
            Event::Revoked(Kind::Refresh) => Some(&mut self.refresh_revocations),
            Event::Revoked(Kind::Access) => Some(&mut self.access_revocations),
            Event::SessionEnded(_) => Some(&mut self.ended_sessions),
            Event::BackchannelLogout { .. } => Some(&mut self.backchannel_logouts),
            Event::LoginAsked
            | Event::Revoked(Kind::Code | Kind::Id)
            | Event::KeysRotated
            | Event::Reachable(_) => None,
        };
        if let Some(counter) = counter {
            *counter += 1;
        }
        self.events.push(event);
    }

    /// How many requests came to `path`.
    pub fn requests_to(&self, path: &str) -> usize {
        self.requests.get(path).copied().unwrap_or_default()
    }

    /// The newest token of a kind.
    pub fn newest(&self, kind: Kind) -> Option<&str> {
        let issued = self.issued.iter().rev().find(|issued| issued.kind == kind);
        issued.map(|issued| issued.text.as_str())
    }

    /// All tokens of a kind, the oldest first.
    pub fn all(&self, kind: Kind) -> impl Iterator<Item = &str> {
        let of_kind = self.issued.iter().filter(move |issued| issued.kind == kind);
        of_kind.map(|issued| issued.text.as_str())
    }
}
