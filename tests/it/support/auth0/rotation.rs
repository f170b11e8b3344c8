//! Refresh tokens: they rotate, the last one that was used may be used again within the overlap, and any older one ends
//! all that came from the same sign-in.

use std::time::Duration;

use tidegate::clock::Timestamp;

use super::mint::random;

/// All refresh tokens of one sign-in: what the dashboard calls a device.
#[derive(Clone, Debug)]
pub(super) struct Family {
    /// `dcr_…`
    pub(super) id: String,
    pub(super) user: String,
    pub(super) client: String,
    pub(super) audience: String,
    pub(super) scopes: Vec<String>,
    pub(super) rotates: bool,
    pub(super) created: Timestamp,
    pub(super) used: Timestamp,
    over: bool,
    tokens: Vec<Token>,
}

#[derive(Clone, Debug)]
struct Token {
    text: String,
    generation: usize,
    used: Option<Timestamp>,
}

/// What a family is made of.
#[derive(Debug)]
pub(super) struct Origin<'a> {
    pub(super) user: &'a str,
    pub(super) client: &'a str,
    pub(super) audience: &'a str,
    pub(super) scopes: &'a [String],
    pub(super) rotates: bool,
}

/// How long its tokens live.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) leeway: Duration,
    pub(super) absolute: Duration,
    pub(super) idle: Duration,
}

impl Family {
    pub(super) fn begin(origin: &Origin<'_>, now: Timestamp) -> Self {
        Self {
            id: format!("dcr_{}", random(12)),
            user: origin.user.to_owned(),
            client: origin.client.to_owned(),
            audience: origin.audience.to_owned(),
            scopes: origin.scopes.to_owned(),
            rotates: origin.rotates,
            created: now,
            used: now,
            over: false,
            tokens: Vec::new(),
        }
    }

    /// A new token in it, the child of one of this generation.
    pub(super) fn add(&mut self, generation: usize) -> String {
        let text = format!("v1.M{}", random(32));
        self.tokens.push(Token {
            text: text.clone(),
            generation,
            used: None,
        });
        text
    }

    pub(super) fn has(&self, token: &str) -> bool {
        self.tokens.iter().any(|known| known.text == token)
    }

    pub(super) fn is_alive(&self) -> bool {
        !self.over
    }

    pub(super) fn end(&mut self) {
        self.over = true;
    }

    /// Uses a token; what takes its place, or nothing where it stays. `Err`: it is worth nothing.
    pub(super) fn swap(
        &mut self,
        token: &str,
        limits: Limits,
        now: Timestamp,
    ) -> Result<Option<String>, ()> {
        let ended = now >= self.created + limits.absolute || now >= self.used + limits.idle;
        if self.over || ended {
            return Err(());
        }
        let newest_used = self.tokens.iter().filter(|token| token.used.is_some());
        let newest_used = newest_used.map(|token| token.generation).max();
        let found = self.tokens.iter_mut().find(|known| known.text == token);
        let found = found.ok_or(())?;
        if let Some(used) = found.used {
            let again = now < used + limits.leeway && Some(found.generation) == newest_used;
            if !again {
                // Somebody else has it too.
                self.over = true;
                return Err(());
            }
        }
        self.used = now;
        if !self.rotates {
            return Ok(None);
        }
        found.used.get_or_insert(now);
        let generation = found.generation + 1;
        Ok(Some(self.add(generation)))
    }
}
