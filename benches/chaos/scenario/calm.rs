//! Without any fault: swaps under traffic, a thousand requests at once, ten thousand tokens that end together.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use tidegate::clock::Clock;
use tidegate::demo::idp::Fault;
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use super::{crowd, habits, stage};
use crate::plan::Plan;
use crate::tally::Spread;
use crate::traffic::drive;
use crate::verdict::{Allowed, Row, judge};
use crate::visitor::{Seen, Visitor};
use crate::world::{Setup, World};

/// Traffic over swaps.
pub async fn steady(plan: &Plan) -> Row {
    let stage = stage(plan, "steady", Setup::default(), plan.store).await;
    let world = &stage.world;
    world.sign_in(crowd(plan)).await;
    drive(world, habits(plan), plan.seconds(30, 9)).await;
    let mut row = judge(world, "steady", stage.began, Allowed::default()).await;
    let enough = row.visitors;
    row.must(row.swaps > enough, format!("only {} swaps", row.swaps));
    row
}

/// Parallel requests on one session whose access token has ended: one swap.
pub async fn stampede(plan: &Plan) -> Row {
    let setup = Setup {
        ttl: Duration::from_secs(8),
        ..Setup::default()
    };
    let stage = stage(plan, "stampede", setup, plan.store).await;
    let world = &stage.world;
    let (parallel, times) = plan.choose((1000, 5), (300, 2));
    let visitors = world.sign_in(times).await;
    // Connections are made before, so that the requests really are parallel.
    at_once(world, &visitors[0], parallel).await;
    world
        .idp
        .faults()
        .set(Fault::SlowAnswer(Duration::from_millis(100)));
    tokio::time::sleep(setup.ttl + Duration::from_millis(1500)).await;
    let mut notes = Vec::new();
    let mut wrong = Vec::new();
    for visitor in &visitors {
        let before = swaps(world, visitor);
        let began = Instant::now();
        let served = at_once(world, visitor, parallel).await;
        let swapped = swaps(world, visitor) - before;
        notes.push(format!(
            "{served} of {parallel} served after {swapped} refresh in {:.0} ms",
            began.elapsed().as_secs_f64() * 1e3
        ));
        if swapped != 1 || served != parallel {
            wrong.push(format!(
                "{parallel} requests: {swapped} refreshes, {served} served"
            ));
            world.testify(visitor, "stampede");
        }
    }
    let mut row = judge(world, "stampede", stage.began, Allowed::default()).await;
    row.notes = notes;
    row.problems.extend(wrong);
    row
}

fn swaps(world: &World, visitor: &Visitor) -> usize {
    world
        .idp
        .families(Some(&visitor.sid))
        .iter()
        .map(|family| family.swaps)
        .sum()
}

async fn at_once(world: &Arc<World>, visitor: &Arc<Visitor>, parallel: usize) -> usize {
    let asking = (0..parallel).map(|n| visitor.fetch(world, n % world.nodes.len()));
    let seen = futures_util::future::join_all(asking).await;
    seen.iter().filter(|seen| **seen == Seen::Served).count()
}

