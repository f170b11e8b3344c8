//! Whether sessions can be served, where the store is well, fails or hangs.

use std::future::{pending, ready};
use std::sync::Arc;

use super::house::{House, SECOND, settings};
use crate::clock::Timestamp;
use crate::session::StoreError;
use crate::session::store::{Answer, Census, Change, Debt, Due, Found, Index, Store, Written};
use crate::token::SessionHash;

/// A store that is of no use.
#[derive(Clone, Copy, Debug)]
enum Sick {
    Fails,
    Hangs,
}

impl Sick {
    fn answer<T: Send + 'static>(self) -> Answer<T> {
        let what = "gone, says the test";
        match self {
            Self::Fails => Box::pin(ready(Err(StoreError { what, source: None }))),
            Self::Hangs => Box::pin(pending()),
        }
    }
}

impl Store for Sick {
    fn load(&self, _: SessionHash) -> Answer<Option<Found>> {
        self.answer()
    }

    fn write(&self, _: Change) -> Answer<Written> {
        self.answer()
    }

    fn due(&self, _: Timestamp, _: usize) -> Answer<Vec<Due>> {
        self.answer()
    }

    fn find(&self, _: Index) -> Answer<Vec<SessionHash>> {
        self.answer()
    }

    fn list(&self, _: SessionHash, _: usize) -> Answer<Vec<SessionHash>> {
        self.answer()
    }

    fn debts(&self, _: usize) -> Answer<Vec<Debt>> {
        self.answer()
    }

    fn claim_debts(&self, _: Timestamp, _: Timestamp, _: usize) -> Answer<Vec<Debt>> {
        self.answer()
    }

    fn census(&self) -> Answer<Census> {
        self.answer()
    }
}

#[tokio::test]
async fn ready_is_who_has_a_store_that_answers_in_time() {
    let well = House::new().await;
    well.sessions.ready().await.unwrap();
    let said = async |store: Sick| {
        let house = House::over(settings(), Arc::new(store)).await;
        let answer = tokio::time::timeout(5 * SECOND, house.sessions.ready()).await;
        answer.unwrap().unwrap_err().to_string()
    };
    assert_eq!(said(Sick::Fails).await, "gone, says the test");
    let late = "the session store does not answer in time";
    assert_eq!(said(Sick::Hangs).await, late);
}
