//! What is current, and what wakes whom.

use super::*;

fn id(n: u8) -> SessionHash {
    SessionHash::from_bytes([n; 32])
}

#[test]
fn a_change_makes_its_group_stale_and_no_other() {
    let news = News::default();
    news.link_up();
    let (one, two) = (news.edition(&id(1)), news.edition(&id(2)));
    news.changed(&id(1));
    assert_ne!(news.edition(&id(1)), one);
    assert_eq!(news.edition(&id(2)), two);
}

#[test]
fn nothing_read_before_a_loss_of_the_link_is_current_after_it() {
    let news = News::default();
    assert!(!news.link_is_up(), "nothing is heard yet");
    news.link_up();
    news.link_up();
    let before = news.edition(&id(1));
    news.link_down();
    news.link_down();
    assert!(!news.link_is_up());
    assert_eq!(news.edition(&id(1)), before, "the last that was heard");
    news.link_up();
    assert!(news.link_is_up());
    assert_ne!(news.edition(&id(1)), before);
}

#[tokio::test]
async fn who_listens_is_woken_by_a_change_and_by_the_link() {
    let news = Arc::new(News::default());
    let listener = news.listen(id(1));
    let mut change = Box::pin(listener.changed());
    news.changed(&id(2));
    assert!(!poll_once(&mut change).await);
    news.changed(&id(1));
    assert!(poll_once(&mut change).await);
    let mut up = Box::pin(listener.changed());
    news.link_up();
    assert!(poll_once(&mut up).await);
}

#[tokio::test]
async fn nobody_is_remembered_who_has_gone() {
    let news = Arc::new(News::default());
    let (one, two) = (news.listen(id(1)), news.listen(id(1)));
    drop(one);
    assert_eq!(news.waiting().len(), 1);
    drop(two);
    assert!(news.waiting().is_empty());
}

async fn poll_once<F: Future<Output = ()>>(future: &mut std::pin::Pin<Box<F>>) -> bool {
    std::future::poll_fn(|context| std::task::Poll::Ready(future.as_mut().poll(context).is_ready()))
        .await
}
