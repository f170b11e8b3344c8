//! One upstream's targets: they take turns, and one that can't be reached is asked last for a while.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::Either;
use http::{Request, Response};
use tokio::time::Instant;

use super::upload::Upload;
use super::{Authorization, Upstream};
use crate::connect::{self, Failed, Pool};

/// How long a target that could not be reached is asked last.
const REST: Duration = Duration::from_secs(2);

type Outcome = Result<Response<connect::Body<Upload>>, connect::Error>;

#[derive(Debug)]
pub(super) struct Lane {
    upstream: Arc<Upstream>,
    targets: Vec<Target>,
    next: AtomicUsize,
}

#[derive(Debug)]
struct Target {
    pool: Pool<Upload>,
    rests_until: Mutex<Option<Instant>>,
}

impl Lane {
    pub(super) fn new(upstream: &Arc<Upstream>) -> Self {
        let target = |origin: &connect::Origin| Target {
            pool: Pool::new(origin.clone(), upstream.connect.clone()),
            rests_until: Mutex::new(None),
        };
        Self {
            targets: upstream.targets.iter().map(target).collect(),
            upstream: Arc::clone(upstream),
            next: AtomicUsize::new(0),
        }
    }

    pub(super) fn name(&self) -> &Arc<str> {
        &self.upstream.name
    }

    pub(super) fn authorization(&self) -> Authorization {
        self.upstream.authorization
    }

    /// Sends to the target whose turn it is; to the next one only if nothing was sent to that.
    pub(super) fn send(&self, request: Request<Upload>) -> impl Future<Output = Outcome> + Send {
        match &*self.targets {
            [only] => Either::Left(only.pool.send(request)),
            _ => Either::Right(Box::pin(self.send_in_turn(request))),
        }
    }

    async fn send_in_turn(&self, mut request: Request<Upload>) -> Outcome {
        let mut failure = no_targets();
        for target in self.in_turn() {
            match target.pool.try_send(request).await {
                Ok(response) => return Ok(response),
                Err(Failed {
                    error,
                    request: Some(unsent),
                }) => {
                    target.rest();
                    failure = error;
                    request = *unsent;
                }
                Err(failed) => return Err(failed.error),
            }
        }
        Err(failure)
    }

    fn in_turn(&self) -> Vec<&Target> {
        let turn = self.next.fetch_add(1, Ordering::Relaxed) % self.targets.len().max(1);
        let (later, sooner) = self.targets.split_at(turn);
        let mut order: Vec<&Target> = sooner.iter().chain(later).collect();
        order.sort_by_key(|target| target.rests());
        order
    }
}

impl Target {
    fn rest(&self) {
        let mut until = self
            .rests_until
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *until = Some(Instant::now() + REST);
    }

    fn rests(&self) -> bool {
        let until = self
            .rests_until
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        until.is_some_and(|until| Instant::now() < until)
    }
}

fn no_targets() -> connect::Error {
    connect::Error::Connect {
        origin: "nowhere".to_owned(),
        source: std::io::Error::new(std::io::ErrorKind::NotFound, "no targets"),
    }
}
