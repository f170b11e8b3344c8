//! What every store must do, held against a model: a further store joins by a test of its own.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may fail by panicking"
)]

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use tokio::runtime::Runtime;

use super::disk::Disk;
use super::memory::Memory;
use super::redis::tests::running::{RedisCluster, RedisSentinels, RedisServer};
use super::*;
use crate::clock::Clock;
use crate::verify::Refused;

/// A store that is empty.
struct Subject {
    name: &'static str,
    store: Arc<dyn Store>,
    tombstones: Tombstones,
    /// What must live as long as it.
    _dir: Option<tempfile::TempDir>,
}

/// Who forgets them when their time has come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tombstones {
    /// The sweep, which is told of them.
    AreDue,
    /// The store by itself.
    Expire,
}

fn memory() -> Subject {
    Subject {
        name: "memory",
        store: Arc::new(Memory::default()),
        tombstones: Tombstones::AreDue,
        _dir: None,
    }
}

fn disk(runtime: &Runtime) -> Subject {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sessions.redb");
    let disk = Disk::open(
        &path,
        runtime.handle().clone(),
        &Clock::System,
        &Refused::default(),
    )
    .unwrap();
    Subject {
        name: "disk",
        store: Arc::new(disk),
        tombstones: Tombstones::AreDue,
        _dir: Some(dir),
    }
}

pub(in crate::session) fn id(n: u8) -> SessionHash {
    SessionHash::from_bytes([n; 32])
}

/// Times of tests are counted from here, far ahead: a store that forgets by itself must not do so in the midst of them.
const BEGINNING: Timestamp = Timestamp::from_secs(4_000_000_000);

pub(in crate::session) fn at(millis: u64) -> Timestamp {
    BEGINNING + Duration::from_millis(millis)
}

pub(in crate::session) fn row(fence: u64, deadline: u64) -> Row {
    Row {
        fence,
        generation: 0,
        ended: false,
        seen: at(1),
        deadline: at(deadline),
        expires: at(deadline),
        subject: Some(Index::subject("main", "alice")),
        sid: None,
        sealed: b"sealed".to_vec(),
    }
}

/// The plainest store there can be: all rules written out once more, all look-ups by looking at everything.
#[derive(Default)]
struct Model {
    rows: BTreeMap<SessionHash, Row>,
    debts: BTreeMap<DebtId, Debt>,
}

impl Model {
    fn apply(&mut self, change: Change) -> Written {
        let allowed = match &change {
            Change::Mark(id, row) => self
                .alive(id)
                .is_some_and(|old| row.fence > old.fence && row.generation >= old.generation),
            Change::Renew(id, fence) => self.alive(id).is_some_and(|old| old.fence == *fence),
            Change::Save(id, row) => self.alive(id).is_some_and(|old| {
                row.fence > old.fence || row.fence == old.fence && row.generation >= old.generation
            }),
            Change::Touch { id, seen, .. } => self.alive(id).is_some_and(|old| *seen >= old.seen),
            Change::End { id, tombstone, .. } => self
                .alive(id)
                .is_some_and(|old| tombstone.generation >= old.generation),
            Change::Create(..)
            | Change::Forget(_)
            | Change::Owe(_)
            | Change::Hold(..)
            | Change::Paid(_)
            | Change::Refuse { .. } => true,
        };
        if let Change::End { owed, .. } | Change::Owe(owed) = &change {
            self.debts.extend(owed.iter().map(|d| (d.id, d.clone())));
        }
        if !allowed {
            return Written::Refused;
        }
        match change {
            Change::Create(id, row) | Change::Mark(id, row) | Change::Save(id, row) => {
                self.rows.insert(id, row);
            }
            Change::End { id, tombstone, .. } => {
                self.rows.insert(id, tombstone);
            }
            Change::Touch { id, seen, deadline } => {
                let row = self.rows.get_mut(&id).unwrap();
                (row.seen, row.deadline) = (seen, deadline);
            }
            Change::Forget(ids) => self.rows.retain(|id, _| !ids.contains(id)),
            Change::Paid(ids) => self.debts.retain(|id, _| !ids.contains(id)),
            Change::Hold(ids, until) => {
                let held = self.debts.values_mut().filter(|d| ids.contains(&d.id));
                held.for_each(|debt| debt.held_until = until);
            }
            Change::Owe(_) | Change::Renew(..) | Change::Refuse { .. } => {}
        }
        Written::Done
    }

    fn alive(&self, id: &SessionHash) -> Option<&Row> {
        self.rows.get(id).filter(|row| !row.ended)
    }

