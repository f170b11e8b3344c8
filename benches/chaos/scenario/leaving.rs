//! Sign-outs: that race a swap, and how soon they are in force on the other gateways.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use tidegate::clock::Clock;
use tidegate::demo::idp::{Fault, Step};

use super::stage;
use crate::chance::Chance;
use crate::plan::Plan;
use crate::tally::Spread;
use crate::verdict::{Allowed, Row, judge};
use crate::visitor::{Seen, Standing, Visitor};
use crate::world::{Setup, World};

/// A token that has just come is not swapped again within this.
const JUST_CAME: Duration = Duration::from_millis(1100);

/// A sign-out that races a swap. The provider forgets spent refresh tokens, so that only the late ones' own revocation
/// ends their family.
pub async fn race(plan: &Plan) -> Row {
    let setup = Setup {
        ttl: Duration::from_mins(10),
        ..Setup::default()
    };
    let stage = stage(plan, "logout-race", setup, plan.store).await;
    let world = &stage.world;
    world.idp.faults().set(Fault::SpentIsForgotten);
    let (times, limit) = plan.choose(
        (10_000, Duration::from_secs(150)),
        (200, Duration::from_secs(15)),
    );
    let mut chance = world.chance();
    let mut raced = 0;
    while raced < times && stage.began.elapsed() < limit {
        let batch = plan.choose(400, 50).min(times - raced);
        let visitors = world.sign_in(batch).await;
        tokio::time::sleep(JUST_CAME).await;
        let slow = *chance.pick(&[5, 15, 60]);
        let slow_answer = Fault::SlowAnswer(Duration::from_millis(slow as u64));
        world.idp.faults().set(slow_answer.clone());
        let racing = visitors
            .iter()
            .map(|visitor| one_race(world, visitor, slow, chance.fork()));
        let racing = futures_util::stream::iter(racing).buffer_unordered(24);
        racing.for_each(async |()| {}).await;
        world.idp.faults().mend(&slow_answer);
        raced += batch;
    }
    let begun: Vec<_> = world.idp.families(None);
    let late = begun
        .iter()
        .filter(|family| family.count(Step::RevokedInVain) > 0)
        .count();
    let mut row = judge(world, "logout-race", stage.began, Allowed::default()).await;
    row.notes.push(format!(
        "{raced} races, in {late} of them the tokens came late"
    ));
    row.must(late > 0, "not one swap was on its way".into());
    row
}

async fn one_race(world: &Arc<World>, visitor: &Arc<Visitor>, slow: usize, mut chance: Chance) {
    let (here, there) = (world.some_door(), world.some_door());
    let (early, late) = (chance.millis(0, 3), chance.millis(0, 2 * slow + 20));
    let swapping = async {
        tokio::time::sleep(early).await;
        let _ = visitor.refresh(world, here).await;
    };
    let leaving = async {
        tokio::time::sleep(late).await;
        visitor.sign_out(world, there).await
    };
    tokio::join!(swapping, leaving);
}

/// How long after a sign-out was confirmed the other gateways still let its requests through.
pub async fn spread(plan: &Plan) -> Row {
    let setup = Setup {
        ttl: Duration::from_mins(10),
        ..Setup::default()
    };
    let stage = stage(plan, "logout-spread", setup, plan.store).await;
    let world = &stage.world;
    let times = plan.choose(500, 60);
    let visitors = world.sign_in(times).await;
    let mut lags = Vec::new();
    let mut from_request = Vec::new();
    for visitor in &visitors {
        // Every gateway has the session in its own memory.
        for door in 0..world.nodes.len() {
            visitor.fetch(world, door).await;
        }
        let (after_answer, after_request) = one_spread(world, visitor).await;
        lags.push(after_answer);
        from_request.push(after_request);
    }
    let lags = Spread::of(lags);
    let most = plan.spread.as_secs_f64() * 1e3;
    let mut row = judge(world, "logout-spread", stage.began, Allowed::default()).await;
    row.notes.push(format!(
        "still served elsewhere after the answer: {}",
        lags.say()
    ));
    row.notes.push(format!(
        "the same, from the request on: {}",
        Spread::of(from_request).say()
    ));
    row.must(
        lags.at(1.0) <= most,
        format!("a sign-out took {:.0} ms to be in force", lags.at(1.0)),
    );
    row
}

/// Milliseconds from the sign-out's answer, and from its request, to the beginning of the last request that was served.
async fn one_spread(world: &Arc<World>, visitor: &Arc<Visitor>) -> (f64, f64) {
    let here = world.some_door();
    let polling: Vec<_> = (0..world.nodes.len())
        .filter(|door| *door != here)
        .map(|door| {
            let (world, visitor) = (Arc::clone(world), Arc::clone(visitor));
            tokio::spawn(async move { last_served(&world, &visitor, door).await })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(10)).await;
    let asked = Instant::now();
    visitor.sign_out(world, here).await;
    let told = Instant::now();
    let mut last = asked;
    for poll in polling {
        last = last.max(poll.await.unwrap().unwrap_or(asked));
    }
    let millis = |since: Instant| last.saturating_duration_since(since).as_secs_f64() * 1e3;
    (millis(told), millis(asked))
}

/// Asks as fast as it can until it is refused.
async fn last_served(world: &Arc<World>, visitor: &Arc<Visitor>, door: usize) -> Option<Instant> {
    let mut last = None;
    let until = Clock::System.now() + Duration::from_secs(5);
    while Clock::System.now() < until {
        let began = Instant::now();
        if visitor.fetch(world, door).await == Seen::Served {
            last = Some(began);
        } else if visitor.standing() != Standing::In {
            break;
        }
    }
    last
}
