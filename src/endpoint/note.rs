//! What ending other sessions achieved, carried in a sealed cookie to the list that says it, once.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::signed_out::how;
use crate::clock::Timestamp;
use crate::pages::device::device_within;
use crate::seal::{Keyring, Purpose};
use crate::session::{Dismissed, Fate, Revocation};
use crate::token::SessionHash;

/// How long the note may take to the list.
pub(super) const LIFETIME_SECS: u64 = 60;

/// How many tokens had which fate.
type Tally = Vec<(Revocation, usize)>;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Note {
    at: Timestamp,
    ended: usize,
    /// Where only one has ended: in words.
    device: Option<String>,
    refresh_tokens: Tally,
    access_tokens: Tally,
    /// Sessions whose tokens the provider was not told of.
    spared: usize,
}

impl Note {
    pub(super) fn of(ended: &[Dismissed], at: Timestamp) -> Self {
        let mut note = Self {
            at,
            ended: ended.len(),
            ..Self::default()
        };
        if let [only] = ended {
            note.device = Some(device_within(&only.session.user_agent));
        }
        for one in ended {
            match &one.tokens {
                Fate::Revoked(ended) => {
                    count(&mut note.refresh_tokens, ended.refresh_token);
                    count(&mut note.access_tokens, ended.access_token);
                }
                Fate::Spared => note.spared += 1,
            }
        }
        note
    }

    pub(super) fn cookie(session_cookie: &str) -> String {
        format!("{session_cookie}-ended")
    }

    /// For this session's eyes.
    pub(super) fn seal(&self, reader: &SessionHash, keys: &Keyring) -> String {
        let plain = serde_json::to_vec(self).unwrap_or_default();
        URL_SAFE_NO_PAD.encode(keys.seal(Purpose::SignedOut, &context(reader), &plain))
    }

    pub(super) fn open(
        sealed: &str,
        reader: &SessionHash,
        keys: &Keyring,
        now: Timestamp,
    ) -> Option<Self> {
        let sealed = URL_SAFE_NO_PAD.decode(sealed).ok()?;
        let plain = keys.open(Purpose::SignedOut, &context(reader), &sealed);
        let note: Self = serde_json::from_slice(&plain.ok()?).ok()?;
        (now.since(note.at).as_secs() <= LIFETIME_SECS).then_some(note)
    }

    /// In words. `label` is what people call the provider.
    pub(super) fn told(&self, label: &str) -> Value {
        let title = match (self.ended, &self.device) {
            (0, _) => "There was no other session to end".to_owned(),
            (1, Some(device)) => format!("The session in {device} has ended"),
            (1, None) => "1 session has ended".to_owned(),
            (several, _) => format!("{several} sessions have ended"),
        };
        json!({ "title": title, "facts": self.facts(label) })
    }

    fn facts(&self, label: &str) -> Vec<Value> {
        let label = if label.is_empty() {
            "the sign-in service"
        } else {
            label
        };
        let kinds = [
            ("Renewal of access", &self.refresh_tokens),
            ("Access already given", &self.access_tokens),
        ];
        let mut facts = Vec::new();
        for (what, tally) in kinds {
            for (revocation, count) in tally {
                let Some(how) = how(*revocation, label) else {
                    continue;
                };
                facts.push(json!({ "what": self.counted(what, *count), "how": how }));
            }
        }
        if self.spared > 0 {
            let what = self.counted(&format!("At {label}"), self.spared);
            let how = "Not usable here any more. Nothing was revoked there, since this browser's sign-in there is the \
                       same and a session that goes on would have ended too.";
            facts.push(json!({ "what": what, "how": how }));
        }
        facts
    }

    /// What is so of all needs no number.
    fn counted(&self, what: &str, count: usize) -> String {
        if count == self.ended {
            return what.to_owned();
        }
        format!("{what}, {count} of {}", self.ended)
    }
}

fn context(reader: &SessionHash) -> Vec<u8> {
    [b"ended sessions".as_slice(), reader.as_bytes()].concat()
}

fn count(tally: &mut Tally, revocation: Revocation) {
    match tally.iter_mut().find(|(known, _)| *known == revocation) {
        Some((_, count)) => *count += 1,
        None => tally.push((revocation, 1)),
    }
}