    fn due(&self, now: Timestamp, tombstones: Tombstones) -> Vec<Due> {
        let named = |row: &Row| !row.ended || tombstones == Tombstones::AreDue;
        let past = self.rows.iter();
        let past = past.filter(|(_, row)| row.deadline <= now && named(row));
        let due = past.map(|(&id, row)| {
            let ended = row.ended;
            (row.deadline, Due { id, ended })
        });
        let mut due: Vec<_> = due.collect();
        due.sort_by_key(|(at, due)| (*at, due.id));
        due.into_iter().map(|(_, due)| due).collect()
    }

    fn claim(&mut self, now: Timestamp, until: Timestamp) -> Vec<Debt> {
        let free = self.debts.values_mut().filter(|d| d.held_until <= now);
        let claimed = free.map(|debt| {
            debt.held_until = until;
            debt.clone()
        });
        claimed.collect()
    }

    fn census(&self) -> Census {
        Census {
            alive: self.rows.values().filter(|row| !row.ended).count() as u64,
            owed: self.debts.len() as u64,
        }
    }

    fn list(&self, from: SessionHash) -> Vec<SessionHash> {
        let alive = self.rows.range(from..).filter(|(_, row)| !row.ended);
        alive.map(|(id, _)| *id).collect()
    }

    fn debts(&self) -> Vec<Debt> {
        let mut debts: Vec<_> = self.debts.values().cloned().collect();
        debts.sort_by_key(|debt| (debt.held_until, debt.id));
        debts
    }

    fn find(&self, index: Index) -> Vec<SessionHash> {
        let found = self
            .rows
            .iter()
            .filter(|(_, row)| row.subject == Some(index) || row.sid == Some(index));
        found.map(|(id, _)| *id).collect()
    }
}

const SESSIONS: u8 = 4;
const TIMES: u64 = 40;

fn any_id() -> impl Strategy<Value = SessionHash> {
    (0..SESSIONS).prop_map(id)
}

fn any_time() -> impl Strategy<Value = Timestamp> {
    (0..TIMES).prop_map(at)
}

fn any_user() -> impl Strategy<Value = Option<Index>> {
    proptest::option::of((0..3_u8).prop_map(|n| Index::subject("main", &n.to_string())))
}

fn any_sid() -> impl Strategy<Value = Option<Index>> {
    proptest::option::of((0..3_u8).prop_map(|n| Index::sid("main", &n.to_string())))
}

fn any_row(ended: bool) -> impl Strategy<Value = Row> {
    let times = (any_time(), any_time());
    (
        (0..5_u64, 0..3_u64),
        times,
        any_user(),
        any_sid(),
        vec(any::<u8>(), 0..9),
    )
        .prop_map(
            move |(numbers, (seen, deadline), subject, sid, sealed)| Row {
                fence: numbers.0,
                generation: numbers.1,
                ended,
                seen,
                deadline,
                expires: deadline + Duration::from_secs(1),
                subject,
                sid,
                sealed,
            },
        )
}

fn any_debts() -> impl Strategy<Value = Vec<Debt>> {
    let debt = (0..6_u8, any_time(), vec(any::<u8>(), 0..9)).prop_map(|(n, held_until, sealed)| {
        let (id, expires) = (DebtId([n; 16]), at(1000 * TIMES));
        Debt {
            id,
            held_until,
            expires,
            sealed,
        }
    });
    vec(debt, 0..3)
}

fn any_change() -> impl Strategy<Value = Change> {
    let alive = || any_row(false);
    prop_oneof![
        (any_id(), alive()).prop_map(|(id, row)| Change::Create(id, row)),
        (any_id(), alive()).prop_map(|(id, row)| Change::Mark(id, row)),
        (any_id(), alive()).prop_map(|(id, row)| Change::Save(id, row)),
        (any_id(), any_time(), any_time()).prop_map(|(id, seen, deadline)| Change::Touch {
            id,
            seen,
            deadline
        }),
        (any_id(), any_row(true), any_debts()).prop_map(|(id, tombstone, owed)| Change::End {
            id,
            tombstone,
            owed
        }),
        vec(any_id(), 0..3).prop_map(Change::Forget),
        (any_id(), 0..5_u64).prop_map(|(id, fence)| Change::Renew(id, fence)),
        any_debts().prop_map(Change::Owe),
        (
            vec((0..6_u8).prop_map(|n| DebtId([n; 16])), 0..3),
            any_time()
        )
            .prop_map(|(ids, until)| Change::Hold(ids, until)),
        vec((0..6_u8).prop_map(|n| DebtId([n; 16])), 0..3).prop_map(Change::Paid),
    ]
}

#[test]
fn memory_and_disk_do_what_the_model_does() {
    let runtime = Runtime::new().unwrap();
    try_all(48, &runtime, || vec![memory(), disk(&runtime)]);
}

#[test]
#[ignore = "needs redis-server"]
fn redis_does_what_the_model_does() {
    let runtime = Runtime::new().unwrap();
    let server = RedisServer::with(&[]);
    let store = redis::tests::open(&server, 1, runtime.handle());
    try_redis(96, &runtime, store, &[&server]);
}

