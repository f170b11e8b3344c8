//! Auth0's Management API (version 2): all that a user has at the provider through this gateway's client is ended there,
//! by the user's grants or by the credentials of their devices.

use std::sync::Arc;
use std::time::Duration;

use http::Method;
use serde_json::Value;
use tokio::sync::Mutex;
use url::Url;

use super::answer::{self, ErrorCode};
use super::client::{Answer, Content};
use super::discovery::reached;
use super::{Error, Issuer, token};
use crate::clock::Timestamp;
use crate::token::{AccessToken, Secret};

/// The most that a page may hold, by the documentation.
const PER_PAGE: usize = 100;
/// The most that is listed at a time: what is left is found by the next try.
const MOST_PAGES: usize = 10;
/// A token of the API is renewed so long before its end, or a tenth of its life.
const RENEW_BEFORE: Duration = Duration::from_mins(1);
/// How long one counts as good that does not say.
const UNSTATED_LIFE: Duration = Duration::from_mins(5);

/// How all that a user has can be ended, and as whom that is asked for.
#[derive(Clone, Debug)]
pub struct Management {
    /// A client that may use the API (machine to machine).
    pub client_id: Arc<str>,
    /// Its secret.
    pub client_secret: Secret,
    /// What is ended.
    pub end_user: EndUser,
    /// Where the API is, and its audience, with a slash at the end.
    pub url: Url,
}

/// What ending all of a user means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndUser {
    /// The user's grants for our client, and with them every refresh token of theirs.
    Grants,
    /// The refresh tokens of our client alone: the user is not asked for consent anew.
    DeviceCredentials,
}

/// The token for the API, once there is one. Held while a new one is fetched.
#[derive(Debug, Default)]
pub(super) struct Session(Mutex<Option<Kept>>);

#[derive(Debug)]
struct Kept {
    token: AccessToken,
    renew_at: Timestamp,
}

/// A list of the API.
struct List {
    path: &'static str,
    /// Which of its kinds.
    kind: Option<&'static str>,
    /// Where the entries are when the answer is an object.
    member: &'static str,
    /// Where an entry names its client.
    client: &'static str,
}

const GRANTS: [List; 1] = [List {
    path: "grants",
    kind: None,
    member: "grants",
    client: "clientID",
}];

/// An application without rotation has refresh tokens of the other kind.
const DEVICE_CREDENTIALS: [List; 2] = [
    device_credentials("rotating_refresh_token"),
    device_credentials("refresh_token"),
];

const fn device_credentials(kind: &'static str) -> List {
    List {
        path: "device-credentials",
        kind: Some(kind),
        member: "device_credentials",
        client: "client_id",
    }
}

impl EndUser {
    fn lists(self) -> &'static [List] {
        match self {
            Self::Grants => &GRANTS,
            Self::DeviceCredentials => &DEVICE_CREDENTIALS,
        }
    }
}

impl Issuer {
    /// Ends all that a user has at the provider through this client. What is gone already is no error, so that it may be
    /// tried as often as it takes.
    ///
    /// # Errors
    /// See [`Error`]; [`Error::NotOffered`] without [`super::Settings::management`].
    pub async fn end_user(&self, subject: &str) -> Result<(), Error> {
        let management = self.settings.management.as_ref();
        let management = management.ok_or(Error::NotOffered("a management API"))?;
        let desk = Desk {
            issuer: self,
            management,
        };
        for list in management.end_user.lists() {
            desk.empty(list, subject).await?;
        }
        Ok(())
    }
}

/// How much of a list was read.
enum Extent {
    Whole,
    More,
}

/// The API as one call sees it.
struct Desk<'a> {
    issuer: &'a Issuer,
    management: &'a Management,
}

