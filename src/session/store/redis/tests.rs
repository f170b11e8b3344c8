//! What the Redis store does beyond what every store must: against real servers, which `./test` installs.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may fail by panicking"
)]

use std::time::{Duration, Instant};

use super::*;
use crate::session::store::Row;

#[expect(
    unreachable_pub,
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::wildcard_enum_match_arm,
    clippy::indexing_slicing,
    reason = "shared with the integration tests"
)]
#[path = "../../../../tests/it/support/redis.rs"]
pub(in crate::session::store) mod running;

use running::{RedisCluster, RedisSentinels, RedisServer};

mod faults;
mod refusals;
mod two;

/// A store over a server; swaps may begin at once.
pub(in crate::session::store) fn open(server: &RedisServer, owner: u64, runtime: &Handle) -> Redis {
    open_as(&settings(server), owner, runtime)
}

pub(in crate::session::store) fn open_cluster(cluster: &RedisCluster, runtime: &Handle) -> Redis {
    let settings = RedisSettings {
        servers: RedisServers::Cluster(cluster.nodes.iter().map(address).collect()),
        ..settings(&cluster.nodes[0])
    };
    open_as(&settings, 1, runtime)
}

pub(in crate::session::store) fn open_sentinels(all: &RedisSentinels, runtime: &Handle) -> Redis {
    open_as(&by_sentinels(all), 1, runtime)
}

fn by_sentinels(all: &RedisSentinels) -> RedisSettings {
    RedisSettings {
        servers: RedisServers::Sentinel {
            addresses: all.sentinels.iter().map(address).collect(),
            master: "mymaster".to_owned(),
        },
        ..settings(&all.servers[0])
    }
}

fn open_as(settings: &RedisSettings, owner: u64, runtime: &Handle) -> Redis {
    let pace = Pace {
        settle: Duration::ZERO,
        ..Pace::default()
    };
    Redis::at_pace(
        settings,
        owner,
        runtime.clone(),
        &Clock::System,
        unheard(),
        pace,
    )
}

/// Where nobody asks what is refused.
fn unheard() -> (Arc<Refused>, OnStoreError) {
    (Arc::default(), OnStoreError::Deny)
}

fn settings(server: &RedisServer) -> RedisSettings {
    RedisSettings {
        servers: RedisServers::One(address(server)),
        tls: false,
        ca: None,
        username: None,
        password: None,
        db: 0,
        prefix: "tidegate:".to_owned(),
    }
}

fn address(server: &RedisServer) -> RedisAddress {
    RedisAddress {
        host: "127.0.0.1".to_owned(),
        port: server.port,
    }
}

/// Waits until it holds, in real time: for what happens in the background only.
async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !holds().await {
        assert!(begun.elapsed() < Duration::from_secs(20), "in vain: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A row that lives for an hour from now on.
fn fresh(fence: u64) -> Row {
    let now = Clock::System.now();
    Row {
        fence,
        generation: 0,
        ended: false,
        seen: now,
        deadline: now + Duration::from_mins(30),
        expires: now + Duration::from_hours(1),
        subject: Some(Index::subject("main", "alice")),
        sid: Some(Index::sid("main", "s1")),
        sealed: b"sealed".to_vec(),
    }
}

fn tombstone(row: &Row) -> Row {
    Row {
        ended: true,
        subject: None,
        sid: None,
        sealed: b"over".to_vec(),
        ..row.clone()
    }
}
