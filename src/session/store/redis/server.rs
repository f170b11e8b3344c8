//! What kind of server it is: its version, and whether it keeps what it is given.

use redis::{Cmd, ErrorKind, RedisError, ServerErrorKind, Value};

use super::link::{Fault, Up};
use super::rows;

/// The oldest version that has all that is used.
const OLDEST: u32 = 7;

/// Why a server may forget sessions though it does what it is told.
const EVICTS: &str = "Redis throws sessions out when its memory is full, and people are signed out: set maxmemory-policy noeviction";
/// See [`EVICTS`].
const VOLATILE: &str =
    "Redis loses sessions when it is started anew, and people are signed out: set appendonly yes";

/// What is wrong with the server, but not so that it can't be used. Where it may not be asked that is that.
pub(super) async fn look_at(up: &Up) -> Result<Vec<&'static str>, Fault> {
    let mut info = Cmd::new();
    info.arg("INFO");
    match up.ask_any(info).await {
        Ok(Value::VerbatimString { text, .. }) => judge(&text),
        Ok(answer) => judge(&rows::read::<String>(answer)?),
        Err(Fault::Redis(error)) if is_not_allowed(&error) => Ok(Vec::new()),
        Err(other) => Err(other),
    }
}

fn judge(info: &str) -> Result<Vec<&'static str>, Fault> {
    let said = |name: &str| {
        let mut lines = info.lines();
        let text = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        text.unwrap_or_default().trim()
    };
    let version = said("redis_version");
    let major = version.split('.').next().and_then(|n| n.parse().ok());
    if major.is_some_and(|major: u32| major < OLDEST) {
        return Err(Fault::TooOld(version.to_owned()));
    }
    if said("role") == "slave" {
        return Err(Fault::Replica);
    }
    let evicts = said("maxmemory") != "0" && !matches!(said("maxmemory_policy"), "noeviction" | "");
    let warnings = [(evicts, EVICTS), (said("aof_enabled") == "0", VOLATILE)];
    let warnings = warnings.into_iter().filter(|(is, _)| *is);
    Ok(warnings.map(|(_, warning)| warning).collect())
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

/// The server has understood and will not do it, now or later: its memory is full, the user may not.
pub(super) fn refuses(error: &RedisError) -> bool {
    let lasting = matches!(
        error.kind(),
        ErrorKind::Extension
            | ErrorKind::Server(ServerErrorKind::ResponseError | ServerErrorKind::NoPerm)
    );
    lasting && error.code() != Some("NOREPLICAS")
}

fn is_not_allowed(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::NoPerm)
}

#[cfg(test)]
mod tests {
    //! What is read out of INFO.

    #![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

    use super::*;

    fn info(version: &str, role: &str, memory: &str, policy: &str, appends: &str) -> String {
        format!(
            "# Server\r\nredis_version:{version}\r\n# Memory\r\nmaxmemory:{memory}\r\nmaxmemory_human:0B\r\n\
             maxmemory_policy:{policy}\r\naof_enabled:{appends}\r\nrole:{role}\r\n"
        )
    }

    #[test]
    fn a_server_that_is_too_old_or_a_replica_is_refused() {
        let old = judge(&info("6.2.14", "master", "0", "noeviction", "1")).unwrap_err();
        assert_eq!(
            old.to_string(),
            "Redis 6.2.14 is too old: 7.0 or later is needed"
        );
        let replica = judge(&info("7.0.15", "slave", "0", "noeviction", "1"));
        assert!(matches!(replica, Err(Fault::Replica)));
    }

    #[test]
    fn one_that_may_forget_is_warned_of() {
        for (memory, policy, appends, warnings) in [
            ("0", "noeviction", "1", &[][..]),
            ("0", "allkeys-lru", "1", &[]),
            ("1000", "noeviction", "1", &[]),
            ("1000", "volatile-ttl", "1", &[EVICTS]),
            ("1000", "allkeys-lru", "0", &[EVICTS, VOLATILE]),
        ] {
            let found = judge(&info("10.1", "master", memory, policy, appends)).unwrap();
            assert_eq!(found, warnings, "{memory} {policy} {appends}");
        }
        assert_eq!(judge("").unwrap(), [""; 0], "nothing is known");
    }
}
