//! What one process refuses: the others hear of it, and the next one knows.

use super::*;
use crate::clock::Timestamp;
use crate::session::store::tests::id;
use crate::verify::{Criterion, Refusal};

/// A process, with its register.
struct Node {
    store: Redis,
    refused: Arc<Refused>,
}

fn node_with(settings: &RedisSettings, owner: u64, on_error: OnStoreError) -> Node {
    let refused = Arc::<Refused>::default();
    let pace = Pace {
        settle: Duration::ZERO,
        ..Pace::default()
    };
    let register = (Arc::clone(&refused), on_error);
    let runtime = Handle::current();
    let store = Redis::at_pace(settings, owner, runtime, &Clock::System, register, pace);
    Node { store, refused }
}

async fn node(settings: &RedisSettings, owner: u64) -> Node {
    let node = node_with(settings, owner, OnStoreError::Deny);
    node.hears().await;
    node
}

impl Node {
    async fn hears(&self) {
        eventually("what is refused is known", async || self.refused.is_heard()).await;
    }

    async fn is_deaf(&self) {
        eventually("the loss is noticed", async || !self.refused.is_heard()).await;
    }

    async fn refuse(&self, refusals: &[Refusal]) {
        let (refusals, now) = (refusals.to_vec(), Clock::System.now());
        // As sessions do it: here first.
        self.refused.add(&refusals, now).unwrap();
        eventually("it is written", async || {
            let refusals = refusals.clone();
            let change = Change::Refuse { refusals, now };
            self.store.write(change).await.is_ok()
        })
        .await;
    }

    fn refuses(&self, refusal: &Refusal) -> bool {
        let now = Clock::System.now();
        self.refused
            .refuses(&refusal.criterion, refusal.issued_by, now)
    }

    async fn comes_to_refuse(&self, refusal: &Refusal) -> Duration {
        let begun = Instant::now();
        eventually("it is refused", async || self.refuses(refusal)).await;
        begun.elapsed()
    }
}

/// A token that is refused for an hour.
fn token(n: usize) -> Refusal {
    Refusal {
        criterion: Criterion::token(&format!("head.{n}.signature")),
        issued_by: Timestamp::MAX,
        until: Clock::System.now() + Duration::from_hours(1),
    }
}

