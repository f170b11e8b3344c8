//! Refused tokens in Redis: one sorted set of what is refused, by when that is over, read when a link comes up and
//! followed by pub/sub from then on.

use std::collections::HashMap;
use std::sync::Arc;

use redis::Cmd;

use super::link::{Fault, Up};
use super::names::Names;
use super::scripts::{Call, REFUSE};
use super::{Owner, rows};
use crate::clock::{Clock, Timestamp};
use crate::session::OnStoreError;
use crate::verify::{Criterion, Refusal, Refused};

/// So many are read at a time, about.
const PAGE: usize = 5_000;
/// So many are written at a time: Redis does nothing else meanwhile.
const TOGETHER: usize = 500;

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

    /// Reads all that is refused, and writes what Redis has lost of it: as long as one process that knows of it runs,
    /// nothing is accepted again.
    pub(super) async fn read(&self, up: &Up, names: &Names, owner: Owner) -> Result<(), Fault> {
        let known = self.refused.all(self.clock.now());
        let there = self.read_all(up, names).await?;
        let lacks = |known: &Refusal| {
            there
                .get(&known.criterion)
                .is_none_or(|(issued_by, until)| {
                    *issued_by < known.issued_by || rows::moment(*until) < rows::moment(known.until)
                })
        };
        let lost: Vec<_> = known.into_iter().filter(lacks).collect();
        for call in calls(names, owner, "", &lost, self.clock.now()) {
            up.run(&call).await?;
        }
        Ok(())
    }

    /// A scan, since it misses nothing that is there throughout, whatever comes and goes meanwhile.
    async fn read_all(&self, up: &Up, names: &Names) -> Result<There, Fault> {
        let (mut there, mut cursor) = (There::new(), 0_u64);
        loop {
            let mut scan = Cmd::new();
            scan.arg("ZSCAN").arg(names.refusals()).arg(cursor);
            scan.arg("COUNT").arg(PAGE);
            let (next, page): (u64, Vec<(Vec<u8>, f64)>) = rows::read(up.ask(&scan).await?)?;
            let refusals: Vec<_> = page.iter().filter_map(decode).collect();
            for refusal in &refusals {
                let (issued_by, until) = there.entry(refusal.criterion).or_default();
                *issued_by = refusal.issued_by.max(*issued_by);
                *until = refusal.until.max(*until);
            }
            self.take(&refusals);
            if next == 0 {
                return Ok(there);
            }
            cursor = next;
        }
    }
}

/// What Redis has: issued by when, and until when.
type There = HashMap<Criterion, (Timestamp, Timestamp)>;

/// Writes refusals, and tells of them on a channel; on none where it is empty.
pub(super) fn calls(
    names: &Names,
    owner: Owner,
    channel: &str,
    refusals: &[Refusal],
    now: Timestamp,
) -> impl Iterator<Item = Call> {
    refusals.chunks(TOGETHER).map(move |refusals| {
        let call = REFUSE.call().key(names.refusals());
        let call = call.arg(&owner.0).arg(channel).arg(rows::moment(now));
        refusals.iter().fold(call, |call, refusal| {
            call.arg(encode(refusal))
                .arg(rows::moment(refusal.until))
                .arg(encode_message(refusal))
        })
    })
}

/// What and issued by when; that it is over is the member's score.
fn encode(refusal: &Refusal) -> Vec<u8> {
    let issued_by = refusal.issued_by.as_millis().to_be_bytes();
    [&refusal.criterion.as_bytes()[..], &issued_by].concat()
}

/// What is published: the member and its score.
fn encode_message(refusal: &Refusal) -> Vec<u8> {
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
