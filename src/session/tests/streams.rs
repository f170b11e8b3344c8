//! What is open under a session: it learns of the end wherever that comes from, and of nothing else.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::time::sleep;

use super::common::{Link, Node, World, settle};
use super::house::{House, MINUTE, SECOND, TOKEN};
use crate::ending::{Cause, Ending};
use crate::session::{EndReason, Live};
use crate::token::SessionId;

/// A session that both nodes know, both at work as they are in the field.
async fn at_work(world: &Arc<World>) -> (SessionId, [Node; 2]) {
    let id = world.session(1);
    let nodes = std::array::from_fn(|n| world.node(n, None));
    for node in &nodes {
        node.sessions.listen();
        let sessions = Arc::clone(&node.sessions);
        tokio::spawn(async move { sessions.watch_streams().await });
        node.open(&id).await.unwrap();
    }
    (id, nodes)
}

/// Something that is open under a session, and asks nothing any more.
fn opened(live: &Live) -> impl Future<Output = Cause> + Unpin + use<> {
    let mut open = Box::pin(Arc::clone(&live.ending).over(Duration::ZERO));
    assert!(open.as_mut().now_or_never().is_none());
    open
}

fn goes_on(live: &Ending) -> bool {
    !live.has_come()
}

fn ended(reason: EndReason) -> Cause {
    Cause::Session(reason)
}

#[tokio::test(start_paused = true)]
async fn an_end_on_one_node_is_noticed_on_the_other_without_a_request() {
    let world = World::new();
    let (id, [a, b]) = at_work(&world).await;
    let mut open = opened(&b.open(&id).await.unwrap());
    a.end(&id).await.unwrap();
    settle().await;
    assert_eq!(
        (&mut open).now_or_never(),
        Some(ended(EndReason::SignedOut))
    );
}

/// A request whose answer has not begun has nothing that is waited for; it asks when that comes.
#[tokio::test(start_paused = true)]
async fn what_is_merely_under_way_is_told_too() {
    let world = World::new();
    let (id, [a, b]) = at_work(&world).await;
    let live = b.open(&id).await.unwrap();
    a.end(&id).await.unwrap();
    settle().await;
    assert_eq!(
        live.ending.came(Duration::ZERO),
        Some(ended(EndReason::SignedOut))
    );
}

#[tokio::test(start_paused = true)]
async fn what_happened_while_nothing_was_heard_is_found_out_afterwards() {
    let world = World::new();
    let (id, [a, b]) = at_work(&world).await;
    let mut open = opened(&b.open(&id).await.unwrap());
    world.link(&b, Link::Down);
    a.end(&id).await.unwrap();
    sleep(10 * SECOND).await;
    assert!(
        (&mut open).now_or_never().is_none(),
        "nothing is known of it"
    );
    world.link(&b, Link::Up);
    settle().await;
    assert_eq!(
        (&mut open).now_or_never(),
        Some(ended(EndReason::SignedOut))
    );
}

/// News that came between a request and the first wait for its answer may be of a session that nothing was known to be open
/// under: the next look finds that they were missed.
#[tokio::test(start_paused = true)]
async fn news_that_nobody_read_are_read_within_a_second() {
    let world = World::new();
    let (id, [a, b]) = at_work(&world).await;
    let deaf = world.node(2, None);
    let live = deaf.open(&id).await.unwrap();
    let sessions = Arc::clone(&deaf.sessions);
    tokio::spawn(async move { sessions.watch_streams().await });
    let mut open = opened(&live);
    sleep(3 * SECOND).await;
    assert!(goes_on(&live.ending));
    a.end(&id).await.unwrap();
    sleep(SECOND * 3 / 2).await;
    assert_eq!(
        (&mut open).now_or_never(),
        Some(ended(EndReason::SignedOut))
    );
    drop(b);
}

#[tokio::test(start_paused = true)]
async fn a_swap_anywhere_ends_nothing() {
    let world = World::new();
    let (id, [a, b]) = at_work(&world).await;
    let live = b.open(&id).await.unwrap();
    let mut open = opened(&live);
    for round in 1..=3 {
        sleep(TOKEN).await;
        let by = if round % 2 == 0 { &a } else { &b };
        let next = by.open(&id).await.unwrap();
        assert_eq!(next.generation, round);
    }
    assert!((&mut open).now_or_never().is_none() && goes_on(&live.ending));
    a.end(&id).await.unwrap();
    settle().await;
    assert_eq!(
        (&mut open).now_or_never(),
        Some(ended(EndReason::SignedOut))
    );
    assert!(!goes_on(&live.ending), "that of a generation long past too");
}

#[tokio::test(start_paused = true)]
async fn activity_on_another_node_keeps_open_what_would_be_idle_here() {
    let world = World::new();
    let (id, [a, b]) = at_work(&world).await;
    let mut open = opened(&b.open(&id).await.unwrap());
    for _ in 0..8 {
        sleep(5 * MINUTE).await;
        a.open(&id).await.unwrap();
    }
    assert!((&mut open).now_or_never().is_none());
    sleep(28 * MINUTE).await;
    assert!((&mut open).now_or_never().is_none());
    sleep(3 * MINUTE).await;
    assert_eq!((&mut open).now_or_never(), Some(ended(EndReason::Idle)));
    for node in [&a, &b] {
        assert!(node.sessions.streaming.is_empty());
    }
}

/// Memory lets go of a session that nobody asks for; not while something is open under it, for then there would be two of
/// it, and the end of the one would not be that of the other.
#[tokio::test]
async fn what_is_in_use_stays_in_memory() {
    let house = House::new().await;
    let cookie = house.login().await;
    let live = house.open(&cookie).await.unwrap();
    let here = || house.sessions.hot.len();
    let mut open = opened(&live);
    drop(live);
    house.clock.advance(12 * MINUTE);
    house.sessions.tidy_memory().await;
    assert_eq!(here(), 1, "open");
    assert!((&mut open).now_or_never().is_none());
    drop(open);
    let live = house.open(&cookie).await.unwrap();
    house.clock.advance(12 * MINUTE);
    house.sessions.tidy_memory().await;
    assert_eq!(here(), 1, "under way");
    drop(live);
    house.sessions.tidy_memory().await;
    assert_eq!(here(), 0);
}
