//! What kind of server it is: its version, and whether it keeps what it is given.

use redis::{Cmd, ErrorKind, RedisError, ServerErrorKind, Value};

use super::link::{Fault, Up};

/// The oldest version that has all that is used.
const OLDEST: u32 = 7;

/// Refuses a server that is too old, and warns of one that may forget sessions. Where it may not be asked that is that.
pub(super) async fn look_at(up: &Up) -> Result<(), Fault> {
    let mut info = Cmd::new();
    info.arg("INFO");
    let text = match up.ask_any(info).await {
        Ok(Value::VerbatimString { text, .. }) => text,
        Ok(answer) => redis::from_redis_value(answer).unwrap_or_default(),
        Err(Fault::Redis(error)) if is_not_allowed(&error) => return Ok(()),
        Err(other) => return Err(other),
    };
    let said = |name: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
            .map(str::trim)
    };
    let version = said("redis_version").unwrap_or_default();
    let major = version.split('.').next().and_then(|n| n.parse().ok());
    if major.is_some_and(|major: u32| major < OLDEST) {
        return Err(Fault::TooOld(version.to_owned()));
    }
    if said("role") == Some("slave") {
        return Err(Fault::Replica);
    }
    warn(
        said("maxmemory_policy"),
        said("maxmemory"),
        said("aof_enabled"),
    );
    Ok(())
}

fn warn(policy: Option<&str>, limit: Option<&str>, appends: Option<&str>) {
    let limited = limit.is_some_and(|limit| limit != "0");
    if let Some(policy) = policy.filter(|policy| limited && *policy != "noeviction") {
        tracing::warn!(
            policy,
            "Redis throws sessions out when its memory is full, and people are signed out: set maxmemory-policy noeviction"
        );
    }
    if appends == Some("0") {
        tracing::warn!(
            "Redis loses sessions when it is started anew, and people are signed out: set appendonly yes"
        );
    }
}

/// The server is no longer the one that takes writes, or the connection no longer leads to it.
pub(super) fn is_another(error: &RedisError) -> bool {
    error.is_io_error()
        || error.is_connection_dropped()
        || matches!(
            error.kind(),
            ErrorKind::Server(
                ServerErrorKind::ReadOnly
                    | ServerErrorKind::MasterDown
                    | ServerErrorKind::BusyLoading
            )
        )
}

fn is_not_allowed(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::NoPerm)
}
