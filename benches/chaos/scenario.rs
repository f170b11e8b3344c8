//! The scenarios, in the order in which they run.

mod calm;
mod faults;
mod leaving;
mod together;

use std::sync::Arc;
use std::time::Instant;

use tidegate::demo::idp::Fault;

use crate::plan::{Plan, Sabotage, Store};
use crate::process::ask;
use crate::traffic::Habits;
use crate::verdict::Row;
use crate::world::{Setup, World};

/// A world, and since when it is.
struct Stage {
    world: Arc<World>,
    began: Instant,
}

async fn stage(plan: &Plan, name: &str, setup: Setup, store: Store) -> Stage {
    println!("{name} …");
    let began = Instant::now();
    let world = World::start(plan, name, setup, store).await;
    sabotage(&world);
    Stage { world, began }
}

/// Every scenario that is wanted; `all` gets what is left of the time.
pub async fn run(plan: &Plan, began: Instant) -> Vec<Row> {
    let mut rows = Vec::new();
    let several = plan.store == Store::Redis;
    macro_rules! row {
        ($name:literal, $when:expr, $run:expr) => {
            if plan.wants($name) && $when {
                rows.push($run.await);
            }
        };
    }
    row!("steady", true, calm::steady(plan));
    row!("stampede", true, calm::stampede(plan));
    row!("expiry", true, calm::expiry(plan));
    row!("logout-race", true, leaving::race(plan));
    row!("logout-spread", plan.nodes > 1, leaving::spread(plan));
    row!("kill", true, faults::kill(plan));
    row!("idp", true, faults::idp(plan));
    row!("redis", several, faults::redis(plan));
    row!("sentinel", several, faults::sentinel(plan));
    row!("all", true, together::all(plan, began));
    rows
}

/// How many sessions there are under mixed load.
fn crowd(plan: &Plan) -> usize {
    plan.choose(1000, 60)
}

fn habits(plan: &Plan) -> Habits {
    Habits {
        tasks: plan.choose(48, 16),
        ..Habits::default()
    }
}

/// Breaks what was asked to be broken.
fn sabotage(world: &Arc<World>) {
    match world.plan.sabotage {
        None => {}
        Some(Sabotage::RotatesTwice) => world.idp.faults().set(Fault::RotatesTwice),
        Some(Sabotage::RevocationIgnored) => world.idp.faults().set(Fault::RevocationIgnored),
        Some(Sabotage::Replay | Sabotage::Bypass | Sabotage::Forget) => {
            let world = Arc::clone(world);
            tokio::spawn(async move { strike(&world).await });
        }
    }
}

/// Once, after the traffic has gone on for a while.
async fn strike(world: &World) {
    tokio::time::sleep(std::time::Duration::from_secs(5)).await;
    match world.plan.sabotage {
        Some(Sabotage::Replay) => {
            let alice = tidegate::demo::idp::Person::named("alice").unwrap();
            if let Some(token) = world.idp.spent_refresh_token(alice, "chaos") {
                world.idp.replay("chaos", &token);
            }
        }
        Some(Sabotage::Bypass) => {
            let door = crate::wire::Door::new(world.upstream.port(), None);
            let request = http::Request::builder()
                .uri("/data")
                .header(http::header::HOST, "app");
            let request = request.header(crate::upstream::MARK, "0.0");
            let _ = door
                .send(request.body(http_body_util::Full::default()).unwrap())
                .await;
        }
        Some(Sabotage::Forget) => {
            if let Some(store) = &world.store {
                let _ = ask(store.servers[0].port, "FLUSHALL").await;
            }
        }
        _ => {}
    }
}