/// Tokens that end in one second, and the requests of others meanwhile.
pub async fn expiry(plan: &Plan) -> Row {
    let ahead = plan.seconds(20, 6);
    let setup = Setup {
        ttl: Duration::from_mins(15),
        before: ahead,
    };
    let stage = stage(plan, "expiry", setup, plan.store).await;
    let world = &stage.world;
    let (many, others) = plan.choose((10_000, 200), (500, 40));
    let began = Instant::now();
    let others = world.sign_in(others).await;
    let each = began.elapsed().as_secs_f64() / f64::from(u32::try_from(others.len()).unwrap());
    let signing_in = Duration::from_secs_f64(each * f64::from(u32::try_from(many).unwrap()) * 1.3);
    let end = Clock::System.now() + signing_in + ahead + plan.seconds(12, 7);
    world.idp.end_access_tokens_at(end);
    let crowd = world.sign_in(many).await;
    world
        .idp
        .faults()
        .set(Fault::SlowAnswer(Duration::from_millis(30)));
    let spare = end.since(Clock::System.now());
    let sampling = Sampler::start(world, &others);
    tokio::time::sleep(spare.saturating_sub(Duration::from_millis(200))).await;
    let before = sampling.stop().await;
    tokio::time::sleep(end.since(Clock::System.now()) + Duration::from_secs(1)).await;
    let swapped = all_swaps(world);
    // What the storm brings ends together too.
    let next_end = Clock::System.now() + plan.seconds(50, 14);
    world.idp.end_access_tokens_at(next_end);
    let swapping = Instant::now();
    let sampling = Sampler::start(world, &others);
    let asking = crowd
        .iter()
        .map(|visitor| visitor.fetch(world, world.some_door()));
    let asking = futures_util::stream::iter(asking).buffer_unordered(plan.choose(512, 256));
    let served = asking
        .filter(|seen| std::future::ready(*seen == Seen::Served))
        .count()
        .await;
    let during = sampling.stop().await;
    let took = swapping.elapsed();
    let stormed = all_swaps(world) - swapped;
    world
        .idp
        .end_access_tokens_at(Clock::System.now() + setup.ttl);
    tokio::time::sleep((next_end - ahead).since(Clock::System.now())).await;
    let sampling = Sampler::start(world, &others);
    let in_time = visit_over(world, &crowd, ahead * 4 / 5).await;
    let renewing = sampling.stop().await;
    let renewed = all_swaps(world) - swapped - stormed;
    let mut row = judge(world, "expiry", stage.began, Allowed::default()).await;
    row.must(served == many, format!("{served} of {many} were served"));
    row.must(
        spare > Duration::from_secs(2),
        "the tokens ended while people were signing in".into(),
    );
    row.must(stormed >= many, format!("{stormed} swaps"));
    row.must(
        in_time == many,
        format!("{in_time} of {many} were served ahead of the end"),
    );
    row.notes
        .push(format!("{many} swaps in {:.1} s", took.as_secs_f64()));
    row.notes
        .push(format!("requests of others before: {}", before.say()));
    row.notes
        .push(format!("requests of others meanwhile: {}", during.say()));
    row.notes.push(format!(
        "{renewed} swaps ahead of the end, in the background; requests of others meanwhile: {}",
        renewing.say()
    ));
    row
}

/// Everybody asks once, evenly spread: how many are served.
async fn visit_over(world: &Arc<World>, crowd: &[Arc<Visitor>], time: Duration) -> usize {
    let began = tokio::time::Instant::now();
    let step = time / u32::try_from(crowd.len()).unwrap();
    let mut visits = JoinSet::new();
    for (visitor, n) in crowd.iter().zip(0..) {
        tokio::time::sleep_until(began + step * n).await;
        let (world, visitor) = (Arc::clone(world), Arc::clone(visitor));
        visits.spawn(async move { visitor.fetch(&world, world.some_door()).await });
    }
    let seen = visits.join_all().await;
    seen.iter().filter(|seen| **seen == Seen::Served).count()
}

fn all_swaps(world: &World) -> usize {
    world
        .idp
        .families(None)
        .iter()
        .map(|family| family.swaps)
        .sum()
}

/// How long requests take that no swap concerns, one after the other.
struct Sampler {
    stop: CancellationToken,
    task: JoinHandle<Vec<f64>>,
}

impl Sampler {
    fn start(world: &Arc<World>, of: &[Arc<Visitor>]) -> Self {
        let stop = CancellationToken::new();
        let (world, of, stopped) = (Arc::clone(world), of.to_vec(), stop.clone());
        let task = tokio::spawn(async move {
            let mut took = Vec::new();
            while !stopped.is_cancelled() {
                let visitor = &of[took.len() % of.len()];
                let began = Instant::now();
                visitor.fetch(&world, took.len() % world.nodes.len()).await;
                took.push(began.elapsed().as_secs_f64() * 1e3);
                tokio::time::sleep(Duration::from_millis(3)).await;
            }
            took
        });
        Self { stop, task }
    }

    async fn stop(self) -> Spread {
        self.stop.cancel();
        Spread::of(self.task.await.unwrap())
    }
}
