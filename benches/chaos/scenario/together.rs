//! Everything at once, as the seed has it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tidegate::clock::Clock;
use tidegate::demo::idp::Fault;

use super::{crowd, habits, stage};
use crate::chance::Chance;
use crate::link::Mode;
use crate::plan::Plan;
use crate::traffic::{Habits, Traffic};
use crate::verdict::{Allowed, Row, judge};
use crate::world::{Incident, Setup, World};

/// What the whole run may take.
const WHOLE: Duration = Duration::from_secs(570);

/// For the rest of the time.
pub async fn all(plan: &Plan, began: Instant) -> Row {
    let stage = stage(plan, "all", Setup::default(), plan.store).await;
    let world = &stage.world;
    world.sign_in(crowd(plan)).await;
    let time = if plan.smoke {
        Duration::from_secs(10)
    } else {
        WHOLE
            .saturating_sub(began.elapsed())
            .max(Duration::from_mins(1))
    };
    let habits = Habits {
        sign_outs: 200,
        ..habits(plan)
    };
    let traffic = Traffic::start(world, habits);
    let until = Instant::now() + time;
    let mut chance = world.chance();
    let mut blows = Vec::new();
    while Instant::now() < until {
        let blow = chance.fork();
        let world = Arc::clone(world);
        blows.push(tokio::spawn(async move { strike(&world, blow).await }));
        tokio::time::sleep(chance.millis(200, 2000)).await;
    }
    for blow in blows {
        blow.await.unwrap();
    }
    traffic.stop().await;
    let allowed = Allowed {
        unavailable: true,
        away: true,
        lost: true,
    };
    judge(world, "all", stage.began, allowed).await
}

/// One thing that goes wrong.
async fn strike(world: &Arc<World>, mut chance: Chance) {
    let number = chance.below(world.nodes.len());
    let node = &world.nodes[number];
    let while_ = chance.millis(100, 2500);
    let faults = world.idp.faults();
    match chance.below(if world.store.is_some() { 12 } else { 8 }) {
        0 | 1 if world.is_up(number) => {
            world.kill(number).await;
            tokio::time::sleep(while_ / 3).await;
            world.restart(number).await;
        }
        2 => {
            world.happened(Incident::Idp(
                Clock::System.now() + Duration::from_millis(50),
            ));
            node.idp.cut();
        }
        3 => {
            world.happened(Incident::Idp(Clock::System.now() + while_));
            node.idp.set(*chance.pick(&[
                Mode::Refuse,
                Mode::Blackhole,
                Mode::Delay(Duration::from_millis(300)),
            ]));
            tokio::time::sleep(while_).await;
            node.idp.set(Mode::Pass);
        }
        4 => faults.once(Fault::LostAnswer),
        5..=7 => {
            let fault = chance
                .pick(&[
                    Fault::Reset,
                    Fault::TokenError,
                    Fault::TooMany(Duration::from_secs(1)),
                    Fault::SlowAnswer(Duration::from_millis(400)),
                    Fault::RevocationDown,
                    Fault::Down,
                ])
                .clone();
            world.trouble_idp(fault, while_).await;
        }
        8 | 9 => node.store.iter().for_each(crate::link::Link::cut),
        10 => {
            let mode = *chance.pick(&[
                Mode::Refuse,
                Mode::Blackhole,
                Mode::Delay(Duration::from_millis(200)),
            ]);
            world.happened(Incident::Store(Clock::System.now() + while_));
            node.store.iter().for_each(|link| link.set(mode));
            tokio::time::sleep(while_).await;
            node.store.iter().for_each(|link| link.set(Mode::Pass));
        }
        11 => {
            world.happened(Incident::Store(Clock::System.now() + while_));
            let server = &world.store.as_ref().unwrap().servers[0];
            server.signal("STOP").await;
            tokio::time::sleep(while_).await;
            server.signal("CONT").await;
        }
        _ => {}
    }
}
