//! The scenarios, in the order in which they run.

mod calm;
mod faults;
mod leaving;
mod revoke;
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

/// Every scenario that is wanted; `all` gets what is left of the time. The smoke run has no time for one after the other,
/// nor, unless it is asked to, for all at once.
pub async fn run(plan: &Plan, began: Instant) -> Vec<Row> {
    let (mut rows, more) = if plan.smoke {
        tokio::join!(first(plan), second(plan))
    } else {
        (first(plan).await, second(plan).await)
    };
    rows.extend(more);
    if plan.wants("all") && (!plan.smoke || !plan.only.is_empty()) {
        rows.push(together::all(plan, began).await);
    }
    rows
}

/// Without faults.
async fn first(plan: &Plan) -> Vec<Row> {
    let mut rows = Vec::new();
    if plan.wants("steady") {
        rows.push(calm::steady(plan).await);
    }
    if plan.wants("stampede") {
        rows.push(calm::stampede(plan).await);
    }
    if plan.wants("expiry") {
        rows.push(calm::expiry(plan).await);
    }
    if plan.wants("logout-race") {
        rows.push(leaving::race(plan).await);
    }
    if plan.wants("logout-spread") && plan.nodes > 1 {
        rows.push(leaving::spread(plan).await);
    }
    if plan.wants("revoke") {
        rows.push(revoke::revoke(plan).await);
    }
    rows
}

/// With faults.
async fn second(plan: &Plan) -> Vec<Row> {
    let mut rows = Vec::new();
    let several = plan.store == Store::Redis;
    if plan.wants("kill") {
        rows.push(faults::kill(plan).await);
    }
    if plan.wants("idp") {
        rows.push(faults::idp(plan).await);
    }
    if plan.wants("redis") && several {
        rows.push(faults::redis(plan).await);
    }
    if plan.wants("sentinel") && several {
        rows.push(faults::sentinel(plan).await);
    }
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
