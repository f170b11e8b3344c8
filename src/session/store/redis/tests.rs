//! What the Redis store does beyond what every store must: against real servers, which `./test` installs.

use std::time::Duration;

use super::*;

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

use running::RedisServer;

/// A store over a server; swaps may begin at once.
pub(in crate::session::store) fn open(server: &RedisServer, owner: u64, runtime: &Handle) -> Redis {
    let pace = Pace {
        settle: Duration::ZERO,
        ..Pace::default()
    };
    Redis::at_pace(
        &settings(server),
        owner,
        runtime.clone(),
        &Clock::System,
        pace,
    )
}

fn settings(server: &RedisServer) -> RedisSettings {
    RedisSettings {
        servers: RedisServers::One(RedisAddress {
            host: "127.0.0.1".to_owned(),
            port: server.port,
        }),
        tls: false,
        ca: None,
        username: None,
        password: None,
        db: 0,
        prefix: "tidegate:".to_owned(),
    }
}
