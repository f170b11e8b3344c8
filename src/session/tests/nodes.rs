//! Several nodes over one store: what one does is in force on the others, whatever dies, is late or is lost.

use std::sync::Arc;

use tokio::time::sleep;

use super::common::{LEASE, Link, Node, Outcome, Queue, World, settle};
use super::house::{MINUTE, SECOND, TOKEN, settings};
use crate::seal::Keyring;
use crate::session::{Activity, EndReason, Error, OnStoreError, Settings};
use crate::telemetry::Metrics;
use crate::token::SessionId;

/// A session that all nodes know.
async fn scene<const N: usize>(world: &Arc<World>) -> (SessionId, [Node; N]) {
    let id = world.session(1);
    let nodes = std::array::from_fn(|n| world.node(n, None));
    for node in &nodes {
        node.open(&id).await.unwrap();
    }
    (id, nodes)
}

fn holds_every_rule(world: &World) {
    assert_eq!(world.breaches(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn what_one_node_swaps_the_others_use() {
    let world = World::new();
    let (id, [a, b, c]) = scene(&world).await;
    sleep(TOKEN).await;
    let live = a.open(&id).await.unwrap();
    for node in [&b, &c, &a] {
        let other = node.open(&id).await.unwrap();
        assert_eq!((live.generation, other.generation), (1, 1));
        assert_eq!(live.access_token.expose(), other.access_token.expose());
    }
    assert_eq!(world.idp(|idp| idp.refreshes()), 1);
    holds_every_rule(&world);
}

#[tokio::test(start_paused = true)]
async fn a_thousand_requests_over_three_nodes_are_one_swap() {
    let world = World::new();
    let (id, nodes) = scene::<3>(&world).await;
    sleep(TOKEN).await;
    world.idp(|idp| idp.holds = true);
    let requests: Vec<_> = (0..1000)
        .map(|n| {
            let (node, id) = (nodes[n % 3].clone(), id.clone());
            tokio::spawn(async move { node.open(&id).await })
        })
        .collect();
    settle().await;
    assert_eq!(world.heads().len(), 1, "one call waits");
    world.let_go(world.heads()[0].seat, Queue::Idp, false, Outcome::Well);
    for request in requests {
        assert_eq!(request.await.unwrap().unwrap().generation, 1);
    }
    assert_eq!(world.idp(|idp| (idp.refreshes(), idp.reuses)), (1, 0));
    holds_every_rule(&world);
}

#[tokio::test(start_paused = true)]
async fn who_asks_seldom_waits_for_no_swap_either() {
    let world = World::new();
    let (id, [a]) = scene(&world).await;
    world.idp(|idp| idp.holds = true);
    // Each time it is so long since the last that the store is looked at first.
    for _ in 0..13 {
        sleep(20 * SECOND).await;
        a.open(&id).await.unwrap();
    }
    settle().await;
    assert_eq!(world.heads().len(), 1, "the provider is asked in good time");
    world.let_go(a.seat, Queue::Idp, false, Outcome::Well);
    sleep(20 * SECOND).await;
    assert_eq!(a.open(&id).await.unwrap().generation, 1);
    holds_every_rule(&world);
}

#[tokio::test(start_paused = true)]
async fn a_sign_out_is_in_force_on_all_nodes() {
    let world = World::new();
    let (id, [a, b, c]) = scene(&world).await;
    let ended = a.end(&id).await.unwrap();
    assert!(ended.is_some());
    for node in [&a, &b, &c] {
        let refused = node.open(&id).await;
        assert!(matches!(refused, Err(Error::Ended(EndReason::SignedOut))));
    }
    let family = world.facts(&id).family;
    assert!(!world.idp(|idp| idp.is_alive(family)));
}

#[tokio::test(start_paused = true)]
async fn a_node_that_dies_in_its_swap_leaves_a_doubt_that_a_page_load_heals() {
    let world = World::new();
    let (id, [a, b]) = scene(&world).await;
    sleep(TOKEN).await;
    world.idp(|idp| idp.holds = true);
    let (dying, asked) = (a.clone(), id.clone());
    tokio::spawn(async move { dying.open(&asked).await });
    settle().await;
    world.crash(&a, false);
    world.idp(|idp| idp.holds = false);
    // While the lease lives nobody asks.
    let waiting = b.open(&id).await;
    assert!(matches!(waiting, Err(Error::NotNow { .. })), "{waiting:?}");
    sleep(SECOND).await;
    // Then a page load is told of the doubt, and signs in unseen.
    let load = b.ask(&id, Activity::Navigates).await;
    assert!(matches!(load, Err(Error::InDoubt { .. })), "{load:?}");
    assert_eq!(world.idp(|idp| idp.refreshes()), 1);
    // Anything else is sent there too: a second use could count as theft.
    let fetch = b.open(&id).await;
    let only_a_page_load_helps = matches!(fetch, Err(Error::InDoubt { retry_after: None }));
    assert!(only_a_page_load_helps, "{fetch:?}");
    assert_eq!(world.idp(|idp| (idp.refreshes(), idp.reuses)), (1, 0));
    holds_every_rule(&world);
}

#[tokio::test(start_paused = true)]
async fn what_was_lost_with_its_node_is_not_sent_again() {
    let world = World::new();
    let (id, [a, b]) = scene(&world).await;
    sleep(TOKEN).await;
    world.idp(|idp| idp.holds = true);
    let (dying, asked) = (a.clone(), id.clone());
    tokio::spawn(async move { dying.open(&asked).await });
    settle().await;
    world.crash(&a, true);
    world.let_go(a.seat, Queue::Idp, true, Outcome::Well);
    world.idp(|idp| idp.holds = false);
    sleep(LEASE).await;
    let fetch = b.open(&id).await;
    assert!(matches!(fetch, Err(Error::InDoubt { .. })), "{fetch:?}");
    assert_eq!(world.idp(|idp| (idp.refreshes(), idp.reuses)), (1, 0));
}

/// The provider takes so long that the lease would be over twice: it is renewed, and nobody else asks.
#[tokio::test(start_paused = true)]
async fn a_lease_is_renewed_while_its_call_runs() {
    let world = World::new();
    let (id, [a, b]) = scene(&world).await;
    sleep(TOKEN).await;
    world.idp(|idp| idp.holds = true);
    world.idp(|idp| idp.patience = 3 * LEASE);
    let (slow, asked) = (a.clone(), id.clone());
    let slow = tokio::spawn(async move { slow.open(&asked).await });
    settle().await;
    sleep(LEASE + LEASE / 2).await;
    let refused = b.open(&id).await;
    assert!(matches!(refused, Err(Error::NotNow { .. })), "{refused:?}");
    assert_eq!(world.idp(|idp| idp.refreshes()), 1);
    world.let_go(a.seat, Queue::Idp, false, Outcome::Well);
    settle().await;
    assert!(slow.await.unwrap().is_err(), "it had waited long enough");
    for node in [&a, &b] {
        assert_eq!(node.open(&id).await.unwrap().generation, 1);
    }
    assert!(world.writes("renew") > 4);
    holds_every_rule(&world);
}

#[tokio::test(start_paused = true)]
async fn without_the_store_nobody_is_served_or_those_that_were_confirmed_lately() {
    for (policy, served) in [
        (OnStoreError::Deny, false),
        (OnStoreError::ServeCached, true),
    ] {
        let world = World::with(Settings {
            on_store_error: policy,
            ..settings()
        });
        let (id, [a, b]) = scene(&world).await;
        for node in [&a, &b] {
            world.cut_off(node, true);
            world.link(node, Link::Down);
            assert_eq!(node.open(&id).await.is_ok(), served, "{policy:?}");
        }
        sleep(settings().cache_ttl).await;
        let later = a.open(&id).await;
        assert!(
            matches!(later, Err(Error::Store(_))),
            "{policy:?}: {later:?}"
        );
        world.cut_off(&a, false);
        world.link(&a, Link::Up);
        assert!(a.open(&id).await.is_ok());
        holds_every_rule(&world);
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_that_hears_nothing_does_not_believe_its_memory() {
    let world = World::new();
    let (id, [a, b]) = scene(&world).await;
    world.link(&b, Link::Down);
    a.end(&id).await.unwrap();
    let refused = b.open(&id).await;
    assert!(matches!(refused, Err(Error::Ended(EndReason::SignedOut))));
}

/// What breaks without a word is found out within the time that memory is believed for.
#[tokio::test(start_paused = true)]
async fn a_silent_link_is_believed_for_so_long_and_no_longer() {
    let world = World::new();
    let (id, [a, b]) = scene(&world).await;
    world.link(&b, Link::Silent);
    a.end(&id).await.unwrap();
    sleep(settings().cache_ttl).await;
    let refused = b.open(&id).await;
    assert!(matches!(refused, Err(Error::Ended(EndReason::SignedOut))));
}

#[tokio::test(start_paused = true)]
async fn activity_on_another_node_keeps_a_session_from_being_idle() {
    let world = World::new();
    let (id, [a, b]) = scene(&world).await;
    for _ in 0..8 {
        sleep(5 * MINUTE).await;
        b.open(&id).await.unwrap();
    }
    assert!(a.open(&id).await.is_ok());
    sleep(31 * MINUTE).await;
    let refused = a.open(&id).await;
    assert!(matches!(refused, Err(Error::Ended(EndReason::Idle))));
    holds_every_rule(&world);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_lost_its_last_writes_is_told_again() {
    let world = World::new();
    let (id, [a, b]) = scene(&world).await;
    let (old, _) = world.stored(&id).unwrap();
    sleep(TOKEN).await;
    a.open(&id).await.unwrap();
    settle().await;
    world.lose(&id, old);
    for node in [&a, &b] {
        world.link(node, Link::Up);
    }
    a.open(&id).await.unwrap();
    sleep(SECOND).await;
    assert_eq!(world.stored(&id).unwrap().0.generation, 1);
    assert_eq!(b.open(&id).await.unwrap().generation, 1);
    assert_eq!(world.idp(|idp| (idp.refreshes(), idp.reuses)), (1, 0));
}

/// One node ends the session while another's swap is under way: what comes late is revoked, whichever of the two learns
/// of the other first.
#[tokio::test(start_paused = true)]
async fn tokens_that_come_after_a_sign_out_elsewhere_are_revoked() {
    for heard in [false, true] {
        let world = World::new();
        let (id, [a, b]) = scene(&world).await;
        sleep(TOKEN).await;
        world.idp(|idp| idp.holds = true);
        if !heard {
            world.link(&a, Link::Silent);
        }
        let (swapping, asked) = (a.clone(), id.clone());
        let swapping = tokio::spawn(async move { swapping.open(&asked).await });
        settle().await;
        b.end(&id).await.unwrap();
        let family = world.facts(&id).family;
        // As if the provider had rotated the token before the revocation came.
        world.idp(|idp| idp.revive(family));
        world.let_go(a.seat, Queue::Idp, false, Outcome::Well);
        assert!(matches!(swapping.await.unwrap(), Err(Error::Ended(_))));
        sleep(SECOND).await;
        a.sessions.pay_debts();
        settle().await;
        assert!(!world.idp(|idp| idp.is_alive(family)), "heard: {heard}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_pause_that_the_provider_asked_for_is_kept_by_all_nodes() {
    let world = World::new();
    let (id, [a, b]) = scene(&world).await;
    sleep(TOKEN).await;
    world.idp(|idp| idp.script.push_back(Outcome::Busy));
    for node in [&a, &b, &a, &b] {
        let refused = node.open(&id).await;
        assert!(matches!(refused, Err(Error::NotNow { .. })), "{refused:?}");
        sleep(6 * SECOND).await;
    }
    assert_eq!(world.idp(|idp| idp.refreshes()), 1);
    sleep(30 * SECOND).await;
    assert_eq!(b.open(&id).await.unwrap().generation, 1);
    holds_every_rule(&world);
}

/// A request of a session in use never waits for the store or the provider: both are asked ahead.
#[tokio::test(start_paused = true)]
async fn in_steady_use_no_request_waits() {
    let world = World::new();
    let id = world.session(1);
    let metrics = Metrics::new([&"main".into()]);
    let a = world.node(0, Some(metrics));
    a.open(&id).await.unwrap();
    let waits = || {
        let text = a.metrics.text();
        let lines = text
            .lines()
            .filter(|l| l.starts_with("tidegate_session_waits_total"));
        let counts = lines.map(|l| l.rsplit(' ').next().unwrap().parse::<u64>().unwrap());
        counts.sum::<u64>()
    };
    let before = waits();
    for _ in 0..1000 {
        sleep(SECOND).await;
        a.open(&id).await.unwrap();
    }
    assert_eq!(waits(), before);
    assert!(world.idp(|idp| idp.refreshes()) >= 3);
    holds_every_rule(&world);
}

/// The store answers a mark when its lease is over already: another node may be at work by then.
#[tokio::test(start_paused = true)]
async fn a_mark_whose_answer_was_long_in_coming_is_renewed_before_the_call() {
    let world = World::new();
    let (id, [a, b]) = scene(&world).await;
    sleep(TOKEN).await;
    world.gated(true);
    let (late, asked) = (a.clone(), id.clone());
    let late = tokio::spawn(async move { late.open(&asked).await });
    settle().await;
    world.let_go(a.seat, Queue::Store, false, Outcome::Well);
    settle().await;
    world.let_go(a.seat, Queue::Store, false, Outcome::Slow);
    sleep(LEASE).await;
    world.gated(false);
    let in_doubt = b.open(&id).await;
    assert!(
        matches!(in_doubt, Err(Error::InDoubt { .. })),
        "{in_doubt:?}"
    );
    world.let_go(a.seat, Queue::Back, false, Outcome::Well);
    settle().await;
    assert!(late.await.unwrap().is_ok() || a.open(&id).await.is_ok());
    assert_eq!(b.open(&id).await.unwrap().generation, 1);
    assert_eq!(world.idp(|idp| (idp.refreshes(), idp.reuses)), (1, 0));
    holds_every_rule(&world);
}

/// Whoever follows another node's swap has nothing more to wait for once the session has ended.
#[tokio::test(start_paused = true)]
async fn following_ends_with_the_session() {
    let world = World::new();
    let (id, [a, b]) = scene(&world).await;
    sleep(TOKEN).await;
    world.idp(|idp| idp.holds = true);
    let requests = [&a, &b].map(|node| {
        let (node, id) = (node.clone(), id.clone());
        tokio::spawn(async move { node.open(&id).await })
    });
    settle().await;
    world.let_go(a.seat, Queue::Idp, false, Outcome::Wrong);
    for request in requests {
        let refused = request.await.unwrap();
        assert!(matches!(refused, Err(Error::Ended(EndReason::BadAnswer))));
    }
    sleep(2 * SECOND).await;
    assert!(a.sessions.work.is_empty() && b.sessions.work.is_empty());
}

/// In the midst of a change of keys one node may seal with a key that the other does not have yet.
#[tokio::test(start_paused = true)]
async fn a_node_that_lacks_the_key_takes_nothing_from_the_others() {
    let world = World::new();
    let id = world.session(1);
    let ring = |keys: &[u8]| {
        let keys: Vec<_> = keys.iter().map(|n| vec![*n; 32]).collect();
        Keyring::new(&keys).unwrap()
    };
    let ahead = world.node_with(0, None, ring(&[2, 1]));
    let behind = world.node_with(1, None, ring(&[1]));
    behind.open(&id).await.unwrap();
    sleep(TOKEN).await;
    ahead.open(&id).await.unwrap();
    let known = behind.open(&id).await;
    assert!(matches!(known, Err(Error::Store(_))), "{known:?}");
    let out = behind.end(&id).await;
    assert!(out.is_err(), "it can't say that it has ended: {out:?}");
    let stranger = world.node_with(2, None, ring(&[1]));
    let unknown = stranger.open(&id).await;
    assert!(matches!(unknown, Err(Error::Unreadable)), "{unknown:?}");
    assert_eq!(ahead.open(&id).await.unwrap().generation, 1);
    sleep(TOKEN).await;
    assert_eq!(ahead.open(&id).await.unwrap().generation, 2);
}

/// Who signs out does not know of the tokens that another node has just got: they are refused with the others.
#[tokio::test(start_paused = true)]
async fn what_another_node_has_swapped_is_refused_after_a_sign_out() {
    let world = World::new();
    let (id, [a, b]) = scene(&world).await;
    let mut served = vec![a.open(&id).await.unwrap()];
    world.link(&a, Link::Silent);
    sleep(TOKEN).await;
    served.push(b.open(&id).await.unwrap());
    settle().await;
    assert_eq!(world.stored(&id).unwrap().0.generation, 1);
    a.end(&id).await.unwrap();
    settle().await;
    world.link(&a, Link::Up);
    assert!(served_is_refused(&world, &id, &served, &[&a, &b]));
}

/// The same where that node could not save them yet.
#[tokio::test(start_paused = true)]
async fn what_another_node_could_not_save_is_refused_after_a_sign_out() {
    let world = World::new();
    let (id, [a, b]) = scene(&world).await;
    let mut served = vec![a.open(&id).await.unwrap()];
    sleep(TOKEN).await;
    world.idp(|idp| idp.holds = true);
    let (asking, asked) = (b.clone(), id.clone());
    let asking = tokio::spawn(async move { asking.open(&asked).await });
    settle().await;
    world.cut_off(&b, true);
    world.let_go(b.seat, Queue::Idp, false, Outcome::Well);
    settle().await;
    served.push(asking.await.unwrap().unwrap());
    a.end(&id).await.unwrap();
    world.cut_off(&b, false);
    sleep(3 * SECOND).await;
    let refused = b.open(&id).await;
    assert!(matches!(refused, Err(Error::Ended(_))), "{refused:?}");
    settle().await;
    assert!(served_is_refused(&world, &id, &served, &[&a, &b]));
}

fn served_is_refused(
    world: &World,
    id: &SessionId,
    served: &[Arc<crate::session::Live>],
    nodes: &[&Node],
) -> bool {
    assert_eq!(served.last().unwrap().generation, 1);
    for live in served {
        let token = live.access_token.expose().to_owned();
        // Longer than it lives: for as long as a leeway may let it pass.
        let ends = live.access_expires + MINUTE;
        world.note(id, |facts| {
            facts.served.insert(token, (ends, 0));
        });
    }
    nodes.iter().all(|node| world.accepts(node, id).is_empty())
}
