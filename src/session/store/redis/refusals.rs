//! Refused tokens in Redis: one sorted set of what is refused, by when that is over, read when a link comes up and
//! followed by pub/sub from then on.

use std::sync::Arc;

use redis::Cmd;

use super::link::{Fault, Up};
use super::names::Names;
use super::rows;
use crate::clock::{Clock, Timestamp};
use crate::session::OnStoreError;
use crate::verify::{Criterion, Refusal, Refused};

/// So many are read at a time.
const PAGE: usize = 10_000;

/// The register of this process, kept up with those of the others.
#[derive(Debug)]
pub(super) struct Refusals {
    refused: Arc<Refused>,
    on_error: OnStoreError,
    clock: Clock,
}

impl Refusals {
    /// Nothing is heard yet.
    pub(super) fn new(refused: Arc<Refused>, on_error: OnStoreError, clock: Clock) -> Self {
        refused.hears(false);
        Self {
            refused,
            on_error,
            clock,
        }
    }

    /// What the others refuse is heard from now on.
    pub(super) fn link_up(&self) {
        self.refused.hears(true);
    }

    /// It may go unheard from now on.
    pub(super) fn link_down(&self) {
        match self.on_error {
            OnStoreError::Deny => self.refused.hears(false),
            OnStoreError::ServeCached => {}
        }
    }

    /// Another process refuses this.
    pub(super) fn heard(&self, message: &[u8]) {
        let Some(refusal) = decode_message(message) else {
            return;
        };
        self.take(&[refusal]);
    }

    fn take(&self, refusals: &[Refusal]) {
        if let Err(error) = self.refused.add(refusals, self.clock.now()) {
            tracing::error!(%error, "a token that another node refuses is not refused here");
        }
    }

    /// Reads all that is refused.
    pub(super) async fn read(&self, up: &Up, names: &Names) -> Result<(), Fault> {
        let now = rows::moment(self.clock.now());
        let mut offset = 0;
        loop {
            let mut range = Cmd::new();
            range.arg("ZRANGEBYSCORE").arg(names.refusals());
            range.arg(now).arg("+inf").arg("WITHSCORES");
            range.arg("LIMIT").arg(offset).arg(PAGE);
            let page: Vec<(Vec<u8>, f64)> = rows::read(up.ask(&range).await?)?;
            let refusals: Vec<_> = page.iter().filter_map(decode).collect();
            self.take(&refusals);
            if page.len() < PAGE {
                return Ok(());
            }
            offset += PAGE;
        }
    }
}

/// What and issued by when; that it is over is the member's score.
pub(super) fn encode(refusal: &Refusal) -> Vec<u8> {
    let issued_by = refusal.issued_by.as_millis().to_be_bytes();
    [&refusal.criterion.as_bytes()[..], &issued_by].concat()
}

/// What is published: the member and its score.
pub(super) fn encode_message(refusal: &Refusal) -> Vec<u8> {
    let until = refusal.until.as_millis().to_be_bytes();
    [encode(refusal), until.to_vec()].concat()
}

fn decode_message(message: &[u8]) -> Option<Refusal> {
    let (member, until) = message.split_at_checked(40)?;
    let until = u64::from_be_bytes(until.try_into().ok()?);
    read(member, Timestamp::from_millis(until))
}

fn decode((member, score): &(Vec<u8>, f64)) -> Option<Refusal> {
    read(member, rows::time(*score))
}

fn read(member: &[u8], until: Timestamp) -> Option<Refusal> {
    let (criterion, issued_by) = member.split_first_chunk()?;
    let issued_by = u64::from_be_bytes(issued_by.try_into().ok()?);
    Some(Refusal {
        criterion: Criterion::from_bytes(*criterion),
        issued_by: Timestamp::from_millis(issued_by),
        until,
    })
}
