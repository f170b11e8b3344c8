//! POST `/revoke`: an API client gives a token back (RFC 7009). An access token that is good here is refused from then on,
//! on every node, before the answer; and the provider is told.
//!
//! The gateway's own client is known by its secret; what it brings is refused first, and the provider is told now or, where
//! it is down, later. Any other client is the provider's to judge, with its own credentials, which are kept nowhere: where
//! the provider can't be asked, its token is refused here all the same and it is told to come again (section 2.2.1).

use std::sync::Arc;

use http::header::USER_AGENT;
use http::{HeaderMap, Request, Response};
use serde_json::Value;

use super::Endpoints;
use super::api_client::{self, Unknown};
use super::ask::{FORM, media_type, whole};
use super::parameters::Parameters;
use crate::inbound::Inbound;
use crate::issuer::{self, Issuer, OtherClient, Revocable, RevocationFormat, TokenKind};
use crate::peer::Peer;
use crate::session::{Revocation, Unrevoked};
use crate::telemetry::audit::{Caller, Event};
use crate::telemetry::metrics::{RevocationOutcome, RevocationSource, RevocationTarget};
use crate::token::{AccessToken, RefreshToken, Secret};
use crate::verify::{self, Verified};

mod denied;

use denied::Denied;

/// The claims in which providers name the client that a token was issued to: OpenID Connect's (Keycloak, Auth0, Entra), RFC
/// 9068's, Okta's, and that of older Entra tokens.
const ISSUED_TO: [&str; 4] = ["azp", "client_id", "cid", "appid"];

/// What a client asks for.
struct Wish<'a> {
    client: OtherClient,
    token: Secret,
    hint: Option<&'static str>,
    /// The provider that it names, where it could be any.
    idp: Option<String>,
    caller: Caller<'a>,
}

impl Endpoints {
    pub(super) async fn revoke(&self, peer: &Peer, request: Request<Inbound>) -> Response<String> {
        let (head, body) = request.into_parts();
        let agent = head.headers.get(USER_AGENT);
        let caller = Caller {
            address: peer.addr.ip(),
            user_agent: agent.and_then(|a| a.to_str().ok()).unwrap_or_default(),
        };
        let done = async {
            let body = self.parameters(media_type(&head.headers), body).await?;
            let wish = wish(&head.headers, &body, caller)?;
            let idp = self.provider_of(&wish)?;
            // Boxed: it holds what calls to the provider need, and nearly all requests are of another kind.
            let done = Box::pin(self.fulfil(idp, &wish)).await;
            done.inspect_err(|denied| self.note_denied(idp, &wish, *denied))
        };
        match done.await {
            Ok(()) => Response::new(String::new()),
            Err(denied) => denied.answer(),
        }
    }

    /// A form, or where one of the providers is asked in JSON, that.
    async fn parameters(&self, kind: &str, body: Inbound) -> Result<Parameters, Denied> {
        let mut formats = self.idps.iter().map(|idp| idp.settings().revocation);
        let json = kind.eq_ignore_ascii_case("application/json")
            && formats.any(|format| format == RevocationFormat::Json);
        if !json && !kind.eq_ignore_ascii_case(FORM) {
            return Err(Denied::InvalidRequest("Only a form can be sent here."));
        }
        let body = whole(body).await.map_err(|why| Denied::unreadable(&why))?;
        let read = if json {
            Parameters::of_json(&body)
        } else {
            Parameters::parse(&body)
        };
        read.map_err(|why| Denied::unreadable(&why))
    }

    /// Whose token it is: of who issued it, where it says so; else of the provider that the client names, or is known at.
    fn provider_of(&self, wish: &Wish<'_>) -> Result<&Arc<Issuer>, Denied> {
        if let Some(idp) = self.verifier.claimed_provider(wish.token.expose()) {
            return Ok(idp);
        }
        if let Some(name) = &wish.idp {
            let named = self.idp(name);
            return named.ok_or(Denied::InvalidRequest("There is no such idp."));
        }
        let own = |idp: &&Arc<Issuer>| *idp.settings().client_id == *wish.client.id;
        only(self.idps.iter().filter(own))
            .or_else(|| only(self.idps.iter()))
            .ok_or(Denied::InvalidRequest(
                "There are several identity providers: name one in the parameter idp.",
            ))
    }

