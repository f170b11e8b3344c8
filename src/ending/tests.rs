//! An end reaches everybody who waits for it, once, and nobody stays on the roll.

#![expect(clippy::unwrap_used, reason = "tests")]

use futures_util::FutureExt;
use tokio::time::advance;

use super::*;

const GONE: Cause = Cause::Session(EndReason::SignedOut);

#[tokio::test(start_paused = true)]
async fn whoever_waits_is_told_and_whoever_comes_later_too() {
    let roll = Arc::default();
    let ending = Ending::new([1; 32], &roll);
    let mut early = Box::pin(Arc::clone(&ending).over(Duration::ZERO));
    assert!(early.as_mut().now_or_never().is_none());
    assert_eq!((roll.len(), ending.came(Duration::ZERO)), (1, None));
    ending.come(GONE);
    ending.come(Cause::Token);
    assert_eq!(early.await, GONE);
    assert_eq!(Arc::clone(&ending).over(Duration::ZERO).await, GONE);
    assert_eq!(ending.came(Duration::ZERO), Some(GONE));
    assert!(roll.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_grace_counts_from_the_end() {
    let grace = Duration::from_secs(30);
    let ending = Ending::new([1; 32], &Arc::default());
    let waits = tokio::spawn(Arc::clone(&ending).over(grace));
    advance(Duration::from_mins(5)).await;
    ending.come(GONE);
    let before = Instant::now();
    assert!(ending.has_come());
    assert_eq!(ending.came(grace), None);
    assert_eq!(waits.await.unwrap(), GONE);
    assert!(before.elapsed() >= grace && before.elapsed() < grace * 2);
    assert_eq!(ending.came(grace), Some(GONE));
}

#[tokio::test]
async fn the_roll_knows_what_is_waited_for_and_forgets_it() {
    let roll = Arc::default();
    let (one, other) = (Ending::new([1; 32], &roll), Ending::new([2; 32], &roll));
    let mut waiting = Vec::new();
    for ending in [&one, &one, &other] {
        let mut wait = Box::pin(Arc::clone(ending).over(Duration::ZERO));
        assert!(wait.as_mut().now_or_never().is_none());
        waiting.push(wait);
    }
    assert_eq!(roll.len(), 2);
    drop(waiting.swap_remove(0));
    assert_eq!(roll.len(), 2);
    drop(waiting);
    assert!(roll.is_empty());
}

/// An end that comes while somebody begins to wait is never missed.
#[test]
fn no_end_is_missed() {
    for _ in 0..2000 {
        let ending = Ending::new([1; 32], &Arc::default());
        let other = Arc::clone(&ending);
        let ends = std::thread::spawn(move || other.come(GONE));
        let runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = { runtime }.build().unwrap();
        assert_eq!(runtime.block_on(ending.over(Duration::ZERO)), GONE);
        ends.join().unwrap();
    }
}
