//! What the development identity provider remembers: single sign-on sessions, codes, token families, device codes.
//!
//! As strict as Keycloak with rotation: a spent refresh token or code that comes again kills what came of it.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use super::ledger::{self, Step};
use super::people::Person;
use crate::clock::Timestamp;

/// How long a code is good for.
pub(super) const CODE_LIFETIME: Duration = Duration::from_mins(1);
/// How long a pushed authorization request is good for.
pub(super) const PUSHED_LIFETIME: Duration = Duration::from_mins(1);
/// How long a device code is good for.
pub(super) const DEVICE_LIFETIME: Duration = Duration::from_mins(10);
/// How long a device waits between two questions.
pub(super) const DEVICE_INTERVAL: Duration = Duration::from_secs(5);

/// A browser's session here.
#[derive(Clone, Debug)]
pub(super) struct Sso {
    pub(super) sid: String,
    pub(super) person: &'static Person,
    pub(super) authenticated: Timestamp,
    pub(super) acr: &'static str,
}

/// An authorization request, checked.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) client: String,
    pub(super) redirect_uri: String,
    pub(super) state: Option<String>,
    pub(super) nonce: Option<String>,
    pub(super) challenge: String,
    pub(super) scopes: Vec<String>,
    pub(super) form_post: bool,
    pub(super) step_up: bool,
}

/// What a sign-in page is for.
#[derive(Clone, Debug)]
pub(super) enum Purpose {
    /// An authorization request.
    Code(Asked),
    /// A device with this user code.
    Device(String),
}

/// A sign-in page that was shown.
#[derive(Clone, Debug)]
pub(super) struct Interaction {
    pub(super) purpose: Purpose,
    pub(super) client: String,
}

/// What tokens are made from.
#[derive(Clone, Debug)]
pub(super) struct Authorized {
    pub(super) client: String,
    pub(super) scopes: Vec<String>,
    pub(super) nonce: Option<String>,
    pub(super) sso: Sso,
}

/// What became of a code.
#[derive(Clone, Copy, Debug)]
enum Use {
    Unused,
    Burnt,
    Exchanged(FamilyId),
}

#[derive(Debug)]
struct Code {
    authorized: Authorized,
    redirect_uri: String,
    challenge: String,
    expires: Timestamp,
    state: Use,
}

/// A family of tokens: what came of one code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct FamilyId(u64);

#[derive(Debug)]
struct Family {
    authorized: Authorized,
    swaps: usize,
    dead: bool,
    history: Vec<(Timestamp, Step)>,
}

#[derive(Debug)]
struct Refresh {
    family: FamilyId,
    expires: Timestamp,
    spent: bool,
}

#[derive(Debug)]
struct Access {
    family: Option<FamilyId>,
    revoked: bool,
}

/// A device that waits for someone to sign in.
#[derive(Debug)]
pub(super) struct Device {
    pub(super) user_code: String,
    pub(super) client: String,
    pub(super) scopes: Vec<String>,
    pub(super) expires: Timestamp,
    pub(super) polled: Option<Timestamp>,
    pub(super) verdict: Verdict,
}

/// What the person said to a device.
#[derive(Debug)]
pub(super) enum Verdict {
    Pending,
    Refused,
    Approved(Sso),
}

/// A code that can't be exchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CodeError {
    Unknown,
    Expired,
    Replayed,
    OtherClient,
    RedirectUri,
    Verifier,
}

/// A refresh token that can't be swapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RefreshError {
    Unknown,
    Expired,
    Dead,
    Reused(&'static Person),
    OtherClient,
}

/// A swap that may be made.
#[derive(Debug)]
pub(super) struct Swap {
    pub(super) family: FamilyId,
    pub(super) authorized: Authorized,
    pub(super) count: usize,
}

/// What a revocation request hit.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Hit {
    Refresh,
    Access,
    Nothing,
    OtherClient,
}

/// All of it.
#[derive(Debug, Default)]
pub(super) struct Grants {
    pub(super) sso: HashMap<String, Sso>,
    pub(super) interactions: HashMap<String, Interaction>,
    pub(super) pushed: HashMap<String, (String, crate::demo::http::Params, Timestamp)>,
    pub(super) devices: HashMap<String, Device>,
    codes: HashMap<String, Code>,
    families: HashMap<FamilyId, Family>,
    by_sid: HashMap<String, Vec<FamilyId>>,
    refresh: HashMap<String, Refresh>,
    access: HashMap<String, Access>,
    next_family: u64,
}

