//! The file: what survives, who may read it, and what happens when the disk fails.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail by panicking"
)]

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use redb::StorageBackend;
use redb::backends::FileBackend;

use super::*;
use crate::session::store::Row;
use crate::session::store::tests::{at, id, row};
use crate::verify::{Criterion, Refusal};

fn open(path: &Path) -> Result<Disk, StoreError> {
    Disk::open(path, Handle::current(), &Clock::System, &Refused::default())
}

async fn loaded(disk: &Disk, id: SessionHash) -> Option<Row> {
    disk.load(id).await.unwrap().map(|found| found.row)
}

fn debt(n: u8) -> Debt {
    Debt {
        id: crate::session::store::DebtId([n; 16]),
        held_until: at(0),
        expires: at(100),
        sealed: vec![n],
    }
}

fn whole(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        text = format!("{text}: {source}");
        next = source.source();
    }
    text
}

#[tokio::test]
async fn only_the_owner_may_read_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("deep").join("sessions.redb");
    let _disk = open(&path).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o600);
    assert_eq!(mode(path.parent().unwrap()), 0o700);
}

#[tokio::test]
async fn a_file_left_open_to_others_is_closed_to_them() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sessions.redb");
    drop(open(&path).unwrap());
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let _disk = open(&path).unwrap();
    assert_eq!(
        fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );
}

#[tokio::test]
async fn what_was_answered_survives_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sessions.redb");
    let disk = open(&path).unwrap();
    disk.write(Change::Create(id(1), row(0, 9))).await.unwrap();
    disk.write(Change::Create(id(2), row(0, 9))).await.unwrap();
    let tombstone = Row {
        ended: true,
        ..row(0, 20)
    };
    let end = Change::End {
        id: id(2),
        tombstone: tombstone.clone(),
        owed: vec![debt(7)],
    };
    disk.write(end).await.unwrap();
    // What a killed process leaves behind: the file as it is, never closed.
    let left = dir.path().join("left.redb");
    fs::copy(&path, &left).unwrap();

    let disk = open(&left).unwrap();
    assert_eq!(loaded(&disk, id(1)).await, Some(row(0, 9)));
    assert_eq!(loaded(&disk, id(2)).await, Some(tombstone));
    let claimed = disk.claim_debts(at(0), at(0), 10).await.unwrap();
    assert_eq!(claimed, [debt(7)]);
}

#[tokio::test]
async fn a_thousand_changes_at_once_share_few_commits() {
    static SYNCS: AtomicU64 = AtomicU64::new(0);
    #[derive(Debug)]
    struct Counting(FileBackend);
    impl StorageBackend for Counting {
        fn len(&self) -> io::Result<u64> {
            self.0.len()
        }
        fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
            self.0.read(offset, out)
        }
        fn set_len(&self, len: u64) -> io::Result<()> {
            self.0.set_len(len)
        }
        fn sync_data(&self) -> io::Result<()> {
            SYNCS.fetch_add(1, Ordering::Relaxed);
            self.0.sync_data()
        }
        fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
            self.0.write(offset, data)
        }
    }
    fn build(file: File) -> Result<redb::Database, redb::DatabaseError> {
        redb::Builder::new().create_with_backend(Counting(FileBackend::new(file)?))
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sessions.redb");
    let database = Database::open_with(&path, Timestamp::default(), build).unwrap();
    let disk = Disk::over(database, Handle::current()).unwrap();
    let before = SYNCS.load(Ordering::Relaxed);
    let asked: Vec<_> = (0..1000_u16)
        .map(|n| {
            let mut key = [0; 32];
            key[..2].copy_from_slice(&n.to_be_bytes());
            disk.write(Change::Create(SessionHash::from_bytes(key), row(0, 9)))
        })
        .collect();
    for answer in asked {
        assert_eq!(answer.await.unwrap(), Written::Done);
    }
    let syncs = SYNCS.load(Ordering::Relaxed) - before;
    assert!(syncs < 100, "{syncs} syncs for 1000 changes");
}

#[tokio::test]
async fn a_second_process_is_told_that_the_file_is_in_use() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sessions.redb");
    let _disk = open(&path).unwrap();
    let error = open(&path).unwrap_err();
    let text = whole(&error);
    assert!(
        text.contains("in use") && text.contains("sessions.redb"),
        "{text}"
    );
    let aside = fs::read_dir(dir.path()).unwrap().count();
    assert_eq!(aside, 1, "nothing is set aside for that");
}

