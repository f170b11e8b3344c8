//! Under traffic: gateways that are killed, a provider and a store with everything that can be wrong with them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tidegate::demo::idp::Fault;

use super::{crowd, habits, stage};
use crate::link::Mode;
use crate::plan::{Plan, Store};
use crate::traffic::{Habits, Traffic, drive};
use crate::verdict::{Allowed, Row, judge};
use crate::world::{Incident, Setup, World};

const EVERYTHING: Allowed = Allowed {
    unavailable: true,
    away: true,
    lost: true,
};

/// kill -9 of gateways.
pub async fn kill(plan: &Plan) -> Row {
    let stage = stage(plan, "kill", Setup::default(), plan.store).await;
    let world = &stage.world;
    world.sign_in(crowd(plan)).await;
    // A wider window to fall into.
    world
        .idp
        .faults()
        .set(Fault::SlowAnswer(Duration::from_millis(15)));
    let traffic = Traffic::start(world, habits(plan));
    let mut kills = 0;
    let until = Instant::now() + plan.seconds(60, 8);
    let mut chance = world.chance();
    while Instant::now() < until {
        tokio::time::sleep(chance.millis(400, plan.choose(2500, 1200))).await;
        let victim = chance.below(world.nodes.len());
        world.kill(victim).await;
        tokio::time::sleep(chance.millis(50, 800)).await;
        world.restart(victim).await;
        kills += 1;
    }
    traffic.stop().await;
    let mut row = judge(world, "kill", stage.began, EVERYTHING).await;
    row.notes.push(format!("{kills} kills"));
    row
}

/// Everything that can be wrong with an identity provider, one after the other; then it is away.
pub async fn idp(plan: &Plan) -> Row {
    let stage = stage(plan, "idp", Setup::default(), plan.store).await;
    let world = &stage.world;
    world.sign_in(crowd(plan)).await;
    let traffic = Traffic::start(world, habits(plan));
    let each = plan.seconds(5, 1);
    let lasting = [
        Fault::SlowAnswer(Duration::from_millis(700)),
        Fault::TokenError,
        Fault::TooMany(Duration::from_secs(2)),
        Fault::Reset,
        Fault::Down,
    ];
    for fault in lasting {
        world.trouble_idp(fault, each).await;
        tokio::time::sleep(each / 2).await;
    }
    for _ in 0..plan.choose(30, 6) {
        world.idp.faults().once(Fault::LostAnswer);
        tokio::time::sleep(each / 10).await;
    }
    world.idp.faults().clear();
    // Held up on the way: nobody knows what became of what was sent.
    world.trouble_idp_links(Mode::Blackhole, each).await;
    traffic.stop().await;
    outage(world).await;
    drive(world, habits(plan), plan.seconds(10, 2)).await;
    let mut row = judge(world, "idp", stage.began, EVERYTHING).await;
    row.must(row.owed > 0, "nobody signed out".into());
    row
}

/// The provider refuses connections; people sign out all the same, and a gateway is restarted in the middle.
async fn outage(world: &Arc<World>) {
    let plan = &world.plan;
    let half = plan.seconds(60, 4) / 2;
    world.idp.go_down();
    let leaving = world.signed_in().into_iter().take(plan.choose(200, 12));
    let leaving: Vec<_> = leaving.collect();
    let traffic = Traffic::start(world, habits(plan));
    let asking = leaving
        .iter()
        .map(|visitor| visitor.sign_out(world, world.some_door()));
    let asking = futures_util::future::join_all(asking);
    tokio::join!(asking, tokio::time::sleep(half));
    world.happened(Incident::Kill(0));
    world.nodes[0].process.terminate().await;
    world.restart(0).await;
    tokio::time::sleep(half).await;
    world.idp.come_up();
    // Not before it is back: who was told to sign in waits for that.
    traffic.stop().await;
}

/// Redis hangs, dies and comes back, loses connections, and is slow.
pub async fn redis(plan: &Plan) -> Row {
    let stage = stage(plan, "redis", Setup::default(), Store::Redis).await;
    let world = &stage.world;
    let server = &world.store.as_ref().unwrap().servers[0];
    world.sign_in(crowd(plan)).await;
    let traffic = Traffic::start(
        world,
        Habits {
            sign_outs: 400,
            ..habits(plan)
        },
    );
    let away = plan.seconds(30, 3);
    tokio::time::sleep(away / 4).await;
    world.happened(Incident::Store(tidegate::clock::Clock::System.now() + away));
    server.signal("STOP").await;
    tokio::time::sleep(away).await;
    server.signal("CONT").await;
    tokio::time::sleep(plan.seconds(8, 2)).await;
    world.happened(Incident::Store(tidegate::clock::Clock::System.now() + away));
    server.kill().await;
    tokio::time::sleep(away).await;
    server.start().await;
    server.until_pong().await;
    tokio::time::sleep(plan.seconds(8, 2)).await;
    let mut chance = world.chance();
    for _ in 0..plan.choose(100, 15) {
        world.nodes[chance.below(world.nodes.len())]
            .store
            .as_ref()
            .unwrap()
            .cut();
        tokio::time::sleep(chance.millis(0, 200)).await;
    }
    world
        .trouble_store_links(Mode::Delay(Duration::from_millis(250)), plan.seconds(15, 3))
        .await;
    tokio::time::sleep(plan.seconds(5, 1)).await;
    traffic.stop().await;
    let allowed = Allowed {
        lost: false,
        ..EVERYTHING
    };
    judge(world, "redis", stage.began, allowed).await
}

/// The master dies, and a replica takes its place.
pub async fn sentinel(plan: &Plan) -> Row {
    let stage = stage(plan, "sentinel", Setup::default(), Store::Sentinel).await;
    let world = &stage.world;
    let redis = world.store.as_ref().unwrap();
    world.sign_in(crowd(plan)).await;
    let traffic = Traffic::start(world, habits(plan));
    tokio::time::sleep(plan.seconds(8, 2)).await;
    let killed = Instant::now();
    redis.servers[0].kill().await;
    let mut promoted = None;
    while killed.elapsed() < Duration::from_secs(30) && promoted.is_none() {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let master = redis.master().await;
        promoted = (master == Some(redis.servers[1].port)).then(|| killed.elapsed());
    }
    tokio::time::sleep(plan.seconds(15, 3)).await;
    traffic.stop().await;
    let allowed = Allowed {
        lost: false,
        ..EVERYTHING
    };
    let mut row = judge(world, "sentinel", stage.began, allowed).await;
    match promoted {
        Some(after) => row.notes.push(format!(
            "the replica was master after {:.1} s",
            after.as_secs_f64()
        )),
        None => row.problems.push("no replica was promoted".into()),
    }
    row
}
