//! What is looked at when a scenario is over: is everybody there who should be, and nobody else?

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use tidegate::demo::idp::Step;

use crate::tally::{Cause, Tally, read};
use crate::visitor::{Seen, Standing, Visitor};
use crate::world::World;

/// Which answers a scenario may bring.
#[derive(Clone, Copy, Debug, Default)]
pub struct Allowed {
    /// 503, while something is away.
    pub unavailable: bool,
    /// A gateway that is not there.
    pub away: bool,
    /// Sessions that nobody could have kept.
    pub lost: bool,
}

/// A scenario's figures.
#[derive(Debug, Default)]
pub struct Row {
    pub name: &'static str,
    pub seconds: f64,
    pub visitors: usize,
    pub requests: usize,
    pub ok: usize,
    pub unavailable: usize,
    pub other: usize,
    pub kinds: BTreeMap<String, usize>,
    pub swaps: usize,
    pub at_once: usize,
    /// Refresh tokens that the provider saw a second time.
    pub reuses: usize,
    pub lost: BTreeMap<Cause, usize>,
    pub healed: usize,
    pub unauthorised: usize,
    pub owed: usize,
    pub confirmed: usize,
    pub notes: Vec<String>,
    pub problems: Vec<String>,
}

/// Mends everything, looks at everybody, and ends the world.
pub async fn judge(
    world: &Arc<World>,
    name: &'static str,
    began: Instant,
    allowed: Allowed,
) -> Row {
    let patience = world.plan.seconds(90, 45);
    world.mend().await;
    finish_sign_outs(world, patience).await;
    all_are_served(world, patience).await;
    let (owed, confirmed) = revocations(world, patience).await;
    nobody_is_served_after_the_end(world).await;
    let families = world.idp.families(None);
    let reuses: usize = families.iter().map(|f| f.count(Step::Reused)).sum();
    let tally: &Tally = &world.tally;
    let mut row = Row {
        name,
        seconds: began.elapsed().as_secs_f64(),
        visitors: world.visitors.lock().unwrap().len(),
        requests: read(&tally.requests),
        ok: read(&tally.ok),
        unavailable: read(&tally.unavailable),
        other: read(&tally.other),
        kinds: tally.kinds.lock().unwrap().clone(),
        swaps: families.iter().map(|family| family.swaps).sum(),
        at_once: world.idp.refreshes_at_once(),
        reuses,
        lost: tally.lost.lock().unwrap().clone(),
        healed: read(&tally.healed),
        unauthorised: read(&tally.unauthorised),
        owed,
        confirmed,
        notes: Vec::new(),
        problems: tally.problems.lock().unwrap().clone(),
    };
    row.check(allowed, 64 * world.nodes.len());
    if !row.problems.is_empty() || world.has_evidence() {
        world.write_evidence();
    }
    world.end().await;
    row
}

impl Row {
    fn check(&mut self, allowed: Allowed, most_at_once: usize) {
        let mut broken = Vec::new();
        let mut must = |holds: bool, what: String| {
            if !holds {
                broken.push(what);
            }
        };
        let lost: usize = self.lost.values().sum();
        must(
            self.reuses == 0,
            format!("{} reuse detections", self.reuses),
        );
        must(
            self.unauthorised == 0,
            format!("{} unauthorised forwards", self.unauthorised),
        );
        must(
            self.owed == self.confirmed,
            format!("{} revocations never arrived", self.owed - self.confirmed),
        );
        must(
            self.at_once <= most_at_once,
            format!("{} refreshes at once", self.at_once),
        );
        must(
            lost == self.healed,
            format!("{lost} lost, {} healed", self.healed),
        );
        must(lost == 0 || allowed.lost, format!("{lost} sessions lost"));
        must(
            self.unavailable == 0 || allowed.unavailable,
            format!("{} times 503", self.unavailable),
        );
        for (kind, count) in &self.kinds {
            let fine = match kind.as_str() {
                "401 after the end" | "401" => true,
                "Unreachable" | "Broken" | "page Unreachable" | "page Broken" => allowed.away,
                _ => false,
            };
            must(fine, format!("{count} times {kind}"));
        }
        self.problems.extend(broken);
    }