#[tokio::test]
async fn a_file_that_is_nonsense_is_set_aside_by_name() {
    let good = {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sessions.redb");
        drop(open(&path).unwrap());
        fs::read(&path).unwrap()
    };
    let mut torn = good.clone();
    torn[64..4096].fill(0xa5);
    for nonsense in [
        b"not a database at all".to_vec(),
        vec![7; 100_000],
        torn,
        good[..700].to_vec(),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sessions.redb");
        fs::write(&path, &nonsense).unwrap();
        let disk = open(&path).unwrap();
        assert_eq!(disk.load(id(1)).await.unwrap(), None);
        disk.write(Change::Create(id(1), row(0, 9))).await.unwrap();
        let names = fs::read_dir(dir.path()).unwrap();
        let aside = names
            .map(|entry| entry.unwrap().path())
            .find(|path| path.to_str().unwrap().contains(".redb.corrupt-"))
            .unwrap_or_else(|| panic!("nothing was set aside"));
        assert_eq!(fs::read(aside).unwrap(), nonsense);
    }
}

#[tokio::test]
async fn what_the_system_forbids_is_in_the_error() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a-file");
    fs::write(&file, "").unwrap();
    let error = open(&file.join("sessions.redb")).unwrap_err();
    let mut source: Option<&dyn std::error::Error> = Some(&error);
    let io = loop {
        let at = source.unwrap_or_else(|| panic!("no io::Error in {}", whole(&error)));
        if let Some(io) = at.downcast_ref::<io::Error>() {
            break io;
        }
        source = at.source();
    };
    assert!(io.raw_os_error().is_some(), "{io:?}");
    assert!(whole(&error).contains("sessions.redb"), "{}", whole(&error));
}

/// A disk that is full while `FULL` is set.
#[derive(Debug)]
struct Filling(FileBackend);

static FULL: AtomicBool = AtomicBool::new(false);

/// A disk whose driver is beside itself.
static PANICS: AtomicBool = AtomicBool::new(false);

fn room() -> io::Result<()> {
    assert!(!PANICS.load(Ordering::Relaxed), "as the test wants it");
    if FULL.load(Ordering::Relaxed) {
        return Err(io::Error::from(io::ErrorKind::StorageFull));
    }
    Ok(())
}

impl StorageBackend for Filling {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read(offset, out)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        room()?;
        self.0.set_len(len)
    }
    fn sync_data(&self) -> io::Result<()> {
        room()?;
        self.0.sync_data()
    }
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        room()?;
        self.0.write(offset, data)
    }
}

fn build_filling(file: File) -> Result<redb::Database, redb::DatabaseError> {
    redb::Builder::new().create_with_backend(Filling(FileBackend::new(file)?))
}

#[tokio::test]
async fn a_fault_of_the_disk_is_an_error_that_heals_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sessions.redb");
    let database = Database::open_with(&path, Timestamp::default(), build_filling).unwrap();
    let disk = Disk::over(database, Handle::current()).unwrap();
    disk.write(Change::Create(id(1), row(0, 9))).await.unwrap();

    FULL.store(true, Ordering::Relaxed);
    for _ in 0..3 {
        let error = disk.write(Change::Create(id(2), row(0, 9))).await;
        let text = whole(&error.unwrap_err());
        assert!(text.contains("can't be written"), "{text}");
    }

    FULL.store(false, Ordering::Relaxed);
    PANICS.store(true, Ordering::Relaxed);
    let error = disk.write(Change::Create(id(2), row(0, 9))).await;
    assert!(error.is_err());

    PANICS.store(false, Ordering::Relaxed);
    disk.write(Change::Create(id(2), row(0, 9))).await.unwrap();
    assert_eq!(loaded(&disk, id(1)).await, Some(row(0, 9)));
    assert_eq!(loaded(&disk, id(2)).await, Some(row(0, 9)));
}

const KILLED: &str = "TIDEGATE_TEST_KILLED_STORE";

