//! Whether a cluster's masters are still the same processes. One that was started anew, or a replica that took over, may
//! have forgotten what was confirmed, and the connection to a cluster does not show it.

use std::collections::HashSet;
use std::time::Duration;

use redis::cluster_async::ClusterConnection;
use redis::cluster_routing::{
    MultipleNodeRoutingInfo, Route, RoutingInfo, SingleNodeRoutingInfo, SlotAddr,
};
use redis::{Cmd, RedisError, Value};
use tokio::time::{sleep, timeout};

/// How often they are looked at.
const LOOK: Duration = Duration::from_millis(500);
/// How long that may take.
const ANSWER: Duration = Duration::from_secs(1);

/// The masters that are known: each process has an id of its own. Empty where they may not be asked.
#[derive(Clone, Debug, Default)]
pub(super) struct Masters(HashSet<String>);

impl Masters {
    /// Those that there are.
    pub(super) async fn of(cluster: &ClusterConnection) -> Result<Self, RedisError> {
        let all = RoutingInfo::MultiNode((MultipleNodeRoutingInfo::AllMasters, None));
        let answer = cluster.clone().route_command(info(), all).await?;
        let Value::Map(answers) = answer else {
            return Ok(Self::default());
        };
        let ids = answers.into_iter().filter_map(|(_, text)| run_id(text));
        Ok(Self(ids.collect()))
    }

    /// Waits until there is one that is not known. One that does not answer has changed nothing yet.
    pub(super) async fn change(&self, cluster: &ClusterConnection) {
        loop {
            sleep(LOOK).await;
            if let Ok(Ok(now)) = timeout(ANSWER, Self::of(cluster)).await
                && !now.0.is_subset(&self.0)
            {
                return;
            }
        }
    }

    /// Whether the one that has a slot is known.
    pub(super) async fn include_that_of(
        &self,
        cluster: &ClusterConnection,
        slot: u16,
    ) -> Result<bool, RedisError> {
        if self.0.is_empty() {
            return Ok(true);
        }
        let there = SingleNodeRoutingInfo::SpecificNode(Route::new(slot, SlotAddr::Master));
        let there = RoutingInfo::SingleNode(there);
        let answer = cluster.clone().route_command(info(), there).await?;
        Ok(run_id(answer).is_none_or(|id| self.0.contains(&id)))
    }
}

fn info() -> Cmd {
    let mut info = Cmd::new();
    info.arg("INFO").arg("server");
    info
}

/// Nothing where the server does not say.
fn run_id(answer: Value) -> Option<String> {
    let text: String = redis::from_redis_value(answer).ok()?;
    let mut lines = text.lines();
    let id = lines.find_map(|line| line.strip_prefix("run_id:"))?;
    Some(id.trim().to_owned())
}
