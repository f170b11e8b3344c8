//! What the tenant knows: browsers that are signed in, codes, grants, refresh tokens.

use std::collections::{BTreeSet, HashMap};

use tidegate::clock::Timestamp;

use super::mint::random;
use super::rotation::Family;

/// A request as it came, and how it was answered.
#[derive(Clone, Debug)]
pub struct Asked {
    pub method: String,
    /// Path and query.
    pub target: String,
    pub media_type: String,
    pub body: String,
    pub status: u16,
}

impl Asked {
    /// Without the query.
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    /// The body, where it is JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }
}

/// A browser's session.
#[derive(Clone, Debug)]
pub(super) struct Sso {
    pub(super) sid: String,
    pub(super) user: String,
    pub(super) authenticated: Timestamp,
    /// The applications that it signed the user in to.
    pub(super) clients: BTreeSet<String>,
}

/// What an application asked at `/authorize`.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) client: String,
    pub(super) redirect_uri: String,
    pub(super) state: Option<String>,
    pub(super) nonce: Option<String>,
    pub(super) scopes: Vec<String>,
    pub(super) audience: Option<String>,
    pub(super) challenge: Option<String>,
    pub(super) max_age: Option<u64>,
}

/// A code that was given out and not used.
#[derive(Clone, Debug)]
pub(super) struct Code {
    pub(super) request: Request,
    pub(super) sso: Sso,
    pub(super) expires: Timestamp,
}

/// What a user has let an application do.
#[derive(Clone, Debug)]
pub(super) struct Grant {
    pub(super) id: String,
    pub(super) user: String,
    pub(super) client: String,
    pub(super) audience: String,
    pub(super) scopes: Vec<String>,
}

/// An access token for `/userinfo`.
#[derive(Clone, Debug)]
pub(super) struct Access {
    pub(super) user: String,
    pub(super) expires: Timestamp,
}

/// A token for the Management API.
#[derive(Clone, Debug)]
pub(super) struct ApiToken {
    pub(super) scopes: Vec<String>,
    pub(super) expires: Timestamp,
}

/// All of it.
#[derive(Debug, Default)]
pub(super) struct Books {
    pub(super) sso: HashMap<String, Sso>,
    pub(super) logins: HashMap<String, Request>,
    pub(super) codes: HashMap<String, Code>,
    pub(super) grants: Vec<Grant>,
    pub(super) families: Vec<Family>,
    pub(super) access: HashMap<String, Access>,
    pub(super) api_tokens: HashMap<String, ApiToken>,
    pub(super) journal: Vec<Asked>,
    pub(super) newest_refresh_token: Option<String>,
    pub(super) issued: Vec<String>,
}

impl Books {
    /// Notes that a user lets an application do this, once for each audience.
    pub(super) fn grant(&mut self, user: &str, client: &str, audience: &str, scopes: &[String]) {
        let same = |grant: &&mut Grant| {
            (&*grant.user, &*grant.client, &*grant.audience) == (user, client, audience)
        };
        let known = self.grants.iter_mut().find(same);
        match known {
            Some(grant) => scopes.clone_into(&mut grant.scopes),
            None => self.grants.push(Grant {
                id: random(12),
                user: user.to_owned(),
                client: client.to_owned(),
                audience: audience.to_owned(),
                scopes: scopes.to_owned(),
            }),
        }
    }

    /// A grant goes, and with it all refresh tokens that were issued under it.
    pub(super) fn drop_grant(&mut self, id: &str) -> bool {
        let Some(at) = self.grants.iter().position(|grant| grant.id == id) else {
            return false;
        };
        let grant = self.grants.remove(at);
        let under = |family: &&mut Family| {
            (&family.user, &family.client, &family.audience)
                == (&grant.user, &grant.client, &grant.audience)
        };
        self.families.iter_mut().filter(under).for_each(Family::end);
        true
    }

    pub(super) fn drop_grants(&mut self, user: &str) {
        let theirs = self.grants.iter().filter(|grant| grant.user == user);
        let ids: Vec<_> = theirs.map(|grant| grant.id.clone()).collect();
        for id in ids {
            self.drop_grant(&id);
        }
    }

    /// All devices of a user lose their refresh tokens.
    pub(super) fn unlink(&mut self, user: &str) {
        let theirs = self
            .families
            .iter_mut()
            .filter(|family| family.user == user);
        theirs.for_each(Family::end);
    }
}
