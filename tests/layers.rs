//! The house's law, read from `src/lib.rs`: which room may import which, and which crate belongs to which room.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

/// A crate is named in these rooms only, so that replacing it is a change of these rooms only.
const CRATES: &[(&str, &[&str])] = &[
    ("dashmap", &["session", "verify"]),
    ("redb", &["session"]),
    ("redis", &["session"]),
    ("jsonwebtoken", &["verify", "config", "demo"]),
    ("rustls", &["tls", "connect", "listener", "app", "issuer"]),
    ("tokio_rustls", &["connect", "listener"]),
    ("rcgen", &["tls"]),
    ("toml", &["config"]),
    ("clap", &["cli"]),
    ("minijinja", &["pages", "demo"]),
    ("tracing_subscriber", &["telemetry", "demo"]),
    ("prometheus_client", &["telemetry"]),
];

/// Who may start a task that outlives the call.
const SPAWNERS: &[&str] = &[
    "app",
    "admin",
    "demo",
    "listener",
    "gateway",
    "session",
    "verify",
    "issuer",
    "connect",
    "forward",
    "inbound",
    "telemetry",
];

#[derive(Clone, Copy, PartialEq, Debug)]
enum Kind {
    Frame,
    Path,
    Ground,
}

#[test]
fn imports_point_along_the_lists() {
    let rooms = rooms();
    let mut broken = Vec::new();
    for source in sources().filter(|s| !s.is_root() && !s.is_test()) {
        let place = rooms[&source.room];
        for used in rooms_used(&source.text) {
            let allowed =
                used == source.room || rooms.get(&used).is_none_or(|&of| may_use(place, of));
            if !allowed {
                broken.push(format!(
                    "{}: {} may not use {used}",
                    source.path.display(),
                    source.room
                ));
            }
        }
    }
    assert!(broken.is_empty(), "\n{}", broken.join("\n"));
}

#[test]
fn crates_stay_in_their_rooms() {
    let mut broken = Vec::new();
    for source in sources().filter(|s| !s.is_root() && !s.is_test()) {
        for (name, rooms) in CRATES {
            if names(&source.text, name) && !rooms.contains(&source.room.as_str()) {
                broken.push(format!(
                    "{}: {name} belongs to {rooms:?}",
                    source.path.display()
                ));
            }
        }
        let spawns = source.text.contains("tokio::spawn(") || source.text.contains(".spawn(");
        if spawns && !SPAWNERS.contains(&source.room.as_str()) {
            broken.push(format!(
                "{}: only {SPAWNERS:?} start tasks",
                source.path.display()
            ));
        }
    }
    assert!(broken.is_empty(), "\n{}", broken.join("\n"));
}

#[test]
fn every_file_says_its_duty_and_no_room_walks_over_the_roof() {
    for source in sources() {
        let path = source.path.display();
        assert!(
            source.text.starts_with("//!"),
            "{path}: the first line says the file's duty (//!)"
        );
        assert!(
            !source.text.contains("super::super::"),
            "{path}: name the room by crate::"
        );
        assert!(
            !source.path.ends_with("mod.rs"),
            "{path}: foo.rs beside foo/"
        );
    }
}

fn may_use((kind, place): (Kind, usize), (used_kind, used_place): (Kind, usize)) -> bool {
    match (kind, used_kind) {
        (Kind::Frame, Kind::Frame) | (Kind::Ground, Kind::Ground) => used_place > place,
        (Kind::Path, Kind::Path) => used_place < place,
        (Kind::Frame, Kind::Path | Kind::Ground) | (Kind::Path, Kind::Ground) => true,
        (Kind::Path, Kind::Frame) | (Kind::Ground, Kind::Frame | Kind::Path) => false,
    }
}

/// Room → its list and its place in it, from the comments and `mod` lines of lib.rs.
fn rooms() -> BTreeMap<String, (Kind, usize)> {
    let text = fs::read_to_string("src/lib.rs").unwrap();
    let mut kind = None;
    let mut rooms = BTreeMap::new();
    for line in text.lines() {
        kind = match line {
            l if l.starts_with("// # Frame") => Some(Kind::Frame),
            l if l.starts_with("// # Path") => Some(Kind::Path),
            l if l.starts_with("// # Ground") => Some(Kind::Ground),
            _ => kind,
        };
        let name = line
            .trim_start_matches("pub ")
            .strip_prefix("mod ")
            .and_then(|l| l.strip_suffix(';'));
        if let (Some(name), Some(kind)) = (name, kind) {
            rooms.insert(name.to_owned(), (kind, rooms.len()));
        }
    }
    assert!(
        rooms.len() > 15,
        "lib.rs no longer lists the rooms: {rooms:?}"
    );
    rooms
}

struct Source {
    path: PathBuf,
    room: String,
    text: String,
}

impl Source {
    fn read(path: PathBuf) -> Self {
        let first = path
            .components()
            .nth(1)
            .unwrap()
            .as_os_str()
            .to_str()
            .unwrap();
        let room = first.trim_end_matches(".rs").to_owned();
        let text = fs::read_to_string(&path).unwrap();
        Self { path, room, text }
    }

    /// lib.rs and main.rs belong to no room.
    fn is_root(&self) -> bool {
        self.room == "lib" || self.room == "main"
    }

    /// Unit tests may reach for whatever proves the room right.
    fn is_test(&self) -> bool {
        let mut parts = self.path.iter().filter_map(|part| part.to_str());
        parts.any(|part| part.trim_end_matches(".rs") == "tests")
    }
}

fn sources() -> impl Iterator<Item = Source> {
    let mut found = Vec::new();
    let mut dirs = vec![PathBuf::from("src")];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
            } else if path.extension() == Some("rs".as_ref()) {
                found.push(path);
            }
        }
    }
    found.into_iter().map(Source::read)
}

/// The rooms named by `crate::room` and `crate::{room, room::…}`, above the file's inline tests.
fn rooms_used(text: &str) -> Vec<String> {
    let code = code(text);
    let mut used = Vec::new();
    for (at, found) in code.match_indices("crate::") {
        let rest = &code[at + found.len()..];
        match rest.strip_prefix('{') {
            Some(group) => used.extend(group_heads(group)),
            None => used.push(word(rest)),
        }
    }
    used
}

fn names(text: &str, krate: &str) -> bool {
    let code = code(text);
    let path = format!("{krate}::");
    code.match_indices(&path).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':')
    })
}

fn code(text: &str) -> String {
    let production = text.split("\n#[cfg(test)]\nmod tests {").next().unwrap();
    let lines = production
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"));
    lines.collect::<Vec<_>>().join("\n")
}

fn group_heads(group: &str) -> Vec<String> {
    let (mut depth, mut heads, mut at_head) = (0, Vec::new(), true);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => at_head = true,
            c if at_head && !c.is_whitespace() => {
                heads.push(word(&group[at..]));
                at_head = false;
            }
            _ => {}
        }
    }
    heads
}

fn word(text: &str) -> String {
    text.chars()
        .take_while(|c| c.is_alphanumeric() || *c == '_')
        .collect()
}
