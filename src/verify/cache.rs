//! Verified tokens, so that a signature is checked once and not on each request. Only verified tokens ever enter.

use std::hash::BuildHasher;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hashbrown::{DefaultHashBuilder, HashTable};

use super::Verified;
use super::claims::{Moment, Window};
use super::jwk::Key;
use super::refused::{Cleared, Edition, Finding, Marks, Refused};
use crate::token::AccessToken;

const SHARDS: usize = 64;
/// Over all shards, in both generations.
const MAX_TOKENS: usize = 100_000;
const MAX_BYTES: usize = 256 * 1024 * 1024;

/// A bounded map from the whole text of a token to what it was verified as.
#[derive(Debug)]
pub(super) struct Cache {
    /// Seeded at random, so that nobody can know which tokens share a place.
    hasher: DefaultHashBuilder,
    shards: Box<[Mutex<Shard>; SHARDS]>,
    limit: Limit,
}

/// How much one generation of one shard may hold.
#[derive(Clone, Copy, Debug)]
struct Limit {
    tokens: usize,
    bytes: usize,
}

/// Two generations: what was not asked for while the young one filled up goes with the old one.
#[derive(Debug, Default)]
struct Shard {
    young: HashTable<Entry>,
    old: HashTable<Entry>,
    young_bytes: usize,
}

/// A verified token, and what it depends on.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) token: AccessToken,
    pub(super) verified: Arc<Verified>,
    pub(super) window: Window,
    pub(super) key: Arc<Key>,
    pub(super) marks: Marks,
    pub(super) cleared: Cleared,
}

/// What is remembered of a token.
#[derive(Debug)]
pub(super) enum Remembered {
    /// What it was verified as: all of that still holds.
    Verified(Arc<Verified>),
    /// Its signature is good, but it does not pass.
    Refused(Finding),
}

impl Entry {
    /// The hash only finds; the whole text decides.
    pub(super) fn is(&self, text: &str) -> bool {
        self.token.expose() == text
    }

    /// The text, and the claims as a map, which are some three times as large as in the token.
    fn weight(&self) -> usize {
        512 + 4 * self.token.expose().len()
    }

    /// Nothing where it has ended, or its key is not in the provider's key set any more.
    fn recall(&self, moment: Moment, refused: &Refused, edition: Edition) -> Option<Remembered> {
        if !self.window.holds(moment.now, moment.grace) || self.key.is_retired() {
            return None;
        }
        Some(match self.find_refusal(moment, refused, edition) {
            Finding::Clear | Finding::ClearForSession => {
                Remembered::Verified(Arc::clone(&self.verified))
            }
            finding @ (Finding::Refused | Finding::Unknown) => Remembered::Refused(finding),
        })
    }

    fn find_refusal(&self, moment: Moment, refused: &Refused, edition: Edition) -> Finding {
        if self.cleared.holds(edition) {
            return Finding::Clear;
        }
        let finding = refused.look_up(&self.marks, moment.obtained, moment.now);
        if finding == Finding::Clear {
            self.cleared.under(edition);
        }
        finding
    }
}

impl Cache {
    pub(super) fn new() -> Self {
        Self::bounded(MAX_TOKENS, MAX_BYTES)
    }

    /// At most this many tokens and about this many bytes.
    pub(super) fn bounded(tokens: usize, bytes: usize) -> Self {
        let share = 2 * SHARDS;
        Self {
            hasher: DefaultHashBuilder::default(),
            shards: Box::new(std::array::from_fn(|_| Mutex::default())),
            limit: Limit {
                tokens: (tokens / share).max(1),
                bytes: bytes / share,
            },
        }
    }

    /// What is remembered of this very token, if that still holds. A grace is the asker's alone, and is not remembered.
    pub(super) fn find(&self, text: &str, moment: Moment, refused: &Refused) -> Option<Remembered> {
        // Before the token is looked at: what is refused from here on is found by the next request.
        let edition = refused.edition();
        let hash = self.hasher.hash_one(text);
        let mut shard = self.shard(hash)?;
        if let Some(entry) = shard.young.find(hash, |entry| entry.is(text)) {
            return entry.recall(moment, refused, edition);
        }
        let entry = take(&mut shard.old, hash, text)?;
        let remembered = entry.recall(moment, refused, edition)?;
        self.put(&mut shard, hash, entry);
        Some(remembered)
    }

    /// Remembers a token that has just been verified.
    pub(super) fn insert(&self, entry: Entry) {
        let text = entry.token.expose();
        let hash = self.hasher.hash_one(text);
        let Some(mut shard) = self.shard(hash) else {
            return;
        };
        take(&mut shard.old, hash, text);
        if let Some(replaced) = take(&mut shard.young, hash, text) {
            shard.young_bytes -= replaced.weight();
        }
        self.put(&mut shard, hash, entry);
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        let shards = self
            .shards
            .iter()
            .map(|shard| shard.lock().unwrap_or_else(PoisonError::into_inner));
        shards
            .map(|shard| shard.young.len() + shard.old.len())
            .sum()
    }

    fn put(&self, shard: &mut Shard, hash: u64, entry: Entry) {
        let weight = entry.weight();
        let full =
            shard.young.len() >= self.limit.tokens || shard.young_bytes + weight > self.limit.bytes;
        if full {
            shard.old = mem::take(&mut shard.young);
            shard.young_bytes = 0;
        }
        shard.young_bytes += weight;
        let rehash = |entry: &Entry| self.hasher.hash_one(entry.token.expose());
        shard.young.insert_unique(hash, entry, rehash);
    }

    fn shard(&self, hash: u64) -> Option<MutexGuard<'_, Shard>> {
        // Bits that the table inside does not go by.
        let at = usize::try_from(hash >> 32).unwrap_or_default() % SHARDS;
        let shard = self.shards.get(at)?;
        Some(shard.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn take(table: &mut HashTable<Entry>, hash: u64, text: &str) -> Option<Entry> {
    let found = table.find_entry(hash, |entry| entry.is(text)).ok()?;
    Some(found.remove().0)
}
