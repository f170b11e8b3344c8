//! What clients give back is told to the provider, or owed once, and never more than memory can hold.

use std::sync::{Arc, Mutex};

use super::house::*;
use crate::issuer::{self, Revocable};
use crate::session::client::MOST_OWED;
use crate::session::provider::{Call, Endpoint};
use crate::session::revoke::Owed;
use crate::session::{Revocation, Unrevoked};
use crate::telemetry::metrics::RevocationSource;
use crate::token::{Grant, RefreshToken};

/// A provider that answers revocations as it is told.
#[derive(Debug, Default)]
struct Desk {
    trouble: Mutex<Option<issuer::Error>>,
    revoked: Mutex<Vec<String>>,
}

impl Desk {
    fn answers(&self, trouble: Option<issuer::Error>) {
        *self.trouble.lock().unwrap() = trouble;
    }

    fn revoked(&self) -> Vec<String> {
        self.revoked.lock().unwrap().clone()
    }
}

impl Endpoint for Arc<Desk> {
    fn refresh<'a>(&'a self, _: &'a RefreshToken) -> Call<'a, Grant> {
        Box::pin(async { Err(issuer::Error::unusable("not asked here")) })
    }

    fn revoke<'a>(&'a self, token: &'a Revocable) -> Call<'a, ()> {
        Box::pin(async move {
            if let Some(trouble) = self.trouble.lock().unwrap().clone() {
                return Err(trouble);
            }
            let text = match token {
                Revocable::Refresh(token) => token.expose(),
                Revocable::Access(token) => token.expose(),
            };
            self.revoked.lock().unwrap().push(text.to_owned());
            Ok(())
        })
    }

    fn ends_users(&self) -> bool {
        false
    }

    fn end_user<'a>(&'a self, _: &'a str) -> Call<'a, ()> {
        Box::pin(async { Err(issuer::Error::unusable("not asked here")) })
    }
}

async fn at_desk() -> (House, Arc<Desk>) {
    let mut house = House::new().await;
    let desk = Arc::<Desk>::default();
    let sessions = Arc::get_mut(&mut house.sessions).unwrap();
    for provider in sessions.idps.values_mut() {
        provider.endpoint = Arc::new(Arc::clone(&desk));
    }
    (house, desk)
}

fn token(text: &str) -> Revocable {
    Revocable::Refresh(RefreshToken::new(text))
}

async fn revoke(house: &House, text: &str) -> Result<Revocation, Unrevoked> {
    let idp = Arc::from("main");
    let sessions = &house.sessions;
    sessions.revoke_for_client(&idp, token(text), None).await
}

fn down() -> issuer::Error {
    issuer::Error::Unavailable {
        reason: "status 503".to_owned(),
        retry_after: None,
    }
}

#[tokio::test]
async fn what_the_provider_confirms_or_refuses_is_not_owed() {
    let (house, desk) = at_desk().await;
    assert_eq!(revoke(&house, "one").await, Ok(Revocation::Confirmed));
    assert_eq!(desk.revoked(), ["one"]);
    let error = "invalid_request".to_owned();
    desk.answers(Some(issuer::Error::Refused { error }));
    assert_eq!(revoke(&house, "two").await, Err(Unrevoked::Refused));
    desk.answers(Some(issuer::Error::NotOffered("revocation")));
    assert_eq!(revoke(&house, "two").await, Ok(Revocation::NotOffered));
    assert_eq!(house.store.owed().await, 0);
    let told = house.sessions.metrics.text();
    for outcome in ["confirmed", "failed", "not_offered"] {
        let counted = format!(
            "tidegate_revocations_total{{source=\"client\",target=\"refresh_token\",outcome=\"{outcome}\"}} 1"
        );
        assert!(told.contains(&counted), "{told}");
    }
}

#[tokio::test]
async fn what_can_not_be_told_now_is_owed_once_and_durably_and_paid_later() {
    let (house, desk) = at_desk().await;
    desk.answers(Some(down()));
    for text in ["one", "two", "one", "one"] {
        assert_eq!(revoke(&house, text).await, Ok(Revocation::Owed));
    }
    assert_eq!(house.store.owed().await, 2);
    desk.answers(None);
    eventually_async(async || {
        house.clock.advance(SECOND);
        house.sessions.pay_debts();
        house.store.owed().await == 0
    })
    .await;
    let mut revoked = desk.revoked();
    revoked.sort();
    assert_eq!(revoked, ["one", "two"]);
}

#[tokio::test]
async fn a_provider_that_is_down_does_not_fill_the_memory() {
    let (house, desk) = at_desk().await;
    let idp = Arc::from("main");
    let term = house.sessions.term(RevocationSource::Client);
    let owed = (0..MOST_OWED).map(|n| Owed::once(&idp, token(&n.to_string()), None, &term));
    house.sessions.debts.take_up(owed);
    desk.answers(Some(down()));
    assert_eq!(revoke(&house, "more").await, Err(Unrevoked::TooMuchOwed));
    assert_eq!(house.sessions.debts.len(), MOST_OWED);
    desk.answers(None);
    assert_eq!(revoke(&house, "more").await, Ok(Revocation::Confirmed));
}
