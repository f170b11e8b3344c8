//! Idle connections: the one used last is used first, so that the others can grow old and go.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::time::Instant;

use super::lease::Lease;
use super::{Inner, Outgoing};

/// How many idle connections one pool keeps.
const MOST: usize = 256;

/// The least time between two sweeps by the clock.
const LEAST_PAUSE: Duration = Duration::from_millis(100);

pub(super) struct Idle<B: Outgoing> {
    timeout: Duration,
    stock: Mutex<Stock<B>>,
}

struct Stock<B: Outgoing> {
    /// The oldest first.
    leases: Vec<(Instant, Box<Lease<B>>)>,
    /// Whether a task sweeps by the clock.
    swept: bool,
}

impl<B: Outgoing> Idle<B> {
    pub(super) fn new(timeout: Duration) -> Self {
        Self {
            timeout,
            stock: Mutex::new(Stock {
                leases: Vec::new(),
                swept: false,
            }),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.stock().leases.len()
    }

    /// The connection used last, unless even that one is too old.
    pub(super) fn take(&self) -> Option<Box<Lease<B>>> {
        let mut stock = self.stock();
        let (since, lease) = stock.leases.pop()?;
        if since.elapsed() < self.timeout {
            return Some(lease);
        }
        stock.leases.clear();
        None
    }

    /// Drops what is too old or has been closed by its peer.
    pub(super) fn sweep(&self) {
        let timeout = self.timeout;
        self.stock()
            .leases
            .retain_mut(|(since, lease)| since.elapsed() < timeout && !lease.is_dead());
    }

    /// Puts a connection back. Answers whether somebody must begin to sweep by the clock.
    fn put(&self, lease: Box<Lease<B>>) -> bool {
        if self.timeout.is_zero() {
            return false;
        }
        let mut stock = self.stock();
        if stock.leases.len() >= MOST {
            stock.leases.remove(0);
        }
        stock.leases.push((Instant::now(), lease));
        !std::mem::replace(&mut stock.swept, true)
    }

    /// Sweeps; the sweeping by the clock ends where nothing is left to be swept.
    fn sweep_on(&self) -> bool {
        self.sweep();
        let mut stock = self.stock();
        stock.swept = !stock.leases.is_empty();
        stock.swept
    }

    fn stock(&self) -> MutexGuard<'_, Stock<B>> {
        self.stock.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<B: Outgoing> Inner<B> {
    /// Puts a connection back for the next request.
    pub(super) fn put(this: &Arc<Self>, lease: Box<Lease<B>>) {
        if this.idle.put(lease) {
            tokio::spawn(sweep(Arc::downgrade(this), this.idle.timeout));
        }
    }
}

/// Drops old connections where no request comes to do it; gone with the last of them, and with the pool.
async fn sweep<B: Outgoing>(pool: Weak<Inner<B>>, timeout: Duration) {
    let pause = (timeout / 2).max(LEAST_PAUSE);
    loop {
        tokio::time::sleep(pause).await;
        match pool.upgrade() {
            Some(pool) if pool.idle.sweep_on() => {}
            _ => return,
        }
    }
}