impl Grants {
    pub(super) fn add_code(
        &mut self,
        code: String,
        asked: &Asked,
        authorized: Authorized,
        now: Timestamp,
    ) {
        self.codes.insert(
            code,
            Code {
                authorized,
                redirect_uri: asked.redirect_uri.clone(),
                challenge: asked.challenge.clone(),
                expires: now + CODE_LIFETIME,
                state: Use::Unused,
            },
        );
    }

    /// Redeems a code. A wrong verifier or address burns it; a second use kills the tokens of the first (RFC 6749
    /// section 4.1.2).
    pub(super) fn redeem(
        &mut self,
        code: &str,
        client: &str,
        redirect_uri: Option<&str>,
        challenge: &str,
        now: Timestamp,
    ) -> Result<(FamilyId, Authorized), CodeError> {
        let known = self.codes.get_mut(code).ok_or(CodeError::Unknown)?;
        if known.authorized.client != client {
            return Err(CodeError::OtherClient);
        }
        match known.state {
            Use::Unused => known.state = Use::Burnt,
            Use::Burnt => return Err(CodeError::Replayed),
            Use::Exchanged(family) => {
                self.kill(family);
                return Err(CodeError::Replayed);
            }
        }
        if known.expires <= now {
            return Err(CodeError::Expired);
        }
        if Some(known.redirect_uri.as_str()) != redirect_uri {
            return Err(CodeError::RedirectUri);
        }
        if known.challenge != challenge {
            return Err(CodeError::Verifier);
        }
        let authorized = known.authorized.clone();
        let family = self.found(authorized.clone(), now);
        if let Some(known) = self.codes.get_mut(code) {
            known.state = Use::Exchanged(family);
        }
        Ok((family, authorized))
    }

    /// A new family.
    pub(super) fn found(&mut self, authorized: Authorized, now: Timestamp) -> FamilyId {
        self.next_family += 1;
        let id = FamilyId(self.next_family);
        let sid = authorized.sso.sid.clone();
        self.by_sid.entry(sid).or_default().push(id);
        let family = Family {
            authorized,
            swaps: 0,
            dead: false,
            history: vec![(now, Step::Founded)],
        };
        self.families.insert(id, family);
        id
    }

    pub(super) fn add_refresh(&mut self, token: String, family: FamilyId, expires: Timestamp) {
        self.refresh.insert(
            token,
            Refresh {
                family,
                expires,
                spent: false,
            },
        );
    }

    /// As if somebody had used it.
    pub(super) fn spend(&mut self, token: &str) {
        if let Some(known) = self.refresh.get_mut(token) {
            known.spent = true;
        }
    }

    pub(super) fn add_access(&mut self, jti: String, family: Option<FamilyId>) {
        let revoked = false;
        self.access.insert(jti, Access { family, revoked });
    }

    /// Spends a refresh token. One that was spent before kills its family, the newest tokens included.
    pub(super) fn swap(
        &mut self,
        token: &str,
        client: &str,
        keep: bool,
        now: Timestamp,
    ) -> Result<Swap, RefreshError> {
        let known = self.refresh.get_mut(token).ok_or(RefreshError::Unknown)?;
        let id = known.family;
        let family = self.families.get_mut(&id).ok_or(RefreshError::Unknown)?;
        if family.authorized.client != client {
            return Err(RefreshError::OtherClient);
        }
        if known.spent {
            let person = family.authorized.sso.person;
            family.history.push((now, Step::Reused));
            self.kill(id);
            return Err(RefreshError::Reused(person));
        }
        if family.dead {
            family.history.push((now, Step::Refused));
            return Err(RefreshError::Dead);
        }
        if known.expires <= now {
            return Err(RefreshError::Expired);
        }
        known.spent = !keep;
        family.swaps += 1;
        family.history.push((now, Step::Rotated));
        Ok(Swap {
            family: id,
            authorized: family.authorized.clone(),
            count: family.swaps,
        })
    }

    /// RFC 7009. A refresh token, spent or not, takes its family with it; if that was the last client of the browser's
    /// session, the session ends too, as at Keycloak.
    pub(super) fn revoke(
        &mut self,
        token: &str,
        jti: Option<&str>,
        client: &str,
        forgets_spent: bool,
        now: Timestamp,
    ) -> Hit {
        if let Some(known) = self.refresh.get(token) {
            if forgets_spent && known.spent {
                let id = known.family;
                self.write_down(id, Step::RevokedInVain, now);
                return Hit::Nothing;
            }
            let id = known.family;
            let owner = self.families.get(&id).map(|f| f.authorized.clone());
            let Some(owner) = owner.filter(|owner| owner.client == client) else {
                return Hit::OtherClient;
            };
            self.write_down(id, Step::Revoked, now);
            self.kill(id);
            self.end_sso_if_unused(&owner.sso.sid);
            return Hit::Refresh;
        }
        let Some(access) = jti.and_then(|jti| self.access.get_mut(jti)) else {
            return Hit::Nothing;
        };
        access.revoked = true;
        Hit::Access
    }

