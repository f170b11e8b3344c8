//! All that a user has at a provider is ended there as durably as a token is revoked.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use super::house::*;
use crate::issuer::{self, Revocable};
use crate::session::provider::{Call, Endpoint};
use crate::session::{EndReason, Settings, Whose};
use crate::token::{Grant, RefreshToken};

/// A provider whose management API does as it is told.
#[derive(Debug, Default)]
struct Tenant {
    trouble: Mutex<Option<issuer::Error>>,
    tries: AtomicUsize,
    ended: Mutex<Vec<String>>,
}

impl Tenant {
    fn answers(&self, trouble: Option<issuer::Error>) {
        *self.trouble.lock().unwrap() = trouble;
    }

    fn tries(&self) -> usize {
        self.tries.load(Ordering::Relaxed)
    }

    fn ended(&self) -> Vec<String> {
        self.ended.lock().unwrap().clone()
    }
}

/// What sessions have of it.
#[derive(Debug)]
struct Desk(Arc<Tenant>);

impl Endpoint for Desk {
    fn refresh<'a>(&'a self, _: &'a RefreshToken) -> Call<'a, Grant> {
        Box::pin(async { Err(issuer::Error::unusable("not asked here")) })
    }

    fn revoke<'a>(&'a self, _: &'a Revocable) -> Call<'a, ()> {
        Box::pin(async { Ok(()) })
    }

    fn ends_users(&self) -> bool {
        true
    }

    fn end_user<'a>(&'a self, subject: &'a str) -> Call<'a, ()> {
        Box::pin(async move {
            self.0.tries.fetch_add(1, Ordering::Relaxed);
            if let Some(trouble) = self.0.trouble.lock().unwrap().clone() {
                return Err(trouble);
            }
            self.0.ended.lock().unwrap().push(subject.to_owned());
            Ok(())
        })
    }
}

fn manage(house: &mut House, tenant: &Arc<Tenant>) {
    let sessions = Arc::get_mut(&mut house.sessions).unwrap();
    for provider in sessions.idps.values_mut() {
        provider.endpoint = Arc::new(Desk(Arc::clone(tenant)));
    }
}

async fn managed(settings: Settings) -> (House, Arc<Tenant>) {
    let mut house = House::with(settings).await;
    let tenant = Arc::<Tenant>::default();
    manage(&mut house, &tenant);
    (house, tenant)
}

fn down() -> issuer::Error {
    issuer::Error::Unavailable {
        reason: "status 503".to_owned(),
        retry_after: None,
    }
}

fn scope_is_missing() -> issuer::Error {
    issuer::Error::Client {
        error: "Insufficient scope".to_owned(),
    }
}

/// All of somebody's sessions end, of which there may be none.
async fn end_all(house: &House, reason: EndReason) {
    let whose = Whose::User {
        idp: "main".into(),
        subject: "auth0|alice".into(),
    };
    let now = house.clock.now();
    house.sessions.end_all(whose, reason, now).await.unwrap();
}

async fn owe(house: &House) {
    end_all(house, EndReason::Administrator).await;
}

#[tokio::test]
async fn a_user_is_ended_there_and_counted() {
    let (house, tenant) = managed(settings()).await;
    owe(&house).await;
    assert_eq!(house.store.owed().await, 1, "durable before it is tried");
    house.pay().await;
    assert_eq!(tenant.ended(), ["auth0|alice"]);
    eventually_async(async || house.store.owed().await == 0).await;
    let counted =
        r#"tidegate_revocations_total{source="administrator",target="user",outcome="confirmed"} 1"#;
    let told = house.sessions.metrics.text();
    assert!(told.contains(counted), "{told}");
}

#[tokio::test]
async fn it_stays_owed_while_the_provider_is_down_or_refuses_the_gateway() {
    let (house, tenant) = managed(settings()).await;
    tenant.answers(Some(down()));
    owe(&house).await;
    for trouble in [down(), scope_is_missing()] {
        tenant.answers(Some(trouble));
        let before = tenant.tries();
        eventually_async(async || {
            house.clock.advance(SECOND);
            house.sessions.pay_debts();
            tenant.tries() > before + 1
        })
        .await;
        assert_eq!(house.store.owed().await, 1);
        assert!(tenant.ended().is_empty());
    }
    tenant.answers(None);
    eventually_async(async || {
        house.clock.advance(SECOND);
        house.sessions.pay_debts();
        house.sessions.debts.len() == 0
    })
    .await;
    assert_eq!(tenant.ended(), ["auth0|alice"]);
}

#[tokio::test]
async fn it_is_dropped_when_it_was_tried_for_long_enough() {
    let (house, tenant) = managed(settings()).await;
    tenant.answers(Some(down()));
    owe(&house).await;
    house.clock.advance(settings().revoke_retry_for);
    house.pay().await;
    eventually_async(async || house.store.owed().await == 0).await;
    assert!(tenant.ended().is_empty());
}

#[tokio::test]
async fn it_survives_a_kill() {
    let (_dir, path) = a_file();
    let mut house = House::on_disk(&path).await;
    let tenant = Arc::<Tenant>::default();
    manage(&mut house, &tenant);
    owe(&house).await;
    assert_eq!(tenant.tries(), 0, "killed before it was tried");

    let mut next = house.restarted(&killed(&path));
    manage(&mut next, &tenant);
    next.clock.advance(MINUTE);
    next.sessions.claim_debts().await.unwrap();
    next.pay().await;
    assert_eq!(tenant.ended(), ["auth0|alice"]);
}

#[tokio::test]
async fn only_who_means_all_of_a_user_ends_it_there() {
    for (reason, owed) in [
        (EndReason::Administrator, 1),
        (EndReason::SignedOut, 1),
        // A session of theirs goes on.
        (EndReason::Dismissed, 0),
        // The provider has said what is over.
        (EndReason::BackChannel, 0),
    ] {
        let (house, _tenant) = managed(settings()).await;
        end_all(&house, reason).await;
        assert_eq!(house.store.owed().await, owed, "{reason:?}");
    }
}

#[tokio::test]
async fn where_there_is_no_management_nothing_is_owed() {
    let house = House::new().await;
    owe(&house).await;
    assert_eq!(house.sessions.debts.len(), 0);
    assert_eq!(house.store.owed().await, 0);
}