impl Desk<'_> {
    /// Deletes all that a list has of a user.
    async fn empty(&self, list: &List, subject: &str) -> Result<(), Error> {
        let (ids, extent) = self.listed(list, subject).await?;
        for id in ids {
            self.delete(list, &id).await?;
        }
        match extent {
            Extent::Whole => Ok(()),
            Extent::More => {
                let reason = "there is more than is listed at a time".to_owned();
                Err(answer::not_now(reason))
            }
        }
    }

    async fn listed(&self, list: &List, subject: &str) -> Result<(Vec<String>, Extent), Error> {
        let mut ids = Vec::new();
        for page in 0..MOST_PAGES {
            let entries = self.page(list, subject, page).await?;
            for entry in &entries {
                if self.is_ours(list, entry, subject) {
                    ids.push(id(entry).ok_or_else(not_a_list)?.to_owned());
                }
            }
            if entries.len() < PER_PAGE {
                return Ok((ids, Extent::Whole));
            }
        }
        Ok((ids, Extent::More))
    }

    async fn page(&self, list: &List, subject: &str, page: usize) -> Result<Vec<Value>, Error> {
        let mut url = self.url(&[list.path])?;
        url.query_pairs_mut()
            .append_pair("user_id", subject)
            .append_pair("client_id", &self.issuer.settings.client_id)
            .append_pair("page", &page.to_string())
            .append_pair("per_page", &PER_PAGE.to_string())
            .append_pair("include_totals", "true");
        if let Some(kind) = list.kind {
            url.query_pairs_mut().append_pair("type", kind);
        }
        let answer = self.ask(Method::GET, &url).await?;
        if !answer.status.is_success() {
            return Err(refusal(&answer));
        }
        entries(&answer, list.member)
    }

    /// What is not known to be another user's or client's: a filter that the API ignored must not cost them anything.
    fn is_ours(&self, list: &List, entry: &Value, subject: &str) -> bool {
        let is = |name: &str, value: &str| entry.get(name).is_none_or(|found| found == value);
        is("user_id", subject) && is(list.client, &self.issuer.settings.client_id)
    }

    async fn delete(&self, list: &List, id: &str) -> Result<(), Error> {
        let answer = self
            .ask(Method::DELETE, &self.url(&[list.path, id])?)
            .await?;
        if answer.status.is_success() || answer.status == 404 {
            return Ok(());
        }
        Err(refusal(&answer))
    }

    /// One request, and one more with a new token where the API does not know the one that it came with.
    async fn ask(&self, method: Method, url: &Url) -> Result<Answer, Error> {
        let token = self.token(None).await?;
        let answer = self.send(method.clone(), url, &token).await?;
        match answer.status.as_u16() {
            401 => {
                let token = self.token(Some(&token)).await?;
                self.send(method, url, &token).await
            }
            403 => {
                self.forget(&token).await;
                Ok(answer)
            }
            _ => Ok(answer),
        }
    }

    /// A token has the scopes that its client had when it was issued: the next try finds out whether that has been mended.
    async fn forget(&self, token: &AccessToken) {
        let mut kept = self.issuer.management.0.lock().await;
        if kept.as_ref().is_some_and(|kept| kept.token == *token) {
            *kept = None;
        }
    }

    async fn send(&self, method: Method, url: &Url, token: &AccessToken) -> Result<Answer, Error> {
        let sent = self.issuer.client.call(method, url, Content::bearer(token));
        sent.await
            .map_err(|failure| answer::not_now(failure.reason))
    }

    /// The token that is kept, unless it ends soon or is the one that was refused.
    async fn token(&self, refused: Option<&AccessToken>) -> Result<AccessToken, Error> {
        let mut kept = self.issuer.management.0.lock().await;
        let now = self.issuer.clock.now();
        if let Some(kept) = &*kept
            && now < kept.renew_at
            && refused != Some(&kept.token)
        {
            return Ok(kept.token.clone());
        }
        let fresh = self.fresh_token().await?;
        let token = fresh.token.clone();
        *kept = Some(fresh);
        Ok(token)
    }

    /// Client credentials (RFC 6749 section 4.4) for the API as audience.
    async fn fresh_token(&self) -> Result<Kept, Error> {
        let url = self.management.url.join("../../oauth/token");
        let url = url.map_err(|_| Error::unusable("the management API's address is no base"))?;
        let url = reached(&self.issuer.settings, url);
        let content = Content::form(&[
            ("grant_type", "client_credentials"),
            ("client_id", &self.management.client_id),
            ("client_secret", self.management.client_secret.expose()),
            ("audience", self.management.url.as_str()),
        ]);
        let now = self.issuer.clock.now();
        let sent = self.issuer.client.post(&url, content);
        let answer = sent
            .await
            .map_err(|failure| answer::not_now(failure.reason))?;
        let grant = token::read(&answer, now)?;
        let life = grant
            .access_expires
            .map_or(UNSTATED_LIFE, |end| end.since(now));
        Ok(Kept {
            token: grant.access_token,
            renew_at: now + life.saturating_sub(RENEW_BEFORE.min(life / 10)),
        })
    }

    fn url(&self, segments: &[&str]) -> Result<Url, Error> {
        let mut url = reached(&self.issuer.settings, self.management.url.clone());
        let path = url.path_segments_mut();
        path.map_err(|()| Error::unusable("the management API's address is no base"))?
            .pop_if_empty()
            .extend(segments);
        Ok(url)
    }
}

/// An entry's id. It becomes the end of a path: what would be another path is none.
fn id(entry: &Value) -> Option<&str> {
    let id = entry.get("id")?.as_str()?;
    let dots = id.bytes().all(|byte| byte == b'.');
    (!dots).then_some(id)
}

fn not_a_list() -> Error {
    Error::unusable("the management API's answer is not a list")
}

/// A list, or an object with it in.
fn entries(answer: &Answer, member: &str) -> Result<Vec<Value>, Error> {
    let body = match &answer.body {
        Ok(body) => body,
        Err(error) => return Err(answer::not_now(error.to_string())),
    };
    let mut whole: Value = serde_json::from_slice(body).map_err(|_| not_a_list())?;
    let list = match whole.get_mut(member) {
        Some(list) => list.take(),
        None => whole,
    };
    match list {
        Value::Array(entries) => Ok(entries),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => {
            Err(not_a_list())
        }
    }
}

/// `{ statusCode, error, message }`: 401 and 403 mean that the gateway's client may not do this.
fn refusal(answer: &Answer) -> Error {
    let status = answer.status.as_u16();
    if status == 429 || answer.status.is_server_error() {
        return answer::unavailable(answer);
    }
    let words = ErrorCode::in_words(&answer::members(answer));
    let error = words.map_or_else(|| format!("status {status}"), |words| words.to_string());
    match status {
        401 | 403 => Error::Client { error },
        _ => Error::Refused { error },
    }
}