/// The child of the next test: writes until it is killed, and says what was answered.
#[tokio::test]
#[ignore = "run by the next test"]
#[expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "how a test talks to its child"
)]
async fn writes_until_it_is_killed() {
    let Ok(path) = std::env::var(KILLED) else {
        return;
    };
    let disk = Arc::new(open(Path::new(&path)).unwrap());
    for round in 0_u64.. {
        let asked = (0..8_u8).map(|n| {
            let (disk, big) = (Arc::clone(&disk), row(round, 9 + round));
            let sealed = vec![n; 3000];
            tokio::spawn(async move {
                let row = Row { sealed, ..big };
                disk.write(Change::Create(id(n), row)).await.unwrap();
                println!("answered {n} {round}");
            })
        });
        for answer in asked.collect::<Vec<_>>() {
            answer.await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_writer_that_is_killed_has_kept_every_answer() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sessions.redb");
    for killed_after in [1, 7, 40, 90, 200] {
        let mut child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "--nocapture"])
            .arg("session::store::disk::tests::writes_until_it_is_killed")
            .env(KILLED, &path)
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let out = io::BufReader::new(child.stdout.take().unwrap());
        let mut answered = [None; 8];
        let mut lines = 0;
        for line in io::BufRead::lines(out).map_while(Result::ok) {
            let Some((_, answer)) = line.split_once("answered ") else {
                continue;
            };
            let (n, round) = answer.split_once(' ').unwrap();
            answered[n.parse::<usize>().unwrap()] = Some(round.parse::<u64>().unwrap());
            lines += 1;
            if lines == killed_after {
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        assert!(lines >= killed_after, "the child wrote");
        let disk = open(&path).unwrap();
        for (n, round) in (0_u8..).zip(answered) {
            let kept = loaded(&disk, id(n)).await.map(|row| row.fence);
            assert!(
                kept >= round,
                "{n}: {kept:?}, though {round:?} was answered"
            );
        }
        assert_eq!(
            fs::read_dir(dir.path()).unwrap().count(),
            1,
            "nothing set aside"
        );
    }
}

/// How long it takes with very many sessions: `cargo test --release -- --ignored --nocapture a_large_store`.
#[tokio::test]
#[ignore = "a measurement"]
#[expect(clippy::print_stderr, reason = "a measurement")]
async fn a_large_store() {
    const SESSIONS: u32 = 200_000;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sessions.redb");
    let disk = open(&path).unwrap();
    let key = |n: u32| {
        SessionHash::from_bytes(
            *aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &n.to_be_bytes())
                .as_ref()
                .first_chunk()
                .unwrap(),
        )
    };
    let begun = std::time::Instant::now();
    let big = Row {
        sealed: vec![7; 4000],
        ..row(0, 9)
    };
    let mut asked = Vec::new();
    for n in 0..SESSIONS {
        let user = crate::session::store::Index::subject("main", &(n / 3).to_string());
        let row = Row {
            subject: Some(user),
            ..big.clone()
        };
        asked.push(disk.write(Change::Create(key(n), row)));
        if asked.len() == 1000 {
            for answer in asked.drain(..) {
                answer.await.unwrap();
            }
        }
    }
    eprintln!("{SESSIONS} sessions created in {:?}", begun.elapsed());
    drop(disk);
    let begun = std::time::Instant::now();
    let disk = open(&path).unwrap();
    eprintln!("opened in {:?}", begun.elapsed());
    let begun = std::time::Instant::now();
    for n in 0..1000 {
        assert!(disk.load(key(n * 199)).await.unwrap().is_some());
    }
    eprintln!("1000 sessions loaded in {:?}", begun.elapsed());
    let begun = std::time::Instant::now();
    for n in 0..100 {
        disk.write(Change::Save(key(n), big.clone())).await.unwrap();
    }
    eprintln!(
        "100 saves one by one in {:?}; file {} MB",
        begun.elapsed(),
        fs::metadata(&path).unwrap().len() >> 20
    );
    let left = dir.path().join("left.redb");
    fs::copy(&path, &left).unwrap();
    let begun = std::time::Instant::now();
    let _disk = open(&left).unwrap();
    eprintln!("opened after a kill in {:?}", begun.elapsed());
}

fn refusal(n: u8, issued_by: Timestamp, until: Timestamp) -> Refusal {
    Refusal {
        criterion: Criterion::from_bytes([n; 32]),
        issued_by,
        until,
    }
}

async fn refuse(disk: &Disk, refusals: &[Refusal], now: Timestamp) {
    let refusals = refusals.to_vec();
    let refused = disk.write(Change::Refuse { refusals, now }).await;
    assert_eq!(refused.unwrap(), Written::Done);
}

/// What a process that begins now has in its register.
fn register(path: &Path) -> (Disk, Vec<Refusal>) {
    let refused = Refused::default();
    let disk = Disk::open(path, Handle::current(), &Clock::System, &refused).unwrap();
    let mut all = refused.all(at(0));
    all.sort_by_key(|refusal| refusal.criterion);
    (disk, all)
}

#[tokio::test]
async fn what_was_refused_is_refused_by_the_next_process_after_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sessions.redb");
    let disk = open(&path).unwrap();
    let first = refusal(1, Timestamp::MAX, at(1000));
    let more = [
        refusal(2, at(5), at(900)),
        refusal(2, at(9), at(950)),
        // The later of two counts, whichever is written last.
        refusal(3, at(8), at(900)),
        refusal(3, at(7), at(900)),
    ];
    refuse(&disk, &[first], at(0)).await;
    refuse(&disk, &more, at(0)).await;
    let left = dir.path().join("left.redb");
    fs::copy(&path, &left).unwrap();
    let (_next, known) = register(&left);
    let merged = [
        first,
        refusal(2, at(9), at(950)),
        refusal(3, at(8), at(900)),
    ];
    assert_eq!(known, merged);
}

#[tokio::test]
async fn what_is_over_is_not_kept() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sessions.redb");
    let disk = open(&path).unwrap();
    let (early, late) = (refusal(1, at(0), at(10)), refusal(2, at(0), at(20)));
    refuse(&disk, &[early, late], at(0)).await;
    refuse(&disk, &[refusal(3, at(0), at(30))], at(10)).await;
    drop(disk);
    let (_disk, known) = register(&path);
    assert_eq!(known, [late, refusal(3, at(0), at(30))]);
}
