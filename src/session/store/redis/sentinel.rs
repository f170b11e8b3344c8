//! Which server is the master: what most sentinels say.

use std::time::Duration;

use futures_util::future::join_all;
use redis::{Client, Cmd, ErrorKind, RedisError, ServerErrorKind};
use tokio::time::{sleep, timeout};

use super::link::Fault;
use super::servers::{RedisAddress, RedisSettings, patience};

/// How long a sentinel may take to answer.
const ANSWER: Duration = Duration::from_secs(1);
/// How often they are asked again.
const AGAIN: Duration = Duration::from_secs(1);

/// The master that most of those who answer name.
pub(super) async fn master(
    settings: &RedisSettings,
    sentinels: &[RedisAddress],
    name: &str,
) -> Result<RedisAddress, Fault> {
    let asking = sentinels.iter().map(|sentinel| async move {
        let asking = timeout(ANSWER, ask(settings, sentinel, name));
        asking.await.map_err(|_| Fault::Slow(ANSWER))?
    });
    let mut why = Fault::NoMaster;
    let mut named: Vec<(usize, RedisAddress)> = Vec::new();
    for answer in join_all(asking).await {
        match answer {
            Ok(master) => match named.iter_mut().find(|(_, known)| *known == master) {
                Some((votes, _)) => *votes += 1,
                None => named.push((1, master)),
            },
            Err(error) => why = error,
        }
    }
    // Of as many votes the first.
    let most = named.into_iter().rev().max_by_key(|(votes, _)| *votes);
    most.map(|(_, master)| master).ok_or(why)
}

/// Waits until they name another one.
pub(super) async fn moves(
    settings: &RedisSettings,
    sentinels: &[RedisAddress],
    name: &str,
    known: &RedisAddress,
) {
    loop {
        sleep(AGAIN).await;
        let named = master(settings, sentinels, name).await;
        if named.is_ok_and(|named| named != *known) {
            return;
        }
    }
}

/// Sentinels often ask for no password where the servers do; who does not ask for one refuses it.
async fn ask(
    settings: &RedisSettings,
    sentinel: &RedisAddress,
    name: &str,
) -> Result<RedisAddress, Fault> {
    let unknown = settings.anonymous_client(sentinel)?;
    match ask_as(&unknown, name).await {
        Err(Fault::Redis(error)) if wants_to_know(&error) && settings.password.is_some() => {
            let user = settings.client_without_database(sentinel)?;
            ask_as(&user, name).await
        }
        answer => answer,
    }
}

async fn ask_as(client: &Client, name: &str) -> Result<RedisAddress, Fault> {
    let mut line = client
        .get_multiplexed_async_connection_with_config(&patience())
        .await?;
    let mut question = Cmd::new();
    question
        .arg("SENTINEL")
        .arg("GET-MASTER-ADDR-BY-NAME")
        .arg(name);
    let named: Option<(String, u16)> = question.query_async(&mut line).await?;
    let (host, port) = named.ok_or(Fault::NoMaster)?;
    Ok(RedisAddress { host, port })
}

fn wants_to_know(error: &RedisError) -> bool {
    let kind = error.kind();
    kind == ErrorKind::AuthenticationFailed
        || kind == ErrorKind::Server(ServerErrorKind::NoPerm)
        || error.code() == Some("NOAUTH")
}