    async fn fulfil(&self, idp: &Arc<Issuer>, wish: &Wish<'_>) -> Result<(), Denied> {
        let own = *idp.settings().client_id == *wish.client.id;
        if own && !api_client::proves_to_be_own(&wish.client, idp.settings()) {
            return Err(Denied::InvalidClient);
        }
        let access = AccessToken::new(wish.token.expose());
        let known = match self.verifier.examine(&access).await {
            Ok(verified) => Some(Known { access, verified }),
            Err(verify::Error::Invalid(_) | verify::Error::Revoked) => None,
            Err(verify::Error::KeysUnavailable(_) | verify::Error::RevocationsUnknown) => {
                return Err(Denied::LATER);
            }
        };
        if own {
            self.revoke_own(idp, wish, known.as_ref()).await
        } else {
            self.revoke_other(idp, wish, known.as_ref()).await
        }
    }

    /// Refused here first: nothing that happens at the provider matters for that.
    async fn revoke_own(
        &self,
        idp: &Arc<Issuer>,
        wish: &Wish<'_>,
        known: Option<&Known>,
    ) -> Result<(), Denied> {
        if let Some(known) = known {
            known.check_owner(&wish.client)?;
            self.refuse(wish, known).await?;
        }
        let (token, expires) = match known {
            Some(known) => {
                let token = Revocable::Access(known.access.clone());
                (token, Some(known.verified.expires))
            }
            None => (wish.unknown_token(idp), None),
        };
        let name = &idp.settings().name;
        let said = self.sessions.revoke_for_client(name, token, expires).await;
        match (said, known) {
            (Err(Unrevoked::TooMuchOwed), _) => Err(Denied::LATER),
            // It is refused here, whatever they say.
            (_, Some(_)) => Ok(()),
            (Err(Unrevoked::Refused), None) => Err(Denied::REFUSED_THERE),
            (Ok(Revocation::NotOffered), None) => Err(Denied::UnsupportedTokenType),
            (Ok(Revocation::Confirmed | Revocation::Owed | Revocation::NothingToDo), None) => {
                self.note(name, wish, None);
                Ok(())
            }
        }
    }

    /// The provider first: it knows whether the client is who it says. Where that could not be had from it, who holds a
    /// token that names this very client may end it here.
    async fn revoke_other(
        &self,
        idp: &Arc<Issuer>,
        wish: &Wish<'_>,
        known: Option<&Known>,
    ) -> Result<(), Denied> {
        let kind = match (known, wish.hint) {
            (Some(_), _) => TokenKind::Access,
            (None, Some(hint)) => TokenKind::Hinted(hint),
            (None, None) => TokenKind::Unknown,
        };
        let said = idp.revoke_as(&wish.client, &wish.token, kind).await;
        self.count(known, &said);
        match said {
            Ok(()) => {
                let Some(known) = known else {
                    self.note(&idp.settings().name, wish, None);
                    return Ok(());
                };
                known.check_owner(&wish.client)?;
                self.refuse(wish, known).await
            }
            Err(issuer::Error::Client { .. }) => Err(Denied::InvalidClient),
            Err(issuer::Error::Refused { .. }) => Err(Denied::REFUSED_THERE),
            Err(issuer::Error::NotOffered(_)) => {
                let known = known.filter(|known| known.names(&wish.client));
                let known = known.ok_or(Denied::UnsupportedTokenType)?;
                self.refuse(wish, known).await
            }
            Err(error) => {
                // It is counted. Whoever likes can bring it about while the provider is down: no line at a higher level.
                tracing::debug!(idp = %idp.settings().name,
                    error = &error as &dyn std::error::Error, "a client's revocation can't be passed on now");
                if let Some(known) = known.filter(|known| known.names(&wish.client)) {
                    self.refuse(wish, known).await?;
                }
                Err(Denied::later(&error))
            }
        }
    }

    async fn refuse(&self, wish: &Wish<'_>, known: &Known) -> Result<(), Denied> {
        let refused = self.sessions.refuse_token(&known.access, &known.verified);
        // It has been said, and is retried; yet other nodes may not have heard of it.
        refused.await.map_err(|_| Denied::LATER)?;
        tracing::info!(idp = %known.verified.idp, client = %wish.client.id, "an access token was revoked");
        self.note(&known.verified.idp, wish, Some(&known.verified));
        Ok(())
    }