    /// Whether an access token with this `jti` still stands.
    pub(super) fn stands(&self, jti: &str) -> bool {
        let Some(access) = self.access.get(jti) else {
            return false;
        };
        let family = access.family.and_then(|id| self.families.get(&id));
        !access.revoked && family.is_none_or(|family| !family.dead)
    }

    /// What a refresh token is good for, if it is.
    pub(super) fn standing_refresh(&self, token: &str, now: Timestamp) -> Option<&Authorized> {
        let known = self.refresh.get(token)?;
        let family = self.families.get(&known.family)?;
        let stands = !known.spent && !family.dead && known.expires > now;
        stands.then_some(&family.authorized)
    }

    /// The newest spent refresh token of someone's living family.
    pub(super) fn newest_spent(&self, subject: &str, client: &str) -> Option<String> {
        let theirs = |known: &Refresh| {
            let family = self.families.get(&known.family);
            family.is_some_and(|family| {
                let authorized = &family.authorized;
                !family.dead
                    && authorized.sso.person.subject == subject
                    && authorized.client == client
            })
        };
        let spent = self.refresh.iter();
        spent
            .filter(|(_, known)| known.spent && theirs(known))
            .max_by_key(|(_, known)| (known.family.0, known.expires))
            .map(|(token, _)| token.clone())
    }

    /// Ends a browser's session: its families die, save those that were asked to outlive it (`offline_access`).
    /// Answers whose it was and which clients took part.
    pub(super) fn end(&mut self, sid: &str) -> Option<(Sso, HashSet<String>)> {
        let cookie = self
            .sso
            .iter()
            .find(|(_, sso)| sso.sid == sid)
            .map(|(cookie, _)| cookie.clone())?;
        let sso = self.sso.remove(&cookie)?;
        let mut clients = HashSet::new();
        for id in self.by_sid.get(sid).into_iter().flatten() {
            let Some(family) = self.families.get_mut(id) else {
                continue;
            };
            let authorized = &family.authorized;
            if family.dead {
                continue;
            }
            clients.insert(authorized.client.clone());
            family.dead = !authorized.scopes.iter().any(|s| s == "offline_access");
        }
        Some((sso, clients))
    }

    /// The sessions of a person.
    pub(super) fn sids_of(&self, subject: &str) -> Vec<String> {
        let mine = self
            .sso
            .values()
            .filter(|sso| sso.person.subject == subject);
        mine.map(|sso| sso.sid.clone()).collect()
    }

    /// Notes what happened to a family.
    pub(super) fn write_down(&mut self, id: FamilyId, step: Step, now: Timestamp) {
        if let Some(family) = self.families.get_mut(&id) {
            family.history.push((now, step));
        }
    }

    /// What became of the families of one browser session, or of all, in the order of their beginning.
    pub(super) fn families(&self, sid: Option<&str>) -> Vec<ledger::Family> {
        let chosen: Vec<FamilyId> = match sid {
            Some(sid) => self.by_sid.get(sid).cloned().unwrap_or_default(),
            None => (1..=self.next_family).map(FamilyId).collect(),
        };
        let chosen = chosen.into_iter();
        let known = chosen.filter_map(|id| Some((id, self.families.get(&id)?)));
        known
            .map(|(id, family)| ledger::Family {
                number: id.0,
                sid: family.authorized.sso.sid.clone(),
                swaps: family.swaps,
                alive: !family.dead,
                history: family.history.clone(),
            })
            .collect()
    }

    /// Kills everything that a client got in one browser session: Keycloak knows one client session, however often it
    /// was signed in to.
    fn kill(&mut self, id: FamilyId) {
        let Some(family) = self.families.get(&id) else {
            return;
        };
        let Authorized { client, sso, .. } = family.authorized.clone();
        for id in self.by_sid.get(&sso.sid).into_iter().flatten() {
            if let Some(family) = self.families.get_mut(id) {
                family.dead |= family.authorized.client == client;
            }
        }
    }

    fn end_sso_if_unused(&mut self, sid: &str) {
        let families = self.by_sid.get(sid).into_iter().flatten();
        let mut families = families.filter_map(|id| self.families.get(id));
        if families.any(|family| !family.dead) {
            return;
        }
        self.sso.retain(|_, sso| sso.sid != sid);
    }
}
