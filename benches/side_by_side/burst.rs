//! Refusals while requests run: all sessions of ever new users are ended by the admin API, so many a second.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

pub const TOKEN: &str = "the-administrator-of-the-benchmark-0123456789";
/// So many a second are asked for.
pub const RATE: u64 = 1000;
/// Over so many connections.
const CONNECTIONS: u64 = 16;

static NUMBER: AtomicU64 = AtomicU64::new(0);

/// Does some work meanwhile; tells how many were refused a second.
pub fn during<T>(port: u16, work: impl FnOnce() -> T) -> (T, u64) {
    let (over, begun) = (AtomicBool::new(false), Instant::now());
    let before = NUMBER.load(Ordering::Relaxed);
    let done = thread::scope(|scope| {
        for _ in 0..CONNECTIONS {
            scope.spawn(|| refuse(port, &over));
        }
        let done = work();
        over.store(true, Ordering::Relaxed);
        done
    });
    let refused = NUMBER.load(Ordering::Relaxed) - before;
    let millis = u64::try_from(begun.elapsed().as_millis()).unwrap();
    (done, refused * 1000 / millis.max(1))
}

fn refuse(port: u16, over: &AtomicBool) {
    let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_nodelay(true).unwrap();
    let mut answers = BufReader::new(stream.try_clone().unwrap());
    let mut asking = stream;
    let pace = Duration::from_micros(1_000_000 * CONNECTIONS / RATE);
    let mut next = Instant::now();
    while !over.load(Ordering::Relaxed) {
        thread::sleep(next.saturating_duration_since(Instant::now()));
        next += pace;
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let request = format!(
            "DELETE /api/v1/users/u-{number}/sessions HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n\r\n"
        );
        asking.write_all(request.as_bytes()).unwrap();
        read_answer(&mut answers);
    }
}

fn read_answer(answers: &mut BufReader<TcpStream>) {
    let (mut line, mut length) = (String::new(), 0);
    answers.read_line(&mut line).unwrap();
    assert!(line.starts_with("HTTP/1.1 200"), "{line}");
    while line.trim_end() != "" {
        line.clear();
        answers.read_line(&mut line).unwrap();
        let lower = line.to_ascii_lowercase();
        if let Some(value) = lower.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    answers.read_exact(&mut body).unwrap();
}