    /// What is no access token here is taken for a refresh token.
    fn note(&self, idp: &str, wish: &Wish<'_>, verified: Option<&Verified>) {
        self.audit.note(&Event::TokenRevoked {
            idp,
            client: &wish.client.id,
            kind: target(verified.is_some()),
            user: verified.map(|verified| &*verified.subject),
            caller: wish.caller,
        });
    }

    fn note_denied(&self, idp: &Issuer, wish: &Wish<'_>, denied: Denied) {
        let why = match denied {
            Denied::InvalidClient => "invalid_client",
            Denied::NOT_ITS_OWN => "token_of_another_client",
            Denied::REFUSED_THERE => "refused_by_provider",
            Denied::InvalidRequest(_)
            | Denied::TooLarge
            | Denied::UnsupportedTokenType
            | Denied::Unavailable(_) => return,
        };
        self.audit.note(&Event::TokenRevocationRefused {
            idp: &idp.settings().name,
            client: &wish.client.id,
            why,
            caller: wish.caller,
        });
    }

    fn count(&self, known: Option<&Known>, said: &Result<(), issuer::Error>) {
        let outcome = match said {
            Ok(()) => RevocationOutcome::Confirmed,
            Err(issuer::Error::NotOffered(_)) => RevocationOutcome::NotOffered,
            Err(_) => RevocationOutcome::Failed,
        };
        let target = target(known.is_some());
        let counted = (RevocationSource::Client, target, outcome);
        self.metrics.revocations.count(counted);
    }
}

fn target(is_access: bool) -> RevocationTarget {
    if is_access {
        RevocationTarget::AccessToken
    } else {
        RevocationTarget::RefreshToken
    }
}

/// An access token that is good here, or was until it was revoked.
struct Known {
    access: AccessToken,
    verified: Verified,
}

impl Known {
    /// The client that it was issued to, where it says so.
    fn issued_to(&self) -> Option<&str> {
        let mut claims = ISSUED_TO.iter().map(|name| self.verified.claims.get(*name));
        claims.find_map(|claim| claim.and_then(Value::as_str))
    }

    fn names(&self, client: &OtherClient) -> bool {
        self.issued_to() == Some(&client.id)
    }

    /// Section 2.1: nobody revokes another's. Answered as Keycloak does.
    fn check_owner(&self, client: &OtherClient) -> Result<(), Denied> {
        if self.issued_to().is_some() && !self.names(client) {
            return Err(Denied::NOT_ITS_OWN);
        }
        Ok(())
    }
}

impl Wish<'_> {
    /// As it is owed to the provider. The hint is wrong at worst, and where only refresh tokens can be revoked, it is none.
    fn unknown_token(&self, idp: &Issuer) -> Revocable {
        let form = idp.settings().revocation == RevocationFormat::Form;
        match self.hint {
            Some("access_token") if form => {
                Revocable::Access(AccessToken::new(self.token.expose()))
            }
            Some(_) | None => Revocable::Refresh(RefreshToken::new(self.token.expose())),
        }
    }
}

fn wish<'a>(
    headers: &HeaderMap,
    body: &Parameters,
    caller: Caller<'a>,
) -> Result<Wish<'a>, Denied> {
    const HINTS: [&str; 2] = ["access_token", "refresh_token"];
    let client = api_client::read(headers, body).map_err(|unknown| match unknown {
        Unknown::Malformed(why) => Denied::InvalidRequest(why),
        Unknown::Nobody => Denied::InvalidClient,
    })?;
    let token = body.value("token");
    let token = token.ok_or(Denied::InvalidRequest("The parameter token is missing."))?;
    let hint = body.value("token_type_hint");
    Ok(Wish {
        client,
        token: Secret::new(token),
        hint: HINTS.into_iter().find(|known| Some(*known) == hint),
        idp: body.value("idp").map(str::to_owned),
        caller,
    })
}

fn only<T>(mut all: impl Iterator<Item = T>) -> Option<T> {
    let one = all.next()?;
    all.next().is_none().then_some(one)
}