#[test]
#[ignore = "needs redis-server"]
fn a_redis_cluster_does_what_the_model_does() {
    let runtime = Runtime::new().unwrap();
    let cluster = RedisCluster::start();
    let store = redis::tests::open_cluster(&cluster, runtime.handle());
    let servers: Vec<_> = cluster.nodes.iter().collect();
    try_redis(48, &runtime, store, &servers);
}

#[test]
#[ignore = "needs redis-server"]
fn redis_with_sentinels_does_what_the_model_does() {
    let runtime = Runtime::new().unwrap();
    let all = RedisSentinels::start();
    let store = redis::tests::open_sentinels(&all, runtime.handle());
    try_redis(24, &runtime, store, &[&all.servers[0]]);
}

fn try_redis(cases: u32, runtime: &Runtime, store: impl Store + 'static, servers: &[&RedisServer]) {
    let store: Arc<dyn Store> = Arc::new(store);
    try_all(cases, runtime, || {
        for server in servers {
            server.ask(&["FLUSHALL"]);
        }
        vec![Subject {
            name: "redis",
            store: Arc::clone(&store),
            tombstones: Tombstones::Expire,
            _dir: None,
        }]
    });
}

fn try_all(cases: u32, runtime: &Runtime, subjects: impl Fn() -> Vec<Subject>) {
    let config = Config {
        failure_persistence: None,
        ..Config::with_cases(cases)
    };
    let mut runner = TestRunner::new(config);
    let batches = vec((vec(any_change(), 1..12), any_time()), 1..6);
    let result = runner.run(&batches, |batches| {
        for subject in subjects() {
            runtime.block_on(follow(&subject, &batches))?;
        }
        Ok(())
    });
    result.unwrap();
}

/// Changes of one batch are asked for together, as sessions do; the store must keep their order.
async fn follow(
    subject: &Subject,
    batches: &[(Vec<Change>, Timestamp)],
) -> Result<(), TestCaseError> {
    let (name, store) = (subject.name, &*subject.store);
    let mut model = Model::default();
    for (changes, now) in batches {
        let asked: Vec<_> = changes.iter().map(|c| store.write(c.clone())).collect();
        for (answer, change) in asked.into_iter().zip(changes) {
            let (said, meant) = (answer.await.unwrap(), model.apply(change.clone()));
            prop_assert_eq!(said, meant, "{}: {:?}", name, change);
        }
        for n in 0..SESSIONS {
            let found = store.load(id(n)).await.unwrap();
            let found = found.map(|found| found.row);
            prop_assert_eq!(found.as_ref(), model.rows.get(&id(n)), "{}", name);
        }
        let due: Vec<_> = model.due(*now, subject.tombstones);
        let first: Vec<_> = due.iter().copied().take(2).collect();
        prop_assert_eq!(store.due(*now, 100).await.unwrap(), due, "{}", name);
        prop_assert_eq!(store.due(*now, 2).await.unwrap(), first, "{}", name);
        for n in 0..3_u8 {
            let keys = [
                Index::subject("main", &n.to_string()),
                Index::sid("main", &n.to_string()),
            ];
            for key in keys {
                let found = store.find(key).await.unwrap();
                prop_assert_eq!(found, model.find(key), "{}", name);
            }
        }
        for n in 0..=SESSIONS {
            let (listed, meant) = (store.list(id(n), 100).await.unwrap(), model.list(id(n)));
            prop_assert_eq!(&listed, &meant, "{}", name);
            let page: Vec<_> = meant.into_iter().take(2).collect();
            prop_assert_eq!(store.list(id(n), 2).await.unwrap(), page, "{}", name);
        }
        let owed = model.debts();
        let first: Vec<_> = owed.iter().take(2).cloned().collect();
        prop_assert_eq!(store.debts(100).await.unwrap(), owed, "{}", name);
        prop_assert_eq!(store.debts(2).await.unwrap(), first, "{}", name);
        prop_assert_eq!(store.census().await.unwrap(), model.census(), "{}", name);
        let (until, claimed) = (*now + Duration::from_millis(5), "claimed");
        let mut debts = store.claim_debts(*now, until, 100).await.unwrap();
        debts.sort_by_key(|debt| debt.id);
        prop_assert_eq!(debts, model.claim(*now, until), "{} {}", name, claimed);
    }
    Ok(())
}

#[test]
fn an_index_is_no_other_index() {
    let keys = [
        Index::subject("a", "bc"),
        Index::subject("ab", "c"),
        Index::sid("a", "bc"),
        Index::subject("A", "bc"),
    ];
    for (n, one) in keys.iter().enumerate() {
        assert!(keys.iter().skip(n + 1).all(|other| other != one));
    }
}