    /// Something that must hold in this scenario.
    pub fn must(&mut self, holds: bool, what: String) {
        if !holds {
            self.problems.push(what);
        }
    }
}

/// A sign-out whose answer was lost or bad is asked for again, until it is confirmed.
async fn finish_sign_outs(world: &Arc<World>, patience: Duration) {
    let until = Instant::now() + patience;
    loop {
        let leaving: Vec<_> = with(world, Standing::Leaving);
        if leaving.is_empty() {
            return;
        }
        if Instant::now() > until {
            let left = leaving.len();
            world
                .tally
                .problem(format!("{left} sign-outs were never confirmed"));
            return;
        }
        for visitor in leaving {
            visitor.sign_out(world, world.some_door()).await;
        }
    }
}

fn with(world: &World, standing: Standing) -> Vec<Arc<Visitor>> {
    let visitors = world.visitors.lock().unwrap();
    visitors
        .iter()
        .filter(|v| v.standing() == standing)
        .cloned()
        .collect()
}

/// Everybody who is signed in gets an answer of the application, after a while at most.
async fn all_are_served(world: &Arc<World>, patience: Duration) {
    let until = Instant::now() + patience;
    let asking = world.signed_in().into_iter().map(|visitor| {
        let world = Arc::clone(world);
        async move {
            while Instant::now() < until {
                match visitor.fetch(&world, world.some_door()).await {
                    Seen::Served | Seen::Out => return,
                    Seen::Lost | Seen::Unavailable | Seen::Away | Seen::Odd => {}
                }
                // In doubt: what a script is not told, a page load finds out.
                if visitor.page(&world, world.some_door()).await == Seen::Served {
                    continue;
                }
                tokio::time::sleep(Duration::from_millis(300)).await;
            }
            let number = visitor.number;
            world.testify(&visitor, "not served again");
            world
                .tally
                .problem(format!("visitor {number} is not served again"));
        }
    });
    futures_util::stream::iter(asking)
        .buffer_unordered(64)
        .for_each(async |()| {})
        .await;
}

/// How many revocations are owed for those who signed out, and how many arrived: the families are dead, by revocation.
async fn revocations(world: &Arc<World>, patience: Duration) -> (usize, usize) {
    let until = Instant::now() + patience;
    let mut open: Vec<_> = {
        let visitors = world.visitors.lock().unwrap();
        let out = visitors
            .iter()
            .filter(|v| matches!(v.standing(), Standing::Out(_)));
        out.cloned().collect()
    };
    let owed = open.len();
    loop {
        open.retain(|visitor| {
            let families = world.idp.families(Some(&visitor.sid));
            let revoked = families
                .iter()
                .any(|family| family.count(Step::Revoked) > 0);
            !revoked || families.iter().any(|family| family.alive)
        });
        if open.is_empty() || Instant::now() > until {
            break;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    for visitor in &open {
        world.testify(visitor, "signed out, and not revoked at the provider");
        if let Some(store) = &world.store {
            let row = store.row(&visitor.hash()).await;
            world.remark(&format!("visitor {} in the store: {row}", visitor.number));
        }
    }
    (owed, owed - open.len())
}

/// Who has signed out gets 401 from every gateway.
async fn nobody_is_served_after_the_end(world: &Arc<World>) {
    let visitors = world.visitors.lock().unwrap().clone();
    let out = visitors
        .into_iter()
        .filter(|v| matches!(v.standing(), Standing::Out(_)));
    let asking = out.flat_map(|visitor| {
        (0..world.nodes.len()).map(move |door| {
            let (world, visitor) = (Arc::clone(world), Arc::clone(&visitor));
            async move {
                let seen = visitor.fetch(&world, door).await;
                if seen != Seen::Out {
                    let number = visitor.number;
                    world.testify(&visitor, "served after its end");
                    let what = format!("visitor {number}, signed out: {seen:?} at gateway {door}");
                    world.tally.problem(what);
                }
            }
        })
    });
    futures_util::stream::iter(asking)
        .buffer_unordered(64)
        .for_each(async |()| {})
        .await;
}
