//! Load: many tasks that each pick a visitor, a gateway and something to do.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::chance::Chance;
use crate::visitor::{Standing, Visitor, stranger};
use crate::world::World;

/// What visitors do.
#[derive(Clone, Copy, Debug)]
pub struct Habits {
    /// How many do something at the same time.
    pub tasks: usize,
    /// The longest pause after each thing done, in milliseconds.
    pub pause: usize,
    /// One in so many requests is a sign-out; 0 for none.
    pub sign_outs: usize,
}

impl Default for Habits {
    fn default() -> Self {
        Self {
            tasks: 24,
            pause: 40,
            sign_outs: 0,
        }
    }
}

/// Load that runs until it is stopped.
pub struct Traffic {
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

impl Traffic {
    pub fn start(world: &Arc<World>, habits: Habits) -> Self {
        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        for _ in 0..habits.tasks {
            let (world, stop) = (Arc::clone(world), stop.clone());
            let mut chance = world.chance();
            tasks.spawn(async move {
                while !stop.is_cancelled() {
                    act(&world, &mut chance, habits).await;
                    tokio::time::sleep(chance.millis(0, habits.pause)).await;
                }
            });
        }
        Self { stop, tasks }
    }

    /// What is under way is finished.
    pub async fn stop(mut self) {
        self.stop.cancel();
        while let Some(task) = self.tasks.join_next().await {
            task.unwrap();
        }
    }
}

/// Load for so long.
pub async fn drive(world: &Arc<World>, habits: Habits, time: Duration) {
    let traffic = Traffic::start(world, habits);
    tokio::time::sleep(time).await;
    traffic.stop().await;
}

async fn act(world: &Arc<World>, chance: &mut Chance, habits: Habits) {
    let visitor = {
        let visitors = world.visitors.lock().unwrap();
        Arc::clone(chance.pick(&visitors))
    };
    let door = world.some_door();
    if visitor.standing() == Standing::Leaving {
        // It was not confirmed: asked again, as a person would.
        visitor.sign_out(world, door).await;
        return;
    }
    if visitor.standing() != Standing::In {
        stranger(world, door, None).await;
        return;
    }
    if habits.sign_outs > 0 && chance.one_in(habits.sign_outs) {
        leave(world, chance, &visitor, door).await;
        return;
    }
    match chance.below(100) {
        0..80 => {
            visitor.fetch(world, door).await;
        }
        80..88 => {
            visitor.page(world, door).await;
        }
        88..95 => visitor.abort(world, door, chance.millis(0, 4)).await,
        95..98 => drop(visitor.refresh(world, door).await),
        _ => {
            let mut invented = [0; 32];
            invented.fill_with(|| chance.next().to_le_bytes()[0]);
            let cookie = chance.one_in(2).then(|| URL_SAFE_NO_PAD.encode(invented));
            stranger(world, door, cookie).await;
        }
    }
}

/// A sign-out, half of the time in the middle of a swap; someone new comes in place of who went.
async fn leave(world: &Arc<World>, chance: &mut Chance, visitor: &Arc<Visitor>, door: usize) {
    let other = world.some_door();
    if chance.one_in(2) {
        let (racing, pause) = (visitor.refresh(world, other), chance.millis(0, 10));
        let leaving = async {
            tokio::time::sleep(pause).await;
            visitor.sign_out(world, door).await
        };
        tokio::join!(racing, leaving).0.ok();
    } else {
        visitor.sign_out(world, door).await;
    }
    let number = world.next_number();
    let newcomer = Visitor::new(world, number);
    if newcomer.sign_in(world).await {
        world.visitors.lock().unwrap().push(Arc::new(newcomer));
    }
}