/// What must be so at any kind of server.
async fn is_told_and_kept(settings: &RedisSettings) {
    let (one, other) = (node(settings, 1).await, node(settings, 2).await);
    let mut took = Vec::new();
    for n in 0..20 {
        one.refuse(&[token(n)]).await;
        took.push(other.comes_to_refuse(&token(n)).await);
    }
    took.sort();
    assert!(took[10] < Duration::from_millis(100), "{took:?}");
    // By user: the later of two counts, whichever is heard last.
    let by_user = |issued_by| Refusal {
        criterion: Criterion::subject("main", "alice"),
        issued_by,
        ..token(0)
    };
    let now = Clock::System.now();
    let (before, after) = (by_user(now), by_user(now + Duration::from_secs(1)));
    other.refuse(&[after]).await;
    one.refuse(&[before]).await;
    one.comes_to_refuse(&after).await;
    assert!(other.refuses(&after) && other.refuses(&before));
    // Who comes later knows it all before it serves anybody.
    let next = node(settings, 3).await;
    assert!((0..20).all(|n| next.refuses(&token(n))));
    assert!(next.refuses(&after));
    assert!(!next.refuses(&by_user(after.issued_by + Duration::from_millis(1))));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server"]
async fn the_others_refuse_it_at_once_and_the_next_one_too() {
    let server = RedisServer::with(&[]);
    is_told_and_kept(&settings(&server)).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server"]
async fn in_a_cluster_too() {
    let cluster = RedisCluster::start();
    let settings = RedisSettings {
        servers: RedisServers::Cluster(cluster.nodes.iter().map(address).collect()),
        ..settings(&cluster.nodes[0])
    };
    is_told_and_kept(&settings).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server"]
async fn by_sentinels_too_and_when_the_master_is_another() {
    let mut all = RedisSentinels::start();
    let settings = by_sentinels(&all);
    is_told_and_kept(&settings).await;
    let one = node(&settings, 4).await;
    one.refuse(&[token(77)]).await;
    all.servers[0].kill();
    one.is_deaf().await;
    one.hears().await;
    let next = node(&settings, 5).await;
    assert!(next.refuses(&token(77)) && next.refuses(&token(3)));
    one.refuse(&[token(78)]).await;
    next.comes_to_refuse(&token(78)).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server"]
async fn over_a_lost_link_nothing_is_missed() {
    let mut server = RedisServer::start();
    let at = settings(&server);
    let (one, strict) = (node(&at, 1).await, node(&at, 2).await);
    let lenient = node_with(&at, 3, OnStoreError::ServeCached);
    lenient.hears().await;
    one.refuse(&[token(0)]).await;
    server.kill();
    one.is_deaf().await;
    strict.is_deaf().await;
    assert!(lenient.refused.is_heard(), "as it is told to");
    // Refused while nobody can be told: here at once, and elsewhere as soon as it can be said.
    one.refused.add(&[token(1)], Clock::System.now()).unwrap();
    assert!(one.refuses(&token(1)) && !strict.refuses(&token(1)));
    server.restart();
    one.hears().await;
    one.refuse(&[token(1)]).await;
    for node in [&strict, &lenient] {
        node.comes_to_refuse(&token(1)).await;
        node.hears().await;
        assert!(node.refuses(&token(0)));
    }
    // Only the connection on which it is heard breaks.
    server.ask(&["CLIENT", "KILL", "TYPE", "pubsub"]);
    one.refuse(&[token(2)]).await;
    strict.comes_to_refuse(&token(2)).await;
}

/// What is heard while a link is being made is in the register before anybody is served under it.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server"]
async fn who_comes_in_the_midst_of_many_misses_none() {
    let server = RedisServer::with(&[]);
    let settings = settings(&server);
    let one = node(&settings, 1).await;
    let many: Vec<_> = (0..12_000).map(token).collect();
    one.refuse(&many).await;
    for round in 0..5 {
        let owner = 10 + round as u64;
        let coming = node_with(&settings, owner, OnStoreError::Deny);
        let mut told = 0;
        while !coming.refused.is_heard() {
            let refusal = token(20_000 + 1000 * round + told);
            one.refuse(&[refusal]).await;
            told += 1;
        }
        assert!(many.iter().all(|refusal| coming.refuses(refusal)));
        // The last may have been on its way still.
        let last = told.saturating_sub(1);
        for n in 0..last {
            assert!(
                coming.refuses(&token(20_000 + 1000 * round + n)),
                "{n} of {told}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server"]
async fn what_redis_has_lost_it_is_told_again_by_whoever_knows() {
    let mut server = RedisServer::with(&[]);
    let settings = settings(&server);
    let (one, other) = (node(&settings, 1).await, node(&settings, 2).await);
    let many: Vec<_> = (0..1200).map(token).collect();
    one.refuse(&many).await;
    other.comes_to_refuse(&many[1199]).await;
    // Who said it is gone, and nothing was on disk.
    drop(one);
    server.kill();
    server.restart();
    other.is_deaf().await;
    other.hears().await;
    let next = node(&settings, 3).await;
    assert!(many.iter().all(|refusal| next.refuses(refusal)));
    let there = server.ask(&["ZCARD", "tidegate:refused"]).number();
    assert_eq!(there, 1200);
    // Where nothing was lost nothing is written.
    server.ask(&["CONFIG", "RESETSTAT"]);
    server.ask(&["CLIENT", "KILL", "TYPE", "pubsub"]);
    other.is_deaf().await;
    other.hears().await;
    let commands = server.ask(&["INFO", "commandstats"]).text();
    assert!(!commands.contains("cmdstat_zadd"), "{commands}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server"]
async fn what_is_over_goes_by_itself() {
    let server = RedisServer::with(&[]);
    let one = node(&settings(&server), 1).await;
    let soon = |n, millis| Refusal {
        until: Clock::System.now() + Duration::from_millis(millis),
        ..token(n)
    };
    one.refuse(&[soon(1, 300), soon(2, 3_600_000)]).await;
    let left = server.ask(&["PTTL", "tidegate:refused"]).number();
    assert!((3_500_000..=3_600_000).contains(&left), "{left}");
    eventually("the first is over", async || !one.refuses(&soon(1, 0))).await;
    one.refuse(&[soon(3, 1000)]).await;
    assert_eq!(server.ask(&["ZCARD", "tidegate:refused"]).number(), 2);
    let left = server.ask(&["PTTL", "tidegate:refused"]).number();
    assert!(left > 3_500_000, "as long as the last: {left}");
    server.ask(&["DEL", "tidegate:refused"]);
    one.refuse(&[soon(4, 200)]).await;
    eventually("the key is gone", async || {
        server.ask(&["EXISTS", "tidegate:refused"]).number() == 0
    })
    .await;
}

/// A store that answers slowly must not let refusals queue up one behind the other.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server"]
async fn a_thousand_at_once_take_no_thousand_round_trips() {
    let server = RedisServer::with(&[]);
    let one = node(&settings(&server), 1).await;
    let begun = Instant::now();
    let now = Clock::System.now();
    let asked: Vec<_> = (0..1000)
        .map(|n| {
            let refusals = vec![token(n)];
            one.store.write(Change::Refuse { refusals, now })
        })
        .collect();
    for answer in asked {
        answer.await.unwrap();
    }
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "{:?}",
        begun.elapsed()
    );
    assert!(one.store.load(id(1)).await.unwrap().is_none());
}
