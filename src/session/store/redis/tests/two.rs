//! Two processes over one Redis: who may swap, who is told, and what is left when nobody runs.

use std::sync::Arc;

use super::*;
use crate::session::store::tests::id;
use crate::session::store::{DebtId, Stamp, Writer};
use crate::token::SessionId;

fn pair(server: &RedisServer) -> (Redis, Redis) {
    let runtime = Handle::current();
    (open(server, 1, &runtime), open(server, 2, &runtime))
}

async fn write(store: &Redis, change: Change) -> Written {
    store.write(change).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server"]
async fn one_of_two_marks_and_the_other_sees_that_it_is_held() {
    let server = RedisServer::with(&[]);
    let (one, other) = pair(&server);
    write(&one, Change::Create(id(1), fresh(0))).await;
    assert_eq!(
        write(&one, Change::Mark(id(1), fresh(1))).await,
        Written::Done
    );
    assert!(!one.load(id(1)).await.unwrap().unwrap().held);
    let found = other.load(id(1)).await.unwrap().unwrap();
    assert!(found.held);
    assert_eq!(found.row.fence, 1);
    // A higher fence is not enough while the lease lives.
    let refused = write(&other, Change::Mark(id(1), fresh(2))).await;
    assert_eq!(refused, Written::Refused);
    assert_eq!(write(&one, Change::Renew(id(1), 1)).await, Written::Done);
    assert_eq!(
        write(&other, Change::Renew(id(1), 1)).await,
        Written::Refused
    );
    let saved = Row {
        generation: 1,
        ..fresh(1)
    };
    assert_eq!(
        write(&one, Change::Save(id(1), saved.clone())).await,
        Written::Done
    );
    assert!(!other.load(id(1)).await.unwrap().unwrap().held);
    let next = Row { fence: 2, ..saved };
    assert_eq!(
        write(&other, Change::Mark(id(1), next)).await,
        Written::Done
    );
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server"]
async fn of_many_marks_at_once_one_wins() {
    let server = RedisServer::with(&[]);
    let runtime = Handle::current();
    let stores: Vec<_> = (1..=5)
        .map(|owner| open(&server, owner, &runtime))
        .collect();
    for n in 0..20 {
        write(&stores[0], Change::Create(id(n), fresh(0))).await;
        let asked: Vec<_> = stores
            .iter()
            .map(|store| store.write(Change::Mark(id(n), fresh(1))))
            .collect();
        let mut won = 0;
        for answer in asked {
            won += usize::from(answer.await.unwrap() == Written::Done);
        }
        assert_eq!(won, 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server"]
async fn the_lease_of_one_that_died_runs_out_by_the_servers_time() {
    let server = RedisServer::with(&[]);
    let runtime = Handle::current();
    let pace = Pace {
        lease: Duration::from_millis(300),
        settle: Duration::ZERO,
    };
    let one = Redis::at_pace(
        &settings(&server),
        1,
        runtime.clone(),
        &Clock::System,
        unheard(),
        pace,
    );
    let other = open(&server, 2, &runtime);
    write(&one, Change::Create(id(1), fresh(0))).await;
    write(&one, Change::Mark(id(1), fresh(1))).await;
    let (begun, next) = (Instant::now(), Change::Mark(id(1), fresh(2)));
    assert_eq!(write(&other, next.clone()).await, Written::Refused);
    eventually("the lease runs out", async || {
        write(&other, next.clone()).await == Written::Done
    })
    .await;
    assert!(begun.elapsed() >= Duration::from_millis(250));
    // The one that came back too late.
    assert_eq!(write(&one, Change::Renew(id(1), 1)).await, Written::Refused);
    let late = Row {
        generation: 1,
        ..fresh(1)
    };
    assert_eq!(
        write(&one, Change::Save(id(1), late)).await,
        Written::Refused
    );
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server"]
async fn the_others_hear_of_a_change_at_once_and_its_maker_does_not() {
    let server = RedisServer::with(&[]);
    let (one, other) = pair(&server);
    let (mine, theirs) = (one.shared().unwrap().news, other.shared().unwrap().news);
    eventually("both links are up", async || {
        mine.link_is_up() && theirs.link_is_up()
    })
    .await;
    write(&one, Change::Create(id(1), fresh(0))).await;
    write(&one, Change::Mark(id(1), fresh(1))).await;
    let seen = Change::Touch {
        id: id(1),
        seen: Clock::System.now(),
        deadline: Clock::System.now() + Duration::from_mins(30),
    };
    write(&one, seen).await;
    let (before, own) = (theirs.edition(&id(1)), mine.edition(&id(1)));
    // Neither the mark nor activity was news; both would have come by now, before the answer of a round trip.
    other.load(id(1)).await.unwrap();
    assert_eq!(theirs.edition(&id(1)), before);
    for change in [
        Change::Save(id(1), fresh(1)),
        Change::End {
            id: id(1),
            tombstone: tombstone(&fresh(1)),
            owed: Vec::new(),
        },
    ] {
        let (before, begun) = (theirs.edition(&id(1)), Instant::now());
        write(&one, change).await;
        eventually("the other hears", async || theirs.edition(&id(1)) != before).await;
        assert!(begun.elapsed() < Duration::from_millis(500));
    }
    assert_eq!(mine.edition(&id(1)), own);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server"]
async fn one_keeps_house_until_it_is_gone() {
    let server = RedisServer::with(&[]);
    let (one, other) = pair(&server);
    assert!(one.keeps_house().await.unwrap());
    assert!(!other.keeps_house().await.unwrap());
    assert!(one.keeps_house().await.unwrap());
    let left = server.ask(&["PTTL", "tidegate:house"]).number();
    assert!((19_000..=20_000).contains(&left), "{left}");
    server.ask(&["PEXPIRE", "tidegate:house", "1"]);
    eventually("its time is over", async || {
        other.keeps_house().await.unwrap()
    })
    .await;
    assert!(!one.keeps_house().await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server"]
async fn everything_goes_by_itself_when_nobody_runs() {
    let server = RedisServer::with(&[]);
    let (one, _other) = pair(&server);
    let now = Clock::System.now();
    for n in 0..6 {
        write(&one, Change::Create(id(n), fresh(0))).await;
        write(&one, Change::Mark(id(n), fresh(1))).await;
    }
    let sid = Row {
        sid: Some(Index::sid("main", "s2")),
        generation: 1,
        ..fresh(1)
    };
    write(&one, Change::Save(id(1), sid)).await;
    let debt = Debt {
        id: DebtId([7; 16]),
        held_until: now + Duration::from_secs(10),
        expires: now + Duration::from_mins(10),
        sealed: b"sealed".to_vec(),
    };
    let end = Change::End {
        id: id(2),
        tombstone: tombstone(&fresh(1)),
        owed: vec![debt],
    };
    write(&one, end).await;
    let later = now + Duration::from_mins(29);
    let touch = Change::Touch {
        id: id(3),
        seen: later,
        deadline: later + Duration::from_mins(30),
    };
    write(&one, touch).await;
    one.keeps_house().await.unwrap();
    let refusals = vec![crate::verify::Refusal {
        criterion: crate::verify::Criterion::token("a.b.c"),
        issued_by: now,
        until: now + Duration::from_mins(10),
    }];
    write(&one, Change::Refuse { refusals, now }).await;
    let keys = server.ask_bytes(&[b"KEYS", b"*"]).list();
    assert!(keys.len() > 12, "{}", keys.len());
    for key in keys {
        let key = key.bytes();
        let left = server.ask_bytes(&[b"PTTL", &key]).number();
        let name = String::from_utf8_lossy(&key).into_owned();
        assert!(left > 0 && left <= 5_400_000, "{name}: {left}");
        assert!(name.starts_with("tidegate:"), "{name}");
    }
    // A living row outlives its deadline, so that what it holds can be revoked, and never its absolute end.
    let row = one.inner.desk.names.row(&id(4));
    let left = server.ask(&["PTTL", &row]).number();
    assert!((3_500_000..=3_600_000).contains(&left), "{left}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server"]
async fn the_script_and_the_rule_never_differ() {
    let server = RedisServer::with(&[]);
    let store = open(&server, 1, &Handle::current());
    let numbers = [0, 1, 9, 10, (1 << 53) + 1, (1 << 53) + 2, u64::MAX];
    let stamps = || {
        numbers
            .iter()
            .flat_map(|&fence| numbers.map(|generation| (fence, generation)))
    };
    for (old, ended) in stamps().flat_map(|old| [(old, false), (old, true)]) {
        let asked: Vec<_> = stamps()
            .flat_map(|new| {
                [Writer::Marks, Writer::Saves, Writer::Ends].map(|writer| (new, writer))
            })
            .map(|(new, writer)| {
                let of = |(fence, generation), ended| Row {
                    fence,
                    generation,
                    ended,
                    subject: None,
                    sid: None,
                    ..fresh(0)
                };
                let stored = of(old, ended);
                let row = of(new, writer == Writer::Ends);
                let expected = writer.may_replace(
                    Some(Stamp {
                        fence: old.0,
                        generation: old.1,
                        ended,
                    }),
                    row.stamp(),
                );
                let change = match writer {
                    Writer::Marks => Change::Mark(id(1), row),
                    Writer::Saves => Change::Save(id(1), row),
                    Writer::Ends => Change::End {
                        id: id(1),
                        tombstone: row,
                        owed: Vec::new(),
                    },
                };
                let made = store.write(Change::Create(id(1), stored));
                (made, store.write(change.clone()), expected, change)
            })
            .collect();
        for (made, answer, expected, change) in asked {
            assert_eq!(made.await.unwrap(), Written::Done);
            let done = answer.await.unwrap() == Written::Done;
            assert_eq!(done, expected, "{old:?} {ended} {change:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server"]
async fn neither_the_file_nor_the_dump_holds_what_opens_a_session() {
    let server = RedisServer::start();
    let store = open(&server, 1, &Handle::current());
    let cookie = SessionId::random();
    write(&store, Change::Create(cookie.hash(), fresh(0))).await;
    server.ask(&["SAVE"]);
    let mut files = vec![server.dir().to_path_buf()];
    let mut searched = 0;
    while let Some(path) = files.pop() {
        if path.is_dir() {
            files.extend(
                std::fs::read_dir(path)
                    .unwrap()
                    .map(|entry| entry.unwrap().path()),
            );
            continue;
        }
        let bytes = std::fs::read(&path).unwrap();
        let holds = |what: &[u8]| bytes.windows(what.len()).any(|window| window == what);
        searched += usize::from(holds(cookie.hash().as_bytes()));
        assert!(!holds(cookie.encode().as_bytes()), "{}", path.display());
        assert!(!holds(b"alice"), "{}", path.display());
    }
    assert!(searched >= 1, "the session is in none of the files");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server"]
async fn changes_take_effect_in_the_order_of_the_calls() {
    let server = RedisServer::with(&[]);
    let store = Arc::new(open(&server, 1, &Handle::current()));
    let news = store.shared().unwrap().news;
    eventually("the link is up", async || news.link_is_up()).await;
    for round in 0..20 {
        server.ask(&["SCRIPT", "FLUSH"]);
        let mut answers = vec![store.write(Change::Create(id(1), fresh(0)))];
        answers.extend((1..30).map(|fence| store.write(Change::Mark(id(1), fresh(fence)))));
        // Read without waiting for any of them, and nobody waits for some.
        drop(answers.split_off(20));
        let found = store.load(id(1)).await.unwrap().unwrap();
        assert_eq!(found.row.fence, 29, "round {round}");
        for answer in answers {
            assert_eq!(answer.await.unwrap(), Written::Done);
        }
    }
}
