//! Rows and debts as Redis keeps them. Numbers that a script compares are twenty digits long: those are in order as
//! text, and Lua's numbers would not hold them.

use redis::{FromRedisValue, Value};

use super::link::Fault;
use crate::clock::Timestamp;
use crate::session::store::{Debt, DebtId, Found, Index, Row};
use crate::token::SessionHash;

/// Redis takes no time beyond its own reckoning, and the score of a sorted set is a double: far enough.
const LATEST: u64 = 9_000_000_000_000_000;

/// A number that is compared.
pub(super) fn digits(number: u64) -> String {
    format!("{number:020}")
}

/// A time at which Redis is to do something, or by which it sorts.
pub(super) fn moment(at: Timestamp) -> u64 {
    at.as_millis().min(LATEST)
}

/// A score that was made of a time.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "scores are times up to LATEST, which a double holds"
)]
pub(super) fn time(score: f64) -> Timestamp {
    Timestamp::from_millis(score as u64)
}

pub(super) fn index(index: Option<&Index>) -> &[u8] {
    index.map_or(&[], |index| index.as_bytes())
}

/// What `load.lua` answered.
pub(super) fn found(answer: Value, owner: [u8; 8]) -> Result<Option<Found>, Fault> {
    let fields: Vec<Option<Vec<u8>>> = read(answer)?;
    if fields.first().is_none_or(Option::is_none) {
        return Ok(None);
    }
    let mut fields = fields.into_iter();
    let mut field = || fields.next().flatten();
    let row = Row {
        fence: number(field())?,
        generation: number(field())?,
        ended: number(field())? == 1,
        seen: Timestamp::from_millis(number(field())?),
        deadline: Timestamp::from_millis(number(field())?),
        expires: Timestamp::from_millis(number(field())?),
        subject: index_of(field())?,
        sid: index_of(field())?,
        sealed: field().ok_or(Fault::Answer)?,
    };
    let held = field().is_some_and(|holder| holder != owner);
    Ok(Some(Found { row, held }))
}

/// What `claim.lua` answered.
pub(super) fn debts(answer: Value, until: Timestamp) -> Result<Vec<Debt>, Fault> {
    let claimed: Vec<(Vec<u8>, Vec<u8>, Vec<u8>)> = read(answer)?;
    let debts = claimed.into_iter().map(|(id, expires, sealed)| {
        Ok(Debt {
            id: DebtId(id.try_into().map_err(|_| Fault::Answer)?),
            held_until: until,
            expires: Timestamp::from_millis(number(Some(expires))?),
            sealed,
        })
    });
    debts.collect()
}

/// One debt as its key has it; nothing where it was paid meanwhile.
pub(super) fn debt(
    answer: Value,
    id: DebtId,
    held_until: Timestamp,
) -> Result<Option<Debt>, Fault> {
    let (expires, sealed): (Option<Vec<u8>>, Option<Vec<u8>>) = read(answer)?;
    let Some(sealed) = sealed else {
        return Ok(None);
    };
    Ok(Some(Debt {
        id,
        held_until,
        expires: Timestamp::from_millis(number(expires)?),
        sealed,
    }))
}

/// Members of a sorted set.
pub(super) fn sessions(answer: Value) -> Result<Vec<SessionHash>, Fault> {
    let members: Vec<Vec<u8>> = read(answer)?;
    members.into_iter().map(session).collect()
}

pub(super) fn session(member: Vec<u8>) -> Result<SessionHash, Fault> {
    let bytes = member.try_into().map_err(|_| Fault::Answer)?;
    Ok(SessionHash::from_bytes(bytes))
}

/// Two indices: none is empty text.
pub(super) fn indices(answer: Value) -> Result<[Option<Index>; 2], Fault> {
    let (subject, sid): (Option<Vec<u8>>, Option<Vec<u8>>) = read(answer)?;
    Ok([index_of(subject)?, index_of(sid)?])
}

pub(super) fn read<T: FromRedisValue>(answer: Value) -> Result<T, Fault> {
    redis::from_redis_value(answer).map_err(|_| Fault::Answer)
}

fn index_of(bytes: Option<Vec<u8>>) -> Result<Option<Index>, Fault> {
    let bytes = bytes.filter(|bytes| !bytes.is_empty());
    let index = bytes.map(|bytes| bytes.try_into().map_err(|_| Fault::Answer));
    Ok(index.transpose()?.map(Index::from_bytes))
}

fn number(bytes: Option<Vec<u8>>) -> Result<u64, Fault> {
    let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
    let number = text.and_then(|text| text.parse().ok());
    number.ok_or(Fault::Answer)
}
