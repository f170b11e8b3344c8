//! What becomes of sessions when Redis dies, stands still, forgets, changes its mind or its place.

use super::*;
use crate::session::store::tests::id;
use crate::token::Secret;

async fn create(store: &Redis, n: u8) {
    let made = store.write(Change::Create(id(n), fresh(0))).await;
    assert_eq!(made.unwrap(), Written::Done);
}

async fn is_there(store: &Redis, n: u8) -> bool {
    store.load(id(n)).await.is_ok_and(|found| found.is_some())
}

async fn back(store: &Redis) {
    eventually("the link is back", async || {
        store.load(id(99)).await.is_ok()
    })
    .await;
}

async fn lost(store: &Redis) {
    let news = store.shared().unwrap().news;
    eventually("the loss is noticed", async || !news.link_is_up()).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server"]
async fn killed_it_is_missed_at_once_and_found_again() {
    let mut server = RedisServer::start();
    let store = open(&server, 1, &Handle::current());
    let news = store.shared().unwrap().news;
    create(&store, 1).await;
    let before = news.edition(&id(1));
    server.kill();
    lost(&store).await;
    let begun = Instant::now();
    for _ in 0..100 {
        assert!(store.load(id(1)).await.is_err());
        let touched = store.write(Change::Renew(id(1), 0)).await;
        assert!(touched.is_err());
    }
    assert!(
        begun.elapsed() < Duration::from_millis(500),
        "nobody waits for what is down"
    );
    server.restart();
    let begun = Instant::now();
    back(&store).await;
    assert!(begun.elapsed() < Duration::from_secs(3));
    assert!(is_there(&store, 1).await);
    assert_ne!(
        news.edition(&id(1)),
        before,
        "what was read before is not current"
    );
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server"]
async fn standing_still_it_is_given_up_and_taken_back() {
    let server = RedisServer::with(&[]);
    let store = open(&server, 1, &Handle::current());
    create(&store, 1).await;
    server.pause();
    let begun = Instant::now();
    let read = store.load(id(1)).await;
    assert!(read.is_err());
    assert!(
        begun.elapsed() < Duration::from_millis(1900),
        "{:?}",
        begun.elapsed()
    );
    lost(&store).await;
    assert!(
        begun.elapsed() < Duration::from_millis(2500),
        "{:?}",
        begun.elapsed()
    );
    server.resume();
    back(&store).await;
    assert!(is_there(&store, 1).await);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server"]
async fn what_it_forgot_it_is_told_again_before_anybody_reads() {
    let mut server = RedisServer::with(&[]);
    let store = open(&server, 1, &Handle::current());
    let debt = Debt {
        id: crate::session::store::DebtId([7; 16]),
        held_until: Clock::System.now(),
        expires: Clock::System.now() + Duration::from_mins(1),
        sealed: b"owed".to_vec(),
    };
    for n in 1..=60 {
        create(&store, n).await;
    }
    let saved = Row {
        generation: 1,
        ..fresh(1)
    };
    store.write(Change::Mark(id(2), fresh(1))).await.unwrap();
    store.write(Change::Mark(id(3), fresh(1))).await.unwrap();
    store
        .write(Change::Save(id(3), saved.clone()))
        .await
        .unwrap();
    let end = Change::End {
        id: id(4),
        tombstone: tombstone(&fresh(0)),
        owed: vec![debt],
    };
    store.write(end).await.unwrap();
    server.kill();
    server.restart();
    lost(&store).await;
    // The first answer that there is knows it all.
    let mut found = None;
    eventually("an answer", async || {
        found = store.load(id(1)).await.ok();
        found.is_some()
    })
    .await;
    assert_eq!(found.unwrap().unwrap().row.sealed, b"sealed");
    for n in 1..=60 {
        assert!(is_there(&store, n).await, "{n}");
    }
    let other = open(&server, 2, &Handle::current());
    assert!(other.load(id(2)).await.unwrap().unwrap().held);
    let three = other.load(id(3)).await.unwrap().unwrap();
    assert_eq!((three.row.generation, three.held), (1, false));
    let four = other.load(id(4)).await.unwrap().unwrap();
    assert!(four.row.ended);
    let alice = store.find(Index::subject("main", "alice")).await.unwrap();
    assert_eq!(alice.len(), 59);
    let now = Clock::System.now();
    let owed = store.claim_debts(now, now + Duration::from_secs(9), 10);
    assert_eq!(owed.await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server"]
async fn an_older_state_is_brought_up_to_date_and_a_newer_writer_is_left_alone() {
    let mut server = RedisServer::start();
    let store = open(&server, 1, &Handle::current());
    create(&store, 1).await;
    create(&store, 2).await;
    create(&store, 3).await;
    server.kill();
    let dir = server.dir().join("appendonlydir");
    let copy = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(&dir).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, copy.path().join(path.file_name().unwrap())).unwrap();
    }
    server.restart();
    back(&store).await;
    let saved = Row {
        generation: 1,
        ..fresh(1)
    };
    store.write(Change::Save(id(1), saved)).await.unwrap();
    let end = Change::End {
        id: id(2),
        tombstone: tombstone(&fresh(0)),
        owed: Vec::new(),
    };
    store.write(end).await.unwrap();
    server.kill();
    for entry in std::fs::read_dir(copy.path()).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, dir.join(path.file_name().unwrap())).unwrap();
    }
    lost(&store).await;
    // Another process is faster with the third.
    let names = &store.inner.desk.names;
    server.restart();
    back(&store).await;
    let one = store.load(id(1)).await.unwrap().unwrap();
    assert_eq!(one.row.generation, 1);
    assert!(store.load(id(2)).await.unwrap().unwrap().row.ended);
    let newer = "00000000000000000009";
    server.ask(&[
        "HSET",
        &names.row(&id(3)),
        "fence",
        newer,
        "write",
        "another",
    ]);
    server.ask(&["CLIENT", "KILL", "TYPE", "normal"]);
    server.ask(&["CLIENT", "KILL", "TYPE", "pubsub"]);
    lost(&store).await;
    back(&store).await;
    assert_eq!(store.load(id(3)).await.unwrap().unwrap().row.fence, 9);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server"]
async fn a_swap_waits_until_the_link_has_settled() {
    let server = RedisServer::with(&[]);
    let pace = Pace {
        settle: Duration::from_millis(700),
        ..Pace::default()
    };
    let store = Redis::at_pace(
        &settings(&server),
        1,
        Handle::current(),
        &Clock::System,
        unheard(),
        pace,
    );
    create(&store, 1).await;
    let begun = Instant::now();
    let marked = store.write(Change::Mark(id(1), fresh(1))).await.unwrap();
    assert_eq!(marked, Written::Done);
    assert!(begun.elapsed() > Duration::from_millis(400));
    let begun = Instant::now();
    store.write(Change::Mark(id(1), fresh(2))).await.unwrap();
    assert!(begun.elapsed() < Duration::from_millis(300));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server"]
async fn forgotten_scripts_and_a_killed_connection_are_no_matter() {
    let server = RedisServer::with(&[]);
    let store = open(&server, 1, &Handle::current());
    create(&store, 1).await;
    server.ask(&["SCRIPT", "FLUSH"]);
    assert!(is_there(&store, 1).await);
    assert_eq!(
        store.write(Change::Mark(id(1), fresh(1))).await.unwrap(),
        Written::Done
    );
    server.ask(&["CLIENT", "KILL", "TYPE", "pubsub"]);
    lost(&store).await;
    back(&store).await;
    assert!(is_there(&store, 1).await);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server"]
async fn a_full_memory_refuses_writes_and_answers_reads() {
    let server = RedisServer::with(&[]);
    let store = open(&server, 1, &Handle::current());
    create(&store, 1).await;
    server.ask(&["CONFIG", "SET", "maxmemory", "1"]);
    let refused = store.write(Change::Create(id(2), fresh(0))).await;
    let why = std::error::Error::source(&refused.unwrap_err())
        .unwrap()
        .to_string();
    assert!(why.contains("OOM"), "{why}");
    assert!(is_there(&store, 1).await);
    server.ask(&["CONFIG", "SET", "maxmemory", "0"]);
    create(&store, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server"]
async fn a_server_that_becomes_a_replica_is_left() {
    let other = RedisServer::with(&[]);
    let server = RedisServer::with(&[]);
    let store = open(&server, 1, &Handle::current());
    create(&store, 1).await;
    server.ask(&["REPLICAOF", "127.0.0.1", &other.port.to_string()]);
    let refused = store.write(Change::Mark(id(1), fresh(1))).await;
    assert!(refused.is_err());
    lost(&store).await;
    server.ask(&["REPLICAOF", "NO", "ONE"]);
    back(&store).await;
    create(&store, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server"]
async fn the_least_a_user_must_be_allowed_is_enough() {
    let server = RedisServer::with(&[]);
    let reference = include_str!("../../../../../gateway.toml");
    let rule = reference
        .lines()
        .find_map(|line| line.strip_prefix("#   ACL SETUSER "));
    let words: Vec<_> = rule.unwrap().split_whitespace().collect();
    for left_out in [&[][..], &["+info"]] {
        let words = words.iter().filter(|word| !left_out.contains(word));
        let words: Vec<_> = ["ACL", "SETUSER"]
            .into_iter()
            .chain(words.copied())
            .collect();
        server.ask(&["ACL", "DELUSER", "tidegate"]);
        assert_eq!(server.ask(&words).text(), "OK");
        let settings = RedisSettings {
            username: Some("tidegate".to_owned()),
            password: Some(Secret::new("PASSWORD")),
            ..settings(&server)
        };
        let store = open_as(&settings, 1, &Handle::current());
        server.ask(&["SCRIPT", "FLUSH"]);
        create(&store, 1).await;
        for fence in 1..4 {
            store
                .write(Change::Mark(id(1), fresh(fence)))
                .await
                .unwrap();
        }
        store.write(Change::Renew(id(1), 3)).await.unwrap();
        store.write(Change::Save(id(1), fresh(3))).await.unwrap();
        assert!(is_there(&store, 1).await);
        assert_eq!(store.census().await.unwrap().alive, 1);
        assert!(store.keeps_house().await.unwrap());
        store.find(Index::subject("main", "alice")).await.unwrap();
        let now = Clock::System.now();
        store.due(now, 9).await.unwrap();
        store.claim_debts(now, now, 9).await.unwrap();
        store.write(Change::Forget(vec![id(1)])).await.unwrap();
        let refusals = vec![crate::verify::Refusal {
            criterion: crate::verify::Criterion::token("a.b.c"),
            issued_by: now,
            until: now + Duration::from_mins(1),
        }];
        store.write(Change::Refuse { refusals, now }).await.unwrap();
    }
    let denied = server.ask(&["ACL", "LOG"]).text();
    assert!(!denied.contains("evalsha"), "{denied}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server"]
async fn a_wrong_password_is_said_and_never_shown() {
    let server = RedisServer::with_password("right");
    for (password, works) in [("hunter2", false), ("right", true)] {
        let settings = RedisSettings {
            password: Some(Secret::new(password)),
            ..settings(&server)
        };
        let store = open_as(&settings, 1, &Handle::current());
        let read = store.load(id(1)).await;
        assert_eq!(read.is_ok(), works);
        if let Err(error) = read {
            let mut text = format!("{error:?} {settings:?} {store:?}");
            let mut next = std::error::Error::source(&error);
            while let Some(cause) = next {
                text.push_str(&cause.to_string());
                next = cause.source();
            }
            assert!(!text.contains("hunter2"), "{text}");
            assert!(
                text.contains("WRONGPASS") || text.contains("uthentication"),
                "{text}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server"]
async fn a_private_authority_vouches_and_a_strange_one_does_not() {
    let dir = tempfile::tempdir().unwrap();
    let (cert, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
    let authority = authority();
    let (chain, private) = authority.issue();
    std::fs::write(&cert, chain).unwrap();
    std::fs::write(&key, private).unwrap();
    let server = RedisServer::with_tls(&cert, &key);
    for (ca, works) in [
        (Some(authority.pem()), true),
        (Some(self::authority().pem()), false),
        (None, false),
    ] {
        let settings = RedisSettings {
            servers: RedisServers::One(RedisAddress {
                host: "localhost".to_owned(),
                port: server.port,
            }),
            tls: true,
            ca,
            ..settings(&server)
        };
        let store = open_as(&settings, 1, &Handle::current());
        assert_eq!(store.load(id(1)).await.is_ok(), works);
    }
}

struct Authority {
    issuer: rcgen::CertifiedIssuer<'static, rcgen::KeyPair>,
}

fn authority() -> Authority {
    let mut parameters = rcgen::CertificateParams::default();
    parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let key = rcgen::KeyPair::generate().unwrap();
    let issuer = rcgen::CertifiedIssuer::self_signed(parameters, key).unwrap();
    Authority { issuer }
}

impl Authority {
    fn pem(&self) -> Vec<u8> {
        self.issuer.pem().into_bytes()
    }

    fn issue(&self) -> (String, String) {
        let names = vec!["localhost".to_owned()];
        let parameters = rcgen::CertificateParams::new(names).unwrap();
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = parameters.signed_by(&key, &self.issuer).unwrap();
        (certificate.pem(), key.serialize_pem())
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server"]
async fn when_the_sentinels_choose_another_master_sessions_go_on_there() {
    let mut all = RedisSentinels::start();
    let store = open_as(&by_sentinels(&all), 1, &Handle::current());
    create(&store, 1).await;
    all.servers[0].kill();
    lost(&store).await;
    back(&store).await;
    assert!(is_there(&store, 1).await);
    assert_eq!(
        store.write(Change::Mark(id(1), fresh(1))).await.unwrap(),
        Written::Done
    );
    // The old one comes back as a replica, and nobody is led astray by it.
    all.servers[0].restart();
    create(&store, 2).await;
    // And by order, with both alive.
    let sentinel = &all.sentinels[0];
    eventually("the old one is known again", async || {
        sentinel.ask(&["SENTINEL", "FAILOVER", "mymaster"]).text() == "OK"
    })
    .await;
    lost(&store).await;
    back(&store).await;
    assert!(is_there(&store, 1).await && is_there(&store, 2).await);
    create(&store, 3).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server"]
async fn a_cluster_spreads_the_news_and_loses_one_shard_at_a_time() {
    let mut cluster = RedisCluster::start();
    let settings = RedisSettings {
        servers: RedisServers::Cluster(cluster.nodes.iter().map(address).collect()),
        ..settings(&cluster.nodes[0])
    };
    let one = open_as(&settings, 1, &Handle::current());
    let other = open_as(&settings, 2, &Handle::current());
    let news = other.shared().unwrap().news;
    eventually("the link is up", async || news.link_is_up()).await;
    for n in 0..24 {
        create(&one, n).await;
        let before = news.edition(&id(n));
        one.write(Change::Save(id(n), fresh(1))).await.unwrap();
        eventually("news of every shard", async || {
            news.edition(&id(n)) != before
        })
        .await;
    }
    // Each comes back in turn, with nothing of what it knew. Nothing of it is on disk, and which of them is listened to
    // may be any.
    for at in 0..3 {
        let first = 30 + 24 * u8::try_from(at).unwrap();
        for n in first..first + 24 {
            create(&one, n).await;
        }
        cluster.nodes[at].kill();
        cluster.nodes[at].restart();
        eventually("all is there again", async || {
            let mut all = true;
            for n in first..first + 24 {
                all &= is_there(&one, n).await && is_there(&other, n).await;
            }
            all
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server"]
async fn a_shard_that_was_started_anew_lets_no_swap_begin_before_it_knows_all_again() {
    let mut cluster = RedisCluster::start();
    let store = open_cluster(&cluster, &Handle::current());
    create(&store, 0).await;
    // The tag of 0 is in one of the three; whichever it is, its row comes back first.
    for at in 0..3 {
        store.write(Change::Save(id(0), fresh(1))).await.unwrap();
        cluster.nodes[at].kill();
        cluster.nodes[at].restart();
        let newer = Change::Mark(id(0), fresh(2));
        eventually("it may begin", async || {
            let marked = store.write(newer.clone()).await;
            assert!(
                !matches!(marked, Ok(Written::Refused)),
                "the row was missing"
            );
            marked.is_ok()
        })
        .await;
        store.write(Change::Create(id(0), fresh(0))).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server"]
async fn a_swap_that_waits_for_the_link_holds_up_nobody() {
    let server = RedisServer::with(&[]);
    let pace = Pace {
        settle: Duration::from_millis(1500),
        ..Pace::default()
    };
    let store = Redis::at_pace(
        &settings(&server),
        1,
        Handle::current(),
        &Clock::System,
        unheard(),
        pace,
    );
    create(&store, 1).await;
    let marking = store.write(Change::Mark(id(1), fresh(1)));
    let begun = Instant::now();
    assert!(is_there(&store, 1).await);
    assert!(begun.elapsed() < Duration::from_millis(700));
    assert_eq!(marking.await.unwrap(), Written::Done);
}
