//! So many sessions a person at a time: at a login beyond that, the oldest end.

use std::sync::Arc;

use super::end::Tokens;
use super::entry::Entry;
use super::store::Index;
use super::{EndReason, Sessions};
use crate::clock::Timestamp;
use crate::token::SessionHash;

/// A session of the person's that has not ended.
struct Living {
    entry: Arc<Entry>,
    created: Timestamp,
    sid: Option<Arc<str>>,
}

impl Sessions {
    /// Ends the oldest sessions of a person at a provider who has more than [`super::Settings::max_per_user`]. The order
    /// is the same for all who count, so that of two logins at once neither ends more than both would have one after the
    /// other, and the newest stays.
    pub(super) async fn hold_to_limit(self: &Arc<Self>, idp: &str, subject: &str) {
        let Some(limit) = self.settings.max_per_user else {
            return;
        };
        let found = match self.store.find(Index::subject(idp, subject)).await {
            Ok(found) => found,
            Err(error) => {
                tracing::error!(
                    idp,
                    error = &error as &dyn std::error::Error,
                    "a person's sessions can't be counted: session.max_per_user was not held to"
                );
                return;
            }
        };
        if found.len() <= limit.get() {
            return;
        }
        let mut oldest = self.living(found).await;
        let stay = oldest.split_off(oldest.len().saturating_sub(limit.get()));
        for living in &oldest {
            self.displace(living, &stay).await;
        }
    }

    /// The oldest first. What has run out and was not swept yet takes nobody's place.
    async fn living(self: &Arc<Self>, found: Vec<SessionHash>) -> Vec<Living> {
        let now = self.clock.now();
        let mut living = Vec::with_capacity(found.len());
        for hash in found {
            let Ok(entry) = self.find(hash).await else {
                continue;
            };
            let known = entry.state().record().map(|r| (r.created, r.sid.clone()));
            let Some((created, sid)) = known else {
                continue;
            };
            if entry.expired(now, self.settings.idle_timeout).is_none() {
                living.push(Living {
                    entry,
                    created,
                    sid,
                });
            }
        }
        living.sort_unstable_by_key(|one| (one.created, *one.entry.hash.as_bytes()));
        living
    }

    async fn displace(self: &Arc<Self>, living: &Living, stay: &[Living]) {
        let sid = &living.sid;
        let same_there = sid.is_some() && stay.iter().any(|other| other.sid == *sid);
        let tokens = if same_there {
            Tokens::Spare
        } else {
            Tokens::Revoke
        };
        let entry = &living.entry;
        if self.finish(entry, EndReason::Displaced, tokens).await {
            tracing::info!(session = %entry.name(), "a session ends, since its person has more than session.max_per_user");
        }
    }
}
